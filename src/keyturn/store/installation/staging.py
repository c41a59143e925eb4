"""A restored database before it is in its place: compared with the present one, then put there at once."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError

from keyturn.core.audit import AuditEntry
from keyturn.errors import InvalidState
from keyturn.store.database.migrations import newest_version
from keyturn.store.database.revocations import Revocations
from keyturn.store.installation.carrying import Carried, Tables, carry_ends, carry_log, end_all
from keyturn.store.installation.epochs import begin_epoch
from keyturn.store.installation.seals import SEALED_COLUMNS, SealedRow

IN_USE = (
    "The database is in use: stop all servers, verifiers and other programs that have it open, and try again."
)


class Staged(ABC):
    """A restored database with the schema of this program, in a transaction that holds everybody else off."""

    def __init__(
        self, connection: Connection, restored: Tables, present: Tables | None, log: Revocations
    ) -> None:
        self._connection = connection
        self._restored = restored
        self._present = present
        self._log = log
        self.revision = self._revision_of(restored)
        """That of the backup."""
        self.why_unknown = self._why_unknown()
        """Why the present database does not tell what ended since; None if it does."""

    def check_counts(self, counts: Mapping[str, int]) -> None:
        """Raise `InvalidState` unless each table has as many rows as the manifest says."""
        for name, count in counts.items():
            if name in self._restored and self._count(name) != count:
                raise InvalidState(f"The backup is damaged: the table {name} has other rows than it had.")

    def seals(self) -> Iterator[SealedRow]:
        """Yield everything that is encrypted."""
        for column in SEALED_COLUMNS:
            table = self._restored[column.sealed.table.name]
            sealed, row = table.c[column.sealed.key], table.c[column.row.key]
            for named, seal in self._connection.execute(select(row, sealed).where(sealed.is_not(None))):
                yield SealedRow(table.name, named, column.sealed.name, seal)

    def carry(self, at: datetime) -> Carried:
        """End what ended in the present database, which `why_unknown` says is there."""
        assert self._present is not None, "why_unknown is None"  # noqa: S101 - for the type checker
        self.raise_numbers(self._present)
        return carry_ends(self._connection, self._restored, self._present, at)

    @property
    def is_logged(self) -> bool:
        """Whether the log of revocations tells all that ended since the backup."""
        return self._log.since is not None and self._log.since <= self.revision

    def carry_log(self, at: datetime) -> Carried:
        """End what the log of revocations says."""
        ends = [end.what for end in self._log.ends if end.revision > self.revision]
        return carry_log(self._connection, self._restored, ends, at)

    def end_all(self, at: datetime) -> Carried:
        """Revoke every key and suspend every user."""
        return end_all(self._connection, self._restored, at)

    def living_keys(self, key_ids: Sequence[int] | None = None) -> list[tuple[int, str, str]]:
        """Return number, masked text and user name of each key that is not revoked, or of these keys."""
        key, user = self._restored["api_key"], self._restored["user_account"]
        chosen = key.c.revoked_at.is_(None) if key_ids is None else key.c.id.in_(key_ids)
        rows = self._connection.execute(
            select(key.c.id, key.c.masked, user.c.userid)
            .join_from(key, user, user.c.id == key.c.user_id)
            .where(chosen)
            .order_by(key.c.id)
        )
        return [(row.id, row.masked, row.userid) for row in rows]

    def begin_epoch(self, entry: AuditEntry) -> int:
        """End everything that was issued, and return the first revision of the new epoch."""
        return begin_epoch(self._connection, self._restored, entry, self._known())

    @abstractmethod
    def raise_numbers(self, present: Tables) -> None:
        """Have no number given again that the present database gave to something else."""

    @abstractmethod
    def put_in_place(self, revision: int, at: datetime) -> str | None:
        """Commit, and let the restored database take the place of the present one at once.

        Returns where the present one is kept; None if there was none.
        """

    def _known(self) -> Iterable[int]:
        yield self._log.told
        if self._present is not None:
            try:
                yield self._revision_of(self._present)
            except DBAPIError:
                return

    def _count(self, name: str) -> int:
        query = select(func.count()).select_from(self._restored[name])
        return int(self._connection.execute(query).scalar_one())

    def _revision_of(self, tables: Tables) -> int:
        found: int = self._connection.execute(select(tables["installation"].c.revision)).scalar_one()
        return found

    def _why_unknown(self) -> str | None:
        if self._present is None:
            return "there is no present database"
        present = self._present["installation"]
        schema = f'"{present.schema}".' if present.schema else ""
        version = text(f"SELECT version_num FROM {schema}alembic_version")  # noqa: S608 - a name of ours
        if self._connection.execute(version).scalar() != newest_version():
            return "the present database has another schema than this program"
        began = [
            self._connection.execute(select(table.c.created_at)).scalar()
            for table in (present, self._restored["installation"])
        ]
        if began[0] != began[1]:
            return "the present database is that of another installation"
        revision = self._revision_of(self._present)
        if revision < max(self.revision, self._log.newest):
            return f"the present database is itself an older copy, of revision {revision:,}"
        return None
