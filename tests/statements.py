"""What reaches the database, whichever way it goes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from keyturn.composition import Services


@contextmanager
def statements(services: Services) -> Iterator[list[str]]:
    """Collect every statement that the database is given by these services while the block runs."""
    asked: list[str] = []
    database = services.store._database
    engines = list({id(engine): engine for engine in (database.engine, database.writes._engine)}.values())
    if database._queries is None:
        event_name, note = (
            "before_cursor_execute",
            lambda *call: asked.extend(
                statement for statement in call[2:3] if not statement.startswith("BEGIN ")
            ),
        )
    else:  # SQLite is asked past SQLAlchemy too, so its connections tell themselves.
        event_name, note = "checkout", lambda connection, *_others: trace(connection)
    traced: list[Any] = []

    def trace(connection: Any) -> None:
        connection.set_trace_callback(asked.append)
        traced.append(connection)

    for engine in engines:
        event.listen(engine, event_name, note)
    for asking in [] if database._queries is None else list(database._queries._opened):
        trace(asking.connection)
    try:
        yield asked
    finally:
        for engine in engines:
            event.remove(engine, event_name, note)
        for connection in traced:
            connection.set_trace_callback(None)


@contextmanager
def overtaken(
    services: Services, table: str, change: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Let `change` happen right after the database has answered the next question about `table`."""
    happened: list[str] = []
    database = services.store._database
    ask = database.query

    def ask_and_be_overtaken(question: Any, **parameters: Any) -> Any:
        rows = ask(question, **parameters)
        if f"FROM {table}" in question.sql and not happened:
            happened.append(question.sql)
            change()
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(database, "query", ask_and_be_overtaken)
        yield happened
