"""The audit log as it is read: whole, in order, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import itertools
import json
import threading
from datetime import timedelta
from typing import Any

import pytest

from keyturn.composition import Services
from keyturn.core.audit import Actor, AuditAction, AuditEntry, AuditSearch, Target
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.errors import PermissionMissing
from keyturn.services.changes import audit_trail
from keyturn.services.changes.audit_trail import COLUMNS, PAGE
from keyturn.verifying.origin import actor_of
from tests.fakes import Clock
from tests.people import HERE, add_person, holder, new_key, person

MILLISECOND = timedelta(milliseconds=1)
DANGEROUS = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=HYPERLINK(1)")
HARMLESS = ('say "hi", please', "two\nlines", "two\r\nlines", "a;b|c", "ö€", "'quoted", "1-1=0", " =1", "")


@pytest.fixture
def auditor(services: Services, admin: Principal) -> Principal:
    return holder(services, "auditor", Permission.AUDIT)


def write(services: Services, clock: Clock, **changed: Any) -> None:
    """Write a row that says what the test says."""
    actor = Actor(
        user_id=changed.pop("user_id", None),
        userid=changed.pop("userid", "tester"),
        user_agent=changed.pop("user_agent", None),
    )
    values: dict[str, Any] = {
        "target_type": Target.USER,
        "target_id": "1",
        "action": AuditAction.USER_INVITED,
    }
    services.store.audit_log.record(AuditEntry(at=clock.now, actor=actor, **(values | changed)))


def as_json(services: Services, who: Principal, wanted: AuditSearch | None = None) -> list[dict[str, Any]]:
    lines = b"".join(services.audit_trail.json_lines(who, wanted or AuditSearch())).splitlines()
    return [json.loads(line) for line in lines]


def as_csv(services: Services, who: Principal, wanted: AuditSearch | None = None) -> list[list[str]]:
    written = b"".join(services.audit_trail.csv_lines(who, wanted or AuditSearch())).decode()
    return list(csv.reader(io.StringIO(written, newline="")))


def test_both_exports_say_the_same(services: Services, auditor: Principal, clock: Clock) -> None:
    """JSON and CSV hold the same rows in the same order, the oldest first, under the stated names."""
    write(services, clock, succeeded=False, details={"because": "x"})
    rows = as_json(services, auditor)
    heading, *lines = as_csv(services, auditor)

    assert tuple(heading) == COLUMNS == tuple(rows[0])
    assert [line[0] for line in lines] == [row["id"] for row in rows]
    assert [row["id"] for row in rows] == [
        row.event_id for row in services.store.audit_log.list_after(limit=10_000)
    ]
    assert (rows[-1]["result"], rows[-1]["details"]) == ("failure", {"because": "x"})
    assert rows[-1]["at"] == "2026-11-25T12:00:00.000Z"
    assert lines[-1][COLUMNS.index("details")] == '{"because":"x"}'
    assert lines[-1][COLUMNS.index("actorId")] == ""


def test_no_cell_is_a_formula(services: Services, auditor: Principal, clock: Clock) -> None:
    """What others wrote comes back as it was, but for an apostrophe before what would be a formula."""
    for text in (*DANGEROUS, *HARMLESS):
        write(services, clock, userid=text, user_agent=text)
        line = as_csv(services, auditor)[-1]

        expected = f"'{text}" if text in DANGEROUS else text
        assert line[COLUMNS.index("actor")] == line[COLUMNS.index("userAgent")] == expected
        assert not line[COLUMNS.index("actor")].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert len(line) == len(COLUMNS), "no text begins another cell or line"
        assert as_json(services, auditor)[-1]["actor"] == text


def test_every_filter_finds_exactly_its_rows(services: Services, auditor: Principal, clock: Clock) -> None:
    """Each condition finds its rows and no others; `since` is within, `until` is not."""
    clock.advance(timedelta(days=1))
    began = clock.now
    write(services, clock, userid="Zoë_%", details={"n": 1})
    clock.advance(MILLISECOND)
    write(
        services,
        clock,
        user_id=4711,
        userid="other",
        action=AuditAction.GROUP_CREATED,
        target_type=Target.GROUP,
    )
    write(services, clock, userid="third", target_id="2", succeeded=False)
    here = {"since": began}
    table: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["Zoë_%", "other", "third"]),
        ({"since": began + MILLISECOND}, ["other", "third"]),
        ({"until": began + MILLISECOND}, ["Zoë_%"]),
        ({"until": began}, []),
        ({"action": "GroupCreated"}, ["other"]),
        ({"action": "Group"}, []),
        ({"actor": "ZOË"}, ["Zoë_%"]),
        ({"actor": "_"}, ["Zoë_%"]),
        ({"actor": "%"}, ["Zoë_%"]),
        ({"actor": "t_i"}, []),
        ({"target_type": Target.USER}, ["Zoë_%", "third"]),
        ({"target_type": Target.USER, "target_id": "1"}, ["Zoë_%"]),
        ({"user_id": 1}, ["Zoë_%"]),
        ({"user_id": 2}, ["third"]),
        ({"user_id": 4711}, ["other"]),
        ({"succeeded": False}, ["third"]),
        ({"succeeded": True}, ["Zoë_%", "other"]),
        *(
            ({name: text}, [])
            for name in ("action", "actor", "target_type", "target_id")
            for text in "\x00\ud800"
        ),
    ]
    for wanted, expected in table:
        search = AuditSearch(**(here | wanted))
        assert [row["actor"] for row in as_json(services, auditor, search)] == expected, wanted
        newest = services.audit_trail.newest(auditor, search)
        assert [row.actor_userid for row in newest] == expected[::-1], wanted


def test_pages_are_stable_while_rows_are_added(services: Services, auditor: Principal, clock: Clock) -> None:
    """Who reads page after page sees every row from before they began exactly once, whatever comes (A6)."""
    for number in range(2 * PAGE + 7):
        write(services, clock, userid=str(number))
    there = [row.audit_id for row in services.store.audit_log.list_after(limit=10_000)][::-1]
    seen: list[int] = []
    before = None
    while page := services.audit_trail.newest(auditor, AuditSearch(), before=before):
        assert len(page) <= PAGE
        seen += [row.audit_id for row in page]
        before = page[-1].audit_id
        for _ in range(3):
            write(services, clock)
    assert seen == there


def test_an_export_is_whole_while_rows_are_added(
    services: Services, auditor: Principal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export while others write has every row from before it once, and what came between in order."""
    monkeypatch.setattr(audit_trail, "EXPORTED_AT_ONCE", 4)
    for number in range(30):
        write(services, clock, userid=str(number))
    there = [row.event_id for row in services.store.audit_log.list_after(limit=10_000)]
    stop = threading.Event()

    def keep_writing() -> None:
        for number in itertools.count():
            if stop.is_set() or number == 200:
                return
            write(services, clock, userid="meanwhile")

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        exported = [row["id"] for row in as_json(services, auditor)]
    finally:
        stop.set()
        writer.join()

    assert exported[: len(there)] == there
    assert len(set(exported)) == len(exported)
    committed = [row.event_id for row in services.store.audit_log.list_after(limit=10_000)]
    assert committed[: len(exported)] == exported


def test_only_audit_reads_it(services: Services, admin: Principal) -> None:
    """Every other permission reads nothing of it, and is refused before the first line (A1)."""
    others = holder(services, "others", *(set(Permission) - {Permission.AUDIT}))
    for act in (
        lambda: services.audit_trail.newest(others, AuditSearch()),
        lambda: services.audit_trail.json_lines(others, AuditSearch()),
        lambda: services.audit_trail.csv_lines(others, AuditSearch()),
    ):
        with pytest.raises(PermissionMissing):
            act()


def test_the_history_of_a_key_names_nobody_else(
    services: Services, admin: Principal, auditor: Principal
) -> None:
    """Its owner knows what happened to it; who else did it, and from where, is for readers of the log."""
    add_person(services)
    bob = person(services)
    key, other = new_key(services, bob).record, new_key(services, bob).record
    services.keys.update_own(bob, key.key_id, name="export", note=None, origin=HERE)
    services.keys.revoke_any(key.key_id, actor_of(admin, HERE))

    def told(who: Principal, size: int = 9) -> list[tuple[str, str, str | None]]:
        rows = services.audit_trail.of_key(who, key, size=size)
        return [(row.action, row.actor_userid, row.address) for row in rows]

    own = [("ApiKeyUpdated", "bob", HERE.address), ("ApiKeyCreated", "bob", HERE.address)]
    assert told(bob) == [("ApiKeyDeleted", "somebody else", None), *own]
    assert told(auditor) == [("ApiKeyDeleted", admin.userid, HERE.address), *own]
    assert told(bob, 1) == told(bob)[:1]
    (hidden,) = services.audit_trail.of_key(bob, key, size=1)
    assert (hidden.actor_user_id, hidden.actor_key_id, hidden.user_agent, hidden.request_id) == (None,) * 4
    assert [row.action for row in services.audit_trail.of_key(bob, other, size=9)] == ["ApiKeyCreated"]


def test_reading_writes_nothing(services: Services, auditor: Principal) -> None:
    """Reading and exporting the log adds no row to it."""
    add_person(services)
    before = services.store.installation.revision()
    as_csv(services, auditor)
    as_json(services, auditor)
    services.audit_trail.newest(auditor, AuditSearch())
    assert services.store.installation.revision() == before
