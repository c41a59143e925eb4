"""The keys that sign and verify tokens, and how they follow each other.

    published ──► signs ──► verifies only ──► gone
    lead time     until     as long as its    the private half is deleted
                  the next  last token lives
                  one does

A key is published for a while before it signs, so that whoever caches the JWKS has it by then, and verifies
for as long as a token of it can live (requirement T13). Every process composes the ring for its own time,
and reads the keys anew when it learns that they changed.
"""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from keyturn.core.access_token import (
    CLOCK_SKEW,
    KeyRing,
    SigningKey,
    VerifyingKey,
    VerifyingRing,
    generate_signing_key,
)
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.checkpoints import Checkpoint, sign_checkpoint
from keyturn.core.encoding import base64url_encode
from keyturn.core.jwk import Algorithm
from keyturn.core.records import SigningKeyRecord
from keyturn.errors import CannotStart
from keyturn.services.installation.vault import SealBroken, Vault, slot_of
from keyturn.store import Store
from keyturn.store.tokens.signing_keys import LONG_AGO
from keyturn.system import System
from keyturn.verifying.origin import COMMAND_LINE

KID_BYTES = 12
JWKS_MAX_AGE = timedelta(minutes=5)
"""How long others may keep our public keys, and so the least time between publishing a key and signing."""
LEAD = 2 * JWKS_MAX_AGE
TARGET = Target.SIGNING_KEY
"""The target of signing keys in the audit log."""


class VerifyingKeys:
    """The public keys, for a process that only verifies."""

    def __init__(self, store: Store, system: System) -> None:
        self._store = store
        self._system = system
        self._ring: VerifyingRing | None = None
        self._good_until = 0.0
        self._generation = 0
        self._lock = threading.Lock()

    @property
    def ring(self) -> VerifyingRing:
        """The ring of this moment."""
        ring = self._ring
        if ring is None or self._system.timestamp() >= self._good_until:
            ring = self._compose()
        return ring

    def forget(self) -> None:
        """Read the keys anew before they are next used: they may have changed."""
        with self._lock:
            self._generation += 1
            self._ring = None

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set of this moment (RFC 7517, section 5)."""
        return self.ring.jwks()

    def _compose(self) -> VerifyingRing:
        """Read the keys and make the ring, good until the next of them begins or ends."""
        since, now = self._generation, self._system.now()
        records = self._store.signing_keys.list_verifying(now)
        moments = [
            moment
            for record in records
            for moment in (record.signs_from, record.verifies_until)
            if moment is not None and moment > now
        ]
        ring = self._ring_of(records, now)
        with self._lock:
            if since == self._generation:  # Nothing changed while the database was asked (R4).
                self._good_until = min(moments).timestamp() if moments else float("inf")
                self._ring = ring
        return ring

    def _ring_of(self, records: Sequence[SigningKeyRecord], _now: datetime) -> VerifyingRing:
        if not records or any(record.public_jwk is None for record in records):
            raise CannotStart("No server has run on this database yet: start `keyturn serve` on it once.")
        return VerifyingRing.of_keys(
            [VerifyingKey.from_jwk(dict(record.public_jwk)) for record in records if record.public_jwk]
        )


class SigningKeys(VerifyingKeys):
    """The private keys too, for a server."""

    def __init__(
        self, store: Store, vault: Vault, *, algorithm: Algorithm, token_life: timedelta, system: System
    ) -> None:
        super().__init__(store, system)
        self._vault = vault
        self._algorithm = algorithm
        self._token_life = token_life

    @property
    def ring(self) -> KeyRing:
        """The ring of this moment."""
        ring = super().ring
        assert isinstance(ring, KeyRing), "a server signs"  # noqa: S101 - for the type checker
        return ring

    def make_first(self) -> None:
        """Make the key that signs, if there is none."""
        now = self._system.now()
        if not any(one.verifies_until is None for one in self._store.signing_keys.list_verifying(now)):
            record = self.new_record(now)
            self._store.signing_keys.add_first(record, self._creation(record, COMMAND_LINE))
        self.forget()

    def follow_algorithm(self, *, lead: timedelta = LEAD) -> None:
        """Rotate if another algorithm was chosen: keys of any other end as a rotation ends them."""
        now = self._system.now()
        last = [one for one in self._store.signing_keys.list_verifying(now) if one.verifies_until is None]
        if all(one.algorithm == self._algorithm for one in last):
            return
        record = self.new_record(now + lead)
        self._store.signing_keys.change_algorithm(
            record,
            self._creation(record, COMMAND_LINE),
            AuditEntry(now, AuditAction.SIGNING_KEYS_RETIRED, COMMAND_LINE, TARGET, None),
            grace=self._token_life + CLOCK_SKEW,
        )
        self.forget()

    def rotate(self, actor: Actor, *, lead: timedelta = LEAD) -> SigningKeyRecord:
        """Publish a key that signs after `lead`; the present ones verify until their last token has ended."""
        now = self._system.now()
        record = self.new_record(now + lead)
        self._store.signing_keys.add_next(
            record,
            self._creation(record, actor),
            others_verify_until=record.signs_from + self._token_life + CLOCK_SKEW,
        )
        self._retire(now, actor)
        self.forget()
        return record

    def replace_at_once(self, actor: Actor) -> SigningKeyRecord:
        """Sign with a new key from now on, and accept no token of any other: for when a key has leaked."""
        now = self._system.now()
        record = self.new_record(now)
        audit = AuditEntry(now, AuditAction.SIGNING_KEYS_RETIRED, actor, TARGET, record.kid)
        self._store.signing_keys.add_next(record, audit, others_verify_until=LONG_AGO)
        self._retire(now, actor)
        self.forget()
        return record

    def sign_checkpoint(self, checkpoint: Checkpoint) -> str:
        """Sign the checkpoint of an archive of the audit log."""
        return sign_checkpoint(checkpoint, self.ring.signing)

    def list_all(self) -> list[SigningKeyRecord]:
        """Return the keys whose tokens may still live, the one that signs last first."""
        return self._store.signing_keys.list_verifying(self._system.now())

    def _ring_of(self, records: Sequence[SigningKeyRecord], now: datetime) -> KeyRing:
        keys = {record.kid: self._open(record) for record in records if record.sealed_jwk is not None}
        able = [record for record in records if record.kid in keys]
        # By a clock that is behind that of the node which made the only key, none has begun to sign.
        begun = [record for record in able if record.signs_from <= now] or able[-1:]
        # One that no other follows, if it has begun: a rotation may overtake one that still waits.
        signing = min(begun, key=lambda record: record.verifies_until is not None)
        return KeyRing.of(keys[signing.kid], [key for kid, key in keys.items() if kid != signing.kid])

    def _retire(self, now: datetime, actor: Actor) -> None:
        audit = AuditEntry(now, AuditAction.SIGNING_KEYS_RETIRED, actor, TARGET, None)
        self._store.signing_keys.retire(now, audit)

    def new_record(self, signs_from: datetime) -> SigningKeyRecord:
        """Return a new key, sealed, which is not stored yet."""
        kid = base64url_encode(self._system.random_bytes(KID_BYTES)).decode("ascii")
        jwk = generate_signing_key(self._algorithm, kid)
        return SigningKeyRecord(
            kid=kid,
            algorithm=self._algorithm,
            sealed_jwk=self._vault.seal(msgspec.json.encode(jwk), slot=_slot(kid)),
            created_at=self._system.now(),
            signs_from=signs_from,
            public_jwk=SigningKey.from_jwk(jwk).public_jwk(),
        )

    def _creation(self, record: SigningKeyRecord, actor: Actor) -> AuditEntry:
        details: Mapping[str, Any] = {
            "algorithm": record.algorithm,
            "signsFrom": record.signs_from.isoformat(),
        }
        return AuditEntry(
            record.created_at, AuditAction.SIGNING_KEY_CREATED, actor, TARGET, record.kid, details=details
        )

    def _open(self, record: SigningKeyRecord) -> SigningKey:
        try:
            jwk = self._vault.open(record.sealed_jwk or b"", slot=_slot(record.kid))
        except SealBroken as error:
            raise CannotStart(
                f"The signing key {record.kid} does not open: {error}. Run `keyturn admin check`."
            ) from None
        key = SigningKey.from_jwk(msgspec.json.decode(jwk))
        if record.public_jwk is None:
            self._store.signing_keys.set_public_jwk(record.kid, key.public_jwk())
        return key


def _slot(kid: str) -> str:
    return slot_of("signing_key", kid, "sealed_jwk")
