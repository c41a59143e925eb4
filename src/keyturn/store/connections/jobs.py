"""Jobs: the work on connections, one at a time for each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, insert, select, update

from keyturn.core.audit import AuditEntry
from keyturn.core.connections import UNFINISHED, JobRecord, JobSearch, JobState, JobType, ObjectPath
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.store.database.schema import job
from keyturn.store.database.transactions import Database, refusing_twins

_UNFINISHED = [state.value for state in UNFINISHED]


class Jobs:
    """Questions about jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        job_id: str,
        job_type: JobType,
        connection: tuple[int, str],
        path: ObjectPath,
        *,
        by: int | None,
        audit: AuditEntry,
    ) -> None:
        """Write down a job that is to be done; raise `Conflict` if another is not done with the connection.

        `connection` is the id and the key.
        """
        connection_id, connection_key = connection
        values: dict[str, Any] = {
            "id": job_id,
            "type": job_type.value,
            "connection_id": connection_id,
            "connection_key": connection_key,
            "path": list(path),
            "state": JobState.CREATED.value,
            "created_at": audit.at,
            "created_by": by,
            "seen_at": audit.at,
            "done": 0,
            "is_cancel_asked": False,
            "output": {},
            "occupied_id": connection_id,
        }
        sentence = f"Another job works on {connection_key}. Wait until it has ended, or cancel it."
        with refusing_twins(sentence), self._database.change(audit) as change:
            change.connection.execute(insert(job).values(**values))
            change.record(audit)

    def begin(self, job_id: str, at: datetime) -> bool:
        """Take a job up; False if it is under way, ended, or to be cancelled."""
        return self._update(
            job_id,
            job.c.state == JobState.CREATED.value,
            ~job.c.is_cancel_asked,
            state=JobState.ACTIVE.value,
            started_at=at,
            seen_at=at,
        )

    def note(self, job_id: str, at: datetime, *, done: int, expected: int | None) -> bool:
        """Say that a job lives and how far it is; False if it is to end, or was given up by others."""
        return self._update(
            job_id,
            job.c.state.in_(_UNFINISHED),
            ~job.c.is_cancel_asked,
            seen_at=at,
            done=done,
            expected=expected,
        )

    def end(self, job_id: str, state: JobState, at: datetime, output: Mapping[str, Any]) -> bool:
        """End a job, and let others have the connection; False if it has ended before."""
        return self._update(
            job_id,
            job.c.state.in_(_UNFINISHED),
            state=state.value,
            ended_at=at,
            output=dict(output),
            occupied_id=None,
        )

    def ask_cancel(self, job_id: str, audit: AuditEntry) -> bool:
        """Ask the process that does a job to end it; False if it has ended."""
        with self._database.change(audit) as change:
            asked = change.connection.execute(
                update(job)
                .where(job.c.id == job_id, job.c.state.in_(_UNFINISHED), ~job.c.is_cancel_asked)
                .values(is_cancel_asked=True)
            ).rowcount
            if asked:
                change.record(audit)
        return bool(asked)

    def expire(self, unseen_since: datetime, at: datetime, output: Mapping[str, Any]) -> int:
        """End the jobs of processes that said nothing since then; return how many."""
        with self._database.writing() as connection:
            return connection.execute(
                update(job)
                .where(job.c.state.in_(_UNFINISHED), job.c.seen_at < unseen_since)
                .values(state=JobState.EXPIRED.value, ended_at=at, output=dict(output), occupied_id=None)
            ).rowcount

    def find(self, job_id: str) -> JobRecord | None:
        """Return a job."""
        found = self.search(JobSearch(job_ids=frozenset({job_id})), size=1).items
        return found[0] if found else None

    def search(self, wanted: JobSearch, *, offset: int = 0, size: int = MAX_PAGE) -> Page[JobRecord]:
        """Return at most `size` of the jobs that are looked for, the newest first."""
        conditions = _conditions(wanted)
        with self._database.snapshot() as connection:
            count = connection.execute(select(func.count()).select_from(job).where(*conditions)).scalar_one()
            rows = connection.execute(
                select(job)
                .where(*conditions)
                .order_by(job.c.created_at.desc(), job.c.id)
                .offset(offset)
                .limit(size)
            ).all()
        return Page(count, tuple(map(_record, rows)))

    def count_states(self) -> Mapping[JobState, int]:
        """Return how many jobs there are in each state."""
        query = select(job.c.state, func.count()).group_by(job.c.state)
        with self._database.reading() as connection:
            found = {JobState(state): count for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def _update(self, job_id: str, *conditions: ColumnElement[bool], **values: object) -> bool:
        with self._database.writing() as connection:
            statement = update(job).where(job.c.id == job_id, *conditions).values(**values)
            return bool(connection.execute(statement).rowcount)


def _conditions(wanted: JobSearch) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.job_ids is not None:
        conditions.append(job.c.id.in_(wanted.job_ids))
    if wanted.types:
        conditions.append(job.c.type.in_([one.value for one in wanted.types]))
    if wanted.state is not None:
        conditions.append(job.c.state == wanted.state.value)
    if wanted.connection_key is not None:
        conditions.append(job.c.connection_key == wanted.connection_key)
    if wanted.since is not None:
        conditions.append(job.c.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(job.c.created_at < wanted.until)
    return conditions


def _record(row: Row[Any]) -> JobRecord:
    return JobRecord(
        job_id=row.id,
        type=JobType(row.type),
        connection_key=row.connection_key,
        path=tuple(row.path),
        state=JobState(row.state),
        created_at=row.created_at,
        created_by=row.created_by,
        started_at=row.started_at,
        seen_at=row.seen_at,
        ended_at=row.ended_at,
        done=row.done,
        expected=row.expected,
        is_cancel_asked=row.is_cancel_asked,
        output=row.output,
    )
