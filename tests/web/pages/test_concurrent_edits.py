"""Two who change one thing: nobody's change is undone by a form that was filled before it (fault G8)."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.errors import ChangedMeanwhile
from keyturn.services.apis.fields import ScopeToRegister, as_registered
from keyturn.services.connections.registry import ChangedConnection, NewConnection
from keyturn.web.app import create_framework_app
from tests.people import HERE, person
from tests.store.crowds import all_at_once
from tests.web.people_routes import add_service, fresh_name
from tests.web.sites import ROUTES, Browser, filled

if TYPE_CHECKING:
    from keyturn.core.principal import Principal
    from tests.web.sites import Site

ADMIN = "admin@example.com"
CONNECTION = {
    "technology": "PostgreSQL",
    "hostname": "db.example.com",
    "database": "sales",
    "username": "reader",
    "password": "a secret",
}
POST_FORM = re.compile(r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
FILLED = re.compile(
    r'(?:<input type="(?:text|email|tel|url)"[^>]*|<textarea id="[^"]+")'
    r' name="([^"]+)"(?: value="[^"]+"|[^>]*>\s*[^<\s][^<]*</textarea>)'
)
"""The fields of a form in which a text stands."""
FIELD = re.compile(
    r'<input type="(?:text|email|tel|url|hidden)"[^>]* name="([^"]+)" value="([^"]*)"'
    r'|<input type="hidden" name="([^"]+)" value="([^"]*)"'
    r'|<textarea id="[^"]+" name="([^"]+)"[^>]*>\n?(.*?)</textarea>'
    r'|<input type="(?:checkbox|radio)"[^>]* name="([^"]+)"(?: value="([^"]*)")? checked',
    re.DOTALL,
)


@pytest.fixture
def admin(site: Site) -> Principal:
    return person(site.services, ADMIN)


def form_on(browser: Browser, page: str, action: str) -> dict[str, str]:
    """Return what a browser would send of a form of this page that nobody touches."""
    for where, inside in POST_FORM.findall(browser.get(page).text):
        if where == action:
            return fields_of(inside)
    raise AssertionError(f"{page} has no form for {action}")


def fields_of(inside: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for parts in FIELD.findall(inside):
        name, value = next((parts[i], parts[i + 1]) for i in range(0, len(parts), 2) if parts[i])
        found[html.unescape(name)] = html.unescape(value) or ("on" if parts[6] else "")
    return found


def things(site: Site, admin: Principal) -> dict[str, object]:
    """Make one of each thing that a page can change, filled with texts, and return their numbers."""
    services = site.services
    user = site.new_user()
    services.user_administration.update_profile(
        admin, "bim", user.userid, {"about": "two\nlines", "phone": "1"}, HERE
    )
    account = services.service_accounts.add(
        admin, HERE, userid=fresh_name(), name=None, owner=ServiceOwner(user.user_id)
    )
    group = services.groups.add(
        admin, HERE, iamid="bim", name=fresh_name(), email="a@example.com", description="old"
    )
    project = services.projects.add(admin, HERE, name=fresh_name(), description="old")
    resource = add_service(
        site, admin, fresh_name(), [ScopeToRegister(fresh_name()), ScopeToRegister(fresh_name())]
    )
    connection = services.connections.add(
        admin, NewConnection(fresh_name().replace(" ", "-"), CONNECTION), HERE
    )
    return {
        "user_id": user.user_id,
        "account": account.user_id,
        "group_id": group.group_id,
        "project_id": project.project_id,
        "resource_id": resource.resource_id,
        "connection_key": connection.connection_key,
    }


def test_fault_g8_every_field_is_sent_with_what_was_shown(site: Site, admin: Principal) -> None:
    """On every page a text that stands in a field already is sent beside what is typed there."""
    numbers = things(site, admin)
    browser = site.browser(ADMIN)
    site.services.users.update_profile(admin, {"name": "Ada", "about": "two\nlines"}, HERE)
    tracked = set()
    for route in create_framework_app(site.services).routes:
        if not ROUTES.is_page(route.path) or "GET" not in route.methods or "key_id" in route.path:
            continue
        values = numbers | ({"user_id": numbers["account"]} if "service-accounts" in route.path else {})
        page = browser.get(filled(route.path, **values))
        for action, inside in POST_FORM.findall(page.text):
            fields = fields_of(inside)
            shown = {html.unescape(name) for name in FILLED.findall(inside)}
            for name in shown:
                assert fields.get(f"was.{name}", "").strip() == fields[name].strip(), (action, name)
            place = action.replace(str(numbers["connection_key"]), "N")
            tracked |= {(re.sub(r"\d+", "N", place), name) for name in shown}
    assert {action for action, _ in tracked} == {
        "/profile",
        "/admin/users/N/profile",
        "/admin/service-accounts/N/profile",
        "/admin/groups/N",
        "/admin/projects/N",
        "/admin/services/N",
        "/connections/N/edit",
    }


def test_fault_g8_a_connection_keeps_what_another_changed(site: Site, admin: Principal) -> None:
    """To change the database of a connection brings back nothing that was changed since, nor the schedule."""
    key = str(things(site, admin)["connection_key"])
    browser, path = site.browser(ADMIN), f"/connections/{key}/edit"
    form = {**form_on(browser, path, path), "tlsMode": "verify-full"}
    theirs = ChangedConnection(
        {"tlsMode": "require", "password": "a secret"}, crawl_every_hours=5, changes_schedule=True
    )
    site.services.connections.update(admin, key, theirs, HERE)
    assert browser.post(path, data={**form, "database": "other"}).status_code == 303
    after = site.services.connections.get_now(admin, key)
    assert (after.details["database"], after.details["tlsMode"]) == ("other", "require")
    assert after.crawl_every_hours == 5


def test_fault_g8_a_service_that_is_renamed_keeps_what_another_removed(site: Site, admin: Principal) -> None:
    """To rename a service brings back no scope that was removed since the page was opened, and no text."""
    number = things(site, admin)["resource_id"]
    browser, path = site.browser(ADMIN), f"/admin/services/{number}"
    form = form_on(browser, path, path)
    resource = site.services.apis.get(admin, number)  # type: ignore[arg-type]
    kept, removed = resource.scopes
    site.services.apis.update(
        admin, resource.resource_id, HERE, description="theirs", scopes=[as_registered(kept)]
    )
    name = fresh_name()
    assert browser.post(path, data={**form, "name": name}).status_code == 303
    after = site.services.apis.get(admin, resource.resource_id)
    assert (after.name, after.description, after.scopes) == (name, "theirs", (kept,))
    assert removed.name not in after.scope_names


def test_fault_g8_two_save_different_fields(site: Site, admin: Principal) -> None:
    """Of a group and a project what somebody else wrote meanwhile stays, and what was typed is saved."""
    numbers, browser, services = things(site, admin), site.browser(ADMIN), site.services
    for kind, number in (("groups", numbers["group_id"]), ("projects", numbers["project_id"])):
        path = f"/admin/{kind}/{number}"
        form = form_on(browser, path, path)
        getattr(services, kind).update(admin, number, HERE, description="theirs")
        name = fresh_name()
        assert browser.post(path, data={**form, "name": name}).status_code == 303
        after = getattr(services, kind).get(admin, number)
        assert (after.name, after.description) == (name, "theirs")
        cleared = {**form_on(browser, path, path), "description": ""}
        assert browser.post(path, data=cleared).status_code == 303
        assert getattr(services, kind).get(admin, number).description is None


def test_fault_g8_a_stale_form_gives_back_no_permission(site: Site, admin: Principal) -> None:
    """Boxes that nobody touched give and take nothing: what another administrator took stays taken."""
    user = site.add_user(f"{fresh_name()}@example.com", frozenset({Permission.AUDIT, Permission.GOVERNANCE}))
    browser, path = site.browser(ADMIN), f"/admin/users/{user.user_id}"
    form = form_on(browser, path, f"{path}/permissions")
    site.services.user_administration.remove_permission(admin, "bim", user.userid, Permission.AUDIT, HERE)
    del form[f"permission.{Permission.GOVERNANCE}"]
    ticked = {**form, f"permission.{Permission.PROJECT_MANAGEMENT}": "on"}
    assert browser.post(f"{path}/permissions", data=ticked).status_code == 303
    held = site.services.users.get_by_userid("bim", user.userid).permissions
    assert held == {Permission.CREATE_PROJECT, Permission.PROJECT_MANAGEMENT}


def test_fault_g8_a_stale_scope_is_not_saved(site: Site, admin: Principal) -> None:
    """The form of a scope that another changed or removed meanwhile is a conflict, and says so."""
    number = things(site, admin)["resource_id"]
    services = site.services
    resource = services.apis.get(admin, number)  # type: ignore[arg-type]
    group = services.groups.add(admin, HERE, iamid="bim", name=fresh_name()).group_id
    first, second = resource.scopes
    browser, path = site.browser(ADMIN), f"/admin/services/{number}/scope"
    form = form_on(browser, f"{path}?name={first.name}", path)
    narrowed = ScopeToRegister(first.name, None, [group])
    services.apis.update(admin, resource.resource_id, HERE, scopes=[narrowed, as_registered(second)])
    stale = browser.post(path, data={**form, "scope_description": "mine"})
    assert stale.status_code == 409
    assert "Somebody else changed this scope meanwhile" in stale.text
    fresh = form_on(browser, f"{path}?name={first.name}", path)
    assert browser.post(path, data={**fresh, "scope_description": "mine"}).status_code == 303
    services.apis.update(admin, resource.resource_id, HERE, scopes=[as_registered(second)])
    assert browser.post(path, data=fresh).status_code == 404
    assert services.apis.get(admin, resource.resource_id).scope_names == {second.name}


def test_fault_g8_of_many_scopes_saved_at_once_none_is_lost(any_site: Site) -> None:
    """Who saves scopes over those that they saw loses nobody's: it is done, or it is a conflict."""
    services = any_site.services
    admin = person(services, ADMIN)
    number = add_service(any_site, admin, fresh_name(), [ScopeToRegister(fresh_name())]).resource_id

    def add_one(_number: int) -> str:
        seen, name = services.apis.get(admin, number).scopes, fresh_name()
        scopes = [*map(as_registered, seen), ScopeToRegister(name)]
        services.apis.update(admin, number, HERE, scopes=scopes, seen=seen)
        return name

    outcomes = all_at_once(8, add_one)
    added = {one for one in outcomes if isinstance(one, str)}
    assert added
    assert all(isinstance(one, str | ChangedMeanwhile) for one in outcomes), outcomes
    assert added < services.apis.get(admin, number).scope_names


def test_fault_g8_what_a_put_leaves_out_stays(site: Site, admin: Principal) -> None:
    """Over the API too a change says what it changes alone, and null says nothing."""
    numbers = things(site, admin)
    with site.client(headers={"Authorization": site.key(ADMIN).secret}) as client:
        for path, kept in (
            (f"/bim/group/{numbers['group_id']}", {"email": "a@example.com", "description": "old"}),
            (f"/project/{numbers['project_id']}", {"description": "old"}),
            (f"/services/{numbers['resource_id']}", {"scopes": ..., "identifier": ...}),
        ):
            before = client.get(path).json()
            name = fresh_name()
            after = client.put(path, json={"name": name}).json()
            assert after["name"] == name
            assert {field: after[field] for field in kept} == {field: before[field] for field in kept}
            assert client.put(path, json={"description": None}).json()["description"] is None
