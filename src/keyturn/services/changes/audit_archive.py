"""Events of the audit log leave the database for files, which prove that nothing in them was changed.

    rows of     ──► .keyturn-audit.next ──► keyturn-audit-FIRST-LAST.jsonl ──► `AuditPruned` ──► rows go,
    the log         flushed                 there whole                        in the log        in batches

Each arrow may be the last thing that happens: an event is in the log until it is in a file that is on the
disk, and the next run goes on. The row of the log holds the digest of the file, and the next file begins with
that digest: no file of a row of files can be replaced, not even with a signing key that leaked.
"""

import fcntl
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, zip_longest
from pathlib import Path
from typing import BinaryIO

import msgspec

from keyturn.core.audit import Actor, AuditAction, AuditEntry, AuditRow, Target
from keyturn.core.checkpoints import NOTHING_BEFORE, Checkpoint, chained, read_checkpoint
from keyturn.core.shown import shown_json
from keyturn.errors import CannotStart, Conflict, InvalidState
from keyturn.services.changes.audit_trail import event_of
from keyturn.services.installation.retention import Pruning
from keyturn.store import Store
from keyturn.store.installation.retention import AUDIT_ROWS
from keyturn.system import System

READ_AT_ONCE = 500
MAX_EVENTS = 100_000
"""In one file: some 50 MB."""
A_DAY = timedelta(days=1)
SCHEDULE = Actor(user_id=None, userid="schedule")
_DRAFT = ".keyturn-audit.next"


@dataclass(frozen=True, slots=True)
class Archived:
    """Events that left the log."""

    file: str
    events: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class VerifiedArchive:
    """An archive in which nothing was changed."""

    checkpoint: Checkpoint
    kid: str
    """The signing key that vouches for it."""


class AuditArchive:
    """Writes old events into files, and removes them from the log."""

    def __init__(
        self,
        store: Store,
        pruning: Pruning,
        *,
        issuer: str,
        sign: Callable[[Checkpoint], str],
        max_events: int = MAX_EVENTS,
        system: System,
    ) -> None:
        self._store = store
        self._pruning = pruning
        self._issuer = issuer
        self._sign = sign
        self._max_events = max_events
        self._system = system

    def archive(self, folder: Path, actor: Actor, *, before: datetime) -> Generator[Archived]:
        """Yield each file of events from before this time, once they are in it and gone from the log.

        Those of a run that was interrupted are removed first. The newest event always stays. Raise
        `Conflict` while another run is under way, `CannotStart` where the folder cannot be written.
        """
        with _locked(folder):
            self._go_on()
            # Asked once: each file makes an event of its own.
            until = self._store.audit_log.last_revision_before(before)
            while (archived := self._archive_once(folder, actor, until)) is not None:
                yield archived

    def archive_in_time(self, folder: Path, *, kept: timedelta) -> bool:
        """Archive one file of events that are older than `kept` by a day or more; return whether it did.

        So a day is one file, unless it has very many events. False while another process is at it.
        """
        oldest = self._store.audit_log.find_oldest()
        before = self._system.now() - kept
        if oldest is None or oldest.at >= before - A_DAY:
            return False
        try:
            with closing(self.archive(folder, SCHEDULE, before=before)) as files:
                return next(files, None) is not None
        except Conflict:
            return False

    def verify(self, file: Path) -> VerifiedArchive:
        """Return the content of a file; raise `InvalidState` if it was changed, or cannot be read."""
        try:
            with file.open("rb") as opened:
                return self._verified(opened)
        except OSError as error:
            raise InvalidState(f"{file} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise InvalidState(f"{file} cannot be trusted: {error}.") from None

    def _verified(self, file: BinaryIO) -> VerifiedArchive:
        last, lines = b"", 0
        for last in file:  # noqa: B007 - the last one is wanted
            lines += 1
        checkpoint, kid = read_checkpoint(_in_line(last), self._store.signing_keys.find_public_jwk)
        file.seek(0)
        digest = bytes.fromhex(checkpoint.previous)
        for line in islice(file, lines - 1):
            digest = chained(digest, line)
        if digest.hex() != checkpoint.digest or lines - 1 != checkpoint.events:
            raise ValueError("its events are not those of its checkpoint")
        return VerifiedArchive(checkpoint, kid)

    def _go_on(self) -> None:
        """Remove the events that are in a file already."""
        archived, oldest = self._store.audit_log.find_archived(), self._store.audit_log.find_oldest()
        if archived is not None and oldest is not None and oldest.revision <= archived["last"]:
            self._pruning.prune(AUDIT_ROWS, archived["last"])

    def _archive_once(self, folder: Path, actor: Actor, until: int) -> Archived | None:
        log = self._store.audit_log
        oldest = log.find_oldest()
        if oldest is None or until < oldest.revision:
            return None
        last = min(until, oldest.revision + self._max_events - 1)
        archived = log.find_archived()
        if archived is not None and oldest.revision <= archived["last"]:
            return None  # Somebody else still removes them.
        previous = NOTHING_BEFORE if archived is None else bytes.fromhex(archived["digest"])
        checkpoint = self._write(folder, oldest, last, previous)
        name = _name(checkpoint)
        entry = self._entry(actor, checkpoint, name)
        log.record_archive(entry, after=0 if archived is None else archived["last"])
        self._pruning.prune(AUDIT_ROWS, last)
        return Archived(name, checkpoint.events, checkpoint.first, checkpoint.last)

    def _write(self, folder: Path, oldest: AuditRow, last: int, previous: bytes) -> Checkpoint:
        """Write the file of the events up to `last`; return its checkpoint once it is on the disk."""
        draft, digest, events = folder / _DRAFT, previous, 0
        with _told_failures(folder):
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for row in self._rows(oldest, last):
                    line = _line(row)
                    digest, events = chained(digest, line), events + 1
                    file.write(line)
                checkpoint = Checkpoint(
                    first=oldest.revision,
                    last=last,
                    events=events,
                    previous=previous.hex(),
                    digest=digest.hex(),
                    iss=self._issuer,
                    iat=int(self._system.timestamp()),
                )
                file.write(msgspec.json.encode({"checkpoint": self._sign(checkpoint)}) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            _publish(draft, folder / _name(checkpoint))
        return checkpoint

    def _rows(self, oldest: AuditRow, last: int) -> Iterator[AuditRow]:
        after = oldest.audit_id - 1
        while rows := self._store.audit_log.list_after(after, limit=READ_AT_ONCE):
            for row in rows:
                if row.revision > last:
                    return
                yield row
            after = rows[-1].audit_id

    def _entry(self, actor: Actor, checkpoint: Checkpoint, name: str) -> AuditEntry:
        return AuditEntry(
            self._system.now(),
            AuditAction.AUDIT_PRUNED,
            actor,
            Target.AUDIT_LOG,
            f"{checkpoint.first}-{checkpoint.last}",
            details={
                "first": checkpoint.first,
                "last": checkpoint.last,
                "events": checkpoint.events,
                "digest": checkpoint.digest,
                "file": name,
            },
        )


class _LastLine(msgspec.Struct):
    checkpoint: str


def _in_line(line: bytes) -> bytes:
    try:
        return msgspec.json.decode(line, type=_LastLine).checkpoint.encode("ascii", "replace")
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("it does not end with a checkpoint") from None


def _line(row: AuditRow) -> bytes:
    return shown_json(msgspec.json.encode({"revision": row.revision, **event_of(row)})) + b"\n"


def _name(checkpoint: Checkpoint) -> str:
    return f"keyturn-audit-{checkpoint.first:012}-{checkpoint.last:012}.jsonl"


def _publish(draft: Path, file: Path) -> None:
    """Give a file that is written its name; raise `Conflict` if there is another one with it.

    A run that was killed after this has left the same events under the same name: they are written over.
    """
    if file.exists() and not _has_same_events(draft, file):
        raise Conflict(f"{file} is there already with other events: archive into another folder.")
    draft.replace(file)
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_same_events(draft: Path, file: Path) -> bool:
    """Return whether two files differ in their last line, the checkpoint, at most."""
    with draft.open("rb") as new, file.open("rb") as old:
        return len([1 for one, other in zip_longest(new, old) if one != other]) <= 1


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep others off this folder; the lock ends with its process."""
    with _told_failures(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict("Another process archives events into this folder.") from None
    finally:
        os.close(descriptor)


@contextmanager
def _told_failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"The folder {folder} cannot hold archives of the audit log ({error.strerror}): "
            "run this as a user who may write there, or name another folder."
        ) from error
