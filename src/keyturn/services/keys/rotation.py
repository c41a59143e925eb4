"""Rotation: a key keeps its id, name, limits and expiry, and gets a new secret."""

from datetime import datetime, timedelta

from keyturn.core import api_key as core
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.principal import AuthMethod, Principal
from keyturn.core.records import ApiKeyRecord, KeyState
from keyturn.errors import Conflict, InvalidInput, NotFound
from keyturn.services.keys.keys import CreatedKey, Keys, digest_idempotency_key
from keyturn.store import Store
from keyturn.store.keys.rotation import Rotation
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

MAX_OVERLAP = timedelta(hours=24)
"""How long a former secret may go on at most (K10)."""


class KeyRotation:
    """Gives a person's own keys new secrets."""

    def __init__(self, store: Store, *, keys: Keys, key_format: core.ApiKeyFormat, system: System) -> None:
        self._store = store
        self._keys = keys
        self._format = key_format
        self._system = system

    def rotate_own(
        self,
        principal: Principal,
        key_id: int,
        origin: Origin,
        *,
        overlap: timedelta,
        idempotency_key: str | None = None,
        replaces_on_retry: bool = True,
    ) -> CreatedKey:
        """Give one of the caller's living keys a new secret; the one it had works for `overlap` more.

        Without an overlap the former secret, and every token that was made from the key, end at once. A
        secret from before the former one ends in any case.

        A key is rotated with its own secret, or by its owner who proved to know the password, in a browser
        or for a token: whatever else would win a secret that outlives it (A3).

        Raise `NotFound` for a key that is another's, and for any but its own with a credential that is
        narrowed; `Conflict` for a dead key, and with a token of a key, another key, or a former secret. With
        the `idempotency_key` of the last rotation its answer was lost: the secret in it is replaced; or,
        without `replaces_on_retry`, `Conflict` is raised. With that of a rotation before it, `Conflict` is
        raised. The former secret, which may be the only one that its holder knows, can retry its rotation for
        `FORMER_RETRY_LIFE`, and does nothing else here.
        """
        if not timedelta(0) <= overlap <= MAX_OVERLAP:
            seconds = int(MAX_OVERLAP.total_seconds())
            raise InvalidInput("overlapSeconds", f"The overlap is 0 to {seconds} seconds.")
        if not principal.is_unbound and principal.key_id != key_id:
            raise NotFound
        record, now = self._keys.get_own(principal, key_id), self._system.now()
        if record.state(now) is not KeyState.ACTIVE:
            raise Conflict("This key has ended: make a new one.")
        if self._store.system_keys.find_by_id(key_id) is not None:  # Its secret is kept, to be had again.
            raise Conflict("This is a system key: get it with regenerate instead.")
        _check_may_rotate(principal, key_id)
        self._keys.quotas.note_creation(principal)
        return self._rotate(
            record, now + overlap, now, actor_of(principal, origin), idempotency_key, replaces_on_retry
        )

    def _rotate(
        self,
        record: ApiKeyRecord,
        former_ends_at: datetime,
        now: datetime,
        actor: Actor,
        idempotency_key: str | None,
        replaces_on_retry: bool,
    ) -> CreatedKey:
        new = self._format.make_api_key(self._system.random_bytes(core.RANDOM_BYTES))
        details = {"name": record.name, "userId": record.user_id}
        rotated = AuditEntry(
            now,
            AuditAction.API_KEY_ROTATED,
            actor,
            Target.API_KEY,
            str(record.key_id),
            details={**details, "overlapSeconds": int((former_ends_at - now).total_seconds())},
        )
        replaced = AuditEntry(
            now, AuditAction.API_KEY_REPLACED, actor, Target.API_KEY, str(record.key_id), details=details
        )
        stored = self._store.key_rotation.rotate(
            Rotation(
                key_id=record.key_id,
                user_id=record.user_id,
                digest=new.digest,
                masked=core.mask(self._format.prefix, new.public_id, new.last_characters),
                seen_masked=record.masked,
                at=now,
                former_ends_at=former_ends_at,
                idempotency_key=digest_idempotency_key(idempotency_key),
                is_by_former_secret=actor.principal is not None
                and actor.principal.credential.is_former_secret,
            ),
            rotated,
            retried=replaced if replaces_on_retry else None,
        )
        if stored is None:
            raise Conflict("This key was rotated or revoked by somebody else just now: look at it again.")
        return CreatedKey(stored, new.text)


def _check_may_rotate(principal: Principal, key_id: int) -> None:
    """Raise `Conflict` unless the credential is the key itself, or comes from a password."""
    if principal.key_id is None or (principal.method is AuthMethod.API_KEY and principal.key_id == key_id):
        return
    raise Conflict(
        "A key is rotated with itself, on its page, or with a token that was given for a password: a token "
        "of a key, or another key, would win a secret that outlives it."
    )
