"""A list of keys: what is asked of it by its address, and the addresses that ask otherwise."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from keyturn.core.searches import KeyCounts, KeyFilter, KeyOrder, KeySearch
from keyturn.web.requests import AnyRequest

KEYS_PER_PAGE = 20
"""So that a page of them stays under 60 KB, with its stylesheet."""
MAX_TEXT = 254
COLUMNS: Mapping[str, KeyOrder] = {
    "name": KeyOrder.NAME,
    "owner": KeyOrder.OWNER,
    "state": KeyOrder.STATE,
    "used": KeyOrder.USED,
    "expires": KeyOrder.EXPIRES,
}
"""By which columns a list is ordered, by their names in the address."""
FIRST_DESCENDING = frozenset({"used"})
"""Columns whose largest value is asked for first."""


@dataclass(frozen=True, slots=True)
class Sorting:
    """The order of a list, for the heads of its columns and for the choice on narrow screens."""

    path: str
    kept: Mapping[str, str]
    """The rest of the query."""
    sort: str
    columns: tuple[str, ...]

    @property
    def choices(self) -> tuple[tuple[str, str], ...]:
        """The orders, with their words."""
        words = {
            "name": "Name",
            "owner": "Owner",
            "state": "State",
            "used": "Last used",
            "expires": "Expires",
        }
        return (
            ("", "Newest"),
            *((name if name not in FIRST_DESCENDING else f"-{name}", words[name]) for name in self.columns),
        )

    def order_of(self, column: str) -> str:
        """Return how the list is ordered by this column, as `aria-sort` says it."""
        if self.sort.removeprefix("-") != column:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    def address_of(self, column: str) -> str:
        """Return where the list is ordered by this column, or the other way round if it is already."""
        is_first_descending = column in FIRST_DESCENDING
        if self.order_of(column) == "none":
            wanted = f"-{column}" if is_first_descending else column
        else:
            wanted = column if self.sort.startswith("-") else f"-{column}"
        return f"{self.path}?{urlencode({**self.kept, 'sort': wanted})}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the list, with how many are in it."""

    label: str
    count: int
    address: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The search, the part, the order and the page of a list of keys."""

    path: str
    text: str
    part: KeyFilter | None
    sort: str
    further: Mapping[str, str] = field(default_factory=dict)
    """Further choices, of those that the list offers."""

    @property
    def query(self) -> dict[str, str]:
        """The query of its address."""
        part = "" if self.part is None else self.part.value
        named = {"q": self.text, **self.further, "state": part, "sort": self.sort}
        return {name: value for name, value in named.items() if value}

    @property
    def values(self) -> dict[str, str]:
        """The same for the fields of the form, with what is empty."""
        return {"q": "", "state": "", "sort": "", **self.further, **self.query}

    def search(self, **others: Any) -> KeySearch:
        """Return the search; `others` are further fields of it."""
        order = COLUMNS.get(self.sort.removeprefix("-"), KeyOrder.CREATED)
        is_descending = self.sort.startswith("-") or order is KeyOrder.CREATED
        wanted = {"text": self.text or None, **others}
        return KeySearch(part=self.part, order=order, is_descending=is_descending, **wanted)

    def sorting(self, *columns: str) -> Sorting:
        """Return how the list is ordered."""
        kept = {name: value for name, value in self.query.items() if name != "sort"}
        return Sorting(self.path, kept, self.sort, columns)

    def segments(self, counts: KeyCounts, *parts: KeyFilter) -> list[Segment]:
        """Return all keys and these parts of them, each with its address."""
        words = {
            KeyFilter.ACTIVE: ("Active", counts.active),
            KeyFilter.SOON: ("Expires soon", counts.soon),
            KeyFilter.SUSPENDED: ("Suspended", counts.suspended),
            KeyFilter.ENDED: ("Ended", counts.ended),
        }
        kept = {name: value for name, value in self.query.items() if name != "state"}
        found = [Segment("All", counts.total, self._address(kept), self.part is None)]
        for part in parts:
            label, count = words[part]
            address = self._address({**kept, "state": part.value})
            found.append(Segment(label, count, address, self.part is part))
        return found

    def _address(self, query: Mapping[str, str]) -> str:
        return f"{self.path}?{urlencode(query)}" if query else self.path


def list_query(
    request: AnyRequest,
    path: str,
    columns: tuple[str, ...],
    choices: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> ListQuery:
    """Read what is asked of a list; what is no part, no column and no choice of it asks for nothing.

    `choices` are further things that may be asked, each with the values that it may have.
    """
    return read_list(request.query_params, path, columns, choices)


def read_list(
    asked: Mapping[str, Any], path: str, columns: tuple[str, ...], choices: Mapping[str, Collection[str]]
) -> ListQuery:
    """Read the same from a form."""
    names = ("q", "state", "sort", *choices)
    given = {name: str(asked.get(name, "")).strip() for name in names}
    part = KeyFilter(given["state"]) if given["state"] in set(KeyFilter) else None
    sort = given["sort"] if given["sort"].removeprefix("-") in columns else ""
    further = {name: given[name] if given[name] in values else "" for name, values in choices.items()}
    return ListQuery(path, given["q"][:MAX_TEXT], part, sort, further)
