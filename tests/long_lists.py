"""An installation with long lists of everything, and how many rows it takes to show them."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, insert, select

from keyturn.core.people import UserKind
from keyturn.store.database import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.composition import Services

ROWS = 3000
AT_ONCE = 500
"""Rows of one transaction: a database has little patience with longer ones."""
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TIMES = {"created_at": NOW, "updated_at": NOW}


def fill(services: Services, user_id: int, *, rows: int = ROWS) -> dict[str, int]:
    """Give the user `rows` of all that they can have, with as many others around; return ids to look at.

    The user owns the one project and the service accounts, and is in every group and project.
    """
    numbers = range(rows)

    def put(table: Any, made: list[dict[str, Any]]) -> None:
        for start in range(0, len(made), AT_ONCE):
            with services.store._database.writing() as connection:
                connection.execute(insert(table), made[start : start + AT_ONCE])

    def add(table: Any, made: list[dict[str, Any]]) -> list[int]:
        put(table, made)
        with services.store._database.reading() as connection:
            return list(connection.execute(select(table.c.id).order_by(table.c.id)).scalars())[-len(made) :]

    groups = add(schema.group, [{"iamid": "bim", "name": f"group {n:04}", **TIMES} for n in numbers])
    users = add(
        schema.user,
        [
            {
                "iamid": "bim",
                "userid": f"robot {n:04}",
                "canonical_userid": f"robot {n:04}",
                "kind": UserKind.SERVICE.value,
                "permissions": [],
                **TIMES,
            }
            for n in numbers
        ],
    )
    add(
        schema.profile,
        [{"user_id": one, "name": f"Robot {one}", "external_user_ids": {}, **TIMES} for one in users],
    )
    put(
        schema.service_account,
        [{"user_id": one, "owner_user_id": user_id, "disabled_with_owner": False} for one in users],
    )
    projects = add(
        schema.project, [{"name": f"project {n:04}", "created_by": user_id, **TIMES} for n in numbers]
    )
    connections = add(
        schema.connection,
        [
            {
                "connection_key": f"connection {n:04}",
                "details": {},
                "created_by": user_id,
                "updated_by": user_id,
                **TIMES,
            }
            for n in numbers
        ],
    )
    apis = add(
        schema.resource,
        [{"name": f"api {n:04}", "identifier": f"https://api-{n:04}.test", **TIMES} for n in numbers],
    )
    put(
        schema.resource_scope,
        [
            {"name": f"scope-{n:04}", "resource_id": one, "is_for_everyone": True}
            for n, one in zip(numbers, apis, strict=True)
        ],
    )
    member = {"is_owner": False, "created_at": NOW}
    put(
        schema.project_member,
        [{"project_id": projects[0], "user_id": one, **member} for one in users]
        + [{"project_id": one, "user_id": user_id, **member, "is_owner": True} for one in projects],
    )
    put(
        schema.project_connection,
        [{"project_id": projects[0], "connection_id": one} for one in connections[: rows // 2]],
    )
    put(
        schema.group_member,
        [{"group_id": groups[0], "user_id": one, **TIMES} for one in users]
        + [{"group_id": one, "user_id": user_id, **TIMES} for one in groups],
    )
    put(
        schema.api_key,
        [
            {
                "user_id": owner,
                "digest": f"{owner} {n}".encode(),
                "name": f"key {n}",
                "masked": "kt_x_…abcd",
                "created_at": NOW,
                "expires_at": NOW + timedelta(days=90),
                "revoked_at": NOW if n % 2 else None,
            }
            for owner in (user_id, users[0])
            for n in numbers
        ],
    )
    return {"group": groups[0], "project": projects[0], "robot": users[0], "api": apis[0]}


class Rows:
    """How many rows the database has given."""

    count = 0


@contextmanager
def rows_read(services: Services) -> Iterator[Rows]:
    """Count every row that the database gives these services while the block runs, whichever way it goes."""
    rows = Rows()
    database = services.store._database

    def on_sqlite(_cursor: object, row: object) -> object:
        rows.count += 1
        return row

    def on_postgresql(_cursor: object) -> Any:
        def made(values: Any) -> tuple[Any, ...]:
            rows.count += 1
            return tuple(values)

        return made

    changed: list[tuple[Any, Any]] = []

    def watch(connection: Any, *_others: object) -> None:
        changed.append((connection, connection.row_factory))
        connection.row_factory = on_sqlite if database._queries is not None else on_postgresql

    for asking in [] if database._queries is None else list(database._queries._opened):
        changed.append((asking.cursor, asking.cursor.row_factory))
        asking.cursor.row_factory = on_sqlite
    event.listen(database.engine, "checkout", watch)
    try:
        yield rows
    finally:
        event.remove(database.engine, "checkout", watch)
        for connection, former in reversed(changed):
            connection.row_factory = former
