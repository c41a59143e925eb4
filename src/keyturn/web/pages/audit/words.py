"""Events and details of the audit log in words. Exports and addresses keep the machine's names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from keyturn.core.audit import AuditAction, Target

EVENTS: Mapping[str, Mapping[str, str]] = {
    "Keys": {
        AuditAction.API_KEY_CREATED: "Key created",
        AuditAction.API_KEY_DELETED: "Key revoked",
        AuditAction.API_KEY_ROTATED: "Key rotated",
        AuditAction.API_KEY_UPDATED: "Key renamed",
        AuditAction.API_KEY_REPLACED: "Key given a new secret",
        AuditAction.API_KEY_IMPORTED: "Key imported",
        AuditAction.API_KEY_REVEALED: "System key shown again",
        AuditAction.TOKEN_ISSUED: "Token created in the browser",
        AuditAction.TOKEN_REVOKED: "Token revoked",
        AuditAction.DEVICE_APPROVED: "Device connected",
        AuditAction.DEVICE_DENIED: "Device not connected",
    },
    "Signing in": {
        AuditAction.USER_LOGGED_IN: "Signed in",
        AuditAction.USER_LOGIN_FAILED: "Sign-in failed",
        AuditAction.USER_LOGGED_OUT: "Signed out",
        AuditAction.USER_IMPERSONATED: "Impersonated",
        AuditAction.USER_SIGNED_OUT: "Signed out everywhere",
        AuditAction.USER_UNLOCKED: "User unlocked",
        AuditAction.SESSION_ENDED: "Session ended",
        AuditAction.SESSION_PROVED: "Password confirmed",
        AuditAction.USER_PASSWORD_UPDATED: "Password changed",
    },
    "Users": {
        AuditAction.USER_CREATED: "User created",
        AuditAction.USER_INVITED: "User invited",
        AuditAction.USER_PROFILE_UPDATED: "Details changed",
        AuditAction.USER_RENAMED: "User name changed",
        AuditAction.USER_PERMISSIONS_UPDATED: "Permissions changed",
        AuditAction.USER_ATTRIBUTES_UPDATED: "Attributes of a user changed",
        AuditAction.USER_DISABLED: "User suspended",
        AuditAction.USER_ENABLED: "User restored",
        AuditAction.USER_DELETED: "User deleted",
        AuditAction.SERVICE_ACCOUNT_CREATED: "Service account created",
        AuditAction.SERVICE_ACCOUNT_TRANSFERRED: "Service account transferred",
    },
    "Groups": {
        AuditAction.GROUP_CREATED: "Group created",
        AuditAction.GROUP_UPDATED: "Group changed",
        AuditAction.GROUP_MEMBER_ADDED: "Member added to a group",
        AuditAction.GROUP_MEMBER_REMOVED: "Member removed from a group",
        AuditAction.GROUP_ATTRIBUTES_UPDATED: "Attributes of a group changed",
        AuditAction.GROUP_DELETED: "Group deleted",
    },
    "Resources": {
        AuditAction.RESOURCE_CREATED: "API added",
        AuditAction.RESOURCE_UPDATED: "API changed",
        AuditAction.RESOURCE_DELETED: "API deleted",
        AuditAction.PROJECT_CREATED: "Project created",
        AuditAction.PROJECT_UPDATED: "Project changed",
        AuditAction.PROJECT_DELETED: "Project deleted",
    },
    "Connections": {
        AuditAction.CONNECTION_CREATED: "Connection added",
        AuditAction.CONNECTION_UPDATED: "Connection changed",
        AuditAction.CONNECTION_ACTIVATED: "Connection activated",
        AuditAction.CONNECTION_DEACTIVATED: "Connection deactivated",
        AuditAction.CONNECTION_DELETED: "Connection deleted",
        AuditAction.CONNECTION_SETTINGS_UPDATED: "Settings of an object changed",
        AuditAction.CONNECTION_JOB_STARTED: "Work on a connection started",
        AuditAction.CONNECTION_JOB_CANCELED: "Work on a connection canceled",
        AuditAction.CONNECTION_PASSWORD_ROTATED: "Password of a connection rotated",
    },
    "Installation": {
        AuditAction.SIGNING_KEY_CREATED: "Signing key created",
        AuditAction.SIGNING_KEYS_RETIRED: "Signing keys retired",
        AuditAction.ROOT_KEY_ROTATED: "Root key rotated",
        AuditAction.INSTALLATION_RESTORED: "Restored from a backup",
        AuditAction.ROOT_KEY_REPLACED: "Lost root key replaced",
        AuditAction.AUDIT_PRUNED: "Events archived",
    },
}
"""The events, by subject."""

ACTIONS: Mapping[str, str] = {action: words for events in EVENTS.values() for action, words in events.items()}

TARGETS: Mapping[str, str] = {
    Target.API_KEY: "Key",
    Target.AUDIT_LOG: "Audit log",
    Target.CONNECTION: "Connection",
    Target.GROUP: "Group",
    Target.INSTALLATION: "Installation",
    Target.PROJECT: "Project",
    Target.RESOURCE: "API",
    Target.ROOT_KEY: "Root key",
    Target.SESSION: "Session",
    Target.SIGNING_KEY: "Signing key",
    Target.TOKEN: "Token",
    Target.USER: "User",
}

PEOPLE = ("userId", "member", "memberRemoved", "ownerUser")
"""The details that are numbers of users."""

_HUMP = re.compile(r"(?<=[a-z])[A-Z]")


def detail_lines(details: Mapping[str, Any], userids: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each detail, without those that are None.

    `userids` are the user names that can be told beside the numbers of users.
    """
    for name, value in details.items():
        words = _HUMP.sub(lambda found: f" {found[0].lower()}", name)
        if isinstance(value, Mapping):
            yield from ((f"{words} {inner}", _text(each)) for inner, each in value.items())
        elif name in PEOPLE and isinstance(value, int) and value in userids:
            yield words, f"{value}, {userids[value]}"
        elif value is not None:
            yield words, _text(value)


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return "yes" if value else "no"
        case Sequence():
            return ", ".join(map(_text, value)) or "none"
        case _:
            return msgspec.json.encode(value).decode()
