"""What README tells a newcomer to type works as printed, one section after the other on one machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.core.permissions import Permission
from tests.conftest import PASSWORD
from tests.journeys.processes import KEYTURN, clean_environment, serving

if TYPE_CHECKING:
    from tests.journeys.processes import ServerProcess

ROOT = Path(__file__).parent.parent
SECONDS = 60
PRINTED_ADDRESS = "http://127.0.0.1:8400"

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None, reason="no curl: install curl to run these tests"
)


@dataclass(frozen=True)
class Newcomer:
    """Somebody in the folder of a checkout whose `make setup` is done, with a home of their own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"XDG_DATA_HOME": str(self.folder / "data"), "PASSWORD": PASSWORD}

    def type(self, script: str, **variables: str) -> str:
        """Run what is typed into a shell; every command must do well."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=clean_environment(**self.environment, **variables),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, (script, done.stderr)
        return done.stdout


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "keyturn").symlink_to(KEYTURN)
    return Newcomer(tmp_path)


def blocks(heading: str) -> list[str]:
    """Return what is to be typed in a section of README: of a console only what stands after the prompt."""
    section = (ROOT / "README.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```(console|sh)\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return [re.sub(r"^\$ ", "", text, flags=re.MULTILINE).strip() for _, text in found]


def recipe(target: str) -> str:
    """Return what `make` runs for a target."""
    found = re.search(rf"^{target}:.*\n\t(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1].replace("$(BIN)", ".venv/bin")


def arguments_of_serve(command: str) -> list[str]:
    program, verb, *arguments = command.split()
    assert (program, verb) == (".venv/bin/keyturn", "serve")
    return arguments


def test_readme_works_from_the_first_line_to_the_last(newcomer: Newcomer) -> None:
    """Who tries it, then runs it for real, gets what is promised, and nothing of the try is left."""
    _try_it(newcomer)
    setup, serve = blocks("Run it for real")[0].splitlines()
    assert (setup, recipe("run")) == ("make setup", ".venv/bin/keyturn serve --demo")
    options = arguments_of_serve(serve)
    with serving(None, newcomer.folder, *options, environment=newcomer.environment) as server:
        assert "/setup#" in server.output(), "the very first start prints the link"
        _without_a_browser(newcomer, server)


def _try_it(newcomer: Newcomer) -> None:
    make_run, calls = blocks("Try it")
    assert make_run == "make run"
    options = arguments_of_serve(recipe("run"))
    with serving(None, newcomer.folder, *options, environment=newcomer.environment) as server:
        key = re.search(r"API key +(\S+)", server.output())
        assert key is not None
        assert calls.count(PRINTED_ADDRESS) == 3
        shown = newcomer.type(calls.replace(PRINTED_ADDRESS, server.url).replace("kt_…", key[1]))
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(shown)
    second, _ = decoder.raw_decode(shown[end:].strip())
    assert first["connectionKey"] == second["connectionKey"] == "123456789"


def _without_a_browser(newcomer: Newcomer, server: ServerProcess) -> None:
    """The administrator of the command line can do all that the one of the link can."""
    said, key = newcomer.type(blocks("Run it for real")[1]).splitlines()
    assert said == f"Added ada@example.com with {', '.join(sorted(Permission))}."
    with httpx.Client(base_url=server.url) as client:
        signed_in = client.post("/login", data={"userid": "ada@example.com", "password": PASSWORD})
        assert signed_in.status_code == 303
        assert client.get("/admin/audit").status_code == 200
    with httpx.Client(base_url=server.url, headers={"Authorization": key}) as client:
        for permission in Permission:
            new = {"userid": f"with {permission}", "permissions": [permission]}
            assert client.post("/bim/iam/bim/user", json=new).status_code == 200, permission
    checked = newcomer.type(".venv/bin/keyturn admin check")
    assert checked.endswith("All is well.\n")
