"""Reading a registered connection."""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from keyturn.composition import Services
from keyturn.core.permissions import SEE_CONNECTION, Permission
from keyturn.core.principal import Principal
from keyturn.errors import Conflict, NotFound, PermissionMissing, TooManyFailures
from keyturn.services.connections.checks import PER_MINUTE
from keyturn.services.connections.registry import ChangedConnection
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE, actions, holder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keyturn.core.connections import ConnectionRecord


def test_a_connection_is_for_those_who_may_see_it(services: Services, bob: Principal) -> None:
    """Any one of the permissions shows it; without one, absent and present are refused alike (A2)."""
    services.connections.register(COMMAND_LINE, bob.user_id, "123456789", {"technology": "Snowflake"})

    for permission in SEE_CONNECTION:
        found = services.connections.get(replace(bob, permissions=frozenset({permission})), "123456789")
        assert found.details == {"technology": "Snowflake"}
    refusals = set()
    for connection_key in ("123456789", "absent", "\x00"):
        with pytest.raises(PermissionMissing) as refused:
            services.connections.get(bob, connection_key)
        refusals.add(str(refused.value))

    assert len(refusals) == 1
    assert actions(services)[-1] == "ConnectionCreated"


def test_an_absent_connection_is_not_found(services: Services, bob: Principal) -> None:
    """Whatever is asked for, what is not there is not found."""
    for connection_key in (
        "",
        "absent",
        "\x00",
        "a\x00",
        "\ud800",
        "é",
        "x" * 9999,
        "%",
        "' OR 1=1 --",
    ):
        admin = replace(bob, permissions=frozenset(SEE_CONNECTION))

        with pytest.raises(NotFound):
            services.connections.get(admin, connection_key)


def test_a_connection_key_is_taken_once(services: Services, bob: Principal) -> None:
    """A second connection under the same key is a Conflict, and leaves no audit row (D6)."""
    services.connections.register(COMMAND_LINE, bob.user_id, "1", {"technology": "Snowflake"})
    with pytest.raises(Conflict):
        services.connections.register(COMMAND_LINE, bob.user_id, "1", {"technology": "Redshift"})

    assert actions(services).count("ConnectionCreated") == 1


def test_one_user_tests_so_many_connections_a_minute(
    services: Services, keeper: Principal, register: Callable[[str, Mapping[str, Any]], ConnectionRecord]
) -> None:
    """A test is a scanner of ports to whoever may test anything: one user makes 20 a minute (O6)."""
    values = {
        "technology": "PostgreSQL", "hostname": "127.0.0.1", "database": "shop",
        "username": "keyturn", "password": "seven quiet harbor lamps",
    }  # fmt: skip
    register("one", values)
    for _ in range(PER_MINUTE):
        services.connection_checks.test(keeper, "one", HERE)
    with pytest.raises(TooManyFailures, match="tested many"):
        services.connection_checks.test(keeper, "one", HERE)
    with pytest.raises(TooManyFailures, match="tested many"):
        services.connection_checks.try_out(keeper, "one", ChangedConnection({"database": "other"}))
    services.connection_checks.test(holder(services, "another", Permission.APPLICATION_ADMIN), "one", HERE)


def test_a_connection_tells_which_keys_read_it_last(services: Services, keeper: Principal) -> None:
    """By the callers that are kept of each key: anybody's for who may see them, else one's own."""
    key = "shop / \u00fc"
    services.connections.register(COMMAND_LINE, keeper.user_id, key, {})
    others = holder(services, "reader", Permission.GOVERNANCE)
    made = {who.userid: services.keys.create(who, HERE, NewKey(who.userid)) for who in (keeper, others)}
    for secret in (made["keeper"].secret, made["reader"].secret):
        for via in ("GET /data/connection/shop%20%2F%20%C3%BC", "GET /verify"):
            seen = replaced(HERE, via=via, user_agent=via)
            assert services.authenticator.authenticate([secret.encode()], seen) is not None
            services.usage.flush(everything=True)

    uses = services.key_uses.of_connection
    assert [one.userid for one in uses(others, key)] == ["reader"]
    auditor = holder(services, "auditor", Permission.AUDIT)
    assert {one.key_name for one in uses(auditor, key)} == {"keeper", "reader"}
    assert uses(auditor, "another") == ()
