"""Everything that is encrypted under the root key, for whoever reads or renews all of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement, LargeBinary, Select, func, select, update

from keyturn.core.audit import AuditEntry
from keyturn.core.seals import HEAD_BYTES, head_of
from keyturn.errors import Conflict
from keyturn.store.database.schema import connection, installation, signing_key, system_key
from keyturn.store.database.transactions import Database


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of seals, and the unique column that names a row in the associated data."""

    sealed: Column[Any]
    row: Column[Any]


SEALED_COLUMNS = (
    SealedColumn(installation.c.root_key_check, installation.c.id),
    SealedColumn(signing_key.c.sealed_jwk, signing_key.c.kid),
    SealedColumn(system_key.c.sealed_secret, system_key.c.name),
    SealedColumn(connection.c.sealed_secrets, connection.c.connection_key),
)
"""A test holds the tables to this: their sealed columns are all here."""


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A seal and its place."""

    table: str
    row: str | int
    column: str
    seal: bytes = field(repr=False)


class Seals:
    """Questions about all seals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_rows(
        self, column: SealedColumn, *, size: int, after: str | int | None = None, unlike: bytes | None = None
    ) -> list[SealedRow]:
        """Return the seals of a column behind the row `after`, in the order of the rows.

        With `unlike` only those that have another head.
        """
        rows = select(column.row, column.sealed).where(_is_unlike(column, unlike))
        if after is not None:
            rows = rows.where(column.row > after)
        table, name = column.sealed.table.name, column.sealed.name
        with self._database.reading() as reading:
            found = reading.execute(rows.order_by(column.row).limit(size)).all()
        return [SealedRow(table, row, name, seal) for row, seal in found]

    def count_unlike(self, head: bytes) -> int:
        """Return how many seals there are with another head."""
        with self._database.reading() as reading:
            return sum(int(reading.execute(_count(column, head)).scalar_one()) for column in SEALED_COLUMNS)

    def renew(self, column: SealedColumn, renewed: Sequence[tuple[SealedRow, bytes]], *, head: bytes) -> int:
        """Put the second seal of each pair, all with this head, in the place of the first; return how many.

        A row that was deleted or got another seal meanwhile stays as it is. Raise `Conflict` unless the root
        key of `head` is still the one that seals.
        """
        with self._database.writing() as writing:
            if head_of(writing.execute(_LOCKED_CHECK).scalar_one()) != head:
                raise Conflict(_OVERTAKEN)
            return sum(
                writing.execute(
                    update(column.sealed.table)
                    .where(column.row == former.row, column.sealed == former.seal)
                    .values({column.sealed: seal})
                ).rowcount
                for former, seal in renewed
            )

    def begin_rotation(self, former: bytes, check: bytes, audit: AuditEntry) -> None:
        """Let the root key of the seal `check` seal from now on, and no other.

        Raise `Conflict` unless the check is still `former`.
        """
        with self._database.change() as change:
            if not change.connection.execute(
                update(installation)
                .where(installation.c.root_key_check == former)
                .values(root_key_check=check)
            ).rowcount:
                raise Conflict(_OVERTAKEN)
            change.record(audit)


_OVERTAKEN = "Another rotation of the root key began just now."
_LOCKED_CHECK = select(installation.c.root_key_check).with_for_update(read=True)
"""No rotation, which is a change, begins before the transaction ends."""


def _count(column: SealedColumn, head: bytes) -> Select[Any]:
    return select(func.count()).select_from(column.sealed.table).where(_is_unlike(column, head))


def _is_unlike(column: SealedColumn, head: bytes | None) -> ColumnElement[bool]:
    if head is None:
        return column.sealed.is_not(None)
    return func.substr(column.sealed, 1, HEAD_BYTES, type_=LargeBinary) != head
