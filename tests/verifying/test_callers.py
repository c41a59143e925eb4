"""Who presents a key: observed once a second, bounded, readable without secrets, and none counted twice."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.api_key import RANDOM_BYTES, ApiKeyFormat
from keyturn.core.key_uses import merge_callers
from keyturn.core.records import MAX_AGENT_CHARACTERS, MAX_CALLERS, KeyCaller, KeyUsage, LastUse
from keyturn.errors import CredentialRefused, Reason, ScopeMissing, StoreUnavailable
from keyturn.verifying import uses as module
from keyturn.verifying.origin import Origin
from keyturn.verifying.redaction import Redactor
from keyturn.verifying.uses import MAX_NOTED_CALLERS, WRITE_INTERVAL_SECONDS, Usage
from tests.fakes import Clock
from tests.store.crowds import all_at_once
from tests.threads import switching_every

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND = timedelta(seconds=1)
REVOKED = CredentialRefused(Reason.REVOKED, key_id=1, secret_matched=True)


class Keys:
    """Everything that was written, or a database that is away."""

    def __init__(self) -> None:
        self.writes: list[dict[int, KeyUsage]] = []
        self.is_away = False

    def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.writes.append(dict(uses))

    def callers(self, key_id: int = 1) -> tuple[KeyCaller, ...]:
        """What a store would hold of a key by now."""
        return merge_callers(
            caller for write in self.writes if key_id in write for caller in write[key_id].callers
        )

    def counts(self) -> Counter[str | None]:
        """How often each address used any key, as written so far."""
        counts: Counter[str | None] = Counter()
        for write in self.writes:
            for usage in write.values():
                counts.update({caller.address: caller.uses for caller in usage.callers})
        return counts


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def usage(keys: Keys, clock: Clock) -> Usage:
    return Usage(keys, clock.system(), Redactor("kt"))


def use(usage: Usage, clock: Clock, address: str | None, agent: bytes | str | None = None) -> None:
    usage.of_key(1).note(clock.now.timestamp(), (address, "GET", "/verify", agent))


def test_a_caller_is_told_whole(usage: Usage, keys: Keys, clock: Clock) -> None:
    """A caller has address, program, the last method and path, how often, and the first and last time."""
    began_at = clock.now
    for path in ("/a", "/b", "/c"):
        usage.of_key(1).note(clock.now.timestamp(), ("192.0.2.7", "PUT", path, b"curl/8"))
        clock.advance(SECOND)
    usage.note_refused(1, Origin("192.0.2.7", "curl/8", via="GET /d"), REVOKED)

    usage.flush(everything=True)

    assert keys.callers() == (
        KeyCaller("192.0.2.7", "curl/8", "GET /d", 3, 1, "revoked", began_at, clock.now),
    )
    assert keys.writes[0][1].last == LastUse(clock.now - SECOND, "192.0.2.7", "PUT /c", "curl/8")
    assert (keys.writes[0][1].refused, keys.writes[0][1].refused_at) == (1, clock.now)


def test_callers_are_observed_once_a_second(usage: Usage, keys: Keys, clock: Clock) -> None:
    """Of many callers in one second the first is observed, and the last; together all uses are counted."""
    for number in range(100):
        use(usage, clock, str(number))
        clock.advance(SECOND / 200)

    usage.flush(everything=True)

    assert keys.counts() == {"0": 99, "99": 1}


def test_those_who_take_turns_slowly_are_counted_exactly(usage: Usage, keys: Keys, clock: Clock) -> None:
    """At a second between two callers or more, each has exactly its own uses, however they are written."""
    expected = Counter[str | None]()
    chance = random.Random(4)
    for _ in range(300):
        address = chance.choice("abc")
        for _ in range(chance.randrange(1, 4)):
            use(usage, clock, address)
            expected[address] += 1
        if chance.random() < 0.3:
            usage.flush(everything=True)
        clock.advance(SECOND * chance.uniform(1, 90))
    usage.flush(everything=True)

    assert keys.counts() == expected


def test_no_use_is_lost_or_doubled_between_callers(usage: Usage, keys: Keys, clock: Clock) -> None:
    """However fast callers take turns, and writes fail, all callers together have exactly all uses."""
    chance = random.Random(7)
    total = 0
    for _ in range(2000):
        use(usage, clock, chance.choice("abcdef"))
        total += 1
        clock.advance(SECOND * chance.random())
        if chance.random() < 0.1:
            keys.is_away = chance.random() < 0.5
            try:
                usage.flush(everything=True)
            except StoreUnavailable:
                assert keys.is_away
    keys.is_away = False
    usage.flush(everything=True)

    assert sum(keys.counts().values()) == total
    assert usage.flush(everything=True) == 0


def test_threads_lose_no_caller_s_use(clock: Clock) -> None:
    """While threads use keys and another writes, all callers together have exactly all uses."""
    keys = Keys()
    usage = Usage(keys, clock.system(), Redactor("kt"))
    users, rounds = 4, 5_000
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            clock.monotonic += WRITE_INTERVAL_SECONDS
            usage.flush(everything=False)

    def act(number: int) -> None:
        for turn in range(rounds):
            usage.of_key(turn % 3).note(turn / 10, (str(number), None, "GET /", None))
            if turn % 100 == 0:
                usage.note_refused(turn % 3, Origin(str(number)), REVOKED)

    writer = threading.Thread(target=write)
    with switching_every(1e-5):
        writer.start()
        assert all_at_once(users, act) == [None] * users
        is_over.set()
        writer.join()
    usage.flush(everything=True)

    assert sum(keys.counts().values()) == users * rounds
    written = [usage for write in keys.writes for usage in write.values()]
    assert sum(usage.refused for usage in written) == users * rounds // 100
    assert sum(caller.refused for usage in written for caller in usage.callers) == users * rounds // 100
    assert all(caller.uses >= 0 and caller.refused >= 0 for usage in written for caller in usage.callers)


def test_callers_of_a_key_are_bounded(usage: Usage, keys: Keys, clock: Clock) -> None:
    """While the database is away a key has as many callers as are kept: those seen last."""
    for number in range(3 * MAX_CALLERS):
        use(usage, clock, str(number))
        clock.advance(SECOND)
        use(usage, clock, "regular")
        clock.advance(SECOND)

    usage.flush(everything=True)

    kept = [caller.address for caller in keys.callers()]
    assert len(keys.writes[0][1].callers) == MAX_CALLERS
    assert kept == ["regular", *(str(3 * MAX_CALLERS - 1 - back) for back in range(MAX_CALLERS - 1))]


def test_callers_of_all_keys_are_bounded(
    usage: Usage, keys: Keys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The more keys wait to be written, the fewer callers of each are noted; the last of each is."""
    assert MAX_NOTED_CALLERS <= 100_000
    monkeypatch.setattr(module, "MAX_NOTED_CALLERS", 50)
    for number in range(10):
        for key_id in range(100):
            usage.of_key(key_id).note(clock.now.timestamp(), (str(number), None, None, None))
        clock.advance(SECOND)

    usage.flush(everything=True)

    assert {len(use.callers) for use in keys.writes[0].values()} == {1}
    assert {use.callers[0].address for use in keys.writes[0].values()} == {"9"}


def test_a_secret_in_a_path_or_agent_is_not_written(usage: Usage, keys: Keys, clock: Clock) -> None:
    """Whatever looks like a credential is taken out of what a caller sends, used or refused."""
    secret = ApiKeyFormat().make_api_key(b"s" * RANDOM_BYTES).text
    usage.of_key(1).note(clock.now.timestamp(), (None, "GET", f"/x/{secret}", f"a {secret}".encode()))
    usage.note_refused(2, Origin(None, f"b {secret}", via=f"GET /y/{secret}"), REVOKED)

    usage.flush(everything=True)

    assert secret not in repr(keys.writes)
    assert [caller.via for key_id in (1, 2) for caller in keys.callers(key_id)] == [
        "GET /x/[REDACTED]", "GET /y/[REDACTED]",
    ]  # fmt: skip


def test_one_program_is_one_caller_however_it_comes(usage: Usage, keys: Keys, clock: Clock) -> None:
    """The same agent as bytes and as text, and beyond what is kept of it, is one caller."""
    agent = "café " * MAX_AGENT_CHARACTERS
    for spelling in (agent.encode("latin-1"), agent, agent + "!"):
        use(usage, clock, "192.0.2.7", spelling)
        clock.advance(SECOND)

    usage.flush(everything=True)

    assert [(caller.uses, caller.agent) for caller in keys.writes[0][1].callers] == [
        (3, agent[:MAX_AGENT_CHARACTERS])
    ]


def test_a_refusal_is_no_use(usage: Usage, keys: Keys, clock: Clock) -> None:
    """A key that was only refused has no last use, and its refusals with the last reason."""
    usage.note_refused(1, Origin("192.0.2.7"), REVOKED)
    usage.note_refused(1, Origin("192.0.2.7"), ScopeMissing("a"))

    usage.flush(everything=True)

    assert keys.writes == [
        {
            1: KeyUsage(
                None, 0, 2, clock.now,
                (KeyCaller("192.0.2.7", None, None, 0, 2, "ScopeMissing", clock.now, clock.now),),
            )
        }
    ]  # fmt: skip


def test_refusals_of_a_key_are_one_write_a_minute(usage: Usage, keys: Keys, clock: Clock) -> None:
    """However often a dead key is presented, it is written once a minute, and then forgotten."""
    for _ in range(121):
        for _ in range(50):
            usage.note_refused(1, Origin("192.0.2.7"), REVOKED)
        usage.flush(everything=False)
        clock.advance(SECOND)

    assert len(keys.writes) == 3
    clock.advance(SECOND * WRITE_INTERVAL_SECONDS)
    usage.flush(everything=False)
    usage.flush(everything=False)
    assert keys.callers()[0].refused == 121 * 50
    clock.advance(SECOND * WRITE_INTERVAL_SECONDS)
    usage.flush(everything=False)
    assert usage._noted == {}
    assert len(usage._known) == 0


def test_a_flood_of_names_does_not_drive_callers_out(usage: Usage, keys: Keys, clock: Clock) -> None:
    """Who presents a dead key under ever new names within a second is one caller more, with all refusals."""
    use(usage, clock, "regular")
    for number in range(1000):
        usage.note_refused(1, Origin("192.0.2.7", f"agent {number}"), REVOKED)

    usage.flush(everything=True)

    assert {(caller.address, caller.agent, caller.refused) for caller in keys.callers()} == {
        ("regular", None, 0),
        ("192.0.2.7", "agent 0", 1000),
    }


def test_refused_keys_are_bounded(usage: Usage, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many dead keys are presented while the database is away, memory is bounded."""
    monkeypatch.setattr(module, "MAX_NOTED", 100)
    for key_id in range(1000):
        usage.note_refused(key_id, Origin(), REVOKED)

    assert usage.flush(everything=True) == 100
    assert 999 in keys.writes[0]


def test_a_clock_that_is_set_back_loses_nothing(usage: Usage, keys: Keys, clock: Clock) -> None:
    """Uses and refusals of an earlier time than the last are counted, and move nothing back."""
    use(usage, clock, "later")
    usage.note_refused(1, Origin("later"), REVOKED)
    at = clock.now
    clock.advance(-SECOND * 3600)
    for _ in range(5):
        use(usage, clock, "earlier")
        usage.note_refused(1, Origin("earlier"), REVOKED)

    usage.flush(everything=True)

    assert sum(keys.counts().values()) == 6
    assert sum(caller.refused for caller in keys.callers()) == 6
    assert keys.writes[0][1].refused_at == at == keys.callers()[0].last_at


def test_what_is_unwritten_is_read_without_being_used_up(usage: Usage, keys: Keys, clock: Clock) -> None:
    """Reading what is only noted changes nothing of what is written later."""
    assert usage.unwritten(1) is None
    use(usage, clock, "a")
    clock.advance(SECOND)
    use(usage, clock, "b")
    usage.note_refused(1, Origin("c"), REVOKED)
    noted = usage.unwritten(1)
    assert noted is not None
    assert noted == usage.unwritten(1)

    usage.flush(everything=True)

    assert keys.writes == [{1: noted}]
    assert usage.unwritten(1) is None


def test_times_are_of_the_clock(usage: Usage, keys: Keys) -> None:
    """Times are kept to the millisecond, as they are stored."""
    usage.of_key(1).note(1_000_000.1239, ("a", None, None, None))

    usage.flush(everything=True)

    (caller,) = keys.callers()
    expected = datetime.fromtimestamp(1_000_000.123, UTC)
    assert abs(caller.last_at - expected) < timedelta(microseconds=1000)
    assert caller.last_at.microsecond % 1000 == 0
