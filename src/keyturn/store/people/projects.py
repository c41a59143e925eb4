"""Projects: some people, and the connections that keys linked to them may see."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import ProjectMember, ProjectRecord
from keyturn.core.searches import ProjectMemberSearch, ProjectSearch
from keyturn.errors import Conflict, InvalidState, QuotaExceeded
from keyturn.store.database.rows import add_row, changed_values, insert_on_conflict
from keyturn.store.database.schema import (
    api_key,
    connection,
    group_member,
    project,
    project_connection,
    project_member,
    user,
)
from keyturn.store.database.transactions import Database
from keyturn.store.keys.api_keys import lock_keys
from keyturn.store.people.project_rows import (
    COUNT_CONNECTIONS,
    MEMBERSHIP,
    connections_of,
    memberships,
    search_members,
    search_projects,
)

EVERY_MEMBER = ProjectMemberSearch()


class Projects:
    """Questions about projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        name: str,
        description: str | None,
        user_id: int,
        at: datetime,
        audit: AuditEntry,
        *,
        seen_by: int | None = None,
        at_most: int | None = None,
    ) -> ProjectRecord:
        """Store a project with its first owner.

        Raise `Conflict` if a project has the name that `seen_by` is in; any project, for None. Raise
        `QuotaExceeded` if they made `at_most` of those that there are.
        """
        with self._database.change() as change:
            if at_most is not None:
                _check_quota(change.connection, user_id, at_most)
            number = change.connection.execute(
                insert(project)
                .values(name=name, description=description, created_by=user_id, created_at=at, updated_at=at)
                .returning(project.c.id)
            ).scalar_one()
            change.connection.execute(
                insert(project_member).values(
                    project_id=number, user_id=user_id, is_owner=True, created_at=at
                )
            )
            change.record(audit, target_id=number)
            _check_name(change.connection, number, name, seen_by)
            made = ProjectSearch(project_id=number, user_id=user_id)
            (record,) = search_projects(change.connection, made, offset=0, size=1, listed=range(1))
        return record

    def find(
        self, project_id: int, *, of_user: int | None = None, offset: int = 0, size: int = MAX_PAGE
    ) -> ProjectRecord | None:
        """Return the project with this id, with at most `size` of its members and of its connections.

        It tells the subscription of `of_user`.
        """
        wanted = ProjectSearch(project_id=project_id, user_id=of_user)
        with self._database.reading() as reading:
            found = search_projects(reading, wanted, offset=0, size=1, listed=range(offset, offset + size))
        return found[0] if found else None

    def search(
        self, wanted: ProjectSearch, *, offset: int = 0, size: int, listed: int = 0
    ) -> Page[ProjectRecord]:
        """Return at most `size` of the projects that are looked for, in their order.

        Each with the first `listed` of its members and of its connections.
        """
        with self._database.reading() as reading:
            return search_projects(reading, wanted, offset=offset, size=size, listed=range(listed))

    def list_members(
        self, project_id: int, wanted: ProjectMemberSearch = EVERY_MEMBER, *, offset: int, size: int
    ) -> Page[ProjectMember]:
        """Return at most `size` of the members of a project that are looked for, by their ids by default."""
        with self._database.reading() as reading:
            return search_members(reading, project_id, wanted, offset=offset, size=size)

    def find_member(self, project_id: int, user_id: int) -> ProjectMember | None:
        """Return what a user is in a project; None if they are not in it."""
        found = self.list_members(project_id, ProjectMemberSearch(user_id=user_id), offset=0, size=1)
        return found[0] if found else None

    def list_connections(self, project_id: int, *, offset: int, size: int) -> Page[str]:
        """Return the keys of at most `size` connections of a project, in alphabetical order."""
        (counted,) = self._database.read(COUNT_CONNECTIONS, project_id=project_id)
        with self._database.reading() as reading:
            rows = reading.execute(connections_of([project_id], range(offset, offset + size))).all()
        return Page(counted.number, tuple(row.connection_key for row in rows))

    def find_membership(self, project_id: int, user_id: int) -> bool | None:
        """Return whether a user owns a project; None if they are not in it."""
        found = self._database.read(MEMBERSHIP, project_id=project_id, user_id=user_id)
        return found[0].is_owner if found else None

    def names(self, project_ids: Collection[int], *, member: int | None = None) -> dict[int, str]:
        """Return the names of these projects; with `member`, of those alone that this user is in."""
        query = select(project.c.id, project.c.name).where(project.c.id.in_(project_ids))
        if member is not None:
            query = query.where(project.c.id.in_(memberships(member)))
        with self._database.reading() as reading:
            return {row.id: row.name for row in reading.execute(query)}

    def are_together(self, user_id: int, other_id: int) -> bool:
        """Return whether two users are in one project or group, where each sees the other's name."""
        groups = select(group_member.c.group_id).where(group_member.c.user_id == user_id)
        in_project = select(project_member.c.user_id).where(
            project_member.c.user_id == other_id, project_member.c.project_id.in_(memberships(user_id))
        )
        in_group = select(group_member.c.user_id).where(
            group_member.c.user_id == other_id, group_member.c.group_id.in_(groups)
        )
        with self._database.reading() as reading:
            return reading.execute(in_project.union_all(in_group).limit(1)).first() is not None

    def update(
        self,
        project_id: int,
        name: str,
        description: str | None,
        at: datetime,
        audit: AuditEntry,
        *,
        only: Collection[str] | None = None,
        seen_by: int | None = None,
    ) -> bool:
        """Change what is said of a project; False if there is none. Raise `Conflict` as `add` does.

        With `only`, these fields alone. Nothing is written where that is said already.
        """
        fields = {"name": name, "description": description}
        values = {field: value for field, value in fields.items() if only is None or field in only}
        with self._database.change(audit) as change:
            changed = changed_values(change.connection, project, values, id=project_id)
            if changed:
                change.connection.execute(
                    update(project).where(project.c.id == project_id).values(**changed, updated_at=at)
                )
                change.record(audit)
                if "name" in changed:
                    _check_name(change.connection, project_id, name, seen_by)
        return changed is not None

    def delete(self, project_id: int, at: datetime, audit: AuditEntry) -> bool:
        """Delete a project and revoke the keys that are linked to it; False if there is none.

        Were they unlinked instead, they would see everything.
        """
        with self._database.change() as change:
            locked = select(project.c.id).where(project.c.id == project_id).with_for_update()
            if change.connection.execute(locked).first() is None:
                return False
            # Keys first, then members, as the deletion of a user does: else two could wait for each other.
            lock_keys(change.connection, api_key.c.project_id == project_id, api_key.c.revoked_at.is_(None))
            revoked = (
                change.connection.execute(
                    update(api_key)
                    .where(api_key.c.project_id == project_id, api_key.c.revoked_at.is_(None))
                    .values(revoked_at=at)
                    .returning(api_key.c.id)
                )
                .scalars()
                .all()
            )
            change.connection.execute(delete(project).where(project.c.id == project_id))
            change.record(audit)
            for number in revoked:
                change.record(
                    replace(
                        audit,
                        action=AuditAction.API_KEY_DELETED,
                        target_type=Target.API_KEY,
                        target_id=str(number),
                        details={"because": audit.action.value, "of": audit.target_id},
                    )
                )
        return True

    def set_member(
        self, project_id: int, user_id: int, at: datetime, audit: AuditEntry, *, is_owner: bool
    ) -> None:
        """Put a user into a project, or change whether they own it.

        Raise `InvalidState` if nobody would be left who does.
        """
        with self._database.change(audit) as change:
            was_owner = change.connection.execute(
                select(project_member.c.is_owner)
                .where(project_member.c.project_id == project_id, project_member.c.user_id == user_id)
                .with_for_update()
            ).scalar_one_or_none()
            statement = insert_on_conflict(project_member, change.connection.dialect.name).values(
                project_id=project_id, user_id=user_id, is_owner=is_owner, created_at=at
            )
            changed = change.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["project_id", "user_id"],
                    set_={"is_owner": is_owner},
                    where=project_member.c.is_owner != is_owner,
                ).returning(project_member.c.user_id)
            ).first()
            if changed:
                change.record(audit)
            if was_owner and not is_owner:
                _check_owned(change.connection, project_id)

    def remove_member(self, project_id: int, user_id: int, audit: AuditEntry) -> bool:
        """Take a user out of a project; False if they are not in it.

        Raise `InvalidState` if nobody would be left who owns it.
        """
        with self._database.change(audit) as change:
            was_owner = change.connection.execute(
                delete(project_member)
                .where(project_member.c.project_id == project_id, project_member.c.user_id == user_id)
                .returning(project_member.c.is_owner)
            ).scalar_one_or_none()
            if was_owner is None:
                return False
            change.record(audit)
            if was_owner:
                _check_owned(change.connection, project_id)
        return True

    def add_connection(self, project_id: int, connection_key: str, audit: AuditEntry) -> bool:
        """Add a connection to a project; False if there is no such connection."""
        with self._database.change(audit) as change:
            number = change.connection.execute(_connection_id(connection_key)).scalar_one_or_none()
            if number is None:
                return False
            if add_row(change.connection, project_connection, project_id=project_id, connection_id=number):
                change.record(audit)
        return True

    def remove_connection(self, project_id: int, connection_key: str, audit: AuditEntry) -> bool:
        """Take a connection out of a project; False if it is not in it."""
        with self._database.change(audit) as change:
            removed = change.connection.execute(
                delete(project_connection).where(
                    project_connection.c.project_id == project_id,
                    project_connection.c.connection_id.in_(_connection_id(connection_key)),
                )
            ).rowcount
            if removed:
                change.record(audit)
        return bool(removed)

    def has_connection(self, project_id: int, user_id: int, connection_key: str) -> bool:
        """Return whether this user, as a member of this project, may see this connection."""
        with self._database.reading() as reading:
            found = reading.execute(
                select(project_connection.c.connection_id)
                .join(project_member, project_member.c.project_id == project_connection.c.project_id)
                .where(
                    project_connection.c.project_id == project_id,
                    project_member.c.user_id == user_id,
                    project_connection.c.connection_id.in_(_connection_id(connection_key)),
                )
            ).first()
        return found is not None


def _check_name(reading: Connection, project_id: int, name: str, seen_by: int | None) -> None:
    """Raise `Conflict` if another project has the name, among those that somebody is in, or all for None.

    A name that is taken where they cannot see it is free: else names could be guessed. To be called after
    the audit row: from there on no other change runs beside this one.
    """
    others = select(project.c.id).where(project.c.name == name, project.c.id != project_id)
    if seen_by is not None:
        others = others.where(project.c.id.in_(memberships(seen_by)))
    if reading.execute(others.limit(1)).first() is not None:
        raise Conflict(f"There is a project {name} already.")


def _check_owned(reading: Connection, project_id: int) -> None:
    """Raise `InvalidState` unless somebody owns the project. To be called after the audit row."""
    owners = select(project_member.c.user_id).where(
        project_member.c.project_id == project_id, project_member.c.is_owner
    )
    if reading.execute(owners.limit(1)).first() is None:
        raise InvalidState("This is the last owner of the project: name another one first.")


def _check_quota(connection: Connection, user_id: int, at_most: int) -> None:
    # Locked first: of two who make the last project at the same instant one is refused.
    connection.execute(select(user.c.id).where(user.c.id == user_id).with_for_update(key_share=True))
    made = connection.execute(
        select(func.count()).select_from(project).where(project.c.created_by == user_id)
    ).scalar_one()
    if made >= at_most:
        raise QuotaExceeded(f"You made {made} projects, and may make {at_most}: delete some first.")


def _connection_id(connection_key: str) -> Any:
    return select(connection.c.id).where(connection.c.connection_key == connection_key)
