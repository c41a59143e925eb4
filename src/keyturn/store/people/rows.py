"""Rows of users to records: accounts and profiles, with the attributes and owners that belong to them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, select

from keyturn.core.people import Attributes, ProfileRecord, ServiceOwner, UserKind, UserRecord
from keyturn.store.database.schema import (
    group_attribute,
    group_member,
    profile,
    service_account,
    user,
    user_attribute,
)
from keyturn.store.database.statements import CompiledQuery
from keyturn.store.database.transactions import Database

NO_VALUE = ""
"""The value in the row of an attribute that is its name alone."""
PROFILE_TEXTS = ("name", "email", "phone", "about", "location", "organization", "position", "time_zone")

PROFILE_COLUMNS = (
    profile.c.id.label("profile_id"),
    profile.c.preferences,
    profile.c.external_user_ids,
    profile.c.created_at.label("profile_created_at"),
    profile.c.updated_at.label("profile_updated_at"),
    *(profile.c[name] for name in PROFILE_TEXTS),
)

SELECT_USER = (
    select(user, service_account.c.owner_user_id, service_account.c.owner_group_id, *PROFILE_COLUMNS)
    .join(profile, profile.c.user_id == user.c.id)
    .outerjoin(service_account, service_account.c.user_id == user.c.id)
)


def read_users(connection: Connection, query: Select[Any]) -> list[UserRecord]:
    """Return the users that `query`, a narrowed `SELECT_USER`, finds, by three questions in all."""
    rows = connection.execute(query).all()
    if not rows:
        return []
    ids = [row.id for row in rows]
    own = connection.execute(_OWN.where(user_attribute.c.user_id.in_(ids))).all()
    of_groups = connection.execute(_OF_GROUPS.where(group_member.c.user_id.in_(ids))).all()
    return user_records(rows, own, of_groups)


def user_records(rows: Sequence[Any], own: Sequence[Any], of_groups: Sequence[Any]) -> list[UserRecord]:
    """Return users from their rows and those of the attributes of their own and of their groups."""
    own_by_id, of_groups_by_id = gathered_attributes(own), gathered_attributes(of_groups)
    return [_user_record(row, own_by_id.get(row.id, {}), of_groups_by_id.get(row.id, {})) for row in rows]


def ask_users(database: Database, query: CompiledQuery, **parameters: Any) -> list[UserRecord]:
    """Return the users that a prepared, narrowed `SELECT_USER` finds, in the order of their ids."""
    rows = database.read(query, **parameters)
    if not rows:
        return []
    between = {"first": rows[0].id, "last": rows[-1].id}
    return user_records(
        rows, database.read(_OWN_BETWEEN, **between), database.read(_OF_GROUPS_BETWEEN, **between)
    )


_OWN = select(user_attribute.c.user_id, user_attribute.c.name, user_attribute.c.value)
_OF_GROUPS = (
    select(group_member.c.user_id, group_attribute.c.name, group_attribute.c.value)
    .join(group_attribute, group_attribute.c.group_id == group_member.c.group_id)
    .distinct()
)
_OWN_BETWEEN = CompiledQuery(
    _OWN.where(user_attribute.c.user_id.between(bindparam("first"), bindparam("last")))
)
_OF_GROUPS_BETWEEN = CompiledQuery(
    _OF_GROUPS.where(group_member.c.user_id.between(bindparam("first"), bindparam("last")))
)
USER_BY_ID = CompiledQuery(SELECT_USER.where(user.c.id == bindparam("user_id")))
USER_BY_PROFILE = CompiledQuery(SELECT_USER.where(profile.c.id == bindparam("profile_id")))
USER_BY_NAME = CompiledQuery(
    SELECT_USER.where(user.c.iamid == bindparam("iamid"), user.c.canonical_userid == bindparam("name"))
)


def profile_record(row: Row[Any]) -> ProfileRecord:
    """Read `PROFILE_COLUMNS`."""
    texts = {name: getattr(row, name) for name in PROFILE_TEXTS}
    return ProfileRecord(
        profile_id=row.profile_id,
        preferences=row.preferences,
        external_user_ids=row.external_user_ids,
        created_at=row.profile_created_at,
        updated_at=row.profile_updated_at,
        **texts,
    )


def gathered_attributes(rows: Iterable[Any]) -> dict[int, Attributes]:
    """Gather (id, name, value) by id, in alphabetical order."""
    gathered: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for number, name, value in sorted(map(tuple, rows)):
        values = gathered[number][name]
        if value != NO_VALUE:
            values.append(value)
    return {
        number: {name: tuple(values) for name, values in named.items()} for number, named in gathered.items()
    }


def _user_record(row: Row[Any], attributes: Attributes, group_attributes: Attributes) -> UserRecord:
    owner = None
    if row.owner_user_id is not None or row.owner_group_id is not None:
        owner = ServiceOwner(row.owner_user_id, row.owner_group_id)
    return UserRecord(
        user_id=row.id,
        iamid=row.iamid,
        userid=row.userid,
        kind=UserKind(row.kind),
        permissions=frozenset(row.permissions),
        profile=profile_record(row),
        attributes=attributes,
        group_attributes=group_attributes,
        owner=owner,
        has_password=row.password_hash is not None,
        password_changed_at=row.password_changed_at,
        is_disabled=row.disabled_at is not None,
        last_login_at=row.last_login_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        disabled_at=row.disabled_at,
        locked_until=row.locked_until,
        failed_logins=row.failed_logins,
    )
