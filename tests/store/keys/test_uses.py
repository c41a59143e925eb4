"""Uses, refusals and callers of keys as rows: added up, bounded, and never moved back."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import event, func, select

from keyturn.core.key_uses import merge_callers
from keyturn.core.records import MAX_CALLERS, KeyCaller, KeyUsage, LastUse, hour_of
from keyturn.store.database.schema import api_key_caller, api_key_use
from keyturn.store.installation.retention import CALLERS, USES
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, a_key, a_user, an_entry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Table

    from keyturn.store import Store

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def add_key(store: Store, owner: int) -> int:
    return store.api_keys.add(a_key(owner), an_entry()).key_id


def a_caller(address: str | None = "192.0.2.7", *, at: datetime = NOW, **changed: object) -> KeyCaller:
    values: dict[str, object] = {
        "agent": "curl", "via": "GET /", "uses": 1, "refused": 0, "reason": None, "first_at": at,
    }  # fmt: skip
    return KeyCaller(address=address, last_at=at, **(values | changed))  # type: ignore[arg-type]


def seen(*callers: KeyCaller) -> KeyUsage:
    """Report these callers of a key, and nothing else."""
    return KeyUsage(None, 0, callers=callers)


def used(at: datetime, uses: int, refused: int = 0) -> KeyUsage:
    last = LastUse(at, None, None, None) if uses else None
    return KeyUsage(last, uses, refused, at if refused else None)


def count_rows(store: Store, table: Table) -> int:
    with store._database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_caller_is_read_as_written(store: Store, bob: int) -> None:
    """All of a caller is kept; an address or agent that is not known is none, and not another's row."""
    key_id = add_key(store, bob)
    callers = [
        a_caller(at=NOW + 3 * SECOND, uses=4, refused=2, reason="revoked", first_at=NOW),
        a_caller(None, at=NOW + 2 * SECOND),
        a_caller(at=NOW + SECOND, agent=None, via=None),
        a_caller(None, agent=None, uses=0, refused=1),
    ]

    store.api_keys.record_use({key_id: seen(*callers)})
    store.api_keys.record_use({key_id: seen()})

    assert store.api_keys.callers(key_id) == tuple(callers)
    assert store.api_keys.callers(key_id + 1) == ()


def test_a_caller_of_any_length_is_written(store: Store, bob: int) -> None:
    """Long or strange texts are cut to what is kept; a key that is gone is passed over."""
    key_id = add_key(store, bob)
    strange = "\x00" + "é" * 1000

    store.api_keys.record_use(
        {
            key_id: seen(a_caller(strange, agent=strange, via=strange, reason=strange)),
            key_id + 1: KeyUsage(None, 0, 1, NOW, (a_caller(),)),
        }
    )

    assert store.api_keys.callers(key_id) == (
        a_caller("é" * 64, agent="é" * 255, via="é" * 255, reason="é" * 32),
    )
    assert count_rows(store, api_key_caller) == 1
    assert count_rows(store, api_key_use) == 0


def test_a_caller_is_added_to_in_any_order_of_reports(store: Store, bob: int) -> None:
    """Whatever order reports come in, the row is what all of them say together: the newest request wins."""
    chance = random.Random(3)
    reports = [
        a_caller(
            at=NOW + number * SECOND,
            first_at=NOW + (number - chance.randrange(5)) * SECOND,
            via=chance.choice([None, f"GET /{number}"]),
            uses=chance.randrange(3),
            refused=chance.randrange(3),
            reason=chance.choice([None, f"reason {number}"]),
        )
        for number in range(4)
    ]
    for order in itertools.permutations(reports):
        key_id = add_key(store, bob)
        for report in order:
            store.api_keys.record_use({key_id: seen(report)})
        assert store.api_keys.callers(key_id)[0].via == reports[-1].via
        assert store.api_keys.callers(key_id) == merge_callers(order)


def test_the_callers_seen_last_are_kept(store: Store, bob: int) -> None:
    """Of each key no more callers than are kept remain after a write, and none of another key's is lost."""
    busy, quiet = add_key(store, bob), add_key(store, bob)
    store.api_keys.record_use({quiet: seen(a_caller("quiet", at=NOW - 24 * HOUR))})
    names = [str(number) for number in range(2 * MAX_CALLERS + 5)]
    for number, name in enumerate(names):
        store.api_keys.record_use({busy: seen(a_caller(name, at=NOW + number * SECOND))})
    many = [a_caller(f"m{number}", at=NOW + HOUR + number * SECOND) for number in range(5)]
    store.api_keys.record_use({busy: seen(*many), quiet: seen(a_caller("new"))})

    kept = [caller.address for caller in store.api_keys.callers(busy)]
    assert kept == [f"m{number}" for number in reversed(range(5))] + names[: 5 - MAX_CALLERS - 1 : -1]
    assert [caller.address for caller in store.api_keys.callers(quiet)] == ["new", "quiet"]
    assert count_rows(store, api_key_caller) == MAX_CALLERS + 2


def test_an_older_caller_does_not_drive_out_newer_ones(store: Store, bob: int) -> None:
    """A report that was held back brings no caller that was seen longer ago than those that are kept."""
    key_id = add_key(store, bob)
    store.api_keys.record_use(
        {key_id: seen(*(a_caller(str(number), at=NOW + SECOND) for number in range(MAX_CALLERS)))}
    )

    store.api_keys.record_use({key_id: seen(a_caller("older"))})

    assert "older" not in {caller.address for caller in store.api_keys.callers(key_id)}
    assert len(store.api_keys.callers(key_id)) == MAX_CALLERS


def test_uses_and_refusals_add_up_by_day(store: Store, bob: int) -> None:
    """Counts of many keys are read at once, by day; keys and days without any are left out."""
    first, second, unused = (add_key(store, bob) for _ in range(3))
    eve = add_key(store, store.users.add(a_user("eve"), an_entry()).user_id)
    midnight = NOW.replace(hour=0)
    for key_id, usage in (
        (first, used(midnight - SECOND, 1, 10)),
        (first, used(midnight, 2)),
        (first, used(NOW, 3, 5)),
        (second, used(NOW, 0, 7)),
        (eve, used(NOW, 100)),
    ):
        store.api_keys.record_use({key_id: usage})

    day = hour_of(NOW) // 24
    keys = [first, second, unused]
    assert store.api_keys.uses_by_day(keys, 0) == {
        first: {day - 1: (1, 10), day: (5, 5)},
        second: {day: (0, 7)},
    }
    assert store.api_keys.uses_by_day(keys, hour_of(midnight)) == {
        first: {day: (5, 5)}, second: {day: (0, 7)},
    }  # fmt: skip
    assert store.api_keys.uses_by_day([first], 0, shift_hours=1) == {first: {day: (6, 15)}}
    assert store.api_keys.uses_by_day([first], 0, shift_hours=-1) == {first: {day - 1: (3, 10), day: (3, 5)}}
    assert store.api_keys.uses_by_day([first], 0, shift_hours=12) == {first: {day: (3, 10), day + 1: (3, 5)}}
    assert store.api_keys.uses_by_day([], 0) == {}


def test_a_refused_key_is_none_that_was_used(store: Store, bob: int) -> None:
    """A refusal is no use: neither the last use nor the number of uses says anything of it."""
    key_id = add_key(store, bob)

    store.api_keys.record_use({key_id: used(NOW, 0, 3)})

    found = store.api_keys.find_of_user(key_id, bob)
    assert found is not None
    assert found.last_use is None
    assert store.api_keys.count_uses(bob, since_hour=0) == {}


def test_callers_go_with_their_key(store: Store, bob: int) -> None:
    """Deleting a user leaves nothing of who called with their keys."""
    store.users.add(a_user("admin", permissions=frozenset({"APPLICATION_ADMIN", "USER_ADMIN"})), an_entry())
    store.api_keys.record_use({add_key(store, bob): KeyUsage(None, 0, 1, NOW, (a_caller(),))})

    assert store.users.delete(bob, NOW, an_entry(target_id=str(bob)))

    assert count_rows(store, api_key_caller) == count_rows(store, api_key_use) == 0


def test_uses_of_many_keys_are_one_transaction(store: Store, bob: int) -> None:
    """Uses, refusals and callers of a batch are committed together, by as many statements as for one key."""
    keys = [add_key(store, bob) for _ in range(20)]

    def asked(uses: Iterable[int]) -> tuple[list[str], int]:
        statements: list[str] = []
        commits = 0
        engine = store._database.writes._engine

        def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            if not statement.startswith("BEGIN"):
                statements.append(statement)

        def count_commit(_connection: object) -> None:
            nonlocal commits
            commits += 1

        event.listen(engine, "before_cursor_execute", note)
        event.listen(engine, "commit", count_commit)
        full = KeyUsage(LastUse(NOW, None, None, None), 1, 1, NOW, (a_caller(), a_caller("other")))
        store.api_keys.record_use(dict.fromkeys(uses, full))
        event.remove(engine, "before_cursor_execute", note)
        event.remove(engine, "commit", count_commit)
        return [statement.split()[0] for statement in statements], commits

    assert asked(keys) == asked(keys[:1]) == (["SELECT", "UPDATE", "INSERT", "INSERT", "DELETE"], 1)


def test_reports_at_once_add_up(store: Store, bob: int) -> None:
    """Processes that write the same keys and callers at once, and forget old ones, lose and double none."""
    keys = [add_key(store, bob) for _ in range(10)]
    old = a_caller("old", at=NOW - 24 * HOUR)
    store.api_keys.record_use(dict.fromkeys(keys, seen(old)))
    usage = KeyUsage(LastUse(NOW, None, None, None), 2, 1, NOW, (a_caller(uses=2, refused=1),))
    back = KeyUsage(None, 0, 0, None, (a_caller("old", at=NOW - SECOND),))

    def act(number: int) -> None:
        for turn in range(5):
            if number == 3:
                for pruned in (USES, CALLERS):
                    rows = store.retention.list_over(pruned, NOW - HOUR, after=None, size=100)
                    store.retention.remove(pruned, NOW - HOUR, rows)
            else:
                order = keys if (number + turn) % 2 else keys[::-1]
                store.api_keys.record_use(dict.fromkeys(order, usage))
                store.api_keys.record_use(dict.fromkeys(order, back))

    assert all_at_once(4, act) == [None] * 4

    day = hour_of(NOW) // 24
    assert store.api_keys.uses_by_day(keys, 0) == {key_id: {day: (30, 15)} for key_id in keys}
    for key_id in keys:
        newest, former = store.api_keys.callers(key_id)
        assert (newest.uses, newest.refused) == (30, 15)
        assert former.last_at == NOW - SECOND
