"""Verifying by asking, without the feed: bounded in time, number and questions."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from msgspec.structs import replace

from keyturn import (
    CannotStart,
    Principal,
    Reason,
    ScopeMissing,
    StoreUnavailable,
    TooManyFailures,
    Verifier,
)
from keyturn.core.feed import PATH
from keyturn.core.oauth import INTROSPECTION_PATH, JWKS_PATH
from keyturn.core.permissions import Permission
from keyturn.replica.introspection import IntrospectingAuthenticator
from keyturn.replica.published_keys import FETCH_SECONDS, PublishedKeys
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.fakes import Clock
from tests.people import HERE, change_behind, holder, unknown_key
from tests.replica.edges import accepts, answer_of
from tests.replica.proxy import between

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.replica.edges import Edge

BOUND = 2.0
RANDOM_KIDS = 10_000
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def asker(edge: Edge) -> str:
    """The secret of a key that may ask."""
    return edge.follower.secret


def asking(url: str, secret: str, **options: object) -> Verifier:
    return Verifier(url, secret, follow=False, **options)  # type: ignore[arg-type]


@pytest.fixture
def verifier(edge: Edge, asker: str) -> Iterator[Verifier]:
    with asking(edge.server.url, asker, max_staleness_seconds=BOUND) as opened:
        assert isinstance(opened._verification.authenticator, IntrospectingAuthenticator)
        yield opened


def asked(verifier: Verifier, path: str) -> list[float]:
    """Count requests to this path from now on."""
    times: list[float] = []
    hooks = verifier._verification.http.event_hooks  # type: ignore[attr-defined]
    verifier._verification.http.event_hooks = {  # type: ignore[attr-defined]
        "request": [*hooks["request"], lambda sent: times.append(0.0) if sent.url.path == path else None],
        "response": hooks["response"],
    }
    return times


def kid_token(kid: str) -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": kid, "typ": "at+jwt"}).encode())
    return f"{header.rstrip(b'=').decode()}.e30.{'A' * 86}"


def test_it_says_what_the_server_says(edge: Edge, verifier: Verifier) -> None:
    """Who calls, with which scopes and permissions, is the same as on the server, but for the name.

    An end is told in whole seconds.
    """
    key, narrow = edge.key(), edge.key()
    change_behind(
        edge.services, "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id", id=narrow.record.key_id
    )
    for credential in (key.secret, edge.token(key), edge.login()):
        expected = edge.services.authenticator.authenticate([credential.encode()], HERE)
        assert expected is not None
        assert expected.credential.ends_at is not None
        ends_at = expected.credential.ends_at.replace(microsecond=0)
        expected = replace(expected, credential=replace(expected.credential, ends_at=ends_at))
        for value in (credential, f"Bearer {credential}"):
            assert verifier.verify(value) == expected
    narrowed = verifier.verify(narrow.secret, scopes=["a"])
    assert (narrowed.scopes, narrowed.permissions) == (frozenset("a"), frozenset())
    unseen = edge.key()
    change_behind(
        edge.services, "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id", id=unseen.record.key_id
    )
    for credential in (unseen.secret, narrow.secret):  # Remembered and not.
        with pytest.raises(ScopeMissing):
            verifier.verify(credential, scopes=["a", "b"])


def test_noise_is_refused_without_a_question(edge: Edge, verifier: Verifier) -> None:
    """What cannot be a key, or has a wrong checksum, is never sent anywhere."""
    questions = asked(verifier, INTROSPECTION_PATH)
    wrong = edge.key().secret[:-1] + "-"
    for noise in (wrong, edge.follower.secret[:-1] + "0", "kt_x", "Basic x", "ü"):
        assert not accepts(verifier, noise)
    assert not questions


def test_guessing_ends_soon(edge: Edge, asker: str) -> None:
    """Fault B6: after too many unknown keys of a source no more is asked for it; noise costs no question."""
    good, other = edge.key(), edge.key()
    with asking(edge.server.url, asker, failures_per_minute=3) as verifier:
        for number in range(3):
            assert answer_of(verifier, f"kt_{number}", source="192.0.2.7") == (Reason.MALFORMED, None, False)
        assert answer_of(verifier, "kt_x", source="192.0.2.7") is TooManyFailures
        assert isinstance(answer_of(verifier, good.secret, source="192.0.2.7"), Principal)
        for _ in range(3):
            answer_of(verifier, unknown_key(), source="192.0.2.7")
        assert answer_of(verifier, other.secret, source="192.0.2.7") is TooManyFailures
        assert isinstance(answer_of(verifier, other.secret, source="192.0.2.8"), Principal)


def test_an_answer_is_remembered_for_the_bound_and_no_longer(edge: Edge, verifier: Verifier) -> None:
    """A good credential is asked about once in max_staleness; a revoke is seen within it."""
    key = edge.key()
    questions = asked(verifier, INTROSPECTION_PATH)
    for _ in range(100):
        assert accepts(verifier, key.secret)
    assert len(questions) == 1
    edge.revoke(key)
    revoked_at = time.monotonic()
    last = 0.0
    while time.monotonic() < revoked_at + 2 * BOUND:
        began_at = time.monotonic()
        if accepts(verifier, key.secret):
            last = began_at
        time.sleep(0.005)
    assert last < revoked_at + BOUND
    assert answer_of(verifier, key.secret) == (Reason.UNKNOWN, None, False)


def test_one_credential_is_asked_about_once_at_a_time(edge: Edge, asker: str) -> None:
    """However many threads present a credential at once, one question is sent."""
    key = edge.key()
    with between(edge.server.url) as proxy, asking(proxy.url, asker) as verifier:
        questions = asked(verifier, INTROSPECTION_PATH)
        proxy.delay = 0.3
        answers: list[object] = []
        threads = [
            threading.Thread(target=lambda: answers.append(answer_of(verifier, key.secret))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(questions) == 1
        assert len({str(answer) for answer in answers}) == 1
        assert all(isinstance(answer, Principal) for answer in answers)


def test_without_the_server_nothing_is_known(edge: Edge, asker: str) -> None:
    """What is not remembered is unavailable while the server is away, and what is remembered is not."""
    known, other = edge.key(), edge.key()
    with (
        between(edge.server.url) as proxy,
        asking(proxy.url, asker, max_staleness_seconds=60) as verifier,
    ):
        assert accepts(verifier, known.secret)
        proxy.close()
        assert accepts(verifier, known.secret)
        assert answer_of(verifier, other.secret) is StoreUnavailable


def test_random_key_ids_cost_one_fetch(edge: Edge, verifier: Verifier) -> None:
    """T14: ten thousand invented key ids cause no question and one fetch at most; known ones stay good."""
    token = edge.token(edge.key())
    assert accepts(verifier, token)
    fetches, questions = asked(verifier, JWKS_PATH), asked(verifier, INTROSPECTION_PATH)
    for number in range(RANDOM_KIDS):
        assert answer_of(verifier, kid_token(f"invented{number}")) == (Reason.SIGNATURE, None, False)
        if number % 1000 == 0:
            assert accepts(verifier, token)
    assert len(fetches) <= 1
    assert len(questions) <= RANDOM_KIDS / 1000


def test_with_the_feed_random_key_ids_cost_nothing(edge: Edge) -> None:
    """T14: who follows the feed has the keys: it fetches none."""
    token = edge.token(edge.key())
    with (
        between(edge.server.url) as proxy,
        Verifier(proxy.url, edge.follower.secret, failures_per_minute=10**6) as follower,
    ):
        for number in range(RANDOM_KIDS):
            assert answer_of(follower, kid_token(f"invented{number}")) == (Reason.SIGNATURE, None, False)
        assert accepts(follower, token)
        requests = re.findall(rb"^(?:GET|POST) /[^ ?]*", bytes(proxy.asked), re.MULTILINE)
    assert requests == [b"GET /feed"]


def test_a_failed_fetch_takes_no_key_away(edge: Edge, clock: Clock) -> None:
    """Keys that cannot be fetched again are used on for a bounded time, and are asked for seldom."""
    token = edge.token(edge.key()).encode()
    broken, fetches = threading.Event(), []

    def answer(request: httpx.Request) -> httpx.Response:
        fetches.append(request.url.path)
        if broken.is_set():
            return httpx.Response(200, content=b'{"keys": []}')
        return httpx.Response(200, content=httpx.get(f"{edge.server.url}{request.url.path}").content)

    with httpx.Client(base_url="http://keyturn", transport=httpx.MockTransport(answer)) as http:
        keys = PublishedKeys(http, clock.system())
        header = token.partition(b".")[0]
        assert header in keys.ring_for(token).by_header
        broken.set()
        clock.advance(timedelta(minutes=30))
        assert header in keys.ring_for(token).by_header
        before = len(fetches)
        for _ in range(10):
            clock.advance(timedelta(seconds=FETCH_SECONDS / 10))
            keys.ring_for(b"unknown.a.b")
        assert fetches[before:] == [JWKS_PATH]
        clock.advance(timedelta(hours=3))
        with pytest.raises(StoreUnavailable):
            keys.ring_for(token)


def test_a_new_signing_key_is_found(edge: Edge, verifier: Verifier) -> None:
    """A token by a key that was published since is good, at the price of one fetch."""
    edge.services.signing_keys.rotate(COMMAND_LINE, lead=timedelta(0))
    key = edge.key()
    fetches = asked(verifier, JWKS_PATH)
    assert accepts(verifier, edge.token(key))
    assert len(fetches) == 1


def test_an_audience_takes_the_feed(edge: Edge, asker: str) -> None:
    """What is good for one API cannot be asked: the start says what it takes."""
    with pytest.raises(CannotStart, match="the feed"):
        asking(edge.server.url, asker, audience="https://orders.example")


# Fault B13: who may ask


def test_fault_b13_a_key_without_the_permission_does_not_start(edge: Edge) -> None:
    """The start names the permission, for a key that lacks it and for one that carries it no longer."""
    narrowed = edge.services.keys.create_for(edge.follower.record.user_id, COMMAND_LINE, NewKey())
    narrow = "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id"
    change_behind(edge.services, narrow, id=narrowed.record.key_id)
    for secret in (edge.key().secret, narrowed.secret):
        for follow in (True, False):
            with pytest.raises(CannotStart, match="VERIFY_CREDENTIALS"):
                Verifier(edge.server.url, secret, follow=follow)


def test_fault_b13_a_permission_that_is_withdrawn_is_no_verdict(edge: Edge, asker: str) -> None:
    """Once the asking key may ask no more, nobody is refused: the verifier cannot know."""
    key = edge.key()
    with asking(edge.server.url, asker, max_staleness_seconds=BOUND) as verifier:
        verifier._authenticator._may_ask_until = 0.0  # type: ignore[attr-defined]  # as after the bound
        admin = holder(edge.services, "ada", Permission.USER_ADMIN)
        edge.services.user_administration.set_permissions(admin, "bim", "edge", [], HERE)
        with pytest.raises(StoreUnavailable, match="VERIFY_CREDENTIALS"):
            verifier.verify(key.secret)


@contextmanager
def hiding_the_feed(url: str) -> Iterator[str]:
    """Stand before a server as a gateway that forbids its feed."""

    class Gateway(BaseHTTPRequestHandler):
        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.startswith(PATH):
                answer = httpx.Response(403)
            else:
                headers = dict(self.headers) | {"Host": urlsplit(url).netloc}
                answer = httpx.request(self.command, url + self.path, headers=headers, content=content)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = answer  # noqa: N815 - the names of http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_fault_b13_a_gateway_that_hides_the_feed_leaves_the_asking(edge: Edge, asker: str) -> None:
    """With the permission, a 403 to the feed is somebody else's: each credential is asked about."""
    key = edge.key()
    with hiding_the_feed(edge.server.url) as url:
        with Verifier(url, asker) as verifier:
            assert accepts(verifier, key.secret)
        with pytest.raises(CannotStart, match="VERIFY_CREDENTIALS"):
            Verifier(url, key.secret)
