"""The archive of a backup: a tar file that any program for tar opens.

manifest.json   what the backup is of, and when it was made
database        an SQLite database, or an archive of pg_dump in its custom format
root.key        the root keys, one a line, and only if they were asked for
SHA256SUMS      the digests of all files before it, as `sha256sum --check` reads them
"""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from keyturn.errors import InvalidState

MANIFEST, DATABASE, ROOT_KEYS, DIGESTS = "manifest.json", "database", "root.key", "SHA256SUMS"
_CHUNK = 1024 * 1024
_MAX_DIGESTS_BYTES = 4096


def write_archive(path: Path, *, texts: dict[str, bytes], database: Path, seconds: int) -> None:
    """Write a new archive, readable by its owner alone, that is on the disk when this returns.

    `texts` are the files beside the database, and `seconds` is the time that all files are said to be of,
    since 1970.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        with tarfile.open(fileobj=opened, mode="w", format=tarfile.PAX_FORMAT) as archive:
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
        opened.flush()
        os.fsync(descriptor)


def check_archive(path: Path) -> None:
    """Read an archive to its end; raise `InvalidState` unless its files are those of its digests."""
    found: dict[str, str] = {}
    written = b""
    try:
        with tarfile.open(path, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is None or member.name in found or written:
                    raise InvalidState(_DAMAGED)
                if member.name == DIGESTS:
                    written = content.read(_MAX_DIGESTS_BYTES)
                else:
                    found[member.name] = _digest(content)
    except tarfile.TarError as error:
        raise InvalidState(_DAMAGED) from error
    lines = written.decode(errors="replace").split("\n")
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines if line)}
    if not {MANIFEST, DATABASE} <= found.keys() or found != expected:
        raise InvalidState(_DAMAGED)


def read_manifest(path: Path) -> bytes:
    """Return the manifest of an archive that is read to its end; raise as `check_archive` does."""
    check_archive(path)
    with _read(path, MANIFEST) as manifest:
        return manifest.read()


def write_database(path: Path, file: Path) -> None:
    """Write the copy of the database in a checked archive into a file."""
    with _read(path, DATABASE) as copy, file.open("wb") as target:
        shutil.copyfileobj(copy, target, _CHUNK)


@contextmanager
def _read(path: Path, name: str) -> Iterator[IO[bytes]]:
    with tarfile.open(path, mode="r:") as archive:
        content = archive.extractfile(name)
        if content is None:
            raise InvalidState(_DAMAGED)
        yield content


_DAMAGED = "The backup is damaged: its files are not those that were written into it."


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
