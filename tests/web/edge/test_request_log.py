"""The log of requests: why each was refused, and how little of it a stranger can fill."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from keyturn.errors import CredentialRefused, Reason
from keyturn.verifying.origin import Origin
from keyturn.verifying.verdict_cache import NEGATIVE_SECONDS
from keyturn.web.app import create_app
from keyturn.web.edge import request_log
from keyturn.web.edge.request_log import RequestLog
from tests.people import unknown_key
from tests.web.sites import filled, status_of
from tests.web.test_route_table import plausible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMIN = "admin@example.com"
BOB = "bob@example.com"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The lines of requests that are written from now on."""
    written: list[dict[str, Any]] = []

    def note(name: str, fields: dict[str, Any]) -> None:
        written.append(json.loads(json.dumps({**fields, "event": name})))

    monkeypatch.setattr(request_log, "write_event", note)
    return written


def a_request(**changed: Any) -> dict[str, Any]:
    return {
        "request_id": "one",
        "via": "GET /verify",
        "status": 401,
        "address": "192.0.2.1",
        "user_id": None,
        "key_id": None,
        "failure": "unknown",
        "milliseconds": 0.1,
        **changed,
    }


def test_fault_b5_refusals_have_one_line_for_each_address_and_second(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is written at once; all that follow in its second are one line, with how many and why."""
    monkeypatch.setattr(request_log, "SECOND", 0.02)

    async def requests() -> None:
        log = RequestLog()
        for failure in ["unknown"] * 5 + ["TooManyFailures"] * 7:
            log.write(a_request(failure=failure))
        log.write(a_request(address="192.0.2.2", failure="malformed"))
        log.write(a_request(address="192.0.2.1", user_id=7, failure="ScopeMissing", status=403))
        assert len(lines) == 3
        log.write(a_request(request_id="last", failure="malformed"))
        while len(lines) < 4:  # noqa: ASYNC110 - written by a timer, which tells nobody
            await asyncio.sleep(0.001)
        log.write(a_request())  # In the next second: not at once either.
        assert len(lines) == 4
        while len(lines) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    asyncio.run(requests())
    assert [line["event"] for line in lines] == ["request"] * 3 + ["requests_refused"] * 2
    counted = lines[3]
    assert (counted["count"], counted["request_id"], counted["address"]) == (12, "last", "192.0.2.1")
    assert counted["failures"] == {"unknown": 4, "TooManyFailures": 7, "malformed": 1}
    assert lines[4]["count"] == 1


def test_fault_b5_addresses_beyond_the_bound_are_counted_together(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many addresses guess in a second, the memory and the lines are bounded; none is uncounted."""
    monkeypatch.setattr(request_log, "MAX_ADDRESSES", 10)

    async def requests() -> None:
        log = RequestLog()
        for number in range(100):
            log.write(a_request(address=f"192.0.2.{number}"))
        for number in range(100):
            log.write(a_request(address=f"2001:db8::{number:x}"))
        log.flush()

    asyncio.run(requests())
    assert len(lines) == 11
    assert (lines[10]["count"], lines[10]["address"]) == (190, None)


def test_a_subscribers_network_is_one_address(lines: list[dict[str, Any]]) -> None:
    """Fault B5: who has many addresses has one line (rule Q3)."""

    async def requests() -> None:
        log = RequestLog()
        for number in range(100):
            log.write(a_request(address=f"2001:db8::{number:x}"))
        log.flush()

    asyncio.run(requests())
    assert [line.get("count", 1) for line in lines] == [1, 99]


BODIES: tuple[dict[str, Any], ...] = (
    {},
    {"json": {"username": "nobody", "password": "four wrong grey words", "apikey": "no key"}},
    {"data": {"userid": "nobody", "password": "four wrong grey words", "code": "none"}},
    {
        "data": {
            "grant_type": "client_credentials",
            "token": "none",
            "client_id": "none",
            "client_secret": "none",
        }
    },
    {"data": {"userid": "\x07", "name": "x" * 999, "password": "short", "password_again": "other"}},
)
"""What the walks send: nothing that is good anywhere, and something of every form that is read."""


def requests_of(site: Site, values: Mapping[str, object]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and body for every route there is."""
    for method, route in sorted(site.routes()):
        for body in BODIES if method in {"POST", "PUT"} else BODIES[:1]:
            yield method, filled(route, **values), body


def test_fault_b5_no_stranger_fills_the_audit_log_or_the_log(
    open_site: SiteOpener, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a stranger sends to any route adds no audit row, and one line a second if it is refused."""
    monkeypatch.setattr(request_log, "SECOND", 3600.0)
    with open_site(sign_in_failures_per_minute=1_000_000, failures_per_minute=1_000_000) as site:
        site.add_people()
        values = plausible(site)
        before = site.services.store.audit_log.newest()
        with site.client() as client:
            asked = [
                client.request(method, path, headers=headers, **body).url.path
                for headers in ({}, {"Authorization": "Bearer nothing"})
                for method, path, body in requests_of(site, values)
            ]
        assert site.services.store.audit_log.newest() == before
        assert len(set(asked)) > 100
        assert sum(line["failure"] is not None for line in lines) == 1
        # A POST that is not refused took a proof, or leads to the login.
        assert sum(line["via"].startswith("GET ") for line in lines if line["failure"] is None) <= 1


def test_fault_c12_every_refusal_is_logged_with_its_reason(
    open_site: SiteOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every route, page or API, for strangers, a person and a key, the log says why, and never null."""
    logged: dict[str, str | None] = {}
    write = RequestLog.write

    def noting(log: RequestLog, fields: dict[str, Any]) -> None:
        logged[fields["request_id"]] = fields["failure"]
        write(log, fields)

    monkeypatch.setattr(RequestLog, "write", noting)
    with open_site(sign_in_failures_per_minute=1_000_000, failures_per_minute=1_000_000) as site:
        site.add_people()
        values = plausible(site)
        refused: dict[str, tuple[str, int]] = {}
        key = {"Authorization": site.key(ADMIN).secret}
        person = site.browser(ADMIN)
        csrf = person.csrf()
        asks = [*requests_of(site, values), ("PATCH", "/health/live", {}), ("GET", "/nowhere", {})]
        with site.client() as client:
            for method, path, body in asks:
                form = {"data": {**body["data"], "csrf": csrf}} if "data" in body else body
                for answer in (
                    client.request(method, path, **body),
                    client.request(method, path, headers=key, **body),
                    person.request(method, path, **form),
                ):
                    if answer.status_code >= 400:
                        refused[answer.headers["x-request-id"]] = (f"{method} {path}", answer.status_code)
                if answer.is_redirect and answer.headers["location"].startswith("/login"):
                    person = site.browser(ADMIN)
                    csrf = person.csrf()
        assert len({name for name, _ in refused.values()}) > 100
        assert {refused[name] for name in refused if logged[name] is None} == set()


def test_fault_c12_a_failed_sign_in_says_so(site: Site, lines: list[dict[str, Any]]) -> None:
    """The log calls a failed sign-in what the page about the log calls it, on the page and over the API."""
    with site.client() as client:
        client.post("/login", data={"userid": "nobody", "password": "four wrong grey words"})
    assert [line["failure"] for line in lines] == [Reason.LOGIN_FAILED]


def refusal_of(site: Site, *lines: bytes) -> bytes:
    """Return the answer to a plain request on a connection that is kept, without what differs each time."""
    host = b"Host: " + site.host.encode() + b"\r\n"
    asked = b"GET /verify HTTP/1.1\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    last = b"GET /health/live HTTP/1.1\r\nConnection: close\r\n" + host + b"\r\n"
    return masked(site.raw(asked + last).partition(b"HTTP/1.1 200 ")[0])


def masked(answer: bytes) -> bytes:
    """Return an answer without what differs from one to the next."""
    return re.sub(rb"(?m)^(date|x-request-id): [^\r]*\r\n", b"", answer)


def test_fault_h5_a_guess_is_refused_at_once_with_the_bytes_of_the_longer_way(open_site: SiteOpener) -> None:
    """A malformed, mistyped or unknown key gets byte for byte what every stranger gets, 401 and 429 alike."""
    with open_site(failures_per_minute=4) as site:
        site.add_people()
        good = site.key(BOB).secret
        mistyped, unknown = good[:-1] + ("A" if good[-1] != "A" else "B"), unknown_key()
        for wrong in ("nothing", mistyped, unknown, f"Bearer {unknown}", "Mac x", "\xff", "x" * 5000):
            for longer_way in ([], [b"Cookie: a=b"]):
                site.clock.advance(timedelta(minutes=1))
                line = b"Authorization: " + wrong.encode("latin-1")
                answers = [refusal_of(site, line, *longer_way) for _ in range(6)]
                assert [status_of(answer) for answer in answers] == [401] * 4 + [429] * 2
                assert len(set(answers[:4])) == len(set(answers[4:])) == 1
                if wrong == "nothing" and not longer_way:
                    expected = answers
                assert [answers[0], answers[4]] == [expected[0], expected[4]]


def test_fault_h5_what_is_known_to_be_wrong_takes_no_longer_way(site: Site) -> None:
    """The protocol itself gets the refusal of noise, and of a key that the store did not know just now."""
    gate, unknown = create_app(site.services), unknown_key()

    def at_once(credential: str) -> bytes | tuple[int, bytes] | None:
        headers = [(b"host", site.host.encode()), (b"authorization", credential.encode())]
        return gate.answer_at_once("GET", b"", headers, ("192.0.2.1", 1))

    async def asks() -> None:
        for noise in ("nothing", "kt_x", "Bearer kt_x"):
            answer = at_once(noise)
            assert isinstance(answer, tuple)
            assert answer[0] == 401
        assert at_once(unknown) is None  # Somebody has to ask.
        with pytest.raises(CredentialRefused):
            site.services.authenticator.authenticate([unknown.encode()], Origin("192.0.2.1"))
        answer = at_once(unknown)
        assert isinstance(answer, tuple)
        assert answer[0] == 401
        site.clock.advance(timedelta(seconds=NEGATIVE_SECONDS))
        assert at_once(unknown) is None

    asyncio.run(asks())


def test_a_refusal_at_once_is_not_made_of_what_may_be_stale(open_site: SiteOpener) -> None:
    """Without the database a key that was unknown before is not refused, but answered 503 (rule R2)."""
    with open_site() as site:
        site.add_people()
        line = b"Authorization: " + unknown_key().encode()
        assert status_of(refusal_of(site, line)) == 401
        with site.services.store._database.engine.begin() as connection:
            connection.execute(text("ALTER TABLE installation RENAME TO gone_installation"))
        site.clock.advance(timedelta(seconds=site.services.settings.max_staleness_seconds))
        assert status_of(refusal_of(site, line)) == 503
