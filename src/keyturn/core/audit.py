"""The audit log: actions, their targets and actors, and the effect of each action on credentials.

Every change of rights is one row, written in the transaction of the change. Caches, the feed and the
verifiers in other processes learn from these rows alone what they must forget: so the table of effects
stands beside the names of the actions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Any

from keyturn.core.principal import Principal


class Target(StrEnum):
    """The type of thing that an action is about, named as in the Immuta audit schema where it has a name."""

    API_KEY = "APIKEY"
    AUDIT_LOG = "AUDIT_LOG"
    CONNECTION = "CONNECTION"
    GROUP = "GROUP"
    INSTALLATION = "INSTALLATION"
    PROJECT = "PROJECT"
    RESOURCE = "RESOURCE"
    """A registered API."""
    ROOT_KEY = "ROOT_KEY"
    SESSION = "SESSION"
    SIGNING_KEY = "SIGNING_KEY"
    TOKEN = "TOKEN"
    """A bearer token by itself, by its `jti`."""
    USER = "USER"


class AuditAction(StrEnum):
    """The security events, named as in the Immuta audit schema where it has a name."""

    API_KEY_CREATED = "ApiKeyCreated"
    API_KEY_DELETED = "ApiKeyDeleted"
    API_KEY_IMPORTED = "ApiKeyImported"
    API_KEY_REPLACED = "ApiKeyReplaced"
    API_KEY_REVEALED = "ApiKeyRevealed"
    API_KEY_ROTATED = "ApiKeyRotated"
    API_KEY_UPDATED = "ApiKeyUpdated"
    DEVICE_APPROVED = "DeviceApproved"
    DEVICE_DENIED = "DeviceDenied"
    USER_CREATED = "UserCreated"
    USER_DISABLED = "UserDisabled"
    USER_ENABLED = "UserEnabled"
    USER_PROFILE_UPDATED = "UserProfileUpdated"
    USER_PASSWORD_UPDATED = "UserPasswordUpdated"
    USER_LOGGED_IN = "UserLoggedIn"
    USER_LOGIN_FAILED = "UserLoginFailed"
    USER_LOGGED_OUT = "UserLoggedOut"
    SESSION_ENDED = "SessionEnded"
    SESSION_PROVED = "SessionProved"
    CONNECTION_ACTIVATED = "ConnectionActivated"
    CONNECTION_CREATED = "ConnectionCreated"
    CONNECTION_DEACTIVATED = "ConnectionDeactivated"
    CONNECTION_DELETED = "ConnectionDeleted"
    CONNECTION_JOB_CANCELED = "ConnectionJobCanceled"
    CONNECTION_JOB_STARTED = "ConnectionJobStarted"
    CONNECTION_PASSWORD_ROTATED = "ConnectionPasswordRotated"
    CONNECTION_SETTINGS_UPDATED = "ConnectionSettingsUpdated"
    CONNECTION_UPDATED = "ConnectionUpdated"
    INSTALLATION_RESTORED = "InstallationRestored"
    AUDIT_PRUNED = "AuditPruned"
    ROOT_KEY_REPLACED = "RootKeyReplaced"
    ROOT_KEY_ROTATED = "RootKeyRotated"
    SIGNING_KEY_CREATED = "SigningKeyCreated"
    SIGNING_KEYS_RETIRED = "SigningKeysRetired"
    TOKEN_ISSUED = "TokenIssued"
    TOKEN_REVOKED = "TokenRevoked"
    USER_RENAMED = "UserRenamed"
    USER_SIGNED_OUT = "UserSignedOut"
    USER_UNLOCKED = "UserUnlocked"
    USER_DELETED = "UserDeleted"
    USER_IMPERSONATED = "UserImpersonated"
    USER_INVITED = "UserInvited"
    USER_PERMISSIONS_UPDATED = "UserPermissionsUpdated"
    USER_ATTRIBUTES_UPDATED = "UserAttributesUpdated"
    GROUP_CREATED = "GroupCreated"
    GROUP_UPDATED = "GroupUpdated"
    GROUP_DELETED = "GroupDeleted"
    GROUP_MEMBER_ADDED = "GroupMemberAdded"
    GROUP_MEMBER_REMOVED = "GroupMemberRemoved"
    GROUP_ATTRIBUTES_UPDATED = "GroupAttributesUpdated"
    PROJECT_CREATED = "ProjectCreated"
    PROJECT_UPDATED = "ProjectUpdated"
    PROJECT_DELETED = "ProjectDeleted"
    SERVICE_ACCOUNT_CREATED = "ServiceAccountCreated"
    SERVICE_ACCOUNT_TRANSFERRED = "ServiceAccountHandedOver"
    RESOURCE_CREATED = "ResourceCreated"
    RESOURCE_UPDATED = "ResourceUpdated"
    RESOURCE_DELETED = "ResourceDeleted"


class Effect(Enum):
    """The effect of an action on credentials and their stored rows."""

    NOTHING = auto()
    """No credential begins or ends, and none may do more or less."""
    BEGINS = auto()
    """Something new begins. All that was there stays as it is."""
    CHANGES_USER = auto()
    """The rights or the sessions of the target, a user; the rows of their keys stay as they are."""
    CHANGES_MEMBER = auto()
    """The rights of one user, whom the details name. The target is a group."""
    CHANGES = auto()
    """Anything that belongs to the target."""


_EFFECTS: Mapping[str, Effect] = {
    AuditAction.API_KEY_CREATED: Effect.BEGINS,
    AuditAction.API_KEY_REVEALED: Effect.NOTHING,
    AuditAction.API_KEY_UPDATED: Effect.NOTHING,
    AuditAction.AUDIT_PRUNED: Effect.NOTHING,
    AuditAction.CONNECTION_ACTIVATED: Effect.NOTHING,
    AuditAction.CONNECTION_CREATED: Effect.NOTHING,
    AuditAction.CONNECTION_DEACTIVATED: Effect.NOTHING,
    AuditAction.CONNECTION_DELETED: Effect.NOTHING,
    AuditAction.CONNECTION_JOB_CANCELED: Effect.NOTHING,
    AuditAction.CONNECTION_JOB_STARTED: Effect.NOTHING,
    AuditAction.CONNECTION_PASSWORD_ROTATED: Effect.NOTHING,
    AuditAction.CONNECTION_SETTINGS_UPDATED: Effect.NOTHING,
    AuditAction.CONNECTION_UPDATED: Effect.NOTHING,
    AuditAction.DEVICE_APPROVED: Effect.NOTHING,
    AuditAction.DEVICE_DENIED: Effect.NOTHING,
    AuditAction.GROUP_ATTRIBUTES_UPDATED: Effect.NOTHING,
    AuditAction.GROUP_CREATED: Effect.NOTHING,
    AuditAction.GROUP_MEMBER_ADDED: Effect.CHANGES_MEMBER,
    AuditAction.GROUP_MEMBER_REMOVED: Effect.CHANGES_MEMBER,
    AuditAction.GROUP_UPDATED: Effect.NOTHING,
    AuditAction.PROJECT_CREATED: Effect.NOTHING,
    AuditAction.PROJECT_DELETED: Effect.NOTHING,
    AuditAction.PROJECT_UPDATED: Effect.NOTHING,
    AuditAction.ROOT_KEY_REPLACED: Effect.NOTHING,
    AuditAction.ROOT_KEY_ROTATED: Effect.NOTHING,
    AuditAction.SERVICE_ACCOUNT_CREATED: Effect.BEGINS,
    AuditAction.SERVICE_ACCOUNT_TRANSFERRED: Effect.CHANGES_USER,
    AuditAction.SIGNING_KEY_CREATED: Effect.BEGINS,
    AuditAction.TOKEN_ISSUED: Effect.BEGINS,
    AuditAction.USER_ATTRIBUTES_UPDATED: Effect.CHANGES_USER,
    AuditAction.USER_CREATED: Effect.BEGINS,
    AuditAction.USER_DISABLED: Effect.CHANGES_USER,
    AuditAction.USER_ENABLED: Effect.CHANGES_USER,
    AuditAction.USER_IMPERSONATED: Effect.BEGINS,
    AuditAction.USER_INVITED: Effect.BEGINS,
    AuditAction.USER_LOGGED_IN: Effect.BEGINS,
    AuditAction.USER_LOGIN_FAILED: Effect.NOTHING,
    AuditAction.USER_PASSWORD_UPDATED: Effect.CHANGES_USER,
    AuditAction.USER_PERMISSIONS_UPDATED: Effect.CHANGES_USER,
    AuditAction.USER_PROFILE_UPDATED: Effect.CHANGES_USER,
    AuditAction.USER_RENAMED: Effect.CHANGES_USER,
    AuditAction.USER_SIGNED_OUT: Effect.CHANGES_USER,
    AuditAction.USER_UNLOCKED: Effect.NOTHING,
}


def effect_of(action: str) -> Effect:
    """Return what an action does; `CHANGES` for one that the table lacks, as a newer program may write.

    To forget an action here costs speed, and never safety.
    """
    return _EFFECTS.get(action, Effect.CHANGES)


LEAVES_RULES = frozenset(
    {
        Target.API_KEY,
        Target.AUDIT_LOG,
        Target.CONNECTION,
        Target.PROJECT,
        Target.ROOT_KEY,
        Target.SESSION,
        Target.SIGNING_KEY,
        Target.TOKEN,
        Target.USER,
    }
)
"""Targets whose changes leave the rules as they are: which scopes there are, and who may hold them."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor of an audit row: a user or a stranger, in one request, from one address."""

    user_id: int | None
    """None for a stranger and for the command line."""
    userid: str
    key_id: int | None = None
    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    principal: Principal | None = field(default=None, repr=False)
    """As whom the request was judged, with the credential that it presented; None for the command line, and
    for whoever has only now proved who they are. A change is made only while that credential lives.
    """


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit log, written in the transaction of the change that it tells of."""

    at: datetime
    action: AuditAction
    actor: Actor
    target_type: Target
    target_id: str | None
    """None when the store itself gives the new thing its id; it is filled in there."""
    succeeded: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that happened."""

    audit_id: int
    event_id: str
    revision: int
    at: datetime
    action: str
    succeeded: bool
    actor_user_id: int | None
    actor_userid: str
    actor_key_id: int | None
    target_type: str
    target_id: str | None
    address: str | None
    user_agent: str | None
    request_id: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """Which rows are looked for."""

    since: datetime | None = None
    until: datetime | None = None
    """Before this."""
    action: str | None = None
    actor: str | None = None
    """Part of the user name of whoever did it."""
    sees_people: bool = False
    """Whether `actor` may be part of their name or e-mail address too, where accents do not matter."""
    user_id: int | None = None
    """The user who did it, or to whom it was done."""
    actor_key_id: int | None = None
    """The key with which, or with a token of which, it was done."""
    target_type: str | None = None
    target_id: str | None = None
    succeeded: bool | None = None


@dataclass(frozen=True, slots=True)
class AuditedKey:
    """The parts of a key that a row about it may be told with."""

    name: str | None
    user_id: int


@dataclass(frozen=True, slots=True)
class AuditNames:
    """The names of what rows tell of, by number, as far as it is still there."""

    users: Mapping[int, str] = field(default_factory=dict)
    """Names, or user names where somebody has none."""
    userids: Mapping[int, str] = field(default_factory=dict)
    keys: Mapping[int, AuditedKey] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)
    projects: Mapping[int, str] = field(default_factory=dict)
    apis: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far somebody has read: a revision, and which event it was.

    After a failover that lost commits, or a restored backup, the same number is another event.
    """

    revision: int
    event_id: str | None
    """None before the first event."""


@dataclass(frozen=True, slots=True)
class AuditedChange:
    """The change of one revision."""

    action: str
    target_type: str
    target_id: str | None
    user_id: int | None = None
    """Another user whom it is about, where its details name one."""
    session_id: int | None = None
    """Which session began, where its details say so."""
    key_ids: tuple[int, ...] = ()
    """Which keys ended with a user, where its details say so."""


@dataclass(frozen=True, slots=True)
class ChangesSince:
    """The changes after a revision."""

    newest: Mark
    """Which the next question begins with."""
    changes: tuple[AuditedChange, ...] | None
    """One for each revision; None when they are too many or rows are gone: anything may have changed."""


@dataclass(frozen=True, slots=True)
class CountedSignIns:
    """Failed sign-ins of one day, from one network, for one target."""

    network: str
    target_id: str
    failures: int
    first_at: datetime
    last_at: datetime
    address: str | None
    """Of the last of them, like the two that follow."""
    user_agent: str | None
    request_id: str | None
