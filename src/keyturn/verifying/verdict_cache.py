"""The cache of verdicts on credentials, and its invalidation.

An entry belongs to the SHA-256 of a whole credential, with the API that it was verified for if that is not
the installation itself (K5, R5), and stands on two *dependencies*: a key or a
session, and its owner. A change to either ends the dependency, and with it every entry that stands on it, in
constant time however many there are. Nothing here knows whether it is up to date: `Freshness` does.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from weakref import WeakValueDictionary

from keyturn.core.principal import Principal
from keyturn.core.records import KeyForVerification
from keyturn.errors import KeyturnError
from keyturn.verifying.uses import KeyUse

MAX_ENTRIES = 100_000
MAX_NEGATIVES = 20_000
NEGATIVE_SECONDS = 5.0
"""How long an unknown credential is remembered as such (R6)."""
MAX_SPARED = 64
"""How many used entries are passed by before one is dropped all the same: adding one must stay quick."""
NEVER_ENDS = float("inf")
ENDED = 0.0


class DependencyKind(Enum):
    """The kind of thing that a cached verdict depends on."""

    USER = auto()
    KEY = auto()
    SESSION = auto()
    TOKEN = auto()
    """A token by itself, by its `jti`. Nothing else stands on it, so it has no dependency."""


class Dependency:
    """A user, key or session that cached verdicts depend on. It is valid until its record changes."""

    __slots__ = ("__weakref__", "is_valid", "key", "owner", "use")

    def __init__(self, key: KeyForVerification | None = None, use: KeyUse | None = None) -> None:
        self.is_valid = True
        self.owner: Dependency | None = None
        """The user whose key or session this is; None for a user. A change to the user ends both."""
        self.key = key
        """The key that this is the dependency of, so that a new token of it needs no look-up."""
        self.use = use
        """Where uses of that key are noted."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class CachedVerdict:
    """A credential with its verdict, parsed once: true while both dependencies are valid, until `ends_at`."""

    principal: Principal
    """The caller, while the credential is alive."""
    ends_at: float
    """Seconds since 1970; the credential is dead at this instant. `ENDED` for one that is dead already."""
    dependency: Dependency
    owner: Dependency
    is_conditional: bool
    """Whether more decides than the credential: the address that it comes from, or a proof (RFC 9449)."""
    refused: KeyturnError | None = None
    """Why it opens nothing where it is shown, though it is alive: it covers no scope there."""
    used: bool = False
    """Set by each further use, cleared by the search for an entry to drop."""
    answer: bytes | None = None
    """The bytes that the web layer answers to this credential, once it has written them."""

    @property
    def end(self) -> datetime | None:
        """When the credential ends, which is before its key does if it is a former secret; None for never."""
        return None if self.ends_at == NEVER_ENDS else datetime.fromtimestamp(self.ends_at, UTC)


class VerdictCache:
    """The entries, bounded. Reading takes no lock; adding and forgetting do."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._dependencies = {
            kind: WeakValueDictionary[int, Dependency]()
            for kind in (DependencyKind.USER, DependencyKind.KEY, DependencyKind.SESSION)
        }
        self._tokens: WeakValueDictionary[str, CachedVerdict] = WeakValueDictionary()
        self._negatives: OrderedDict[bytes, float] = OrderedDict()
        self.entries: OrderedDict[bytes, CachedVerdict] = OrderedDict()
        """By digest, and the API that it is good for. A reader must check `is_valid` of both dependencies,
        and `ends_at`.
        """
        self.evictions = 0
        """How many entries made room for others."""
        self.generation = 0
        """Grows whenever something is forgotten. A fill that began before that is not kept (R4)."""

    def find(self, entry: bytes) -> CachedVerdict | None:
        """Return the entry of a credential, dead ones too, unless what it stood on has changed."""
        known = self.entries.get(entry)
        if known is None or not (known.dependency.is_valid and known.owner.is_valid):
            return None
        known.used = True
        return known

    def find_negative(self, digest: bytes) -> float:
        """Return until when the store is believed to know no such credential, which may be over; else 0."""
        return self._negatives.get(digest, 0.0)

    def find_dependency(self, kind: DependencyKind, number: int) -> Dependency | None:
        """Return the dependency of this key or session, if an entry stands on it and nothing has changed."""
        dependency = self._dependencies[kind].get(number)
        return (
            dependency
            if dependency is not None and dependency.owner is not None and dependency.owner.is_valid
            else None
        )

    def add(
        self,
        entry: bytes,
        known: CachedVerdict,
        *,
        user_id: int,
        kind: DependencyKind,
        number: int,
        since: int,
        jti: str | None = None,
    ) -> CachedVerdict:
        """Keep an entry that was filled at `since`, the `generation` from before the store was asked.

        `jti` is that of a token, which can be revoked by itself. Entries of one user, key or session come
        to share their dependencies. Returns the entry either way.
        """
        with self._lock:
            if since != self.generation:
                return known
            known.owner = self._dependencies[DependencyKind.USER].setdefault(user_id, known.owner)
            shared = self.find_dependency(kind, number)
            if shared is None:
                known.dependency.owner = known.owner
                self._dependencies[kind][number] = known.dependency
            else:
                known.dependency = shared
            while len(self.entries) >= self._max_entries:
                self._drop_one()
            self.entries[entry] = known
            if jti is not None:
                self._tokens[jti] = known
            self._negatives.pop(entry, None)
        return known

    def add_negative(self, digest: bytes, *, now: float, since: int) -> None:
        """Remember for a while that there is no such credential."""
        with self._lock:
            if since != self.generation:
                return
            self._negatives.pop(digest, None)
            if len(self._negatives) >= MAX_NEGATIVES:
                self._negatives.popitem(last=False)
            self._negatives[digest] = now + NEGATIVE_SECONDS

    def forget(self, changed: Iterable[tuple[DependencyKind, int | str]], *, negatives: bool) -> None:
        """End what stands on these users, keys, sessions (by number) and tokens (by `jti`).

        With `negatives`, forget also what was remembered as unknown.
        """
        with self._lock:
            self.generation += 1
            for kind, name in changed:
                if isinstance(name, str):
                    token = self._tokens.pop(name, None)
                    if token is not None:
                        token.ends_at = ENDED
                    continue
                dependency = self._dependencies[kind].pop(name, None)
                if dependency is not None:
                    dependency.is_valid = False
            if negatives:
                self._negatives.clear()

    def forget_everything(self) -> None:
        """End all dependencies."""
        with self._lock:
            self.generation += 1
            for dependencies in self._dependencies.values():
                for dependency in list(dependencies.values()):
                    dependency.is_valid = False
                dependencies.clear()
            self._tokens.clear()
            self.entries.clear()
            self._negatives.clear()

    @property
    def max_entries(self) -> int:
        """How many entries there are at most."""
        return self._max_entries

    def _drop_one(self) -> None:
        """Drop the oldest entry that was not used since this last passed it by (the CLOCK algorithm)."""
        self.evictions += 1
        for _ in range(MAX_SPARED):
            digest, known = self.entries.popitem(last=False)
            if not known.used or not (known.dependency.is_valid and known.owner.is_valid):
                return
            known.used = False
            self.entries[digest] = known
        self.entries.popitem(last=False)
