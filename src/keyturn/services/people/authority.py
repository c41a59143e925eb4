"""How far the rights of an administrator reach: nobody makes anything broader than themselves (A3)."""

from collections.abc import Iterable
from functools import partial

from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import not_held
from keyturn.core.principal import Principal
from keyturn.errors import PermissionMissing
from keyturn.store.ownership.control import Allow, Successor


def check_may_grant(principal: Principal, permissions: Iterable[str]) -> None:
    """Raise `PermissionMissing` if the caller would give away what they do not hold."""
    for permission in not_held(principal.carried_permissions, permissions):
        raise PermissionMissing(permission)


def allow_acting_on(principal: Principal, user_id: int) -> Allow | None:
    """Return what the store asks before the caller changes how this user signs in; None for themselves.

    It refuses somebody who, or whose service accounts, may do more than the caller: an administrator is kept
    out, or let in again, by those alone who could have been given as much.
    """
    return None if principal.user_id == user_id else partial(check_may_grant, principal)


def successor_of(principal: Principal, owner: ServiceOwner) -> Successor:
    """Return a new owner of service accounts, who gets no permission that the caller does not hold."""
    return Successor(owner, partial(check_may_grant, principal))
