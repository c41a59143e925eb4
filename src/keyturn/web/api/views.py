"""The JSON shapes of the wire (reference, sections 1.4 and 4.3)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from keyturn.core.people import ProfileRecord, UserRecord
from keyturn.core.records import ApiKeyRecord, ConnectionRecord, PersonReference
from keyturn.core.times import wire_time

KEY_CONTEXT = "Current Project"
"""What the Immuta API calls a key that is linked to no project."""


def optional_time(moment: datetime | None) -> str | None:
    """Write a time, or null."""
    return None if moment is None else wire_time(moment)


class TokenView(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of the exchange and of the login."""

    token: str
    token_expiration: str
    authenticated: bool = True


class ApiKeyView(msgspec.Struct, frozen=True, rename="camel"):
    """A key without its secret."""

    id: int
    keyid: int
    name: str | None
    context: str
    project: int | None
    masked: str
    state: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None

    @classmethod
    def of(cls, record: ApiKeyRecord, now: datetime) -> "ApiKeyView":
        """Show a record."""
        return cls(**_key_fields(record, now))


class NewApiKeyView(msgspec.Struct, frozen=True, rename="camel"):
    """A new key: the one answer that holds its secret, in `apikey`."""

    apikey: str
    id: int
    keyid: int
    name: str | None
    context: str
    project: int | None
    masked: str
    state: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None

    @classmethod
    def of(cls, record: ApiKeyRecord, secret: str, now: datetime) -> "NewApiKeyView":
        """Show a record with its secret."""
        return cls(apikey=secret, **_key_fields(record, now))


class ApiKeyList(msgspec.Struct, frozen=True):
    """A page of keys; `count` is of all."""

    count: int
    hits: list[ApiKeyView]


class ProfileView(msgspec.Struct, frozen=True, rename="camel"):
    """What a person says of themselves."""

    id: int
    name: str | None
    email: str | None
    phone: str | None
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
    def of(cls, record: ProfileRecord) -> "ProfileView":
        """Show a record."""
        return cls(
            id=record.profile_id,
            name=record.name,
            email=record.email,
            phone=record.phone,
            about=record.about,
            location=record.location,
            organization=record.organization,
            position=record.position,
            preferences=record.preferences,
            external_user_ids=record.external_user_ids,
            scim=None,
            system_generated=False,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class UserView(msgspec.Struct, frozen=True, rename="camel"):
    """A user."""

    id: int
    iamid: str
    userid: str
    bim_authorizations: Mapping[str, list[str]] | None
    iam_authorizations: Mapping[str, list[str]] | None
    authorizations: Mapping[str, list[str]]
    permissions: list[str]
    profile: ProfileView
    authentication: int | None
    system_generated: bool
    last_login: str | None
    last_external_refresh: str | None
    disabled: bool
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: UserRecord) -> "UserView":
        """Show a record. Attributes do not exist yet, so `authorizations` is an empty map."""
        return cls(
            id=record.user_id,
            iamid=record.iamid,
            userid=record.userid,
            bim_authorizations=None,
            iam_authorizations=None,
            authorizations={},
            permissions=sorted(record.permissions),
            profile=ProfileView.of(record.profile),
            authentication=record.user_id if record.has_password else None,
            system_generated=False,
            last_login=optional_time(record.last_login_at),
            last_external_refresh=None,
            disabled=record.is_disabled,
            created_at=wire_time(record.created_at),
            updated_at=wire_time(record.updated_at),
        )


class PersonView(msgspec.Struct, frozen=True):
    """Who did something."""

    id: int
    name: str | None
    email: str | None

    @classmethod
    def of(cls, record: PersonReference) -> "PersonView":
        """Show a record."""
        return cls(record.user_id, record.name, record.email)


class ConnectionView(msgspec.Struct, frozen=True, rename="camel"):
    """A connection without its secrets."""

    connection_key: str
    connection: Mapping[str, Any]
    created_at: str
    created_by: int
    creator: PersonView
    updated_at: str
    updated_by: int
    updater: PersonView
    native_integration_id: int | None

    @classmethod
    def of(cls, record: ConnectionRecord) -> "ConnectionView":
        """Show a record."""
        return cls(
            connection_key=record.connection_key,
            connection=record.details,
            created_at=wire_time(record.created_at),
            created_by=record.created_by,
            creator=PersonView.of(record.creator),
            updated_at=wire_time(record.updated_at),
            updated_by=record.updated_by,
            updater=PersonView.of(record.updater),
            native_integration_id=record.native_integration_id,
        )


def _key_fields(record: ApiKeyRecord, now: datetime) -> dict[str, Any]:
    return {
        "id": record.key_id,
        "keyid": record.key_id,
        "name": record.name,
        "context": KEY_CONTEXT,
        "project": None,
        "masked": record.masked,
        "state": record.state(now).value,
        "created_at": wire_time(record.created_at),
        "expires_at": optional_time(record.expires_at),
        "last_used_at": optional_time(record.last_use.at if record.last_use else None),
        "revoked_at": optional_time(record.revoked_at),
    }
