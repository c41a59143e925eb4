"""The wire of the feed: events are cut from bytes wherever those are cut, and nothing else passes for one."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core import feed

ROW = feed.KeyRow(7, 1, b"d" * 32, None, 5, 0, None, msgspec.Raw(b'{"scopes":["a"]}'), None, None, 1, None)
STREAM = (
    feed.encode_event(feed.RESET, {})
    + feed.COMMENT
    + feed.encode_event(feed.KEYS, [ROW])
    + feed.encode_event(feed.ALIVE, feed.Alive(3, None, 0.25))
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_cut_anywhere(cuts: list[int]) -> None:
    """However the stream arrives, in bytes or at once, the same events come out, without the comments."""
    places = sorted({0, *cuts, len(STREAM)})
    reader = feed.EventReader()
    found = [event for begin, end in itertools.pairwise(places) for event in reader.read(STREAM[begin:end])]
    assert [name for name, _ in found] == [feed.RESET, feed.KEYS, feed.ALIVE]
    assert msgspec.json.decode(found[1][1], type=list[feed.KeyRow]) == [ROW]
    assert msgspec.json.decode(found[2][1], type=feed.Alive) == feed.Alive(3, None, 0.25)


@pytest.mark.parametrize(
    "data", [b"hello\n\n", b"data: {}\n\n", b"event: a\ndata: {}\ndata: {}\n\n", b"event: a\n\n", b"\n\n"]
)
def test_what_is_no_event_is_refused(data: bytes) -> None:
    """Only the one form that the server writes is read."""
    with pytest.raises(ValueError, match="not an event"):
        list(feed.EventReader().read(data))


def test_an_event_ends_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never ends is not collected for ever."""
    monkeypatch.setattr(feed, "MAX_EVENT_BYTES", 1000)
    reader = feed.EventReader()
    for _ in range(10):
        assert list(reader.read(b"x" * 100)) == []
    with pytest.raises(ValueError, match="does not end"):
        list(reader.read(b"x"))


def test_rows_are_cut_into_events_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows there are, and however large, all arrive, in events that a reader takes."""
    monkeypatch.setattr(feed, "EVENT_BYTES", 1000)
    rows = [[number, "x" * (number % 7 * 100)] for number in range(100)] + [[100, "y" * 5000]]
    events = list(feed.encode_rows(feed.USERS, rows))
    found = [event for data in events for event in feed.EventReader().read(data)]
    assert {name for name, _ in found} == {feed.USERS}
    assert [row for _, data in found for row in msgspec.json.decode(data)] == rows
    *sizes, largest = [len(data) for _, data in found]
    assert max(sizes) <= 1002
    assert largest > 5000
    assert list(feed.encode_rows(feed.USERS, [])) == []


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_digest_has_its_length(length: int) -> None:
    """A shorter digest would be filled up, and a longer one cut, by who packs it."""
    row = msgspec.json.encode([(1, 1, b"d" * length, None, None, 0, None, None, None, None)])
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(row, type=list[feed.KeyRow])


def test_columns_of_a_newer_server_are_passed_over() -> None:
    """More columns at the end of a row change nothing for who does not know them."""
    row = msgspec.json.encode([[*msgspec.json.decode(msgspec.json.encode(ROW)), "new"]])
    assert msgspec.json.decode(row, type=list[feed.KeyRow]) == [ROW]
