"""Queries for pages of projects, and for some of the members and connections of each."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, or_, select

from keyturn.core.folding import folded
from keyturn.core.pages import Page
from keyturn.core.people import ProjectMember, ProjectRecord, Subscription
from keyturn.core.searches import NamedOrder, ProjectMemberOrder, ProjectMemberSearch, ProjectSearch
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


_MEMBER = (
    select(
        project_member.c.project_id,
        project_member.c.is_owner,
        project_member.c.created_at,
        user.c.id,
        user.c.iamid,
        user.c.userid,
        profile.c.id.label("profile_id"),
        profile.c.name,
        profile.c.email,
    )
    .join(user, user.c.id == project_member.c.user_id)
    .join(profile, profile.c.user_id == user.c.id)
)
_MEMBER_COUNT, _CONNECTION_COUNT = (
    select(func.count()).where(one.c.project_id == project.c.id).correlate(project).scalar_subquery()
    for one in (project_member, project_connection)
)
_IS_OWNED = (
    select(project_member.c.is_owner)
    .where(project_member.c.project_id == project.c.id, project_member.c.user_id == bindparam("of_user"))
    .correlate(project)
    .scalar_subquery()
)
"""Whether `of_user` owns a project; null where they are not in it."""
_PROJECT = select(
    project,
    _MEMBER_COUNT.label("member_count"),
    _CONNECTION_COUNT.label("connection_count"),
    _IS_OWNED.label("is_owned"),
)
NOBODY = 0
"""The number of no user."""


def search_projects(
    reading: Connection, wanted: ProjectSearch, *, offset: int, size: int, listed: range
) -> Page[ProjectRecord]:
    """Return at most `size` of the projects that are looked for, in their order.

    Each with those of its members and connections whose numbers, from 0, are `listed`.
    """
    of_user = {"of_user": wanted.user_id or NOBODY}
    conditions = _conditions_of(wanted)
    count = reading.execute(
        select(func.count()).select_from(project).where(*conditions), of_user
    ).scalar_one()
    query = _PROJECT.where(*conditions).order_by(*_order_of(wanted)).offset(offset).limit(size)
    rows = reading.execute(query, of_user).all()
    members: dict[int, list[ProjectMember]] = defaultdict(list)
    keys: dict[int, list[str]] = defaultdict(list)
    if rows and listed:
        numbers = [row.id for row in rows]
        for row in reading.execute(_members_of(numbers, listed)):
            members[row.project_id].append(_read_member(row))
        for linked in reading.execute(connections_of(numbers, listed)):
            keys[linked.project_id].append(linked.connection_key)
    return Page(count, tuple(_project_record(row, members[row.id], keys[row.id]) for row in rows))


def search_members(
    reading: Connection, project_id: int, wanted: ProjectMemberSearch, *, offset: int, size: int
) -> Page[ProjectMember]:
    """Return at most `size` of the members of a project that are looked for, in their order."""
    query = _MEMBER.where(project_member.c.project_id == project_id)
    if wanted.text is not None:
        query = query.where(profile.c.searched.contains(folded(wanted.text), autoescape=True))
    if wanted.user_id is not None:
        query = query.where(user.c.id == wanted.user_id)
    if wanted.subscriptions is not None:
        owned = [one is Subscription.OWNER for one in wanted.subscriptions if one is not Subscription.NONE]
        query = query.where(project_member.c.is_owner.in_(owned))
    column: Any = {
        ProjectMemberOrder.NAME: profile.c.searched,
        ProjectMemberOrder.STATE: ~project_member.c.is_owner,
        ProjectMemberOrder.CREATED: project_member.c.created_at,
    }.get(wanted.order, user.c.id)
    order = folding.in_order(column, user.c.id, is_descending=wanted.is_descending)
    count = reading.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    rows = reading.execute(query.order_by(*order).offset(offset).limit(size))
    return Page(count, tuple(map(_read_member, rows)))


def connections_of(project_ids: Sequence[int], listed: range) -> Select[Any]:
    """Return the query for the connections of projects whose numbers, from 0, are `listed`, by their keys."""
    number = func.row_number().over(
        partition_by=project_connection.c.project_id, order_by=connection.c.connection_key
    )
    numbered = (
        select(project_connection.c.project_id, connection.c.connection_key, number.label("number"))
        .join(connection, connection.c.id == project_connection.c.connection_id)
        .where(project_connection.c.project_id.in_(project_ids))
        .subquery()
    )
    return (
        select(numbered.c.project_id, numbered.c.connection_key)
        .where(numbered.c.number > listed.start, numbered.c.number <= listed.stop)
        .order_by(numbered.c.project_id, numbered.c.number)
    )


def _members_of(project_ids: Sequence[int], listed: range) -> Select[Any]:
    """Return the same for members, by their ids."""
    number = func.row_number().over(
        partition_by=project_member.c.project_id, order_by=project_member.c.user_id
    )
    numbered = (
        select(project_member.c.project_id, project_member.c.user_id, number.label("number"))
        .where(project_member.c.project_id.in_(project_ids))
        .subquery()
    )
    is_it = (project_member.c.project_id == numbered.c.project_id) & (
        project_member.c.user_id == numbered.c.user_id
    )
    return (
        _MEMBER.join(numbered, is_it)
        .where(numbered.c.number > listed.start, numbered.c.number <= listed.stop)
        .order_by(project_member.c.project_id, user.c.id)
    )


def _conditions_of(wanted: ProjectSearch) -> list[Any]:
    conditions = []
    if wanted.text is not None:
        conditions.append(folding.contains_folded(wanted.text, project.c.name, project.c.description))
    if wanted.project_id is not None:
        conditions.append(project.c.id == wanted.project_id)
    if wanted.subscriptions is not None:
        is_so = {
            Subscription.OWNER: _IS_OWNED.is_(True),
            Subscription.SUBSCRIBED: _IS_OWNED.is_(False),
            Subscription.NONE: _IS_OWNED.is_(None),
        }
        conditions.append(or_(False, *(is_so[one] for one in wanted.subscriptions)))
    return conditions


def _order_of(wanted: ProjectSearch) -> list[Any]:
    column: Any = {
        NamedOrder.NAME: folding.folded(project.c.name),
        NamedOrder.MEMBERS: _MEMBER_COUNT,
        NamedOrder.CONNECTIONS: _CONNECTION_COUNT,
        NamedOrder.UPDATED: project.c.updated_at,
    }.get(wanted.order, project.c.id)
    return folding.in_order(column, project.c.id, is_descending=wanted.is_descending)


def _project_record(
    row: Any, members: Sequence[ProjectMember], connection_keys: Sequence[str]
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
        subscription=Subscription.of(row.is_owned),
    )


def _read_member(row: Any) -> ProjectMember:
    """Read a row of a member."""
    return ProjectMember(
        user_id=row.id,
        iamid=row.iamid,
        userid=row.userid,
        profile_id=row.profile_id,
        name=row.name,
        email=row.email,
        is_owner=row.is_owner,
        created_at=row.created_at,
    )


COUNT_CONNECTIONS = CompiledQuery(
    select(func.count().label("number"))
    .select_from(project_connection)
    .where(project_connection.c.project_id == bindparam("project_id"))
)
MEMBERSHIP = CompiledQuery(
    select(project_member.c.is_owner).where(
        project_member.c.project_id == bindparam("project_id"),
        project_member.c.user_id == bindparam("user_id"),
    )
)
