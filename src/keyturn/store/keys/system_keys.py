"""System keys: API keys whose secrets can be had again, since the contract wants them back."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from keyturn.core.audit import AuditEntry
from keyturn.core.records import SystemKeyRecord
from keyturn.store.database.schema import api_key, system_key
from keyturn.store.database.seals import check_seal
from keyturn.store.database.transactions import Database, refusing_twins
from keyturn.store.keys.api_keys import KeyToAdd, insert_key


@dataclass(frozen=True, slots=True)
class SystemKeyToAdd:
    """A system key about to be stored."""

    key: KeyToAdd
    name: str
    connection_key: str
    scopes: tuple[str, ...]
    sealed_secret: bytes = field(repr=False)


class SystemKeys:
    """Questions about system keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_by_name(self, name: str) -> SystemKeyRecord | None:
        """Return the system key of this name, if it was not revoked as any other key is."""
        return self._find(system_key.c.name == name)

    def find_by_id(self, key_id: int) -> SystemKeyRecord | None:
        """Return the system key with this id, if it was not revoked."""
        return self._find(system_key.c.key_id == key_id)

    def _find(self, condition: ColumnElement[bool]) -> SystemKeyRecord | None:
        with self._database.reading() as connection:
            row = connection.execute(
                select(system_key, api_key.c.expires_at)
                .join(api_key, api_key.c.id == system_key.c.key_id)
                .where(condition, api_key.c.revoked_at.is_(None))
            ).one_or_none()
        if row is None:
            return None
        return SystemKeyRecord(
            row.key_id, row.name, row.connection_key, tuple(row.scopes), row.sealed_secret, row.expires_at
        )

    def add(self, new: SystemKeyToAdd, audit: AuditEntry) -> SystemKeyRecord:
        """Store a system key; raise `Conflict` if another was stored under this name meanwhile.

        Raise `TooBusy` if the secret is sealed under a former root key.
        """
        with (
            refusing_twins(f"There is a system key {new.name} already."),
            self._database.change() as change,
        ):
            key_id = _insert(change.connection, new)
            change.record(audit, target_id=key_id)
            check_seal(change, new.sealed_secret)
        return _record(key_id, new)

    def replace(
        self,
        old: SystemKeyRecord,
        new: SystemKeyToAdd,
        at: datetime,
        *,
        revocation: AuditEntry,
        audit: AuditEntry,
    ) -> SystemKeyRecord | None:
        """Revoke a system key and store another under its name; None if it was revoked meanwhile.

        Raise `TooBusy` if the secret is sealed under a former root key.
        """
        with self._database.change() as change:
            if not change.connection.execute(
                update(api_key)
                .where(api_key.c.id == old.key_id, api_key.c.revoked_at.is_(None))
                .values(revoked_at=at)
            ).rowcount:
                return None
            key_id = _insert(change.connection, new)
            change.record(revocation)
            change.record(audit, target_id=key_id)
            check_seal(change, new.sealed_secret)
        return _record(key_id, new)


def _insert(connection: Connection, new: SystemKeyToAdd) -> int:
    key_id = insert_key(connection, new.key).key_id
    # One that was revoked as any other key is has left its name behind.
    connection.execute(
        delete(system_key).where(
            system_key.c.name == new.name,
            system_key.c.key_id.in_(select(api_key.c.id).where(api_key.c.revoked_at.is_not(None))),
        )
    )
    connection.execute(
        insert(system_key).values(
            name=new.name,
            key_id=key_id,
            connection_key=new.connection_key,
            scopes=list(new.scopes),
            sealed_secret=new.sealed_secret,
        )
    )
    return key_id


def _record(key_id: int, new: SystemKeyToAdd) -> SystemKeyRecord:
    return SystemKeyRecord(
        key_id, new.name, new.connection_key, new.scopes, new.sealed_secret, new.key.expires_at
    )
