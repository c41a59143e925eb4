"""The page of one key, whoever looks at it: its owner, the owner of its account, or an administrator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litestar import Response

from keyturn.core.records import ApiKeyRecord, KeyCaller
from keyturn.errors import Reason, ScopeMissing
from keyturn.web.pages.audit.activity import activity_of_key
from keyturn.web.pages.frame.views import View
from keyturn.web.pages.keys.charts import SPARK_DAYS, Chart, last_days, sparkline

STILL_CALLS = timedelta(days=7)
"""A caller that was seen within this time breaks if the key ends."""
REASONS: Mapping[str, str] = {
    Reason.EXPIRED: "after it expired",
    Reason.OWNER_DISABLED: "while its owner was suspended",
    Reason.REQUEST: "for a method or path that it may not use",
    Reason.REVOKED: "after it, or its old secret, ended",
    Reason.SENDER: "without a proof of its key pair",
    Reason.SOURCE: "from outside its networks",
    ScopeMissing.__name__: "without a scope that was needed",
}
"""Why a key was refused, in words for its owner. Others are left to the log."""


@dataclass(frozen=True, slots=True)
class ShownCaller:
    """A caller in the words of the page."""

    address: str | None
    agent: str | None
    via: str | None
    uses: int
    refused: int
    reason: str | None
    last_at: datetime


def show_key(view: View, record: ApiKeyRecord, key: dict[str, Any], **context: Any) -> Response[str]:
    """Return the page of a key, which is `key` as its template shows it."""
    services, now = view.services, view.services.system.now()
    counted = services.key_uses.by_day([record]).get(record.key_id, {})
    chart = Chart(last_days(counted, now.date()))
    callers = [_shown(one) for one in services.key_uses.callers(record)]
    return view.render(
        "keys/key.html",
        key=key,
        chart=chart if chart.accepted or chart.refused else None,
        callers=callers,
        stopping=[one for one in callers if one.uses and one.last_at > now - STILL_CALLS],
        activity=activity_of_key(view, record),
        **context,
    )


def _shown(caller: KeyCaller) -> ShownCaller:
    return ShownCaller(
        caller.address,
        caller.agent,
        caller.via,
        caller.uses,
        caller.refused,
        REASONS.get(caller.reason or ""),
        caller.last_at,
    )


def uses_of(view: View, records: Sequence[ApiKeyRecord]) -> Mapping[int, dict[str, Any]]:
    """Return for a list how often each key was used in the last days: the sum, and its sparkline."""
    counted = view.services.key_uses.by_day(records)
    today = view.services.system.now().date()
    days = {key.key_id: last_days(counted.get(key.key_id, {}), today, SPARK_DAYS) for key in records}
    return {
        key_id: {"uses": sum(one.accepted for one in shown), "spark": sparkline(shown)}
        for key_id, shown in days.items()
    }
