"""Projects: some people, and the connections that keys linked to the project may see."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.people import ProjectMember, ProjectRecord, Subscription, UserKind, UserRecord
from keyturn.core.permissions import SEE_CONNECTION, SEE_PROJECTS, Permission
from keyturn.core.principal import Principal
from keyturn.core.records import is_id
from keyturn.core.searches import ProjectMemberSearch, ProjectSearch
from keyturn.errors import InvalidInput, NotFound, PermissionMissing
from keyturn.services.people.quotas import PROJECTS_PER_PERSON, Quotas
from keyturn.services.people.users import Users
from keyturn.services.text import checked_text, is_storable, unique
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

NAME_MAX_CHARACTERS = 254
DESCRIPTION_MAX_CHARACTERS = 2000
EVERY_PROJECT, EVERY_MEMBER = ProjectSearch(), ProjectMemberSearch()
IS_IN = frozenset({Subscription.OWNER, Subscription.SUBSCRIBED})
_NOT_TOGETHER = (
    "You see no such user: name somebody who is in a group or project with you, or ask an administrator."
)


class Projects:
    """Make, find, change and delete projects. Members see them, owners change them."""

    def __init__(self, store: Store, users: Users, quotas: Quotas, system: System) -> None:
        self._store = store
        self._users = users
        self._quotas = quotas
        self._system = system

    def list_visible(
        self,
        principal: Principal,
        wanted: ProjectSearch = EVERY_PROJECT,
        *,
        offset: int = 0,
        size: int = MAX_PAGE,
        listed: int = 0,
    ) -> Page[ProjectRecord]:
        """Return a page of those that are looked for of the projects that the caller may see.

        Each with the first `listed` of its members and of its connections, and the caller's subscription.
        """
        if not is_storable(wanted.text):
            return Page(0, ())
        wanted = replace(wanted, user_id=principal.user_id)
        if not principal.may(*SEE_PROJECTS):
            asked = IS_IN if wanted.subscriptions is None else wanted.subscriptions & IS_IN
            wanted = replace(wanted, subscriptions=asked, project_id=principal.project_id)
        return self._store.projects.search(wanted, offset=offset, size=size, listed=listed)

    def list_own(self, principal: Principal, *, size: int = MAX_PAGE) -> Page[ProjectRecord]:
        """Return the first projects that the caller is in; some people see others too."""
        wanted = ProjectSearch(user_id=principal.user_id, subscriptions=IS_IN)
        return self._store.projects.search(wanted, size=size)

    def names(self, principal: Principal, project_ids: Collection[int]) -> dict[int, str]:
        """Return the names of those of these projects that the caller may see."""
        member = None if principal.may(*SEE_PROJECTS) else principal.user_id
        return self._store.projects.names(project_ids, member=member) if project_ids else {}

    def is_in(self, user_id: int, project_id: int) -> bool:
        """Return whether a user is in a project."""
        return is_id(project_id) and self._store.projects.find_membership(project_id, user_id) is not None

    def get(
        self, principal: Principal, project_id: int, *, offset: int = 0, size: int = MAX_PAGE
    ) -> ProjectRecord:
        """Return a project that the caller may see; raise `NotFound` for a hidden and an absent one alike.

        With at most `size` of its members and of its connections.
        """
        sees_all = principal.may(*SEE_PROJECTS)
        if not sees_all and principal.project_id not in {None, project_id}:
            raise NotFound  # The key is linked to another one.
        project = None
        if is_id(project_id) and (sees_all or self.is_in(principal.user_id, project_id)):
            project = self._store.projects.find(
                project_id, of_user=principal.user_id, offset=offset, size=size
            )
        if project is None:
            raise NotFound
        return project

    def list_members(
        self, project: ProjectRecord, wanted: ProjectMemberSearch = EVERY_MEMBER, *, offset: int, size: int
    ) -> Page[ProjectMember]:
        """Return a page of the members that are looked for, of a project that the caller was given."""
        if not is_storable(wanted.text):
            return Page(0, ())
        return self._store.projects.list_members(project.project_id, wanted, offset=offset, size=size)

    def list_connections(self, project: ProjectRecord, *, offset: int, size: int) -> Page[str]:
        """Return a page of the keys of its connections, in alphabetical order."""
        return self._store.projects.list_connections(project.project_id, offset=offset, size=size)

    def may_change(self, principal: Principal, project: ProjectRecord) -> bool:
        """Return whether the caller may change this project and its members."""
        return principal.may(Permission.PROJECT_MANAGEMENT) or (
            principal.is_unbound
            and self._store.projects.find_membership(project.project_id, principal.user_id) is True
        )

    def add(
        self, principal: Principal, origin: Origin, *, name: str, description: str | None
    ) -> ProjectRecord:
        """Make a project that the caller owns; raise `QuotaExceeded` or `TooManyFailures` for too many."""
        principal.check_may(Permission.CREATE_PROJECT)
        checked, about = _checked(name, description)
        audit = self._about(principal, origin, AuditAction.PROJECT_CREATED, None, details={"name": checked})
        self._quotas.note_creation(principal)
        with unique("name"):
            return self._store.projects.add(
                checked,
                about,
                principal.user_id,
                audit.at,
                audit,
                seen_by=_sees(principal),
                at_most=PROJECTS_PER_PERSON,
            )

    def update(
        self,
        principal: Principal,
        project_id: int,
        origin: Origin,
        *,
        name: str | None = None,
        description: str | UnsetType | None = UNSET,
    ) -> ProjectRecord:
        """Change what is said of a project; what is not given stays, as somebody else may have changed it."""
        project = self._changeable(principal, project_id)
        given = {"name": name is not None, "description": description is not UNSET}
        checked, about = _checked(
            project.name if name is None else name,
            project.description if description is UNSET else description,
        )
        audit = self._about(
            principal, origin, AuditAction.PROJECT_UPDATED, project_id, details={"name": checked}
        )
        with unique("name"):
            self._store.projects.update(
                project_id,
                checked,
                about,
                audit.at,
                audit,
                only=[one for one in given if given[one]],
                seen_by=_sees(principal),
            )
        return self._changeable(principal, project_id)

    def delete(self, principal: Principal, project_id: int, origin: Origin) -> ProjectRecord:
        """Delete a project and revoke the keys that are linked to it; return what there was."""
        project = self._changeable(principal, project_id)
        audit = self._about(
            principal, origin, AuditAction.PROJECT_DELETED, project_id, details={"name": project.name}
        )
        if not self._store.projects.delete(project_id, audit.at, audit):
            raise NotFound
        return project

    def set_member(
        self, principal: Principal, project_id: int, userid: str, origin: Origin, *, is_owner: bool
    ) -> ProjectRecord:
        """Put a user into a project, or change whether they own it; somebody always does."""
        self._changeable(principal, project_id)
        self._set_member(principal, project_id, self._user(principal, userid), origin, is_owner=is_owner)
        return self.get(principal, project_id)

    def set_member_by_profile(
        self, principal: Principal, project_id: int, profile_id: int, origin: Origin, *, is_owner: bool
    ) -> ProjectMember:
        """Do the same for the user with this profile; return what they are in the project."""
        self._changeable(principal, project_id)
        found = self._store.users.find_by_profile(profile_id) if is_id(profile_id) else None
        user = self._nameable(principal, found, field="profileId")
        self._set_member(principal, project_id, user, origin, is_owner=is_owner)
        member = self._store.projects.find_member(project_id, user.user_id)
        if member is None:
            raise NotFound  # Somebody took them out again.
        return member

    def _set_member(
        self, principal: Principal, project_id: int, user: UserRecord, origin: Origin, *, is_owner: bool
    ) -> None:
        details = {"member": user.user_id, "isOwner": is_owner}
        audit = self._about(principal, origin, AuditAction.PROJECT_UPDATED, project_id, details=details)
        self._store.projects.set_member(project_id, user.user_id, audit.at, audit, is_owner=is_owner)

    def remove_member(
        self, principal: Principal, project_id: int, userid: str, origin: Origin
    ) -> ProjectRecord:
        """Take a user out of a project: their keys that are linked to it see nothing from then on."""
        project = self._changeable(principal, project_id)
        member = self._find_member(project_id, userid)
        if member is None:
            raise InvalidInput("userid", "This user is not in the project.")
        audit = self._about(
            principal,
            origin,
            AuditAction.PROJECT_UPDATED,
            project_id,
            details={"memberRemoved": member.user_id},
        )
        if not self._store.projects.remove_member(project_id, member.user_id, audit):
            raise InvalidInput("userid", "This user is not in the project.")
        return self._store.projects.find(project_id) or project

    def add_connection(
        self, principal: Principal, project_id: int, connection_key: str, origin: Origin
    ) -> ProjectRecord:
        """Add a connection that the caller may see to a project."""
        self._changeable(principal, project_id)
        principal.check_may(*SEE_CONNECTION, Permission.PROJECT_MANAGEMENT)
        audit = self._about(
            principal,
            origin,
            AuditAction.PROJECT_UPDATED,
            project_id,
            details={"connection": connection_key},
        )
        is_known = is_storable(connection_key) and self._store.projects.add_connection(
            project_id, connection_key, audit
        )
        if not is_known:
            raise InvalidInput("connectionKey", "There is no such connection.")
        return self.get(principal, project_id)

    def remove_connection(
        self, principal: Principal, project_id: int, connection_key: str, origin: Origin
    ) -> ProjectRecord:
        """Take a connection out of a project."""
        self._changeable(principal, project_id)
        audit = self._about(
            principal,
            origin,
            AuditAction.PROJECT_UPDATED,
            project_id,
            details={"connectionRemoved": connection_key},
        )
        is_known = is_storable(connection_key) and self._store.projects.remove_connection(
            project_id, connection_key, audit
        )
        if not is_known:
            raise InvalidInput("connectionKey", "This connection is not in the project.")
        return self.get(principal, project_id)

    def check_linkable(self, user_id: int, project_id: int) -> None:
        """Raise `NotFound` unless this user is in the project, to which a key of theirs is to be linked."""
        if not self.is_in(user_id, project_id):
            raise NotFound("You are in no such project.")

    def _changeable(self, principal: Principal, project_id: int) -> ProjectRecord:
        project = self.get(principal, project_id)
        if not self.may_change(principal, project):
            raise PermissionMissing(Permission.PROJECT_MANAGEMENT)
        return project

    def _find_member(self, project_id: int, userid: str) -> UserRecord | None:
        """Return the member with this user name, or this number."""
        try:
            user = self._users.get_by_userid(None, userid)
        except NotFound:
            return None
        return user if self.is_in(user.user_id, project_id) else None

    def _user(self, principal: Principal, userid: str) -> UserRecord:
        """Return who is to come into a project; raise `InvalidInput` if there is no such user."""
        try:
            user = self._users.get_by_userid(None, userid)
        except NotFound:
            user = None
        return self._nameable(principal, user, field="userid")

    def _nameable(self, principal: Principal, user: UserRecord | None, *, field: str) -> UserRecord:
        """Return a user whom the caller may name; raise `InvalidInput` as if there were none.

        Anybody can make a project, and shall not find out with it who is there: without a permission for
        it, one names those whom one sees in a group or project (rule A2).
        """
        if principal.may(Permission.USER_ADMIN, Permission.PROJECT_MANAGEMENT):
            if user is None or user.kind is UserKind.SYSTEM:
                raise InvalidInput(field, "There is no such user.")
            return user
        if user is None or not self._store.projects.are_together(principal.user_id, user.user_id):
            raise InvalidInput(field, _NOT_TOGETHER)
        return user

    def _about(
        self,
        principal: Principal,
        origin: Origin,
        action: AuditAction,
        project_id: int | None,
        *,
        details: Mapping[str, Any],
    ) -> AuditEntry:
        target = None if project_id is None else str(project_id)
        return AuditEntry(
            self._system.now(), action, actor_of(principal, origin), Target.PROJECT, target, details=details
        )


def _sees(principal: Principal) -> int | None:
    """Return in whose projects a name is taken; None for those of all."""
    return None if principal.may(*SEE_PROJECTS) else principal.user_id


def _checked(name: str, description: str | None) -> tuple[str, str | None]:
    checked = checked_text("name", name, max_characters=NAME_MAX_CHARACTERS)
    if checked is None:
        raise InvalidInput("name", "Give the project a name.")
    about = checked_text(
        "description", description, max_characters=DESCRIPTION_MAX_CHARACTERS, allows_lines=True
    )
    return checked, about
