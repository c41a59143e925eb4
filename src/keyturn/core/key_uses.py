"""Uses and callers of a key from several sources, put together."""

from collections.abc import Iterable
from dataclasses import replace

from keyturn.core.records import MAX_CALLERS, KeyCaller, KeyUsage, UseCount


def merge_callers(callers: Iterable[KeyCaller]) -> tuple[KeyCaller, ...]:
    """Return the callers that were seen last, the newest first, each of them once: `MAX_CALLERS` at most.

    The store adds a caller to its row by the same rule.
    """
    merged: dict[tuple[str | None, str | None], KeyCaller] = {}
    for caller in callers:
        name = (caller.address, caller.agent)
        merged[name] = _merged(merged[name], caller) if name in merged else caller
    named = sorted(merged.values(), key=lambda caller: (caller.address or "", caller.agent or ""))
    return tuple(sorted(named, key=lambda caller: caller.last_at, reverse=True)[:MAX_CALLERS])


def _merged(one: KeyCaller, other: KeyCaller) -> KeyCaller:
    earlier, later = (one, other) if one.last_at <= other.last_at else (other, one)
    return replace(
        later,
        uses=one.uses + other.uses,
        refused=one.refused + other.refused,
        reason=later.reason or earlier.reason,
        first_at=min(one.first_at, other.first_at),
    )


def add_by_day(
    counts: dict[int, UseCount], usage: KeyUsage, *, since_hour: int, shift_hours: int = 0
) -> dict[int, UseCount]:
    """Return counts by day with those of `usage` that are not before `since_hour`; see `day_of`."""
    added = dict(counts)
    for hour, count in usage.by_hour().items():
        if hour >= since_hour:
            day = day_of(hour, shift_hours)
            before = added.get(day, UseCount(0, 0))
            added[day] = UseCount(before.uses + count.uses, before.refused + count.refused)
    return added


def day_of(hour: int, shift_hours: int = 0) -> int:
    """Return the day since 1970 of an hour since 1970, in a zone that is `shift_hours` ahead of UTC."""
    return (hour + shift_hours) // 24


def first_hour_of(day: int, shift_hours: int = 0) -> int:
    """Return the hour since 1970 in which a day begins in that zone."""
    return day * 24 - shift_hours
