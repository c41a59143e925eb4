"""Fields that name a user: what is typed is looked for, and asked about where it says too little."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from keyturn.core.permissions import Permission
from tests.people import HERE, person
from tests.web.people_routes import fresh_name

if TYPE_CHECKING:
    from keyturn.core.people import UserRecord
    from keyturn.core.principal import Principal
    from tests.web.sites import Site

ADMIN, BOB = "admin@example.com", "bob@example.com"
SUGGESTIONS = "/admin/users/suggestions"


@pytest.fixture
def admin(any_site: Site) -> Principal:
    return person(any_site.services, ADMIN)


def named(site: Site, admin: Principal, name: str) -> UserRecord:
    user = site.new_user()
    return site.services.user_administration.update_profile(
        admin, "bim", user.userid, {"name": name, "email": f"mail-of-{user.userid}"}, HERE
    )


def members(site: Site, admin: Principal, group_id: int) -> set[int]:
    return {one.user_id for one in site.services.groups.list_members(admin, group_id, size=50)}


def test_one_match_is_taken(any_site: Site, admin: Principal) -> None:
    """A part of the name without accents, the e-mail address or the user name means one person."""
    family = fresh_name()
    user = named(any_site, admin, f"Inés García {family}")
    browser = any_site.browser(ADMIN)
    for typed in (f"garcia {family}", f"INÉS GARCÍA {family}", f"mail-of-{user.userid}", user.userid):
        group = any_site.services.groups.add(admin, HERE, name=fresh_name())
        answer = browser.submit(f"/admin/groups/{group.group_id}/members/add", userid=f" {typed} ")
        assert answer.status_code == 303, typed
        assert members(any_site, admin, group.group_id) == {user.user_id}


def test_several_matches_are_offered(any_site: Site, admin: Principal) -> None:
    """The form comes back with a choice; the one that is chosen counts for that text alone."""
    family = fresh_name()
    ines, ina = (named(any_site, admin, f"{first} García {family}") for first in ("Inés", "Ina"))
    group = any_site.services.groups.add(admin, HERE, name=fresh_name())
    path, typed = f"/admin/groups/{group.group_id}/members/add", f"garcia {family}"
    browser = any_site.browser(ADMIN)
    asked = browser.submit(path, userid=typed)
    page = html.unescape(asked.text)
    assert asked.status_code == 422
    assert f"2 users match “{typed}”. Choose one." in page
    assert f"<legend>Which one is meant by “{typed}”?</legend>" in page
    assert f'name="userid" value="{typed}"' in page
    offered = re.findall(r'name="userid\.pick" value="(\d+)"', page)
    assert offered == [str(ina.user_id), str(ines.user_id)]
    assert ines.userid in page
    unchosen = browser.submit(path, **{"userid": typed, "userid.asked": typed})
    assert unchosen.status_code == 422
    changed = browser.submit(
        path, **{"userid": f"ina garcia {family}", "userid.asked": typed, "userid.pick": str(ines.user_id)}
    )
    assert changed.status_code == 303
    assert members(any_site, admin, group.group_id) == {ina.user_id}
    chosen = {"userid": typed, "userid.asked": typed, "userid.pick": str(ines.user_id)}
    assert browser.submit(path, **chosen).status_code == 303
    assert members(any_site, admin, group.group_id) == {ina.user_id, ines.user_id}


def test_many_matches_are_offered_in_part(any_site: Site, admin: Principal) -> None:
    """Eight are offered, the whole name before parts of others, and the sentence says how to see more."""
    family = f"Quillon {fresh_name()} x"
    whole = named(any_site, admin, family)
    for number in range(9):
        named(any_site, admin, f"{number} {family}")
    group = any_site.services.groups.add(admin, HERE, name=fresh_name())
    path = f"/admin/groups/{group.group_id}/members/add"
    browser = any_site.browser(ADMIN)
    page = browser.submit(path, userid=family[:-2]).text
    assert "10 users match" in page
    assert "Type more of the name to see others." in page
    assert len(re.findall(r'name="userid\.pick" value="\d+"', page)) == 8
    assert browser.submit(path, userid=family.upper()).status_code == 303
    assert members(any_site, admin, group.group_id) == {whole.user_id}


def test_no_match_says_so_and_keeps_the_text(any_site: Site, admin: Principal) -> None:
    """Nobody is taken for an empty field, for a text that nobody has, and for one that no database holds."""
    group = any_site.services.groups.add(admin, HERE, name=fresh_name())
    path = f"/admin/groups/{group.group_id}/members/add"
    browser = any_site.browser(ADMIN)
    for typed, told in (
        ("garzia-nobody", "No user is called “garzia-nobody”. Check the spelling"),
        ("", "Enter a name, a user name or an email address."),
        ("%", "No user is called “%”."),
        ("a\x00b", "No user is called"),
    ):
        answer = browser.submit(path, userid=typed)
        assert (answer.status_code, told in html.unescape(answer.text)) == (422, True), typed
    assert 'value="garzia-nobody"' in browser.submit(path, userid="garzia-nobody").text
    assert not members(any_site, admin, group.group_id)


def test_every_form_that_names_a_user_looks_for_them(any_site: Site, admin: Principal) -> None:
    """A member of a project, the owner of a service account, its new owner, and a successor."""
    family = fresh_name()
    carol, dora = (named(any_site, admin, f"{first} Núñez {family}") for first in ("Carol", "Dora"))
    services, browser = any_site.services, any_site.browser(ADMIN)
    project = services.projects.add(admin, HERE, name=fresh_name(), description=None)
    form = {"userid": f"carol nunez {family}"}
    assert browser.submit(f"/admin/projects/{project.project_id}/members/set", **form).status_code == 303
    assert services.projects.is_in(carol.user_id, project.project_id)
    robot = fresh_name()
    several = browser.submit("/admin/service-accounts/new", userid=robot, owner=f"nunez {family}")
    assert f"Which one is meant by “nunez {family}”" in several.text
    made = browser.submit("/admin/service-accounts/new", userid=robot, owner=f"carol nunez {family}")
    account = services.service_accounts.get(admin, robot)
    assert account.owner is not None
    assert account.owner.user_id == carol.user_id
    path = made.headers["location"].partition("?")[0]
    assert browser.submit(f"{path}/hand-over", owner=f"dora nunez {family}").status_code == 303
    ending = f"/admin/users/{dora.user_id}/disable"
    own = browser.submit(ending, handOverTo=f"dora nunez {family}")
    assert "this account is the one that ends" in own.text
    assert browser.submit(ending, handOverTo=f"CAROL NUNEZ {family}").status_code == 303
    account = services.service_accounts.get(admin, robot)
    assert account.owner is not None
    assert account.owner.user_id == carol.user_id
    refused = browser.submit("/admin/service-accounts/new", userid=fresh_name(), owner=robot)
    assert f"is called “{robot}”" in html.unescape(refused.text)


def test_a_group_is_found_by_its_name(any_site: Site, admin: Principal) -> None:
    """Where groups are too many for a list, a part of the name or the number makes one the owner."""
    group = any_site.services.groups.add(admin, HERE, name=f"Équipe {fresh_name()}")
    browser = any_site.browser(ADMIN)
    for typed in (group.name.lower().replace("é", "e"), str(group.group_id), group.name):
        robot = fresh_name()
        made = browser.submit("/admin/service-accounts/new", userid=robot, group=typed)
        assert made.status_code == 303, typed
        account = any_site.services.service_accounts.get(admin, robot)
        assert account.owner is not None
        assert account.owner.group_id == group.group_id
    refused = browser.submit("/admin/service-accounts/new", userid=fresh_name(), group="no such group")
    assert "No group is called “no such group”." in html.unescape(refused.text)


# Suggestions


def test_suggestions_are_few_and_say_who(any_site: Site, admin: Principal) -> None:
    """At most eight, by name, each with what tells it apart; none for no text and for a key."""
    family = fresh_name()
    user = named(any_site, admin, f"Zoë {family}")
    for number in range(9):
        named(any_site, admin, f"{number} {family}")
    browser = any_site.browser(ADMIN)
    one = browser.get(SUGGESTIONS, params={"q": f"zoe {family}"})
    assert one.headers["content-type"].startswith("application/json")
    assert one.headers["cache-control"] == "no-store"
    assert one.json() == [
        {
            "number": user.user_id,
            "name": f"Zoë {family}",
            "note": f"{user.userid}, mail-of-{user.userid}",
            "called": user.userid,
        }
    ]
    many = browser.get(SUGGESTIONS, params={"q": family}).json()
    assert [one["name"] for one in many] == [f"{number} {family}" for number in range(8)]
    key = any_site.key(BOB)
    for text in ("", "  ", "\x00", "nobody is called so", key.secret, "x" * 3000):
        assert browser.get(SUGGESTIONS, params={"q": text}).json() == []
    group = any_site.services.groups.add(admin, HERE, name=f"Group {family}")
    found = browser.get("/admin/groups/suggestions", params={"q": f"group {family.upper()}"}).json()
    assert [(one["number"], one["called"]) for one in found] == [(group.group_id, group.name)]


def test_suggestions_are_for_those_who_see_people(any_site: Site) -> None:
    """For anybody else there is no such page, and their forms take the whole user name."""
    for path in (SUGGESTIONS, "/admin/groups/suggestions"):
        assert any_site.browser(BOB).get(path, params={"q": "admin"}).status_code == 404
        assert any_site.client().get(path, params={"q": "admin"}).status_code in {303, 401}
    manager = any_site.new_user()
    holder = any_site.add_holder(f"manager-{manager.userid}", frozenset({Permission.PROJECT_MANAGEMENT}))
    browser = any_site.browser(holder.userid)
    admin = person(any_site.services, ADMIN)
    project = any_site.services.projects.add(admin, HERE, name=fresh_name(), description=None)
    path = f"/admin/projects/{project.project_id}"
    assert "data-picker" not in browser.get(path).text
    refused = browser.submit(f"{path}/members/set", userid=manager.userid[:-1])
    assert (refused.status_code, "There is no such user." in refused.text) == (422, True)
    assert browser.submit(f"{path}/members/set", userid=manager.userid).status_code == 303


def test_the_audit_log_finds_people_by_name(any_site: Site, admin: Principal) -> None:
    """Their name finds what they did, for a reader who sees people; for others their user name alone does."""
    family = fresh_name()
    user = named(any_site, admin, f"Núria {family}")
    browser = any_site.browser(user.userid)
    browser.create_key(name=f"made by {family}")
    reader = any_site.add_holder(f"reader-{user.userid}", frozenset({Permission.AUDIT}))
    by_name = {"actor": f"NURIA {family}", "action": "ApiKeyCreated"}
    seen = any_site.browser(ADMIN).get("/admin/audit", params=by_name).text
    assert "created" in seen
    assert "No events match" not in seen
    assert "data-picker" in seen
    page = any_site.browser(reader.userid).get("/admin/audit", params=by_name).text
    assert "No events match" in page
    assert "data-picker" not in page
