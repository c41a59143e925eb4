"""Values of the copy: in few bytes, and back; and a few at a time."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from keyturn.core.networks import Network, read_network
from keyturn.core.times import time_at

T = TypeVar("T")

NONE = -(2**63)
"""The packed number for None."""


class Interned:
    """Values that many rows share, each kept once, by a number; 0 is none."""

    def __init__(self, made: Callable[[Any], Any]) -> None:
        self._made = made
        self._numbers: dict[Any, int] = {}
        self._values: list[Any] = [None]

    def number(self, given: Any) -> int:
        """Return the number of a value."""
        if given is None:
            return 0
        name = tuple(given) if isinstance(given, list) else given
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._values)
            self._values.append(self._made(name))
        return number

    def __len__(self) -> int:
        """Return how many there are, without none."""
        return len(self._values) - 1

    def value(self, number: int) -> Any:
        """Return the value with this number."""
        return self._values[number]


class KeyValues:
    """Values that keys share: scopes, networks, key pairs. The tables are made anew by each full copy.

    So they do not grow for ever. Until it is whole, rows that it has not told yet have their numbers in the
    former tables. One that was cut off is gone on with: there are never more than two of each.
    """

    def __init__(self) -> None:
        self._present = self._former = _tables()
        self._since = 0
        self._is_whole = False

    def begin(self, turn: int) -> None:
        """Begin the full copy of this number."""
        if self._is_whole:
            self._present, self._since, self._is_whole = _tables(), turn, False

    def end(self) -> None:
        """End a full copy: every row was written in it."""
        self._former, self._is_whole = self._present, True

    def numbers(self, *values: Any) -> list[int]:
        """Return the numbers of scopes, networks and key pair, for a row that is written now."""
        return [table.number(value) for table, value in zip(self._present, values, strict=True)]

    def of_row(self, scopes: int, sources: int, jkt: int, turn: int) -> list[Any]:
        """Return scopes, networks and key pair of a row that was written in this turn."""
        tables = self._present if turn >= self._since else self._former
        return [table.value(number) for table, number in zip(tables, (scopes, sources, jkt), strict=True)]


def _tables() -> tuple[Interned, Interned, Interned]:
    return Interned(frozenset), Interned(networks_of), Interned(str)


def packed(number: int | None) -> int:
    """Return a number, or what stands for none."""
    return NONE if number is None else number


def unpacked_time(stored: int) -> datetime | None:
    """Read a packed time, or none."""
    return None if stored == NONE else time_at(stored)


def networks_of(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Read the networks of a key."""
    return tuple(map(read_network, texts))


def slices(values: Iterable[T], at_most: int) -> Iterator[list[T]]:
    """Yield the values, so many at a time."""
    rest = iter(values)
    while some := list(islice(rest, at_most)):
        yield some
