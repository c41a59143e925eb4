"""Who calls reaches the API in all identity headers, and nothing that a client claims does (H11, trap 5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from keyturn.services.people.sessions import SESSION_COOKIES
from keyturn.verifying.origin import Origin
from tests.gateways.conftest import BOB, request
from tests.web.edge.test_forward_auth import IDENTITY

if TYPE_CHECKING:
    from tests.gateways.conftest import Scene, StandInScene
    from tests.gateways.upstreams import Got

CLAIM = "mallory@example.com"
THERE = "127.0.0.2"
"""Whoever comes from 127.0.0.1 has the machine's own address, says Envoy."""


def names_like(name: str) -> list[str]:
    """Return spellings that one program or another takes for this name."""
    return [
        name,
        name.upper(),
        name.title(),
        name.replace("-", "_"),
        name.replace("-", "_").upper(),
        name.replace("-", "."),
        name.replace("-", "_", 1),
        f"{name}_",
        f"{name}.",
    ]


def identity(got: Got) -> dict[str, str]:
    """Return what the API got under any spelling of an identity header, once each; "" where it got none."""
    found: dict[str, str] = {}
    for name, value in got.headers:
        read = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        if read in IDENTITY:
            assert read not in found, f"{read} came twice"
            found[read] = value
    return {name: found.get(name, "") for name in IDENTITY}


def test_a_key_and_its_token_pass_with_all_identity(scene: Scene) -> None:
    """The API gets who calls, by which key, and with which rights; the secret it does not get."""
    token = scene.site.services.exchange.exchange(in_header=[], in_body=scene.narrow, origin=Origin()).token
    for credential, method in (
        (scene.narrow, "api_key"),
        (f"Bearer {scene.narrow}", "api_key"),
        (f"Bearer {token}", "access_token"),
    ):
        for _ in range(2):
            got = scene.passed("/reports/1?a=b", credential)

            seen = identity(got)
            assert (seen["keyturn-user"], seen["remote-user"]) == (BOB, BOB)
            assert seen["keyturn-key-id"].isdigit()
            assert seen["keyturn-scopes"] == "reports:read"
            assert seen["keyturn-auth-method"] == method
            assert (got.method, got.target) == ("GET", "/reports/1?a=b")
            assert got.values("authorization") == []
            assert not any(scene.narrow in value or token in value for _, value in got.headers)


@pytest.mark.parametrize("cookie", ["theme=dark", *(f"{name.decode()}x" for name in SESSION_COOKIES)])
def test_cookies_are_for_the_api(scene: Scene, cookie: str) -> None:
    """A client's cookies go to the API, not to Keyturn, which might take one for a second credential."""
    got = scene.passed("/reports/1", scene.key, f"Cookie: {cookie}")
    assert got.values("cookie") == [cookie]


@pytest.mark.parametrize("name", IDENTITY)
def test_what_a_client_claims_never_arrives(scene: Scene, name: str) -> None:
    """However a client spells an identity header, on whichever route, the API does not get its value."""
    truth = identity(scene.passed("/reports/1", scene.key))
    for spelling in names_like(name):
        for lines in (
            [f"{spelling}: {CLAIM}"],
            [f"{spelling}: {CLAIM}"] * 2,
            [f"{spelling}:", f"{spelling}: {CLAIM}"],
        ):
            for target, credential, expected in (
                ("/reports/1", scene.key, truth),
                ("/health", None, dict.fromkeys(IDENTITY, "")),
            ):
                before = len(scene.api.got)
                answer = scene.get(target, credential, *lines)
                if len(scene.api.got) == before:
                    assert answer.status == 400, "refused altogether"
                    continue
                got = scene.api.last()
                assert identity(got) == expected, lines
                assert all(CLAIM not in value for _, value in got.headers), lines


@pytest.mark.parametrize("name", [*IDENTITY, "authorization", "x-forwarded-for", "host"])
def test_connection_takes_no_header_away(scene: Scene, name: str) -> None:
    """Naming a header in `Connection` does not have it removed behind the check (CVE-2025-48865)."""
    truth = identity(scene.passed("/reports/1", scene.key))
    for line in (
        f"Connection: close, {name}",
        f"Connection: {name}, close",
        f"Connection: {name}\r\nConnection: close",
    ):
        before = len(scene.api.got)
        answer = scene.get("/reports/1", scene.key, line, source=THERE)
        if len(scene.api.got) == before:
            assert answer.status in (400, 401), "refused altogether"
            continue
        got = scene.api.last()
        assert identity(got) == truth
        assert got.values("x-forwarded-for") == [THERE]
        assert name not in " ".join(got.values("connection")).lower(), "a next proxy would remove it"


@pytest.mark.parametrize("name", IDENTITY)
def test_what_comes_behind_a_body_is_no_identity(scene: Scene, name: str) -> None:
    """Trailers do not reach the API, which could take them for headers; HAProxy stops those announced."""
    for target, credential in (("/reports/1", scene.key), ("/health", None)):
        for announced in ([f"Trailer: {name}"], [f"Trailer: {name}", "TE: trailers"], []):
            if scene.gateway.name == "HAProxy" and not announced:
                continue
            head = request(target, credential, "Transfer-Encoding: chunked", *announced)
            before = len(scene.api.got)
            answer = scene.send(head + f"1\r\nx\r\n0\r\n{name}: {CLAIM}\r\n\r\n".encode())
            if len(scene.api.got) == before:
                assert answer.status == 400, "refused altogether"
                continue
            assert all(CLAIM not in value for _, value in scene.api.last().headers)


def test_identity_that_was_not_answered_is_not_the_client_s(stand_in_scene: StandInScene) -> None:
    """Where the answer to the check lacks a header, the client's own does not stay (GHSA-7r4p-vjf4-gxv4)."""
    stand_in_scene.keyturn.status, stand_in_scene.keyturn.headers = 200, {}
    lines = [f"{spelling}: {CLAIM}" for name in IDENTITY for spelling in (name, name.replace("-", "_"))]
    got = stand_in_scene.passed("/reports/1", "any", *lines)
    assert all(CLAIM not in value for _, value in got.headers)
