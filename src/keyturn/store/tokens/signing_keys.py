"""The keys that sign tokens."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, insert, or_, select, update

from keyturn.core.audit import AuditEntry
from keyturn.core.connections import ConnectionState
from keyturn.core.records import SigningKeyRecord
from keyturn.errors import Conflict
from keyturn.store.database.schema import connection, installation, signing_key
from keyturn.store.database.seals import check_seal
from keyturn.store.database.transactions import Change, Database

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""By every clock."""


class SigningKeys:
    """Questions about signing keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_verifying(self, now: datetime) -> list[SigningKeyRecord]:
        """Return the keys whose tokens may still live, the one that signs last first."""
        with self._database.reading() as reading:
            rows = reading.execute(
                select(signing_key)
                .where(or_(signing_key.c.verifies_until.is_(None), signing_key.c.verifies_until > now))
                .order_by(signing_key.c.signs_from.desc(), signing_key.c.kid)
            ).all()
        return [_record(row) for row in rows]

    def add_first(self, new: SigningKeyRecord, audit: AuditEntry) -> bool:
        """Store a signing key unless there is one that no other follows; return whether it was stored."""
        with self._database.change() as change:
            _queue(change)
            if change.connection.execute(select(signing_key.c.kid).where(_IS_LAST)).first() is not None:
                return False
            _insert(change, new)
            change.record(audit)
        return True

    def add_next(self, new: SigningKeyRecord, audit: AuditEntry, *, others_verify_until: datetime) -> None:
        """Store the key that follows all others, of whatever algorithm, which end then at the latest."""
        with self._database.change() as change:
            _queue(change)
            _end(
                change, or_(_IS_LAST, signing_key.c.verifies_until > others_verify_until), others_verify_until
            )
            _insert(change, new)
            change.record(audit)

    def change_algorithm(
        self, new: SigningKeyRecord, created: AuditEntry, retired: AuditEntry, *, grace: timedelta
    ) -> bool:
        """Let a key of the algorithm of `new` follow those of others; return whether anything was changed.

        `new` is stored unless there is such a key. The others verify for `grace` after that key signs.
        """
        is_of_other = and_(_IS_LAST, signing_key.c.algorithm != new.algorithm)
        with self._database.change() as change:
            _queue(change)
            signs_from = change.connection.execute(
                select(func.min(signing_key.c.signs_from)).where(
                    _IS_LAST, signing_key.c.algorithm == new.algorithm
                )
            ).scalar_one()
            if signs_from is not None:
                ended = _end(change, is_of_other, max(signs_from, new.created_at) + grace)
                if ended:
                    change.record(retired)
                return bool(ended)
            _end(change, is_of_other, new.signs_from + grace)
            _insert(change, new)
            change.record(created)
        return True

    def retire(self, ended_before: datetime, audit: AuditEntry) -> int:
        """Delete the private halves of keys that have ended by then; return how many.

        They verify nothing any more by any clock, so that their tokens need not be known to be revoked: those
        rows are removed later (`store.installation.retention`), since there may be many.
        """
        with self._database.change() as change:
            retired = change.connection.execute(
                update(signing_key)
                .where(signing_key.c.verifies_until <= ended_before, signing_key.c.sealed_jwk.is_not(None))
                .values(sealed_jwk=None, verifies_until=LONG_AGO)
                .returning(signing_key.c.kid)
            ).scalars()
            number = len(retired.all())
            if number:
                change.record(audit)
        return number

    def begin_anew(
        self,
        former: bytes,
        check: bytes,
        signing: SigningKeyRecord,
        reason: str,
        *,
        replaced: AuditEntry,
        retired: AuditEntry,
    ) -> None:
        """Let the root key of the seal `check` seal from now on, though nothing opens any more.

        `signing` is the one key that signs and verifies from now on. The private halves of all others, which
        nobody can open, are forgotten. Connections with secrets are unhealthy for this reason. Raise
        `Conflict` unless the check is still `former`.
        """
        with self._database.change() as change:
            writing = change.connection
            is_former = installation.c.root_key_check == former
            if not writing.execute(
                update(installation).where(is_former).values(root_key_check=check)
            ).rowcount:
                raise Conflict("The root key was replaced just now, or rotated.")
            writing.execute(update(signing_key).values(sealed_jwk=None, verifies_until=LONG_AGO))
            _insert(change, signing)
            writing.execute(
                update(connection)
                .where(connection.c.sealed_secrets.is_not(None), connection.c.state != _INACTIVE)
                .values(state=ConnectionState.UNHEALTHY.value, state_reason=reason)
            )
            change.record(replaced)
            change.record(retired)

    def find_public_jwk(self, kid: str) -> Mapping[str, Any] | None:
        """Return the public half of a signing key, also of one that has ended."""
        query = select(signing_key.c.public_jwk).where(signing_key.c.kid == kid)
        with self._database.reading() as reading:
            found: Mapping[str, Any] | None = reading.execute(query).scalar_one_or_none()
        return found

    def set_public_jwk(self, kid: str, public_jwk: Mapping[str, Any]) -> None:
        """Write the public half of a signing key that an older program stored without."""
        with self._database.writing() as writing:
            writing.execute(
                update(signing_key).where(signing_key.c.kid == kid).values(public_jwk=dict(public_jwk))
            )


_INACTIVE = ConnectionState.INACTIVE.value
_IS_LAST = signing_key.c.verifies_until.is_(None)
"""No other key is to follow it."""


def _end(change: Change, which: ColumnElement[bool], verifies_until: datetime) -> int:
    """Give these keys their end; return how many they are."""
    ended: int = change.connection.execute(
        update(signing_key).where(which).values(verifies_until=verifies_until)
    ).rowcount
    return ended


def _queue(change: Change) -> None:
    """Make two nodes at their first start, or two rotations, queue: so that one key follows another."""
    change.connection.execute(update(installation).values(revision=installation.c.revision))


def _insert(change: Change, new: SigningKeyRecord) -> None:
    """Store a key in a change that queued; raise `TooBusy` if its seal is of a former root key."""
    assert new.sealed_jwk is not None, "a new key signs"  # noqa: S101 - for the type checker
    check_seal(change, new.sealed_jwk)
    change.connection.execute(
        insert(signing_key).values(
            kid=new.kid,
            algorithm=new.algorithm,
            sealed_jwk=new.sealed_jwk,
            public_jwk=new.public_jwk,
            created_at=new.created_at,
            signs_from=new.signs_from,
        )
    )


def _record(row: Row[Any]) -> SigningKeyRecord:
    return SigningKeyRecord(
        kid=row.kid,
        algorithm=row.algorithm,
        sealed_jwk=row.sealed_jwk,
        created_at=row.created_at,
        signs_from=row.signs_from,
        verifies_until=row.verifies_until,
        public_jwk=row.public_jwk,
    )
