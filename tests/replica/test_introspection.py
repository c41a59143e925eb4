"""Verifying by asking, for a key that may not follow the feed: bounded in time, number and questions."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn import (
    CannotStart,
    Principal,
    Reason,
    StoreUnavailable,
    TooManyFailures,
    Verifier,
)
from keyturn.core.oauth import INTROSPECTION_PATH, JWKS_PATH
from keyturn.replica.introspection import IntrospectingAuthenticator
from keyturn.replica.published_keys import FETCH_SECONDS, PublishedKeys
from keyturn.services.actors import COMMAND_LINE
from keyturn.services.keys import CreatedKey
from tests.fakes import Clock
from tests.replica.edges import accepts, answer_of
from tests.replica.proxy import between
from tests.services.people import HERE, change_behind, unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.replica.edges import Edge

BOUND = 2.0
RANDOM_KIDS = 10_000
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def asker(edge: Edge) -> CreatedKey:
    """A key without any permission that matters."""
    return edge.key()


@pytest.fixture
def verifier(edge: Edge, asker: CreatedKey) -> Iterator[Verifier]:
    with Verifier(edge.server.url, asker.secret, max_staleness_seconds=BOUND) as opened:
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
    """Who calls, with which scopes and permissions, is the same as on the server, but for the name."""
    key, narrow = edge.key(), edge.key()
    change_behind(
        edge.services, "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id", id=narrow.record.key_id
    )
    for credential in (key.secret, edge.token(key), edge.login()):
        expected = edge.services.authenticator.authenticate([credential.encode()], HERE)
        for value in (credential, f"Bearer {credential}"):
            assert verifier.verify(value) == expected
    narrowed = verifier.verify(narrow.secret, scopes=["a"])
    assert (narrowed.scopes, narrowed.permissions) == (frozenset("a"), frozenset())


def test_noise_is_refused_without_a_question(edge: Edge, verifier: Verifier) -> None:
    """What cannot be a key, or has a wrong checksum, is never sent anywhere."""
    questions = asked(verifier, INTROSPECTION_PATH)
    wrong = edge.key().secret[:-1] + "-"
    for noise in (wrong, edge.follower.secret[:-1] + "0", "kt_x", "Basic x", "ü"):
        assert not accepts(verifier, noise)
    assert not questions


def test_guessing_ends_soon(edge: Edge, asker: CreatedKey) -> None:
    """Fault B6: after too many unknown keys of a source no more is asked for it; noise costs no question."""
    good, other = edge.key(), edge.key()
    with Verifier(edge.server.url, asker.secret, failures_per_minute=3) as verifier:
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


def test_one_credential_is_asked_about_once_at_a_time(edge: Edge, asker: CreatedKey) -> None:
    """However many threads present a credential at once, one question is sent."""
    key = edge.key()
    with between(edge.server.url) as proxy, Verifier(proxy.url, asker.secret) as verifier:
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


def test_without_the_server_nothing_is_known(edge: Edge, asker: CreatedKey) -> None:
    """What is not remembered is unavailable while the server is away, and what is remembered is not."""
    known, other = edge.key(), edge.key()
    with (
        between(edge.server.url) as proxy,
        Verifier(proxy.url, asker.secret, max_staleness_seconds=60) as verifier,
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


def test_an_audience_takes_the_feed(edge: Edge, asker: CreatedKey) -> None:
    """What is good for one API cannot be asked: the start says what it takes."""
    with pytest.raises(CannotStart, match="VERIFY_CREDENTIALS"):
        Verifier(edge.server.url, asker.secret, audience="https://orders.example")
