"""Administration of other people's accounts."""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from keyturn.core.attributes import AttributeChange
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import StateRule, UserKind, UserRecord
from keyturn.core.permissions import Permission, not_held
from keyturn.core.principal import Principal
from keyturn.core.searches import UserCounts, UserOrder, UserSearch
from keyturn.errors import InvalidInput, InvalidState, NotFound, PermissionMissing
from keyturn.services.people.attributes import Attribute, change_of, change_to
from keyturn.services.people.authority import check_may_grant
from keyturn.services.people.identity.invitations import Invitation, Invitations
from keyturn.services.people.identity.registry import IdentityProviders
from keyturn.services.people.users import Users, checked_permissions
from keyturn.services.text import is_storable, unique
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

PEOPLE = frozenset({UserKind.PERSON})


@dataclass(frozen=True, slots=True)
class AddedUser:
    """A new user, and how they come to a password if none was given."""

    record: UserRecord
    invitation: Invitation | None


class UserAdministration:
    """Manages users, for holders of USER_ADMIN. A few things people may do to themselves too."""

    def __init__(
        self,
        store: Store,
        *,
        identity: IdentityProviders,
        users: Users,
        invitations: Invitations,
        system: System,
    ) -> None:
        self._store = store
        self._identity = identity
        self._users = users
        self._invitations = invitations
        self._system = system

    def add(
        self,
        principal: Principal,
        origin: Origin,
        *,
        iamid: str | None = None,
        userid: str,
        profile: Mapping[str, Any],
        password: str | None,
        permissions: Iterable[str],
    ) -> AddedUser:
        """Make a user, who holds the default permissions besides.

        `iamid` names their identity provider, None the built-in one. Without a password there they are
        invited to set one; a user of any other provider needs none.
        """
        principal.check_may(Permission.USER_ADMIN)
        if iamid is not None and iamid not in self._identity:
            raise NotFound
        granted = checked_permissions(permissions)
        check_may_grant(principal, granted)
        fields = self._users.checked_profile(profile)
        actor = actor_of(principal, origin)
        with unique("userid"):
            record = self._users.add(
                actor,
                iamid=iamid,
                userid=userid,
                name=fields.pop("name", None),
                email=fields.pop("email", None),
                password=password,
                permissions=granted,
            )
        if fields:
            self._store.users.update_profile(
                record.user_id,
                fields,
                record.created_at,
                self._about(principal, origin, AuditAction.USER_PROFILE_UPDATED, record.user_id),
            )
            record = self._again(record)
        if password is not None or not self._identity.stores_password_of(record):
            return AddedUser(record, None)
        may_act_as = partial(check_may_grant, principal)
        return AddedUser(record, self._invitations.invite(record, actor, allow=may_act_as))

    def search(
        self, principal: Principal, wanted: UserSearch, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[UserRecord]:
        """Return the users that are looked for, as far as the caller may see them."""
        if not is_storable(*(wanted.providers or ()), wanted.userid, wanted.email, wanted.name, wanted.text):
            return Page(0, ())
        if principal.may(Permission.USER_ADMIN):
            return self._store.users.search(wanted, offset=offset, size=size)
        return self._store.users.search(
            replace(wanted, ids=frozenset({principal.user_id})), offset=offset, size=size
        )

    def find_named(
        self, principal: Principal, text: str, wanted: UserSearch, *, size: int
    ) -> Page[UserRecord]:
        """Return whom a text means, for a holder of USER_ADMIN: at most `size` of `wanted`, by name.

        That is the user with this user name or number, and no other; or those with this name or e-mail
        address; or those of whose name, user name or e-mail address it is a part. Case and accents do not
        matter.
        """
        principal.check_may(Permission.USER_ADMIN)
        if not text.strip() or not is_storable(text):
            return Page(0, ())
        with suppress(NotFound):
            return Page(1, (_changeable(self._users.get_by_userid(None, text)),))
        wanted = replace(wanted, order=UserOrder.NAME)
        whole = self._store.users.search(replace(wanted, called=text), size=size)
        return whole if whole.count else self._store.users.search(replace(wanted, text=text), size=size)

    @property
    def rule(self) -> StateRule:
        """The facts that decide the state of a person at this moment."""
        providers = frozenset(one.iamid for one in self._identity if one.stores_password)
        return StateRule(self._system.now(), providers)

    def count_states(self, principal: Principal, wanted: UserSearch) -> UserCounts:
        """Return how many of those who are looked for are in each state, for a holder of USER_ADMIN."""
        principal.check_may(Permission.USER_ADMIN)
        if not is_storable(wanted.text):
            return UserCounts()
        return self._store.users.count_states(wanted, self.rule)

    def invitation_ends(self, principal: Principal, user_ids: Collection[int]) -> dict[int, datetime]:
        """Return until when those of these users who have an invitation can use it, for USER_ADMIN."""
        principal.check_may(Permission.USER_ADMIN)
        found = self._store.logins.find_invitation_ends(user_ids)
        now = self._system.now()
        return {number: end for number, end in found.items() if end > now}

    def get(self, principal: Principal, iamid: str | None, userid: str) -> UserRecord:
        """Return a user that the caller may see; raise `NotFound` for a hidden and an absent one alike.

        That is themselves, a service account of theirs, or, with USER_ADMIN, anybody.
        """
        visible_to = None if principal.may(Permission.USER_ADMIN) else principal.user_id
        user = self._found(iamid, userid, visible_to=visible_to)
        if not self.controls(principal, user) and user.user_id != principal.user_id:
            raise NotFound
        return user

    def get_controlled(self, principal: Principal, iamid: str, userid: str) -> UserRecord:
        """Return a user for a holder of USER_ADMIN, or a service account for its owner.

        Raise `PermissionMissing` before `NotFound`: who may manage nobody learns nothing of who is there.
        """
        try:
            user = self._found(iamid, userid)
        except NotFound:
            principal.check_may(Permission.USER_ADMIN)
            raise
        if not self.controls(principal, user):
            raise PermissionMissing(Permission.USER_ADMIN)
        return _changeable(user)

    def controls(self, principal: Principal, user: UserRecord) -> bool:
        """Return whether the caller may manage this account, with USER_ADMIN or as the owner of it."""
        if principal.may(Permission.USER_ADMIN):
            return True
        if user.owner is None or not principal.is_unbound:
            return False
        if user.owner.group_id is not None:
            return self._store.groups.is_member(user.owner.group_id, principal.user_id)
        return user.owner.user_id == principal.user_id

    def update_profile(
        self, principal: Principal, iamid: str, userid: str, fields: Mapping[str, Any], origin: Origin
    ) -> UserRecord:
        """Change what is said of a person; the names they have on platforms are for administrators to set."""
        user = _changeable(self.get(principal, iamid, userid))
        _check_unbound(principal)
        if "external_user_ids" in fields and not principal.may(Permission.USER_ADMIN):
            raise PermissionMissing(Permission.USER_ADMIN)
        checked = self._users.checked_profile(fields)
        if not checked:
            return user
        audit = self._about(
            principal,
            origin,
            AuditAction.USER_PROFILE_UPDATED,
            user.user_id,
            details={"fields": sorted(checked)},
        )
        self._store.users.update_profile(user.user_id, checked, audit.at, audit)
        return self._again(user)

    def rename(self, principal: Principal, iamid: str, userid: str, new: str, origin: Origin) -> UserRecord:
        """Give a user another user name, for a holder of USER_ADMIN.

        Raise `PermissionMissing` if they may do more than the caller: programs behind a gateway know people
        by their user names, and a freed name could be given to somebody else.
        """
        user = self._managed(principal, iamid, userid)
        if user.user_id != principal.user_id:
            self._check_may_act_as(principal, user)
        allow = None if user.user_id == principal.user_id else partial(check_may_grant, principal)
        with unique("userid"):
            self._users.rename(actor_of(principal, origin), user, new, allow=allow)
        return self._again(user)

    def set_permissions(
        self, principal: Principal, iamid: str, userid: str, permissions: Iterable[str], origin: Origin
    ) -> UserRecord:
        """Put these permissions in the place of a user's own."""
        wanted = checked_permissions(permissions)
        return self._change_permissions(principal, iamid, userid, origin, lambda _held: wanted)

    def remove_permission(
        self, principal: Principal, iamid: str, userid: str, permission: str, origin: Origin
    ) -> UserRecord:
        """Take a permission from a user; nothing happens if they do not hold it."""
        taken = checked_permissions([permission])
        return self._change_permissions(principal, iamid, userid, origin, lambda held: held - taken)

    def give_and_take(
        self,
        principal: Principal,
        iamid: str,
        userid: str,
        origin: Origin,
        *,
        given: Iterable[str],
        taken: Iterable[str],
    ) -> UserRecord:
        """Give a user permissions and take others, whatever else they hold by then."""
        more, less = checked_permissions(given), checked_permissions(taken)
        return self._change_permissions(principal, iamid, userid, origin, lambda held: (held | more) - less)

    def _change_permissions(
        self,
        principal: Principal,
        iamid: str,
        userid: str,
        origin: Origin,
        change_to: Callable[[frozenset[str]], frozenset[str]],
    ) -> UserRecord:
        user = self._managed(principal, iamid, userid)

        def changed(held: frozenset[str]) -> frozenset[str]:
            after = change_to(held)
            check_may_grant(principal, after - held)
            return after

        audit = self._about(principal, origin, AuditAction.USER_PERMISSIONS_UPDATED, user.user_id)
        if not self._store.users.change_permissions(user.user_id, changed, audit.at, audit):
            raise NotFound
        return self._again(user)

    def set_password(
        self,
        principal: Principal,
        iamid: str,
        userid: str,
        *,
        password: str,
        current: str | None,
        origin: Origin,
    ) -> None:
        """Set a user's password and end all their sessions; for one's own the current one is needed."""
        user = self.get(principal, iamid, userid)
        if user.kind is not UserKind.PERSON:
            raise InvalidInput("userid", "A service account has keys and no password.")
        self._identity.check_stores_password_of(user)
        _check_unbound(principal)
        actor = actor_of(principal, origin)
        if user.user_id == principal.user_id:
            self._users.check_own_password(principal, current or "", field="originalPassword", origin=origin)
            self._users.set_password(actor, user, password)
            return
        self._check_may_act_as(principal, user)  # Before the password is judged: it is none of theirs.
        self._users.set_password(actor, user, password, allow=partial(check_may_grant, principal))

    def unlock(self, principal: Principal, iamid: str, userid: str, origin: Origin) -> bool:
        """Let somebody sign in again after wrong passwords, for a holder of USER_ADMIN.

        Return False if there was nothing to forget. Raise `PermissionMissing` if they may do more than the
        caller, and `InvalidState` for the caller: the lock bounds the guesses of whoever found an open
        browser.
        """
        user = self._managed(principal, iamid, userid)
        if user.user_id == principal.user_id:
            raise InvalidState("Another administrator has to unlock your account.")
        self._check_may_act_as(principal, user)  # Also where there is nothing to forget.
        allow = partial(check_may_grant, principal)
        return self._users.unlock(actor_of(principal, origin), user.user_id, allow=allow)

    def missing_permissions(self, principal: Principal, user: UserRecord) -> list[str]:
        """Return what this user, or a service account of theirs, may do and the caller may not.

        Where it is not empty, the caller changes nothing about how they sign in.
        """
        if user.user_id == principal.user_id:
            return []
        held = self._store.service_accounts.permissions_with(user.user_id)
        return not_held(principal.carried_permissions, held)

    def invite(self, principal: Principal, iamid: str, userid: str, origin: Origin) -> Invitation:
        """Return a link with which a person sets a password, for a new person or in place of a lost one."""
        user = self._managed(principal, iamid, userid)
        if user.kind is not UserKind.PERSON:
            raise InvalidInput("userid", "A service account has keys and no password.")
        self._identity.check_stores_password_of(user)
        self._check_may_act_as(principal, user)
        return self._invitations.invite(
            user, actor_of(principal, origin), allow=partial(check_may_grant, principal)
        )

    def change_attribute(
        self,
        principal: Principal,
        iamid: str,
        userid: str,
        attribute: Attribute,
        origin: Origin,
        *,
        is_given: bool,
    ) -> UserRecord:
        """Give a user an attribute or take it; nothing happens if that is so already."""
        change = partial(change_of, attribute, is_given=is_given)
        return self._change_attributes(principal, iamid, userid, origin, change)

    def set_attributes(
        self,
        principal: Principal,
        iamid: str,
        userid: str,
        attributes: Mapping[str, Iterable[str]],
        origin: Origin,
    ) -> UserRecord:
        """Put these attributes in the place of a user's own."""
        return self._change_attributes(principal, iamid, userid, origin, partial(change_to, attributes))

    def _change_attributes(
        self,
        principal: Principal,
        iamid: str,
        userid: str,
        origin: Origin,
        checked: Callable[[], AttributeChange],
    ) -> UserRecord:
        user = self._managed(principal, iamid, userid)
        audit = self._about(principal, origin, AuditAction.USER_ATTRIBUTES_UPDATED, user.user_id)
        self._store.users.change_attributes(user.user_id, checked(), audit.at, audit)
        return self._again(user)

    def _found(self, iamid: str | None, userid: str, *, visible_to: int | None = None) -> UserRecord:
        try:
            return self._users.get_by_userid(iamid, userid, visible_to=visible_to)
        except NotFound:
            raise NotFound from None

    def _check_may_act_as(self, principal: Principal, user: UserRecord) -> None:
        """Raise `PermissionMissing` if a password of this user opens more than the caller's own."""
        check_may_grant(principal, self._store.service_accounts.permissions_with(user.user_id))

    def _managed(self, principal: Principal, iamid: str, userid: str) -> UserRecord:
        """Return a user for a holder of USER_ADMIN; raise `PermissionMissing` before `NotFound`."""
        principal.check_may(Permission.USER_ADMIN)
        return _changeable(self._found(iamid, userid))

    def _again(self, user: UserRecord) -> UserRecord:
        found = self._store.users.find_by_id(user.user_id)
        if found is None:
            raise NotFound
        return found

    def _about(
        self,
        principal: Principal,
        origin: Origin,
        action: AuditAction,
        user_id: int,
        *,
        details: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        now: datetime = self._system.now()
        return AuditEntry(
            now, action, actor_of(principal, origin), Target.USER, str(user_id), details=details or {}
        )


def _changeable(user: UserRecord) -> UserRecord:
    if user.kind is UserKind.SYSTEM:
        raise NotFound  # It is Keyturn itself.
    return user


def _check_unbound(principal: Principal) -> None:
    """Raise `PermissionMissing` for a credential that is narrowed: it changes no account."""
    if not principal.is_unbound:
        raise PermissionMissing(Permission.USER_ADMIN)
