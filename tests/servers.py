"""A real server on a real socket, in a thread of the test process."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from keyturn.composition import Services, open_services
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import Settings, read_settings
from keyturn.web.app import create_app
from keyturn.web.edge.server import Server, server_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.services.people.identity.provider import IdentityProvider
    from keyturn.system import System

START_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class RunningServer:
    """Where it listens, and what it serves."""

    url: str
    services: Services


@contextmanager
def running_app(app: Any, *, http: Any = None) -> Iterator[str]:
    """Serve any ASGI application on a free loopback port until the block ends; yield its address.

    `http` is another protocol than ours, as uvicorn names it.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with _serving(app, listener, http=http):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def running_server(
    database: str, system: System | None = None, **settings: object
) -> Iterator[RunningServer]:
    """Serve `database` on a free loopback port until the block ends.

    `identity_providers` are more of them; all others are settings.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        settings.setdefault("creations_per_minute", 1_000_000)  # Many tests stop the clock.
        settings.setdefault("passwords_per_minute", 1_000_000)
        others = cast("tuple[IdentityProvider, ...]", settings.pop("identity_providers", ()))
        chosen = read_settings({"KEYTURN_DATABASE": database}, port=port, **settings)
        services = open_services(chosen, system, hashing=CHEAPEST, identity_providers=others)
        with _serving(create_app(services), listener, settings=chosen):
            yield RunningServer(chosen.public_url, services)


@contextmanager
def _serving(
    app: Any, listener: socket.socket, *, http: Any = None, settings: Settings | None = None
) -> Iterator[None]:
    settings = settings or read_settings({})
    config = server_config(app, settings)
    config.http = http or config.http
    server = Server(config, settings, last_request_seconds=0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
