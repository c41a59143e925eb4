"""The facts that decide whether an owner's credentials work, read alike for keys and for sessions."""

from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import String, cast, func, literal_column, select

from keyturn.core.records import StoredOwner
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import UNRESTRICTED, Restrictions, restore_restrictions
from keyturn.store.database.schema import (
    RESTRICTION_COLUMNS,
    Json,
    as_stored,
    group_member,
    installation,
    profile,
    user,
)

REMEMBERED = 4096
"""How many different sets of permissions and restrictions are kept parsed, each once."""

_COMMA: Any = literal_column("','")
OWNER_COLUMNS = (
    user.c.id.label("owner_id"),
    user.c.userid,
    user.c.iamid,
    as_stored(user.c.permissions),
    as_stored(user.c.disabled_at),
    user.c.epoch.label("owner_epoch"),
    profile.c.name.label("owner_name"),
    select(func.aggregate_strings(cast(group_member.c.group_id, String), _COMMA))
    .where(group_member.c.user_id == user.c.id)
    .scalar_subquery()
    .label("owner_groups"),
    select(installation.c.revision).scalar_subquery().label("revision"),
)
"""Groups and revision too, in the one statement: only so is known which rules hold for what was read."""


def owner_record(*columns: Any) -> StoredOwner:
    """Read `OWNER_COLUMNS`."""
    user_id, userid, iamid, permissions, disabled_at, epoch, name, groups, revision = columns
    return StoredOwner(
        user_id=user_id,
        userid=userid,
        iamid=iamid,
        name=name,
        permissions=read_words(permissions),
        is_disabled=disabled_at is not None,
        epoch=epoch,
        group_ids=NO_GROUPS if groups is None else _read_groups(groups),
        revision=revision,
    )


NO_GROUPS: frozenset[int] = frozenset()


@lru_cache(REMEMBERED)
def _read_groups(listed: str) -> frozenset[int]:
    return frozenset(map(int, listed.split(",")))


@lru_cache(REMEMBERED)
def read_words(stored: str) -> frozenset[str]:
    """Read a stored set of permissions or scopes."""
    return frozenset(msgspec.json.decode(stored, type=list[str]))


@lru_cache(REMEMBERED)
def read_restrictions(*stored: str | None) -> Restrictions:
    """Read what a key is restricted to, of `RESTRICTION_COLUMNS` as they are stored."""
    if stored == _NOTHING_STORED:
        return UNRESTRICTED
    return restore_restrictions(
        {
            kind.wire: msgspec.json.decode(value) if value is not None and is_json else value
            for kind, value, is_json in zip(KINDS, stored, _ARE_JSON, strict=True)
        }
    )


_NOTHING_STORED = (None,) * len(KINDS)
_ARE_JSON = tuple(isinstance(column.type, Json) for column in RESTRICTION_COLUMNS)
