"""Failed sign-ins that name no account, or one that takes none: counted, in a table that has a bound.

Anybody can cause one, so they are not rows of the audit log for ever. A row counts those of one network on
one day against one target.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update

from keyturn.core.audit import AuditEntry, CountedSignIns
from keyturn.store.database.rows import insert_on_conflict
from keyturn.store.database.schema import failed_sign_in
from keyturn.store.database.transactions import Database, shortened

MAX_ROWS_A_DAY = 1000
"""Above it the networks of a day that come later are counted as one."""
KEPT_DAYS = 90
OTHERS = "others"


class FailedSignIns:
    """Questions about failed sign-ins that are only counted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, entry: AuditEntry, network: str) -> None:
        """Count one more, with what an audit row would say of it (ASVS 16.2.1)."""
        day, target_id = _day(entry.at), entry.target_id or ""
        last = {
            "last_at": entry.at,
            "address": shortened(entry.actor.address, 64),
            "user_agent": shortened(entry.actor.user_agent, 255),
            "request_id": entry.actor.request_id,
        }
        with self._database.writing() as connection:
            counted = update(failed_sign_in).values(**last, failures=failed_sign_in.c.failures + 1)
            is_it = (failed_sign_in.c.day == day, failed_sign_in.c.target_id == target_id)
            if connection.execute(counted.where(*is_it, failed_sign_in.c.network == network)).rowcount:
                return
            connection.execute(delete(failed_sign_in).where(failed_sign_in.c.day <= day - KEPT_DAYS))
            rows = select(func.count()).select_from(failed_sign_in).where(failed_sign_in.c.day == day)
            if connection.execute(rows).scalar_one() >= MAX_ROWS_A_DAY:
                network, target_id = OTHERS, OTHERS
            row = {"day": day, "network": network, "target_id": target_id, "first_at": entry.at, **last}
            connection.execute(
                insert_on_conflict(failed_sign_in, connection.dialect.name)
                .values(**row, failures=1)
                .on_conflict_do_update(
                    index_elements=["day", "network", "target_id"],
                    set_={**last, "failures": failed_sign_in.c.failures + 1},
                )
            )

    def newest(self, size: int) -> list[CountedSignIns]:
        """Return the rows to which one was added last, the newest first."""
        table = failed_sign_in
        query = select(
            table.c.network,
            table.c.target_id,
            table.c.failures,
            table.c.first_at,
            table.c.last_at,
            table.c.address,
            table.c.user_agent,
            table.c.request_id,
        )
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(table.c.last_at.desc()).limit(size))
            return [CountedSignIns(*row) for row in rows]


def _day(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(days=1)
