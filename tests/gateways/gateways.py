"""Real gateways, each run from the configuration that the documentation gives to copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.journeys.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DOCUMENTED = Path(__file__).parent.parent.parent / "docs" / "howto" / "gateways"
KEYTURN_ADDRESS, API_ADDRESS = "127.0.0.1:8400", "127.0.0.1:9000"
"""Where the documented configurations expect Keyturn and the API."""
HOST = "api.example.com"
"""What the documented configurations call the API."""
START_TIMEOUT_SECONDS = 120

_NGINX_MAIN = """
daemon off;
master_process off;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/nginx.conf;
}}
"""
"""What Debian's own nginx.conf does around the files of /etc/nginx/conf.d."""


@dataclass(frozen=True)
class Kind:
    """One gateway: its program, the files to copy, and how it is started."""

    name: str
    version: tuple[str, ...]
    """The command that says the version."""
    files: tuple[str, ...]
    listens: tuple[str, str]
    """How the documented file says the port, and what a test writes there."""
    arguments: Callable[[Path], list[str]]
    """What the program is given to run what stands in this folder, in the foreground."""
    places: Mapping[str, str] = field(default_factory=dict)
    """What else in the documented files is a place, and what a test writes there."""

    def write(self, folder: Path, places: Mapping[str, str]) -> None:
        """Write the documented files, with only places replaced; each must be in one of them."""
        texts = {name: (DOCUMENTED / name).read_text() for name in self.files}
        as_documented = "".join(texts.values())
        for documented, replacement in places.items():
            assert documented in as_documented, documented
            texts = {name: text.replace(documented, replacement) for name, text in texts.items()}
        for name, text in texts.items():
            (folder / name).write_text(text)


def _nginx(folder: Path) -> list[str]:
    (folder / "main.conf").write_text(_NGINX_MAIN.format(folder=folder))
    return ["-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "main.conf")]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("nginx", ("nginx", "-v"), ("nginx.conf",), ("listen 8080", "listen 127.0.0.1:{port}"), _nginx),
        Kind(
            "Caddy",
            ("caddy", "version"),
            ("Caddyfile",),
            ("http://:8080 {", "http://:{port} {{\n\tbind 127.0.0.1"),
            lambda folder: ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")],
        ),
        Kind(
            "HAProxy",
            ("haproxy", "-v"),
            ("haproxy.cfg", "keyturn.lua"),
            ("bind :8080", "bind 127.0.0.1:{port}"),
            lambda folder: ["-db", "-f", str(folder / "haproxy.cfg")],
            {"/etc/haproxy": "{folder}"},
        ),
        Kind(
            "Traefik",
            ("traefik", "version"),
            ("traefik.yaml", "traefik-api.yaml"),
            ('address: ":8080"', 'address: "127.0.0.1:{port}"'),
            lambda folder: [f"--configFile={folder / 'traefik.yaml'}"],
            {"directory: /etc/traefik/conf.d": "filename: {folder}/traefik-api.yaml"},
        ),
        Kind(
            "Envoy",
            ("envoy", "--version"),
            ("envoy.yaml",),
            ("address: 0.0.0.0, port_value: 8080", "address: 127.0.0.1, port_value: {port}"),
            lambda folder: [
                "-c",
                str(folder / "envoy.yaml"),
                "--disable-hot-restart",
                "--concurrency",
                "1",
                "--log-level",
                "error",
            ],
            {
                "address: 127.0.0.1, port_value: 8400": "address: 127.0.0.1, port_value: {keyturn_port}",
                "address: 127.0.0.1, port_value: 9000": "address: 127.0.0.1, port_value: {api_port}",
            },
        ),
    )
}


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs."""

    name: str
    port: int


def program_of(kind: Kind) -> str:
    """Return where the program is, for administrators too; skip the test where it is not."""
    name = kind.version[0]
    found = shutil.which(
        name,
        path=os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"]
        ),
    )
    if found is None:
        pytest.skip(f"no {name}: install it to run these tests")
    return found


def installed_version(kind: Kind) -> str:
    """Return the version of the program, as "1.22"."""
    said = subprocess.run(
        [program_of(kind), *kind.version[1:]], capture_output=True, text=True, check=True, timeout=20
    )
    found = re.search(r"\d+\.\d+", said.stdout + said.stderr)
    assert found is not None
    return found[0]


@contextmanager
def running_gateway(
    kind: Kind, folder: Path, *, keyturn: str, api: str, changes: Mapping[str, str] | None = None
) -> Iterator[Gateway]:
    """Run a gateway between these two addresses until the block ends; skip where it is not installed.

    `changes` are mistakes of an operator, for the tests of what a configuration does about them.
    """
    program = program_of(kind)
    port = free_port()
    documented, replacement = kind.listens
    keyturn, api = keyturn.removeprefix("http://"), api.removeprefix("http://")
    there = {
        "folder": folder,
        "port": port,
        "keyturn_port": keyturn.rpartition(":")[2],
        "api_port": api.rpartition(":")[2],
    }
    places = {
        **(changes or {}),
        KEYTURN_ADDRESS: keyturn,
        API_ADDRESS: api,
        **{said: place.format_map(there) for said, place in {**kind.places, documented: replacement}.items()},
    }
    kind.write(folder, places)
    environment = os.environ | {
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
    }
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *kind.arguments(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        _wait_for(port, process, log)
        yield Gateway(kind.name, port)
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        with suppress(OSError, HTTPException), closing(HTTPConnection("127.0.0.1", port, timeout=2)) as probe:
            probe.request("GET", "/health", headers={"Host": HOST})
            if probe.getresponse().status == HTTPStatus.OK:  # Traefik listens before it has read all.
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text())
        time.sleep(0.02)
