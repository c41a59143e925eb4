"""Queries for pages of projects, and for some of the members and connections of each."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from keyturn.core.pages import Page
from keyturn.core.people import ProjectMember, ProjectRecord
from keyturn.core.searches import NamedOrder, NamedSearch
from keyturn.store.database import folding
from keyturn.store.database.schema import (
    connection,
    profile,
    project,
    project_connection,
    project_member,
    user,
)
from keyturn.store.database.statements import CompiledQuery


def memberships(user_id: Any) -> Any:
    """Return the ids of the projects that a user is in."""
    return select(project_member.c.project_id).where(project_member.c.user_id == user_id)


_SIZE: Any = bindparam("size")
_SKIPPED: Any = bindparam("skipped")
_FIRST: Any = bindparam("first")
_LAST: Any = bindparam("last")
"""Which members and connections of each project are read, counted from 1."""


@dataclass(frozen=True, slots=True)
class ProjectQueries:
    """Queries for a page of projects: how many there are in all, and the rows of the page."""

    count: CompiledQuery
    projects: CompiledQuery
    members: CompiledQuery
    connections: CompiledQuery

    @classmethod
    def of(cls, *conditions: Any) -> "ProjectQueries":
        """Compile the queries for the projects for which the conditions hold."""
        within = select(project.c.id).where(*conditions).order_by(project.c.id).limit(_SIZE).offset(_SKIPPED)
        return cls(
            CompiledQuery(select(func.count().label("number")).select_from(project).where(*conditions)),
            CompiledQuery(_PROJECT.where(*conditions).order_by(project.c.id).limit(_SIZE).offset(_SKIPPED)),
            _members_of(project_member.c.project_id.in_(within)),
            _connections_of(project_connection.c.project_id.in_(within)),
        )


def _members_of(condition: Any) -> CompiledQuery:
    """Compile the query for the members `first` to `last` of each project for which the condition holds."""
    number = func.row_number().over(
        partition_by=project_member.c.project_id, order_by=project_member.c.user_id
    )
    numbered = (
        select(
            project_member.c.project_id,
            project_member.c.user_id,
            project_member.c.is_owner,
            number.label("number"),
        )
        .where(condition)
        .subquery()
    )
    return CompiledQuery(
        select(numbered.c.project_id, numbered.c.is_owner, user.c.id, user.c.userid, profile.c.name)
        .join(user, user.c.id == numbered.c.user_id)
        .join(profile, profile.c.user_id == user.c.id)
        .where(numbered.c.number >= _FIRST, numbered.c.number <= _LAST)
        .order_by(numbered.c.project_id, user.c.id)
    )


def _connections_of(condition: Any) -> CompiledQuery:
    """Compile the same for connections, in alphabetical order."""
    number = func.row_number().over(
        partition_by=project_connection.c.project_id, order_by=connection.c.connection_key
    )
    numbered = (
        select(project_connection.c.project_id, connection.c.connection_key, number.label("number"))
        .join(connection, connection.c.id == project_connection.c.connection_id)
        .where(condition)
        .subquery()
    )
    return CompiledQuery(
        select(numbered.c.project_id, numbered.c.connection_key)
        .where(numbered.c.number >= _FIRST, numbered.c.number <= _LAST)
        .order_by(numbered.c.project_id, numbered.c.number)
    )


_MEMBER_COUNT, _CONNECTION_COUNT = (
    select(func.count()).where(one.c.project_id == project.c.id).correlate(project).scalar_subquery()
    for one in (project_member, project_connection)
)
_PROJECT = select(project, _MEMBER_COUNT.label("member_count"), _CONNECTION_COUNT.label("connection_count"))
ALL_PROJECTS = ProjectQueries.of()
ONE_PROJECT = ProjectQueries.of(project.c.id == bindparam("project_id"))
PROJECTS_OF_USER = ProjectQueries.of(project.c.id.in_(memberships(bindparam("user_id"))))
ONE_PROJECT_OF_USER = ProjectQueries.of(
    project.c.id == bindparam("project_id"), project.c.id.in_(memberships(bindparam("user_id")))
)


def read_projects(
    ask: Callable[..., Sequence[Any]], queries: ProjectQueries, listed: range, **parameters: Any
) -> tuple[ProjectRecord, ...]:
    """Return the projects with those of their members and connections whose numbers, from 0, are `listed`."""
    rows = ask(queries.projects, **parameters)
    members: dict[int, list[ProjectMember]] = defaultdict(list)
    keys: dict[int, list[str]] = defaultdict(list)
    if rows and listed:
        parameters |= {"first": listed.start + 1, "last": listed.stop}
        for row in ask(queries.members, **parameters):
            members[row.project_id].append(read_member(row))
        for linked in ask(queries.connections, **parameters):
            keys[linked.project_id].append(linked.connection_key)
    return tuple(_project_record(row, members[row.id], keys[row.id]) for row in rows)


def _project_record(
    row: Any, members: Sequence[ProjectMember] = (), connection_keys: Sequence[str] = ()
) -> ProjectRecord:
    return ProjectRecord(
        project_id=row.id,
        name=row.name,
        description=row.description,
        member_count=row.member_count,
        members=tuple(members),
        connection_count=row.connection_count,
        connection_keys=tuple(connection_keys),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def search_projects(
    reading: Connection, wanted: NamedSearch, *, offset: int, size: int
) -> Page[ProjectRecord]:
    """Return at most `size` of the projects that are looked for, in their order, without their members."""
    conditions = []
    if wanted.text is not None:
        conditions.append(folding.contains_folded(wanted.text, project.c.name, project.c.description))
    column: Any = {
        NamedOrder.NAME: folding.folded(project.c.name),
        NamedOrder.MEMBERS: _MEMBER_COUNT,
        NamedOrder.CONNECTIONS: _CONNECTION_COUNT,
    }.get(wanted.order, project.c.id)
    order = folding.in_order(column, project.c.id, is_descending=wanted.is_descending)
    count = reading.execute(select(func.count()).select_from(project).where(*conditions)).scalar_one()
    rows = reading.execute(_PROJECT.where(*conditions).order_by(*order).offset(offset).limit(size)).all()
    return Page(count, tuple(map(_project_record, rows)))


def read_member(row: Any) -> ProjectMember:
    """Read what `MEMBERS_OF_PROJECT` answers."""
    return ProjectMember(row.id, row.userid, row.name, row.is_owner)


_HAS_MEMBER = project_member.c.project_id == bindparam("project_id")
_HAS_CONNECTION = project_connection.c.project_id == bindparam("project_id")
MEMBERS_OF_PROJECT, CONNECTIONS_OF_PROJECT = _members_of(_HAS_MEMBER), _connections_of(_HAS_CONNECTION)
COUNT_MEMBERS = CompiledQuery(
    select(func.count().label("number")).select_from(project_member).where(_HAS_MEMBER)
)
COUNT_CONNECTIONS = CompiledQuery(
    select(func.count().label("number")).select_from(project_connection).where(_HAS_CONNECTION)
)
MEMBERSHIP = CompiledQuery(
    select(project_member.c.is_owner).where(
        project_member.c.project_id == bindparam("project_id"),
        project_member.c.user_id == bindparam("user_id"),
    )
)
