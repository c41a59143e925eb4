"""The steps of the schema, and the meaning of each for servers that run meanwhile.

A version of Keyturn expands what the one before uses, and a later one contracts what nobody uses any more:

    0.2.0 uses a            0.3.0 expands: adds b, uses b or a      0.4.0 contracts: drops a
    servers of 0.2.0        go on beside it                         have stopped: it needs the schema of 0.3.0

A file of `versions` says `kind`, for a contraction `needs`, and in `rows_of` the tables whose rows it goes
through. Files up to `BEFORE_THE_RULE` mix kinds and say the strictest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from types import ModuleType

BEFORE_THE_RULE = "0021"

RELEASES: Mapping[str, str] = {"0.2.0": "0025"}
"""The schema of each released version, the oldest first; the last may still be in the making."""

ROWS_PER_SECOND = 100_000
"""Fewer than a migration goes through on an idle machine: docs/operate/upgrade.md has the measurement."""


class StepKind(StrEnum):
    """The effect of a step on servers of an older schema, while it is taken and after it."""

    EXPAND = "expand"
    """Adds tables, indexes, and columns that may stay empty: all of them go on."""
    FILL = "fill"
    """Writes into columns that older servers do not read: all of them go on."""
    CONTRACT = "contract"
    """Ends what servers of a schema before `needs` use."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the schema."""

    revision: str
    title: str
    kind: StepKind
    needs: str | None
    """The oldest schema whose servers go on; None for all."""
    rows_of: tuple[str, ...] = ()

    @classmethod
    def of(cls, script: ModuleType) -> "Step":
        """Return the step that a file of `versions` is."""
        kind = StepKind(script.kind)
        needs = None if kind is not StepKind.CONTRACT else getattr(script, "needs", script.revision)
        title = (script.__doc__ or "").partition("\n")[0].rstrip(".")
        return cls(script.revision, title, kind, needs, getattr(script, "rows_of", ()))


@dataclass(frozen=True, slots=True)
class Plan:
    """The effect of an upgrade of one database."""

    before: str | None
    """The schema that it has; None for an empty database."""
    after: str
    steps: Sequence[Step]
    rows: Mapping[str, int]
    """Of each table that a step goes through."""

    @property
    def needs(self) -> str | None:
        """The oldest schema whose servers could go on, where those of this database cannot; else None."""
        return self._needs_up_to(self.after)

    @property
    def way_between(self) -> str | None:
        """The version to upgrade to first, so that no server has to stop; None if there is none."""
        if (needs := self.needs) is None:
            return None
        fit = (
            version
            for version, schema in RELEASES.items()
            if needs <= schema < self.after and self._needs_up_to(schema) is None
        )
        return next(fit, None)

    def _needs_up_to(self, schema: str) -> str | None:
        needed = max((step.needs or "" for step in self.steps if step.revision <= schema), default="")
        return needed if self.before is not None and needed > self.before else None

    def rows_in(self, step: Step) -> int:
        """Return how many rows a step goes through."""
        return sum(self.rows.get(table, 0) for table in step.rows_of)

    @property
    def seconds(self) -> int:
        """About how many seconds it takes at most, 1 at least."""
        return max(1, ceil(sum(map(self.rows_in, self.steps)) / ROWS_PER_SECOND))
