"""The installation itself: its revision, its set-up, its signing keys, the proof of its root key."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from keyturn.core.records import Announcement, AuditEntry, SigningKeyRecord
from keyturn.store.database import Database
from keyturn.store.schema import installation, signing_key


class Installation:
    """Questions about the installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revision(self) -> int:
        """Return the number of changes so far."""
        with self._database.reading() as connection:
            revision: int = connection.execute(select(installation.c.revision)).scalar_one()
        return revision

    def find_root_key_check(self) -> bytes | None:
        """Return what the vault sealed at the very first start; None before it."""
        with self._database.reading() as connection:
            return connection.execute(select(installation.c.root_key_check)).scalar_one_or_none()

    def begin(self, root_key_check: bytes, at: datetime) -> None:
        """Write the first and only row, unless another process was faster."""
        with self._database.writing() as connection:
            # SELECT … WHERE NOT EXISTS would let two nodes through at once on PostgreSQL.
            insert_or_skip = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
            connection.execute(
                insert_or_skip(installation)
                .values(id=1, root_key_check=root_key_check, revision=0, created_at=at)
                .on_conflict_do_nothing()
            )

    def announce(self, settings: Announcement) -> None:
        """Write what a verifier in another process must know, if that is not written already."""
        told = asdict(settings)
        if self._announced() != told:
            with self._database.writing() as connection:
                connection.execute(update(installation).values(announced=told))

    def find_announcement(self) -> Announcement | None:
        """Return what the server last announced; None if it never ran on this database."""
        told = self._announced()
        return None if told is None else Announcement(**told)

    def _announced(self) -> dict[str, Any] | None:
        with self._database.reading() as connection:
            return connection.execute(select(installation.c.announced)).scalar_one_or_none()

    def set_public_jwk(self, kid: str, public_jwk: Mapping[str, Any]) -> None:
        """Write the public half of a signing key that an older program stored without."""
        with self._database.writing() as connection:
            connection.execute(
                update(signing_key).where(signing_key.c.kid == kid).values(public_jwk=dict(public_jwk))
            )

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

    def list_signing_keys(self) -> list[SigningKeyRecord]:
        """Return the signing keys that still verify, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(signing_key)
                .where(signing_key.c.retired_at.is_(None))
                .order_by(signing_key.c.created_at.desc(), signing_key.c.kid)
            ).all()
        return [
            SigningKeyRecord(row.kid, row.algorithm, row.sealed_jwk, row.created_at, row.public_jwk)
            for row in rows
        ]

    def add_signing_key(self, new: SigningKeyRecord, audit: AuditEntry) -> bool:
        """Store a signing key unless there is one for its algorithm; return whether it was stored.

        The row lock makes two nodes at their first start queue, so that one key signs for both.
        """
        with self._database.change() as change:
            change.connection.execute(update(installation).values(revision=installation.c.revision))
            present = change.connection.execute(
                select(signing_key.c.kid).where(
                    signing_key.c.algorithm == new.algorithm, signing_key.c.retired_at.is_(None)
                )
            ).first()
            if present is not None:
                return False
            change.connection.execute(
                insert(signing_key).values(
                    kid=new.kid,
                    algorithm=new.algorithm,
                    sealed_jwk=new.sealed_jwk,
                    public_jwk=new.public_jwk,
                    created_at=new.created_at,
                )
            )
            change.record(audit)
        return True
