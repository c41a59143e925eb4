"""JSON shapes: tokens, keys (http-api/keys.md, "Fields of a key"), and people in few words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from keyturn.core.records import ApiKeyRecord, KeyCaller, PersonReference
from keyturn.core.times import wire_time
from keyturn.services.keys.system_keys import RevealedSystemKey
from keyturn.web.bodies import Unshown

KEY_CONTEXT = "Current Project"
"""The type of a key without a project in the Immuta API."""
OPEN = "open"
"""The status of every project: none is ever closed."""
PROJECT_CONTEXT = "Project"
"""The type of a key that is linked to one."""


def optional_time(moment: datetime | None) -> str | None:
    """Write a time, or null."""
    return None if moment is None else wire_time(moment)


class _KeyFields(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The members of a key in every answer."""

    id: int
    keyid: int
    name: str | None
    context: str
    project: int | None
    scopes: list[str] | None
    allow_from: list[str] | None
    dpop_jkt: str | None
    allow_methods: list[str] | None
    allow_paths: list[str] | None
    masked: str
    state: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    former_secret_ends_at: str | None


class ApiKeyView(_KeyFields, frozen=True, rename="camel", kw_only=True):
    """A key without its secret."""

    @classmethod
    def of(cls, record: ApiKeyRecord, now: datetime) -> "ApiKeyView":
        """Show a record."""
        return cls(**_key_fields(record, now))


class KeyProjectView(msgspec.Struct, frozen=True):
    """The project of a key. Its name is null for a caller who may not see it."""

    id: int
    name: str | None
    status: str


class ListedApiKeyView(_KeyFields, frozen=True, rename="camel", kw_only=True):
    """A key in the list of a user's keys, with two times under the names that the contract gives them."""

    project: KeyProjectView | None  # type: ignore[assignment]  # of the keys of one user, as the contract says
    created: str
    last_used: str | None

    @classmethod
    def of_listed(cls, record: ApiKeyRecord, now: datetime, names: Mapping[int, str]) -> "ListedApiKeyView":
        """Show a record; `names` are those of the projects that the caller may see."""
        fields, number = _key_fields(record, now), record.project_id
        fields["project"] = None if number is None else KeyProjectView(number, names.get(number), OPEN)
        return cls(created=fields["created_at"], last_used=fields["last_used_at"], **fields)


class NewApiKeyView(Unshown, _KeyFields, frozen=True, rename="camel", kw_only=True):
    """A new key: the one answer that holds its secret, in `apikey`."""

    apikey: str

    @classmethod
    def of(cls, record: ApiKeyRecord, secret: str, now: datetime) -> "NewApiKeyView":
        """Show a record with its secret."""
        return cls(apikey=secret, **_key_fields(record, now))


class SystemKeyView(Unshown, _KeyFields, frozen=True, rename="camel", kw_only=True):
    """A system key, with its secret in `apikey` in every answer: the contract wants it to be had again."""

    apikey: str
    scopes: list[str]
    connection_key: str

    @classmethod
    def of(cls, revealed: RevealedSystemKey, key: ApiKeyRecord, now: datetime) -> "SystemKeyView":
        """Show a record with its secret."""
        return cls(
            apikey=revealed.secret,
            connection_key=revealed.record.connection_key,
            **{
                **_key_fields(key, now),
                "name": revealed.record.name,
                "scopes": list(revealed.record.scopes),
            },
        )


class KeyUseView(msgspec.Struct, frozen=True, rename="camel"):
    """A user of a key: an address with a program, the last request, and how often since when."""

    keyid: int
    address: str | None
    user_agent: str | None
    request: str | None
    uses: int
    first_used: str
    last_used: str

    @classmethod
    def of(cls, keyid: int, caller: KeyCaller) -> "KeyUseView":
        """Show a record."""
        return cls(
            keyid=keyid,
            address=caller.address,
            user_agent=caller.agent,
            request=caller.via,
            uses=caller.uses,
            first_used=wire_time(caller.first_at),
            last_used=wire_time(caller.last_at),
        )


class KeyActivity(msgspec.Struct, frozen=True):
    """The latest uses of a key; `count` is how many these are."""

    count: int
    hits: list[KeyUseView]


class DeletedKey(msgspec.Struct, frozen=True):
    """Which key was deleted."""

    keyid: int


class RevokedKey(msgspec.Struct, frozen=True, rename="camel"):
    """Which key was revoked. The key is itself one of the `revokedTokens`, as in the Immuta API."""

    keyid: int
    revoked_tokens: int


class DeletedThing(msgspec.Struct, frozen=True):
    """The number of the deleted thing."""

    id: int


class ApiKeyList(msgspec.Struct, frozen=True):
    """A page of keys; `count` is of all."""

    count: int
    hits: list[ApiKeyView]


class PersonView(msgspec.Struct, frozen=True):
    """Who did something."""

    id: int
    name: str | None
    email: str | None

    @classmethod
    def of(cls, record: PersonReference) -> "PersonView":
        """Show a record."""
        return cls(record.user_id, record.name, record.email)


def _key_fields(record: ApiKeyRecord, now: datetime) -> dict[str, Any]:
    return {
        "id": record.key_id,
        "keyid": record.key_id,
        "name": record.name,
        "context": KEY_CONTEXT if record.project_id is None else PROJECT_CONTEXT,
        "project": record.project_id,
        **{_SNAKE[wire]: value for wire, value in record.restrictions.to_wire().items()},
        "masked": record.masked,
        "state": record.state(now).value,
        "created_at": wire_time(record.created_at),
        "expires_at": optional_time(record.expires_at),
        "last_used_at": optional_time(record.last_use.at if record.last_use else None),
        "revoked_at": optional_time(record.revoked_at),
        "former_secret_ends_at": optional_time(record.former_secret_ends_at),
    }


_SNAKE = {field.encode_name: field.name for field in msgspec.structs.fields(_KeyFields)}
