"""Tokens that are ended by themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.principal import Principal
from keyturn.errors import CredentialRefused
from keyturn.services.actors import COMMAND_LINE
from tests.fakes import Clock
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
