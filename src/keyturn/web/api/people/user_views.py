"""The JSON shapes of users and service accounts (http-api/users.md, "Fields of a user")."""

from collections.abc import Mapping
from typing import Any

import msgspec

from keyturn.core.people import Attributes, MemberRecord, UserKind, UserRecord
from keyturn.core.times import wire_time
from keyturn.services.people.administration import AddedUser
from keyturn.web.api.views import optional_time
from keyturn.web.bodies import Unshown

AttributesView = Mapping[str, list[str]]
"""Values by name."""


def attributes_view(attributes: Attributes) -> AttributesView:
    """Show attributes."""
    return {name: list(values) for name, values in attributes.items()}


EXTERNAL_USER_IDS = (
    "hdfsUser",
    "databricksUser",
    "snowflakeUser",
    "prestoUser",
    "asaUser",
    "redshiftUser",
    "teradataUser",
    "bigqueryUser",
)
"""The names on other platforms that the contract tells of, null where there is none."""


class ProfileView(msgspec.Struct, frozen=True, rename="camel"):
    """The profile of a person."""

    id: int
    iamid: str
    userid: str
    name: str | None
    email: str | None
    phone: str | None
    sql_user: None
    about: str | None
    location: str | None
    organization: str | None
    position: str | None
    preferences: Mapping[str, Any] | None
    external_user_ids: Mapping[str, Any]
    scim: None
    system_generated: bool
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, owner: UserRecord | MemberRecord) -> "ProfileView":
        """Show the profile of somebody."""
        record = owner.profile
        return cls(
            id=record.profile_id,
            iamid=owner.iamid,
            userid=owner.userid,
            sql_user=None,
            name=record.name,
            email=record.email,
            phone=record.phone,
            about=record.about,
            location=record.location,
            organization=record.organization,
            position=record.position,
            preferences=record.preferences,
            external_user_ids={**dict.fromkeys(EXTERNAL_USER_IDS), **record.external_user_ids},
            scim=None,
            system_generated=False,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class UserView(msgspec.Struct, frozen=True, rename="camel"):
    """A user. `authorizations` are all that hold for them, `bimAuthorizations` their own.

    `projectId` is the project of the key that asks for its own user. A group gives no permissions.
    """

    id: int
    iamid: str
    userid: str
    bim_authorizations: AttributesView | None
    iam_authorizations: AttributesView | None
    authorizations: AttributesView
    project_id: int | None
    permissions: list[str]
    group_permissions: list[str]
    profile: ProfileView
    authentication: int | None
    system_generated: bool
    last_login: str | None
    last_external_refresh: str
    disabled: bool
    has_login: bool
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: UserRecord, *, project_id: int | None = None) -> "UserView":
        """Show a record."""
        return cls(
            project_id=project_id,
            group_permissions=[],
            has_login=record.has_password,
            id=record.user_id,
            iamid=record.iamid,
            userid=record.userid,
            bim_authorizations=attributes_view(record.attributes) or None,
            iam_authorizations=None,
            authorizations=attributes_view(record.authorizations),
            permissions=sorted(record.permissions),
            profile=ProfileView.of(record),
            authentication=record.user_id if record.has_password else None,
            system_generated=record.kind is UserKind.SYSTEM,
            last_login=optional_time(record.last_login_at),
            last_external_refresh=wire_time(record.created_at),
            disabled=record.is_disabled,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class UserList(msgspec.Struct, frozen=True):
    """A page of users; `count` is of all."""

    count: int
    hits: list[UserView]


class NewUserView(Unshown, frozen=True, rename="camel"):
    """A new user, with the link that leads them to a password if they were given none."""

    new_user: UserView
    new_user_link: str | None
    email_failed: bool
    email_sent: bool

    @classmethod
    def of(cls, added: AddedUser) -> "NewUserView":
        """Show a new user. Keyturn sends no e-mail: whoever made the user passes the link on."""
        link = None if added.invitation is None else added.invitation.link
        return cls(UserView.of(added.record), link, email_failed=False, email_sent=False)


class InvitationView(Unshown, frozen=True, rename="camel"):
    """A link with which a person sets a password, once."""

    new_user_link: str
    expires_at: str


class SignedOutUser(msgspec.Struct, frozen=True):
    """How many sessions of a user ended."""

    sessions: int


class UnlockedUser(msgspec.Struct, frozen=True):
    """Whether there were wrong passwords to forget."""

    unlocked: bool


class DeletedUser(msgspec.Struct, frozen=True):
    """Who was deleted."""

    id: int
    userid: str


class ChangedPassword(msgspec.Struct, frozen=True):
    """Whether a password was set."""

    success: bool


class UserGroupView(msgspec.Struct, frozen=True, rename="camel"):
    """A group that a user is in. `groupUser` is the id of the membership."""

    id: int
    name: str
    iamid: str
    group_user: int


class IdentityManagerView(msgspec.Struct, frozen=True, rename="camel"):
    """Where users come from."""

    id: str
    display_name: str
    type: str
    oauth: bool


class OwnerView(msgspec.Struct, frozen=True):
    """The owner of a service account: a person by user name, or a group by number."""

    userid: str | None
    group: int | None


class ServiceAccountView(msgspec.Struct, frozen=True, rename="camel"):
    """A service account."""

    id: int
    iamid: str
    userid: str
    name: str | None
    owner: OwnerView
    permissions: list[str]
    disabled: bool
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: UserRecord, names: Mapping[int, str]) -> "ServiceAccountView":
        """Show a record, which is a service account's; `names` are those of the owners by their numbers."""
        if record.owner is None:
            raise ValueError("this is not a service account")
        owner = record.owner
        return cls(
            id=record.user_id,
            iamid=record.iamid,
            userid=record.userid,
            name=record.profile.name,
            owner=OwnerView(None if owner.user_id is None else names.get(owner.user_id), owner.group_id),
            permissions=sorted(record.permissions),
            disabled=record.is_disabled,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class ServiceAccountList(msgspec.Struct, frozen=True):
    """A page of service accounts; `count` is of all."""

    count: int
    hits: list[ServiceAccountView]
