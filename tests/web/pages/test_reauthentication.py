"""Browsers give the password again before they make keys or give rights (fault B9)."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING

import pytest

from keyturn.core.permissions import Permission
from keyturn.web.app import create_framework_app
from keyturn.web.pages.frame.reauthentication import FIELD, NEVER_ASKS
from tests.conftest import PASSWORD
from tests.people import HERE
from tests.web.sites import ROUTES, Browser, filled, secret_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from litestar.handlers import HTTPRouteHandler

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

BOB = "bob@example.com"
ADMIN = "admin@example.com"
TWO_HOURS = timedelta(hours=2)
MILLISECOND = timedelta(milliseconds=1)
(RULE,) = NEVER_ASKS
OPEN = {"/login", "/login/again", "/setup", "/invitation", "/invitation/password"}
"""Forms of strangers, who have no session."""
SECRETS = {"password", "password_again", "current_password"}


@pytest.fixture(scope="module")
def site(open_site: SiteOpener) -> Iterator[Site]:
    """A server on which sessions outlive the test, and the password is good for two hours."""
    with open_site(session_idle_minutes=1440) as opened:
        opened.add_people()
        yield opened


def forms(site: Site) -> dict[str, HTTPRouteHandler]:
    """Return the handler of every form of the pages by its path, from the route table."""
    return {
        route.path: handler
        for route in create_framework_app(site.services).routes
        if ROUTES.is_page(route.path) and "POST" in route.methods and route.path not in OPEN
        for handler in route.route_handlers
        if "POST" in handler.http_methods
    }


def asks_always(handler: HTTPRouteHandler) -> bool:
    return RULE not in handler.opt


def stale(site: Site, userid: str) -> Browser:
    """Return a browser in which the password was given two hours ago."""
    browser = site.browser(userid)
    site.clock.advance(TWO_HOURS)
    return browser


def hidden(page: str) -> dict[str, str]:
    """Return what the page that asks keeps of the form that was sent."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {html.unescape(name): html.unescape(value) for name, value in found}


def confirm(browser: Browser, asked: httpx.Response, password: str = PASSWORD) -> httpx.Response:
    """Send the form of the page that asks, as a browser without script does."""
    action = re.search(r'<form method="post" action="([^"]+)" novalidate class="stack">', asked.text)
    assert action is not None
    fields = {"csrf": browser.csrf(), **hidden(asked.text)}
    return browser.post(action[1], data={**fields, FIELD: password})


def revision(site: Site) -> int:
    return len(site.services.store.audit_log.list_after(limit=100_000))


def test_fault_b9_every_form_says_whether_it_asks(site: Site) -> None:
    """Every form of a page asks, unless it is named here, and one that asks is handed a proven form."""
    never = {path for path, handler in forms(site).items() if handler.opt.get(RULE, "asks") is None}
    sometimes = {path for path, handler in forms(site).items() if callable(handler.opt.get(RULE))}
    assert {path.replace(":str", "") for path in never} == {
        "/logout",
        "/profile",
        "/profile/sessions/{session_id}/end",
        "/profile/sessions/end-others",
        "/profile/security",  # It always asks for the password itself.
        "/profile/keys/{key_id}/edit",
        "/profile/keys/find",
        "/profile/keys/{key_id}/revoke",
        "/device",
        "/admin/groups/new",
        "/admin/groups/{group_id}",
        "/admin/groups/{group_id}/members/{membership_id}/remove",
        "/admin/groups/{group_id}/attributes/remove",
        "/admin/projects/new",
        "/admin/projects/{project_id}",
        "/admin/projects/{project_id}/members/remove",
        "/admin/projects/{project_id}/connections/remove",
        "/admin/projects/{project_id}/delete",
        "/admin/services/{resource_id}/scope/remove",
        "/admin/services/{resource_id}/delete",
        "/admin/keys/find",
        "/admin/keys/revoke",
        "/admin/users/{user_id}/attributes/remove",
        "/admin/users/{user_id}/groups/remove",
        "/admin/users/{user_id}/profile",
        "/admin/users/{user_id}/sessions/{session_id}/end",
        "/admin/users/{user_id}/sign-out",
        "/admin/service-accounts/{user_id}/groups/remove",
        "/admin/service-accounts/{user_id}/profile",
        "/admin/service-accounts/{user_id}/attributes/remove",
        "/admin/service-accounts/{user_id}/keys/{key_id}/revoke",
        "/profile/service-accounts/{user_id}/keys/{key_id}/revoke",
        "/connections/new",  # The page that asks would send the typed secrets back; so would that of:
        "/connections/{connection_key}/edit",
        "/connections/{connection_key}/activate",
        "/connections/{connection_key}/deactivate",
        "/connections/{connection_key}/schedule",
        "/connections/{connection_key}/delete",
        "/connections/{connection_key}/test",
        "/connections/{connection_key}/crawl",
        "/connections/{connection_key}/jobs/{job_id}/cancel",
        "/connections/{connection_key}/settings",
        "/connections/{connection_key}/roles/remove",
    }
    assert {path.rpartition("/")[2] for path in sometimes} == {"decision", "disable", "delete"}
    for path, handler in forms(site).items():
        if path not in never:
            assert "sent" in signature(handler.fn).parameters, path
    assert len(forms(site)) > len(never) + len(sometimes) + 10


def test_fault_b9_each_form_that_asks_changes_nothing_before(site: Site) -> None:
    """Two hours after the password each such form asks, keeps what was sent, and does nothing."""
    browser = stale(site, ADMIN)
    values = dict.fromkeys(("user_id", "group_id", "membership_id", "project_id", "resource_id", "key_id"), 1)
    values["connection_key"] = 123456789
    sent = {
        "name": 'a "quoted" <name>',
        "about": "two\r\nlines",
        "permission.AUDIT": "on",
        "decision": "approve",
        "handOverTo": BOB,
    }
    before = None
    for path, handler in forms(site).items():
        if RULE in handler.opt and not callable(handler.opt[RULE]):
            continue
        before = before or revision(site)
        url = filled(path, **values)
        asked = browser.submit(url, **sent)
        assert asked.status_code == 403, (path, asked.text)
        assert f'name="{FIELD}"' in asked.text
        assert f'action="{url}"' in asked.text
        kept = hidden(asked.text)
        assert {name: value.replace("\r\n", "\n") for name, value in kept.items() if name != "csrf"} == {
            name: value.replace("\r\n", "\n") for name, value in sent.items()
        }
        assert browser.post(url, data={**sent, "csrf": "wrong", FIELD: PASSWORD}).status_code == 403
        assert revision(site) == before, path


def test_fault_b9_the_form_goes_on_with_what_was_wanted(site: Site) -> None:
    """With the password the key is made as it was wanted, under a new session id, and the page works on."""
    browser = stale(site, BOB)
    old = browser.session_value()
    asked = browser.create_key(name="kept name", expiry="7", allowFrom="192.0.2.7\r\n127.0.0.1")
    assert asked.headers["cache-control"] == "no-store"
    made = confirm(browser, asked)
    assert made.status_code == 200, made.text
    assert "kept name" in made.text
    assert "192.0.2.7, 127.0.0.1" in made.text
    assert secret_on(made.text)
    assert browser.session_value() != old
    former = Browser(site, cookies={cookie.name: old for cookie in browser.cookies.jar})
    assert former.get("/profile").status_code == 303
    csrf = re.search(r'name="csrf" value="([^"]+)"', made.text)
    assert csrf is not None
    assert browser.create_key(name="at once").status_code == 200
    rows = site.services.store.audit_log.list_after(limit=100_000)
    assert [row.action for row in rows[-3:]] == ["SessionProved", "ApiKeyCreated", "ApiKeyCreated"]
    assert browser.post("/logout", data={"csrf": csrf[1]}).status_code == 303


def test_fault_b9_a_form_that_then_fails_keeps_the_session(site: Site) -> None:
    """What is wrong with the form is told after the password; the person stays signed in, asked once."""
    browser = stale(site, BOB)
    refused = confirm(browser, browser.create_key(name="x" * 300))
    assert refused.status_code == 422
    assert browser.get("/profile").status_code == 200
    missing = browser.submit("/profile/keys/987654321/rotate", overlap="0", form_id="x" * 20)
    assert missing.status_code == 404


def test_fault_b9_a_wrong_password_is_a_guess(site: Site) -> None:
    """A wrong one is told at the field, keeps the form, and counts: after five the account waits."""
    user = site.new_user()
    browser = stale(site, user.userid)
    asked = browser.create_key(name="kept name")
    for _ in range(5):
        asked = confirm(browser, asked, "wrong horse battery staple")
        assert asked.status_code == 422
        assert "not your current password" in asked.text
        assert "wrong horse" not in asked.text
        assert hidden(asked.text)["name"] == "kept name"
    assert confirm(browser, asked).status_code == 422
    failed = [row for row in site.services.store.audit_log.list_after(limit=100_000) if not row.succeeded]
    assert [row.action for row in failed[-5:]] == ["UserLoginFailed"] * 5
    assert browser.get("/profile").status_code == 200


def test_fault_b9_the_password_is_good_for_the_time_that_is_set(open_site: SiteOpener) -> None:
    """A form is done until the last instant of the time, and asks from then on; keys and tokens never ask."""
    with open_site(password_again_minutes=15) as short:
        short.add_people()
        browser = short.browser(BOB)
        key = short.key(BOB).secret
        short.clock.advance(timedelta(minutes=15) - MILLISECOND)
        assert browser.create_key().status_code == 200
        short.clock.advance(MILLISECOND)
        assert browser.create_key().status_code == 403
        with short.client(headers={"Authorization": key}) as client:
            assert client.post("/bim/apikey").status_code == 200
        assert browser.submit("/profile", name="Bob").status_code == 303


def test_fault_b9_a_change_of_password_proves_it(site: Site) -> None:
    """Whoever changes the password has given it: the forms ask again two hours later."""
    user = site.new_user()
    browser = stale(site, user.userid)
    new = "eleven quiet harbours at dusk"
    changed = browser.submit("/profile/security", current_password=PASSWORD, password=new, password_again=new)
    assert changed.status_code == 303
    assert browser.create_key().status_code == 200


def test_fault_b9_a_device_is_refused_at_once_and_approved_with_the_password(site: Site) -> None:
    """To give a device a key takes the password, to give it nothing does not."""
    browser = stale(site, BOB)
    for decision, expected in (("deny", 200), ("approve", 403)):
        begun = site.services.devices.begin({"client_id": "laptop"}, HERE)
        answer = browser.submit("/device/decision", user_code=begun.user_code, decision=decision, expiry="90")
        assert answer.status_code == expected
    assert "Your device is connected" in confirm(browser, answer).text


def test_fault_b9_rights_are_given_with_what_was_ticked(site: Site) -> None:
    """The boxes that were ticked before the password are those that are saved after it."""
    user = site.new_user()
    browser = stale(site, ADMIN)
    shown = {"permissions": "1", "was.permission.CREATE_PROJECT": "on"}
    ticked = {**shown, "permission.AUDIT": "on", "permission.GOVERNANCE": "on"}
    asked = browser.submit(f"/admin/users/{user.user_id}/permissions", **ticked)
    assert confirm(browser, asked).status_code == 303
    held = site.services.users.get_by_userid("bim", user.userid).permissions
    assert held == {Permission.AUDIT, Permission.GOVERNANCE}
