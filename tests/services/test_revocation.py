"""Tokens that are ended by themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.people import ServiceOwner
from keyturn.core.principal import Principal
from keyturn.errors import Conflict, CredentialRefused, InvalidInput
from keyturn.services.keys.keys import Lifetime, NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import Opener
from tests.fakes import Clock
from tests.people import (
    HERE,
    NEW_PASSWORD,
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
    key = services.keys.create(bob, HERE, NewKey()).secret
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


def known_revocations(services: Services) -> int:
    with services.store._database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM revoked_token").scalar_one())


def test_what_cannot_live_again_is_forgotten(services: Services, bob: Principal, clock: Clock) -> None:
    """A revoked token takes no room once its signing key is gone, after which no clock lets it live again."""
    key = services.keys.create(bob, HERE, NewKey()).secret
    first = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    assert services.revocation.revoke(first, COMMAND_LINE)
    services.signing_keys.rotate(COMMAND_LINE)
    assert known_revocations(services) == 1
    clock.advance(timedelta(days=2))
    services.signing_keys.rotate(COMMAND_LINE)
    services.retention.look()

    assert known_revocations(services) == 0
    clock.advance(timedelta(days=-2))
    services.signing_keys.forget()
    with pytest.raises(CredentialRefused):
        caller(services, first)


def revoke_another_token(services: Services, key: str) -> None:
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    assert services.revocation.revoke(token, COMMAND_LINE)


def rotate_signing_keys(services: Services, _key: str) -> None:
    services.signing_keys.rotate(COMMAND_LINE)


def rotate_twice(services: Services, key: str) -> None:
    services.signing_keys.rotate(COMMAND_LINE)
    rotate_signing_keys(services, key)


@pytest.mark.parametrize("hours", [-36, 36])
@pytest.mark.parametrize("act", [revoke_another_token, rotate_signing_keys, rotate_twice])
@pytest.mark.parametrize("is_revoked_then", [False, True], ids=["before", "then"])
def test_fault_a12_a_wrong_clock_revives_no_token(
    services: Services,
    bob: Principal,
    reopen: Opener,
    clock: Clock,
    act: Callable[[Services, str], None],
    *,
    hours: int,
    is_revoked_then: bool,
) -> None:
    """Whatever is done by a clock that is wrong, and later right again, a revoked token stays dead."""
    key = services.keys.create_for(bob.user_id, COMMAND_LINE, NewKey(None, Lifetime(None))).secret
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    if not is_revoked_then:
        assert services.revocation.revoke(token, COMMAND_LINE)

    clock.advance(timedelta(hours=hours))
    services.signing_keys.forget()
    if is_revoked_then:
        services.revocation.revoke(token, COMMAND_LINE)
    act(services, key)
    clock.advance(timedelta(hours=-hours))

    for node in (services, reopen()):
        node.signing_keys.forget()
        with pytest.raises(CredentialRefused):
            caller(node, token)


def test_fault_a12_a_wrong_clock_forgets_no_rotation(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """A retry of a rotation that another has followed is told so, though a clock was ahead in between."""
    made = services.keys.create_for(bob.user_id, COMMAND_LINE, NewKey(None, Lifetime(None)))
    key_id = made.record.key_id

    def rotate(who: Principal, name: str) -> None:
        services.key_rotation.rotate_own(who, key_id, HERE, overlap=timedelta(hours=1), idempotency_key=name)

    rotate(bob, "first")
    clock.now += timedelta(hours=36)  # The clock of the wall alone.
    rotate(person(services), "second")
    clock.now -= timedelta(hours=36)
    with pytest.raises(Conflict):
        rotate(bob, "first")


NOON = Clock().now
A_YEAR = Lifetime(NOON + timedelta(days=365))


def exchanged(services: Services, key: str) -> str:
    return services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token


def disable_for_a_while(services: Services) -> None:
    services.users.set_disabled(COMMAND_LINE, "bob", disabled=True)
    services.users.set_disabled(COMMAND_LINE, "bob", disabled=False)


CHANGES_THAT_END_TOKENS: dict[str, Callable[[Services, Principal, str], object]] = {
    "sign-out": lambda services, _bob, _key: services.users.sign_out(COMMAND_LINE, "bob"),
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
        services.offboarding.set_disabled(admin, "bim", stopped, HERE, disabled=disabled)

    assert is_accepted(services, key)
    assert not is_accepted(services, token)
    assert is_accepted(services, exchanged(services, key))


def test_fault_b11_enabling_revives_no_link(services: Services, admin: Principal) -> None:
    """A link that was made before the account stood still sets no password when it goes on."""
    add_person(services)
    link = services.user_administration.invite(admin, "bim", "bob", HERE).link

    for disabled in (True, False):
        services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=disabled)

    with pytest.raises(InvalidInput):
        services.invitations.accept(link.partition("#")[2], NEW_PASSWORD, HERE)


@pytest.mark.parametrize("moments", [0, 1, 999], ids="{} ms".format)
def test_changes_at_one_instant_each_end_what_was_issued_before(
    services: Services, bob: Principal, clock: Clock, moments: int
) -> None:
    """Signing out twice in a second ends what was issued in between, and nothing later (R8)."""
    key = services.keys.create(bob, HERE, NewKey()).secret
    tokens = []
    for _ in range(3):
        tokens.append(exchanged(services, key))
        clock.advance(timedelta(milliseconds=moments))
        services.users.sign_out(COMMAND_LINE, "bob")

    for token in tokens:
        with pytest.raises(CredentialRefused):
            caller(services, token)
    assert caller(services, exchanged(services, key)).userid == "bob"


def test_a_secret_that_lived_for_a_moment_leaves_no_token(services: Services, bob: Principal) -> None:
    """Of a key that gets two new secrets within a second the tokens of the first two secrets are dead."""
    secrets = [services.keys.create(bob, HERE, NewKey(idempotency_key="once")).secret]
    tokens = []
    for _ in range(2):
        tokens.append(services.exchange.exchange(in_header=[], in_body=secrets[-1], origin=HERE).token)
        secrets.append(services.keys.create(bob, HERE, NewKey(idempotency_key="once")).secret)

    for dead in (*tokens, *secrets[:2]):
        with pytest.raises(CredentialRefused):
            caller(services, dead)
    assert caller(services, secrets[-1]).userid == "bob"
