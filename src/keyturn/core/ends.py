"""The ends that each event of the audit log may bring, for a restore, which must repeat them (R7, U5).

A log of revocations beside a database tells this and no more: a letter, and a digest of what ended.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum

from keyturn.core.audit import AuditAction, AuditEntry

DIGEST_BYTES = 16


class Ends(StrEnum):
    """The kinds of ends. Their letters stand in logs, and are never given another meaning."""

    KEY = "k"
    """The secret that a key had."""
    USER = "u"
    """Something that a user could do: nobody knows what, so that they are suspended."""
    PASSWORD = "p"
    """The password that a user had."""
    ATTRIBUTES = "a"
    """Attributes of a user or group."""
    MEMBER = "m"
    """The membership of one user in a group or project."""
    MEMBERS = "g"
    """All memberships of a group or project."""
    CONNECTIONS = "l"
    """That a project shows its connections."""
    SCOPES = "s"
    """That an API has the scopes that it had, for those who could hold them."""
    CONNECTION = "c"
    """That a connection, or an object behind it, is shown to everybody who saw it."""


ENDS: Mapping[AuditAction, Ends] = {
    AuditAction.API_KEY_DELETED: Ends.KEY,
    AuditAction.API_KEY_REPLACED: Ends.KEY,
    AuditAction.API_KEY_ROTATED: Ends.KEY,
    AuditAction.CONNECTION_DEACTIVATED: Ends.CONNECTION,
    AuditAction.CONNECTION_DELETED: Ends.CONNECTION,
    AuditAction.CONNECTION_SETTINGS_UPDATED: Ends.CONNECTION,
    AuditAction.GROUP_ATTRIBUTES_UPDATED: Ends.ATTRIBUTES,
    AuditAction.GROUP_DELETED: Ends.MEMBERS,
    AuditAction.GROUP_MEMBER_REMOVED: Ends.MEMBER,
    AuditAction.PROJECT_DELETED: Ends.MEMBERS,
    AuditAction.PROJECT_UPDATED: Ends.CONNECTIONS,
    AuditAction.RESOURCE_DELETED: Ends.SCOPES,
    AuditAction.RESOURCE_UPDATED: Ends.SCOPES,
    AuditAction.SERVICE_ACCOUNT_TRANSFERRED: Ends.USER,
    AuditAction.USER_ATTRIBUTES_UPDATED: Ends.ATTRIBUTES,
    AuditAction.USER_DELETED: Ends.USER,
    AuditAction.USER_DISABLED: Ends.USER,
    AuditAction.USER_PASSWORD_UPDATED: Ends.PASSWORD,
    AuditAction.USER_PERMISSIONS_UPDATED: Ends.USER,
}
"""All others end nothing, or sessions, tokens, links and signing keys, which no restore brings back."""


def ended_by(entry: AuditEntry) -> str | None:
    """Return what this change ended, as a letter and a digest; None for nothing."""
    ends, details = ENDS.get(entry.action), entry.details
    if ends is None or not entry.succeeded or entry.target_id is None:
        return None
    user_id = details.get("userId") if ends is Ends.MEMBER else None
    if entry.action is AuditAction.PROJECT_UPDATED and "connectionRemoved" not in details:
        # Whoever owns a project no more may do less in it: the log cannot say how much.
        ends = Ends.MEMBER
        user_id = details.get("memberRemoved", None if details.get("isOwner") else details.get("member"))
        if user_id is None:
            return None
    return end_of(ends, entry.target_type, entry.target_id, *([] if user_id is None else [user_id]))


def end_of(ends: Ends, target: str, *numbers: int | str) -> str:
    """Return a letter and the digest of what ended: nothing in it can be read, and it can be compared."""
    name = "/".join(map(str, (target, *numbers)))
    return ends.value + hashlib.sha256(f"keyturn end {ends} {name}".encode()).digest()[:DIGEST_BYTES].hex()
