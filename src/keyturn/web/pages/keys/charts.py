"""Uses of a key by day, drawn by the server: bars for the eye, and the same numbers in a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from markupsafe import Markup

DAYS, SPARK_DAYS = 90, 30
HEIGHT, SPARK_HEIGHT = 200, 22
BAR, SPARK_STEP = 10, 3
GAP = 2
"""Between what was accepted and what was refused."""
LABEL = 9
"""The part of the width that a label takes, with its distance from the next, in percent."""


@dataclass(frozen=True, slots=True)
class Day:
    """The uses of one day."""

    date: date
    accepted: int = 0
    refused: int = 0

    @property
    def words(self) -> str:
        """The text that the pointer sees over the bar."""
        said = f"{self.date:%b} {self.date.day}: {self.accepted:,} {'use' if self.accepted == 1 else 'uses'}"
        return f"{said}, {self.refused:,} refused" if self.refused else said


def last_days(counted: Mapping[int, tuple[int, int]], today: date, count: int = DAYS) -> Sequence[Day]:
    """Return the last days up to today, those without a use too.

    `counted` has accepted and refused uses by the number of days since 1970.
    """
    first = today.toordinal() - count + 1
    epoch = date(1970, 1, 1).toordinal()
    return [
        Day(date.fromordinal(one), *counted.get(one - epoch, (0, 0))) for one in range(first, first + count)
    ]


def sparkline(days: Sequence[Day]) -> Markup:
    """Return the bars of a list, scaled to their own maximum: the number beside them says the size."""
    most = max((one.accepted for one in days), default=0)
    if most == 0:
        return Markup("")
    bars = "".join(
        f"M{SPARK_STEP * at + 1} {SPARK_HEIGHT}v-{max(1, round(one.accepted / most * (SPARK_HEIGHT - 2)))}"
        for at, one in enumerate(days)
        if one.accepted
    )
    width = SPARK_STEP * len(days)
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="{}"/></svg>'
    ).format(width, SPARK_HEIGHT, bars)


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart with what a page says around it."""

    days: Sequence[Day]

    @property
    def accepted(self) -> int:
        """All accepted uses."""
        return sum(one.accepted for one in self.days)

    @property
    def refused(self) -> int:
        """All refused uses."""
        return sum(one.refused for one in self.days)

    @property
    def top(self) -> int:
        """The number at the top: round, not below the highest bar, and even, since half of it is told too."""
        most = max(2, *(one.accepted + one.refused for one in self.days))
        scale = int(10 ** (len(str(most)) - 1))
        return next(step * scale for step in (2, 4, 6, 10) if step * scale >= most)

    @property
    def description(self) -> str:
        """A summary of the chart, in a sentence or two."""
        used = [one.accepted for one in self.days if one.accepted]
        if not used:
            told = "No uses."
        else:
            days = f"{len(used)} of {len(self.days)} days"
            told = f"{self.accepted:,} uses on {days}, at most {max(used):,} in a day."
        if self.refused:
            told += f" {self.refused:,} refused."
        return f"{told} The table below has each day."

    @property
    def bars(self) -> Markup:
        """The bars, one group for each day, with its words for the pointer."""
        drawn = []
        for at, one in enumerate(self.days):
            accepted, refused = self._height(one.accepted), self._height(one.refused)
            above = HEIGHT - accepted - refused - (GAP if accepted and refused else 0)
            drawn.append(
                Markup('<g><title>{}</title><rect class="hit" x="{}" y="0" width="{}" height="{}"/>').format(
                    one.words, BAR * at, BAR, HEIGHT
                )
            )
            if accepted:
                drawn.append(_bar(at, HEIGHT - accepted, accepted))
            if refused:
                drawn.append(_bar(at, max(0, above), refused, "refused"))
            drawn.append(Markup("</g>"))
        return Markup("").join(drawn)

    @property
    def width(self) -> int:
        """The width of the picture, in its own units."""
        return BAR * len(self.days)

    @property
    def height(self) -> int:
        """The height of the picture, in its own units."""
        return HEIGHT

    @property
    def labels(self) -> Sequence[tuple[str, float, str]]:
        """The words under the bars, each with its place in percent of the width and how it is anchored there.

        They are the first day, the beginnings of months under their bars, and today.
        """
        first = self.days[0].date
        months = [
            (f"{one.date:%b} 1", round((at + 0.5) / len(self.days) * 100, 1), "middle")
            for at, one in enumerate(self.days)
            if one.date.day == 1
        ]
        between = (label for label in months if LABEL <= label[1] <= 100 - LABEL)
        return [(f"{first:%b} {first.day}", 0.0, "start"), *between, ("Today", 100.0, "end")]

    @property
    def weeks(self) -> Sequence[tuple[str, Sequence[Day | None], int]]:
        """The same numbers: of each week its Monday, its days, None where none is shown, and their sum."""
        by_date = {one.date: one for one in self.days}
        monday = self.days[0].date - timedelta(days=self.days[0].date.weekday())
        weeks = []
        while monday <= self.days[-1].date:
            row = [by_date.get(monday + timedelta(days=at)) for at in range(7)]
            weeks.append((f"{monday:%b} {monday.day}", row, sum(one.accepted for one in row if one)))
            monday += timedelta(days=7)
        return weeks

    def _height(self, uses: int) -> int:
        return max(1, round(uses / self.top * HEIGHT)) if uses else 0


def _bar(at: int, y: int, height: int, kind: str = "") -> Markup:
    named = Markup(' class="{}"').format(kind) if kind else ""
    return Markup('<rect{} x="{}" y="{}" width="{}" height="{}"/>').format(
        named, BAR * at + 1, y, BAR - 2, height
    )
