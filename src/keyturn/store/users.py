"""Users, their profiles, and what a login needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from keyturn.core.records import AuditEntry, LoginRecord, ProfileRecord, UserRecord
from keyturn.errors import Conflict
from keyturn.store.database import Database
from keyturn.store.schema import as_json_list, installation, profile, user
from keyturn.store.sessions import SessionToAdd, end_sessions, insert_session, renew_session


@dataclass(frozen=True, slots=True)
class UserToAdd:
    """A user about to be stored."""

    iamid: str
    userid: str
    canonical_userid: str
    """The folded user name: one per identity manager."""
    permissions: frozenset[str]
    name: str | None
    email: str | None
    password_hash: str | None = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeptSession:
    """The session that outlives a change of password."""

    session_id: int
    new_digest: bytes = field(repr=False)


class Users:
    """Questions about users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: UserToAdd, audit: AuditEntry) -> UserRecord:
        """Store a user and close the set-up page for ever; raise `Conflict` if the user name is taken."""
        try:
            with self._database.change() as change:
                user_id = _insert_user(change.connection, new)
                change.connection.execute(
                    update(installation)
                    .where(installation.c.setup_completed_at.is_(None))
                    .values(setup_completed_at=new.created_at, setup_code_digest=None)
                )
                change.record(audit, target_id=user_id)
                row = change.connection.execute(_USER.where(user.c.id == user_id)).one()
        except IntegrityError:
            raise Conflict(f"There is a user {new.userid} already.") from None
        return _user_record(row)

    def add_first(self, new: UserToAdd, setup_code_digest: bytes, audit: AuditEntry) -> UserRecord | None:
        """Store the first user if the code is the one that was printed; None if not, or no longer.

        The code is used up by the same statement that checks it: of two at once, one wins (R10).
        """
        with self._database.change() as change:
            consumed = change.connection.execute(
                update(installation)
                .where(
                    installation.c.setup_completed_at.is_(None),
                    installation.c.setup_code_digest == setup_code_digest,
                )
                .values(setup_completed_at=new.created_at, setup_code_digest=None)
            ).rowcount
            if not consumed:
                return None
            user_id = _insert_user(change.connection, new)
            change.record(audit, target_id=user_id)
            row = change.connection.execute(_USER.where(user.c.id == user_id)).one()
        return _user_record(row)

    def find_by_name(self, iamid: str, canonical_userid: str) -> UserRecord | None:
        """Return the user with this folded name."""
        return self._find(_USER.where(user.c.iamid == iamid, user.c.canonical_userid == canonical_userid))

    def find_by_id(self, user_id: int) -> UserRecord | None:
        """Return the user with this numeric id."""
        return self._find(_USER.where(user.c.id == user_id))

    def _find(self, query: Select[Any]) -> UserRecord | None:
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _user_record(row)

    def list_all(self) -> list[UserRecord]:
        """Return all users in the order they were made."""
        with self._database.reading() as connection:
            return [_user_record(row) for row in connection.execute(_USER.order_by(user.c.id)).all()]

    def find_for_login(self, iamid: str, canonical_userid: str) -> LoginRecord | None:
        """Return what a login needs to know of the account with this folded name."""
        return self._find_login(user.c.iamid == iamid, user.c.canonical_userid == canonical_userid)

    def find_for_password_change(self, user_id: int) -> LoginRecord | None:
        """Return what re-authentication needs to know of the account."""
        return self._find_login(user.c.id == user_id)

    def _find_login(self, *conditions: Any) -> LoginRecord | None:
        with self._database.reading() as connection:
            row = connection.execute(select(*_LOGIN).where(*conditions)).one_or_none()
        if row is None:
            return None
        return LoginRecord(
            user_id=row.id,
            userid=row.userid,
            password_hash=row.password_hash,
            failed_logins=row.failed_logins,
            locked_until=row.locked_until,
            is_disabled=row.disabled_at is not None,
        )

    def record_login(
        self, new: SessionToAdd, audit: AuditEntry, *, checked: str | None, rehashed: str | None
    ) -> int | None:
        """Start a session, forget failed logins, and store a stronger hash if one was made.

        Return the session's id, or None if the account was disabled, or its password hash is no longer
        the `checked` one: then what was proved is not true any more.
        """
        with self._database.change() as change:
            values: dict[str, Any] = {
                "failed_logins": 0,
                "locked_until": None,
                "last_login_at": new.created_at,
            }
            if rehashed is not None:
                values["password_hash"] = rehashed
            changed = change.connection.execute(
                update(user)
                .where(
                    user.c.id == new.user_id,
                    user.c.disabled_at.is_(None),
                    user.c.password_hash == checked,
                )
                .values(values)
            ).rowcount
            if not changed:
                return None
            session_id: int = change.connection.execute(insert_session(new)).scalar_one()
            change.record(audit, target_id=new.user_id)
        return session_id

    def record_failed_login(
        self, user_id: int, lock: Callable[[int], datetime | None], audit: AuditEntry
    ) -> None:
        """Count a failed login, by the account and not by what was typed (L4)."""
        with self._database.change() as change:
            failures = change.connection.execute(
                update(user)
                .where(user.c.id == user_id)
                .values(failed_logins=user.c.failed_logins + 1)
                .returning(user.c.failed_logins)
            ).scalar_one()
            change.connection.execute(
                update(user).where(user.c.id == user_id).values(locked_until=lock(failures))
            )
            change.record(audit)

    def set_password(
        self, user_id: int, password_hash: str, at: datetime, audit: AuditEntry, *, kept: KeptSession | None
    ) -> None:
        """Store a new password and end all sessions but one, with the tokens that stand on them.

        The one that is kept gets a new id, since the old one may be known to others (L5).
        """
        with self._database.change() as change:
            change.connection.execute(
                update(user)
                .where(user.c.id == user_id)
                .values(
                    password_hash=password_hash,
                    password_changed_at=at,
                    failed_logins=0,
                    locked_until=None,
                    updated_at=at,
                )
            )
            change.connection.execute(
                end_sessions(user_id, at, keep=None if kept is None else kept.session_id)
            )
            if kept is not None:
                change.connection.execute(renew_session(kept.session_id, kept.new_digest))
            change.record(audit)

    def set_disabled(
        self, user_id: int, disabled_at: datetime | None, at: datetime, audit: AuditEntry
    ) -> bool:
        """Disable a user, ending their sessions, or enable them with None; False if they already are so."""
        was = user.c.disabled_at.is_(None) if disabled_at is not None else user.c.disabled_at.is_not(None)
        with self._database.change() as change:
            changed = change.connection.execute(
                update(user).where(user.c.id == user_id, was).values(disabled_at=disabled_at, updated_at=at)
            ).rowcount
            if changed:
                if disabled_at is not None:
                    change.connection.execute(end_sessions(user_id, at))
                change.record(audit)
        return bool(changed)

    def sign_out(self, user_id: int, at: datetime, audit: AuditEntry) -> None:
        """End all sessions of a user and all tokens that were issued until now; keys stay."""
        with self._database.change() as change:
            change.connection.execute(
                update(user).where(user.c.id == user_id).values(tokens_not_before=at, updated_at=at)
            )
            change.connection.execute(end_sessions(user_id, at))
            change.record(audit)

    def update_profile(
        self, user_id: int, fields: Mapping[str, str | None], at: datetime, audit: AuditEntry
    ) -> None:
        """Change what a person says of themselves."""
        with self._database.change() as change:
            change.connection.execute(
                update(profile).where(profile.c.user_id == user_id).values({**fields, "updated_at": at})
            )
            change.connection.execute(update(user).where(user.c.id == user_id).values(updated_at=at))
            change.record(audit)


def _insert_user(connection: Connection, new: UserToAdd) -> int:
    user_id: int = connection.execute(
        insert(user)
        .values(
            iamid=new.iamid,
            userid=new.userid,
            canonical_userid=new.canonical_userid,
            permissions=as_json_list(new.permissions),
            password_hash=new.password_hash,
            password_changed_at=new.created_at if new.password_hash else None,
            failed_logins=0,
            created_at=new.created_at,
            updated_at=new.created_at,
        )
        .returning(user.c.id)
    ).scalar_one()
    connection.execute(
        insert(profile).values(
            user_id=user_id,
            name=new.name,
            email=new.email,
            external_user_ids={},
            created_at=new.created_at,
            updated_at=new.created_at,
        )
    )
    return user_id


_PROFILE_TEXTS = ("name", "email", "phone", "about", "location", "organization", "position")

_USER = select(
    user,
    profile.c.id.label("profile_id"),
    profile.c.preferences,
    profile.c.external_user_ids,
    profile.c.created_at.label("profile_created_at"),
    profile.c.updated_at.label("profile_updated_at"),
    *(profile.c[name] for name in _PROFILE_TEXTS),
).join(profile, profile.c.user_id == user.c.id)

_LOGIN = (
    user.c.id,
    user.c.userid,
    user.c.password_hash,
    user.c.failed_logins,
    user.c.locked_until,
    user.c.disabled_at,
)


def _user_record(row: Row[Any]) -> UserRecord:
    texts = {name: getattr(row, name) for name in _PROFILE_TEXTS}
    return UserRecord(
        user_id=row.id,
        iamid=row.iamid,
        userid=row.userid,
        permissions=frozenset(row.permissions),
        profile=ProfileRecord(
            profile_id=row.profile_id,
            preferences=row.preferences,
            external_user_ids=row.external_user_ids,
            created_at=row.profile_created_at,
            updated_at=row.profile_updated_at,
            **texts,
        ),
        has_password=row.password_hash is not None,
        password_changed_at=row.password_changed_at,
        is_disabled=row.disabled_at is not None,
        last_login_at=row.last_login_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
