"""Service accounts: users for programs, with an owner and keys, that cannot sign in.

As users they are found like any other (`UserAdministration`), and disabled and deleted (`Offboarding`).
"""

from collections.abc import Iterable
from dataclasses import replace

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import ServiceOwner, UserKind, UserRecord
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import ApiKeyRecord, is_id
from keyturn.core.searches import UserSearch
from keyturn.errors import InvalidInput, NotFound
from keyturn.services.apis.registry import Apis
from keyturn.services.keys.keys import CreatedKey, Keys, NewKey
from keyturn.services.people.administration import UserAdministration
from keyturn.services.people.authority import check_may_grant, successor_of
from keyturn.services.people.users import Users, checked_permissions
from keyturn.services.text import is_storable, unique
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

SERVICE_ACCOUNTS = frozenset({UserKind.SERVICE})
ALL = UserSearch(kinds=SERVICE_ACCOUNTS)


class ServiceAccounts:
    """Manages service accounts: all with USER_ADMIN, one's own without."""

    def __init__(
        self,
        store: Store,
        *,
        users: Users,
        administration: UserAdministration,
        keys: Keys,
        apis: Apis,
        system: System,
    ) -> None:
        self._store = store
        self._users = users
        self._administration = administration
        self._keys = keys
        self._apis = apis
        self._system = system

    def add(
        self,
        principal: Principal,
        origin: Origin,
        *,
        userid: str,
        name: str | None,
        owner: ServiceOwner,
        permissions: Iterable[str] = (),
    ) -> UserRecord:
        """Make a service account; it holds no more than what the caller holds, and nothing by default."""
        principal.check_may(Permission.USER_ADMIN)
        granted = checked_permissions(permissions)
        check_may_grant(principal, granted)
        with unique("userid"):
            return self._users.add(
                actor_of(principal, origin),
                userid=userid,
                name=name,
                permissions=granted,
                owner=owner,
            )

    def find_owner(
        self, principal: Principal, *, userid: str | None = None, group_id: int | None = None
    ) -> ServiceOwner:
        """Return the owner that is named, by one of the two; raise `InvalidInput` if there is none."""
        principal.check_may(Permission.USER_ADMIN)
        if (userid is None) == (group_id is None):
            raise InvalidInput("owner", "Name the owner: a person or a group.")
        if userid is not None:
            return self._person("owner", userid, or_else="There is no such person.")
        if group_id is None or not is_id(group_id) or self._store.groups.find(group_id) is None:
            raise InvalidInput("owner", "There is no such group.")
        return ServiceOwner(group_id=group_id)

    def find_successor(self, principal: Principal, userid: str | None) -> ServiceOwner | None:
        """Return the person who is to own what one who leaves owns; raise `InvalidInput` if it is none."""
        if userid is None:
            return None
        principal.check_may(Permission.USER_ADMIN)
        return self._person(
            "handOverTo", userid, or_else="There is no such person to hand the service accounts to."
        )

    def _person(self, field: str, userid: str, *, or_else: str) -> ServiceOwner:
        try:
            user = self._users.get_by_userid(None, userid)
        except NotFound:
            raise InvalidInput(field, or_else) from None
        if user.kind is not UserKind.PERSON or user.is_disabled:
            raise InvalidInput(
                field, "The owner of a service account is a person who is not disabled, or a group."
            )
        return ServiceOwner(user.user_id)

    def list_visible(
        self,
        principal: Principal,
        *,
        wanted: UserSearch = ALL,
        user_id: int | None = None,
        offset: int = 0,
        size: int = MAX_PAGE,
    ) -> Page[UserRecord]:
        """Return a page of the service accounts that the caller may manage; with `user_id`, that one."""
        if not is_storable(wanted.text):
            return Page(0, ())
        wanted = replace(
            wanted, kinds=SERVICE_ACCOUNTS, ids=None if user_id is None else frozenset({user_id})
        )
        if not principal.may(Permission.USER_ADMIN):
            if not principal.is_unbound:
                return Page(0, ())
            wanted = replace(wanted, managed_by=principal.user_id)
        return self._store.users.search(wanted, offset=offset, size=size)

    def name_owners(self, accounts: Iterable[UserRecord]) -> dict[int, str]:
        """Return the user names of the people who own these accounts, by their numbers."""
        numbers = frozenset(
            account.owner.user_id
            for account in accounts
            if account.owner is not None and account.owner.user_id is not None
        )
        owners = self._store.users.search(UserSearch(ids=numbers), size=MAX_PAGE).items if numbers else ()
        return {owner.user_id: owner.userid for owner in owners}

    def get(self, principal: Principal, userid: str) -> UserRecord:
        """Return a service account that the caller may manage; raise `NotFound` for any other."""
        user = self._administration.get(principal, None, userid)
        if user.kind is not UserKind.SERVICE or not self._administration.controls(principal, user):
            raise NotFound
        return user

    def transfer(self, principal: Principal, userid: str, owner: ServiceOwner, origin: Origin) -> UserRecord:
        """Give a service account to another owner; nothing happens if it is theirs already.

        The caller must hold what the account holds, and what it controls.
        """
        principal.check_may(Permission.USER_ADMIN)
        user = self.get(principal, userid)
        now = self._system.now()
        audit = AuditEntry(
            now,
            AuditAction.SERVICE_ACCOUNT_TRANSFERRED,
            actor_of(principal, origin),
            Target.USER,
            str(user.user_id),
        )
        self._store.service_accounts.transfer(user.user_id, successor_of(principal, owner), now, audit)
        return self.get(principal, userid)

    def create_key(self, principal: Principal, userid: str, origin: Origin, new: NewKey) -> CreatedKey:
        """Make a key of a service account, which opens no more than what the caller may do (A3).

        With the `idempotency_key` of an earlier call `Conflict` is raised.
        """
        user = self.get(principal, userid)
        check_may_grant(principal, self._store.service_accounts.permissions_with(user.user_id))
        self._apis.check_may_act_as(principal, user.user_id, new.restrictions.scopes)
        return self._keys.create(principal, origin, new, replaces_on_retry=False, for_user=user.user_id)

    def revoke_key(self, principal: Principal, userid: str, key_id: int, origin: Origin) -> None:
        """End a key of a service account; raise `NotFound` if it is not one of its living keys."""
        user = self.get(principal, userid)
        self._keys.revoke_of(user.user_id, key_id, actor_of(principal, origin))

    def list_keys(
        self, principal: Principal, userid: str, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[ApiKeyRecord]:
        """Return a page of the keys of a service account, the newest first."""
        return self._keys.list_of(self.get(principal, userid).user_id, offset=offset, size=size)
