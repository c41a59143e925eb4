"""The audit log in the words of the pages. Exports and the filter's addresses keep the machine's names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from keyturn.core.audit import AuditAction, Target

ACTIONS: Mapping[str, str] = {
    AuditAction.API_KEY_CREATED: "Key created",
    AuditAction.API_KEY_DELETED: "Key revoked",
    AuditAction.API_KEY_IMPORTED: "Key imported",
    AuditAction.API_KEY_REPLACED: "Key given a new secret",
    AuditAction.API_KEY_REVEALED: "Key shown again",
    AuditAction.API_KEY_ROTATED: "Key rotated",
    AuditAction.API_KEY_UPDATED: "Key renamed",
    AuditAction.DEVICE_APPROVED: "Device approved",
    AuditAction.DEVICE_DENIED: "Device refused",
    AuditAction.USER_CREATED: "User added",
    AuditAction.USER_DISABLED: "User disabled",
    AuditAction.USER_ENABLED: "User enabled",
    AuditAction.USER_PROFILE_UPDATED: "Profile changed",
    AuditAction.USER_PASSWORD_UPDATED: "Password changed",
    AuditAction.USER_LOGGED_IN: "Signed in",
    AuditAction.USER_LOGIN_FAILED: "Sign-in failed",
    AuditAction.USER_LOGGED_OUT: "Signed out",
    AuditAction.SESSION_ENDED: "Session ended",
    AuditAction.SESSION_PROVED: "Password given again",
    AuditAction.CONNECTION_CREATED: "Connection registered",
    AuditAction.SIGNING_KEY_CREATED: "Signing key created",
    AuditAction.SIGNING_KEYS_RETIRED: "Signing keys retired",
    AuditAction.TOKEN_ISSUED: "Token made in the browser",
    AuditAction.TOKEN_REVOKED: "Token revoked",
    AuditAction.USER_SIGNED_OUT: "Signed out everywhere",
    AuditAction.USER_DELETED: "User deleted",
    AuditAction.USER_INVITED: "User invited",
    AuditAction.USER_PERMISSIONS_UPDATED: "Permissions changed",
    AuditAction.USER_ATTRIBUTES_UPDATED: "Attributes of a user changed",
    AuditAction.GROUP_CREATED: "Group added",
    AuditAction.GROUP_UPDATED: "Group changed",
    AuditAction.GROUP_DELETED: "Group deleted",
    AuditAction.GROUP_MEMBER_ADDED: "Member added to a group",
    AuditAction.GROUP_MEMBER_REMOVED: "Member removed from a group",
    AuditAction.GROUP_ATTRIBUTES_UPDATED: "Attributes of a group changed",
    AuditAction.PROJECT_CREATED: "Project added",
    AuditAction.PROJECT_UPDATED: "Project changed",
    AuditAction.PROJECT_DELETED: "Project deleted",
    AuditAction.SERVICE_ACCOUNT_CREATED: "Service account added",
    AuditAction.SERVICE_ACCOUNT_TRANSFERRED: "Service account handed over",
    AuditAction.RESOURCE_CREATED: "API registered",
    AuditAction.RESOURCE_UPDATED: "API changed",
    AuditAction.RESOURCE_DELETED: "API deleted",
}

TARGETS: Mapping[str, str] = {
    Target.API_KEY: "Key",
    Target.CONNECTION: "Connection",
    Target.GROUP: "Group",
    Target.PROJECT: "Project",
    Target.RESOURCE: "API",
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
