"""How times are written, for machines and for people: always in UTC."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def in_milliseconds(moment: datetime) -> int:
    """Return the milliseconds since 1970, rounded down: as times are stored, and sent to other programs."""
    return (moment - _EPOCH) // _MILLISECOND


def time_at(milliseconds: int) -> datetime:
    """Return the time so many milliseconds after 1970 began."""
    return _EPOCH + milliseconds * _MILLISECOND


def read_time(milliseconds: int | None) -> datetime | None:
    """Return the time so many milliseconds after 1970 began, or none."""
    return None if milliseconds is None else time_at(milliseconds)


@lru_cache(256)  # The same few are written again and again: the end of every token of one second.
def wire_time(moment: datetime) -> str:
    """Write a time as the Immuta API does: 2026-11-24T23:25:00.000Z (ISO 8601, milliseconds, `Z`)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def readable_time(moment: datetime) -> str:
    """Write a time for people: 24 Nov 2026, 23:25 UTC."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def relative_time(moment: datetime, now: datetime) -> str:
    """Write a time for people as its distance from `now`, rounded down: 3 hours ago, in 89 days."""
    seconds = abs((moment - now).total_seconds())
    if seconds < 60:
        return "now"
    unit, length = next((unit, length) for unit, length, end in _UNITS if seconds < end * length)
    count = int(seconds // length)
    text = f"{count} {unit}" if count == 1 or unit == "min" else f"{count} {unit}s"
    return f"{text} ago" if moment <= now else f"in {text}"


_UNITS = (
    ("min", 60, 60),
    ("hour", 3600, 48),
    ("day", 86_400, 100),
    ("month", 30 * 86_400, 24),
    ("year", 365 * 86_400, 10_000),
)
"""Each with its seconds, and the count at which the next is used: keys end after days, as a rule."""
