"""System keys: one for each name, had again whole, and in the database only encrypted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keyturn.composition import Services
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import MAX_ID
from keyturn.core.searches import KeySearch
from keyturn.errors import Conflict, InvalidState, NotFound, PermissionMissing
from keyturn.services.keys.keys import NewKey
from keyturn.services.keys.system_keys import RevealedSystemKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import Opener
from tests.people import HERE, actions, caller, holder, is_accepted, last_rows
from tests.store.crowds import all_at_once

SCOPES = ("plugin:trino",)


@pytest.fixture
def connection(services: Services, admin: Principal) -> str:
    for key in ("one", "two"):
        services.connections.register(COMMAND_LINE, admin.user_id, key, {"technology": "Trino"})
    return "one"


def ask(services: Services, who: Principal, name: str = "trino", **changed: Any) -> RevealedSystemKey:
    wanted = {"scopes": SCOPES, "connection_key": "one", "regenerate": False, **changed}
    return services.system_keys.get_or_create(who, HERE, name=name, **wanted)


def living(services: Services, admin: Principal) -> list[int]:
    found = services.all_keys.search(admin, KeySearch(owner="keyturn system")).items
    return [owned.key.key_id for owned in found if owned.key.revoked_at is None]


def test_the_same_key_is_had_again(
    services: Services, admin: Principal, connection: str, reopen: Opener
) -> None:
    """Whoever asks again, after a restart too, gets the same working key, and each time it is told of."""
    made = ask(services, admin)
    who = caller(services, made.secret)
    assert (who.userid, who.scopes, who.permissions) == ("keyturn system", frozenset(SCOPES), frozenset())
    before = len(actions(services))
    for place in (services, reopen()):
        again = ask(place, admin, " trino ", scopes=[*SCOPES, *SCOPES])
        assert (again.secret, again.record.key_id) == (made.secret, made.record.key_id)
    told = [(row.action, row.target_id, row.actor_userid) for row in last_rows(services, before)]
    assert told == [("ApiKeyRevealed", str(made.record.key_id), "ada")] * 2
    assert made.secret not in repr(made)


def test_of_many_at_once_one_key_is_made(services: Services, admin: Principal, connection: str) -> None:
    """Twenty who ask for one name at once, the very first time too, all get one and the same key (K8)."""
    for name in ("first", "second", "third"):
        outcomes = all_at_once(20, lambda _number, name=name: ask(services, admin, name).secret)  # type: ignore[misc]
        assert len(set(map(str, outcomes))) == 1, outcomes
        assert is_accepted(services, str(outcomes[0]))
    assert len(living(services, admin)) == 3
    assert actions(services).count("ApiKeyCreated") == 3


def test_a_regenerated_key_replaces_the_old(services: Services, admin: Principal, connection: str) -> None:
    """With `regenerate` the old key is dead and another one lives, in one change with its two rows (R3)."""
    old = ask(services, admin)
    before = len(actions(services))
    new = ask(services, admin, regenerate=True)

    assert new.secret != old.secret
    assert not is_accepted(services, old.secret)
    assert is_accepted(services, new.secret)
    assert [(row.action, row.target_id) for row in last_rows(services, before)] == [
        ("ApiKeyDeleted", str(old.record.key_id)),
        ("ApiKeyCreated", str(new.record.key_id)),
    ]
    assert ask(services, admin).secret == new.secret


def test_it_is_not_rotated(services: Services, admin: Principal, connection: str) -> None:
    """Whoever has a system key cannot give it a secret that nobody else can have again."""
    made = ask(services, admin)
    with pytest.raises(Conflict, match="regenerate"):
        services.key_rotation.rotate_own(
            caller(services, made.secret), made.record.key_id, HERE, overlap=timedelta(0)
        )
    assert is_accepted(services, ask(services, admin).secret)


def test_regenerating_at_once_leaves_one_key(services: Services, admin: Principal, connection: str) -> None:
    """Of twenty who regenerate at once each gets a key, and exactly one key of that name lives."""
    old = ask(services, admin)
    for _ in range(3):
        outcomes = all_at_once(20, lambda _number: ask(services, admin, regenerate=True).secret)

        assert [outcome for outcome in outcomes if not isinstance(outcome, str)] == []
        (alive,) = {str(outcome) for outcome in outcomes if is_accepted(services, str(outcome))}
        assert ask(services, admin).secret == alive != old.secret
        assert len(living(services, admin)) == 1
    assert services.store.integrity_problems() == []


def test_a_name_belongs_to_one_connection(services: Services, admin: Principal, connection: str) -> None:
    """A name that was given for another connection is refused, with `regenerate` too, and stays (1.2)."""
    made = ask(services, admin)
    before = actions(services)
    for regenerate in (False, True):
        with pytest.raises(InvalidState):
            ask(services, admin, connection_key="two", regenerate=regenerate)
    assert actions(services) == before
    assert is_accepted(services, made.secret)


def test_what_does_not_exist_is_an_invalid_state(
    services: Services, admin: Principal, connection: str
) -> None:
    """An unknown scope or connection, or no name, is refused as the contract says; nothing is made (1.2)."""
    before = actions(services)
    wrong: dict[str, list[Any]] = {
        "name": ["", "  "],
        "scopes": [(), ("plugin:other",), (*SCOPES, "admin")],
        "connection_key": ["none", "", "\x00", "\ud800"],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(InvalidState):
                ask(services, admin, **{"name": "trino", name: value})
    assert actions(services) == before


def test_only_application_admin_has_them(services: Services, admin: Principal, connection: str) -> None:
    """Every other permission neither makes, reads nor deletes a system key, nor does such a key (A1)."""
    others = holder(services, "others", *(set(Permission) - {Permission.APPLICATION_ADMIN}))
    made = ask(services, admin)
    for who in (others, caller(services, made.secret)):
        for act in (
            lambda who: ask(services, who),
            lambda who: ask(services, who, regenerate=True),
            lambda who: services.system_keys.delete(who, made.record.key_id, HERE),
            lambda who: services.system_keys.delete(who, 10**6, HERE),
        ):
            with pytest.raises(PermissionMissing):
                act(who)


@pytest.mark.parametrize("how", ["delete", "revoke"])
def test_a_deleted_one_frees_its_name(
    services: Services, admin: Principal, connection: str, how: str
) -> None:
    """A deleted key is dead at once, is not found again, and its name may be used for another connection."""
    made = ask(services, admin)
    if how == "delete":
        services.system_keys.delete(admin, made.record.key_id, HERE)
    else:
        assert services.all_keys.revoke(admin, [made.record.key_id], HERE) == 1

    assert not is_accepted(services, made.secret)
    for number in (made.record.key_id, 0, -1, MAX_ID + 1):
        with pytest.raises(NotFound):
            services.system_keys.delete(admin, number, HERE)
    other = ask(services, admin, connection_key="two")
    assert other.secret != made.secret
    assert is_accepted(services, other.secret)


def test_an_ordinary_key_is_no_system_key(services: Services, admin: Principal, connection: str) -> None:
    """The route of the system keys deletes no other key."""
    ask(services, admin)
    key = services.keys.create(admin, HERE, NewKey())
    with pytest.raises(NotFound):
        services.system_keys.delete(admin, key.record.key_id, HERE)
    assert is_accepted(services, key.secret)


def test_no_secret_is_in_the_database(
    services: Services, admin: Principal, connection: str, database: str, tmp_path: Path
) -> None:
    """The secret is in no file of the database, its log included, nor in the audit log: sealed only (S1)."""
    made = ask(services, admin)
    canary = made.secret.split("_")[2][:20].encode()
    told = repr([row.details for row in services.store.audit_log.list_after(limit=10_000)])
    assert canary.decode() not in told
    if not database.startswith("sqlite"):
        sealed = services.store.system_keys.find_by_name("trino")
        assert sealed is not None
        assert canary not in sealed.sealed_secret
        return
    for name in ("keyturn.db", "keyturn.db-wal"):
        written = (tmp_path / name).read_bytes()
        assert written, "the file that is looked into is not empty"
        assert canary not in written, name
    assert b"keyturn system" in b"".join(
        (tmp_path / name).read_bytes() for name in ("keyturn.db", "keyturn.db-wal")
    ), "what is stored in clear is found this way"
