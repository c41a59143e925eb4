"""Rotation: a key gets a new secret, and keeps the former one for a while."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from keyturn.core.audit import AuditEntry
from keyturn.core.former_secrets import FORMER_SECRET
from keyturn.core.records import ApiKeyRecord
from keyturn.errors import ChangeRefused, Conflict
from keyturn.store.database.schema import api_key, former_secret, past_rotation
from keyturn.store.database.transactions import Change, Database
from keyturn.store.keys.api_keys import find_listed_key

RETRY_LIFE = timedelta(hours=24)
"""How long after a rotation the same idempotency key means that its answer was lost."""
FORMER_RETRY_LIFE = timedelta(minutes=5)
"""The same where the former secret says so: later, it may be somebody who shuts out who has the new one."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new secret for a key of this user, in the place of the one that was seen."""

    key_id: int
    user_id: int
    digest: bytes = field(repr=False)
    masked: str
    seen_masked: str
    """How the secret is shown that is to be replaced: another may have been faster."""
    at: datetime
    former_ends_at: datetime
    """Until when the former secret works too; `at` for not at all."""
    idempotency_key: str | None = None
    is_by_former_secret: bool = False
    """Whether the secret before the last rotation asks, which may only have the answer of that one again."""

    @property
    def retried_since(self) -> datetime:
        """After when the rotation was that this may be a retry of."""
        return self.at - (FORMER_RETRY_LIFE if self.is_by_former_secret else RETRY_LIFE)


class KeyRotation:
    """Gives keys new secrets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rotate(self, new: Rotation, audit: AuditEntry, *, retried: AuditEntry | None) -> ApiKeyRecord | None:
        """Give a living key its new secret; None, and nothing changes, if there is none that shows so.

        The secret before the former one ends at once. Without an overlap every token of the key ends too.
        With the idempotency key of the last rotation, whose answer was lost, the secret that nobody saw is
        replaced, and the former one goes on as it was: `retried` tells of that. Without it, raise `Conflict`.
        Raise `Conflict` also with that of a rotation before the last: others use what came after it. A former
        secret does nothing but retry.
        """
        with self._database.change() as change:
            connection = change.connection
            old = _lock(connection, new)
            if old is None:
                return None
            former_ends_at = _lost_rotation(connection, new)
            if former_ends_at is not None:
                if retried is None:
                    raise Conflict("This key was rotated already.")
                return _replace(change, new, retried, ends_tokens=former_ends_at <= new.at)
            if new.is_by_former_secret:
                raise ChangeRefused(f"{FORMER_SECRET} Rotate the key with the new one, or on its page.")
            _check_not_past(connection, new)
            if old.masked != new.seen_masked:
                return None
            _note_idempotency_key(connection, new)
            connection.execute(delete(former_secret).where(former_secret.c.key_id == new.key_id))
            connection.execute(
                insert(former_secret).values(
                    key_id=new.key_id,
                    digest=old.digest,
                    replaced_at=new.at,
                    ends_at=new.former_ends_at,
                    idempotency_key=new.idempotency_key,
                    secret_number=old.secret_number,
                )
            )
            return _replace(change, new, audit, ends_tokens=new.former_ends_at <= new.at)


def _lock(connection: Connection, new: Rotation) -> Any:
    """Return the living key as it is, locked; None if there is none."""
    return connection.execute(
        select(api_key.c.digest, api_key.c.masked, api_key.c.secret_number)
        .where(
            api_key.c.id == new.key_id,
            api_key.c.user_id == new.user_id,
            api_key.c.revoked_at.is_(None),
            or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > new.at),
        )
        .with_for_update()
    ).one_or_none()


def _lost_rotation(connection: Connection, new: Rotation) -> datetime | None:
    """Return when the former secret ends if this is a retry of the rotation that made it former."""
    if new.idempotency_key is None:
        return None
    found: datetime | None = connection.execute(
        select(former_secret.c.ends_at).where(
            former_secret.c.key_id == new.key_id,
            former_secret.c.idempotency_key == new.idempotency_key,
            former_secret.c.replaced_at > new.retried_since,
        )
    ).scalar_one_or_none()
    return found


def _check_not_past(connection: Connection, new: Rotation) -> None:
    """Raise `Conflict` if this is a retry of a rotation that another one has followed."""
    found = connection.execute(
        select(past_rotation.c.at).where(
            past_rotation.c.key_id == new.key_id,
            past_rotation.c.idempotency_key == new.idempotency_key,
            past_rotation.c.at > new.at - RETRY_LIFE,
        )
    ).first()
    if found is not None:
        raise Conflict("This rotation was done already, and another one after it: look at the key again.")


def _note_idempotency_key(connection: Connection, new: Rotation) -> None:
    """Write down that there was this rotation. None is dropped here: by a fast clock, all seem old."""
    connection.execute(
        delete(past_rotation).where(
            past_rotation.c.key_id == new.key_id, past_rotation.c.idempotency_key == new.idempotency_key
        )
    )
    if new.idempotency_key is not None:
        connection.execute(
            insert(past_rotation).values(key_id=new.key_id, idempotency_key=new.idempotency_key, at=new.at)
        )


def _replace(change: Change, new: Rotation, audit: AuditEntry, *, ends_tokens: bool) -> ApiKeyRecord | None:
    values = {
        "digest": new.digest,
        "masked": new.masked,
        "secret_number": api_key.c.secret_number + 1,
        "epoch": api_key.c.epoch + int(ends_tokens),
    }
    change.connection.execute(update(api_key).where(api_key.c.id == new.key_id).values(values))
    record = find_listed_key(change.connection, new.key_id, new.user_id)
    change.record(audit)
    return record
