"""When, from where and how often keys are used and refused: noted in memory, written by a thread.

At most one write per key and minute, so that verifying stays a read. A crash loses what was not written
yet: at most a minute of it. A shutdown writes all of it.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from weakref import WeakValueDictionary

from keyturn.core.key_uses import merge_callers
from keyturn.core.records import (
    MAX_ADDRESS_CHARACTERS,
    MAX_AGENT_CHARACTERS,
    MAX_CALLERS,
    ApiKeyRecord,
    KeyCaller,
    KeyUsage,
    LastUse,
)
from keyturn.errors import KeyturnError, StoreUnavailable, failure_name
from keyturn.system import System
from keyturn.verifying.callers import (
    OBSERVE_INTERVAL_SECONDS,
    NotedCaller,
    NotedCallers,
    TakenCaller,
    UseContext,
)
from keyturn.verifying.origin import Origin
from keyturn.verifying.redaction import Redactor

WRITE_INTERVAL_SECONDS = 60.0
"""How long after one write of a key the next one may follow."""
WAKE_INTERVAL_SECONDS = 2.0
"""How soon the first use of a key is written."""
MAX_NOTED = 100_000
"""Above this many keys with an unwritten use, older notes are dropped rather than memory."""
MAX_NOTED_CALLERS = 100_000
"""About so many callers are noted of all keys: above `MAX_CALLERS` each there is less room for each."""
WRITTEN_AT_ONCE = 100
"""How many keys' uses are written in one transaction."""
PAUSES = 9
"""After each transaction the thread rests so many times as long as it took: less, the more notes wait."""

_NO_CONTEXT: UseContext = (None, None, None, None)


class RecordsUse(Protocol):
    """The part of the store that this needs."""

    def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
        """Write when keys were last used, and add how often they were used and refused, and by whom."""


class KeyUse:
    """The notes about one key. The verifying code holds this, and notes each use without a lock."""

    __slots__ = (
        "__weakref__",
        "_usage",
        "at",
        "callers",
        "is_noted",
        "key_id",
        "observed_at",
        "observed_trace",
        "observed_until",
        "refused",
        "refused_at",
        "trace",
        "uses",
        "written",
        "written_at",
        "written_refused",
    )

    def __init__(self, usage: "Usage", key_id: int) -> None:
        self._usage = usage
        self.key_id = key_id
        self.uses = 0
        """How often it was used since this is here: only `note` adds to it."""
        self.written = 0
        """How many of these uses are written, or given up: only what writes them sets it."""
        self.refused = 0
        """How often it was refused since this is here."""
        self.written_refused = 0
        self.at = 0.0
        self.trace: UseContext = _NO_CONTEXT
        self.observed_at = 0.0
        self.observed_trace: UseContext = _NO_CONTEXT
        self.observed_until = 0.0
        """From then on the caller of a use is observed again: one comparison for each use until then."""
        self.refused_at = 0.0
        self.callers = NotedCallers()
        self.is_noted = False
        self.written_at: float | None = None

    @property
    def is_unwritten(self) -> bool:
        """Whether there is anything to write."""
        return self.uses > self.written or self.refused > self.written_refused

    def note(self, at: float, trace: UseContext) -> None:
        """Remember a use at `at`, in seconds since 1970. Never blocks on the database."""
        if at >= self.observed_until:
            self.observe(at, trace)
        self.at, self.trace = at, trace
        self.uses += 1  # After what it was: who counts this use finds it there.
        if not self.is_noted:
            self.keep()

    def observe(self, at: float, trace: UseContext) -> None:
        """Remember the caller of the use that is about to be counted."""
        self._usage.observe(self, at, trace)

    def last(self) -> tuple[float, UseContext]:
        """Return when and how it was used last; to a second, if the clock was set back since."""
        at, trace = self.at, self.trace
        return (at, trace) if at >= self.observed_at else (self.observed_at, self.observed_trace)

    def keep(self) -> None:
        """Have the uses written some time."""
        self._usage.keep(self)


@dataclass(frozen=True, slots=True)
class _Taken:
    """The unwritten notes of a key, as they were taken to be written."""

    use: KeyUse
    usage: KeyUsage
    uses: int
    refused: int
    callers: list[TakenCaller]


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

    def of_key(self, key_id: int) -> KeyUse:
        """Return where the uses of a key are noted: one object for as long as anybody holds it."""
        with self._lock:
            use = self._known.get(key_id)
            if use is None:
                use = self._known[key_id] = KeyUse(self, key_id)
            return use

    def note(self, key_id: int, origin: Origin) -> None:
        """Remember that a key was used just now."""
        self.of_key(key_id).note(self._system.timestamp(), use_context_of(origin))

    def note_refused(self, key_id: int, origin: Origin, refused: KeyturnError) -> None:
        """Remember that a key was refused just now, though its secret was right.

        It may be in no cache, as a revoked one: of these too `MAX_NOTED` are noted at most.
        """
        use, at = self.of_key(key_id), self._system.timestamp()
        with self._lock:
            use.refused_at = max(use.refused_at, at)
            use.callers.note_refused(at, use_context_of(origin), failure_name(refused), self._room())
            use.refused += 1
        if not use.is_noted:
            use.keep()

    def observe(self, use: KeyUse, at: float, trace: UseContext) -> None:
        """Remember the caller of a use: for `KeyUse` alone."""
        with self._lock:
            if at >= use.observed_until:  # Nobody else has meanwhile.
                use.observed_at, use.observed_trace = at, trace
                use.observed_until = at + OBSERVE_INTERVAL_SECONDS
                use.callers.observe_use(at, trace, use.uses, self._room())

    def keep(self, use: KeyUse) -> None:
        """Keep a note until it is written: for `KeyUse` alone."""
        with self._lock:
            if len(self._noted) >= MAX_NOTED:
                dropped = self._noted.pop(next(iter(self._noted)))
                dropped.is_noted = False
                dropped.written, dropped.written_refused = dropped.uses, dropped.refused
                dropped.callers.forget_all(dropped.uses)
            self._noted[use.key_id] = use
            use.is_noted = True

    def _room(self) -> int:
        """Return how many callers of a key are noted: the fewer, the more keys wait to be written."""
        return max(1, min(MAX_CALLERS, MAX_NOTED_CALLERS // max(len(self._noted), 1)))

    def latest(self, record: ApiKeyRecord) -> LastUse | None:
        """Return the last use of a key, written or still only noted here."""
        use = self._noted.get(record.key_id)
        noted = None if use is None or not use.uses else self._readable(*use.last())
        if noted is None or (record.last_use is not None and record.last_use.at > noted.at):
            return record.last_use
        return noted

    def unwritten(self, key_id: int) -> KeyUsage | None:
        """Return what is noted here of a key and not written yet; None for nothing."""
        use = self._noted.get(key_id)
        return None if use is None or not use.is_unwritten else self._take(use).usage

    def flush(self, *, everything: bool) -> int:
        """Write the notes that are due, or all of them; return how many. Keeps them if that fails."""
        now = self._system.monotonic()
        due: list[_Taken] = []
        for use in list(self._noted.values()):
            may_write = use.written_at is None or now - use.written_at >= WRITE_INTERVAL_SECONDS
            is_unwritten = use.is_unwritten
            if is_unwritten and (everything or may_write):
                due.append(self._take(use))
            elif may_write and not is_unwritten:
                self._forget_settled(use)
        # In many short transactions with pauses, so that no change of rights waits long for a turn, and no
        # verification for the interpreter.
        for first in range(0, len(due), WRITTEN_AT_ONCE):
            batch = due[first : first + WRITTEN_AT_ONCE]
            began_at = self._system.monotonic()
            self._keys.record_use({taken.use.key_id: taken.usage for taken in batch})
            if not everything:
                room = 1 - len(self._noted) / MAX_NOTED
                self._stopping.wait((self._system.monotonic() - began_at) * PAUSES * max(room, 0.0))
            with self._lock:
                for taken in batch:
                    use = taken.use
                    use.written_at = now
                    use.written = max(use.written, taken.uses)
                    use.written_refused = max(use.written_refused, taken.refused)
                    use.callers.forget_written(taken.callers)
        return len(due)

    def _take(self, use: KeyUse) -> _Taken:
        """Return what is unwritten of a key, without anything in it that could be a secret."""
        with self._lock:
            # Before its last use is read: one that comes meanwhile counts the next time.
            uses, refused = use.uses, use.refused
            unwritten = uses - use.written, refused - use.written_refused
            refused_at = _time(use.refused_at) if unwritten[1] else None
            last = use.last()
            callers = use.callers.take(*last, uses, self._room())
        usage = KeyUsage(
            self._readable(*last) if unwritten[0] else None,
            unwritten[0],
            unwritten[1],
            refused_at,
            # Two that come in different spellings can be one once they are readable.
            merge_callers(self._readable_caller(caller.then) for caller in callers),
        )
        return _Taken(use, usage, uses, refused, callers)

    def _readable(self, at: float, trace: UseContext) -> LastUse:
        address, via, agent = self._texts(trace)
        return LastUse(_time(at), address, via, agent)

    def _readable_caller(self, caller: NotedCaller) -> KeyCaller:
        address, via, agent = self._texts(caller.context)
        return KeyCaller(
            # As much as is stored: what is only noted here has the name of what is written.
            address=None if address is None else address[:MAX_ADDRESS_CHARACTERS],
            agent=None if agent is None else agent[:MAX_AGENT_CHARACTERS],
            via=via,
            uses=caller.uses,
            refused=caller.refused,
            reason=caller.reason,
            first_at=_time(caller.first_at),
            last_at=_time(caller.at),
        )

    def _texts(self, context: UseContext) -> tuple[str | None, str | None, str | None]:
        """Return address, method with path, and agent, without anything in them that could be a secret."""
        address, method, path, agent = context
        via = None if path is None else f"{method} {path}" if method is not None else path
        if isinstance(agent, bytes):
            agent = agent.decode("latin-1")
        return (
            address,
            None if via is None else self._without_secrets(via),
            None if agent is None else self._without_secrets(agent),
        )

    def _forget_settled(self, use: KeyUse) -> None:
        """Let go of a note that is written and old enough to be written anew at once."""
        with self._lock:
            use.is_noted = False
            if use.is_unwritten:  # Noted just now, by somebody who may not have seen that yet.
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
        except StoreUnavailable as error:
            # Not by structlog: verifiers in other programs have only the standard library's log.
            logging.getLogger(__name__).warning("usage_not_written: %s", error)


def use_context_of(origin: Origin) -> UseContext:
    """Return what is noted of a request that was described already."""
    return (origin.address, None, origin.via, origin.user_agent)


def _time(seconds: float) -> datetime:
    """Return a time to the millisecond, as it is stored."""
    return datetime.fromtimestamp(int(seconds * 1000 + 1e-3) / 1000, UTC)
