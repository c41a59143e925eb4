"""What must be true of every key whatever was killed: a record of all that was asked and answered."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Fate(StrEnum):
    """What the clients know of a key."""

    CREATING = "creating"
    """Asked for, never answered: it may be there or not."""
    LIVE = "live"
    REVOKING = "revoking"
    """Its end was asked for, and not answered yet: it may be accepted or not."""
    DEAD = "dead"


@dataclass
class TrackedKey:
    """One key. Times are monotonic seconds of the observer."""

    name: str
    idempotency_key: str | None = None
    fate: Fate = Fate.CREATING
    key_id: int | None = None
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    create_acked_at: float | None = None
    revoke_begun_at: float | None = None
    dead_since: float | None = None
    """When the acknowledgement of the revoke, or the first refusal after a lost one, arrived."""
    revoke_was_acked: bool = False
    revoke_was_sent: bool = False


@dataclass(frozen=True)
class Probe:
    """One credential to try, and what its key had been through before the request began."""

    key: TrackedKey
    credential: str = field(repr=False)
    fate: Fate


class Oracle:
    """Keeps the fate of each key, judges each answer, and lists what broke. May be used from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.keys: list[TrackedKey] = []
        self._live: list[TrackedKey] = []
        self._dead: list[TrackedKey] = []
        self.lost: list[str] = []
        """Acknowledged keys that are gone (I1)."""
        self.revived: list[str] = []
        """Accepted although a revoke was acknowledged before the request began (I2)."""
        self.refused: list[str] = []
        """Live, and refused or not answered, outside of a kill (I3)."""
        self.other: list[str] = []
        """Anything else that no answer may be, and retries that made a second key (I6)."""
        self.checks_of_live = 0
        self.checks = 0

    # What clients do

    def create_begins(self, name: str, idempotency_key: str | None = None) -> TrackedKey:
        key = TrackedKey(name, idempotency_key)
        with self._lock:
            self.keys.append(key)
        return key

    def create_acked(self, key: TrackedKey, key_id: int, secret: str, at: float) -> None:
        with self._lock:
            key.key_id, key.secret, key.create_acked_at = key_id, secret, at
            key.fate = Fate.LIVE
            self._live.append(key)

    def create_retried(self, key: TrackedKey, key_id: int, secret: str, at: float) -> None:
        """Note the answer to a retry: the same key, a new secret, and no token of the old one."""
        if key.fate is Fate.CREATING:
            self.create_acked(key, key_id, secret, at)
            return
        with self._lock:
            if key.key_id != key_id:
                self.other.append(f"a retry made key {key_id} beside {key}")
            key.secret, key.token = secret, None

    def revoke_begins(self, choice: random.Random, at: float) -> TrackedKey | None:
        """Take a live key out of play, to be revoked; None if there is none."""
        with self._lock:
            if not self._live:
                return None
            index = choice.randrange(len(self._live))
            self._live[index], self._live[-1] = self._live[-1], self._live[index]
            key = self._live.pop()
            key.fate, key.revoke_begun_at, key.revoke_was_sent = Fate.REVOKING, at, True
            return key

    def revoke_acked(self, key: TrackedKey, at: float) -> None:
        with self._lock:
            key.fate, key.dead_since, key.revoke_was_acked = Fate.DEAD, at, True
            self._dead.append(key)

    # What is tried

    def pick(self, choice: random.Random) -> Probe | None:
        """Choose a credential that must be accepted or refused; None while there is none."""
        with self._lock:
            pool = self._dead if self._dead and (choice.random() < 0.5 or not self._live) else self._live
            if not pool:
                return None
            # Half of the time one that changed lately: that is where a race would show.
            recent = pool[-20:] if choice.random() < 0.5 else pool
            key = choice.choice(recent)
            credential = key.token if key.token is not None and choice.random() < 0.4 else key.secret
            assert credential is not None
            return Probe(key, credential, key.fate)

    def judge(self, probe: Probe, status: int, began_at: float) -> None:
        """Hold one answer against what must be so. `began_at` is when the request began."""
        key = probe.key
        with self._lock:
            self.checks += 1
            died = key.dead_since is not None and key.dead_since < began_at
            lives = key.fate is Fate.LIVE
            if lives:
                self.checks_of_live += 1
            match status:
                case 200 if died:
                    self.revived.append(
                        f"{key} accepted {began_at - (key.dead_since or 0):.3f} s after its end"
                    )
                case 401 if lives and probe.credential not in {key.secret, key.token}:
                    pass  # A retry gave it another secret meanwhile.
                case 401 if lives:
                    self.refused.append(f"{key} refused")
                case 200 | 401:
                    pass
                case _ if lives:
                    self.refused.append(f"{key} answered with {status}")
                case _:
                    self.other.append(f"{key} answered with {status}")

    def unanswered(self, probe: Probe) -> None:
        """Note that a request outside of a kill got no answer."""
        with self._lock:
            self.checks += 1
            if probe.key.fate is Fate.LIVE:
                self.checks_of_live += 1
                self.refused.append(f"{probe.key} not answered")

    # After a restart

    def found(self, key: TrackedKey, status: int, at: float) -> None:
        """Note how a key is answered after a restart, which settles a revoke whose answer was lost."""
        with self._lock:
            match key.fate, status:
                case (Fate.LIVE, 200) | (Fate.DEAD, 401):
                    pass
                case (Fate.LIVE, _):
                    self.lost.append(f"{key} answered with {status} after a restart")
                case (Fate.DEAD, _):
                    self.revived.append(f"{key} answered with {status} after a restart")
                case (Fate.REVOKING, 200):
                    key.fate = Fate.LIVE
                    self._live.append(key)
                case (Fate.REVOKING, 401):
                    key.fate, key.dead_since = Fate.DEAD, at
                    self._dead.append(key)
                case _:
                    self.other.append(f"{key} answered with {status} after a restart")

    def of_fate(self, *fates: Fate) -> list[TrackedKey]:
        with self._lock:
            return [key for key in self.keys if key.fate in fates]

    @property
    def share_of_live_accepted(self) -> float:
        """The part of the checks of live credentials, outside of kills, that was accepted."""
        return 1 - len(self.refused) / max(self.checks_of_live, 1)

    def compare_with_store(self, stored: StoredState) -> list[str]:
        """Return what is wrong between what was acknowledged and what the database holds (I1, I4, D6)."""
        by_name: dict[str | None, list[StoredKey]] = {}
        for row in stored.keys.values():
            by_name.setdefault(row.name, []).append(row)
        wrong = [
            f"{key} {problem}"
            for key in self.keys
            for problem in (
                *_wrong_state(key, by_name.get(key.name, [])),
                *_wrong_audit(key, stored.deleted.get(key.key_id or 0, 0)),
            )
        ]
        return [*wrong, *stored.inconsistencies()]


def _wrong_state(key: TrackedKey, rows: list[StoredKey]) -> Iterator[str]:
    """Say how the rows that carry the name of a key differ from what its clients were told."""
    if key.fate is Fate.CREATING:
        if len(rows) > 1:
            yield f"is there {len(rows)} times"
    elif [row.key_id for row in rows] != [key.key_id]:
        yield f"is stored as {rows}"
    elif key.fate is not Fate.REVOKING and rows[0].is_revoked != (key.fate is Fate.DEAD):
        yield f"is stored as {rows[0]}"


def _wrong_audit(key: TrackedKey, deleted: int) -> Iterator[str]:
    """Say how the number of audit rows of the end of a key differs from what its clients were told."""
    if key.revoke_was_acked and deleted != 1:
        yield f"has {deleted} audit rows of its end"
    if not key.revoke_was_sent and deleted:
        yield "has an audit row of an end that nobody asked for"


@dataclass(frozen=True)
class StoredKey:
    """A key as the database holds it."""

    key_id: int
    name: str | None
    is_revoked: bool


@dataclass(frozen=True)
class StoredState:
    """What the database holds, read past the program."""

    keys: dict[int, StoredKey]
    created: dict[int, int]
    """How many audit rows tell of the making of each key."""
    deleted: dict[int, int]
    revisions: list[int]
    """The revisions in the order of the audit rows."""
    revision: int
    problems: list[str]
    """What SQLite's own checks report."""

    def inconsistencies(self) -> Iterator[str]:
        """Say what is wrong with the database by itself, whatever clients were told (D6)."""
        for row in self.keys.values():
            created, deleted = self.created.get(row.key_id, 0), self.deleted.get(row.key_id, 0)
            if created != 1:
                yield f"{row} has {created} audit rows of its making"
            if deleted != row.is_revoked:
                yield f"{row} has {deleted} audit rows of its end"
        for number in (self.created.keys() | self.deleted.keys()) - self.keys.keys():
            yield f"key {number} is in the audit log alone"
        if self.revisions != list(range(1, len(self.revisions) + 1)):
            yield "the revisions of the audit log have a gap, or are out of order"
        if self.revision != len(self.revisions):
            yield f"the revision is {self.revision}, with {len(self.revisions)} audit rows"
        for problem in self.problems:
            yield f"SQLite: {problem}"
