"""Root keys, from their file or the command that prints them."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from keyturn.core.encoding import base64url_decode, base64url_encode
from keyturn.errors import CannotStart, Conflict
from keyturn.services.installation.root_keys import (
    MAX_ROOT_KEYS,
    ROOT_KEY_BYTES,
    RootKeyFile,
    new_root_key,
    read_root_keys,
)
from keyturn.system import System
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from pathlib import Path

ROOT = bytes(range(32))
SYSTEM = System()


def refusal(**given: object) -> str:
    values: dict[str, object] = {"file": None, "command": None, "may_create": False, "system": SYSTEM}
    with pytest.raises(CannotStart) as refused:
        read_root_keys(**(values | given))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_root_key_file_is_made_once(tmp_path: Path) -> None:
    """The file is made with mode 0600 at the first start and read ever after, with nothing left beside it."""
    file = tmp_path / "data" / "root.key"
    old = os.umask(0)
    try:
        first = read_root_keys(file=file, command=None, may_create=True, system=SYSTEM)
    finally:
        os.umask(old)

    assert [len(key) for key in first] == [ROOT_KEY_BYTES]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert read_root_keys(file=file, command=None, may_create=True, system=SYSTEM) == first
    assert read_root_keys(file=file, command=None, may_create=False, system=SYSTEM) == first


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
    keys = all_at_once(2, lambda _: read_root_keys(file=file, command=None, may_create=True, system=system))

    assert keys == [(base64url_decode(file.read_bytes().strip()),)] * 2
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
    b"A" * 43 + b"\n" + b"A" * 42,
    b"A" * 43 + b"," + b"A" * 43,
    b"A" * 43 + b"\n# the former one\n",
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

    found = read_root_keys(file=None, command=command(f"print('{text}')"), may_create=False, system=SYSTEM)

    assert found == (ROOT,)


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


# Several


def lines(*keys: bytes) -> str:
    return "".join(base64url_encode(key).decode() + "\n" for key in keys)


def own_file(folder: Path, *keys: bytes) -> Path:
    file = folder / "root.key"
    file.write_text(lines(*keys))
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("between", ["\n", "\n\n", "\r\n", " "])
def test_several_root_keys_are_read_in_their_order(tmp_path: Path, between: str) -> None:
    """Each line is a root key, the newest first; a line that is there twice is one."""
    file = own_file(tmp_path)
    file.write_text(lines(bytes(32), ROOT, bytes(32)).replace("\n", between))

    assert read_root_keys(file=file, command=None, may_create=False, system=SYSTEM) == (bytes(32), ROOT)


def test_a_command_can_print_several_root_keys() -> None:
    """What a command prints is read as a file is."""
    printing = command(f"print({lines(ROOT, bytes(32))!r})")

    found = read_root_keys(file=None, command=printing, may_create=False, system=SYSTEM)

    assert found == (ROOT, bytes(32))


def test_root_keys_are_few(tmp_path: Path) -> None:
    """More root keys than are of use stop the start, before they are forgotten in the file."""
    keys = [bytes([number]) * 32 for number in range(MAX_ROOT_KEYS + 1)]

    assert (
        len(read_root_keys(file=own_file(tmp_path, *keys[1:]), command=None, may_create=False, system=SYSTEM))
        == MAX_ROOT_KEYS
    )
    assert "more than 8 root keys" in refusal(file=own_file(tmp_path, *keys))


def test_the_own_file_is_replaced_whole(tmp_path: Path) -> None:
    """New content takes the place of the old with its mode and owner, over what a killed rotation left."""
    file = own_file(tmp_path, ROOT)
    owner = (12345, 12345) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(file, *owner)
    (tmp_path / ".root.key.next").write_text("left by a rotation that was killed")

    RootKeyFile(file).replace([bytes(32), ROOT])

    status = file.stat()
    assert file.read_text() == lines(bytes(32), ROOT)
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o600, *owner)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_stays(tmp_path: Path) -> None:
    """Where the folder takes no file, the error names it, and the root key is as it was."""
    file = own_file(tmp_path, ROOT)
    (tmp_path / ".root.key.next").mkdir()  # Nobody can replace it with a file, the superuser neither.

    with pytest.raises(CannotStart, match=str(file)):
        RootKeyFile(file).replace([bytes(32)])

    assert file.read_text() == lines(ROOT)


def test_one_at_a_time_holds_the_file(tmp_path: Path) -> None:
    """While somebody holds the file nobody else does; afterwards the next one may."""
    file = own_file(tmp_path, ROOT)
    with RootKeyFile(file).locked(), pytest.raises(Conflict), RootKeyFile(file).locked():
        pass
    with RootKeyFile(file).locked():
        pass
