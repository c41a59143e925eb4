"""Groups of users. Members have the attributes and scopes of their group."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType

from keyturn.core.attributes import AttributeChange
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import GroupRecord, MemberRecord, ServiceOwner, UserKind
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import is_id
from keyturn.core.searches import GroupSearch
from keyturn.errors import Conflict, InvalidInput, NotFound
from keyturn.services.people.attributes import Attribute, change_of, change_to
from keyturn.services.people.authority import check_may_grant, successor_of
from keyturn.services.people.identity.registry import IdentityProviders
from keyturn.services.people.users import Users
from keyturn.services.text import checked_email, checked_text, is_storable, unique
from keyturn.store import Store
from keyturn.store.people.groups import GroupFields
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

NAME_MAX_CHARACTERS = 254
DESCRIPTION_MAX_CHARACTERS = 2000
EVERY_GROUP = GroupSearch()


class Groups:
    """Manages groups, for holders of USER_ADMIN. Others see those that they are in."""

    def __init__(self, store: Store, users: Users, identity: IdentityProviders, system: System) -> None:
        self._store = store
        self._users = users
        self._identity = identity
        self._system = system

    def list_visible(
        self,
        principal: Principal,
        wanted: GroupSearch = EVERY_GROUP,
        *,
        offset: int = 0,
        size: int = MAX_PAGE,
    ) -> Page[GroupRecord]:
        """Return a page of those that are looked for of the groups that the caller may see."""
        if not is_storable(wanted.text, wanted.name, wanted.iamid):
            return Page(0, ())
        if not principal.may(Permission.USER_ADMIN):
            wanted = replace(wanted, members=wanted.members | {principal.user_id})
        return self._store.groups.search(wanted, offset=offset, size=size)

    def list_all(self, *, offset: int = 0, size: int = MAX_PAGE) -> Page[GroupRecord]:
        """Return a page of all groups, for the operator."""
        return self._store.groups.search(EVERY_GROUP, offset=offset, size=size)

    def ids(self, names: Collection[str]) -> dict[str, int]:
        """Return the ids of the groups with these names, for the operator; unknown names are left out."""
        return self._store.groups.ids(names)

    def list_of(
        self, principal: Principal, user_id: int, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[tuple[GroupRecord, int]]:
        """Return a page of the groups that a user is in and the caller may see, with the memberships' ids."""
        wanted = GroupSearch(members=frozenset({user_id}))
        found = self.list_visible(principal, wanted, offset=offset, size=size)
        ids = self._store.groups.membership_ids(user_id, [group.group_id for group in found])
        # One that ended between the two questions is no membership any more.
        return Page(found.count, tuple((one, ids[one.group_id]) for one in found if one.group_id in ids))

    def names(self, principal: Principal, group_ids: Collection[int]) -> dict[int, str]:
        """Return the names of those of these groups that the caller may see."""
        member = None if principal.may(Permission.USER_ADMIN) else principal.user_id
        return self._store.groups.names(group_ids, member=member)

    def get(self, principal: Principal, group_id: int) -> GroupRecord:
        """Return a group that the caller may see; raise `NotFound` for a hidden and an absent one alike."""
        group = self._store.groups.find(group_id) if is_id(group_id) else None
        if group is None or not self._is_visible(principal, group_id):
            raise NotFound
        return group

    def add(
        self,
        principal: Principal,
        origin: Origin,
        *,
        iamid: str | None = None,
        name: str,
        email: str | None = None,
        description: str | None = None,
    ) -> GroupRecord:
        """Make a group. Every group is one of the built-in provider, whose `iamid` may be left out."""
        principal.check_may(Permission.USER_ADMIN)
        built_in = self._identity.built_in.iamid
        if iamid not in {None, built_in}:
            raise InvalidInput("iamid", f"Groups are made in the identity manager {built_in} alone.")
        fields = _checked(name, email, description)
        audit = self._about(principal, origin, AuditAction.GROUP_CREATED, None, details={"name": fields.name})
        with unique("name"):
            return self._store.groups.add(built_in, fields, audit.at, audit)

    def update(
        self,
        principal: Principal,
        group_id: int,
        origin: Origin,
        *,
        name: str | None = None,
        email: str | UnsetType | None = UNSET,
        description: str | UnsetType | None = UNSET,
    ) -> GroupRecord:
        """Change what is said of a group; what is not given stays, as somebody else may have changed it."""
        group = self.get_managed(principal, group_id)
        fields = _checked(
            group.name if name is None else name,
            group.email if email is UNSET else email,
            group.description if description is UNSET else description,
        )
        given = {
            "name": name is not None,
            "email": email is not UNSET,
            "description": description is not UNSET,
        }
        audit = self._about(
            principal, origin, AuditAction.GROUP_UPDATED, group_id, details={"name": fields.name}
        )
        with unique("name"):
            self._store.groups.update(
                group_id, fields, audit.at, audit, only=[one for one in given if given[one]]
            )
        return self.get_managed(principal, group_id)

    def delete(
        self, principal: Principal, group_id: int, origin: Origin, *, successor: ServiceOwner | None = None
    ) -> GroupRecord:
        """Delete a group, and its service accounts unless there is a `successor`; return what there was."""
        group = self.get_managed(principal, group_id)
        audit = self._about(
            principal, origin, AuditAction.GROUP_DELETED, group_id, details={"name": group.name}
        )
        taking = None if successor is None else successor_of(principal, successor)
        if not self._store.groups.delete(group_id, audit.at, audit, successor=taking):
            raise NotFound
        return group

    def list_members(
        self,
        principal: Principal,
        group_id: int,
        *,
        is_descending: bool = False,
        offset: int = 0,
        size: int = MAX_PAGE,
    ) -> Page[MemberRecord]:
        """Return a page of who is in a group; a member sees of the others' profiles only who they are."""
        self.get(principal, group_id)
        members = self._store.groups.list_members(
            group_id, is_descending=is_descending, offset=offset, size=size
        )
        if principal.may(Permission.USER_ADMIN):
            return members
        shown = (_to_fellow(one) if one.user_id != principal.user_id else one for one in members)
        return Page(members.count, tuple(shown))

    def count_members(self, principal: Principal, group_ids: Collection[int]) -> dict[int, int]:
        """Return how many are in each of these groups, for a holder of USER_ADMIN."""
        principal.check_may(Permission.USER_ADMIN)
        return self._store.groups.count_members(group_ids)

    def add_member(
        self, principal: Principal, group_id: int, origin: Origin, *, iamid: str | None = None, userid: str
    ) -> MemberRecord:
        """Put a user into a group, by user name or number; raise `InvalidInput` if they cannot be.

        A name without `iamid` is one of the built-in provider.

        They control its service accounts from then on: the caller must hold what these hold.
        """
        self.get_managed(principal, group_id)
        try:
            user = self._users.get_by_userid(iamid, userid)
        except NotFound:
            raise InvalidInput("userid", "There is no such user.") from None
        if user.kind is UserKind.SYSTEM:
            raise InvalidInput("userid", "There is no such user.")
        audit = self._about(
            principal, origin, AuditAction.GROUP_MEMBER_ADDED, group_id, details={"userId": user.user_id}
        )
        try:
            return self._store.groups.add_member(
                group_id, user.user_id, audit.at, audit, allow=partial(check_may_grant, principal)
            )
        except Conflict as error:
            raise InvalidInput("userid", str(error), code="unique") from None

    def remove_member(
        self, principal: Principal, group_id: int, membership_id: int, origin: Origin
    ) -> MemberRecord:
        """End a membership; return what there was."""
        self.get_managed(principal, group_id)
        member = self._store.groups.find_member(group_id, membership_id) if is_id(membership_id) else None
        if member is None:
            raise NotFound
        audit = self._about(
            principal,
            origin,
            AuditAction.GROUP_MEMBER_REMOVED,
            group_id,
            details={"userId": member.user_id},
        )
        if not self._store.groups.remove_member(group_id, membership_id, audit):
            raise NotFound
        return member

    def remove_user(self, principal: Principal, group_id: int, user_id: int, origin: Origin) -> MemberRecord:
        """End the membership of a user; return what there was."""
        self.get_managed(principal, group_id)
        member = self._store.groups.find_member_by_user(group_id, user_id)
        if member is None:
            raise NotFound
        return self.remove_member(principal, group_id, member.membership_id, origin)

    def change_attribute(
        self,
        principal: Principal,
        group_id: int,
        attribute: Attribute,
        origin: Origin,
        *,
        is_given: bool,
        iamid: str | None = None,
    ) -> GroupRecord:
        """Give a group, and with it its members, an attribute, or take it.

        With `iamid`, raise `NotFound` for a group of another provider.
        """
        change = partial(change_of, attribute, is_given=is_given)
        return self._change_attributes(principal, iamid, group_id, origin, change)

    def set_attributes(
        self,
        principal: Principal,
        iamid: str,
        group_id: int,
        attributes: Mapping[str, Iterable[str]],
        origin: Origin,
    ) -> GroupRecord:
        """Put these attributes in the place of those of a group of this provider."""
        return self._change_attributes(principal, iamid, group_id, origin, partial(change_to, attributes))

    def _change_attributes(
        self,
        principal: Principal,
        iamid: str | None,
        group_id: int,
        origin: Origin,
        checked: Callable[[], AttributeChange],
    ) -> GroupRecord:
        group = self.get_managed(principal, group_id)
        if iamid is not None and group.iamid != iamid:
            raise NotFound
        audit = self._about(principal, origin, AuditAction.GROUP_ATTRIBUTES_UPDATED, group_id)
        self._store.groups.change_attributes(group_id, checked(), audit.at, audit)
        return self.get_managed(principal, group_id)

    def get_managed(self, principal: Principal, group_id: int) -> GroupRecord:
        """Return a group for a holder of USER_ADMIN; raise `PermissionMissing` before `NotFound`."""
        principal.check_may(Permission.USER_ADMIN)
        return self.get(principal, group_id)

    def _is_visible(self, principal: Principal, group_id: int) -> bool:
        return principal.may(Permission.USER_ADMIN) or self._store.groups.is_member(
            group_id, principal.user_id
        )

    def _about(
        self,
        principal: Principal,
        origin: Origin,
        action: AuditAction,
        group_id: int | None,
        *,
        details: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        target = None if group_id is None else str(group_id)
        return AuditEntry(
            self._system.now(),
            action,
            actor_of(principal, origin),
            Target.GROUP,
            target,
            details=details or {},
        )


def _to_fellow(member: MemberRecord) -> MemberRecord:
    """Return what other members of a group may see of one: of the profile number, name and address."""
    profile = replace(
        member.profile,
        phone=None,
        about=None,
        location=None,
        organization=None,
        position=None,
        preferences=None,
        external_user_ids={},
    )
    return replace(member, profile=profile)


def _checked(name: str, email: str | None, description: str | None) -> GroupFields:
    checked = checked_text("name", name, max_characters=NAME_MAX_CHARACTERS)
    if checked is None:
        raise InvalidInput("name", "Give the group a name.")
    return GroupFields(
        checked,
        checked_email("email", email, max_characters=NAME_MAX_CHARACTERS),
        checked_text(
            "description", description, max_characters=DESCRIPTION_MAX_CHARACTERS, allows_lines=True
        ),
    )
