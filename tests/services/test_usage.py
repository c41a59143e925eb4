"""When keys were last used: noted in memory, written seldom, forgotten only in a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.core.records import ApiKeyRecord, KeyUsage, LastUse
from keyturn.errors import StoreUnavailable
from keyturn.services import usage as module
from keyturn.services.audit import Origin
from keyturn.services.redaction import SecretsOut
from keyturn.services.usage import MAX_NOTED, WRITE_INTERVAL_SECONDS, Usage
from tests.fakes import Clock

MINUTE = timedelta(seconds=WRITE_INTERVAL_SECONDS)
SECOND = timedelta(seconds=1)


class Keys:
    """What was written, or a database that is away."""

    def __init__(self) -> None:
        self.writes: list[dict[int, LastUse]] = []
        self.counts: Counter[int] = Counter()
        self.forgotten_before = 0
        self.is_away = False

    def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.writes.append({key_id: use.last for key_id, use in uses.items()})
        self.counts.update({key_id: use.uses for key_id, use in uses.items()})

    def forget_uses_before(self, hour: int) -> None:
        self.forgotten_before = hour


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def usage(keys: Keys, clock: Clock) -> Usage:
    return Usage(keys, clock.system(), SecretsOut("kt"))


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
    usage = Usage(keys, clock.system(), SecretsOut("kt"))
    usage.note(1, Origin(address="before"))

    usage.flush(everything=True)
    usage.flush(everything=True)

    assert [write[1].address for write in keys.writes] == ["before", "during"]
