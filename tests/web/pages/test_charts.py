"""The chart and the sparkline of a key show its numbers, whatever they are."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from keyturn.web.pages.keys.charts import DAYS, HEIGHT, SPARK_DAYS, Chart, last_days, sparkline

TODAY = date(2026, 11, 29)
EPOCH = date(1970, 1, 1).toordinal()
UNTIL = TODAY.toordinal() - EPOCH

counts = st.dictionaries(
    st.integers(UNTIL - 2 * DAYS, UNTIL + 2),
    st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)),
    max_size=20,
)


def numbers(svg: str, name: str) -> list[int]:
    return [int(found) for found in re.findall(rf' {name}="(-?[0-9]+)"', svg)]


@given(counts)
def test_each_day_is_there_once_with_its_numbers(counted: dict[int, tuple[int, int]]) -> None:
    """Ninety days end today; a day without a use is nought, and days before and after are left out."""
    days = last_days(counted, TODAY)
    assert [one.date for one in days] == [TODAY - timedelta(days=DAYS - 1 - at) for at in range(DAYS)]
    for one in days:
        assert (one.accepted, one.refused) == counted.get(one.date.toordinal() - EPOCH, (0, 0))


@given(counts)
def test_a_bar_stays_in_its_picture(counted: dict[int, tuple[int, int]]) -> None:
    """No bar is higher than the chart, each use is visible, and the table adds up."""
    chart = Chart(last_days(counted, TODAY))
    svg = str(chart.bars)
    assert all(0 < height <= HEIGHT for height in numbers(svg, "height"))
    assert all(0 <= y < HEIGHT for y in numbers(svg, "y"))
    shown = sum((one.accepted > 0) + (one.refused > 0) for one in chart.days)
    assert svg.count("<rect") - svg.count('class="hit"') == shown
    assert svg.count("<title>") == DAYS
    assert chart.top % 2 == 0
    assert chart.top >= max(one.accepted + one.refused for one in chart.days)
    assert sum(total for _, _, total in chart.weeks) == chart.accepted
    assert sum(len([one for one in row if one]) for _, row, _ in chart.weeks) == DAYS


@given(st.dates(date(2026, 1, 1), date(2029, 1, 1)))
def test_each_label_is_under_its_day(today: date) -> None:
    """The first day and today are at the edges, each month under its first day, and none over another."""
    days = last_days({}, today)
    labels = Chart(days).labels
    places = [place for _, place, _ in labels]
    assert (places[0], places[-1], labels[-1][0]) == (0, 100, "Today")
    assert all(later - earlier >= 9 for earlier, later in pairwise(places))
    for words, place, _ in labels[1:-1]:
        day = days[int(place / 100 * DAYS)].date
        assert (words, day.day) == (f"{day:%b} 1", 1)


@given(counts)
def test_a_sparkline_has_a_bar_for_each_day_of_use(counted: dict[int, tuple[int, int]]) -> None:
    """It is scaled to its own maximum, takes some hundred bytes, and is absent without uses."""
    days = last_days(counted, TODAY, SPARK_DAYS)
    svg = str(sparkline(days))
    assert svg.count("M") == sum(one.accepted > 0 for one in days)
    assert len(svg) < 600
    assert bool(svg) == any(one.accepted for one in days)
