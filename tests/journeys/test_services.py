"""Services in a browser: one is registered, a person makes a key for it; and how those pages must be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.core.permissions import Permission
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.journeys.browsers import Person, Site, row_of, sign_in, tab_to, window
from tests.people import restricted

pytest.importorskip("playwright", reason="no browser driver: install playwright to run these tests")

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

    from keyturn.core.apis import ApiRecord

MAX_PAGE_BYTES = 60_000
EVERYTHING = frozenset(Permission)


def signed_in(page: Page, person: Person, path: str) -> None:
    page.context.add_cookies([person.session()])
    page.goto(path)


def told(page: Page, text: str) -> None:
    expect(page.get_by_role("status").first).to_contain_text(text)


def covered(site: Site, key: str, identifier: str) -> str | int:
    """Return the scopes with which a key passes at an API, or the status of the refusal."""
    answer = httpx.get(f"{site.url}/verify", params={"audience": identifier}, headers={"Authorization": key})
    return answer.headers["keyturn-scopes"] if answer.status_code == 200 else answer.status_code


def add_group(site: Site, name: str, *userids: str) -> int:
    services = site.server.services
    admin = site.add_person(permissions=EVERYTHING)
    cookie = admin.session()["value"]
    session = services.sessions.find(cookie)
    assert session is not None
    group = services.groups.add(session.principal, Origin(), iamid="bim", name=name).group_id
    for userid in userids:
        services.groups.add_member(session.principal, group, Origin(), iamid="bim", userid=userid)
    return group


def register(site: Site, name: str, scopes: list[ScopeToRegister]) -> ApiRecord:
    return site.server.services.apis.register(
        COMMAND_LINE,
        name=name,
        identifier=f"https://{name.lower().replace(' ', '-')}.example.com",
        description=f"The API of {name}, for the shop and its warehouse.",
        scopes=scopes,
    )


# ---- The journey ----


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_a_service_and_a_key_for_it(site: Site, chromium: Browser, *, with_script: bool) -> None:
    """An administrator registers an API and hands its scopes out; a person makes a key for just that."""
    mark = "a" if with_script else "b"
    admin, person = site.add_person(permissions=EVERYTHING), site.add_person(name="Ben Ode")
    group = f"Clerks {mark}"
    add_group(site, group)
    name, identifier = f"Tickets {mark}", f"https://tickets-{mark}.example.com"
    read, write = f"tickets-{mark}:read", f"tickets-{mark}:write"
    options = {"java_script_enabled": with_script}
    with window(chromium, site, **options) as one, window(chromium, site, **options) as other:
        page, theirs = one.page, other.page
        page.goto("/login")
        sign_in(page, admin)
        register_by_hand(page, name, identifier, read)
        add_scope_for(page, write, group)
        secret = make_a_key(theirs, person, read, hidden=write)
        assert covered(site, secret, identifier) == read

        row_of(page, read).get_by_role("link", name="Change").click()
        page.get_by_role("radio", name="Only these groups").check()
        page.get_by_role("button", name="Save scope").click()
        expect(row_of(page, read)).to_contain_text("nobody")
        assert covered(site, secret, identifier) == 403, "the key covers nothing there any more"

        page.get_by_role("link", name="Delete API…").click()
        expect(page.get_by_role("main")).to_contain_text("1 active key is limited to scopes of this API")
        page.get_by_label("To confirm, type delete").fill("delete")
        page.get_by_role("button", name="Delete permanently").click()
        told(page, f"Deleted {name}.")
        assert covered(site, secret, identifier) == 400


def register_by_hand(page: Page, name: str, identifier: str, scope: str) -> None:
    """Register an API, the second time without a mistake."""
    page.get_by_role("link", name="Administration").click()
    page.get_by_role("link", name="APIs", exact=True).click()
    page.get_by_role("link", name="Add API").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Identifier").fill("tickets")
    page.get_by_label("Scope", exact=True).fill(scope)
    page.get_by_role("button", name="Add API").click()
    expect(page.get_by_label("Identifier")).to_have_accessible_description(re.compile("absolute URI"))
    expect(page.get_by_label("Scope", exact=True)).to_have_value(scope)
    page.get_by_label("Identifier").fill(identifier)
    page.get_by_role("button", name="Add API").click()
    told(page, f"Added the API {name}.")


def add_scope_for(page: Page, scope: str, group: str) -> None:
    """Add a scope that the members of a group may hold."""
    page.get_by_role("link", name="Add scope").click()
    page.get_by_label("Scope", exact=True).fill(scope)
    page.get_by_label("Description of the scope").fill("Close tickets")
    boxes = page.get_by_role("checkbox", name=group)
    expect(boxes).to_be_hidden()
    page.get_by_role("radio", name="Only these groups").check()
    boxes.check()
    page.get_by_role("button", name="Add scope").click()
    told(page, "Saved the scopes of Tickets")
    expect(row_of(page, scope)).to_contain_text(group)


def make_a_key(page: Page, person: Person, scope: str, *, hidden: str) -> str:
    """Make a key that covers one scope, where another is no choice; return it."""
    page.goto("/login")
    sign_in(page, person)
    page.goto("/profile/keys/new")
    page.get_by_role("textbox", name="Name").fill("for tickets")
    page.get_by_role("radio", name="Only selected scopes").check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose at least one scope")
    expect(page.get_by_role("checkbox", name=hidden)).to_have_count(0)
    page.get_by_role("checkbox", name=scope).check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("main")).to_contain_text(f"Scopes{scope}", use_inner_text=False)
    secret = page.locator("#secret").inner_text()
    page.get_by_role("link", name="I have saved it").click()
    expect(row_of(page, "for tickets")).to_contain_text(scope)
    return secret


def test_scopes_by_keyboard(site: Site, chromium: Browser) -> None:
    """With the keyboard alone a person chooses scopes for a key, and sees where they are."""
    register(site, "Typing", [ScopeToRegister("typing:fast", "Type fast"), ScopeToRegister("typing:slow")])
    person = site.add_person()
    with window(chromium, site) as opened:
        page, keyboard = opened.page, opened.page.keyboard
        signed_in(page, person, "/profile/keys/new")
        tab_to(page, page.get_by_role("radio", name="Everything you can do"))
        keyboard.press("ArrowRight")
        expect(page.get_by_role("radio", name="Only selected scopes")).to_be_checked()
        tab_to(page, page.get_by_role("checkbox", name="typing:slow"))
        keyboard.press("Space")
        tab_to(page, page.get_by_role("button", name="Create key"))
        keyboard.press("Enter")
        expect(page.get_by_role("main")).to_contain_text("typing:slow")


# ---- Every page, in every state ----


@dataclass(frozen=True)
class Cast:
    """Who looks at the pages, and at what."""

    admin: Person
    person: Person
    orders: ApiRecord


@pytest.fixture(scope="module")
def cast(site: Site) -> Cast:
    return add_cast(site)


def add_cast(site: Site) -> Cast:
    """Register some APIs, with groups whose members may hold more."""
    admin = site.add_person("ada", name="Ada Marsh", permissions=EVERYTHING)
    person = site.add_person("grace@example.com", name="Grace Holt")
    clerks = add_group(site, "Order clerks", "grace@example.com")
    auditors = add_group(site, "Auditors")
    orders = register(
        site,
        "Orders",
        [
            ScopeToRegister("orders:read", "Read all orders and what became of them"),
            ScopeToRegister("orders:write", "Take, change and cancel orders", [clerks]),
            ScopeToRegister("orders:export", None, [clerks, auditors]),
            ScopeToRegister("orders:erase", "Erase orders for ever", []),
        ],
    )
    register(
        site, "Stock", [ScopeToRegister(f"stock:{name}") for name in ("count", "read", "move", "a", "b", "c")]
    )
    register(
        site, "A service with a long name that says what it does " * 2, [ScopeToRegister("long:" + "x" * 100)]
    )
    key = site.server.services.keys.create_for(person.user.user_id, COMMAND_LINE, NewKey("whole"))
    principal = site.server.services.authenticator.identify(key.secret.encode()).principal
    site.server.services.keys.create(
        principal,
        Origin(),
        NewKey(
            "order import", restrictions=restricted(scopes=["orders:read", "orders:write", "stock:count"])
        ),
    )
    return Cast(admin, person, orders)


def shows(path: str, *, who: str = "admin") -> Callable[[Page, Cast], None]:
    """Return how a page that is only looked at is reached."""

    def reach(page: Page, cast: Cast) -> None:
        signed_in(page, getattr(cast, who), path.format(orders=cast.orders.resource_id))
        expect(page.get_by_role("heading", level=1)).not_to_have_text("There is no such page")

    return reach


def sends(path: str, button: str, *chosen: str, **fields: str) -> Callable[[Page, Cast], None]:
    """Return how a page is reached by a form that is refused, with these choices and values in it."""

    def reach(page: Page, cast: Cast) -> None:
        shows(path)(page, cast)
        for name in chosen:
            page.get_by_label(name).check()
        for name, value in fields.items():
            page.locator(f"[name={name}]").last.fill(value)
        page.get_by_role("button", name=button).first.click()
        expect(page.get_by_role("alert")).to_be_visible()

    return reach


def choosing_scopes(page: Page, cast: Cast) -> None:
    signed_in(page, cast.person, "/profile/keys/new")
    page.get_by_role("radio", name="Only selected scopes").check()
    page.get_by_role("checkbox", name="orders:write").check()
    expect(page.get_by_role("checkbox", name="orders:erase")).to_have_count(0)


def no_scope_chosen(page: Page, cast: Cast) -> None:
    signed_in(page, cast.person, "/profile/keys/new")
    page.get_by_role("radio", name="Only selected scopes").check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("alert")).to_be_visible()


def narrow_key_created(page: Page, cast: Cast) -> None:
    choosing_scopes(page, cast)
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("main")).to_contain_text("orders:write")


STATES: dict[str, Callable[[Page, Cast], None]] = {
    "services": shows("/admin/services"),
    "service-new": shows("/admin/services/new"),
    "service-new-mistaken": sends(
        "/admin/services/new",
        "Add API",
        "Only these groups",
        "Auditors",
        name="Orders",
        scope="a b",
    ),
    "service": shows("/admin/services/{orders}"),
    "service-mistaken": sends("/admin/services/{orders}", "Save API", identifier="orders"),
    "scope-new": shows("/admin/services/{orders}/scope"),
    "scope-of-groups": shows("/admin/services/{orders}/scope?name=orders:write"),
    "scope-taken": sends("/admin/services/{orders}/scope", "Add scope", scope="stock:read"),
    "service-delete": shows("/admin/services/{orders}/delete"),
    "service-delete-mistaken": sends("/admin/services/{orders}/delete", "Delete permanently", typed="no"),
    "keys": shows("/profile/keys", who="person"),
    "keys-choosing": choosing_scopes,
    "keys-none-chosen": no_scope_chosen,
    "key-created": narrow_key_created,
}


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_every_page(site: Site, chromium: Browser, cast: Cast, state: str) -> None:
    """A page breaks no rule of axe-core, fits a narrow screen, is light, and draws no complaint."""
    with window(chromium, site) as opened:
        STATES[state](opened.page, cast)
        assert opened.faults_at_every_size() == []
        assert opened.watch.weight(opened.page) < MAX_PAGE_BYTES
