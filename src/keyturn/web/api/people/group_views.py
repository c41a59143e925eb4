"""The JSON shapes of groups and their members (http-api/groups.md, "Fields of a group")."""

from typing import Any, Self

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
    scim: None
    scimid: None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: GroupRecord) -> Self:
        """Show a record."""
        return cls(**_group_fields(record))


class AuthorizedGroupView(GroupView, frozen=True, rename="camel", kw_only=True):
    """A group with its attributes in `bimAuthorizations` too, as those of a user are."""

    bim_authorizations: AttributesView | None

    @classmethod
    def of(cls, record: GroupRecord) -> Self:
        """Show a record."""
        fields = _group_fields(record)
        return cls(**fields, bim_authorizations=fields["authorizations"])


def _group_fields(record: GroupRecord) -> dict[str, Any]:
    return {
        "id": record.group_id,
        "iamid": record.iamid,
        "name": record.name,
        "gid": None,
        "email": record.email,
        "description": record.description,
        "authorizations": attributes_view(record.attributes) or None,
        "scim": None,
        "scimid": None,
        "created_at": wire_time(record.created_at),
        "updated_at": wire_time(record.updated_at),
    }


class ListedGroupView(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A group in a list; with `nameOnly` its name and no other field."""

    # A default is what no group has there: it stands for a field that is left out.
    name: str
    id: int = 0
    iamid: str = ""
    gid: str | None = ""
    email: str | None = ""
    description: str | None = ""
    authorizations: AttributesView | None = msgspec.field(default_factory=dict)
    scim: str | None = ""
    scimid: str | None = ""
    created_at: str = ""
    updated_at: str = ""

    @classmethod
    def of(cls, record: GroupRecord, *, name_only: bool) -> "ListedGroupView":
        """Show a record."""
        return cls(name=record.name) if name_only else cls(**_group_fields(record))


class GroupList(msgspec.Struct, frozen=True):
    """A page of groups; `count` is of all."""

    count: int
    hits: list[ListedGroupView]


class MemberView(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody's membership in a group. `uid` is the number of the user."""

    id: int
    group: int
    uid: int
    userid: str
    iamid: str
    disabled: bool
    profile: ProfileView
    scim: None
    scimid: None
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
            profile=ProfileView.of(record),
            scim=None,
            scimid=None,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class MemberList(msgspec.Struct, frozen=True):
    """A page of the members of a group; `count` is of all."""

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
