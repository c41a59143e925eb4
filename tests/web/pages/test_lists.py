"""Lists: search, order and pages in their addresses, each of which keeps the others."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from keyturn.core.audit import AuditAction, AuditSearch
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE, person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Browser, Site

ADMIN, BOB = "admin@example.com", "bob@example.com"
LISTS = {
    "/admin/users": ("name", "state", "keys", "used"),
    "/admin/groups": ("name", "members"),
    "/admin/service-accounts": ("name", "state", "keys"),
    "/admin/projects": ("name", "members", "connections"),
    "/admin/services": ("name",),
    "/admin/keys": ("name", "owner", "state", "used", "expires"),
    "/profile/keys": ("name", "state", "used", "expires"),
}
"""Each list, with the columns by which it is ordered."""
FIRST_DESCENDING = {"keys", "used", "members", "connections"}


def names_on(page: str) -> list[str]:
    return [
        html.unescape(name) for name in re.findall(r'<a class="name[^"]*" href="[^"]*">([^<]+)</a>', page)
    ]


def links_on(page: str) -> set[str]:
    return {html.unescape(address) for address in re.findall(r'href="([^"]*)"', page)}


def head_of(page: str, column: str) -> tuple[str, str]:
    """Return how a list is ordered by a column, and where its head leads."""
    for sort, address in re.findall(r'aria-sort="(\w+)"><a href="([^"]*)">', page):
        if re.search(rf"sort=-?{column}\b", address) or ("sort=" not in address and column == "name"):
            return sort, html.unescape(address)
    raise AssertionError(column)


@pytest.fixture
def site(open_site: SiteOpener) -> Iterator[Site]:
    """Lists with more rows than fit on a page: 25 of each."""
    with open_site() as opened:
        opened.add_people()
        services, admin = opened.services, person(opened.services, ADMIN)
        for number in range(25):
            user = opened.add_user(f"user{number:02}@example.com")
            group = services.groups.add(admin, HERE, name=f"Group {number:02}")
            services.projects.add(admin, HERE, name=f"Project {number:02}", description=None)
            services.keys.create_for(opened.users[ADMIN].user_id, COMMAND_LINE, NewKey(f"key {number:02}"))
            if number == 7:
                services.groups.add_member(admin, group.group_id, HERE, iamid="bim", userid=user.userid)
        yield opened


@pytest.mark.parametrize("path", LISTS)
def test_each_list_says_how_it_is_ordered(site: Site, path: str) -> None:
    """One column tells its order, and each head leads to the order by it, or to the other way round."""
    browser = site.browser(ADMIN)
    if path in {"/admin/services", "/admin/service-accounts"}:
        add_one(site, browser, path)
    page = browser.get(path).text
    for column in LISTS[path]:
        sort, address = head_of(page, column)
        first = f"{path}?sort={'-' if column in FIRST_DESCENDING else ''}{column}"
        is_default = column == "name" and not path.endswith("/keys")
        assert (sort, address) == (("ascending", f"{path}?sort=-name") if is_default else ("none", first))
        ordered = browser.get(address)
        assert ordered.status_code == 200
        assert ordered.text.count('aria-sort="ascending"') + ordered.text.count('aria-sort="descending"') == 1
        turned, back = head_of(ordered.text, column)
        assert turned == ("descending" if "sort=-" in address else "ascending")
        assert head_of(browser.get(back).text, column)[0] != turned
        assert '<select name="sort" class="only-narrow"' in ordered.text
        assert len(re.findall(r"<option value=\"[^\"]*\" selected>", ordered.text)) >= 1


def add_one(site: Site, browser: Browser, path: str) -> None:
    if path == "/admin/services":
        form = {
            "name": "Orders",
            "identifier": "https://orders.example",
            "scope": "orders:read",
            "who": "everyone",
        }
        assert browser.submit(f"{path}/new", **form).status_code == 303
    else:
        assert browser.submit(f"{path}/new", userid="robot", owner=BOB).status_code == 303


def test_pages_search_and_filters_keep_the_order(site: Site) -> None:
    """The next page, a state and the form of the search go on in the order that was asked for."""
    browser = site.browser(ADMIN)
    page = browser.get("/admin/users?sort=-name&q=user").text
    assert names_on(page)[:2] == ["user24", "user23"]
    assert "/admin/users?q=user&sort=-name&page=2" in links_on(page)
    assert "/admin/users?q=user&sort=-name&state=active" in links_on(page)
    assert '<option value="-name" selected>Name, descending</option>' in page
    second = browser.get("/admin/users?q=user&sort=-name&page=2").text
    assert names_on(second) == [f"user{number:02}" for number in range(4, -1, -1)]
    assert names_on(browser.get("/admin/groups?sort=-members").text)[0] == "Group 07"
    assert names_on(browser.get("/admin/projects?q=PROJECT+1&page=1").text) == [
        f"Project {number}" for number in range(10, 20)
    ]
    assert "No groups match “zzz”" in browser.get("/admin/groups?q=zzz").text
    for odd in ("sort=x", "sort=-", "sort=%00", "state=x&group=x&q=%00", "page=0&sort=name"):
        for path in LISTS:
            assert browser.get(f"{path}?{odd}").status_code == 200


def test_people_are_ordered_by_what_the_columns_show(site: Site) -> None:
    """By their keys and their last sign-in, the most and the newest first; those without come last."""
    browser = site.browser(ADMIN)
    assert names_on(browser.get("/admin/users?sort=-keys").text)[0] == "admin"
    assert names_on(browser.get("/admin/users?sort=-used").text)[0] == "admin"
    assert names_on(browser.get("/admin/users?sort=used").text)[0] == "admin"
    suspended = site.users["user03@example.com"]
    site.services.users.set_disabled(COMMAND_LINE, suspended.userid, disabled=True)
    assert names_on(browser.get("/admin/users?sort=state").text)[0] == "user03"


# All keys that match


def form_on(page: str) -> dict[str, str]:
    """Return the hidden fields of the form that revokes, without the token of the session."""
    (form,) = re.findall(r'<form method="post" action="/admin/keys/revoke".*?</form>', page, re.DOTALL)
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form)
    return {name: html.unescape(value) for name, value in hidden if name != "csrf"}


def test_all_keys_of_one_owner_are_revoked(site: Site) -> None:
    """The list of an owner leads to a page that shows some, tells how many, and revokes all of them."""
    browser, admin = site.browser(ADMIN), site.users[ADMIN]
    bob = site.key(BOB)
    page = browser.get(f"/admin/keys?owner={admin.user_id}").text
    assert "Keys of <b>admin</b>." in page
    assert "Revoke all that match…" in page
    leads = {address for address in links_on(page) if address.startswith("/admin/keys/revoke?")}
    assert leads == {f"/admin/keys/revoke?owner={admin.user_id}&all=yes"}
    preview = browser.get(leads.pop()).text
    assert "Revoke these 25 keys of admin?" in preview
    assert "And 5 more" in preview
    assert len(preview) < 60_000
    sent = form_on(preview)
    assert set(sent) == {"all", "seen", "owner"}
    assert "25 of these keys are yours" in preview
    unsure = browser.submit("/admin/keys/revoke", **sent, typed="yes")
    assert (unsure.status_code, "To confirm, type revoke." in unsure.text) == (422, True)
    done = browser.submit("/admin/keys/revoke", **sent, reason="superseded", typed=" Revoke ")
    assert "Revoked 25 keys." in browser.get(done.headers["location"]).text
    rows = site.services.audit_trail.newest(
        person(site.services, ADMIN), AuditSearch(action=AuditAction.API_KEY_DELETED), size=100
    )
    assert [row.details for row in rows] == [{"reason": "superseded"}] * 25
    assert ", which another key replaced" in browser.get("/admin/audit?action=ApiKeyDeleted").text
    assert site.services.all_keys.get(person(site.services, ADMIN), bob.record.key_id).key.revoked_at is None
    assert browser.get(f"/admin/keys/revoke?all=yes&owner={admin.user_id}").status_code == 404


def test_a_changed_number_of_keys_revokes_none(site: Site) -> None:
    """Where a key came in between, the page comes back with the new number, and says that nothing changed."""
    browser = site.browser(ADMIN)
    sent = form_on(browser.get("/admin/keys/revoke?all=yes&q=key").text)
    site.services.keys.create_for(site.users[BOB].user_id, COMMAND_LINE, NewKey("key of bob"))
    refused = browser.submit("/admin/keys/revoke", **sent, typed="revoke")
    assert refused.status_code == 409
    assert "Nothing was changed" in html.unescape(refused.text)
    assert "Revoke these 26 keys?" in refused.text
    again = form_on(refused.text)
    assert again["seen"] != sent["seen"]
    assert (
        browser.submit("/admin/keys/revoke", **again, typed="revoke").headers["location"].endswith("count=26")
    )


def test_who_still_uses_the_keys_is_told_first(site: Site) -> None:
    """The keys that were used last come first, and their number stands above them."""
    browser = site.browser(ADMIN)
    used = site.key(BOB)
    assert (
        site.client().get("/bim/rpc/user/current", headers={"Authorization": used.secret}).status_code == 200
    )
    site.services.usage.flush(everything=True)
    preview = browser.get("/admin/keys/revoke?all=yes").text
    assert "1 of these keys was used in the last 7 days." in preview
    assert names_on(preview)[0] == "test"
    unused = browser.get("/admin/keys/revoke?all=yes&used=never").text
    assert "in the last 7 days" not in unused
