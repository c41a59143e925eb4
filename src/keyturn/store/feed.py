"""The rows of the feed, read a page at a time in their present state.

Rows are tuples in the order of the rows of `keyturn.core.feed`, sets as the JSON text that is stored: the
server passes on what it need not look into.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, Select, bindparam, literal_column, select

from keyturn.core.records import SessionKind
from keyturn.core.restriction_kinds import KINDS
from keyturn.store.database.schema import (
    RESTRICTION_COLUMNS,
    Json,
    UtcTime,
    api_key,
    as_stored,
    former_secret,
    group_member,
    profile,
    revoked_token,
    session,
    user,
)
from keyturn.store.database.statements import CompiledQuery, Row
from keyturn.store.database.transactions import Database

PAGE = 2000
"""How many rows are read at once: some milliseconds of work, some hundred kilobytes of JSON."""
NAMED_AT_ONCE = 200
"""How many things are named in one question: it has that many parameters, and the last is repeated."""


class Feed:
    """Questions about everything that decides over credentials."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def users_after(self, user_id: int) -> list[Row]:
        """Return the next users by their ids."""
        return self._database.query(_USERS_AFTER, after=user_id)

    def users(self, user_ids: Sequence[int]) -> list[Row]:
        """Return those of these users, at most `NAMED_AT_ONCE`, that are there."""
        return self._named(_USERS_NAMED, user_ids)

    def memberships_between(self, first: int, last: int) -> list[Row]:
        """Return user and group id of each membership of the users with these ids, and all between."""
        return self._database.query(_MEMBERSHIPS_BETWEEN, first=first, last=last)

    def memberships_of(self, user_ids: Sequence[int]) -> list[Row]:
        """Return user and group id of each membership of these users, at most `NAMED_AT_ONCE`."""
        return self._named(_MEMBERSHIPS_OF, user_ids)

    def keys_after(self, key_id: int) -> list[Row]:
        """Return the next keys by their ids."""
        return self._database.query(_KEYS_AFTER, after=key_id)

    def keys(self, key_ids: Sequence[int]) -> list[Row]:
        """Return those of these keys, at most `NAMED_AT_ONCE`, that are there."""
        return self._named(_KEYS_NAMED, key_ids)

    def keys_of(self, user_id: int, after: int) -> list[Row]:
        """Return the next keys of a user."""
        return self._database.query(_KEYS_OF, user_id=user_id, after=after)

    def some_keys_of(self, user_ids: Sequence[int]) -> list[Row]:
        """Return keys of these users, at most `NAMED_AT_ONCE`: all of them if they are fewer than a page."""
        return self._named(_SOME_KEYS_OF, user_ids)

    def sessions_after(self, session_id: int, now: datetime) -> list[Row]:
        """Return the next sessions of tokens that are not over."""
        return self._database.query(_SESSIONS_AFTER, after=session_id, now=_stored(now))

    def sessions(self, session_ids: Sequence[int]) -> list[Row]:
        """Return those of these sessions of tokens, at most `NAMED_AT_ONCE`, that are there."""
        return self._named(_SESSIONS_NAMED, session_ids)

    def sessions_of(self, user_id: int, after: int, now: datetime) -> list[Row]:
        """Return the next sessions of tokens of a user that are not over."""
        return self._database.query(_SESSIONS_OF, user_id=user_id, after=after, now=_stored(now))

    def some_sessions_of(self, user_ids: Sequence[int], now: datetime) -> list[Row]:
        """Return such sessions of these users, as `some_keys_of` does keys."""
        return self._named(_SOME_SESSIONS_OF, user_ids, now=_stored(now))

    def revoked_tokens_after(self, jti: str) -> list[Row]:
        """Return the next tokens that were revoked by themselves."""
        return self._database.query(_TOKENS_AFTER, after=jti)

    def revoked_tokens(self, jtis: Sequence[str]) -> list[Row]:
        """Return those of these tokens, at most `NAMED_AT_ONCE`, that were revoked by themselves."""
        return self._named(_TOKENS_NAMED, jtis)

    def _named(self, query: CompiledQuery, names: Sequence[int] | Sequence[str], **others: Any) -> list[Row]:
        if not names:
            return []
        padded = [*names, *[names[-1]] * (NAMED_AT_ONCE - len(names))]
        return self._database.query(query, **dict(zip(_NAMES, padded, strict=True)), **others)


def key_row(row: Row) -> Row:
    """Return the row of a key with its restrictions as one object, in the place of their columns."""
    stored = row[_RESTRICTIONS]
    told = None
    if any(value is not None for value in stored):
        told = {
            kind.wire: msgspec.Raw(value) if isinstance(column.type, Json) else value
            for kind, column, value in zip(KINDS, RESTRICTION_COLUMNS, stored, strict=True)
            if value is not None
        }
    return (*row[: _RESTRICTIONS.start], told, *row[_RESTRICTIONS.stop :])


_RESTRICTIONS = slice(7, 7 + len(RESTRICTION_COLUMNS))
"""Where their columns stand in the row of a key."""


def _stored(now: datetime) -> Any:
    return UtcTime().process_bind_param(now, None)  # type: ignore[arg-type]  # the dialect plays no part


_SIZE: Any = literal_column(str(PAGE))
_FIRST: Any = literal_column("0")
"""Literals, since a `CompiledQuery` has no parameters but those it is asked with."""
_NAMES = tuple(f"named_{number}" for number in range(NAMED_AT_ONCE))


def _is_named(column: Column[Any]) -> ColumnElement[bool]:
    return column.in_([bindparam(name, type_=column.type) for name in _NAMES])


_USERS: Select[Any] = select(
    user.c.id,
    user.c.userid,
    user.c.iamid,
    profile.c.name,
    as_stored(user.c.permissions),
    as_stored(user.c.disabled_at),
    user.c.epoch,
).join(profile, profile.c.user_id == user.c.id)
_USERS_AFTER = CompiledQuery(
    _USERS.where(user.c.id > bindparam("after")).order_by(user.c.id).limit(_SIZE).offset(_FIRST)
)
_USERS_NAMED = CompiledQuery(_USERS.where(_is_named(user.c.id)))
_MEMBERSHIPS: Select[Any] = select(group_member.c.user_id, group_member.c.group_id)
_MEMBERSHIPS_BETWEEN = CompiledQuery(
    _MEMBERSHIPS.where(
        group_member.c.user_id >= bindparam("first"), group_member.c.user_id <= bindparam("last")
    )
)
_MEMBERSHIPS_OF = CompiledQuery(_MEMBERSHIPS.where(_is_named(group_member.c.user_id)))

_KEYS: Select[Any] = (
    select(
        api_key.c.id,
        api_key.c.user_id,
        api_key.c.digest,
        as_stored(api_key.c.expires_at),
        as_stored(api_key.c.revoked_at),
        api_key.c.epoch,
        api_key.c.project_id,
        *map(as_stored, RESTRICTION_COLUMNS),
        former_secret.c.digest,
        as_stored(former_secret.c.ends_at),
        api_key.c.secret_number,
        former_secret.c.secret_number,
    )
    .select_from(api_key)
    .outerjoin(former_secret, former_secret.c.key_id == api_key.c.id)
)
_KEYS_AFTER = CompiledQuery(
    _KEYS.where(api_key.c.id > bindparam("after")).order_by(api_key.c.id).limit(_SIZE).offset(_FIRST)
)
_KEYS_NAMED = CompiledQuery(_KEYS.where(_is_named(api_key.c.id)))
_KEYS_OF = CompiledQuery(
    _KEYS.where(api_key.c.user_id == bindparam("user_id"), api_key.c.id > bindparam("after"))
    .order_by(api_key.c.id)
    .limit(_SIZE)
    .offset(_FIRST)
)
_SOME_KEYS_OF = CompiledQuery(_KEYS.where(_is_named(api_key.c.user_id)).limit(_SIZE).offset(_FIRST))

_SESSIONS: Select[Any] = select(
    session.c.id,
    session.c.user_id,
    as_stored(session.c.created_at),
    as_stored(session.c.expires_at),
    as_stored(session.c.ended_at),
).where(session.c.kind == literal_column(f"'{SessionKind.TOKEN}'"))
_LIVING_SESSIONS = _SESSIONS.where(as_stored(session.c.expires_at) > bindparam("now"))
_SESSIONS_AFTER = CompiledQuery(
    _LIVING_SESSIONS.where(session.c.id > bindparam("after"))
    .order_by(session.c.id)
    .limit(_SIZE)
    .offset(_FIRST)
)
_SESSIONS_NAMED = CompiledQuery(_SESSIONS.where(_is_named(session.c.id)))
_SESSIONS_OF = CompiledQuery(
    _LIVING_SESSIONS.where(session.c.user_id == bindparam("user_id"), session.c.id > bindparam("after"))
    .order_by(session.c.id)
    .limit(_SIZE)
    .offset(_FIRST)
)
_SOME_SESSIONS_OF = CompiledQuery(
    _LIVING_SESSIONS.where(_is_named(session.c.user_id)).limit(_SIZE).offset(_FIRST)
)

_TOKENS: Select[Any] = select(revoked_token.c.jti, as_stored(revoked_token.c.expires_at))
_TOKENS_AFTER = CompiledQuery(
    _TOKENS.where(revoked_token.c.jti > bindparam("after"))
    .order_by(revoked_token.c.jti)
    .limit(_SIZE)
    .offset(_FIRST)
)
_TOKENS_NAMED = CompiledQuery(_TOKENS.where(_is_named(revoked_token.c.jti)))
