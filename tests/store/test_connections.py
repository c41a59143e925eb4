"""Connections as rows."""

from __future__ import annotations

import pytest

from keyturn.errors import Conflict
from keyturn.store import Store
from tests.store.rows import NOW, a_user, an_entry


def test_a_connection_is_stored_whole(store: Store) -> None:
    """What was given of a connection is what is found, with who made it."""
    bob = store.users.add(a_user(name="Bob", email="bob@example.com"), an_entry()).user_id
    details = {"technology": "Snowflake", "host": "höst", "nested": {"b": [1, None], "a": True}}

    store.connections.add("123456789", details, bob, an_entry())

    found = store.connections.find("123456789")
    assert found is not None
    assert found.details == details
    assert (found.created_at, found.updated_at, found.created_by) == (NOW, NOW, bob)
    assert (found.creator.name, found.creator.email) == ("Bob", "bob@example.com")
    assert found.updater == found.creator


def test_a_connection_is_found_by_its_whole_key(store: Store, bob: int) -> None:
    """No other key finds a connection, no part of it and no pattern either."""
    store.connections.add("123456789", {"technology": "Snowflake"}, bob, an_entry())

    for other in ("", "12345678", "1234567890", "123456789 ", "%", "1_3456789"):
        assert store.connections.find(other) is None


def test_a_connection_key_is_taken_once(store: Store, bob: int) -> None:
    """A second connection with the key of another is a Conflict that names it; case makes another key."""
    store.connections.add("warehouse", {"technology": "Snowflake"}, bob, an_entry())

    with pytest.raises(Conflict, match="warehouse"):
        store.connections.add("warehouse", {"technology": "Redshift"}, bob, an_entry())

    store.connections.add("WAREHOUSE", {"technology": "Redshift"}, bob, an_entry())
