"""Jobs: crawls, deletions and rotations, one at a time for each connection.

A job is a row that holds its connection. The process that was asked does it in a thread, and says every
`BEAT` that it lives; what says nothing for `LOST` is over, and others may have the connection.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from keyturn.adapters.findings import TEXTS, Fault, Finding
from keyturn.adapters.tasks import Action
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.connections import ConnectionRecord, JobRecord, JobSearch, JobState, JobType, ObjectPath
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.times import in_milliseconds
from keyturn.counting.counts import Counts
from keyturn.counting.table import JOBS
from keyturn.errors import Conflict, InvalidState, KeyturnError, NotFound, PermissionMissing
from keyturn.services.connections.access import MANAGERS, Access
from keyturn.services.connections.crawler import CrawlerProcess, Finished, Order
from keyturn.services.connections.password_rotation import PasswordRotation, Rotated
from keyturn.services.connections.registry import Connections
from keyturn.services.connections.targets import Targets
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

AT_ONCE = 4
"""So many jobs at once in this process (O5)."""
BEAT = timedelta(seconds=2)
LOST = timedelta(seconds=60)
SCHEDULE = Actor(user_id=None, userid="schedule")
"""The actor of crawls that nobody asked for by hand."""
LOST_OUTPUT = {"message": "The server that did this job ended before the job."}

_log = structlog.get_logger()

Work = Callable[["Run"], Mapping[str, Any]]
"""Does a job and returns its output."""


class Canceled(Exception):
    """The job is to end: somebody asked for that, or the server stops."""


@dataclass
class Run:
    """A job under way, as the thread that does it sees it."""

    job_id: str
    type: JobType
    done: int = 0
    expected: int | None = None
    process: CrawlerProcess | None = None
    is_canceled: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """End the process that does the work; the thread notices."""
        self.is_canceled = True
        if self.process is not None:
            self.process.cancel()

    def check(self) -> None:
        """Raise `Canceled` if the job is to end."""
        if self.is_canceled:
            raise Canceled


class Jobs:
    """Starts, shows and cancels jobs."""

    def __init__(
        self,
        store: Store,
        registry: Connections,
        access: Access,
        targets: Targets,
        rotation: PasswordRotation,
        database: str,
        system: System,
        counts: Counts | None = None,
    ) -> None:
        self._counts = counts or Counts()
        self._store = store
        self._database = database
        self._registry = registry
        self._access = access
        self._targets = targets
        self._rotation = rotation
        self._system = system
        self._threads = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="keyturn-job")
        self._lock = threading.Lock()
        self._running: dict[str, Run] = {}

    def crawl(self, principal: Principal, names: ObjectPath, origin: Origin) -> JobRecord:
        """Begin a crawl of a whole connection, for whoever owns one of its objects."""
        record = self._registry.get_now(principal, names[0] if names else "")
        self._access.check_owns(principal, record, names[1:])
        self._targets.values_of(record)
        return self._begin_crawl(record, actor_of(principal, origin), principal.user_id)

    def crawl_due(self) -> int:
        """Begin the crawls that schedules want now; return how many."""
        begun = 0
        for key in self._store.connections.list_due(self._system.now(), size=AT_ONCE):
            record = self._store.connections.find(key)
            if record is None or not self._targets.can_reach(record):
                continue
            with suppress(Conflict, InvalidState):
                self._begin_crawl(record, SCHEDULE, None)
                begun += 1
        return begun

    def delete(
        self, principal: Principal, connection_key: str, origin: Origin, *, is_forced: bool
    ) -> JobRecord:
        """Begin to delete a connection that is switched off."""
        record = self._registry.check_deletable(principal, connection_key, is_forced=is_forced)
        actor = actor_of(principal, origin)
        return self._begin(
            JobType.DELETE, record, actor, principal.user_id, partial(self._delete, record, actor)
        )

    def delete_now(self, principal: Principal, connection_key: str, origin: Origin) -> int:
        """Delete a connection, in whatever state it is; return how many objects it had directly below.

        For holders of APPLICATION_ADMIN. Raise `Conflict` while a job works on it.
        """
        principal.check_may(*MANAGERS)
        record = self._registry.get_now(principal, connection_key)
        children = self._store.data_objects.count_below(record.connection_id, ())
        actor = actor_of(principal, origin)
        job = self._add(JobType.DELETE, record, actor, principal.user_id)
        self._do(self._new_run(job), record, partial(self._delete, record, actor), raises=True)
        return children

    def rotate(self, principal: Principal, connection_key: str, origin: Origin) -> Rotated:
        """Rotate the password of a connection that the caller manages, while they wait."""
        record = self._registry.get_managed(principal, connection_key)
        self._rotation.check_can_rotate(record)
        actor = actor_of(principal, origin)
        job = self._add(JobType.ROTATE, record, actor, principal.user_id)
        rotated: list[Rotated] = []

        def work(_run: Run) -> Mapping[str, Any]:
            rotated.append(self._rotation.rotate(record, actor))
            return {"isChanged": rotated[0].is_changed, "reason": rotated[0].reason}

        self._do(self._new_run(job), record, work, raises=True)
        if not rotated:
            raise Conflict("Somebody canceled the job before it began.")
        return rotated[0]

    def get(self, principal: Principal, job_id: str) -> JobRecord:
        """Return a job on a connection that the caller sees."""
        found = self._store.jobs.find(job_id) if is_storable(job_id) else None
        if found is None or not self._sees(principal, found):
            raise NotFound("There is no such job.")
        return found

    def search(
        self, principal: Principal, wanted: JobSearch, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[JobRecord]:
        """Return the jobs that are looked for, the newest first.

        Raise `PermissionMissing` for somebody who may see connections by a role alone, and names none.
        """
        self.expire_lost()
        if not is_storable(wanted.connection_key):
            return Page(0, ())
        if wanted.connection_key is not None:
            self._registry.get(principal, wanted.connection_key)
        else:
            principal.check_may(Permission.APPLICATION_ADMIN, Permission.GOVERNANCE)
        return self._store.jobs.search(wanted, offset=offset, size=size)

    def count_states(self, principal: Principal) -> Mapping[JobState, int]:
        """Return how many jobs there are in each state."""
        principal.check_may(Permission.APPLICATION_ADMIN, Permission.GOVERNANCE)
        self.expire_lost()
        return self._store.jobs.count_states()

    def cancel(self, principal: Principal, job_id: str, origin: Origin) -> JobRecord:
        """Ask a job to end, for whoever manages the connection; raise `Conflict` if it has ended."""
        job = self.get(principal, job_id)
        record = self._registry.get_now(principal, job.connection_key)
        self._access.check_owns(principal, record, ())
        audit = self._about(
            AuditAction.CONNECTION_JOB_CANCELED, record, actor_of(principal, origin), job.type
        )
        if not self._store.jobs.ask_cancel(job_id, audit):
            raise Conflict("The job has ended already.")
        with self._lock:
            run = self._running.get(job_id)
        if run is not None:
            run.cancel()
        elif self._store.jobs.find(job_id) is not None:
            self.expire_lost()
        return self.get(principal, job_id)

    def wait(
        self, principal: Principal, job_ids: frozenset[str], seconds: float, interval: float
    ) -> list[JobRecord]:
        """Return these jobs, when all have ended or after so many seconds."""
        ends = time.monotonic() + seconds
        while True:
            self.expire_lost()
            found = [
                one
                for one in self._store.jobs.search(JobSearch(job_ids=job_ids))
                if self._sees(principal, one)
            ]
            if all(one.is_finished for one in found) or time.monotonic() >= ends:
                return found
            time.sleep(max(0.05, min(interval, ends - time.monotonic())))

    def expire_lost(self) -> int:
        """End the jobs of processes that ended before them; return how many."""
        now = self._system.now()
        return self._store.jobs.expire(now - LOST, now, LOST_OUTPUT)

    @property
    def running(self) -> int:
        """How many jobs of this process run or wait for a thread."""
        return len(self._running)

    def close(self) -> None:
        """End the jobs of this process."""
        with self._lock:
            running = list(self._running.values())
        for run in running:
            run.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for run in running:
            run.is_over.set()  # Also of those that still waited for a thread.

    def _sees(self, principal: Principal, job: JobRecord) -> bool:
        if principal.may(*MANAGERS):
            return True
        try:
            self._registry.get(principal, job.connection_key)
        except (NotFound, PermissionMissing):
            return False
        return True

    def _begin_crawl(self, record: ConnectionRecord, actor: Actor, by: int | None) -> JobRecord:
        return self._begin(JobType.CRAWL, record, actor, by, partial(self._crawl, record, actor))

    def _begin(
        self, job_type: JobType, record: ConnectionRecord, actor: Actor, by: int | None, work: Work
    ) -> JobRecord:
        job = self._add(job_type, record, actor, by)
        run = self._new_run(job)
        try:
            self._threads.submit(self._do, run, record, work)
        except RuntimeError:  # The pool is shut down. The job expires.
            run.is_over.set()
            raise InvalidState("The server is about to stop.") from None
        return job

    def _new_run(self, job: JobRecord) -> Run:
        """Say from now on that a job lives, also while it waits for a thread."""
        run = Run(job.job_id, job.type)
        with self._lock:
            self._running[job.job_id] = run
        threading.Thread(target=self._beat, args=(run,), daemon=True).start()
        return run

    def _add(self, job_type: JobType, record: ConnectionRecord, actor: Actor, by: int | None) -> JobRecord:
        self.expire_lost()
        job_id = str(uuid.UUID(bytes=self._system.random_bytes(16), version=4))
        self._store.jobs.add(
            job_id,
            job_type,
            (record.connection_id, record.connection_key),
            (),
            by=by,
            audit=self._about(AuditAction.CONNECTION_JOB_STARTED, record, actor, job_type),
        )
        found = self._store.jobs.find(job_id)
        if found is None:
            raise NotFound("There is no such job.")
        return found

    def _do(self, run: Run, record: ConnectionRecord, work: Work, *, raises: bool = False) -> None:
        """Do a job, and write down how it ended, whatever happens."""
        state, output = JobState.FAILED, {"message": TEXTS[Finding.FAILED]}
        try:
            if not self._store.jobs.begin(run.job_id, self._system.now()):
                state, output = JobState.CANCELLED, {"message": TEXTS[Finding.CANCELED]}
                return
            output, state = dict(work(run)), JobState.COMPLETED
        except Canceled:
            state, output = JobState.CANCELLED, {"message": TEXTS[Finding.CANCELED]}
        except Fault as fault:
            state, output = self._failed(run, record, fault)
        except KeyturnError as error:
            output = {"message": str(error)}
            if raises:
                raise
        except Exception:
            _log.exception("connection_job_failed", job=run.job_id, connection=record.connection_key)
            if raises:
                raise
        finally:
            run.is_over.set()
            self._counts.add(JOBS.cell(run.type, state))
            with self._lock:
                self._running.pop(run.job_id, None)
            with suppress(KeyturnError):  # A database that is away: the job is lost, and expires.
                self._store.jobs.end(run.job_id, state, self._system.now(), output)

    def _failed(self, run: Run, record: ConnectionRecord, fault: Fault) -> tuple[JobState, dict[str, Any]]:
        if run.is_canceled or fault.finding is Finding.CANCELED:
            return JobState.CANCELLED, {"message": TEXTS[Finding.CANCELED]}
        text = " ".join(filter(None, (TEXTS[fault.finding], fault.detail)))
        _log.info(
            "connection_job_failed",
            job=run.job_id,
            connection=record.connection_key,
            finding=fault.finding.value,
            note=fault.note,
        )
        self._store.connections.note_health(record.connection_id, text)
        return JobState.FAILED, {"message": text, "finding": fault.finding.value}

    def _beat(self, run: Run) -> None:
        while not run.is_over.wait(BEAT.total_seconds()):
            try:
                goes_on = self._store.jobs.note(
                    run.job_id, self._system.now(), done=run.done, expected=run.expected
                )
            except KeyturnError:
                continue  # The database is away for a moment. For longer, and the job is lost.
            if not goes_on and not run.is_over.is_set():
                run.cancel()

    def _crawl(self, record: ConnectionRecord, actor: Actor, run: Run) -> Mapping[str, Any]:
        values = self._rotation.settle(record, actor)
        order = Order(
            self._database,
            record.connection_id,
            record.technology,
            in_milliseconds(self._system.now()),
            self._targets.task(Action.CRAWL, values),
        )
        run.check()
        run.process = CrawlerProcess(order)
        for report in run.process.reports():
            run.check()
            if isinstance(report, Finished):
                return report.output
            run.done, run.expected = report.done, report.expected or None
        raise Fault(Finding.FAILED)

    def _delete(self, record: ConnectionRecord, actor: Actor, run: Run) -> Mapping[str, Any]:
        run.check()
        self._store.data_objects.remove_all(record.connection_id)
        audit = self._about(AuditAction.CONNECTION_DELETED, record, actor, None)
        if not self._store.connections.delete(record.connection_id, audit):
            raise NotFound("There is no such connection.")
        return {}

    def _about(
        self, action: AuditAction, record: ConnectionRecord, actor: Actor, job_type: JobType | None
    ) -> AuditEntry:
        details = {} if job_type is None else {"type": job_type.value}
        return AuditEntry(
            self._system.now(), action, actor, Target.CONNECTION, record.connection_key, details=details
        )
