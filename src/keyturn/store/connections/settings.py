"""Settings and roles that objects say of themselves and of all below them, which belong to paths."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Text, case, cast, delete, func, insert, or_, select

from keyturn.core.audit import AuditEntry
from keyturn.core.connections import (
    ObjectPath,
    ObjectRole,
    ObjectSettings,
    RoleHolder,
    path_digest,
)
from keyturn.store.database.rows import insert_on_conflict
from keyturn.store.database.schema import connection as connection_table
from keyturn.store.database.schema import group_member, object_role, object_settings
from keyturn.store.database.substrings import instr
from keyturn.store.database.transactions import Database


class StoredSettings:
    """Questions about settings and roles of objects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, connection_id: int, paths: Sequence[ObjectPath]) -> dict[ObjectPath, ObjectSettings]:
        """Return what is said at these paths; a path that says nothing is absent."""
        with self._database.snapshot() as connection:
            return _find(connection, connection_id, paths)

    def change(
        self,
        connection_id: int,
        path: ObjectPath,
        changed: Callable[[ObjectSettings], ObjectSettings],
        audit: AuditEntry,
    ) -> bool:
        """Put `changed` of what a path says in its place; nothing is written where it is the same.

        Return False if there is no such connection.
        """
        with self._database.change(audit) as change:
            connection = change.connection
            found = connection.execute(
                select(connection_table.c.generation)
                .where(connection_table.c.id == connection_id)
                .with_for_update(key_share=True)
            ).one_or_none()
            if found is None:
                return False
            before = _find(connection, connection_id, [path]).get(path, ObjectSettings())
            after = changed(before)
            if after != before:
                _write(connection, connection_id, path, after, found.generation)
                change.record(audit)
        return True

    def has_role(
        self, user_id: int, connection_id: int, digests: Iterable[bytes], *roles: ObjectRole
    ) -> bool:
        """Return whether a user has one of these roles at one of these paths, by a group too."""
        query = (
            select(object_role.c.id)
            .where(
                object_role.c.connection_id == connection_id,
                object_role.c.path_digest.in_(list(digests)),
                object_role.c.role.in_([role.value for role in roles]),
                _held_by(user_id),
            )
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def has_any_role(self, user_id: int, connection_id: int) -> bool:
        """Return whether a user has a role somewhere on a connection, by a group too."""
        query = (
            select(object_role.c.id)
            .where(object_role.c.connection_id == connection_id, _held_by(user_id))
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def count_below(self, connection_id: int, path: ObjectPath) -> Mapping[str, int]:
        """Return how many paths below this one say something of each setting."""
        said = {
            "is_active": object_settings.c.is_active.is_not(None),
            "activates_new_children": object_settings.c.activates_new_children.is_not(None),
            **{
                role.value: instr(cast(object_settings.c.overridden_roles, Text), f'"{role.value}"') > 0
                for role in ObjectRole
            },
        }
        # The path is stored as JSON without spaces: those below begin as it does, and go on.
        begin = msgspec.json.encode(path).decode()[:-1] + ("," if path else '"')
        query = select(*(func.count(case((one, 1))).label(name) for name, one in said.items())).where(
            object_settings.c.connection_id == connection_id,
            instr(cast(object_settings.c.path, Text), begin) == 1,
        )
        with self._database.reading() as connection:
            return dict(connection.execute(query).mappings().one())


def _held_by(user_id: int) -> ColumnElement[bool]:
    mine = select(group_member.c.group_id).where(group_member.c.user_id == user_id)
    return or_(object_role.c.user_id == user_id, object_role.c.group_id.in_(mine))


def _find(
    connection: Connection, connection_id: int, paths: Sequence[ObjectPath]
) -> dict[ObjectPath, ObjectSettings]:
    digests = [path_digest(path) for path in paths]
    said = connection.execute(
        select(object_settings).where(
            object_settings.c.connection_id == connection_id, object_settings.c.path_digest.in_(digests)
        )
    ).all()
    holders: dict[tuple[bytes, str], set[RoleHolder]] = {}
    for row in connection.execute(
        select(object_role).where(
            object_role.c.connection_id == connection_id, object_role.c.path_digest.in_(digests)
        )
    ):
        holders.setdefault((row.path_digest, row.role), set()).add(RoleHolder(row.user_id, row.group_id))
    return {
        tuple(row.path): ObjectSettings(
            is_active=row.is_active,
            activates_new_children=row.activates_new_children,
            later_than=row.later_than,
            roles={
                ObjectRole(role): frozenset(holders.get((row.path_digest, role), ()))
                for role in row.overridden_roles
            },
        )
        for row in said
    }


def _write(
    connection: Connection, connection_id: int, path: ObjectPath, said: ObjectSettings, generation: int
) -> None:
    digest = path_digest(path)
    values: dict[str, Any] = {
        "is_active": said.is_active,
        "activates_new_children": said.activates_new_children,
        "later_than": generation,
        "overridden_roles": sorted(said.roles),
    }
    key = {"connection_id": connection_id, "path_digest": digest}
    connection.execute(
        insert_on_conflict(object_settings, connection.dialect.name)
        .values(**key, path=list(path), **values)
        .on_conflict_do_update(index_elements=list(key), set_=values)
    )
    connection.execute(
        delete(object_role).where(
            object_role.c.connection_id == connection_id, object_role.c.path_digest == digest
        )
    )
    rows = [
        {**key, "role": role.value, "user_id": holder.user_id, "group_id": holder.group_id}
        for role, some in said.roles.items()
        for holder in some
    ]
    if rows:
        connection.execute(insert(object_role), rows)
