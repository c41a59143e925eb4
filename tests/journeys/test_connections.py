"""The life of a connection in a browser, on a real server: from its registration to its end."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.sql import SQL, Identifier

from keyturn.core.networks import read_network
from keyturn.core.permissions import Permission
from keyturn.services.connections.registry import NewConnection
from tests.adapters.conftest import (
    certificate,
    mariadb,
    mariadb_server,
    postgresql,
    postgresql_log,
    postgresql_port,
    silent_tls,
)
from tests.adapters.targets import LOOPBACK
from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.journeys.browsers import NARROW, WIDE, Site, axe_violations, overflow, row_of, tab_to, window
from tests.people import HERE, person
from tests.servers import running_server
from tests.services.connections.conftest import crawled

pytest.importorskip("playwright", reason="no browser driver: install playwright to run these tests")

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from playwright.sync_api import Browser, Page

    from keyturn.adapters.validation import Value
    from tests.certificates import Certificate
    from tests.journeys.browsers import Person
    from tests.mariadb import MariaDB

__all__ = [
    "certificate",
    "mariadb",
    "mariadb_server",
    "postgresql",
    "postgresql_log",
    "postgresql_port",
    "silent_tls",
]

Target = tuple["psycopg.Connection[tuple[object, ...]]", "dict[str, Value]"]
HOSTILE = (
    '<img src=x onerror="alert(1)">',
    "a/b",
    "..",
    "50%2F",
    "\u202egnp.exe",
    "x" * 60,
    "line\nend",
    "ünï'\"",
)
"""Names of tables, each of which once broke a page somewhere."""
PAGES = (
    "", "?q=nothing", "/new", "/new?technology=PostgreSQL", "/new?technology=Databricks",
    "/new?technology=Snowflake&authentication_type=keyPair", "/every", "/every/edit", "/every/test",
    "/every/rotate", "/every/objects", "/every/objects?q=orders", "/every/objects?at=crawled&at=public",
    "/every/objects?at=crawled&at=public&at=orders",
)  # fmt: skip
"""Every page of a connection that is there while it is active."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that may reach databases on loopback, by the real clock."""
    database = new_sqlite_database(tmp_path_factory.mktemp("connections"))
    with running_server(
        database, connection_networks=tuple(map(read_network, LOOPBACK)), documentation=False
    ) as server:
        yield Site(server, Clock())


@pytest.fixture
def admin(site: Site) -> Person:
    return site.add_person(permissions=frozenset({Permission.APPLICATION_ADMIN, Permission.AUDIT}))


def signed_in(page: Page, somebody: Person, path: str) -> None:
    page.context.add_cookies([somebody.session()])
    page.goto(path)


def picture(page: Page, name: str) -> None:
    """Keep a picture for whoever asked for them."""
    if folder := os.environ.get("KEYTURN_PAGES_SEEN"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True, animations="disabled")


def fill(page: Page, key: str, values: dict[str, Any]) -> None:
    """Fill the form of a new connection."""
    page.get_by_label("Name", exact=True).fill(key)
    page.get_by_label("Host").fill(str(values["hostname"]))
    page.get_by_label("Port").fill(str(values["port"]))
    if "database" in values:
        page.get_by_label("Database").fill(str(values["database"]))
    page.get_by_label("Certificates of the authority").fill(str(values["tlsCertificate"]))
    page.get_by_label("User", exact=True).fill(str(values["username"]))
    page.get_by_label("Password", exact=True).fill(str(values["password"]))


def wait_until_over(page: Page) -> None:
    """Look again until no work is under way, as somebody without script does."""
    for _ in range(100):
        if page.get_by_role("heading", name="under way").count() == 0:
            return
        page.wait_for_timeout(200)
        page.reload()
    raise AssertionError("the work does not end")


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_the_life_of_a_connection(
    site: Site, chromium: Browser, admin: Person, postgresql: Target, *, with_script: bool
) -> None:
    """Each step from registration to deletion does what its page says, on a real PostgreSQL."""
    administrator, values = postgresql
    administrator.execute("CREATE SCHEMA shop CREATE TABLE orders (id int, note text)")
    administrator.execute("GRANT USAGE ON SCHEMA shop TO PUBLIC")
    with window(chromium, site, java_script_enabled=with_script) as opened:
        signed_in(opened.page, admin, "/profile/keys")
        live(opened.page, values, ("crawled", "shop", "orders"), with_script=with_script)


def test_the_life_of_a_connection_to_mariadb(
    site: Site, chromium: Browser, admin: Person, mariadb: tuple[MariaDB, dict[str, Value]]
) -> None:
    """The same on a real MariaDB, which has no schemas."""
    server, values = mariadb
    server.run("CREATE TABLE crawled.orders (id int, note text)")
    with window(chromium, site) as opened:
        signed_in(opened.page, admin, "/profile/keys")
        live(opened.page, values, ("crawled", "orders"), with_script=True)


def live(page: Page, values: dict[str, Value], path: tuple[str, ...], *, with_script: bool) -> None:
    """Take a connection from its registration to its end."""
    key = f"sales-{values['technology']}-{'script' if with_script else 'plain'}"
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Connections").click()
    page.get_by_role("link", name="Add connection").first.click()
    page.get_by_role("link", name=f"Choose {values['technology']}").click()
    fill(page, key, values)
    picture(page, f"new-{with_script}")
    page.get_by_role("button", name="Save, then test").click()
    expect(page.get_by_role("status").first).to_contain_text(f"Added the connection {key}.")
    picture(page, f"before-{with_script}")
    page.get_by_role("button", name="Test now").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{key} is ready")
    expect(page.locator(".ladder li.ok")).to_have_count(8)
    picture(page, f"ladder-{with_script}")
    page.get_by_role("link", name=f"Back to {key}").click()
    page.get_by_role("button", name="Crawl now").click()
    expect(page.get_by_role("heading", name="Last jobs")).to_be_visible()
    if with_script:
        expect(page.get_by_role("heading", name="under way")).to_have_count(0, timeout=30_000)
    else:
        wait_until_over(page)
    expect(row_of(page, "Crawl").first).to_contain_text("Done")
    picture(page, f"crawled-{with_script}")
    page.get_by_role("link", name="Browse all").click()
    for name in path:
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    expect(row_of(page, "note")).to_contain_text("text")
    picture(page, f"table-{with_script}")
    page.get_by_role("link", name=key).click()
    page.get_by_role("link", name="Rotate password…").click()
    page.get_by_role("button", name="Rotate password").click()
    expect(page.get_by_role("status").first).to_contain_text("Rotated the password")
    page.get_by_role("button", name="Deactivate").click()
    expect(page.get_by_role("status").first).to_contain_text("Deactivated")
    picture(page, f"off-{with_script}")
    page.get_by_role("link", name="Delete connection…").click()
    page.get_by_label("To confirm, type delete").fill("delete")
    picture(page, f"delete-{with_script}")
    page.get_by_role("button", name="Delete permanently").click()
    expect(page.get_by_role("status").first).to_contain_text("Deleted the connection")
    expect(row_of(page, key)).to_have_count(0)


def register(site: Site, admin: Person, key: str, values: dict[str, Any]) -> None:
    services = site.server.services
    services.connections.add(person(services, admin.user.userid), NewConnection(key, values), HERE)


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_a_test_that_fails_says_where_and_what_to_do(
    site: Site, chromium: Browser, admin: Person, postgresql: Target, *, with_script: bool
) -> None:
    """The steps before are done, the step says what to do, the rest is skipped; the list says so too."""
    _, values = postgresql
    key = f"wrong-{'script' if with_script else 'plain'}"
    register(site, admin, key, {**values, "password": "another one"})
    with window(chromium, site, java_script_enabled=with_script) as opened:
        page = opened.page
        signed_in(page, admin, f"/connections/{key}/test")
        page.get_by_role("button", name="Test now").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{key} failed: Sign in")
        expect(page.locator(".ladder li.failed")).to_contain_text("Enter the right ones")
        expect(page.locator(".ladder li.skipped")).to_have_count(3)
        picture(page, f"failed-{with_script}")
        page.goto(f"/connections?q={key}")
        expect(row_of(page, key)).to_contain_text("Unhealthy")
        expect(row_of(page, key)).to_contain_text("Sign in: ")


def test_the_ladder_fills_step_by_step(
    site: Site, chromium: Browser, admin: Person, postgresql: Target
) -> None:
    """A test with script stays on its page: the steps come as lines, and a screen reader is told the end."""
    _, values = postgresql
    register(site, admin, "live", values)
    with window(chromium, site) as opened:
        page = opened.page
        signed_in(page, admin, "/connections/live/test")
        with page.expect_response("**/connections/live/test") as answered:
            page.get_by_role("button", name="Test now").click()
        assert answered.value.headers["content-type"] == "application/x-ndjson"
        expect(page.get_by_role("heading", level=1)).to_have_text("live is ready")
        expect(page.get_by_role("status").last).to_contain_text("live is ready")


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_a_crawl_is_watched_and_canceled(
    site: Site,
    chromium: Browser,
    admin: Person,
    certificate: Certificate,
    silent_tls: Any,
    *,
    with_script: bool,
) -> None:
    """While a crawl is under way its page shows how far it is, and a button ends it."""
    key = f"slow-{'script' if with_script else 'plain'}"
    with (
        silent_tls(certificate, "PostgreSQL") as port,
        window(chromium, site, java_script_enabled=with_script) as opened,
    ):
        values = {
            "technology": "PostgreSQL", "hostname": "127.0.0.1", "port": port, "database": "none",
            "username": "reader", "password": "none", "tlsCertificate": certificate.file.read_text(),
        }  # fmt: skip
        register(site, admin, key, values)
        page = opened.page
        signed_in(page, admin, f"/connections/{key}")
        page.get_by_role("button", name="Crawl now").click()
        expect(page.get_by_role("heading", name="Crawl under way")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.get_by_role("button", name="Crawl now")).to_have_count(0)
        picture(page, f"progress-{with_script}")
        if with_script:
            assert axe_violations(page) == []
        page.get_by_role("button", name="Cancel this work").click()
        expect(page.get_by_role("status").first).to_contain_text("Canceled the work")
        if not with_script:
            wait_until_over(page)
        expect(row_of(page, "Crawl").first).to_contain_text("Canceled")


def test_hostile_names_are_text(site: Site, chromium: Browser, admin: Person, postgresql: Target) -> None:
    """Whatever a table is called, it is shown, found and opened, and no page is broken or wider for it."""
    administrator, values = postgresql
    for name in HOSTILE:
        administrator.execute(SQL("CREATE TABLE public.{} (id int)").format(Identifier(name)))
    register(site, admin, "hostile", values)
    services = site.server.services
    crawled(services, person(services, admin.user.userid), "hostile")
    with window(chromium, site) as opened:
        page = opened.page
        signed_in(page, admin, "/connections/hostile/objects?at=crawled&at=public")
        links = page.locator("td a.name")
        expect(links).to_have_count(len(HOSTILE))
        picture(page, "hostile")
        assert opened.faults_at_every_size() == []
        for number in range(len(HOSTILE)):
            page.goto("/connections/hostile/objects?at=crawled&at=public")
            shown = links.nth(number).inner_text()
            links.nth(number).click()
            expect(page.get_by_role("heading", name="Columns 1")).to_be_visible()
            expect(page.get_by_role("heading", level=1)).to_have_text(shown)
            assert overflow(page) <= 0
            page.get_by_label("This object").select_option("Inactive")
            page.get_by_role("button", name="Save settings").click()
            expect(page.get_by_role("status").first).to_contain_text("Saved the settings")
            expect(page.get_by_text(re.compile("^Table, inactive"))).to_be_visible()


def test_every_page_is_accessible(site: Site, chromium: Browser, admin: Person, postgresql: Target) -> None:
    """axe-core finds no fault on any page of connections, wide and narrow, in the light and in the dark."""
    administrator, values = postgresql
    administrator.execute("CREATE TABLE public.orders (id int)")
    register(site, admin, "every", values)
    services = site.server.services
    crawled(services, person(services, admin.user.userid), "every")
    with window(chromium, site) as opened:
        page = opened.page
        signed_in(page, admin, "/connections")
        for number, query in enumerate(PAGES):
            path = f"/connections{query}"
            page.set_viewport_size(WIDE)
            assert page.goto(path).status == 200, path  # type: ignore[union-attr]
            picture(page, f"wide-{number}")
            assert opened.faults_at_every_size() == [], path
            page.set_viewport_size(NARROW)
            picture(page, f"narrow-dark-{number}")


def test_the_keyboard_is_enough(site: Site, chromium: Browser, admin: Person, postgresql: Target) -> None:
    """A connection is tested with Tab and Enter alone, and whatever has the focus shows it."""
    _, values = postgresql
    register(site, admin, "keys-only", values)
    with window(chromium, site) as opened:
        page = opened.page
        signed_in(page, admin, "/connections/keys-only")
        tab_to(page, page.get_by_role("link", name="Test…"))
        page.keyboard.press("Enter")
        page.wait_for_url("**/test")
        tab_to(page, page.get_by_role("button", name="Test now"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("keys-only is ready")
