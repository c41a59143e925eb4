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
