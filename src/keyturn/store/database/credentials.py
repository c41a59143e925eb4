"""Look-ups for verdicts on credentials, in the committed state of the database."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, func, literal_column, select

from keyturn.core import verification
from keyturn.core.principal import Principal
from keyturn.core.records import KeyForVerification, SessionForVerification, SessionKind
from keyturn.core.times import read_time, time_at
from keyturn.errors import CredentialRefused, Reason
from keyturn.store.database.owners import (
    OWNER_COLUMNS,
    owner_record,
    read_restrictions,
)
from keyturn.store.database.schema import (
    RESTRICTION_COLUMNS,
    api_key,
    as_stored,
    former_secret,
    profile,
    revoked_token,
    session,
    user,
)
from keyturn.store.database.statements import CompiledQuery, Row

Ask = Callable[..., list[Row]]
"""`Database.query`, or another way to the committed state."""


def find_key(ask: Ask, digest: bytes) -> KeyForVerification | None:
    """Return the key with this digest, of its own secret or its former one, alive or not, with its owner."""
    return _key(ask(_KEY_BY_DIGEST, digest=digest))


def find_key_by_id(ask: Ask, key_id: int) -> KeyForVerification | None:
    """Return the key that a token names, alive or not, with its owner."""
    return _key(ask(_KEY_BY_ID, key_id=key_id))


def find_session(ask: Ask, digest: bytes) -> SessionForVerification | None:
    """Return the session with this digest, ended or not, with its owner."""
    return _session(ask(_SESSION_BY_DIGEST, digest=digest))


def find_session_by_id(ask: Ask, session_id: int) -> SessionForVerification | None:
    """Return the session that a token names, ended or not, with its owner."""
    return _session(ask(_SESSION_BY_ID, session_id=session_id))


def is_revoked(ask: Ask, jti: str) -> bool:
    """Return whether this token was revoked by itself."""
    return bool(ask(_IS_REVOKED, jti=jti))


def check_caller_lives(ask: Ask, caller: Principal, now: datetime) -> bool:
    """Judge as `verification.check_still_lives` does, by what the database says now of a caller."""
    jti = caller.credential.jti
    if jti is not None and is_revoked(ask, jti):
        raise CredentialRefused(Reason.REVOKED, key_id=caller.key_id, secret_matched=True)
    if caller.impersonator is not None:
        session_id = caller.credential.session_id
        acted_for = None if session_id is None else find_session_by_id(ask, session_id)
        key = find_key_by_id(ask, caller.impersonator.key_id)
        verification.check_still_impersonates(caller, acted_for, key, now=now)
        return False
    record: KeyForVerification | SessionForVerification | None = None
    if caller.key_id is not None:
        record = find_key_by_id(ask, caller.key_id)
    elif caller.credential.session_id is not None:
        record = find_session_by_id(ask, caller.credential.session_id)
    return verification.check_still_lives(caller, record, now=now)


def _key(rows: list[Row]) -> KeyForVerification | None:
    if not rows:
        return None
    is_by_former_secret, key_id, expires_at, revoked_at, epoch, *more = rows[0]
    secret_number, former_number, former_ends_at, project_id, *more = more
    restrictions, owner = more[:_RESTRICTIONS], more[_RESTRICTIONS:]
    return KeyForVerification(
        key_id=key_id,
        owner=owner_record(*owner),
        expires_at=read_time(expires_at),
        revoked_at=read_time(revoked_at),
        restrictions=read_restrictions(*restrictions),
        epoch=epoch,
        project_id=project_id,
        secret_number=secret_number,
        former_number=former_number,
        former_ends_at=read_time(former_ends_at),
        is_by_former_secret=bool(is_by_former_secret),
    )


def _session(rows: list[Row]) -> SessionForVerification | None:
    if not rows:
        return None
    number, kind, created_at, last_seen_at, expires_at, ended_at, secret_number, time_zone, *owner = rows[0]
    return SessionForVerification(
        session_id=number,
        kind=SessionKind(kind),
        owner=owner_record(*owner),
        created_at=time_at(created_at),
        last_seen_at=time_at(last_seen_at),
        expires_at=time_at(expires_at),
        ended_at=read_time(ended_at),
        secret_number=secret_number,
        time_zone=time_zone,
    )


_RESTRICTIONS = len(RESTRICTION_COLUMNS)


def _select_key(is_by_former_secret: Any) -> Select[Any]:
    """Ask for a key with its owner."""
    columns = (
        is_by_former_secret,
        api_key.c.id,
        as_stored(api_key.c.expires_at),
        as_stored(api_key.c.revoked_at),
        api_key.c.epoch,
        api_key.c.secret_number,
        former_secret.c.secret_number,
        as_stored(former_secret.c.ends_at),
        api_key.c.project_id,
        *map(as_stored, RESTRICTION_COLUMNS),
        *OWNER_COLUMNS,
    )
    return (
        select(*columns)
        .select_from(api_key)
        .join(user, user.c.id == api_key.c.user_id)
        .join(profile, profile.c.user_id == user.c.id)
        .outerjoin(former_secret, former_secret.c.key_id == api_key.c.id)
    )


_DIGEST: Any = bindparam("digest")
_former = former_secret.alias()


# What is found by its own secret is not looked for among the former ones: both databases stop at the first
# that is no null.
_KEY_BY_DIGEST = CompiledQuery(
    _select_key(api_key.c.digest != _DIGEST).where(
        api_key.c.id
        == func.coalesce(
            select(api_key.c.id).where(api_key.c.digest == _DIGEST).scalar_subquery(),
            select(_former.c.key_id).where(_former.c.digest == _DIGEST).scalar_subquery(),
        )
    )
)
_KEY_BY_ID = CompiledQuery(_select_key(literal_column("0")).where(api_key.c.id == bindparam("key_id")))

_SELECT_SESSION = (
    select(
        session.c.id,
        session.c.kind,
        as_stored(session.c.created_at),
        as_stored(session.c.last_seen_at),
        as_stored(session.c.expires_at),
        as_stored(session.c.ended_at),
        session.c.secret_number,
        profile.c.time_zone,
        *OWNER_COLUMNS,
    )
    .join(user, user.c.id == session.c.user_id)
    .join(profile, profile.c.user_id == user.c.id)
)
_SESSION_BY_DIGEST = CompiledQuery(_SELECT_SESSION.where(session.c.digest == bindparam("digest")))
_SESSION_BY_ID = CompiledQuery(_SELECT_SESSION.where(session.c.id == bindparam("session_id")))
_IS_REVOKED = CompiledQuery(select(revoked_token.c.jti).where(revoked_token.c.jti == bindparam("jti")))
