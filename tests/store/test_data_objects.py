"""Objects behind connections as rows: lists and searches of those that a connection shows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from keyturn.core.connections import FoundObject, ObjectPath, ObjectRole, ObjectSettings
from keyturn.store.connections import objects
from tests.store.rows import NOW, an_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from keyturn.core.connections import DataObject
    from keyturn.core.pages import Page
    from keyturn.store import Store


@pytest.fixture
def shop(store: Store, bob: int) -> int:
    """The id of a connection."""
    return store.connections.add("shop", {"technology": "PostgreSQL"}, bob, an_entry())


def found(*path: str) -> FoundObject:
    """A table, of which nothing else matters."""
    return FoundObject(path, "table", None, hashlib.sha256(repr(path).encode()).digest()[:16])


def crawl(store: Store, connection_id: int, *paths: ObjectPath) -> None:
    """Show these objects, and no others any more."""
    number = store.data_objects.begin_crawl(connection_id)
    assert number is not None
    known = store.data_objects.known(connection_id)
    store.data_objects.add(connection_id, number, [found(*path) for path in paths], [number] * len(paths))
    store.data_objects.end([one.object_id for one in known.values()], number)
    store.data_objects.finish(connection_id, number, NOW)


def names(page: Page[DataObject]) -> Sequence[str]:
    return [one.path[-1] for one in page]


def test_a_text_is_searched_for_as_it_stands(store: Store, shop: int) -> None:
    """Nothing in it is a pattern; case and accents make no difference, and nothing else than names counts."""
    crawl(
        store,
        shop,
        ("db", "a_b"),
        ("db", "axb"),
        ("db", "50%"),
        ("db", "GRÖSSE"),
        ("db", "a\\b"),
        ("db", "\U0001f600"),
    )

    for text, expected in (
        ("_", ["a_b"]),
        ("%", ["50%"]),
        ("\\", ["a\\b"]),
        ("größe", []),
        ("grosse", ["GRÖSSE"]),
        ("RÖS", ["GRÖSSE"]),
        ("\U0001f600", ["\U0001f600"]),
        ("A", ["a\\b", "a_b", "axb"]),
        ("db", []),
    ):
        assert sorted(names(store.data_objects.search([shop], text))) == sorted(expected), text


def test_pages_of_objects_neither_overlap_nor_miss(
    store: Store, shop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page tells how many there are, up to a bound, also the one after the last."""
    monkeypatch.setattr(objects, "MAX_COUNTED", 4)
    crawl(store, shop, *(("db", f"t{number}") for number in range(7)))

    for ask in (
        lambda offset: store.data_objects.children(shop, ("db",), offset=offset, size=3),
        lambda offset: store.data_objects.search([shop], "t", offset=offset, size=3),
    ):
        pages = [ask(offset) for offset in (0, 3, 6, 9)]
        assert [names(page) for page in pages] == [["t0", "t1", "t2"], ["t3", "t4", "t5"], ["t6"], []]
        assert {page.count for page in pages} == {5}
    assert store.data_objects.count_below(shop, ("db",)) == 5
    assert store.data_objects.count_below(shop, ("elsewhere",)) == 0


def test_what_is_said_below_a_path_is_counted(store: Store, shop: int) -> None:
    """Of each setting the paths that say something of it; neither the path itself nor one beside it."""
    for path, said in (
        ((), ObjectSettings(is_active=True)),
        (("db",), ObjectSettings(activates_new_children=True)),
        (("db", "s"), ObjectSettings(is_active=False)),
        (("db", "s", "t"), ObjectSettings(is_active=True, roles={ObjectRole.DATA_OWNER: frozenset()})),
        (('db","s', "t"), ObjectSettings(is_active=True)),
        (("dbs", "_"), ObjectSettings(is_active=True)),
    ):
        store.object_settings.change(shop, path, lambda _before, said=said: said, an_entry())

    for path, counts in (
        ((), (4, 1, 1)),
        (("db",), (2, 0, 1)),
        (("db", "s"), (1, 0, 1)),
        (("db", "s", "t"), (0, 0, 0)),
        (("d",), (0, 0, 0)),
    ):
        found = store.object_settings.count_below(shop, path)
        assert (found["is_active"], found["activates_new_children"], found["dataOwners"]) == counts, path
        assert found["infrastructureAdmins"] == 0


def test_a_search_over_connections_shows_the_generation_of_each(store: Store, shop: int, bob: int) -> None:
    """What one shows in its third crawl is found beside what another shows in its first, by name."""
    other = store.connections.add("other", {"technology": "MySQL"}, bob, an_entry())
    crawl(store, shop, ("db", "gone"))
    crawl(store, shop, ("db", "gone too"))
    crawl(store, shop, ("db", "go"), ("db", "goal"))
    crawl(store, other, ("db", "goblet"), ("db", "going"))

    both = store.data_objects.search([shop, other], "go")
    assert (both.count, names(both)) == (4, ["go", "goal", "goblet", "going"])
    assert names(store.data_objects.search([other], "go")) == ["goblet", "going"]
    assert names(store.data_objects.search([], "go")) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_lists_of_objects_are_counted_in_an_index(store: Store, engine: Engine, shop: int) -> None:
    """SQLite reads no row but those of the page: a million rows take it longer than anybody waits."""
    asked: list[tuple[str, object]] = []
    listen = lambda _connection, _cursor, statement, values, *_rest: asked.append((statement, values))  # noqa: E731
    event.listen(engine, "before_cursor_execute", listen)
    store.data_objects.children(shop, ("db",))
    store.data_objects.search([shop], "t")
    event.remove(engine, "before_cursor_execute", listen)

    with engine.connect() as connection:
        plans = [
            " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values))
            for statement, values in asked
            if not statement.startswith("BEGIN")
        ]
    assert "COVERING INDEX ix_data_object_children" in plans[0]
    assert "COVERING INDEX ix_data_object_searched" in plans[1]
