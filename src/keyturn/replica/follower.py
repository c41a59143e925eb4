"""Follows the feed: keeps the copy true, and says for how long it may be trusted.

All that comes between two `alive` is one change. It is kept aside, then written into the copy, and what it
touches is forgotten by the index before anything else is answered; only then is trust extended: a fill that
began before is not kept (R4). A change that is too large to be kept aside, as many a full copy is, is
written as it comes: until its end nothing is looked up, and what was remembered before holds for as long as
it is trusted.

Trust reaches `max_staleness` from the instant that the server says it has told everything of, counted from
before the request was sent: so no delay on the way, no buffer and no recording of an older stream makes
anything look newer than it is. Clocks that run at different speeds differ by milliseconds in
`Timeouts.stream`, after which a new stream begins.
"""

import random
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import httpx
import msgspec

from keyturn.core import feed
from keyturn.errors import CannotStart, KeyturnError
from keyturn.replica.state import Replica, Touched
from keyturn.replica.trust import Trust
from keyturn.system import System
from keyturn.verifying.verdict_cache import VerdictCache

T = TypeVar("T")

NONCE_BYTES = 18
MAX_CHANGE_BYTES = 8 * 1024 * 1024
"""A larger change is not kept aside: some 40,000 rows, which are written in a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a follower waits before it acts, in seconds."""

    start: float = 60.0
    """Within so long the first copy is whole."""
    stream: float = 300.0
    """A stream that is older is exchanged for another."""
    lag: float = 10.0
    """A stream that lags is not exchanged for another before: behind a slow proxy that one lags too."""
    drift: float = 0.1
    """How far the clocks of both may run apart in a stream. Further, and this machine has stood still."""
    silence: float = 3.0
    """The server says something every second: a connection that is silent for so long is dead."""
    connect: float = 3.0
    reconnect: tuple[float, float] = (0.05, 1.0)
    """The first pause before following again, and the longest, each twice the one before."""


TIMEOUTS = Timeouts()
"""Those of every verifier."""


class FeedRefused(KeyturnError):
    """The server does not let this one follow."""

    def __init__(self, status: int) -> None:
        super().__init__(
            _SENTENCES.get(status, f"the Keyturn server answers {status} to who follows its feed")
        )
        self.status = status


_SENTENCES = {
    401: "the Keyturn server refuses the key that this verifier follows its feed with",
    403: "the key that this verifier follows the feed with lacks the permission VERIFY_CREDENTIALS, or is "
    "narrowed to scopes or to a project",
    404: "there is no feed at this address: see that it is a Keyturn server of this version or newer",
    503: "the Keyturn server has no answer now, as its database is away, or too many follow it",
}


class _FeedBroken(KeyturnError):
    """The answer is no feed, or not the answer to this request."""


class Follower:
    """A thread that follows, for as long as the verifier is open."""

    def __init__(
        self,
        http: httpx.Client,
        *,
        copy: Replica,
        index: VerdictCache,
        trust: Trust,
        max_staleness_seconds: float,
        system: System,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._http = http
        self._timeouts = timeouts
        self._copy = copy
        self._index = index
        self._trust = trust
        self._max_staleness = max_staleness_seconds
        self._system = system
        self._mark: tuple[int, str | None] | None = None
        self._is_filling = False
        self._change: list[tuple[str, bytes]] = []
        self._change_bytes = 0
        self._is_torn = True
        """Whether the copy has a part of the change that comes, as it has from the beginning."""
        self._has_reached = False
        """Whether this stream has said how far it reaches: one that goes on after much may take its time."""
        self.hello: feed.Hello | None = None
        """The server's settings, once they were heard."""
        self._is_true = threading.Event()
        self._refused: FeedRefused | None = None
        self._why = "the Keyturn server was not reached"
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="keyturn-follower", daemon=True)
        self._applies: Mapping[str, Callable[[bytes], Touched | None]] = {
            feed.RESET: lambda _: copy.begin_full(),
            feed.WHOLE: lambda _: copy.end_full(),
            feed.RESOURCES: copy.apply_resources,
            feed.SIGNING_KEYS: copy.apply_signing_keys,
            feed.USERS: copy.apply_users,
            feed.KEYS: copy.apply_keys,
            feed.SESSIONS: copy.apply_sessions,
            feed.TOKENS: copy.apply_tokens,
            feed.GONE: copy.apply_gone,
        }

    def start(self) -> feed.Hello:
        """Return once the copy is whole; raise `FeedRefused`, or `CannotStart` if it is not in time."""
        timeout = self._timeouts.start
        self._thread.start()
        self._is_true.wait(timeout)
        if self._refused is not None and self.hello is None:
            raise self._refused
        if self.hello is None or self._mark is None:
            raise CannotStart(f"Within {timeout:g} seconds there was no copy of the keys: {self._why}.")
        return self.hello

    def stop(self) -> None:
        """End the thread, and with it all trust."""
        self._stopping.set()
        if self._socket is not None:
            with suppress(OSError):  # Gone already.
                self._socket.shutdown(socket.SHUT_RDWR)  # It waits for the next word of the server.
        self._thread.join(self._timeouts.silence + self._timeouts.connect)
        self._trust.end("the verifier is closed", for_good=True)

    def _run(self) -> None:
        shortest, longest = self._timeouts.reconnect
        pause = shortest
        while not self._stopping.is_set():
            heard = self._trust.trusted_until
            try:
                self._follow()
                continue
            except FeedRefused as refused:
                self._why = str(refused)
                if refused.status in {401, 403, 404} and self.hello is None:
                    self._refused = refused
                    self._is_true.set()
                    return
            except (httpx.HTTPError, _FeedBroken) as error:
                self._why = _in_words(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on: nobody else follows
                self._why = f"the feed could not be followed ({type(error).__name__})"
            self._trust.tell_why(self._why)
            pause = shortest if self._trust.trusted_until > heard else pause
            self._stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that many do not come at once
            pause = min(pause * 2, longest)

    def _follow(self) -> None:
        """Follow one stream until it is old."""
        nonce = secrets.token_urlsafe(NONCE_BYTES)
        asked_at = self._system.monotonic()
        question: dict[str, str | int] = {"nonce": nonce}
        if self._mark is not None:
            question["revision"] = self._mark[0]
            if self._mark[1] is not None:
                question["event_id"] = self._mark[1]
        self._copy.abandon_full()
        self._change, self._change_bytes = [], 0
        self._is_filling = self._has_reached = False
        with self._http.stream("GET", feed.PATH, params=question) as answer:
            if answer.status_code != httpx.codes.OK:
                raise FeedRefused(answer.status_code)
            self._socket = answer.extensions["network_stream"].get_extra_info("socket")
            reader = feed.EventReader()
            is_greeted = False
            for data in answer.iter_raw():
                for name, event in _events(reader, data):
                    if not is_greeted:
                        self._greet(name, event, nonce)
                        is_greeted = True
                    else:
                        self._apply(name, event, asked_at)
                if self._stopping.is_set() or self._is_old(asked_at):
                    return
        raise _FeedBroken("the Keyturn server ended the feed")

    def _is_old(self, asked_at: float) -> bool:
        """Return whether a new stream is better: after its time, or when this one says how it was long ago.

        So it is once the server, but not this machine, has stood still: its count of the seconds lags since.
        """
        if self._is_filling:
            return False  # Begun anew it would take as long again.
        now = self._system.monotonic()
        lags = self._has_reached and self._trust.trusted_until - now < self._max_staleness / 2
        return now - asked_at > (self._timeouts.lag if lags else self._timeouts.stream)

    def _greet(self, name: str, event: bytes, nonce: str) -> None:
        hello = _decoded(event, feed.Hello) if name == feed.HELLO else None
        if hello is None or hello.format != feed.FORMAT:
            raise _FeedBroken("the feed is of another format: the server is of another version")
        if hello.nonce != nonce:
            raise _FeedBroken(
                "the feed is the answer to another request: something on the way repeats old answers"
            )
        if self.hello is not None and _settings(hello) != _settings(self.hello):
            raise _FeedBroken("the server's settings have changed: open the verifier anew")
        if self._mark is None and hello.resumed:
            raise _FeedBroken("the feed goes on from what was never told")
        self.hello = hello

    def _apply(self, name: str, event: bytes, asked_at: float) -> None:
        """Take in one event, in the order that the module tells of. One of a newer server is passed over.

        A change of meaning changes `format`.
        """
        if name == feed.ALIVE:
            alive = _decoded(event, feed.Alive)
            self._check(alive, asked_at)
            self._take_in()
            self._reach(alive, asked_at)
        elif name in self._applies:
            self._change.append((name, event))
            self._change_bytes += len(event)
            self._is_filling = name == feed.RESET or (self._is_filling and name != feed.WHOLE)
            if self._change_bytes > MAX_CHANGE_BYTES:
                self._is_torn = True
                self._copy.tear()
            if self._is_torn:
                self._write()

    def _take_in(self) -> None:
        """Write the change that has come, as a whole."""
        if not self._change and not self._is_torn:
            return
        with self._copy.one_change():
            is_torn, has_keys = self._is_torn, any(name == feed.KEYS for name, _ in self._change)
            self._is_torn = True  # Should this fail, the copy has a part of it.
            touched = self._write(None if is_torn else [])
            if touched is None:
                self._index.forget_everything()
            else:
                self._index.forget(touched, negatives=has_keys)
            self._is_torn = False
        self._change_bytes = 0

    def _write(self, touched: Touched | None = None) -> Touched | None:
        """Write what has come; return `touched` with what may be remembered otherwise, None for anything."""
        events, self._change = self._change, []
        for name, event in events:
            try:
                of_event = self._applies[name](event)
            except (ValueError, msgspec.MsgspecError):
                raise _FeedBroken("the feed holds something that is not an event of it") from None
            touched = None if touched is None or of_event is None else touched + of_event
        return touched

    def _check(self, alive: feed.Alive, asked_at: float) -> None:
        """Raise `_FeedBroken` if this cannot be how far the feed reaches."""
        if self._is_filling:
            raise _FeedBroken("the feed says that it told everything in the middle of a full copy")
        if self._mark is not None and alive.revision < self._mark[0]:
            raise _FeedBroken("the server's database is older than what it told before")  # D7
        ahead = asked_at + alive.elapsed - self._system.monotonic()
        if ahead > self._timeouts.drift:
            why = "the feed tells of a time that has not come: this machine stood still"
            self._trust.end(why)  # What was trusted before is older than it seems, by this much or by more.
            raise _FeedBroken(why)

    def _reach(self, alive: feed.Alive, asked_at: float) -> None:
        """Trust what was told for as long as it may be."""
        self._mark = (alive.revision, alive.event_id)
        self._has_reached = True
        self._trust.extend(asked_at + alive.elapsed + self._max_staleness)
        self._trust.tell_why("the Keyturn server was not heard from for too long")
        self._is_true.set()


def _events(reader: feed.EventReader, data: bytes) -> list[tuple[str, bytes]]:
    try:
        return list(reader.read(data))
    except ValueError as error:
        raise _FeedBroken(str(error)) from None


def _decoded(event: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(event, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _FeedBroken("the feed holds something that is not an event of it") from None


def _settings(hello: feed.Hello) -> tuple[str, str, str, int]:
    return hello.issuer, hello.audience, hello.key_prefix, hello.max_token_life_seconds


def _in_words(error: Exception) -> str:
    if isinstance(error, httpx.HTTPError):
        return f"the Keyturn server cannot be reached ({type(error).__name__})"
    return str(error)
