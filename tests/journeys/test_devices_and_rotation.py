"""What people do in a browser to sign a device in and to rotate a key; and how those pages must be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.services.oauth.device_logins import BegunLogin, DeviceLogins
from keyturn.verifying.origin import Origin
from tests.conftest import PASSWORD
from tests.journeys.browsers import CONNECTION, Person, Site, row_of, sign_in, tab_to, window

pytest.importorskip("playwright", reason="no browser driver: install playwright to run these tests")

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

KEY = re.compile(r"kt_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}")
MAX_PAGE_BYTES = 60_000
SECONDS = 30


def status_with(site: Site, key: str) -> int:
    path = f"{site.url}/data/connection/{CONNECTION}"
    return httpx.get(path, headers={"Authorization": key}).status_code


# ---- The journeys ----


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_a_terminal_is_signed_in(
    any_site: Site, chromium: Browser, tmp_path: Path, *, with_script: bool
) -> None:
    """From `keyturn login` in a terminal, over login page and code, to a command that works with the key."""
    person = any_site.add_person(permissions=frozenset({"CREATE_DATA_SOURCE"}))
    environment = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(tmp_path)}
    program = [sys.executable, "-c", "from keyturn.cli import main; main()"]
    login = subprocess.Popen(
        [*program, "login", "--no-browser", any_site.url],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert login.stderr is not None
    shown = re.search(r"Open (\S+) and type the code (\S+)", login.stderr.readline())
    assert shown is not None
    with window(chromium, any_site, java_script_enabled=with_script) as opened:
        page = opened.page
        page.goto(f"{shown[1]}?user_code={shown[2]}")
        sign_in(page, person)
        expect(page.get_by_label("Code")).to_have_value(shown[2])
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("main")).to_contain_text("keyturn on ")
        expect(page.get_by_role("main")).to_contain_text("127.0.0.1")
        page.get_by_role("radio", name="In 30 days").check()
        page.get_by_role("button", name="Connect device").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your device is connected")
        out, err = login.communicate(timeout=SECONDS)
        assert (login.returncode, err) == (0, "")
        assert f"You are {person.user.userid}" in out

        called = subprocess.run(
            [*program, "api", "GET", f"/data/connection/{CONNECTION}"],
            env=environment, check=True, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert CONNECTION in called.stdout
        page.get_by_role("link", name="Go to API Keys").click()
        expect(row_of(page, "keyturn on ")).to_contain_text("Dec 25, 2026")


def test_a_device_is_refused_with_the_keyboard(site: Site, chromium: Browser) -> None:
    """Who did not start it refuses, with the keyboard alone; the code is then nobody's."""
    person = site.add_person()
    begun = begin(site)
    with window(chromium, site) as opened:
        page = opened.page
        signed_in(page, person, "/device")
        expect(page.get_by_label("Code")).to_be_focused()
        page.keyboard.type(begun.user_code.lower().replace("-", " "))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Connect this device?")
        refuse = page.get_by_role("button", name="Don’t connect")
        tab_to(page, refuse)
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_contain_text("got no key")
        page.goto(f"/device?user_code={begun.user_code}")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert")).to_contain_text("No device is waiting")
        expect(page.get_by_label("Code")).to_be_focused()
    assert site.server.services.keys.list_of(person.user.user_id).items == ()


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_a_key_is_rotated(any_site: Site, chromium: Browser, *, with_script: bool) -> None:
    """A person rotates a key with an overlap, sees the new secret once, and both work; then without one."""
    person = any_site.add_person(permissions=frozenset({"CREATE_DATA_SOURCE"}))
    first = person.add_key("nightly export").secret
    with window(chromium, any_site, java_script_enabled=with_script) as opened:
        page = opened.page
        signed_in(page, person, "/profile/keys")
        second = rotate(page, "1 hour")
        expect(page.get_by_role("main")).to_contain_text("works until Nov 25, 2026, 13:00")
        assert [status_with(any_site, key) for key in (first, second)] == [200, 200]
        page.get_by_role("link", name="I have saved it").click()
        expect(row_of(page, "nightly export")).to_contain_text("Old secret until Nov 25, 2026, 13:00")
        assert second not in page.content()

        third = rotate(page, "End it now")
        assert [status_with(any_site, key) for key in (first, second, third)] == [401, 401, 200]
        page.get_by_role("link", name="I have saved it").click()
        expect(row_of(page, "nightly export")).not_to_contain_text("Old secret")


def rotate(page: Page, overlap: str) -> str:
    act_on(page, "nightly export", "Rotate…")
    expect(page.get_by_role("heading", level=1)).to_have_text("Rotate nightly export")
    expect(page.get_by_role("radio", name="1 day")).to_be_checked()
    page.get_by_role("radio", name=overlap).check()
    page.get_by_role("button", name="Rotate key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Save your new secret")
    secret = page.locator("#secret").inner_text()
    assert KEY.fullmatch(secret)
    return secret


def act_on(page: Page, name: str, action: str) -> None:
    """Choose from the menu of a key in the list."""
    page.get_by_role("button", name=f"Actions for {name}", exact=True).click()
    page.get_by_role("link", name=action, exact=True).click()


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_fault_b9_a_key_is_made_after_the_password(
    site: Site, chromium: Browser, *, with_script: bool
) -> None:
    """Two hours later the form asks for the password, keeps what was filled in, and then shows the key."""
    person = site.add_person()
    with window(chromium, site, java_script_enabled=with_script) as opened:
        page = opened.page
        two_hours_later(page, person, site)
        fill_in_a_key(page)
        page.get_by_role("radio", name="7 days").check()
        page.get_by_role("button", name="Create key").click()
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Confirm and continue").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Save your new key")
        expect(page.get_by_role("main")).to_contain_text("nightly export")
        page.get_by_role("link", name="I have saved it").click()
        expect(row_of(page, "nightly export")).to_be_visible()


# ---- Every page, in every state ----


def begin(site: Site, name: str = "keyturn on laptop", **form: str) -> BegunLogin:
    devices = DeviceLogins(  # Of its own, whose budget of beginnings no other test spends.
        site.server.services.store,
        keys=site.server.services.keys,
        apis=site.server.services.apis,
        system=site.clock.system(),
    )
    return devices.begin({"client_id": name, **form}, Origin("192.0.2.7", "device", "request"))


def signed_in(page: Page, person: Person, path: str) -> None:
    page.context.add_cookies([person.session()])
    page.goto(path)


def code(page: Page, person: Person, site: Site) -> None:
    signed_in(page, person, "/device")


def wrong_code(page: Page, person: Person, site: Site) -> None:
    signed_in(page, person, "/device?user_code=BBBB-BBBB")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_be_visible()


def device(page: Page, person: Person, site: Site) -> None:
    look_at(page, person, begin(site))


def device_with_a_long_name(page: Page, person: Person, site: Site) -> None:
    look_at(page, person, begin(site, "W" * 64, scope="orders:read " + "s" * 120))


def device_with_no_expiry_chosen(page: Page, person: Person, site: Site) -> None:
    look_at(page, person, begin(site))
    page.get_by_role("radio", name="On a date").check()
    page.get_by_role("button", name="Connect device").click()
    expect(page.get_by_role("alert")).to_be_visible()


def look_at(page: Page, person: Person, begun: BegunLogin) -> None:
    signed_in(page, person, f"/device?user_code={begun.user_code}")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("button", name="Connect device")).to_be_visible()


def device_approved(page: Page, person: Person, site: Site) -> None:
    look_at(page, person, begin(site))
    page.get_by_role("button", name="Connect device").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your device is connected")


def rotation(page: Page, person: Person, site: Site) -> None:
    made = person.add_key("W" * 254)
    signed_in(page, person, f"/profile/keys/{made.record.key_id}/rotate")


def rotation_with_no_overlap_chosen(page: Page, person: Person, site: Site) -> None:
    rotation(page, person, site)
    page.get_by_role("radio", name="1 day").evaluate("(choice) => { choice.checked = false; }")
    page.get_by_role("button", name="Rotate key").click()
    expect(page.get_by_role("alert")).to_be_visible()


def rotated(page: Page, person: Person, site: Site) -> None:
    rotation(page, person, site)
    page.get_by_role("radio", name="1 day").check()
    page.get_by_role("button", name="Rotate key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Save your new secret")


def rotated_once_more(page: Page, person: Person, site: Site) -> None:
    rotated(page, person, site)
    page.get_by_role("link", name="I have saved it").click()
    act_on(page, "W" * 254, "Rotate…")
    expect(page.get_by_role("main")).to_contain_text("rotated lately")


def keys_with_a_former_secret(page: Page, person: Person, site: Site) -> None:
    person.add_key("nightly export")
    rotated(page, person, site)
    page.get_by_role("link", name="I have saved it").click()
    expect(page.get_by_role("main")).to_contain_text("Old secret until")


def asked_for_the_password(page: Page, person: Person, site: Site) -> None:
    two_hours_later(page, person, site)
    fill_in_a_key(page)
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm it’s you")
    expect(page.get_by_label("Password", exact=True)).to_be_focused()


def asked_after_a_wrong_one(page: Page, person: Person, site: Site) -> None:
    asked_for_the_password(page, person, site)
    page.get_by_label("Password", exact=True).fill("wrong horse battery staple")
    page.get_by_role("button", name="Confirm and continue").click()
    expect(page.get_by_role("alert")).to_contain_text("not your current password")


def two_hours_later(page: Page, person: Person, site: Site) -> None:
    """Come back to the keys again and again, so that the session lives and its password grows old."""
    signed_in(page, person, "/profile/keys")
    for _ in range(6):
        site.clock.advance(timedelta(minutes=25))
        page.goto("/profile/keys")


def fill_in_a_key(page: Page) -> None:
    page.get_by_role("link", name="Create key").click()
    page.get_by_role("textbox", name="Name").fill("nightly export")


STATES: tuple[Callable[[Page, Person, Site], None], ...] = (
    code, wrong_code, device, device_with_a_long_name, device_with_no_expiry_chosen, device_approved,
    rotation, rotation_with_no_overlap_chosen, rotated, rotated_once_more, keys_with_a_former_secret,
    asked_for_the_password, asked_after_a_wrong_one,
)  # fmt: skip


@pytest.mark.parametrize("reach", STATES, ids=lambda reach: reach.__name__)
def test_every_state_of_every_page(
    site: Site, chromium: Browser, reach: Callable[[Page, Person, Site], None]
) -> None:
    """A page breaks no rule of axe-core, fits a narrow screen, is light, and draws no complaint."""
    with window(chromium, site) as opened:
        reach(opened.page, site.add_person(), site)
        assert opened.faults_at_every_size() == []
        assert opened.watch.weight(opened.page) < MAX_PAGE_BYTES
