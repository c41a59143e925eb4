"""Request bodies about users (http-api/users.md, "Users")."""

from typing import Annotated, Any

import msgspec

from keyturn.core.permissions import Permission
from keyturn.web.bodies import LongText, PhoneText, ShortText, Unshown

PermissionName = Annotated[
    str, msgspec.Meta(extra_json_schema={"enum": [permission.value for permission in Permission]})
]
PasswordText = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class RefreshBody(msgspec.Struct, forbid_unknown_fields=True):
    """No fields: whatever a client would change has a route of its own."""


class ProfileBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The profile of a user. Omitted fields keep their values. Null clears a field."""

    name: ShortText | msgspec.UnsetType | None = msgspec.UNSET
    email: ShortText | msgspec.UnsetType | None = msgspec.UNSET
    phone: PhoneText | msgspec.UnsetType | None = msgspec.UNSET
    about: LongText | msgspec.UnsetType | None = msgspec.UNSET
    location: ShortText | msgspec.UnsetType | None = msgspec.UNSET
    organization: ShortText | msgspec.UnsetType | None = msgspec.UNSET
    position: ShortText | msgspec.UnsetType | None = msgspec.UNSET
    preferences: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    external_user_ids: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET

    def given(self) -> dict[str, Any]:
        """Return the fields that were given."""
        return {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not msgspec.UNSET
        }


class NewUserBody(Unshown, frozen=True, forbid_unknown_fields=True):
    """A new user."""

    userid: Annotated[ShortText, msgspec.Meta(min_length=1)]
    iamid: str | None = None
    password: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    profile: ProfileBody | None = None
    permissions: list[PermissionName] = msgspec.field(default_factory=list)


AttributesBody = dict[str, list[str]]
"""All attributes of a user or group: the values by name."""


class PermissionsBody(msgspec.Struct, forbid_unknown_fields=True):
    """All permissions of a user."""

    permissions: list[PermissionName]


class PasswordBody(Unshown, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A new password. `originalPassword` is required to change the caller's own password."""

    password: PasswordText
    original_password: PasswordText | None = None
