"""Transactions: the one way in which anything is read or changed."""

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from time import perf_counter
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from keyturn.core.audit import AuditEntry
from keyturn.core.former_secrets import check_may_record
from keyturn.core.impersonation import check_may_change
from keyturn.core.principal import Principal
from keyturn.counting.counts import Counts
from keyturn.counting.table import AUDIT_ROWS, DATABASE_ERRORS, TRANSACTION_SECONDS, Cause, Transaction
from keyturn.errors import Conflict, InvalidState, StoreUnavailable
from keyturn.store.database.causes import cause_of, why
from keyturn.store.database.counter import counter_of
from keyturn.store.database.credentials import check_caller_lives
from keyturn.store.database.engine import pool_beside
from keyturn.store.database.hints import hints_of
from keyturn.store.database.revocations import revocation_log_of
from keyturn.store.database.schema import audit, installation
from keyturn.store.database.sqlite import file_of
from keyturn.store.database.statements import CompiledQueries, CompiledQuery, Row
from keyturn.store.database.writes import Writes

_UNIQUE_VIOLATION, _FOREIGN_KEY_VIOLATION = "23505", "23503"
"""PostgreSQL's SQLSTATEs (SQL:2016, class 23)."""


class ChangeLimit(Protocol):
    """Bounds how many changes somebody makes."""

    def check_change(self, entry: AuditEntry) -> None:
        """Raise if whoever acts may make no further change now."""

    def note_change(self, entry: AuditEntry) -> None:
        """Count a change that is recorded now; raise as `check_change` does."""


class Database:
    """An engine with Keyturn's two kinds of transaction."""

    def __init__(self, engine: Engine, counts: Counts | None = None) -> None:
        self._counts = counts or Counts()
        self.engine = engine
        self.writes = Writes(engine, self._counts)
        self._file = file_of(engine)
        self._queries = CompiledQueries(engine, self._counts) if engine.dialect.name == "sqlite" else None
        self._beside = pool_beside(engine)
        self._newest_read = 0
        self.limit: ChangeLimit | None = None
        """The limit that checks and counts each change; None for none, as on the command line."""
        self._snapshot = threading.local()
        self.counter = counter_of(engine)
        self.hints = hints_of(engine)
        self.revocations = revocation_log_of(engine)

    def close(self) -> None:
        """Close every connection."""
        self.hints.close()
        if self._queries is not None:
            self._queries.close()
        self.writes.close()
        self._beside.dispose()
        self.engine.dispose()
        self.counter.close()

    @property
    def pool(self) -> QueuePool:
        """The connections that are lent to readers, and on PostgreSQL to all."""
        assert isinstance(self.engine.pool, QueuePool)  # noqa: S101 - both databases are opened with one
        return self.engine.pool

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of the database, and of SQLite's write-ahead log, which is 0 elsewhere."""
        if self._file is not None:
            return self._file.sizes()
        with self.reading() as connection:
            return connection.execute(_SIZE).scalar_one(), 0

    def check_file(self) -> None:
        """Raise `StoreUnavailable` if the file of an SQLite database is not there any more."""
        if self._file is not None:
            self._file.check()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads; raise `StoreUnavailable` if the database fails.

        On PostgreSQL each statement sees what was committed before it; within a `snapshot` all see one state.
        """
        present: Connection | None = getattr(self._snapshot, "connection", None)
        if present is not None:
            with self._translated_errors():
                yield present
            return
        with self._counted(Transaction.READ), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Have all that this thread reads in this block be of one committed state. To be short."""
        with self.reading() as connection:
            if getattr(self._snapshot, "connection", None) is connection:
                yield connection
                return
            if connection.dialect.name == "postgresql":
                connection.execute(_ONE_STATE)
            self._snapshot.connection = connection
            try:
                yield connection
            finally:
                self._snapshot.connection = None

    def query(self, query: CompiledQuery, **parameters: Any) -> list[Row]:
        """Return the rows that answer a short question; raise `StoreUnavailable` if the database fails."""
        if self._queries is not None and getattr(self._snapshot, "connection", None) is None:
            return self._queries.query(query, **parameters)
        with self.reading() as connection:
            return [tuple(row) for row in connection.execute(query.select, parameters)]

    def read(self, query: CompiledQuery, **parameters: Any) -> Sequence[Any]:
        """Return the rows that answer a short question, by name and in the types of their columns."""
        if self._queries is not None:
            return [query.read(row) for row in self._queries.query(query, **parameters)]
        with self.reading() as connection:
            return connection.execute(query.select, parameters).all()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes and is durable when this returns.

        For what is no change of anybody's rights (when a key was last used); all else is a `change`.
        """
        with self._counted(Transaction.WRITE), self.writes.connection() as connection, connection.begin():
            yield connection

    @contextmanager
    def change(self, audit: AuditEntry | None = None) -> Iterator["Change"]:
        """Open the transaction of a security change: state, audit row and revision, or none of them.

        With the `audit` entry that is to tell of it, who makes too many is refused before it is opened; each
        is counted when it is recorded.

        When this returns, every process on this host knows that there was one: they ask before they next
        trust what they remember. Other nodes are sent a hint.
        """
        if audit is not None and self.limit is not None:
            self.limit.check_change(audit)
        with (
            self._counted(Transaction.WRITE),
            self.writes.connection() as connection,
            connection.begin() as transaction,
        ):
            change = Change(connection, self)
            yield change
            if change.is_recorded:
                self.revocations.announce(change.told)
                with self.counter.committing():
                    transaction.commit()
        if change.is_recorded:
            self.revocations.confirm(change.revision)
            self._counts.add(*(AUDIT_ROWS.cell(entry.action) for _revision, entry in change.told))
            self.note_read(change.revision)
            self.hints.send()

    @contextmanager
    def _counted(self, kind: Transaction) -> Iterator[None]:
        """Time a transaction, and let no driver error out."""
        started = perf_counter()
        try:
            with self._translated_errors():
                yield
        finally:
            self._counts.observe(TRANSACTION_SECONDS.cell(kind), perf_counter() - started)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Let no driver error out: its text may hold parameters or the address of the database."""
        try:
            yield
        except IntegrityError as error:
            if _is_violation(error.orig, _UNIQUE_VIOLATION, "UNIQUE"):
                raise  # The one driver error that a question of the store knows how to answer.
            if _is_violation(error.orig, _FOREIGN_KEY_VIOLATION, "FOREIGN KEY"):
                raise InvalidState("Something that this needs was deleted just now.") from None
            raise self._unavailable(error) from None
        except (DBAPIError, PoolTimeout) as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        self._counts.add(DATABASE_ERRORS.cell(cause_of(error) or Cause.STATEMENT))
        return StoreUnavailable(why(error))

    def check_writes(self) -> None:
        """Raise `StoreUnavailable` if the database takes no writes, or has no room for them."""
        with self._translated_errors():
            self.writes.check()

    def note_read(self, revision: int) -> None:
        """Remember that the database had come so far: an older one is not believed from then on (D7)."""
        self._newest_read = max(self._newest_read, revision)

    def check_newer(self, revision: int) -> None:
        """Raise `StoreUnavailable` unless this revision, of a change under way, was never read before."""
        if revision <= self._newest_read:
            raise StoreUnavailable("the database is older than what was read from it before")

    def check_caller_lives(self, connection: Connection, caller: Principal, at: datetime) -> None:
        """Raise `CredentialRefused` if what a caller presented was ended by a change that is committed.

        For `writing`, once its rows are locked: no change is committed from here to its end. Raise
        `ChangeRefused` if the caller may do less than when the request was judged, or may change nothing.
        """
        check_may_change(caller)
        connection.execute(_LOCK_CHANGES)
        self.check_still_lives(caller, at)

    def check_still_lives(self, caller: Principal, at: datetime) -> bool:
        """Check the same within a transaction that holds the lock of changes already.

        Return whether the caller acts with a former secret.
        """
        return check_caller_lives(self._query_beside, caller, at)

    def _query_beside(self, query: CompiledQuery, **parameters: Any) -> list[Row]:
        """Ask what is committed, while this thread holds a transaction of its own.

        On PostgreSQL by a connection that those who queue for the lock cannot all hold.
        """
        if self._queries is not None:
            return self._queries.query(query, **parameters)
        with self._beside.connect() as connection:
            return [tuple(row) for row in connection.execute(query.select, parameters)]


class Change:
    """A change under way. Tell the audit log of it last: that takes the lock all changes queue for."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self.connection = connection
        self.revision = 0
        """The last one that this change has drawn; 0 for none."""
        self.told: list[tuple[int, AuditEntry]] = []
        """The changes that the audit log was told, each with its revision."""
        self._database = database
        self._checked: Principal | None = None
        self._is_by_former_secret = False

    @property
    def is_recorded(self) -> bool:
        """Whether the audit log was told."""
        return self.revision > 0

    def record(self, entry: AuditEntry, *, target_id: int | str | None = None) -> None:
        """Write the audit row of this change under the next revision; `target_id` fills a missing one.

        This is the one function that ends rights: whoever remembers anything of the target drops it when
        it reads this row (R3). It also asks whether the actor's own still hold. The lock is held from here
        to the commit: a change that ended them before is committed and seen, and one that would end them
        now waits. This change itself, which may be their signing out, is not committed yet, and not seen.

        Raise `CredentialRefused` or `ChangeRefused` as `Database.check_caller_lives` does, `StoreUnavailable`
        if the database is older than what was read from it before (D7), and what the limit of changes raises.
        """
        if not self.is_recorded and self._database.limit is not None:
            self._database.limit.note_change(entry)
        if entry.target_id is None and target_id is not None:
            entry = replace(entry, target_id=str(target_id))
        revision = self.connection.execute(_NEXT_REVISION).scalar_one()
        self._database.check_newer(revision)
        self._check_actor(entry)
        self.revision = revision
        self.told.append((revision, entry))
        self.connection.execute(_ADD_TO_AUDIT, audit_row(entry, revision))

    def _check_actor(self, entry: AuditEntry) -> None:
        """Check once who acts, and each change of one who acts with a secret that is a former one by now.

        The command line, and who proved only now who they are, present nothing.
        """
        caller = entry.actor.principal
        if caller is None:
            return
        check_may_change(caller)
        if caller is not self._checked:
            self._is_by_former_secret = self._database.check_still_lives(caller, entry.at)
            self._checked = caller
        if self._is_by_former_secret:
            check_may_record(entry)


# Made once, with the values given apart: SQLAlchemy takes longer to build a statement than to run it.
_NEXT_REVISION = (
    update(installation).values(revision=installation.c.revision + 1).returning(installation.c.revision)
)
_ADD_TO_AUDIT = insert(audit)
_SIZE = text("SELECT pg_database_size(current_database())")
_LOCK_CHANGES = select(installation.c.id).with_for_update(read=True)
_ONE_STATE = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def audit_row(entry: AuditEntry, revision: int) -> dict[str, Any]:
    """Return the row of the audit log that tells of this change."""
    return {
        "event_id": str(uuid.uuid4()),
        "revision": revision,
        "at": entry.at,
        "action": entry.action.value,
        "succeeded": entry.succeeded,
        "actor_user_id": entry.actor.user_id,
        "actor_userid": entry.actor.userid,
        "actor_key_id": entry.actor.key_id,
        "target_type": entry.target_type.value,
        "target_id": entry.target_id,
        "address": entry.actor.address,
        "user_agent": shortened(entry.actor.user_agent, 255),
        "request_id": entry.actor.request_id,
        "details": dict(entry.details),
    }


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
