"""Verifying far from the database works where only the small half of Keyturn is installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.replica.edges import Edge

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
SERVER_ONLY = [
    *("sqlalchemy", "alembic", "argon2", "click", "confusable_homoglyphs", "httptools", "jinja2", "litestar"),
    *(
        "markupsafe",
        "platformdirs",
        "precis_i18n",
        "prometheus_client",
        "psycopg",
        "pysqlite3",
        "rich",
        "shamir_mnemonic",
        "structlog",
        "uvicorn",
        "uvloop",
        "zxcvbn",
    ),
]
"""What each requirement of the server is imported as."""
PROGRAM = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from keyturn import Verifier
with Verifier({url!r}, {follower!r}) as verifier:
    print(verifier.verify({key!r}).userid)
with Verifier({url!r}, {follower!r}, follow=False) as verifier:
    print(verifier.verify({token!r}).userid)
try:
    Verifier("sqlite:///nowhere.db")
except Exception as error:
    print(error)
"""


def test_every_requirement_of_the_server_is_blocked() -> None:
    """The list below is that of the packaging, so that the next test means what it says."""
    extras = PROJECT["optional-dependencies"]
    wanted = {name.partition(">")[0].partition("[")[0] for name in (*extras["server"], *extras["cli"])}
    assert "keyturn[cli]" in extras["server"]
    wanted.discard("keyturn")
    spelled = {"argon2": "argon2-cffi"}
    assert {spelled.get(name, name.replace("_", "-")) for name in SERVER_ONLY} == wanted


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_it_verifies_without_the_servers_packages(edge: Edge) -> None:
    """With every package of the server missing both ways work; a database address says what it takes."""
    key = edge.key()
    program = PROGRAM.format(
        blocked=SERVER_ONLY,
        url=edge.server.url,
        follower=edge.follower.secret,
        key=key.secret,
        token=edge.token(key),
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first == second == "bob"
    assert "install keyturn[server]" in third
