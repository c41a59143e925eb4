"""When keys were last used: noted in memory, written seldom, forgotten only in a crash."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.principal import Principal
from keyturn.core.records import ApiKeyRecord, KeyUsage, LastUse
from keyturn.errors import CredentialRefused, StoreUnavailable
from keyturn.services.keys.keys import NewKey
from keyturn.verifying import uses as module
from keyturn.verifying.origin import Origin
from keyturn.verifying.redaction import Redactor
from keyturn.verifying.uses import (
    MAX_NOTED,
    WRITE_INTERVAL_SECONDS,
    Usage,
)
from tests.fakes import Clock
from tests.people import HERE, caller
from tests.store.crowds import all_at_once
from tests.threads import switching_every

MINUTE = timedelta(seconds=WRITE_INTERVAL_SECONDS)
SECOND = timedelta(seconds=1)
SWITCH_SECONDS = 1e-5


class Keys:
    """What was written, or a database that is away."""

    def __init__(self) -> None:
        self.writes: list[dict[int, LastUse]] = []
        self.counts: Counter[int] = Counter()
        self.is_away = False

    def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.writes.append({key_id: use.last for key_id, use in uses.items()})
        self.counts.update({key_id: use.uses for key_id, use in uses.items()})


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def usage(keys: Keys, clock: Clock) -> Usage:
    return Usage(keys, clock.system(), Redactor("kt"))


def record(key_id: int, last_use: LastUse | None = None) -> ApiKeyRecord:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return ApiKeyRecord(key_id, 1, None, "…", now, None, None, last_use)


def test_a_note_writes_nothing(usage: Usage, keys: Keys) -> None:
    """A request only notes its use."""
    for _ in range(1000):
        usage.note(1, Origin())

    assert keys.writes == []


def test_many_uses_are_one_write(usage: Usage, keys: Keys, clock: Clock) -> None:
    """All uses since the last write are one write, which holds the last of them."""
    for number in range(100):
        clock.advance(SECOND / 10)
        usage.note(number % 2, Origin(address=str(number), via="GET /", user_agent="a"))

    assert usage.flush(everything=False) == 2
    assert keys.writes == [
        {0: LastUse(clock.now - SECOND / 10, "98", "GET /", "a"), 1: LastUse(clock.now, "99", "GET /", "a")}
    ]
    assert usage.flush(everything=True) == 0
    assert len(keys.writes) == 1


def test_a_key_is_written_once_a_minute(usage: Usage, keys: Keys, clock: Clock) -> None:
    """After one write of a key the next follows no sooner than a minute later, and then it does."""
    for _ in range(121):
        usage.note(1, Origin())
        usage.flush(everything=False)
        clock.advance(SECOND)

    assert len(keys.writes) == 3
    assert keys.writes[-1][1].at == clock.now - SECOND


def test_the_last_use_is_not_left_unwritten(usage: Usage, keys: Keys, clock: Clock) -> None:
    """A use within the minute after a write is written when the minute is over, used again or not."""
    usage.note(1, Origin())
    usage.flush(everything=False)
    clock.advance(SECOND)
    usage.note(1, Origin())
    assert usage.flush(everything=False) == 0

    clock.advance(MINUTE - SECOND)

    assert usage.flush(everything=False) == 1
    assert keys.writes[-1][1].at == clock.now - MINUTE + SECOND


def test_everything_is_written_at_the_stop(usage: Usage, keys: Keys, clock: Clock) -> None:
    """A stop writes what is noted, due or not; a second stop has nothing to write."""
    usage.start()
    usage.note(1, Origin())
    usage.flush(everything=True)
    clock.advance(SECOND)
    usage.note(1, Origin())

    usage.stop()
    usage.stop()

    assert [write[1].at for write in keys.writes] == [clock.now - SECOND, clock.now]


def test_a_stop_without_a_start_writes(usage: Usage, keys: Keys) -> None:
    """A program that never started the thread loses nothing either."""
    usage.note(1, Origin())

    usage.stop()

    assert len(keys.writes) == 1


def test_notes_outlast_a_database_that_is_away(usage: Usage, keys: Keys, clock: Clock) -> None:
    """While the database is away the notes are kept, and written once it is back; a stop does not fail."""
    usage.note(1, Origin())
    keys.is_away = True
    with pytest.raises(StoreUnavailable):
        usage.flush(everything=False)
    clock.advance(SECOND)
    usage.note(2, Origin())
    usage.stop()

    keys.is_away = False

    assert usage.flush(everything=False) == 2
    assert set(keys.writes[0]) == {1, 2}


def test_an_earlier_clock_moves_nothing_back(usage: Usage, keys: Keys, clock: Clock) -> None:
    """When the clock is set back, the newest use stays the last one."""
    usage.note(1, Origin(address="later"))
    clock.advance(-MINUTE * 60)
    usage.note(1, Origin(address="earlier"))

    usage.flush(everything=True)

    assert keys.writes[0][1].address == "later"


def test_the_latest_use_is_the_noted_or_the_written(usage: Usage, clock: Clock) -> None:
    """Whichever of note and row is newer is shown; without either there is none."""
    assert usage.latest(record(1)) is None
    older, newer = (
        LastUse(clock.now - SECOND, None, None, None),
        LastUse(clock.now + SECOND, None, None, None),
    )
    assert usage.latest(record(1, older)) == older

    usage.note(1, Origin())

    assert usage.latest(record(1, older)) == LastUse(clock.now, None, None, None)
    assert usage.latest(record(1, newer)) == newer
    assert usage.latest(record(2, older)) == older


def test_written_notes_are_forgotten(usage: Usage, keys: Keys, clock: Clock) -> None:
    """A note that is written and a minute old takes no memory."""
    for key_id in range(100):
        usage.note(key_id, Origin())
    usage.flush(everything=False)
    clock.advance(MINUTE)
    usage.flush(everything=False)

    assert usage._noted == {}
    assert len(keys.writes) == 1


def test_notes_are_bounded(usage: Usage, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys are used while the database is away, memory is bounded; the newest uses are kept."""
    assert MAX_NOTED <= 100_000
    monkeypatch.setattr(module, "MAX_NOTED", 100)
    for key_id in range(1000):
        usage.note(key_id, Origin())

    assert usage.flush(everything=True) == 100
    assert 999 in keys.writes[0]


def test_a_use_during_a_write_is_not_lost(clock: Clock) -> None:
    """A use that is noted while the notes are being written is written the next time."""

    class NotingKeys(Keys):
        def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
            super().record_use(uses)
            if len(self.writes) == 1:
                clock.advance(SECOND)
                usage.note(1, Origin(address="during"))

    keys = NotingKeys()
    usage = Usage(keys, clock.system(), Redactor("kt"))
    usage.note(1, Origin(address="before"))

    usage.flush(everything=True)
    usage.flush(everything=True)

    assert [write[1].address for write in keys.writes] == ["before", "during"]


def test_each_use_is_counted_once(usage: Usage, keys: Keys, clock: Clock) -> None:
    """However the uses fall between the writes, the numbers that are written add up to them."""
    for number in range(500):
        usage.note(number % 7, Origin())
        if number % 3 == 0:
            usage.flush(everything=number % 2 == 0)
        clock.advance(SECOND * 5)
    usage.stop()

    assert keys.counts == Counter(number % 7 for number in range(500))


def test_uses_outlast_a_failed_write_once(usage: Usage, keys: Keys, clock: Clock) -> None:
    """A write that failed loses no use and doubles none."""
    for _ in range(3):
        usage.note(1, Origin())
        keys.is_away = True
        with pytest.raises(StoreUnavailable):
            usage.flush(everything=True)
        usage.note(1, Origin())
        keys.is_away = False
        usage.flush(everything=True)
        clock.advance(SECOND)
    usage.stop()

    assert keys.counts == {1: 6}


def test_a_count_follows_its_last_use(usage: Usage, keys: Keys, clock: Clock) -> None:
    """Each write adds only the uses since the one before, with the last of them."""
    for uses in (3, 1, 4):
        for _ in range(uses):
            usage.note(1, Origin(address=str(uses)))
        usage.flush(everything=True)
        clock.advance(MINUTE)

    assert [write[1].address for write in keys.writes] == ["3", "1", "4"]
    assert keys.counts == {1: 8}


def test_a_key_has_one_note(usage: Usage, keys: Keys, clock: Clock) -> None:
    """Whoever notes uses of one key holds the same note, for as long as anybody does, written or not."""
    held = usage.of_key(1)
    assert usage.of_key(1) is held
    assert usage.of_key(2) is not held
    held.note(clock.now.timestamp(), (None, None, None, None))
    usage.flush(everything=True)
    clock.advance(MINUTE)
    usage.flush(everything=True)
    assert usage._noted == {}
    assert usage.of_key(1) is held

    held.note(clock.now.timestamp(), (None, None, None, None))
    usage.note(1, Origin())
    usage.flush(everything=True)
    assert keys.counts == {1: 3}


def test_a_note_that_nobody_holds_is_kept_until_written(usage: Usage, keys: Keys, clock: Clock) -> None:
    """A use is written though its key is not remembered any more, and then nothing is left of it."""
    usage.of_key(1).note(clock.now.timestamp(), (None, None, None, None))
    trace = weakref.ref(usage.of_key(1))
    gc.collect()
    assert trace() is not None

    usage.flush(everything=True)
    clock.advance(MINUTE)
    usage.flush(everything=True)
    gc.collect()

    assert trace() is None
    assert keys.counts == {1: 1}
    assert len(usage._known) == 0


def test_a_use_while_its_text_is_cleaned_is_not_lost(keys: Keys, clock: Clock) -> None:
    """A use that comes while the one before is prepared for writing is written with its own time."""

    class Interrupted(Redactor):
        is_first = True

        def __call__(self, text: str) -> str:
            if self.is_first:
                self.is_first = False
                clock.advance(SECOND)
                usage.note(1, Origin(address="during", via="GET /"))
            return text

    usage = Usage(keys, clock.system(), Interrupted("kt"))
    usage.note(1, Origin(address="before", via="GET /"))

    usage.flush(everything=True)
    usage.flush(everything=True)

    assert keys.writes[-1][1].address == "during"
    assert keys.writes[-1][1].at == clock.now
    assert keys.counts == {1: 2}


def test_dropped_notes_are_not_subtracted(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note that was dropped for room while it was written, and used again, is never counted below zero."""
    monkeypatch.setattr(module, "MAX_NOTED", 2)

    class CrowdedKeys(Keys):
        def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
            super().record_use(uses)
            assert all(use.uses > 0 for use in uses.values())
            if len(self.writes) == 1:
                usage.note(2, Origin())
                usage.note(3, Origin())
                held.note(clock.now.timestamp(), (None, None, None, None))

    keys = CrowdedKeys()
    usage = Usage(keys, clock.system(), Redactor("kt"))
    held = usage.of_key(1)
    for _ in range(5):
        held.note(clock.now.timestamp(), (None, None, None, None))

    usage.flush(everything=True)
    usage.flush(everything=True)

    assert keys.counts[1] == 6


def test_threads_lose_no_use(clock: Clock) -> None:
    """While threads use keys and another writes all the time, each use is counted exactly once."""
    keys = Keys()
    usage = Usage(keys, clock.system(), Redactor("kt"))
    users, rounds = 4, 5_000
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            clock.monotonic += WRITE_INTERVAL_SECONDS
            usage.flush(everything=False)

    def use(number: int) -> None:
        for turn in range(rounds):
            usage.of_key(turn % 3).note(float(turn), (str(number), None, "GET /", None))

    writer = threading.Thread(target=write)
    with switching_every(SWITCH_SECONDS):
        writer.start()
        assert all_at_once(users, use) == [None] * users
        is_over.set()
        writer.join()
    usage.stop()

    assert sum(keys.counts.values()) == users * rounds
    assert keys.counts == {key: users * len(range(key, rounds, 3)) for key in range(3)}
    assert {key: _last_write(keys, key) for key in range(3)} == {
        key: max(range(key, rounds, 3)) for key in range(3)
    }


def _last_write(keys: Keys, key_id: int) -> float:
    return max(write[key_id].at.timestamp() for write in keys.writes if key_id in write)


def test_uses_are_counted_in_the_hour_they_happened(services: Services, bob: Principal, clock: Clock) -> None:
    """Uses of a key and of its tokens are stored under its hour, wherever they were verified."""
    key = services.keys.create(bob, HERE, NewKey())
    token = services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token
    services.usage.flush(everything=True)
    hour = int(clock.now.timestamp()) // 3600
    for uses in (2, 3):
        for _ in range(uses):
            caller(services, key.secret)
            caller(services, token)
        services.usage.flush(everything=True)
        clock.advance(timedelta(minutes=30))

    def counted(since: int) -> int:
        return services.store.api_keys.count_uses(bob.user_id, since_hour=since).get(key.record.key_id, 0)

    # The exchange is a use of the key, too.
    assert counted(hour) == 1 + 2 * (2 + 3)
    caller(services, key.secret)
    services.usage.flush(everything=True)
    assert counted(hour + 1) == 1
    assert counted(hour) == 12


def test_a_refused_credential_was_not_used(services: Services, bob: Principal) -> None:
    """Neither a revoked key nor one of which the checksum is wrong counts as used; the first is noted."""
    key = services.keys.create(bob, HERE, NewKey())
    services.keys.revoke_own(bob, key.record.key_id, HERE)
    for credential in (key.secret, key.secret[:-1] + "_"):
        with pytest.raises(CredentialRefused):
            caller(services, credential)

    unwritten = services.usage.unwritten(key.record.key_id)
    assert unwritten is not None
    assert (unwritten.last, unwritten.uses, unwritten.refused) == (None, 0, 1)
    assert services.usage.latest(key.record) is None
    assert services.usage.flush(everything=True) == 1
    assert services.key_uses.count(bob.user_id) == {}
