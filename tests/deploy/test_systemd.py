"""The unit: whole, as closed as the server allows, with settings that the server takes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.deploy import DEPLOY, check_stop_seconds
from tests.journeys.processes import KEYTURN

if TYPE_CHECKING:
    from pathlib import Path

UNIT = DEPLOY / "systemd" / "keyturn.service"
MAX_EXPOSURE = 15
"""In tenths. The network, the host's files and Unix sockets, which a server needs, make 1.2 of it."""

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: install systemd"
)


def values_of(name: str) -> list[str]:
    lines = UNIT.read_text().splitlines()
    return [line.removeprefix(f"{name}=") for line in lines if line.startswith(f"{name}=")]


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is installed here."""
    made = tmp_path / UNIT.name
    text = UNIT.read_text()
    assert text.count("/opt/keyturn/bin/keyturn") == 1
    made.write_text(text.replace("/opt/keyturn/bin/keyturn", KEYTURN))
    return made


def analyzed(*arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_systemd_understands_every_line(unit: Path) -> None:
    """The unit is read without a complaint."""
    assert analyzed("verify", "--man=no", str(unit)) == ""


def test_the_service_can_do_little_else(unit: Path) -> None:
    """systemd counts little that a server which was taken over could do besides its work."""
    analyzed("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(unit))


def test_a_unit_with_an_unknown_line_is_told_of(unit: Path) -> None:
    """The check itself can fail: a misspelled directive is one of its complaints."""
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in analyzed("verify", "--man=no", str(unit))


def test_the_unit_waits_for_the_drain_and_its_settings_fit() -> None:
    """systemd kills no server that still drains, and the settings of unit and file go together."""
    environment = {}
    for line in values_of("Environment"):
        (assignment,) = shlex.split(line)
        name, _, value = assignment.partition("=")
        environment[name] = value.replace("%d", "/run/credentials/keyturn.service")
    file = (DEPLOY / "systemd" / "keyturn.env").read_text().splitlines()
    environment |= dict(line.split("=", 1) for line in file if not line.startswith("#"))
    (seconds,) = values_of("TimeoutStopSec")
    settings = check_stop_seconds(float(seconds), environment)
    assert settings.root_key_command == "/bin/cat /run/credentials/keyturn.service/root.key"
    options = [line.partition("=")[2] for line in file if line.startswith("# SERVE_OPTIONS=")]
    assert options == ["--workers 4"]
    assert values_of("ExecStart") == ["/opt/keyturn/bin/keyturn serve $SERVE_OPTIONS"]
