"""Registered connections."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, insert, select

from keyturn.core.audit import AuditEntry
from keyturn.core.pages import MAX_PAGE
from keyturn.core.records import ConnectionRecord, PersonReference
from keyturn.store.database.schema import connection as table
from keyturn.store.database.schema import profile, project_connection, project_member
from keyturn.store.database.transactions import Database, refusing_twins


class Connections:
    """Questions about connections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, connection_key: str) -> ConnectionRecord | None:
        """Return the connection with this key, without its secrets."""
        with self._database.reading() as connection:
            row = connection.execute(
                _CONNECTION.where(table.c.connection_key == connection_key)
            ).one_or_none()
        if row is None:
            return None
        return ConnectionRecord(
            connection_key=row.connection_key,
            details=row.details,
            native_integration_id=row.native_integration_id,
            created_at=row.created_at,
            created_by=row.created_by,
            creator=PersonReference(row.created_by, row.creator_name, row.creator_email),
            updated_at=row.updated_at,
            updated_by=row.updated_by,
            updater=PersonReference(row.updated_by, row.updater_name, row.updater_email),
        )

    def add(self, connection_key: str, details: Mapping[str, Any], user_id: int, audit: AuditEntry) -> None:
        """Register a connection; raise `Conflict` if the key is taken."""
        with (
            refusing_twins(f"There is a connection {connection_key} already."),
            self._database.change() as change,
        ):
            change.connection.execute(
                insert(table).values(
                    connection_key=connection_key,
                    details=dict(details),
                    created_at=audit.at,
                    created_by=user_id,
                    updated_at=audit.at,
                    updated_by=user_id,
                )
            )
            change.record(audit)

    def list_keys(
        self, *, size: int = MAX_PAGE, outside_of: int | None = None, seen_in: tuple[int, int] | None = None
    ) -> list[str]:
        """Return the keys of at most `size` connections, in alphabetical order.

        Of those alone that are not in the project `outside_of`; and with `seen_in`, a project and a user, of
        those that the user sees as a member of it.
        """
        query = select(table.c.connection_key).order_by(table.c.connection_key).limit(size)
        if outside_of is not None:
            query = query.where(table.c.id.not_in(_in_project(outside_of)))
        if seen_in is not None:
            project_id, user_id = seen_in
            members = select(project_member.c.project_id).where(project_member.c.user_id == user_id)
            query = query.where(
                table.c.id.in_(_in_project(project_id).where(project_connection.c.project_id.in_(members)))
            )
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())


def _in_project(project_id: int) -> Select[tuple[int]]:
    return select(project_connection.c.connection_id).where(project_connection.c.project_id == project_id)


_creator, _updater = profile.alias("creator"), profile.alias("updater")

_CONNECTION = (
    select(
        table,
        _creator.c.name.label("creator_name"),
        _creator.c.email.label("creator_email"),
        _updater.c.name.label("updater_name"),
        _updater.c.email.label("updater_email"),
    )
    .outerjoin(_creator, _creator.c.user_id == table.c.created_by)
    .outerjoin(_updater, _updater.c.user_id == table.c.updated_by)
)
