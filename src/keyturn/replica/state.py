"""The copy: what decides over every credential, as the feed last told it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from keyturn.core import feed
from keyturn.core.access_token import VerifyingRing
from keyturn.core.records import KeyForVerification, OwnerRecord, SessionForVerification, SessionKind
from keyturn.core.times import in_milliseconds, read_time, time_at
from keyturn.errors import StoreUnavailable
from keyturn.replica.packing import (
    NONE,
    KnownRestrictions,
    packed,
    slices,
    unpacked_time,
)
from keyturn.replica.signing_keys import FollowedKeys
from keyturn.replica.tables import PackedTable
from keyturn.system import System
from keyturn.verifying.verdict_cache import DependencyKind

Touched = list[tuple[DependencyKind, int | str]]

KEPT_AFTER_END = timedelta(days=1)
"""How long after its end a session is known. One that is not known is refused, whatever the clock says."""
ROWS_AT_ONCE = 256
"""How many rows are written before others may read: a fraction of a millisecond."""
MAX_PRUNED_AT = 10_000
"""Above so many sessions, and twice as many each time, those that are over are dropped."""


@dataclass(slots=True)
class _Told:
    """The rows of the full copy that is under way, but for keys: each of those carries its turn."""

    users: set[int] = field(default_factory=set)
    sessions: set[int] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)


class Replica:
    """Answers what `Lookup` asks. One thread applies events; any thread may ask."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._lock = threading.RLock()
        """Held for as long as a change is taken in: each question finds all of it or nothing."""
        self._changes = 0
        self._is_torn = True
        self._keys = PackedTable("qqqqqIII")
        self._former = PackedTable("qI")
        self._restrictions = KnownRestrictions()
        self._words: WeakValueDictionary[tuple[str, ...], frozenset[str]] = WeakValueDictionary()
        self._names: dict[str, str] = {}
        self._users: dict[int, OwnerRecord] = {}
        self._sessions: dict[int, feed.SessionRow] = {}
        self._revoked: set[str] = set()
        """Tokens, until a full copy does not tell of them: no clock is believed that one has ended."""
        self._resources: dict[str, frozenset[str]] = {}
        self._prune_at = MAX_PRUNED_AT
        self._signing_keys = FollowedKeys(system)
        self._turn = 0
        """Counts full copies, begun and given up ones too: what carries no such number at the end is gone."""
        self._told: _Told | None = None
        """None while no full copy is under way."""

    # What is asked

    @property
    def changes(self) -> int:
        """Return how many changes were taken in: what was answered at the same number goes together.

        Raise `StoreUnavailable` while there is only a part of one.
        """
        if self._is_torn:
            raise StoreUnavailable("the copy of the keys is being made anew")
        return self._changes

    def find_key(self, digest: bytes) -> KeyForVerification | None:
        """Return the key with this digest, alive or not."""
        with self._lock:
            row = self._keys.find_digest(digest)
            if row is not None:
                return self._key(row)
            former = self._former.find_digest(digest)
            row = None if former is None else self._keys.find_number(former[1])
            return None if row is None else self._key(row, is_by_former_secret=True)

    def find_key_by_id(self, key_id: int) -> KeyForVerification | None:
        """Return the key that a token names, alive or not."""
        with self._lock:
            row = self._keys.find_number(key_id)
            return None if row is None else self._key(row)

    def find_session(self, session_id: int) -> SessionForVerification | None:
        """Return the session that a token names, ended or not."""
        with self._lock:
            row = self._sessions.get(session_id)
            owner = None if row is None else self._owner(row.user_id)
        if row is None or owner is None:
            return None
        created_at = time_at(row.created_at)
        return SessionForVerification(
            session_id=session_id,
            kind=SessionKind.TOKEN,
            owner=owner,
            created_at=created_at,
            last_seen_at=created_at,
            expires_at=time_at(row.expires_at),
            ended_at=read_time(row.ended_at),
        )

    def is_revoked(self, jti: str) -> bool:
        """Return whether a token was revoked by itself (RFC 7009)."""
        with self._lock:
            return jti in self._revoked

    def scopes_of(self, audience: str) -> frozenset[str] | None:
        """Return the scopes of the API with this identifier; None if none is registered."""
        return self._resources.get(audience)

    @property
    def ring(self) -> VerifyingRing:
        """The public keys of this moment."""
        with self._lock:
            return self._signing_keys.ring

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._keys)

    # What is told

    def tear(self) -> None:
        """Answer nothing from now on: what comes is taken in piece by piece."""
        with self._lock:
            self._is_torn = True

    @contextmanager
    def one_change(self) -> Iterator[None]:
        """Take in what is applied in this block as one change, at whose end all is answered again.

        Unless it fails: then there is only a part of it.
        """
        with self._lock:
            try:
                yield
            except BaseException:
                self._is_torn = True
                raise
            self._changes += 1
            self._is_torn = False

    def begin_full(self) -> None:
        """Begin a full copy: at its end, what was not told in it is gone, and not before."""
        self._turn = (self._turn + 1) % 2**32
        with self._lock:
            self._restrictions.begin(self._turn)
        self._told = _Told()

    def abandon_full(self) -> None:
        """Give up a full copy that was cut off. The rows that came are true, and none is taken for gone."""
        self._told = None

    def end_full(self) -> None:
        """End a full copy; raise `ValueError` if none was begun."""
        if self._told is None:
            raise ValueError("the end of a full copy that was not begun")
        told = self._told
        gone = self._keys.numbers_where(lambda row: row[-1] != self._turn)
        for some in slices(gone, ROWS_AT_ONCE):
            with self._lock:
                for key_id in some:
                    self._forget_key(key_id)
        with self._lock:
            self._restrictions.end()
        for user_id in self._users.keys() - told.users:
            del self._users[user_id]
        for session_id in self._sessions.keys() - told.sessions:
            del self._sessions[session_id]
        self._revoked &= told.tokens
        self._told = None

    def apply_users(self, data: bytes) -> Touched:
        """Take in users; return what may be remembered otherwise."""
        rows = _USERS.decode(data)
        for row in rows:
            self._users[row.user_id] = OwnerRecord(
                user_id=row.user_id,
                userid=row.userid,
                iamid=self._names.setdefault(row.iamid, row.iamid),
                name=row.name,
                permissions=self._shared(row.permissions),
                is_disabled=row.is_disabled,
                epoch=row.epoch,
                withheld=self._shared(row.withheld),
            )
        if self._told is not None:
            self._told.users.update(row.user_id for row in rows)
        return [(DependencyKind.USER, row.user_id) for row in rows]

    def apply_keys(self, data: bytes) -> Touched:
        """Take in keys."""
        rows = _KEYS.decode(data)
        for some in slices(rows, ROWS_AT_ONCE):
            with self._lock:
                for row in some:
                    self._put_key(row)
        return [(DependencyKind.KEY, row.key_id) for row in rows]

    def apply_sessions(self, data: bytes) -> Touched:
        """Take in sessions."""
        rows = _SESSIONS.decode(data)
        self._sessions.update((row.session_id, row) for row in rows)
        if self._told is not None:
            self._told.sessions.update(row.session_id for row in rows)
        self._prune()
        return [(DependencyKind.SESSION, row.session_id) for row in rows]

    def apply_tokens(self, data: bytes) -> Touched:
        """Take in tokens that were revoked by themselves."""
        rows = _TOKENS.decode(data)
        self._revoked.update(row.jti for row in rows)
        if self._told is not None:
            self._told.tokens.update(row.jti for row in rows)
        return [(DependencyKind.TOKEN, row.jti) for row in rows]

    def apply_gone(self, data: bytes) -> Touched:
        """Take in what exists no more."""
        gone = _GONE.decode(data)
        with self._lock:
            for key_id in gone.keys:
                self._forget_key(key_id)
        for user_id in gone.users:
            self._users.pop(user_id, None)
        for session_id in gone.sessions:
            self._sessions.pop(session_id, None)
        return [
            *((DependencyKind.USER, number) for number in gone.users),
            *((DependencyKind.KEY, number) for number in gone.keys),
            *((DependencyKind.SESSION, number) for number in gone.sessions),
        ]

    def apply_resources(self, data: bytes) -> None:
        """Take in all registered APIs."""
        self._resources = {row.identifier: frozenset(row.scopes) for row in _RESOURCES.decode(data)}

    def apply_signing_keys(self, data: bytes) -> None:
        """Take in all signing keys; raise `ValueError` for what is none."""
        self._signing_keys.apply(data)

    # How it is kept

    def _put_key(self, row: feed.KeyRow) -> None:
        self._keys.put(
            row.digest,
            row.key_id,
            row.user_id,
            packed(row.expires_at),
            packed(row.revoked_at),
            row.epoch,
            packed(row.project_id),
            row.secret_number,
            self._restrictions.number(bytes(row.restrictions)),
            self._turn,
        )
        digest, ends_at, number = row.former_digest, row.former_ends_at, row.former_number
        if digest is not None and ends_at is not None and number is not None:
            self._former.put(digest, row.key_id, ends_at, number)
        elif len(self._former):
            self._former.remove(row.key_id)

    def _forget_key(self, key_id: int) -> None:
        self._keys.remove(key_id)
        self._former.remove(key_id)

    def _key(self, row: Sequence[Any], *, is_by_former_secret: bool = False) -> KeyForVerification | None:
        """Return a key; None if its owner is gone, and so it is too."""
        _digest, key_id, user_id, expires_at, revoked_at, epoch, project_id, secret_number, number, turn = row
        former = self._former.find_number(key_id) if len(self._former) else None
        owner = self._owner(user_id)
        if owner is None:
            return None
        return KeyForVerification(
            key_id=key_id,
            owner=owner,
            expires_at=unpacked_time(expires_at),
            revoked_at=unpacked_time(revoked_at),
            restrictions=self._restrictions.of_row(number, turn),
            epoch=epoch,
            project_id=None if project_id == NONE else project_id,
            secret_number=secret_number,
            former_number=None if former is None else former[3],
            former_ends_at=None if former is None else time_at(former[2]),
            is_by_former_secret=is_by_former_secret,
        )

    def _owner(self, user_id: int) -> OwnerRecord | None:
        owner = self._users.get(user_id)
        return (
            owner
            if owner is None or not self._resources
            else msgspec.structs.replace(owner, audiences=self._resources)
        )

    def _shared(self, words: list[str]) -> frozenset[str]:
        """Return the set that all users share who have the same words; it goes with the last of them."""
        name = tuple(words)
        found = self._words.get(name)
        if found is None:
            found = self._words[name] = frozenset(name)
        return found

    def _prune(self) -> None:
        """Drop sessions that are over for long, now and then, unless a full copy does it anyway."""
        if self._told is not None or len(self._sessions) < self._prune_at:
            return
        oldest = in_milliseconds(self._system.now() - KEPT_AFTER_END)
        over = [number for number, row in self._sessions.items() if row.expires_at < oldest]
        for number in over:
            del self._sessions[number]
        self._prune_at = max(MAX_PRUNED_AT, 2 * len(self._sessions))


_USERS = msgspec.json.Decoder(list[feed.UserRow])
_KEYS = msgspec.json.Decoder(list[feed.KeyRow])
_SESSIONS = msgspec.json.Decoder(list[feed.SessionRow])
_TOKENS = msgspec.json.Decoder(list[feed.TokenRow])
_GONE = msgspec.json.Decoder(feed.Gone)
_RESOURCES = msgspec.json.Decoder(list[feed.ResourceRow])
