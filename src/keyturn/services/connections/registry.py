"""The registry of connections: who registers, reads, changes, activates and deletes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyturn.adapters.technologies import Field
from keyturn.adapters.validation import (
    Value,
    fields_of,
    get_technology,
    read_connection_key,
    split_secrets,
    validate,
    would_send_elsewhere,
)
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.connections import ConnectionRecord, ConnectionState
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.principal import Principal
from keyturn.errors import Conflict, InvalidInput, InvalidState, NotFound
from keyturn.services.changes.answer_cache import AnswerCache
from keyturn.services.changes.freshness import Freshness
from keyturn.services.connections.access import MANAGERS, Access
from keyturn.services.connections.sealing import REDACTED, ConnectionSecrets, OpenedSecrets, merged
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

MAX_REMEMBERED = 1000
MAX_HOURS = 24 * 366

NO_CONNECTION = "Connection not found"
MUST_BE_INACTIVE = "Unable to delete connection. Connection state must be INACTIVE to be deleted."
MUST_BE_IN_USE = "Unable to update connection. Connection state must be ACTIVE or UNHEALTHY to be updated."
MUST_BE_OFF = "Unable to activate connection. Connection state must be INACTIVE to be activated."
MUST_BE_ON = (
    "Unable to deactivate connection. Connection state must be ACTIVE or UNHEALTHY to be deactivated."
)
IN_USE = (ConnectionState.ACTIVE, ConnectionState.UNHEALTHY)


@dataclass(frozen=True, slots=True)
class NewConnection:
    """A connection about to be registered."""

    connection_key: str
    values: Mapping[str, Any] = field(repr=False)
    """`technology`, `authenticationType` and the fields of both."""
    native_integration: Mapping[str, Any] | None = field(default=None, repr=False)
    is_active: bool = True
    crawl_every_hours: int | None = None


@dataclass(frozen=True, slots=True)
class ChangedConnection:
    """The change of a connection. A field that is absent from `values` stays as it is."""

    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    replaces: bool = False
    """Whether `values` are all there is, secrets excepted."""
    crawl_every_hours: int | None = None
    changes_schedule: bool = False
    native_integration: Mapping[str, Any] | None = field(default=None, repr=False)
    """None leaves it as it is."""


class Connections:
    """The registered connections, as callers see them."""

    def __init__(
        self, store: Store, access: Access, secrets: ConnectionSecrets, freshness: Freshness, system: System
    ) -> None:
        self._store = store
        self._access = access
        self._secrets = secrets
        self._remembered = AnswerCache[ConnectionRecord | None](freshness, max_entries=MAX_REMEMBERED)
        self._in_projects = AnswerCache[bool](freshness, max_entries=MAX_REMEMBERED)
        self._system = system

    def get(self, principal: Principal, connection_key: str) -> ConnectionRecord:
        """Return a connection without its secrets, perhaps as it was a moment ago.

        Raise `PermissionMissing` before `NotFound` for a caller who may see none.
        """
        found = self._find(principal, connection_key)
        if found is None:
            raise NotFound("There is no such connection.")
        return found

    def get_now(self, principal: Principal, connection_key: str) -> ConnectionRecord:
        """Return the same as it is at this moment, with the state of its last test and crawl."""
        self.get(principal, connection_key)
        found = self._store.connections.find(connection_key)
        if found is None:
            raise NotFound("There is no such connection.")
        return found

    def get_managed(self, principal: Principal, connection_key: str) -> ConnectionRecord:
        """Return a connection that the caller may change; raise `PermissionMissing` for another."""
        record = self.get_now(principal, connection_key)
        self._access.check_manages(principal, record)
        return record

    def _find(self, principal: Principal, connection_key: str) -> ConnectionRecord | None:
        sees_all = self._access.sees_all(principal)
        if not sees_all and not principal.is_unbound:
            principal.check_may_see_connections()
        found = None
        if is_storable(connection_key) and self._is_in_project(principal, connection_key):
            found = self._remembered.find(
                connection_key, lambda: self._store.connections.find(connection_key)
            )
        if not sees_all and (found is None or not self._access.sees(principal, found)):
            principal.check_may_see_connections()
        return found

    def search(
        self,
        principal: Principal,
        text: str | None = None,
        *,
        state: ConnectionState | None = None,
        is_descending: bool = False,
        offset: int = 0,
        size: int = MAX_PAGE,
    ) -> Page[ConnectionRecord]:
        """Return the connections that the caller sees, by their keys; an empty page for one who sees none."""
        if not is_storable(text):
            return Page(0, ())
        seen_by = None if self._access.sees_all(principal) else principal.user_id
        if seen_by is not None and not principal.is_unbound:
            return Page(0, ())
        keys = None
        if principal.project_id is not None:
            keys = self._store.connections.list_keys(
                size=MAX_PAGE, seen_in=(principal.project_id, principal.user_id)
            )
        return self._store.connections.search(
            text=text,
            seen_by=seen_by,
            keys=keys,
            state=state,
            is_descending=is_descending,
            offset=offset,
            size=size,
        )

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

    def add(self, principal: Principal, new: NewConnection, origin: Origin) -> ConnectionRecord:
        """Register a connection, for a holder of APPLICATION_ADMIN.

        Raise `InvalidInput` that names the field, also where the key is taken.
        """
        principal.check_may(*MANAGERS)
        key = read_connection_key(new.connection_key)
        plain, secrets = split_secrets(validate(new.values))
        try:
            self._store.connections.add(
                key,
                plain,
                principal.user_id,
                self._about(
                    principal, origin, AuditAction.CONNECTION_CREATED, key, technology=plain["technology"]
                ),
                seal=self._secrets.seal(key, OpenedSecrets(secrets)),
                native_integration=new.native_integration,
                state=ConnectionState.ACTIVE if new.is_active else ConnectionState.INACTIVE,
                crawl_every_hours=_checked_hours(new.crawl_every_hours),
            )
        except Conflict as error:
            raise InvalidInput("connectionKey", str(error), code="unique") from None
        return self._again(key)

    def update(
        self, principal: Principal, connection_key: str, wanted: ChangedConnection, origin: Origin
    ) -> ConnectionRecord:
        """Change a connection that the caller manages.

        Where the secrets would go to another server or account, they have to be given again (S4): else raise
        `InvalidInput` at the secret. Raise `Conflict` for a connection that is switched off.
        """
        before = self.get_managed(principal, connection_key)
        plain, secrets = self.checked(before, wanted)
        if before.state is ConnectionState.INACTIVE:
            raise Conflict(MUST_BE_IN_USE)
        values: dict[str, Any] = {"details": plain} if plain != before.details else {}
        changed = sorted(
            name for name in plain.keys() | before.details if plain.get(name) != before.details.get(name)
        )
        if secrets is not None:
            values["sealed_secrets"] = self._secrets.seal(connection_key, OpenedSecrets(secrets))
            changed.append("secrets")
        if wanted.changes_schedule and wanted.crawl_every_hours != before.crawl_every_hours:
            values["crawl_every_hours"] = _checked_hours(wanted.crawl_every_hours)
            changed.append("crawlEveryHours")
        if wanted.native_integration not in (None, before.native_integration):
            values["native_integration"] = wanted.native_integration
            changed.append("nativeIntegration")
        if not values:
            return before
        audit = self._about(principal, origin, AuditAction.CONNECTION_UPDATED, connection_key, fields=changed)
        if not self._store.connections.update(before, values, principal.user_id, audit):
            raise NotFound("There is no such connection.")
        return self._again(connection_key)

    def checked(
        self, before: ConnectionRecord, wanted: ChangedConnection
    ) -> tuple[dict[str, Value], dict[str, Value] | None]:
        """Return the values that may be shown, and the secrets, as a change would store them.

        The second is None where the secrets stay as they are.
        """
        given = _without_redacted(wanted.values)
        if not wanted.replaces:
            given = merged(before.details, given)
        technology = get_technology(given.setdefault("technology", before.technology))
        if technology.name != before.technology:
            raise InvalidInput("technology", "A connection keeps its technology. Register another one.")
        chosen = given.setdefault("authenticationType", before.details.get("authenticationType"))
        kept = self._kept(before, given, fields_of(technology, str(chosen)))
        plain, secrets = split_secrets(validate(merged(kept, given)))
        if kept and would_send_elsewhere(before.details, plain):
            raise InvalidInput(
                next(iter(kept)), "Enter it again: the connection would send it to another server or account."
            )
        has_new = secrets.keys() != kept.keys() or any(secrets[name] != kept[name] for name in kept)
        return plain, secrets if has_new else None

    def _kept(
        self, before: ConnectionRecord, given: Mapping[str, Any], fields: Iterable[Field]
    ) -> dict[str, Value]:
        """Return those of the stored secrets that have a place among the fields and are not given anew."""
        try:
            stored = self._secrets.open(before).current if before.has_secrets else {}
        except InvalidState:
            return {}  # They are lost: all have to be entered again.
        names = {field.name for field in fields}
        return {
            name: secret
            for name, secret in stored.items()
            if name in names and (name not in given or isinstance(secret, dict))
        }

    def set_active(
        self, principal: Principal, connection_key: str, origin: Origin, *, is_active: bool
    ) -> ConnectionRecord:
        """Switch a connection on or off, for whoever manages it; raise `Conflict` if it is so already."""
        record = self.get_managed(principal, connection_key)
        allowed = (ConnectionState.INACTIVE,) if is_active else IN_USE
        action = AuditAction.CONNECTION_ACTIVATED if is_active else AuditAction.CONNECTION_DEACTIVATED
        audit = self._about(principal, origin, action, connection_key)
        state = ConnectionState.ACTIVE if is_active else ConnectionState.INACTIVE
        if not self._store.connections.change_state(record.connection_id, allowed, state, audit):
            raise Conflict(MUST_BE_OFF if is_active else MUST_BE_ON)
        return self._again(connection_key)

    def check_deletable(
        self, principal: Principal, connection_key: str, *, is_forced: bool
    ) -> ConnectionRecord:
        """Return a connection that the caller may delete.

        Raise `Conflict` unless it is switched off; with `is_forced` an unhealthy one may be deleted too.
        """
        record = self.get_managed(principal, connection_key)
        allowed = {ConnectionState.INACTIVE} | ({ConnectionState.UNHEALTHY} if is_forced else set())
        if record.state not in allowed:
            raise Conflict(MUST_BE_INACTIVE)
        return record

    def register(self, actor: Actor, user_id: int, connection_key: str, details: Mapping[str, Any]) -> None:
        """Write down a connection that has no secrets, as it is; raise `Conflict` if its key is taken."""
        audit = AuditEntry(
            self._system.now(),
            AuditAction.CONNECTION_CREATED,
            actor,
            Target.CONNECTION,
            connection_key,
            details={"technology": details.get("technology")},
        )
        self._store.connections.add(connection_key, details, user_id, audit)

    def _about(
        self, principal: Principal, origin: Origin, action: AuditAction, connection_key: str, **details: Any
    ) -> AuditEntry:
        return AuditEntry(
            self._system.now(),
            action,
            actor_of(principal, origin),
            Target.CONNECTION,
            connection_key,
            details=details,
        )

    def _again(self, connection_key: str) -> ConnectionRecord:
        found = self._store.connections.find(connection_key)
        if found is None:
            raise NotFound("There is no such connection.")
        return found


def _without_redacted(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_redacted(value) if isinstance(value, Mapping) else value
        for name, value in given.items()
        if value != REDACTED
    }


def _checked_hours(hours: int | None) -> int | None:
    if hours is not None and not 1 <= hours <= MAX_HOURS:
        raise InvalidInput("crawlEveryHours", f"Enter a number from 1 to {MAX_HOURS}.")
    return hours
