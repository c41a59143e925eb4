"""How times are written, for machines and for people: always in UTC."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(256)  # The same few are written again and again: the end of every token of one second.
def wire_time(moment: datetime) -> str:
    """Write a time as the Immuta API does: 2026-11-24T23:25:00.000Z (ISO 8601, milliseconds, `Z`)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def readable_time(moment: datetime) -> str:
    """Write a time for people: 24 Nov 2026, 23:25 UTC."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"
