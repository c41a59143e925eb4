"""Groups and their members."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from keyturn.core.attributes import AttributeChange
from keyturn.core.audit import AuditEntry
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import Attributes, GroupRecord, MemberRecord, ServiceOwner
from keyturn.core.searches import GroupSearch, NamedOrder
from keyturn.store.database import folding
from keyturn.store.database.rows import changed_values, remove_row
from keyturn.store.database.schema import (
    group,
    group_attribute,
    group_member,
    profile,
    user,
)
from keyturn.store.database.statements import CompiledQuery
from keyturn.store.database.transactions import Database, refusing_twins
from keyturn.store.ownership.control import (
    Allow,
    Successor,
    owned,
    permissions_with,
    void_links_to,
)
from keyturn.store.people.attributes import OF_GROUPS, change_attributes
from keyturn.store.people.rows import PROFILE_COLUMNS, gathered_attributes, profile_record
from keyturn.store.people.service_accounts import end_owned, lock_owners


@dataclass(frozen=True, slots=True)
class GroupFields:
    """The fields of a group."""

    name: str
    email: str | None
    description: str | None


_ATTRIBUTES = select(group_attribute.c.group_id, group_attribute.c.name, group_attribute.c.value)
_ONE = CompiledQuery(select(group).where(group.c.id == bindparam("group_id")))
_ATTRIBUTES_OF_ONE = CompiledQuery(_ATTRIBUTES.where(group_attribute.c.group_id == bindparam("group_id")))


class Groups:
    """Questions about groups."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, iamid: str, fields: GroupFields, at: datetime, audit: AuditEntry) -> GroupRecord:
        """Store a group; raise `Conflict` if the name is taken."""
        with _naming(fields.name), self._database.change() as change:
            row = change.connection.execute(
                insert(group)
                .values(iamid=iamid, **_values(fields), created_at=at, updated_at=at)
                .returning(*group.c)
            ).one()
            change.record(audit, target_id=row.id)
        return _group_record(row, {})

    def find(self, group_id: int) -> GroupRecord | None:
        """Return the group with this id."""
        rows = self._database.read(_ONE, group_id=group_id)
        attributes = self._database.read(_ATTRIBUTES_OF_ONE, group_id=group_id) if rows else ()
        return _group_record(rows[0], gathered_attributes(attributes).get(group_id, {})) if rows else None

    def search(self, wanted: GroupSearch, *, offset: int = 0, size: int) -> Page[GroupRecord]:
        """Return at most `size` of the groups that are looked for, in their order."""
        conditions = _conditions_of(wanted)
        with self._database.reading() as connection:
            count = connection.execute(
                select(func.count()).select_from(group).where(*conditions)
            ).scalar_one()
            rows = connection.execute(
                select(group).where(*conditions).order_by(*_order_of(wanted)).offset(offset).limit(size)
            ).all()
            of_these = group_attribute.c.group_id.in_([row.id for row in rows])
            attributes = gathered_attributes(connection.execute(_ATTRIBUTES.where(of_these)).all())
        return Page(count, tuple(_group_record(row, attributes.get(row.id, {})) for row in rows))

    def names(self, group_ids: Collection[int], *, member: int | None = None) -> dict[int, str]:
        """Return the names of these groups; with `member`, of those alone that this user is in."""
        query = select(group.c.id, group.c.name).where(group.c.id.in_(group_ids)).order_by(group.c.id)
        if member is not None:
            mine = select(group_member.c.group_id).where(group_member.c.user_id == member)
            query = query.where(group.c.id.in_(mine))
        with self._database.reading() as connection:
            return {row.id: row.name for row in connection.execute(query)}

    def ids(self, names: Collection[str]) -> dict[str, int]:
        """Return the ids of the groups with these names."""
        query = select(group.c.name, group.c.id).where(group.c.name.in_(names))
        with self._database.reading() as connection:
            return {row.name: row.id for row in connection.execute(query)}

    def update(
        self,
        group_id: int,
        fields: GroupFields,
        at: datetime,
        audit: AuditEntry,
        *,
        only: Collection[str] | None = None,
    ) -> bool:
        """Change what is said of a group; False if there is none. Raise `Conflict` if the name is taken.

        With `only`, these fields alone. Nothing is written where that is said already.
        """
        values = {name: value for name, value in _values(fields).items() if only is None or name in only}
        with _naming(fields.name), self._database.change() as change:
            changed = changed_values(change.connection, group, values, id=group_id)
            if changed:
                change.connection.execute(
                    update(group).where(group.c.id == group_id).values(**changed, updated_at=at)
                )
                change.record(audit)
        return changed is not None

    def delete(
        self, group_id: int, at: datetime, audit: AuditEntry, *, successor: Successor | None = None
    ) -> bool:
        """Delete a group for ever; False if there is none.

        The service accounts it owns are handed to `successor`, or deleted with it.
        """
        with self._database.change() as change:
            # Nobody makes it the owner of anything meanwhile.
            lock_owners(
                change.connection,
                ServiceOwner(group_id=group_id),
                None if successor is None else successor.owner,
            )
            if not _exists(change.connection, group_id):
                return False
            entries = end_owned(change.connection, ServiceOwner(group_id=group_id), successor, at, audit)
            change.connection.execute(delete(group).where(group.c.id == group_id))
            for entry in (audit, *entries):
                change.record(entry)
        return True

    def list_members(
        self, group_id: int, *, is_descending: bool = False, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[MemberRecord]:
        """Return at most `size` of those who are in a group, in the order they came or backwards."""
        is_in = group_member.c.group_id == group_id
        with self._database.reading() as connection:
            count = connection.execute(
                select(func.count()).select_from(group_member).where(is_in)
            ).scalar_one()
            order = group_member.c.id.desc() if is_descending else group_member.c.id
            rows = connection.execute(_MEMBER.where(is_in).order_by(order).offset(offset).limit(size)).all()
        return Page(count, tuple(map(_member_record, rows)))

    def membership_ids(self, user_id: int, group_ids: Collection[int]) -> dict[int, int]:
        """Return the ids of a user's memberships in those of these groups that they are in."""
        query = select(group_member.c.group_id, group_member.c.id).where(
            group_member.c.user_id == user_id, group_member.c.group_id.in_(group_ids)
        )
        with self._database.reading() as connection:
            return {row.group_id: row.id for row in connection.execute(query)}

    def count_members(self, group_ids: Collection[int]) -> dict[int, int]:
        """Return how many are in each of these groups, without those that are empty."""
        query = (
            select(group_member.c.group_id, func.count().label("number"))
            .where(group_member.c.group_id.in_(group_ids))
            .group_by(group_member.c.group_id)
        )
        with self._database.reading() as connection:
            return {row.group_id: row.number for row in connection.execute(query)}

    def is_member(self, group_id: int, user_id: int) -> bool:
        """Return whether a user is in a group."""
        with self._database.reading() as connection:
            found = connection.execute(
                select(group_member.c.id).where(
                    group_member.c.group_id == group_id, group_member.c.user_id == user_id
                )
            ).first()
        return found is not None

    def add_member(
        self, group_id: int, user_id: int, at: datetime, audit: AuditEntry, *, allow: Allow
    ) -> MemberRecord:
        """Put a user into a group; raise `Conflict` if they are in it.

        `allow` is asked about the permissions that come with the service accounts of the group.
        """
        with refusing_twins("This user is in the group already."), self._database.change() as change:
            owner = ServiceOwner(group_id=group_id)
            lock_owners(change.connection, owner, ServiceOwner(user_id))
            if gained := permissions_with(change.connection, owned(owner)):
                allow(gained)
                void_links_to(change.connection, user.c.id == user_id)
            number = change.connection.execute(
                insert(group_member)
                .values(group_id=group_id, user_id=user_id, created_at=at, updated_at=at)
                .returning(group_member.c.id)
            ).scalar_one()
            change.record(audit)
            row = change.connection.execute(_MEMBER.where(group_member.c.id == number)).one()
        return _member_record(row)

    def find_member(self, group_id: int, membership_id: int) -> MemberRecord | None:
        """Return a membership if it is one in this group."""
        with self._database.reading() as connection:
            row = connection.execute(
                _MEMBER.where(group_member.c.group_id == group_id, group_member.c.id == membership_id)
            ).one_or_none()
        return None if row is None else _member_record(row)

    def find_member_by_user(self, group_id: int, user_id: int) -> MemberRecord | None:
        """Return the membership of a user in this group."""
        with self._database.reading() as connection:
            row = connection.execute(
                _MEMBER.where(group_member.c.group_id == group_id, group_member.c.user_id == user_id)
            ).one_or_none()
        return None if row is None else _member_record(row)

    def remove_member(self, group_id: int, membership_id: int, audit: AuditEntry) -> bool:
        """End a membership; False if there is no such one in this group."""
        with self._database.change() as change:
            removed = remove_row(change.connection, group_member, id=membership_id, group_id=group_id)
            if removed:
                change.record(audit)
        return removed

    def change_attributes(
        self, group_id: int, change_to: AttributeChange, at: datetime, audit: AuditEntry
    ) -> bool:
        """Change the attributes of a group, as `attributes.change_attributes` does."""
        return change_attributes(self._database, OF_GROUPS, group_id, change_to, at, audit)


_MEMBER = (
    select(
        group_member.c.id.label("membership_id"),
        group_member.c.group_id,
        group_member.c.user_id,
        group_member.c.created_at.label("member_created_at"),
        group_member.c.updated_at.label("member_updated_at"),
        user.c.userid,
        user.c.iamid,
        user.c.disabled_at,
        *PROFILE_COLUMNS,
    )
    .join(user, user.c.id == group_member.c.user_id)
    .join(profile, profile.c.user_id == user.c.id)
)


def _naming(name: str) -> Any:
    return refusing_twins(f"There is a group {name} already.")


def _values(fields: GroupFields) -> dict[str, str | None]:
    return {"name": fields.name, "email": fields.email, "description": fields.description}


def _conditions_of(wanted: GroupSearch) -> list[Any]:
    conditions = []
    if wanted.text is not None:
        conditions.append(folding.contains_folded(wanted.text, group.c.name, group.c.description))
    if wanted.name is not None:
        conditions.append(folding.contains_folded(wanted.name, group.c.name))
    if wanted.iamid is not None:
        conditions.append(group.c.iamid == wanted.iamid)
    for member in sorted(wanted.members):
        theirs = select(group_member.c.group_id).where(group_member.c.user_id == member)
        conditions.append(group.c.id.in_(theirs))
    return conditions


def _order_of(wanted: GroupSearch) -> list[Any]:
    column: Any = {
        NamedOrder.PROVIDER: group.c.iamid,
        NamedOrder.NAME: folding.folded(group.c.name),
        NamedOrder.MEMBERS: select(func.count())
        .where(group_member.c.group_id == group.c.id)
        .correlate(group)
        .scalar_subquery(),
    }.get(wanted.order, group.c.id)
    return folding.in_order(column, group.c.id, is_descending=wanted.is_descending)


def _exists(connection: Connection, group_id: int) -> bool:
    return connection.execute(select(group.c.id).where(group.c.id == group_id)).first() is not None


def _group_record(row: Row[Any], attributes: Attributes) -> GroupRecord:
    return GroupRecord(
        group_id=row.id,
        iamid=row.iamid,
        name=row.name,
        email=row.email,
        description=row.description,
        attributes=attributes,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _member_record(row: Row[Any]) -> MemberRecord:
    return MemberRecord(
        membership_id=row.membership_id,
        group_id=row.group_id,
        user_id=row.user_id,
        userid=row.userid,
        iamid=row.iamid,
        is_disabled=row.disabled_at is not None,
        profile=profile_record(row),
        created_at=row.member_created_at,
        updated_at=row.member_updated_at,
    )
