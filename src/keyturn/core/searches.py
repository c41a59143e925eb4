"""Searches among users and keys."""

from dataclasses import dataclass
from datetime import datetime

from keyturn.core.people import ServiceOwner, UserKind
from keyturn.core.records import KeyState


@dataclass(frozen=True, slots=True)
class UserSearch:
    """Which users are looked for. Every text is part of what it is compared with; case does not matter."""

    provider: str | None = None
    """The whole iamid of their identity provider: no part of it, and in this case alone."""
    iamid: str | None = None
    userid: str | None = None
    email: str | None = None
    name: str | None = None
    text: str | None = None
    """In the user name, the name or the e-mail address."""
    is_disabled: bool | None = None
    kinds: frozenset[UserKind] | None = None
    owners: frozenset[ServiceOwner] | None = None
    """Service accounts of these alone."""
    managed_by: int | None = None
    """Service accounts of this user, or of a group that they are in, alone."""
    in_group: int | None = None
    ids: frozenset[int] | None = None
    """These alone."""


@dataclass(frozen=True, slots=True)
class KeySearch:
    """Which keys are looked for."""

    key_id: int | None = None
    owner: str | None = None
    """Part of the owner's user name; case does not matter."""
    state: KeyState | None = None
    made_before: datetime | None = None
    unused_since: datetime | None = None
    """Keys that were not used since then, if ever."""
    never_ends: bool | None = None
