"""Rotation: a key gets a new secret, and keeps the former one for a while."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from keyturn.core.records import ApiKeyRecord, AuditEntry
from keyturn.errors import Conflict, CredentialRefused, Reason
from keyturn.store.api_keys import find_listed_key
from keyturn.store.database import Change, Database
from keyturn.store.schema import api_key, end_tokens, former_secret, past_rotation

RETRY_LIFE = timedelta(hours=24)
"""How long after a rotation the same idempotency key means that its answer was lost."""


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


class KeyRotation:
    """Gives keys new secrets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rotate(self, new: Rotation, audit: AuditEntry, *, retried: AuditEntry | None) -> ApiKeyRecord | None:
        """Give a living key its new secret; None, and nothing changes, if there is none that shows so.

        The secret before the former one ends at once. Without an overlap every token of the key ends too.
        With the idempotency key of the last rotation, whose answer was lost, the secret that nobody saw is
        replaced, and the former one goes on as it was: `retried` tells of that. Without it, raise `Conflict`.
        Raise `Conflict` also with that of a rotation before the last: others use what came after it.

        Raise `CredentialRefused` if the key that it is done with was revoked meanwhile.
        """
        with self._database.change() as change:
            connection = change.connection
            old = _lock(connection, new, audit.actor.key_id)
            if old is None:
                return None
            former_ends_at = _lost_rotation(connection, new)
            if former_ends_at is not None:
                if retried is None:
                    raise Conflict("This key was rotated already.")
                return _replace(change, new, retried, ends_tokens=former_ends_at <= new.at)
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
                )
            )
            return _replace(change, new, audit, ends_tokens=new.former_ends_at <= new.at)


def _lock(connection: Connection, new: Rotation, maker: int | None) -> Any:
    """Return the living key as it is, locked; None if there is none.

    The key that it is done with is locked too, in the order of ids: else two keys that rotate themselves or
    each other could wait for one another.
    """
    rows = connection.execute(
        select(
            api_key.c.id,
            api_key.c.user_id,
            api_key.c.digest,
            api_key.c.masked,
            api_key.c.expires_at,
            api_key.c.revoked_at,
        )
        .where(api_key.c.id.in_({new.key_id, new.key_id if maker is None else maker}))
        .order_by(api_key.c.id)
        .with_for_update()
    ).all()
    living = {row.id: row for row in rows if row.revoked_at is None}
    if maker is not None and maker not in living:
        raise CredentialRefused(Reason.REVOKED, key_id=maker, secret_matched=True)
    found = living.get(new.key_id)
    if found is None or found.user_id != new.user_id:
        return None
    return None if found.expires_at is not None and found.expires_at <= new.at else found


def _lost_rotation(connection: Connection, new: Rotation) -> datetime | None:
    """Return when the former secret ends if this is a retry of the rotation that made it former."""
    if new.idempotency_key is None:
        return None
    found: datetime | None = connection.execute(
        select(former_secret.c.ends_at).where(
            former_secret.c.key_id == new.key_id,
            former_secret.c.idempotency_key == new.idempotency_key,
            former_secret.c.replaced_at > new.at - RETRY_LIFE,
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
    """Write down that there was this rotation. None is dropped: by a clock that is ahead, all seem old."""
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
    values: dict[str, object] = {"digest": new.digest, "masked": new.masked}
    if ends_tokens:
        values["tokens_not_before"] = end_tokens(api_key.c.tokens_not_before, new.at)
    change.connection.execute(update(api_key).where(api_key.c.id == new.key_id).values(values))
    record = find_listed_key(change.connection, new.key_id, new.user_id)
    change.record(audit)
    return record
