"""The audit log, and its export."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Stream

from keyturn.core.audit import AuditAction, AuditRow, AuditSearch, CountedSignIns, Target
from keyturn.core.permissions import Permission
from keyturn.core.records import is_id
from keyturn.core.searches import UserSearch
from keyturn.errors import InvalidInput
from keyturn.services.changes.audit_trail import PAGE
from keyturn.services.text import checked_text
from keyturn.web.pages.audit.words import (
    ACTIONS,
    PEOPLE,
    TARGETS,
    detail_lines,
)
from keyturn.web.pages.frame.forms import page
from keyturn.web.pages.frame.tabs import AUDIT, KEYS, USERS
from keyturn.web.pages.frame.views import InjectedView, View
from keyturn.web.pages.keys.forms import read_day
from keyturn.web.requests import AnyRequest, asked_id

FILTERS = ("action", "actor", "key", "target_type", "target", "since", "until", "result")
RESULTS = {"success": True, "failure": False}
MAX_CHARACTERS = 254
LINES_AT_ONCE = 200
"""So many lines of an export go out in one piece: each piece costs a turn of a thread."""

_CHOOSE_A_DAY = "Give a day like 2026-11-25."


@page("/", AUDIT)
def audit_page(request: AnyRequest, view: InjectedView, before: FromQuery[str] = "") -> Response[str]:
    """Show the newest rows that are looked for, or those before one of them."""
    asked = _asked(request)
    try:
        wanted = _search(asked)
    except InvalidInput as error:
        return _page(view, asked, [], error=error)
    rows = view.services.audit_trail.newest(view.principal, wanted, before=_id(before))
    return _page(view, asked, rows, is_newest=not before)


@page("/export.jsonl", AUDIT)
def export_json_lines(request: AnyRequest, view: InjectedView) -> Stream:
    """Answer with the rows that are looked for, each as a line of JSON."""
    lines = view.services.audit_trail.json_lines(view.principal, _search(_asked(request)))
    return _attachment(lines, "application/x-ndjson", "jsonl", view.services.system.now())


@page("/export.csv", AUDIT)
def export_csv(request: AnyRequest, view: InjectedView) -> Stream:
    """Answer with the rows that are looked for as CSV."""
    lines = view.services.audit_trail.csv_lines(view.principal, _search(_asked(request)))
    return _attachment(lines, "text/csv; charset=utf-8; header=present", "csv", view.services.system.now())


def _asked(request: AnyRequest) -> dict[str, str]:
    return {name: str(request.query_params.get(name, "")).strip() for name in FILTERS}


def _search(asked: dict[str, str]) -> AuditSearch:
    """Read the filter; both days are within what is looked for. Raise `InvalidInput` for what is no day."""
    until = _day("until", asked["until"])
    return AuditSearch(
        since=_day("since", asked["since"]),
        until=None if until is None else until + timedelta(days=1),
        action=_text("action", asked["action"]),
        actor=_text("actor", asked["actor"]),
        actor_key_id=_key_id(asked["key"]),
        target_type=_text("target_type", asked["target_type"]),
        target_id=_text("target", asked["target"]),
        succeeded=RESULTS.get(asked["result"]),
    )


def _text(field: str, text: str) -> str | None:
    return checked_text(field, text, max_characters=MAX_CHARACTERS)


def _key_id(text: str) -> int | None:
    if not text:
        return None
    number = asked_id(text)
    if not is_id(number):
        raise InvalidInput("key", "Give the number of a key, as it stands in the lists of keys.")
    return number


def _day(field: str, text: str) -> datetime | None:
    if not text:
        return None
    day = read_day(field, text, _CHOOSE_A_DAY)
    if not 1970 <= day.year <= 9000:
        raise InvalidInput(field, _CHOOSE_A_DAY)
    return day


def _id(text: str) -> int | None:
    return asked_id(text) or None


def _page(
    view: InjectedView,
    asked: dict[str, str],
    rows: list[AuditRow],
    *,
    is_newest: bool = True,
    error: InvalidInput | None = None,
) -> Response[str]:
    kept = {name: value for name, value in asked.items() if value}
    older = f"{AUDIT.path}?{urlencode({**kept, 'before': rows[-1].audit_id})}" if len(rows) == PAGE else None
    return view.render(
        "audit/log.html",
        error=error,
        rows=_shown(view, rows),
        actions=[("", "Any"), *ACTIONS.items()],
        target_types=[("", "Anything"), *TARGETS.items()],
        query=f"?{urlencode(kept)}" if kept else "",
        counted=_counted(view, asked) if is_newest else (),
        newest=None if is_newest else f"{AUDIT.path}?{urlencode(kept)}",
        older=older,
        values=asked,
    )


def _counted(view: View, asked: dict[str, str]) -> list[CountedSignIns]:
    """Return failed sign-ins that have no rows, where a search could have meant them."""
    if asked["action"] not in {"", AuditAction.USER_LOGIN_FAILED} or any(
        asked[name] for name in FILTERS if name != "action"
    ):
        return []
    return view.services.audit_trail.counted_sign_ins(view.principal)


def _shown(view: View, rows: list[AuditRow]) -> list[dict[str, Any]]:
    is_admin = view.principal.may(Permission.USER_ADMIN)
    userids = _userids(view, rows) if is_admin else {}
    return [
        {
            "at": row.at,
            "action": ACTIONS.get(row.action, row.action),
            "succeeded": row.succeeded,
            "actor": row.actor_userid,
            "actor_key_id": row.actor_key_id,
            "address": row.address,
            "target": " ".join(filter(None, (TARGETS.get(row.target_type, row.target_type), row.target_id))),
            "target_name": userids.get(_user_of(row)),
            "target_path": _path_of(row, userids) if is_admin else None,
            "details": list(detail_lines(row.details, userids)),
        }
        for row in rows
    ]


def _user_of(row: AuditRow) -> int:
    """Return the number of the user that a row is about, 0 for none."""
    return asked_id(row.target_id or "") if row.target_type == Target.USER else 0


def _userids(view: View, rows: list[AuditRow]) -> dict[int, str]:
    """Return the user names of those who are told of and are still there, by their ids."""
    details = (row.details.get(name) for row in rows for name in PEOPLE)
    ids = frozenset({*map(_user_of, rows), *(number for number in details if isinstance(number, int))})
    found = view.services.user_administration.search(view.principal, UserSearch(ids=ids), size=len(ids)).items
    return {user.user_id: user.userid for user in found}


def _path_of(row: AuditRow, userids: dict[int, str]) -> str | None:
    """Return where an administrator finds what a row tells of; None for what has no page, or is gone."""
    match row.target_type, row.target_id:
        case Target.API_KEY, str(number):
            return f"{KEYS.path}?{urlencode({'number': number, 'status': 'all'})}"
        case Target.USER, _ if _user_of(row) in userids:
            return f"{USERS.path}/{row.target_id}"
    return None


def _attachment(lines: Iterator[bytes], media_type: str, ending: str, now: datetime) -> Stream:
    name = f"keyturn-audit-{now:%Y-%m-%d}.{ending}"
    return Stream(
        _pieces(lines),
        media_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    while piece := b"".join(islice(lines, LINES_AT_ONCE)):
        yield piece
