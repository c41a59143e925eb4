"""What reaches a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from keyturn.store import Store


def statements_of(store: Store) -> list[str]:
    """Return a list that grows by the text of each statement that the store runs from now on."""
    asked: list[str] = []
    database = store._database
    event.listen(database.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    if database._questions is not None:
        # Its connections are opened anew, each with SQLite's own report of what it runs.
        database._questions.close()

        def traced(connection: Any, *_: object) -> None:
            connection.set_trace_callback(asked.append)

        event.listen(database.engine, "connect", traced)
    return asked
