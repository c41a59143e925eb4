"""How pages and API say that somebody has, or makes, too many (fault B8)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.web.conftest import SiteOpener

BOB = "bob@example.com"


def test_fault_b8_pages_and_api_say_what_is_too_many(open_site: SiteOpener) -> None:
    """One key too many is 409, one too soon 429 with `Retry-After`; what was typed stays."""
    with open_site(keys_per_owner=1, creations_per_minute=2) as site:
        site.add_people()
        browser = site.browser(BOB)
        with site.client(headers={"Authorization": site.key(BOB).secret}) as client:
            answers = [
                client.post("/bim/apikey"),
                browser.create_key(name="typed"),
                client.post("/bim/apikey"),
                browser.create_key(name="typed"),
            ]
        assert [answer.status_code for answer in answers] == [409, 409, 429, 429]
        for full in answers[:2]:
            assert "1 living keys, and may have 1: revoke some" in full.text
        for early in answers[2:]:
            assert early.headers["retry-after"] == "30"
            assert "wait 30 seconds" in early.text
        for page in answers[1::2]:
            assert 'value="typed"' in page.text
        site.clock.advance(timedelta(seconds=30))
        assert browser.create_key().status_code == 409
