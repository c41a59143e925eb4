"""The JSON shapes of projects."""

from typing import Any

import msgspec

from keyturn.core.people import ProjectMember, ProjectRecord, Subscription
from keyturn.core.times import wire_time
from keyturn.web.api.views import OPEN

USER_PROJECT = "User"
"""The type of every project: none is made from the schema of a database."""


class ProjectMemberView(msgspec.Struct, frozen=True):
    """Somebody in a project. Owners change it."""

    id: int
    userid: str
    name: str | None
    owner: bool

    @classmethod
    def of(cls, member: ProjectMember) -> "ProjectMemberView":
        """Show a record."""
        return cls(member.user_id, member.userid, member.name, member.is_owner)


class ProjectView(msgspec.Struct, frozen=True, rename="camel"):
    """A project: some of its people, and of the connections that keys linked to it see; how many in all.

    `subscriptionStatus` is the caller's.
    """

    id: int
    project_key: str
    name: str
    status: str
    description: str | None
    type: str
    subscription_status: str
    member_count: int
    members: list[ProjectMemberView]
    connection_count: int
    connection_keys: list[str]
    created_by: int
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: ProjectRecord) -> "ProjectView":
        """Show a record."""
        return cls(
            id=record.project_id,
            project_key=str(record.project_id),
            name=record.name,
            status=OPEN,
            type=USER_PROJECT,
            subscription_status=record.subscription.value,
            description=record.description,
            member_count=record.member_count,
            members=[ProjectMemberView.of(member) for member in record.members],
            connection_count=record.connection_count,
            connection_keys=list(record.connection_keys),
            created_by=record.created_by,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class ProjectList(msgspec.Struct, frozen=True):
    """A page of the projects that the caller may see; `count` is of all."""

    count: int
    hits: list[ProjectView]
    facets: dict[str, Any]


class SubscriberView(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody in a project, as the contract tells of a member.

    Members are users, never groups, and are members as soon as they are named. `profile` is a number.
    """

    subscription_id: int
    state: str
    expiration: None
    profile: int
    group: None
    type: str
    approved: bool
    created_at: str
    updated_at: str
    iamid: str
    userid: str
    name: str | None
    email: str | None

    @classmethod
    def of(cls, member: ProjectMember) -> "SubscriberView":
        """Show a record."""
        return cls(
            subscription_id=member.user_id,
            state=_state_of(member),
            expiration=None,
            profile=member.profile_id,
            group=None,
            type="user",
            approved=True,
            created_at=wire_time(member.created_at),
            updated_at=wire_time(member.created_at),
            iamid=member.iamid,
            userid=member.userid,
            name=member.name,
            email=member.email,
        )


class SubscriberList(msgspec.Struct, frozen=True):
    """A page of the members of a project; `count` is of all that are looked for."""

    count: int
    members: list[SubscriberView]


class SubscriptionView(msgspec.Struct, frozen=True, rename="camel"):
    """A membership of a project that was made or changed."""

    subscription_id: int
    state: str
    approved: bool

    @classmethod
    def of(cls, member: ProjectMember) -> "SubscriptionView":
        """Show a record."""
        return cls(member.user_id, _state_of(member), approved=True)


def _state_of(member: ProjectMember) -> str:
    return Subscription.of(member.is_owner).value
