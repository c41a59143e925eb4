"""The vault and the root key."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.encoding import base64url_decode, base64url_encode
from keyturn.errors import CannotStart
from keyturn.services.installation.vault import (
    ROOT_KEY_BYTES,
    SealBroken,
    Vault,
    new_root_key,
    read_root_key,
)
from keyturn.system import System
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from pathlib import Path

ROOT = bytes(range(32))
SLOT = "signing_key/a/sealed_jwk"
SYSTEM = System()
CANARY = b"canary-4711"


def vault(root: bytes = ROOT) -> Vault:
    return Vault(root, SYSTEM)


def refusal(**given: object) -> str:
    values: dict[str, object] = {"file": None, "command": None, "may_create": False, "system": SYSTEM}
    with pytest.raises(CannotStart) as refused:
        read_root_key(**(values | given))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    return str(refused.value)


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


def test_a_root_key_file_is_made_once(tmp_path: Path) -> None:
    """The file is made with mode 0600 at the first start and read ever after, with nothing left beside it."""
    file = tmp_path / "data" / "root.key"
    old = os.umask(0)
    try:
        first = read_root_key(file=file, command=None, may_create=True, system=SYSTEM)
    finally:
        os.umask(old)

    assert len(first) == ROOT_KEY_BYTES
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert read_root_key(file=file, command=None, may_create=True, system=SYSTEM) == first
    assert read_root_key(file=file, command=None, may_create=False, system=SYSTEM) == first


def test_a_missing_root_key_is_not_made_anew(tmp_path: Path) -> None:
    """Where a root key must exist, a missing one is said to be missing (S2)."""
    file = tmp_path / "root.key"

    assert str(file) in refusal(file=file)
    assert not file.exists()


def test_processes_that_start_together_have_one_root_key(tmp_path: Path) -> None:
    """Two that make the file at once, in containers that share process numbers, end with one key."""
    file = tmp_path / "root.key"
    both_write = threading.Barrier(2)

    def random_bytes(count: int) -> bytes:
        with contextlib.suppress(threading.BrokenBarrierError):
            both_write.wait(timeout=2)
        return os.urandom(count)

    system = System(random_bytes=random_bytes)
    keys = all_at_once(2, lambda _: read_root_key(file=file, command=None, may_create=True, system=system))

    assert keys == [base64url_decode(file.read_bytes().strip())] * 2
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601])
def test_a_root_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """A root key file with any right for group or others stops the start (S2)."""
    file = tmp_path / "root.key"
    file.write_text(new_root_key(SYSTEM))
    file.chmod(mode)

    assert "chmod 600" in refusal(file=file)


def test_a_root_key_behind_a_link_is_refused(tmp_path: Path) -> None:
    """A symbolic link is not followed, whether it leads anywhere or not."""
    target = tmp_path / "elsewhere"
    target.write_text(new_root_key(SYSTEM))
    target.chmod(0o600)
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    assert str(tmp_path / "link") in refusal(file=tmp_path / "link")
    assert str(tmp_path / "dangling") in refusal(file=tmp_path / "dangling", may_create=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_is_no_root_key(tmp_path: Path) -> None:
    """A folder in the place of the root key file stops the start with a sentence."""
    folder = tmp_path / "root.key"
    folder.mkdir(mode=0o700)

    assert str(folder) in refusal(file=folder)


GARBAGE = [
    b"",
    b"\n",
    b"A" * 42,
    b"A" * 44,
    b"A" * 42 + b"B",
    b"A" * 42 + b"=",
    b"\x00" * 32,
    b"\xff" * 43,
    b"A" * 21 + b"\n" + b"A" * 22,
]


@pytest.mark.parametrize("content", GARBAGE)
def test_what_is_no_root_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """Anything but 32 bytes in the one spelling of base64url is no root key, and is not repeated."""
    file = tmp_path / "root.key"
    file.write_bytes(content)
    file.chmod(0o600)

    message = refusal(file=file)

    assert str(file) in message
    assert "AAAA" not in message


def test_without_file_or_command_there_is_no_root_key() -> None:
    """There is no default root key (S2)."""
    assert "KEYTURN_ROOT_KEY_FILE" in refusal()


def command(script: str) -> str:
    return shlex.join([sys.executable, "-c", script])


def test_a_command_can_print_the_root_key() -> None:
    """The command's output is the key, and no file is looked at."""
    text = base64url_encode(ROOT).decode()

    found = read_root_key(file=None, command=command(f"print('{text}')"), may_create=False, system=SYSTEM)

    assert found == ROOT


@pytest.mark.parametrize(
    "given",
    [
        command("import sys; print('canary'); print('canary', file=sys.stderr); sys.exit(3)"),
        command("print('canary')"),
        command("import sys; sys.stdout.buffer.write(b'canary' + bytes([255]) * 43)"),
        "/nowhere/canary-command",
        "unclosed 'canary",
        "",
        "   ",
    ],
)
def test_a_command_that_fails_tells_nothing_it_printed(given: str) -> None:
    """A command that fails, or prints no key, is named by its setting; its output is not repeated."""
    message = refusal(command=given)

    assert "KEYTURN_ROOT_KEY_COMMAND" in message
    assert "canary" not in message


def test_a_command_is_run_without_a_shell(tmp_path: Path) -> None:
    """Signs that a shell would act on are only arguments."""
    refusal(command=f"echo x > {tmp_path}/made; touch {tmp_path}/made")

    assert not (tmp_path / "made").exists()
