"""Transactions: the one way in which anything is read or changed."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, insert, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from keyturn.core.records import AuditEntry
from keyturn.errors import Conflict, InvalidState, StoreUnavailable
from keyturn.store.engine import writer_of
from keyturn.store.hints import hints_of
from keyturn.store.questions import Question, Row, SqliteQuestions
from keyturn.store.revision import counter_of
from keyturn.store.schema import audit, installation

_UNIQUE_VIOLATION, _FOREIGN_KEY_VIOLATION = "23505", "23503"
"""PostgreSQL's SQLSTATEs (SQL:2016, class 23)."""


class Database:
    """An engine with Keyturn's two kinds of transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = writer_of(engine)
        self._questions = SqliteQuestions(engine) if engine.dialect.name == "sqlite" else None
        self.counter = counter_of(engine)
        self.hints = hints_of(engine)

    def close(self) -> None:
        """Close every connection."""
        self.hints.close()
        if self._questions is not None:
            self._questions.close()
        self._writing.dispose()
        self.engine.dispose()
        self.counter.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads; raise `StoreUnavailable` if the database fails."""
        with _translated_errors(), self.engine.connect() as connection:
            yield connection

    def ask(self, question: Question, **parameters: Any) -> list[Row]:
        """Return the rows that answer a short question; raise `StoreUnavailable` if the database fails."""
        if self._questions is not None:
            return self._questions.ask(question, **parameters)
        with self.reading() as connection:
            return [tuple(row) for row in connection.execute(question.select, parameters)]

    def read(self, question: Question, **parameters: Any) -> Sequence[Any]:
        """Return the rows that answer a short question, by name and in the types of their columns."""
        if self._questions is not None:
            return [question.read(row) for row in self._questions.ask(question, **parameters)]
        with self.reading() as connection:
            return connection.execute(question.select, parameters).all()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes and is durable when this returns.

        For what is no change of anybody's rights (when a key was last used); all else is a `change`.
        """
        with _translated_errors(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def change(self) -> Iterator["Change"]:
        """Open the transaction of a security change: state, audit row and revision, or none of them.

        When this returns, every process on this host knows that there was one: they ask before they next
        trust what they remember. Other nodes are sent a hint.
        """
        with _translated_errors(), self._writing.connect() as connection:
            with connection.begin() as transaction:
                change = Change(connection)
                yield change
                if not change.is_recorded:
                    return
                with self.counter.committing():
                    transaction.commit()
            self.hints.send()


class Change:
    """A change under way. Tell the audit log of it last: that takes the lock all changes queue for."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_recorded = False

    def record(self, entry: AuditEntry, *, target_id: int | str | None = None) -> None:
        """Write the audit row of this change under the next revision; `target_id` fills a missing one.

        This is the one function that ends rights: whoever remembers anything of the target drops it when
        it reads this row (R3).
        """
        self.is_recorded = True
        if entry.target_id is None and target_id is not None:
            entry = replace(entry, target_id=str(target_id))
        revision = self.connection.execute(_NEXT_REVISION).scalar_one()
        row = {
            "event_id": str(uuid.uuid4()),
            "revision": revision,
            "at": entry.at,
            "action": entry.action.value,
            "succeeded": entry.succeeded,
            "actor_user_id": entry.actor.user_id,
            "actor_userid": entry.actor.userid,
            "actor_key_id": entry.actor.key_id,
            "target_type": entry.target_type,
            "target_id": entry.target_id,
            "address": entry.actor.address,
            "user_agent": shortened(entry.actor.user_agent, 255),
            "request_id": entry.actor.request_id,
            "details": dict(entry.details),
        }
        self.connection.execute(_ADD_TO_AUDIT, row)


# Made once, with the values given apart: SQLAlchemy takes longer to build a statement than to run it.
_NEXT_REVISION = (
    update(installation).values(revision=installation.c.revision + 1).returning(installation.c.revision)
)
_ADD_TO_AUDIT = insert(audit)


@contextmanager
def refusing_twins(sentence: str) -> Iterator[None]:
    """Raise `Conflict` with this sentence where the database finds something to exist already."""
    try:
        yield
    except IntegrityError:
        raise Conflict(sentence) from None


def shortened(value: str | None, limit: int) -> str | None:
    """Cut a text of somebody else's making, such as a user agent, to what its column holds."""
    return None if value is None else value.replace("\x00", "")[:limit]


def _is_violation(error: object, sqlstate: str, words: str) -> bool:
    found = getattr(error, "sqlstate", None)
    return found == sqlstate if found else str(error).startswith(words)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Let no driver error out: its text may hold parameters or the address of the database."""
    try:
        yield
    except IntegrityError as error:
        if _is_violation(error.orig, _UNIQUE_VIOLATION, "UNIQUE"):
            raise  # The one driver error that a question of the store knows how to answer.
        if _is_violation(error.orig, _FOREIGN_KEY_VIOLATION, "FOREIGN KEY"):
            raise InvalidState("Something that this needs was deleted just now.") from None
        raise StoreUnavailable(type(error.orig).__name__) from None
    except (DBAPIError, PoolTimeout) as error:
        raise StoreUnavailable(type(getattr(error, "orig", error)).__name__) from None
