"""Sessions: of browsers, and of bearer tokens that were given for a password."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, case, func, insert, select, update

from keyturn.core.audit import AuditEntry
from keyturn.core.pages import Page
from keyturn.core.records import SessionForVerification, SessionKind, SessionRecord
from keyturn.store.database.credentials import find_session, find_session_by_id
from keyturn.store.database.schema import profile, session, user
from keyturn.store.database.transactions import Database, shortened
from keyturn.store.ownership.control import Allow, check_may_act_as

MAX_LIVING = 100
"""How many sessions a person has at most, of browsers and of tokens for a password.

So many more may have each user who acts for them: nobody's sessions end by those of another.
"""
GONE = "A deleted user"
"""The name of an impersonator who is not there any more."""


@dataclass(frozen=True, slots=True)
class SessionToAdd:
    """A session about to be stored."""

    user_id: int
    digest: bytes = field(repr=False)
    kind: SessionKind
    created_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None
    impersonator_id: int | None = None
    """The user who acts with it for this one."""


class Sessions:
    """Questions about sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_for_verification(self, digest: bytes) -> SessionForVerification | None:
        """Return the session with this digest, ended or not, with its owner."""
        return find_session(self._database.query, digest)

    def find_for_token(self, session_id: int) -> SessionForVerification | None:
        """Return the session that a token names, ended or not, with its owner."""
        return find_session_by_id(self._database.query, session_id)

    def find_of_user(self, session_id: int, user_id: int) -> SessionRecord | None:
        """Return a session of this user, ended or not."""
        with self._database.reading() as connection:
            row = connection.execute(
                _SESSIONS.where(session.c.id == session_id, session.c.user_id == user_id)
            ).one_or_none()
        return None if row is None else _record(row)

    def touch(self, session_id: int, at: datetime) -> None:
        """Move the idle limit forward."""
        with self._database.writing() as connection:
            connection.execute(
                update(session)
                .where(session.c.id == session_id, session.c.last_seen_at < at, session.c.ended_at.is_(None))
                .values(last_seen_at=at)
            )

    def find_proved_at(self, session_id: int) -> datetime | None:
        """Return when the password was last given in this session; None if that is not known."""
        with self._database.reading() as connection:
            found: datetime | None = connection.execute(
                select(session.c.proved_at).where(session.c.id == session_id)
            ).scalar_one_or_none()
        return found

    def prove(self, session_id: int, digest: bytes, at: datetime, audit: AuditEntry) -> bool:
        """Give a session a new id, since its password was given again; False if it has ended."""
        with self._database.change() as change:
            changed = change.connection.execute(renew_session(session_id, digest, at)).rowcount
            if changed:
                change.record(audit)
        return bool(changed)

    def end(
        self,
        session_id: int,
        user_id: int,
        at: datetime,
        audit: AuditEntry,
        *,
        allow: Allow | None = None,
    ) -> bool:
        """End a session of this user; return False if there is no such living session.

        `allow` is asked about the permissions that come with the account.
        """
        with self._database.change() as change:
            changed = change.connection.execute(
                update(session)
                .where(session.c.id == session_id, session.c.user_id == user_id, session.c.ended_at.is_(None))
                .values(ended_at=at)
            ).rowcount
            if changed:
                change.record(audit)
                if allow is not None:
                    check_may_act_as(change.connection, user_id, allow)
        return bool(changed)

    def end_all(self, user_id: int, at: datetime, audit: AuditEntry, *, keep: int | None = None) -> int:
        """End all sessions of this user but `keep`; return how many ended."""
        with self._database.change() as change:
            # A session that begins at the same moment is seen, or finds that this has happened.
            change.connection.execute(select(user.c.id).where(user.c.id == user_id).with_for_update())
            ended = change.connection.execute(end_sessions(user_id, at, keep=keep)).rowcount
            if ended:
                change.record(audit)
        return ended

    def list_living(
        self,
        user_id: int,
        now: datetime,
        idle_since: datetime,
        *,
        first: int | None = None,
        offset: int = 0,
        size: int = MAX_LIVING,
    ) -> Page[SessionRecord]:
        """Return at most `size` of this user's living sessions, the last seen first.

        Browsers idle since then are left out. The session `first` comes before all others.
        """
        living = (
            session.c.user_id == user_id,
            session.c.ended_at.is_(None),
            session.c.expires_at > now,
            (session.c.kind == SessionKind.TOKEN.value) | (session.c.last_seen_at > idle_since),
        )
        with self._database.reading() as connection:
            count = connection.execute(select(func.count()).select_from(session).where(*living)).scalar_one()
            rows = connection.execute(
                _SESSIONS.where(*living)
                .order_by(
                    case((session.c.id == first, 0), else_=1),
                    session.c.last_seen_at.desc(),
                    session.c.id.desc(),
                )
                .offset(offset)
                .limit(size)
            ).all()
        return Page(count, tuple(map(_record, rows)))


def insert_session(new: SessionToAdd) -> Any:
    """Build the statement that adds a session and returns its id, for the login's transaction."""
    return (
        insert(session)
        .values(
            user_id=new.user_id,
            digest=new.digest,
            kind=new.kind.value,
            created_at=new.created_at,
            last_seen_at=new.created_at,
            expires_at=new.expires_at,
            proved_at=new.created_at,
            address=new.address,
            user_agent=shortened(new.user_agent, 255),
            impersonator_id=new.impersonator_id,
        )
        .returning(session.c.id)
    )


def end_crowded_out(new: SessionToAdd) -> Any:
    """Build the statement that ends the oldest sessions above `MAX_LIVING`, and returns their ids."""
    living = (
        session.c.user_id == new.user_id,
        session.c.ended_at.is_(None),
        session.c.impersonator_id.is_not_distinct_from(new.impersonator_id),
    )
    too_old = (
        select(session.c.id)
        .where(*living, session.c.expires_at > new.created_at)
        .order_by(session.c.id.desc())
        .limit(1)
        .offset(MAX_LIVING)
        .scalar_subquery()
    )
    return (
        update(session).where(*living, session.c.id <= too_old).values(ended_at=new.created_at)
    ).returning(session.c.id)


def end_sessions(user_id: int, at: datetime, *, keep: int | None = None) -> Any:
    """Build the statement that ends a user's sessions but `keep`, for any change that ends them."""
    statement = update(session).where(session.c.user_id == user_id, session.c.ended_at.is_(None))
    if keep is not None:
        statement = statement.where(session.c.id != keep)
    return statement.values(ended_at=at)


def renew_session(session_id: int, digest: bytes, at: datetime) -> Any:
    """Build the statement that gives a living session a new id, whose owner gave the password just now.

    The old id opens nothing from then on.
    """
    return (
        update(session)
        .where(session.c.id == session_id, session.c.ended_at.is_(None))
        .values(digest=digest, secret_number=session.c.secret_number + 1, proved_at=at)
    )


def _record(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        session_id=row.id,
        user_id=row.user_id,
        kind=SessionKind(row.kind),
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
        expires_at=row.expires_at,
        address=row.address,
        user_agent=row.user_agent,
        impersonator=row.impersonator or (None if row.impersonator_id is None else GONE),
    )


_SESSIONS: Select[Any] = (
    select(
        session,
        # A name is of its owner's choosing. The user name is nobody else's.
        func.coalesce(profile.c.name + " (" + user.c.userid + ")", user.c.userid).label("impersonator"),
    )
    .outerjoin(user, user.c.id == session.c.impersonator_id)
    .outerjoin(profile, profile.c.user_id == user.c.id)
)
