"""Backups: a copy of the database in one file, which is there whole and verified, or not at all.

    .keyturn-backup.next/database    the copy, which is read back before anything is said of it
    .keyturn-backup.next/archive     the backup, flushed and read back
    keyturn-TIME.backup              the same file under its name

A backup that was killed leaves the draft folder alone, and the next one removes it.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from keyturn.core.encoding import base64url_encode
from keyturn.core.times import wire_time
from keyturn.errors import CannotStart, Conflict, NotFound, StoreUnavailable
from keyturn.services.installation.archive import DATABASE, MANIFEST, ROOT_KEYS, check_archive, write_archive
from keyturn.services.installation.root_key_rotation import Seals
from keyturn.services.installation.sealed_files import SealingFile
from keyturn.services.installation.vault import Vault, key_id_of
from keyturn.store import Store
from keyturn.store.installation.contents import Contents, OnProgress
from keyturn.system import System

FORMAT = 1
"""Is raised with every change of an archive that an older program cannot read."""
_DRAFT = ".keyturn-backup.next"
_NAME = re.compile(r"keyturn-\d{8}T\d{6}Z\.backup")


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is there."""

    path: Path
    size: int
    manifest: dict[str, Any]
    """The content of its manifest.json."""


class Backups:
    """Makes backups of one installation, while its servers run."""

    def __init__(
        self,
        store: Store,
        seals: Seals,
        *,
        read_root_keys: Callable[[], Sequence[bytes]],
        vault: Vault | None,
        system: System,
    ) -> None:
        """Encrypt backups with the keys of `vault`, if it is given."""
        self._vault = vault
        self._store = store
        self._seals = seals
        self._read_root_keys = read_root_keys
        self._system = system

    def make(self, folder: Path, on_progress: OnProgress, *, version: str, with_root_key: bool) -> Backup:
        """Write a backup into a folder and return it; it is verified and on the disk then.

        `version` is that of this program, which the backup names.

        Raise `CannotStart` where the folder cannot be written, `Conflict` while another backup is made there
        or its name is taken, and `StoreUnavailable` if the copy cannot be made or is not whole. Nothing is
        left in these cases.
        """
        with _told_failures(folder), _drafted(folder) as draft:
            at = self._system.now()
            path = folder / f"keyturn-{at:%Y%m%dT%H%M%SZ}.backup"
            if path.exists():
                raise Conflict(f"The backup {path} is there already: try again in a second.")
            contents = self._copy(draft / DATABASE, on_progress)
            manifest = self._manifest(contents, at, version)
            texts = {MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}
            if with_root_key:
                texts[ROOT_KEYS] = b"".join(base64url_encode(key) + b"\n" for key in self._read_root_keys())
            archive = draft / "archive"
            write_archive(
                archive,
                texts=texts,
                database=draft / DATABASE,
                seconds=int(at.timestamp()),
                sealing=None if self._vault is None else partial(_sealing, self._vault, self._system),
            )
            check_archive(archive, self._vault)
            archive.replace(path)
            _sync(folder)
        return Backup(path, path.stat().st_size, manifest)

    def _copy(self, file: Path, on_progress: OnProgress) -> Contents:
        """Copy the database, and compare all of the copy with what was there; return its contents."""
        written = self._store.copies.write(file, on_progress)
        copied = self._store.copies.read(file)
        if copied != written:
            raise StoreUnavailable("the copy is not whole: it has other rows than the database")
        for broken in self._seals.find_broken_of(copied.seals):
            raise StoreUnavailable(f"the copy cannot be trusted: {str(broken).removesuffix('.')}")
        return copied

    def _manifest(self, contents: Contents, at: datetime, version: str) -> dict[str, Any]:
        check = next(row.seal for row in contents.seals if row.table == "installation")
        return {
            "format": FORMAT,
            "product": "keyturn",
            "version": version,
            "createdAt": wire_time(at),
            "database": self._store.copies.kind,
            "schema": contents.schema,
            "revision": contents.revision,
            "rootKeyId": key_id_of(check),
            "counts": contents.counts,
        }


def _sealing(vault: Vault, system: System, target: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", SealingFile(target, vault, system))


def newest_backup(folder: Path) -> Path:
    """Return the newest backup in a folder; raise `NotFound` if there is none."""
    names = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    if not names:
        raise NotFound(f"There is no backup in {folder}.")
    return names[-1]


def prune_backups(folder: Path, *, keep: int) -> list[Path]:
    """Delete all backups of a folder but the newest `keep`; return the deleted ones, the oldest first."""
    with _told_failures(folder):
        backups = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
        former = backups[: max(0, len(backups) - keep)]
        for path in former:
            path.unlink()
        _sync(folder)
    return former


@contextmanager
def _drafted(folder: Path) -> Iterator[Path]:
    """Give a folder for drafts, which is removed in the end; one at a time.

    The draft of a backup that was killed is removed before.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft = folder / _DRAFT
        _remove(draft)
        draft.mkdir(mode=0o700)
        try:
            yield draft.resolve()
        finally:
            _remove(draft)
    except BlockingIOError:
        raise Conflict(
            f"Another backup is written into {folder}, or a root key there is rotated: try again later."
        ) from None
    finally:
        os.close(descriptor)


def _remove(draft: Path) -> None:
    if draft.is_symlink() or draft.exists():
        shutil.rmtree(draft)


@contextmanager
def _told_failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"The backup cannot be written into {folder} ({error.strerror}): name a folder that is there, "
            "that this user may write, and that has room for twice the database."
        ) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
