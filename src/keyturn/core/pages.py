"""Long lists, a page at a time: no list is read whole that somebody else can make longer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_PAGE = 200
"""How many things are read at once at most."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, over which it iterates."""

    count: int
    """How many there are in the whole list."""
    items: tuple[T, ...]

    def __iter__(self) -> Iterator[T]:
        """Yield what is on this page."""
        return iter(self.items)

    def __len__(self) -> int:
        """Return how many are on this page."""
        return len(self.items)

    def __getitem__(self, number: int) -> T:
        """Return what stands at this place of the page."""
        return self.items[number]


def every(read: Callable[[int, int], Page[T]]) -> Iterator[T]:
    """Yield a whole list, a page at a time, for the command line; `read` takes an offset and a size."""
    offset = 0
    while items := read(offset, MAX_PAGE).items:
        yield from items
        offset += len(items)
