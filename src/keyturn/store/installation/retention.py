"""How far each table grows, and the rows that are over and removed in time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, bindparam, delete, or_, select, tuple_

from keyturn.core.records import hour_of
from keyturn.store.database.schema import (
    api_key,
    api_key_caller,
    api_key_use,
    audit,
    job,
    past_rotation,
    revoked_token,
    session,
    signing_key,
)
from keyturn.store.database.transactions import Database
from keyturn.store.keys.api_keys import lock_keys


class Growth(StrEnum):
    """The kind of bound that the rows of a table have."""

    ACTS = "acts"
    """As many as people made and did not delete."""
    TIME = "time"
    """Rows that are over are removed some time later."""
    FIXED = "fixed"
    """A number that stands in the code, for each row of another table or for all."""


GROWTH: Mapping[str, Growth] = {
    "api_key": Growth.TIME,
    "api_key_caller": Growth.TIME,
    "api_key_use": Growth.TIME,
    "audit": Growth.TIME,
    "connection": Growth.ACTS,
    "data_object": Growth.ACTS,
    "data_object_columns": Growth.ACTS,
    "device_login": Growth.FIXED,
    "failed_sign_in": Growth.FIXED,
    "former_secret": Growth.FIXED,
    "group_attribute": Growth.ACTS,
    "group_member": Growth.ACTS,
    "installation": Growth.FIXED,
    "invitation": Growth.FIXED,
    "job": Growth.TIME,
    "object_role": Growth.ACTS,
    "object_settings": Growth.ACTS,
    "past_rotation": Growth.TIME,
    "profile": Growth.FIXED,
    "project": Growth.ACTS,
    "project_connection": Growth.ACTS,
    "project_member": Growth.ACTS,
    "resource": Growth.ACTS,
    "resource_scope": Growth.ACTS,
    "resource_scope_group": Growth.ACTS,
    "revoked_token": Growth.TIME,
    "schema_step": Growth.FIXED,
    "service_account": Growth.FIXED,
    "session": Growth.TIME,
    "signing_key": Growth.ACTS,
    "system_key": Growth.ACTS,
    "user_account": Growth.ACTS,
    "user_attribute": Growth.ACTS,
    "user_group": Growth.ACTS,
}
"""Every table. `docs/operate/retention.md` gives the bound of each; a test holds both to the tables."""

RowId = tuple[Any, ...]
"""The primary key of a row."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows of a table that are over once something lies before a bound."""

    name: str
    table: Table
    is_over: Callable[[Any], ColumnElement[bool]]
    """Takes the bound: a time, or of the audit log the revision of the last row that is over."""

    @property
    def keys(self) -> tuple[ColumnElement[Any], ...]:
        """The columns that name a row."""
        return tuple(self.table.primary_key)


def _has_ended(before: datetime) -> ColumnElement[bool]:
    """A key that ended and that nobody can bring back.

    Of an imported key the digest stays: the same text could be imported anew, and live again.
    """
    return and_(
        or_(api_key.c.revoked_at < before, api_key.c.expires_at < before), ~api_key.c.masked.startswith("…")
    )


ENDED_SESSIONS = Pruned(
    "sessions", session, lambda before: or_(session.c.ended_at < before, session.c.expires_at < before)
)
JOBS = Pruned("jobs", job, lambda before: job.c.ended_at < before)
USES = Pruned("uses", api_key_use, lambda before: api_key_use.c.hour < hour_of(before))
CALLERS = Pruned("callers", api_key_caller, lambda before: api_key_caller.c.last_at < before)
PAST_ROTATIONS = Pruned("rotations", past_rotation, lambda before: past_rotation.c.at < before)
REVOKED_TOKENS = Pruned(
    "revoked tokens",
    revoked_token,
    lambda _: revoked_token.c.kid.in_(select(signing_key.c.kid).where(signing_key.c.sealed_jwk.is_(None))),
)
"""Their signing key is gone. A time has no part in it: a clock may be wrong."""
USES_OF_ENDED_KEYS = Pruned(
    "uses of ended keys",
    api_key_use,
    lambda before: api_key_use.c.key_id.in_(select(api_key.c.id).where(_has_ended(before))),
)
ENDED_KEYS = Pruned("ended keys", api_key, _has_ended)
AUDIT_ROWS = Pruned("events", audit, lambda revision: audit.c.revision <= revision)

PRUNED = (
    ENDED_SESSIONS,
    JOBS,
    USES,
    CALLERS,
    PAST_ROTATIONS,
    REVOKED_TOKENS,
    USES_OF_ENDED_KEYS,
    ENDED_KEYS,
    AUDIT_ROWS,
)


class Retention:
    """Questions about rows that are over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_over(self, pruned: Pruned, bound: Any, *, after: RowId | None, size: int) -> list[RowId]:
        """Return at most `size` of the rows that are over, behind the row `after`, in their order."""
        query = select(*pruned.keys).where(pruned.is_over(bound)).order_by(*pruned.keys).limit(size)
        if after is not None:
            query = query.where(tuple_(*pruned.keys) > tuple_(*after))
        with self._database.reading() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def remove(self, pruned: Pruned, bound: Any, rows: Sequence[RowId]) -> int:
        """Remove those of these rows, in their order, that are still over; return how many.

        That is no change of anybody's rights: neither a row that is over nor one that is gone opens anything.
        """
        if not rows:
            return 0
        named = [bindparam(f"row_{number}", type_=key.type) for number, key in enumerate(pruned.keys)]
        statement = delete(pruned.table).where(
            *(key == name for key, name in zip(pruned.keys, named, strict=True)), pruned.is_over(bound)
        )
        names = [name.key for name in named]
        values = [dict(zip(names, row, strict=True)) for row in rows]
        with self._database.writing() as connection:
            if (keys := _keys_of(pruned.table)) is not None:
                place = pruned.keys.index(keys)
                # As all that writes of several keys: else two could wait for each other.
                lock_keys(connection, api_key.c.id.in_(sorted({row[place] for row in rows})))
            return connection.execute(statement, values).rowcount


def _keys_of(table: Table) -> ColumnElement[Any] | None:
    """Return the column with the ids of keys in a table that belongs to keys."""
    return api_key.c.id if table is api_key else table.c.get("key_id")
