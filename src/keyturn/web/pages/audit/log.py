"""The audit log, and its export."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Stream

from keyturn.core.audit import AuditAction, AuditNames, AuditRow, AuditSearch, CountedSignIns
from keyturn.core.records import is_id
from keyturn.errors import InvalidInput
from keyturn.services.changes.audit_trail import PAGE
from keyturn.services.text import checked_text
from keyturn.web.pages.audit.sentences import Narrator
from keyturn.web.pages.audit.words import EVENTS, TARGETS, detail_lines
from keyturn.web.pages.frame import moments
from keyturn.web.pages.frame.days import beginning_of, read_day
from keyturn.web.pages.frame.forms import page
from keyturn.web.pages.frame.tabs import AUDIT
from keyturn.web.pages.frame.views import InjectedView, View
from keyturn.web.requests import AnyRequest, asked_id

FILTERS = ("action", "actor", "user", "key", "target_type", "target", "since", "until", "result", "period")
FURTHER_FILTERS = ("user", "key", "target_type", "target", "since", "until")
"""Those that most people skip."""
RESULTS = {"success": True, "failure": False}
PERIODS = {"1": "Last 24 hours", "7": "Last 7 days", "30": "Last 30 days", "90": "Last 90 days"}
"""By how many days they go back."""
MAX_CHARACTERS = 254
LINES_AT_ONCE = 200
"""So many lines of an export go out in one piece: each piece costs a turn of a thread."""

_CHOOSE_A_DAY = "Enter a day like 2026-11-25."


@page("/", AUDIT)
def audit_page(
    request: AnyRequest, view: InjectedView, before: FromQuery[str] = "", after: FromQuery[str] = ""
) -> Response[str]:
    """Show the newest rows that are looked for, or those before or after one of them."""
    asked = _asked(request)
    try:
        wanted = _search(asked, view.services.system.now())
    except InvalidInput as error:
        return _page(view, asked, [], error=error)
    trail = view.services.audit_trail
    if (oldest := _id(after)) is not None:
        rows = trail.newer(view.principal, wanted, after=oldest)
        if len(rows) == PAGE:
            return _page(view, asked, rows, is_newest=False)
        before = ""
    rows = trail.newest(view.principal, wanted, before=_id(before))
    return _page(view, asked, rows, is_newest=not before)


@page("/export.jsonl", AUDIT)
def export_json_lines(request: AnyRequest, view: InjectedView) -> Stream:
    """Answer with the rows that are looked for, each as a line of JSON."""
    lines = view.services.audit_trail.json_lines(
        view.principal, _search(_asked(request), view.services.system.now())
    )
    return _attachment(lines, "application/x-ndjson", "jsonl", view.services.system.now())


@page("/export.csv", AUDIT)
def export_csv(request: AnyRequest, view: InjectedView) -> Stream:
    """Answer with the rows that are looked for as CSV."""
    lines = view.services.audit_trail.csv_lines(
        view.principal, _search(_asked(request), view.services.system.now())
    )
    return _attachment(lines, "text/csv; charset=utf-8; header=present", "csv", view.services.system.now())


def _asked(request: AnyRequest) -> dict[str, str]:
    asked = {name: str(request.query_params.get(name, "")).strip() for name in FILTERS}
    return {**asked, "period": asked["period"] if asked["period"] in PERIODS else ""}


def _search(asked: dict[str, str], now: datetime) -> AuditSearch:
    """Read the filter; both days are within what is looked for. Raise `InvalidInput` for what is no day."""
    until, since = _day("until", asked["until"]), _day("since", asked["since"])
    if since is None and asked["period"]:
        since = now - timedelta(days=int(asked["period"]))
    return AuditSearch(
        since=since,
        until=None if until is None else until + timedelta(days=1),
        action=_text("action", asked["action"]),
        actor=_text("actor", asked["actor"]),
        sees_people=True,
        user_id=_number(asked, "user"),
        actor_key_id=_number(asked, "key"),
        target_type=_text("target_type", asked["target_type"]),
        target_id=_text("target", asked["target"]),
        succeeded=RESULTS.get(asked["result"]),
    )


def _text(field: str, text: str) -> str | None:
    return checked_text(field, text, max_characters=MAX_CHARACTERS)


def _number(asked: dict[str, str], thing: str) -> int | None:
    """Read the number of a user or a key."""
    if not asked[thing]:
        return None
    number = asked_id(asked[thing])
    if not is_id(number):
        raise InvalidInput(thing, f"Enter the number of a {thing}. It stands on the {thing}’s page.")
    return number


def _day(field: str, text: str) -> datetime | None:
    if not text:
        return None
    day = read_day(field, text, _CHOOSE_A_DAY)
    if not 1970 <= day.year <= 9000:
        raise InvalidInput(field, _CHOOSE_A_DAY)
    return beginning_of(day)


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

    def address(**more: object) -> str:
        query = urlencode({**kept, **more})
        return f"{AUDIT.path}?{query}" if query else AUDIT.path

    return view.render(
        "audit/log.html",
        error=error,
        days=_days(view, rows),
        events=EVENTS,
        periods=PERIODS,
        target_types=[("", "Anything"), *TARGETS.items()],
        asks_further=any(asked[name] for name in FURTHER_FILTERS),
        is_filtered=bool(kept),
        query=f"?{urlencode(kept)}" if kept else "",
        counted=_counted(view, asked) if is_newest else (),
        newer=None if is_newest else address(after=rows[0].audit_id) if rows else address(),
        older=address(before=rows[-1].audit_id) if len(rows) == PAGE else None,
        values=asked,
    )


def _counted(view: View, asked: dict[str, str]) -> list[CountedSignIns]:
    """Return failed sign-ins that have no rows, where a search could have meant them."""
    if asked["action"] not in {"", AuditAction.USER_LOGIN_FAILED} or any(
        asked[name] for name in FILTERS if name != "action"
    ):
        return []
    return view.services.audit_trail.counted_sign_ins(view.principal)


def _days(view: View, rows: list[AuditRow]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the rows by their days, each with its heading.

    The days are those of UTC in every zone, so that a search and its address mean the same to everybody.
    """
    principal, today = view.principal, view.services.system.now().astimezone(UTC).date()
    names = view.services.audit_trail.names(principal, rows)
    narrator = Narrator.to(principal, names, view.zone)
    suffix = "" if view.zone is UTC else ", UTC"
    return [
        (_heading(day, today) + suffix, [_shown(row, day, narrator, names) for row in some])
        for day, some in groupby(rows, key=lambda row: row.at.astimezone(UTC).date())
    ]


def _heading(day: date, today: date) -> str:
    """Return a day as the log says it: the year only where it is another."""
    words = f"{day:%B} {day.day}" if day.year == today.year else f"{day:%B} {day.day}, {day.year}"
    near = {today: "Today", today - timedelta(days=1): "Yesterday"}
    return f"{near.get(day, f'{day:%A}')}, {words}"


def _shown(row: AuditRow, day: date, narrator: Narrator, names: AuditNames) -> dict[str, Any]:
    sentence = narrator.tell(row)
    target = " ".join(filter(None, (TARGETS.get(row.target_type, row.target_type), row.target_id)))
    return {
        "at": row.at,
        "clock": moments.clock(row.at, day, narrator.zone),
        "icon": sentence.icon,
        "text": sentence.text,
        "succeeded": row.succeeded,
        "address": row.address,
        "with_key": None if row.actor_key_id is None else narrator.key(row.actor_key_id, None),
        "action": row.action,
        "target": target,
        "details": list(detail_lines(row.details, names.userids)),
        "request_id": row.request_id,
        "agent": row.user_agent,
    }


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
