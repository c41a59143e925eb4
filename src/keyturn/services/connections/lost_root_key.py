"""The way on where the root key is lost and no recovery share is left.

A new root key seals from then on, and a new signing key signs. Everything that is stored as a digest goes on:
API keys, sessions of browsers, passwords. Secrets that were encrypted under the lost key stay in their rows,
unreadable: they open again if the lost key is found and put back as a further line.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.jwk import Algorithm
from keyturn.core.seals import head_of
from keyturn.errors import CannotStart, InvalidState
from keyturn.services.connections.sealing import DOES_NOT_OPEN
from keyturn.services.installation.root_keys import MAX_ROOT_KEYS, ROOT_KEY_BYTES, RootKeyFile
from keyturn.services.installation.setup import ROOT_KEY_CHECK, ROOT_KEY_CHECK_SLOT
from keyturn.services.installation.vault import Vault, head_under, key_id_of
from keyturn.services.tokens.signing_keys import TARGET, SigningKeys
from keyturn.store import Store
from keyturn.store.installation.seals import SEALED_COLUMNS
from keyturn.system import System

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ReplacedRootKey:
    """The outcome of a replacement."""

    key_id: str
    unreadable: tuple[tuple[str, str], ...]
    """Table and name of each row that does not open any more."""
    wrote_file: bool


class RootKeyReplacement:
    """Gives an installation another root key without the one that it had."""

    def __init__(
        self,
        store: Store,
        *,
        read: Callable[[], Sequence[bytes]],
        file: RootKeyFile | None,
        algorithm: Algorithm,
        token_life: timedelta,
        system: System,
    ) -> None:
        """Take the root keys that `read` returns; they are written to `file` if that is Keyturn's own."""
        self._store = store
        self._read = read
        self._file = file
        self._algorithm = algorithm
        self._token_life = token_life
        self._system = system

    def check_lost(self) -> None:
        """Raise `InvalidState` if the root key that seals is given here."""
        former = self._former()
        if any(head_under(key) == head_of(former) for key in self._given()):
            raise InvalidState(
                "The root key is not lost: it is given here, and opens this database. For another one, run "
                "keyturn admin root-key rotate."
            )

    def run(self, actor: Actor) -> ReplacedRootKey:
        """Replace the root key and the signing keys; run it again if it was interrupted.

        Raise `InvalidState` if the root key is not lost, `CannotStart` where the operator has to give the new
        one and has not.
        """
        with self._file.locked() if self._file else nullcontext():
            self.check_lost()
            former = self._former()
            new = self._new_root_key()
            head = head_under(new)
            bare = Vault(lambda: (new,), self._system, find_check=lambda: None)
            check = bare.seal_under(head, ROOT_KEY_CHECK, slot=ROOT_KEY_CHECK_SLOT)
            signing_keys = SigningKeys(
                self._store, bare, algorithm=self._algorithm, token_life=self._token_life, system=self._system
            )
            now = self._system.now()
            record = signing_keys.new_record(now)
            details = {"former": key_id_of(former)}
            self._store.signing_keys.begin_anew(
                former,
                check,
                record,
                DOES_NOT_OPEN,
                replaced=AuditEntry(
                    now,
                    AuditAction.ROOT_KEY_REPLACED,
                    actor,
                    Target.ROOT_KEY,
                    key_id_of(head),
                    details=details,
                ),
                retired=AuditEntry(now, AuditAction.SIGNING_KEYS_RETIRED, actor, TARGET, record.kid),
            )
        return ReplacedRootKey(key_id_of(head), self._unreadable(head), self._file is not None)

    def _former(self) -> bytes:
        check = self._store.installation.find_root_key_check()
        if check is None:
            raise InvalidState("There is no installation in this database.")
        return check

    def _given(self) -> Sequence[bytes]:
        """Return the root keys that are there; an own file that is gone or damaged holds none."""
        try:
            return self._read()
        except CannotStart:
            if self._file is None:
                raise
            return ()

    def _new_root_key(self) -> bytes:
        """Return the root key that shall seal: the first that the operator gives, or one that is made now.

        In an own file what was there stays below it.
        """
        given = self._given()
        if self._file is None:
            return given[0]
        new = self._system.random_bytes(ROOT_KEY_BYTES)
        if not given:
            self._file.set_aside()
        self._file.replace([new, *given][:MAX_ROOT_KEYS])
        return new

    def _unreadable(self, head: bytes) -> tuple[tuple[str, str], ...]:
        found: list[tuple[str, str]] = []
        for column in SEALED_COLUMNS:
            after: str | int | None = None
            while rows := self._store.seals.list_rows(column, size=AT_ONCE, after=after, unlike=head):
                found += [(row.table, str(row.row)) for row in rows]
                after = rows[-1].row
        return tuple(found)
