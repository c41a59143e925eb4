"""The vault."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import CannotStart
from keyturn.services.installation.vault import REREAD_SECONDS, SealBroken, Vault, head_under
from keyturn.system import System
from tests.fakes import Clock
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT, OTHER = bytes(range(32)), bytes(32)
SLOT = "signing_key/a/sealed_jwk"
SYSTEM = System()
CANARY = b"canary-4711"
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "seals.json").read_text()
)


def vault(*roots: bytes) -> Vault:
    return Vault(lambda: roots or (ROOT,), SYSTEM, find_check=lambda: None)


@given(secret=st.binary(max_size=300), slot=st.text(st.characters(codec="utf-8"), max_size=40))
def test_what_was_sealed_opens(secret: bytes, slot: str) -> None:
    """Whatever was sealed for a place opens there, also in another process with the same root key."""
    assert vault().open(vault().seal(secret, slot=slot), slot=slot) == secret


@given(secret=st.binary(min_size=8, max_size=100))
def test_a_seal_shows_nothing(secret: bytes) -> None:
    """A sealed secret holds neither the secret nor the root key, and no two seals of it are alike."""
    first, second = vault().seal(secret, slot=SLOT), vault().seal(secret, slot=SLOT)

    assert first != second
    assert secret not in first
    assert ROOT not in first


@pytest.mark.parametrize("slot", ["", SLOT + "x", "signing_key/b/sealed_jwk", SLOT.upper(), SLOT + "\x00"])
def test_a_seal_opens_in_its_slot_only(slot: str) -> None:
    """A ciphertext that was moved to another row or column does not open (S1)."""
    with pytest.raises(SealBroken):
        vault().open(vault().seal(CANARY, slot=SLOT), slot=slot)


def test_a_seal_opens_with_its_root_key_only() -> None:
    """Another root key opens nothing."""
    with pytest.raises(SealBroken):
        vault(bytes(32)).open(vault().seal(CANARY, slot=SLOT), slot=SLOT)


def test_any_changed_byte_breaks_the_seal() -> None:
    """No byte of a sealed secret can be changed, lost or added (S1)."""
    sealed = vault().seal(CANARY, slot=SLOT)
    changed = [
        sealed[:at] + bytes([sealed[at] ^ bit]) + sealed[at + 1 :]
        for at in range(len(sealed))
        for bit in (1, 128)
    ]
    shorter = [sealed[:length] for length in range(len(sealed))]

    for broken in (*changed, *shorter, sealed + b"\x00", sealed * 2):
        with pytest.raises(SealBroken):
            vault().open(broken, slot=SLOT)


def test_parts_of_two_seals_do_not_mix() -> None:
    """The data key of one secret and the ciphertext of another do not fit."""
    one, other = (vault().seal(CANARY, slot=SLOT) for _ in "ab")
    cut = 1 + 8 + 12 + 48

    with pytest.raises(SealBroken):
        vault().open(one[:cut] + other[cut:], slot=SLOT)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_root_key_has_one_length(length: int) -> None:
    """A root key of another length is no root key."""
    with pytest.raises(ValueError, match="32 bytes"):
        vault(bytes(length))


def test_a_broken_seal_tells_no_secret() -> None:
    """The error holds neither secret nor key."""
    with pytest.raises(SealBroken) as broken:
        vault().open(vault().seal(CANARY, slot=SLOT), slot="other")

    assert CANARY.decode() not in repr(broken.value)


@pytest.mark.parametrize("vector", VECTORS["opened"], ids=lambda vector: vector["name"])
def test_seals_of_earlier_programs_open(vector: dict[str, Any]) -> None:
    """What a program before the first rotation sealed opens, byte for byte."""
    opened = vault(bytes.fromhex(vector["root"])).open(bytes.fromhex(vector["seal"]), slot=vector["slot"])

    assert opened == bytes.fromhex(vector["secret"])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_what_is_not_a_seal_for_its_place_is_refused(vector: dict[str, Any]) -> None:
    """A seal of another place, root key or version, and one of several parts, does not open (S1)."""
    with pytest.raises(SealBroken):
        vault(bytes.fromhex(vector["root"])).open(bytes.fromhex(vector["seal"]), slot=vector["slot"])


# Several root keys


@given(
    roots=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=5, unique=True),
    choice=st.randoms(use_true_random=False),
)
def test_all_root_keys_open_and_one_seals(roots: list[bytes], choice: Any) -> None:
    """Whatever their order, each opens what it sealed, alone too, and the first seals at the beginning."""
    all_of_them = vault(*roots)
    for root in roots:
        seal = all_of_them.seal_under(head_under(root), CANARY, slot=SLOT)
        assert seal.startswith(head_under(root))
        shuffled = choice.sample(roots, len(roots))
        assert vault(*shuffled).open(seal, slot=SLOT) == vault(root).open(seal, slot=SLOT) == CANARY
    assert all_of_them.seal(CANARY, slot=SLOT).startswith(head_under(roots[0]))


def test_the_database_says_which_root_key_seals() -> None:
    """A newer root key in the file opens only, until a rotation makes it the one that seals."""
    check = vault(ROOT).seal(b"", slot="check")
    both = Vault(lambda: (OTHER, ROOT), SYSTEM, find_check=lambda: check)

    assert both.seal(CANARY, slot=SLOT).startswith(head_under(ROOT))
    check = vault(OTHER).seal(b"", slot="check")
    assert both.seal(CANARY, slot=SLOT).startswith(head_under(OTHER))


class Source:
    """A file of root keys that others write, and how often it was read."""

    def __init__(self, *keys: bytes) -> None:
        self.keys: Sequence[bytes] = keys
        self.reads = 0

    def __call__(self) -> Sequence[bytes]:
        self.reads += 1
        if not self.keys:
            raise CannotStart("There is no file.")
        return self.keys


def test_an_unknown_root_key_is_looked_for_again() -> None:
    """A seal of a root key that came since opens at once, and what was known before still opens."""
    source = Source(ROOT)
    running = Vault(source, SYSTEM, find_check=lambda: vault(OTHER).seal(b"", slot="check"))
    before = running.seal_under(head_under(ROOT), CANARY, slot=SLOT)
    source.keys = (OTHER,)

    assert running.open(vault(OTHER).seal(CANARY, slot=SLOT), slot=SLOT) == CANARY
    assert running.open(before, slot=SLOT) == CANARY
    assert running.seal(CANARY, slot=SLOT).startswith(head_under(OTHER))
    assert source.reads == 2


def test_a_row_of_an_unknown_root_key_does_not_read_them_each_time() -> None:
    """A row that never opens has the root keys read every few seconds, not once a request."""
    clock, source = Clock(), Source(ROOT)
    running = Vault(source, clock.system(), find_check=lambda: None)
    strange = vault(OTHER).seal(CANARY, slot=SLOT)

    def attempt() -> None:
        with pytest.raises(SealBroken):
            running.open(strange, slot=SLOT)

    for _ in range(3):
        attempt()
    assert source.reads == 2
    clock.advance(timedelta(seconds=REREAD_SECONDS))
    source.keys = ()
    attempt()
    assert source.reads == 3
    source.keys = (OTHER, ROOT)
    clock.advance(timedelta(seconds=REREAD_SECONDS))
    assert running.open(strange, slot=SLOT) == CANARY


def test_of_many_at_once_all_find_a_root_key_that_came() -> None:
    """Those that meet a new root key while another reads the file wait for it, and are not refused."""
    source = Source(ROOT)

    def slowly() -> Sequence[bytes]:
        time.sleep(0.05)  # A command takes its time; the others come meanwhile.
        return source()

    running = Vault(slowly, SYSTEM, find_check=lambda: None)
    source.keys = (OTHER, ROOT)
    new = vault(OTHER).seal(CANARY, slot=SLOT)

    assert all_at_once(8, lambda _: running.open(new, slot=SLOT)) == [CANARY] * 8
    assert source.reads == 2


def test_nothing_is_sealed_without_the_root_key_that_seals() -> None:
    """A server that lacks it says so, and does not fall back on one that others may lack."""
    behind = Vault(lambda: (ROOT,), SYSTEM, find_check=lambda: vault(OTHER).seal(b"", slot="check"))

    with pytest.raises(CannotStart, match="is not given here"):
        behind.seal(CANARY, slot=SLOT)
