"""Opening what requests need: one attempt at a time, which nobody queues for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyturn import CannotStart, StoreUnavailable, opening
from keyturn.opening import Opening

PATIENCE_SECONDS = 20


class Door:
    """What is opened: it takes as long as it is held, and fails as long as it is broken."""

    def __init__(self) -> None:
        self.attempts = 0
        self.is_broken = False
        self.held = threading.Event()
        self.held.set()

    def open(self) -> str:
        self.attempts += 1
        assert self.held.wait(PATIENCE_SECONDS)
        if self.is_broken:
            raise CannotStart("It is broken.")
        return "open"


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.setattr(opening, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(opening, "AGAIN_SECONDS", 0.0)
    return Door()


def test_what_takes_long_is_opened_once_and_holds_up_nobody(door: Door) -> None:
    """However many ask, threads and coroutines, there is one attempt; they are told, and it goes on."""
    door.held.clear()
    opens = Opening(door.open)

    async def ask() -> list[BaseException | str]:
        return await asyncio.gather(*(opens.get_async() for _ in range(3)), return_exceptions=True)

    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(opens.get) for _ in range(3)]
        told = [each.exception(PATIENCE_SECONDS) for each in asked]
    told += asyncio.run(ask())
    assert [type(each) for each in told] == [StoreUnavailable] * 6
    door.held.set()
    while True:
        try:
            assert opens.get() == "open"
            break
        except StoreUnavailable:
            continue
    assert asyncio.run(ask()) == ["open"] * 3
    assert door.attempts == 1


def test_who_waits_for_the_first_attempt_gets_it(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who come while the first attempt is young are answered by it."""
    monkeypatch.setattr(opening, "FIRST_SECONDS", PATIENCE_SECONDS)
    door.held.clear()
    opens = Opening(door.open)

    async def ask() -> list[str]:
        asked = [asyncio.create_task(opens.get_async()) for _ in range(3)]
        await asyncio.sleep(0)
        door.held.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask()) == ["open"] * 3
    assert door.attempts == 1


def test_a_failure_is_remembered_and_tried_again(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is not tried again at once, and then it is."""
    door.is_broken = True
    opens = Opening(door.open)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="could not be opened"):
            opens.get()
    assert door.attempts == 1
    monkeypatch.setattr(opening, "TRIED_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(opening, "AGAIN_SECONDS", PATIENCE_SECONDS)
    opens = Opening(door.open)
    with pytest.raises(StoreUnavailable, match="could not be opened"):
        opens.get()
    door.is_broken = False
    assert opens.get() == "open"


def test_a_mistake_of_the_program_is_raised() -> None:
    """What is no failure to start is not taken for one."""

    def mistaken() -> None:
        raise TypeError("This cannot be.")

    opens = Opening(mistaken)
    with pytest.raises(TypeError, match="cannot be"):
        opens.get()
    with pytest.raises(TypeError, match="cannot be"):
        asyncio.run(opens.get_async())
