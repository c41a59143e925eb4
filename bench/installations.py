"""Installations of Keyturn: a database, a root key, a person, and real servers on them."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.environments import KEYTURN
from bench.errors import NotMeasured
from bench.servers import Server, answers, free_port, run_command, serving
from bench.wire import Request, ask_once
from keyturn.core.api_key import RANDOM_BYTES, ApiKeyFormat

USERID = "bench"
PASSWORD = "seven green lanterns drift"
VERIFY_PATH = "/verify"
EXCHANGE_PATH = "/bim/apikey/authenticate"
KEYS_PATH = "/bim/apikey"
CONNECTION_PATH = "/data/connection/123456789"
"""The connection that `keyturn serve --demo` registers."""


NO_LIMITS = {"KEYTURN_CREATIONS_PER_MINUTE": "1000000", "KEYTURN_KEYS_PER_OWNER": "1000000"}
"""Settings with which one person may make as many keys as a load asks for."""

LISTED = 25
"""How many of each a list is made of."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One database with its root key; several servers may run on it."""

    database: str
    root_key_file: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """What is not as anybody has it."""

    def environment(self, port: int) -> dict[str, str]:
        """Return the settings of a node that listens on this port, all others at their defaults."""
        return {
            "KEYTURN_DATABASE": self.database,
            "KEYTURN_NEW_INSTALLATION": "true",
            "KEYTURN_ROOT_KEY_FILE": str(self.root_key_file),
            "KEYTURN_PORT": str(port),
            **self.settings,
        }

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run `keyturn` with these arguments on this installation; return what it printed."""
        environment = self.environment(free_port())
        return run_command(KEYTURN, *arguments, environment=environment, stdin=stdin).strip()

    def add_person(self) -> None:
        """Add the person who owns the keys; this makes and migrates the database too."""
        self.run("admin", "user", "add", USERID, "--password-stdin", stdin=PASSWORD)

    def new_key(self) -> str:
        """Make a key of that person and return its text."""
        return self.run("admin", "key", "add", "--user", USERID, "--name", "bench")

    def add_administrator(self) -> None:
        """Add the person with every permission: they see what lists are made of."""
        options = ("--permission", "all", "--password-stdin")
        self.run("admin", "user", "add", USERID, *options, stdin=PASSWORD)

    @contextmanager
    def serving(self, directory: Path, *arguments: str, port: int | None = None) -> Iterator[Server]:
        """Run one node until the block ends."""
        chosen = port or free_port()
        with serving(
            *(KEYTURN, "serve", *arguments),
            port=chosen,
            directory=directory,
            ready=lambda: answers(chosen, "/health/ready"),
            environment=self.environment(chosen),
        ) as server:
            yield server


def new_installation(directory: Path, database: str | None = None) -> Installation:
    """Return an installation on this database, or on a new SQLite file of `directory`. Makes a root key."""
    root_key_file = directory / "root.key"
    if not root_key_file.exists():
        root_key_file.touch(mode=0o600)
        root_key_file.write_text(run_command(KEYTURN, "admin", "root-key"))
    return Installation(database or f"sqlite:///{directory / 'keyturn.db'}", root_key_file)


def demonstration_key(server: Server) -> str:
    """Return the key that `keyturn serve --demo` printed."""
    found = re.search(ApiKeyFormat().pattern, server.output.read_text())
    if found is None:
        raise NotMeasured("keyturn serve --demo printed no key")
    return found.group()


def fill_lists(port: int, key: str) -> None:
    """Make as many people, keys, groups and projects as stand in a list; raise `NotMeasured` if one fails."""
    for number in range(LISTED):
        for path, body in (
            ("/bim/iam/bim/user", {"userid": f"person{number}@example.com"}),
            (KEYS_PATH, {"name": f"key {number}"}),
            ("/bim/group", {"name": f"group {number}"}),
            ("/project", {"name": f"project {number}"}),
        ):
            headers = {"Authorization": key, "Content-Type": "application/json"}
            answer = ask_once(port, Request("POST", path, headers, body=json.dumps(body)))
            if answer.status != 200:
                raise NotMeasured(f"{path} answered {answer.status}")


def exchange(key: str) -> Request:
    """Return the request that asks for a bearer token."""
    return Request(
        "POST", EXCHANGE_PATH, {"Content-Type": "application/json"}, body=json.dumps({"apikey": key})
    )


def token_for(port: int, key: str) -> str:
    """Exchange a key for a bearer token; raise `NotMeasured` if it is refused."""
    answer = ask_once(port, exchange(key))
    if answer.status != 200:
        raise NotMeasured(f"the exchange answered {answer.status}")
    token: str = json.loads(answer.body)["token"]
    return token


def unknown_key() -> str:
    """Return a well-formed key that nobody was given."""
    return ApiKeyFormat().make_api_key(secrets.token_bytes(RANDOM_BYTES)).text
