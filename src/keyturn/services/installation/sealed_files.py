"""Encrypted files: a head, and chunks that open in their order alone.

    head           "keyturn-backup-1" and a new line
    file key       sealed under the key of backups (`vault`), for this one file
    chunk 0 …      64 KiB each, and a tag; the last one is shorter, and may be empty

The nonce of a chunk is its number, and whether it is the last (STREAM: Hoang, Reyhanitabar, Rogaway and
Vizár, 2015): a chunk that is left out, repeated, moved or cut off is found, and so is one of another file.
"""

import io
from pathlib import Path
from typing import IO

from keyturn.errors import CannotStart, InvalidState
from keyturn.services.installation.vault import TAG_BYTES, ChunkCipher, SealBroken, Vault
from keyturn.system import System

HEAD = b"keyturn-backup-1\n"
CHUNK_BYTES = 64 * 1024
_SLOT = "backup"
_KEY_BYTES = 32
_SEAL_BYTES = 129


class SealingFile(io.RawIOBase):
    """Encrypts what is written into another file. `close` writes the last chunk, and leaves that one open."""

    def __init__(self, target: IO[bytes], vault: Vault, system: System) -> None:
        self._target = target
        key = system.random_bytes(_KEY_BYTES)
        self._cipher = ChunkCipher(key)
        self._number = 0
        self._rest = bytearray()
        target.write(HEAD + vault.seal(key, slot=_SLOT))

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def write(self, data: object) -> int:
        """Encrypt whole chunks, but for the last one."""
        self._rest += data  # type: ignore[arg-type]  # bytes, as callers of a file have them
        while len(self._rest) > CHUNK_BYTES:
            self._put(bytes(self._rest[:CHUNK_BYTES]), is_last=False)
            del self._rest[:CHUNK_BYTES]
        return len(data)  # type: ignore[arg-type]  # as above

    def close(self) -> None:
        """Write the last chunk."""
        if not self.closed:
            self._put(bytes(self._rest), is_last=True)
        super().close()

    def _put(self, chunk: bytes, *, is_last: bool) -> None:
        self._target.write(self._cipher.seal(chunk, number=self._number, is_last=is_last))
        self._number += 1


class OpenedFile(io.RawIOBase):
    """Reads an encrypted file. Raises `InvalidState` where it was changed or cut off."""

    def __init__(self, source: IO[bytes], vault: Vault) -> None:
        """Read the key; raise `CannotStart` if it does not open with the keys that are given."""
        self._source = source
        if source.read(len(HEAD)) != HEAD:
            raise InvalidState(DAMAGED)
        try:
            self._cipher = ChunkCipher(vault.open(source.read(_SEAL_BYTES), slot=_SLOT))
        except SealBroken as error:
            raise CannotStart(
                f"The backup cannot be decrypted: {error}. Give its key in KEYTURN_BACKUP_KEY_FILE."
            ) from None
        self._number = 0
        self._chunk = b""
        self._next = source.read(CHUNK_BYTES + TAG_BYTES)
        if not self._next:
            raise InvalidState(DAMAGED)

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: object) -> int:
        """Decrypt as much as there is of one chunk; 0 after the last one."""
        view = memoryview(buffer)  # type: ignore[arg-type]  # a buffer, as callers of a file have it
        while not self._chunk and self._next:
            self._open()
        part = self._chunk[: len(view)]
        view[: len(part)] = part
        self._chunk = self._chunk[len(part) :]
        return len(part)

    def _open(self) -> None:
        chunk, self._next = self._next, self._source.read(CHUNK_BYTES + TAG_BYTES)
        try:
            self._chunk = self._cipher.open(chunk, number=self._number, is_last=not self._next)
        except SealBroken:
            raise InvalidState(DAMAGED) from None
        self._number += 1


def is_sealed(path: Path) -> bool:
    """Return whether a file begins as an encrypted one."""
    with path.open("rb") as opened:
        return opened.read(len(HEAD)) == HEAD


DAMAGED = "The backup is damaged: its files are not those that were written into it."
