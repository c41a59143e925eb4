"""Asking a server that is late, or does not end: nobody waits for long, and no old answer opens anything."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn import CredentialRefused, StoreUnavailable
from keyturn.core.access_token import VerifyingKey, VerifyingRing, generate_signing_key
from keyturn.core.api_key import RANDOM_BYTES, ApiKeyFormat
from keyturn.core.jwk import generate_private_key
from keyturn.core.oauth import JWKS_PATH as KEY_SET
from keyturn.replica import bounded_http as answers_module
from keyturn.replica import published_keys
from keyturn.replica.introspection import IntrospectingAuthenticator
from keyturn.replica.published_keys import PublishedKeys
from keyturn.system import System
from keyturn.verifying.origin import Origin
from keyturn.verifying.rate_limit import CredentialRateLimit
from tests.replica.edges import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes import Clock

BOUND = 2.0
GOOD = {"active": True, "sub": "1", "username": "bob", "iamid": "bim", "token_type": "api_key"}
KEY = ApiKeyFormat().make_api_key(b"k" * RANDOM_BYTES).text.encode()
OWN_KEY = ApiKeyFormat().make_api_key(b"o" * RANDOM_BYTES).text.encode()


def asking(http: httpx.Client, system: System) -> IntrospectingAuthenticator:
    return IntrospectingAuthenticator(
        http,
        own_key=OWN_KEY.decode(),
        issuer="http://keyturn",
        key_format=ApiKeyFormat(),
        max_staleness_seconds=BOUND,
        failures=CredentialRateLimit(120, system),
        system=system,
    )


def answering(answer: Callable[[], httpx.Response]) -> httpx.Client:
    """Answer every question but that about the own key, which may ask."""

    def answered(request: httpx.Request) -> httpx.Response:
        if OWN_KEY in request.content:
            return httpx.Response(200, json={**GOOD, "permissions": ["VERIFY_CREDENTIALS"]})
        return answer()

    return httpx.Client(base_url="http://keyturn", transport=httpx.MockTransport(answered))


def test_an_answer_that_comes_after_the_bound_is_none(clock: Clock) -> None:
    """A verdict that was on its way for exactly the bound opens nothing, now or later."""
    delays = [BOUND, BOUND - 0.001]

    def answer() -> httpx.Response:
        clock.advance(timedelta(seconds=delays.pop(0)))
        return httpx.Response(200, json=GOOD)

    with answering(answer) as http:
        authenticator = asking(http, clock.system())
        with pytest.raises(StoreUnavailable, match="too long"):
            authenticator.authenticate([KEY], Origin())
        assert authenticator.authenticate([KEY], Origin()) is not None
        assert not delays


def test_whoever_would_join_an_old_question_asks_anew(clock: Clock) -> None:
    """A question that was sent the bound ago is not waited for, and its answer counts for nothing."""
    is_held, answers, questions = threading.Event(), [], []

    def answer() -> httpx.Response:
        questions.append(clock.monotonic)
        if len(questions) > 1:
            return httpx.Response(200, json={"active": False})
        is_held.wait(10)
        return httpx.Response(200, json=GOOD)

    def present() -> None:
        try:
            answers.append(authenticator.authenticate([KEY], Origin()))
        except (StoreUnavailable, CredentialRefused) as error:
            answers.append(type(error))

    with answering(answer) as http:
        authenticator = asking(http, clock.system())
        first = threading.Thread(target=present)
        first.start()
        wait_until(lambda: len(questions) == 1)
        clock.advance(timedelta(seconds=BOUND))
        present()
        assert answers == [CredentialRefused]
        is_held.set()
        first.join()
        present()
        assert answers == [CredentialRefused, StoreUnavailable, CredentialRefused]


@contextmanager
def dripping(head: bytes) -> Iterator[str]:
    """Answer every question with `head`, and then with a byte now and then that never ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def drip(near: socket.socket) -> None:
        with near, suppress(OSError):
            near.recv(65536)
            near.sendall(head)
            while not is_over.wait(0.1):
                near.sendall(b"x")

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"],
    ids=["head", "body"],
)
def test_an_answer_that_does_not_end_is_not_waited_for(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte every other moment holds nobody for longer than the bound, nor the keys that are known."""
    monkeypatch.setattr(published_keys, "ANSWER_SECONDS", 1.0)
    refused = threading.Event()

    def present() -> None:
        with pytest.raises(StoreUnavailable, match="too long"):
            authenticator.authenticate([KEY], Origin())
        with pytest.raises(StoreUnavailable, match="cannot be fetched"):
            authenticator.keys.ring_for(b"a.b.c")
        refused.set()

    with dripping(head) as url, httpx.Client(base_url=url) as http:
        authenticator = asking(http, System())
        threading.Thread(target=present, daemon=True).start()
        assert refused.wait(10)


def test_known_keys_are_used_while_somebody_fetches(clock: Clock) -> None:
    """One fetch that takes long stops nobody whose token was signed by a key that is known."""
    jwk = generate_signing_key("ES256", "known")
    key_set = {"keys": [{name: value for name, value in jwk.items() if name != "d"}]}
    (header,) = VerifyingRing.of_keys([VerifyingKey.from_jwk(key_set["keys"][0])]).by_header
    token = header + b".b.c"
    is_held, fetches = threading.Event(), []
    is_held.set()

    def answer() -> httpx.Response:
        fetches.append(KEY_SET)
        is_held.wait(10)
        return httpx.Response(200, json=key_set)

    with answering(answer) as http:
        keys = PublishedKeys(http, clock.system())
        keys.ring_for(token)
        is_held.clear()
        clock.advance(timedelta(minutes=61))
        fetching = threading.Thread(target=keys.ring_for, args=(token,))
        fetching.start()
        wait_until(lambda: len(fetches) == 2)
        known: list[object] = []
        other = threading.Thread(target=lambda: known.append(keys.ring_for(token)), daemon=True)
        other.start()
        other.join(3)
        assert len(known) == 1
        is_held.set()
        fetching.join()


@pytest.mark.parametrize("change", [{"y": None}, {"x": "AA"}, {"y": ""}, {"kty": "OKP"}, {"use": "enc"}])
def test_a_key_set_with_what_is_no_key_is_none(clock: Clock, change: dict[str, str | None]) -> None:
    """A server that publishes a broken key has published none, and the caller gets an error of ours."""
    changed = {"kid": "a", **generate_private_key("ES256").public_jwk()} | change
    jwk = {name: value for name, value in changed.items() if value is not None}
    with answering(lambda: httpx.Response(200, json={"keys": [jwk]})) as http:
        keys = PublishedKeys(http, clock.system())
        with pytest.raises(StoreUnavailable, match="cannot be fetched"):
            keys.ring_for(b"a.b.c")


def test_an_answer_that_comes_too_slowly_is_given_up(clock: Clock) -> None:
    """A body is read for so many seconds and no longer: its thread and its connection are free then."""
    read: list[bytes] = []

    def slow() -> Iterator[bytes]:
        for _ in range(100):
            clock.advance(timedelta(seconds=answers_module.ANSWER_SECONDS / 4))
            read.append(b" ")
            yield read[-1]

    with (
        answering(lambda: httpx.Response(200, content=slow())) as http,
        pytest.raises(answers_module.AnswerTooLong),
    ):
        answers_module.ask(http, "GET", KEY_SET, system=clock.system())
    assert len(read) == 4


def test_a_key_set_without_end_is_not_read(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an answer no more is read than a key set can be."""
    monkeypatch.setattr(answers_module, "MAX_ANSWER_BYTES", 1000)
    read: list[bytes] = []

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            read.append(b" " * 100)
            yield read[-1]

    with answering(lambda: httpx.Response(200, content=endless())) as http:
        with pytest.raises(StoreUnavailable):
            PublishedKeys(http, clock.system()).ring_for(b"a.b.c")
        assert len(read) == 11
