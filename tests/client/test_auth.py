"""The same guarantees for httpx, in threads and in tasks, and for requests."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
import requests
import trio

from keyturn.client import KeyturnAuth
from keyturn.client.requests import KeyturnAuth as RequestsAuth
from keyturn.client.tokens import ExchangeFailed, TokenKeeper
from keyturn.verifying.origin import COMMAND_LINE
from tests.client.conftest import WHO, Keyed
from tests.servers import running_app

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 16


class Caller(Protocol):
    """A way to make requests with one authentication."""

    def __call__(self, key: str, url: str | None) -> Callable[..., int]: ...


def by_httpx(key: str, url: str | None) -> Callable[..., int]:
    return asking_by_httpx(KeyturnAuth(key, url))


def asking_by_httpx(auth: KeyturnAuth) -> Callable[..., int]:
    client = httpx.Client(auth=auth)
    return lambda where, method="GET", **body: client.request(method, where, **body).status_code


def by_tasks(key: str, url: str | None) -> Callable[..., int]:
    return asking_by_tasks(KeyturnAuth(key, url))


def asking_by_tasks(auth: KeyturnAuth) -> Callable[..., int]:
    async def ask(where: str, method: str, body: dict[str, Any]) -> int:
        async with httpx.AsyncClient(auth=auth) as client:
            return (await client.request(method, where, **body)).status_code

    return lambda where, method="GET", **body: asyncio.run(ask(where, method, body))


def by_requests(key: str, url: str | None) -> Callable[..., int]:
    return asking_by_requests(RequestsAuth(key, url))


def asking_by_requests(auth: RequestsAuth) -> Callable[..., int]:
    def ask(where: str, method: str = "GET", **body: Any) -> int:
        if "content" in body:
            body = {"data": body["content"], "headers": body.get("headers")}
        return requests.request(method, where, auth=auth, timeout=10, **body).status_code

    return ask


CALLERS = {"httpx": by_httpx, "asyncio": by_tasks, "requests": by_requests}


@pytest.fixture(params=CALLERS)
def caller(request: pytest.FixtureRequest) -> Caller:
    found: Caller = CALLERS[request.param]
    return found


def test_a_key_is_sent_as_it_is(keyed: Keyed, caller: Caller) -> None:
    """Without the address of a Keyturn the key itself goes with each request, and nothing is exchanged."""
    ask = caller(keyed.key, None)
    assert [ask(keyed.url + WHO) for _ in range(3)] == [200] * 3
    assert keyed.exchanges() == 0


def test_one_token_serves_many_requests(keyed: Keyed, caller: Caller) -> None:
    """With the address the key is exchanged once, and the token goes with each request."""
    ask = caller(keyed.key, keyed.url)
    assert [ask(keyed.url + WHO) for _ in range(5)] == [200] * 5
    assert keyed.exchanges() == 1


def test_a_refused_token_is_renewed_once(keyed: Keyed, caller: Caller) -> None:
    """A token that was ended is replaced by another exchange, and the caller sees nothing of it."""
    ask = caller(keyed.key, keyed.url)
    assert ask(keyed.url + WHO) == 200
    keyed.sign_out()

    assert [ask(keyed.url + WHO) for _ in range(3)] == [200] * 3
    assert keyed.exchanges() == 2


def test_what_stays_refused_is_asked_twice_and_no_more(keyed: Keyed, caller: Caller) -> None:
    """Where a good token opens nothing the answer is handed on after one renewal, not asked for for ever."""
    ask = caller(keyed.key, keyed.url)
    assert ask(keyed.url + "/nothing/here") == 404
    keyed.server.services.keys.revoke_any(keyed.made.record.key_id, COMMAND_LINE)

    with pytest.raises(ExchangeFailed) as failed:
        ask(keyed.url + WHO)

    assert failed.value.status == 401
    assert keyed.key not in str(failed.value)


def test_a_body_is_sent_again_whole(keyed: Keyed, caller: Caller) -> None:
    """A request with a body that was refused for its token is sent again with the same body."""
    ask = caller(keyed.key, keyed.url)
    assert ask(keyed.url + WHO) == 200
    keyed.sign_out()

    made = ask(
        keyed.url + "/bim/apikey",
        "POST",
        content=b'{"name": "second"}',
        headers={"Content-Type": "application/json"},
    )

    assert made == 200
    names = [key.name for key in keyed.server.services.keys.list_of(keyed.made.record.user_id)]
    assert names == ["second", "first"]


def test_many_threads_make_one_exchange(keyed: Keyed) -> None:
    """However many threads begin at once, and are refused at once, each time one exchange is made."""
    for number, ask in enumerate((by_httpx(keyed.key, keyed.url), by_requests(keyed.key, keyed.url))):
        with ThreadPoolExecutor(MANY) as pool:
            assert set(pool.map(ask, [keyed.url + WHO] * MANY)) == {200}
            assert keyed.exchanges() == 2 * number + 1
            keyed.sign_out()
            assert set(pool.map(ask, [keyed.url + WHO] * MANY)) == {200}
            assert keyed.exchanges() == 2 * number + 2


def test_many_tasks_make_one_exchange(keyed: Keyed) -> None:
    """So it is for tasks of one event loop."""

    async def ask_often() -> set[int]:
        async with httpx.AsyncClient(auth=KeyturnAuth(keyed.key, keyed.url)) as client:
            answers = await asyncio.gather(*(client.get(keyed.url + WHO) for _ in range(MANY)))
        return {answer.status_code for answer in answers}

    assert asyncio.run(ask_often()) == {200}
    assert keyed.exchanges() == 1


def test_a_stream_is_not_sent_twice(keyed: Keyed) -> None:
    """A body that is gone once it was sent is not sent again: the refusal is handed on."""
    ask = httpx.Client(auth=KeyturnAuth(keyed.key, keyed.url))
    assert ask.get(keyed.url + WHO).status_code == 200
    keyed.sign_out()

    answer = ask.post(
        keyed.url + "/bim/apikey",
        content=iter([b'{"name": ', b'"second"}']),
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 401


@pytest.mark.parametrize("auth", [KeyturnAuth, RequestsAuth])
@pytest.mark.parametrize("url", ["http://keys.example.com", "ftp://localhost", "keys.example.com", ""])
def test_a_key_does_not_travel_in_clear(auth: Any, url: str) -> None:
    """An address without https that is not loopback is refused before anything is sent."""
    with pytest.raises(ValueError, match="https"):
        auth("kt_key", url)


@pytest.mark.parametrize("auth", [KeyturnAuth, RequestsAuth])
def test_no_repr_shows_the_key(auth: Any, keyed: Keyed) -> None:
    """What is printed of an authentication holds neither key nor token (S5)."""
    one = auth(keyed.key, keyed.url)
    shown = repr(one) + str(vars(one)["_tokens"]) + repr(inspect.signature(auth))
    assert keyed.key not in shown


class Clocks:
    """Clocks that stand still until they are told to move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("life", "kept"), [(3600, 3540), (600, 540), (60, 54), (10, 9)])
def test_a_token_is_renewed_before_it_ends(life: int, kept: int) -> None:
    """A minute before its end, or a tenth of its life if that is less, at exactly that moment."""
    clocks = Clocks()
    keeper = TokenKeeper("https://keys.example.com", "k", monotonic=clocks, timestamp=clocks)
    keeper.keep(200, answer_until(clocks.now + life))

    clocks.now += kept - 0.001
    assert keeper.find() == "t"
    clocks.now += 0.001
    assert keeper.find() is None


def test_a_wrong_clock_makes_no_storm() -> None:
    """By a clock that is hours ahead every token has ended: each is kept until it is refused."""
    clocks = Clocks()
    keeper = TokenKeeper("https://keys.example.com", "k", monotonic=clocks, timestamp=clocks)
    keeper.keep(200, answer_until(clocks.now - 7200))

    assert keeper.find() == "t"
    assert keeper.find(not_this="t") is None


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b'{"message": "Not authenticated."}', "Not authenticated."),
        (502, b"<html>", "The answer says no more."),
        (200, b"<html>", "check the address"),
        (200, b'{"token": 1}', "check the address"),
        (500, b"\xff", "The answer says no more."),
    ],
)
def test_a_failed_exchange_says_why(status: int, body: bytes, message: str) -> None:
    """Whatever comes back instead of a token is told in one sentence with the status."""
    keeper = TokenKeeper("https://keys.example.com", "k")
    with pytest.raises(ExchangeFailed, match=message) as failed:
        keeper.keep(status, body)
    assert failed.value.status == status


def answer_until(end: float) -> bytes:
    moment = datetime.fromtimestamp(end, UTC).isoformat().replace("+00:00", "Z")
    return f'{{"authenticated": true, "token": "t", "tokenExpiration": "{moment}"}}'.encode()


@pytest.mark.parametrize("auth", ["httpx", "requests"])
def test_a_key_follows_no_redirect(keyed: Keyed, auth: str) -> None:
    """An exchange that is led elsewhere fails: the key is not sent there, whatever is set."""
    asked: list[str] = []

    async def leading(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for done in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{done}.complete"})
            return
        asked.append(scope["path"])
        headers = [(b"location", b"/elsewhere"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def ask(url: str) -> Any:
        if auth == "httpx":
            return httpx.get(url, auth=KeyturnAuth(keyed.key, url), follow_redirects=True)
        return requests.get(url, auth=RequestsAuth(keyed.key, url), timeout=10)

    with running_app(leading) as url, pytest.raises(ExchangeFailed) as failed:
        ask(url)
    assert failed.value.status == 307
    assert asked == ["/bim/apikey/authenticate"]


def test_fault_f11_one_authentication_serves_several_loops(keyed: Keyed) -> None:
    """Tasks of event loops in several threads, at once and one after the other, share one exchange."""
    auth = KeyturnAuth(keyed.key, keyed.url)

    async def ask() -> int:
        async with httpx.AsyncClient(auth=auth) as client:
            return (await client.get(keyed.url + WHO)).status_code

    async def ask_often() -> list[int]:
        return await asyncio.gather(*(ask() for _ in range(MANY)))

    with ThreadPoolExecutor(3) as loops:
        answers = [each.result() for each in [loops.submit(asyncio.run, ask_often()) for _ in range(3)]]
    assert answers == [[200] * MANY] * 3
    assert keyed.exchanges() == 1
    for number in (2, 3):  # Each in a loop of its own, after the former one is closed.
        keyed.sign_out()
        assert asyncio.run(ask_often()) == [200] * MANY
        assert keyed.exchanges() == number


def test_fault_f11_it_works_under_trio(keyed: Keyed) -> None:
    """Tasks of trio share one exchange, and the loop of asyncio after them shares the token."""
    auth = KeyturnAuth(keyed.key, keyed.url)
    answers: list[int] = []

    async def ask() -> None:
        async with httpx.AsyncClient(auth=auth) as client:
            answers.append((await client.get(keyed.url + WHO)).status_code)

    async def ask_often() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(ask)

    trio.run(ask_often)
    asyncio.run(ask())
    assert answers == [200] * (MANY + 1)
    assert keyed.exchanges() == 1


def test_fault_f11_a_cancelled_exchange_lets_the_next_one_in(keyed: Keyed) -> None:
    """Who waits for an exchange that is cancelled makes it instead."""
    auth = KeyturnAuth(keyed.key, keyed.url)

    async def ask() -> int:
        async with httpx.AsyncClient(auth=auth) as client:
            return (await client.get(keyed.url + WHO)).status_code

    async def give_up() -> int:
        begun = [asyncio.create_task(ask()) for _ in range(3)]
        while not auth._exchanging.locked():  # noqa: ASYNC110 - it is no event
            await asyncio.sleep(0)
        for task in begun[:2]:
            task.cancel()
        return await begun[2]

    assert asyncio.run(give_up()) == 200
    assert not auth._exchanging.locked()
