"""Rows that are over are removed by and by, in batches that fit into their time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select

from keyturn.core.records import hour_of
from keyturn.errors import StoreUnavailable
from keyturn.services.installation import retention
from keyturn.services.installation.retention import KEPT, LISTED, Pruning, Retention, next_size
from keyturn.services.keys.keys import NewKey
from keyturn.services.keys.uses import SHOWN_DAYS
from keyturn.store.database.schema import api_key, api_key_use
from keyturn.store.installation.retention import ENDED_SESSIONS, USES
from tests.people import HERE

if TYPE_CHECKING:
    import pytest

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from tests.fakes import Clock

MILLISECOND = timedelta(milliseconds=1)


def count_uses(services: Services) -> int:
    with services.store._database.reading() as connection:
        return connection.execute(select(func.count()).select_from(api_key_use)).scalar_one()


def fill(services: Services, key_id: int, hours: int) -> None:
    """Let a key have been used in each of so many hours, the last of them 90 days ago."""
    last = hour_of(services.system.now() - KEPT) - 1
    rows = [{"key_id": key_id, "hour": last - number, "uses": 1} for number in range(hours)]
    with services.store._database.writing() as connection:
        connection.execute(insert(api_key_use), rows)


def test_counts_of_all_that_is_shown_are_kept(services: Services, bob: Principal) -> None:
    """Uses are kept for the days of the chart, and removed the hour after."""
    key = services.keys.create(bob, HERE, NewKey()).record
    fill(services, key.key_id, 3)
    with services.store._database.writing() as connection:
        first_shown = hour_of(services.system.now() - timedelta(days=SHOWN_DAYS))
        connection.execute(insert(api_key_use), [{"key_id": key.key_id, "hour": first_shown, "uses": 1}])

    assert not services.retention.look()

    assert count_uses(services) == 1


def test_a_large_table_is_removed_in_pages(services: Services, bob: Principal) -> None:
    """More rows than are listed at once are all removed by one look."""
    key = services.keys.create(bob, HERE, NewKey()).record
    fill(services, key.key_id, 2 * LISTED + 3)

    assert Pruning(services.store, services.system).prune(USES, services.system.now() - KEPT) == (
        2 * LISTED + 3,
        False,
    )

    assert count_uses(services) == 0


def test_a_look_has_an_end(services: Services, bob: Principal) -> None:
    """At the end of its time, and when the server stops, a look leaves the rest, and says so."""
    key = services.keys.create(bob, HERE, NewKey()).record
    fill(services, key.key_id, 3)
    pruning, before = Pruning(services.store, services.system), services.system.now() - KEPT

    assert pruning.prune(USES, before, until=services.system.monotonic()) == (0, True)
    pruning.stop()
    assert pruning.prune(USES, before) == (0, True)
    assert count_uses(services) == 3


def test_a_batch_is_as_large_as_its_time_allows() -> None:
    """After a quick batch comes one twice as large, after a slow one a smaller one, and never none."""
    assert next_size(8, 0.0) == 16
    assert next_size(100, retention.WRITE_SECONDS) == 100
    assert next_size(100, retention.WRITE_SECONDS * 4) == 25
    assert next_size(1, 60.0) == 1
    assert next_size(LISTED, 0.0) == LISTED


def test_what_another_process_removes_is_left_to_it(services: Services, bob: Principal) -> None:
    """A process that finds its rows gone leaves off, and looks again at its next turn."""
    key = services.keys.create(bob, HERE, NewKey()).record
    fill(services, key.key_id, 20)
    before = services.system.now() - KEPT
    store, listed = services.store, services.store.retention.list_over
    rows = listed(USES, before, after=None, size=LISTED)
    other = Pruning(store, services.system)
    store.retention.remove(USES, before, rows[:8])

    class Late(type(store.retention)):  # type: ignore[misc]
        """Lists what was there before the other process came."""

        def list_over(self, *_: object, **__: object) -> list[tuple[int, ...]]:
            return rows

    store.retention = Late(store._database)

    assert other.prune(USES, before) == (0, False)
    assert count_uses(services) == 12


def test_ended_keys_are_history_unless_the_operator_says_otherwise(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """Without a setting an ended key stays; with it, it goes when the days are over, and not before."""
    made = services.keys.create(bob, HERE, NewKey())
    services.keys.revoke_own(bob, made.record.key_id, HERE)
    at = services.system.now()

    def keys() -> int:
        with services.store._database.reading() as connection:
            return connection.execute(select(func.count()).select_from(api_key)).scalar_one()

    kept = Retention(
        Pruning(services.store, services.system),
        ended_keys_kept=timedelta(days=365),
        system=services.system,
    )
    clock.advance(timedelta(days=365))
    services.retention.look()
    kept.look()
    assert keys() == 1

    clock.advance(MILLISECOND)
    services.retention.look()
    assert keys() == 1
    kept.look()
    assert keys() == 0
    assert services.system.now() - at == timedelta(days=365) + MILLISECOND


def test_a_failure_leaves_the_rest_to_others(
    services: Services, bob: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one table cannot be pruned, the others are."""
    key = services.keys.create(bob, HERE, NewKey()).record
    fill(services, key.key_id, 3)
    store = services.store.retention
    listed = store.list_over

    def failing(pruned: object, *arguments: object, **options: object) -> object:
        if pruned is ENDED_SESSIONS:
            raise StoreUnavailable("away")
        return listed(pruned, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "list_over", failing)

    assert not services.retention.look()

    assert count_uses(services) == 0
