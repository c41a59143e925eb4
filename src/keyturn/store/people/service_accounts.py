"""Service accounts, and what becomes of them when their owners leave.

Each function changes rows and returns the audit entries of what it did, for the caller to record when all
rows are changed: recording takes the lock that every change queues for, and rows must not be waited for
while it is held.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.people import ServiceOwner
from keyturn.errors import Conflict, InvalidState
from keyturn.store.database.schema import (
    api_key,
    group,
    service_account,
    user,
)
from keyturn.store.database.transactions import Database
from keyturn.store.keys.api_keys import lock_keys
from keyturn.store.ownership.control import (
    Successor,
    controllers_of,
    owned_by,
    owning,
    permissions_with,
    void_links_to,
)

MAX_KEYS_NAMED = 1000
"""In the audit row of a user who is deleted: the newest. That is some kilobytes."""


class ServiceAccounts:
    """Questions about service accounts. As users they are added, found and ended among the `Users`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count_owned(self, owner: ServiceOwner) -> int:
        """Return how many service accounts a person or group has."""
        with self._database.reading() as connection:
            count: int = connection.execute(
                select(func.count()).select_from(service_account).where(owned_by(owner))
            ).scalar_one()
        return count

    def transfer(self, user_id: int, successor: Successor, at: datetime, audit: AuditEntry) -> bool:
        """Give a service account to another owner; False if it is none, or is theirs already.

        It works again if it was stopped because of its former owner.
        """
        with self._database.change() as change:
            lock_owners(change.connection, successor.owner)
            where = (service_account.c.user_id == user_id) & ~owned_by(successor.owner)
            entries = transfer_owned(change.connection, where, successor, at, audit)
            for entry in entries:
                change.record(entry)
        return bool(entries)

    def permissions_with(self, user_id: int) -> frozenset[str]:
        """Return what a user may do, and all that the service accounts may do that they control."""
        with self._database.reading() as connection:
            return permissions_with(connection, user.c.id == user_id)


def lock_owners(connection: Connection, *owners: ServiceOwner | None) -> None:
    """Keep others from changing these owners, and whoever controls what they own, until the change is done.

    Whatever locks more than one owner begins with this: groups first, then people, then service accounts,
    each by their ids. Of two that name each other as successors, neither then waits for the other for ever.
    """
    named = [owner for owner in owners if owner is not None]
    groups = select(group.c.id).where(group.c.id.in_({owner.group_id for owner in named}))
    users = select(user.c.id).where(user.c.id.in_(controllers_of(owning(named))))
    connection.execute(groups.order_by(group.c.id).with_for_update()).all()
    connection.execute(users.order_by(user.c.kind, user.c.id).with_for_update()).all()


def check_owner_lives(connection: Connection, owner: ServiceOwner) -> None:
    """Raise `InvalidState` if the person who is to own something is gone or disabled."""
    if owner.user_id is None:
        return  # A group that is gone is found by the foreign key.
    living = (
        select(user.c.id)
        .where(user.c.id == owner.user_id, user.c.disabled_at.is_(None))
        .with_for_update(read=True)
    )
    if connection.execute(living).first() is None:
        raise InvalidState("The new owner is gone or disabled.")


def check_own_owner_lives(connection: Connection, user_id: int) -> None:
    """Raise `Conflict` if this is a service account of somebody who is disabled, whose row is locked."""
    disabled_owner = (
        select(user.c.userid)
        .join(service_account, service_account.c.owner_user_id == user.c.id)
        .where(service_account.c.user_id == user_id, user.c.disabled_at.is_not(None))
    )
    owner = connection.execute(disabled_owner).scalar_one_or_none()
    if owner is not None:
        raise Conflict(
            f"The owner of this service account, {owner}, is disabled: enable the owner, or hand it over."
        )


def end_owned(
    connection: Connection, owner: ServiceOwner, successor: Successor | None, at: datetime, audit: AuditEntry
) -> list[AuditEntry]:
    """Hand an owner's service accounts to `successor`, or delete them."""
    if successor is not None:
        return transfer_owned(connection, owned_by(owner), successor, at, audit)
    numbers = _locked(connection, owned_by(owner))
    lock_keys(connection, api_key.c.user_id.in_({*numbers, owner.user_id} - {None}))
    entries = []
    for number in numbers:
        entry = _consequence(audit, AuditAction.USER_DELETED, number)
        entries.append(delete_user(connection, number, entry))
    return entries


def delete_user(connection: Connection, number: int, audit: AuditEntry) -> AuditEntry:
    """Delete a user whose row is locked; return `audit` with the keys that end with them.

    A follower with a copy of the keys forgets them by these names: it would have to look at every one to find
    whose they are.
    """
    keys = lock_keys(connection, api_key.c.user_id == number)
    named = {"keyIds": keys[-MAX_KEYS_NAMED:]}
    connection.execute(delete(user).where(user.c.id == number))
    return replace(audit, details={**audit.details, **named}) if named["keyIds"] else audit


def transfer_owned(
    connection: Connection, owned: Any, successor: Successor, at: datetime, audit: AuditEntry
) -> list[AuditEntry]:
    """Give the service accounts for which `owned` is true to `successor`, whose rows are locked.

    A service account that stopped with its owner works again.
    """
    owner = successor.owner
    check_owner_lives(connection, owner)
    numbers = _locked(connection, owned)
    if gained := permissions_with(connection, user.c.id.in_(numbers)):
        successor.allow(gained)
        void_links_to(connection, owning([owner]))
    entries = []
    for number in numbers:
        _enable_if_disabled_with_owner(connection, number, at)
        connection.execute(
            update(service_account)
            .where(service_account.c.user_id == number)
            .values(owner_user_id=owner.user_id, owner_group_id=owner.group_id)
        )
        entry = _consequence(audit, AuditAction.SERVICE_ACCOUNT_TRANSFERRED, number)
        details = {**entry.details, "ownerUser": owner.user_id, "ownerGroup": owner.group_id}
        entries.append(replace(entry, details=details))
    return entries


def disable_owned(
    connection: Connection, owner: ServiceOwner, at: datetime, audit: AuditEntry
) -> list[AuditEntry]:
    """Disable an owner's service accounts, but for those that are disabled already."""
    entries = []
    for number in _locked(connection, owned_by(owner)):
        stopped = connection.execute(
            update(user)
            .where(user.c.id == number, user.c.disabled_at.is_(None))
            .values(disabled_at=at, epoch=user.c.epoch + 1, updated_at=at)
        ).rowcount
        if stopped:
            mark_disabled_with_owner(connection, number, is_so=True)
            entries.append(_consequence(audit, AuditAction.USER_DISABLED, number))
    return entries


def enable_owned(
    connection: Connection, owner: ServiceOwner, at: datetime, audit: AuditEntry
) -> list[AuditEntry]:
    """Enable an owner's service accounts that were disabled with them."""
    return [
        _consequence(audit, AuditAction.USER_ENABLED, number)
        for number in _locked(connection, owned_by(owner))
        if _enable_if_disabled_with_owner(connection, number, at)
    ]


def mark_disabled_with_owner(connection: Connection, number: int, *, is_so: bool) -> None:
    """Write whether a service account stands still because of its owner alone."""
    connection.execute(
        update(service_account).where(service_account.c.user_id == number).values(disabled_with_owner=is_so)
    )


def _enable_if_disabled_with_owner(connection: Connection, number: int, at: datetime) -> bool:
    stopped_with_owner = connection.execute(
        update(service_account)
        .where(service_account.c.user_id == number, service_account.c.disabled_with_owner)
        .values(disabled_with_owner=False)
    ).rowcount
    if stopped_with_owner:
        connection.execute(update(user).where(user.c.id == number).values(disabled_at=None, updated_at=at))
    return bool(stopped_with_owner)


def _locked(connection: Connection, owned: Any) -> Sequence[int]:
    """Return the ids of the service accounts for which `owned` is true, in order, their rows locked.

    The row of the user first, as whatever else changes an account does: else two such changes could wait
    for each other.
    """
    query = (
        select(user.c.id)
        .join(service_account, service_account.c.user_id == user.c.id)
        .where(owned)
        .order_by(user.c.id)
        .with_for_update()
    )
    return connection.execute(query).scalars().all()


def _consequence(audit: AuditEntry, action: AuditAction, number: int) -> AuditEntry:
    """Return the entry of what happens to a service account, because of `audit` or as `audit` itself."""
    if audit.action is action and audit.target_id == str(number):
        return audit
    details = {"because": audit.action.value, "of": audit.target_id}
    return replace(audit, action=action, target_type=Target.USER, target_id=str(number), details=details)
