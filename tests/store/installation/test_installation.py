"""The installation's row."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from keyturn.store import Store
from tests.store.rows import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_SECONDS = 10


def test_an_installation_begins_once(engine: Engine) -> None:
    """The first proof of the root key stays; a second beginning changes nothing."""
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
