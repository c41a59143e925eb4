"""Restores: a backup takes the place of the database, and what was revoked since stays revoked (R7, U5).

    backup ──► restored beside ──► what ended since ──► a new epoch ──► in its place
               the database        ends there           begins          at once

The database that is replaced tells what ended; on SQLite, where that is lost, the log of revocations does;
and where neither tells, somebody decides. The new epoch ends all tokens, sessions and links.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.errors import CannotStart, InvalidState, NotFound
from keyturn.services.installation.archive import read_manifest, write_database
from keyturn.services.installation.backup import FORMAT, newest_backup
from keyturn.services.installation.root_key_rotation import find_broken
from keyturn.services.installation.vault import Vault, head_under, key_id_of
from keyturn.store.installation.carrying import Carried
from keyturn.store.installation.restoring import Restoring
from keyturn.store.installation.staging import Staged
from keyturn.system import System
from keyturn.verifying.origin import COMMAND_LINE

MAX_TOLD = 500
"""Keys that are named one by one."""


class Source(StrEnum):
    """Where it was learned what ended since the backup."""

    DATABASE = "database"
    """The database that was replaced."""
    LOG = "log"
    """The log of revocations beside it."""
    REVOKED = "revoked"
    """Nowhere: all keys were revoked and all users suspended."""
    KEPT = "kept"
    """Nowhere: all stayed as it was in the backup."""


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of a backup."""

    product: str
    format: int
    version: str
    createdAt: str  # noqa: N815 - as it is written
    database: str
    schema: str
    revision: int
    rootKeyId: str  # noqa: N815 - as it is written
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A decision that somebody must take: nothing tells what was revoked since the backup."""

    why: str
    keys: Sequence[tuple[int, str, str]]
    """Number, masked text and user name of each key that would work again."""


Decide = Callable[[Unknown], bool]
"""Returns whether everything is to be revoked; raises to leave all as it is."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A restore that was made."""

    revision: int
    source: Source
    carried: Carried
    keys: Sequence[tuple[int, str, str]] = field(default=())
    """Of each key that ended or changed again: number, masked text and user name."""
    kept: str | None = None
    """Where the replaced database is; None if there was none."""
    backup: Path | None = None


class Restores:
    """Restores one installation, while none of its servers runs."""

    def __init__(
        self,
        place: Restoring,
        *,
        read_root_keys: Callable[[], Sequence[bytes]],
        backup_vault: Vault | None,
        system: System,
    ) -> None:
        """Restore encrypted backups with the keys of `backup_vault`, if it is given."""
        self._backup_vault = backup_vault
        self._place = place
        self._read_root_keys = read_root_keys
        self._system = system

    def restore(self, path: Path, decide: Decide) -> Restored:
        """Put a backup, or the newest of a folder, in the place of the database.

        Raise `NotFound` without a backup, `InvalidState` for one that is damaged or of something else,
        `CannotStart` without its root key or for a newer schema, `Conflict` while a program has the database
        open, and what `decide` raises. The database stays as it was in these cases.
        """
        path = newest_backup(path) if path.is_dir() else path
        if not path.is_file():
            raise NotFound(f"There is no backup {path}.")
        manifest = self._checked(read_manifest(path, self._backup_vault))

        def write(file: Path) -> None:
            write_database(path, file, self._backup_vault)

        with self._place.staged(write, manifest.schema) as staged:
            staged.check_counts(manifest.counts)
            return self._finish(staged, decide, path)

    def adopt(self, decide: Decide) -> Restored:
        """Take the database in its place for a backup that somebody put there; raise as `restore` does."""
        with self._place.adopted() as staged:
            return self._finish(staged, decide, None)

    def _checked(self, text: bytes) -> Manifest:
        """Return the manifest of a backup that this program can restore here."""
        try:
            manifest = msgspec.json.decode(text, type=Manifest)
        except msgspec.MsgspecError:
            raise InvalidState("This file is not a backup of Keyturn.") from None
        if manifest.product != "keyturn":
            raise InvalidState("This file is not a backup of Keyturn.")
        if manifest.format > FORMAT:
            raise CannotStart(
                f"The backup was made by Keyturn {manifest.version}, in a newer format: upgrade Keyturn."
            )
        if manifest.database != self._place.kind:
            raise InvalidState(
                f"The backup is of a {manifest.database} database, and this one is {self._place.kind}: name "
                "a database of the same kind with --database."
            )
        given = {key_id_of(head_under(key)) for key in self._read_root_keys()}
        if manifest.rootKeyId not in given:
            raise CannotStart(
                f"The backup was encrypted with the root key {manifest.rootKeyId}, which is not given here: "
                "add it as a last line to the file, or to what the command prints."
            )
        return manifest

    def _finish(self, staged: Staged, decide: Decide, path: Path | None) -> Restored:
        self._check_seals(staged)
        at = self._system.now()
        source, carried = self._carry(staged, decide)
        details: dict[str, Any] = {
            "backup": None if path is None else path.name,
            "revision": staged.revision,
            "revocations": source.value,
        }
        entry = AuditEntry(
            at,
            AuditAction.INSTALLATION_RESTORED,
            COMMAND_LINE,
            Target.INSTALLATION,
            None,
            details=details,
        )
        keys = staged.living_keys(carried.key_ids[:MAX_TOLD])
        revision = staged.begin_epoch(entry)
        kept = staged.put_in_place(revision, at)
        return Restored(revision, source, carried, keys, kept, path)

    def _carry(self, staged: Staged, decide: Decide) -> tuple[Source, Carried]:
        at = self._system.now()
        if staged.why_unknown is None:
            return Source.DATABASE, staged.carry(at)
        if staged.is_logged:
            return Source.LOG, staged.carry_log(at)
        if decide(Unknown(staged.why_unknown, staged.living_keys())):
            return Source.REVOKED, staged.end_all(at)
        return Source.KEPT, Carried({})

    def _check_seals(self, staged: Staged) -> None:
        vault = Vault(self._read_root_keys, self._system, find_check=lambda: None)
        for broken in find_broken(vault, staged.seals()):
            raise InvalidState(f"The backup cannot be used: {str(broken).removesuffix('.')}.")
