"""The examples of the how-to run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apis import register

if TYPE_CHECKING:
    from tests.client.conftest import Keyed

PAGE = (Path(__file__).parent.parent.parent / "docs" / "howto" / "call-an-api.md").read_text()
EXAMPLES = re.findall(r"## ([^\n]+)\n.*?```python\n(.*?)```", PAGE, re.DOTALL)
SAYS = {
    "httpx": ["bob", "bob"],
    "requests": ["bob"],
    "A token for one service": ["orders:read"],
    "Of no use to anybody else": ["bob", "bob"],
    "Keyturn's own API": None,
}


@pytest.mark.parametrize(("name", "program"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_each_example_runs(keyed: Keyed, name: str, program: str) -> None:
    """A program copied from the page does what the page says, and prints no secret."""
    register(keyed.server.services, "orders")
    environment = {**os.environ, "KEY": keyed.key, "KEYTURN_URL": keyed.url, "API_URL": keyed.url}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    expected = SAYS[name]
    if expected is None:
        assert re.fullmatch(r"kt_\w{12}_….{4}", lines[0])
        assert lines[1] == "['revoked', 'active']"
    else:
        assert lines == expected
    assert keyed.key not in done.stdout


def test_every_example_is_known() -> None:
    """No example is left out."""
    assert {name for name, _ in EXAMPLES} == set(SAYS)
