"""A change at the worst moment: between two readings of somebody else."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from keyturn.composition import Services


class Interruption:
    """What happens right before the statement of this number that a node's store asks."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self._left = number
        self._act = act
        self.has_happened = False

    def count(self) -> None:
        self._left -= 1
        if self._left == 0 and not self.has_happened:
            self.has_happened = True
            acting = threading.Thread(target=self._act)  # As another request: it shares no transaction.
            acting.start()
            acting.join()


@contextmanager
def interrupted(
    node: Services, patch: pytest.MonkeyPatch, number: int, act: Callable[[], object]
) -> Iterator[Interruption]:
    """Have `act` done before the statement of this number that this thread asks of the node's database."""
    database, asking = node.store._database, threading.get_ident()
    interruption, ask = Interruption(number, act), database.query

    def count(*_: object) -> None:
        if threading.get_ident() == asking:
            interruption.count()

    def counted_ask(*arguments: object, **parameters: object) -> object:
        if database._queries is not None:  # Else the engine tells of it.
            count()
        return ask(*arguments, **parameters)  # type: ignore[arg-type]

    with patch.context() as patched:
        patched.setattr(database, "query", counted_ask)
        event.listen(database.engine, "before_cursor_execute", count)
        try:
            yield interruption
        finally:
            event.remove(database.engine, "before_cursor_execute", count)
