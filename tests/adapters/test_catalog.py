"""Whatever a crawl finds comes in batches of bounded size, cut and of the right types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.catalog import (
    MAYBE_TEXT,
    TEXT,
    Column,
    Schema,
    Table,
    batches,
    read_columns,
    read_row,
    tables_of_rows,
)
from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.limits import Limits

LIMITS = Limits(batch_objects=10, batch_characters=1_000, name_characters=8, comment_characters=12, columns=9)

TEXTS = st.text(max_size=30)
COLUMNS = st.builds(Column, TEXTS, TEXTS, st.none() | TEXTS)
TABLES = st.builds(
    Table,
    st.tuples(TEXTS, TEXTS),
    TEXTS,
    st.none() | TEXTS,
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.none() | st.lists(COLUMNS, max_size=9).map(tuple),
)
SCHEMAS = st.builds(Schema, st.tuples(TEXTS), st.none() | TEXTS)


@given(st.lists(SCHEMAS | TABLES, max_size=40))
def test_batches_hold_everything_once_in_its_order(found: list[Schema | Table]) -> None:
    """Nothing is lost, doubled or moved, and no batch is larger than it may be."""
    made = list(batches(found, LIMITS))
    assert all(0 < each.objects <= LIMITS.batch_objects for each in made)
    tables = [table for batch in made for table in batch.tables]
    assert [each.fingerprint for each in tables] == [
        each.fingerprint for each in found if isinstance(each, Table)
    ]
    assert sum(len(each.schemas) for each in made) + len(tables) == len(found)
    for table in tables:
        assert all(len(name) <= LIMITS.name_characters for name in table.path)
        assert len(table.comment or "") <= LIMITS.comment_characters
        for column in table.columns or ():
            assert max(len(column.name), len(column.type)) <= LIMITS.name_characters
            assert len(column.comment or "") <= LIMITS.comment_characters


def test_long_comments_make_small_batches() -> None:
    """A batch is bounded by its characters too."""
    columns = tuple(Column("a", "b", "c" * 12) for _ in range(3))
    tables = [Table(("a",), "table", None, "0" * 32, columns) for _ in range(20)]
    made = list(batches(tables, Limits(batch_characters=500)))
    assert [len(each.tables) for each in made] == [3, 3, 3, 3, 3, 3, 2]


def test_too_many_objects_or_columns_end_a_crawl() -> None:
    """One schema more than allowed, and one column more than any database has."""
    for found in (
        [Schema((str(number),)) for number in range(6)],
        [Table(("a",), "table", None, "", (Column("a", "b"),) * 10)],
    ):
        with pytest.raises(Fault) as ended:
            list(batches(found, Limits(objects=5, columns=9)))
        assert ended.value.finding is Finding.TOO_LARGE


@pytest.mark.parametrize(
    "text", [7, b"[]", "", "{}", "[1]", '[["a"]]', '[["a",1]]', '[["a","b",2]]', '[["a","b",null]', '["a"]']
)
def test_columns_of_another_shape_are_refused(text: object) -> None:
    """A false server may answer anything."""
    with pytest.raises(Fault) as ended:
        read_columns(text)
    assert ended.value.finding is Finding.OTHER_PROTOCOL


def test_columns_are_read() -> None:
    """Names with any characters, with and without a comment; None stays None."""
    assert read_columns('[["a\\n\\"","int",null],["b","text","c"]]') == (
        Column('a\n"', "int"),
        Column("b", "text", "c"),
    )
    assert read_columns(None) is None


@pytest.mark.parametrize(
    "row", [None, (), ("a",), ("a", "b", "c"), (1, None), ("a", 1), (None, "a"), "ab", {}]
)
def test_rows_of_another_shape_are_refused(row: object) -> None:
    """A row has as many values as were asked for, of their types."""
    with pytest.raises(Fault):
        read_row(row, TEXT, MAYBE_TEXT)


def test_tables_are_gathered_of_rows() -> None:
    """Rows that come table by table become tables, with a fingerprint that changes with any of them."""
    rows = [("s", "a", "x", "int", None), ("s", "a", "y", "text", "c"), ("s", "b", "x", "int", None)]
    first = list(tables_of_rows(rows, ("db",), frozenset()))
    assert [(each.path, len(each.columns or ())) for each in first] == [
        (("db", "s", "a"), 2),
        (("db", "s", "b"), 1),
    ]
    known = frozenset(each.fingerprint for each in first)
    assert [each.columns for each in tables_of_rows(rows, ("db",), known)] == [None, None]
    rows[1] = ("s", "a", "y", "text", "other")
    second = list(tables_of_rows(rows, ("db",), known))
    assert [each.columns is None for each in second] == [False, True]
    assert list(tables_of_rows([], ("db",), known)) == []
