"""How much one user may make and change over pages and API; `keyturn admin` is not bound by it."""

from keyturn.core.audit import AuditAction, AuditEntry
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.errors import RateLimit
from keyturn.system import System
from keyturn.verifying.rate_limit import RateLimiter

PROJECTS_PER_PERSON = 1000
"""How many projects that they made a person may leave standing."""

COUNTED_BEFORE = frozenset(
    {
        AuditAction.API_KEY_CREATED,
        AuditAction.API_KEY_REPLACED,
        AuditAction.API_KEY_ROTATED,
        AuditAction.PROJECT_CREATED,
    }
)
"""Actions that `note_creation` counts: each try, since one that fails costs as much."""
BOUNDED_BY_PASSWORDS = frozenset(
    {
        AuditAction.SESSION_PROVED,
        AuditAction.USER_LOGGED_IN,
        AuditAction.USER_LOGIN_FAILED,
        AuditAction.USER_PASSWORD_UPDATED,
    }
)
"""Actions that take the password, which `SignInAttempts` limits. A wrong one must be counted always."""
ENDS_WHAT_WAS_MADE = frozenset(
    {
        AuditAction.API_KEY_DELETED,
        AuditAction.PROJECT_DELETED,
        AuditAction.SESSION_ENDED,
        AuditAction.USER_DELETED,
        AuditAction.USER_DISABLED,
        AuditAction.USER_LOGGED_OUT,
        AuditAction.USER_SIGNED_OUT,
    }
)
"""Actions that end each thing once, which was made at a rate, and must not wait: a thief of a key could use
the rate up, and so keep its owner from revoking it."""
LENT = frozenset({AuditAction.USER_IMPERSONATED})
"""Actions of a service that does the work of many people: one for each of them, and each ends by itself."""
FREE_CHANGES = COUNTED_BEFORE | BOUNDED_BY_PASSWORDS | ENDS_WHAT_WAS_MADE | LENT

PROVISIONING = (Permission.USER_ADMIN, Permission.APPLICATION_ADMIN, Permission.PROJECT_MANAGEMENT)
"""Holders of one of these change things for many, by scripts too."""


class Quotas:
    """Bounds the living keys of an account, and how fast a user makes and changes things.

    The rate is counted in this process, in bounded memory: several processes allow as many times more.
    """

    def __init__(self, *, keys_per_owner: int, creations_per_minute: int, system: System) -> None:
        self.keys_per_owner = keys_per_owner
        self._creations = RateLimiter(
            creations_per_minute,
            system,
            refusal="You made or changed many things just now: wait {wait} before the next one.",
            limit=RateLimit.CHANGES,
        )

    def note_creation(self, principal: Principal) -> None:
        """Count something that is about to be made; raise `TooManyFailures` if this user made too much."""
        self._creations.note(_name(principal))

    def check_change(self, entry: AuditEntry) -> None:
        """Raise `TooManyFailures` if who acts changed too much to make this change."""
        if (caller := _counted(entry)) is not None:
            self._creations.check(_name(caller))

    def note_change(self, entry: AuditEntry) -> None:
        """Count a change that is about to be recorded; raise as `check_change` does."""
        if (caller := _counted(entry)) is not None:
            self._creations.note(_name(caller))


def _name(principal: Principal) -> str:
    return f"user {principal.acting_user_id}"


def _counted(entry: AuditEntry) -> Principal | None:
    """Return the caller for whom a change counts; None if it is free, or nobody's who presents something."""
    caller = entry.actor.principal
    if caller is None or entry.action in FREE_CHANGES or caller.may(*PROVISIONING):
        return None
    return caller
