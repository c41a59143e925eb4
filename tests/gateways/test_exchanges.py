"""What gateways ask that put their client's target behind a path, as Envoy before 1.38, or into headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.core.networks import read_network
from keyturn.verifying.origin import Origin
from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.gateways.conftest import BOB, HOST, narrowed_key
from tests.servers import running_server
from tests.web.edge.test_forward_auth import identity
from tests.web.sites import Site, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
TARGETS = (
    "/",
    "/orders/1",
    "/orders/1?limit=10&scope=anything&access_token=x&api_key=y",
    "//orders/1",
    "/../bim/rpc/user/current",
    "/../../health/live",
    "/%2e%2e/%2e%2e/health/live",
    "/bim/rpc/user/current",
    "/login",
    "/verify?scop=a",
    "/%00",
    "/a%0d%0aX-Evil:%20y",
    "/;/x",
    "/%ff",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Keyturn, which answers the hosts of the API, since Envoy asks with them."""
    clock = Clock()
    with running_server(
        new_sqlite_database(tmp_path_factory.mktemp("site")),
        clock.system(),
        trusted_proxies=(read_network("127.0.0.1"),),
        allowed_hosts=(HOST,),
        failures_per_minute=1_000_000,
    ) as server:
        opened = Site(server, clock, "")
        opened.add_people()
        yield opened


def envoy_asks(
    site: Site, credential: str | None, target: str, *, method: str = "GET", scope: str | None = None
) -> httpx.Response:
    """Send what ext_authz sends: the client's method, Host and target behind the prefix, and few headers."""
    headers = {
        "Host": HOST,
        "Content-Length": "0",
        "X-Forwarded-For": "203.0.113.9",
        "X-Envoy-Internal": "false",
        "X-Envoy-Expected-Rq-Timeout-Ms": "5000",
    }
    if credential is not None:
        headers["Authorization"] = credential
    if scope is not None:
        headers["Keyturn-Require-Scope"] = scope
    with site.client() as client:
        # As a copy of the target: a client library would tidy it up.
        asked = client.build_request(method, "/", headers=headers)
        asked.extensions["target"] = f"/verify/for{target}".encode()
        return client.send(asked)


def traefik_asks(
    site: Site, credential: str | None, target: str, *, method: str = "GET", query: str = ""
) -> httpx.Response:
    """Send what forwardAuth sends: a GET of its address, and what it knows of the request in headers."""
    headers = {
        "User-Agent": "robot/1",
        "X-Forwarded-Method": method,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": HOST,
        "X-Forwarded-Uri": target,
        "X-Forwarded-For": "203.0.113.9",
    }
    if credential is not None:
        headers["Authorization"] = credential
    with site.client() as client:
        return client.get(f"/verify{query}", headers=headers)


@pytest.mark.parametrize("target", TARGETS)
def test_envoy_is_answered_whatever_its_client_asks_for(site: Site, target: str) -> None:
    """Behind the prefix there is one answer for any method and target: who calls, and nothing else."""
    key = site.key(BOB).secret
    token = site.services.exchange.exchange(in_header=[], in_body=key, origin=Origin()).token
    for method in METHODS:
        for credential in (key, f"Bearer {key}", f"Bearer {token}"):
            answer = envoy_asks(site, credential, target, method=method)
            assert (answer.status_code, answer.content) == (200, b""), method
            assert identity(answer)["keyturn-user"] == BOB
        for credential in (None, "kt_wrong"):
            answer = envoy_asks(site, credential, target, method=method)
            assert answer.status_code == 401, method
            assert answer.headers["www-authenticate"].startswith('Bearer realm="keyturn"')


def test_envoy_asks_for_scopes_by_header(site: Site) -> None:
    """The header narrows, for one scope or several; the target behind the prefix changes nothing."""
    narrow, whole = narrowed_key(site, "orders:read", "orders:write"), site.key(BOB).secret
    for scope, status in (
        (None, 200),
        ("", 200),
        ("orders:read", 200),
        ("orders:write orders:read", 200),
        ("reports:read", 403),
        ("orders:read reports:read", 403),
        ("orders:read,orders:write", 403),
        ('a"b', 400),
        ("x" * 1001, 400),
    ):
        for target in ("/orders/1", "/orders/1?scope=orders:read", "/orders/1?scope=reports:read"):
            for _ in range(2):
                assert envoy_asks(site, narrow, target, scope=scope).status_code == status
        assert envoy_asks(site, whole, "/orders/1", scope=scope).status_code == (
            status if status == 400 else 200
        )


@pytest.mark.parametrize(
    ("target", "status"),
    [("/verify/for", 404), ("/verify/fo/x", 404), ("/Verify/for/x", 404), ("/verify;/for/x", 404)],
)
def test_nothing_beside_the_prefix_is_a_question(site: Site, target: str, status: int) -> None:
    """Only the prefix itself is the question; what is like it is not there, and refuses strangers."""
    key = site.key(BOB).secret
    assert status_of(site.raw_get(target, f"Authorization: {key}".encode())) == status
    assert status_of(site.raw_get(target)) == 401


@pytest.mark.parametrize("path", ["/verify", "/verify/", "/verify//", "//verify", "//verify/", "/verif%79/"])
def test_every_spelling_of_the_question_is_the_same_question(site: Site, path: str) -> None:
    """However a gateway writes the path, what it asks for holds, and no other parameter passes."""
    narrow = f"Authorization: {narrowed_key(site, 'orders:read')}".encode()
    for query, status in (("", 200), ("?scope=orders:read", 200), ("?scope=a", 403), ("?scop=a", 400)):
        answer = site.raw_get(path + query, narrow)
        assert status_of(answer) == status
        assert (b"\r\nkeyturn-user: " in answer) == (status == 200)
        assert status != 200 or answer.endswith(b"\r\n\r\n")
    assert status_of(site.raw_get(path, narrow, b"Keyturn-Require-Scope: a")) == 403
    assert status_of(site.raw_get(path)) == 401


def test_traefik_is_answered_and_what_it_says_is_not_read(site: Site) -> None:
    """What Traefik tells of the request of its client neither opens nor closes anything (CVE-2026-40575)."""
    narrow = narrowed_key(site, "reports:read")
    for target in TARGETS:
        for method in ("GET", "DELETE"):
            assert identity(traefik_asks(site, narrow, target, method=method))["keyturn-user"] == BOB
            assert traefik_asks(site, None, target, method=method).status_code == 401
            asked = traefik_asks(site, narrow, target, method=method, query="?scope=orders:read")
            assert asked.status_code == 403


def test_the_address_of_the_client_is_read_from_both(site: Site) -> None:
    """The last use of a key shows the client that the gateway tells of."""
    key = site.key(BOB)
    for ask in (envoy_asks, traefik_asks):
        assert ask(site, key.secret, "/orders/secret-path").status_code == 200
        use = site.services.usage.latest(key.record)
        assert use is not None
        assert (use.address, use.via) == ("203.0.113.9", "GET /verify")
