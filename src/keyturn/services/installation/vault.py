"""The vault: what must be read again is encrypted under a root key that is never in the database.

    version  root key id  nonce     wrapped data key   nonce     ciphertext and tag
    1 byte   8 bytes      12 bytes  48 bytes           12 bytes  …

Envelope encryption with AES-256-GCM: each secret has a data key of its own, and the root key wraps that.
Both layers are bound to the root key and to the slot of the secret (table, row, column): a ciphertext moved
to another row does not open (S1). Under a new root key a secret gets a new data key too, since whoever had
the former one may have read the data key.

There may be several root keys: all open, and the one that the database names seals.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyturn.core.seals import HEAD_BYTES, head_of
from keyturn.errors import CannotStart, KeyturnError
from keyturn.services.installation.root_keys import ROOT_KEY_BYTES
from keyturn.system import System

REREAD_SECONDS = 5.0
"""Rows of one unknown root key ask for it again, but not at each request: a command is slow."""

_VERSION = b"\x01"
_NONCE_BYTES = 12
TAG_BYTES = 16
_KEY_ID_BYTES = HEAD_BYTES - len(_VERSION)
_WRAPPED_BYTES = ROOT_KEY_BYTES + TAG_BYTES


class SealBroken(KeyturnError):
    """The ciphertext was not sealed under these root keys for this slot, or was changed."""


class Vault:
    """Seals and opens secrets under the root keys of an installation."""

    def __init__(
        self,
        read: Callable[[], Sequence[bytes]],
        system: System,
        *,
        find_check: Callable[[], bytes | None],
    ) -> None:
        """Take the root keys that `read` returns, the newest first.

        `find_check` returns a seal of the root key that seals now; None before the first one. Raise what
        `read` raises.
        """
        self._read = read
        self._system = system
        self._find_check = find_check
        self._roots: dict[bytes, AESGCM] = {}
        self._missing_until: dict[bytes, float] = {}
        self._looking = threading.Lock()
        self.read_again()

    def read_again(self) -> None:
        """Learn the root keys that there are now.

        Those of before still open: a row may have been read just before its seal was renewed.
        """
        given = {head_under(key): AESGCM(key) for key in self._read()}
        self._newest = next(iter(given))
        self._roots.update(given)

    def seal(self, secret: bytes, *, slot: str) -> bytes:
        """Encrypt `secret` for the one slot where it will be stored.

        Raise `CannotStart` if the root key that seals now is not given here.
        """
        check = self._find_check()
        head = self._newest if check is None else head_of(check)
        try:
            return self.seal_under(head, secret, slot=slot)
        except SealBroken:
            raise CannotStart(
                f"The root key {key_id_of(head)}, which encrypts now, is not given here: add it to the file, "
                "or to what the command prints."
            ) from None

    def seal_under(self, head: bytes, secret: bytes, *, slot: str) -> bytes:
        """Encrypt under the root key whose seals begin with `head`; raise `SealBroken` without it."""
        root = self._root_of(head)
        data_key = self._system.random_bytes(ROOT_KEY_BYTES)
        outer, inner = self._system.random_bytes(_NONCE_BYTES), self._system.random_bytes(_NONCE_BYTES)
        bound_to = head + slot.encode()
        wrapped = root.encrypt(outer, data_key, bound_to)
        return head + outer + wrapped + inner + AESGCM(data_key).encrypt(inner, secret, bound_to)

    def open(self, seal: bytes, *, slot: str) -> bytes:
        """Decrypt; raise `SealBroken` for an unknown root key, another slot, or a changed byte."""
        head = head_of(seal)
        root = self._root_of(head)
        outer, rest = _split(seal[HEAD_BYTES:], _NONCE_BYTES)
        wrapped, rest = _split(rest, _WRAPPED_BYTES)
        inner, ciphertext = _split(rest, _NONCE_BYTES)
        bound_to = head + slot.encode()
        try:
            data_key = root.decrypt(outer, wrapped, bound_to)
            return AESGCM(data_key).decrypt(inner, ciphertext, bound_to)
        except (InvalidTag, ValueError) as error:
            raise SealBroken("it was changed, or moved from another row") from error

    def _root_of(self, head: bytes) -> AESGCM:
        """Return the root key of a head. One that is unknown may have come since they were read."""
        if head not in self._roots:
            with self._looking:  # Others wait for what one finds.
                self._look_for(head)
        if head not in self._roots:
            raise SealBroken(f"it is encrypted under the root key {key_id_of(head)}, which is not given")
        return self._roots[head]

    def _look_for(self, head: bytes) -> None:
        now = self._system.monotonic()
        if head in self._roots or now < self._missing_until.get(head, now):
            return
        try:
            self.read_again()
        except CannotStart:
            raise SealBroken("its root key is unknown, and the root keys cannot be read now") from None
        finally:
            self._missing_until[head] = now + REREAD_SECONDS


class ChunkCipher:
    """Encrypts the chunks of one file under a key that no other file has."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, chunk: bytes, *, number: int, is_last: bool) -> bytes:
        """Encrypt the chunk of this number, which is asked for once."""
        return self._cipher.encrypt(_nonce(number, is_last=is_last), chunk, None)

    def open(self, sealed: bytes, *, number: int, is_last: bool) -> bytes:
        """Decrypt; raise `SealBroken` for a changed chunk, or one of another place."""
        try:
            return self._cipher.decrypt(_nonce(number, is_last=is_last), sealed, None)
        except (InvalidTag, ValueError) as error:
            raise SealBroken("it was changed, or moved from another place") from error


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NONCE_BYTES - 1, "big") + bytes([is_last])


def slot_of(table: str, row: str | int, column: str) -> str:
    """Return the associated data of a secret: the one place where it opens (S1)."""
    return f"{table}/{row}/{column}"


def key_id_of(seal: bytes) -> str:
    """Return the id of the root key of a seal, or of its head, as people read it."""
    return head_of(seal)[len(_VERSION) :].hex()


def head_under(root_key: bytes) -> bytes:
    """Return the head of every seal under a root key."""
    if len(root_key) != ROOT_KEY_BYTES:
        raise ValueError("a root key has 32 bytes")
    return _VERSION + hashlib.sha256(b"keyturn root key id" + root_key).digest()[:_KEY_ID_BYTES]


def _split(data: bytes, length: int) -> tuple[bytes, bytes]:
    return data[:length], data[length:]
