"""Connections to data platforms: so far, reading one."""

from collections.abc import Mapping
from typing import Any

from keyturn.core.principal import SEE_CONNECTION, Principal
from keyturn.core.records import Actor, AuditAction, AuditEntry, ConnectionRecord
from keyturn.errors import NotFound
from keyturn.services.freshness import Freshness
from keyturn.services.remembered import Remembered
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.system import System

MAX_REMEMBERED = 1000


class Connections:
    """What callers see of the registered connections."""

    def __init__(self, store: Store, freshness: Freshness, system: System) -> None:
        self._store = store
        self._remembered = Remembered[ConnectionRecord | None](freshness, max_entries=MAX_REMEMBERED)
        self._system = system

    def get(self, principal: Principal, connection_key: str) -> ConnectionRecord:
        """Return a connection without its secrets; raise `PermissionMissing` before `NotFound`."""
        principal.check_may(*SEE_CONNECTION)
        found = None
        if is_storable(connection_key):
            found = self._remembered.find(
                connection_key, lambda: self._store.connections.find(connection_key)
            )
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
