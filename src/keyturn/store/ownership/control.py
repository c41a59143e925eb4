"""Control over service accounts: by their owners, and by those who control such an owner.

A person or service account controls those that it owns, and those of its groups. To let somebody control an
account takes every permission that comes with it, as giving the permissions themselves does (rule A3).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, delete, or_, select

from keyturn.core.people import ServiceOwner
from keyturn.store.database.schema import (
    group_member,
    invitation,
    service_account,
    user,
)

Allow = Callable[[frozenset[str]], None]
"""Raises if the caller may not give these permissions."""


@dataclass(frozen=True, slots=True)
class Successor:
    """The new owner of service accounts."""

    owner: ServiceOwner
    allow: Allow = field(repr=False)
    """Is asked about the permissions that come with the service accounts."""


def owned_by(owner: ServiceOwner) -> Any:
    """Return the condition on `service_account` for those of this owner."""
    if owner.user_id is not None:
        return service_account.c.owner_user_id.is_not_distinct_from(owner.user_id)
    return service_account.c.owner_group_id.is_not_distinct_from(owner.group_id)


def owned(owner: ServiceOwner) -> Any:
    """Return the condition on `user` for the service accounts of this owner."""
    return user.c.id.in_(select(service_account.c.user_id).where(owned_by(owner)))


def owning(owners: Iterable[ServiceOwner]) -> Any:
    """Return the condition on `user` for these owners: people, and the members of groups."""
    owners = tuple(owners)
    groups = {owner.group_id for owner in owners}
    members = select(group_member.c.user_id).where(group_member.c.group_id.in_(groups))
    return or_(user.c.id.in_({owner.user_id for owner in owners}), user.c.id.in_(members))


def permissions_with(connection: Connection, accounts: Any) -> frozenset[str]:
    """Return what the accounts for which a condition on `user` holds may do, and all that they control."""
    controlled = select(user.c.id).where(accounts).cte("controlled", recursive=True)
    controlled = controlled.union(
        select(service_account.c.user_id)
        .select_from(service_account)
        .outerjoin(group_member, group_member.c.group_id == service_account.c.owner_group_id)
        .join(
            controlled,
            or_(
                controlled.c.id == service_account.c.owner_user_id,
                controlled.c.id == group_member.c.user_id,
            ),
        )
    )
    held = connection.execute(select(user.c.permissions).where(user.c.id.in_(select(controlled.c.id))))
    return frozenset().union(*held.scalars())


def check_may_act_as(connection: Connection, user_id: int, allow: Allow) -> None:
    """Ask about the permissions that come with an account, for whoever gets the means to act as it.

    To be asked once the change is recorded: from then on no other change comes in between.
    """
    allow(permissions_with(connection, user.c.id == user_id))


def controllers_of(accounts: Any) -> Select[Any]:
    """Return the ids of the accounts for which a condition on `user` holds, and of all who control them."""
    controllers = select(user.c.id).where(accounts).cte("controllers", recursive=True)
    controllers = controllers.union(
        select(user.c.id)
        .select_from(controllers)
        .join(service_account, service_account.c.user_id == controllers.c.id)
        .outerjoin(group_member, group_member.c.group_id == service_account.c.owner_group_id)
        .join(user, or_(user.c.id == service_account.c.owner_user_id, user.c.id == group_member.c.user_id))
    )
    return select(controllers.c.id)


def void_links_to(connection: Connection, accounts: Any) -> None:
    """Void the invitations of accounts that gain permissions, and of all who control them.

    The maker of a link may not give the rights that it would open from now on. Their rows must be locked.
    """
    connection.execute(delete(invitation).where(invitation.c.user_id.in_(controllers_of(accounts))))
