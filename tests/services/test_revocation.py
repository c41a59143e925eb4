"""Tokens that are ended by themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.principal import Principal
from keyturn.errors import Conflict, CredentialRefused
from keyturn.services.actors import COMMAND_LINE
from keyturn.services.keys import Lifetime
from tests.fakes import Clock
from tests.services.conftest import Opener
from tests.services.people import HERE, caller


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


def known_revocations(services: Services) -> int:
    with services.store._database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM revoked_token").scalar_one())


def test_what_cannot_live_again_is_forgotten(services: Services, bob: Principal, clock: Clock) -> None:
    """A revoked token takes no room once its signing key is gone, after which no clock lets it live again."""
    key = services.keys.create(bob, HERE, name=None, lifetime=None).secret
    first = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    assert services.revocation.revoke(first, COMMAND_LINE)
    services.signing_keys.rotate(COMMAND_LINE)
    assert known_revocations(services) == 1
    clock.advance(timedelta(days=2))
    services.signing_keys.rotate(COMMAND_LINE)

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
    key = services.keys.create_for(bob.user_id, COMMAND_LINE, name=None, lifetime=Lifetime(None)).secret
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
    made = services.keys.create_for(bob.user_id, COMMAND_LINE, name=None, lifetime=Lifetime(None))
    key_id = made.record.key_id

    def rotate(name: str) -> None:
        services.key_rotation.rotate_own(bob, key_id, HERE, overlap=timedelta(hours=1), idempotency_key=name)

    rotate("first")
    clock.advance(timedelta(hours=36))
    rotate("second")
    clock.advance(timedelta(hours=-36))
    with pytest.raises(Conflict):
        rotate("first")


@pytest.mark.parametrize("moments", [0, 1, 400])
def test_rules_in_one_second_each_end_what_was_issued_before(
    services: Services, bob: Principal, clock: Clock, moments: int
) -> None:
    """Signing out twice in a second ends what was issued in between, and nothing later (R8)."""
    key = services.keys.create(bob, HERE, name=None, lifetime=None).secret
    tokens = []
    for _ in range(3):
        tokens.append(services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token)
        clock.advance(timedelta(milliseconds=moments))
        services.accounts.sign_out(COMMAND_LINE, "bob")

    for token in tokens:
        with pytest.raises(CredentialRefused):
            caller(services, token)
    later = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    assert caller(services, later).userid == "bob"


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
