"""Recovery shares: the root key in several hands, of whom some together can write its file again.

    root key ──► SLIP-0039: 5 shares of 33 words ──► any 3 of them ──► the same root key ──► root.key

Fewer shares than the threshold tell nothing of the key (Shamir, 1979). Each share has a checksum of its own.
Whether the key is that of this installation is told by the database, before anything is written.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics

from keyturn.core.seals import head_of
from keyturn.errors import CannotStart, Conflict, InvalidInput, InvalidState
from keyturn.services.installation.root_keys import ROOT_KEY_BYTES, create_root_key_file
from keyturn.services.installation.setup import ROOT_KEY_CHECK_SLOT
from keyturn.services.installation.vault import SealBroken, Vault, head_under, key_id_of
from keyturn.store import Store
from keyturn.system import System

MAX_SHARES = 16
"""As many as SLIP-0039 numbers."""


class RootKeyRecovery:
    """Splits the root key of an installation into shares, and puts it together again."""

    def __init__(
        self, store: Store, *, read: Callable[[], Sequence[bytes]], file: Path | None, system: System
    ) -> None:
        """Take the root keys that `read` returns; `file` is where they are, None for a command's output."""
        self._store = store
        self._read = read
        self._file = file
        self._system = system

    def split(self, *, shares: int, threshold: int) -> tuple[str, list[str]]:
        """Return the id of the root key that seals, and its shares, of which `threshold` are needed.

        Raise `InvalidState` if it is not given, or while a row still needs a former one.
        """
        if not 1 <= threshold <= shares <= MAX_SHARES or (threshold == 1 and shares > 1):
            raise InvalidInput(
                "shares", f"Make 2 to {MAX_SHARES} shares, and need at least 2 of them, or make a single one."
            )
        head = self._head()
        key = next((key for key in self._read() if head_under(key) == head), None)
        if key is None:
            raise InvalidState(f"The root key {key_id_of(head)}, which encrypts now, is not given here.")
        if self._store.seals.count_unlike(head):
            raise InvalidState("Some rows need a former root key: run keyturn admin root-key rotate first.")
        (made,) = generate_mnemonics(1, [(threshold, shares)], key)
        return key_id_of(head), made

    def combine(self, texts: Iterable[str]) -> tuple[str, Path]:
        """Write the root key of these shares into its file; return its id and the file.

        Raise `InvalidInput` for shares that make no key, `InvalidState` for the key of another database,
        `Conflict` if there is a file. Nothing is written then.
        """
        if self._file is None:
            raise CannotStart(
                "A command gives the root key: set KEYTURN_ROOT_KEY_FILE to the file to write, and leave "
                "KEYTURN_ROOT_KEY_COMMAND out."
            )
        if self._file.exists():
            raise Conflict(f"There is a root key file already, which stays as it is: {self._file}.")
        key = combined(texts)
        head, check = self._head(), self._store.installation.find_root_key_check() or b""
        vault = Vault(lambda: (key,), self._system, find_check=lambda: check)
        try:
            vault.open(check, slot=ROOT_KEY_CHECK_SLOT)
        except SealBroken:
            raise InvalidState(
                f"These shares make the root key {key_id_of(head_under(key))}, and this database needs "
                f"{key_id_of(head)}: take the shares that were made last."
            ) from None
        create_root_key_file(self._file, key, self._system)
        return key_id_of(head), self._file

    def _head(self) -> bytes:
        check = self._store.installation.find_root_key_check()
        if check is None:
            raise InvalidState("There is no installation in this database.")
        return head_of(check)


def combined(texts: Iterable[str]) -> bytes:
    """Return the root key of some shares; raise `InvalidInput`, which quotes none of them."""
    shares = list(dict.fromkeys(" ".join(text.lower().split()) for text in texts if text.strip()))
    try:
        key: bytes = combine_mnemonics(shares)
    except (MnemonicError, ValueError, LookupError):
        raise InvalidInput("shares", _why_not(shares)) from None
    if len(key) != ROOT_KEY_BYTES:
        raise InvalidInput("shares", "These shares make a secret that is not a root key.")
    return key


def needed(text: str) -> int | None:
    """Return how many shares are needed, as a share says itself; None for what is not a share."""
    try:
        threshold: int = Share.from_mnemonic(" ".join(text.lower().split())).member_threshold
    except (MnemonicError, ValueError, LookupError):
        return None
    return threshold


def _why_not(shares: Sequence[str]) -> str:
    wrong = [number for number, share in enumerate(shares, 1) if needed(share) is None]
    if wrong:
        return f"Share {wrong[0]} is not a recovery share: a word is wrong, missing, or in another place."
    threshold = needed(shares[0]) if shares else None
    if threshold is None or len(shares) < threshold:
        return f"There are {len(shares)} different shares, and {threshold or 'more'} are needed."
    return "These shares were not made together: take those of one splitting, as many as it needs."
