"""Every example of the documentation works as printed, in each language, on a fresh server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn.cli.demonstration import USERID as DEMONSTRATOR
from keyturn.cli.demonstration import set_up_demonstration
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.people import ServiceOwner
from keyturn.documentation.places import HOST
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.databases import new_sqlite_database
from tests.documentation.examples import (
    PYTHON,
    differs,
    pages_that_run,
    python_program,
    shell_script,
    steps_of,
)
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.composition import Services
    from keyturn.services.keys.keys import CreatedKey

SECONDS = 120
PROGRAMS = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("jq") is None, reason="no curl or jq: install both"
)


def prepare(services: Services, file: str) -> dict[str, str]:
    """Make what a page says is there already; return the variables that its reader sets."""
    admin = services.users.get_by_userid(None, DEMONSTRATOR).user_id

    def key(owner: int, name: str) -> CreatedKey:
        return services.keys.create_for(owner, COMMAND_LINE, NewKey(name))

    match file:
        case "howto/when-a-key-leaks.md":
            return {
                "KEY_ID": str(key(admin, "leaked").record.key_id),
                "FOUND": key(admin, "found").secret,
                "UNKNOWN": key(admin, "unknown").secret,
            }
        case "howto/when-someone-leaves.md":
            grace, _ = (
                services.users.add(COMMAND_LINE, userid=f"{name}@example.com", name=None)
                for name in ("grace", "bob")
            )
            account = services.users.add(
                COMMAND_LINE, userid="nightly export", name=None, owner=ServiceOwner(grace.user_id)
            )
            return {"KEY_ID": str(key(account.user_id, "before").record.key_id)}
        case _:
            return {}


@pytest.fixture
def demonstration(tmp_path: Path, file: str) -> Iterator[dict[str, str]]:
    """A server as `keyturn serve --demo` leaves it, and what the page takes for granted.

    Its environment for who tries it.
    """
    with running_server(new_sqlite_database(tmp_path / "database")) as server:
        told = set_up_demonstration(server.services)
        found = re.search(ApiKeyFormat().pattern, told)
        assert found is not None
        yield {"URL": server.url, "API_KEY": found.group(), **prepare(server.services, file)}


@pytest.mark.parametrize(("file", "language"), pages_that_run())
def test_an_example_works_as_printed(
    demonstration: dict[str, str], tmp_path: Path, file: str, language: str
) -> None:
    """A reader who types a page from top to bottom in one language meets no error, and the answers shown."""
    folder, outputs = tmp_path / "reader", tmp_path / "outputs"
    folder.mkdir()
    outputs.mkdir()
    url, steps = demonstration["URL"], steps_of(file, language)
    for step in steps:
        if step.kind == "file":
            (folder / step.name).write_text(step.text.replace(HOST, url))
    if language == PYTHON:
        command = [sys.executable, "-c", python_program(steps).replace(HOST, url)]
    else:
        command = ["bash", "-c", shell_script(steps, outputs).replace(HOST, url)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(sys.path),
            **{name: value for name, value in demonstration.items() if name != "URL"},
            "KEYTURN_URL": url,
            "KEYTURN_KEY": demonstration["API_KEY"],
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{done.stdout[-1000:]}"
    for step in steps:
        if step.kind == "answer":
            printed = (outputs / str(step.answers)).read_text()
            assert differs(printed, step.text) is None, (differs(printed, step.text), printed)
