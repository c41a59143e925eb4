"""The installation: is the root key the right one, is set-up open."""

import hashlib

from keyturn.core.encoding import base64url_encode
from keyturn.errors import CannotStart
from keyturn.services.installation.vault import SealBroken, Vault, slot_of
from keyturn.store import Store
from keyturn.system import System

SETUP_CODE_BYTES = 24

ROOT_KEY_CHECK_SLOT = slot_of("installation", 1, "root_key_check")
"""The place of the one seal whose root key is the one that seals."""
ROOT_KEY_CHECK = b"keyturn"


class Installation:
    """Checks and set-up when the server starts."""

    def __init__(self, store: Store, vault: Vault, system: System) -> None:
        self._store = store
        self._vault = vault
        self._system = system

    def check_root_key(self) -> None:
        """Raise `CannotStart` unless a root key is the one that seals in this database (S2)."""
        if self._store.installation.find_root_key_check() is None:
            sealed = self._vault.seal(ROOT_KEY_CHECK, slot=ROOT_KEY_CHECK_SLOT)
            self._store.installation.begin(sealed, self._system.now())
        check = self._store.installation.find_root_key_check()
        try:
            self._vault.open(check or b"", slot=ROOT_KEY_CHECK_SLOT)
        except SealBroken:
            raise CannotStart(
                "The root key does not belong to this database: give the one that it was begun with, or last "
                "rotated to, since nothing that is encrypted in it opens with another."
            ) from None

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


def digest_setup_code(code: str) -> bytes:
    """Return what a set-up code is stored as."""
    return hashlib.sha256(b"setup " + code.strip().encode("utf-8", "surrogatepass")).digest()
