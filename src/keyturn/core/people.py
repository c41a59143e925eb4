"""Users, groups and projects as facts: frozen, complete, without any secret in clear."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class ProfileRecord:
    """The profile that a person edits. None means unset."""

    profile_id: int
    name: str | None
    email: str | None
    phone: str | None
    about: str | None
    location: str | None
    organization: str | None
    position: str | None
    preferences: Mapping[str, Any] | None
    external_user_ids: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    time_zone: str | None = None
    """A name of the IANA time zone database; None for the zone of the browser."""


class UserKind(StrEnum):
    """The kind of an account."""

    PERSON = "person"
    SERVICE = "service"
    """A program: it has an owner and keys, and cannot sign in."""
    SYSTEM = "system"
    """Keyturn itself: it holds the system keys."""


class UserState(StrEnum):
    """Whether a person can sign in: the first of these that is so."""

    SUSPENDED = "suspended"
    LOCKED = "locked"
    """For a while, or for good, after wrong passwords."""
    INVITED = "invited"
    """Without a password yet."""
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class StateRule:
    """The facts that decide the state of a person, besides their account."""

    now: datetime
    providers: frozenset[str]
    """The identity providers whose people have a password here."""


@dataclass(frozen=True, slots=True)
class ServiceOwner:
    """The owner of a service account: a person or a group, never both."""

    user_id: int | None = None
    group_id: int | None = None

    def __post_init__(self) -> None:
        if (self.user_id is None) == (self.group_id is None):
            raise ValueError("a service account has one owner")


Attributes = Mapping[str, tuple[str, ...]]
"""Values by name, both in alphabetical order."""


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user with their profile."""

    user_id: int
    iamid: str
    userid: str
    kind: UserKind
    permissions: frozenset[str]
    profile: ProfileRecord
    attributes: Attributes
    """Their own."""
    group_attributes: Attributes
    """Those of the groups they are in."""
    owner: ServiceOwner | None
    """Of a service account; None for anybody else."""
    has_password: bool
    password_changed_at: datetime | None
    is_disabled: bool
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None = None
    locked_until: datetime | None = None
    failed_logins: int = 0
    """In a row, since the last sign-in."""

    def state(self, rule: StateRule) -> UserState:
        """Return whether they can sign in; a service account, which never does, is suspended or active."""
        if self.is_disabled:
            return UserState.SUSPENDED
        if self.kind is not UserKind.PERSON:
            return UserState.ACTIVE
        if self.locked_until is not None and self.locked_until > rule.now:
            return UserState.LOCKED
        if not self.has_password and self.iamid in rule.providers:
            return UserState.INVITED
        return UserState.ACTIVE

    @property
    def authorizations(self) -> Attributes:
        """All attributes that hold for this user, wherever they come from."""
        names = sorted({*self.attributes, *self.group_attributes})
        return {
            name: tuple(sorted({*self.attributes.get(name, ()), *self.group_attributes.get(name, ())}))
            for name in names
        }


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group of users."""

    group_id: int
    iamid: str
    name: str
    email: str | None
    description: str | None
    attributes: Attributes
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """Somebody's membership in a group."""

    membership_id: int
    group_id: int
    user_id: int
    userid: str
    iamid: str
    is_disabled: bool
    profile: ProfileRecord
    created_at: datetime
    updated_at: datetime


class Subscription(StrEnum):
    """The part that a user has in a project, in the words of the contract."""

    OWNER = "owner"
    """Owners change the project and its members."""
    SUBSCRIBED = "subscribed"
    NONE = "notSubscribed"

    @classmethod
    def of(cls, is_owner: bool | None) -> "Subscription":
        """Return that of a member who owns the project or not; None is for no member."""
        return cls.NONE if is_owner is None else cls.OWNER if is_owner else cls.SUBSCRIBED


@dataclass(frozen=True, slots=True)
class ProjectMember:
    """Somebody in a project."""

    user_id: int
    iamid: str
    userid: str
    profile_id: int
    name: str | None
    email: str | None
    is_owner: bool
    created_at: datetime
    """The moment when they came into the project."""


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """A project: some people, and the connections that keys linked to it may see."""

    project_id: int
    name: str
    description: str | None
    member_count: int
    members: tuple[ProjectMember, ...]
    """Those that were asked for, of all."""
    connection_count: int
    connection_keys: tuple[str, ...]
    """Those that were asked for, of all."""
    created_by: int
    created_at: datetime
    updated_at: datetime
    subscription: Subscription = Subscription.NONE
    """Of the user who was asked about."""


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """The facts about an account that a login needs."""

    user_id: int
    iamid: str
    userid: str
    password_hash: str | None = field(repr=False)
    failed_logins: int
    locked_until: datetime | None
    is_disabled: bool
