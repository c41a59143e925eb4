"""Tokens that are ended by themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.principal import Principal
from keyturn.errors import CredentialRefused
from keyturn.services.audit import COMMAND_LINE
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
