"""Whether a database is the one that its servers wrote last, or a copy from before."""

from sqlalchemy import Connection, select

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.errors import CannotStart
from keyturn.store.database.engine import describe
from keyturn.store.database.revocations import Revocations
from keyturn.store.database.schema import audit, installation
from keyturn.store.database.transactions import Database

MAX_MISSED = 100_000
"""Of more changes that the log of revocations was not told of, it begins anew."""


class Lineage:
    """Compares the database with the log of revocations beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self) -> None:
        """Raise `CannotStart` for a database that is older than what was written to it (R7)."""
        with self._database.reading() as connection:
            revision = _revision(connection)
        self._checked(revision)

    def keep_log(self) -> None:
        """Check the same, and write into the log what it was not told: after a power cut, or at first."""
        with self._database.snapshot() as connection:
            revision = _revision(connection)
            log = self._checked(revision)
            if revision is None or (log.since is not None and log.newest == revision):
                return
            told = None if log.since is None else _told_between(connection, log.newest, revision)
        if told is None:
            self._database.revocations.begin(revision)
        else:
            self._database.revocations.announce(told)
            self._database.revocations.confirm(revision)

    def _checked(self, revision: int | None) -> Revocations:
        log = self._database.revocations.read()
        if revision is not None and revision < log.newest:
            raise CannotStart(
                f"The database {describe(self._database.engine.url)} is an older copy: it has revision "
                f"{revision:,}, and its servers wrote up to {log.newest:,}. Keys that were revoked since "
                "would work again. Run `keyturn admin restore --adopt` to use it without them, or put the "
                "newer database back."
            )
        return log


def _revision(connection: Connection) -> int | None:
    found: int | None = connection.execute(select(installation.c.revision)).scalar_one_or_none()
    return found


def _told_between(connection: Connection, after: int, until: int) -> list[tuple[int, AuditEntry]] | None:
    """Return the changes after a revision, or None if they are too many or some are gone."""
    if until - after > MAX_MISSED:
        return None
    rows = connection.execute(
        select(audit).where(audit.c.revision > after, audit.c.revision <= until).order_by(audit.c.revision)
    ).all()
    if len(rows) != until - after:
        return None
    return [
        (
            row.revision,
            AuditEntry(
                row.at,
                AuditAction(row.action),
                Actor(row.actor_user_id, row.actor_userid),
                Target(row.target_type),
                row.target_id,
                succeeded=row.succeeded,
                details=row.details,
            ),
        )
        for row in rows
        if row.action in _ACTIONS and row.target_type in _TARGETS
    ]


_ACTIONS, _TARGETS = frozenset(AuditAction), frozenset(Target)
"""A newer program may have written others, which it tells of itself."""
