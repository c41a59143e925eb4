"""The time zone of the profile: times of pages, and days that people enter."""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from keyturn.verifying.origin import COMMAND_LINE
from tests.web.sites import CONNECTION, Browser, secret_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.core.people import UserRecord
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

LATE = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
"""The next day has begun in Berlin."""
ADMIN = "admin@example.com"
FOOT = re.compile(r"<li>((?:(?!</li>).)*Times are in.*?)</li>")


@pytest.fixture(scope="module")
def late_site(open_site: SiteOpener) -> Iterator[Site]:
    """A server shortly before midnight in UTC."""
    with open_site() as site:
        site.clock.now = LATE
        site.add_people()
        yield site


@contextmanager
def reader(site: Site, zone: str) -> Iterator[tuple[UserRecord, Browser]]:
    """Sign in somebody who has chosen a zone on their profile."""
    user = site.new_user()
    with closing(site.browser(user.userid)) as browser:
        assert browser.submit("/profile", time_zone=zone).headers["location"] == "/profile?notice=saved"
        yield user, browser


def test_pages_tell_times_in_the_chosen_zone(late_site: Site) -> None:
    """Times, the foot and the dates beside choices are in the zone; script is told nothing to rewrite."""
    with reader(late_site, "Europe/Berlin") as (_, browser):
        page = browser.get("/profile").text
        assert "Nov 26, 2026, 00:30</time>" in page
        assert "<option selected>Europe/Berlin" in page
        assert "data-zone" not in page
        foot = FOOT.search(page)
        assert foot is not None
        assert foot[1].startswith('Times are in Berlin time. <a href="/profile#time_zone">Change<')
        form = browser.get("/profile/keys/new").text
        assert "In 7 days<span>Thu, Dec 3, 2026</span>" in form
        assert 'min="2026-11-27"' in form
        assert "The key works through the end of that day, Berlin time." in form


def test_a_last_day_ends_in_the_chosen_zone(late_site: Site) -> None:
    """A key works to the end of its last day in the zone of who enters it, and not a millisecond longer."""
    for zone, ends in (
        ("", datetime(2026, 12, 25, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 12, 24, 23, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 12, 25, 5, tzinfo=UTC)),
    ):
        with reader(late_site, zone) as (user, browser):
            secret = secret_on(browser.create_key(expiry="date", expiry_date="2026-12-24").text)
        (key,) = late_site.services.keys.list_of(user.user_id).items
        assert key.expires_at == ends
        with late_site.client(headers={"Authorization": secret}) as client:
            assert client.get(f"/data/connection/{CONNECTION}").status_code in {200, 403}


def test_today_is_that_of_the_chosen_zone(late_site: Site) -> None:
    """A day that has ended in the reader's zone is refused, though it has not ended in UTC."""
    with reader(late_site, "Europe/Berlin") as (_, berlin), reader(late_site, "UTC") as (_, utc):
        assert berlin.create_key(expiry="date", expiry_date="2026-11-25").status_code == 422
        assert utc.create_key(expiry="date", expiry_date="2026-11-25").status_code == 200


def test_without_a_choice_script_takes_the_zone_of_the_browser(late_site: Site) -> None:
    """A page is in UTC until a zone is chosen, says so, and marks what script may rewrite."""
    with reader(late_site, "Europe/Berlin") as (user, browser):
        browser.submit("/profile", **{"time_zone": "", "was.time_zone": "Europe/Berlin"})
        page = browser.get("/profile").text
    assert late_site.services.users.get_by_userid(None, user.userid).profile.time_zone is None
    assert "Nov 25, 2026, 23:30</time>" in page
    assert "<span data-zone>Times are in UTC.</span>" in page


def test_a_zone_that_is_none_is_told_at_the_field(late_site: Site) -> None:
    """Nothing is saved of a form with a zone that is not on the list."""
    user = late_site.new_user()
    with closing(late_site.browser(user.userid)) as browser:
        answer = browser.submit("/profile", time_zone="Mars/Olympus", location="here")
    assert answer.status_code == 422
    assert 'id="time_zone-problem"' in answer.text
    assert late_site.services.users.get_by_userid(None, user.userid).profile.location is None


def test_days_of_the_audit_log_are_those_of_utc(late_site: Site) -> None:
    """In every zone a heading, a search and an export mean the same; a time of another day says its day."""
    late_site.services.users.add(COMMAND_LINE, userid="latecomer", name=None)
    with closing(late_site.browser(ADMIN)) as browser:
        browser.submit("/profile", time_zone="Europe/Berlin")
        page = browser.get("/admin/audit").text
        assert re.findall(r'<h2 class="day">(.*?)</h2>', page) == ["Today, November 25, UTC"]
        assert re.search(r"data-clock>Nov 26 00:30:00</time>", page)
        assert "latecomer" in browser.get("/admin/audit?since=2026-11-25&until=2026-11-25").text
        assert "latecomer" not in browser.get("/admin/audit?since=2026-11-26").text
        exported = browser.get("/admin/audit/export.jsonl").text
        assert "2026-11-25T23:30:00" in exported
        assert '"at":"2026-11-26' not in exported
