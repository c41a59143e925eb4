"""Settings of a connection or of an object behind it: what it says itself, and what it inherits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyturn.core.connections import ObjectPath, ObjectRole, RoleHolder
from keyturn.core.permissions import Permission
from keyturn.errors import InvalidInput, NotFound
from keyturn.services.connections.objects import Location
from keyturn.services.connections.settings import ChangedSettings
from keyturn.web.pages.connections.places import sent_path
from keyturn.web.pages.frame.pickers import picked_group, picked_member
from keyturn.web.pages.frame.views import SubmittedForm, View

INHERIT, YES, NO = "inherit", "yes", "no"
_SAID: Mapping[str, bool] = {YES: True, NO: False}
ROLES: Mapping[ObjectRole, tuple[str, str]] = {
    ObjectRole.INFRASTRUCTURE_ADMIN: ("Infrastructure admin", "Changes it, with all settings below."),
    ObjectRole.DATA_OWNER: ("Data owner", "Crawls it, and activates what is below."),
}
"""The name of each role, and what its holders do."""
USER, GROUP = "user", "group"


@dataclass(frozen=True, slots=True)
class ShownHolder:
    """A user or a group that has a role."""

    value: str
    """As a form sends it: `user.7`."""
    name: str
    is_group: bool


@dataclass(frozen=True, slots=True)
class ShownRole:
    """A role, and who has it."""

    role: str
    label: str
    means: str
    holders: tuple[ShownHolder, ...]
    is_said_here: bool


def settings_shown(view: View, place: Location) -> dict[str, Any]:
    """Return what the card of settings shows of a place."""
    settings, access = place.settings, view.services.connection_access
    names = view.services.data_objects.names_of(
        holder for holders in settings.roles.values() for holder in holders
    )
    is_root = not place.path
    return {
        "settings": settings,
        "roles": [_role(place, role, names) for role in ROLES],
        "role_choices": [(role.value, label) for role, (label, _) in ROLES.items()],
        "choices": {
            "isActive": _chosen(settings.said.is_active, is_root=is_root),
            "activateNewChildren": _chosen(settings.said.activates_new_children, is_root=is_root),
        },
        "is_root": is_root,
        "at": sent_path(place.path),
        "may_set": access.owns(view.principal, place.connection, place.path),
        "may_give": access.manages(view.principal, place.connection, place.path),
        "overrides": view.services.data_objects.count_overrides(place),
    }


def wanted_settings(sent: SubmittedForm) -> ChangedSettings:
    """Return what of two settings the form wants to be said otherwise, or to be inherited."""
    changed = sent.changed("isActive", "activateNewChildren")
    for name, chosen in changed.items():
        if chosen not in {INHERIT, YES, NO}:
            raise InvalidInput(name, "Choose one of the offered values.")
    return ChangedSettings(
        is_active=_SAID.get(changed.get("isActive", "")),
        activates_new_children=_SAID.get(changed.get("activateNewChildren", "")),
        inherits=tuple(name for name, chosen in changed.items() if chosen == INHERIT),
    )


def with_holder(sent: SubmittedForm, place: Location) -> ChangedSettings:
    """Return the change that gives a role to the user or the group that the form names."""
    role = _asked_role(sent)
    holders = place.settings.roles[role] | {_named(sent)}
    return ChangedSettings(roles={role: holders}, seen=place.settings.said)


def without_holder(sent: SubmittedForm, place: Location) -> ChangedSettings:
    """Return the change that takes a role from one of its holders."""
    role, value = _asked_role(sent), sent.form.get("holder", "")
    left = frozenset(one for one in place.settings.roles[role] if _value(one) != value)
    return ChangedSettings(roles={role: left}, seen=place.settings.said)


def inheriting(sent: SubmittedForm) -> ChangedSettings:
    """Return the change after which an object says nothing of a role."""
    return ChangedSettings(inherits=[_asked_role(sent).value])


def _named(sent: SubmittedForm) -> RoleHolder:
    """Return whom the form names: a user, or else a group."""
    sees_people = sent.principal.may(Permission.USER_ADMIN)
    group = sent.text("group")
    if sent.text("userid") is None and group is not None:
        if sees_people:
            found = picked_group(sent, "group")
            number = None if found is None else found.group_id
        else:
            number = sent.services.groups.ids([group]).get(group)
        if number is None:
            raise InvalidInput("group", f"No group is called “{group}”. Check the spelling.")
        return RoleHolder(group_id=number)
    if sees_people:
        return RoleHolder(picked_member(sent, "userid").user_id)
    userid = sent.text("userid")
    if userid is None:
        raise InvalidInput("userid", "Enter a user name, or the name of a group.")
    try:
        return RoleHolder(sent.services.users.get_by_name(None, userid).user_id)
    except NotFound:
        raise InvalidInput("userid", f"No user is called “{userid}”. Enter the whole user name.") from None


def _asked_role(sent: SubmittedForm) -> ObjectRole:
    asked = sent.form.get("role", "")
    if asked not in set(ObjectRole):
        raise InvalidInput("role", "Choose a role.")
    return ObjectRole(asked)


def _role(place: Location, role: ObjectRole, names: Mapping[RoleHolder, str]) -> ShownRole:
    holders = [ShownHolder(_value(one), names.get(one, "a deleted account"), one.user_id is None)
               for one in place.settings.roles[role]]  # fmt: skip
    label, means = ROLES[role]
    return ShownRole(
        role.value,
        label,
        means,
        tuple(sorted(holders, key=lambda one: (one.is_group, one.name.casefold()))),
        is_said_here=role in place.settings.said.roles,
    )


def _value(holder: RoleHolder) -> str:
    return f"{USER}.{holder.user_id}" if holder.user_id is not None else f"{GROUP}.{holder.group_id}"


def _chosen(said: bool | None, *, is_root: bool) -> str:
    if said is None:
        return YES if is_root else INHERIT
    return YES if said else NO


def names_of(path: ObjectPath) -> str:
    """Return a path in words: the names with slashes between."""
    return " / ".join(path)
