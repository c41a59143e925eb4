"""`GET /feed`: the stream that verifiers in other programs follow. `core.feed` describes its content.

It is answered by the gate: a stream has no end that a framework could wait for.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from keyturn.core import feed
from keyturn.core.audit import Mark
from keyturn.core.principal import Principal
from keyturn.core.records import is_id
from keyturn.errors import KeyturnError, MalformedRequest
from keyturn.services.feed.stream import (
    Confirmed,
    Feed,
    FellBehind,
    Part,
    check_may_follow,
)
from keyturn.web.edge.messages import Answer, ClientGone, Receive
from keyturn.web.edge.request_checks import Scope

THREADS = 2
"""Reading for those who begin: one full copy at a time leaves the other for whoever only goes on."""
SEND_SECONDS = 10.0
"""A reader that takes nothing for this long is cut off."""
COPY_SECONDS = 900.0
"""So is one that takes this long for a full copy: one of a million keys has some 150 MB."""
SILENCE_SECONDS = 2.0
"""After so long without news, as when the database is away, at least a comment is sent."""
COMMENT_SECONDS = 1.0
"""While an event is being read, or waits for its turn to be, a comment is sent this often."""
RECHECK_SECONDS = 1.0
"""Rows are sent only to whom so long before was last seen to be still allowed to have them."""
TRANSPORT = "keyturn.transport"
"""The extension of the server's scope that holds the connection."""

NONCE_PATTERN = "^[A-Za-z0-9_-]{16,64}$"
_NONCE = re.compile(NONCE_PATTERN)
_EVENT_ID = re.compile(r"[0-9a-f-]{36}")
_REVISION = re.compile(r"[0-9]{1,19}")
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
        (b"x-accel-buffering", b"no"),  # nginx would hold it back.
    ],
}

Recheck = Callable[[], Awaitable[Principal]]
"""Returns who follows, as a new request of theirs would find them; raises as it would."""


class FeedStreams:
    """Answers those who follow, until they leave or the server stops."""

    def __init__(self, source: Feed) -> None:
        self._feed = source
        self._threads = ThreadPoolExecutor(THREADS, "keyturn-feed-read")
        self._open: set[asyncio.Event] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """End all streams: the server shuts down, and waits for them. To be called in the loop."""
        self._is_stopping = True
        for news in self._open:
            news.set()

    async def answer(self, scope: Scope, receive: Receive, answer: Answer, recheck: Recheck) -> None:
        """Stream until the credential ends, the client leaves, or the server stops."""
        nonce, mark = parse_query(scope["query_string"])
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        subscription = await loop.run_in_executor(self._threads, self._feed.follow, scope["user"], wake)
        gone = asyncio.ensure_future(_wait_until_gone(receive, news))
        self._open.add(news)
        try:
            events = self._feed.begin(subscription, nonce, mark)
            # The greeting is read before anything is sent: what goes wrong then is still answered.
            hello = await loop.run_in_executor(self._threads, next, events)
            stream = _Stream(answer, gone, self._threads, partial(self._check, recheck))
            _notice_soon_if_gone(scope)
            await stream.send(_START)
            await stream.send_bytes(hello)
            await stream.send_parts([lambda: events])
            while await self._has_news(news):
                taken = self._feed.take(subscription)
                await stream.check()  # After that: it may be of their own end.
                await stream.send_news(*taken, subscription.hello_at)
        except (FellBehind, KeyturnError):
            if answer.status is None:
                raise
        except _Stopping:
            pass
        except _Over:
            raise ClientGone from None
        except TimeoutError:
            await _abort(scope, gone)
            raise ClientGone from None
        finally:
            self._open.discard(news)
            self._feed.leave(subscription)
            gone.cancel()
        if gone.done():
            raise ClientGone
        await answer({"type": "http.response.body", "body": b""})

    async def _check(self, recheck: Recheck) -> None:
        """Raise `_Stopping` if the server stops, or why whoever follows may follow no longer."""
        if self._is_stopping:
            raise _Stopping
        check_may_follow(await recheck())

    async def _has_news(self, news: asyncio.Event) -> bool:
        """Wait for news, or until something must be said; return False if the server stops."""
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), SILENCE_SECONDS)
        news.clear()
        return not self._is_stopping


class _Over(Exception):
    """There is nobody to send to."""


class _Stopping(Exception):
    """There is nobody to send any more."""


class _Stream:
    """Sends to one reader, no faster than it reads."""

    def __init__(
        self,
        answer: Answer,
        gone: "asyncio.Future[None]",
        threads: ThreadPoolExecutor,
        check: Callable[[], Awaitable[None]],
    ) -> None:
        self._answer = answer
        self._gone = gone
        self._threads = threads
        self._check = check
        self._loop = asyncio.get_running_loop()
        self._checked_at = self._loop.time()

    async def check(self) -> None:
        """Raise what ends the stream, if something does."""
        self._checked_at = self._loop.time()
        await self._check()

    async def send(self, message: object) -> None:
        """Send a message of ASGI; raise `TimeoutError` if the reader does not read."""
        if self._gone.done():
            raise _Over
        async with asyncio.timeout(SEND_SECONDS):
            await self._answer(message)

    async def send_bytes(self, data: bytes) -> None:
        """Send a part of the body."""
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def send_parts(self, parts: Sequence[Part]) -> None:
        """Send events, each of those that are not there yet read once the one before it was taken."""
        async with asyncio.timeout(COPY_SECONDS):
            for part in parts:
                if isinstance(part, bytes):
                    await self._send_rows(part)
                    continue
                events = part()
                while (event := await self._read(events)) is not None:
                    await self._send_rows(event)

    async def _send_rows(self, event: bytes) -> None:
        if self._loop.time() - self._checked_at > RECHECK_SECONDS:
            await self.check()
        await self.send_bytes(event)

    async def _read(self, events: Iterator[bytes]) -> bytes | None:
        """Return the next event, read in a thread, or None at the end; raise `_Over` at once if so."""
        reading = self._loop.run_in_executor(self._threads, next, events, None)
        try:
            while not reading.done():
                ends: set[asyncio.Future[Any]] = {reading, self._gone}
                await asyncio.wait(ends, timeout=COMMENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    await self.send_bytes(feed.COMMENT)  # Unless there is nobody to send to.
            return await reading
        finally:
            reading.cancel()  # Not to be begun for nobody.

    async def send_news(self, parts: Sequence[Part], confirmed: Confirmed | None, hello_at: float) -> None:
        """Send what changed, and how far that reaches, or that there is nothing to say."""
        if parts:
            await self.send_parts(parts)
        await self.send_bytes(feed.COMMENT if confirmed is None else _alive(confirmed, hello_at))


def parse_query(query: bytes) -> tuple[str, Mark | None]:
    """Return the nonce, and the mark to go on from; raise `MalformedRequest`."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        pairs = []
    fields = dict(pairs)
    if len(fields) != len(pairs) or not fields.keys() <= {"nonce", "revision", "event_id"}:
        raise MalformedRequest("The feed is asked for by nonce, revision and event_id, each once.")
    nonce, revision, event_id = fields.get("nonce", ""), fields.get("revision"), fields.get("event_id")
    if _NONCE.fullmatch(nonce) is None:
        raise MalformedRequest("Give a nonce: 16 to 64 characters of base64url, new for each request.")
    if revision is None and event_id is None:
        return nonce, None
    if _REVISION.fullmatch(revision or "") is None or not (revision == "0" or is_id(int(revision or "0"))):
        raise MalformedRequest("A revision is the whole number that was last told.")
    if (event_id is None) != (revision == "0") or _EVENT_ID.fullmatch(event_id or "0" * 36) is None:
        raise MalformedRequest("Every revision but 0 has its event_id, as it was told with it.")
    return nonce, Mark(int(revision or "0"), event_id)


def _alive(confirmed: Confirmed, hello_at: float) -> bytes:
    elapsed = int((confirmed.at - hello_at) * 1000) / 1000  # Never more than it is.
    return feed.encode_event(
        feed.ALIVE, feed.Alive(confirmed.mark.revision, confirmed.mark.event_id, elapsed)
    )


async def _wait_until_gone(receive: Receive, news: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    news.set()


async def _abort(scope: Scope, gone: "asyncio.Future[None]") -> None:
    """Cut the connection: what its reader has not taken would keep it open."""
    transport = scope.get("extensions", {}).get(TRANSPORT)
    if transport is not None:
        transport.abort()
        await gone


def _notice_soon_if_gone(scope: Scope) -> None:
    """Let the system end the connection once what is sent to a peer is not acknowledged for a while.

    One that vanished without a word would keep its place among those who follow for a quarter of an hour.
    """
    transport = scope.get("extensions", {}).get(TRANSPORT)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # RFC 5482; not every system has it.
    if transport is None or option is None:
        return
    with suppress(OSError, ValueError):  # Gone already: uvloop says it by the second.
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, option, int(SEND_SECONDS * 1000))
