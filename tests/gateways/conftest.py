"""What the tests of gateways share: Keyturn, an API, and each gateway between the two."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import TYPE_CHECKING

import pytest

from keyturn.core.networks import read_network
from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.gateways.gateways import HOST, KINDS, Kind, running_gateway
from tests.gateways.upstreams import Api, Got, StandIn, running_api
from tests.people import change_behind
from tests.servers import running_app, running_server
from tests.web.sites import TIMEOUT_SECONDS, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from tests.gateways.gateways import Gateway

BOB = "bob@example.com"


@dataclass(frozen=True)
class Answer:
    """What a client of the gateway got."""

    status: int
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Scene:
    """A gateway, who stands behind it, and keys."""

    gateway: Gateway
    site: Site
    api: Api
    key: str
    """Of Bob, for everything."""
    narrow: str
    """Of Bob, for `reports:read` alone."""

    def send(self, request: bytes, *, source: str = "127.0.0.1") -> Answer:
        """Send these bytes from this address, and return the first answer that is not preliminary."""
        with socket.create_connection(
            ("127.0.0.1", self.gateway.port), timeout=TIMEOUT_SECONDS, source_address=(source, 0)
        ) as connection:
            connection.sendall(request)
            return read_answer(connection, request.partition(b" ")[0].decode())

    def get(
        self,
        target: str,
        credential: str | None = None,
        *lines: str,
        method: str = "GET",
        source: str = "127.0.0.1",
    ) -> Answer:
        """Ask for a target, written as it stands, with these header lines."""
        return self.send(request(target, credential, *lines, method=method), source=source)

    def passed(
        self, target: str, credential: str | None = None, *lines: str, source: str = "127.0.0.1"
    ) -> Got:
        """Ask for a target, and return what the API got of it."""
        before = len(self.api.got)
        answer = self.get(target, credential, *lines, source=source)
        assert answer.status == 200, answer
        assert len(self.api.got) == before + 1
        return self.api.last()

    def refused(
        self, target: str, credential: str | None = None, *lines: str, source: str = "127.0.0.1"
    ) -> Answer:
        """Ask for a target; the API gets nothing of it."""
        before = len(self.api.got)
        answer = self.get(target, credential, *lines, source=source)
        assert answer.status >= 300, answer
        assert len(self.api.got) == before
        return answer


def request(target: str, credential: str | None, *lines: str, method: str = "GET") -> bytes:
    """Return the bytes of a request without a body."""
    given = [f"{method} {target} HTTP/1.1", f"Host: {HOST}"]
    if credential is not None:
        given.append(f"Authorization: {credential}")
    if not any(line.lower().startswith("connection:") for line in lines):
        given.append("Connection: close")
    return "\r\n".join([*given, *lines, "", ""]).encode("latin-1")


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """Read one answer, and those that come before it (100)."""
    answer = HTTPResponse(connection, method=method)
    answer.begin()
    return Answer(answer.status, answer.headers, answer.read())


@pytest.fixture(scope="package", params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each gateway; a test that takes it, or what stands on it, runs for all."""
    found: Kind = request.param
    return found


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Keyturn, which believes the gateway."""
    clock = Clock()
    database = new_sqlite_database(tmp_path_factory.mktemp("site"))
    proxies = (read_network("127.0.0.1"),)
    with running_server(
        database,
        clock.system(),
        trusted_proxies=proxies,
        allowed_hosts=(HOST,),
        failures_per_minute=1_000_000,
    ) as server:
        opened = Site(server, clock, database)
        opened.add_people()
        yield opened


@pytest.fixture(scope="package")
def scene(kind: Kind, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway between Keyturn and an API."""
    folder = tmp_path_factory.mktemp(kind.name)
    with running_api() as api, running_gateway(kind, folder, keyturn=site.url, api=api.url) as gateway:
        yield Scene(gateway, site, api, site.key(BOB).secret, narrowed_key(site, "reports:read"))


@dataclass(frozen=True)
class StandInScene(Scene):
    """A scene with somebody else in Keyturn's place."""

    keyturn: StandIn


@pytest.fixture(scope="package")
def stand_in_scene(
    kind: Kind, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandInScene]:
    """A gateway between what a test says and an API."""
    stand_in = StandIn()
    folder = tmp_path_factory.mktemp(kind.name)
    with (
        running_api() as api,
        running_app(stand_in) as url,
        running_gateway(kind, folder, keyturn=url, api=api.url) as gateway,
    ):
        yield StandInScene(gateway, site, api, "any", "any", stand_in)


def narrowed_key(site: Site, *scopes: str) -> str:
    """Return a new key of Bob for these scopes alone."""
    made = site.key(BOB)
    listed = ",".join(f'"{scope}"' for scope in scopes)
    change_behind(
        site.services,
        "UPDATE api_key SET scopes = :scopes WHERE id = :id",
        scopes=f"[{listed}]",
        id=made.record.key_id,
    )
    return made.secret
