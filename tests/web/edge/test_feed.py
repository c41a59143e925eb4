"""`GET /feed` on the wire: what a stream looks like, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

import httpx
import msgspec
import psutil
import pytest

from keyturn.composition import open_services
from keyturn.core import feed
from keyturn.services.feed.pages import FeedPages
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web.edge import feed_streams as streams
from tests.databases import new_sqlite_database
from tests.journeys.processes import STOP_TIMEOUT_SECONDS, serving
from tests.people import change_behind
from tests.replica.edges import PATIENCE_SECONDS, Edge, new_follower, wait_until
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NONCE = "n" * 20
Event = tuple[str, bytes]


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running_server(new_sqlite_database(tmp_path)) as server:
        yield Edge.of(server)


def events_of(answer: httpx.Response) -> Iterator[Event]:
    reader = feed.EventReader()
    for data in answer.iter_raw():
        yield from reader.read(data)


def until(events: Iterator[Event], name: str) -> list[Event]:
    """Return the events up to the first with this name, that one included."""
    found = []
    for event in events:
        found.append(event)
        if event[0] == name:
            break
    return found


def stream(edge: Edge, **question: object) -> object:
    return httpx.stream(
        "GET",
        f"{edge.server.url}/feed",
        params={"nonce": NONCE, **question},
        headers={"Authorization": edge.follower.secret},
        timeout=10,
    )


def test_a_new_follower_is_told_everything(edge: Edge) -> None:
    """The greeting, a full copy in order, and how far it reaches; nothing of it is kept on the way."""
    key = edge.key()
    with stream(edge) as answer:  # type: ignore[attr-defined]
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        told = until(events_of(answer), feed.ALIVE)
    names = [name for name, _ in told]
    assert names == [
        feed.HELLO,
        feed.RESET,
        feed.SIGNING_KEYS,
        feed.USERS,
        feed.RESOURCES,
        feed.KEYS,
        feed.WHOLE,
        feed.ALIVE,
    ]
    hello = msgspec.json.decode(told[0][1], type=feed.Hello)
    assert (hello.nonce, hello.format, hello.resumed) == (NONCE, feed.FORMAT, False)
    assert key.secret.encode() not in b"".join(data for _, data in told)
    alive = msgspec.json.decode(told[-1][1], type=feed.Alive)
    assert alive.revision == edge.services.store.installation.revision()
    assert alive.elapsed >= 0


def test_whoever_comes_back_is_told_what_changed(edge: Edge) -> None:
    """With a mark, only what came after it is told; with one of another history, everything."""
    with stream(edge) as answer:  # type: ignore[attr-defined]
        alive = msgspec.json.decode(until(events_of(answer), feed.ALIVE)[-1][1], type=feed.Alive)
    key = edge.key()
    mark = {"revision": alive.revision, "event_id": alive.event_id}
    with stream(edge, **mark) as answer:  # type: ignore[attr-defined]
        told = until(events_of(answer), feed.ALIVE)
    names = [name for name, _ in told]
    # What changed just now may be told twice: as what was missed, and as news.
    assert names in ([feed.HELLO, *[feed.KEYS] * times, feed.ALIVE] for times in (1, 2))
    for _, data in told[1:-1]:
        (row,) = msgspec.json.decode(data, type=list[feed.KeyRow])
        assert row.key_id == key.record.key_id
    with stream(edge, revision=alive.revision, event_id="0" * 36) as answer:  # type: ignore[attr-defined]
        assert feed.RESET in [name for name, _ in until(events_of(answer), feed.ALIVE)]


def test_a_stream_ends_with_its_key(edge: Edge) -> None:
    """Once the follower's key is revoked its stream ends, and tells of nothing from then on."""
    with stream(edge) as answer:  # type: ignore[attr-defined]
        events = events_of(answer)
        until(events, feed.ALIVE)
        edge.services.keys.revoke_any(edge.follower.record.key_id, COMMAND_LINE)
        revoked_at = edge.services.store.installation.revision()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for name, data in events:
            assert time.monotonic() < deadline, "the stream goes on"
            assert name == feed.ALIVE  # On its way already.
            assert msgspec.json.decode(data, type=feed.Alive).revision < revoked_at
    wait_until(lambda: not edge.services.feed._subscriptions)


MANY_KEYS = """
INSERT INTO api_key (user_id, digest, masked, created_at)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 150000)
SELECT :user_id, randomblob(32), 'many', 0 FROM numbers
"""


def test_who_does_not_read_is_cut_off(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes nothing is dropped after a while, whatever was written for it."""
    monkeypatch.setattr(streams, "SEND_SECONDS", 0.3)
    change_behind(
        edge.services, MANY_KEYS, user_id=edge.bob.user_id
    )  # More than the system keeps for a reader.
    host, port = edge.server.url.removeprefix("http://").split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        deaf.sendall(
            f"GET /feed?nonce={NONCE} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Authorization: {edge.follower.secret}\r\n\r\n".encode()
        )
        wait_until(lambda: len(edge.services.feed._subscriptions) == 1)
        wait_until(lambda: not edge.services.feed._subscriptions)


class SlowPages(FeedPages):
    """Yields events that take a while to read, for ever, and a full copy never ends."""

    seconds = 0.4

    def everything(self) -> Iterator[bytes]:
        yield feed.encode_event(feed.RESET, {})
        while True:
            time.sleep(self.seconds)
            yield self.signing_keys()


@pytest.fixture
def slow(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> SlowPages:
    pages = SlowPages(edge.services.store, edge.services.system)
    monkeypatch.setattr(edge.services.feed, "pages", pages)
    return pages


def test_something_is_said_while_an_event_is_read(
    edge: Edge, slow: SlowPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader hears of the server all the time, however long a page of the database takes."""
    monkeypatch.setattr(streams, "COMMENT_SECONDS", 0.05)
    slow.seconds = 1.0
    with stream(edge) as answer:  # type: ignore[attr-defined]
        heard = b""
        for data in answer.iter_raw():
            heard += data
            if heard.count(feed.COMMENT) > 5 or feed.SIGNING_KEYS.encode() in heard:
                break
    assert feed.SIGNING_KEYS.encode() not in heard


def test_who_goes_on_waits_for_nobody_who_begins(edge: Edge, slow: SlowPages) -> None:
    """Changes are told at once while slow full copies take all threads that read."""
    slow.seconds = 0.0
    mark = edge.services.store.audit_log.newest()
    with ExitStack() as opened:
        quick = opened.enter_context(stream(edge, revision=mark.revision, event_id=mark.event_id))  # type: ignore[call-overload]
        events = events_of(quick)
        until(events, feed.ALIVE)
        slow.seconds = PATIENCE_SECONDS / 2
        begun = [events_of(opened.enter_context(stream(edge))) for _ in range(streams.THREADS)]  # type: ignore[call-overload]
        for others in begun:
            until(others, feed.RESET)
        began_at = time.monotonic()
        edge.key()
        until(events, feed.KEYS)
        assert time.monotonic() - began_at < slow.seconds / 2


def test_a_full_copy_ends_with_its_key(edge: Edge, slow: SlowPages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may follow no longer is told of no more rows, in the middle of a full copy either."""
    monkeypatch.setattr(streams, "RECHECK_SECONDS", 0.1)
    slow.seconds = 0.2
    with stream(edge) as answer:  # type: ignore[attr-defined]
        events = events_of(answer)
        until(events, feed.SIGNING_KEYS)
        edge.services.keys.revoke_any(edge.follower.record.key_id, COMMAND_LINE)
        assert len(list(islice(events, 10))) <= 2
    wait_until(lambda: not edge.services.feed._subscriptions)


def test_a_full_copy_ends_some_time(edge: Edge, slow: SlowPages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes a little now and then does not keep its place for ever."""
    monkeypatch.setattr(streams, "COPY_SECONDS", 0.5)
    slow.seconds = 0.1
    with stream(edge) as answer, pytest.raises(httpx.HTTPError):  # type: ignore[attr-defined]
        list(islice(events_of(answer), 50))
    wait_until(lambda: not edge.services.feed._subscriptions)


def test_a_full_copy_ends_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops ends the stream well, in the middle of a full copy."""
    monkeypatch.setattr(streams, "RECHECK_SECONDS", 0.1)
    with ExitStack() as opened:
        with running_server(new_sqlite_database(tmp_path)) as server:
            edge, pages = Edge.of(server), SlowPages(server.services.store, server.services.system)
            monkeypatch.setattr(server.services.feed, "pages", pages)
            events = events_of(opened.enter_context(stream(edge)))  # type: ignore[call-overload]
            until(events, feed.SIGNING_KEYS)
        assert len(list(islice(events, 10))) < 10  # Cut off, it would raise.


def test_a_peer_that_vanished_is_noticed_soon(edge: Edge) -> None:
    """The system ends a stream whose peer acknowledges nothing, within the time that a reader has."""
    with stream(edge) as answer:  # type: ignore[attr-defined]
        events = events_of(answer)  # Whose end would end the stream.
        until(events, feed.ALIVE)
        here = answer.extensions["network_stream"].get_extra_info("client_addr")
        (end,) = (one for one in psutil.Process().net_connections() if one.raddr == here)
        with socket.socket(fileno=os.dup(end.fd)) as theirs:
            assert (
                theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == streams.SEND_SECONDS * 1000
            )


def test_a_server_with_followers_ends_in_time(tmp_path: Path, root_key_file: Path) -> None:
    """D10: SIGTERM ends the streams, and the server well, however many follow."""
    database = new_sqlite_database(tmp_path)
    services = open_services(
        read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file), hashing=CHEAPEST
    )
    secret = new_follower(services).secret
    services.close()
    environment = {"KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    with serving(database, tmp_path, environment=environment) as server:
        question = f"GET /feed?nonce={NONCE} HTTP/1.1\r\nHost: x\r\nAuthorization: {secret}\r\n\r\n"
        question = question.replace("Host: x", f"Host: 127.0.0.1:{server.port}")
        open_ends = []
        for _ in range(8):
            end = socket.create_connection(("127.0.0.1", server.port), timeout=STOP_TIMEOUT_SECONDS)
            end.sendall(question.encode())
            assert end.recv(12) == b"HTTP/1.1 200"
            open_ends.append(end)
        began_at = time.monotonic()
        server._running.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - began_at < STOP_TIMEOUT_SECONDS / 2
        for end in open_ends:
            end.close()
        assert "Traceback" not in server.output()
        assert "ASGI callable" not in server.output()
