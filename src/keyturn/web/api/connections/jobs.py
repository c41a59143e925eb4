"""Jobs on connections (http-api/jobs.md, "Jobs")."""

from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from litestar.params import FromPath, QueryParameter, RawBody

from keyturn.core.connections import JobSearch, JobState, JobType
from keyturn.core.permissions import Permission
from keyturn.errors import InvalidInput
from keyturn.web.api.connections.bodies import JobsBody
from keyturn.web.api.connections.views import JobPage, JobStatus, JobView
from keyturn.web.api.documentation import with_body
from keyturn.web.bodies import get_json
from keyturn.web.requests import AnyRequest, InjectedCall, PageOffset, PageSize, in_thread
from keyturn.web.responses import CONFLICT, FORBIDDEN, NOT_FOUND
from keyturn.web.routes import needs, route

Kind = TypeVar("Kind", JobType, JobState)
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]

_TAG = "Jobs"
_SEES = needs(Permission.APPLICATION_ADMIN, Permission.GOVERNANCE)
_SEES_ITS = needs(
    Permission.APPLICATION_ADMIN, Permission.GOVERNANCE, without="jobs on connections that you see"
)
_CANCELS = needs(Permission.APPLICATION_ADMIN, without="jobs on connections on which you have a role")
MAX_WAIT_SECONDS = 60
"""`wait: -1` is for ever with the vendor. Here it ends, since each waiting request takes a thread."""

BulkId = Annotated[str, QueryParameter(name="bulkId", description="The id of a job: each is a bulk of one.")]
JobTypes = Annotated[
    list[str] | None,
    QueryParameter(
        name="jobType[]",
        schema_extra={"type": "array", "items": {"type": "string", "enum": [one.value for one in JobType]}},
    ),
]
State = Annotated[
    str | None, QueryParameter(name="state", schema_extra={"enum": [one.value for one in JobState]})
]
StartDate = Annotated[str | None, QueryParameter(name="startDate", description="Jobs made from then on.")]
EndDate = Annotated[str | None, QueryParameter(name="endDate", description="Jobs made before then.")]


@route("GET", "/jobs", access=_SEES_ITS, tag=_TAG, summary="List jobs of a bulk", refusals=(NOT_FOUND,))
@in_thread
def list_jobs(call: InjectedCall, bulk_id: BulkId) -> list[JobView]:
    """Return the job with this id.

    Requires `APPLICATION_ADMIN` or `GOVERNANCE`, or a role on an object of the connection.
    """
    return [JobView.of(call.services.jobs.get(call.principal, bulk_id))]


@route("GET", "/jobs/search", access=_SEES, tag=_TAG, summary="Search jobs")
@in_thread
def search_jobs(
    call: InjectedCall,
    job_type: JobTypes = None,
    in_state: State = None,
    start_date: StartDate = None,
    end_date: EndDate = None,
    size: PageSize = 25,
    offset: PageOffset = 0,
) -> JobPage:
    """List jobs, the newest first. `next` is the `offset` of the next page.

    Requires `APPLICATION_ADMIN` or `GOVERNANCE`.
    """
    wanted = JobSearch(
        types=[_chosen("jobType", one, JobType) for one in job_type or ()],
        state=None if in_state is None else _chosen("state", in_state, JobState),
        since=_time("startDate", start_date),
        until=_time("endDate", end_date),
    )
    found = call.services.jobs.search(call.principal, wanted, offset=offset, size=size)
    after = offset + len(found)
    return JobPage([JobView.of(one) for one in found], str(after) if after < found.count else None)


@route("GET", "/jobs/summary", access=_SEES, tag=_TAG, summary="Count jobs")
@in_thread
def summarize_jobs(call: InjectedCall) -> dict[str, int]:
    """Return how many jobs there are in each state.

    Requires `APPLICATION_ADMIN` or `GOVERNANCE`.
    """
    counts = call.services.jobs.count_states(call.principal)
    return {state.value: count for state, count in counts.items()}


@route(
    "POST",
    "/jobs/statuses",
    access=_SEES_ITS,
    tag=_TAG,
    summary="Read the states of jobs",
    body=with_body(
        JobsBody,
        example={"jobIds": ["0b8f7d6e-58a4-4a39-8f0e-0f6f4f1c2f55"], "wait": 10},
        required=True,
        description="The jobs, and how many seconds to wait for their end.",
    ),
)
@in_thread
def get_job_statuses(request: AnyRequest, body: RawBody, call: InjectedCall) -> dict[str, JobStatus]:
    """Return the states of jobs by their ids, at once or when all have ended. Unknown ids are left out.

    `wait` is at most 60 seconds; -1 means 60.

    Requires `APPLICATION_ADMIN` or `GOVERNANCE`, or a role on an object of the connection.
    """
    asked = get_json(body, request.headers.get("content-type"), JobsBody, such_as='{"jobIds": [...]}')
    seconds = MAX_WAIT_SECONDS if asked.wait == -1 else min(asked.wait, MAX_WAIT_SECONDS)
    found = call.services.jobs.wait(call.principal, frozenset(asked.job_ids), seconds, asked.poll_interval)
    return {one.job_id: JobStatus(one.job_id, one.state.value, one.output) for one in found}


@route(
    "POST",
    "/jobs/{job_id:str}/cancel",
    access=_CANCELS,
    tag=_TAG,
    summary="Cancel a job",
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def cancel_job(job_id: FromPath[str], call: InjectedCall) -> JobView:
    """Ask a job to end. Nobody ever sees the objects that it found until then.

    Requires `APPLICATION_ADMIN`, or a role on the connection.
    """
    return JobView.of(call.services.jobs.cancel(call.principal, job_id, call.origin))


def _chosen(field: str, text: str, kind: type[Kind]) -> Kind:
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput(field, f"Choose one of {', '.join(kind)}.") from None


def _time(field: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return msgspec.convert(text, _Moment, strict=False)
    except msgspec.ValidationError:
        raise InvalidInput(field, "Enter a time with its zone, like 2026-11-24T23:25:00Z.") from None
