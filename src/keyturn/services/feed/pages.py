"""The pages of the feed: the present state of things as events, ready to be written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import msgspec

from keyturn.core import feed
from keyturn.core.apis import Rules
from keyturn.core.times import in_milliseconds
from keyturn.store import Store
from keyturn.store.feed import NAMED_AT_ONCE, PAGE, key_row
from keyturn.system import System

Row = tuple[Any, ...]
V = TypeVar("V", int, str)


class FeedPages:
    """Reads what decides over credentials and writes it as events.

    Nothing here is remembered: what is sent was read after the change that it is sent for.
    """

    def __init__(self, store: Store, system: System) -> None:
        self._store = store
        self._system = system

    def everything(self) -> Iterator[bytes]:
        """Yield all there is, each page read when it is asked for: no transaction lasts for long."""
        yield feed.encode_event(feed.RESET, {})
        yield self.signing_keys()
        yield from self.all_users()
        yield from self._pages(feed.KEYS, self._store.feed.keys_after, 0, key_row)
        now = self._system.now()
        yield from self._pages(
            feed.SESSIONS, lambda last: self._store.feed.sessions_after(last, now), 0, _as_it_is
        )
        yield from self._pages(feed.TOKENS, self._store.feed.revoked_tokens_after, "", _as_it_is)
        yield feed.encode_event(feed.WHOLE, {})

    def all_users(self) -> Iterator[bytes]:
        """Yield all users, without their keys, then the registered APIs: what is withheld comes first.

        By the same rules, so that nobody covers a scope that is new.
        """
        rules, last = self._store.apis.rules(), 0
        while rows := self._store.feed.users_after(last):
            yield from self._users(rules, rows, self._store.feed.memberships_between, rows[0][0], rows[-1][0])
            last = rows[-1][0]
        yield feed.encode_event(
            feed.RESOURCES,
            [feed.ResourceRow(name, sorted(scopes)) for name, scopes in rules.audiences.items()],
        )

    def users(self, user_ids: Iterable[int]) -> Iterator[bytes]:
        """Yield some users, and that the others of them are gone."""
        rules: Rules | None = None
        for wanted in _in_batches(user_ids):
            rules = rules or self._store.apis.rules()
            rows = self._store.feed.users(wanted)
            yield from self._users(rules, rows, self._store.feed.memberships_of, wanted)
            if gone := set(wanted) - {row[0] for row in rows}:
                yield feed.encode_event(feed.GONE, feed.Gone(users=sorted(gone)))

    def keys(self, key_ids: Iterable[int]) -> Iterator[bytes]:
        """Yield some keys, and that the others of them are gone."""
        for wanted in _in_batches(key_ids):
            rows = self._store.feed.keys(wanted)
            yield from feed.encode_rows(feed.KEYS, map(key_row, rows))
            if gone := set(wanted) - {row[0] for row in rows}:
                yield feed.encode_event(feed.GONE, feed.Gone(keys=sorted(gone)))

    def keys_of(self, user_ids: Iterable[int]) -> Iterator[bytes]:
        """Yield all keys of some users."""
        for users in _in_batches(user_ids):
            some = self._store.feed.some_keys_of(users)
            if len(some) < PAGE:
                yield from feed.encode_rows(feed.KEYS, map(key_row, some))
                continue
            for user_id in users:
                after = partial(self._store.feed.keys_of, user_id)
                yield from self._pages(feed.KEYS, after, 0, key_row)

    def sessions(self, session_ids: Iterable[int]) -> Iterator[bytes]:
        """Yield some sessions of tokens, and that the others of them are gone."""
        for wanted in _in_batches(session_ids):
            rows = self._store.feed.sessions(wanted)
            yield from feed.encode_rows(feed.SESSIONS, rows)
            if gone := set(wanted) - {row[0] for row in rows}:
                yield feed.encode_event(feed.GONE, feed.Gone(sessions=sorted(gone)))

    def sessions_of(self, user_ids: Iterable[int]) -> Iterator[bytes]:
        """Yield the sessions of tokens of some users that are not over."""
        now = self._system.now()
        for users in _in_batches(user_ids):
            some = self._store.feed.some_sessions_of(users, now)
            if len(some) < PAGE:
                yield from feed.encode_rows(feed.SESSIONS, some)
                continue
            for user_id in users:
                after = partial(self._store.feed.sessions_of, user_id, now=now)
                yield from self._pages(feed.SESSIONS, after, 0, _as_it_is)

    def revoked_tokens(self, jtis: Iterable[str]) -> Iterator[bytes]:
        """Yield some tokens that were revoked by themselves."""
        for wanted in _in_batches(jtis):
            yield from feed.encode_rows(feed.TOKENS, self._store.feed.revoked_tokens(wanted))

    def signing_keys(self) -> bytes:
        """Return the public halves of all keys whose tokens may live."""
        rows = [
            feed.SigningKeyRow(dict(record.public_jwk), _stored(record.verifies_until))
            for record in self._store.signing_keys.list_verifying(self._system.now())
            if record.public_jwk is not None
        ]
        return feed.encode_event(feed.SIGNING_KEYS, rows)

    def _users(
        self, rules: Rules, rows: Sequence[Row], memberships: Callable[..., list[Row]], *whose: Any
    ) -> Iterator[bytes]:
        """Yield these users; `memberships(*whose)` are those of all of them."""
        groups: dict[int, set[int]] = {}
        if rules.withheld_from(frozenset()):  # Otherwise nothing is withheld from anybody.
            for user_id, group_id in memberships(*whose):
                groups.setdefault(user_id, set()).add(group_id)
        withheld = (sorted(rules.withheld_from(frozenset(groups.get(row[0], ())))) for row in rows)
        yield from feed.encode_rows(feed.USERS, map(_user_row, rows, withheld))

    def _pages(
        self, name: str, after: Callable[[V], list[Row]], last: V, written: Callable[[Row], Any]
    ) -> Iterator[bytes]:
        """Yield the events of each page; the first column of a row is what they are in order of."""
        while rows := after(last):
            yield from feed.encode_rows(name, map(written, rows))
            last = rows[-1][0]


def _in_batches(names: Iterable[V]) -> Iterator[list[V]]:
    """Yield the names, each once, as many at a time as one question takes."""
    wanted = sorted(set(names))
    for first in range(0, len(wanted), NAMED_AT_ONCE):
        yield wanted[first : first + NAMED_AT_ONCE]


def _as_it_is(row: Row) -> Row:
    return row


def _user_row(row: Row, withheld: Sequence[str]) -> Row:
    user_id, userid, iamid, name, permissions, disabled_at, epoch = row
    is_disabled = disabled_at is not None
    return user_id, userid, iamid, name, _raw(permissions), is_disabled, epoch, withheld


def _raw(stored: str | None) -> msgspec.Raw | None:
    return None if stored is None else msgspec.Raw(stored)


def _stored(moment: datetime | None) -> int | None:
    return None if moment is None else in_milliseconds(moment)
