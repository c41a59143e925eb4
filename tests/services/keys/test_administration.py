"""All keys of all users: found by what matters, and ended at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.audit import AuditAction, AuditSearch
from keyturn.core.lifetimes import Lifetime
from keyturn.core.people import ServiceOwner, UserKind
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import MAX_ID, KeyState, RevocationReason
from keyturn.core.searches import KeySearch
from keyturn.errors import ChangedMeanwhile, InvalidState, NotFound, PermissionMissing
from keyturn.services.keys import administration
from tests.fakes import Clock
from tests.people import (
    HERE,
    actions,
    add_service_account,
    caller,
    holder,
    is_accepted,
    key_of_service,
    new_key,
    person,
)

DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def ids(services: Services, admin: Principal, clock: Clock) -> dict[str, int]:
    """One key of each kind, by what it is called."""
    bob = holder(services, "Bob_Ö%")
    made = {"old": new_key(services, bob, name="old", lifetime=Lifetime(clock.now + 10 * DAY))}
    clock.advance(DAY)
    admin, bob = person(services, "ada"), person(services, "Bob_Ö%")
    made["ended"] = new_key(services, bob, lifetime=Lifetime(clock.now + DAY))
    made["endless"] = new_key(services, bob, lifetime=Lifetime(None))
    made["revoked"] = new_key(services, admin)
    services.keys.revoke_own(admin, made["revoked"].record.key_id, HERE)
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    made["robot"] = key_of_service(services, admin)
    clock.advance(DAY)
    return {name: key.record.key_id for name, key in made.items()}


def names(services: Services, admin: Principal, ids: dict[str, int], **wanted: object) -> set[str]:
    page = services.all_keys.search(admin, KeySearch(**wanted))  # type: ignore[arg-type]
    assert page.count == len(page.items)
    called = {number: name for name, number in ids.items()}
    return {called[owned.key.key_id] for owned in page.items}


def test_every_filter_finds_exactly_its_keys(
    services: Services, admin: Principal, ids: dict[str, int], clock: Clock
) -> None:
    """Each condition, and several together, find those keys and no others; limits count to the instant."""
    used = clock.now
    second_day = used - DAY
    caller(services, new_key(services, person(services, "ada")).secret)
    ids["used"] = max(owned.key.key_id for owned in services.all_keys.search(admin, KeySearch()).items)
    services.usage.flush(everything=True)
    everything = set(ids)
    table: list[tuple[dict[str, object], set[str]]] = [
        ({}, everything),
        ({"key_id": ids["old"]}, {"old"}),
        ({"key_id": MAX_ID}, set()),
        ({"owner": "bob"}, {"old", "ended", "endless"}),
        ({"owner": "bOB_ö%"}, {"old", "ended", "endless"}),
        ({"owner": "%"}, {"old", "ended", "endless"}),
        ({"owner": "b_b"}, set()),
        ({"owner": "o"}, {"old", "ended", "endless", "robot"}),
        ({"owner": "\x00"}, set()),
        ({"owner": "\ud800"}, set()),
        ({"state": KeyState.ACTIVE}, {"old", "endless", "robot", "used"}),
        ({"state": KeyState.EXPIRED}, {"ended"}),
        ({"state": KeyState.REVOKED}, {"revoked"}),
        ({"never_ends": True}, {"endless"}),
        ({"never_ends": False}, everything - {"endless"}),
        ({"made_before": second_day}, {"old"}),
        ({"made_before": second_day + MILLISECOND}, everything - {"used"}),
        ({"unused_since": used}, everything - {"used"}),
        ({"unused_since": used + MILLISECOND}, everything),
        ({"owner": "bob", "state": KeyState.ACTIVE, "never_ends": False}, {"old"}),
    ]
    for wanted, expected in table:
        assert names(services, admin, ids, **wanted) == expected, wanted


def test_a_page_is_of_all_and_the_newest_first(
    services: Services, admin: Principal, ids: dict[str, int]
) -> None:
    """Pages together are all keys once, the newest first, and each says how many there are."""
    seen = []
    for offset in range(0, len(ids) + 2, 2):
        page = services.all_keys.search(admin, KeySearch(), offset=offset, size=2)
        assert page.count == len(ids)
        seen += [owned.key.key_id for owned in page.items]
    assert seen == sorted(ids.values(), reverse=True)


def test_a_key_is_shown_with_its_owner(services: Services, ids: dict[str, int]) -> None:
    """What an administrator sees of a key says whose it is, of which kind, and its latest use."""
    admin = person(services, "ada")
    robot = services.all_keys.get(admin, ids["robot"])
    assert (robot.userid, robot.kind, robot.owner_is_disabled) == ("robot", UserKind.SERVICE, False)
    services.offboarding.set_disabled(admin, "bim", "robot", HERE, disabled=True)
    assert services.all_keys.get(admin, ids["robot"]).owner_is_disabled
    for number in (0, -1, 10**6, MAX_ID + 1):
        with pytest.raises(NotFound):
            services.all_keys.get(admin, number)


@pytest.mark.usefixtures("ids")
def test_the_latest_use_is_seen_at_once(services: Services) -> None:
    """A use that was not yet written is seen in the list all the same."""
    admin = person(services, "ada")
    made = new_key(services, admin)
    caller(services, made.secret)
    use = services.all_keys.get(admin, made.record.key_id).key.last_use
    assert use is not None
    assert (use.at, use.via) == (services.system.now(), "GET /")


def test_keys_are_ended_together(services: Services, admin: Principal, clock: Clock) -> None:
    """All keys that are named end at once; dead and absent ones among them do not count and do not hinder."""
    keys = [new_key(services, admin) for _ in range(3)]
    bystander = new_key(services, admin)
    numbers = [key.record.key_id for key in keys]
    services.keys.revoke_own(admin, numbers[0], HERE)
    before = len(actions(services))

    ended = services.all_keys.revoke(admin, [0, *numbers, numbers[2], 10**6, MAX_ID + 1, -1], HERE)

    assert ended == 2
    assert actions(services)[before:] == ["ApiKeyDeleted"] * 2
    assert not any(is_accepted(services, key.secret) for key in keys)
    assert is_accepted(services, bystander.secret)


def test_only_user_admin_sees_all_keys(services: Services, admin: Principal) -> None:
    """Every other permission neither finds, sees nor ends another's key (A1)."""
    others = holder(services, "others", *(set(Permission) - {Permission.USER_ADMIN}))
    key = new_key(services, admin)
    for act in (
        lambda: services.all_keys.search(others, KeySearch()),
        lambda: services.all_keys.get(others, key.record.key_id),
        lambda: services.all_keys.revoke(others, [key.record.key_id], HERE),
        lambda: services.all_keys.revoke(others, [], HERE),
    ):
        with pytest.raises(PermissionMissing):
            act()
    assert is_accepted(services, key.secret)


# All that match


def many_keys(services: Services, admin: Principal, count: int) -> Principal:
    """Give somebody so many keys, besides one of the administrator's own."""
    carol = holder(services, "carol")
    for number in range(count):
        new_key(services, carol, name=f"key {number}")
    new_key(services, admin)
    return carol


def test_all_that_match_are_revoked(services: Services, admin: Principal) -> None:
    """Each of 300 ends with an audit row of its own that tells the reason, and no other key does."""
    carol = many_keys(services, admin, 300)
    wanted = KeySearch(user_id=carol.user_id)
    selected = services.all_keys.select(admin, wanted)
    assert len(selected.key_ids) == 300
    ended = services.all_keys.revoke_selected(
        admin, wanted, HERE, seen=selected.digest, reason=RevocationReason.KEY_COMPROMISE
    )
    assert ended == 300
    assert services.all_keys.select(admin, wanted).key_ids == ()
    assert len(services.all_keys.select(admin, KeySearch(user_id=admin.user_id)).key_ids) == 1
    rows = services.audit_trail.newest(admin, AuditSearch(action=AuditAction.API_KEY_DELETED), size=400)
    assert {int(row.target_id or 0) for row in rows} == set(selected.key_ids)
    assert len(rows) == 300
    assert all(row.details == {"reason": "keyCompromise"} for row in rows)


def test_nothing_is_revoked_when_other_keys_match(services: Services, admin: Principal) -> None:
    """A key that came, went or took the place of another since the look refuses all of it."""
    carol = many_keys(services, admin, 3)
    wanted = KeySearch(user_id=carol.user_id)
    seen = services.all_keys.select(admin, wanted)
    revision = services.audit_trail.newest(admin, AuditSearch(), size=1)[0].audit_id

    def is_refused(digest: str) -> bool:
        with pytest.raises(ChangedMeanwhile, match="Nothing was changed"):
            services.all_keys.revoke_selected(admin, wanted, HERE, seen=digest)
        return True

    assert is_refused("")
    assert services.audit_trail.newest(admin, AuditSearch(), size=1)[0].audit_id == revision
    new = new_key(services, carol)
    assert is_refused(seen.digest)
    services.keys.revoke_own(carol, seen.key_ids[0], HERE)
    assert is_refused(seen.digest), "as many, and others"
    assert is_accepted(services, new.secret)
    assert is_refused("x")


def test_only_administrators_revoke_what_matches(services: Services, admin: Principal) -> None:
    """Nobody else learns which keys match, or ends them; more than may end at once end by no request."""
    carol = many_keys(services, admin, 1)
    seen = services.all_keys.select(admin, KeySearch()).digest
    for attempt in (
        lambda: services.all_keys.select(carol, KeySearch()),
        lambda: services.all_keys.revoke_selected(carol, KeySearch(), HERE, seen=seen),
    ):
        with pytest.raises(PermissionMissing):
            attempt()
    assert len(services.all_keys.select(admin, KeySearch()).key_ids) == 2


def test_too_many_at_once_are_refused(
    services: Services, admin: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More keys than one request may end are no selection, and the sentence says what to do."""
    many_keys(services, admin, 2)
    monkeypatch.setattr(administration, "MAX_SELECTED", 2)
    with pytest.raises(InvalidState, match="Narrow the search"):
        services.all_keys.select(admin, KeySearch())
