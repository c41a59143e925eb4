"""A list: what its address asks for (search, filters, order), and the addresses that ask otherwise."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlencode

from keyturn.core.searches import NamedOrder, NamedSearch

N = TypeVar("N", bound=NamedSearch)

MAX_TEXT = 254


@dataclass(frozen=True, slots=True)
class Column:
    """A column by which a list can be ordered."""

    label: str
    is_first_descending: bool = False
    """Whether its largest value is asked for first."""

    def first(self, name: str) -> str:
        """Return the order that its head asks for first, as the address says it."""
        return f"-{name}" if self.is_first_descending else name


@dataclass(frozen=True, slots=True)
class Sorting:
    """The order of a list, for the heads of its columns and for the select on narrow screens."""

    path: str
    kept: Mapping[str, str]
    """The rest of the query."""
    sort: str
    """The name of a column, after a minus if it is descending; "" for the order that nobody asked for."""
    columns: Mapping[str, Column]
    default: str
    """The column of the order that nobody asked for; "" if it is by none of them."""
    default_label: str

    @property
    def choices(self) -> tuple[tuple[str, str], ...]:
        """The orders, each as the address says it, with its words."""
        others = ((name, one) for name, one in self.columns.items() if name != self.default)
        return (("", self.default_label), *((one.first(name), one.label) for name, one in others))

    def order_of(self, column: str) -> str:
        """Return how the list is ordered by this column, as `aria-sort` says it."""
        sort = self.sort or self.default
        if sort.removeprefix("-") != column:
            return "none"
        return "descending" if sort.startswith("-") else "ascending"

    def address_of(self, column: str) -> str:
        """Return where the list is ordered by this column, or the other way round if it is already."""
        match self.order_of(column):
            case "ascending":
                wanted = f"-{column}"
            case "descending":
                wanted = column
            case _:
                wanted = self.columns[column].first(column)
        return address(self.path, {**self.kept, "sort": "" if wanted == self.default else wanted})


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the list, with how many are in it."""

    label: str
    count: int
    address: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The search, the filters and the order of a list."""

    path: str
    columns: Mapping[str, Column]
    text: str = ""
    sort: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    """The values of the filters, by their names; "" where nothing is asked for."""
    default: str = "name"
    default_label: str = "Name"

    @property
    def query(self) -> dict[str, str]:
        """The query of its address."""
        named = {"q": self.text, **self.filters, "sort": self.sort}
        return {name: value for name, value in named.items() if value}

    @property
    def values(self) -> dict[str, str]:
        """The same for the fields of the form, with what is empty."""
        return {"q": self.text, **self.filters, "sort": self.sort}

    @property
    def column(self) -> str:
        """The column by which the list is ordered; "" for none of them."""
        return (self.sort or self.default).removeprefix("-")

    @property
    def is_descending(self) -> bool:
        """Whether that column is ordered from its largest value down."""
        return self.sort.startswith("-")

    @property
    def sorting(self) -> Sorting:
        """How the list is ordered."""
        kept = {name: value for name, value in self.query.items() if name != "sort"}
        return Sorting(self.path, kept, self.sort, self.columns, self.default, self.default_label)

    def segments(self, total: int, parts: Mapping[str, tuple[str, int]]) -> list[Segment]:
        """Return the whole list and these parts of it, each a value of the filter `state`."""
        state = self.filters["state"]
        return [
            Segment("All", total, address(self.path, {**self.query, "state": ""}), not state),
            *(
                Segment(label, count, address(self.path, {**self.query, "state": part}), part == state)
                for part, (label, count) in parts.items()
            ),
        ]


def read_list(
    asked: Mapping[str, Any],
    path: str,
    columns: Mapping[str, Column],
    filters: Mapping[str, Collection[str]] = MappingProxyType({}),
    *,
    default: str = "name",
    default_label: str = "Name",
) -> ListQuery:
    """Read what is asked of a list by an address or a form.

    `filters` are its filters, each with the values that it may have. Another value asks for nothing, as does
    an order by something that is no column.
    """
    given = {name: str(asked.get(name, "")).strip() for name in ("q", "sort", *filters)}
    sort = given["sort"] if given["sort"].removeprefix("-") in columns else ""
    return ListQuery(
        path,
        columns,
        text=given["q"][:MAX_TEXT],
        sort="" if sort == default else sort,
        filters={name: given[name] if given[name] in values else "" for name, values in filters.items()},
        default=default,
        default_label=default_label,
    )


def address(path: str, query: Mapping[str, str]) -> str:
    """Return a path with that part of the query that says something."""
    said = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(said)}" if said else path


def named_search(asked: ListQuery, among: type[N]) -> N:
    """Return the search among groups or projects."""
    return among(asked.text or None, NamedOrder(asked.column), is_descending=asked.is_descending)
