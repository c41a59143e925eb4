"""Connections to databases, the objects behind them, and the work that is done on both."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from keyturn.core.records import PersonReference


class ConnectionState(StrEnum):
    """Whether a connection is used (the vendor's preview of `/api/connections`)."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    """Switched off: nothing reaches its database, and it may be deleted."""
    UNHEALTHY = "UNHEALTHY"
    """The last test or crawl failed, or its secrets do not open; the next that succeeds ends this."""


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """A registered connection. Its secrets are a seal that no reading route opens."""

    connection_id: int
    connection_key: str
    details: Mapping[str, Any]
    """`technology` and its fields, without any secret."""
    state: ConnectionState
    state_reason: str | None
    """A sentence for people; of an unhealthy one."""
    has_secrets: bool
    native_integration_id: int | None
    native_integration: Mapping[str, Any] | None
    generation: int
    """The number of the last crawl that came to its end; 0 before the first."""
    crawled_at: datetime | None
    crawl_every_hours: int | None
    """None for no schedule."""
    created_at: datetime
    created_by: int
    creator: PersonReference
    updated_at: datetime
    updated_by: int
    updater: PersonReference

    @property
    def technology(self) -> str:
        """The name of the technology."""
        return str(self.details.get("technology", ""))


class ObjectRole(StrEnum):
    """A role on an object and on all that is below it, with the name of its setting."""

    INFRASTRUCTURE_ADMIN = "infrastructureAdmins"
    """Manages the connection and its settings."""
    DATA_OWNER = "dataOwners"
    """Sees the object, crawls it, and activates what is below."""


@dataclass(frozen=True, slots=True)
class RoleHolder:
    """A user or a group that has a role."""

    user_id: int | None = None
    group_id: int | None = None

    def __post_init__(self) -> None:
        """Hold the record to exactly one of both."""
        if (self.user_id is None) == (self.group_id is None):
            raise ValueError("a role is held by a user or by a group")


ObjectPath = tuple[str, ...]
"""The names below a connection, the outermost first; empty for the connection itself."""


def path_digest(path: ObjectPath) -> bytes:
    """Return 16 bytes that tell paths apart: names are longer than a database indexes."""
    return hashlib.sha256(msgspec.json.encode(path)).digest()[:16]


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """The settings that one object says for itself and all below it. None: it says nothing, and inherits."""

    is_active: bool | None = None
    activates_new_children: bool | None = None
    """Whether objects below it that a later crawl finds are active."""
    later_than: int = 0
    """The last crawl before that was said."""
    roles: Mapping[ObjectRole, frozenset[RoleHolder]] = field(default_factory=dict)
    """Only roles that the object overrides, perhaps by nobody."""


@dataclass(frozen=True, slots=True)
class DataObject:
    """A database, schema or table that the last crawl found."""

    object_id: int
    connection_id: int
    path: ObjectPath
    kind: str
    comment: str | None
    column_count: int
    """Of a table; 0 for what holds tables."""
    first: int
    """The number of the crawl that found it first."""


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object as a crawl found it, about to be stored."""

    path: ObjectPath
    kind: str
    comment: str | None
    fingerprint: bytes
    """Equal if nothing of it has changed."""
    columns: Sequence[tuple[str, str, str | None]] = ()
    """The name, the type and the comment of each."""


@dataclass(frozen=True, slots=True)
class KnownObject:
    """An object of the former crawl, as much as the next one compares."""

    object_id: int
    fingerprint: bytes
    first: int


class JobType(StrEnum):
    """The kinds of work on a connection."""

    CRAWL = "crawl"
    DELETE = "delete"
    ROTATE = "rotate"


class JobState(StrEnum):
    """The states of `GET /jobs` (http-api/jobs.md, "Fields of a job")."""

    CREATED = "created"
    ACTIVE = "active"
    RETRY = "retry"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"
    """The process that did it ended before the job."""


UNFINISHED = (JobState.CREATED, JobState.ACTIVE, JobState.RETRY)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One piece of work on a connection."""

    job_id: str
    """A UUID."""
    type: JobType
    connection_key: str
    path: ObjectPath
    state: JobState
    created_at: datetime
    created_by: int | None
    """None for the schedule."""
    started_at: datetime | None
    seen_at: datetime | None
    """When the process that does it last said so."""
    ended_at: datetime | None
    done: int
    """How many schemas and tables a crawl has seen."""
    expected: int | None
    """How many the crawl before it found; None before the first."""
    is_cancel_asked: bool
    output: Mapping[str, Any]

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in UNFINISHED


@dataclass(frozen=True, slots=True)
class JobSearch:
    """Which jobs are looked for."""

    job_ids: frozenset[str] | None = None
    types: Sequence[JobType] = ()
    state: JobState | None = None
    connection_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None
