"""Nothing outlives the credential that it was made with (fault A7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.audit import AuditAction, AuditSearch
from keyturn.core.lifetimes import Lifetime
from keyturn.core.people import ServiceOwner
from keyturn.errors import Conflict, KeyturnError
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import actor_of
from tests.apis import register
from tests.conftest import PASSWORD
from tests.people import (
    HERE,
    add_person,
    add_service_account,
    caller,
    is_accepted,
    new_key,
)

if TYPE_CHECKING:
    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from keyturn.services.keys.keys import CreatedKey
    from keyturn.services.keys.system_keys import RevealedSystemKey
    from tests.fakes import Clock

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Maker = Callable[["Services", "Principal", Lifetime | None], datetime | None]


def exchanged(services: Services, secret: str) -> str:
    return services.exchange.exchange(in_header=[secret.encode()], in_body=None, origin=HERE).token


def granted(services: Services, made: CreatedKey, secret: str, **form: str) -> str:
    """Return a token for a key as an OAuth client gets it."""
    client = {"client_id": f"key-{made.record.key_id}", "client_secret": secret}
    return services.oauth.grant({"grant_type": "client_credentials", **client, **form}, [], HERE).issued.token


def passed_on(services: Services, secret: str) -> str:
    """Return a token for a token for a key (RFC 8693)."""
    kinds = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }
    form = {**kinds, "subject_token": exchanged(services, secret)}
    return services.oauth.grant(form, [], HERE).issued.token


def own_key(services: Services, who: Principal, lifetime: Lifetime | None) -> datetime | None:
    return new_key(services, who, lifetime=lifetime).record.expires_at


def key_of_account(services: Services, who: Principal, lifetime: Lifetime | None) -> datetime | None:
    made = services.service_accounts.create_key(who, "robot", HERE, NewKey(None, lifetime))
    return made.record.expires_at


def ask_for(
    services: Services, who: Principal, lifetime: Lifetime | None = None, *, regenerate: bool = False
) -> RevealedSystemKey:
    return services.system_keys.get_or_create(
        who,
        HERE,
        name="trino",
        scopes=["plugin:trino"],
        connection_key="one",
        regenerate=regenerate,
        lifetime=lifetime,
    )


def system_key(services: Services, who: Principal, lifetime: Lifetime | None) -> datetime | None:
    return ask_for(services, who, lifetime, regenerate=True).record.expires_at


MAKERS: Mapping[str, Maker] = {"own": own_key, "account": key_of_account, "system": system_key}


@pytest.fixture
def furnished(services: Services, admin: Principal) -> Principal:
    """Ada, with a service account and a connection."""
    services.connections.register(actor_of(admin, HERE), admin.user_id, "one", {"technology": "Trino"})
    add_service_account(services, admin, ServiceOwner(admin.user_id))
    return admin


@pytest.mark.parametrize("made", MAKERS)
@pytest.mark.parametrize("by", ["key", "exchange", "grant", "token exchange"])
def test_fault_a7_a_key_ends_with_what_made_it(
    services: Services, furnished: Principal, clock: Clock, made: str, by: str
) -> None:
    """A key ends with the key or token that makes it, or sooner; a later end is a conflict."""
    maker = new_key(services, furnished, lifetime=Lifetime(clock.now + 3 * DAY))
    credential = {
        "key": lambda: maker.secret,
        "exchange": lambda: exchanged(services, maker.secret),
        "grant": lambda: granted(services, maker, maker.secret),
        "token exchange": lambda: passed_on(services, maker.secret),
    }[by]()
    end = clock.now + (3 * DAY if by == "key" else HOUR)
    who = caller(services, credential)
    make = MAKERS[made]

    assert make(services, who, None) == end
    assert make(services, who, Lifetime(end)) == end
    assert make(services, who, Lifetime(end - HOUR / 2)) == end - HOUR / 2
    before = len(services.keys.list_own(furnished))
    for later in (Lifetime(None), Lifetime(end + timedelta(milliseconds=1))):
        with pytest.raises(Conflict, match="Nothing outlives"):
            make(services, who, later)
    assert len(services.keys.list_own(furnished)) == before


@pytest.mark.parametrize("made", MAKERS)
@pytest.mark.parametrize("by", ["browser", "token for a password"])
def test_fault_a7_a_password_sets_no_such_bound(
    services: Services, furnished: Principal, made: str, by: str
) -> None:
    """Whoever gave a password, in a browser or for a token, makes keys that outlive the session."""
    who = furnished
    if by != "browser":
        who = caller(services, services.logins.log_in_api("bim", "ada", PASSWORD, HERE).token)
    assert MAKERS[made](services, who, Lifetime(None)) is None


def test_what_a_key_made_goes_on_and_is_found_by_its_number(services: Services, furnished: Principal) -> None:
    """Who revokes a key finds what it made, and what its tokens made, in the audit log: that lives on."""
    maker = new_key(services, furnished)
    number = maker.record.key_id
    made = []
    for credential in (maker.secret, exchanged(services, maker.secret)):
        who = caller(services, credential)
        made += [
            new_key(services, who).record.key_id,
            services.service_accounts.create_key(who, "robot", HERE, NewKey()).record.key_id,
            ask_for(services, who, regenerate=True).record.key_id,
        ]
    add_person(services, "newcomer", None)
    services.user_administration.invite(caller(services, maker.secret), "bim", "newcomer", HERE)
    services.keys.revoke_any(number, actor_of(furnished, HERE))

    rows = services.store.audit_log.search(AuditSearch(actor_key_id=number), after=0, size=99)

    created = [int(row.target_id or 0) for row in rows if row.action == AuditAction.API_KEY_CREATED]
    assert created == made
    assert [row.action for row in rows].count(AuditAction.USER_INVITED) == 1
    assert all(row.actor_key_id == number for row in rows)
    living = {key.key_id for key in services.keys.list_own(furnished) if key.revoked_at is None}
    assert {made[0], made[3]} <= living


def test_fault_a7_a_narrowed_token_makes_a_key_that_ends_with_it(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """A token for some scopes makes a key for these, which ends with the token; and so does the key's key."""
    register(services, "orders")
    maker = new_key(services, bob)
    token = granted(services, maker, maker.secret, scope="orders:read")
    first = new_key(services, caller(services, token))
    clock.advance(HOUR / 2)
    second = new_key(services, caller(services, exchanged(services, first.secret)))
    assert (first.record.restrictions.scopes, second.record.restrictions.scopes) == ({"orders:read"},) * 2
    assert first.record.expires_at == second.record.expires_at == clock.now + HOUR / 2
    clock.advance(HOUR / 2)
    assert not is_accepted(services, first.secret)
    assert not is_accepted(services, second.secret)


def test_fault_a7_no_token_outlives_a_former_secret(services: Services, bob: Principal, clock: Clock) -> None:
    """Every way to a token ends it with the former secret that it was made with, if that is sooner."""
    made = new_key(services, bob)
    rotate(services, bob, made, overlap=timedelta(seconds=5))
    tokens = [
        exchanged(services, made.secret),
        granted(services, made, made.secret),
        passed_on(services, made.secret),
    ]
    assert all(is_accepted(services, token) for token in tokens)
    clock.advance(timedelta(seconds=5))
    assert not any(is_accepted(services, token) for token in tokens)


def rotate(services: Services, who: Principal, made: CreatedKey, **given: object) -> CreatedKey:
    values: dict[str, object] = {"overlap": timedelta(0)}
    return services.key_rotation.rotate_own(who, made.record.key_id, HERE, **(values | given))  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["exchange", "narrowed token", "token exchange", "another key"])
def test_fault_a7_a_key_is_rotated_by_itself_or_a_person(services: Services, bob: Principal, by: str) -> None:
    """A token of a key, or another key, wins no secret: it is a conflict, and nothing changes."""
    register(services, "orders")
    made = new_key(services, bob)
    credential = {
        "exchange": lambda: exchanged(services, made.secret),
        "narrowed token": lambda: granted(services, made, made.secret, scope="orders:read"),
        "token exchange": lambda: passed_on(services, made.secret),
        "another key": lambda: new_key(services, bob, lifetime=Lifetime(None)).secret,
    }[by]()
    with pytest.raises(Conflict, match="rotated with itself"):
        rotate(services, caller(services, credential), made)
    assert is_accepted(services, made.secret)

    by_itself = rotate(services, caller(services, made.secret), made)
    assert is_accepted(services, by_itself.secret)
    token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    assert is_accepted(services, rotate(services, caller(services, token), made).secret)


def test_fault_a7_a_system_key_is_had_again_by_what_lives_as_long(
    services: Services, furnished: Principal, clock: Clock
) -> None:
    """The secret of a system key is shown to what lives as long, and to no token that ends before it."""
    made = ask_for(services, furnished)
    key = new_key(services, furnished, lifetime=Lifetime(None))
    for short in (exchanged(services, key.secret), new_key(services, furnished).secret):
        with pytest.raises(Conflict, match="Nothing outlives"):
            ask_for(services, caller(services, short))
    for long in (furnished, caller(services, key.secret)):
        again = ask_for(services, long)
        assert again.secret == made.secret


def test_fault_a7_a_system_key_that_has_ended_is_made_anew(
    services: Services, furnished: Principal, clock: Clock
) -> None:
    """Who asks again for a system key that has ended gets one that lives, under the same name."""
    short = caller(services, exchanged(services, new_key(services, furnished).secret))
    made = ask_for(services, short)
    clock.advance(HOUR)
    again = ask_for(services, furnished)
    assert again.secret != made.secret
    assert is_accepted(services, again.secret)


def test_fault_a7_a_link_ends_with_what_made_it(services: Services, admin: Principal, clock: Clock) -> None:
    """A link to set a password, made with a token, ends with the token; a person's lives for a week."""
    add_person(services, "carol", password=None)
    token = caller(services, exchanged(services, new_key(services, admin).secret))
    by_token = services.user_administration.invite(token, "bim", "carol", HERE)
    assert by_token.expires_at == clock.now + HOUR
    clock.advance(HOUR)
    with pytest.raises(KeyturnError):
        services.invitations.accept(by_token.link.partition("#")[2], "eleven quiet harbours at dusk", HERE)
    assert services.user_administration.invite(
        admin, "bim", "carol", HERE
    ).expires_at == clock.now + timedelta(days=7)
