"""The installation's row and its signing keys."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from keyturn.core.records import SigningKeyRecord
from keyturn.store import Store
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_SECONDS = 10


def test_an_installation_begins_once(engine: Engine) -> None:
    """The first proof of the root key is kept for ever; a second beginning changes nothing."""
    store = Store(engine)
    assert store.installation.find_root_key_check() is None

    store.installation.begin(b"first", NOW)
    store.installation.begin(b"second", NOW)

    assert store.installation.find_root_key_check() == b"first"
    assert store.installation.revision() == 0
    assert store.installation.is_setup_open()


def test_the_faster_node_begins(engine: Engine) -> None:
    """When another node begins the installation at the same moment, its proof stays and nothing fails."""
    store = Store(engine)
    failures: list[BaseException] = []

    def begin() -> None:
        try:
            store.installation.begin(b"slower", NOW)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    slower = threading.Thread(target=begin)
    with engine.connect() as other:
        other.execute(
            text(
                "INSERT INTO installation (id, root_key_check, revision, created_at) VALUES (1, :check, 0, 0)"
            ),
            {"check": b"faster"},
        )
        slower.start()
        if engine.dialect.name == "postgresql":
            wait_until(lambda: is_waiting_for_a_lock(engine))
        other.commit()
    slower.join()

    assert failures == []
    assert store.installation.find_root_key_check() == b"faster"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing waits for the lock"
        time.sleep(0.005)


def is_waiting_for_a_lock(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(
            connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            ).scalar()
        )


def a_signing_key(kid: str, algorithm: str = "ES256", **changed: object) -> SigningKeyRecord:
    values = {"kid": kid, "algorithm": algorithm, "sealed_jwk": kid.encode(), "created_at": NOW}
    return SigningKeyRecord(**(values | changed))  # type: ignore[arg-type]


def test_there_is_one_signing_key_per_algorithm(store: Store) -> None:
    """A second key for an algorithm is not stored, and says so; one for another algorithm is."""
    assert store.installation.add_signing_key(a_signing_key("a"), an_entry())
    assert not store.installation.add_signing_key(a_signing_key("b"), an_entry())
    assert store.installation.add_signing_key(
        a_signing_key("c", "EdDSA", created_at=NOW + timedelta(1)), an_entry()
    )

    assert [key.kid for key in store.installation.list_signing_keys()] == ["c", "a"]
    assert store.installation.revision() == 2


def test_a_retired_signing_key_is_not_listed(store: Store, engine: Engine) -> None:
    """A retired key verifies nothing more, and leaves its place to a new one."""
    store.installation.add_signing_key(a_signing_key("a"), an_entry())
    with engine.begin() as connection:
        connection.execute(text("UPDATE signing_key SET retired_at = 1"))

    assert store.installation.list_signing_keys() == []
    assert store.installation.add_signing_key(a_signing_key("b"), an_entry())


def test_nodes_that_start_together_share_a_signing_key(store: Store) -> None:
    """Of nodes that make a signing key at once, one does, and the others use it."""
    nodes = 8

    outcomes = all_at_once(
        nodes, lambda number: store.installation.add_signing_key(a_signing_key(f"kid{number}"), an_entry())
    )

    assert sorted(map(str, outcomes)) == ["False"] * (nodes - 1) + ["True"]
    assert len(store.installation.list_signing_keys()) == 1


def test_sealed_bytes_are_kept_as_they_are(store: Store) -> None:
    """Whatever bytes were sealed are read back."""
    for algorithm, sealed in (("ES256", b""), ("EdDSA", b"\x00\xff" * 300)):
        store.installation.add_signing_key(a_signing_key(algorithm, algorithm, sealed_jwk=sealed), an_entry())

        assert sealed in [key.sealed_jwk for key in store.installation.list_signing_keys()]
