"""How far the rights of an administrator reach: nobody makes anything broader than themselves (A3)."""

from collections.abc import Iterable

from keyturn.core.permissions import DEFAULT_PERMISSIONS
from keyturn.core.principal import Principal
from keyturn.errors import PermissionMissing


def check_may_grant(principal: Principal, permissions: Iterable[str]) -> None:
    """Raise `PermissionMissing` if the caller would give away what they do not hold."""
    for permission in sorted(permissions):
        if permission not in principal.carried_permissions and permission not in DEFAULT_PERMISSIONS:
            raise PermissionMissing(permission)


def check_may_act_as(principal: Principal, permissions: frozenset[str]) -> None:
    """Raise `PermissionMissing` if a user with these permissions may do more than the caller.

    To be asked of the permissions that the user holds when a passphrase or key of theirs is written: they may
    have become an administrator since they were looked at.
    """
    check_may_grant(principal, permissions)
