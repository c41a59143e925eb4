"""Records of the store as facts: frozen, complete, without any secret in clear."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import msgspec

from keyturn.core.people import UserKind
from keyturn.core.restrictions import UNRESTRICTED, Restrictions

T = TypeVar("T")

MAX_ID = 2**63 - 1
"""The largest number that a database column of ids holds."""


def is_id(number: int) -> bool:
    """Return whether `number` can be the id of anything."""
    return 0 < number <= MAX_ID


class OwnerRecord(msgspec.Struct, frozen=True, gc=False):
    """The part of a user that decides whether their credentials work."""

    user_id: int
    userid: str
    iamid: str
    name: str | None
    permissions: frozenset[str]
    is_disabled: bool
    epoch: int = 0
    """Grows with every change that ends all tokens of this user."""
    withheld: frozenset[str] = frozenset()
    """The scopes of registered APIs that this user may not hold."""
    audiences: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    """The scopes of each registered API by its identifier, read together with what is withheld."""


class StoredOwner(OwnerRecord, frozen=True, gc=False):
    """An owner as one statement read them: the rules of that revision say what is withheld from them."""

    group_ids: frozenset[int] = frozenset()
    revision: int = 0


class KeyForVerification(msgspec.Struct, frozen=True, gc=False):
    """An API key with its owner: all that a verdict needs."""

    key_id: int
    owner: OwnerRecord
    expires_at: datetime | None
    """None for a key that never expires."""
    revoked_at: datetime | None
    restrictions: Restrictions = UNRESTRICTED
    epoch: int = 0
    """Grows with every change that ends all tokens of this key."""
    project_id: int | None = None
    """The project that the key is linked to; it may be gone."""
    secret_number: int = 0
    """How many secrets the key had before its present one."""
    former_number: int | None = None
    """The same of the secret that was rotated away last; None if there was none."""
    former_ends_at: datetime | None = None
    """When that secret ends, or ended, and every token of it."""
    is_by_former_secret: bool = False
    """Whether it was by that secret that the key was found."""

    @property
    def token_epoch(self) -> int:
        """The epoch that a token made now carries.

        Both epochs only grow, so their sum is the same only while both are.
        """
        return self.epoch + self.owner.epoch


class SessionKind(StrEnum):
    """Where a session came from."""

    BROWSER = "browser"
    TOKEN = "token"
    """A bearer token that was given for a password over the API."""


class SessionForVerification(msgspec.Struct, frozen=True, gc=False):
    """A session with its owner."""

    session_id: int
    kind: SessionKind
    owner: OwnerRecord
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    secret_number: int = 0
    """How many cookies the session had before its present one."""
    time_zone: str | None = None
    """The one that its owner chose, for the pages that they see."""


class KeyState(StrEnum):
    """The state of a key in a list."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class RevocationReason(StrEnum):
    """Why somebody revokes a key: those reasons of RFC 5280, section 5.3.1, that a key can have."""

    KEY_COMPROMISE = "keyCompromise"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"


@dataclass(frozen=True, slots=True)
class LastUse:
    """When, from where and for what a key was last used. Written in batches: a crash can lose a minute."""

    at: datetime
    address: str | None
    via: str | None
    """Method and path, without the query."""
    agent: str | None


MAX_CALLERS = 20
"""How many callers of a key are kept: those that were seen last."""
MAX_ADDRESS_CHARACTERS = 64
MAX_VIA_CHARACTERS = 255
MAX_AGENT_CHARACTERS = 255
"""So much is kept of the texts of a use and of a caller."""


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """From where and with which program a key was presented, good or refused. Written as `LastUse` is."""

    address: str | None
    agent: str | None
    via: str | None
    """Method and path of the last request, without the query."""
    uses: int
    """An estimate where several callers use the key within a second; all callers' together are exact."""
    refused: int
    """How often it was refused, though its secret was right."""
    reason: str | None
    """Why it was refused last, in the words of the log; None if it never was, or nobody said why."""
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ConnectionCaller:
    """A key whose last request from some place was for a connection, with that place."""

    key_id: int
    key_name: str | None
    user_id: int
    userid: str
    user_name: str | None
    address: str | None
    agent: str | None
    last_at: datetime


class UseCount(NamedTuple):
    """How often a key was used, and refused though its secret was right, in some time."""

    uses: int
    refused: int


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """The uses and refusals of a key since they were last written."""

    last: LastUse | None
    """None if it was only refused."""
    uses: int
    refused: int = 0
    refused_at: datetime | None = None
    """When it was refused last; None if it was not."""
    callers: tuple[KeyCaller, ...] = ()

    def by_hour(self) -> dict[int, UseCount]:
        """Return the counts by the whole hours since 1970 of the last use and the last refusal."""
        counts: dict[int, UseCount] = {}
        if self.last is not None:
            counts[hour_of(self.last.at)] = UseCount(self.uses, 0)
        if self.refused_at is not None:
            hour = hour_of(self.refused_at)
            counts[hour] = UseCount(counts[hour].uses if hour in counts else 0, self.refused)
        return counts


def hour_of(moment: datetime) -> int:
    """Return how many whole hours after 1970 began a time is."""
    return int(moment.timestamp()) // 3600


class ApiKeyRecord(msgspec.Struct, frozen=True, gc=False):
    """A key as its owner sees it."""

    key_id: int
    user_id: int
    name: str | None
    masked: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_use: LastUse | None
    project_id: int | None = None
    restrictions: Restrictions = UNRESTRICTED
    former_secret_ends_at: datetime | None = None
    """When the secret ends, or ended, that the key had before its last rotation: with the key at the latest.

    None if it had no other.
    """
    note: str | None = None
    """A remark of its owner, for the people who find it later."""

    def state(self, now: datetime) -> KeyState:
        """Say whether the key works at `now`, its owner aside."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return KeyState.EXPIRED
        return KeyState.ACTIVE


@dataclass(frozen=True, slots=True)
class OwnedKey:
    """A key with its owner, as an administrator sees it."""

    key: ApiKeyRecord
    userid: str
    kind: UserKind
    owner_is_disabled: bool
    owner_name: str | None = None


@dataclass(frozen=True, slots=True)
class SystemKeyRecord:
    """A key of Keyturn itself for another system, whose secret can be had again."""

    key_id: int
    name: str
    connection_key: str
    scopes: tuple[str, ...]
    sealed_secret: bytes = field(repr=False)
    expires_at: datetime | None
    """None for one that never ends."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as its owner sees it."""

    session_id: int
    user_id: int
    kind: SessionKind
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None
    impersonator: str | None = None
    """The name and user name of who acts with it for the user; None for the user themselves."""


@dataclass(frozen=True, slots=True)
class PersonReference:
    """The person who did something, in few words."""

    user_id: int
    name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class SigningKeyRecord:
    """A signing key, its private half sealed by the vault."""

    kid: str
    algorithm: str
    sealed_jwk: bytes | None = field(repr=False)
    """None once the key signs no more: its private half is deleted."""
    created_at: datetime
    signs_from: datetime
    """It is published from the beginning, and signs from then on until another does."""
    verifies_until: datetime | None = None
    """When its last token has ended; None while no other key is to follow it."""
    public_jwk: Mapping[str, Any] | None = None
    """None only in a row that an older program wrote."""


@dataclass(frozen=True, slots=True)
class InstallationSettings:
    """The server's settings that a verifier or a command in another process must know.

    None is what a server of an earlier version did not say.
    """

    issuer: str
    audience: str
    key_prefix: str
    max_token_life_seconds: int
    token_algorithm: str | None = None
    key_life_days: int | None = None
    allow_keys_without_expiry: bool | None = None


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session lives (NIST SP 800-63B, section 5)."""

    idle: timedelta
    absolute: timedelta
