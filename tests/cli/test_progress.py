"""What a person sees of work that takes long: on a terminal alone, and never among the output."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.cli.conftest import opened

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 30
PROGRAM = [sys.executable, "-c", "from keyturn.cli import main; main()", "admin", "check"]


def environment(tmp_path: Path) -> dict[str, str]:
    """Return where an installation is, which is made here."""
    with opened(tmp_path):
        pass
    return {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "XDG_DATA_HOME": str(tmp_path),
        "KEYTURN_DATABASE": f"sqlite:///{tmp_path / 'keyturn.db'}",
    }


def test_a_terminal_shows_what_goes_on(tmp_path: Path) -> None:
    """On a terminal the command says what it does; its output is the same as without one."""
    master, terminal = pty.openpty()
    done = subprocess.run(
        PROGRAM,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=terminal,
        check=True,
        timeout=SECONDS,
    )
    os.close(terminal)
    shown = os.read(master, 65_536)
    os.close(master)
    assert b"Reading the whole database" in shown
    assert done.stdout.endswith(b"All is well.\n")
    assert b"Reading" not in done.stdout


def test_a_pipe_stays_clean(tmp_path: Path) -> None:
    """Into a pipe nothing is written but what the command has to say."""
    done = subprocess.run(
        PROGRAM, env=environment(tmp_path), capture_output=True, check=True, timeout=SECONDS
    )
    assert done.stderr == b""
    assert done.stdout.endswith(b"All is well.\n")


def test_a_terminal_counts_what_is_done(tmp_path: Path) -> None:
    """A rotation of the root key tells a terminal how many rows are done, and of how many."""
    master, terminal = pty.openpty()
    done = subprocess.run(
        [*PROGRAM[:-1], "root-key", "rotate"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=terminal,
        check=True,
        timeout=SECONDS,
    )
    os.close(terminal)
    shown = os.read(master, 65_536)
    os.close(master)
    assert b"Encrypting anew" in shown
    assert b"1 of 1" in shown
    assert done.stdout.startswith(b"1 row is encrypted anew")
