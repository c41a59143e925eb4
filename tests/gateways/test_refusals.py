"""Whatever is not a clear yes ends at the gateway, with a status that says what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.core.networks import read_network
from keyturn.verifying.origin import Origin
from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.gateways.conftest import BOB, Scene
from tests.gateways.gateways import HOST, KINDS, Kind, running_gateway
from tests.gateways.upstreams import StandIn, running_api
from tests.journeys.processes import free_port
from tests.servers import running_app, running_server
from tests.web.sites import Site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateways.conftest import StandInScene

CHALLENGE = 'Bearer realm="keyturn"'


def test_no_credential_or_a_bad_one_is_a_401_with_its_challenge(scene: Scene) -> None:
    """The client learns how to authenticate, and that its credential was not good, and nothing else."""
    bad = f'{CHALLENGE}, error="invalid_token"'
    for credential, challenge in (
        (None, CHALLENGE),
        ("", bad),
        ("kt_wrong", bad),
        (f"Bearer {scene.key}x", bad),
        ("Basic Ym9iOmJvYg==", bad),
    ):
        for target in ("/reports/1", "/orders/1"):
            answer = scene.refused(target, credential)
            assert answer.status == 401
            assert answer.headers.get_all("www-authenticate") in ([challenge], [CHALLENGE])


def test_a_missing_scope_is_a_403_that_names_it(scene: Scene) -> None:
    """A narrowed credential passes where it may, and its holder learns what is missing elsewhere."""
    for method in ("GET", "POST", "DELETE"):
        answer = scene.get("/orders/1", scene.narrow, "Content-Length: 0", method=method)
        assert answer.status == 403
        assert answer.headers.get_all("www-authenticate") == [
            f'{CHALLENGE}, error="insufficient_scope", scope="orders:read"'
        ]
    assert scene.passed("/reports/1", scene.narrow)
    assert scene.passed("/orders/1", scene.key)


def test_a_client_cannot_choose_what_is_asked_of_it(scene: Scene) -> None:
    """No query, and nothing a client says of its own request, takes a scope away or opens a path (trap 4)."""
    for target in (
        "/orders/1?scope=reports:read",
        "/orders/1?scope=",
        "/orders/1?",
        "/orders/1?a=b&scope=&%73cope=",
    ):
        assert scene.refused(target, scene.narrow).status == 403
        assert scene.passed(target, scene.key).target == target
    assert scene.passed("/reports/1?scope=orders:read", scene.narrow)
    for header in (
        "X-Original-URI",
        "X-Original-URL",
        "X-Original-Method",
        "X-Forwarded-Uri",
        "X-Forwarded-Prefix",
        "X-Forwarded-Method",
        "X-Forwarded-Host",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-Envoy-Original-Path",
        "Keyturn-Require-Scope",
        "Forwarded",
    ):
        for value in ("/health", "OPTIONS", ""):
            assert scene.refused("/orders/1", scene.narrow, f"{header}: {value}").status == 403
            assert scene.refused("/orders/1", None, f"{header}: {value}").status == 401


def test_two_credentials_pass_nothing(scene: Scene) -> None:
    """Two `Authorization` lines are refused, also when the first, the last or both are good (H2)."""
    for first, second in ((scene.key, "kt_wrong"), ("kt_wrong", scene.key), (scene.key, scene.key)):
        # Envoy makes one line of the two, which is no good credential.
        expected = 401 if scene.gateway.name == "Envoy" else 400
        assert scene.refused("/reports/1", first, f"Authorization: {second}").status == expected


def test_what_is_not_named_is_not_there(scene: Scene) -> None:
    """A path that the configuration does not name leads nowhere, with a good key too."""
    for target in (
        "/",
        "/orders",
        "/reports",
        "/healthy",
        "/health/",
        "/verify",
        "/_keyturn/verify",
        "/_keyturn/x",
    ):
        for credential in (None, scene.key):
            # nginx leads to the path with a slash at its end, where the check is.
            assert scene.refused(target, credential).status in (404, 301)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_what_is_open_is_open_to_read(scene: Scene, method: str) -> None:
    """The path that is open to anybody takes no other method, with a good key neither."""
    before = len(scene.api.got)
    for credential in (None, scene.key):
        assert scene.get("/health", credential, "Content-Length: 0", method=method).status in (403, 404, 405)
    assert len(scene.api.got) == before
    assert scene.get("/health", None, method="HEAD").status == 200


def test_revoked_is_refused_at_the_next_request(scene: Scene) -> None:
    """The gateway remembers no answer: a revoked key, and its token, pass nothing any more (R1)."""
    for _ in range(5):
        made = scene.site.key(BOB)
        token = scene.site.services.exchange.exchange(
            in_header=[], in_body=made.secret, origin=Origin()
        ).token
        for credential in (made.secret, token) * 3:
            scene.passed("/reports/1", credential)
        path = f"{scene.site.url}/apikey/{made.record.key_id}"
        httpx.delete(path, headers={"Authorization": made.secret}).raise_for_status()
        for credential in (made.secret, token):
            assert scene.refused("/reports/1", credential).status == 401


def test_too_many_wrong_credentials_are_a_429(kind: Kind, tmp_path: Path) -> None:
    """A client that has used its budget up is told so, and when to come back; who is known still passes."""
    clock = Clock()
    with (
        running_server(
            new_sqlite_database(tmp_path),
            clock.system(),
            trusted_proxies=(read_network("127.0.0.1"),),
            allowed_hosts=(HOST,),
            failures_per_minute=3,
        ) as server,
        running_api() as api,
        running_gateway(kind, tmp_path, keyturn=server.url, api=api.url) as gateway,
    ):
        site = Site(server, clock, "")
        site.add_user(BOB)
        scene = Scene(gateway, site, api, site.key(BOB).secret, "")
        scene.passed("/reports/1", scene.key)
        answers = [scene.refused("/reports/1", "kt_wrong") for _ in range(5)]
        assert [answer.status for answer in answers] == [401] * 3 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) >= 1
        scene.passed("/reports/1", scene.key)
        assert scene.refused("/reports/1", "kt_wrong", source="127.0.0.2").status == 401


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        (503, {503}),
        (429, {429}),
        (400, {400}),
        (500, {500, 503}),
        (302, {302, 503}),
        (304, {304, 503}),
        (404, {400, 404}),
    ],
)
def test_no_answer_of_keyturn_is_mistaken_for_a_yes(
    stand_in_scene: StandInScene, answered: int, expected: set[int]
) -> None:
    """503 and 429 reach the client as such, with their time to wait; nothing but a 2xx lets anybody in.

    Envoy says 503 itself, without a time.
    """
    stand_in_scene.keyturn.status = answered
    stand_in_scene.keyturn.headers = {"Retry-After": "7", "Location": "/health"}
    before = len(stand_in_scene.api.got)
    for target in ("/reports/1", "/orders/1"):
        answer = stand_in_scene.get(target, "any")
        assert answer.status in expected
        if answered == 429 or (answered == 503 and stand_in_scene.gateway.name != "Envoy"):
            assert answer.headers.get_all("retry-after") == ["7"]
    assert len(stand_in_scene.api.got) == before


def test_without_keyturn_nothing_passes(kind: Kind, site: Site, tmp_path: Path) -> None:
    """Where Keyturn is not there, or does not answer, the client gets a 5xx, and the API nothing."""
    with (
        running_api() as api,
        running_gateway(kind, tmp_path, keyturn=f"127.0.0.1:{free_port()}", api=api.url) as gateway,
    ):
        scene = Scene(gateway, site, api, "any", "")
        assert scene.refused("/reports/1", scene.key).status in (500, 502, 503)
        scene.passed("/health")
    with (
        running_app(StandIn(is_silent=True)) as silent,
        running_api() as api,
        running_gateway(kind, tmp_path, keyturn=silent, api=api.url) as gateway,
    ):
        scene = Scene(gateway, site, api, "any", "")
        try:
            assert scene.refused("/reports/1", scene.key).status in (500, 502, 503, 504)
        except TimeoutError:
            assert kind.name == "Traefik", "which waits for 30 seconds, and cannot be told to wait less"
        assert {got.target for got in api.got} == {"/health"}, "asked until the gateway was ready"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (
            "nginx",
            {"auth_request /_keyturn/verify/orders-read;": "auth_request /_keyturn/verify/oders-read;"},
        ),
        ("HAProxy", {"core.httpclient()": "core.no_such_thing()"}),
        ("HAProxy", {"    http-request lua.keyturn_verify_scope orders:read if is_orders\n": ""}),
    ],
)
def test_a_mistake_in_the_configuration_opens_nothing(
    site: Site, tmp_path: Path, name: str, changes: dict[str, str]
) -> None:
    """A misspelt check, one that was left out, or a script that fails refuses everybody."""
    with (
        running_api() as api,
        running_gateway(KINDS[name], tmp_path, keyturn=site.url, api=api.url, changes=changes) as gateway,
    ):
        scene = Scene(gateway, site, api, site.key(BOB).secret, "")
        for credential in (None, scene.key):
            assert scene.refused("/orders/1", credential).status == 503
