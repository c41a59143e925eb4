"""The log of revocations beside an SQLite database: what must stay ended when an older copy takes its place.

    keyturn.db-revocations

    since 41                            from this revision on the log tells everything that ended
    end 42 1764604800000 k5f1c…         revision, milliseconds since 1970, and what ended, as a digest
    at 42                               this revision is committed

An end is on the disk before its change is committed (R7): so no revocation that was acknowledged is missing,
and one that failed may be there. `at` follows the commit unflushed. A killed process leaves it out at
most for a change that nobody was told of; a power cut loses some, and the next start writes them again.
A database whose revision is less than the last `at` is a copy from before.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from keyturn.core.audit import AuditEntry
from keyturn.core.ends import ended_by
from keyturn.core.times import in_milliseconds
from keyturn.errors import CannotStart, StoreUnavailable
from keyturn.store.database.file import file_of_like

MAX_BYTES = 8 * 1024 * 1024
"""Some 100,000 ends. A log that is larger loses the older half of them."""


@dataclass(frozen=True, slots=True)
class End:
    """Something that ended."""

    revision: int
    at: int
    """Milliseconds since 1970."""
    what: str
    """As `core.ends.end_of` says it."""


@dataclass(frozen=True, slots=True)
class Revocations:
    """The contents of a log."""

    since: int | None = None
    """The revision from which on nothing is missing; None for no log."""
    newest: int = 0
    """The highest revision that is known to have been committed."""
    ends: Sequence[End] = ()

    @property
    def told(self) -> int:
        """The highest revision that the log knows of, committed or not."""
        return max([self.newest, *(end.revision for end in self.ends)])


class RevocationLog:
    """The log of one database; one process at a time writes ends, within the transaction that it has."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.path = database.with_name(f"{database.name}-revocations")

    def announce(self, told: Iterable[tuple[int, AuditEntry]]) -> None:
        """Write what ends with the commit that follows; raise `StoreUnavailable` if that fails.

        `told` are revisions with the changes that they tell of.
        """
        lines = [
            f"end {revision} {in_milliseconds(entry.at)} {what}"
            for revision, entry in told
            if (what := ended_by(entry)) is not None
        ]
        if not lines:
            return
        try:
            if self.path.stat().st_size > MAX_BYTES:
                self._halve()
            self._append(lines, flush=True)
        except OSError as error:
            raise StoreUnavailable(f"the log of revocations cannot be written ({error.strerror})") from None

    def confirm(self, revision: int) -> None:
        """Write that a revision is committed. The next change says it too if this fails."""
        with suppress(OSError):
            self._append([f"at {revision}"])

    def begin(self, revision: int) -> None:
        """Write that the log tells everything from this revision on. Raise `CannotStart`."""
        try:
            self._append([f"since {revision}", f"at {revision}"], flush=True)
        except OSError as error:
            raise CannotStart(
                f"The file {self.path}, which keeps revocations in force when a backup is restored, cannot "
                f"be written ({error.strerror}): let this user read and write it."
            ) from error

    def read(self) -> Revocations:
        """Return what the log tells; raise `CannotStart` if it cannot be read."""
        try:
            text = self.path.read_text("ascii", "replace")
        except FileNotFoundError:
            return Revocations()
        except OSError as error:
            raise CannotStart(
                f"The file {self.path}, which keeps revocations in force when a backup is restored, cannot "
                f"be read ({error.strerror}): let this user read and write it."
            ) from error
        return _parsed(text.split("\n"))

    def _append(self, lines: Sequence[str], *, flush: bool = False) -> None:
        descriptor = file_of_like(self.path, self._database, os.O_WRONLY | os.O_APPEND)
        try:
            # Where a power cut left half a line, the next one begins anew.
            os.write(descriptor, "".join(f"\n{line}" for line in lines).encode() + b"\n")
            if flush:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _halve(self) -> None:
        """Drop the older half of the ends."""
        found = self.read()
        kept = found.ends[len(found.ends) // 2 :]
        since = kept[0].revision if kept else found.newest
        lines = [f"since {max(since, found.since or 0)}"]
        lines += [f"end {end.revision} {end.at} {end.what}" for end in kept]
        lines.append(f"at {found.newest}")
        draft = RevocationLog(self._database)
        draft.path = self.path.with_name(f"{self.path.name}.next")
        draft.path.unlink(missing_ok=True)
        draft._append(lines, flush=True)
        draft.path.replace(self.path)


class NoRevocationLog:
    """For PostgreSQL: its nodes have no folder in common."""

    def announce(self, told: Iterable[tuple[int, AuditEntry]]) -> None:
        """Do nothing."""

    def confirm(self, revision: int) -> None:
        """Do nothing."""

    def begin(self, revision: int) -> None:
        """Do nothing."""

    def read(self) -> Revocations:
        """Return that there is no log."""
        return Revocations()


def revocation_log_of(engine: Engine) -> RevocationLog | NoRevocationLog:
    """Return the log of a database, the same one by whatever name the database was opened."""
    if engine.dialect.name != "sqlite":
        return NoRevocationLog()
    return RevocationLog(Path(str(engine.url.database)).resolve())


def _parsed(lines: Iterable[str]) -> Revocations:
    since, newest, ends = None, 0, []
    for kind, values in _read(lines):
        if kind == "end" and len(values) == 3:
            ends.append(End(int(values[0]), int(values[1]), values[2]))
        elif kind == "since":
            since = int(values[0])  # The last one: what is before it may lack something.
        elif kind == "at":
            newest = max(newest, int(values[0]))
    return Revocations(since, newest, tuple(ends))


def _read(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the word and the values of each line that is whole."""
    for line in lines:
        kind, *values = line.split(" ")
        if values and values[0].isdecimal():
            yield kind, values
