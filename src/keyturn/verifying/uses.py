"""When, from where and how often keys are used: noted in memory by each request, written by a thread.

At most one write per key and minute, so that verifying stays a read. A crash loses what was not written
yet: at most a minute of it. A shutdown writes all of it.
"""

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol
from weakref import WeakValueDictionary

from keyturn.core.records import ApiKeyRecord, KeyUsage, LastUse
from keyturn.errors import StoreUnavailable
from keyturn.system import System
from keyturn.verifying.origin import Origin
from keyturn.verifying.redaction import Redactor

WRITE_INTERVAL_SECONDS = 60.0
"""How long after one write of a key the next one may follow."""
WAKE_INTERVAL_SECONDS = 2.0
"""How soon the first use of a key is written."""
MAX_NOTED = 100_000
"""Above this many keys with an unwritten use, older notes are dropped rather than memory."""
WRITTEN_AT_ONCE = 100
"""How many keys' uses are written in one transaction."""
PAUSES = 9
"""After each transaction the thread rests so many times as long as it took: less, the more notes wait."""
KEPT_HOURS = 24 * 90
"""How long it is kept how often a key was used in an hour."""

UseContext = tuple[str | None, str | None, str | None, bytes | str | None]
"""Address, method, path and user agent of a use, as they came: only the last one is ever made readable."""


class RecordsUse(Protocol):
    """The part of the store that this needs."""

    def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
        """Write when keys were last used, and add how often."""

    def forget_uses_before(self, hour: int) -> None:
        """Drop the counts of hours before this one."""


class KeyUse:
    """The notes about one key. The verifying code holds this, and notes each use without a lock."""

    __slots__ = (
        "__weakref__",
        "_usage",
        "at",
        "is_noted",
        "key_id",
        "trace",
        "uses",
        "written",
        "written_at",
    )

    def __init__(self, usage: "Usage", key_id: int) -> None:
        self._usage = usage
        self.key_id = key_id
        self.uses = 0
        """How often it was used since this is here: only `note` adds to it."""
        self.written = 0
        """How many of these uses are written, or given up: only what writes them sets it."""
        self.at = 0.0
        self.trace: UseContext = (None, None, None, None)
        self.is_noted = False
        self.written_at: float | None = None

    def note(self, at: float, trace: UseContext) -> None:
        """Remember a use at `at`, in seconds since 1970. Never blocks on the database."""
        if at >= self.at:
            self.at, self.trace = at, trace
        self.uses += 1  # After what it was: who counts this use finds it there.
        if not self.is_noted:
            self.keep()

    def keep(self) -> None:
        """Have the uses written some time."""
        self._usage.keep(self)


class Usage:
    """The notes, and the thread that writes them."""

    def __init__(self, keys: RecordsUse, system: System, without_secrets: Redactor) -> None:
        self._keys = keys
        self._system = system
        self._without_secrets = without_secrets
        self._known: WeakValueDictionary[int, KeyUse] = WeakValueDictionary()
        self._noted: dict[int, KeyUse] = {}
        """Notes that are unwritten, or were written so lately that the next write must wait."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._forgotten_before = 0

    def of_key(self, key_id: int) -> KeyUse:
        """Return where the uses of a key are noted: one object for as long as anybody holds it."""
        with self._lock:
            return self._known.setdefault(key_id, KeyUse(self, key_id))

    def note(self, key_id: int, origin: Origin) -> None:
        """Remember that a key was used just now."""
        self.of_key(key_id).note(self._system.timestamp(), use_context_of(origin))

    def keep(self, use: KeyUse) -> None:
        """Keep a note until it is written: for `KeyUse` alone."""
        with self._lock:
            if len(self._noted) >= MAX_NOTED:
                dropped = self._noted.pop(next(iter(self._noted)))
                dropped.is_noted, dropped.written = False, dropped.uses
            self._noted[use.key_id] = use
            use.is_noted = True

    def latest(self, record: ApiKeyRecord) -> LastUse | None:
        """Return the last use of a key, written or still only noted here."""
        use = self._noted.get(record.key_id)
        noted = None if use is None else self._readable(use)
        if noted is None or (record.last_use is not None and record.last_use.at > noted.at):
            return record.last_use
        return noted

    def flush(self, *, everything: bool) -> int:
        """Write the notes that are due, or all of them; return how many. Keeps them if that fails."""
        now = self._system.monotonic()
        due: list[tuple[KeyUse, KeyUsage, int]] = []
        for use in list(self._noted.values()):
            may_write = use.written_at is None or now - use.written_at >= WRITE_INTERVAL_SECONDS
            # Before its last use is read: one that comes meanwhile counts the next time.
            uses, written = use.uses, use.written
            if uses > written and (everything or may_write):
                due.append((use, KeyUsage(self._readable(use), uses - written), uses))
            elif may_write and uses <= written:
                self._forget_settled(use)
        # In many short transactions with pauses, so that no change of rights waits long for a turn, and no
        # verification for the interpreter.
        for first in range(0, len(due), WRITTEN_AT_ONCE):
            batch = due[first : first + WRITTEN_AT_ONCE]
            began_at = self._system.monotonic()
            self._keys.record_use({use.key_id: usage for use, usage, _ in batch})
            if not everything:
                room = 1 - len(self._noted) / MAX_NOTED
                self._stopping.wait((self._system.monotonic() - began_at) * PAUSES * max(room, 0.0))
            with self._lock:
                for use, _, uses in batch:
                    use.written_at = now
                    use.written = max(use.written, uses)
        return len(due)

    def _readable(self, use: KeyUse) -> LastUse:
        """Return a use without anything in it that could be a secret."""
        address, method, path, agent = use.trace
        via = None if path is None else f"{method} {path}" if method is not None else path
        if isinstance(agent, bytes):
            agent = agent.decode("latin-1")
        return LastUse(
            at=datetime.fromtimestamp(int(use.at * 1000 + 1e-3) / 1000, UTC),
            address=address,
            via=None if via is None else self._without_secrets(via),
            agent=None if agent is None else self._without_secrets(agent),
        )

    def _forget_settled(self, use: KeyUse) -> None:
        """Let go of a note that is written and old enough to be written anew at once."""
        with self._lock:
            use.is_noted = False
            if use.uses > use.written:  # Noted just now, by somebody who may not have seen that yet.
                use.is_noted = True
            else:
                self._noted.pop(use.key_id, None)

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
            oldest = int(self._system.timestamp()) // 3600 - KEPT_HOURS
            if oldest > self._forgotten_before:
                self._keys.forget_uses_before(oldest)
                self._forgotten_before = oldest
        except StoreUnavailable as error:
            # Not by structlog: verifiers in other programs have only the standard library's log.
            logging.getLogger(__name__).warning("usage_not_written: %s", error)


def use_context_of(origin: Origin) -> UseContext:
    """Return what is noted of a request that was described already."""
    return (origin.address, None, origin.via, origin.user_agent)
