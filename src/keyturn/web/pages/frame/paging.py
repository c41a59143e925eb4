"""A long list, a page at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from keyturn.core.pages import Page

T = TypeVar("T")

ROWS = 20
"""So that a page of two-line rows stays under 60 KB, with its stylesheet."""
MAX_NUMBER = 1_000_000
"""No list has more pages, and no database is asked for more."""


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list is shown, and the addresses of those beside it."""

    number: int
    count: int
    size: int
    total: int
    before: str | None
    after: str | None
    pages: tuple[tuple[int | None, str | None], ...] = ()
    """The numbers of the pages that are offered, with their addresses; None stands for those left out."""

    @property
    def offset(self) -> int:
        """How many rows come before this page."""
        return (self.number - 1) * self.size


def paging(
    total: int, wanted: int, path: str, *, size: int = ROWS, parameter: str = "page", **query: str
) -> Paging:
    """Return the page that is asked for, or the nearest there is. `query` is kept in the addresses.

    `path` may have a query too, which names parameters more than once.
    `parameter` is what the addresses call the number of the page.
    """
    count = max(1, -(-total // size))
    number = min(max(wanted, 1), count)
    kept = {name: value for name, value in query.items() if value}

    def address(page: int) -> str | None:
        joint = "&" if "?" in path else "?"
        return f"{path}{joint}{urlencode({**kept, parameter: page})}" if 1 <= page <= count else None

    return Paging(
        number,
        count,
        size,
        total,
        before=address(number - 1),
        after=address(number + 1),
        pages=tuple((one, None if one is None else address(one)) for one in _offered(number, count)),
    )


def _offered(number: int, count: int) -> Iterator[int | None]:
    """Yield the first page, the last, and those around this one; None where some are left out."""
    near = sorted({1, count, *range(max(1, number - 1), min(count, number + 1) + 1)})
    for before, one in zip([0, *near], near, strict=False):
        if one == before + 2:
            yield before + 1  # A gap would take as much room as the one page that it hides.
        elif one > before + 1:
            yield None
        yield one


def read_page(
    read: Callable[[int, int], Page[T]],
    wanted: int,
    path: str,
    *,
    size: int = ROWS,
    parameter: str = "page",
    **query: str,
) -> tuple[Paging, tuple[T, ...]]:
    """Read the page that is asked for, or the nearest there is, with an offset and a size; see `paging`."""
    wanted = min(max(wanted, 1), MAX_NUMBER)
    found = read((wanted - 1) * size, size)
    at = paging(found.count, wanted, path, size=size, parameter=parameter, **query)
    if at.number != wanted:
        found = read(at.offset, size)
    return at, found.items
