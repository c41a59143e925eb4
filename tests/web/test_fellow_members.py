"""What people in one group see of each other: who they are, and nothing of what they say besides."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from keyturn.core.permissions import Permission
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.web.api.people.user_views import EXTERNAL_USER_IDS
from tests.people import HERE
from tests.web.people_routes import ADMIN, PROFILE, add_service, differences, fresh_name, principal
from tests.web.sites import filled
from tests.web.test_route_table import plausible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.core.people import UserRecord
    from tests.web.sites import Site

PRIVATE = ("phone", "about", "location", "organization", "position")
SECRET = "nobody's business"


@pytest.fixture(scope="module")
def alice(site: Site) -> UserRecord:
    """Somebody whose profile is full."""
    user = site.new_user()
    fields = {
        "name": "Alice",
        "email": "alice@example.com",
        **dict.fromkeys(PRIVATE, SECRET),
        "preferences": {"theme": SECRET},
        "external_user_ids": {"snowflakeUser": SECRET},
    }
    site.services.user_administration.update_profile(principal(site, ADMIN), "bim", user.userid, fields, HERE)
    return user


def fellow_of(site: Site, alice: UserRecord) -> Mapping[str, object]:
    """Add somebody who shares a group and a project with her; return the numbers of those and their name."""
    admin, userid = principal(site, ADMIN), site.new_user().userid
    group = site.services.groups.add(admin, HERE, iamid="bim", name=fresh_name())
    project = site.services.projects.add(admin, HERE, name=fresh_name(), description=None)
    for one in (alice.userid, userid):
        site.services.groups.add_member(admin, group.group_id, HERE, iamid="bim", userid=one)
        site.services.projects.set_member(admin, project.project_id, one, HERE, is_owner=one == userid)
    return {"userid": userid, "groupid": group.group_id, "projectid": project.project_id}


def credentials_of(site: Site, userid: str) -> list[str]:
    """Return a key that may all that its owner may, one that is narrowed, and a token."""
    admin, scope = principal(site, ADMIN), fresh_name()
    add_service(site, admin, fresh_name(), [ScopeToRegister(scope)])
    with site.client() as client:
        whole = site.key(userid).secret
        narrowed = client.post("/bim/apikey", json={"scopes": [scope]}, headers={"Authorization": whole})
        token = client.post("/bim/apikey/authenticate", json={"apikey": whole})
    return [whole, narrowed.json()["apikey"], token.json()["token"]]


def test_a_fellow_member_sees_who_somebody_is_alone(site: Site, alice: UserRecord) -> None:
    """Of the others' profiles a member is told number, name and address, in the shape of the contract."""
    fellow = fellow_of(site, alice)
    for credential in credentials_of(site, str(fellow["userid"])):
        with site.client(headers={"Authorization": credential}) as client:
            answer = client.get(f"/bim/group/{fellow['groupid']}/user").json()
        assert answer["count"] == 2
        told = next(hit for hit in answer["hits"] if hit["userid"] == alice.userid)["profile"]
        assert not differences(told, PROFILE)
        assert (told["name"], told["email"]) == ("Alice", "alice@example.com")
        assert {told[name] for name in PRIVATE} == {None}
        assert (told["preferences"], told["externalUserIds"]) == (None, dict.fromkeys(EXTERNAL_USER_IDS))


def test_no_route_or_page_tells_a_fellow_more(site: Site, alice: UserRecord) -> None:
    """Whatever somebody without USER_ADMIN can read, of her group and project too, is without her details."""
    fellow = fellow_of(site, alice)
    values = {
        **plausible(site),
        **fellow,
        "iamid": "bim",
        "project_id": fellow["projectid"],
        "group_id": fellow["groupid"],
        "user_id": alice.user_id,
    }
    key, read = site.key(str(fellow["userid"])).secret, 0
    with (
        site.client(headers={"Authorization": key}) as client,
        closing(site.browser(str(fellow["userid"]))) as browser,
    ):
        for method, pattern in site.routes():
            if method != "GET" or pattern == "/feed":
                continue
            for userid in (fellow["userid"], alice.userid):
                path = filled(pattern, **{**values, "userid": userid})
                for asking in (client, browser):
                    answer = asking.get(path)
                    read += answer.status_code == 200
                    assert SECRET not in answer.text.replace("&#39;", "'"), path
    assert read > 20


def test_who_may_administer_users_and_oneself_see_all(site: Site, alice: UserRecord) -> None:
    """Administrators go on reading whole profiles in the list, and each member their own."""
    group = fellow_of(site, alice)["groupid"]
    holder = site.add_user(f"{fresh_name()}@example.com", frozenset({Permission.USER_ADMIN})).userid
    for userid in (holder, alice.userid):
        with site.client(headers={"Authorization": site.key(userid).secret}) as client:
            hits = client.get(f"/bim/group/{group}/user").json()["hits"]
        told = next(hit for hit in hits if hit["userid"] == alice.userid)["profile"]
        assert {told[name] for name in PRIVATE} == {SECRET}
        assert told["externalUserIds"] == {**dict.fromkeys(EXTERNAL_USER_IDS), "snowflakeUser": SECRET}
