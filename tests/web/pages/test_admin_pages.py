"""The pages for administrators, and the page of an invitation: who reaches them, and what each form does."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest

from keyturn.core.audit import (
    Actor,
    AuditAction,
    AuditedKey,
    AuditEntry,
    AuditNames,
    AuditRow,
    Target,
)
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import ALLOWS, Permission
from keyturn.settings import Settings, read_settings
from keyturn.verifying.origin import COMMAND_LINE, Origin
from keyturn.web.pages.audit.sentences import TOLD, Narrator
from keyturn.web.pages.audit.words import ACTIONS, detail_lines
from keyturn.web.pages.installation.settings import KEPT_BACK, OPEN, shown_settings
from tests.conftest import PASSWORD
from tests.people import unknown_key
from tests.web.sites import Browser, filled, secret_on

if TYPE_CHECKING:
    from keyturn.core.people import UserRecord
    from keyturn.core.principal import Principal
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMIN = "admin@example.com"
BOB = "bob@example.com"
WHO = "/bim/rpc/user/current"
NEW_PASSWORD = "three copper kettles sing"
REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "permissions.md"
HOSTILE = '"><img src=x onerror=1>'
VALUES: dict[str, object] = dict.fromkeys(
    ("user_id", "group_id", "project_id", "resource_id", "membership_id", "key_id", "session_id"), 1
)
"""Ids of things that exist, or may."""


def admin_routes(site: Site) -> list[tuple[str, str]]:
    return [(method, path) for method, path in site.routes() if path.startswith("/admin")]


def revision(site: Site) -> int:
    return site.services.store.installation.revision()


def holder(site: Site, *permissions: str) -> Browser:
    """Sign in somebody new who holds these permissions alone."""
    user = site.new_user()
    held = frozenset({*permissions, "CREATE_PROJECT"})
    site.services.user_administration.set_permissions(principal(site), "bim", user.userid, held, Origin())
    return site.browser(user.userid)


def principal(site: Site) -> Principal:
    """Return the administrator as a caller."""
    cookie = site.services.logins.log_in_browser(ADMIN, PASSWORD, Origin()).cookie
    found = site.services.sessions.find(cookie)
    assert found is not None
    return found.principal


def user_page(user: UserRecord) -> str:
    return f"/admin/users/{user.user_id}"


def service_account(site: Site, owner: UserRecord) -> UserRecord:
    return site.services.users.add(
        COMMAND_LINE,
        userid=f"loader {site.new_user().userid}",
        name=None,
        permissions=frozenset(),
        owner=ServiceOwner(owner.user_id),
    )


def now(site: Site, user: UserRecord) -> UserRecord:
    return site.services.users.get_by_userid("bim", user.userid)


def works(site: Site, secret: str) -> bool:
    return site.client().get(WHO, headers={"Authorization": secret}).status_code == 200


# Who reaches them


def test_for_a_person_without_permissions_there_is_no_such_page(site: Site) -> None:
    """Each path and method answers them as an unknown path, but for the path itself, with a good form too."""
    browser = site.browser(BOB)
    csrf = browser.csrf()
    unknown = browser.get("/admin/no-such-page")
    assert unknown.status_code == 404

    def as_told(answer: httpx.Response) -> bytes:
        """Return the page of an unknown path, with the path that was asked for."""
        return unknown.content.replace(b"/admin/no-such-page", html.escape(answer.request.url.path).encode())

    before = revision(site)
    routes = admin_routes(site)
    assert len(routes) > 80
    for method, path in routes:
        for unsent in ({}, {"csrf": csrf, "typed": "Delete", "userid": BOB, "name": "changed", "key.1": "x"}):
            answer = browser.request(method, filled(path, **VALUES), data=unsent or None)
            assert answer.status_code == 404, f"{method} {path}"
            assert answer.content == (b"" if method == "HEAD" else as_told(answer)), f"{method} {path}"
            assert answer.headers["content-type"] == unknown.headers["content-type"]
            assert "allow" not in answer.headers
    for method in ("PUT", "PATCH", "DELETE"):
        answer = browser.request(method, "/admin/users")
        assert answer.content == as_told(answer)
    answer = browser.get("/admin/keys?page=x")
    assert answer.content == as_told(answer)
    assert revision(site) == before
    assert "Administration" not in browser.get("/profile").text


@pytest.mark.parametrize(
    ("permission", "parts"),
    [
        ("USER_ADMIN", ["keys", "users", "groups", "service-accounts"]),
        ("GOVERNANCE", ["projects"]),
        ("PROJECT_MANAGEMENT", ["projects"]),
        ("AUDIT", ["audit"]),
        ("APPLICATION_ADMIN", ["services", "settings"]),
    ],
)
def test_each_permission_opens_its_own_part(site: Site, permission: str, parts: list[str]) -> None:
    """A holder of one permission sees its tabs, is led to the first, and finds no other part."""
    browser = holder(site, permission)
    start = browser.get("/admin")
    assert (start.status_code, start.headers["location"]) == (303, f"/admin/{parts[0]}")
    page = browser.get(f"/admin/{parts[0]}").text
    sections = page.partition('<nav class="sections"')[2].partition("</nav>")[0]
    assert re.findall(r'<a href="/admin/([a-z-]+)"', sections) == parts
    assert 'href="/admin">Administration' in browser.get("/profile").text
    others = {path.split("/")[2] for _, path in admin_routes(site) if path.count("/") > 1} - set(parts)
    assert len(others) == 8 - len(parts)
    for method, path in admin_routes(site):
        if path.count("/") > 1 and path.split("/")[2] in others:
            assert browser.request(method, filled(path, **VALUES)).status_code == 404, path


def test_a_stranger_is_led_back_to_the_administration(site: Site) -> None:
    """The login leads on to the page of the administration that was asked for."""
    with Browser(site) as browser:
        lead = browser.get("/admin/users").headers["location"]
        assert lead == "/login?then=/admin/users"
        assert browser.log_in(ADMIN, PASSWORD, next="/admin/users").headers["location"] == "/admin/users"


def test_every_form_needs_the_token_of_its_session(site: Site) -> None:
    """Without the CSRF token each form of the administration is 403 and changes nothing (L8)."""
    browser = site.browser(ADMIN)
    browser.get("/admin/users")
    before = revision(site)
    posts = [path for method, path in admin_routes(site) if method == "POST"]
    assert len(posts) > 30
    for path in posts:
        for csrf in ({}, {"csrf": "forged"}):
            answer = browser.post(filled(path, **VALUES), data={"typed": "Delete", "key.1": "x", **csrf})
            assert answer.status_code == 403, path
    assert revision(site) == before


def test_getting_a_page_changes_nothing(site: Site) -> None:
    """No GET or HEAD of the administration changes state."""
    browser = site.browser(ADMIN)
    site.key(BOB)
    browser.get("/profile")
    before = revision(site)
    for method, path in admin_routes(site):
        if method in {"GET", "HEAD"}:
            query = "?typed=Delete&key=1&disabled=1"
            assert browser.request(method, filled(path, **VALUES) + query).status_code < 500, path
    assert revision(site) == before


def test_an_id_that_is_none_is_not_found(site: Site) -> None:
    """Whatever stands for an id in a path, an administrator finds no page, and no defect."""
    browser = site.browser(ADMIN)
    for text in ("0", "01", "-1", "1e3", str(2**63), "9" * 30, "%00", "x", "²"):
        for part in ("users", "groups", "projects", "services", "service-accounts"):
            assert browser.get(f"/admin/{part}/{text}").status_code == 404, (part, text)
            assert browser.submit(f"/admin/{part}/{text}/delete", typed="Delete").status_code == 404


# Users


def test_making_a_user_gives_a_link_once(any_site: Site) -> None:
    """The link is in the one answer; with it a person sets a password, once, and signs in."""
    browser = any_site.browser(ADMIN)
    mail = f"grace{any_site.new_user().user_id}@example.com"
    answer = browser.submit(
        "/admin/users/new",
        **{"name": "Grace Holt", "email": mail, "permission.AUDIT": "on", "permissions": "1"},
    )
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    link = re.search(r"(http\S+/invitation)#([A-Za-z0-9_-]{43})", answer.text)
    assert link is not None
    user = any_site.services.users.get_by_userid("bim", mail)
    assert user.permissions == {"AUDIT", "CREATE_PROJECT"}
    assert (user.profile.name, user.profile.email, user.has_password) == ("Grace Holt", mail, False)
    assert link[2] not in browser.get(user_page(user)).text

    form = {"code": link[2], "password": NEW_PASSWORD, "password_again": NEW_PASSWORD}
    with Browser(any_site) as theirs:
        greeting = theirs.post("/invitation", data={"code": link[2]})
        assert greeting.status_code == 200
        assert "Welcome, Grace Holt" in greeting.text
        assert f'value="{mail}" autocomplete="username" readonly' in greeting.text
        assert greeting.text.count('autocomplete="new-password"') == 2
        assert "admin invited you to Keyturn." in greeting.text
        accepted = theirs.post("/invitation/password", data=form)
        assert (accepted.status_code, accepted.headers["location"]) == (303, "/profile/keys")
        assert mail in theirs.get("/profile/keys").text, "they are signed in at once"
        for path in ("/invitation", "/invitation/password"):
            again = theirs.post(path, data=form)
            assert (again.status_code, "This link no longer works" in again.text) == (422, True)
            assert 'type="password"' not in again.text, "said before anything is typed"
        assert Browser(any_site).log_in(mail, NEW_PASSWORD).status_code == 303


def test_a_link_that_is_wrong_or_over_says_so(open_site: SiteOpener) -> None:
    """A wrong link, one after seven days, and one that was replaced are refused alike, and change nothing."""
    with open_site() as site:
        site.add_people()
        user = site.new_user()
        links = [
            site.services.user_administration.invite(principal(site), "bim", user.userid, Origin()).link
            for _ in range(2)
        ]
        replaced, living = (link.partition("#")[2] for link in links)
        before = revision(site)
        with Browser(site) as browser:
            for code in ("", "wrong", "\x00", replaced, "\ud800"):
                sent = code.encode("utf-8", "replace").decode()
                for answer in (browser.post("/invitation", data={"code": sent}), _accept(browser, sent)):
                    assert (answer.status_code, "This link no longer works" in answer.text) == (422, True)
            short = _accept(browser, living, "short")
            assert (short.status_code, f'value="{living}"' in short.text) == (422, True)
            differ = browser.post(
                "/invitation/password",
                data={"code": living, "password": NEW_PASSWORD, "password_again": "other"},
            )
            assert "The passwords don’t match." in differ.text
            assert NEW_PASSWORD not in differ.text
            site.clock.advance(timedelta(days=7))
            assert _accept(browser, living).status_code == 422
        assert revision(site) == before


def _accept(browser: Browser, code: str, password: str = NEW_PASSWORD) -> httpx.Response:
    form = {"code": code, "password": password, "password_again": password}
    return browser.post("/invitation/password", data=form)


def test_an_invitation_signs_this_browser_out(site: Site) -> None:
    """Whoever is signed in where a link is accepted is signed out, and the one who is invited signed in."""
    browser, user = site.browser(ADMIN), site.new_user()
    link = site.services.user_administration.invite(principal(site), "bim", user.userid, Origin()).link
    former = browser.session_value()
    assert _accept(browser, link.partition("#")[2]).status_code == 303
    assert user.userid in browser.get("/profile/keys").text
    assert ADMIN not in browser.get("/profile/keys").text
    theirs = Browser(site, cookies={"keyturn": former})
    assert theirs.get("/profile").status_code == 303


def test_a_form_for_an_invitation_comes_from_our_page(site: Site) -> None:
    """Another site's page cannot set a password (L8)."""
    link = site.services.user_administration.invite(
        principal(site), "bim", site.new_user().userid, Origin()
    ).link
    form = {"code": link.partition("#")[2], "password": NEW_PASSWORD, "password_again": NEW_PASSWORD}
    with Browser(site) as browser:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert browser.post("/invitation", data=form, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"name": "No Mail"}, "Enter an email address or a user name."),
        ({"userid": "2005"}, "digits alone are reserved for user numbers"),
        ({"email": BOB}, "There is a user bob@example.com already."),
        ({"userid": "keyturn system"}, "own"),
        ({"userid": "x", "name": "y" * 300}, "at most 254 characters"),
    ],
)
def test_a_refused_new_user_is_told_on_the_form(site: Site, form: dict[str, str], told: str) -> None:
    """What is wrong stands on the form, which keeps all that was typed and ticked."""
    before = revision(site)
    browser = site.browser(ADMIN)
    answer = browser.submit("/admin/users/new", **form, **{"permissions": "1", "permission.AUDIT": "on"})
    assert answer.status_code == 422
    assert told in answer.text
    for value in form.values():
        assert f'value="{value}"' in answer.text
    assert re.search(r'name="permission.AUDIT" checked', answer.text)
    assert revision(site) == before + 1, "nothing but the login of this test"


def test_nobody_gives_what_they_do_not_hold(site: Site) -> None:
    """A box for a permission that the administrator lacks is not offered, and gives nothing (A3)."""
    browser = holder(site, "USER_ADMIN")
    user = site.new_user()
    site.services.user_administration.set_permissions(
        principal(site), "bim", user.userid, ["AUDIT"], Origin()
    )
    page = browser.get(user_page(user)).text
    assert re.search(r'name="permission.AUDIT" checked disabled', page)
    assert re.search(r'name="permission.GOVERNANCE" disabled', page)
    assert "You don’t have this permission, so you can’t grant it." in page
    form = {"permissions": "1", "permission.GOVERNANCE": "on", "permission.USER_ADMIN": "on"}
    assert browser.submit(f"{user_page(user)}/permissions", **form).status_code == 303
    assert now(site, user).permissions == {"AUDIT", "USER_ADMIN"}
    refused = browser.submit("/admin/users/new", **form, userid="climber")
    assert refused.status_code == 403
    assert "This needs the permission GOVERNANCE." in refused.text
    assert 'value="climber"' in refused.text
    refused = browser.submit(f"{user_page(user)}/invite")
    assert (refused.status_code, "needs the permission AUDIT" in refused.text) == (403, True)
    assert "/invitation#" not in refused.text


def test_each_permission_has_one_box_in_its_group(site: Site) -> None:
    """Those that allow something here have words; those that are passed on are folded, by their names."""
    page = site.browser(ADMIN).get(user_page(site.users[BOB])).text
    named = re.findall(r"^\| `([A-Z_0-9]+)` \|", REFERENCE.read_text(), re.MULTILINE)[: len(Permission)]
    boxes = r'<input type="checkbox" name="permission\.([A-Z_0-9]+)"'
    assert sorted(re.findall(boxes, page)) == sorted(named)
    here, passed_on = page.split("Passed on to your APIs", 1)
    assert set(re.findall(boxes, here)) == set(ALLOWS)
    assert len(re.findall(boxes, passed_on)) == len(Permission) - len(ALLOWS)
    assert f"({len(Permission) - len(ALLOWS)}) — no effect in Keyturn itself" in passed_on


def test_the_last_administrator_stays(open_site: SiteOpener) -> None:
    """Taking, suspending and deleting the last administrator is refused where it was asked for (A5)."""
    with open_site() as site:
        site.add_people()
        browser = site.browser(ADMIN)
        path = user_page(site.users[ADMIN])
        for action, form in (
            ("permissions", {"permissions": "1", "was.permission.USER_ADMIN": "on"}),
            ("disable", {}),
            ("delete", {"typed": "Delete"}),
        ):
            answer = browser.submit(f"{path}/{action}", **form)
            assert answer.status_code == 409, action
            assert "This is the last person with" in answer.text
        assert now(site, site.users[ADMIN]).permissions == frozenset(Permission)


def test_searching_users(open_site: SiteOpener) -> None:
    """A part of a name, user name or address finds people, in any state unless one is asked for."""
    with open_site() as site:
        site.add_people()
        for number in range(60):
            site.add_user(f"many{number}@example.com")
        site.services.users.set_disabled(COMMAND_LINE, BOB, disabled=True)
        browser = site.browser(ADMIN)

        def found(query: str) -> list[str]:
            page = browser.get(f"/admin/users?{query}").text
            return re.findall(r'<a class="name" href="/admin/users/\d+">([^<]+)<', page)

        assert found("q=ADMIN%40EX") == ["admin"]
        assert found("q=bob") == ["bob"]
        assert found("q=bob&state=active") == []
        assert found("q=bob&state=suspended") == ["bob"]
        assert found("q=bob&state=no-such") == ["bob"]
        assert found("q=%00") == []
        assert len(found("")) == 20
        assert len(found("page=4")) == 2
        assert found("page=99") == found("page=4")
        page = browser.get("/admin/users?q=many&state=active").text
        assert 'href="/admin/users?q=many&amp;state=active&amp;page=2"' in page
        assert "1–20 of 60" in page
        nobody = browser.get("/admin/users?q=garzia").text
        assert "No users match “garzia”" in nobody
        assert "Accents don’t matter" in nobody


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("garcia", "Inés García"),
        ("GARCÍA", "Inés García"),
        ("ines gar", "Ine\u0301s Garci\u0301a"),
        ("soren", "Søren Łukasz"),
        ("lukasz", "SØREN ŁUKASZ"),
        ("nguyen", "Nguyễn Thị"),
        ("αθηνα", "Αθηνά"),
    ],
)
def test_accents_do_not_matter_in_a_search(any_site: Site, typed: str, name: str) -> None:
    """A name is found without its accents and with them, whichever way they are written."""
    user = any_site.new_user()
    any_site.services.user_administration.update_profile(
        principal(any_site), "bim", user.userid, {"name": name}, Origin()
    )
    page = any_site.browser(ADMIN).get("/admin/users", params={"q": typed}).text
    assert f'href="/admin/users/{user.user_id}"' in page
    assert "No users match" in any_site.browser(ADMIN).get("/admin/users", params={"q": f"{typed}%"}).text


def test_each_state_has_its_people_and_their_number(open_site: SiteOpener) -> None:
    """The segments count who is active, invited, locked or suspended, of those who are searched for."""
    with open_site() as site:
        site.add_people()
        who, services = principal(site), site.services
        locked, suspended = site.new_user(), site.new_user()
        services.user_administration.add(
            who, Origin(), userid="nadia@example.com", profile={}, password=None, permissions=()
        )
        service_account(site, locked)
        services.users.set_disabled(COMMAND_LINE, suspended.userid, disabled=True)
        browser = site.browser(ADMIN)
        for _ in range(6):
            Browser(site).log_in(locked.userid, "wrong wrong wrong")

        def counted(query: str) -> dict[str, tuple[int, int]]:
            """Return what each segment counts, and how many its address shows."""
            page = browser.get(f"/admin/users?{query}").text
            links = re.findall(r'<a href="([^"]+)"[^>]*>(\w+) <span class="count">(\d+)</span></a>', page)
            return {
                label: (
                    int(number),
                    len(re.findall(r'<a class="name"', browser.get(html.unescape(address)).text)),
                )
                for address, label, number in links
            }

        assert counted("") == {
            "All": (6, 6), "Active": (3, 3), "Invited": (1, 1), "Locked": (1, 1), "Suspended": (1, 1)
        }  # fmt: skip
        assert counted("q=nadia&state=locked") == {
            "All": (1, 1), "Active": (0, 0), "Invited": (1, 1), "Locked": (0, 0), "Suspended": (0, 0)
        }  # fmt: skip
        page = browser.get("/admin/users?state=invited").text
        assert "Link valid until" in page
        told = browser.get(user_page(locked)).text
        assert "after 5 wrong passwords" in told
        site.clock.advance(timedelta(hours=1))
        browser = site.browser(ADMIN)
        assert counted("")["Locked"] == (0, 0)
        assert "wrong passwords" not in browser.get(user_page(locked)).text


def test_attributes_are_added_and_removed(any_site: Site) -> None:
    """An attribute appears and goes by its forms; half of one is refused, and kept in the form."""
    browser = any_site.browser(ADMIN)
    user = any_site.new_user()
    path = f"{user_page(user)}/attributes"
    assert browser.submit(f"{path}/add", key="Team", value=HOSTILE).status_code == 303
    assert now(any_site, user).attributes == {"team": (HOSTILE,)}
    assert HOSTILE not in browser.get(user_page(user)).text
    refused = browser.submit(f"{path}/add", key="half", value=" ")
    assert (refused.status_code, 'value="half"' in refused.text) == (422, True)
    assert browser.submit(f"{path}/remove", key="team", value=HOSTILE).status_code == 303
    assert now(any_site, user).attributes == {}


def test_suspending_shows_what_stops_and_stops_it(any_site: Site) -> None:
    """First its keys with their last use, sessions and service accounts are shown; then all are refused."""
    browser = any_site.browser(ADMIN)
    user = any_site.new_user()
    key = any_site.key(user.userid)
    theirs = any_site.browser(user.userid)
    account = service_account(any_site, user)
    assert works(any_site, key.secret)
    page = browser.get(f"{user_page(user)}/disable").text
    for told in (
        key.record.masked,
        ">just now<",
        "127.0.0.1",
        f"GET {WHO}",
        "1 session ends",
        account.userid,
    ):
        assert told in page, told
    assert works(any_site, key.secret), "looking suspends nobody"
    assert browser.submit(f"{user_page(user)}/disable").status_code == 303
    assert not works(any_site, key.secret)
    assert theirs.get("/profile").status_code == 303
    assert now(any_site, account).is_disabled
    assert browser.submit(f"{user_page(user)}/enable").status_code == 303
    assert works(any_site, key.secret)
    assert not now(any_site, account).is_disabled


def test_deleting_needs_the_word_and_may_hand_over(any_site: Site) -> None:
    """Without the word, or with a successor who cannot be one, nothing ends; with both the accounts go on."""
    browser = any_site.browser(ADMIN)
    user = any_site.new_user()
    account = service_account(any_site, user)
    path = f"{user_page(user)}/delete"
    before = revision(any_site)
    for form, told in (
        ({}, "To confirm, type delete"),
        ({"typed": "deleted"}, "To confirm, type delete"),
        ({"typed": "delete", "handOverTo": "nobody"}, "is called “nobody”"),
        ({"typed": "delete", "handOverTo": user.userid}, "this account is the one that ends"),
        ({"typed": "delete", "handOverTo": account.userid}, f"is called “{account.userid}”"),
    ):
        answer = browser.submit(path, **form)
        assert (answer.status_code, told in answer.text) == (422, True), form
    assert revision(any_site) == before
    assert browser.submit(path, typed=" Delete ", handOverTo=ADMIN).status_code == 303
    assert now(any_site, account).owner == ServiceOwner(any_site.users[ADMIN].user_id)
    assert browser.get(user_page(user)).status_code == 404


def test_an_account_is_found_among_the_others(site: Site) -> None:
    """A service account that is looked for among people is found where it is, and changed nowhere else."""
    account = service_account(site, site.new_user())
    browser = site.browser(ADMIN)
    answer = browser.get(user_page(account))
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/admin/service-accounts/{account.user_id}",
    )
    actions = (
        "disable",
        "delete",
        "permissions",
        "invite",
        "attributes/add",
        "profile",
        "sign-out",
        "groups/add",
    )
    for action in actions:
        assert browser.submit(f"{user_page(account)}/{action}", typed="Delete").status_code == 404, action
    assert now(site, account) == account


# Groups and projects


def test_a_group_from_its_beginning_to_its_end(any_site: Site) -> None:
    """A group is made, changed, filled and given attributes; when it is deleted, what it owns goes on."""
    browser = any_site.browser(ADMIN)
    user = any_site.new_user()
    name = f"Analysts of {user.userid}"
    path = browser.submit("/admin/groups/new", name=name).headers["location"].partition("?")[0]
    assert browser.submit(path, name=f"{name}!", description="Who reads.").status_code == 303
    assert browser.submit(f"{path}/members/add", userid=user.userid).status_code == 303
    assert browser.submit(f"{path}/attributes/add", key="region", value="north").status_code == 303
    assert now(any_site, user).authorizations == {"region": ("north",)}
    page = browser.get(path).text
    for told in (f"{name}!", "Who reads.", user.userid, "north"):
        assert told in page
    group_id = int(path.rpartition("/")[2])
    account = service_account(any_site, user)
    handed = browser.submit(f"/admin/service-accounts/{account.user_id}/hand-over", group=str(group_id))
    assert handed.status_code == 303
    assert account.userid in browser.get(f"{path}/delete").text
    membership = re.search(rf"{path}/members/(\d+)/remove", page)
    assert membership is not None
    assert browser.submit(f"{path}/members/{membership[1]}/remove").status_code == 303
    assert browser.submit(f"{path}/attributes/remove", key="region", value="north").status_code == 303
    refused = browser.submit(f"{path}/delete", typed="no")
    assert (refused.status_code, "To confirm, type delete" in refused.text) == (422, True)
    assert browser.submit(f"{path}/delete", typed="Delete", handOverTo=user.userid).status_code == 303
    assert now(any_site, account).owner == ServiceOwner(user.user_id)
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize(
    ("action", "form", "told"),
    [
        ("", {"name": " "}, "Enter a name for the group."),
        ("", {"name": "Taken"}, "There is a group Taken already."),
        ("/members/add", {"userid": "nobody"}, "No user is called “nobody”."),
        ("/members/add", {"userid": BOB}, "This user is in the group already."),
        ("/attributes/add", {"key": "a" * 300, "value": "b"}, "at most 254 characters"),
    ],
)
def test_what_a_group_refuses_is_told_on_its_page(
    site: Site, action: str, form: dict[str, str], told: str
) -> None:
    """A mistake is told on the group's page, which keeps what was typed."""
    who, groups = principal(site), site.services.groups
    known = {group.name: group for group in groups.list_visible(who)}
    if "Taken" not in known:
        groups.add(who, Origin(), iamid="bim", name="Taken")
        mine = groups.add(who, Origin(), iamid="bim", name="Mine")
        groups.add_member(who, mine.group_id, Origin(), iamid="bim", userid=BOB)
    mine = next(group for group in groups.list_visible(who) if group.name == "Mine")
    answer = site.browser(ADMIN).submit(f"/admin/groups/{mine.group_id}{action}", **form)
    assert (answer.status_code, told in answer.text) == (422, True)
    for value in form.values():
        assert f'value="{value}"' in answer.text


def test_a_project_from_its_beginning_to_its_end(any_site: Site) -> None:
    """A project is made and filled; a member's key sees its connection alone, and ends with it."""
    browser = any_site.browser(ADMIN)
    user = any_site.new_user()
    any_site.services.user_administration.set_permissions(
        principal(any_site), "bim", user.userid, ["CREATE_DATA_SOURCE"], Origin()
    )
    name = f"Report of {user.userid}"
    path = browser.submit("/admin/projects/new", name=name).headers["location"].partition("?")[0]
    assert browser.submit(f"{path}/members/set", userid=user.userid).status_code == 303
    assert browser.submit(f"{path}/connections/add", connectionKey="123456789").status_code == 303
    number = path.rpartition("/")[2]

    theirs = any_site.browser(user.userid)
    assert (
        f'<option value="{number}">{name} (project {number})</option>' in theirs.get("/profile/keys/new").text
    )
    secret = secret_on(theirs.create_key(name="for it", project=number).text)
    chip = f'<span class="chip">{name}</span>'
    assert chip in theirs.get("/profile/keys").text
    seen = ("/admin/keys", user_page(user), f"/admin/keys/revoke?key={_only_key(any_site, user)}")
    for each in seen:
        assert chip in browser.get(each, params=_owner(each, user)).text
    outsider = holder(any_site, "USER_ADMIN")
    for each in seen:
        told = outsider.get(each, params=_owner(each, user)).text
        assert (">one that you are not in<" in told, name in told) == (True, False)
    headers = {"Authorization": secret}
    assert any_site.client().get("/data/connection/123456789", headers=headers).status_code == 200
    assert browser.submit(f"{path}/connections/remove", connectionKey="123456789").status_code == 303
    assert any_site.client().get("/data/connection/123456789", headers=headers).status_code == 404

    me = principal(any_site).user_id
    for form in ("remove", "owner"):
        refused = browser.submit(f"{path}/members/{form}", userid=str(me))
        assert (refused.status_code, "This is the last owner" in refused.text) == (400, True)
        assert f'name="userid" value="{me}"' not in refused.text.partition('id="userid"')[2], (
            "nobody typed it"
        )
    owner = {"userid": str(user.user_id), "is_owner": "yes"}
    assert browser.submit(f"{path}/members/owner", **owner).status_code == 303
    assert browser.submit(f"{path}/members/remove", userid=ADMIN).status_code == 303
    assert browser.submit(path, name=f"{name}!", description="About it.").status_code == 303
    assert "Every key limited to this project is revoked" in browser.get(f"{path}/delete").text
    assert browser.submit(f"{path}/delete", typed="x").status_code == 422
    assert works(any_site, secret)
    assert browser.submit(f"{path}/delete", typed="Delete").status_code == 303
    assert not works(any_site, secret)
    assert ">one that you are not in<" in theirs.get("/profile/keys").text


def _only_key(site: Site, user: UserRecord) -> int:
    (key,) = site.services.keys.list_of(user.user_id)
    return key.key_id


def _owner(path: str, user: UserRecord) -> dict[str, str] | None:
    return {"q": user.userid} if path == "/admin/keys" else None


def test_a_key_is_linked_to_one_s_own_project_alone(site: Site) -> None:
    """A project that the person is not in is no choice, and what was typed stays."""
    foreign = site.services.projects.add(principal(site), Origin(), name="Not Bob's", description=None)
    browser = site.browser(BOB)
    assert 'name="project"' not in browser.get("/profile/keys/new").text
    for project in (str(foreign.project_id), "999", "x"):
        answer = browser.create_key(name="linked", project=project)
        assert (answer.status_code, "Choose one of your projects" in answer.text) == (422, True)
        assert 'value="linked"' in answer.text


def test_who_only_sees_projects_is_offered_no_change(site: Site) -> None:
    """A holder of GOVERNANCE looks at any project; a form that they send all the same is refused there."""
    project = site.services.projects.add(principal(site), Origin(), name="Looked at", description=None)
    browser = holder(site, "GOVERNANCE")
    path = f"/admin/projects/{project.project_id}"
    page = browser.get(path).text
    assert "Looked at" in page
    assert f'action="{path}' not in page
    for action in ("", "/members/set", "/connections/add", "/delete"):
        answer = browser.submit(f"{path}{action}", name="x", userid=BOB, connectionKey="1", typed="Delete")
        assert (answer.status_code, "PROJECT_MANAGEMENT" in answer.text) == (403, True), action


# Service accounts


def test_a_service_account_from_its_beginning_to_its_end(any_site: Site) -> None:
    """It is made with an owner, gets a key that is shown once, is handed over, and ends with its keys."""
    browser = any_site.browser(ADMIN)
    user = any_site.new_user()
    userid = f"etl of {user.userid}"
    refused = browser.submit("/admin/service-accounts/new", userid=userid)
    assert (refused.status_code, "Enter the name of a person, or choose a group." in refused.text) == (
        422,
        True,
    )
    assert f'value="{userid}"' in refused.text
    made = browser.submit("/admin/service-accounts/new", userid=userid, owner=user.userid, name="Loads")
    path = made.headers["location"].partition("?")[0]
    form_id = _form_id(browser, path)
    created = browser.submit(f"{path}/keys", name="nightly", expiry="30", form_id=form_id)
    secret = secret_on(created.text)
    assert created.headers["cache-control"] == "no-store"
    again = browser.submit(f"{path}/keys", name="nightly", expiry="30", form_id=form_id)
    assert (again.status_code, "kt_" in again.text) == (409, False)
    assert works(any_site, secret)
    page = browser.get(path).text
    assert "nightly" in page
    assert secret not in page
    undecided = browser.submit(f"{path}/keys", name="kept", form_id=_form_id(browser, path))
    assert (undecided.status_code, 'value="kept"' in undecided.text) == (422, True)

    owner = any_site.browser(user.userid)
    own = f"/profile/service-accounts/{path.rpartition('/')[2]}"
    assert "Service accounts" in owner.get("/profile").text
    assert userid in owner.get("/profile/service-accounts").text
    second = secret_on(
        owner.submit(f"{own}/keys", name="mine", expiry="7", form_id=_form_id(owner, own)).text
    )
    revoke = re.search(rf"{own}/keys/\d+/revoke", owner.get(own).text)
    assert revoke is not None
    assert "Never used" in owner.get(revoke[0]).text
    assert owner.submit(revoke[0]).status_code == 303
    assert not works(any_site, second)
    assert owner.get(revoke[0]).status_code == 404

    assert browser.submit(f"{path}/hand-over", owner=BOB).status_code == 303
    assert owner.get(own).status_code == 404
    assert owner.submit(f"{own}/delete", typed="Delete").status_code == 404
    assert "Service accounts" not in owner.get("/profile").text
    theirs = any_site.browser(BOB)
    assert theirs.submit(f"{own}/disable").status_code == 303
    assert not works(any_site, secret)
    refused = theirs.submit(f"{own}/enable")
    assert (refused.status_code, "needs the permission USER_ADMIN" in refused.text) == (403, True)
    assert not works(any_site, secret)
    assert browser.submit(f"{path}/enable").status_code == 303
    assert works(any_site, secret)
    assert theirs.submit(f"{own}/delete", typed="Delete").status_code == 303
    assert not works(any_site, secret)


def _form_id(browser: Browser, path: str) -> str:
    found = re.search(r'name="form_id" value="([^"]+)"', browser.get(f"{path}/keys/new").text)
    assert found is not None
    return found[1]


def test_an_owner_makes_no_key_that_opens_more_than_they_may(site: Site) -> None:
    """A service account that holds more than its owner gives them no key, and says why (A3)."""
    user = site.new_user()
    account = service_account(site, user)
    site.services.user_administration.set_permissions(
        principal(site), "bim", account.userid, ["AUDIT"], Origin()
    )
    browser = site.browser(user.userid)
    own = f"/profile/service-accounts/{account.user_id}"
    answer = browser.submit(f"{own}/keys", name="more", expiry="7", form_id=_form_id(browser, own))
    assert (answer.status_code, "This needs the permission AUDIT." in answer.text) == (403, True)
    assert 'value="more"' in answer.text
    for admin_form in ("permissions", "attributes/add", "hand-over"):
        assert browser.submit(f"{own}/{admin_form}", **{"permission.AUDIT": "on"}).status_code in {404, 405}


# Keys


def test_finding_and_revoking_keys(open_site: SiteOpener) -> None:
    """Each choice narrows the list, and exactly the keys that were confirmed are revoked."""
    with open_site() as site:
        site.add_people()
        old = site.key(BOB, never=True)
        site.clock.advance(timedelta(days=40))
        used, other = site.key(BOB), site.key(ADMIN, expires_at=site.clock.now + timedelta(days=3))
        browser = site.browser(ADMIN)
        assert works(site, used.secret)
        site.services.usage.flush(everything=True)

        def listed(query: str) -> set[int]:
            return {
                int(n)
                for n in re.findall(r'name="key" value="(\d+)"', browser.get(f"/admin/keys?{query}").text)
            }

        def found(**asked: str) -> set[int]:
            """Search as the form does."""
            lead = browser.submit("/admin/keys/find", **asked).headers["location"]
            return listed(lead.partition("?")[2])

        old_id, used_id, other_id = (key.record.key_id for key in (old, used, other))
        assert listed("") == {old_id, used_id, other_id}
        assert found(q="BOB@") == {old_id, used_id}
        assert found(q="Bob") == {old_id, used_id}
        assert found(q=old.record.masked) == {old_id}
        assert found(q=old.record.masked[:10]) == {old_id}
        assert found(q="test", expiry="never") == {old_id}
        assert found(expiry="7") == {other_id}
        assert found(used="never") == {old_id, other_id}
        assert found(used="30") == {old_id}, "a key of today is not unused for a month"
        assert old_id in found(q=str(old_id))
        assert found(q="987654") == set()
        assert found(q="\x00") == set()
        assert listed("state=soon") == {other_id}
        assert listed("used=x&expiry=x&state=x&sort=x") == {old_id, used_id, other_id}
        assert listed("owner=bob%40example.com") == {old_id, used_id}
        page = browser.get("/admin/keys?q=zzz").text
        assert "No keys match" in page
        for sort in ("name", "-owner", "state", "-used", "expires"):
            assert listed(f"sort={sort}") == {old_id, used_id, other_id}
        order = re.findall(r'name="key" value="(\d+)"', browser.get("/admin/keys?sort=owner").text)
        assert int(order[0]) == other_id

        asked = f"/admin/keys/revoke?key={old_id}&key={used_id}&key=x&key=99"
        page = browser.get(asked).text
        assert "Revoke these 2 keys?" in page
        assert works(site, used.secret), "asking revokes nothing"
        revoked = browser.submit("/admin/keys/revoke", keys=f"{old_id},{used_id},99,x")
        assert revoked.status_code == 303
        assert "Revoked 2 keys." in browser.get(revoked.headers["location"]).text
        assert [works(site, key.secret) for key in (old, used, other)] == [False, False, True]
        assert listed("") == {other_id}
        assert '>Ended <span class="count">2</span>' in browser.get("/admin/keys").text
        assert browser.get(asked).status_code == 404
        nothing_chosen = browser.get("/admin/keys/revoke").headers["location"]
        assert "Select at least one key." in browser.get(nothing_chosen).text
        one = browser.submit("/admin/keys/revoke", keys=str(other_id)).headers["location"]
        assert "Revoked <b>test</b>." in browser.get(one).text


def test_a_pasted_key_leads_to_its_page(open_site: SiteOpener) -> None:
    """A whole key, alive or not, its former secret, a header or a line with it: none is in an address."""
    with open_site() as site:
        site.add_people()
        admin, browser = principal(site), site.browser(ADMIN)
        living, revoked = site.key(BOB), site.key(BOB)
        site.services.all_keys.revoke(admin, [revoked.record.key_id], Origin())
        bob = site.services.sessions.find(site.browser(BOB).session_value())
        assert bob is not None
        rotated = site.services.key_rotation.rotate_own(
            bob.principal, living.record.key_id, Origin(), overlap=timedelta(days=1)
        )
        foreign = "9f86d081884c7d659a2feaa0c55ad015"
        imported = site.services.keys.import_foreign(
            site.users[BOB].user_id, COMMAND_LINE, text=foreign, name=None, lifetime=None
        )
        for pasted, number in (
            (living.secret, living.record.key_id),
            (rotated.secret, living.record.key_id),
            (revoked.secret, revoked.record.key_id),
            (f"  Bearer {revoked.secret}\r\n", revoked.record.key_id),
            (f'API_KEY="{revoked.secret}"', revoked.record.key_id),
            (foreign, imported.key_id),
        ):
            answer = browser.submit("/admin/keys/find", q=pasted)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/admin/keys/{number}"), pasted
            page = browser.get(answer.headers["location"]).text
            assert f'Owned by <a href="/admin/users/{site.users[BOB].user_id}">' in page
            assert '<a href="/admin" aria-current="page">' in page
            assert "/profile/keys/new" not in page, "a replacement would be the administrator's"


@pytest.mark.parametrize("searched", ["/admin/keys", "/profile/keys"])
def test_an_unknown_key_is_echoed_nowhere(site: Site, searched: str) -> None:
    """What may be a key of another installation, or a part of one, stands in no address, page, row or log.

    The page says which of both it is, and shows no list that could be taken for what was found.
    """
    browser = site.browser(ADMIN)
    own, secret = site.key(ADMIN).record, site.key(BOB).secret
    before = revision(site)
    for pasted, notice in (
        (f"{secret[:-1]}{'a' if secret[-1] != 'a' else 'b'}", "torn"),
        (secret[:40], "torn"),
        (secret.replace("kt_", "kt_x", 1), "torn"),
        (unknown_key(), "unknown"),
        ("9f86d081884c7d659a2feaa0c55ad016", "unknown"),
        ("550e8400-e29b-41d4-a716-446655440000", "unknown"),
        ("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "unknown"),
    ):
        answer = browser.submit(f"{searched}/find", q=pasted, used="30", state="active")
        assert answer.headers["location"] == f"{searched}?notice={notice}", pasted
        told = {"torn": "This is not a whole key", "unknown": "No key matches"}[notice]
        for page, title in (
            (browser.get(answer.headers["location"]).text, told),
            (browser.get(searched, params={"q": pasted}).text, "No key matches"),
        ):
            assert f"<h2>{title}</h2>" in page
            assert pasted not in page
            assert own.masked not in page
    assert revision(site) == before
    for name in ("nightly-export-2026-production", "test", "kt_"):
        assert "q=" in browser.submit(f"{searched}/find", q=name).headers["location"]


def test_a_person_finds_their_own_key_by_pasting_it(site: Site) -> None:
    """Alive or not, it leads to its page; somebody else's key is none of theirs."""
    user = site.new_user()
    browser, key, foreign = site.browser(user.userid), site.key(user.userid), site.key(BOB)
    browser.submit(f"/profile/keys/{key.record.key_id}/revoke")
    found = browser.submit("/profile/keys/find", q=f"Authorization: {key.secret}")
    assert found.headers["location"] == f"/profile/keys/{key.record.key_id}"
    found = browser.submit("/profile/keys/find", q=foreign.secret)
    assert found.headers["location"] == "/profile/keys?notice=unknown"


# The audit log


def test_filtering_the_audit_log(open_site: SiteOpener) -> None:  # noqa: PLR0915 - each field once
    """Each field narrows the log, the newest come first, and reading on misses no row."""
    with open_site() as site:
        site.add_people()
        site.clock.advance(timedelta(days=1))
        for _ in range(60):
            site.key(BOB)
        browser = site.browser(ADMIN)
        Browser(site).log_in(BOB, "wrong wrong wrong")

        def rows(query: str) -> list[str]:
            return re.findall(r"<dt>Event<dd><code>(\w+)</code>", browser.get(f"/admin/audit?{query}").text)

        assert rows("")[:2] == ["UserLoginFailed", "UserLoggedIn"]
        assert rows("result=failure") == ["UserLoginFailed"]
        assert rows("action=ConnectionCreated") == ["ConnectionCreated"]
        assert rows("actor=ADMIN%40") == ["UserLoggedIn"]
        assert rows("target_type=CONNECTION&target=123456789") == ["ConnectionCreated"]
        assert "ConnectionCreated" not in rows("since=2026-11-26")
        assert set(rows("until=2026-11-25")) == {"SigningKeyCreated", "UserCreated", "ConnectionCreated"}
        assert rows("until=2026-11-24") == []
        assert "No events match" in browser.get("/admin/audit?until=2026-11-24").text
        site.clock.advance(timedelta(days=3))
        browser = site.browser(ADMIN)
        assert rows("period=1") == ["UserLoggedIn"]
        assert len(rows("period=7")) == 50
        assert len(rows("period=x")) == 50
        for day in ("26.11.2026", "2026-13-01", "9999-12-31", "0001-01-01"):
            answer = browser.get("/admin/audit", params={"since": day, "actor": "kept"})
            assert (answer.status_code, "Enter a day like" in answer.text) == (422, True), day
            assert 'value="kept"' in answer.text
            assert browser.get("/admin/audit/export.csv", params={"until": day}).status_code == 422
        maker = site.key(BOB)
        with site.client(headers={"Authorization": maker.secret}) as client:
            made = client.post("/bim/apikey", json={"name": "made with a key"}).json()
        number = maker.record.key_id
        assert rows(f"key={number}") == ["ApiKeyCreated"]
        found = browser.get(f"/admin/audit?key={number}").text
        assert f'<a href="/admin/keys/{made["keyid"]}">made with a key</a>' in found
        assert f'with the key <a href="/admin/keys/{number}">test</a>' in found
        exported = browser.get(f"/admin/audit/export.jsonl?key={number}").text.splitlines()
        assert [json.loads(line)["actorKeyId"] for line in exported] == [number]
        for wrong in ("0", "kt", "9999999999999999999"):
            answer = browser.get("/admin/audit", params={"key": wrong})
            assert (answer.status_code, "Enter the number of a key" in answer.text) == (422, True), wrong
        page, seen, pages = "/admin/audit?target_type=APIKEY", [], []
        while page:
            text = browser.get(page).text
            pages.append(re.findall(r"<dt>About<dd>Key (\d+)", text))
            seen += pages[-1]
            older = re.search(r'href="([^"]+)" rel="next"', text)
            page = older[1].replace("&amp;", "&") if older else ""
        assert [int(number) for number in seen] == sorted(map(int, seen), reverse=True)
        assert len(set(seen)) == 62
        newer = re.search(r'href="([^"]+)" rel="prev"', text)
        assert newer is not None
        back = browser.get(newer[1].replace("&amp;", "&")).text
        assert re.findall(r"<dt>About<dd>Key (\d+)", back) == pages[-2]


def test_the_audit_log_is_in_words(any_site: Site) -> None:
    """Each row is a sentence by its day; names lead to their pages, if the reader may see them."""
    browser, user = any_site.browser(ADMIN), any_site.new_user()
    key = any_site.key(user.userid).record
    admin = principal(any_site)
    any_site.services.user_administration.change_attribute(
        admin, "bim", user.userid, ("team", HOSTILE), Origin(), is_given=True
    )
    group = any_site.services.groups.add(admin, Origin(), iamid="bim", name=f"Readers of {user.userid}")
    any_site.services.groups.add_member(admin, group.group_id, Origin(), iamid="bim", userid=user.userid)
    text = browser.get("/admin/audit").text
    assert "<img" not in text.partition("<main")[2]
    page, name = html.unescape(text), user.userid.partition("@")[0]
    person = f'<a href="{user_page(user)}">{name}</a>'
    admins = f'<a href="/admin/users/{any_site.users[ADMIN].user_id}">admin</a>'
    grouped = f'the group <a href="/admin/groups/{group.group_id}">Readers of {user.userid}</a>'
    for told in (
        f'The command line created the key <a href="/admin/keys/{key.key_id}">test</a> of {person}.',
        f"{admins} gave {person} the attribute <b>team = {HOSTILE}</b>.",
        f"{admins} created {grouped}.",
        f"{admins} added {person} to {grouped}.",
        f"<dt>user id<dd>{user.user_id}, {user.userid}<",
        f"<dt>added team<dd>{HOSTILE}<",
        '<h2 class="day">Today, November 25</h2>',
        f'<option value="ResourceCreated">{ACTIONS["ResourceCreated"]}</option>',
        '<option value="RESOURCE">API</option>',
    ):
        assert told in page, told
    read_only = holder(any_site, "AUDIT").get("/admin/audit").text
    assert f"added <b>{user.userid}</b> to the group <b>{group.name}</b>." in read_only
    assert 'href="/admin/users/' not in read_only
    assert 'href="/admin/keys/' not in read_only
    any_site.services.offboarding.delete(admin, "bim", user.userid, Origin())
    gone = browser.get("/admin/audit").text
    assert f"added user {user.user_id} to" in gone
    assert f"deleted {user.userid}." in gone
    assert f'href="{user_page(user)}"' not in gone


def test_every_action_has_words_of_its_own() -> None:
    """None is missing, and no two actions are called the same."""
    assert set(ACTIONS) == set(AuditAction) == TOLD
    assert len(set(ACTIONS.values())) == len(ACTIONS)


def _row(action: str, *, target: Target, target_id: str | None = "7", **details: object) -> AuditRow:
    at = datetime(2026, 11, 25, 9, 41, tzinfo=UTC)
    return AuditRow(
        1,
        "e",
        1,
        at,
        action,
        True,
        5,
        "mara@example.com",
        None,
        target,
        target_id,
        "192.0.2.7",
        None,
        None,
        details,
    )


NAMES = AuditNames(
    users={5: "Mara Quill", 7: "Otto Reed"},
    keys={7: AuditedKey("nightly export", 7), 8: AuditedKey(None, 5)},
    groups={7: "Finance"},
    projects={7: "Forecasting"},
    apis={7: "Orders"},
)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (_row("UserDisabled", target=Target.USER), "Mara Quill suspended Otto Reed."),
        (
            _row("ApiKeyRotated", target=Target.API_KEY, overlapSeconds=86400),
            (
                "Mara Quill rotated the key nightly export of Otto Reed; the old secret was left until "
                "Nov 26, 2026, 09:41."
            ),
        ),
        (
            _row("ApiKeyDeleted", target=Target.API_KEY, target_id="8"),
            "Mara Quill revoked the unnamed key 8.",
        ),
        (
            _row("ApiKeyDeleted", target=Target.API_KEY, because="ProjectDeleted", of="3"),
            "Mara Quill revoked the key nightly export of Otto Reed, with its project.",
        ),
        (
            _row(
                "UserPermissionsUpdated", target=Target.USER, added=["AUDIT", "GOVERNANCE"], removed=["ADMIN"]
            ),
            (
                "Mara Quill gave Otto Reed the permissions AUDIT and GOVERNANCE and took the permission "
                "ADMIN from Otto Reed."
            ),
        ),
        (
            _row("GroupMemberRemoved", target=Target.GROUP, userId=7),
            "Mara Quill removed Otto Reed from the group Finance.",
        ),
        (
            _row("ProjectUpdated", target=Target.PROJECT, member=7, isOwner=True),
            "Mara Quill made Otto Reed an owner of the project Forecasting.",
        ),
        (
            _row("GroupAttributesUpdated", target=Target.GROUP, removed={"team": "x"}),
            "Mara Quill took the attribute team = x from the group Finance.",
        ),
        (
            _row("ServiceAccountHandedOver", target=Target.USER, ownerUser=5, ownerGroup=None),
            "Mara Quill transferred the service account Otto Reed to Mara Quill.",
        ),
        (_row("ResourceDeleted", target=Target.RESOURCE), "Mara Quill deleted the API Orders."),
        (
            _row("SessionEnded", target=Target.USER, target_id="5", kept=3),
            "Mara Quill ended all their other sessions.",
        ),
        (_row("OfANewerProgram", target=Target.USER), "Mara Quill: OfANewerProgram."),
    ],
)
def test_sentences(row: AuditRow, sentence: str) -> None:
    """Who, what and to what, with names where they are known."""
    told = Narrator(NAMES, links_users=True, links_apis=True, links_projects=True).tell(row)
    assert re.sub(r"<[^>]+>", "", html.unescape(str(told.text))) == sentence


@pytest.mark.parametrize("action", AuditAction)
@pytest.mark.parametrize("actor", [(5, "mara@example.com"), (None, "anonymous"), (None, "command line")])
def test_every_action_is_a_sentence(action: AuditAction, actor: tuple[int | None, str]) -> None:
    """Whatever a row lacks, its sentence begins with a capital or a user name, and ends with one stop."""
    for names in (NAMES, AuditNames()):
        for target_id in ("7", None):
            row = _row(action, target=Target.USER, target_id=target_id)
            row = replace(row, actor_user_id=actor[0], actor_userid=actor[1])
            text = re.sub(r"<[^>]+>", "", html.unescape(str(Narrator(names).tell(row).text)))
            assert re.fullmatch(r"([A-Z]|mara@).*[^.]\.", text), text
            assert "user user" not in text
            assert "  " not in text
            assert not set(text) & set("{}")


def test_a_page_of_the_log_is_small(open_site: SiteOpener) -> None:
    """50 rows with all their details stay under 60 KB."""
    with open_site() as site:
        site.add_people()
        for _ in range(60):
            browser = site.browser(ADMIN)
            site.key(BOB)
        page = browser.get("/admin/audit").content
        assert page.count(b"<dt>Event") == 50
        assert len(page) < 60_000


@pytest.mark.parametrize(
    ("details", "lines"),
    [
        ({}, []),
        ({"name": None, "userId": 7, "jkt": "x"}, [("user id", "7, ada"), ("jkt", "x")]),
        ({"memberRemoved": 8, "isOwner": False}, [("member removed", "8"), ("is owner", "no")]),
        ({"scopes": ["a", "b"], "fields": []}, [("scopes", "a, b"), ("fields", "none")]),
        ({"added": {"myTeam": ["x", "y"]}}, [("added myTeam", "x, y")]),
        (
            {"ended": [{"id": 1}], "ms": 1.5, "userId": [7]},
            [("ended", '{"id":1}'), ("ms", "1.5"), ("user id", "7")],
        ),
    ],
)
def test_details_are_lines(details: dict[str, object], lines: list[tuple[str, str]]) -> None:
    """Whatever an audit row holds becomes a name and a text; attributes keep the names that they have."""
    assert list(detail_lines(details, {7: "ada"})) == lines


def test_exporting_the_audit_log(open_site: SiteOpener) -> None:
    """Both exports hold exactly the filtered rows, all of them, as a file; a formula is no formula in CSV."""
    formula = "=cmd|' /C calc'!A0"
    with open_site() as site:
        site.add_people()
        for _ in range(700):
            site.services.store.audit_log.record(_entry(site, formula))
        browser = site.browser(ADMIN)
        query = {"actor": formula}
        exported = browser.get("/admin/audit/export.jsonl", params=query)
        assert exported.headers["content-type"].startswith("application/x-ndjson")
        assert exported.headers["content-disposition"] == (
            'attachment; filename="keyturn-audit-2026-11-25.jsonl"'
        )
        assert exported.headers["cache-control"] == "no-store"
        events = [msgspec.json.decode(line) for line in exported.content.splitlines()]
        assert len(events) == 700
        assert {event["actor"] for event in events} == {formula}

        table = browser.get("/admin/audit/export.csv", params=query)
        assert table.headers["content-type"].startswith("text/csv")
        assert table.headers["content-disposition"].endswith('.csv"')
        heading, *cells = csv.reader(io.StringIO(table.text, newline=""))
        assert len(cells) == 700
        assert {row[heading.index("actor")] for row in cells} == {f"'{formula}"}
        assert not [cell for row in cells for cell in row if cell.startswith(("=", "+", "-", "@"))]
        page = browser.get("/admin/audit", params=query).text
        assert 'href="/admin/audit/export.csv?actor=%3Dcmd' in page


def _entry(site: Site, userid: str) -> AuditEntry:
    actor = Actor(user_id=None, userid=userid, user_agent="@SUM(1)")
    return AuditEntry(
        site.clock.now, AuditAction.USER_LOGIN_FAILED, actor, Target.USER, "-1", succeeded=False
    )


# Settings


def test_every_setting_is_shown_or_kept_back_on_purpose() -> None:
    """A new setting is neither forgotten on the page nor shown unthought of."""
    assert {setting.name for setting in fields(Settings)} == {"database", *OPEN, *KEPT_BACK}


def test_the_settings_show_what_is_in_force(site: Site) -> None:
    """Every setting has a row with its value, and whether it is the default."""
    page = site.browser(ADMIN).get("/admin/settings").text
    for setting in fields(Settings):
        assert f"KEYTURN_{setting.name.upper()}" in page
    rows = {
        shown.variable: shown
        for shown in shown_settings(site.services.settings, database_name=site.services.store.name)
    }
    assert (rows["KEYTURN_PUBLIC_URL"].value, rows["KEYTURN_PUBLIC_URL"].source) == (site.url, "default")
    assert rows["KEYTURN_KEY_LIFE_DAYS"].source == "default"
    assert rows["KEYTURN_FAILURES_PER_MINUTE"].source == "set by the operator"


def test_what_the_operator_gave_is_shown_as_given() -> None:
    """A public address of their own is theirs, and the path of a Unix socket is no secret."""
    given = read_settings({}, public_url="https://keys.example.com", unix_socket=Path("/run/keyturn.sock"))
    rows = {shown.variable: shown for shown in shown_settings(given, database_name="keyturn.db")}
    for name, value in (("PUBLIC_URL", "https://keys.example.com"), ("UNIX_SOCKET", "/run/keyturn.sock")):
        row = rows[f"KEYTURN_{name}"]
        assert (row.value, row.source) == (value, "set by the operator")


def test_no_setting_shows_a_secret(any_site: Site) -> None:
    """Whatever secret an operator puts into a setting that may hold one is not among those that are shown."""
    canary = "canary-7c1f"
    planted = replace(
        any_site.services.settings,
        database=f"postgresql://user-{canary}:{canary}@host/name?sslpassword={canary}",
        root_key_file=Path(f"/keys/{canary}"),
        root_key_command=f"reveal --token {canary}",
        tls_key_file=Path(f"/tls/{canary}"),
    )
    shown = shown_settings(planted, database_name=any_site.services.store.name)
    assert canary not in repr(shown)
    values = {setting.variable: setting.value for setting in shown}
    assert values["KEYTURN_ROOT_KEY_COMMAND"] == "given, and not shown"
    page = any_site.browser(ADMIN).get("/admin/settings").text
    assert any_site.services.settings.database not in page
    root_key = any_site.services.settings.root_key_file or Path(any_site.services.store.name).with_name(
        "root.key"
    )
    assert root_key.read_text().strip() not in page


# Services


def seen_on(page: str) -> str:
    """Return the version of the scope that its form was filled with."""
    found = re.search(r'name="seen" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


def test_a_service_from_its_beginning_to_its_end(any_site: Site) -> None:
    """An API is registered, its scopes are handed out, and its tokens end with it."""
    browser, user = any_site.browser(ADMIN), any_site.new_user()
    group = any_site.services.groups.add(
        principal(any_site), Origin(), iamid="bim", name=f"Writers of {user.userid}"
    )
    name, identifier = f"api{user.user_id}", f"https://api{user.user_id}.example.com"
    read, write = f"{name}:read", f"{name}:write"
    form = {"name": name, "identifier": identifier, "scope": read, "scope_description": "Read it"}
    path = browser.submit("/admin/services/new", **form, who="everyone").headers["location"].partition("?")[0]
    page = browser.get(path).text
    assert f"/verify?audience=https%3A%2F%2Fapi{user.user_id}.example.com&amp;scope={read}<" in page
    assert f"audience=&#34;{identifier}&#34;)" in page

    added = {"scope": write, "who": "chosen", f"group.{group.group_id}": "on", "was": ""}
    assert browser.submit(f"{path}/scope", **added).status_code == 303
    assert f"Writers of {user.userid}" in browser.get(path).text
    theirs = any_site.browser(user.userid)
    offered = theirs.get("/profile/keys/new").text
    assert (f'name="scope.{read}"' in offered, f'name="scope.{write}"' in offered) == (True, False)
    shown = theirs.create_key(covers="chosen", **{f"scope.{read}": "on"})
    assert f"<dt>Scopes</dt><dd>{read}</dd>" in shown.text
    secret = secret_on(shown.text)
    assert f'<span class="chip">{read}</span>' in theirs.get("/profile/keys").text
    headers = {"Authorization": secret}
    verify = f"/verify?audience={identifier}"
    assert any_site.client().get(verify, headers=headers).headers["keyturn-scopes"] == read

    changed = browser.get(f"{path}/scope", params={"name": read}).text
    assert 'value="Read it"' in changed
    renamed = {"scope": f"{name}:look", "who": "everyone", "was": read, "seen": seen_on(changed)}
    assert browser.submit(f"{path}/scope", **renamed).status_code == 303
    assert any_site.client().get(verify, headers=headers).status_code == 403
    again = seen_on(browser.get(f"{path}/scope", params={"name": f"{name}:look"}).text)
    back = {"scope": read, "was": f"{name}:look", "seen": again}
    assert browser.submit(f"{path}/scope", **{**renamed, **back}).status_code == 303
    assert any_site.client().get(verify, headers=headers).status_code == 200

    nobody_said = browser.submit(f"{path}/scope", scope=f"{name}:new", was="")
    assert (nobody_said.status_code, "Choose who the scope is available to." in nobody_said.text) == (
        422,
        True,
    )

    assert browser.submit(f"{path}/scope/remove", was=write).status_code == 303
    stale = browser.submit(f"{path}/scope", **{**added, "was": write})
    assert stale.status_code == 404, "what somebody removed does not come back"
    kept = browser.get(f"{path}/scope?name={read}").text
    assert ("keeps at least one scope" in kept, "/scope/remove" in kept) == (True, False)
    last = browser.submit(f"{path}/scope/remove", was=read)
    assert (last.status_code, "1 to 100 scopes" in last.text) == (422, True)
    told = browser.get(f"{path}/delete").text
    assert "1 active key is limited to scopes of this API" in told
    assert browser.submit(f"{path}/delete", typed="x").status_code == 422
    assert browser.submit(f"{path}/delete", typed="Delete").status_code == 303
    assert any_site.client().get(verify, headers=headers).status_code == 400
    for gone in (path, f"{path}/scope", f"{path}/delete"):
        assert browser.get(gone).status_code == 404


def test_what_was_typed_of_a_service_stays(site: Site) -> None:
    """A refused form comes back with all that was typed and ticked, and the reason at its field."""
    group = site.services.groups.add(principal(site), Origin(), iamid="bim", name="Kept writers")
    browser = site.browser(ADMIN)
    good = {"name": "Kept", "identifier": "urn:kept", "scope": "kept:read", "who": "chosen"}
    good |= {f"group.{group.group_id}": "on", "scope_description": "Kept words"}
    for field, text in (("identifier", "no uri"), ("scope", "a b"), ("name", "")):
        answer = browser.submit("/admin/services/new", **{**good, field: text})
        assert answer.status_code == 422
        assert f'id="{field}-problem"' in answer.text
        for kept in {**good, field: text}.values():
            assert kept in {"on", "chosen"} or f'value="{kept}"' in answer.text
        assert re.search(rf'name="group.{group.group_id}" checked', answer.text)
        assert re.search(r'name="who" value="chosen" checked', answer.text)


def test_a_key_form_keeps_and_checks_the_chosen_scopes(site: Site) -> None:
    """Choosing nothing, or what is no choice, is told at the scopes; without services nothing is asked."""
    browser = site.browser(BOB)
    assert 'name="covers"' not in browser.get("/profile/keys/new").text
    form = {"name": "Shop", "identifier": "urn:shop", "scope": "shop:read", "who": "everyone"}
    path = site.browser(ADMIN).submit("/admin/services/new", **form).headers["location"].partition("?")[0]
    for ticked in ({}, {"scope.shop:write": "on"}, {"scope.shop:read": "on", "scope.": "on"}):
        answer = browser.create_key(name="kept", covers="chosen", **ticked)
        assert (answer.status_code, 'id="scopes-problem"' in answer.text) == (422, True)
        assert re.search(r'name="covers" value="chosen" checked', answer.text)
        assert ('name="scope.shop:read" checked' in answer.text) == ("scope.shop:read" in ticked)
    wide = browser.create_key(name="wide", covers="all", **{"scope.shop:read": "on"})
    assert "<dt>Scopes</dt>" not in wide.text
    assert site.browser(ADMIN).submit(f"{path}/delete", typed="Delete").status_code == 303


def test_a_replacement_is_asked_for_as_the_key_was(site: Site) -> None:
    """The page of an ended key leads to a form with its name, note and restrictions; to no other person."""
    browser = site.browser(BOB)
    asked = {
        "name": "nightly",
        "note": "OPS-77",
        "allowFrom": "192.0.2.0/24\n198.51.100.7",
        "allowMethods": "GET",
    }
    assert browser.create_key(**asked).status_code == 200
    key = site.services.keys.list_of(site.users[BOB].user_id).items[0]
    assert f"/profile/keys/{key.key_id}" in browser.get("/profile/keys?q=ops-77").text, "a note is found"
    browser.submit(f"/profile/keys/{key.key_id}/revoke")
    again = f"/profile/keys/new?like={key.key_id}"
    assert again in browser.get(f"/profile/keys/{key.key_id}").text
    form = browser.get(again).text
    for typed in (
        'value="nightly"',
        'value="OPS-77"',
        "192.0.2.0/24\n198.51.100.7/32</textarea>",
        'value="GET"',
    ):
        assert typed in form
    assert site.browser(ADMIN).get(again).status_code == 404


def test_the_owner_of_a_service_account_narrows_its_keys(site: Site) -> None:
    """The form for a key of a service account offers the scopes that both it and its owner may hold."""
    owner = site.new_user()
    account = service_account(site, owner)
    form = {"name": "Depot", "identifier": "urn:depot", "scope": "depot:read", "who": "everyone"}
    path = site.browser(ADMIN).submit("/admin/services/new", **form).headers["location"].partition("?")[0]
    browser = site.browser(owner.userid)
    page = f"/profile/service-accounts/{account.user_id}"
    assert f"Everything {account.userid} can do" in browser.get(f"{page}/keys/new").text
    chosen = {"covers": "chosen", "scope.depot:read": "on", "expiry": "90", "form_id": "f" * 20}
    assert "<dt>Scopes</dt><dd>depot:read</dd>" in browser.submit(f"{page}/keys", **chosen).text
    assert '<span class="chip">depot:read</span>' in browser.get(page).text
    refused = browser.submit(f"{page}/keys", **{**chosen, "scope.depot:write": "on", "form_id": "g" * 20})
    assert (refused.status_code, 'id="scopes-problem"' in refused.text) == (422, True)
    assert site.browser(ADMIN).submit(f"{path}/delete", typed="Delete").status_code == 303


def test_what_is_said_of_a_service_is_text(site: Site) -> None:
    """Names, descriptions and scopes that look like markup are shown as they are, to everybody."""
    browser = site.browser(ADMIN)
    scope = "x'><b>scope</b>"
    form = {"name": HOSTILE, "identifier": "urn:hostile:'()", "description": HOSTILE, "scope": scope}
    lead = browser.submit("/admin/services/new", **form, scope_description=HOSTILE, who="everyone")
    path = lead.headers["location"].partition("?")[0]
    browser.submit(f"{path}/scope", scope="plain", who="everyone", was="")
    pages = [browser.get(path), browser.get("/admin/services"), browser.get(f"{path}/delete")]
    pages += [
        browser.get(f"{path}/scope", params={"name": scope}),
        site.browser(BOB).get("/profile/keys/new"),
    ]
    for page in pages:
        assert page.status_code == 200
        assert "<img" not in page.text.replace('<img src="/static', "")
        assert "<b>scope" not in page.text
    assert browser.submit(f"{path}/scope/remove", was=scope).status_code == 303
    assert browser.submit(f"{path}/delete", typed="Delete").status_code == 303
