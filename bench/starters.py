"""How each server of the run is started, and with which credentials."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.environments import NODE_PACKAGES, node, peers_python
from bench.installations import (
    NO_LIMITS,
    demonstration_key,
    fill_lists,
    new_installation,
    token_for,
    unknown_key,
)
from bench.peers.storage import CREDENTIALS_FILE_NAME, DIRECTORY_VARIABLE
from bench.postgresql import new_database, running_postgresql
from bench.servers import answers, free_port, listens, run_command, serving

DJANGO_THREADS = 4


@dataclass(frozen=True, slots=True)
class Started:
    """A server that runs, and what opens it."""

    port: int
    credentials: Mapping[str, str]


Starter = Callable[[Path], AbstractContextManager[Started]]
"""Takes a fresh directory; raises `NotMeasured` if the server cannot be set up."""


def _bare(*arguments: str) -> Starter:
    @contextmanager
    def start(directory: Path) -> Iterator[Started]:
        port = free_port()
        with serving(
            *(sys.executable, "-m", "bench.bare", str(port), *arguments),
            port=port,
            directory=directory,
            ready=lambda: answers(port, "/"),
        ):
            yield Started(port, {})

    return start


@contextmanager
def _keyturn_sqlite(directory: Path) -> Iterator[Started]:
    with new_installation(directory).serving(directory, "--demo") as server:
        key = demonstration_key(server)
        yield Started(server.port, {"key": key, "token": token_for(server.port, key)})


@contextmanager
def _keyturn_creating(directory: Path) -> Iterator[Started]:
    """Start a server on which one person may make as many keys as the load asks for."""
    with replace(new_installation(directory), settings=NO_LIMITS).serving(directory, "--demo") as server:
        yield Started(server.port, {"key": demonstration_key(server)})


@contextmanager
def _keyturn_lists(directory: Path) -> Iterator[Started]:
    """Start a server with lists to read, for somebody who sees all of them."""
    installation = new_installation(directory)
    installation.add_administrator()
    key = installation.new_key()
    with installation.serving(directory) as server:
        fill_lists(server.port, key)
        yield Started(server.port, {"key": key})


@contextmanager
def _keyturn_refusing(directory: Path) -> Iterator[Started]:
    """Start a server of its own for wrong keys: where refusals are limited, they limit nobody else."""
    installation = new_installation(directory)
    installation.add_person()
    with installation.serving(directory) as server:
        yield Started(server.port, {"unknown": unknown_key(), "malformed": "kt_no-key"})


@contextmanager
def _keyturn_postgresql(directory: Path) -> Iterator[Started]:
    with running_postgresql(directory) as postgresql:
        installation = new_installation(directory, new_database(postgresql))
        installation.add_person()
        key = installation.new_key()
        with installation.serving(directory) as server:
            yield Started(server.port, {"key": key, "token": token_for(server.port, key)})


def _uvicorn(application: str) -> Starter:
    @contextmanager
    def start(directory: Path) -> Iterator[Started]:
        port = free_port()
        options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
        with serving(
            *(peers_python(), "-m", "uvicorn", application, "--port", str(port), *options),
            port=port,
            directory=directory,
            ready=lambda: _is_peer_ready(directory, port),
            environment={DIRECTORY_VARIABLE: str(directory)},
        ):
            yield Started(port, _published(directory))

    return start


@contextmanager
def _django(directory: Path) -> Iterator[Started]:
    port = free_port()
    environment = {DIRECTORY_VARIABLE: str(directory)}
    run_command(peers_python(), "-m", "bench.peers.django_site", environment=environment)
    options = ("--worker-class", "gthread", "--workers", "1", "--threads", str(DJANGO_THREADS))
    with serving(
        *(peers_python(), "-m", "gunicorn", "bench.peers.django_site:application", *options),
        *("--bind", f"127.0.0.1:{port}", "--log-level", "warning", "--no-control-socket"),
        port=port,
        directory=directory,
        ready=lambda: _is_peer_ready(directory, port),
        environment=environment,
    ):
        yield Started(port, _published(directory))


def _node(script: str) -> Starter:
    @contextmanager
    def start(directory: Path) -> Iterator[Started]:
        port = free_port()
        with serving(
            *(node(), str(NODE_PACKAGES / script), str(port), str(directory)),
            port=port,
            directory=directory,
            ready=lambda: _is_peer_ready(directory, port),
            environment={"NODE_ENV": "production"},
        ):
            yield Started(port, _published(directory))

    return start


def _is_peer_ready(directory: Path, port: int) -> bool:
    credentials = directory / CREDENTIALS_FILE_NAME
    return credentials.exists() and credentials.stat().st_size > 0 and listens(port)


def _published(directory: Path) -> dict[str, str]:
    credentials: dict[str, str] = json.loads((directory / CREDENTIALS_FILE_NAME).read_text())
    return credentials


STARTERS: Mapping[str, Starter] = {
    "bare-asgi": _bare(),
    "bare-asgi-plain": _bare("plain"),
    "keyturn-sqlite": _keyturn_sqlite,
    "keyturn-creating": _keyturn_creating,
    "keyturn-lists": _keyturn_lists,
    "keyturn-refusing": _keyturn_refusing,
    "keyturn-postgresql": _keyturn_postgresql,
    "fastapi-dictionary": _uvicorn("bench.peers.fastapi_dictionary:app"),
    "keyshield-memory": _uvicorn("bench.peers.keyshield_app:in_memory"),
    "keyshield-sqlite": _uvicorn("bench.peers.keyshield_app:on_sqlite"),
    "fastapi-users": _uvicorn("bench.peers.fastapi_users_app:app"),
    "drf-api-key": _django,
    "knox-1-token": _django,
    "knox-1000-tokens": _django,
    "django-oauth-toolkit": _django,
    "oidc-provider": _node("oidc_provider.mjs"),
    "better-auth": _node("better_auth.mjs"),
}
