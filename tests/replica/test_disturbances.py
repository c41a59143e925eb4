"""What goes wrong between a verifier and its server: nothing is trusted for longer than was promised."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from keyturn import CannotStart, Principal, Reason, StoreUnavailable, Verifier
from keyturn.replica.compose import FollowingVerification, open_elsewhere
from keyturn.replica.follower import Timeouts
from keyturn.system import System, monotonic
from tests.people import HERE, change_behind
from tests.replica.edges import accepts, answer_of, wait_until
from tests.replica.proxy import between

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.services.keys.keys import CreatedKey
    from tests.replica.edges import Edge

BOUND = 2.0
"""The max_staleness of these tests, in seconds."""
UNKNOWN = (Reason.UNKNOWN, None, False)
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def last_accepted(verifier: Verifier, credential: str, *, watched: float) -> float:
    """Watch for so many seconds; return the time at which the last call that was accepted began."""
    last, end = 0.0, time.monotonic() + watched
    while (now := time.monotonic()) < end:
        if accepts(verifier, credential):
            last = now
        time.sleep(0.002)
    return last


def test_a_lost_heartbeat_ends_trust_and_its_return_restores_it(edge: Edge) -> None:
    """A silent server is "unavailable" once the bound is over, and comes back by itself."""
    key, doomed = edge.key(), edge.key()
    with between(edge.server.url) as proxy, follow(edge, proxy.url) as verifier:
        assert accepts(verifier, key.secret)
        assert accepts(verifier, doomed.secret)
        proxy.hold()
        edge.revoke(doomed)
        revoked_at = time.monotonic()
        assert last_accepted(verifier, doomed.secret, watched=BOUND * 2.5) < revoked_at + BOUND
        assert answer_of(verifier, key.secret) is StoreUnavailable
        proxy.release()
        wait_until(lambda: accepts(verifier, key.secret))
        assert not accepts(verifier, doomed.secret)


def test_late_words_are_not_fresh(edge: Edge) -> None:
    """On a stream that flows, and says everything later than the bound, nothing is trusted."""
    key, doomed = edge.key(), edge.key()
    patient = Timeouts(lag=60.0)  # Else another stream is begun.
    with between(edge.server.url) as proxy, judging(edge, proxy.url, patient, bound=3.0) as verifier:
        assert accepts(verifier, key.secret)
        assert accepts(verifier, doomed.secret)
        for proxy.delay in (1.0, 2.0, 3.0, 4.0):
            time.sleep(1.5)  # One at a time: a silence of three seconds would end the stream.
        edge.revoke(doomed)
        time.sleep(proxy.delay)  # Now everything that comes is so late.
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            assert answer_of(verifier, key.secret) is StoreUnavailable
            assert answer_of(verifier, doomed.secret) is StoreUnavailable
            assert time.monotonic() - proxy.passed_at < 2.5
            time.sleep(0.002)
        assert proxy.asked.count(b"GET /feed?") == 1
        proxy.delay = 0.0
        proxy.cut()
        wait_until(lambda: accepts(verifier, key.secret))
        assert not accepts(verifier, doomed.secret)


def test_a_recorded_stream_is_refused(edge: Edge) -> None:
    """Old answers that are played again make nothing look alive: not to who follows, and not at the start."""
    doomed = edge.key()
    with between(edge.server.url) as proxy, follow(edge, proxy.url) as verifier:
        wait_until(lambda: proxy.recorded.count(b"event: alive") >= 2)
        proxy.replay = bytes(proxy.recorded)
        proxy.cut()
        edge.revoke(doomed)
        revoked_at = time.monotonic()
        assert last_accepted(verifier, doomed.secret, watched=BOUND * 2) < revoked_at + BOUND
        with pytest.raises(StoreUnavailable, match=r"repeats old answers|cannot be reached"):
            verifier.verify(doomed.secret)
        assert proxy.connections > 1
        with pytest.raises(CannotStart, match="repeats old answers"):
            follow(edge, proxy.url, timeout=1)
        proxy.replay = None
        wait_until(lambda: answer_of(verifier, doomed.secret) is not StoreUnavailable)
        assert not accepts(verifier, doomed.secret)


def test_a_cut_is_not_noticed(edge: Edge) -> None:
    """Whoever comes back within the bound goes on where they were, without a full copy."""
    key = edge.key()
    with between(edge.server.url) as proxy, follow(edge, proxy.url, bound=5.0) as verifier:
        for _ in range(5):
            before = proxy.asked.count(b"GET /feed?")
            proxy.cut()
            assert accepts(verifier, key.secret)
            wait_until(lambda: proxy.asked.count(b"GET /feed?") > before)  # noqa: B023 - called before the next
            wait_until(lambda: b"event: alive" in proxy.recorded)
            assert b'"resumed":true' in proxy.recorded
            assert b"event: reset" not in proxy.recorded
            fresh = edge.key()
            wait_until(lambda: accepts(verifier, fresh.secret))  # noqa: B023 - called before the next


@pytest.mark.parametrize(
    "cut_before",
    [b"HTTP/1.1", b"event: hello", b"event: reset", b"event: keys", b"event: whole", b"event: alive"],
)
def test_half_a_copy_is_no_copy(edge: Edge, cut_before: bytes) -> None:
    """A start whose stream is cut before it said how far it reaches fails, and says that it was cut."""
    with between(edge.server.url) as proxy:
        proxy.cut_before = cut_before
        with pytest.raises(CannotStart, match=r"no copy of the keys: .*(cannot be reached|ended the feed)"):
            follow(edge, proxy.url, timeout=1.0)
        assert proxy.connections > 1
        assert proxy.cuts > 0  # The last try may have been given up before it came so far.
        proxy.cut_before = None
        with follow(edge, proxy.url):
            assert cut_before in proxy.recorded


@pytest.mark.parametrize("cut_before", [b"event: users", b"event: keys", b"event: whole"])
def test_half_a_copy_over_another_loses_nothing(edge: Edge, cut_before: bytes) -> None:
    """Cut in a full copy, who runs still knows what they knew, also what was never asked for."""
    key, gone = edge.key(), edge.key()
    login = edge.login()
    with between(edge.server.url) as proxy, follow(edge, proxy.url, bound=10.0) as verifier:
        before, proxy.cut_before = proxy.connections, cut_before
        remove(edge, gone)
        wait_until(lambda: proxy.connections > before + 1 and is_told_anew(bytes(proxy.recorded), cut_before))
        assert accepts(verifier, key.secret)
        assert accepts(verifier, login)


def test_half_a_copy_over_another_keeps_nothing(edge: Edge) -> None:
    """Of a copy that was cut off nothing is known; what was known before is, for as long as it is trusted."""
    living, gone, passing = edge.key(), edge.key(), edge.key()
    with between(edge.server.url) as proxy, follow(edge, proxy.url, bound=4.0) as verifier:
        remove(edge, passing)
        wait_until(lambda: answer_of(verifier, passing.secret) == UNKNOWN)
        before, proxy.cut_before = proxy.connections, (cut_before := b"event: whole")
        remove(edge, gone)  # Told of by a full copy, each time anew, none of which ends.
        passing = edge.key()
        wait_until(lambda: proxy.connections > before + 1 and is_told_anew(bytes(proxy.recorded), cut_before))
        assert accepts(verifier, living.secret)
        assert answer_of(verifier, passing.secret) == UNKNOWN
        remove(edge, passing)
        wait_until(lambda: answer_of(verifier, living.secret) is StoreUnavailable)
        proxy.cut_before = None
        wait_until(lambda: accepts(verifier, living.secret))
        assert answer_of(verifier, gone.secret) == answer_of(verifier, passing.secret) == UNKNOWN


def is_told_anew(heard: bytes, until: bytes) -> bool:
    return b"event: reset" in heard and until in heard


def remove(edge: Edge, key: CreatedKey) -> None:
    change_behind(edge.services, "DELETE FROM api_key WHERE id = :id", id=key.record.key_id)


def follow(edge: Edge, url: str, *, bound: float = BOUND, timeout: float = 20) -> Verifier:
    return Verifier(url, edge.follower.secret, max_staleness_seconds=bound, timeout=timeout)


@dataclass(frozen=True)
class Judge:
    """A verification that was opened with time-outs of the test's own."""

    verification: FollowingVerification

    def verify(self, credential: str) -> Principal:
        found = self.verification.authenticator.authenticate([credential.encode()], HERE)
        assert found is not None
        return found


@contextmanager
def judging(edge: Edge, url: str, timeouts: Timeouts, *, bound: float) -> Iterator[Judge]:
    verification = open_elsewhere(
        url,
        edge.follower.secret,
        max_staleness_seconds=bound,
        failures_per_minute=1_000_000,
        timeouts=timeouts,
    )
    assert isinstance(verification, FollowingVerification)
    try:
        yield Judge(verification)
    finally:
        verification.close()


@pytest.mark.parametrize("jump", [-5.0, 15.0], ids=["here", "there"])
def test_a_machine_that_stood_still_is_noticed(edge: Edge, jump: float) -> None:
    """When one of both machines stood still its count of seconds is off: another stream is begun at once."""
    key, offset = edge.key(), [0.0]
    system = System(monotonic=lambda: monotonic() + offset[0])
    with between(edge.server.url) as proxy:
        verification = open_elsewhere(
            proxy.url,
            edge.follower.secret,
            max_staleness_seconds=20.0,
            failures_per_minute=120,
            system=system,
        )
        assert isinstance(verification, FollowingVerification)
        trust = verification.follower._trust
        wait_until(lambda: proxy.recorded.count(b"event: alive") >= 2)
        offset[0] = jump
        wait_until(lambda: proxy.connections == 2)
        wait_until(lambda: b"event: alive" in proxy.recorded)
        wait_until(lambda: 18 < trust.trusted_until - system.monotonic() <= 20.2)
        assert verification.authenticator.authenticate([key.secret.encode()], HERE) is not None
        verification.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "ended the feed"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>\n\n", "not an event of the feed"),
        (b"HTTP/1.1 200 OK\r\n\r\nevent: hello\ndata: {\n\n", "not an event of it"),
        (b"HTTP/1.1 200 OK\r\n\r\nevent: alive\ndata: {}\n\n", "another format"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", "no answer now"),
    ],
)
def test_an_answer_that_is_no_feed_is_told_of(edge: Edge, answer: bytes, why: str) -> None:
    """Whatever else answers at the address, the start fails, and says what was there."""
    with between(edge.server.url) as proxy:
        proxy.replay = answer
        with pytest.raises(CannotStart, match=why):
            follow(edge, proxy.url, timeout=1.5)
