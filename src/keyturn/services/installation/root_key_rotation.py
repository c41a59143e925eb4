"""The rotation of the root key, and the check of everything that is encrypted under it.

    a new root key   the database names it   rows in batches   the former one
    is first in ───► as the one that     ───► get new      ───► leaves the file
    the file         seals                    seals

Each arrow may be the last thing that happens before the power fails: at any moment the root keys in the file
open every row, and the next run goes on where this one ended (S3). From the second step on nothing is stored
under the former key (`store.database.seals`), so that rows under it only become fewer.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.seals import head_of
from keyturn.errors import Conflict, InvalidState
from keyturn.services.installation.root_keys import ROOT_KEY_BYTES, RootKeyFile
from keyturn.services.installation.setup import ROOT_KEY_CHECK_SLOT
from keyturn.services.installation.vault import SealBroken, Vault, head_under, key_id_of, slot_of
from keyturn.store import Store
from keyturn.store.installation.seals import SEALED_COLUMNS, SealedColumn, SealedRow
from keyturn.system import System

BATCH = 100
"""Rows that are read, and renewed in one transaction, at once."""


@dataclass(frozen=True, slots=True)
class BrokenSeal:
    """A row whose secret does not open."""

    table: str
    row: str | int
    reason: str

    def __str__(self) -> str:
        return f"The row {self.row} of the table {self.table} does not open: {self.reason}."


@dataclass(frozen=True, slots=True)
class Rotated:
    """The outcome of a rotation."""

    key_id: str
    """The root key that seals now."""
    renewed: int
    """How many rows got a new seal, the proof of the root key not counted."""
    broken: tuple[BrokenSeal, ...]
    """Rows that did not open and stay as they are."""
    former_needed: bool
    """Whether a row still names a former root key."""
    wrote_file: bool
    """Whether the file is Keyturn's own, which the former root keys have left unless they are needed."""


class Seals:
    """Reads and renews every secret of an installation."""

    def __init__(self, store: Store, vault: Vault, *, batch: int = BATCH) -> None:
        self._store = store
        self._vault = vault
        self._batch = batch

    def find_broken(self) -> Iterator[BrokenSeal]:
        """Open every row, and yield those that do not open."""
        for column in SEALED_COLUMNS:
            for rows in self._batches(column):
                yield from self.find_broken_of(rows)

    def find_broken_of(self, rows: Iterable[SealedRow]) -> Iterator[BrokenSeal]:
        """Open these rows, and yield those that do not open."""
        return find_broken(self._vault, rows)

    def renew(self, head: bytes, on_progress: Callable[[int, int], None]) -> tuple[int, list[BrokenSeal]]:
        """Seal every row under the root key of `head`; return how many were, and those that do not open.

        `on_progress` is told after each batch how many are done, and of how many. Raise `Conflict` once
        another rotation has begun.
        """
        total, done = self._store.seals.count_unlike(head), 0
        broken: list[BrokenSeal] = []
        for column in SEALED_COLUMNS:
            for rows in self._batches(column, unlike=head):
                renewed = []
                for row in rows:
                    try:
                        renewed.append((row, self._vault.seal_under(head, self._open(row), slot=_slot(row))))
                    except SealBroken as error:
                        broken.append(_broken(row, error))
                done += self._store.seals.renew(column, renewed, head=head)
                on_progress(done, total)
        return done, broken

    def _open(self, row: SealedRow) -> bytes:
        return self._vault.open(row.seal, slot=_slot(row))

    def _batches(self, column: SealedColumn, unlike: bytes | None = None) -> Iterator[list[SealedRow]]:
        after: str | int | None = None
        while rows := self._store.seals.list_rows(column, size=self._batch, after=after, unlike=unlike):
            yield rows
            after = rows[-1].row


def find_broken(vault: Vault, rows: Iterable[SealedRow]) -> Iterator[BrokenSeal]:
    """Open these rows, and yield those that do not open."""
    for row in rows:
        try:
            vault.open(row.seal, slot=_slot(row))
        except SealBroken as error:
            yield _broken(row, error)


class RootKeyRotation:
    """Rotates the root key, beside servers that run."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        seals: Seals,
        *,
        read: Callable[[], Sequence[bytes]],
        file: RootKeyFile | None,
        system: System,
    ) -> None:
        """Take the root keys that `read` returns, the newest first.

        They are written to `file` if that is Keyturn's own. Without it the operator gives the new one.
        """
        self._read = read
        self._store = store
        self._vault = vault
        self._seals = seals
        self._file = file
        self._system = system

    def run(self, actor: Actor, on_progress: Callable[[int, int], None]) -> Rotated:
        """Renew every seal under the newest root key, or go on with a rotation that was interrupted.

        Raise `InvalidState` if no new root key is given, `Conflict` if another rotation is under way.
        """
        with self._file.locked() if self._file else nullcontext():
            newest = self._newest()
            head = head_under(newest)
            self._begin(head, actor)
            renewed, broken = self._seals.renew(head, on_progress)
            former_needed = self._store.seals.count_unlike(head) > 0
            if self._file and not former_needed:
                self._file.replace([newest])
        return Rotated(key_id_of(head), renewed, tuple(broken), former_needed, self._file is not None)

    def _newest(self) -> bytes:
        """Return the root key that shall seal, made now and in the file already if none was given."""
        keys = self._read()
        is_used = head_under(keys[0]) == head_of(self._find_check())
        if is_used and len(keys) == 1:
            if self._file is None:
                raise InvalidState(
                    "There is only the root key that encrypts already: put a new one on a line before it, on "
                    "every node, and then rotate."
                )
            keys = (self._system.random_bytes(ROOT_KEY_BYTES), *keys)
            self._file.replace(keys)
        self._vault.read_again()
        return keys[0]

    def _begin(self, head: bytes, actor: Actor) -> None:
        """Have the database name the root key of `head`, unless it does."""
        former = self._find_check()
        if head_of(former) == head:
            return
        audit = AuditEntry(
            self._system.now(),
            AuditAction.ROOT_KEY_ROTATED,
            actor,
            Target.ROOT_KEY,
            key_id_of(head),
            details={"former": key_id_of(former)},
        )
        try:
            secret = self._vault.open(former, slot=ROOT_KEY_CHECK_SLOT)
        except SealBroken:
            raise Conflict(
                "Another rotation went to a root key that is not given here: give every node the same ones."
            ) from None
        check = self._vault.seal_under(head, secret, slot=ROOT_KEY_CHECK_SLOT)
        self._store.seals.begin_rotation(former, check, audit)

    def _find_check(self) -> bytes:
        return self._store.installation.find_root_key_check() or b""


def _slot(row: SealedRow) -> str:
    return slot_of(row.table, row.row, row.column)


def _broken(row: SealedRow, error: SealBroken) -> BrokenSeal:
    return BrokenSeal(row.table, row.row, str(error))
