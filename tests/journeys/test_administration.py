"""What administrators do in a browser, what people do with their invitation, and how those pages must be."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from keyturn.core.lifetimes import Lifetime
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.errors import CredentialRefused
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.attempts import FREE_FAILURES
from keyturn.verifying.origin import COMMAND_LINE, Origin
from keyturn.web.pages.keys.lists import KEYS_PER_PAGE
from tests.fakes import Clock
from tests.journeys.browsers import (
    CONNECTION,
    NARROW,
    Person,
    Site,
    pictures,
    row_of,
    sign_in,
    tab_to,
    take,
    window,
)
from tests.servers import running_server

pytest.importorskip("playwright", reason="no browser driver: install playwright to run these tests")

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

    from keyturn.core.people import UserRecord

KEY = re.compile(r"kt_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}")
NEW_PASSWORD = "nine copper kettles whistle"
MAX_PAGE_BYTES = 60_000
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
EVERYTHING = frozenset(Permission)
HERE = Origin("10.20.0.14", "curl/8.5.0", "request", f"GET /data/connection/{CONNECTION}")


def signed_in(page: Page, person: Person, path: str) -> None:
    page.context.add_cookies([person.session()])
    page.goto(path)


def told(page: Page, text: str) -> None:
    expect(page.get_by_role("status").first).to_contain_text(text)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Administration").get_by_role("link", name=name, exact=True).click()


def status_with(site: Site, key: str) -> int:
    return httpx.get(f"{site.url}/data/connection/{CONNECTION}", headers={"Authorization": key}).status_code


# ---- The journeys ----


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_an_administrator_s_day(site: Site, chromium: Browser, *, with_script: bool) -> None:
    """From a new colleague's account to its end: each step does what its page says, and no more."""
    admin = site.add_person(name="Ada Marsh", permissions=EVERYTHING)
    mail = "holt.script@example.com" if with_script else "holt@example.com"
    options = {"java_script_enabled": with_script}
    with window(chromium, site, **options) as one, window(chromium, site, **options) as other:
        page, theirs = one.page, other.page
        page.goto("/login")
        sign_in(page, admin)
        page.get_by_role("link", name="Administration").click()
        link = add_user(page, "Grace Holt", mail)
        accept_invitation(theirs, link, mail, with_script=with_script)
        first = new_key(theirs, "nightly export")
        assert status_with(site, first) == 200
        revoke_among_all(page, mail, "nightly export")
        assert status_with(site, first) == 401

        second = new_key(theirs, "dashboard")
        account = give_a_service_account(page, mail)
        disable(page, mail, sees=("dashboard", "1 session ends", "1 service account that they own", account))
        assert status_with(site, second) == 401
        theirs.get_by_role("navigation", name="Profile").get_by_role("link", name="API Keys").click()
        expect(theirs.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.get_by_role("button", name="Restore", exact=True).click()
        told(page, "Restored Grace Holt.")
        assert status_with(site, second) == 200

        delete(page, mail, successor=admin)
        assert status_with(site, second) == 401
        open_tab(page, "Service accounts")
        expect(row_of(page, account)).to_contain_text("Ada Marsh")
        expect(row_of(page, account)).to_contain_text("Active")
        find_in_the_audit_log(page, mail)


def add_user(page: Page, name: str, mail: str) -> str:
    """Make a user who may see connections; return the link for them."""
    open_tab(page, "Users")
    page.get_by_role("link", name="Invite user").click()
    page.get_by_label("Full name").fill(name)
    page.get_by_role("checkbox", name="GOVERNANCE").check()
    page.get_by_role("button", name="Invite user").click()
    described = re.compile("Enter an email address or a user name")
    expect(page.get_by_label("User name")).to_have_accessible_description(described)
    expect(page.get_by_label("Full name")).to_have_value(name)
    expect(page.get_by_role("checkbox", name="GOVERNANCE")).to_be_checked()
    page.get_by_label("Email").fill(mail)
    page.get_by_role("button", name="Invite user").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Invited {name}")
    expect(page.get_by_role("main")).to_contain_text("Dec 2, 2026, 12:00")
    link = page.locator("#link").inner_text()
    page.get_by_role("link", name="I have sent it").click()
    expect(page.get_by_role("checkbox", name="GOVERNANCE")).to_be_checked()
    expect(page.get_by_role("main")).to_contain_text("Link valid until Dec 2, 2026, 12:00")
    assert link not in page.content()
    return link


def accept_invitation(page: Page, link: str, mail: str, *, with_script: bool) -> None:
    """Open the link, be greeted, mistype once, set a password, and be signed in at once."""
    page.goto(link)
    if not with_script:
        page.get_by_label("Code").fill(link.partition("#")[2])
        page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Welcome, Grace Holt")
    expect(page.get_by_label("User name")).to_have_value(mail)
    assert link.partition("#")[2] not in page.url
    for again in ("another one, mistyped", NEW_PASSWORD):
        page.get_by_label("Password", exact=True).fill(NEW_PASSWORD)
        page.get_by_label("Confirm password", exact=True).fill(again)
        page.get_by_role("button", name="Set password and sign in").click()
        if again != NEW_PASSWORD:
            expect(page.get_by_role("alert")).to_contain_text("don’t match")
    expect(page).to_have_url(re.compile("/profile/keys$"))
    expect(page.get_by_role("link", name="Administration")).to_have_count(1)


def new_key(page: Page, name: str) -> str:
    page.goto("/profile/keys")
    page.get_by_role("link", name="Create key").click()
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_role("button", name="Create key").click()
    secret = page.locator("#secret").inner_text()
    assert KEY.fullmatch(secret)
    page.get_by_role("link", name="I have saved it").click()
    return secret


def revoke_among_all(page: Page, mail: str, name: str) -> None:
    open_tab(page, "All keys")
    page.get_by_role("searchbox").fill(mail)
    page.get_by_role("button", name="Search").click()
    expect(row_of(page, name)).to_contain_text("from 127.0.0.1")
    page.get_by_role("checkbox", name=re.compile(name)).check()
    page.get_by_role("button", name="Revoke selected…").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Revoke this key?")
    expect(row_of(page, name)).to_contain_text(mail)
    page.get_by_role("button", name="Revoke key").click()
    told(page, f"Revoked {name}. The key and every token made from it are refused from now on.")


def give_a_service_account(page: Page, mail: str) -> str:
    """Make a group, a project and a service account of the user; return its user name."""
    open_tab(page, "Groups")
    page.get_by_role("link", name="Create group").click()
    page.get_by_label("Name", exact=True).fill(f"Analysts with {mail}")
    page.get_by_role("button", name="Create group").click()
    field = page.get_by_label("User", exact=True)
    field.fill("nobody at all")
    page.get_by_role("button", name="Add member").press("Enter")
    expect(field).to_have_accessible_description(re.compile("No user is called “nobody at all”"))
    field.fill(mail)
    page.get_by_role("button", name="Add member").press("Enter")
    told(page, f"Added Grace Holt to Analysts with {mail}.")
    page.get_by_role("textbox", name="Attribute").fill("Region")
    page.get_by_label("Value").fill("north")
    page.get_by_role("button", name="Add attribute").click()
    expect(page.get_by_role("list", name="Attributes")).to_contain_text("region = north")

    open_tab(page, "Projects")
    page.get_by_role("link", name="Create project").click()
    page.get_by_label("Name", exact=True).fill(f"Report with {mail}")
    page.get_by_role("button", name="Create project").click()
    page.get_by_label("User", exact=True).fill(mail)
    page.get_by_role("button", name="Add member").press("Enter")
    page.get_by_label("Connection key").fill(CONNECTION)
    page.get_by_role("button", name="Add connection").click()
    expect(page.get_by_role("list", name="Connections")).to_contain_text(CONNECTION)

    open_tab(page, "Service accounts")
    page.get_by_role("link", name="Create service account").click()
    page.get_by_label("User name", exact=True).fill(f"loader of {mail}")
    page.get_by_label("A person").fill(mail)
    page.get_by_role("button", name="Create service account").click()
    told(page, f"Created the service account loader of {mail}.")
    expect(page.get_by_role("main")).to_contain_text("Grace Holt")
    page.get_by_role("link", name="Create key").click()
    page.get_by_role("textbox", name="Name").fill("loads")
    page.get_by_role("button", name="Create key").click()
    assert KEY.fullmatch(page.locator("#secret").inner_text())
    page.get_by_role("link", name="I have saved it").click()
    expect(row_of(page, "loads")).to_be_visible()
    return f"loader of {mail}"


def find_user(page: Page, mail: str) -> None:
    open_tab(page, "Users")
    page.get_by_role("searchbox").fill(mail)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Grace Holt").click()


def disable(page: Page, mail: str, *, sees: tuple[str, ...]) -> None:
    find_user(page, mail)
    page.get_by_role("link", name="Suspend…", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Suspend Grace Holt?")
    for text in sees:
        expect(page.get_by_role("main")).to_contain_text(text)
    page.get_by_role("button", name="Suspend").click()
    told(page, "Suspended Grace Holt. 1 key and all sessions stopped working.")


def delete(page: Page, mail: str, *, successor: Person) -> None:
    page.get_by_role("link", name="Delete…").click()
    page.get_by_label("New owner").fill(successor.user.userid)
    page.get_by_label("To confirm, type delete").fill("yes")
    page.get_by_role("button", name="Delete permanently").click()
    expect(page.get_by_label("To confirm, type delete")).to_be_focused()
    expect(page.get_by_label("New owner")).to_have_value(successor.user.userid)
    page.get_by_label("To confirm, type delete").fill("delete")
    page.get_by_role("button", name="Delete permanently").click()
    told(page, f"Deleted {mail}, with all keys and sessions.")
    page.get_by_role("searchbox").fill(mail)
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text(f"No users match “{mail}”")).to_be_visible()


def find_in_the_audit_log(page: Page, mail: str) -> None:
    open_tab(page, "Audit log")
    page.get_by_label("Event").select_option("UserDeleted")
    page.get_by_role("button", name="Search").click()
    events = page.locator(".log > li")
    expect(events.filter(has_text=f"Ada Marsh deleted {mail}")).to_have_count(1)
    expect(events.filter(has_not_text="UserDeleted")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    exported = Path(download.value.path()).read_text()
    assert exported.startswith("id,at,action,")
    assert set(re.findall(r",(User\w+),", exported)) == {"UserDeleted"}


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_a_call_to_the_help_desk(site: Site, chromium: Browser, *, with_script: bool) -> None:
    """Somebody lost a laptop and is locked out: their sessions and keys end, and they can sign in again."""
    admin = site.add_person(name="Mara Quill", permissions=EVERYTHING)
    juno = site.add_person(name="Juno Alder")
    secret = juno.add_key("invoice export").secret
    options = {"java_script_enabled": with_script}
    with window(chromium, site, **options) as one, window(chromium, site, **options) as other:
        page, theirs = one.page, other.page
        signed_in(theirs, juno, "/profile/keys")
        lock(juno)
        signed_in(page, admin, f"/admin/users/{juno.user.user_id}")
        expect(page.get_by_role("main")).to_contain_text("after 5 wrong passwords")

        page.get_by_role("link", name="Sign out everywhere…").click()
        expect(page.get_by_role("main")).to_contain_text("1 session ends.")
        page.get_by_role("button", name="Sign out everywhere").click()
        told(page, "Signed out Juno Alder everywhere. 1 session and all tokens ended; keys keep working.")
        theirs.reload()
        expect(theirs.get_by_role("heading", level=1)).to_have_text("Sign in")

        page.get_by_role("link", name="Revoke all…").click()
        expect(row_of(page, "invoice export")).to_contain_text("Never used")
        assert status_with(site, secret) == 403, "the key works still, and may see no connection"
        page.get_by_role("button", name="Revoke key").click()
        told(page, "Revoked 1 key.")
        page.goto(f"/admin/users/{juno.user.user_id}")
        assert status_with(site, secret) == 401

        sign_in(theirs, juno)
        expect(theirs.get_by_role("alert")).to_be_visible()
        page.get_by_role("button", name="Unlock").click()
        told(page, "Unlocked Juno Alder. Wrong passwords are counted from zero again.")
        theirs.goto("/login")
        sign_in(theirs, juno)
        expect(theirs).to_have_url(re.compile("/profile/keys$"))

        page.reload()
        events = page.locator(".log > li")
        expect(events.nth(0)).to_contain_text("Juno Alder signed in.")
        expect(events.nth(1)).to_contain_text("Mara Quill unlocked Juno Alder after 5 wrong passwords.")
        expect(events.nth(2)).to_contain_text("Mara Quill signed Juno Alder out everywhere.")
        expect(events.nth(3)).to_contain_text("Somebody failed to sign in as Juno Alder.")
        page.get_by_role("link", name="In the audit log").click()
        expect(page.get_by_label("By or about user")).to_have_value(str(juno.user.user_id))
        expect(page.locator(".log > li").nth(1)).to_contain_text("unlocked Juno Alder")


def test_an_owner_without_permissions(site: Site, chromium: Browser) -> None:
    """Somebody without permissions is told of no administration, and manages what they own."""
    person, stranger = site.add_person(name="Ben Ode"), site.add_person(name="Cy Low")
    account = add_service_account(site, "ben's loader", person.user)
    with window(chromium, site) as opened:
        page = opened.page
        signed_in(page, stranger, "/profile")
        expect(page.get_by_role("link", name="Service accounts")).to_have_count(0)
        page.goto(f"/profile/service-accounts/{account.user_id}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
        page.context.clear_cookies()

        signed_in(page, person, "/profile")
        expect(page.get_by_role("link", name="Administration")).to_have_count(0)
        for path in ("/admin", "/admin/users", "/admin/settings", "/admin/none"):
            page.goto(path)
            expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
        page.get_by_role("link", name="Go to API Keys").click()
        page.get_by_role("link", name="Service accounts").click()
        page.get_by_role("link", name="ben's loader").click()
        expect(page.get_by_role("heading", name="Permissions")).to_have_count(0)
        page.get_by_role("link", name="Create key").click()
        page.get_by_role("textbox", name="Name").fill("loads")
        page.get_by_role("button", name="Create key").click()
        secret = page.locator("#secret").inner_text()
        assert status_with(site, secret) == 403, "the key works, and may see no connection"
        page.get_by_role("link", name="I have saved it").click()
        row_of(page, "loads").get_by_role("button", name="Actions for loads").click()
        page.get_by_role("link", name="Revoke…").click()
        page.get_by_role("button", name="Revoke key").click()
        told(page, "Revoked loads.")
        assert status_with(site, secret) == 401
        page.get_by_role("link", name="Suspend…", exact=True).click()
        page.get_by_role("button", name="Suspend").click()
        told(page, "Suspended ben's loader.")
        page.get_by_role("link", name="Delete…").click()
        page.get_by_label("To confirm, type delete").fill("delete")
        page.get_by_role("button", name="Delete permanently").click()
        told(page, "Deleted the service account ben's loader.")
        expect(
            page.get_by_text("Administrators create service accounts and choose who owns them.")
        ).to_be_visible()


def test_the_administration_by_keyboard(site: Site, chromium: Browser) -> None:
    """With the keyboard alone an administrator finds a key and revokes it, and sees where they are."""
    admin = site.add_person(permissions=EVERYTHING)
    owner = site.add_person("keyboarder")
    owner.add_key("by keyboard")
    with window(chromium, site) as opened:
        page, keyboard = opened.page, opened.page.keyboard
        signed_in(page, admin, "/profile")
        tab_to(page, page.get_by_role("link", name="Administration"))
        keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/admin/keys$"))
        tab_to(page, page.get_by_role("link", name="Users", exact=True))
        keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Users")
        tab_to(page, page.get_by_role("link", name="All keys", exact=True))
        keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("All keys")
        tab_to(page, page.get_by_role("searchbox"))
        keyboard.type("keyboarder")
        tab_to(page, page.get_by_label("Expiry", exact=True))
        tab_to(page, page.get_by_role("button", name="Search"))
        keyboard.press("Enter")
        expect(page).to_have_url(re.compile("q=keyboarder"))
        expect(row_of(page, "by keyboard")).to_be_visible()
        tab_to(page, page.get_by_role("checkbox", name=re.compile("by keyboard")))
        keyboard.press("Space")
        tab_to(page, page.get_by_role("button", name="Revoke selected…").last)
        keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Revoke this key?")
        tab_to(page, page.get_by_role("button", name="Revoke key"))
        keyboard.press("Space")
        told(page, "Revoked by keyboard.")


def add_family(site: Site, family: str) -> tuple[UserRecord, UserRecord]:
    """Add two people of one family."""
    ines, ina = (
        site.server.services.users.add(
            COMMAND_LINE, userid=f"{first}@{family}.example", name=f"{name} {family}", email=None
        )
        for first, name in (("ines", "Inés"), ("ina", "Ina"))
    )
    return ines, ina


def add_group(site: Site, admin: Person, name: str) -> str:
    """Add a group; return the path of its page."""
    group = site.server.services.groups.add(signed_in_principal(admin), Origin(), name=name)
    return f"/admin/groups/{group.group_id}"


def test_picking_a_person_by_keyboard(site: Site, chromium: Browser) -> None:
    """Suggestions are told of, gone through and taken with the keyboard alone, and Escape leaves the text."""
    admin = site.add_person(permissions=EVERYTHING)
    add_family(site, "García")
    with window(chromium, site) as opened:
        page, keyboard = opened.page, opened.page.keyboard
        signed_in(page, admin, add_group(site, admin, "Picked by keyboard"))
        field = page.get_by_role("combobox", name="User")
        tab_to(page, field)
        keyboard.type("garcia")
        options = page.get_by_role("option")
        expect(options).to_have_count(2)
        expect(field).to_have_attribute("aria-expanded", "true")
        expect(page.get_by_role("status").filter(has_text="2 suggestions")).to_have_count(1)
        keyboard.press("Escape")
        expect(page.get_by_role("listbox")).to_be_hidden()
        expect(field).to_have_value("garcia")
        for key, chosen in (("ArrowDown", 0), ("ArrowDown", 1), ("ArrowDown", 0), ("ArrowUp", 1)):
            keyboard.press(key)
            expect(options.nth(chosen)).to_have_attribute("aria-selected", "true")
            assert field.get_attribute("aria-activedescendant") == options.nth(chosen).get_attribute("id")
        keyboard.press("Enter")
        expect(field).to_have_value("Inés García")
        expect(field).to_be_focused()
        expect(page.get_by_role("listbox")).to_be_hidden()
        keyboard.press("Enter")
        told(page, "Added Inés García to Picked by keyboard.")


def test_picking_a_person_without_script(site: Site, chromium: Browser) -> None:
    """The form comes back with those who are meant, and the one that is chosen comes into the group."""
    admin = site.add_person(permissions=EVERYTHING)
    add_family(site, "Núñez")
    with window(chromium, site, java_script_enabled=False) as opened:
        page = opened.page
        signed_in(page, admin, add_group(site, admin, "Picked without script"))
        page.get_by_label("User", exact=True).fill("nunez")
        page.get_by_role("button", name="Add member").click()
        expect(page.get_by_role("alert")).to_have_text("2 users match “nunez”. Choose one.")
        expect(page.get_by_label("User", exact=True)).to_have_value("nunez")
        choice = page.get_by_role("group", name="Which one is meant by “nunez”?")
        expect(choice.get_by_role("radio")).to_have_count(2)
        choice.get_by_label("Inés Núñez").check()
        page.get_by_role("button", name="Add member").click()
        told(page, "Added Inés Núñez to Picked without script.")


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_revoking_all_that_match(site: Site, chromium: Browser, *, with_script: bool) -> None:
    """From the list of one owner 300 keys end together, with a reason, and nobody else's do."""
    admin = site.add_person(permissions=EVERYTHING)
    owner, other = site.add_person(), site.add_person()
    for number in range(300):
        owner.add_key(f"pipeline {number}")
    kept = other.add_key("kept")
    with window(chromium, site, java_script_enabled=with_script) as opened:
        page = opened.page
        signed_in(page, admin, f"/admin/keys?owner={owner.user.user_id}")
        page.get_by_role("checkbox").first.check()
        page.get_by_role("link", name="Revoke all that match…").first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Revoke these 300 keys of")
        expect(page.get_by_text("And 280 more")).to_be_visible()
        page.get_by_label("Reason").select_option("They have leaked, or may have")
        page.get_by_label("To confirm, type revoke").fill("revoke")
        page.get_by_role("button", name="Revoke 300 keys").click()
        told(page, "Revoked 300 keys.")
    services = site.server.services
    assert services.keys.count_living([owner.user.user_id]) == {}
    assert services.keys.count_living([other.user.user_id]) == {other.user.user_id: 1}
    assert kept.record.revoked_at is None


# ---- Every page, in every state ----


@dataclass(frozen=True)
class Cast:
    """Who looks at the pages, and at what."""

    admin: Person
    looker: Person
    """Holds GOVERNANCE alone."""
    owner: Person
    account: UserRecord
    group_id: int
    project_id: int


def add_service_account(site: Site, userid: str, owner: UserRecord) -> UserRecord:
    return site.server.services.users.add(
        COMMAND_LINE,
        userid=userid,
        name=None,
        permissions=frozenset(),
        owner=ServiceOwner(owner.user_id),
    )


@pytest.fixture(scope="module")
def cast(site: Site) -> Cast:
    return add_cast(site)


def add_cast(site: Site) -> Cast:
    """Give the site what an installation has after some months."""
    services = site.server.services
    admin = site.add_person("ada", name="Ada Marsh", permissions=EVERYTHING)
    looker = site.add_person("gil.verne@example.com", permissions=frozenset({"GOVERNANCE"}))
    owner = site.add_person("grace@example.com", permissions=frozenset({"CREATE_PROJECT"}))
    for name in ("Ines Duarte", "Jonas Brandt", "Kofi Mensah", "Lena Fischer"):
        userid = name.lower().replace(" ", ".") + "@example.com"
        services.users.add(COMMAND_LINE, userid=userid, name=name, email=userid)
    services.users.set_disabled(COMMAND_LINE, "kofi.mensah@example.com", disabled=True)
    principal = signed_in_principal(admin)
    for person, name in ((looker, "Gil Verne"), (owner, "Grace Holt")):
        said = {"name": name, "email": f"{name.lower().replace(' ', '.')}@example.com"}
        services.user_administration.update_profile(principal, "bim", person.user.userid, said, Origin())
    services.user_administration.update_profile(principal, "bim", "owner", {"name": "Owen Rhys"}, Origin())
    account = add_service_account(site, "warehouse loader", owner.user)
    for holder, names in ((owner, ("nightly export", "dashboard")), (Person(site, account), ("loader",))):
        for name in names:
            added = holder.add_key(name, Lifetime(site.clock.now + timedelta(days=90)))
            services.usage.note(added.record.key_id, HERE)
    owner.add_key(None, Lifetime(None))
    owner.session("10.20.0.14")
    group = services.groups.add(
        principal, Origin(), iamid="bim", name="Analysts", description="Who reads the reports."
    )
    project = services.projects.add(principal, Origin(), name="Quarterly report", description=None)
    for userid in ("grace@example.com", "ines.duarte@example.com", "kofi.mensah@example.com"):
        services.groups.add_member(principal, group.group_id, Origin(), iamid="bim", userid=userid)
        services.projects.set_member(principal, project.project_id, userid, Origin(), is_owner=False)
    services.groups.change_attribute(principal, group.group_id, ("region", "north"), Origin(), is_given=True)
    services.user_administration.change_attribute(
        principal, "bim", "grace@example.com", ("team", "Reporting"), Origin(), is_given=True
    )
    services.projects.add_connection(principal, project.project_id, CONNECTION, Origin())
    site.clock.advance(timedelta(minutes=4))
    return Cast(admin, looker, owner, account, group.group_id, project.project_id)


def signed_in_principal(person: Person) -> Any:
    found = person.site.server.services.sessions.find(person.session()["value"])
    assert found is not None
    return found.principal


def shows(path: str, *, who: str = "admin") -> Callable[[Page, Cast], None]:
    """Return how a page that is only looked at is reached."""

    def reach(page: Page, cast: Cast) -> None:
        places = {
            "user": cast.owner.user.user_id,
            "account": cast.account.user_id,
            "group": cast.group_id,
            "project": cast.project_id,
        }
        signed_in(page, getattr(cast, who), path.format(**places))
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Page not found")

    return reach


def sends(path: str, button: str, **fields: str) -> Callable[[Page, Cast], None]:
    """Return how a page is reached by a form that is refused, with these values in it."""

    def reach(page: Page, cast: Cast) -> None:
        shows(path)(page, cast)
        for name, value in fields.items():
            page.locator(f"[name={name}]").last.fill(value)
        page.get_by_role("button", name=button).first.press("Enter")  # Suggestions may lie over it.
        expect(page.get_by_role("alert")).to_be_visible()

    return reach


def many_users(page: Page, cast: Cast) -> None:
    site = cast.admin.site
    for number in range(50):
        userid = f"somebody.with.a.long.name.{number}@department.example.com"
        site.server.services.users.add(COMMAND_LINE, userid=userid, name=f"Somebody {number}", email=userid)
    signed_in(page, cast.admin, "/admin/users")
    expect(page.get_by_role("navigation", name="Pages of users")).to_contain_text("1–20 of")


def many_keys(page: Page, cast: Cast) -> None:
    keen = cast.admin.site.add_person("keen.with.a.long.name@department.example.com")
    for number in range(31):
        added = keen.add_key(f"pipeline {number}")
        cast.admin.site.server.services.usage.note(added.record.key_id, HERE)
    signed_in(page, cast.admin, "/admin/keys")
    expect(page.get_by_role("navigation", name="Pages of keys")).to_be_visible()


def restricted_keys(page: Page, cast: Cast) -> None:
    site = cast.admin.site
    person = site.add_person()
    for _ in range(KEYS_PER_PAGE):
        networks = [f"198.51.100.{number}" for number in range(20)]
        person.add_key("from the office", None, *networks, dpop_jkt=JKT)
    signed_in(page, cast.admin, f"/admin/keys?owner={person.user.userid}")
    expect(row_of(page, "198.51.100.0")).to_have_count(KEYS_PER_PAGE)


def service_key_with_mistaken_networks(page: Page, cast: Cast) -> None:
    shows("/admin/service-accounts/{account}/keys/new")(page, cast)
    page.get_by_text("Restrictions").click()
    page.get_by_label("Networks").fill("198.51.100.7/24")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_label("Networks")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("write 198.51.100.0/24, or 198.51.100.7 alone")


def user_added(page: Page, cast: Cast) -> None:
    signed_in(page, cast.admin, "/admin/users/new")
    page.get_by_label("Email").fill("new@example.com")
    page.get_by_role("button", name="Invite user").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Invited new@example.com")


def keys_to_revoke(page: Page, cast: Cast) -> None:
    shows("/admin/keys?owner=grace%40example.com")(page, cast)
    for button in page.get_by_role("button", name="Revoke selected…").all():
        expect(button).to_be_hidden()
    for box in page.locator("[name=key]").all():
        box.check()
    expect(page.get_by_text("3 keys selected")).to_be_visible()
    page.get_by_role("button", name="Revoke selected…").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Revoke these 3 keys?")


def keys_selected(page: Page, cast: Cast) -> None:
    shows("/admin/keys")(page, cast)
    page.get_by_role("checkbox").first.check()
    expect(page.get_by_text("1 key selected")).to_be_visible()


def suggestions(page: Page, cast: Cast) -> None:
    shows("/admin/groups/{group}")(page, cast)
    page.get_by_role("combobox", name="User").press_sequentially("example")
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("ArrowDown")


def a_key_in_a_project(page: Page, cast: Cast) -> None:
    signed_in(page, cast.owner, "/profile/keys/new")
    page.get_by_text("Restrictions").click()
    page.get_by_label("Project").select_option(index=1)
    page.get_by_role("textbox", name="Name").fill("for the report")
    page.get_by_role("button", name="Create key").click()
    page.get_by_role("link", name="I have saved it").click()
    expect(row_of(page, "for the report")).to_contain_text("Quarterly report")


def void_invitation(page: Page, _cast: Cast) -> None:
    page.goto("/invitation#used-up-long-ago")
    expect(page.get_by_role("heading", level=1)).to_have_text("This link no longer works")


def lock(person: Person) -> None:
    """Give wrong passwords for a person until they are locked."""
    for _ in range(FREE_FAILURES):
        with pytest.raises(CredentialRefused):
            person.site.server.services.logins.log_in_browser(person.user.userid, "no password", Origin())


def locked_user(page: Page, cast: Cast) -> None:
    somebody = cast.admin.site.add_person(name="Juno Alder")
    lock(somebody)
    signed_in(page, cast.admin, f"/admin/users/{somebody.user.user_id}")
    expect(page.get_by_role("button", name="Unlock")).to_be_visible()


def user_who_may_do_more(page: Page, cast: Cast) -> None:
    lesser = cast.admin.site.add_person(permissions=frozenset({Permission.USER_ADMIN, Permission.AUDIT}))
    signed_in(page, lesser, f"/admin/users/{cast.admin.user.user_id}")
    expect(page.get_by_role("main")).to_contain_text("may do more than you")


def keys_of_a_user_to_revoke(page: Page, cast: Cast) -> None:
    shows("/admin/users/{user}")(page, cast)
    page.get_by_role("link", name="Revoke all…").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Revoke these")


def key_with_a_history(page: Page, cast: Cast) -> None:
    site = cast.admin.site
    owner = site.add_person(name="Lena Fischer")
    services, principal = site.server.services, signed_in_principal(owner)
    key = services.keys.create(principal, HERE, NewKey("nightly export")).record
    services.keys.update_own(principal, key.key_id, name="hourly export", note=None, origin=HERE)
    services.all_keys.revoke(signed_in_principal(cast.admin), [key.key_id], HERE)
    signed_in(page, owner, f"/profile/keys/{key.key_id}")
    expect(page.locator(".log > li").first).to_contain_text("Somebody else revoked the key.")


STATES: dict[str, Callable[[Page, Cast], None]] = {
    "nobody": shows("/admin/users?q=no-such-person"),
    "user-new-mistaken": sends("/admin/users/new", "Invite user", name="Grace", email="grace@example.com"),
    "user-added": user_added,
    "user": shows("/admin/users/{user}"),
    "user-locked": locked_user,
    "user-who-may-do-more": user_who_may_do_more,
    "user-keys-to-revoke": keys_of_a_user_to_revoke,
    "key-with-a-history": key_with_a_history,
    "user-sign-out": shows("/admin/users/{user}/sign-out"),
    "user-disable": shows("/admin/users/{user}/disable"),
    "user-disable-mistaken": sends("/admin/users/{user}/disable", "Suspend", handOverTo="nobody"),
    "user-delete-mistaken": sends("/admin/users/{user}/delete", "Delete permanently", typed="no"),
    "group-new-mistaken": sends("/admin/groups/new", "Create group", name="Analysts"),
    "groups": shows("/admin/groups?sort=-members"),
    "groups-unmatched": shows("/admin/groups?q=no-such-group"),
    "group": shows("/admin/groups/{group}"),
    "group-member-mistaken": sends("/admin/groups/{group}", "Add member", userid="grace@example.com"),
    "group-member-several": sends("/admin/groups/{group}", "Add member", userid="example"),
    "group-suggestions": suggestions,
    "group-delete": shows("/admin/groups/{group}/delete"),
    "projects": shows("/admin/projects"),
    "project": shows("/admin/projects/{project}"),
    "project-looked-at": shows("/admin/projects/{project}", who="looker"),
    "project-delete": shows("/admin/projects/{project}/delete"),
    "service-account-new-mistaken": sends(
        "/admin/service-accounts/new", "Create service account", userid="loader", owner="nobody"
    ),
    "service-account-new-several": sends(
        "/admin/service-accounts/new", "Create service account", userid="loader", owner="example"
    ),
    "service-accounts": shows("/admin/service-accounts"),
    "service-account": shows("/admin/service-accounts/{account}"),
    "service-account-key-mistaken": service_key_with_mistaken_networks,
    "own-service-account": shows("/profile/service-accounts/{account}", who="owner"),
    "keys-unmatched": shows("/admin/keys?q=no-such-key"),
    "keys-unknown": shows("/admin/keys?notice=unknown"),
    "keys-selected": keys_selected,
    "keys-to-revoke": keys_to_revoke,
    "all-keys-to-revoke": shows("/admin/keys/revoke?all=yes"),
    "audit": shows("/admin/audit"),
    "settings": shows("/admin/settings"),
    "a-key-in-a-project": a_key_in_a_project,
    "invitation-void": void_invitation,
    "many-users": many_users,
    "many-keys": many_keys,
    "restricted-keys": restricted_keys,
}


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_every_page(site: Site, chromium: Browser, cast: Cast, state: str) -> None:
    """A page breaks no rule of axe-core, fits a narrow screen, is light, and draws no complaint."""
    with window(chromium, site) as opened:
        STATES[state](opened.page, cast)
        assert opened.faults_at_every_size() == []
        assert opened.watch.weight(opened.page) < MAX_PAGE_BYTES


def test_the_head_stands_still(site: Site, chromium: Browser, cast: Cast) -> None:
    """From the profile to the administration the head keeps its place, and its texts are of one size."""
    with window(chromium, site) as opened:
        page, places = opened.page, []
        parts = (".brand", ".top-nav", "[popovertarget=me]")
        for path in ("/profile", "/profile/keys", "/admin/users", "/admin/audit", "/device"):
            signed_in(page, cast.admin, path)
            places.append([page.locator(f".top {part}").bounding_box() for part in parts])
        assert None not in places[0], places
        assert all(place == places[0] for place in places), places
        sizes = page.locator(".top :is(.top-nav a, .me-name)").evaluate_all(
            "(parts) => parts.map((part) => getComputedStyle(part).fontSize)"
        )
        assert len(sizes) >= 3, sizes
        assert len(set(sizes)) == 1, sizes


def test_a_row_of_the_audit_log_is_small(site: Site, chromium: Browser, cast: Cast) -> None:
    """On a phone an event with few details takes a fifth of the window, and no text breaks within a word."""
    with window(chromium, site, viewport=NARROW) as opened:
        signed_in(opened.page, cast.admin, "/admin/audit?action=ProjectUpdated")
        rows = opened.page.locator(".log > li")
        heights = rows.evaluate_all("(rows) => rows.map((row) => row.offsetHeight)")
        assert heights
        assert max(heights) < NARROW["height"] / 5


# ---- Pictures for the documentation ----


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
        site.add_connection()
        cast = add_cast(site)
        with window(chromium, site) as opened:
            page = opened.page
            for name, path in (
                ("admin-users", "/admin/users"),
                ("what-stops", "/admin/users/{user}/disable"),
                ("admin-keys", "/admin/keys"),
                ("admin-audit", "/admin/audit"),
            ):
                shows(path)(page, cast)
                take(page, directory / f"{name}.png")
