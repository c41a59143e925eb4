"""Connections to data platforms: so far, reading one."""

from collections.abc import Mapping
from typing import Any

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.connections import ConnectionRecord
from keyturn.core.pages import MAX_PAGE
from keyturn.core.principal import Principal
from keyturn.errors import NotFound
from keyturn.services.changes.answer_cache import AnswerCache
from keyturn.services.changes.freshness import Freshness
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.system import System

MAX_REMEMBERED = 1000


class Connections:
    """The registered connections, as callers see them."""

    def __init__(self, store: Store, freshness: Freshness, system: System) -> None:
        self._store = store
        self._remembered = AnswerCache[ConnectionRecord | None](freshness, max_entries=MAX_REMEMBERED)
        self._in_projects = AnswerCache[bool](freshness, max_entries=MAX_REMEMBERED)
        self._system = system

    def get(self, principal: Principal, connection_key: str) -> ConnectionRecord:
        """Return a connection without its secrets; raise `PermissionMissing` before `NotFound`."""
        principal.check_may_see_connections()
        found = None
        if is_storable(connection_key) and self._is_in_project(principal, connection_key):
            found = self._remembered.find(
                connection_key, lambda: self._store.connections.find(connection_key)
            )
        if found is None:
            raise NotFound("There is no such connection.")
        return found

    def list_keys(
        self, principal: Principal, *, size: int = MAX_PAGE, outside_of: int | None = None
    ) -> list[str]:
        """Return the first keys of the connections that the caller may see, in alphabetical order.

        With `outside_of`, of those that are not in this project.
        """
        principal.check_may_see_connections()
        project_id = principal.project_id
        seen_in = None if project_id is None else (project_id, principal.user_id)
        return self._store.connections.list_keys(size=size, outside_of=outside_of, seen_in=seen_in)

    def _is_in_project(self, principal: Principal, connection_key: str) -> bool:
        """Return whether the connection exists for this credential: one of a project sees only the project's.

        And it sees nothing once its owner has left the project, or the project is gone.
        """
        if principal.project_id is None:
            return True
        project_id, user_id = principal.project_id, principal.user_id
        return self._in_projects.find(
            (project_id, user_id, connection_key),
            lambda: self._store.projects.has_connection(project_id, user_id, connection_key),
        )

    def register(self, actor: Actor, user_id: int, connection_key: str, details: Mapping[str, Any]) -> None:
        """Write down a connection that has no secrets; raise `Conflict` if its key is taken."""
        audit = AuditEntry(
            self._system.now(),
            AuditAction.CONNECTION_CREATED,
            actor,
            Target.CONNECTION,
            connection_key,
            details={"technology": details.get("technology")},
        )
        self._store.connections.add(connection_key, details, user_id, audit)
