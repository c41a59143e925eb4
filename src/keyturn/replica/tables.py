"""Rows of one form, packed into bytes, and found by a digest or by a number.

    rows        ▕digest 32│number 8│the rest…▏▕digest│number│…▏▕…     one bytearray
    by digest   ▕·│3│·│·│1│2│·│·▏    row + 1, at the slot that the digest says or the next free one
    by number   ▕2│·│·│1│·│3│·│·▏    the same for the number

An object for each of a million keys would take several times the memory, and the garbage collector's time.
One thread writes; whoever reads holds the lock that the writer holds.
"""

import struct
from array import array
from collections.abc import Callable, Iterator
from typing import Any

DIGEST_BYTES = 32
_FIRST_SLOTS = 1024
_GOLDEN = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: spreads numbers that follow each other (Knuth, volume 3, 6.4)."""
_ALL_64 = 2**64 - 1


class PackedTable:
    """The rows, bounded by memory alone."""

    def __init__(self, more: str) -> None:
        """Make an empty table; `more` is the `struct` format of what follows digest and number."""
        self._form = struct.Struct(f"<{DIGEST_BYTES}sq{more}")
        self._size = self._form.size
        self._rows = bytearray()
        self._free: list[int] = []
        self._count = 0
        self._by_digest = _Index(_FIRST_SLOTS, self._digest_home)
        self._by_number = _Index(_FIRST_SLOTS, self._number_home)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self._count

    def find_digest(self, digest: bytes) -> tuple[Any, ...] | None:
        """Return the row with this digest."""
        return self._unpacked(self._row_of_digest(digest))

    def find_number(self, number: int) -> tuple[Any, ...] | None:
        """Return the row with this number."""
        return self._unpacked(self._row_of_number(number))

    def put(self, digest: bytes, number: int, *more: Any) -> None:
        """Write the row with this number. Another that had this digest is gone: a digest is of one row."""
        packed = self._form.pack(digest, number, *more)
        twin, row = self._row_of_digest(digest), self._row_of_number(number)
        if twin is not None and twin != row:
            self._remove(twin)
            twin = None  # Its place may be taken by the row that comes.
        if row is None:
            row = self._added(packed)
            self._by_number.enter(row)
        else:
            if twin != row:
                self._by_digest.leave(row)
            self._rows[row * self._size : (row + 1) * self._size] = packed
        if twin != row:
            self._by_digest.enter(row)

    def remove(self, number: int) -> None:
        """Forget the row with this number, if there is one."""
        row = self._row_of_number(number)
        if row is not None:
            self._remove(row)

    def numbers_where(self, is_wanted: Callable[[tuple[Any, ...]], bool]) -> list[int]:
        """Return the numbers of all rows for which this is true."""
        return [row[1] for row in self._all() if is_wanted(row)]

    def _all(self) -> Iterator[tuple[Any, ...]]:
        free = set(self._free)
        for row, unpacked in enumerate(self._form.iter_unpack(self._rows)):
            if row not in free:
                yield unpacked

    def _added(self, packed: bytes) -> int:
        self._count += 1
        if self._free:
            row = self._free.pop()
            self._rows[row * self._size : (row + 1) * self._size] = packed
            return row
        if self._by_digest.is_full(self._count):
            self._grow()
        self._rows += packed
        return len(self._rows) // self._size - 1

    def _remove(self, row: int) -> None:
        self._by_digest.leave(row)
        self._by_number.leave(row)
        self._free.append(row)
        self._count -= 1

    def _grow(self) -> None:
        """Make both indexes twice as large."""
        free = set(self._free)
        for index in (self._by_digest, self._by_number):
            index.begin_anew()
            for row in range(len(self._rows) // self._size):
                if row not in free:
                    index.enter(row)

    def _unpacked(self, row: int | None) -> tuple[Any, ...] | None:
        return None if row is None else self._form.unpack_from(self._rows, row * self._size)

    def _row_of_digest(self, digest: bytes) -> int | None:
        rows, size, slots, mask = self._rows, self._size, self._by_digest.slots, self._by_digest.mask
        slot = int.from_bytes(digest[:8], "little") & mask
        while row := slots[slot]:
            if rows.startswith(digest, (row - 1) * size):
                return row - 1
            slot = (slot + 1) & mask
        return None

    def _row_of_number(self, number: int) -> int | None:
        rows, size, slots, mask = self._rows, self._size, self._by_number.slots, self._by_number.mask
        packed = number.to_bytes(8, "little", signed=True)
        slot = (int.from_bytes(packed, "little") * _GOLDEN & _ALL_64) >> 24 & mask
        while row := slots[slot]:
            if rows.startswith(packed, (row - 1) * size + DIGEST_BYTES):
                return row - 1
            slot = (slot + 1) & mask
        return None

    def _digest_home(self, row: int) -> int:
        at = row * self._size
        return int.from_bytes(self._rows[at : at + 8], "little")

    def _number_home(self, row: int) -> int:
        at = row * self._size + DIGEST_BYTES
        return (int.from_bytes(self._rows[at : at + 8], "little") * _GOLDEN & _ALL_64) >> 24


class _Index:
    """Open addressing with linear probing (Knuth, volume 3, section 6.4, algorithms L and R)."""

    __slots__ = ("_home", "mask", "slots")

    def __init__(self, slots: int, home: Callable[[int], int]) -> None:
        self._home = home
        self.slots = array("I", bytes(4 * slots))
        self.mask = slots - 1

    def is_full(self, count: int) -> bool:
        """Return whether so many rows would make searches long."""
        return count * 3 > (self.mask + 1) * 2

    def begin_anew(self) -> None:
        """Become empty, and twice as large."""
        slots = (self.mask + 1) * 2
        self.slots = array("I", bytes(4)) * slots
        self.mask = slots - 1

    def enter(self, row: int) -> None:
        """Take in a row, which is written already."""
        slots, mask = self.slots, self.mask
        slot = self._home(row) & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot] = row + 1

    def leave(self, row: int) -> None:
        """Take a row out, while it is still as it was when it was entered."""
        slots, mask = self.slots, self.mask
        hole = self._home(row) & mask
        while slots[hole] != row + 1:
            hole = (hole + 1) & mask
        # Whatever was put further because this was taken moves back: a search ends at the first free slot.
        slot = hole
        while True:
            slot = (slot + 1) & mask
            if not slots[slot]:
                break
            home = self._home(slots[slot] - 1) & mask
            if (slot - home) & mask >= (slot - hole) & mask:
                slots[hole] = slots[slot]
                hole = slot
        slots[hole] = 0
