"""The contract of 2023: what each list takes and answers, and that paging it until an empty page ends."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from sqlalchemy import update

from keyturn.core.pages import MAX_PAGE
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.store.database import schema
from keyturn.web.api.people.user_views import EXTERNAL_USER_IDS
from keyturn.web.api.routes import api_handlers
from keyturn.web.routes import IGNORED, PARAMETERS, declared_by
from tests.conftest import PASSWORD
from tests.people import HERE, NEW_PASSWORD
from tests.web.people_routes import ADMIN, Things, add_things, differences, fresh_name, principal
from tests.web.sites import filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from keyturn.core.people import UserRecord
    from tests.web.sites import Site

SECOND = timedelta(seconds=1)
COMPATIBILITY = Path(__file__).parents[3] / "docs" / "reference" / "compatibility.md"


class Listed(NamedTuple):
    """A list: its parameters with their defaults, and where its things stand in the answer."""

    parameters: dict[str, Any]
    items: str | None = "hits"
    """None for an array."""


SORTED = {"sortOrder": "asc", "offset": 0}
LISTS = {
    "/bim/user": Listed(
        SORTED
        | {
            "size": 25, "sortField": "name", "iamid": None, "userid": None, "email": None, "name": None,
            "permission": None, "excludeSystemGenerated": False, "excludeAdminAndGovernor": False,
            "excludeDeletedIams": True, "excludeBIM": False, "includeDisabled": False,
        }
    ),
    "/bim/iam/{iamid}/user": Listed({"size": MAX_PAGE, "offset": 0}),
    "/bim/iam/{iamid}/user/{userid}/groups": Listed({"size": MAX_PAGE, "offset": 0}, None),
    "/bim/iam/{iamid}/user/{userid}/apikeys": Listed({"size": MAX_PAGE, "offset": 0}, None),
    "/iam/{iamid}/user/{userid}/apikeys": Listed({"size": MAX_PAGE, "offset": 0}, None),
    "/bim/iam": Listed({}, None),
    "/bim/group": Listed(
        SORTED
        | {
            "size": 25, "sortField": "createdAt", "name": None, "iamid": None, "userId": None,
            "nameOnly": False,
        }
    ),
    "/bim/group/{groupid}/user": Listed(SORTED | {"size": MAX_PAGE}),
    "/project": Listed(
        SORTED
        | {
            "size": 10, "sortField": "createdAt", "searchText": None, "status": "open", "subscription": None,
        }
    ),
    "/project/{projectid}/members": Listed(
        SORTED | {"size": 15, "sortField": "createdAt", "searchText": None, "states": None}, "members"
    ),
    "/audit/apikey/activity": Listed({"keyid": ..., "count": 1}),
    "/dataSource": Listed({}),
    "/services": Listed({"size": MAX_PAGE, "offset": 0}),
    "/apis": Listed({"size": MAX_PAGE, "offset": 0}),
    "/serviceaccount": Listed({"size": MAX_PAGE, "offset": 0}),
    "/serviceaccount/{userid}/apikey": Listed({"size": MAX_PAGE, "offset": 0}),
    "/data/technologies": Listed({}, None),
    "/jobs": Listed({"bulkId": ...}, None),
    "/jobs/search": Listed(
        {
            "size": 25, "offset": 0, "jobType[]": None, "state": None, "startDate": None, "endDate": None,
        },
        "jobs",
    ),
}  # fmt: skip
PAGED = [path for path, listed in LISTS.items() if "offset" in listed.parameters]


@pytest.fixture
def admin(any_site: Site) -> Iterator[httpx.Client]:
    with any_site.client(headers={"Authorization": any_site.key(ADMIN).secret}) as client:
        yield client


@pytest.fixture(scope="module")
def things(any_site: Site) -> Things:
    """One of each, and more of what lists tell of, for calls that change nothing."""
    return add_things(any_site, password=PASSWORD)


def as_client_of(site: Site, user: UserRecord) -> httpx.Client:
    return site.client(headers={"Authorization": site.key(user.userid).secret})


def address(path: str, things: Things) -> str:
    values = dict(things.values)
    if path.startswith("/serviceaccount"):
        values["userid"] = things.service.userid
    return filled(path, **values)


def refused_field(answer: httpx.Response) -> str:
    assert answer.status_code == 422, (answer.request.url, answer.text)
    field: str = answer.json()["validation"][0]["field"]
    assert field in answer.json()["message"]
    return field


# The table


def test_the_table_has_every_list_of_the_api() -> None:
    """What answers an array, a count or a next page stands here; searches by POST are tried on their own."""
    found = {
        declared.described_path
        for handler in api_handlers()
        for declared in declared_by(handler)
        if handler.opt.get(PARAMETERS) is not None and declared.method == "GET"
    }
    assert found == LISTS.keys()


@pytest.mark.parametrize("path", LISTS)
def test_a_list_takes_the_parameters_of_the_contract(any_site: Site, path: str) -> None:
    """Each is described with its default, and no other."""
    with any_site.client() as client:
        operation = client.get("/openapi.json").json()["paths"][path]["get"]
    queries = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    found = {one["name"]: ... if one["required"] else one["schema"].get("default") for one in queries}
    assert found == LISTS[path].parameters


@pytest.mark.parametrize("path", LISTS)
def test_a_list_refuses_a_parameter_that_it_does_not_know(
    any_site: Site, admin: httpx.Client, things: Things, path: str
) -> None:
    """It would answer more than was asked for. The name is told, unless it may be a key."""
    needed = {"keyid": str(things.values["keyid"])} if path == "/audit/apikey/activity" else {}
    at = address(path, things)
    assert refused_field(admin.get(at, params={**needed, "nonsense": "1"})) == "nonsense"
    assert refused_field(admin.get(at, params={**needed, "Size": "1"})) == "Size"
    secret = any_site.key(ADMIN).secret
    answer = admin.get(at, params={**needed, secret: "1"})
    assert refused_field(answer) == "query"
    assert secret not in answer.text


def test_what_is_ignored_is_named_on_the_page_of_clients(admin: httpx.Client) -> None:
    """Parameters that make no difference are those that the page of compatibility names, and are taken."""
    rows = re.findall(r"^\| `GET (/\w+)` \| (.+?) \|", COMPATIBILITY.read_text(), re.MULTILINE)
    told = {path: set(re.findall(r"`(\w+)`", names)) for path, names in rows}
    ignored = {
        declared.described_path: set(handler.opt[IGNORED])
        for handler in api_handlers()
        for declared in declared_by(handler)
        if handler.opt.get(IGNORED)
    }
    assert told == ignored
    for path, names in ignored.items():
        assert admin.get(path, params=dict.fromkeys(names, "0")).status_code == 200


@pytest.mark.parametrize("path", PAGED)
def test_a_list_that_is_paged_until_an_empty_page_ends(
    any_site: Site, admin: httpx.Client, things: Things, path: str
) -> None:
    """Pages overlap nowhere and miss nothing; behind the last one there is an empty one."""
    more = [add_things(any_site, password=PASSWORD) for _ in range(2)]
    grow(any_site, things, more)
    items = LISTS[path].items

    def page(**asked: int) -> tuple[list[Any], int | None]:
        answer = admin.get(address(path, things), params=asked)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return (body, None) if items is None else (body[items], body.get("count"))

    seen: list[Any] = []
    while found := page(size=2, offset=len(seen))[0]:
        assert len(found) <= 2
        seen += found
        assert len(seen) < 1000
    whole, count = page(size=MAX_PAGE)
    assert seen == whole
    assert len(seen) >= 3
    assert count in {None, len(seen)}
    for wrong in ({"size": 0}, {"size": MAX_PAGE + 1}, {"offset": -1}):
        assert refused_field(admin.get(address(path, things), params=wrong)) == next(iter(wrong))


def grow(site: Site, things: Things, more: list[Things]) -> None:
    """Make what the first of these things are in, or have, three or more."""
    services, who = site.services, principal(site, ADMIN)
    for other in more:
        number = int(str(things.values["groupid"]))
        services.groups.add_member(who, number, HERE, iamid="bim", userid=other.user.userid)
        of_other = int(str(other.values["groupid"]))
        services.groups.add_member(who, of_other, HERE, iamid="bim", userid=things.user.userid)
        project = int(str(things.values["projectid"]))
        services.projects.set_member(who, project, other.user.userid, HERE, is_owner=False)
        services.service_accounts.create_key(who, things.service.userid, HERE, NewKey())
        site.key(things.user.userid)


# Users


def found(admin: httpx.Client, **params: Any) -> list[str]:
    answer = admin.get("/bim/user", params={"size": MAX_PAGE, **params})
    assert answer.status_code == 200, answer.text
    assert answer.json()["count"] == len(answer.json()["hits"])
    return [hit["userid"] for hit in answer.json()["hits"]]


def test_users_are_filtered_as_the_contract_says(any_site: Site, admin: httpx.Client) -> None:
    """Disabled users are asked for; permissions are whole, managers repeatable, exclusions as named."""
    mark = fresh_name()
    for name, permissions in (
        ("plain", ["CREATE_PROJECT"]),
        ("admin", ["USER_ADMIN"]),
        ("governor", ["GOVERNANCE"]),
        ("auditor", ["AUDIT"]),
        ("gone", []),
    ):
        body = {"userid": f"{mark}-{name}", "permissions": permissions}
        assert admin.post("/bim/iam/bim/user", json=body).status_code == 200
    admin.put(f"/bim/iam/bim/user/{mark}-gone/disable/true")
    owner = {"userid": f"{mark}-robot", "owner": {"userid": f"{mark}-plain"}}
    assert admin.post("/serviceaccount", json=owner).status_code == 200

    def named(**params: Any) -> set[str]:
        return {name.removeprefix(f"{mark}-") for name in found(admin, userid=mark, **params)}

    everybody = {"plain", "admin", "governor", "auditor", "robot"}
    assert named() == named(includeDisabled=False) == everybody
    assert named(includeDisabled=True) == {*everybody, "gone"}
    assert named(permission="AUDIT") == {"auditor"}
    for none in ("AUD", "audit", "NO_SUCH", 'AUDIT", "CREATE_PROJECT', "\x00"):
        assert named(permission=none) == set()
    assert named(excludeAdminAndGovernor=True) == {"plain", "auditor", "robot"}
    assert named(excludeAdminAndGovernor=True, permission="USER_ADMIN") == set()
    assert named(iamid="bim") == named(iamid=["bim", "okta"]) == named(iamid=["", "bim"]) == everybody
    assert named(iamid="okta") == named(iamid="bi") == named(iamid="BIM") == set()
    assert named(excludeBIM=True) == named(excludeBIM=True, iamid="bim") == set()
    assert named(excludeSystemGenerated=True) == everybody
    assert refused_field(admin.get("/bim/user", params={"includeDisabled": "maybe"})) == "includeDisabled"


def test_the_system_and_users_of_a_provider_that_is_gone_are_left_out(
    any_site: Site, admin: httpx.Client
) -> None:
    """The account that holds the system keys is system generated; a gone provider's users are asked for."""
    add_things(any_site, password=PASSWORD)  # A system key, and with it the account.
    assert "keyturn system" in found(admin, userid="keyturn system")
    assert found(admin, userid="keyturn system", excludeSystemGenerated=True) == []
    mark = fresh_name()
    admin.post("/bim/iam/bim/user", json={"userid": mark})
    move_to_provider(any_site, mark, "corp")
    assert found(admin, userid=mark) == found(admin, userid=mark, iamid="corp") == []
    assert found(admin, userid=mark, excludeDeletedIams=False) == [mark]
    assert found(admin, userid=mark, excludeDeletedIams=False, iamid=["corp", "bim"]) == [mark]
    assert found(admin, userid=mark, excludeDeletedIams=False, excludeBIM=True) == [mark]


def move_to_provider(site: Site, userid: str, iamid: str) -> None:
    """Have somebody belong to a provider that this server does not know."""
    account = schema.user
    with site.services.store._database.writing() as connection:
        connection.execute(update(account).where(account.c.userid == userid).values(iamid=iamid))


def test_users_are_ordered_as_the_contract_says(any_site: Site, admin: httpx.Client) -> None:
    """By name unless asked otherwise; backwards is the other way around; another field is refused by name."""
    mark = fresh_name()
    for userid, name, email in (
        ("b", "Zoë", "b@example.com"),
        ("c", "Ángel", "C@example.com"),
        ("a", "mia", "a@example.com"),
    ):
        body = {"userid": f"{mark}-{userid}", "profile": {"name": name, "email": email}}
        assert admin.post("/bim/iam/bim/user", json=body).status_code == 200
    orders = {
        "name": "cab", "createdAt": "bca", "email": "abc", "username": "abc", "iamid": "bca",
        "lastLogin": "bca",
    }  # fmt: skip
    for field, expected in orders.items():
        given = [name[-1] for name in found(admin, userid=f"{mark}-", sortField=field)]
        assert given == list(expected), field
    assert [name[-1] for name in found(admin, userid=f"{mark}-")] == list("cab")
    for field in ("name", "createdAt", "email", "username"):
        given = [name[-1] for name in found(admin, userid=f"{mark}-", sortField=field, sortOrder="desc")]
        assert given == list(orders[field])[::-1], field
    assert refused_field(admin.get("/bim/user", params={"sortField": "phone"})) == "sortField"
    assert refused_field(admin.get("/bim/user", params={"sortOrder": "down"})) == "sortOrder"


def test_without_a_size_a_page_is_as_long_as_the_contract_says(any_site: Site, admin: httpx.Client) -> None:
    """25 users and groups, 10 projects and 15 members of one."""
    mark = fresh_name()
    project = admin.post("/project", json={"name": mark}).json()["id"]
    for number in range(26):
        userid = f"{mark}-{number}"
        admin.post("/bim/iam/bim/user", json={"userid": userid})
        any_site.services.groups.add(principal(any_site, ADMIN), HERE, name=userid)
        if number < 20:
            admin.put(f"/project/{project}/member/{userid}")
        if number < 12:
            admin.post("/project", json={"name": userid})
    assert len(admin.get("/bim/user").json()["hits"]) == 25
    assert len(admin.get("/bim/group").json()["hits"]) == 25
    assert len(admin.get("/project").json()["hits"]) == 10
    assert len(admin.get(f"/project/{project}/members").json()["members"]) == 15


def test_a_user_tells_the_project_of_the_key_that_asks(any_site: Site, admin: httpx.Client) -> None:
    """With a key of a project `projectId` is that project; else, and of others, it is null."""
    project = admin.post("/project", json={"name": fresh_name()}).json()["id"]
    linked = admin.post("/bim/apikey", json={"projectId": project}).json()["apikey"]
    me = admin.get("/bim/rpc/user/current").json()
    assert (me["projectId"], me["groupPermissions"], me["hasLogin"]) == (None, [], True)
    assert me["lastExternalRefresh"] == me["createdAt"]
    assert (me["profile"]["iamid"], me["profile"]["userid"]) == ("bim", ADMIN)
    assert set(me["profile"]["externalUserIds"]) == set(EXTERNAL_USER_IDS)
    with any_site.client(headers={"Authorization": linked}) as client:
        assert client.get("/bim/rpc/user/current").json()["projectId"] == project


def test_an_empty_password_is_none(any_site: Site, admin: httpx.Client) -> None:
    """Clients send `""` where a form was left empty: the new user is invited."""
    made = admin.post("/bim/iam/bim/user", json={"userid": fresh_name(), "password": ""}).json()
    assert made["newUserLink"] is not None
    assert (made["newUser"]["authentication"], made["newUser"]["hasLogin"]) == (None, False)


def test_a_person_changes_their_password_with_the_original_one(any_site: Site) -> None:
    """The field is the contract's, and so is the answer."""
    user = any_site.new_user()
    path = f"/bim/iam/bim/user/{user.user_id}/password"
    with as_client_of(any_site, user) as client:
        for wrong in ({"password": NEW_PASSWORD}, {"password": NEW_PASSWORD, "originalPassword": "x"}):
            answer = client.put(path, json=wrong)
            assert answer.status_code == 422
            assert answer.json()["validation"][0]["field"] == "originalPassword"
        right = {"password": NEW_PASSWORD, "originalPassword": PASSWORD}
        assert client.put(path, json=right).json() == {"success": True}
        form = {"username": user.userid, "password": NEW_PASSWORD}
        login = client.post("/bim/iam/bim/user/authenticate", json=form).json()
        assert login["profileId"] == user.profile.profile_id


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_post_is_put_for_profile_permissions_and_attributes(
    any_site: Site, admin: httpx.Client, method: str
) -> None:
    """Both methods change the same, and answer the same."""
    user = any_site.new_user()
    at = f"/bim/iam/bim/user/{user.user_id}"
    assert admin.request(method, f"{at}/profile", json={"name": "Ada"}).json()["name"] == "Ada"
    given = admin.request(method, f"{at}/permissions", json=["AUDIT"]).json()
    assert given["permissions"] == ["AUDIT"]
    wanted = {"Team": ["core", "api"], "lead": []}
    held = admin.request(method, f"{at}/authorizations", json=wanted).json()
    assert held["authorizations"] == held["bimAuthorizations"] == {"lead": [], "team": ["api", "core"]}
    assert admin.request(method, f"{at}/authorizations", json={}).json()["authorizations"] == {}
    for wrong in ({"team": "core"}, {"": ["x"]}, {"team": [""]}, ["team"]):
        assert admin.request(method, f"{at}/authorizations", json=wrong).status_code == 422


@pytest.mark.parametrize("kind", ["user", "group"])
def test_an_attribute_stands_without_a_value(any_site: Site, admin: httpx.Client, kind: str) -> None:
    """It is given by its name, shown without values, replaced by a value, and taken with all of them."""
    made = add_things(any_site, password=PASSWORD)
    number = made.user.user_id if kind == "user" else made.values["groupid"]
    at = f"/bim/iam/bim/{kind}/{number}/authorizations"

    def after(method: str, what: str) -> Any:
        answer = admin.request(method, f"{at}/{what}")
        assert answer.status_code == 200, answer.text
        return answer.json()["authorizations"] or {}

    assert after("PUT", "Lead") == after("PUT", "lead") == {"lead": []}
    assert after("PUT", "lead/core") == after("PUT", "lead") == {"lead": ["core"]}
    assert after("PUT", "lead/api") == {"lead": ["api", "core"]}
    assert after("DELETE", "lead/none") == {"lead": ["api", "core"]}
    assert after("DELETE", "lead") == after("DELETE", "lead") == {}
    after("PUT", "lead/core")
    assert after("DELETE", "lead/core") == {}


def test_a_group_is_found_under_its_manager(any_site: Site, admin: httpx.Client, things: Things) -> None:
    """The answer has the attributes as those of a user are called; a foreign manager has no such group."""
    number = things.values["groupid"]
    admin.put(f"/bim/iam/bim/group/{number}/authorizations/team/core")
    group = admin.get(f"/bim/iam/bim/group/{number}").json()
    assert group["bimAuthorizations"] == group["authorizations"] == {"team": ["core"]}
    assert admin.get(f"/bim/iam/okta/group/{number}").status_code == 404
    with as_client_of(any_site, any_site.new_user()) as stranger:
        assert stranger.get(f"/bim/iam/bim/group/{number}").status_code == 404


def test_the_groups_of_a_user_come_with_the_membership(any_site: Site, admin: httpx.Client) -> None:
    """Oneself sees them; others see none but what they are in too, and strangers are told of no user."""
    made = add_things(any_site, password=PASSWORD)
    path = f"/bim/iam/bim/user/{made.user.user_id}/groups"
    expected = [(made.values["groupid"], made.values["membershipid"])]
    with as_client_of(any_site, made.user) as self, as_client_of(any_site, any_site.new_user()) as stranger:
        for client in (admin, self):
            shown = client.get(path).json()
            assert [(one["id"], one["groupUser"]) for one in shown] == expected
            assert set(shown[0]) == {"id", "name", "iamid", "groupUser"}
        assert stranger.get(path).status_code == 404
        robot = f"/bim/iam/bim/user/{made.service.user_id}/groups"
        hidden = admin.post("/bim/group", json={"name": fresh_name()}).json()["id"]
        admin.post(f"/bim/group/{hidden}/user", json={"userid": made.service.userid})
        assert self.get(robot).json() == []
        assert [one["id"] for one in admin.get(robot).json()] == [hidden]


# Groups


def test_groups_are_filtered_and_ordered_as_the_contract_says(any_site: Site, admin: httpx.Client) -> None:
    """A part of the name, a member, a manager; by name or age, both ways; or names alone."""
    mark, user = fresh_name(), any_site.new_user()
    numbers = {}
    for name in ("b", "É", "c"):
        body = {"name": f"{mark} {name}", "description": "x"}
        numbers[name] = admin.post("/bim/group", json=body).json()["id"]
    for name in ("c", "É"):
        admin.post(f"/bim/group/{numbers[name]}/user", json={"userid": user.userid})

    def named(client: httpx.Client = admin, **params: Any) -> str:
        answer = client.get("/bim/group", params={"name": mark.upper(), **params})
        assert answer.status_code == 200, answer.text
        assert answer.json()["count"] == len(answer.json()["hits"])
        return "".join(hit["name"][-1] for hit in answer.json()["hits"])

    assert named() == named(sortField="createdAt") == named(iamid="bim") == "bÉc"
    assert named(sortOrder="desc") == "cÉb"
    assert named(sortField="name") == "bcÉ"
    assert named(sortField="name", sortOrder="desc") == "Écb"
    assert named(sortField="iamid") == "bÉc"
    assert named(userId=user.user_id) == "Éc"
    assert named(name=f"{mark} e") == "É"
    assert named(iamid="okta") == named(userId=user.user_id + 10**6) == named(name="\x00") == ""
    with as_client_of(any_site, user) as member:
        assert named(member) == named(member, userId=user.user_id) == "Éc"
        assert named(member, userId=any_site.users[ADMIN].user_id) == ""
    names = admin.get("/bim/group", params={"name": mark, "nameOnly": "true", "size": 2}).json()
    assert names == {"count": 3, "hits": [{"name": f"{mark} b"}, {"name": f"{mark} É"}]}
    for wrong in ({"sortField": "email"}, {"userId": 0}, {"userId": "x"}, {"nameOnly": "maybe"}):
        assert refused_field(admin.get("/bim/group", params=wrong)) == next(iter(wrong))


def test_members_come_in_either_order(any_site: Site, admin: httpx.Client) -> None:
    """In the order in which they came, or backwards."""
    group = admin.post("/bim/group", json={"name": fresh_name()}).json()["id"]
    users = [any_site.new_user() for _ in range(3)]
    for user in users:
        admin.post(f"/bim/group/{group}/user", json={"userid": user.userid})

    def members(**params: Any) -> list[int]:
        return [hit["uid"] for hit in admin.get(f"/bim/group/{group}/user", params=params).json()["hits"]]

    assert members() == members(sortOrder="asc") == [user.user_id for user in users]
    assert members(sortOrder="desc", size=2) == [user.user_id for user in users[:0:-1]]


def test_a_group_that_is_sent_back_whole_keeps_what_is_fixed(any_site: Site, admin: httpx.Client) -> None:
    """PUT takes what GET answered; another value of a fixed field is refused by its name."""
    group = admin.post("/bim/group", json={"name": fresh_name()}).json()
    path = f"/bim/group/{group['id']}"
    changed = admin.put(path, json={**group, "description": "sent back"})
    assert (changed.status_code, changed.json()["description"]) == (200, "sent back")
    group = changed.json()
    for field, value in (
        ("id", group["id"] + 1),
        ("iamid", "okta"),
        ("gid", "7"),
        ("createdAt", "2020-01-01T00:00:00.000Z"),
        ("updatedAt", "2020-01-01T00:00:00.000Z"),
        ("authorizations", {"team": ["x"]}),
        ("scim", True),
    ):
        assert refused_field(admin.put(path, json={"name": fresh_name(), field: value})) == field
    assert admin.get(path).json() == group


# Projects


def test_projects_are_filtered_and_ordered_as_the_contract_says(any_site: Site, admin: httpx.Client) -> None:
    """A part of name or description, the status, the caller's subscription; by name, status and change."""
    mark, other = fresh_name(), any_site.new_user()
    numbers = {}
    with as_client_of(any_site, other) as member:
        for name, maker in (("b", admin), ("É", member), ("c", member)):
            numbers[name] = maker.post("/project", json={"name": f"{mark} {name}"}).json()["id"]
        admin.put(f"/project/{numbers['c']}/member/{ADMIN}")
        any_site.clock.advance(SECOND)
        admin.put(f"/project/{numbers['b']}", json={"description": f"À la carte {mark}"})

        def named(client: httpx.Client = admin, **params: Any) -> str:
            answer = client.get("/project", params={"searchText": mark, **params})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            assert (body["count"], body["facets"]) == (len(body["hits"]), {})
            return "".join(hit["name"][-1] for hit in body["hits"])

        assert named() == named(status="open") == named(sortField="status") == "bÉc"
        assert named(status="closed") == ""
        assert named(sortField="name") == "bcÉ"
        assert named(sortField="name", sortOrder="desc") == "Écb"
        assert named(sortField="updatedAt") == "Écb"
        assert named(searchText=f"a la carte {mark}") == "b"
        assert named(subscription="owner") == "b"
        assert named(subscription="subscribed") == "c"
        assert named(subscription="notSubscribed") == "É"
        assert named(member) == named(member, subscription="owner") == "Éc"
        assert named(member, subscription="notSubscribed") == named(searchText="\x00") == ""
    hits = {hit["name"][-1]: hit for hit in admin.get("/project", params={"searchText": mark}).json()["hits"]}
    assert [hits[name]["subscriptionStatus"] for name in "bÉc"] == ["owner", "notSubscribed", "subscribed"]
    assert (hits["b"]["projectKey"], hits["b"]["type"]) == (str(numbers["b"]), "User")
    assert admin.get(f"/project/{numbers['b']}").json()["subscriptionStatus"] == "owner"
    for wrong in ({"status": "x"}, {"subscription": "x"}, {"sortField": "id"}):
        assert refused_field(admin.get("/project", params=wrong)) == next(iter(wrong))


def test_members_of_a_project_come_in_their_own_shape(any_site: Site, admin: httpx.Client) -> None:
    """Owners and subscribers, found by part of who they are and by state, in the order that is asked for."""
    project = admin.post("/project", json={"name": fresh_name()}).json()["id"]
    path, mark = f"/project/{project}/members", fresh_name()
    profiles = {}
    for name in ("Zoë", "Ada"):
        body = {
            "userid": f"{mark}-{name}",
            "profile": {"name": name, "email": f"{mark}.{name[0]}@example.com"},
        }
        profiles[name] = admin.post("/bim/iam/bim/user", json=body).json()["newUser"]["profile"]["id"]
        any_site.clock.advance(SECOND)
        state = {"state": "owner"} if name == "Ada" else {}
        answer = admin.post(path, json={"profileId": profiles[name], **state}).json()
        assert set(answer) == {"subscriptionId", "state", "approved"}
        assert (answer["state"], answer["approved"]) == (state.get("state", "subscribed"), True)

    def named(**params: Any) -> list[str]:
        body = admin.get(path, params=params).json()
        assert body["count"] == len(body["members"])
        return [one["name"] for one in body["members"]]

    assert named() == ["admin", "Zoë", "Ada"]
    assert named(sortOrder="desc") == ["Ada", "Zoë", "admin"]
    assert named(sortField="name") == ["Ada", "admin", "Zoë"]
    assert named(sortField="state") == ["admin", "Ada", "Zoë"]
    assert named(states="owner") == ["admin", "Ada"]
    assert named(states=["owner", "subscribed"]) == named()
    assert named(searchText="ZOE") == named(searchText=f"{mark}.z@") == ["Zoë"]
    assert named(searchText=f"{mark}-a") == ["Ada"]
    assert named(searchText="%") == named(searchText="\x00") == []
    shown = admin.get(path, params={"searchText": "zoe"}).json()["members"][0]
    assert (shown["profile"], shown["group"], shown["type"]) == (profiles["Zoë"], None, "user")
    assert (shown["state"], shown["iamid"], shown["userid"]) == ("subscribed", "bim", f"{mark}-Zoë")
    for wrong in ({"states": "pending"}, {"sortField": "email"}):
        assert refused_field(admin.get(path, params=wrong)) == next(iter(wrong))
    for body, field in (
        ({"groupId": 1}, "groupId"),
        ({}, "profileId"),
        ({"profileId": profiles["Ada"], "state": "pending"}, "state"),
    ):
        assert refused_field(admin.post(path, json=body)) == field
    unknown = admin.post(path, json={"profileId": 10**9})
    assert unknown.json()["validation"][0]["field"] == "profileId"


def test_nobody_finds_out_by_a_profile_who_is_there(any_site: Site, things: Things) -> None:
    """Without a permission for it, a profile of a stranger is refused as one that is nobody's (A2)."""
    user, stranger = any_site.new_user(), any_site.new_user()
    with as_client_of(any_site, user) as client:
        path = f"/project/{client.post('/project', json={'name': fresh_name()}).json()['id']}/members"
        answers = [
            client.post(path, json={"profileId": number})
            for number in (stranger.profile.profile_id, 10**9, 0, -1, 10**30)
        ]
        assert {answer.status_code for answer in answers} == {422}
        assert len({answer.content for answer in answers[:4]}) == 1
        assert client.get(f"/project/{things.values['projectid']}/members").status_code == 404


# Keys and tokens


def test_the_keys_of_a_user_are_an_array(any_site: Site, admin: httpx.Client) -> None:
    """Each with its project as an object, whose name is told to those who may see the project."""
    user = any_site.new_user()
    with as_client_of(any_site, user) as client:
        name = fresh_name()
        project = client.post("/project", json={"name": name}).json()["id"]
        made = client.post("/bim/apikey", json={"name": "linked", "projectId": project}).json()
        assert made["project"] == project
        path = f"/bim/iam/bim/user/{user.user_id}/apikeys"
        newest = client.get(path).json()[0]
        assert newest["project"] == {"id": project, "name": name, "status": "open"}
        assert (newest["keyid"], newest["context"]) == (made["keyid"], "Project")
        assert (newest["created"], newest["lastUsed"]) == (made["createdAt"], None)
        holder = any_site.add_holder(fresh_name(), frozenset({Permission.USER_ADMIN.value}))
        with as_client_of(any_site, holder) as people:
            assert people.get(path).json()[0]["project"] == {"id": project, "name": None, "status": "open"}
        answer = client.delete(f"/bim/apikey/{made['keyid']}").json()
        assert answer == {"keyid": made["keyid"], "revokedTokens": 1}


def test_the_latest_uses_of_a_key_are_told_to_who_may_see_it(any_site: Site, admin: httpx.Client) -> None:
    """One unless more are asked for, the newest first; to its owner, to AUDIT and USER_ADMIN, to no other."""
    user = any_site.new_user()
    key = any_site.key(user.userid)
    path, number = "/audit/apikey/activity", key.record.key_id
    with any_site.client(headers={"Authorization": key.secret}) as client:
        assert client.get(path, params={"keyid": number}).json()["count"] == 1
        any_site.clock.advance(SECOND)
        client.get("/bim/iam", headers={"User-Agent": "nightly/1"})
        (last,) = client.get(path, params={"keyid": number}, headers={"User-Agent": "nightly/1"}).json()[
            "hits"
        ]
        assert (last["keyid"], last["userAgent"], last["request"]) == (number, "nightly/1", f"GET {path}")
        assert (last["uses"], last["address"]) == (2, "127.0.0.1")
        both = client.get(path, params={"keyid": number, "count": 10**6}).json()
        assert both["count"] == len(both["hits"]) == 2
        assert both["hits"][0]["lastUsed"] >= both["hits"][1]["lastUsed"]
        for none in (0, "x", f"0{number}", 10**30):
            assert client.get(path, params={"keyid": none}).status_code == 404
        assert refused_field(client.get(path, params={"keyid": number, "count": 0})) == "count"
        assert refused_field(client.get(path)) == "keyid"
    for permission in (Permission.AUDIT, Permission.USER_ADMIN):
        holder = any_site.add_holder(fresh_name(), frozenset({permission.value}))
        with as_client_of(any_site, holder) as holds:
            assert holds.get(path, params={"keyid": number}).status_code == 200
            assert holds.get(path, params={"keyid": 10**9}).status_code == 404
    with as_client_of(any_site, any_site.new_user()) as stranger:
        answers = [stranger.get(path, params={"keyid": each}) for each in (number, 10**9)]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1


def test_the_owner_of_a_service_account_sees_the_uses_of_its_keys(any_site: Site) -> None:
    """As they see the keys."""
    made = add_things(any_site, password=PASSWORD)
    with as_client_of(any_site, made.user) as owner:
        answer = owner.get("/audit/apikey/activity", params={"keyid": made.service_key})
        assert answer.json() == {"count": 0, "hits": []}


def test_a_token_is_told_of_as_introspection_tells(any_site: Site, admin: httpx.Client) -> None:
    """To its owner and to VERIFY_CREDENTIALS; to anybody else, and of anything else, it is not active."""
    user = any_site.new_user()
    key = any_site.key(user.userid).secret
    with any_site.client() as stranger:
        token = stranger.post("/bim/apikey/authenticate", json={"apikey": key}).json()["token"]
        assert stranger.post("/bim/token", json={"token": token}).status_code == 401
    with any_site.client(headers={"Authorization": key}) as client:
        for presented in (key, token):
            told = client.post("/bim/token", json={"token": presented}).json()
            form = {"token": presented}
            assert told == client.post("/oauth/introspect", data=form).json()
            assert (told["active"], told["username"]) == (True, user.userid)
        for bad in ("x", key + "x", any_site.key(ADMIN).secret, "😀", "a.b.c", "x" * 60_000):
            assert client.post("/bim/token", json={"token": bad}).json() == {"active": False}
        for wrong in ({}, {"token": ""}, {"token": 1}, {"token": "x", "more": 1}):
            assert client.post("/bim/token", json=wrong).status_code == 422
        assert client.post("/bim/token").status_code == 400
    holder = any_site.add_holder(fresh_name(), frozenset({Permission.VERIFY_CREDENTIALS.value}))
    with as_client_of(any_site, holder) as verifier, as_client_of(any_site, any_site.new_user()) as other:
        assert verifier.post("/bim/token", json={"token": token}).json()["active"] is True
        assert other.post("/bim/token", json={"token": token}).json() == {"active": False}


def test_there_are_no_data_sources_and_one_spelling(admin: httpx.Client) -> None:
    """Clients that list data sources end well; names do not differ by case alone."""
    assert admin.get("/dataSource").json() == {"count": 0, "hits": [], "facets": {}}
    shape = {"id": str, "displayName": str, "type": str, "oauth": bool}
    assert not differences(admin.get("/bim/iam").json(), [shape])
