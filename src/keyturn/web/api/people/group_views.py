"""The JSON shapes of groups and their members (http-api/groups.md, "Fields of a group")."""

import msgspec

from keyturn.core.people import GroupRecord, MemberRecord
from keyturn.core.times import wire_time
from keyturn.web.api.people.user_views import AttributesView, ProfileView, attributes_view


class GroupView(msgspec.Struct, frozen=True, rename="camel"):
    """A group of users."""

    id: int
    iamid: str
    name: str
    gid: str | None
    email: str | None
    description: str | None
    authorizations: AttributesView | None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: GroupRecord) -> "GroupView":
        """Show a record."""
        return cls(
            id=record.group_id,
            iamid=record.iamid,
            name=record.name,
            gid=None,
            email=record.email,
            description=record.description,
            authorizations=attributes_view(record.attributes) or None,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class GroupList(msgspec.Struct, frozen=True):
    """All groups that the caller may see."""

    count: int
    hits: list[GroupView]


class MemberView(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody's membership in a group. `uid` is the number of the user."""

    id: int
    group: int
    uid: int
    userid: str
    iamid: str
    disabled: bool
    profile: ProfileView
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: MemberRecord) -> "MemberView":
        """Show a record."""
        return cls(
            id=record.membership_id,
            group=record.group_id,
            uid=record.user_id,
            userid=record.userid,
            iamid=record.iamid,
            disabled=record.is_disabled,
            profile=ProfileView.of(record.profile),
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class MemberList(msgspec.Struct, frozen=True):
    """All members of a group."""

    count: int
    hits: list[MemberView]


class NewMemberView(msgspec.Struct, frozen=True, rename="camel"):
    """A new membership. Here `profile` is a number (http-api/groups.md, "Add a member")."""

    id: int
    group: int
    profile: int
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: MemberRecord) -> "NewMemberView":
        """Show a record."""
        return cls(
            id=record.membership_id,
            group=record.group_id,
            profile=record.profile.profile_id,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )
