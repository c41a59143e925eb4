"""Moments in words, in the zone of who reads them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from keyturn.web.pages.frame import moments
from keyturn.web.pages.frame.days import beginning_of

EVENING = datetime(2026, 11, 25, 23, 30, 15, tzinfo=UTC)
BERLIN, NEW_YORK, KOLKATA = map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Asia/Kolkata"))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (moments.moment(EVENING), "Nov 25, 2026, 23:30"),
        (moments.moment(EVENING, BERLIN), "Nov 26, 2026, 00:30"),
        (moments.moment(EVENING, KOLKATA), "Nov 26, 2026, 05:00"),
        (moments.day(EVENING, NEW_YORK), "Nov 25, 2026"),
        (moments.weekday(EVENING), "Wed, Nov 25, 2026"),
        (moments.weekday(EVENING, BERLIN), "Thu, Nov 26, 2026"),
        (moments.clock(EVENING, date(2026, 11, 25)), "23:30:15"),
        (moments.clock(EVENING, date(2026, 11, 25), BERLIN), "Nov 26 00:30:15"),
        (moments.ago(EVENING, EVENING + timedelta(days=31), BERLIN), "Nov 26, 2026"),
        (moments.ago(EVENING, EVENING + timedelta(days=1), BERLIN), "yesterday"),
        (moments.due(EVENING, EVENING - timedelta(days=91), BERLIN), "Nov 26, 2026"),
        (moments.due(EVENING, EVENING - timedelta(hours=2), BERLIN), "in 2 hours"),
        (moments.due(EVENING, EVENING - timedelta(days=90, seconds=-2)), "in 90 days"),
        (moments.due(EVENING, EVENING - timedelta(days=89, hours=11)), "in 89 days"),
        (moments.due(EVENING, EVENING - timedelta(days=1, seconds=-2)), "in 1 day"),
        (moments.due(EVENING, EVENING - timedelta(hours=1, seconds=-2)), "in 1 hour"),
        (moments.due(EVENING, EVENING - timedelta(seconds=100)), "in 2 minutes"),
        (moments.due(EVENING, EVENING - timedelta(seconds=2)), "in a minute"),
        (moments.ago(EVENING, EVENING + timedelta(seconds=2)), "just now"),
        (moments.zone_words(UTC), "UTC"),
        (moments.zone_words(ZoneInfo("UTC")), "UTC"),
        (moments.zone_words(NEW_YORK), "New York time"),
        (moments.zone_words(ZoneInfo("America/Argentina/Buenos_Aires")), "Buenos Aires time"),
    ],
)
def test_a_moment_in_words(told: str, expected: str) -> None:
    """A date and a time are those of the reader's zone; a distance is the same in each."""
    assert told == expected


@pytest.mark.parametrize(
    ("day", "zone", "begins"),
    [
        (date(2026, 11, 26), UTC, datetime(2026, 11, 26, tzinfo=UTC)),
        (date(2026, 11, 26), BERLIN, datetime(2026, 11, 25, 23, tzinfo=UTC)),
        (date(2026, 7, 1), BERLIN, datetime(2026, 6, 30, 22, tzinfo=UTC)),
        (date(2026, 11, 26), KOLKATA, datetime(2026, 11, 25, 18, 30, tzinfo=UTC)),
        # The clocks go from 24:00 to 1:00 on September 6, so the day begins at 1:00.
        (date(2026, 9, 6), ZoneInfo("America/Santiago"), datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ],
)
def test_a_day_begins_at_midnight_of_its_zone(day: date, zone: ZoneInfo, begins: datetime) -> None:
    """A day begins at its midnight, in summer and winter; without a midnight, at its first moment."""
    assert beginning_of(day, zone) == begins
