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
    """A project: its people, and the connections that keys linked to it see."""

    id: int
    name: str
    description: str | None
    members: list[ProjectMemberView]
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
            members=[ProjectMemberView.of(member) for member in record.members],
            connection_keys=list(record.connection_keys),
            created_by=record.created_by,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class ProjectList(msgspec.Struct, frozen=True):
    """All projects that the caller may see."""

    count: int
    hits: list[ProjectView]
