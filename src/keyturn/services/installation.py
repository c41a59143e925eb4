"""The installation's own secrets: is the root key the right one, which keys sign, is set-up open."""

import msgspec

from keyturn.core.access_token import Algorithm, KeyRing, SigningKey, generate_signing_key
from keyturn.core.encoding import base64url_encode
from keyturn.core.records import AuditAction, AuditEntry, SigningKeyRecord
from keyturn.errors import CannotStart
from keyturn.services.accounts import digest_setup_code
from keyturn.services.audit import COMMAND_LINE
from keyturn.services.vault import SealBroken, Vault
from keyturn.store import Store
from keyturn.system import System

SETUP_CODE_BYTES = 24
KID_BYTES = 12

_ROOT_KEY_CHECK_PLACE = "installation/1/root_key_check"
_ROOT_KEY_CHECK = b"keyturn"


class Installation:
    """What is checked and made when the server starts."""

    def __init__(self, store: Store, vault: Vault, system: System) -> None:
        self._store = store
        self._vault = vault
        self._system = system

    def check_root_key(self) -> None:
        """Raise `CannotStart` unless the root key is the one that the database was begun with (S2)."""
        if self._store.installation.find_root_key_check() is None:
            sealed = self._vault.seal(_ROOT_KEY_CHECK, place=_ROOT_KEY_CHECK_PLACE)
            self._store.installation.begin(sealed, self._system.now())
        check = self._store.installation.find_root_key_check()
        try:
            self._vault.open(check or b"", place=_ROOT_KEY_CHECK_PLACE)
        except SealBroken:
            raise CannotStart(
                "The root key does not belong to this database: give the one that it was begun with, "
                "since nothing that is encrypted in it opens with another."
            ) from None

    def load_key_ring(self, algorithm: Algorithm) -> KeyRing:
        """Return the keys that sign and verify tokens, making the first one if there is none."""
        records = self._store.installation.list_signing_keys()
        if not any(record.algorithm == algorithm for record in records):
            self._add_signing_key(algorithm)
            records = self._store.installation.list_signing_keys()
        signing = next(record for record in records if record.algorithm == algorithm)
        others = [record for record in records if record.kid != signing.kid]
        return KeyRing.of(self._open(signing), [self._open(record) for record in others])

    def new_setup_code(self) -> str | None:
        """Return a fresh code for the set-up page, which voids an earlier one; None once there is a user."""
        if not self._store.installation.is_setup_open():
            return None
        code = base64url_encode(self._system.random_bytes(SETUP_CODE_BYTES)).decode("ascii")
        self._store.installation.set_setup_code(digest_setup_code(code))
        return code

    def is_setup_open(self) -> bool:
        """Return whether the set-up page still exists."""
        return self._store.installation.is_setup_open()

    def _add_signing_key(self, algorithm: Algorithm) -> None:
        kid = base64url_encode(self._system.random_bytes(KID_BYTES)).decode("ascii")
        jwk = generate_signing_key(algorithm, kid)
        sealed = self._vault.seal(msgspec.json.encode(jwk), place=_signing_key_place(kid))
        public_jwk = SigningKey.from_jwk(jwk).public_jwk()
        now = self._system.now()
        audit = AuditEntry(
            now,
            AuditAction.SIGNING_KEY_CREATED,
            COMMAND_LINE,
            "SIGNING_KEY",
            kid,
            details={"algorithm": algorithm},
        )
        self._store.installation.add_signing_key(
            SigningKeyRecord(kid, algorithm, sealed, now, public_jwk), audit
        )

    def _open(self, record: SigningKeyRecord) -> SigningKey:
        try:
            jwk = self._vault.open(record.sealed_jwk, place=_signing_key_place(record.kid))
        except SealBroken:
            raise CannotStart(
                f"The signing key {record.kid} does not open with this root key: its row was changed. "
                "Restore the table signing_key from a backup."
            ) from None
        key = SigningKey.from_jwk(msgspec.json.decode(jwk))
        if record.public_jwk is None:
            self._store.installation.set_public_jwk(record.kid, key.public_jwk())
        return key


def _signing_key_place(kid: str) -> str:
    return f"signing_key/{kid}/sealed_jwk"
