"""Crawls and other jobs of a connection: how they are begun, watched and canceled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from litestar import MediaType, Response
from litestar.params import FromPath
from litestar.response import Redirect

from keyturn.core.connections import JobRecord, JobSearch, JobState, JobType
from keyturn.web.pages.connections.places import AT, address_of, read_path, seen, seen_place
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.notices import counted
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import CONNECTIONS
from keyturn.web.pages.frame.views import InjectedForm, InjectedView

WORK: Mapping[JobType, str] = {
    JobType.CRAWL: "Crawl",
    JobType.DELETE: "Deletion",
    JobType.ROTATE: "Rotation of the password",
}
STATES: Mapping[JobState, tuple[str, str, str]] = {
    JobState.CREATED: ("clock", "is-plain", "Waits"),
    JobState.ACTIVE: ("rotate", "", "Runs"),
    JobState.RETRY: ("clock", "is-plain", "Waits"),
    JobState.COMPLETED: ("ok", "", "Done"),
    JobState.CANCELLED: ("ban", "is-plain", "Canceled"),
    JobState.FAILED: ("fail", "is-bad", "Failed"),
    JobState.EXPIRED: ("warn", "is-bad", "Lost"),
}
"""Of each state of a job its icon, its tone and its word."""
COUNTS = (("found", "found"), ("added", "new"), ("changed", "changed"), ("removed", "gone"))


@dataclass(frozen=True, slots=True)
class ShownJob:
    """A job, as a page tells it."""

    job: JobRecord
    work: str
    badge: tuple[str, str, str]
    told: str
    """How far it is, or how it ended; nothing if there is no more to say."""


class Progress(TypedDict):
    """How far the job of a connection is, as script is told of it."""

    isOver: bool
    done: int
    expected: int | None
    told: str


def shown_job(job: JobRecord) -> ShownJob:
    """Return a job in words."""
    return ShownJob(job, WORK[job.type], STATES[job.state], _told(job))


@form("/{connection_key:str}/crawl", CONNECTIONS, asks=NEVER_ASKS)
def crawl(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Begin a crawl, for whoever owns the connection, or an object behind it."""
    path = read_path(sent.form.get(AT, ""))
    seen_place(sent, connection_key, path)
    sent.services.jobs.crawl(sent.principal, (connection_key, *path), sent.origin)
    return see_other(address_of(connection_key, "?notice=crawling"))


@page("/{connection_key:str}/progress", CONNECTIONS)
def progress(connection_key: FromPath[str], view: InjectedView) -> Response[Progress]:
    """Answer how far the newest job is."""
    seen(view, connection_key)
    newest = view.services.jobs.search(view.principal, JobSearch(connection_key=connection_key), size=1).items
    told: Progress = {"isOver": True, "done": 0, "expected": None, "told": ""}
    if newest:
        (job,) = newest
        told = {
            "isOver": job.is_finished,
            "done": job.done,
            "expected": job.expected,
            "told": _told(job),
        }
    return Response(told, media_type=MediaType.JSON)


@form("/{connection_key:str}/jobs/{job_id:str}/cancel", CONNECTIONS, asks=NEVER_ASKS)
def cancel(connection_key: FromPath[str], job_id: FromPath[str], sent: InjectedForm) -> Redirect:
    """Ask a job to end."""
    seen(sent, connection_key)
    sent.services.jobs.cancel(sent.principal, job_id, sent.origin)
    return see_other(address_of(connection_key, "?notice=canceled"))


def _told(job: JobRecord) -> str:
    if not job.is_finished:
        if job.is_cancel_asked:
            return "Ends as soon as it can."
        if job.type is not JobType.CRAWL:
            return ""
        if not job.done:
            return "Reaches the database."
        expected = f" of about {job.expected:,}" if job.expected else ""
        return f"{counted(job.done, 'object')}{expected} so far"
    return _ended(job.type, job.output)


def _ended(job_type: JobType, output: Mapping[str, Any]) -> str:
    if "message" in output:
        return str(output["message"])
    if job_type is JobType.ROTATE:
        return "The password is another one." if output.get("isChanged") else str(output.get("reason") or "")
    numbers = [(output.get(name), word) for name, word in COUNTS]
    return ", ".join(f"{number:,} {word}" for number, word in numbers if number)
