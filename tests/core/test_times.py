"""Times as numbers: what is stored, and what the feed sends."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.times import in_milliseconds, read_time, relative_time, time_at

LATEST = 253_402_300_799_999
"""The last millisecond of the year 9999."""


@given(st.integers(0, LATEST))
def test_a_number_is_read_as_the_time_that_it_was_written_for(milliseconds: int) -> None:
    """There and back is the same, exactly, for every millisecond that there is."""
    moment = time_at(milliseconds)
    assert moment.tzinfo is UTC
    assert in_milliseconds(moment) == milliseconds
    assert read_time(milliseconds) == moment


@pytest.mark.parametrize("microseconds", [0, 1, 999])
def test_a_time_is_rounded_down(microseconds: int) -> None:
    """What is within a millisecond is the millisecond that has begun, in whatever zone it is told."""
    moment = datetime(2026, 11, 26, 5, tzinfo=timezone(timedelta(hours=2))) + timedelta(
        microseconds=microseconds
    )
    assert in_milliseconds(moment) == 1795662000000


def test_no_time_is_none() -> None:
    """What is not set is read as None, and 0 is a time."""
    assert read_time(None) is None
    assert read_time(0) == datetime(1970, 1, 1, tzinfo=UTC)


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (59, "now"),
        (60, "1 min"),
        (3_599, "59 min"),
        (3_600, "1 hour"),
        (48 * 3_600 - 1, "47 hours"),
        (48 * 3_600, "2 days"),
        (100 * 86_400 - 1, "99 days"),
        (100 * 86_400, "3 months"),
        (24 * 30 * 86_400 - 1, "23 months"),
        (24 * 30 * 86_400, "1 year"),
        (9_000 * 365 * 86_400 // 2, "4500 years"),
    ],
)
def test_a_distance_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    """Rounded down, before and after now; days as long as a person counts in days."""
    if seconds < 60:
        assert relative_time(NOW + timedelta(seconds=seconds), NOW) == text
        return
    assert relative_time(NOW + timedelta(seconds=seconds), NOW) == f"in {text}"
    if seconds < 86_400 * 1_000:
        assert relative_time(NOW - timedelta(seconds=seconds), NOW) == f"{text} ago"
