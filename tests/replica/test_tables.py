"""The packed table answers as a dictionary would, whatever was written and taken out."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from keyturn.replica.tables import PackedTable

# Few digests that begin alike, so that searches meet each other, and few numbers, so that rows are replaced.
DIGESTS = [bytes([place % 3]) * 8 + bytes([place]) * 24 for place in range(12)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(DIGESTS), st.integers(1, 9), st.integers(0, 2**32 - 1)),
        st.tuples(st.just("remove"), st.integers(1, 9)),
    ),
    max_size=60,
)


class Model:
    """The same in objects."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[bytes, int, int]] = {}

    def put(self, digest: bytes, number: int, more: int) -> None:
        self.rows = {
            known: row for known, row in self.rows.items() if row[0] != digest and known != number
        } | {number: (digest, number, more)}

    def remove(self, number: int) -> None:
        self.rows.pop(number, None)


@given(STEPS)
def test_it_is_a_dictionary_by_both(steps: list[tuple[object, ...]]) -> None:
    """After any writes and removals each row is found by its digest and its number, and nothing else is."""
    table, model = PackedTable("I"), Model()
    for name, *arguments in steps:
        for one in (table, model):
            getattr(one, str(name))(*arguments)
        by_digest = {row[0]: row for row in model.rows.values()}
        assert [table.find_digest(digest) for digest in DIGESTS] == [by_digest.get(d) for d in DIGESTS]
        assert [table.find_number(number) for number in range(1, 10)] == [
            model.rows.get(number) for number in range(1, 10)
        ]
        assert len(table) == len(model.rows)
        assert sorted(table.numbers_where(lambda row: row[2] % 2 == 0)) == sorted(
            number for number, row in model.rows.items() if row[2] % 2 == 0
        )


def test_it_grows() -> None:
    """Many more rows than it began with are all found, and none after they were taken out."""
    table = PackedTable("")
    digests = [hashlib.sha256(number.to_bytes(4)).digest() for number in range(5000)]
    for number, digest in enumerate(digests):
        table.put(digest, number)
    assert all(table.find_digest(digest) == (digest, number) for number, digest in enumerate(digests))
    for number in range(0, 5000, 2):
        table.remove(number)
    for number, digest in enumerate(digests):
        found = (digest, number) if number % 2 else None
        assert table.find_digest(digest) == table.find_number(number) == found


def test_the_largest_number_is_a_number() -> None:
    """Ids are as large as a database column holds."""
    table = PackedTable("q")
    for number in (2**63 - 1, 1, 2**62):
        table.put(bytes([number % 251]) * 32, number, -(2**63))
    assert table.find_number(2**63 - 1) == (bytes([(2**63 - 1) % 251]) * 32, 2**63 - 1, -(2**63))
