"""What people do in a browser, from the login to the refusal of a revoked key; and how each page must be."""

from __future__ import annotations

import os
import random
import re
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.core.lifetimes import Lifetime
from keyturn.core.restriction_kinds import MAX_NETWORKS
from keyturn.verifying.origin import Origin
from keyturn.web.pages.keys.lists import KEYS_PER_PAGE
from tests.conftest import PASSWORD
from tests.fakes import Clock
from tests.journeys.browsers import (
    CONNECTION,
    NARROW,
    WIDE,
    Person,
    Site,
    Window,
    axe_violations,
    launch,
    overflow,
    pictures,
    row_of,
    sign_in,
    tab_to,
    take,
    window,
)
from tests.servers import running_server

pytest.importorskip("playwright", reason="no browser driver: install playwright to run these tests")

from playwright.sync_api import Error, expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Locator, Page, Playwright

KEY = re.compile(r"kt_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}")
NEW_KEY = "Save your new key"
NEW_PASSWORD = "nine copper kettles whistle"
MAX_PAGE_BYTES = 60_000
HOSTILE_NAME = '"><img src=x onerror=1>'
LONG_NAME = "W" * 254
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


# ---- The journey ----


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_a_key_from_the_login_to_its_end(any_site: Site, chromium: Browser, *, with_script: bool) -> None:
    """A person signs in, generates a key, uses it and its token, sees its use, and ends both at once."""
    person = any_site.add_person(permissions=frozenset({"CREATE_DATA_SOURCE"}))
    with window(chromium, any_site, java_script_enabled=with_script) as opened:
        page = opened.page
        page.goto("/login")
        sign_in(page, person)
        expect(page).to_have_url(f"{any_site.url}/profile/keys")

        key, commands = create_key(page, "nightly export", "In 30 days", copies=with_script)
        if not with_script:
            expect(page.get_by_role("button", name=re.compile("Cop(y|ied)"))).to_have_count(0)
        page.get_by_role("link", name="I have saved it").click()
        expect(row_of(page, "nightly export")).to_contain_text("Dec 25, 2026")
        expect(row_of(page, "nightly export")).to_contain_text("Never used")

        use = f"{commands[0]}\n{commands[1]}"
        assert f'"userid":"{person.user.userid}"' in run(use).replace(" ", "")
        token = re.search(r'"token": ?"([^"]+)"', run(f"{commands[0]}\n{commands[2]}"))
        assert token is not None
        for credential in (key, token[1], f"Bearer {key}", f"Bearer {token[1]}"):
            answer = read_connection(any_site, credential)
            assert answer.status_code == 200, answer.text

        page.reload()
        listed = row_of(page, "nightly export")
        expect(listed).to_contain_text(re.compile(rf"{key[:15]}_…{key[-4:]}"))
        expect(listed).to_contain_text(re.compile(r"now\s*from 127\.0\.0\.1"))
        assert key not in page.content()
        assert key not in back(page)

        page.goto("/profile/keys")
        act_on(page, "nightly export", "Revoke…")
        expect(page.get_by_role("heading", level=1)).to_have_text("Revoke nightly export?")
        confirmation = page.get_by_role("main")
        for told in (
            "nightly export", "Nov 25, 2026, 12:00", "127.0.0.1", f"GET /data/connection/{CONNECTION}",
            "every token made from it", "You cannot undo this",
        ):  # fmt: skip
            expect(confirmation).to_contain_text(told)
        assert read_connection(any_site, key).status_code == 200, "asking has revoked it"
        page.get_by_role("button", name="Revoke key").click()
        for credential in (key, token[1], f"Bearer {key}", f"Bearer {token[1]}"):
            assert read_connection(any_site, credential).status_code == 401
        expect(page.get_by_role("status").first).to_contain_text("Revoked nightly export.")
        expect(page.get_by_role("link", name="Ended 1")).to_be_visible()

        sign_out(page)
        expect(page.get_by_text("You’re signed out.")).to_be_visible()
        page.goto("/profile")
        expect(page).to_have_url(re.compile(r"/login\?then=/profile$"))
        for _ in range(3):
            shown = back(page)
            assert "nightly export" not in shown
            assert "Ada Marsh" not in shown


def create_key(page: Page, name: str, life: str, *, copies: bool) -> tuple[str, list[str]]:
    """Make a key from its tab; return it with the commands that set, use and exchange it on its page."""
    profile_tab(page, "API Keys").click()
    page.get_by_role("link", name="Create key").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("radio", name=life).check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(NEW_KEY)
    page.get_by_text("Exchange it for a short-lived token").click()
    key, *commands = (
        page.locator(f"#{name}").inner_text() for name in ("secret", "set", "program-1-curl", "exchange-1")
    )
    assert KEY.fullmatch(key)
    if not copies:
        return key, commands
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    what = ("the key", "the command that sets it", "curl", "the command that exchanges it")
    for words, text in zip(what, (key, *commands), strict=True):
        page.get_by_role("button", name=f"Copy {words}", exact=True).click()
        expect(page.get_by_role("status")).to_have_text(f"Copied {words}")
        expect(page.get_by_role("button", name=f"Copied {words}", exact=True)).to_be_visible()
        assert page.evaluate("() => navigator.clipboard.readText()") == text
    return key, commands


def profile_tab(page: Page, name: str) -> Locator:
    return page.get_by_role("navigation", name="Profile").get_by_role("link", name=name)


def act_on(page: Page, name: str, action: str) -> None:
    """Choose from the menu of a key in a list."""
    page.get_by_role("button", name=f"Actions for {name}").click()
    page.get_by_role("link", name=action).click()


def run(command: str) -> str:
    """Run a command as a person would, who has pasted it into a terminal."""
    environment = {"PATH": os.environ["PATH"], "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        ["bash", "-c", command], check=False, env=environment, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_connection(site: Site, credential: str) -> httpx.Response:
    return httpx.get(f"{site.url}/data/connection/{CONNECTION}", headers={"Authorization": credential})


def back(page: Page) -> str:
    """Press the back button; return what is shown then."""
    try:
        page.go_back()
    except Error as error:
        if "ERR_CACHE_MISS" not in str(error):
            raise
    return page.content()


def test_reloading_a_new_key(site: Site, chromium: Browser) -> None:
    """Loading the page of a new key again makes no second key, and shows the first no more."""
    person = site.add_person()
    with window(chromium, site) as opened:
        page = opened.page
        signed_in(page, person, "/profile")
        key, _ = create_key(page, "reloaded", "In 7 days", copies=False)
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("You have already seen this key")
        assert key not in page.content()
        page.get_by_role("link", name="Back to your API keys").click()
        expect(row_of(page, "reloaded")).to_have_count(1)


def test_the_back_button_after_signing_out(site: Site, playwright: Playwright) -> None:
    """A browser that keeps pages in memory, no-store or not, shows nothing of them after signing out."""
    person = site.add_person()
    person.add_key("nightly export")
    browser = launch(playwright, without_default_arguments=["--disable-back-forward-cache"])
    try:
        with window(browser, site) as opened:
            page = opened.page
            page.goto("/login")
            sign_in(page, person)
            profile_tab(page, "Sessions").click()
            expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
            page.evaluate("() => void setTimeout(() => history.back())")
            expect(row_of(page, "nightly export")).to_be_visible()
            sign_out(page)
            expect(page.get_by_text("You’re signed out.")).to_be_visible()
            page.evaluate("() => void setTimeout(() => history.back())")
            expect(page).to_have_url(f"{site.url}/login?then=/profile/keys")
            expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
            expect(page.get_by_role("main")).not_to_contain_text("nightly export")
    finally:
        browser.close()


def test_keyboard_alone(site: Site, chromium: Browser) -> None:
    """With the keyboard alone a person signs in, generates and revokes a key, and sees where they are."""
    person = site.add_person()
    with window(chromium, site) as opened:
        page, keyboard = opened.page, opened.page.keyboard
        page.goto("/login")
        expect(page.get_by_label("User name")).to_be_focused()
        keyboard.type(person.user.userid)
        tab_to(page, page.get_by_label("Password", exact=True))
        keyboard.type(PASSWORD)
        keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Create your first API key")).to_be_visible()

        tab_to(page, page.get_by_role("link", name="Create key"))
        keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Create a key")).to_be_visible()
        tab_to(page, page.get_by_label("Name"))
        keyboard.type("by keyboard")
        tab_to(page, page.get_by_role("radio", name="In 90 days"))
        keyboard.press("ArrowLeft")
        expect(page.get_by_role("radio", name="In 30 days")).to_be_checked()
        tab_to(page, page.get_by_role("button", name="Create key"))
        keyboard.press("Space")
        expect(page.get_by_role("heading", level=1)).to_have_text(NEW_KEY)
        tab_to(page, page.get_by_role("button", name="Copy the key"))
        keyboard.press("Space")
        tab_to(page, page.get_by_role("link", name="I have saved it"))
        keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("API Keys")

        tab_to(page, page.get_by_role("button", name="Actions for by keyboard"))
        keyboard.press("Enter")
        tab_to(page, page.get_by_role("link", name="Revoke…"))
        keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Revoke by keyboard?")
        tab_to(page, page.get_by_role("button", name="Revoke key"))
        keyboard.press("Space")
        expect(page.get_by_role("status").first).to_contain_text("Revoked by keyboard.")
        tab_to(page, page.get_by_role("link", name="Ended 1"))
        keyboard.press("Enter")
        expect(row_of(page, "by keyboard")).to_contain_text("Revoked")


def test_the_skip_link(site: Site, chromium: Browser) -> None:
    """The first Tab shows a link that leads past the head of the page to its content."""
    person = site.add_person()
    with window(chromium, site) as opened:
        page = opened.page
        page.context.add_cookies([person.session()])
        page.goto("/profile")
        skip = page.get_by_role("link", name="Skip to content")
        expect(skip).not_to_be_in_viewport()
        tab_to(page, skip, limit=1)
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()
        tab_to(page, profile_tab(page, "API Keys"), limit=1)


def test_set_up(new_site: Site, chromium: Browser) -> None:
    """The printed link fills the code and leaves it nowhere, makes the first administrator, and dies."""
    code = new_site.server.services.installation.new_setup_code()
    with window(chromium, new_site) as opened:
        page = opened.page
        page.goto(f"/setup#{code}")
        expect(page.get_by_label("Set-up code")).to_have_value(code or "")
        expect(page.get_by_label("User name")).to_be_focused()
        assert page.evaluate("() => location.href") == f"{new_site.url}/setup"
        page.get_by_label("User name").fill("first")
        page.get_by_label("Full name").fill("Ada Marsh")
        page.get_by_label("Password", exact=True).fill("too short")
        page.get_by_label("Confirm password", exact=True).fill("too short")
        page.get_by_role("button", name="Create administrator").click()
        expect(page.get_by_label("Password", exact=True)).to_be_focused()
        expect(page.get_by_role("alert")).to_contain_text("15 characters")
        expect(page.get_by_label("Set-up code")).to_have_value(code or "")
        expect(page.get_by_label("Full name")).to_have_value("Ada Marsh")

        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Confirm password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Create administrator").click()
        expect(page).to_have_url(f"{new_site.url}/profile/keys")
        expect(page.get_by_role("heading", level=2)).to_have_text("Create your first API key")
        expect(page.get_by_role("link", name="Administration")).to_be_visible()

        answer = page.goto(f"/setup#{code}")
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")


def test_changing_the_password(site: Site, chromium: Browser) -> None:
    """Each mistake is told at its field; the right form changes the password and ends the other browser."""
    person = site.add_person()
    with window(chromium, site) as one, window(chromium, site) as other:
        page = one.page
        for opened in (one, other):
            opened.page.goto("/login")
            sign_in(opened.page, person)
        profile_tab(page, "Security").click()
        for old, new, again, label, told in (
            (
                "not mine, not at all",
                NEW_PASSWORD,
                NEW_PASSWORD,
                "Current password",
                "not your current",
            ),
            (PASSWORD, "short", "short", "New password", "15 characters"),
            (PASSWORD, NEW_PASSWORD, PASSWORD, "Confirm new password", "don’t match"),
        ):
            change_password(page, old, new, again)
            at_fault = page.get_by_label(label, exact=True)
            expect(at_fault).to_be_focused()
            expect(at_fault).to_have_attribute("aria-invalid", "true")
            expect(at_fault).to_have_accessible_description(re.compile(told))
            expect(page.get_by_role("alert")).to_contain_text(told)
            expect(page).to_have_title(re.compile("^Error: "))
            expect(at_fault).to_have_value("")
        change_password(page, PASSWORD, NEW_PASSWORD, NEW_PASSWORD)
        expect(page.get_by_role("status").first).to_contain_text("Changed your password")
        profile_tab(other.page, "API Keys").click()
        expect(other.page).to_have_url(re.compile(r"/login\?then=/profile/keys$"))
        sign_in(other.page, person)
        expect(other.page.get_by_role("alert")).to_be_visible()
        expect(other.page.get_by_label("User name")).to_have_value(person.user.userid)
        expect(other.page.get_by_label("Password", exact=True)).to_be_focused()
        sign_in(other.page, person, NEW_PASSWORD)
        expect(other.page).to_have_url(f"{site.url}/profile/keys")


def change_password(page: Page, old: str, new: str, again: str) -> None:
    page.get_by_label("Current password", exact=True).fill(old)
    page.get_by_label("New password", exact=True).fill(new)
    page.get_by_label("Confirm new password", exact=True).fill(again)
    page.get_by_role("button", name="Change password").click()


def test_showing_a_password(site: Site, chromium: Browser) -> None:
    """What is typed can be shown, and is hidden again when it is sent."""
    with window(chromium, site) as opened:
        page = opened.page
        page.goto("/login")
        typed = page.get_by_label("Password", exact=True)
        typed.fill(PASSWORD)
        page.get_by_role("button", name="Show password").click()
        expect(typed).to_have_attribute("type", "text")
        page.get_by_role("button", name="Hide password").click()
        expect(typed).to_have_attribute("type", "password")


def test_ending_another_session(site: Site, chromium: Browser) -> None:
    """A person sees where they are signed in; what they end is signed out on its next click."""
    person = site.add_person()
    with window(chromium, site) as one, window(chromium, site, user_agent="Elsewhere/1.0") as other:
        for opened in (one, other):
            opened.page.goto("/login")
            sign_in(opened.page, person)
        page = one.page
        profile_tab(page, "Sessions").click()
        expect(page.get_by_text("This device")).to_have_count(1)
        page.get_by_role("button", name="End the session in").click()
        expect(page.get_by_role("status").first).to_contain_text("Ended the session in")
        expect(page.get_by_text("No other sessions.")).to_be_visible()
        profile_tab(other.page, "Security").click()
        expect(other.page).to_have_url(re.compile(r"/login\?then=/profile/security$"))

        sign_in(other.page, person)
        expect(other.page).to_have_url(f"{site.url}/profile/security")
        page.reload()
        page.get_by_role("button", name="End all other sessions").click()
        expect(page.get_by_role("status").first).to_contain_text("Ended all other sessions.")
        other.page.reload()
        expect(other.page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_mistakes_in_a_new_key(site: Site, chromium: Browser) -> None:
    """A date that cannot be is told at its field, and what was typed stays."""
    person = site.add_person()
    with window(chromium, site) as opened:
        page = opened.page
        page.context.add_cookies([person.session()])
        page.goto("/profile/keys/new")
        last_day = page.get_by_label("Last day")
        expect(last_day).to_be_hidden()
        page.get_by_label("Name").fill("forgotten date")
        page.get_by_role("radio", name="On a date").check()
        expect(last_day).to_be_visible()
        page.get_by_role("button", name="Create key").click()
        expect(last_day).to_be_focused()
        expect(last_day).to_have_accessible_description(re.compile("Choose the date"))
        expect(page.get_by_label("Name")).to_have_value("forgotten date")
        expect(page.get_by_role("radio", name="On a date")).to_be_checked()
        last_day.fill("2026-12-31")
        page.get_by_role("button", name="Create key").click()
        expect(page.get_by_role("main")).to_contain_text("Jan 1, 2027, 00:00")


def test_a_chosen_time_zone(site: Site, chromium: Browser) -> None:
    """Script tells times in the zone of the browser, and leaves those in a zone that was chosen alone."""
    person = site.add_person()
    with window(chromium, site, timezone_id="America/New_York") as opened:
        page, foot = opened.page, opened.page.get_by_role("contentinfo")
        signed_in(page, person, "/profile")
        created = page.locator("time").first
        expect(foot).to_contain_text("Times are in New York time.")
        expect(created).to_have_text(re.compile(r"^Nov 25, 2026, 0\d:"))
        foot.get_by_role("link", name="Change").click()
        page.get_by_label("Time zone").select_option("Asia/Tokyo")
        page.get_by_role("button", name="Save details").click()
        expect(foot).to_contain_text("Times are in Tokyo time.")
        expect(created).to_have_text(re.compile(r"^Nov 25, 2026, 2\d:"))
        page.goto("/profile/keys/new")
        page.get_by_role("radio", name="On a date").check()
        expect(page.get_by_label("Last day")).to_have_accessible_description(
            "The key works through the end of that day, Tokyo time."
        )


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_restricting_a_key(site: Site, chromium: Browser, *, with_script: bool) -> None:
    """With the keyboard a person opens the closed part, mends a network, and the key keeps to it."""
    person = site.add_person()
    with window(chromium, site, java_script_enabled=with_script) as opened:
        page, networks = opened.page, opened.page.get_by_label("Networks")
        signed_in(page, person, "/profile/keys/new")
        expect(networks).to_be_hidden()
        tab_to(page, page.locator(".fold summary"))
        page.keyboard.press("Enter")
        tab_to(page, networks, limit=1)
        page.keyboard.type("192.0.2.1/24")
        page.get_by_role("button", name="Create key").click()
        expect(networks).to_be_focused()
        expect(networks).to_have_value("192.0.2.1/24")
        expect(networks).to_have_accessible_description(re.compile("write 192.0.2.0/24, or 192.0.2.1 alone"))
        networks.fill("192.0.2.0/24")
        page.get_by_role("button", name="Create key").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(NEW_KEY)
        key = page.locator("#secret").inner_text()
        assert read_connection(site, key).status_code == 401
        page.get_by_role("link", name="I have saved it").click()
        expect(page.get_by_role("row").nth(1)).to_contain_text("192.0.2.0/24")


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_hostile_names(site: Site, chromium: Browser, *, with_script: bool) -> None:
    """A name is text, whatever it holds, and however long it is no page becomes wider than its window."""
    person = site.add_person(name=LONG_NAME)
    names = (HOSTILE_NAME, LONG_NAME, "<script>alert(1)</script>", "{{ 7 * 7 }}")
    with window(chromium, site, java_script_enabled=with_script) as opened:
        page = opened.page
        page.context.add_cookies([person.session()])
        page.on("dialog", lambda dialog: pytest.fail(f"a name ran as script: {dialog.message}"))
        for name in names:
            page.goto("/profile/keys/new")
            page.get_by_label("Name").fill(name)
            page.get_by_role("button", name="Create key").click()
            expect(page.get_by_role("region", name="The key").get_by_text(name, exact=True)).to_be_visible()
            check_layout(opened, with_script=with_script)
            page.get_by_role("link", name="I have saved it").click()
            listed = row_of(page, name)
            expect(listed.get_by_text(name, exact=True).first).to_be_visible()
            check_layout(opened, with_script=with_script)
            act_on(page, name, "Revoke…")
            expect(page.get_by_role("heading", level=1)).to_have_text(f"Revoke {name}?")
            check_layout(opened, with_script=with_script)


def check_layout(opened: Window, *, with_script: bool) -> None:
    """Assert that no image was made of a name, and, where it can be measured, that the page fits."""
    expect(opened.page.locator("img")).to_have_count(1)
    expect(opened.page.locator("script")).to_have_count(1)
    for size in (NARROW, WIDE) if with_script else ():
        opened.page.set_viewport_size(size)
        assert overflow(opened.page) <= 0


# ---- Every page, in every state ----


@dataclass(frozen=True)
class Cast:
    """Who looks at the pages: one with nothing, one with some of everything, one with very many keys."""

    new: Person
    known: Person
    keen: Person
    used_key: int
    unused_key: int


@pytest.fixture(scope="module")
def cast(site: Site) -> Cast:
    new, known, keen = (site.add_person() for _ in range(3))
    services, clock = site.server.services, site.clock
    used = known.add_key("nightly export")
    services.usage.note(used.record.key_id, Origin("10.20.0.14", "curl/8.5.0", "request", "GET /verify"))
    unused = known.add_key(None)
    known.add_key("never ends", Lifetime(None))
    known.revoke(known.add_key("revoked"))
    known.add_key("expired", Lifetime(clock.now + timedelta(minutes=1)))
    for number in range(200):
        added = keen.add_key(f"pipeline {number}", Lifetime(clock.now + timedelta(days=number + 1)))
        services.usage.note(added.record.key_id, Origin("10.20.0.14", "curl/8.5.0"))
        if number % 3 == 0:
            keen.revoke(added)
    clock.advance(timedelta(minutes=4))
    return Cast(new, known, keen, used.record.key_id, unused.record.key_id)


def signed_in(page: Page, person: Person, path: str) -> None:
    page.context.add_cookies([person.session()])
    page.goto(path)


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="account menu").click()
    page.get_by_role("button", name="Sign out").click()


def login(page: Page, _cast: Cast) -> None:
    page.goto("/login")


def login_after_a_mistake(page: Page, cast: Cast) -> None:
    page.goto("/login")
    sign_in(page, cast.new, "not the right one at all")
    expect(page.get_by_role("alert")).to_be_visible()


def login_with_empty_fields(page: Page, _cast: Cast) -> None:
    page.goto("/login")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("User name")).to_be_focused()
    expect(page.get_by_role("alert")).to_have_text(["Enter your user name.", "Enter your password."])


def login_after_many_mistakes(page: Page, _cast: Cast) -> None:
    page.goto("/login")
    page.get_by_label("User name").fill("nobody.at.all@example.com")
    for _ in range(6):
        page.get_by_label("Password", exact=True).fill("not the right one at all")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("You can try again in 1 second")


def form_without_a_session(page: Page, cast: Cast) -> None:
    signed_in(page, cast.new, "/profile/keys/new")
    page.get_by_label("Name").fill("nightly export")
    page.get_by_role("radio", name="In 30 days").check()
    page.context.clear_cookies()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your session ended")
    expect(page.get_by_label("User name")).to_be_focused()


def form_that_came_back(page: Page, cast: Cast) -> None:
    form_without_a_session(page, cast)
    page.get_by_label("User name").fill(cast.new.user.userid)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in and continue").click()
    expect(page.get_by_role("status").first).to_contain_text("Nothing was sent yet")
    expect(page.get_by_label("Name")).to_have_value("nightly export")
    expect(page.get_by_role("radio", name="In 30 days")).to_be_checked()


def invitation_without_its_code(page: Page, _cast: Cast) -> None:
    page.goto("/invitation")
    expect(page.get_by_label("Code")).to_be_focused()


def login_after_signing_out(page: Page, cast: Cast) -> None:
    signed_in(page, cast.new, "/profile")
    sign_out(page)
    expect(page.get_by_role("status").first).to_be_visible()


def details(page: Page, cast: Cast) -> None:
    signed_in(page, cast.new, "/profile")


def details_saved(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile")
    page.get_by_label("About you").fill("Runs the nightly exports.\n" * 5)
    page.get_by_role("button", name="Save details").click()
    expect(page.get_by_text("Saved your details.")).to_be_visible()


def details_with_a_mistake(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile")
    page.get_by_label("Phone").fill("1" * 100)
    page.get_by_role("button", name="Save details").click()
    expect(page.get_by_role("alert")).to_be_visible()


def keys_empty(page: Page, cast: Cast) -> None:
    signed_in(page, cast.new, "/profile/keys")
    expect(page.get_by_role("heading", level=2)).to_have_text("Create your first API key")


def keys_of_each_kind(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/keys")
    for name in ("nightly export", "revoked", "expired", "never ends"):
        expect(row_of(page, name).first).to_be_visible()


def keys_expiring_on_a_date(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/keys/new")
    page.get_by_role("radio", name="On a date").check()
    expect(page.get_by_label("Last day")).to_be_visible()


def keys_never_expiring(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/keys/new")
    page.get_by_role("radio", name="Never").check()
    expect(page.get_by_text("A key that never expires works for anyone")).to_be_visible()


def keys_with_a_mistaken_date(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/keys/new")
    page.get_by_role("radio", name="On a date").check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("alert")).to_be_visible()


def keys_with_a_mistaken_name(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/keys/new")
    page.locator("#name").evaluate("(input) => input.removeAttribute('maxlength')")
    page.get_by_label("Name").fill("W" * 300)
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("alert")).to_be_visible()


def keys_with_no_expiry_chosen(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/keys/new")
    page.get_by_role("radio", name="In 90 days").evaluate("(choice) => { choice.checked = false; }")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("alert")).to_be_visible()


def keys_being_restricted(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/keys/new")
    networks = page.get_by_label("Networks")
    expect(networks).to_be_hidden()
    page.locator(".fold summary").click()
    expect(networks).to_have_accessible_description(re.compile("You are on 127.0.0.1."))
    expect(page.get_by_label("Key pair")).to_be_visible()


def keys_with_mistaken_networks(page: Page, cast: Cast) -> None:
    keys_being_restricted(page, cast)
    page.get_by_label("Networks").fill("192.0.2.0/24\n10.0.0.1/8, vpn.example.com\n" + "x" * 100)
    page.get_by_label("Key pair").fill("typed meanwhile")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_label("Networks")).to_be_focused()
    expect(page.get_by_role("alert").first).to_contain_text("write 10.0.0.0/8, or 10.0.0.1 alone")
    expect(page.get_by_label("Key pair")).to_have_value("typed meanwhile")
    expect(page.get_by_label("Key pair")).to_have_accessible_description(
        re.compile("43 characters of base64url")
    )


def keys_with_a_mistaken_key_pair(page: Page, cast: Cast) -> None:
    keys_being_restricted(page, cast)
    page.get_by_label("Key pair").fill("no thumbprint")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_label("Key pair")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("43 characters")


def a_page_of_restricted_keys(page: Page, cast: Cast) -> None:
    person = cast.new.site.add_person()
    for _ in range(KEYS_PER_PAGE):
        add_restricted_key(person)
    signed_in(page, person, "/profile/keys")
    expect(page.get_by_role("row")).to_have_count(KEYS_PER_PAGE + 1)


def add_restricted_key(person: Person, networks: int = MAX_NETWORKS) -> int:
    """Make a key for many networks and one key pair; return its number."""
    sources = [f"2001:db8:ffff:{number:x}::/64" for number in range(networks)]
    return person.add_key("everything", None, *sources, dpop_jkt=JKT).record.key_id


def restricted_key_created(page: Page, cast: Cast) -> None:
    keys_being_restricted(page, cast)
    page.get_by_label("Networks").fill("192.0.2.0/24, 2001:db8:85a3:8d3:1319:8a2e:370:7348")
    page.get_by_label("Key pair").fill(JKT)
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(NEW_KEY)
    expect(page.get_by_role("main")).to_contain_text(JKT)


def revoke_a_restricted_key(page: Page, cast: Cast) -> None:
    key_id = add_restricted_key(cast.known)
    signed_in(page, cast.known, f"/profile/keys/{key_id}/revoke")
    expect(page.get_by_role("main")).to_contain_text(JKT)


def rotate_a_restricted_key(page: Page, cast: Cast) -> None:
    key_id = add_restricted_key(cast.known, 3)
    signed_in(page, cast.known, f"/profile/keys/{key_id}/rotate")
    expect(page.get_by_role("main")).to_contain_text(JKT)


def two_hundred_keys(page: Page, cast: Cast) -> None:
    signed_in(page, cast.keen, "/profile/keys")
    expect(page.get_by_text("1–20 of 200")).to_be_visible()


def the_last_of_two_hundred_keys(page: Page, cast: Cast) -> None:
    signed_in(page, cast.keen, "/profile/keys?page=10")
    expect(page.get_by_text("181–200 of 200")).to_be_visible()


def a_page_of_long_names(page: Page, cast: Cast) -> None:
    person = cast.new.site.add_person()
    for _ in range(KEYS_PER_PAGE):
        added = person.add_key(LONG_NAME)
        cast.new.site.server.services.usage.note(added.record.key_id, Origin("10.20.0.14", "curl/8.5.0"))
    signed_in(page, person, "/profile/keys")
    expect(page.get_by_role("row")).to_have_count(KEYS_PER_PAGE + 1)


def key_created(page: Page, cast: Cast) -> None:
    signed_in(page, cast.keen, "/profile/keys/new")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(NEW_KEY)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the key").click()


def key_shown_already(page: Page, cast: Cast) -> None:
    signed_in(page, cast.keen, "/profile/keys/new")
    form_id = page.locator("[name=form_id]").input_value()
    page.get_by_role("button", name="Create key").click()
    page.goto("/profile/keys/new")
    page.locator("[name=form_id]").evaluate("(input, old) => { input.value = old; }", form_id)
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You have already seen this key")


def revoke_a_used_key(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, f"/profile/keys/{cast.used_key}/revoke")
    expect(page.get_by_role("main")).to_contain_text("10.20.0.14")


def revoke_an_unused_key(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, f"/profile/keys/{cast.unused_key}/revoke")
    expect(page.get_by_role("main")).to_contain_text("Never used")


def key_revoked(page: Page, cast: Cast) -> None:
    key = cast.known.add_key("soon gone")
    signed_in(page, cast.known, f"/profile/keys/{key.record.key_id}/revoke")
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_role("status").first).to_be_visible()


def sessions_alone(page: Page, cast: Cast) -> None:
    signed_in(page, cast.new.site.add_person(), "/profile/sessions")
    expect(page.get_by_text("No other sessions.")).to_be_visible()


def sessions_elsewhere(page: Page, cast: Cast) -> None:
    person = cast.new.site.add_person()
    person.session("10.20.0.14", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
    person.session("2001:db8:85a3:8d3:1319:8a2e:370:7348", "A" * 500)
    person.session("10.20.0.15", None)
    signed_in(page, person, "/profile/sessions")
    expect(page.get_by_role("list", name="Sessions").get_by_role("listitem")).to_have_count(4)


def session_ended(page: Page, cast: Cast) -> None:
    sessions_elsewhere(page, cast)
    page.get_by_role("button", name="End all other sessions").click()
    expect(page.get_by_role("status").first).to_be_visible()


def security(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/security")


def security_with_a_mistake(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/security")
    change_password(page, PASSWORD, NEW_PASSWORD, "another")
    expect(page.get_by_role("alert")).to_be_visible()


def password_changed(page: Page, cast: Cast) -> None:
    signed_in(page, cast.new.site.add_person(), "/profile/security")
    change_password(page, PASSWORD, NEW_PASSWORD, NEW_PASSWORD)
    expect(page.get_by_role("status").first).to_be_visible()


def no_such_page(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile/keys/999999999/revoke")
    expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")


def refused_form(page: Page, cast: Cast) -> None:
    signed_in(page, cast.known, "/profile")
    page.locator("[name=csrf]").first.evaluate("(input) => { input.value = 'forged'; }")
    sign_out(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing was changed")


STATES: tuple[Callable[[Page, Cast], None], ...] = (
    login, login_after_a_mistake, login_with_empty_fields, login_after_many_mistakes, login_after_signing_out,
    form_without_a_session, form_that_came_back, invitation_without_its_code,
    details, details_saved, details_with_a_mistake,
    keys_empty, keys_of_each_kind, keys_expiring_on_a_date, keys_never_expiring, keys_with_a_mistaken_date,
    keys_with_a_mistaken_name, keys_with_no_expiry_chosen, two_hundred_keys, the_last_of_two_hundred_keys,
    a_page_of_long_names, a_page_of_restricted_keys,
    keys_being_restricted, keys_with_mistaken_networks, keys_with_a_mistaken_key_pair, restricted_key_created,
    revoke_a_restricted_key, rotate_a_restricted_key,
    key_created, key_shown_already, revoke_a_used_key, revoke_an_unused_key, key_revoked,
    sessions_alone, sessions_elsewhere, session_ended,
    security, security_with_a_mistake, password_changed,
    no_such_page, refused_form,
)  # fmt: skip


@pytest.mark.parametrize("reach", STATES, ids=lambda reach: reach.__name__)
def test_every_state_of_every_page(
    site: Site, chromium: Browser, cast: Cast, reach: Callable[[Page, Cast], None]
) -> None:
    """A page breaks no rule of axe-core, fits a narrow screen, is light, and draws no complaint."""
    with window(chromium, site) as opened:
        reach(opened.page, cast)
        assert opened.faults_at_every_size() == []
        assert opened.watch.weight(opened.page) < MAX_PAGE_BYTES


def test_every_state_of_the_set_up_page(new_site: Site, chromium: Browser) -> None:
    """The set-up page keeps the same rules, as it is first shown and with a mistake in each field."""
    new_site.server.services.installation.new_setup_code()
    with window(chromium, new_site) as opened:
        page = opened.page
        page.goto("/setup")
        assert opened.faults_at_every_size() == []
        assert opened.watch.weight(page) < MAX_PAGE_BYTES
        for password, again, at_fault in (
            ("short", "short", "Password"),
            (PASSWORD, "another", "Confirm password"),
            (PASSWORD, PASSWORD, "Set-up code"),
        ):
            page.get_by_label("Set-up code").fill("wrong")
            page.get_by_label("User name").fill("first")
            page.get_by_label("Password", exact=True).fill(password)
            page.get_by_label("Confirm password", exact=True).fill(again)
            page.get_by_role("button", name="Create administrator").click()
            expect(page.get_by_label(at_fault, exact=True)).to_be_focused()
            assert opened.faults_at_every_size() == []


# ---- The interactive API page ----


def test_the_api_reference(site: Site, chromium: Browser) -> None:
    """Its pages show every operation of the served description once, and call the server with the key alone.

    No rule of axe-core is broken on the way, and every page fits a narrow screen.
    """
    person = site.add_person(permissions=frozenset({"CREATE_DATA_SOURCE"}))
    key = person.add_key("try it out").secret
    description = httpx.get(f"{site.url}/openapi.json").json()
    wanted = {
        f"{method.upper()} {path}"
        for path, operations in description["paths"].items()
        for method in operations
        if method in {"get", "put", "post", "delete", "patch"}
    }
    with window(chromium, site) as opened:
        page = opened.page
        signed_in(page, person, "/docs/api")
        domains = page.locator("#sections a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
        shown: list[str] = []
        for domain in domains[1:]:
            page.goto(domain)
            assert opened.faults_at_every_size() == [], domain
            forms = page.locator("[data-try]").evaluate_all(
                "all => all.map(one => one.dataset.method + ' ' + one.dataset.path)"
            )
            others = page.locator("p .muted code").evaluate_all(
                "all => all.map(({textContent: one, parentNode}) => one.includes(' ') ? one "
                ": parentNode.closest('p').querySelector('.chip').textContent + ' ' + one)"
            )
            shown += [*forms, *others]
        assert sorted(shown) == sorted(wanted)

        page.goto("/docs/api/connections")
        form = page.get_by_role("form", name="Try: Read a connection", exact=True)
        form.get_by_role("button").click()
        expect(form.locator("[data-answer]")).to_contain_text("Enter your API key")
        page.locator("#try-key").fill(key)
        form.locator("[data-name=connection_key]").fill(CONNECTION)
        with page.expect_response(f"**/data/connection/{CONNECTION}") as called:
            form.get_by_role("button").click()
        sent = called.value.request.all_headers()
        assert sent["authorization"] == key
        assert "cookie" not in sent
        expect(form.locator("[data-answer]")).to_contain_text("200")
        expect(form.locator("[data-answer]")).to_contain_text(CONNECTION)
        assert axe_violations(page) == []


# ---- Pictures for the README ----


def test_pictures(tmp_path: Path, chromium: Browser) -> None:
    """The pictures in docs/images can be taken anew: KEYTURN_SCREENSHOTS=1 writes them there."""
    directory = pictures(tmp_path)
    clock = Clock(datetime(2026, 11, 25, 9, 41, tzinfo=UTC))
    chance = random.Random(20261125)  # so that the pictures change only when the pages do
    system = replace(clock.system(), random_bytes=chance.randbytes)
    database = f"sqlite:///{tmp_path / 'keyturn.db'}"
    with running_server(
        database, system, public_url="http://127.0.0.1:8400", new_installation=True
    ) as server:
        site = Site(server, clock)
        person = site.add_person("ada", permissions=frozenset({"CREATE_DATA_SOURCE"}))
        key_id = add_believable_keys(person)
        with window(chromium, site, viewport=NARROW, has_touch=True, is_mobile=True) as opened:
            page = opened.page
            signed_in(page, person, "/profile/keys")
            take(page, directory / "api-keys-phone.png")
        with window(chromium, site) as opened:
            page = opened.page
            page.goto("/login")
            take(page, directory / "login.png")
            signed_in(page, person, "/profile/keys")
            take(page, directory / "api-keys.png")
            page.emulate_media(color_scheme="dark")
            take(page, directory / "api-keys-dark.png")
            page.emulate_media(color_scheme="light")
            page.goto(f"/profile/keys/{key_id}")
            take(page, directory / "key.png")
            page.goto(f"/profile/keys/{key_id}/revoke")
            take(page, directory / "revoke.png")
            page.goto("/profile/keys/new")
            page.get_by_label("Name").fill("notebook")
            page.get_by_role("button", name="Create key").click()
            expect(page.get_by_role("heading", level=1)).to_have_text(NEW_KEY)
            take(page, directory / "key-created.png")


def add_believable_keys(person: Person) -> int:
    """Give the person what somebody has after some months; return the id of the key that is used most."""
    services, clock = person.site.server.services, person.site.clock
    today = clock.now
    names = (
        (200, "old laptop", 365, "10.20.0.31", 61 * 24 * 60),
        (120, "quarterly report", None, "10.20.0.14", 26 * 24 * 60),
        (88, "dashboard", 90, "10.20.0.27", 3 * 60 + 5),
        (12, "laptop", 30, None, None),
        (22, "nightly export", 90, "10.20.0.14", 4),
    )
    networks = {"nightly export": ["10.20.0.0/24"]}
    made = {}
    for days_ago, name, life, address, minutes_ago in names:
        clock.now = today - timedelta(days=days_ago, hours=1, minutes=7 * days_ago % 60)
        lifetime = Lifetime(clock.now + timedelta(days=life) if life else None)
        made[name] = person.add_key(name, lifetime, *networks.get(name, ()))
        if minutes_ago is not None:
            origin = Origin(address, "curl/8.5.0", "request", f"GET /data/connection/{CONNECTION}")
            for days in range(min(days_ago, 60), -1, -1):
                clock.now = today - timedelta(days=days, minutes=minutes_ago)
                for _ in range(3 + days * 5 % 11 if days % 7 < 5 else 1):
                    services.usage.note(made[name].record.key_id, origin)
                services.usage.flush(everything=True)
    clock.now = today - timedelta(days=61)
    person.revoke(made["old laptop"])
    clock.now = today
    return made["nightly export"].record.key_id
