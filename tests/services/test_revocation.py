"""Tokens that are ended by themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.people import ServiceOwner
from keyturn.core.principal import Principal
from keyturn.errors import CredentialRefused, InvalidInput
from keyturn.services.actors import COMMAND_LINE
from keyturn.services.keys import Lifetime
from tests.fakes import Clock
from tests.services.conftest import Opener
from tests.services.people import (
    HERE,
    NEW_PASSPHRASE,
    add_person,
    add_service_account,
    caller,
    holder,
    is_accepted,
    key_of_service,
    new_key,
    person,
)


def test_a_revoked_token_is_dead_where_clocks_are_behind(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """However clocks differ or are set back, a token that was revoked stays dead (R7, D8)."""
    key = services.keys.create(bob, HERE, name=None, lifetime=None).secret
    first, second = (
        services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token for _ in range(2)
    )
    assert services.revocation.revoke(first, COMMAND_LINE)
    clock.advance(timedelta(hours=2))
    assert services.revocation.revoke(second, COMMAND_LINE), "elsewhere it may not have ended"

    clock.advance(timedelta(hours=-2))

    for token in (first, second):
        with pytest.raises(CredentialRefused):
            caller(services, token)


def test_what_is_long_over_is_forgotten(services: Services, bob: Principal, clock: Clock) -> None:
    """A revoked token takes no room for longer than any clock could be wrong."""
    key = services.keys.create(bob, HERE, name=None, lifetime=None).secret
    first = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    assert services.revocation.revoke(first, COMMAND_LINE)
    clock.advance(timedelta(days=2))
    second = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    assert services.revocation.revoke(second, COMMAND_LINE)

    with services.store._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM revoked_token").scalar_one() == 1


NOON = Clock().now
A_YEAR = Lifetime(NOON + timedelta(days=365))


def exchanged(services: Services, key: str) -> str:
    return services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token


def disable_for_a_while(services: Services) -> None:
    services.accounts.set_disabled(COMMAND_LINE, "bob", disabled=True)
    services.accounts.set_disabled(COMMAND_LINE, "bob", disabled=False)


CHANGES_THAT_END_TOKENS: dict[str, Callable[[Services, Principal, str], object]] = {
    "sign-out": lambda services, _bob, _key: services.accounts.sign_out(COMMAND_LINE, "bob"),
    "rotation": lambda services, bob, key: services.key_rotation.rotate_own(
        bob, caller(services, key).key_id or 0, HERE, overlap=timedelta(0)
    ),
    "retry": lambda services, bob, _key: new_key(services, bob, idempotency_key="once", lifetime=A_YEAR),
    "disabling": lambda services, _bob, _key: disable_for_a_while(services),
}
"""By this name, what ends every token of Bob's key that was made until then, and not the account."""


def set_clock(clock: Clock, ahead: int) -> None:
    """Set the time of day as if somebody had set it so far ahead; what is monotonic goes on."""
    clock.now = NOON + timedelta(seconds=ahead)


@pytest.mark.parametrize(
    ("made", "changed"), [(0, 0), (20, 0), (0, -600)], ids=["right", "ahead when made", "behind when changed"]
)
@pytest.mark.parametrize("change", CHANGES_THAT_END_TOKENS)
def test_fault_a6_no_clock_saves_a_token_from_its_end(
    services: Services, bob: Principal, clock: Clock, reopen: Opener, change: str, made: int, changed: int
) -> None:
    """Tokens of a server whose clock is off, or was set right again, end with all that was issued before.

    What is issued afterwards, at the same instant, is good, and so is what others have.
    """
    key = new_key(services, bob, idempotency_key="once", lifetime=A_YEAR).secret
    others = exchanged(services, new_key(services, holder(services, "cid")).secret)
    set_clock(clock, made)
    before = exchanged(services, key)
    set_clock(clock, changed)

    CHANGES_THAT_END_TOKENS[change](services, person(services), key)

    after = exchanged(services, new_key(services, person(services)).secret)
    set_clock(clock, 0)
    for node in (services, reopen()):
        assert not is_accepted(node, before)
        assert is_accepted(node, after)
        assert is_accepted(node, others)


@pytest.mark.parametrize("has_left", ["owner", "account"])
def test_fault_b11_enabling_revives_no_token(
    services: Services, admin: Principal, bob: Principal, has_left: str
) -> None:
    """Tokens from before an account stood still, by itself or with its owner, are dead when it goes on."""
    owner = ServiceOwner(user_id=bob.user_id)
    robot = add_service_account(services, admin, owner)
    key = key_of_service(services, bob).secret
    token = exchanged(services, key)
    stopped = "bob" if has_left == "owner" else robot.userid

    for disabled in (True, False):
        services.departures.set_disabled(admin, "bim", stopped, HERE, disabled=disabled)

    assert is_accepted(services, key)
    assert not is_accepted(services, token)
    assert is_accepted(services, exchanged(services, key))


def test_fault_b11_enabling_revives_no_link(services: Services, admin: Principal) -> None:
    """A link that was made before the account stood still sets no passphrase when it goes on."""
    add_person(services)
    link = services.users.invite(admin, "bim", "bob", HERE).link

    for disabled in (True, False):
        services.departures.set_disabled(admin, "bim", "bob", HERE, disabled=disabled)

    with pytest.raises(InvalidInput):
        services.invitations.accept(link.partition("#")[2], NEW_PASSPHRASE, HERE)


@pytest.mark.parametrize("moments", [0, 1, 999], ids="{} ms".format)
def test_changes_at_one_instant_each_end_what_was_issued_before(
    services: Services, bob: Principal, clock: Clock, moments: int
) -> None:
    """Signing out twice in a second ends what was issued in between, and nothing later (R8)."""
    key = services.keys.create(bob, HERE, name=None, lifetime=None).secret
    tokens = []
    for _ in range(3):
        tokens.append(exchanged(services, key))
        clock.advance(timedelta(milliseconds=moments))
        services.accounts.sign_out(COMMAND_LINE, "bob")

    for token in tokens:
        with pytest.raises(CredentialRefused):
            caller(services, token)
    assert caller(services, exchanged(services, key)).userid == "bob"


def test_a_secret_that_lived_for_a_moment_leaves_no_token(services: Services, bob: Principal) -> None:
    """Of a key that gets two new secrets within a second the tokens of the first two secrets are dead."""
    secrets = [services.keys.create(bob, HERE, name=None, lifetime=None, idempotency_key="once").secret]
    tokens = []
    for _ in range(2):
        tokens.append(services.exchange.exchange(in_header=[], in_body=secrets[-1], origin=HERE).token)
        secrets.append(
            services.keys.create(bob, HERE, name=None, lifetime=None, idempotency_key="once").secret
        )

    for dead in (*tokens, *secrets[:2]):
        with pytest.raises(CredentialRefused):
            caller(services, dead)
    assert caller(services, secrets[-1]).userid == "bob"
