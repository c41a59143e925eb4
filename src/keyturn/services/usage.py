"""When keys were last used: noted in memory by each request, written by a thread.

At most one write per key and minute, so that verifying stays a read. A crash loses what was not written
yet: at most a minute. A shutdown writes all of it.
"""

import threading
from dataclasses import dataclass
from typing import Protocol

import structlog

from keyturn.core.records import ApiKeyRecord, LastUse
from keyturn.errors import StoreUnavailable
from keyturn.services.audit import Origin
from keyturn.system import System

WRITE_INTERVAL_SECONDS = 60.0
"""How long after one write of a key the next one may follow."""
WAKE_INTERVAL_SECONDS = 2.0
"""How soon the first use of a key is written."""
MAX_NOTED = 100_000
"""Above this many keys with an unwritten use, older notes are dropped rather than memory."""


class RecordsUse(Protocol):
    """The part of the store that this needs."""

    def record_use(self, uses: dict[int, LastUse]) -> None:
        """Write when keys were last used."""


@dataclass(slots=True)
class _Note:
    use: LastUse
    is_written: bool
    written_at: float | None


class Usage:
    """The notes, and the thread that writes them."""

    def __init__(self, keys: RecordsUse, system: System) -> None:
        self._keys = keys
        self._system = system
        self._notes: dict[int, _Note] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, key_id: int, origin: Origin) -> None:
        """Remember that a key was used just now. Never blocks on the database."""
        use = LastUse(self._system.now(), origin.address, origin.via, origin.user_agent)
        with self._lock:
            note = self._notes.get(key_id)
            if note is None:
                if len(self._notes) >= MAX_NOTED:
                    self._notes.pop(next(iter(self._notes)))
                self._notes[key_id] = _Note(use, is_written=False, written_at=None)
            elif use.at >= note.use.at:
                note.use, note.is_written = use, False

    def latest(self, record: ApiKeyRecord) -> LastUse | None:
        """Return the last use of a key, written or still only noted here."""
        with self._lock:
            note = self._notes.get(record.key_id)
        if note is None or (record.last_use is not None and record.last_use.at > note.use.at):
            return record.last_use
        return note.use

    def flush(self, *, everything: bool) -> int:
        """Write the notes that are due, or all of them; return how many. Keeps them if that fails."""
        now = self._system.monotonic()
        with self._lock:
            self._forget_settled(now)
            due = {
                key_id: note.use
                for key_id, note in self._notes.items()
                if not note.is_written
                and (everything or note.written_at is None or now - note.written_at >= WRITE_INTERVAL_SECONDS)
            }
        if due:
            self._keys.record_use(due)
        with self._lock:
            for key_id, use in due.items():
                note = self._notes.get(key_id)
                if note is not None:
                    note.written_at = now
                    note.is_written = note.use == use
        return len(due)

    def _forget_settled(self, now: float) -> None:
        """Drop notes that are written and old enough to be written anew at once."""
        settled = [
            key_id
            for key_id, note in self._notes.items()
            if note.is_written
            and note.written_at is not None
            and now - note.written_at >= WRITE_INTERVAL_SECONDS
        ]
        for key_id in settled:
            del self._notes[key_id]

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="keyturn-usage", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write everything and end the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._try_to_flush(everything=True)

    def _run(self) -> None:
        while not self._stopping.wait(WAKE_INTERVAL_SECONDS):
            self._try_to_flush(everything=False)

    def _try_to_flush(self, *, everything: bool) -> None:
        try:
            self.flush(everything=everything)
        except StoreUnavailable as error:
            structlog.get_logger().warning("usage_not_written", error=str(error))
