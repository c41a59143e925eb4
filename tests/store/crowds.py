"""Many callers at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.store import Store

WAIT_SECONDS = 20
BLOCKED_SECONDS = 0.5
"""Who has not come to the lock by then waits for a row that the first change holds."""


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


def at_the_commit_of(store: Store, first: Callable[[], object], second: Callable[[], object]) -> object:
    """Make a change; when it is all but committed, begin another, which waits for it; return what that got.

    On SQLite it waits before it begins, on PostgreSQL when it is recorded, or for a row. Errors are returned.
    """
    outcomes: list[object] = []
    has_come, is_at_first = threading.Event(), True

    def act() -> None:
        if store.blocks_briefly:
            has_come.set()
        try:
            outcomes.append(second())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            outcomes.append(error)

    acting = threading.Thread(target=act)

    def before_commit(_connection: object) -> None:
        nonlocal is_at_first
        if is_at_first:
            is_at_first = False
            acting.start()
            has_come.wait(BLOCKED_SECONDS)

    def before_statement(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if threading.current_thread() is acting and statement.startswith("UPDATE installation"):
            has_come.set()

    engine = store._database.writes._engine
    event.listen(engine, "commit", before_commit)
    event.listen(engine, "before_cursor_execute", before_statement)
    first()
    acting.join(WAIT_SECONDS)
    event.remove(engine, "commit", before_commit)
    event.remove(engine, "before_cursor_execute", before_statement)
    (outcome,) = outcomes
    return outcome


def before_change(store: Store, act: Callable[[], object], *, number: int = 1) -> None:
    """Let this happen just before the store begins its next change, or the one of this number."""
    database = store._database
    change, left = database.change, number

    def begin() -> object:
        nonlocal left
        left -= 1
        if left == 0:
            database.change = change  # type: ignore[method-assign]
            act()
        return change()

    database.change = begin  # type: ignore[assignment,method-assign]
