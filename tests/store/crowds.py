"""Many callers at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def all_at_once(callers: int, call: Callable[[int], object]) -> list[object]:
    """Call from as many threads at the same moment; return what each got, in order: a value or an error."""
    together = threading.Barrier(callers)
    outcomes: list[object] = [None] * callers

    def act(number: int) -> None:
        together.wait()
        try:
            outcomes[number] = call(number)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            outcomes[number] = error

    threads = [threading.Thread(target=act, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
