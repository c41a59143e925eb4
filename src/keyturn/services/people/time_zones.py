"""The time zones that a person may choose, as this machine knows them (IANA time zone database)."""

import zoneinfo
from collections.abc import Sequence
from functools import cache

_AREAS = frozenset(
    {
        "Africa", "America", "Antarctica", "Arctic", "Asia",
        "Atlantic", "Australia", "Europe", "Indian", "Pacific", "UTC",
    }
)  # fmt: skip
"""Other names are old, or are offsets with their sign reversed."""


@cache
def time_zone_names() -> Sequence[str]:
    """Return the names that are offered, in alphabetical order."""
    return sorted(name for name in zoneinfo.available_timezones() if name.partition("/")[0] in _AREAS)


def find_time_zone(name: str | None) -> zoneinfo.ZoneInfo | None:
    """Return the zone of this name; None without a name, and for one that this machine does not know.

    A database may have come from a machine that knew more.
    """
    return zoneinfo.ZoneInfo(name) if name is not None and name in time_zone_names() else None
