"""Queries for logins, and the two ways in which a password comes to be."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.people import LoginRecord
from keyturn.errors import CredentialRefused, InvalidState, Reason
from keyturn.store.database.schema import invitation, profile, user
from keyturn.store.database.transactions import Change, Database
from keyturn.store.ownership.control import Allow, check_may_act_as
from keyturn.store.ownership.link_makers import MAKER, could_be_made, maker_of
from keyturn.store.people.sessions import (
    SessionToAdd,
    end_crowded_out,
    end_sessions,
    insert_session,
    renew_session,
)


@dataclass(frozen=True, slots=True)
class KeptSession:
    """The session that outlives a change of password."""

    session_id: int
    new_digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InvitedUser:
    """The user whom a link invites."""

    userid: str
    name: str | None
    maker: str | None
    """The maker of the link, by name or user name; None for the command line."""
    expires_at: datetime


class Logins:
    """Questions about passwords and invitations."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
            iamid=row.iamid,
            userid=row.userid,
            password_hash=row.password_hash,
            failed_logins=row.failed_logins,
            locked_until=row.locked_until,
            is_disabled=row.disabled_at is not None,
        )

    def find_invitation_ends(self, user_ids: Collection[int]) -> dict[int, datetime]:
        """Return until when the invitations of these users can be used, if they have any."""
        query = select(invitation.c.user_id, invitation.c.expires_at).where(
            invitation.c.user_id.in_(user_ids)
        )
        with self._database.reading() as connection:
            return {row.user_id: row.expires_at for row in connection.execute(query)}

    def record_login(
        self, new: SessionToAdd, audit: AuditEntry, *, checked: str | None, rehashed: str | None
    ) -> int | None:
        """Start a session, forget failed logins, and store a stronger hash if one was made.

        The oldest sessions end where a person has more than `MAX_LIVING`.

        Return the session's id, which the audit row says too, or None if the account was disabled, or its
        password hash is no longer the `checked` one: then what was proved is not true any more.
        """
        with self._database.change() as change:
            values: dict[str, Any] = {**_NO_FAILURES, "last_login_at": new.created_at}
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
            return _start(change, new, audit)

    def record_further_session(self, new: SessionToAdd, audit: AuditEntry) -> int:
        """Start another session for somebody who is signed in; return its id, which the audit row says too.

        Raise `CredentialRefused` if they are not any more.
        """
        with self._database.change() as change:
            # Whatever ends all sessions of a user locks their row first, and so sees this one, or is seen.
            if _lock(change.connection, user.c.id == new.user_id, user.c.disabled_at.is_(None)) is None:
                raise CredentialRefused(Reason.OWNER_DISABLED, secret_matched=True)
            return _start(change, new, audit)

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
            ).scalar_one_or_none()
            if failures is not None:  # The account may just have been deleted.
                change.connection.execute(
                    update(user).where(user.c.id == user_id).values(locked_until=lock(failures))
                )
            change.record(audit)

    def unlock(self, user_id: int, audit: AuditEntry, *, allow: Allow | None = None) -> bool:
        """Forget the failed logins of a user, and the lock that they caused; False if there are none.

        The audit row says how many there were. `allow` is asked about the permissions that come with the
        account.
        """
        query = select(user.c.failed_logins).where(user.c.id == user_id).with_for_update()
        with self._database.change() as change:
            failures = change.connection.execute(query).scalar_one_or_none()
            if not failures:
                return False
            change.connection.execute(update(user).where(user.c.id == user_id).values(**_NO_FAILURES))
            change.record(replace(audit, details={**audit.details, "failures": failures}))
            if allow is not None:
                check_may_act_as(change.connection, user_id, allow)
        return True

    def set_password(
        self,
        user_id: int,
        password_hash: str,
        at: datetime,
        audit: AuditEntry,
        *,
        kept: KeptSession | None,
        allow: Allow | None = None,
    ) -> None:
        """Store a new password and end all sessions but one, with the tokens that stand on them.

        `allow` is asked about the permissions that come with the account. A link to set one is void then.

        The one that is kept gets a new id, since the old one may be known to others (L5).
        """
        with self._database.change() as change:
            change.connection.execute(
                update(user).where(user.c.id == user_id).values(**_new_password(password_hash, at))
            )
            change.connection.execute(delete(invitation).where(invitation.c.user_id == user_id))
            change.connection.execute(
                end_sessions(user_id, at, keep=None if kept is None else kept.session_id)
            )
            if kept is not None:
                change.connection.execute(renew_session(kept.session_id, kept.new_digest, at))
            change.record(audit)
            if allow is not None:
                check_may_act_as(change.connection, user_id, allow)

    def invite(
        self,
        user_id: int,
        digest: bytes,
        expires_at: datetime,
        audit: AuditEntry,
        *,
        allow: Allow | None = None,
    ) -> bool:
        """Store the one link with which this user sets a password; False if there is no such user.

        An earlier link is void. `allow` is asked about the permissions that come with the account.
        """
        with self._database.change() as change:
            if _lock(change.connection, user.c.id == user_id) is None:
                return False
            change.connection.execute(delete(invitation).where(invitation.c.user_id == user_id))
            change.connection.execute(
                insert(invitation).values(
                    user_id=user_id, digest=digest, expires_at=expires_at, **maker_of(audit.actor)
                )
            )
            change.record(audit)
            if allow is not None:
                check_may_act_as(change.connection, user_id, allow)
        return True

    def find_invited(self, digest: bytes, now: datetime) -> LoginRecord | None:
        """Return whom this link invites; None for a link that is wrong, used or over, or whose maker is."""
        query = select(*MAKER).where(invitation.c.digest == digest, invitation.c.expires_at > now)
        with self._database.reading() as connection:
            link = connection.execute(query).one_or_none()
            if link is None or not could_be_made(connection, link, now):
                return None
        return self._find_login(user.c.id == link.user_id, user.c.disabled_at.is_(None))

    def look_at_invitation(self, digest: bytes, now: datetime) -> InvitedUser | None:
        """Return what is told of whom this link invites, and of its maker; None as `find_invited`."""
        maker, maker_profile = user.alias("maker"), profile.alias("maker_profile")
        query = (
            select(
                *MAKER,
                invitation.c.expires_at,
                user.c.userid,
                profile.c.name,
                func.coalesce(maker_profile.c.name, maker.c.userid).label("maker"),
            )
            .select_from(invitation)
            .join(user, user.c.id == invitation.c.user_id)
            .outerjoin(profile, profile.c.user_id == user.c.id)
            .outerjoin(maker, maker.c.id == invitation.c.maker_user_id)
            .outerjoin(maker_profile, maker_profile.c.user_id == maker.c.id)
            .where(invitation.c.digest == digest, invitation.c.expires_at > now, user.c.disabled_at.is_(None))
        )
        with self._database.reading() as connection:
            link = connection.execute(query).one_or_none()
            if link is None or not could_be_made(connection, link, now):
                return None
        return InvitedUser(link.userid, link.name, link.maker, link.expires_at)

    def accept_invitation(self, digest: bytes, password_hash: str, at: datetime, audit: AuditEntry) -> bool:
        """Use up a link and store the password it brings, ending all sessions; False if it is void.

        The link is used up by the same statement that checks it: of two at once, one wins (R10). Raise
        `InvalidState` if its maker was ended, or could not make it any more.
        """
        with self._database.change() as change:
            invited = select(invitation.c.user_id).where(invitation.c.digest == digest)
            user_id = _lock(change.connection, user.c.id.in_(invited), user.c.disabled_at.is_(None))
            if user_id is None:
                return False
            link = change.connection.execute(
                delete(invitation)
                .where(invitation.c.digest == digest, invitation.c.expires_at > at)
                .returning(*MAKER)
            ).one_or_none()
            if link is None:
                return False
            change.connection.execute(
                update(user).where(user.c.id == user_id).values(**_new_password(password_hash, at))
            )
            change.connection.execute(end_sessions(user_id, at))
            change.record(audit, target_id=user_id)
            if not could_be_made(change.connection, link, at):
                raise InvalidState(
                    "The maker of this link lost the right to make it: ask an administrator for a new one."
                )
        return True


def _start(change: Change, new: SessionToAdd, audit: AuditEntry) -> int:
    """Store a session, and end the oldest ones above `MAX_LIVING`; return its id."""
    session_id: int = change.connection.execute(insert_session(new)).scalar_one()
    crowded_out = change.connection.execute(end_crowded_out(new)).scalars().all()
    change.record(replace(audit, details={**audit.details, "sessionId": session_id}))
    for ended in crowded_out:
        change.record(
            replace(
                audit,
                action=AuditAction.SESSION_ENDED,
                target_type=Target.SESSION,
                target_id=str(ended),
                details={"crowdedOutBy": session_id},
            )
        )
    return session_id


def _lock(connection: Connection, *conditions: Any) -> int | None:
    """Return the id of the user for whom this is so, their row locked; None if there is none.

    Other changes of an account begin with that row too: else two such changes could wait for each other.
    """
    query = select(user.c.id).where(*conditions).with_for_update()
    return connection.execute(query).scalar_one_or_none()


def _new_password(password_hash: str, at: datetime) -> dict[str, Any]:
    return {
        "password_hash": password_hash,
        "password_changed_at": at,
        "password_number": user.c.password_number + 1,
        **_NO_FAILURES,
        "updated_at": at,
    }


_NO_FAILURES = {"failed_logins": 0, "locked_until": None}
_LOGIN = (
    user.c.id,
    user.c.iamid,
    user.c.userid,
    user.c.password_hash,
    user.c.failed_logins,
    user.c.locked_until,
    user.c.disabled_at,
)
