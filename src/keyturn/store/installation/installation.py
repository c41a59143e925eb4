"""The installation itself: its revision, its set-up, the proof of its root key."""

from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, update

from keyturn.core.records import InstallationSettings
from keyturn.store.database.rows import add_row
from keyturn.store.database.schema import audit, installation
from keyturn.store.database.transactions import Database


class Installation:
    """Questions about the installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revision(self) -> int:
        """Return the number of changes so far."""
        with self._database.reading() as connection:
            revision: int = connection.execute(select(installation.c.revision)).scalar_one()
        return revision

    def database_time(self) -> datetime | None:
        """Return the time by the clock of the database's server; None on SQLite, which has none."""
        if self._database.engine.dialect.name == "sqlite":
            return None
        with self._database.reading() as connection:
            at: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return at.astimezone(UTC)

    def newest_change_at(self) -> datetime | None:
        """Return when the newest change was made, by the clock of whoever made it; None before the first."""
        with self._database.reading() as connection:
            return connection.execute(
                select(audit.c.at).order_by(audit.c.id.desc()).limit(1)
            ).scalar_one_or_none()

    def find_root_key_check(self) -> bytes | None:
        """Return what the vault sealed at the very first start; None before it."""
        with self._database.reading() as connection:
            return connection.execute(select(installation.c.root_key_check)).scalar_one_or_none()

    def begin(self, root_key_check: bytes, at: datetime) -> None:
        """Write the first and only row, unless another process was faster."""
        with self._database.writing() as connection:
            # SELECT … WHERE NOT EXISTS would let two nodes through at once on PostgreSQL.
            add_row(connection, installation, id=1, root_key_check=root_key_check, revision=0, created_at=at)

    def publish_settings(self, settings: InstallationSettings) -> None:
        """Write what a verifier in another process must know, if that is not written already."""
        told = asdict(settings)
        if self._announced() != told:
            with self._database.writing() as connection:
                connection.execute(update(installation).values(announced=told))

    def find_settings(self) -> InstallationSettings | None:
        """Return what the server last announced; None if it never ran on this database."""
        told = self._announced()
        if told is None:
            return None
        # What a server of a later version says besides is for programs of its own version.
        known = {field.name for field in fields(InstallationSettings)}
        return InstallationSettings(**{name: value for name, value in told.items() if name in known})

    def _announced(self) -> dict[str, Any] | None:
        with self._database.reading() as connection:
            return connection.execute(select(installation.c.announced)).scalar_one_or_none()

    def is_setup_open(self) -> bool:
        """Return whether no user was ever made."""
        with self._database.reading() as connection:
            return connection.execute(select(installation.c.setup_completed_at)).scalar_one() is None

    def set_setup_code(self, digest: bytes) -> None:
        """Make this the one code that opens the set-up page; an earlier one is void."""
        with self._database.writing() as connection:
            connection.execute(
                update(installation)
                .where(installation.c.setup_completed_at.is_(None))
                .values(setup_code_digest=digest)
            )
