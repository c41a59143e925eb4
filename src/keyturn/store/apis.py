"""Registered APIs, and who may hold their scopes."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from keyturn.core.apis import ApiRecord, ResourceScope, Rules
from keyturn.core.audit import AuditEntry
from keyturn.errors import ChangedMeanwhile, NotFound
from keyturn.store.database.rows import changed_values
from keyturn.store.database.schema import (
    api_key,
    group,
    group_member,
    installation,
    resource,
    resource_scope,
    resource_scope_group,
)
from keyturn.store.database.statements import CompiledQuery
from keyturn.store.database.transactions import Database, refusing_twins


@dataclass(frozen=True, slots=True)
class ApiFields:
    """The fields of an API."""

    name: str
    identifier: str
    description: str | None
    scopes: Sequence[ResourceScope]


class Apis:
    """Questions about registered APIs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, fields: ApiFields, at: datetime, audit: AuditEntry) -> int:
        """Store an API and return its id; raise `Conflict` if its name, identifier or a scope is taken."""
        with _naming(), self._database.change() as change:
            _lock_groups(change.connection, fields.scopes)
            resource_id: int = change.connection.execute(
                insert(resource)
                .values(**_values(fields), created_at=at, updated_at=at)
                .returning(resource.c.id)
            ).scalar_one()
            _add_scopes(change.connection, resource_id, fields.scopes)
            change.record(audit, target_id=resource_id)
        return resource_id

    def update(
        self,
        resource_id: int,
        fields: ApiFields,
        at: datetime,
        audit: AuditEntry,
        *,
        only: Collection[str] | None = None,
        seen: Sequence[ResourceScope] | None = None,
    ) -> bool:
        """Say an API anew; False if there is none. Raise `Conflict` as `add` does.

        With `only`, these fields alone. Scopes that it has no more are retired: nobody may hold them. Nothing
        is written where all is said already. Raise `ChangedMeanwhile` if its scopes are not those that were
        `seen`, where that is given.
        """
        values = {name: value for name, value in _values(fields).items() if only is None or name in only}
        has_scopes = only is None or "scopes" in only
        with _naming(), self._database.change() as change:
            if has_scopes:
                _lock_groups(change.connection, fields.scopes)
            changed = changed_values(change.connection, resource, values, id=resource_id)
            if changed is None:
                return False
            present = _scopes_of(change.connection, resource_id)
            if seen is not None and present != set(seen):
                raise ChangedMeanwhile(
                    "Somebody else changed the scopes of this service just now: look at them again."
                )
            has_scopes = has_scopes and present != set(fields.scopes)
            if not changed and not has_scopes:
                return True
            change.connection.execute(
                update(resource).where(resource.c.id == resource_id).values(**changed, updated_at=at)
            )
            if has_scopes:
                change.connection.execute(
                    update(resource_scope)
                    .where(resource_scope.c.resource_id == resource_id)
                    .values(resource_id=None)
                )
                _add_scopes(change.connection, resource_id, fields.scopes)
            change.record(audit)
        return True

    def delete(self, resource_id: int, audit: AuditEntry) -> bool:
        """Forget an API, and retire its scopes; False if there is none."""
        with self._database.change() as change:
            deleted = change.connection.execute(delete(resource).where(resource.c.id == resource_id)).rowcount
            if deleted:
                change.record(audit)
        return bool(deleted)

    def list_all(self) -> list[ApiRecord]:
        """Return all registered APIs in alphabetical order."""
        return list(self.rules().resources)

    def rules(self) -> Rules:
        """Return which scopes there are and who may hold them, as of one revision."""
        with self._database.snapshot() as connection:
            revision = connection.execute(select(installation.c.revision)).scalar_one()
            rows = connection.execute(select(resource).order_by(resource.c.name, resource.c.id)).all()
            scopes = connection.execute(select(resource_scope).order_by(resource_scope.c.name)).all()
            holders: dict[str, set[int]] = {}
            for scope, group_id in connection.execute(select(resource_scope_group)).all():
                holders.setdefault(scope, set()).add(group_id)
        of_resource: dict[int, list[ResourceScope]] = {}
        for row in scopes:
            of_resource.setdefault(row.resource_id, []).append(
                ResourceScope(
                    row.name, row.description, row.is_for_everyone, frozenset(holders.get(row.name, ()))
                )
            )
        resources = tuple(
            ApiRecord(
                resource_id=row.id,
                name=row.name,
                identifier=row.identifier,
                description=row.description,
                scopes=tuple(of_resource.get(row.id, ())),
                created_at=row.created_at,
                updated_at=row.updated_at,
            )
            for row in rows
        )
        return Rules(revision, resources, frozenset(row.name for row in scopes if row.resource_id is None))

    def list_narrowed(self, at: datetime) -> list[Sequence[str]]:
        """Return the scopes of each key that is narrowed and active at this time."""
        with self._database.reading() as connection:
            query = select(api_key.c.scopes).where(
                api_key.c.scopes.is_not(None),
                api_key.c.revoked_at.is_(None),
                or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > at),
            )
            return list(connection.execute(query).scalars())

    def groups_of(self, user_id: int) -> frozenset[int]:
        """Return the ids of the groups that a user is in: what decides which scopes they may hold."""
        return frozenset(row[0] for row in self._database.query(_GROUPS_OF, user_id=user_id))


_GROUPS_OF = CompiledQuery(
    select(group_member.c.group_id).where(group_member.c.user_id == bindparam("user_id"))
)


def _naming() -> AbstractContextManager[None]:
    return refusing_twins("The name, the identifier or a scope of this service is in use already.")


def _values(fields: ApiFields) -> dict[str, str | None]:
    return {"name": fields.name, "identifier": fields.identifier, "description": fields.description}


def _lock_groups(connection: Connection, scopes: Sequence[ResourceScope]) -> None:
    """Keep the groups that are to hold scopes from being deleted; raise `NotFound` if one is gone.

    First of all, in the order in which the deletion of a group locks: it and its rows here.
    """
    wanted = {group_id for scope in scopes for group_id in scope.group_ids}
    query = select(group.c.id).where(group.c.id.in_(sorted(wanted))).order_by(group.c.id)
    if wanted - set(connection.execute(query.with_for_update(read=True)).scalars()):
        raise NotFound("There is no such group.")


def _scopes_of(connection: Connection, resource_id: int) -> set[ResourceScope]:
    """Return the scopes that an API has within this transaction, which has locked it."""
    rows = connection.execute(
        select(resource_scope, resource_scope_group.c.group_id)
        .outerjoin(resource_scope_group, resource_scope_group.c.scope == resource_scope.c.name)
        .where(resource_scope.c.resource_id == resource_id)
    ).all()
    holders: dict[str, set[int]] = {row.name: set() for row in rows}
    for row in rows:
        if row.group_id is not None:
            holders[row.name].add(row.group_id)
    return {
        ResourceScope(row.name, row.description, row.is_for_everyone, frozenset(holders[row.name]))
        for row in rows
    }


def _add_scopes(connection: Connection, resource_id: int, scopes: Sequence[ResourceScope]) -> None:
    """Store scopes with their holders, in place of retired ones of the same names."""
    names = [scope.name for scope in scopes]
    connection.execute(
        delete(resource_scope).where(resource_scope.c.name.in_(names), resource_scope.c.resource_id.is_(None))
    )
    connection.execute(
        insert(resource_scope),
        [
            {
                "name": scope.name,
                "resource_id": resource_id,
                "description": scope.description,
                "is_for_everyone": scope.is_for_everyone,
            }
            for scope in scopes
        ],
    )
    holders = [(scope.name, group_id) for scope in scopes for group_id in sorted(scope.group_ids)]
    if holders:
        connection.execute(
            insert(resource_scope_group),
            [{"scope": scope, "group_id": group_id} for scope, group_id in holders],
        )
