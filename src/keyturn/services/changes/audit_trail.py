"""Reading the audit log, on a page or as a whole."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from keyturn.core.audit import AuditAction, AuditNames, AuditRow, AuditSearch, CountedSignIns, Target
from keyturn.core.permissions import SEE_PROJECTS, Permission
from keyturn.core.principal import Principal
from keyturn.core.records import ApiKeyRecord, is_id
from keyturn.core.shown import shown, shown_json
from keyturn.core.times import wire_time
from keyturn.services.text import is_storable
from keyturn.store import Store

PAGE = 50
COUNTED = 20
EXPORTED_AT_ONCE = 500
COLUMNS = (
    "id",
    "at",
    "action",
    "result",
    "actorId",
    "actor",
    "actorKeyId",
    "targetType",
    "targetId",
    "address",
    "userAgent",
    "requestId",
    "details",
)

SOMEBODY_ELSE = "somebody else"
"""Stands for an actor of whom the reader is told no more."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Characters that a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""


class AuditTrail:
    """Shows the audit log to holders of AUDIT."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(
        self, principal: Principal, wanted: AuditSearch, *, before: int | None = None, size: int = PAGE
    ) -> list[AuditRow]:
        """Return the newest rows, or those before the row with this id: at most `size`, the newest first."""
        principal.check_may(Permission.AUDIT)
        if not _can_be_found(wanted):
            return []
        return self._store.audit_log.search(_as_seen(principal, wanted), before=before, size=size)

    def of_key(self, principal: Principal, key: ApiKeyRecord, *, size: int) -> list[AuditRow]:
        """Return the newest rows about a key, at most `size`, for anybody who may see the key.

        The key is a record that the caller was given, as for `KeyUses.callers`. Without AUDIT a row tells who
        acted, and from where, only if that was the caller or the owner of the key: its history is the owner's
        to know, the name and the address of an administrator or a colleague are not.
        """
        wanted = AuditSearch(target_type=Target.API_KEY, target_id=str(key.key_id))
        rows = self._store.audit_log.search(wanted, size=size)
        if principal.may(Permission.AUDIT):
            return rows
        known = {None, principal.user_id, key.user_id}
        return [row if row.actor_user_id in known else _without_actor(row) for row in rows]

    def find_own_deletion(
        self, principal: Principal, action: AuditAction, target: Target, number: int
    ) -> Mapping[str, Any] | None:
        """Return the details of a deletion that the caller did, who knows them: needs no permission.

        None if it was somebody else, or nobody: what is gone is told to nobody else here.
        """
        wanted = AuditSearch(action=action, target_type=target, target_id=str(number))
        rows = self._store.audit_log.search(wanted, size=1)
        is_own = bool(rows) and rows[0].actor_user_id == principal.user_id
        return rows[0].details if is_own else None

    def newer(self, principal: Principal, wanted: AuditSearch, *, after: int) -> list[AuditRow]:
        """Return the rows that follow the one with this id: at most `PAGE`, the newest first."""
        principal.check_may(Permission.AUDIT)
        if not _can_be_found(wanted):
            return []
        return self._store.audit_log.search(_as_seen(principal, wanted), after=after, size=PAGE)[::-1]

    def names(self, principal: Principal, rows: Iterable[AuditRow]) -> AuditNames:
        """Return the names of what these rows tell of; of projects and APIs, if the reader may see them.

        A reader of the log without USER_ADMIN learns user names, as the rows tell those of actors, and no
        full names.
        """
        principal.check_may(Permission.AUDIT)
        rows = list(rows)
        numbers, log = _numbers_in(rows), self._store.audit_log
        keys = log.name_keys(numbers[Target.API_KEY]) if numbers[Target.API_KEY] else {}
        users, userids = log.name_users(numbers[Target.USER] | {key.user_id for key in keys.values()})
        if not principal.may(Permission.USER_ADMIN):
            users = userids
        return AuditNames(
            users,
            userids,
            keys,
            groups=self._named(principal, Target.GROUP, numbers, Permission.AUDIT),
            projects=self._named(principal, Target.PROJECT, numbers, *SEE_PROJECTS),
            apis=self._named(principal, Target.RESOURCE, numbers, Permission.APPLICATION_ADMIN),
        )

    def _named(
        self, principal: Principal, kind: Target, numbers: Mapping[Target, set[int]], *any_of: Permission
    ) -> Mapping[int, str]:
        if not numbers[kind] or not principal.may(*any_of):
            return {}
        return self._store.audit_log.name_things(kind, numbers[kind])

    def counted_sign_ins(self, principal: Principal) -> list[CountedSignIns]:
        """Return failed sign-ins that are only counted: at most `COUNTED`, the newest first."""
        principal.check_may(Permission.AUDIT)
        return self._store.failed_sign_ins.newest(COUNTED)

    def json_lines(self, principal: Principal, wanted: AuditSearch) -> Iterator[bytes]:
        """Yield the rows that are looked for, the oldest first, each as a line of JSON that hides nothing."""
        return (shown_json(msgspec.json.encode(event)) + b"\n" for event in self._events(principal, wanted))

    def csv_lines(self, principal: Principal, wanted: AuditSearch) -> Iterator[bytes]:
        """Yield a heading and the rows that are looked for as lines of CSV (RFC 4180).

        A cell that a spreadsheet would take for a formula begins with an apostrophe; what nobody would see
        stands as its code.
        """
        events = self._events(principal, wanted)
        return (_csv_line(cells) for cells in self._cells(events))

    def _cells(self, events: Iterator[Mapping[str, Any]]) -> Iterator[list[str]]:
        yield list(COLUMNS)
        for event in events:
            yield [shown(_cell(event[column])) for column in COLUMNS]

    def _events(self, principal: Principal, wanted: AuditSearch) -> Iterator[Mapping[str, Any]]:
        principal.check_may(Permission.AUDIT)
        return self._all(_as_seen(principal, wanted))

    def _all(self, wanted: AuditSearch) -> Iterator[Mapping[str, Any]]:
        if not _can_be_found(wanted):
            return
        after = 0
        while rows := self._store.audit_log.search(wanted, after=after, size=EXPORTED_AT_ONCE):
            yield from map(event_of, rows)
            after = rows[-1].audit_id


_USERS_IN_DETAILS = ("userId", "member", "memberRemoved", "ownerUser")


def _numbers_in(rows: Iterable[AuditRow]) -> Mapping[Target, set[int]]:
    """Return the numbers of all things that these rows tell of, by their kind."""
    found: dict[Target, set[int]] = {kind: set() for kind in Target}
    for row in rows:
        number = row.target_id or ""
        if row.target_type in found and number.isascii() and number.isdigit():
            found[Target(row.target_type)].add(int(number))
        found[Target.USER].update(
            one for name in _USERS_IN_DETAILS if isinstance(one := row.details.get(name), int)
        )
        if row.actor_user_id is not None:
            found[Target.USER].add(row.actor_user_id)
        if row.actor_key_id is not None:
            found[Target.API_KEY].add(row.actor_key_id)
        if isinstance(owner := row.details.get("ownerGroup"), int):
            found[Target.GROUP].add(owner)
    return {kind: {number for number in numbers if is_id(number)} for kind, numbers in found.items()}


def _as_seen(principal: Principal, wanted: AuditSearch) -> AuditSearch:
    """Return the search without what the reader may not look for."""
    return replace(wanted, sees_people=wanted.sees_people and principal.may(Permission.USER_ADMIN))


def _without_actor(row: AuditRow) -> AuditRow:
    return replace(
        row,
        actor_user_id=None,
        actor_userid=SOMEBODY_ELSE,
        actor_key_id=None,
        address=None,
        user_agent=None,
        request_id=None,
    )


def _can_be_found(wanted: AuditSearch) -> bool:
    return is_storable(wanted.action, wanted.actor, wanted.target_type, wanted.target_id)


def event_of(row: AuditRow) -> Mapping[str, Any]:
    """Return an event as all exports have it."""
    return {
        "id": row.event_id,
        "at": wire_time(row.at),
        "action": row.action,
        "result": "success" if row.succeeded else "failure",
        "actorId": row.actor_user_id,
        "actor": row.actor_userid,
        "actorKeyId": row.actor_key_id,
        "targetType": row.target_type,
        "targetId": row.target_id,
        "address": row.address,
        "userAgent": row.user_agent,
        "requestId": row.request_id,
        "details": row.details,
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv_line(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()
