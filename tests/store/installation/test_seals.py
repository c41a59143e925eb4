"""Everything that is encrypted under the root key, read and renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import LargeBinary

from keyturn.core.seals import head_of
from keyturn.errors import Conflict
from keyturn.store.database.schema import metadata
from keyturn.store.installation.seals import SEALED_COLUMNS, SealedRow
from keyturn.store.keys.system_keys import SystemKeyToAdd
from tests.store.rows import LATER_SEAL, SEAL, a_key, an_entry

if TYPE_CHECKING:
    from keyturn.store import Store

DIGESTS = ("digest", "_digest", "fingerprint")
(SYSTEM_KEYS,) = [column for column in SEALED_COLUMNS if column.sealed.table.name == "system_key"]


def add_system_keys(store: Store, user_id: int, *names: str) -> None:
    for name in names:
        store.system_keys.add(SystemKeyToAdd(a_key(user_id), name, "one", (), SEAL), an_entry())


def begin_rotation(store: Store) -> bytes:
    """Have another root key seal; return the head of its seals."""
    store.seals.begin_rotation(SEAL, LATER_SEAL, an_entry())
    return head_of(LATER_SEAL)


def names(rows: list[SealedRow]) -> list[object]:
    return [row.row for row in rows]


def test_every_column_of_bytes_is_a_digest_or_renewed() -> None:
    """A table that comes to hold a seal stands in the list of a rotation, by a unique name of its rows."""
    seals = {
        column
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary) and not column.name.endswith(DIGESTS)
    }

    assert {column.sealed for column in SEALED_COLUMNS} == seals
    for column in SEALED_COLUMNS:
        assert column.row.table is column.sealed.table
        assert column.row.unique or list(column.row.table.primary_key) == [column.row]


def test_rows_are_read_in_batches(store: Store, bob: int) -> None:
    """Each batch begins behind the last row of the one before, and empty columns are left out."""
    add_system_keys(store, bob, "c", "a", "b")

    first = store.seals.list_rows(SYSTEM_KEYS, size=2)

    assert names(first) == ["a", "b"]
    assert (first[0].table, first[0].column, first[0].seal) == ("system_key", "sealed_secret", SEAL)
    assert names(store.seals.list_rows(SYSTEM_KEYS, size=2, after="b")) == ["c"]
    for column in SEALED_COLUMNS:
        expected = {"installation": [1], "system_key": ["a", "b", "c"]}.get(column.sealed.table.name, [])
        assert names(store.seals.list_rows(column, size=10)) == expected


def test_rows_of_another_root_key_are_found_and_renewed(store: Store, bob: int) -> None:
    """What has the new head is no longer found, and the count goes down with it."""
    add_system_keys(store, bob, "a", "b")
    head = begin_rotation(store)
    assert store.seals.count_unlike(head) == 2
    assert store.seals.count_unlike(head_of(SEAL)) == 1
    first, second = store.seals.list_rows(SYSTEM_KEYS, size=10, unlike=head)

    assert store.seals.renew(SYSTEM_KEYS, [(first, LATER_SEAL)], head=head) == 1

    assert store.seals.list_rows(SYSTEM_KEYS, size=10, unlike=head) == [second]
    assert store.seals.count_unlike(head) == 1
    record = store.system_keys.find_by_name("a")
    assert record is not None
    assert record.sealed_secret == LATER_SEAL


def test_a_row_that_changed_meanwhile_is_not_renewed(store: Store, bob: int) -> None:
    """A seal that was replaced, and a row that is gone, since they were read stay as they are."""
    add_system_keys(store, bob, "a")
    head = begin_rotation(store)
    (row,) = store.seals.list_rows(SYSTEM_KEYS, size=10)
    assert store.seals.renew(SYSTEM_KEYS, [(row, LATER_SEAL)], head=head) == 1
    gone = SealedRow(row.table, "gone", row.column, SEAL)
    other = LATER_SEAL + b"other"

    assert store.seals.renew(SYSTEM_KEYS, [(row, other), (gone, other)], head=head) == 0

    assert [one.seal for one in store.seals.list_rows(SYSTEM_KEYS, size=10)] == [LATER_SEAL]


def test_nothing_is_renewed_under_a_former_root_key(store: Store, bob: int) -> None:
    """A rotation that another has overtaken is told so, and changes nothing."""
    add_system_keys(store, bob, "a")
    (row,) = store.seals.list_rows(SYSTEM_KEYS, size=10)
    begin_rotation(store)

    for renewed in ([], [(row, SEAL + b"again")]):
        with pytest.raises(Conflict, match="Another rotation"):
            store.seals.renew(SYSTEM_KEYS, renewed, head=head_of(SEAL))

    assert store.seals.list_rows(SYSTEM_KEYS, size=10) == [row]


def test_a_seal_is_not_shown() -> None:
    """The repr of a row names its place and holds no ciphertext."""
    assert "sealed" not in repr(SealedRow("table", "row", "column", b"sealed"))
