"""A list of keys: what is asked of it, and its parts."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from keyturn.core.searches import KeyCounts, KeyFilter, KeyOrder, KeySearch
from keyturn.web.pages.frame.lists import Column, ListQuery, Segment, read_list

KEYS_PER_PAGE = 20
"""So that a page of them stays under 60 KB, with its stylesheet."""
COLUMNS: Mapping[str, Column] = {
    "name": Column("Name"),
    "owner": Column("Owner"),
    "state": Column("State"),
    "used": Column("Last used", is_first_descending=True),
    "expires": Column("Expires"),
}
"""The columns by which a list is ordered, by their names in the address."""
_LABELS = {
    KeyFilter.ACTIVE: "Active",
    KeyFilter.SOON: "Expires soon",
    KeyFilter.SUSPENDED: "Suspended",
    KeyFilter.ENDED: "Ended",
}


def key_list(
    asked: Mapping[str, Any],
    path: str,
    columns: Collection[str],
    filters: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> ListQuery:
    """Read what is asked of a list of keys, of which the newest come first."""
    return read_list(
        asked,
        path,
        {name: column for name, column in COLUMNS.items() if name in columns},
        {"state": set(KeyFilter), **filters},
        default="",
        default_label="Newest",
    )


def search_of(asked: ListQuery, **others: Any) -> KeySearch:
    """Return the search for keys; `others` are further fields of it."""
    state = asked.filters["state"]
    order = KeyOrder(asked.column) if asked.column else KeyOrder.CREATED
    wanted: dict[str, Any] = {"text": asked.text or None, "part": KeyFilter(state) if state else None}
    is_descending = asked.is_descending or order is KeyOrder.CREATED
    return KeySearch(**(wanted | {"order": order, "is_descending": is_descending} | others))


def parts_of(asked: ListQuery, counts: KeyCounts, *parts: KeyFilter) -> list[Segment]:
    """Return all keys and these parts of them, each with its address."""
    return asked.segments(
        counts.total, {part.value: (_LABELS[part], getattr(counts, part.value)) for part in parts}
    )
