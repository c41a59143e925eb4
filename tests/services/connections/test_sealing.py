"""The secrets of connections open in their own row alone, and one that does not open disturbs no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from keyturn.core.connections import ConnectionState
from keyturn.errors import InvalidInput, InvalidState
from keyturn.services.connections.registry import ChangedConnection
from keyturn.services.connections.sealing import REDACTED
from keyturn.store.database.schema import connection as table
from tests.people import HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from keyturn.composition import Services
    from keyturn.core.connections import ConnectionRecord
    from keyturn.core.principal import Principal

    Register = Callable[[str, Mapping[str, Any]], ConnectionRecord]

VALUES = {
    "technology": "PostgreSQL", "hostname": "db.example.com", "port": 5432, "database": "shop",
    "username": "keyturn", "password": "seven quiet harbor lamps",
}  # fmt: skip


def seal_of(services: Services, key: str) -> bytes:
    record = services.store.connections.find(key)
    assert record is not None
    seal = services.store.connections.find_seal(record.connection_id)
    assert seal is not None
    return seal


def put_seal(services: Services, key: str, seal: bytes) -> None:
    with services.store._database.writing() as connection:
        connection.execute(update(table).where(table.c.connection_key == key).values(sealed_secrets=seal))


def test_two_swapped_seals_open_nowhere(services: Services, keeper: Principal, register: Register) -> None:
    """Each is unhealthy with a reason that says what to do; the third goes on, and new secrets heal (S1)."""
    for key in ("one", "two", "three"):
        register(key, {**VALUES, "password": f"{VALUES['password']} {key}"})
    one, two = seal_of(services, "one"), seal_of(services, "two")
    put_seal(services, "one", two)
    put_seal(services, "two", one)
    for key in ("one", "two"):
        with pytest.raises(InvalidState):
            list(services.connection_checks.test(keeper, key, HERE))
        record = services.connections.get_now(keeper, key)
        assert (record.state, record.state_reason) == (
            ConnectionState.UNHEALTHY,
            "The stored secrets do not open. Enter them again.",
        )
        assert services.connection_secrets.redacted(record) == {}
    three = services.connections.get_now(keeper, "three")
    assert services.connection_secrets.open(three).current == {"password": "seven quiet harbor lamps three"}
    assert services.connections.search(keeper).count == 3

    with pytest.raises(InvalidInput) as missing:
        services.connections.update(keeper, "one", ChangedConnection({"database": "other"}), HERE)
    assert missing.value.field == "password"
    entered = ChangedConnection({"password": "new password of one"})
    record = services.connections.update(keeper, "one", entered, HERE)
    assert services.connection_secrets.open(record).current == {"password": "new password of one"}


@pytest.mark.parametrize(
    ("field", "value", "is_elsewhere"),
    [
        ("hostname", "db.example.org", True),
        ("port", 5433, True),
        ("username", "somebody", True),
        ("tlsMode", "require", True),
        ("tlsMode", "disable", True),
        ("database", "other", False),
    ],
)
@pytest.mark.parametrize("password", [None, REDACTED])
def test_a_password_is_never_sent_elsewhere(
    services: Services,
    keeper: Principal,
    register: Register,
    field: str,
    value: object,
    is_elsewhere: bool,
    password: str | None,
) -> None:
    """Another host, port, user or encryption needs the password again; another database keeps it (S4)."""
    register("shop", VALUES)
    given = {field: value} if password is None else {field: value, "password": password}
    if not is_elsewhere:
        record = services.connections.update(keeper, "shop", ChangedConnection(given), HERE)
        assert services.connection_secrets.open(record).current == {"password": VALUES["password"]}
        return
    with pytest.raises(InvalidInput) as refused:
        services.connections.update(keeper, "shop", ChangedConnection(given), HERE)
    assert refused.value.field == "password"
    assert services.connections.get_now(keeper, "shop").details[field] == {"tlsMode": "verify-full"}.get(
        field, VALUES.get(field)
    )
    given["password"] = "entered again"
    record = services.connections.update(keeper, "shop", ChangedConnection(given), HERE)
    assert record.details[field] == value
    assert services.connection_secrets.open(record).current == {"password": "entered again"}
