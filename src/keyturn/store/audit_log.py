"""The audit log, for reading: rows are written by the changes that they tell of."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from keyturn.core.records import AuditEntry
from keyturn.store.database import Database
from keyturn.store.schema import audit


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that happened."""

    audit_id: int
    revision: int
    at: datetime
    action: str
    succeeded: bool
    actor_userid: str
    target_type: str
    target_id: str | None
    address: str | None
    request_id: str | None
    details: Mapping[str, Any]


class AuditLog:
    """Questions about what happened."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entry: AuditEntry) -> None:
        """Write of something that changed nothing, such as a refused login for an unknown name."""
        with self._database.change() as change:
            change.record(entry)

    def list_after(self, audit_id: int = 0, *, limit: int = 200) -> list[AuditRow]:
        """Return the rows after this one, in the order they were committed."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(audit).where(audit.c.id > audit_id).order_by(audit.c.id).limit(limit)
            ).all()
        return [
            AuditRow(
                audit_id=row.id,
                revision=row.revision,
                at=row.at,
                action=row.action,
                succeeded=row.succeeded,
                actor_userid=row.actor_userid,
                target_type=row.target_type,
                target_id=row.target_id,
                address=row.address,
                request_id=row.request_id,
                details=row.details,
            )
            for row in rows
        ]
