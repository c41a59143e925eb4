"""Every component of the pages in all its states, on one page: for whoever changes the stylesheet.

The macros of the pages draw it, with values that are made as their handlers make them: it cannot show what
the pages do not.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Response

from keyturn.core.networks import read_network
from keyturn.core.records import ApiKeyRecord, LastUse
from keyturn.core.restrictions import Restrictions
from keyturn.core.searches import KeyCounts, KeyFilter
from keyturn.system import System
from keyturn.web.pages.frame.forms import asset
from keyturn.web.pages.frame.paging import paging
from keyturn.web.pages.frame.rendering import InjectedPages
from keyturn.web.pages.keys.charts import DAYS, SPARK_DAYS, Chart, Day, sparkline
from keyturn.web.pages.keys.forms import shown_key
from keyturn.web.pages.keys.lists import key_list, parts_of
from keyturn.web.representation import Representation
from keyturn.web.requests import AnyRequest
from keyturn.web.routes import HeaderSet

PATH = "/docs/design"
CACHING = "public, max-age=300"
_COLUMNS = ("name", "state", "used", "expires")
_PARTS = (KeyFilter.ACTIVE, KeyFilter.SOON, KeyFilter.ENDED)
_RESTRICTED = Restrictions(scopes=frozenset({"orders:read"}), networks=(read_network("10.20.0.0/24"),))


@asset(PATH, headers=HeaderSet.CONNECTING_DOCUMENT)
def kit(request: AnyRequest, pages: InjectedPages) -> Response[bytes]:
    """Show every component."""
    system: System = request.app.state.services.system
    page = pages.render("documentation/kit.html", **_samples(system.now()))
    return Representation.of(page.content.encode(), "text/html").answer(request, CACHING)


def _samples(now: datetime) -> Mapping[str, Any]:
    """Return values such as the handlers of the pages make, at distances from `now` that stay."""
    listed = key_list({"sort": "-used"}, PATH, _COLUMNS)
    days = _days(now)
    return {
        "keys": [_shown(number, record, now) for number, record in enumerate(_records(now))],
        "sorting": listed.sorting,
        "segments": parts_of(
            listed, KeyCounts(total=316, active=290, soon=3, suspended=0, ended=23), *_PARTS
        ),
        "first_page": paging(316, 1, PATH),
        "middle_page": paging(316, 8, PATH),
        "chart": Chart(days),
        "quiet_chart": Chart([Day(one.date) for one in days]),
        "at": now - timedelta(minutes=4),
        "later": now + timedelta(days=3),
        "values": {
            "kit_error": "kt_7hQ2mZ9fT1xD",
            "kit_choice": "never",
            "kit_box_on": "on",
            "kit_chosen": "b",
        },
        "problems": {
            "kit_error": "This looks like a key. Enter a name that others may see.",
            "kit_area_error": "vpn.example.com is not an address or network.",
            "kit_select_error": "Choose a time zone from the list.",
            "kit_password_error": "That’s not your current password.",
            "kit_group_error": "Keys without an expiry are not allowed here: choose a date.",
        },
    }


def _records(now: datetime) -> list[ApiKeyRecord]:
    """Return a key in each state that a list can show."""

    def record(number: int, name: str | None, *, ends: int | None, **others: Any) -> ApiKeyRecord:
        return ApiKeyRecord(
            key_id=number,
            user_id=1,
            name=name,
            masked=f"kt_7hQ2mZ9fT1x{number}_…4b1X",
            created_at=now - timedelta(days=120),
            expires_at=None if ends is None else now + timedelta(days=ends),
            revoked_at=others.pop("revoked_at", None),
            last_use=others.pop("last_use", None),
            **others,
        )

    used = LastUse(now - timedelta(minutes=4), "10.20.0.14", "GET /verify", "curl/8.5.0")
    return [
        record(
            1, "nightly export", ends=60, last_use=used, note="Airflow, production", restrictions=_RESTRICTED
        ),
        record(2, "billing sync", ends=None, last_use=used, former_secret_ends_at=now + timedelta(days=1)),
        record(3, None, ends=3),
        record(4, "dashboard", ends=200),
        record(5, "quarterly report", ends=-9, last_use=used),
        record(6, "old laptop", ends=90, last_use=used, revoked_at=now - timedelta(days=61)),
    ]


def _shown(number: int, record: ApiKeyRecord, now: datetime) -> dict[str, Any]:
    days = _days(now, SPARK_DAYS) if record.last_use else []
    return shown_key(
        record,
        now,
        path=f"{PATH}#key",
        uses=sum(one.accepted for one in days),
        spark=sparkline(days),
        owner_is_disabled=number == 3,  # One is suspended.
    )


def _days(now: datetime, count: int = DAYS) -> list[Day]:
    """Return uses with a rhythm of weeks, some refused."""
    today = now.astimezone(UTC).date()
    return [
        Day(today - timedelta(days=ago), 4 if ago % 7 < 2 else 20 + ago * 37 % 90, 18 if ago % 31 == 5 else 0)
        for ago in range(count - 1, -1, -1)
    ]
