"""Settings of objects: what one says holds for all that is below it, until something there says otherwise."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.connections import (
    ConnectionRecord,
    DataObject,
    ObjectPath,
    ObjectRole,
    ObjectSettings,
    RoleHolder,
)
from keyturn.core.principal import Principal
from keyturn.core.searches import UserSearch
from keyturn.errors import ChangedMeanwhile, InvalidInput, NotFound, PermissionMissing
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

MAX_HOLDERS = 100
"""Of one role of one object."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """The settings in force for an object, whoever said them."""

    is_active: bool
    activates_new_children: bool
    roles: Mapping[ObjectRole, frozenset[RoleHolder]]
    said: ObjectSettings
    """The settings that the object says itself."""


@dataclass(frozen=True, slots=True)
class ChangedSettings:
    """Settings to say anew. None leaves a setting as it is; a role in `roles` is overridden."""

    is_active: bool | None = None
    activates_new_children: bool | None = None
    roles: Mapping[ObjectRole, frozenset[RoleHolder]] | None = None
    inherits: Collection[str] = ()
    """Settings that are to say nothing from now on: `isActive`, `activateNewChildren`, or a role."""
    seen: ObjectSettings | None = None
    """The settings of the object from which `roles` were made; None to give roles whatever it says now."""


def paths_to(path: ObjectPath) -> list[ObjectPath]:
    """Return the paths of whom an object inherits, the connection first, the object itself last."""
    return [path[:length] for length in range(len(path) + 1)]


def inherited(said: Mapping[ObjectPath, ObjectSettings], path: ObjectPath, first: int = 0) -> Inherited:
    """Return what holds at a path. `first` is the number of the crawl that found the object first."""
    is_active, activates = True, True
    later_than = 0
    for each in paths_to(path):
        one = said.get(each, ObjectSettings())
        if each and not activates and first > later_than:
            is_active = False  # Found after its parent said that what comes is to be inactive.
        if one.is_active is not None:
            is_active = one.is_active
        if one.activates_new_children is not None:
            activates, later_than = one.activates_new_children, one.later_than
    roles = {role: inherited_holders(said, path, role) for role in ObjectRole}
    return Inherited(is_active, activates, roles, said.get(path, ObjectSettings()))


def inherited_holders(
    said: Mapping[ObjectPath, ObjectSettings], path: ObjectPath, role: ObjectRole
) -> frozenset[RoleHolder]:
    """Return who has a role at a path: whom the nearest that says so names."""
    for each in reversed(paths_to(path)):
        holders = said.get(each, ObjectSettings()).roles.get(role)
        if holders is not None:
            return holders
    return frozenset()


class Settings:
    """Reads and changes the settings of objects that the caller has found."""

    def __init__(self, store: Store, system: System) -> None:
        self._store = store
        self._system = system

    def of(self, record: ConnectionRecord, objects: Iterable[DataObject]) -> list[Inherited]:
        """Return what holds for each of these objects."""
        objects = list(objects)
        paths = {each for one in objects for each in paths_to(one.path)}
        said = self._store.object_settings.find(record.connection_id, sorted(paths))
        return [inherited(said, one.path, one.first) for one in objects]

    def of_connection(self, record: ConnectionRecord) -> Inherited:
        """Return what holds for a connection itself."""
        return inherited(self._store.object_settings.find(record.connection_id, [()]), ())

    def names_of(self, holders: Iterable[RoleHolder]) -> dict[RoleHolder, str]:
        """Return the names of these users and groups, for whoever sees what they own."""
        holders = set(holders)
        user_ids = frozenset(one.user_id for one in holders if one.user_id is not None)
        group_ids = {one.group_id for one in holders if one.group_id is not None}
        names = {
            RoleHolder(group_id=number): name for number, name in self._store.groups.names(group_ids).items()
        }
        if user_ids:
            for user in self._store.users.search(UserSearch(ids=user_ids), size=len(user_ids)):
                names[RoleHolder(user.user_id)] = user.profile.name or user.userid
        return names

    def count_overrides(self, record: ConnectionRecord, path: ObjectPath) -> Mapping[str, int]:
        """Return how many objects below a path say something of each setting."""
        return self._store.object_settings.count_below(record.connection_id, path)

    def change(
        self,
        principal: Principal,
        record: ConnectionRecord,
        path: ObjectPath,
        wanted: ChangedSettings,
        origin: Origin,
        *,
        may_give_roles: bool,
    ) -> None:
        """Say something else of an object; a data owner, who may not give roles, activates alone.

        Raise `ChangedMeanwhile` if somebody else gave a role since it was seen.
        """
        roles = dict(wanted.roles or {})
        gives_roles = bool(roles) or any(name in set(ObjectRole) for name in wanted.inherits)
        if gives_roles and not may_give_roles:
            raise PermissionMissing("APPLICATION_ADMIN")
        self.check(wanted)
        audit = AuditEntry(
            self._system.now(),
            AuditAction.CONNECTION_SETTINGS_UPDATED,
            actor_of(principal, origin),
            Target.CONNECTION,
            record.connection_key,
            details=_told(path, wanted),
        )
        found = self._store.object_settings.change(
            record.connection_id, path, lambda before: _changed(before, wanted), audit
        )
        if not found:
            raise NotFound("There is no such connection.")

    def check(self, wanted: ChangedSettings) -> None:
        """Raise `InvalidInput` for a role of somebody who is not there, or of too many."""
        for role, holders in (wanted.roles or {}).items():
            self._check_holders(role, holders)

    def _check_holders(self, role: ObjectRole, holders: Collection[RoleHolder]) -> None:
        if len(holders) > MAX_HOLDERS:
            raise InvalidInput(role.value, f"Name at most {MAX_HOLDERS} users and groups.")
        for one in holders:
            if one.user_id is not None and self._store.users.find_by_id(one.user_id) is None:
                raise InvalidInput(role.value, f"There is no user {one.user_id}.")
            if one.group_id is not None and not self._store.groups.names({one.group_id}):
                raise InvalidInput(role.value, f"There is no group {one.group_id}.")


def _changed(before: ObjectSettings, wanted: ChangedSettings) -> ObjectSettings:
    if wanted.seen is not None and any(
        before.roles.get(role) != wanted.seen.roles.get(role) for role in wanted.roles or ()
    ):
        raise ChangedMeanwhile("Somebody else changed the owners just now. Look at them again.")
    after = replace(before, roles={**before.roles, **(wanted.roles or {})})
    if wanted.is_active is not None:
        after = replace(after, is_active=wanted.is_active)
    if wanted.activates_new_children is not None:
        after = replace(after, activates_new_children=wanted.activates_new_children)
    if "isActive" in wanted.inherits:
        after = replace(after, is_active=None)
    if "activateNewChildren" in wanted.inherits:
        after = replace(after, activates_new_children=None)
    kept = {role: some for role, some in after.roles.items() if role.value not in wanted.inherits}
    return replace(after, roles=kept)


def _told(path: ObjectPath, wanted: ChangedSettings) -> dict[str, object]:
    told: dict[str, object] = {"path": list(path)}
    if wanted.is_active is not None:
        told["isActive"] = wanted.is_active
    if wanted.activates_new_children is not None:
        told["activateNewChildren"] = wanted.activates_new_children
    for role, holders in (wanted.roles or {}).items():
        told[role.value] = sorted(
            f"user {one.user_id}" if one.user_id is not None else f"group {one.group_id}" for one in holders
        )
    if wanted.inherits:
        told["inherits"] = sorted(wanted.inherits)
    return told
