"""A long list, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

T = TypeVar("T")

ROWS = 50


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list is shown, and the addresses of those beside it."""

    number: int
    count: int
    size: int
    total: int
    before: str | None
    after: str | None

    @property
    def offset(self) -> int:
        """How many rows come before this page."""
        return (self.number - 1) * self.size

    def part_of(self, rows: Sequence[T]) -> Sequence[T]:
        """Return those of all rows that are on this page."""
        return rows[self.offset : self.offset + self.size]


def paging(total: int, wanted: int, path: str, *, size: int = ROWS, **query: str) -> Paging:
    """Return the page that is asked for, or the nearest there is. `query` is kept in the addresses."""
    count = max(1, -(-total // size))
    number = min(max(wanted, 1), count)
    kept = {name: value for name, value in query.items() if value}

    def address(page: int) -> str | None:
        return f"{path}?{urlencode({**kept, 'page': page})}" if 1 <= page <= count else None

    return Paging(number, count, size, total, before=address(number - 1), after=address(number + 1))
