"""A running server with people in it, and the ways in which tests talk to it."""

from __future__ import annotations

import itertools
import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import httpx

from keyturn.core.lifetimes import Lifetime
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import CreatedKey, NewKey
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.app import create_framework_app, route_table
from tests.conftest import PASSWORD
from tests.people import HERE, person

if TYPE_CHECKING:
    from datetime import datetime

    from keyturn.composition import Services
    from keyturn.core.people import UserRecord
    from tests.fakes import Clock
    from tests.servers import RunningServer

ROUTES = route_table()
"""Every route that is declared."""
CONNECTION = "123456789"
FORM = "application/x-www-form-urlencoded"
ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
"""What a browser sends when a person goes to an address, or sends a form."""
TIMEOUT_SECONDS = 20

_numbers = itertools.count(1)


@dataclass
class Site:
    """A server, the clock that it reads, and its database."""

    server: RunningServer
    clock: Clock
    database: str
    users: dict[str, UserRecord] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def url_bound(self) -> str:
        """Where it listens, when its public address is another."""
        settings = self.services.settings
        return f"http://{settings.host}:{settings.port}"

    @property
    def host(self) -> str:
        return urlsplit(self.server.url).netloc

    @property
    def services(self) -> Services:
        return self.server.services

    def add_people(self) -> None:
        """Add an administrator, somebody with the default permissions, and a connection."""
        self.add_user("admin@example.com", frozenset(Permission))
        self.add_user("bob@example.com")
        self.services.connections.register(
            COMMAND_LINE,
            self.users["admin@example.com"].user_id,
            CONNECTION,
            {"technology": "Snowflake", "hostname": "example.com", "port": 443},
        )

    def add_user(self, userid: str, permissions: frozenset[str] = frozenset()) -> UserRecord:
        self.users[userid] = self.services.users.add(
            COMMAND_LINE,
            userid=userid,
            name=userid.partition("@")[0],
            password=PASSWORD,
            permissions=permissions,
        )
        return self.users[userid]

    def add_holder(self, userid: str, permissions: frozenset[str]) -> UserRecord:
        """Add somebody who holds exactly these permissions: also the default ones can be taken away."""
        self.add_user(userid, permissions)
        administrator = person(self.services, "admin@example.com")
        self.users[userid] = self.services.user_administration.set_permissions(
            administrator, "bim", userid, permissions, HERE
        )
        return self.users[userid]

    def new_user(self) -> UserRecord:
        """Add somebody whom no other test knows."""
        return self.add_user(f"person{next(_numbers)}@example.com")

    def key(self, userid: str, *, expires_at: datetime | None = None, never: bool = False) -> CreatedKey:
        lifetime = Lifetime(expires_at) if never or expires_at is not None else None
        return self.services.keys.create_for(
            self.users[userid].user_id, COMMAND_LINE, NewKey("test", lifetime)
        )

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url_bound, timeout=TIMEOUT_SECONDS, **options)  # type: ignore[arg-type]

    def browser(self, userid: str, password: str = PASSWORD) -> Browser:
        """Sign somebody in."""
        browser = Browser(self)
        answer = browser.log_in(userid, password)
        assert answer.status_code == 303, answer.text
        return browser

    def raw(self, request: bytes) -> bytes:
        """Send these bytes, and return all that comes back until the server closes the connection."""
        parts = urlsplit(self.url_bound)
        assert parts.hostname is not None
        assert parts.port is not None
        with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(request)
            return read_all(connection)

    def raw_get(self, path: str, *lines: bytes) -> bytes:
        """Send a GET with these header lines, Host first."""
        return self.raw(
            f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n".encode()
            + b"".join(line + b"\r\n" for line in lines)
            + b"\r\n"
        )

    def routes(self) -> list[tuple[str, str]]:
        """Return every method and path pattern of the application, those of the framework too."""
        return [
            (method, route.path)
            for route in create_framework_app(self.services).routes
            for method in sorted({*route.methods, *({"HEAD"} if "GET" in route.methods else set())})
        ]


class Browser(httpx.Client):
    """Keeps cookies, follows no redirect, and sends what a browser sends with a form of our pages."""

    def __init__(self, site: Site, **options: object) -> None:
        super().__init__(base_url=site.url_bound, timeout=TIMEOUT_SECONDS, **options)  # type: ignore[arg-type]
        self.headers["Accept"] = ACCEPT

    def log_in(self, userid: str, password: str, **fields: str) -> httpx.Response:
        return self.post("/login", data={"userid": userid, "password": password, **fields})

    def csrf(self, path: str = "/profile") -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found is not None
        return found[1]

    def form_id(self) -> str:
        found = re.search(r'name="form_id" value="([^"]+)"', self.get("/profile/keys/new").text)
        assert found is not None
        return found[1]

    def submit(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of one of our pages."""
        return self.post(path, data={"csrf": self.csrf(), **fields})

    def create_key(self, **fields: str) -> httpx.Response:
        return self.submit("/profile/keys", **{"expiry": "90", "form_id": self.form_id(), **fields})

    def session_value(self) -> str:
        return next(cookie.value or "" for cookie in self.cookies.jar if cookie.name.endswith("keyturn"))


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes the connection."""
    parts = []
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def status_of(answer: bytes) -> int:
    """Return the status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def statuses_of(answers: bytes) -> list[int]:
    """Return the statuses of raw answers that came over one connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def filled(path: str, /, **values: object) -> str:
    """Fill the parameters of a path pattern such as `/apikey/{keyid:str}`."""
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: str(values[match[1]]), path)


def secret_on(page: str) -> str:
    """Return the key that a page shows."""
    found = re.search(r"kt_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", page)
    assert found is not None, page
    return found[0]


def form_body(fields: dict[str, str]) -> bytes:
    return urlencode(fields).encode("ascii")
