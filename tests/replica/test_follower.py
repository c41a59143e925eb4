"""One who follows, told word by word on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import msgspec
import pytest

from keyturn.core import feed
from keyturn.errors import KeyturnError, StoreUnavailable
from keyturn.replica.copy import Replica
from keyturn.replica.follower import LAG_SECONDS, STREAM_SECONDS, Follower
from keyturn.replica.trust import Trust
from keyturn.services.verification_index import VerificationIndex
from tests.fakes import Clock

BOUND = 60.0


@dataclass
class Told:
    """A follower whose stream is what the test says."""

    clock: Clock
    events: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        system = self.clock.system()
        self.trust = Trust(system)
        self.follower = Follower(
            httpx.Client(),
            copy=Replica(system),
            index=VerificationIndex(),
            trust=self.trust,
            max_staleness_seconds=BOUND,
            system=system,
        )
        self.asked_at = self.clock.monotonic

    def hear(self, name: str, data: object = None) -> None:
        self.follower._apply(name, msgspec.json.encode({} if data is None else data), self.asked_at)

    def hear_alive(self, elapsed: float) -> None:
        self.hear(feed.ALIVE, feed.Alive(revision=1, event_id="e" * 36, elapsed=elapsed))

    def hear_all(self) -> None:
        self.hear(feed.RESET)
        self.hear(feed.WHOLE)
        self.hear_alive(0.0)

    @property
    def asks_anew(self) -> bool:
        return self.follower._is_old(self.asked_at)


@pytest.fixture
def told(clock: Clock) -> Told:
    return Told(clock)


def test_nothing_is_trusted_after_a_time_that_has_not_come(told: Told) -> None:
    """What was buffered while this machine stood still says that it did, not for how long: all trust ends."""
    told.hear_all()
    told.trust.ensure()
    told.hear_alive(0.05)
    with pytest.raises(KeyturnError, match="stood still"):
        told.hear_alive(1.0)  # The first of the six hundred that came meanwhile.
    with pytest.raises(StoreUnavailable, match="stood still"):
        told.trust.ensure()


def test_a_full_copy_is_heard_to_its_end(told: Told, clock: Clock) -> None:
    """A stream is exchanged after its time, but not in the middle of a full copy, which would begin anew."""
    told.hear_all()
    told.hear(feed.RESET)
    clock.advance(timedelta(seconds=STREAM_SECONDS + 1))
    assert not told.asks_anew
    told.hear(feed.WHOLE)
    told.hear_alive(STREAM_SECONDS + 1)
    assert told.asks_anew


def test_who_goes_on_after_much_is_given_time(told: Told, clock: Clock) -> None:
    """A stream that has not said yet how far it reaches does not lag; one that says it late does."""
    told.hear(feed.USERS, [])
    clock.advance(timedelta(seconds=LAG_SECONDS + BOUND))
    assert not told.asks_anew
    told.hear_alive(LAG_SECONDS)
    assert told.asks_anew


def test_trust_that_ended_for_good_does_not_come_back(told: Told) -> None:
    """A word that is applied while the verifier is closed extends nothing, and changes no reason."""
    told.hear_all()
    told.follower._trust.end("the verifier is closed", for_good=True)
    told.hear_alive(0.0)
    told.trust.end("something else")
    with pytest.raises(StoreUnavailable, match="is closed"):
        told.trust.ensure()
