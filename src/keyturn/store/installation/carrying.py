"""Ends since a backup, carried into the restored database, so that nothing revoked works again (R7).

A restored row that the present database lacks, or has with less, gets what ended there; what was given
since the backup is not carried. `RULES` says for each column which of two values is less, `LEFT` why others
do not matter; a test holds both to the schema. Where the present database cannot be read, the log of
revocations says what ended, by `ENDED`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    MetaData,
    Table,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from keyturn.core.audit import Target
from keyturn.core.connections import ConnectionState
from keyturn.core.ends import Ends, end_of
from keyturn.core.restriction_kinds import KINDS, Kind
from keyturn.store.database.schema import metadata

Tables = Mapping[str, Table]
Less = Callable[[Any, Any], Any]
"""Takes the restored value and the present one, and returns the one that allows less."""
_AT_ONCE = 500


def tables_in(schema: str | None) -> Tables:
    """Return all tables, in a schema or attached database of this name."""
    copies = MetaData(schema=schema)
    return {name: table.to_metadata(copies) for name, table in metadata.tables.items()}


@dataclass(frozen=True, slots=True)
class Carried:
    """The ends that were carried into the restored database."""

    counts: Mapping[str, int]
    """By table, those of which something ended."""
    key_ids: Sequence[int] = ()
    """The keys that were revoked or changed."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How the rows of a table end."""

    identity: tuple[str, ...]
    """The columns by which a row is the same one in both databases."""
    gone: Callable[[Table, datetime], Mapping[str, Any]] | None = None
    """The values that a row gets which the present database lacks; None to delete it."""
    columns: Mapping[str, Less] = field(default_factory=dict)


def _earliest(restored: Any, present: Any) -> Any:
    return min((value for value in (restored, present) if value is not None), default=None)


def _latest(restored: Any, present: Any) -> Any:
    return max((value for value in (restored, present) if value is not None), default=None)


def _present(_restored: Any, present: Any) -> Any:
    return present


def _both(restored: Any, present: Any) -> Any:
    return restored and present


def _either(restored: Any, present: Any) -> Any:
    return restored or present


def _common(restored: Any, present: Any) -> Any:
    return sorted(set(restored) & set(present))


def _same_or_none(restored: Any, present: Any) -> Any:
    return restored if restored == present else None


def _less_active(restored: Any, present: Any) -> Any:
    return restored if present == ConnectionState.ACTIVE else present


def _narrower(kind: Kind) -> Less:
    def narrower(restored: Any, present: Any) -> Any:
        if restored is None or present is None:
            return present if restored is None else restored
        is_within = kind.is_within(kind.restore(restored), kind.restore(present))
        return restored if is_within else present

    return narrower


def _stays(_table: Table, _at: datetime) -> Mapping[str, Any]:
    return {}


RULES: Mapping[str, Rule] = {
    "user_account": Rule(
        ("id", "created_at"),
        lambda table, at: {"disabled_at": func.coalesce(table.c.disabled_at, _time(table, at))},
        {
            "permissions": _common,
            "password_hash": _present,
            "password_changed_at": _present,
            "password_number": _latest,
            "failed_logins": _latest,
            "locked_until": _latest,
            "disabled_at": _earliest,
            "epoch": _latest,
        },
    ),
    "user_attribute": Rule(("user_id", "name", "value")),
    "group_attribute": Rule(("group_id", "name", "value")),
    "group_member": Rule(("group_id", "user_id")),
    "service_account": Rule(("user_id",), _stays, {"disabled_with_owner": _either}),
    "project_member": Rule(("project_id", "user_id"), None, {"is_owner": _both}),
    "api_key": Rule(
        ("id", "user_id", "created_at"),
        lambda table, at: {"revoked_at": func.coalesce(table.c.revoked_at, _time(table, at))},
        {
            "digest": _present,
            "masked": _present,
            "epoch": _latest,
            "secret_number": _latest,
            "project_id": _present,
            "expires_at": _earliest,
            "revoked_at": _earliest,
            **{kind.name: _narrower(kind) for kind in KINDS},
        },
    ),
    "former_secret": Rule(("key_id", "digest"), None, {"ends_at": _earliest}),
    "connection": Rule(
        ("id", "connection_key", "created_at"),
        lambda _table, _at: {"state": ConnectionState.INACTIVE},
        {"state": _less_active},
    ),
    "object_role": Rule(("connection_id", "path_digest", "role", "user_id", "group_id")),
    "project_connection": Rule(("project_id", "connection_id")),
    "resource_scope": Rule(
        ("name",),
        lambda _table, _at: {"resource_id": None, "is_for_everyone": False},
        {"resource_id": _same_or_none, "is_for_everyone": _both},
    ),
    "resource_scope_group": Rule(("scope", "group_id")),
}
"""The tables that say who may do what. Names of columns are those of the code."""

WHOLE = ("object_settings",)
"""Tables that are taken as they are now: whether a row allows more or less depends on those above it."""

ENDED_BY_EPOCH = ("session", "device_login", "invitation", "signing_key", "revoked_token", "installation")
"""The restore itself ends all that these hold: `store.installation.epochs`."""

LEFT: Mapping[str, str] = {
    "profile": "says who somebody is",
    "user_group": "allows nothing without members",
    "project": "allows nothing without members",
    "resource": "allows nothing without scopes",
    "past_rotation": "refuses to repeat a rotation",
    "system_key": "its key ends by its own row",
    "api_key_use": "counts",
    "api_key_caller": "counts",
    "failed_sign_in": "counts",
    "data_object": "was found by a crawl",
    "data_object_columns": "was found by a crawl",
    "job": "is work",
    "audit": "is history",
    "schema_step": "says what the schema is",
}
"""The tables that no end is carried into, and why."""

LEFT_COLUMNS: Mapping[str, frozenset[str]] = {
    "user_account": frozenset(
        {"iamid", "userid", "canonical_userid", "skeleton", "kind", "last_login_at", "updated_at"}
    ),
    "group_member": frozenset({"id", "created_at", "updated_at"}),
    "service_account": frozenset({"owner_user_id", "owner_group_id"}),
    "project_member": frozenset({"created_at"}),
    "api_key": frozenset(
        {
            "name",
            "note",
            "idempotency_key",
            "last_used_at",
            "last_used_address",
            "last_used_via",
            "last_used_agent",
        }
    ),
    "former_secret": frozenset({"replaced_at", "idempotency_key", "secret_number"}),
    "connection": frozenset(
        {
            "details",
            "sealed_secrets",
            "native_integration_id",
            "native_integration",
            "state_reason",
            "generation",
            "crawl_number",
            "crawled_at",
            "crawl_every_hours",
            "created_by",
            "updated_at",
            "updated_by",
        }
    ),
    "object_role": frozenset({"id"}),
    "resource_scope": frozenset({"description"}),
}
"""The columns that end nothing: names, times and counts. `_transfer` looks at the owners of accounts."""


def carry_ends(connection: Connection, restored: Tables, present: Tables, at: datetime) -> Carried:
    """End in the restored database what has ended in the present one, at this time."""
    # Two tables of one name in one statement: SQLAlchemy mistakes them in places.
    there = {name: table.alias(f"present_{name}") for name, table in present.items()}
    ended: dict[str, set[Any]] = {}
    for name, rule in RULES.items():
        ended[name] = _end_gone(connection, rule, restored[name], there[name], at)
        ended[name] |= _lessen(connection, rule, restored[name], there[name])
    ended["user_account"] |= _transfer(connection, restored, there, at)
    for name in WHOLE:
        _take_whole(connection, restored, there, name)
    return _carried(ended)


def carry_log(connection: Connection, restored: Tables, ends: Iterable[str], at: datetime) -> Carried:
    """End in the restored database what a log tells, at this time; `ends` as `core.ends.end_of` says them."""
    wanted, ended = set(ends), dict[str, set[Any]]()
    for end in ENDED:
        table = restored[end.table]
        rows = connection.execute(select(*_key(table), *(table.c[name] for name in end.columns))).all()
        size = len(_key(table))
        found = [tuple(row[:size]) for row in rows if end_of(end.ends, end.target, *row[size:]) in wanted]
        for batch in _batches(found):
            _end(connection, table, _is_one_of(table, batch), end.outcome, at)
        ended.setdefault(end.table, set()).update(found)
    return _carried(ended)


def end_all(connection: Connection, restored: Tables, at: datetime) -> Carried:
    """Revoke every key and suspend every user, at this time."""
    ended = {}
    for name in ("api_key", "user_account"):
        table, rule = restored[name], RULES[name]
        ends_at = table.c.revoked_at if name == "api_key" else table.c.disabled_at
        ended[name] = _end(connection, table, ends_at.is_(None), rule.gone, at)
    return _carried(ended)


@dataclass(frozen=True, slots=True)
class LoggedEnd:
    """The rows that a line of the log ends: those whose target has its digest."""

    ends: Ends
    target: Target
    table: str
    columns: tuple[str, ...]
    """They name the target."""
    outcome: Callable[[Table, datetime], Mapping[str, Any]] | None = None
    """The values that these rows get; None to delete them."""


def _of(name: str) -> Callable[[Table, datetime], Mapping[str, Any]] | None:
    return RULES[name].gone


ENDED = (
    LoggedEnd(Ends.KEY, Target.API_KEY, "api_key", ("id",), _of("api_key")),
    LoggedEnd(Ends.USER, Target.USER, "user_account", ("id",), _of("user_account")),
    LoggedEnd(
        Ends.PASSWORD,
        Target.USER,
        "user_account",
        ("id",),
        lambda table, _at: {"password_hash": None, "password_number": table.c.password_number + 1},
    ),
    LoggedEnd(Ends.ATTRIBUTES, Target.USER, "user_attribute", ("user_id",)),
    LoggedEnd(Ends.ATTRIBUTES, Target.GROUP, "group_attribute", ("group_id",)),
    LoggedEnd(Ends.MEMBER, Target.GROUP, "group_member", ("group_id", "user_id")),
    LoggedEnd(Ends.MEMBERS, Target.GROUP, "group_member", ("group_id",)),
    LoggedEnd(Ends.MEMBER, Target.PROJECT, "project_member", ("project_id", "user_id")),
    LoggedEnd(Ends.MEMBERS, Target.PROJECT, "project_member", ("project_id",)),
    LoggedEnd(Ends.CONNECTIONS, Target.PROJECT, "project_connection", ("project_id",)),
    LoggedEnd(Ends.SCOPES, Target.RESOURCE, "resource_scope", ("resource_id",), _of("resource_scope")),
    LoggedEnd(Ends.CONNECTION, Target.CONNECTION, "connection", ("connection_key",), _of("connection")),
)


def _end_gone(
    connection: Connection, rule: Rule, restored: Table, present: FromClause, at: datetime
) -> set[Any]:
    is_there = exists().where(_is_same(rule, restored, present))
    return _end(connection, restored, ~is_there, rule.gone, at)


def _end(
    connection: Connection,
    table: Table,
    which: Any,
    outcome: Callable[[Table, datetime], Mapping[str, Any]] | None,
    at: datetime,
) -> set[Any]:
    """End rows; return what names them."""
    if outcome is None:
        ending: Any = delete(table).where(which)
    elif values := outcome(table, at):
        ending = update(table).where(which, _differs(table, values)).values(values)
    else:
        return set()
    return {tuple(row) for row in connection.execute(ending.returning(*_key(table)))}


def _differs(table: Table, values: Mapping[str, Any]) -> Any:
    return or_(*(table.c[name].is_distinct_from(value) for name, value in values.items()))


def _lessen(connection: Connection, rule: Rule, restored: Table, present: FromClause) -> set[Any]:
    if not rule.columns:
        return set()
    names, key = list(rule.columns), _key(restored)
    pairs = [(restored.c[name], present.c[name]) for name in names]
    rows = connection.execute(
        select(
            *key,
            *(
                column.label(f"{side}_{n}")
                for n, pair in enumerate(pairs)
                for side, column in zip("rp", pair, strict=True)
            ),
        )
        .join_from(restored, present, _is_same(rule, restored, present))
        .where(or_(*(here.is_distinct_from(there) for here, there in pairs)))
    ).all()
    ended = set()
    for row in rows:
        told = row[len(key) :]
        here, there = told[::2], told[1::2]
        less = {
            name: value
            for name, old, new in zip(names, here, there, strict=True)
            if old != new and (value := rule.columns[name](old, new)) != old
        }
        if less:
            named = tuple(row[: len(key)])
            connection.execute(update(restored).where(_is_one_of(restored, [named])).values(less))
            ended.add(named)
    return ended


def _transfer(
    connection: Connection, restored: Tables, present: Mapping[str, FromClause], at: datetime
) -> set[Any]:
    """Give service accounts the owners that they have now; suspend one whose owner the backup lacks."""
    table, there = restored["service_account"], present["service_account"]
    owners = (("owner_user_id", restored["user_account"]), ("owner_group_id", restored["user_group"]))
    rows = connection.execute(
        select(table.c.user_id, *(there.c[name] for name, _ in owners))
        .join_from(table, there, table.c.user_id == there.c.user_id)
        .where(or_(*(table.c[name].is_distinct_from(there.c[name]) for name, _ in owners)))
    ).all()
    suspended = set()
    for user_id, *now in rows:
        is_there = any(
            number is not None
            and connection.execute(select(of.c.id).where(of.c.id == number)).first() is not None
            for number, (_, of) in zip(now, owners, strict=True)
        )
        if is_there:
            values = {name: number for number, (name, _) in zip(now, owners, strict=True)}
            connection.execute(update(table).where(table.c.user_id == user_id).values(values))
        else:
            users = restored["user_account"]
            suspended |= _end(connection, users, users.c.id == user_id, RULES[users.name].gone, at)
    return suspended


def _take_whole(
    connection: Connection, restored: Tables, present: Mapping[str, FromClause], name: str
) -> None:
    table, there = restored[name], present[name]
    rule, of = RULES["connection"], "connection"
    same = select(restored[of].c.id).where(exists().where(_is_same(rule, restored[of], present[of])))
    connection.execute(delete(table))
    taken = select(*there.c).where(there.c.connection_id.in_(same))
    connection.execute(table.insert().from_select([column.key for column in there.c], taken))


def _is_same(rule: Rule, restored: Table, present: FromClause) -> Any:
    return and_(*(_equals(restored.c[name], present.c[name]) for name in rule.identity))


def _equals(here: Column[Any], there: ColumnElement[Any]) -> Any:
    # An index answers `=` alone on PostgreSQL.
    return here.is_not_distinct_from(there) if here.nullable else here == there


def _is_one_of(table: Table, named: Sequence[tuple[Any, ...]]) -> Any:
    return or_(*(and_(*(c == value for c, value in zip(_key(table), row, strict=True))) for row in named))


def _key(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


def _time(table: Table, at: datetime) -> Any:
    """Return the time as a value of the type that times have."""
    return literal(at, table.c.created_at.type)


def _batches(rows: Sequence[tuple[Any, ...]]) -> Iterable[Sequence[tuple[Any, ...]]]:
    return (rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE))


def _carried(ended: Mapping[str, set[Any]]) -> Carried:
    counts = {name: len(rows) for name, rows in ended.items() if rows}
    return Carried(counts, sorted(row[0] for row in ended.get("api_key", ())))
