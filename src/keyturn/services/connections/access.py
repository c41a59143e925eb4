"""The rights to connections and to the objects behind them.

A permission reaches every connection. A role reaches an object and all that is below it: an object that
overrides a role, perhaps with nobody, ends it there (http-api/connections.md, "Who may call these routes").
"""

from keyturn.core.connections import ConnectionRecord, ObjectPath, ObjectRole
from keyturn.core.permissions import SEE_CONNECTION, Permission
from keyturn.core.principal import Principal
from keyturn.errors import PermissionMissing
from keyturn.services.connections.settings import inherited_holders, paths_to
from keyturn.store import Store

MANAGERS = (Permission.APPLICATION_ADMIN,)


class Access:
    """Decides about callers. Roles are read anew each time."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def sees_all(self, principal: Principal) -> bool:
        """Return whether the caller sees every connection."""
        return principal.scopes is None and not principal.permissions.isdisjoint(SEE_CONNECTION)

    def sees(self, principal: Principal, record: ConnectionRecord) -> bool:
        """Return whether the caller may read a connection: with a permission, or a role on some object.

        A credential of a project sees the connections of its project, which the caller has checked.
        """
        if self.sees_all(principal):
            return True
        return principal.is_unbound and self._store.object_settings.has_any_role(
            principal.user_id, record.connection_id
        )

    def manages(self, principal: Principal, record: ConnectionRecord, path: ObjectPath = ()) -> bool:
        """Return whether the caller may change the connection, or the settings of this object."""
        return principal.may(*MANAGERS) or self._has_role(
            principal, record, path, ObjectRole.INFRASTRUCTURE_ADMIN
        )

    def owns(self, principal: Principal, record: ConnectionRecord, path: ObjectPath) -> bool:
        """Return whether the caller may crawl, activate and deactivate this object."""
        return self.manages(principal, record, path) or self._has_role(
            principal, record, path, ObjectRole.DATA_OWNER
        )

    def check_manages(self, principal: Principal, record: ConnectionRecord, path: ObjectPath = ()) -> None:
        """Raise `PermissionMissing` unless the caller may change this."""
        if not self.manages(principal, record, path):
            raise PermissionMissing(*MANAGERS)

    def check_owns(self, principal: Principal, record: ConnectionRecord, path: ObjectPath) -> None:
        """Raise `PermissionMissing` unless the caller may crawl and activate this."""
        if not self.owns(principal, record, path):
            raise PermissionMissing(*MANAGERS)

    def _has_role(
        self, principal: Principal, record: ConnectionRecord, path: ObjectPath, role: ObjectRole
    ) -> bool:
        if not principal.is_unbound:
            return False
        said = self._store.object_settings.find(record.connection_id, paths_to(path))
        holders = inherited_holders(said, path, role)
        if any(one.user_id == principal.user_id for one in holders):
            return True
        groups = {one.group_id for one in holders if one.group_id is not None}
        return any(self._store.groups.is_member(group, principal.user_id) for group in groups)
