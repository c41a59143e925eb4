"""Devices that wait to be signed in."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from keyturn.core.audit import AuditEntry
from keyturn.core.device_logins import DeviceLogin
from keyturn.core.records import ApiKeyRecord
from keyturn.store.database.schema import device_login, session, user
from keyturn.store.database.transactions import Database, refusing_twins
from keyturn.store.keys.api_keys import KeyToAdd, insert_key


@dataclass(frozen=True, slots=True)
class DeviceLoginToAdd:
    """A device that begins to wait."""

    digest: bytes = field(repr=False)
    user_code_digest: bytes = field(repr=False)
    client_id: str
    scopes: list[str] | None
    """None for a key that is not narrowed."""
    address: str | None
    network: str | None
    """The network that it counts for: no network holds more than another needs."""
    created_at: datetime
    expires_at: datetime


class DeviceLogins:
    """Questions about devices that wait."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, new: DeviceLoginToAdd, *, forget_before: datetime, at_most: int) -> bool:
        """Let a device wait; False if there is no place. Raise `Conflict` if one of its codes is taken.

        Where `at_most` wait, the last that came of the network with most of them gives way, unless the new
        device's network would then have as many: nobody fills all places from one network. About whom a
        person has decided waits no more, takes no place, and stays. On PostgreSQL those that begin at the
        same instant do not see each other, and may be so many more.

        Those that ended before `forget_before` are dropped.
        """
        with refusing_twins("This code is taken."), self._database.writing() as connection:
            connection.execute(delete(device_login).where(device_login.c.expires_at < forget_before))
            waiting = _count(connection, *_is_undecided(new.created_at))
            if waiting >= at_most and not _made_room(connection, new):
                return False
            values = {name: getattr(new, name) for name in DeviceLoginToAdd.__slots__}
            connection.execute(insert(device_login).values(values | {"is_denied": False}))
        return True

    def find_by_device_code(self, digest: bytes) -> DeviceLogin | None:
        """Return the device with this code, whatever became of its wait."""
        return self._find(device_login.c.digest == digest)

    def find_waiting(self, user_code_digest: bytes, now: datetime) -> DeviceLogin | None:
        """Return the device whose code a person types, if it still waits for somebody to decide."""
        return self._find(*_is_waiting(user_code_digest, now))

    def approve(
        self,
        user_code_digest: bytes,
        session_id: int,
        key_expires_at: datetime | None,
        at: datetime,
        audit: AuditEntry,
    ) -> bool:
        """Let the device have a key of whoever is in this session; False if it waits no more."""
        values = {"session_id": session_id, "key_expires_at": key_expires_at}
        return self._decide(user_code_digest, values, at, audit)

    def deny(self, user_code_digest: bytes, at: datetime, audit: AuditEntry) -> bool:
        """Let the device have nothing; False if it waits no more."""
        return self._decide(user_code_digest, {"is_denied": True}, at, audit)

    def take(self, digest: bytes, key: KeyToAdd, at: datetime, audit: AuditEntry) -> ApiKeyRecord | None:
        """Make the key of a device that was approved, and end its wait; None if another call was faster.

        The wait is ended by the statement that checks it: of many calls at once, one makes a key (R10).
        Raise `CredentialRefused` if the session in which it was approved, in which `audit` says that its
        person acts, is over, or the person disabled: also by a change that is committed first.
        """
        with self._database.change() as change:
            # What changes an account begins with its row: else two such changes could wait for each other.
            change.connection.execute(
                select(user.c.id).where(user.c.id == key.user_id).with_for_update(read=True, key_share=True)
            )
            taken = change.connection.execute(
                delete(device_login).where(
                    device_login.c.digest == digest,
                    device_login.c.session_id.in_(
                        select(session.c.id).where(session.c.user_id == key.user_id)
                    ),
                    device_login.c.expires_at > at,
                )
            ).rowcount
            if not taken:
                return None
            record = insert_key(change.connection, key)
            change.record(audit, target_id=record.key_id)
        return record

    def withdraw(self, digest: bytes) -> None:
        """End the wait of a device whose approval is void, so that nobody fetches a key later."""
        with self._database.writing() as connection:
            connection.execute(
                delete(device_login).where(
                    device_login.c.digest == digest, device_login.c.session_id.is_not(None)
                )
            )

    def _find(self, *conditions: Any) -> DeviceLogin | None:
        query = select(*_COLUMNS).where(*conditions)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        scopes = None if row.scopes is None else frozenset(row.scopes)
        return DeviceLogin(**(row._asdict() | {"scopes": scopes}))

    def _decide(
        self, user_code_digest: bytes, values: dict[str, Any], at: datetime, audit: AuditEntry
    ) -> bool:
        with self._database.change(audit) as change:
            decided = change.connection.execute(
                update(device_login).where(*_is_waiting(user_code_digest, at)).values(values)
            ).rowcount
            if decided:
                change.record(audit)
        return bool(decided)


_COLUMNS = (
    device_login.c.client_id,
    device_login.c.scopes,
    device_login.c.address,
    device_login.c.created_at,
    device_login.c.expires_at,
    device_login.c.is_denied,
    device_login.c.key_expires_at,
    device_login.c.session_id,
)


def _is_undecided(now: datetime) -> tuple[Any, ...]:
    return (
        device_login.c.expires_at > now,
        device_login.c.session_id.is_(None),
        device_login.c.is_denied.is_(False),
    )


def _is_waiting(user_code_digest: bytes, now: datetime) -> tuple[Any, ...]:
    return (device_login.c.user_code_digest == user_code_digest, *_is_undecided(now))


def _count(connection: Connection, *conditions: Any) -> int:
    query = select(func.count()).select_from(device_login).where(*conditions)
    number: int = connection.execute(query).scalar_one()
    return number


def _made_room(connection: Connection, new: DeviceLoginToAdd) -> bool:
    """End the wait of a device about which nobody has decided; False if that would be no fairer."""
    undecided = _is_undecided(new.created_at)
    held = func.count().label("held")
    largest = connection.execute(
        select(device_login.c.network, held)
        .where(*undecided)
        .group_by(device_login.c.network)
        .order_by(held.desc())
        .limit(1)
    ).first()
    own = _count(connection, *undecided, device_login.c.network.is_not_distinct_from(new.network))
    if largest is None or largest.held < own + 2:
        return False
    last = (
        select(device_login.c.digest)
        .where(*undecided, device_login.c.network.is_not_distinct_from(largest.network))
        .order_by(device_login.c.created_at.desc(), device_login.c.digest)
        .limit(1)
        .scalar_subquery()
    )
    # On PostgreSQL somebody may have decided about it since it was chosen: what they said stands.
    ended = connection.execute(delete(device_login).where(device_login.c.digest == last, *undecided))
    return bool(ended.rowcount)
