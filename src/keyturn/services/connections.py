"""Connections to data platforms: so far, reading one."""

from collections.abc import Mapping
from typing import Any

from keyturn.core.principal import SEE_CONNECTION, Principal
from keyturn.core.records import Actor, AuditAction, AuditEntry, ConnectionRecord
from keyturn.errors import NotFound
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.system import System


class Connections:
    """What callers see of the registered connections."""

    def __init__(self, store: Store, system: System) -> None:
        self._store = store
        self._system = system

    def get(self, principal: Principal, connection_key: str) -> ConnectionRecord:
        """Return a connection without its secrets; raise `PermissionMissing` before `NotFound`."""
        principal.check_may(*SEE_CONNECTION)
        found = self._store.connections.find(connection_key) if is_storable(connection_key) else None
        if found is None:
            raise NotFound("There is no such connection.")
        return found

    def register(self, actor: Actor, user_id: int, connection_key: str, details: Mapping[str, Any]) -> None:
        """Write down a connection that has no secrets; raise `Conflict` if its key is taken."""
        audit = AuditEntry(
            self._system.now(),
            AuditAction.CONNECTION_CREATED,
            actor,
            "CONNECTION",
            connection_key,
            details={"technology": details.get("technology")},
        )
        self._store.connections.add(connection_key, details, user_id, audit)
