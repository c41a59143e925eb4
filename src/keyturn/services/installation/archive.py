"""The archive of a backup: a tar file that any program for tar opens.

manifest.json   what the backup is of, and when it was made
database        an SQLite database, or an archive of pg_dump in its custom format
root.key        the root keys, one a line, and only if they were asked for
SHA256SUMS      the digests of all files before it, as `sha256sum --check` reads them

It may be encrypted as a whole (`sealed_files`).
"""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from keyturn.errors import CannotStart, InvalidState
from keyturn.services.installation.sealed_files import DAMAGED, OpenedFile, is_sealed
from keyturn.services.installation.vault import Vault

MANIFEST, DATABASE, ROOT_KEYS, DIGESTS = "manifest.json", "database", "root.key", "SHA256SUMS"
_CHUNK = 1024 * 1024
_MAX_DIGESTS_BYTES = 4096


def write_archive(
    path: Path,
    *,
    texts: dict[str, bytes],
    database: Path,
    seconds: int,
    sealing: Callable[[IO[bytes]], IO[bytes]] | None = None,
) -> None:
    """Write a new archive, readable by its owner alone, that is on the disk when this returns.

    `texts` are the files beside the database, and `seconds` is the time that all files are said to be of,
    since 1970. `sealing` encrypts it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        if sealing is None:
            _write(opened, texts, database, seconds)
        else:
            with sealing(opened) as sealed:
                _write(sealed, texts, database, seconds)
        opened.flush()
        os.fsync(descriptor)


def _write(target: IO[bytes], texts: dict[str, bytes], database: Path, seconds: int) -> None:
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        digests = {DATABASE: _digest_of_file(database)}
        digests |= {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
        _add(archive, MANIFEST, texts[MANIFEST], seconds)
        member = _member(DATABASE, database.stat().st_size, seconds)
        with database.open("rb") as copy:
            archive.addfile(member, copy)
        for name in texts.keys() - {MANIFEST}:
            _add(archive, name, texts[name], seconds)
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
        _add(archive, DIGESTS, lines.encode(), seconds)


def check_archive(path: Path, vault: Vault | None = None) -> None:
    """Read an archive to its end; raise `InvalidState` unless its files are those of its digests.

    `vault` has the keys of an encrypted one. Raise `CannotStart` for one that they do not open.
    """
    found: dict[str, str] = {}
    written = b""
    try:
        with _opened(path, vault) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is None or member.name in found or written:
                    raise InvalidState(DAMAGED)
                if member.name == DIGESTS:
                    written = content.read(_MAX_DIGESTS_BYTES)
                else:
                    found[member.name] = _digest(content)
    except tarfile.TarError as error:
        raise InvalidState(DAMAGED) from error
    lines = written.decode(errors="replace").split("\n")
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines if line)}
    if not {MANIFEST, DATABASE} <= found.keys() or found != expected:
        raise InvalidState(DAMAGED)


def read_manifest(path: Path, vault: Vault | None) -> bytes:
    """Return the manifest of an archive that is read to its end; raise as `check_archive` does."""
    check_archive(path, vault)
    with _read(path, MANIFEST, vault) as manifest:
        return manifest.read()


def write_database(path: Path, file: Path, vault: Vault | None) -> None:
    """Write the copy of the database in a checked archive into a file."""
    with _read(path, DATABASE, vault) as copy, file.open("wb") as target:
        shutil.copyfileobj(copy, target, _CHUNK)


@contextmanager
def _read(path: Path, name: str, vault: Vault | None) -> Iterator[IO[bytes]]:
    with _opened(path, vault) as archive:
        for member in archive:
            if member.name == name and (content := archive.extractfile(member)) is not None:
                yield content
                return
    raise InvalidState(DAMAGED)


@contextmanager
def _opened(path: Path, vault: Vault | None) -> Iterator[tarfile.TarFile]:
    if not is_sealed(path):
        with tarfile.open(path, mode="r:") as archive:
            yield archive
        return
    if vault is None:
        raise CannotStart("The backup is encrypted: give its key in KEYTURN_BACKUP_KEY_FILE.")
    with path.open("rb") as source, io.BufferedReader(OpenedFile(source, vault)) as opened:
        with tarfile.open(fileobj=opened, mode="r|") as archive:
            yield archive
        while opened.read(_CHUNK):
            pass  # To the end: the last chunk says that nothing was cut off.


def _add(archive: tarfile.TarFile, name: str, text: bytes, seconds: int) -> None:
    archive.addfile(_member(name, len(text), seconds), io.BytesIO(text))


def _member(name: str, size: int, seconds: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, seconds, 0o600
    return member


def _digest_of_file(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _digest(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
