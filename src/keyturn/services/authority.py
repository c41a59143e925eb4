"""How far the rights of an administrator reach: nobody makes anything broader than themselves (A3)."""

from collections.abc import Iterable

from keyturn.core.people import UserRecord
from keyturn.core.permissions import DEFAULT_PERMISSIONS
from keyturn.core.principal import Principal
from keyturn.errors import PermissionMissing


def check_may_grant(principal: Principal, permissions: Iterable[str]) -> None:
    """Raise `PermissionMissing` if the caller would give away what they do not hold."""
    for permission in sorted(permissions):
        if permission not in principal.carried_permissions and permission not in DEFAULT_PERMISSIONS:
            raise PermissionMissing(permission)


def check_may_act_as(principal: Principal, target: UserRecord) -> None:
    """Raise `PermissionMissing` if a passphrase or key of this user opens more than the caller's own."""
    check_may_grant(principal, target.permissions)
