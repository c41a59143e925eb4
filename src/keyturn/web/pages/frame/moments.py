"""Moments in the words of the pages: how long ago, in how long, and when exactly.

The zone is that of the reader's profile, or UTC: then script says the moments in the zone of the browser
(`face.js`). The foot of the page names the zone.
"""

from datetime import UTC, date, datetime, timedelta, tzinfo

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LONGEST_AGO, LONGEST_AHEAD = 30 * DAY, 90 * DAY
"""A moment that is further away is told by its date."""
SOON = 7 * DAY
"""An end within this time is told as one that needs attention."""


def moment(when: datetime, zone: tzinfo = UTC) -> str:
    """Return a moment in full: Nov 29, 2026, 09:41."""
    local = when.astimezone(zone)
    return f"{_day(local)}, {local:%H:%M}"


def day(when: datetime, zone: tzinfo = UTC) -> str:
    """Return a day in full: Nov 29, 2026."""
    return _day(when.astimezone(zone))


def weekday(when: datetime, zone: tzinfo = UTC) -> str:
    """Return a day as one plans with it: Sat, Feb 27, 2027."""
    return f"{when.astimezone(zone):%a}, {day(when, zone)}"


def clock(when: datetime, under: date, zone: tzinfo = UTC) -> str:
    """Return the time of a moment to the second; with its day if that is not the day of the heading."""
    local = when.astimezone(zone)
    return f"{local:%H:%M:%S}" if local.date() == under else f"{local:%b} {local.day} {local:%H:%M:%S}"


def zone_words(zone: tzinfo) -> str:
    """Return a zone as people name it: UTC, or Berlin time."""
    key = getattr(zone, "key", "UTC")
    return "UTC" if key == "UTC" else f"{key.rpartition('/')[2].replace('_', ' ')} time"


def ago(when: datetime, now: datetime, zone: tzinfo = UTC) -> str:
    """Return how long ago a moment was, in its largest whole unit; its date beyond 30 days."""
    passed = now - when
    if passed >= LONGEST_AGO:
        return day(when, zone)
    if passed >= 2 * DAY:
        return f"{passed // DAY} days ago"
    if passed >= DAY:
        return "yesterday"
    for unit, name in ((HOUR, "hour"), (MINUTE, "minute")):
        if passed >= unit:
            return f"{_counted(passed // unit, name)} ago"
    return "just now"


def due(when: datetime, now: datetime, zone: tzinfo = UTC) -> str:
    """Return in how long a moment is; its date beyond 90 days, and how long ago it was if it is over.

    It is rounded, so that a key made for 90 days is not said a minute later to expire in 89.
    """
    left = when - now
    if left <= timedelta(0):
        return ago(when, now, zone)
    if left > LONGEST_AHEAD:
        return day(when, zone)
    for unit, name, nearly in (
        (DAY, "day", HOUR / 2),
        (HOUR, "hour", MINUTE / 2),
        (MINUTE, "minute", timedelta()),
    ):
        if left >= unit - nearly:
            return f"in {_counted(round(left / unit), name)}"
    return "in a minute"


def _day(local: datetime) -> str:
    return f"{local:%b} {local.day}, {local.year}"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
