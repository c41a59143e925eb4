"""The documentation in a browser: accessible pages, search while one types, tabs and copying."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import pytest

from keyturn.documentation.library import Library, built_file
from tests.journeys.browsers import (
    NARROW,
    WIDE,
    Site,
    axe_violations,
    launch,
    overflow,
    pictures,
    take,
    window,
)

pytest.importorskip("playwright", reason="no browser driver: install playwright to run these tests")

from playwright.sync_api import expect, sync_playwright

from tests.conftest import PASSWORD
from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, ViewportSize

ENTRIES = Library(built_file()).contents
PAGE = "/docs/howto/restrict-a-key"
ANSWER = "/docs?ask=rotate a key without downtime"
STATES = (ANSWER, "/docs?ask=mediaeval falconry", "/docs/howto/rotate-key", "/docs/api", "/docs/design")
"""Besides the pages: an answer, no answer, a page that is not there, the list of routes."""
LOOKS: tuple[tuple[str, ViewportSize, Literal["light", "dark"]], ...] = (
    ("", WIDE, "light"),
    ("-dark", WIDE, "dark"),
    ("-phone", NARROW, "light"),
)


@pytest.fixture(scope="module")
def reader() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    clock = Clock()
    with running_server(new_sqlite_database(tmp_path_factory.mktemp("docs")), clock.system()) as server:
        yield Site(server, clock)


def test_every_page_is_accessible(docs: Site, reader: Browser) -> None:
    """No rule of axe-core is broken, nothing is too wide for a phone, the browser complains of nothing."""
    found = []
    with window(reader, docs) as opened:
        page = opened.page
        for entry in ENTRIES:
            page.set_viewport_size({"width": 1280, "height": 800})
            page.goto(entry.address)
            found += [f"{entry.address}: {fault}" for fault in axe_violations(page)]
            page.set_viewport_size(NARROW)
            if (excess := overflow(page)) > 0:
                found.append(f"{entry.address}: {excess} px too wide")
    assert found == []


@pytest.mark.parametrize("address", [PAGE, *STATES])
def test_each_kind_of_page_is_accessible_at_every_size(docs: Site, reader: Browser, address: str) -> None:
    """Wide and narrow, light and dark."""
    with window(reader, docs) as opened:
        opened.page.goto(address)
        assert opened.faults_at_every_size() == []


def test_the_choice_of_a_language_is_remembered(docs: Site, reader: Browser) -> None:
    """A reader who chooses Python sees Python in every example, on this page and the next."""
    with window(reader, docs) as opened:
        page = opened.page
        page.goto(PAGE)
        page.locator("label", has_text="Python").first.click()
        for tabs in page.locator("fieldset.tabset").all():
            assert tabs.locator("input[value=python]").is_checked()
        page.goto("/docs/howto/rotate-a-key")
        assert page.locator("input[value=python]").first.is_checked()
        shown = page.locator("fieldset.tabset").first.locator(".panel:visible")
        expect(shown).to_have_count(1)
        expect(shown).to_contain_text("import")


def test_code_and_pages_are_copied(docs: Site, reader: Browser) -> None:
    """A button copies its code as it stands, and a link the page as Markdown."""
    with window(reader, docs, permissions=["clipboard-read", "clipboard-write"]) as opened:
        page = opened.page
        page.goto(PAGE)
        button = page.locator(".panel:visible [data-copy]").first
        button.click()
        expect(button).to_contain_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert "curl -s" in copied
        assert docs.url in copied
        page.get_by_role("link", name="Copy as Markdown").click()
        page.wait_for_function(
            "async () => (await navigator.clipboard.readText()).includes('# Restrict a key')"
        )
        assert page.url.endswith(PAGE)


def test_search_finds_while_one_types(docs: Site, reader: Browser) -> None:
    """What is typed finds sections at once; the arrow keys and Escape move in what is found."""
    with window(reader, docs) as opened:
        page = opened.page
        page.goto("/docs")
        box = page.get_by_role("searchbox")
        box.press_sequentially("rotate a key without downtime")
        found = page.locator(".found a")
        expect(found.first).to_be_visible()
        assert axe_violations(page) == []
        box.press("ArrowDown")
        expect(found.first).to_be_focused()
        page.keyboard.press("Escape")
        expect(found.first).to_be_hidden()
        expect(box).to_be_focused()
        box.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("rotate a key without downtime")
        expect(page.get_by_role("region", name="Answer")).to_be_visible()


def test_it_reads_and_searches_without_script(docs: Site, reader: Browser) -> None:
    """Everything is there without script but the buttons that need it."""
    with window(reader, docs, java_script_enabled=False) as opened:
        page = opened.page
        page.goto(PAGE)
        expect(page.get_by_role("heading", level=1)).to_have_text("Restrict a key")
        expect(page.locator("[data-copy]:visible")).to_have_count(0)
        page.get_by_role("searchbox").fill("revoke a leaked key")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("region", name="Answer")).to_be_visible()
        page.goto("/docs/api/connections")
        expect(page.get_by_text("/data/connection/{connection_key}").first).to_be_visible()
        expect(page.locator("[data-try]:visible")).to_have_count(0)


def test_a_route_is_tried_with_the_session(docs: Site, reader: Browser) -> None:
    """A stranger is led to the login; who is signed in gets a token, after the password where it is due."""
    person = docs.add_person()
    with window(reader, docs) as opened:
        page = opened.page
        opened.watch.refused.add(f"{docs.url}/profile/token")  # The script is told so, and says what to do.
        page.goto("/docs/api/users")
        page.get_by_role("button", name="Use my session").click()
        expect(page.locator("[data-session-said] a")).to_have_attribute("href", "/login?then=/docs/api/users")
        page.context.add_cookies([person.session()])
        for _ in range(5):  # Each keeps the session alive, until the password is due again.
            page.goto("/profile")
            docs.clock.advance(timedelta(minutes=25))
        page.goto("/docs/api/users")
        page.get_by_role("button", name="Use my session").click()
        expect(page.get_by_label("Password", exact=True)).to_be_focused()
        assert axe_violations(page) == []
        page.keyboard.type("not the password")
        page.keyboard.press("Enter")
        expect(page.locator("[data-session-proof]").get_by_role("alert")).to_be_visible()
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.locator("[data-session-said]")).to_contain_text("for a few minutes")
        assert page.locator("[data-session-proof]").is_hidden()

        form = page.locator("[data-try][data-path='/bim/rpc/user/current']")
        with page.expect_response("**/bim/rpc/user/current") as called:
            form.get_by_role("button").click()
        assert "cookie" not in called.value.request.all_headers()
        expect(form.locator("[data-answer]")).to_contain_text(person.user.userid)
        page.goto("/profile/sessions")
        sessions = page.get_by_role("list", name="Sessions").get_by_role("listitem")
        expect(sessions.filter(has=page.get_by_text("token", exact=True))).to_have_count(1)


def test_pictures(docs: Site, reader: Browser, tmp_path: Path) -> None:
    """Pictures of each kind of page can be taken: KEYTURN_SCREENSHOTS=1 writes them to docs/images."""
    directory = pictures(tmp_path)
    kinds = {"page": PAGE, "answer": ANSWER, "api": "/docs/api/connections", "search": "/docs"}
    with window(reader, docs) as opened:
        page = opened.page
        for kind, address in kinds.items():
            for name, size, scheme in LOOKS:
                page.set_viewport_size(size)
                page.emulate_media(color_scheme=scheme)
                page.goto(address)
                if kind == "search":
                    page.get_by_role("searchbox").press_sequentially("rotate a key")
                    expect(page.locator(".found a").first).to_be_visible()
                take(page, directory / f"docs-{kind}{name}.png")
