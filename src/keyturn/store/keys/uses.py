"""How keys are used and refused, and who presents them: rows that are added to, never changed back."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)

from keyturn.core.records import (
    MAX_ADDRESS_CHARACTERS,
    MAX_AGENT_CHARACTERS,
    MAX_CALLERS,
    MAX_VIA_CHARACTERS,
    ConnectionCaller,
    KeyCaller,
    KeyUsage,
    LastUse,
    UseCount,
)
from keyturn.store.database.rows import insert_on_conflict
from keyturn.store.database.schema import OF_CONNECTIONS, api_key, api_key_caller, api_key_use, profile, user
from keyturn.store.database.transactions import shortened

_MAX_REASON_CHARACTERS = 32


def write_uses(connection: Connection, uses: Mapping[int, KeyUsage]) -> None:
    """Write the uses of these keys, whose rows are locked. A key that is gone is passed over."""
    dialect = connection.dialect.name
    last = [_last_use_row(key_id, use.last) for key_id, use in uses.items() if use.last is not None]
    hours = [
        {"used_key": key_id, "used_hour": hour, "used_times": count.uses, "refused_times": count.refused}
        for key_id, use in uses.items()
        for hour, count in use.by_hour().items()
    ]
    callers = [_caller_row(key_id, caller) for key_id, use in uses.items() for caller in use.callers]
    for statement, rows in (
        (_LAST_USE, last),
        (_uses_of_hour(dialect), hours),
        (_seen_caller(dialect), callers),
    ):
        if rows:
            connection.execute(statement, rows)
    if callers:
        connection.execute(
            _DROP_SURPLUS_CALLERS, {"key_ids": sorted({row["seen_key_id"] for row in callers})}
        )


def find_uses_by_day(
    connection: Connection, key_ids: Collection[int], since_hour: int, shift_hours: int
) -> dict[int, dict[int, UseCount]]:
    """Return the counts of these keys by day, as `ApiKeys.uses_by_day` does."""
    found: dict[int, dict[int, UseCount]] = {}
    given = {"key_ids": sorted(key_ids), "since_hour": since_hour, "shift_hours": shift_hours}
    for key_id, day, uses, refused in connection.execute(_BY_DAY, given):
        found.setdefault(key_id, {})[day] = UseCount(int(uses), int(refused))
    return found


def find_callers(connection: Connection, key_id: int) -> tuple[KeyCaller, ...]:
    """Return who presented a key, the newest first."""
    return tuple(map(_caller, connection.execute(_CALLERS, {"of_key": key_id})))


def find_callers_by_via(
    connection: Connection, vias: Collection[str], *, user_id: int | None, size: int
) -> tuple[ConnectionCaller, ...]:
    """Return the callers whose last request was one of these for a connection, the newest first."""
    query = (
        select(
            api_key.c.id,
            api_key.c.name,
            user.c.id.label("user_id"),
            user.c.userid,
            profile.c.name.label("user_name"),
            api_key_caller.c.address,
            api_key_caller.c.agent,
            api_key_caller.c.last_at,
        )
        .join(api_key, api_key.c.id == api_key_caller.c.key_id)
        .join(user, user.c.id == api_key.c.user_id)
        .join(profile, profile.c.user_id == user.c.id)
        .where(OF_CONNECTIONS, api_key_caller.c.via.in_(sorted(vias)), api_key_caller.c.uses > 0)
        .order_by(*_NEWEST_FIRST)
        .limit(size)
    )
    if user_id is not None:
        query = query.where(user.c.id == user_id)
    return tuple(
        ConnectionCaller(
            row.id,
            row.name,
            row.user_id,
            row.userid,
            row.user_name,
            row.address or None,
            row.agent or None,
            row.last_at,
        )
        for row in connection.execute(query)
    )


def _last_use_row(key_id: int, last: LastUse) -> dict[str, Any]:
    return {
        "used_key": key_id,
        "used_at": last.at,
        "used_from": shortened(last.address, MAX_ADDRESS_CHARACTERS),
        "used_via": shortened(last.via, MAX_VIA_CHARACTERS),
        "used_by": shortened(last.agent, MAX_AGENT_CHARACTERS),
    }


_LAST_USE = (
    update(api_key)
    .where(
        api_key.c.id == bindparam("used_key"),
        or_(api_key.c.last_used_at.is_(None), api_key.c.last_used_at < bindparam("used_at")),
    )
    .values(
        last_used_at=bindparam("used_at"),
        last_used_address=bindparam("used_from"),
        last_used_via=bindparam("used_via"),
        last_used_agent=bindparam("used_by"),
    )
)


@cache
def _uses_of_hour(dialect: str) -> Any:
    """Build the statement that adds to the counts of an hour, of keys that are there still."""
    statement = insert_on_conflict(api_key_use, dialect).from_select(
        ["key_id", "hour", "uses", "refused"],
        select(
            api_key.c.id,
            *(bindparam(name, type_=BigInteger) for name in ("used_hour", "used_times", "refused_times")),
        ).where(api_key.c.id == bindparam("used_key")),
    )
    return statement.on_conflict_do_update(
        index_elements=["key_id", "hour"],
        set_={name: api_key_use.c[name] + statement.excluded[name] for name in ("uses", "refused")},
    )


def _caller_row(key_id: int, caller: KeyCaller) -> dict[str, Any]:
    return {
        "seen_key_id": key_id,
        "seen_address": shortened(caller.address, MAX_ADDRESS_CHARACTERS) or "",
        "seen_agent": shortened(caller.agent, MAX_AGENT_CHARACTERS) or "",
        "seen_via": shortened(caller.via, MAX_VIA_CHARACTERS),
        "seen_uses": caller.uses,
        "seen_refused": caller.refused,
        "seen_reason": shortened(caller.reason, _MAX_REASON_CHARACTERS),
        "seen_first_at": caller.first_at,
        "seen_last_at": caller.last_at,
    }


@cache
def _seen_caller(dialect: str) -> Any:
    """Build the statement that adds to the row of a caller as `core.key_uses.merge_callers` does."""
    columns = [column for column in api_key_caller.c if column.name != "key_id"]
    given = [bindparam(f"seen_{column.name}", type_=column.type) for column in columns]
    statement = insert_on_conflict(api_key_caller, dialect).from_select(
        ["key_id", *(column.name for column in columns)],
        select(api_key.c.id, *given).where(api_key.c.id == bindparam("seen_key_id")),
    )
    new, old = statement.excluded, api_key_caller.c
    is_later = new.last_at >= old.last_at
    return statement.on_conflict_do_update(
        index_elements=["key_id", "address", "agent"],
        set_={
            "via": case((is_later, new.via), else_=old.via),
            "uses": old.uses + new.uses,
            "refused": old.refused + new.refused,
            "reason": case(
                (is_later, func.coalesce(new.reason, old.reason)),
                else_=func.coalesce(old.reason, new.reason),
            ),
            "first_at": case((new.first_at < old.first_at, new.first_at), else_=old.first_at),
            "last_at": case((is_later, new.last_at), else_=old.last_at),
        },
    )


_OF_KEYS = api_key_caller.c.key_id.in_(bindparam("key_ids", expanding=True))
_NEWEST_FIRST = (api_key_caller.c.last_at.desc(), api_key_caller.c.address, api_key_caller.c.agent)


def _surplus() -> Select[Any]:
    """Ask for the callers of some keys that are not among the `MAX_CALLERS` seen last."""
    place = func.row_number().over(partition_by=api_key_caller.c.key_id, order_by=_NEWEST_FIRST)
    ranked = select(*api_key_caller.primary_key, place.label("place")).where(_OF_KEYS).subquery()
    return select(ranked.c.key_id, ranked.c.address, ranked.c.agent).where(ranked.c.place > MAX_CALLERS)


_DROP_SURPLUS_CALLERS = delete(api_key_caller).where(
    and_(_OF_KEYS, tuple_(*api_key_caller.primary_key).in_(_surplus()))
)
_CALLERS = (
    select(api_key_caller)
    .where(api_key_caller.c.key_id == bindparam("of_key"))
    .order_by(*_NEWEST_FIRST)
    .limit(MAX_CALLERS)
)


def _caller(row: Row[Any]) -> KeyCaller:
    return KeyCaller(
        address=row.address or None,
        agent=row.agent or None,
        via=row.via,
        uses=row.uses,
        refused=row.refused,
        reason=row.reason,
        first_at=row.first_at,
        last_at=row.last_at,
    )


_DAYS = (
    select(
        api_key_use.c.key_id,
        ((api_key_use.c.hour + bindparam("shift_hours", type_=Integer)) // 24).label("day"),
        api_key_use.c.uses,
        api_key_use.c.refused,
    )
    .where(
        api_key_use.c.key_id.in_(bindparam("key_ids", expanding=True)),
        api_key_use.c.hour >= bindparam("since_hour", type_=BigInteger),
    )
    .subquery()
)
_BY_DAY = select(_DAYS.c.key_id, _DAYS.c.day, func.sum(_DAYS.c.uses), func.sum(_DAYS.c.refused)).group_by(
    _DAYS.c.key_id, _DAYS.c.day
)
