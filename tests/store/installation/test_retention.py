"""What grows, and its bound: rows that are over can be removed, and no others."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Table, func, insert, select, update

from keyturn.store.database.schema import (
    api_key,
    api_key_caller,
    api_key_use,
    audit,
    job,
    metadata,
    past_rotation,
    revoked_token,
    session,
    signing_key,
)
from keyturn.store.installation import retention
from keyturn.store.installation.retention import GROWTH, PRUNED, Growth, Pruned
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, SEAL, a_key, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.store import Store

PAGE = Path(__file__).parents[3] / "docs/operate/retention.md"
BEFORE, LATER, HOUR = NOW - timedelta(milliseconds=1), NOW + timedelta(milliseconds=1), timedelta(hours=1)


def put(store: Store, table: Table, *rows: dict[str, Any]) -> None:
    with store._database.writing() as connection:
        for row in rows:
            connection.execute(insert(table).values(**row))


def count(store: Store, table: Table) -> int:
    with store._database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def names(store: Store, pruned: Pruned) -> set[tuple[Any, ...]]:
    with store._database.reading() as connection:
        return {tuple(row) for row in connection.execute(select(*pruned.keys))}


def a_session(bob: int, number: int, **changed: object) -> dict[str, Any]:
    return {
        "id": number, "digest": bytes([number]), "user_id": bob, "kind": "browser", "created_at": NOW,
        "last_seen_at": NOW, "expires_at": LATER, "ended_at": None,
    } | changed  # fmt: skip


def a_job(name: str, **changed: object) -> dict[str, Any]:
    return {
        "id": name, "type": "CRAWL", "connection_id": 1, "connection_key": "one", "path": [],
        "state": "COMPLETED", "created_at": BEFORE, "ended_at": BEFORE, "done": 0, "is_cancel_asked": False,
        "output": {},
    } | changed  # fmt: skip


def sessions(store: Store, bob: int) -> set[tuple[Any, ...]]:
    put(
        store,
        session,
        a_session(bob, 1),
        a_session(bob, 2, ended_at=NOW),
        a_session(bob, 3, expires_at=NOW),
        a_session(bob, 4, ended_at=BEFORE),
        a_session(bob, 5, expires_at=BEFORE),
    )
    return {(4,), (5,)}


def jobs(store: Store, _bob: int) -> set[tuple[Any, ...]]:
    put(store, job, a_job("over"), a_job("just ended", ended_at=NOW), a_job("lives", ended_at=None))
    return {("over",)}


def uses(store: Store, bob: int) -> set[tuple[Any, ...]]:
    key_id = store.api_keys.add(a_key(bob), an_entry()).key_id
    hour = int(NOW.timestamp()) // 3600
    put(store, api_key_use, *({"key_id": key_id, "hour": hour + more, "uses": 1} for more in (-2, -1, 0)))
    return {(key_id, hour - 2), (key_id, hour - 1)}


def callers(store: Store, bob: int) -> set[tuple[Any, ...]]:
    key_id = store.api_keys.add(a_key(bob), an_entry()).key_id
    put(
        store,
        api_key_caller,
        *(
            {
                "key_id": key_id, "address": name, "agent": "", "uses": 1, "refused": 0,
                "first_at": BEFORE, "last_at": at,
            }
            for name, at in (("old", BEFORE), ("new", NOW))
        ),
    )  # fmt: skip
    return {(key_id, "old", "")}


def rotations(store: Store, bob: int) -> set[tuple[Any, ...]]:
    key_id = store.api_keys.add(a_key(bob), an_entry()).key_id
    put(
        store,
        past_rotation,
        {"key_id": key_id, "idempotency_key": "old", "at": BEFORE},
        {"key_id": key_id, "idempotency_key": "new", "at": NOW},
    )
    return {(key_id, "old")}


def revoked_tokens(store: Store, _bob: int) -> set[tuple[Any, ...]]:
    put(
        store,
        signing_key,
        *(
            {
                "kid": kid, "algorithm": "ES256", "sealed_jwk": seal, "created_at": NOW, "signs_from": NOW,
                "verifies_until": BEFORE,
            }
            for kid, seal in (("gone", None), ("there", SEAL))
        ),
    )  # fmt: skip
    put(
        store,
        revoked_token,
        *(
            {"jti": str(kid), "expires_at": NOW - timedelta(days=99), "kid": kid}
            for kid in ("gone", "there", None)
        ),
    )
    return {("gone",)}


def ended_keys(store: Store, bob: int) -> set[tuple[Any, ...]]:
    ended: dict[str, dict[str, Any]] = {
        "lives": {},
        "just revoked": {"revoked_at": NOW},
        "just over": {"expires_at": NOW},
        "imported": {"revoked_at": BEFORE, "masked": "…abcd"},
        "revoked": {"revoked_at": BEFORE},
        "over": {"expires_at": BEFORE},
    }
    ids = {}
    for name, values in ended.items():
        ids[name] = store.api_keys.add(a_key(bob, name=name, masked="kt_x_…abcd"), an_entry()).key_id
        if values:
            with store._database.writing() as connection:
                connection.execute(update(api_key).where(api_key.c.id == ids[name]).values(**values))
    return {(ids["revoked"],), (ids["over"],)}


def uses_of_ended_keys(store: Store, bob: int) -> set[tuple[Any, ...]]:
    over = ended_keys(store, bob)
    with store._database.reading() as connection:
        keys = connection.execute(select(api_key.c.id)).scalars().all()
    put(store, api_key_use, *({"key_id": key_id, "hour": 1, "uses": 1} for key_id in keys))
    return {(key_id, 1) for (key_id,) in over}


def events(store: Store, _bob: int) -> set[tuple[Any, ...]]:
    for _ in range(3):
        store.audit_log.record(an_entry())
    return {(row.audit_id,) for row in store.audit_log.list_after() if row.revision <= 2}


FILLED: dict[str, Callable[[Store, int], set[tuple[Any, ...]]]] = {
    "sessions": sessions,
    "jobs": jobs,
    "uses": uses,
    "callers": callers,
    "rotations": rotations,
    "revoked tokens": revoked_tokens,
    "uses of ended keys": uses_of_ended_keys,
    "ended keys": ended_keys,
    "events": events,
}
"""Fills the table, and returns which rows are over."""


def bound_of(pruned: Pruned) -> object:
    return 2 if pruned is retention.AUDIT_ROWS else NOW


def test_every_table_has_a_bound() -> None:
    """Each table says what bounds it, and is pruned if that is time."""
    assert GROWTH.keys() == metadata.tables.keys()
    assert {pruned.table.name for pruned in PRUNED} == {
        name for name, growth in GROWTH.items() if growth is Growth.TIME
    }
    assert [pruned.name for pruned in PRUNED] == list(FILLED)


def test_the_page_has_every_table() -> None:
    """The documentation names each table with its bound."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {name: growth.value for name, growth in GROWTH.items()}
    assert len(rows) == len(GROWTH)


@pytest.mark.parametrize("pruned", PRUNED, ids=[pruned.name for pruned in PRUNED])
def test_what_is_over_is_removed_and_nothing_else(store: Store, bob: int, pruned: Pruned) -> None:
    """Of a table that was filled, exactly the rows that are over are listed, in pages, and removed."""
    over = FILLED[pruned.name](store, bob)
    there = names(store, pruned)
    assert over < there
    bound = bound_of(pruned)

    listed: list[tuple[Any, ...]] = []
    while page := store.retention.list_over(pruned, bound, after=listed[-1] if listed else None, size=1):
        listed += page

    assert listed == sorted(over)
    assert store.retention.remove(pruned, bound, sorted(there)) == len(over)
    assert store.retention.remove(pruned, bound, sorted(there)) == 0
    assert names(store, pruned) == there - over


@pytest.mark.parametrize("pruned", PRUNED, ids=[pruned.name for pruned in PRUNED])
def test_processes_that_remove_the_same_rows_do_not_wait_for_each_other(
    store: Store, bob: int, pruned: Pruned
) -> None:
    """Of several that remove the same rows at once, each row is removed by one, and none fails."""
    rows = sorted(FILLED[pruned.name](store, bob))

    removed = all_at_once(4, lambda _: store.retention.remove(pruned, bound_of(pruned), rows))

    assert sum(removed) == len(rows)


def test_nothing_of_an_ended_key_stays(store: Store, bob: int) -> None:
    """With an ended key goes all that belongs to it."""
    over = ended_keys(store, bob)
    for (key_id,) in over:
        put(store, past_rotation, {"key_id": key_id, "idempotency_key": "one", "at": NOW})

    store.retention.remove(retention.ENDED_KEYS, NOW, sorted(over))

    assert count(store, past_rotation) == 0
    assert count(store, api_key) == 4
    assert count(store, audit) == 1 + 6
