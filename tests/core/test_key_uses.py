"""What is known of a key's uses from several sources, put together."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.core.key_uses import add_by_day, day_of, first_hour_of, merge_callers
from keyturn.core.records import MAX_CALLERS, KeyCaller, KeyUsage, LastUse, UseCount, hour_of

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def a_caller(address: str | None, at: datetime, **changed: object) -> KeyCaller:
    values: dict[str, object] = {
        "agent": None, "via": None, "uses": 1, "refused": 0, "reason": None, "first_at": at,
    }  # fmt: skip
    return KeyCaller(address=address, last_at=at, **(values | changed))  # type: ignore[arg-type]


def test_callers_are_each_there_once_the_newest_first() -> None:
    """Counts add up, the newest request says what was asked for, and the last refusal why."""
    older = a_caller("a", NOW, via="GET /old", refused=2, reason="revoked")
    newer = a_caller("a", NOW + 2 * SECOND, via="GET /new", uses=3)
    other = a_caller("a", NOW + SECOND, agent="curl")
    for given in ((older, newer, other), (other, newer, older), (newer, older, other)):
        assert merge_callers(given) == (
            a_caller(
                "a", NOW + 2 * SECOND, via="GET /new", uses=4, refused=2, reason="revoked", first_at=NOW
            ),
            other,
        )


def test_no_more_callers_are_kept_than_seen_last() -> None:
    """Of many callers those that were seen last are left."""
    callers = [a_caller(str(number), NOW + number * SECOND) for number in range(3 * MAX_CALLERS)]
    random.Random(1).shuffle(callers)
    kept = [caller.address for caller in merge_callers(callers)]
    assert kept == [str(number) for number in reversed(range(2 * MAX_CALLERS, 3 * MAX_CALLERS))]


@pytest.mark.parametrize("shift_hours", [0, 1, -5, 14, -12])
def test_days_are_those_of_the_zone(shift_hours: int) -> None:
    """A day has 24 hours, of which the first is at midnight of a zone that is so many hours ahead."""
    local = (NOW + timedelta(hours=shift_hours)).replace(tzinfo=UTC)
    day = day_of(hour_of(NOW), shift_hours)
    assert day == (local - datetime(1970, 1, 1, tzinfo=UTC)).days
    hours = range(first_hour_of(day, shift_hours), first_hour_of(day + 1, shift_hours))
    assert len(hours) == 24
    assert {day_of(hour, shift_hours) for hour in hours} == {day}


def test_uses_and_refusals_count_in_their_own_hours() -> None:
    """A use before midnight and a refusal after it are counted on two days, within an hour on one."""
    last = LastUse(NOW, None, None, None)
    hour = hour_of(NOW)
    assert KeyUsage(last, 3).by_hour() == {hour: (3, 0)}
    assert KeyUsage(None, 0, 2, NOW).by_hour() == {hour: (0, 2)}
    assert KeyUsage(last, 3, 2, NOW + SECOND).by_hour() == {hour: (3, 2)}
    later = KeyUsage(last, 3, 2, NOW + timedelta(hours=12))
    assert later.by_hour() == {hour: (3, 0), hour + 12: (0, 2)}

    day = day_of(hour)
    before = {day: UseCount(10, 10)}
    assert add_by_day(before, later, since_hour=0) == {day: (13, 10), day + 1: (0, 2)}
    assert add_by_day(before, later, since_hour=hour + 1) == {day: (10, 10), day + 1: (0, 2)}
    assert before == {day: (10, 10)}
