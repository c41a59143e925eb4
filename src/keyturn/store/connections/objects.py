"""The objects behind connections: databases, schemas and tables, as crawls found them.

A connection shows one generation. A crawl writes the next one beside it, and `finish` shows it at once;
what a crawl that ended before has left is removed when the next one begins.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, true, update

from keyturn.core.connections import (
    ConnectionState,
    DataObject,
    FoundObject,
    KnownObject,
    ObjectPath,
    path_digest,
)
from keyturn.core.folding import folded
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.store.database.schema import connection as connection_table
from keyturn.store.database.schema import data_object, data_object_columns
from keyturn.store.database.substrings import instr
from keyturn.store.database.transactions import Database

FOREVER = 2**31 - 1
"""`until` of what is there still."""
MAX_COUNTED = 10_000
"""A search counts no further: to count a million matches takes a database longer than to find the first."""
AT_ONCE = 5_000
"""How many rows are removed in one transaction at most."""


class DataObjects:
    """Questions about the objects behind connections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin_crawl(self, connection_id: int) -> int | None:
        """Return the number of a new crawl, None if there is no such connection.

        To be called by the one job that holds the connection.
        """
        with self._database.reading() as connection:
            generation = connection.execute(
                select(connection_table.c.generation).where(connection_table.c.id == connection_id)
            ).scalar_one_or_none()
        if generation is None:
            return None
        self._remove(connection_id, data_object.c.since > generation)
        with self._database.writing() as connection:
            connection.execute(
                update(data_object)
                .where(
                    data_object.c.connection_id == connection_id,
                    data_object.c.until > generation,
                    data_object.c.until < FOREVER,
                )
                .values(until=FOREVER)
            )
            number: int | None = connection.execute(
                update(connection_table)
                .where(connection_table.c.id == connection_id)
                .values(crawl_number=connection_table.c.crawl_number + 1)
                .returning(connection_table.c.crawl_number)
            ).scalar_one_or_none()
        return number

    def known(self, connection_id: int) -> dict[bytes, KnownObject]:
        """Return what the last crawl found, by the digests of the paths."""
        query = select(
            data_object.c.path_digest, data_object.c.id, data_object.c.fingerprint, data_object.c.first
        ).where(data_object.c.connection_id == connection_id, data_object.c.until == FOREVER)
        with self._database.reading() as connection:
            return {
                digest: KnownObject(number, fingerprint, first)
                for digest, number, fingerprint, first in connection.execute(query)
            }

    def add(
        self, connection_id: int, number: int, found: Sequence[FoundObject], first: Sequence[int]
    ) -> None:
        """Store versions that the crawl with this number found. Nobody sees them before it is finished.

        `first` has the number of the crawl that found each first.
        """
        rows = [
            {
                "connection_id": connection_id,
                "path_digest": path_digest(one.path),
                "parent_digest": path_digest(one.path[:-1]),
                "path": list(one.path),
                "searched": folded(one.path[-1])[:255],
                "kind": one.kind,
                "comment": one.comment,
                "fingerprint": one.fingerprint,
                "column_count": len(one.columns),
                "first": found_first,
                "since": number,
                "until": FOREVER,
            }
            for one, found_first in zip(found, first, strict=True)
        ]
        if not rows:
            return
        with self._database.writing() as connection:
            ids = connection.execute(
                insert(data_object).returning(data_object.c.id, sort_by_parameter_order=True), rows
            ).scalars()
            columns = [
                {"object_id": number, "columns": one.columns}
                for number, one in zip(ids, found, strict=True)
                if one.columns
            ]
            if columns:
                connection.execute(insert(data_object_columns), columns)

    def end(self, object_ids: Collection[int], number: int) -> None:
        """Say that the crawl with this number found these no more, or others in their place."""
        for some in _in_parts(sorted(object_ids), 500):
            with self._database.writing() as connection:
                connection.execute(update(data_object).where(data_object.c.id.in_(some)).values(until=number))

    def finish(self, connection_id: int, number: int, at: datetime) -> None:
        """Show what the crawl with this number found, and that the connection works; forget what ended."""
        with self._database.writing() as connection:
            connection.execute(
                update(connection_table)
                .where(connection_table.c.id == connection_id)
                .values(generation=number, crawled_at=at)
            )
            connection.execute(
                update(connection_table)
                .where(
                    connection_table.c.id == connection_id,
                    connection_table.c.state == ConnectionState.UNHEALTHY.value,
                )
                .values(state=ConnectionState.ACTIVE.value, state_reason=None)
            )
        self._remove(connection_id, data_object.c.until <= number)

    def remove_all(self, connection_id: int) -> None:
        """Forget all objects of a connection that is about to be deleted."""
        self._remove(connection_id, true())

    def find(self, connection_id: int, path: ObjectPath) -> DataObject | None:
        """Return one object of the generation that is shown."""
        query = _visible(data_object).where(
            data_object.c.connection_id == connection_id, data_object.c.path_digest == path_digest(path)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _object(row)

    def children(
        self, connection_id: int, path: ObjectPath, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[DataObject]:
        """Return at most `size` of what is directly below a path, by name; counted up to `MAX_COUNTED`."""
        return self._page(
            [
                data_object.c.connection_id == connection_id,
                data_object.c.parent_digest == path_digest(path),
            ],
            offset,
            size,
        )

    def search(
        self, connection_ids: Collection[int], text: str, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[DataObject]:
        """Return at most `size` of the objects of whose name a text is a part, by name.

        Case and accents do not matter. They are counted up to `MAX_COUNTED`.
        """
        return self._page(
            [
                data_object.c.connection_id.in_(connection_ids),
                instr(data_object.c.searched, folded(text)) > 0,
            ],
            offset,
            size,
        )

    def count_below(self, connection_id: int, path: ObjectPath) -> int:
        """Return how many objects are directly below a path, up to `MAX_COUNTED`."""
        return self.children(connection_id, path, size=0).count

    def columns(self, object_id: int) -> list[tuple[str, str, str | None]]:
        """Return the columns of a table, in their order: the name, the type and the comment of each."""
        query = select(data_object_columns.c.columns).where(data_object_columns.c.object_id == object_id)
        with self._database.reading() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return [(name, kind, comment) for name, kind, comment in found or ()]

    def _page(self, conditions: list[ColumnElement[bool]], offset: int, size: int) -> Page[DataObject]:
        """Count and list in one walk through an index; of the rows, read those of the page alone."""
        found = (
            _visible(data_object.c.id, data_object.c.searched)
            .where(*conditions)
            .order_by(data_object.c.searched, data_object.c.id)
            .limit(max(MAX_COUNTED + 1, offset + size))
            .cte("found")
        )
        counted = select(func.count().label("total")).select_from(found).subquery("counted")
        listed = (
            select(found).order_by(found.c.searched, found.c.id).offset(offset).limit(size).subquery("listed")
        )
        query = (
            select(counted.c.total, data_object)
            .select_from(counted)
            .outerjoin(listed, true())
            .outerjoin(data_object, data_object.c.id == listed.c.id)
            .order_by(listed.c.searched, listed.c.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        items = tuple(_object(row) for row in rows if row.id is not None)
        return Page(min(rows[0].total, MAX_COUNTED + 1), items)

    def _remove(self, connection_id: int, which: ColumnElement[bool]) -> None:
        """Remove versions, a part at a time, so that others write in between."""
        some = (
            select(data_object.c.id).where(data_object.c.connection_id == connection_id, which).limit(AT_ONCE)
        )
        while True:
            with self._database.writing() as connection:
                removed = connection.execute(delete(data_object).where(data_object.c.id.in_(some))).rowcount
            if removed < AT_ONCE:
                return


def _visible(*columns: Any) -> Select[Any]:
    """Select from what connections show."""
    return (
        select(*columns)
        .select_from(data_object)
        .join(connection_table, connection_table.c.id == data_object.c.connection_id)
        .where(
            data_object.c.since <= connection_table.c.generation,
            data_object.c.until > connection_table.c.generation,
        )
    )


def _object(row: Row[Any]) -> DataObject:
    return DataObject(
        object_id=row.id,
        connection_id=row.connection_id,
        path=tuple(row.path),
        kind=row.kind,
        comment=row.comment,
        column_count=row.column_count,
        first=row.first,
    )


def _in_parts(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (numbers[at : at + size] for at in range(0, len(numbers), size))
