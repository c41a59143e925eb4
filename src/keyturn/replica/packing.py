"""Values of the copy: in few bytes, and back; and a few at a time."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import msgspec

from keyturn.core.restrictions import UNRESTRICTED, Restrictions, restore_restrictions
from keyturn.core.times import time_at

T = TypeVar("T")

NONE = -(2**63)
"""The packed number for None."""


class KnownRestrictions:
    """Values that keys share: each set of restrictions once, by a number; 0 is none.

    The table is made anew by each full copy, so it does not grow for ever. Until that is whole, rows that it
    has not told yet have their numbers in the former table. One that was cut off is gone on with: there are
    never more than two.
    """

    def __init__(self) -> None:
        self._present = self._former = _Table()
        self._since = 0
        self._is_whole = False

    def begin(self, turn: int) -> None:
        """Begin the full copy of this number."""
        if self._is_whole:
            self._present, self._since, self._is_whole = _Table(), turn, False

    def end(self) -> None:
        """End a full copy: every row was written in it."""
        self._former, self._is_whole = self._present, True

    def number(self, told: bytes) -> int:
        """Return the number of restrictions, for a row that is written now; raise `ValueError` for none."""
        return self._present.number(told)

    def of_row(self, number: int, turn: int) -> Restrictions:
        """Return the restrictions of a row that was written in this turn."""
        return (self._present if turn >= self._since else self._former).restrictions[number]

    def __len__(self) -> int:
        """Return how many there are, without none."""
        return len(self._present.restrictions) - 1


class _Table:
    """Restrictions by their number, and numbers by what was told."""

    def __init__(self) -> None:
        self.restrictions = [UNRESTRICTED]
        self._numbers = {b"null": 0}

    def number(self, told: bytes) -> int:
        number = self._numbers.get(told)
        if number is None:
            read = restore_restrictions(_OBJECT.decode(told))
            number = self._numbers[told] = len(self.restrictions)
            self.restrictions.append(read)
        return number


_OBJECT = msgspec.json.Decoder(dict[str, Any])


def packed(number: int | None) -> int:
    """Return a number, or what stands for none."""
    return NONE if number is None else number


def unpacked_time(stored: int) -> datetime | None:
    """Read a packed time, or none."""
    return None if stored == NONE else time_at(stored)


def slices(values: Iterable[T], at_most: int) -> Iterator[list[T]]:
    """Yield the values, so many at a time."""
    rest = iter(values)
    while some := list(islice(rest, at_most)):
        yield some
