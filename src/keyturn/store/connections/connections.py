"""Registered connections."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from keyturn.core.audit import AuditEntry
from keyturn.core.connections import ConnectionRecord, ConnectionState
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.records import PersonReference
from keyturn.core.times import in_milliseconds
from keyturn.errors import ChangedMeanwhile
from keyturn.store.database.folding import contains_folded
from keyturn.store.database.schema import connection as table
from keyturn.store.database.schema import (
    group_member,
    object_role,
    profile,
    project_connection,
    project_member,
)
from keyturn.store.database.seals import check_seal
from keyturn.store.database.transactions import Change, Database, refusing_twins


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
        return None if row is None else _record(row)

    def search(
        self,
        *,
        text: str | None = None,
        seen_by: int | None = None,
        keys: Collection[str] | None = None,
        state: ConnectionState | None = None,
        is_descending: bool = False,
        offset: int = 0,
        size: int = MAX_PAGE,
    ) -> Page[ConnectionRecord]:
        """Return at most `size` of the connections, by their keys, of one state or of all.

        With `text` those of whose key it is a part, with `keys` those that have one of these. With `seen_by`
        those on an object of which this user has a role, by a group too.
        """
        conditions: list[ColumnElement[bool]] = []
        if text:
            conditions.append(contains_folded(text, table.c.connection_key))
        if seen_by is not None:
            conditions.append(_has_role(seen_by))
        if keys is not None:
            conditions.append(table.c.connection_key.in_(keys))
        if state is not None:
            conditions.append(table.c.state == state.value)
        order = table.c.connection_key.desc() if is_descending else table.c.connection_key
        with self._database.snapshot() as connection:
            count = connection.execute(
                select(func.count()).select_from(table).where(*conditions)
            ).scalar_one()
            rows = connection.execute(
                _CONNECTION.where(*conditions).order_by(order).offset(offset).limit(size)
            ).all()
        return Page(count, tuple(map(_record, rows)))

    def find_seal(self, connection_id: int) -> bytes | None:
        """Return the seal of the secrets of a connection."""
        with self._database.reading() as connection:
            return connection.execute(
                select(table.c.sealed_secrets).where(table.c.id == connection_id)
            ).scalar_one_or_none()

    def add(
        self,
        connection_key: str,
        details: Mapping[str, Any],
        user_id: int,
        audit: AuditEntry,
        *,
        seal: bytes | None = None,
        native_integration: Mapping[str, Any] | None = None,
        state: ConnectionState = ConnectionState.ACTIVE,
        crawl_every_hours: int | None = None,
    ) -> int:
        """Register a connection and return its id; raise `Conflict` if the key is taken.

        Raise `TooBusy` if the secrets are sealed under a former root key.
        """
        with (
            refusing_twins(f"There is a connection {connection_key} already."),
            self._database.change(audit) as change,
        ):
            connection_id: int = change.connection.execute(
                insert(table)
                .values(
                    connection_key=connection_key,
                    details=dict(details),
                    sealed_secrets=seal,
                    native_integration=native_integration,
                    state=state.value,
                    crawl_every_hours=crawl_every_hours,
                    created_at=audit.at,
                    created_by=user_id,
                    updated_at=audit.at,
                    updated_by=user_id,
                )
                .returning(table.c.id)
            ).scalar_one()
            change.record(audit)
            _check_seal(change, seal)
        return connection_id

    def update(
        self, before: ConnectionRecord, values: Mapping[str, Any], user_id: int, audit: AuditEntry
    ) -> bool:
        """Change a connection; False if there is none any more.

        Raise `ChangedMeanwhile` if somebody else changed it since `before` was read, and `TooBusy` if
        the secrets are sealed under a former root key.
        """
        with self._database.change(audit) as change:
            found = change.connection.execute(
                select(table.c.updated_at, table.c.details)
                .where(table.c.id == before.connection_id)
                .with_for_update()
            ).one_or_none()
            if found is None:
                return False
            if found.updated_at != before.updated_at or found.details != before.details:
                raise ChangedMeanwhile("Somebody else changed this connection just now. Look at it again.")
            change.connection.execute(
                update(table)
                .where(table.c.id == before.connection_id)
                .values(**values, updated_at=audit.at, updated_by=user_id)
            )
            change.record(audit)
            _check_seal(change, values.get("sealed_secrets"))
        return True

    def replace_seal(
        self, connection_id: int, former: bytes | None, seal: bytes | None, audit: AuditEntry
    ) -> None:
        """Store other secrets; raise `ChangedMeanwhile` if those that are there are not `former`."""
        with self._database.change(audit) as change:
            replaced = change.connection.execute(
                update(table)
                .where(table.c.id == connection_id, table.c.sealed_secrets.is_not_distinct_from(former))
                .values(sealed_secrets=seal)
            ).rowcount
            if not replaced:
                raise ChangedMeanwhile("Somebody else changed this connection just now. Look at it again.")
            change.record(audit)
            _check_seal(change, seal)

    def change_state(
        self,
        connection_id: int,
        allowed: Collection[ConnectionState],
        state: ConnectionState,
        audit: AuditEntry,
    ) -> bool:
        """Put a connection into a state, from one of those alone; False if it is in another, or gone."""
        with self._database.change(audit) as change:
            changed = change.connection.execute(
                update(table)
                .where(table.c.id == connection_id, table.c.state.in_([one.value for one in allowed]))
                .values(state=state.value, state_reason=None)
            ).rowcount
            if changed:
                change.record(audit)
        return bool(changed)

    def note_health(self, connection_id: int, problem: str | None) -> None:
        """Write down how the last test or crawl ended: a sentence of what failed, or None.

        A connection that is switched off stays as it is.
        """
        state = ConnectionState.ACTIVE if problem is None else ConnectionState.UNHEALTHY
        with self._database.writing() as connection:
            connection.execute(
                update(table)
                .where(
                    table.c.id == connection_id,
                    table.c.state != ConnectionState.INACTIVE.value,
                    or_(table.c.state != state.value, table.c.state_reason.is_distinct_from(problem)),
                )
                .values(state=state.value, state_reason=problem)
            )

    def delete(self, connection_id: int, audit: AuditEntry) -> bool:
        """Forget a connection with all that crawls found behind it; False if there is none."""
        with self._database.change(audit) as change:
            deleted = change.connection.execute(delete(table).where(table.c.id == connection_id)).rowcount
            if deleted:
                change.record(audit)
        return bool(deleted)

    def list_due(self, now: datetime, *, size: int = MAX_PAGE) -> list[str]:
        """Return the keys of connections whose schedule wants a crawl now, the longest overdue first."""
        since = type_coerce(func.coalesce(table.c.crawled_at, table.c.created_at), BigInteger)
        due = since + table.c.crawl_every_hours * _HOUR
        query = (
            select(table.c.connection_key)
            .where(
                table.c.crawl_every_hours.is_not(None),
                table.c.state != ConnectionState.INACTIVE.value,
                due <= in_milliseconds(now),
            )
            .order_by(due)
            .limit(size)
        )
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

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


_HOUR = int(timedelta(hours=1).total_seconds() * 1000)
"""In milliseconds, as times are stored."""


def _check_seal(change: Change, seal: bytes | None) -> None:
    if seal is not None:
        check_seal(change, seal)


def _has_role(user_id: int) -> ColumnElement[bool]:
    mine = select(group_member.c.group_id).where(group_member.c.user_id == user_id)
    return exists().where(
        and_(
            object_role.c.connection_id == table.c.id,
            or_(object_role.c.user_id == user_id, object_role.c.group_id.in_(mine)),
        )
    )


def _in_project(project_id: int) -> Select[tuple[int]]:
    return select(project_connection.c.connection_id).where(project_connection.c.project_id == project_id)


def _record(row: Row[Any]) -> ConnectionRecord:
    return ConnectionRecord(
        connection_id=row.id,
        connection_key=row.connection_key,
        details=row.details,
        state=ConnectionState(row.state),
        state_reason=row.state_reason,
        has_secrets=row.sealed_secrets is not None,
        native_integration_id=row.native_integration_id,
        native_integration=row.native_integration,
        generation=row.generation,
        crawled_at=row.crawled_at,
        crawl_every_hours=row.crawl_every_hours,
        created_at=row.created_at,
        created_by=row.created_by,
        creator=PersonReference(row.created_by, row.creator_name, row.creator_email),
        updated_at=row.updated_at,
        updated_by=row.updated_by,
        updater=PersonReference(row.updated_by, row.updater_name, row.updater_email),
    )


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
