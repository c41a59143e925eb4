"""Moments in the words of the pages: how long ago, in how long, and when exactly.

Everything is in UTC here; script says it in the zone of the browser (`face.js`), and the foot of the page
names the zone.
"""

from datetime import datetime, timedelta

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LONGEST_AGO, LONGEST_AHEAD = 30 * DAY, 90 * DAY
"""A moment that is further away is told by its date."""
SOON = 7 * DAY
"""An end within this time is told as one that needs attention."""


def moment(when: datetime) -> str:
    """Return a moment in full: Nov 29, 2026, 09:41."""
    return f"{day(when)}, {when:%H:%M}"


def day(when: datetime) -> str:
    """Return a day in full: Nov 29, 2026."""
    return f"{when:%b} {when.day}, {when.year}"


def weekday(when: datetime) -> str:
    """Return a day as one plans with it: Sat, Feb 27, 2027."""
    return f"{when:%a}, {day(when)}"


def ago(when: datetime, now: datetime) -> str:
    """Return how long ago a moment was, in its largest whole unit; its date beyond 30 days."""
    passed = now - when
    if passed >= LONGEST_AGO:
        return day(when)
    if passed >= 2 * DAY:
        return f"{passed // DAY} days ago"
    if passed >= DAY:
        return "yesterday"
    for unit, name in ((HOUR, "hour"), (MINUTE, "minute")):
        if passed >= unit:
            return f"{_counted(passed // unit, name)} ago"
    return "now"


def due(when: datetime, now: datetime) -> str:
    """Return in how long a moment is; its date beyond 90 days, and how long ago it was if it is over."""
    left = when - now
    if left <= timedelta(0):
        return ago(when, now)
    if left > LONGEST_AHEAD:
        return day(when)
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if left >= unit:
            return f"in {_counted(left // unit, name)}"
    return "in a minute"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
