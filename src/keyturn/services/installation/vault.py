"""The vault: what must be read again is encrypted under a root key that is never in the database.

    version  root key id  nonce     wrapped data key   nonce     ciphertext and tag
    1 byte   8 bytes      12 bytes  48 bytes           12 bytes  …

Envelope encryption with AES-256-GCM: each secret has a data key of its own, and the root key wraps that,
so that a new root key rewrites 48 bytes a row. Both layers are bound to the slot of the secret (table,
row, column): a ciphertext moved to another row does not open (S1).
"""

import hashlib
import os
import shlex
import stat
import subprocess
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyturn.core.encoding import EncodingError, base64url_decode, base64url_encode
from keyturn.errors import CannotStart, KeyturnError
from keyturn.system import System

ROOT_KEY_BYTES = 32
COMMAND_TIMEOUT_SECONDS = 30

_VERSION = b"\x01"
_NONCE_BYTES = 12
_KEY_ID_BYTES = 8
_WRAPPED_BYTES = ROOT_KEY_BYTES + 16


class SealBroken(KeyturnError):
    """The ciphertext was not sealed with this root key for this slot, or was changed."""


class Vault:
    """Seals and opens secrets under one root key."""

    def __init__(self, root_key: bytes, system: System) -> None:
        if len(root_key) != ROOT_KEY_BYTES:
            raise ValueError("a root key has 32 bytes")
        self._root = AESGCM(root_key)
        self._key_id = hashlib.sha256(b"keyturn root key id" + root_key).digest()[:_KEY_ID_BYTES]
        self._system = system

    def seal(self, secret: bytes, *, slot: str) -> bytes:
        """Encrypt `secret` for the one slot (`table/row/column`) where it will be stored."""
        data_key = self._system.random_bytes(ROOT_KEY_BYTES)
        outer, inner = self._system.random_bytes(_NONCE_BYTES), self._system.random_bytes(_NONCE_BYTES)
        bound_to = self._bound_to(slot)
        wrapped = self._root.encrypt(outer, data_key, bound_to)
        sealed = AESGCM(data_key).encrypt(inner, secret, bound_to)
        return _VERSION + self._key_id + outer + wrapped + inner + sealed

    def open(self, sealed: bytes, *, slot: str) -> bytes:
        """Decrypt; raise `SealBroken` for another root key, another slot, or a changed byte."""
        head = _VERSION + self._key_id
        if not sealed.startswith(head):
            raise SealBroken("sealed with another root key")
        outer, rest = _split(sealed[len(head) :], _NONCE_BYTES)
        wrapped, rest = _split(rest, _WRAPPED_BYTES)
        inner, ciphertext = _split(rest, _NONCE_BYTES)
        try:
            data_key = self._root.decrypt(outer, wrapped, self._bound_to(slot))
            return AESGCM(data_key).decrypt(inner, ciphertext, self._bound_to(slot))
        except (InvalidTag, ValueError) as error:
            raise SealBroken("changed, or sealed for another slot") from error

    def _bound_to(self, slot: str) -> bytes:
        return _VERSION + self._key_id + slot.encode()


def read_root_key(*, file: Path | None, command: str | None, may_create: bool, system: System) -> bytes:
    """Return the root key from its file or the command that prints it.

    With `may_create` a missing file is made, mode 0600. Raise `CannotStart` saying what to do for
    anything else: there is no default key (S2).
    """
    if command is not None:
        return _decode(_run(command), source="what KEYTURN_ROOT_KEY_COMMAND prints")
    if file is None:
        raise CannotStart(
            "With PostgreSQL the root key must be given: set KEYTURN_ROOT_KEY_FILE to a file, the same on "
            "all nodes, made with `umask 077; keyturn admin root-key > root.key`."
        )
    if may_create and not file.exists():
        _create(file, system)
    try:
        # Not blocking: the file could be a pipe that nobody writes to.
        opened = os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise CannotStart(
            f"The root key file {file} cannot be read ({error.strerror}): restore it from where you keep it; "
            "without it nothing that is encrypted in the database can be opened."
        ) from error
    with opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CannotStart(f"The root key file {file} is not a file: name the file that holds the key.")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise CannotStart(f"Other users can read the root key file {file}: run chmod 600 {file}.")
        return _decode(opened.read(256), source=f"the root key file {file}")


def new_root_key(system: System) -> str:
    """Return a new root key as the text that its file holds."""
    return base64url_encode(system.random_bytes(ROOT_KEY_BYTES)).decode("ascii") + "\n"


def _create(file: Path, system: System) -> None:
    """Write a root key so that the file is there whole or not at all, also after a power cut."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{system.random_bytes(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(new_root_key(system))
        opened.flush()
        os.fsync(opened.fileno())
    try:
        os.link(draft, file)  # Unlike a rename this never replaces a key that another process just made.
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _run(command: str) -> bytes:
    try:
        program, *arguments = shlex.split(command)
        done = subprocess.run(  # noqa: S603 - the operator's own command, split without a shell
            [program, *arguments], capture_output=True, timeout=COMMAND_TIMEOUT_SECONDS, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise CannotStart(
            f"KEYTURN_ROOT_KEY_COMMAND failed ({type(error).__name__}): run it by hand to see why."
        ) from None
    return done.stdout


def _decode(text: bytes, *, source: str) -> bytes:
    try:
        key = base64url_decode(text.strip())
    except EncodingError:
        key = b""
    if len(key) != ROOT_KEY_BYTES:
        raise CannotStart(
            f"There is no root key in {source}: it must be 32 bytes as base64url without padding."
        )
    return key


def _split(data: bytes, length: int) -> tuple[bytes, bytes]:
    return data[:length], data[length:]
