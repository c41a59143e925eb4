"""Signing a program in by a page, against a real server whose clock the program's waiting moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keyturn.client import ApiClient, DeviceCodes, DeviceLogin, LoginRefused
from keyturn.core.lifetimes import Lifetime
from keyturn.verifying.origin import Origin
from tests.apis import register
from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.people import add_person, is_accepted, log_in, signed_in
from tests.servers import RunningServer, running_app, running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request

NAME = "nightly export"
HERE = Origin(address="127.0.0.1")


@dataclass
class Desk:
    """A server, its clock, a person, and what the program waits."""

    server: RunningServer
    clock: Clock
    waits: list[float] = field(default_factory=list)
    on_wait: Callable[[int], object] = lambda _number: None

    def sleep(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.waits.append(seconds)
        self.on_wait(len(self.waits))

    def login(self, **options: str) -> DeviceLogin:
        return DeviceLogin(
            self.server.url, NAME, sleep=self.sleep, monotonic=lambda: self.clock.monotonic, **options
        )

    def approve(self, codes: DeviceCodes, lifetime: Lifetime) -> None:
        services = self.server.services
        session = signed_in(services, log_in(services))
        services.devices.approve(session, codes.user_code, lifetime, HERE)

    def deny(self, codes: DeviceCodes) -> None:
        services = self.server.services
        services.devices.deny(signed_in(services, log_in(services)), codes.user_code, HERE)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = Clock()
    with running_server(new_sqlite_database(tmp_path), clock.system()) as server:
        add_person(server.services)
        yield Desk(server, clock)


def test_a_program_gets_a_key(desk: Desk) -> None:
    """The program waits as the server wants, and has a key of whoever approves, with its end."""
    with desk.login() as login:
        codes = login.begin()
        desk.on_wait = lambda number: (
            desk.approve(codes, Lifetime(desk.clock.now + timedelta(days=7))) if number == 3 else None
        )
        made = login.wait(codes)
    assert desk.waits == [5, 5, 5]
    assert made.expires_in == 7 * 86_400
    assert is_accepted(desk.server.services, made.key)
    with ApiClient(desk.server.url, made.key) as client:
        assert [key.name for key in client.list_keys()] == [NAME]
    assert made.key not in repr(made)
    assert codes.device_code not in repr(codes)


def test_scopes_narrow_the_key(desk: Desk) -> None:
    """A program that asks for scopes has a key for these alone; one for ever has no end."""
    register(desk.server.services, "orders")
    with desk.login(scope="orders:read") as login:
        codes = login.begin()
        desk.approve(codes, Lifetime(None))
        made = login.wait(codes)
    assert made.expires_in is None
    answer = httpx.get(f"{desk.server.url}/verify", headers={"Authorization": made.key})
    assert answer.headers["keyturn-scopes"] == "orders:read"


def test_a_refusal_ends_the_waiting(desk: Desk) -> None:
    """The person says no: the program is told, in a sentence and in a word of OAuth."""
    with desk.login() as login:
        codes = login.begin()
        desk.deny(codes)
        with pytest.raises(LoginRefused) as refused:
            login.wait(codes)
    assert refused.value.code == "access_denied"
    assert "refused" in str(refused.value)


def test_the_waiting_ends_with_the_codes(desk: Desk) -> None:
    """Nobody decides: after the life of the codes the program stops asking."""
    with desk.login() as login:
        codes = login.begin()
        with pytest.raises(LoginRefused) as refused:
            login.wait(codes)
    assert refused.value.code == "expired_token"
    assert sum(desk.waits) == 600


def test_an_unfit_name_is_told(desk: Desk) -> None:
    """What the server refuses is raised with the server's sentence."""
    with DeviceLogin(desk.server.url, "x" * 65) as login, pytest.raises(LoginRefused) as refused:
        login.begin()
    assert refused.value.code == "invalid_request"
    assert "64 characters" in str(refused.value)


def test_no_key_is_asked_for_in_clear() -> None:
    """An address without https that is not loopback is refused before anything is sent."""
    with pytest.raises(ValueError, match="https"):
        DeviceLogin("http://keys.example.com", NAME)


# Servers of other kinds


def other_server(codes: dict[str, object], *answers: tuple[int, dict[str, object]]) -> Starlette:
    """A server that begins with these codes, and then answers so."""
    left = list(answers)

    async def begin(_request: Request) -> JSONResponse:
        return JSONResponse(codes)

    async def token(_request: Request) -> JSONResponse:
        status, body = left.pop(0)
        return JSONResponse(body, status)

    return Starlette(
        routes=[
            Route("/oauth/device_authorization", begin, methods=["POST"]),
            Route("/oauth/token", token, methods=["POST"]),
        ]
    )


CODES: dict[str, object] = {
    "device_code": "device",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://keys.example.com/device",
    "verification_uri_complete": "https://keys.example.com/device?user_code=WDJB-MJHT",
    "expires_in": 600,
}
PENDING = (400, {"error": "authorization_pending"})


def test_a_server_in_trouble_is_asked_more_seldom() -> None:
    """`slow_down` adds five seconds each time; an error of the server's own does not end the login."""
    waits: list[float] = []
    granted = (200, {"access_token": "kt_x", "token_type": "Bearer"})
    answers = (PENDING, (400, {"error": "slow_down"}), (503, {}), (400, {"error": "slow_down"}), granted)
    with (
        running_app(other_server(CODES, *answers)) as url,
        DeviceLogin(url, NAME, sleep=waits.append) as login,
    ):
        assert login.wait(login.begin()).key == "kt_x"
    assert waits == [5, 5, 10, 10, 15]


def test_a_server_that_is_away_is_asked_again() -> None:
    """Without an answer the program waits longer each time (RFC 8628, section 3.5), up to a minute."""
    waits: list[float] = []
    time = [0.0]

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time[0] += seconds

    with (
        running_app(other_server(CODES)) as url,
        DeviceLogin(url, NAME, sleep=sleep, monotonic=lambda: time[0]) as login,
    ):
        codes = login.begin()
        login._http = httpx.Client(base_url="http://127.0.0.1:9", timeout=1)
        with pytest.raises(LoginRefused):
            login.wait(codes)
    assert waits[:5] == [5, 10, 20, 40, 60]
    assert max(waits) == 60


@pytest.mark.parametrize(
    "changed",
    [
        {"user_code": "\x1b[2J"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri_complete": "file:///etc/passwd"},
        {"verification_uri": "https://keys.example.com/\u202e"},
        {"device_code": None},
        {"expires_in": "long"},
    ],
)
def test_what_no_keyturn_says_is_not_shown(changed: dict[str, object]) -> None:
    """An answer that could do something to a terminal or a browser, or is of another form, is refused."""
    with (
        running_app(other_server(CODES | changed)) as url,
        DeviceLogin(url, NAME) as login,
        pytest.raises(LoginRefused) as refused,
    ):
        login.begin()
    assert refused.value.code == "invalid_response"
