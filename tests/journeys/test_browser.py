"""What people do in a browser, from the login to the refusal of a revoked key; and how each page must be."""

from __future__ import annotations

import os
import random
import re
import subprocess
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.services.audit import Origin
from keyturn.services.keys import Lifetime
from tests.conftest import PASSPHRASE
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
    row_of,
    sign_in,
    tab_to,
    window,
)
from tests.servers import running_server

pytest.importorskip("playwright", reason="no browser driver: install playwright to run these tests")

from playwright.sync_api import Error, expect  # noqa: E402 - after the check that it is there

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page, Playwright

KEY = re.compile(r"kt_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}")
NEW_PASSPHRASE = "nine copper kettles whistle"
MAX_PAGE_BYTES = 60_000
MAX_PICTURE_BYTES = 120_000
PICTURES = Path(__file__).parents[2] / "docs" / "images"
HOSTILE_NAME = '"><img src=x onerror=1>'
LONG_NAME = "W" * 254


# ---- The journey ----


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_a_key_from_the_login_to_its_end(any_site: Site, chromium: Browser, *, with_script: bool) -> None:
    """A person signs in, generates a key, uses it and its token, sees its use, and ends both at once."""
    person = any_site.add_person(permissions=frozenset({"CREATE_DATA_SOURCE"}))
    with window(chromium, any_site, java_script_enabled=with_script) as opened:
        page = opened.page
        page.goto("/login")
        sign_in(page, person)
        expect(page).to_have_url(f"{any_site.url}/profile")

        key, commands = generate_key(page, "nightly export", "30 days", copies=with_script)
        page.get_by_role("link", name="Done").click()
        expect(row_of(page, "nightly export")).to_contain_text("25 Dec 2026")
        expect(row_of(page, "nightly export")).to_contain_text("never")

        assert f'"userid":"{person.user.userid}"' in run(commands[0]).replace(" ", "")
        token = re.search(r'"token": ?"([^"]+)"', run(commands[1]))
        assert token is not None
        for credential in (key, token[1], f"Bearer {key}", f"Bearer {token[1]}"):
            answer = read_connection(any_site, credential)
            assert answer.status_code == 200, answer.text

        page.reload()
        listed = row_of(page, "nightly export")
        expect(listed).to_contain_text(re.compile(rf"{key[:15]}_…{key[-4:]}"))
        expect(listed).to_contain_text(re.compile(r"just now\s+from 127\.0\.0\.1"))
        assert key not in page.content()
        assert key not in back(page)

        page.goto("/profile/keys")
        row_of(page, "nightly export").get_by_role("link", name="Revoke").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Revoke this key?")
        confirmation = page.get_by_role("main")
        for told in (
            "nightly export", "25 Nov 2026, 12:00 UTC", "127.0.0.1", f"GET /data/connection/{CONNECTION}",
            "every token made from it", "cannot be undone",
        ):  # fmt: skip
            expect(confirmation).to_contain_text(told)
        assert read_connection(any_site, key).status_code == 200, "asking has revoked it"
        page.get_by_role("button", name="Revoke key").click()
        for credential in (key, token[1], f"Bearer {key}", f"Bearer {token[1]}"):
            assert read_connection(any_site, credential).status_code == 401
        expect(page.get_by_role("status").first).to_contain_text("The key is revoked.")
        expect(page.get_by_text("You have no active key.")).to_be_visible()
        expect(page.get_by_text("Revoked and expired (1)")).to_be_visible()

        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_text("You are signed out.")).to_be_visible()
        page.goto("/profile")
        expect(page).to_have_url(re.compile(r"/login\?then=/profile$"))
        for _ in range(3):
            shown = back(page)
            assert "nightly export" not in shown
            assert "Ada Marsh" not in shown


def generate_key(page: Page, name: str, life: str, *, copies: bool) -> tuple[str, list[str]]:
    """Make a key on its tab; return it with the two commands that its page shows."""
    page.get_by_role("link", name="API Keys").click()
    page.get_by_label("Name", exact=False).fill(name)
    page.get_by_label(life).check()
    page.get_by_role("button", name="Generate key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your new key")
    shown = [page.locator(f"#{name}").inner_text() for name in ("secret", "curl-direct", "curl-exchange")]
    assert KEY.fullmatch(shown[0])
    if not copies:
        expect(page.get_by_role("button", name="Copy")).to_have_count(0)
        return shown[0], shown[1:]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    what = ("the key", "the command that uses the key", "the command that exchanges the key")
    for name, text in zip(what, shown, strict=True):
        page.get_by_role("button", name=f"Copy {name}", exact=True).click()
        expect(page.get_by_role("status")).to_have_text(f"Copied {name}.")
        expect(page.get_by_role("button", name=f"Copied {name}", exact=True)).to_be_visible()
        assert page.evaluate("() => navigator.clipboard.readText()") == text
    return shown[0], shown[1:]


def run(command: str) -> str:
    """Run a command as a person would, who has pasted it into a terminal."""
    environment = {"PATH": os.environ["PATH"], "no_proxy": "127.0.0.1"}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=20)
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


def test_the_back_button_after_signing_out(site: Site, playwright: Playwright) -> None:
    """A browser that keeps pages in memory shows nothing private of them once the person has signed out."""
    person = site.add_person()
    person.add_key("nightly export")
    browser = launch(playwright, without_default_arguments=["--disable-back-forward-cache"])
    try:
        with window(browser, site) as opened:
            page = opened.page
            page.goto("/login")
            sign_in(page, person)
            page.get_by_role("link", name="API Keys").click()
            page.get_by_role("link", name="Sessions").click()
            page.go_back()
            expect(row_of(page, "nightly export")).to_be_visible()
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_text("You are signed out.")).to_be_visible()
            for _ in range(4):
                shown = back(page)
                assert "nightly export" not in shown
                assert "Ada Marsh" not in shown
    finally:
        browser.close()


def test_keyboard_alone(site: Site, chromium: Browser) -> None:
    """With Tab, Enter and Space a person signs in, generates a key and revokes it, and sees where they are."""
    person = site.add_person()
    with window(chromium, site) as opened:
        page, keyboard = opened.page, opened.page.keyboard
        page.goto("/login")
        expect(page.get_by_label("User name")).to_be_focused()
        keyboard.type(person.user.userid)
        tab_to(page, page.get_by_label("Passphrase", exact=True))
        keyboard.type(PASSPHRASE)
        keyboard.press("Enter")
        expect(page).to_have_url(f"{site.url}/profile")

        tab_to(page, page.get_by_role("link", name="API Keys"))
        keyboard.press("Enter")
        expect(page.get_by_role("heading", name="New key")).to_be_visible()
        tab_to(page, page.get_by_label("Name", exact=False))
        keyboard.type("by keyboard")
        tab_to(page, page.get_by_label("90 days"))
        keyboard.press("ArrowLeft")
        expect(page.get_by_label("30 days")).to_be_checked()
        tab_to(page, page.get_by_role("button", name="Generate key"))
        keyboard.press("Space")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your new key")
        tab_to(page, page.get_by_role("button", name="Copy the key"))
        keyboard.press("Space")
        tab_to(page, page.get_by_role("link", name="Done"))
        keyboard.press("Enter")

        tab_to(page, page.get_by_role("link", name="Revoke by keyboard"))
        keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Revoke this key?")
        tab_to(page, page.get_by_role("button", name="Revoke key"))
        keyboard.press("Space")
        expect(page.get_by_text("You have no active key.")).to_be_visible()
        ended = page.locator("summary")
        tab_to(page, ended)
        keyboard.press("Enter")
        expect(row_of(page, "by keyboard").get_by_text("Revoked")).to_be_visible()


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
        tab_to(page, page.get_by_role("link", name="Details"), limit=1)


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
        page.get_by_label("Passphrase", exact=True).fill("too short")
        page.get_by_label("Passphrase again", exact=True).fill("too short")
        page.get_by_role("button", name="Create administrator").click()
        expect(page.get_by_label("Passphrase", exact=True)).to_be_focused()
        expect(page.get_by_role("alert")).to_contain_text("15 characters")
        expect(page.get_by_label("Set-up code")).to_have_value(code or "")
        expect(page.get_by_label("Full name")).to_have_value("Ada Marsh")

        page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
        page.get_by_label("Passphrase again", exact=True).fill(PASSPHRASE)
        page.get_by_role("button", name="Create administrator").click()
        expect(page.get_by_role("status").first).to_contain_text("The administrator is made.")
        user = new_site.server.services.accounts.get_by_userid("bim", "first")
        sign_in(page, Person(new_site, user))
        expect(page.get_by_role("heading", level=1)).to_have_text("Ada Marsh")
        expect(page.get_by_text("APPLICATION_ADMIN")).to_be_visible()

        answer = page.goto(f"/setup#{code}")
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")


def test_changing_the_passphrase(site: Site, chromium: Browser) -> None:
    """Each mistake is told at its field; the right form changes the passphrase and ends the other browser."""
    person = site.add_person()
    with window(chromium, site) as one, window(chromium, site) as other:
        page = one.page
        for opened in (one, other):
            opened.page.goto("/login")
            sign_in(opened.page, person)
        page.get_by_role("link", name="Security").click()
        for old, new, again, label, told in (
            ("not mine, not at all", NEW_PASSPHRASE, NEW_PASSPHRASE, "Current passphrase", "not your current"),
            (PASSPHRASE, "short", "short", "New passphrase", "15 characters"),
            (PASSPHRASE, NEW_PASSPHRASE, PASSPHRASE, "New passphrase again", "differ"),
        ):
            change_passphrase(page, old, new, again)
            at_fault = page.get_by_label(label, exact=True)
            expect(at_fault).to_be_focused()
            expect(at_fault).to_have_attribute("aria-invalid", "true")
            expect(at_fault).to_have_accessible_description(re.compile(told))
            expect(page.get_by_role("alert")).to_contain_text(told)
            expect(page).to_have_title(re.compile("^Error: "))
            expect(at_fault).to_have_value("")
        change_passphrase(page, PASSPHRASE, NEW_PASSPHRASE, NEW_PASSPHRASE)
        expect(page.get_by_role("status").first).to_contain_text("Your passphrase is changed.")
        other.page.get_by_role("link", name="API Keys").click()
        expect(other.page).to_have_url(re.compile(r"/login\?then=/profile/keys$"))
        sign_in(other.page, person)
        expect(other.page.get_by_role("alert")).to_be_visible()
        expect(other.page.get_by_label("User name")).to_have_value(person.user.userid)
        expect(other.page.get_by_label("Passphrase", exact=True)).to_be_focused()
        sign_in(other.page, person, NEW_PASSPHRASE)
        expect(other.page).to_have_url(f"{site.url}/profile/keys")


def change_passphrase(page: Page, old: str, new: str, again: str) -> None:
    page.get_by_label("Current passphrase", exact=True).fill(old)
    page.get_by_label("New passphrase", exact=True).fill(new)
    page.get_by_label("New passphrase again", exact=True).fill(again)
    page.get_by_role("button", name="Change passphrase").click()


def test_showing_a_passphrase(site: Site, chromium: Browser) -> None:
    """What is typed can be shown, and is hidden again when it is sent."""
    with window(chromium, site) as opened:
        page = opened.page
        page.goto("/login")
        typed = page.get_by_label("Passphrase", exact=True)
        typed.fill(PASSPHRASE)
        page.get_by_role("button", name="Show passphrase").click()
        expect(typed).to_have_attribute("type", "text")
        page.get_by_role("button", name="Hide passphrase").click()
        expect(typed).to_have_attribute("type", "password")


def test_ending_another_session(site: Site, chromium: Browser) -> None:
    """A person sees where they are signed in; what they end is signed out on its next click."""
    person = site.add_person()
    with window(chromium, site) as one, window(chromium, site, user_agent="Elsewhere/1.0") as other:
        for opened in (one, other):
            opened.page.goto("/login")
            sign_in(opened.page, person)
        page = one.page
        page.get_by_role("link", name="Sessions").click()
        expect(row_of(page, "This one")).to_have_count(1)
        row_of(page, "Elsewhere/1.0").get_by_role("button", name="End").click()
        expect(page.get_by_role("status").first).to_have_text("The session has ended.")
        expect(page.get_by_text("You are signed in nowhere else.")).to_be_visible()
        other.page.get_by_role("link", name="Security").click()
        expect(other.page).to_have_url(re.compile(r"/login\?then=/profile/security$"))

        sign_in(other.page, person)
        expect(other.page).to_have_url(f"{site.url}/profile/security")
        page.reload()
        page.get_by_role("button", name="End all other sessions").click()
        expect(page.get_by_role("status").first).to_have_text("All other sessions have ended.")
        other.page.reload()
        expect(other.page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_mistakes_in_a_new_key(site: Site, chromium: Browser) -> None:
    """A date that cannot be is told at its field, and what was typed stays."""
    person = site.add_person()
    with window(chromium, site) as opened:
        page = opened.page
        page.context.add_cookies([person.session()])
        page.goto("/profile/keys")
        last_day = page.get_by_label("Last day")
        expect(last_day).to_be_hidden()
        page.get_by_label("Name", exact=False).fill("forgotten date")
        page.get_by_label("On a date").check()
        expect(last_day).to_be_visible()
        page.get_by_role("button", name="Generate key").click()
        expect(last_day).to_be_focused()
        expect(last_day).to_have_accessible_description(re.compile("Choose the date"))
        expect(page.get_by_label("Name", exact=False)).to_have_value("forgotten date")
        expect(page.get_by_label("On a date")).to_be_checked()
        last_day.fill("2026-12-31")
        page.get_by_role("button", name="Generate key").click()
        expect(page.get_by_role("main")).to_contain_text("1 Jan 2027, 00:00 UTC")


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
            page.goto("/profile/keys")
            page.get_by_label("Name", exact=False).fill(name)
            page.get_by_role("button", name="Generate key").click()
            expect(page.get_by_text(name, exact=True)).to_be_visible()
            check_layout(opened, with_script=with_script)
            page.get_by_role("link", name="Done").click()
            listed = row_of(page, name)
            expect(listed.get_by_text(name, exact=True).first).to_be_visible()
            check_layout(opened, with_script=with_script)
            listed.get_by_role("link", name="Revoke").click()
            expect(page.get_by_text(name, exact=True).last).to_be_visible()
            check_layout(opened, with_script=with_script)


def check_layout(opened: Window, *, with_script: bool) -> None:
    """Assert that no image was made of a name, and, where it can be measured, that the page fits."""
    expect(opened.page.locator("img")).to_have_count(1)
    expect(opened.page.locator("script")).to_have_count(1)
    for size in (NARROW, WIDE) if with_script else ():
        opened.page.set_viewport_size(size)  # type: ignore[arg-type] - a TypedDict of the same fields
        assert overflow(opened.page) <= 0
