"""Runbooks: each alert and each finding of the doctor leads to a page, and its commands run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from keyturn.cli.admin.examination import CHECKS
from tests.cli.conftest import USERID
from tests.conftest import PASSWORD
from tests.databases import new_sqlite_database
from tests.documentation.examples import DOCS, PAGES
from tests.journeys.processes import KEYTURN, free_port, run_command, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ALERTS = DOCS.parent / "deploy" / "prometheus" / "alerts.yml"
RUNBOOKS = sorted(file for file in PAGES if file.startswith("operate/runbooks/"))
SECONDS = 120
NOT_RUN = {
    "dmesg": "reads the log of the kernel",
    "export": "names hosts that are not here",
    "fuser": "looks at an installation in its usual place",
    "grep": "looks at a process by its number",
    "install": "writes to the place of a real root key",
    "iostat": "watches for seconds",
    "journalctl": "reads or shortens the log of the machine",
    "du": "looks at an installation in its usual place",
    "keyturn": "asks for a password on a terminal",
    "ls": "looks at a process by its number",
    "pg_ctl": "needs a standby",
    "pg_isready": "names hosts that are not here",
    "psql": "names hosts that are not here, or ends a session",
    "systemctl": "needs the unit of a real installation",
    "vmstat": "watches for seconds",
}
"""Programs in blocks that are not run, marked by a `$` in front, each with the reason."""


def fences(file: str, language: str) -> list[str]:
    return [token.content for token in PAGES[file].tokens if token.type == "fence" and token.info == language]


def test_every_alert_leads_to_its_runbook() -> None:
    """The page is there, has the alert's name in its title, and every runbook of an alert has an alert."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    named = {rule["annotations"]["runbook"].removeprefix("docs/"): rule["alert"] for rule in rules}
    assert set(named) == {file for file in RUNBOOKS if "/keyturn-" in file}
    for file, alert in named.items():
        assert PAGES[file].title.startswith(f"{alert}: ")


def test_every_check_of_the_doctor_leads_to_a_page() -> None:
    """Somebody with a finding finds more; each check is in the table of the page, and no other."""
    assert [check.name for check in CHECKS if check.more not in PAGES] == []
    table = (DOCS / "operate" / "doctor.md").read_text().partition("## What it looks at")[2]
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == [check.name for check in CHECKS]


def test_what_is_not_run_is_written_down() -> None:
    """Each program in a block that is marked as not run stands here with its reason, and no other does."""
    lines = [line for file in RUNBOOKS for text in fences(file, "console") for line in text.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    assert {shlex.split(line.removeprefix("$ "))[0] for line in lines} == NOT_RUN.keys()
    others = {token.info for file in RUNBOOKS for token in PAGES[file].tokens if token.type == "fence"} - {
        "sh",
        "console",
    }
    assert not others


@contextmanager
def stand_in(folder: Path, log: Path) -> Iterator[str]:
    """Yield a PATH on which `journalctl` shows the log of the server, as it does for a unit."""
    folder.mkdir()
    program = folder / "journalctl"
    program.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(log))}\n")
    program.chmod(0o755)
    yield f"{folder}:{Path(KEYTURN).parent}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A shell on the machine of a server that has answered and refused."""
    folder, managed = tmp_path_factory.mktemp("operated"), f"127.0.0.1:{free_port()}"
    database = new_sqlite_database(folder / "data")
    settings = {"KEYTURN_DATABASE": database, "KEYTURN_MANAGEMENT": managed}
    with (
        serving(database, folder, environment={"KEYTURN_MANAGEMENT": managed}) as server,
        stand_in(folder / "programs", server.stderr) as path,
    ):
        shell = settings | {
            "PATH": path, "HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path),
            "KEYTURN_PORT": str(server.port), "PASSWORD": PASSWORD,
        }  # fmt: skip
        added = ("admin", "user", "add", USERID, "--password-stdin")
        assert run_command(*added, stdin=PASSWORD, environment=settings).returncode == 0
        yield shell


@pytest.mark.parametrize("file", [file for file in RUNBOOKS if fences(file, "sh")])
def test_the_commands_of_a_runbook_run(shell: dict[str, str], tmp_path: Path, file: str) -> None:
    """Somebody who types the page from top to bottom on the server's machine meets no error."""
    made = run_command("admin", "key", "add", "--user", USERID, "--json", environment=_settings(shell))
    found = re.search(r'"id": *(\d+)', made.stdout)
    assert found is not None, made
    text = "\n".join(["set -euo pipefail", *fences(file, "sh")])
    text = text.replace("127.0.0.1:8400", f"127.0.0.1:{shell['KEYTURN_PORT']}")
    text = text.replace("127.0.0.1:9464", shell["KEYTURN_MANAGEMENT"])
    done = subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, env=shell | {"KEY_ID": found[1]},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _settings(shell: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in shell.items() if name.startswith("KEYTURN_")}
