"""Searches among users and keys."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from keyturn.core.people import ServiceOwner, StateRule, Subscription, UserKind, UserState
from keyturn.core.permissions import Permission
from keyturn.core.records import KeyState

SOON = timedelta(days=7)
"""A key that ends within this time is one that needs attention."""


class UserOrder(StrEnum):
    """A column by which users are ordered."""

    NUMBER = "number"
    NAME = "name"
    """The user name of whoever has no other."""
    USERID = "userid"
    PROVIDER = "provider"
    EMAIL = "email"
    STATE = "state"
    """As `UserState` lists them."""
    KEYS = "keys"
    """By how many living keys they have."""
    USED = "used"
    """By their last sign-in; those who never signed in come last."""


class NamedOrder(StrEnum):
    """A column by which groups, projects and APIs are ordered."""

    NUMBER = "number"
    NAME = "name"
    MEMBERS = "members"
    CONNECTIONS = "connections"
    PROVIDER = "provider"
    UPDATED = "updated"


class ProjectMemberOrder(StrEnum):
    """A column by which the members of a project are ordered."""

    NUMBER = "number"
    NAME = "name"
    STATE = "state"
    """Owners first."""
    CREATED = "created"


@dataclass(frozen=True, slots=True)
class NamedSearch:
    """Which groups, projects or APIs are looked for, and in which order."""

    text: str | None = None
    """Part of the name or of the description, where case and accents do not matter."""
    order: NamedOrder = NamedOrder.NUMBER
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class GroupSearch(NamedSearch):
    """Which groups are looked for."""

    name: str | None = None
    """Part of the name, where case and accents do not matter."""
    iamid: str | None = None
    members: frozenset[int] = frozenset()
    """Groups that each of these users is in."""


@dataclass(frozen=True, slots=True)
class ProjectSearch(NamedSearch):
    """Which projects are looked for."""

    project_id: int | None = None
    user_id: int | None = None
    """Whose subscriptions are told."""
    subscriptions: frozenset[Subscription] | None = None
    """Projects of which `user_id` has one of these subscriptions."""


@dataclass(frozen=True, slots=True)
class ProjectMemberSearch:
    """Which members of a project are looked for."""

    text: str | None = None
    """Part of the user name, the name or the email address, where case and accents do not matter."""
    subscriptions: frozenset[Subscription] | None = None
    order: ProjectMemberOrder = ProjectMemberOrder.NUMBER
    is_descending: bool = False
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class UserSearch:
    """Which users are looked for. Every text is part of what it is compared with; case does not matter."""

    providers: frozenset[str] | None = None
    """The iamids of their identity providers, in this case alone."""
    not_providers: frozenset[str] = frozenset()
    """Without those of these."""
    userid: str | None = None
    email: str | None = None
    name: str | None = None
    text: str | None = None
    """In the user name, the name or the e-mail address, where accents do not matter either."""
    called: str | None = None
    """The whole user name, name or e-mail address, where neither case nor accents matter."""
    is_disabled: bool | None = None
    holding: frozenset[Permission] | None = None
    """Holders of any of these permissions."""
    not_holding: frozenset[Permission] = frozenset()
    """Without the holders of any of these."""
    kinds: frozenset[UserKind] | None = None
    owners: frozenset[ServiceOwner] | None = None
    """Service accounts of these alone."""
    managed_by: int | None = None
    """Service accounts of this user, or of a group that they are in, alone."""
    in_group: int | None = None
    ids: frozenset[int] | None = None
    """These alone."""
    state: UserState | None = None
    rule: StateRule | None = None
    """By which a state is decided, and a key is alive; needed where one of these is asked for."""
    order: UserOrder = UserOrder.NUMBER
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class UserCounts:
    """How many people there are in each state."""

    active: int = 0
    invited: int = 0
    locked: int = 0
    suspended: int = 0

    @property
    def total(self) -> int:
        """How many there are in all."""
        return self.active + self.invited + self.locked + self.suspended


class KeyFilter(StrEnum):
    """A part of a list of keys, by what they are worth now."""

    ACTIVE = "active"
    SOON = "soon"
    """Active, and at their end within a week."""
    SUSPENDED = "suspended"
    """Alive, but for their owner."""
    ENDED = "ended"
    """Revoked or expired."""


class KeyOrder(StrEnum):
    """A column by which keys are ordered."""

    CREATED = "created"
    NAME = "name"
    STATE = "state"
    USED = "used"
    EXPIRES = "expires"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class KeySearch:
    """Which keys are looked for, and in which order."""

    key_id: int | None = None
    user_id: int | None = None
    owner: str | None = None
    """Part of the owner's user name; case does not matter."""
    text: str | None = None
    """Part of the name or the note, or of what is shown of the key."""
    about: str | None = None
    """Part of what `text` is part of, of the owner's name or user name, or the whole number of the key."""
    state: KeyState | None = None
    is_revoked: bool | None = None
    part: KeyFilter | None = None
    made_before: datetime | None = None
    unused_since: datetime | None = None
    """Keys that were not used since then, if ever."""
    never_ends: bool | None = None
    ends_within: timedelta | None = None
    """Keys that live, and are over after this time."""
    order: KeyOrder = KeyOrder.CREATED
    is_descending: bool = True


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """How many keys there are in each part of a list."""

    total: int
    active: int
    soon: int
    suspended: int
    ended: int
