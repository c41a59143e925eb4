"""Colors: on a terminal alone, and as the environment wishes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from keyturn.cli.colors import wants_color

SECONDS = 30
ESCAPE = b"\x1b["
PROGRAM = """
import sys
from keyturn.cli import main
for arguments in {calls!r}:
    sys.argv = ["keyturn", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
"""


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, None),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "1"}, None),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"FORCE_COLOR": ""}, None),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR_FORCE": "0"}, None),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
    ],
)
def test_the_environment_decides(environment: dict[str, str], wanted: bool | None) -> None:
    """A wish for no color wins over one for color; without any, the terminal decides."""
    assert wants_color(environment) is wanted


def shown_on_a_terminal(calls: list[tuple[str, ...]], **environment: str) -> bytes:
    """Return what a terminal gets of these calls."""
    master, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(calls=calls)],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "xterm", **environment},
        stdout=terminal,
        stderr=terminal,
    ) as program:
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = os.read(master, 65_536)
            except OSError:  # As Linux says that the other end is closed.
                break
            if not part:
                break
            shown += part
        assert program.wait(SECONDS) == 0, shown
    os.close(master)
    return shown


SCREENS = [(), ("--help",), ("key",), ("admin", "user", "list", "--help")]


@pytest.mark.parametrize(
    ("environment", "has_color"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"CLICOLOR": "0"}, False)],
    ids=str,
)
def test_a_terminal_gets_the_colors_that_are_wished(environment: dict[str, str], has_color: bool) -> None:
    """Headings are bold on a terminal, unless the environment says no."""
    shown = shown_on_a_terminal(SCREENS, **environment)
    assert b"Get started" in shown
    assert (ESCAPE in shown) is has_color


@pytest.mark.parametrize(("environment", "has_color"), [({}, False), ({"FORCE_COLOR": "1"}, True)], ids=str)
def test_a_pipe_gets_colors_when_they_are_forced(environment: dict[str, str], has_color: bool) -> None:
    """Into a pipe no color goes, unless the environment forces it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(calls=SCREENS)],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    assert (ESCAPE in done.stdout) is has_color
