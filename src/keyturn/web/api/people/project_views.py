"""The JSON shapes of projects."""

import msgspec

from keyturn.core.people import ProjectMember, ProjectRecord
from keyturn.core.times import wire_time


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
    """A project: some of its people, and of the connections that keys linked to it see; how many in all."""

    id: int
    name: str
    description: str | None
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
            name=record.name,
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
