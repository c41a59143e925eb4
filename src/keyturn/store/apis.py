"""Registered APIs, and who may hold their scopes."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, bindparam, delete, func, insert, or_, select, type_coerce, update

from keyturn.core.apis import ApiRecord, ResourceScope, Rules
from keyturn.core.audit import AuditEntry
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.errors import ChangedMeanwhile, NotFound
from keyturn.store.database import folding
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


@dataclass(frozen=True, slots=True)
class ApiSearch:
    """Which APIs are looked for."""

    resource_id: int | None = None
    scopes: frozenset[str] | None = None
    """Those that have one of these at least."""
    held_by: tuple[int, ...] = ()
    """The users who may all hold a scope of it; empty for whatever anybody holds."""
    text: str | None = None
    """Part of the name, the identifier or the description, where case and accents do not matter."""
    is_descending: bool = False
    """Whether they are in the order of their names from the last to the first."""


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

    def search(self, wanted: ApiSearch, *, offset: int = 0, size: int = MAX_PAGE) -> Page[ApiRecord]:
        """Return at most `size` of the APIs that are looked for, by their names, as of one state.

        With `held_by`, only those of which these users may hold scopes, with these alone.
        """
        may_hold = _may_be_held_by(wanted.held_by)
        conditions = _conditions(wanted, may_hold)
        order = folding.in_order(resource.c.name, resource.c.id, is_descending=wanted.is_descending)
        with self._database.snapshot() as connection:
            count = connection.execute(
                select(func.count()).select_from(resource).where(*conditions)
            ).scalar_one()
            rows = connection.execute(
                select(resource).where(*conditions).order_by(*order).offset(offset).limit(size)
            ).all()
            ids = [row.id for row in rows]
            scopes = connection.execute(
                select(resource_scope)
                .where(resource_scope.c.resource_id.in_(ids), *may_hold)
                .order_by(resource_scope.c.name)
            ).all()
            holders = connection.execute(
                select(resource_scope_group)
                .join(resource_scope, resource_scope.c.name == resource_scope_group.c.scope)
                .where(resource_scope.c.resource_id.in_(ids))
            ).all()
        return Page(count, tuple(_api_records(rows, scopes, holders)))

    def grantable_among(self, names: Collection[str], user_id: int) -> frozenset[str]:
        """Return those of these scopes that there are, and that this user may hold."""
        query = select(resource_scope.c.name).where(
            resource_scope.c.name.in_(names),
            resource_scope.c.resource_id.is_not(None),
            *_may_be_held_by((user_id,)),
        )
        with self._database.reading() as connection:
            return frozenset(connection.execute(query).scalars())

    def may_hold_more(self, user_id: int, other_id: int) -> bool:
        """Return whether this user may hold a scope that the other may not hold."""
        (mine,), (theirs,) = _may_be_held_by((user_id,)), _may_be_held_by((other_id,))
        query = select(resource_scope.c.name).where(resource_scope.c.resource_id.is_not(None), mine, ~theirs)
        with self._database.reading() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def find_taken(self, fields: ApiFields, *, other_than: int | None) -> ApiRecord | None:
        """Return an API that has the name, the identifier or a scope of these fields; not `other_than`."""
        names = [scope.name for scope in fields.scopes]
        wanted = or_(
            resource.c.name == fields.name,
            resource.c.identifier == fields.identifier,
            resource.c.id.in_(select(resource_scope.c.resource_id).where(resource_scope.c.name.in_(names))),
        )
        query = select(resource.c.id).where(wanted).order_by(resource.c.name, resource.c.id).limit(1)
        if other_than is not None:
            query = query.where(resource.c.id != other_than)
        with self._database.snapshot() as connection:
            found = connection.execute(query).scalar_one_or_none()
            return None if found is None else self.search(ApiSearch(resource_id=found), size=1)[0]

    def rules(self) -> Rules:
        """Return which scopes there are and who may hold them, as of one revision."""
        with self._database.snapshot() as connection:
            revision = connection.execute(select(installation.c.revision)).scalar_one()
            rows = connection.execute(select(resource).order_by(resource.c.name, resource.c.id)).all()
            scopes = connection.execute(select(resource_scope).order_by(resource_scope.c.name)).all()
            holders = connection.execute(select(resource_scope_group)).all()
        resources = tuple(_api_records(rows, scopes, holders))
        return Rules(revision, resources, frozenset(row.name for row in scopes if row.resource_id is None))

    def count_narrowed(self, names: Collection[str], at: datetime) -> int:
        """Return how many keys are narrowed to one of these scopes at least, and active at this time."""
        stored = type_coerce(api_key.c.scopes, Text)
        query = select(func.count()).where(
            or_(False, *(stored.contains(f'"{name}"', autoescape=True) for name in sorted(names))),
            api_key.c.revoked_at.is_(None),
            or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > at),
        )
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def groups_of(self, user_id: int) -> frozenset[int]:
        """Return the ids of the groups that a user is in: what decides which scopes they may hold."""
        return frozenset(row[0] for row in self._database.query(_GROUPS_OF, user_id=user_id))


_GROUPS_OF = CompiledQuery(
    select(group_member.c.group_id).where(group_member.c.user_id == bindparam("user_id"))
)


def _may_be_held_by(user_ids: Iterable[int]) -> list[Any]:
    """Return what must be true of a scope that each of these users may hold."""
    return [
        or_(
            resource_scope.c.is_for_everyone,
            resource_scope.c.name.in_(
                select(resource_scope_group.c.scope)
                .join(group_member, group_member.c.group_id == resource_scope_group.c.group_id)
                .where(group_member.c.user_id == user_id)
            ),
        )
        for user_id in user_ids
    ]


def _conditions(wanted: ApiSearch, may_hold: list[Any]) -> list[Any]:
    """Return what must be true of an API."""
    conditions: list[Any] = []
    if wanted.resource_id is not None:
        conditions.append(resource.c.id == wanted.resource_id)
    if wanted.scopes is not None:
        named = select(resource_scope.c.resource_id).where(resource_scope.c.name.in_(wanted.scopes))
        conditions.append(resource.c.id.in_(named))
    if wanted.text is not None:
        said = (resource.c.name, resource.c.identifier, resource.c.description)
        conditions.append(folding.contains_folded(wanted.text, *said))
    if may_hold:
        conditions.append(resource.c.id.in_(select(resource_scope.c.resource_id).where(*may_hold)))
    return conditions


def _api_records(rows: Iterable[Any], scopes: Iterable[Any], holders: Iterable[Any]) -> Iterator[ApiRecord]:
    """Yield APIs with their scopes, and these with the groups that hold them."""
    groups: dict[str, set[int]] = {}
    for scope, group_id in holders:
        groups.setdefault(scope, set()).add(group_id)
    of_resource: dict[int, list[ResourceScope]] = {}
    for row in scopes:
        of_resource.setdefault(row.resource_id, []).append(
            ResourceScope(row.name, row.description, row.is_for_everyone, frozenset(groups.get(row.name, ())))
        )
    for row in rows:
        yield ApiRecord(
            resource_id=row.id,
            name=row.name,
            identifier=row.identifier,
            description=row.description,
            scopes=tuple(of_resource.get(row.id, ())),
            created_at=row.created_at,
            updated_at=row.updated_at,
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
