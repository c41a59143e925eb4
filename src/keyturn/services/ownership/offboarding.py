"""Users who leave: disabled for a while or deleted for ever, and what ends or goes on without them."""

from dataclasses import dataclass

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import ServiceOwner, UserRecord
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import ApiKeyRecord
from keyturn.core.searches import UserSearch
from keyturn.errors import InvalidInput, NotFound
from keyturn.services.keys.keys import Keys
from keyturn.services.people.administration import UserAdministration
from keyturn.services.people.authority import successor_of
from keyturn.services.people.sessions import Sessions
from keyturn.store import Store
from keyturn.store.ownership.control import Successor
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of


@dataclass(frozen=True, slots=True)
class OffboardingImpact:
    """The credentials and accounts that end when a user is disabled or deleted."""

    keys: Page[ApiKeyRecord]
    """The newest of their living keys."""
    sessions: int
    service_accounts: Page[UserRecord]
    """The first of those that they own."""


class Offboarding:
    """Stops users and lets them go on, for holders of USER_ADMIN, and service accounts for their owners."""

    def __init__(
        self,
        store: Store,
        *,
        administration: UserAdministration,
        keys: Keys,
        sessions: Sessions,
        system: System,
    ) -> None:
        self._store = store
        self._administration = administration
        self._keys = keys
        self._sessions = sessions
        self._system = system

    def what_stops(
        self, principal: Principal, user: UserRecord, *, named: int = MAX_PAGE
    ) -> OffboardingImpact:
        """Return what ends when this user is disabled or deleted: how many things, and `named` of each."""
        if not self._administration.controls(principal, user):
            raise NotFound
        owned = UserSearch(owners=frozenset({ServiceOwner(user.user_id)}))
        return OffboardingImpact(
            keys=self._keys.list_active(user.user_id, size=named),
            sessions=self._sessions.list_of(user.user_id, size=1).count,
            service_accounts=self._store.users.search(owned, size=named),
        )

    def set_disabled(
        self,
        principal: Principal,
        iamid: str,
        userid: str,
        origin: Origin,
        *,
        disabled: bool,
        successor: ServiceOwner | None = None,
    ) -> UserRecord:
        """Stop a user's sessions, keys and tokens, and the service accounts they own, or let them go on.

        A key that was revoked by itself stays revoked. With `successor`, their service accounts go on under
        that owner.
        The owner of a service account may stop it; letting it go on is for administrators. Raise `Conflict`
        for letting one go on whose owner is disabled.
        """
        user = self._administration.get_controlled(principal, iamid, userid)
        if not disabled:
            principal.check_may(Permission.USER_ADMIN)
        action = AuditAction.USER_DISABLED if disabled else AuditAction.USER_ENABLED
        audit = self._about(principal, origin, action, user)
        self._store.users.set_disabled(
            user.user_id,
            audit.at if disabled else None,
            audit.at,
            audit,
            successor=_checked_successor(principal, user, successor),
        )
        found = self._store.users.find_by_id(user.user_id)
        if found is None:
            raise NotFound
        return found

    def delete(
        self,
        principal: Principal,
        iamid: str,
        userid: str,
        origin: Origin,
        *,
        successor: ServiceOwner | None = None,
    ) -> UserRecord:
        """Delete a user, their keys and sessions, and the service accounts they own, for ever.

        With `successor`, their service accounts go on under that owner. Returns what there was.
        """
        user = self._administration.get_controlled(principal, iamid, userid)
        audit = self._about(principal, origin, AuditAction.USER_DELETED, user)
        taking = _checked_successor(principal, user, successor)
        if not self._store.users.delete(user.user_id, audit.at, audit, successor=taking):
            raise NotFound
        return user

    def _about(
        self, principal: Principal, origin: Origin, action: AuditAction, user: UserRecord
    ) -> AuditEntry:
        details = {"userid": user.userid} if action is AuditAction.USER_DELETED else {}
        return AuditEntry(
            self._system.now(),
            action,
            actor_of(principal, origin),
            Target.USER,
            str(user.user_id),
            details=details,
        )


def _checked_successor(
    principal: Principal, user: UserRecord, successor: ServiceOwner | None
) -> Successor | None:
    if successor is None:
        return None
    if successor.user_id == user.user_id:
        raise InvalidInput("handOverTo", "Hand the service accounts to somebody who stays.")
    return successor_of(principal, successor)
