"""Whoever is revoked while their request is under way changes nothing, on any route (A1)."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import text

from keyturn.core.feed import PATH as FEED
from keyturn.core.permissions import Permission
from keyturn.services.people.sessions import LOOPBACK_SESSION_COOKIE, csrf_token
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.app import create_app
from keyturn.web.forward_auth import PATH as VERIFY
from tests.conftest import PASSWORD
from tests.people import log_in
from tests.web.people_routes import CALLS, Call, add_things, with_values
from tests.web.sites import FORM, ROUTES, Site, filled
from tests.web.test_route_table import OPEN_POSTS, plausible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keyturn.composition import Services
    from keyturn.web.edge.gate import Gate
    from tests.fakes import Clock

CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class NoServer:
    """In the place of a server: the gate is called in this process."""

    services: Services
    url: str = "http://localhost"


@pytest.fixture
def site(services: Services, clock: Clock, database: str) -> Site:
    found = Site(NoServer(services), clock, database)  # type: ignore[arg-type]
    found.add_people()
    return found


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    location: str = ""


async def answered(
    gate: Gate,
    line: tuple[str, str],
    headers: Mapping[str, str],
    body: bytes,
    meanwhile: Callable[[], None],
    *,
    is_chunked: bool = False,
) -> Answer:
    """Send a request but for its last byte, let `meanwhile` happen, and send that byte; return the answer."""
    method, (path, _, query) = line[0], line[1].partition("?")
    parts = iter(((body[:-1], True), (body[-1:], False)))
    answer = Answer()

    async def receive() -> dict[str, Any]:
        part, has_more = next(parts, (None, False))
        if part is None:
            return {"type": "http.disconnect"}
        if not has_more:
            await asyncio.to_thread(meanwhile)
        return {"type": "http.request", "body": part, "more_body": has_more}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            found = dict(message["headers"])
            answer.location = found.get(b"location", b"").decode()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"transfer-encoding", b"chunked") if is_chunked else (b"content-length", b"%d" % len(body)),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await gate(scope, receive, send)
    return answer


def call_of(method: str, path: str) -> list[Call]:
    found = [call for call in CALLS if call.route == (method, re.sub(":str|:path", "", path))]
    return found or [Call(method, re.sub(":str|:path", "", path), {})]


def new_caller(site: Site) -> str:
    userid = f"caller{next(_numbers)}@example.com"
    site.add_user(userid, frozenset(Permission))
    return userid


@pytest.mark.parametrize("end", ["revoke the key", "disable the owner"])
def test_fault_a1_a_key_that_is_revoked_before_the_last_byte_changes_nothing(site: Site, end: str) -> None:
    """Each route of the API that changes something answers 401, and nothing is changed (A1).

    It may not have acted before it had the whole request either: the revoke is the one change that there is.
    """
    services, gate = site.services, create_app(site.services)
    things = add_things(site, password=PASSWORD)
    wrong = {}
    for method, path in changing_routes(site):
        if ROUTES.is_page(path) or path in OPEN_POSTS:
            continue
        for call in call_of(method, path):
            userid = new_caller(site)
            key = site.key(userid)

            def meanwhile(userid: str = userid, key_id: int = key.record.key_id) -> None:
                if end == "revoke the key":
                    services.keys.revoke_of(site.users[userid].user_id, key_id, COMMAND_LINE)
                else:
                    services.users.set_disabled(COMMAND_LINE, userid, disabled=True)

            values = things.of(call)
            body = msgspec.json.encode({} if call.body is None else with_values(call.body, values))
            headers = {"authorization": key.secret, "content-type": "application/json"}
            before = services.store.installation.revision()
            target = filled(call.path + call.query, **values)
            answer = asyncio.run(answered(gate, (method, target), headers, body, meanwhile))
            changes = services.store.installation.revision() - before
            if (answer.status, changes) != (401, 1):
                wrong[method, target] = (answer.status, changes)
    assert wrong == {}


@pytest.mark.parametrize("end", ["end the session", "disable the person"])
def test_fault_a1_a_session_that_ends_before_the_last_byte_changes_nothing(site: Site, end: str) -> None:
    """Each page that changes something leads to the sign-in, and nothing is changed (A1)."""
    services, gate = site.services, create_app(site.services)
    values = plausible(site)
    wrong, seen = {}, 0
    for method, path in changing_routes(site):
        if not ROUTES.is_page(filled(path, **values)) or path in OPEN_POSTS:
            continue
        seen += 1
        userid = new_caller(site)
        cookie = log_in(services, userid)

        def meanwhile(userid: str = userid) -> None:
            if end == "end the session":
                services.users.sign_out(COMMAND_LINE, userid)
            else:
                services.users.set_disabled(COMMAND_LINE, userid, disabled=True)

        body = f"csrf={csrf_token(cookie)}&userid=x&name=x".encode()
        headers = {"cookie": f"{LOOPBACK_SESSION_COOKIE}={cookie}", "content-type": FORM}
        before = services.store.installation.revision()
        target = filled(path, **values)
        answer = asyncio.run(answered(gate, (method, target), headers, body, meanwhile))
        changes = services.store.installation.revision() - before
        if answer.status != 303 or not answer.location.startswith("/login") or changes != 1:
            wrong[method, target] = (answer.status, answer.location, changes)
    assert seen > 40
    assert wrong == {}


def test_fault_a14_a_key_that_is_revoked_before_the_last_byte_reads_nothing(site: Site) -> None:
    """Fault A14: each route of the API that reads, and the feed, answers 401 if it had to wait for a body."""
    services, gate = site.services, create_app(site.services)
    things = add_things(site, password=PASSWORD)
    wrong, seen = {}, 0
    for method, path in [*reading_routes(site), ("GET", f"{FEED}?nonce=0123456789abcdef")]:
        if ROUTES.is_page(path) or ROUTES.is_open(method, path) or path == VERIFY:
            continue  # `/verify` waits for no body.
        for call in call_of(method, path):
            seen += 1
            userid = new_caller(site)
            key = site.key(userid)

            def meanwhile(userid: str = userid, key_id: int = key.record.key_id) -> None:
                services.keys.revoke_of(site.users[userid].user_id, key_id, COMMAND_LINE)

            target = filled(call.path + call.query, **things.of(call))
            line, headers = (method, target), {"authorization": key.secret}
            framing = {"is_chunked": seen % 2 == 0}
            answer = asyncio.run(answered(gate, line, headers, b"{}", meanwhile, **framing))
            if answer.status != 401:
                wrong[method, target] = answer.status
    assert seen > 30
    assert wrong == {}


def test_fault_a14_a_session_that_ends_before_the_last_byte_reads_nothing(site: Site) -> None:
    """Fault A14: each page leads to the sign-in, if it had to wait for a body."""
    services, gate = site.services, create_app(site.services)
    values = plausible(site)
    wrong, seen = {}, 0
    for method, path in reading_routes(site):
        target = filled(path, **values)
        if not ROUTES.is_page(target) or ROUTES.is_open(method, target):
            continue
        seen += 1
        userid = new_caller(site)
        headers = {"cookie": f"{LOOPBACK_SESSION_COOKIE}={log_in(services, userid)}", "accept": "text/html"}

        def meanwhile(userid: str = userid) -> None:
            services.users.sign_out(COMMAND_LINE, userid)

        answer = asyncio.run(answered(gate, (method, target), headers, b"{}", meanwhile))
        if answer.status != 303 or not answer.location.startswith("/login"):
            wrong[method, target] = (answer.status, answer.location)
    assert seen > 20
    assert wrong == {}


def reading_routes(site: Site) -> list[tuple[str, str]]:
    return [(method, path) for method, path in site.routes() if method in {"GET", "HEAD"}]


def changing_routes(site: Site) -> list[tuple[str, str]]:
    return [(method, path) for method, path in site.routes() if method in CHANGING]


STORELESS = {
    "/", "/health/live", "/health/ready", "/health/seen", "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration", "/.well-known/oauth-protected-resource", "/openapi.json",
    "/docs", "/docs.md", "/docs/{path:path}", "/docs/api", "/docs/api/{name:str}", "/docs/design",
    "/llms.txt", "/llms-full.txt", "/sitemap.xml", "/skill.md", "/static/{name:str}",
}  # fmt: skip
"""What anybody may GET, and what tells nobody apart."""


def test_fault_a5_nothing_is_answered_from_an_older_database(site: Site) -> None:
    """Every route that goes to the database answers 503 when that is older than what was read from it (D7).

    Pages, the sign-in, links and devices too, whoever asks.
    """
    services, gate = site.services, create_app(site.services)
    cookie, key = log_in(services, "admin@example.com"), site.key("admin@example.com").secret
    values = plausible(site)
    services.verification.freshness.ensure()
    newest = services.store.audit_log.newest().revision
    with services.store._database.writing() as connection, services.store.counter.committing():
        connection.execute(text("DELETE FROM audit WHERE revision = :newest"), {"newest": newest})
        connection.execute(text("UPDATE installation SET revision = revision - 1"))

    wrong = {}
    for method, path in site.routes():
        if path in STORELESS or method in {"OPTIONS", "HEAD"} or path.startswith("/docs/schema"):
            continue
        target = filled(path, **values)
        headers = {"authorization": key}
        if ROUTES.is_page(target):
            headers = {"cookie": f"{LOOPBACK_SESSION_COOKIE}={cookie}", "content-type": FORM}
        answer = asyncio.run(answered(gate, (method, target), headers, b"{}", lambda: None))
        if answer.status != 503:
            wrong[method, target] = answer.status
    assert wrong == {}
