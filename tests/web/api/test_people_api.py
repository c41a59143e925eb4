"""Every route for people and their keys answers in the shape that the reference gives it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.errors import CredentialRefused
from keyturn.services.people.identity.attempts import FREE_FAILURES
from keyturn.web.api.people.user_views import EXTERNAL_USER_IDS
from tests.conftest import PASSWORD
from tests.people import HERE, NEW_PASSWORD
from tests.web.people_routes import ADMIN, CALLS, ERROR, Call, add_things, differences, fresh_name
from tests.web.sites import CONNECTION, filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.web.sites import Site

BOB = "bob@example.com"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
OTHERS = re.compile(r"/(verify|health|oauth|bim/oauth|\.well-known)(/.*)?|/feed")
"""Paths that are no part of the Immuta API, nor about people."""


@pytest.fixture
def admin(any_site: Site) -> Iterator[httpx.Client]:
    with any_site.client(headers={"Authorization": any_site.key(ADMIN).secret}) as client:
        yield client


def named(call: Call) -> str:
    return f"{call.method} {call.path}{call.query} {'' if call.body is None else 'body'}"


def test_every_route_has_a_call(any_site: Site) -> None:
    """The table of calls is whole: it has each operation of the description, and no other."""
    with any_site.client() as client:
        described = client.get("/openapi.json").json()["paths"]
    operations = {(method.upper(), path) for path, item in described.items() for method in item}
    assert {call.route for call in CALLS} == {route for route in operations if not OTHERS.fullmatch(route[1])}


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_a_route_answers_in_the_documented_shape(any_site: Site, call: Call) -> None:
    """Each route answers 200 with exactly the documented fields, of their types, and times with Z."""
    things = add_things(any_site, password=PASSWORD)
    values = things.of(call)
    # A key is rotated with itself alone.
    credential = {} if call.path.endswith("authenticate") else {"Authorization": str(values["secret"])}
    with any_site.client(headers=credential) as client:
        answer = call.send(client, values)
    assert answer.status_code == call.status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors")
    assert not differences(answer.json(), call.answer)
    for moment in re.findall(r'"\w+(?:At|Expiration)":"([^"]*)"', answer.text):
        assert TIMESTAMP.fullmatch(moment)
    if isinstance(answer.json(), dict) and "hits" in answer.json() and call.path != "/dataSource":
        assert answer.json()["count"] >= len(answer.json()["hits"]) > 0


def test_a_new_user_comes_with_a_link_or_a_password(any_site: Site, admin: httpx.Client) -> None:
    """Without a password there is a link, its code behind #; with one the user signs in, and no link."""
    invited = admin.post("/bim/iam/bim/user", json={"userid": "Ünal Ö <a@b>", "permissions": []}).json()
    assert invited["newUser"]["userid"] == "Ünal Ö <a@b>"
    assert invited["newUser"]["permissions"] == ["CREATE_PROJECT"]
    assert invited["newUser"]["authentication"] is None
    assert re.fullmatch(rf"{re.escape(any_site.url)}/invitation#[\w-]{{43}}", invited["newUserLink"])
    assert (invited["emailFailed"], invited["emailSent"]) == (False, False)
    again = admin.post(f"/bim/iam/bim/user/{invited['newUser']['id']}/invitation").json()
    any_site.services.invitations.accept(again["newUserLink"].partition("#")[2], NEW_PASSWORD, HERE)
    userid = fresh_name()
    made = admin.post(
        "/bim/iam/bim/user",
        json={"userid": userid, "password": PASSWORD, "permissions": ["AUDIT"], "profile": {"phone": "1"}},
    ).json()
    assert made["newUserLink"] is None
    assert made["newUser"]["permissions"] == ["AUDIT", "CREATE_PROJECT"]
    assert made["newUser"]["profile"]["phone"] == "1"
    assert type(made["newUser"]["authentication"]) is int
    with any_site.client() as client:
        for name, password in ((userid, PASSWORD), ("ünal ö <a@b>", NEW_PASSWORD)):
            signed_in = client.post(
                "/bim/iam/bim/user/authenticate", json={"username": name, "password": password}
            )
            assert signed_in.status_code == 200, name


def test_a_user_is_unlocked_and_signed_out(any_site: Site, admin: httpx.Client) -> None:
    """A lock and the sessions end; the answers say what there was. Nobody unlocks themselves."""
    user = any_site.new_user()
    path = f"/bim/iam/bim/user/{user.user_id}"
    for _ in range(FREE_FAILURES):
        with pytest.raises(CredentialRefused):
            any_site.services.logins.log_in_browser(user.userid, "not the password", HERE)
    with any_site.client() as client:
        form = {"username": user.userid, "password": PASSWORD}
        assert client.post("/bim/iam/bim/user/authenticate", json=form).status_code == 401
        assert [admin.post(f"{path}/unlock").json() for _ in range(2)] == [
            {"unlocked": True},
            {"unlocked": False},
        ]
        token = client.post("/bim/iam/bim/user/authenticate", json=form).json()["token"]
        who = {"Authorization": f"Bearer {token}"}
        assert client.get("/bim/rpc/user/current", headers=who).status_code == 200
        assert [admin.post(f"{path}/sign-out").json() for _ in range(2)] == [{"sessions": 1}, {"sessions": 0}]
        assert client.get("/bim/rpc/user/current", headers=who).status_code == 401
    assert admin.post(f"/bim/iam/bim/user/{ADMIN}/unlock").status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "field", "code"),
    [
        ("/bim/iam/bim/user", {"userid": "BOB@example.com"}, "userid", "unique"),
        ("/bim/iam/bim/user", {"userid": " "}, "userid", "invalid"),
        ("/bim/iam/bim/user", {"userid": "keyturn system"}, "userid", "invalid"),
        ("/bim/iam/bim/user", {"userid": "x", "iamid": "okta"}, "iamid", "invalid"),
        ("/bim/iam/bim/user", {"userid": "x", "permissions": ["ROOT"]}, "permissions", "invalid"),
        ("/bim/iam/bim/user", {"userid": "x", "password": "short"}, "password", "invalid"),
        ("/bim/iam/bim/user", {"profile": {"name": "x"}}, "userid", "missing"),
        ("/bim/group", {"name": "taken"}, "name", "unique"),
        ("/bim/group", {"iamid": "okta", "name": "x"}, "iamid", "invalid"),
        ("/bim/group", {"iamid": "bim", "name": "  "}, "name", "invalid"),
        ("/bim/group", {"iamid": "bim"}, "name", "missing"),
        ("/project", {"name": "taken"}, "name", "unique"),
        ("/project", {}, "name", "missing"),
        ("/serviceaccount", {"userid": BOB, "owner": {"userid": ADMIN}}, "userid", "unique"),
        ("/serviceaccount", {"userid": "x", "owner": {}}, "owner", "invalid"),
        ("/serviceaccount", {"userid": "x", "owner": {"userid": ADMIN, "group": 1}}, "owner", "invalid"),
        ("/serviceaccount", {"userid": "x", "owner": {"userid": "nobody"}}, "owner", "invalid"),
        ("/serviceaccount", {"userid": "x", "owner": {"group": 987654321}}, "owner", "invalid"),
        ("/serviceaccount", {"userid": "x", "owner": {"group": 10**30}}, "owner", "invalid"),
    ],
)
def test_what_cannot_be_made_is_refused_by_field(
    any_site: Site, admin: httpx.Client, path: str, body: dict[str, object], field: str, code: str
) -> None:
    """A taken name has the code `unique`, and whatever else is wrong names its field; nothing is made."""
    for made in ("/bim/group", "/project"):
        admin.post(made, json={"name": "taken"})
    before = any_site.services.store.installation.revision()
    answer = admin.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert set(answer.json()) <= ERROR
    (problem,) = answer.json()["validation"]
    assert (problem["field"], problem["code"]) == (field, code)
    assert any_site.services.store.installation.revision() == before


def test_a_profile_keeps_what_is_not_given(any_site: Site, admin: httpx.Client) -> None:
    """Given fields change, null empties one, and the rest stays; the names on platforms are a map."""
    path = f"/bim/iam/bim/user/{any_site.new_user().userid}/profile"
    given = {
        "name": "Zoë Ärger", "email": "z@example.com", "phone": "+1 2", "about": "two\nlines",
        "location": "Ulm", "organization": "Å", "position": "lead",
        "preferences": {"a": {"b": [1, None, "x\u0000y"]}}, "externalUserIds": {"snowflakeUser": "ZOE"},
    }  # fmt: skip
    first = admin.put(path, json=given)
    assert first.status_code == 200, first.text
    platforms = dict.fromkeys(EXTERNAL_USER_IDS)
    given["externalUserIds"] = {**platforms, "snowflakeUser": "ZOE"}
    assert {name: first.json()[name] for name in given} == given
    second = admin.put(path, json={"phone": None, "preferences": None, "externalUserIds": {}}).json()
    assert second["phone"] is None
    assert second["preferences"] is None
    assert second["externalUserIds"] == platforms
    assert second["name"] == "Zoë Ärger"
    assert admin.put(path, json={"preferences": {"a": 10**400}}).status_code in {200, 422}


def test_permissions_are_replaced_and_taken(any_site: Site, admin: httpx.Client) -> None:
    """Both spellings of the body put a whole set in place; one permission can be taken, also twice."""
    path = f"/bim/iam/bim/user/{any_site.new_user().userid}/permissions"
    assert admin.put(path, json=["AUDIT", "AUDIT", "GOVERNANCE"]).json()["permissions"] == [
        "AUDIT",
        "GOVERNANCE",
    ]
    assert admin.put(path, json={"permissions": ["AUDIT"]}).json()["permissions"] == ["AUDIT"]
    for _ in range(2):
        assert admin.delete(f"{path}/AUDIT").json()["permissions"] == []
    for bad in ("AUDIT", 5, None, {}, {"permissions": None}, ["ROOT"], [1], {"permissions": ["audit"]}):
        assert admin.put(path, json=bad).status_code in {400, 422}, bad
    assert admin.delete(f"{path}/ROOT").status_code == 422


def test_a_password_is_changed_with_the_current_one_or_by_an_administrator(
    any_site: Site, admin: httpx.Client
) -> None:
    """One's own needs the current one, and says which field is wrong; an administrator needs none."""
    user = any_site.new_user()
    path = f"/bim/iam/bim/user/{user.userid}/password"
    with any_site.client(headers={"Authorization": any_site.key(user.userid).secret}) as theirs:
        for current in ({}, {"originalPassword": "wrong wrong wrong wrong"}):
            answer = theirs.put(path, json={"password": NEW_PASSWORD, **current})
            assert answer.status_code == 422
            assert answer.json()["validation"][0]["field"] == "originalPassword"
        changed = theirs.put(path, json={"password": NEW_PASSWORD, "originalPassword": PASSWORD})
        assert changed.json() == {"success": True}
    login = "/bim/iam/bim/user/authenticate"
    assert admin.put(path, json={"password": "short"}).json()["validation"][0]["field"] == "password"
    with any_site.client() as client:
        who = {"username": user.userid}
        token = client.post(login, json={**who, "password": NEW_PASSWORD}).json()["token"]
        assert admin.put(path, json={"password": PASSWORD}).status_code == 200
        ended = client.get("/bim/rpc/user/current", headers={"Authorization": token})
        assert ended.status_code == 401
        assert client.post(login, json={**who, "password": NEW_PASSWORD}).status_code == 401
        any_site.clock.advance(timedelta(minutes=20))
        assert client.post(login, json={**who, "password": PASSWORD}).status_code == 200


def test_a_path_names_its_methods(any_site: Site, admin: httpx.Client) -> None:
    """OPTIONS and the refusal of a method name every method of a path, whoever made which first."""
    methods: dict[str, set[str]] = {}
    for call in CALLS:
        methods.setdefault(call.path, {"OPTIONS"}).add(call.method)
    values = add_things(any_site, password=PASSWORD).values
    for path, expected in methods.items():
        if path.endswith("/authenticate"):
            continue
        options = admin.options(filled(path, **values))
        assert options.status_code == 204, path
        assert set(options.headers["allow"].split(", ")) == expected, path
        refused = admin.request(next(iter({"PATCH", "TRACE"} - expected)), filled(path, **values))
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == expected, path


def test_disabling_stops_and_enabling_goes_on(any_site: Site, admin: httpx.Client) -> None:
    """A disabled user's key is 401 at once; enabled, it works; deleted, never again."""
    user = any_site.new_user()
    path = f"/bim/iam/bim/user/{user.userid}"
    with any_site.client(headers={"Authorization": any_site.key(user.userid).secret}) as theirs:
        assert admin.put(f"{path}/disable/true").json()["disabled"] is True
        assert theirs.get("/bim/rpc/user/current").status_code == 401
        assert admin.put(f"{path}/disable/false").json()["disabled"] is False
        assert theirs.get("/bim/rpc/user/current").status_code == 200
        assert admin.put(f"{path}/disable/maybe").status_code == 422
        assert admin.delete(path).json() == {"id": user.user_id, "userid": user.userid}
        assert theirs.get("/bim/rpc/user/current").status_code == 401
    assert admin.get(path).status_code == 404
    assert admin.delete(path).status_code == 404


def test_service_accounts_are_handed_over_or_end_with_their_owner(
    any_site: Site, admin: httpx.Client
) -> None:
    """With `handOverTo` they go on under that person; without it they are deleted with their owner."""
    for successor, ends in ((BOB, False), (None, True)):
        owner, name = any_site.new_user().userid, fresh_name()
        made = admin.post("/serviceaccount", json={"userid": name, "owner": {"userid": owner}}).json()
        assert made["owner"] == {"userid": owner, "group": None}
        key = admin.post(f"/serviceaccount/{name}/apikey").json()["apikey"]
        query = "" if successor is None else f"?handOverTo={successor}"
        assert admin.delete(f"/bim/iam/bim/user/{owner}{query}").status_code == 200
        with any_site.client(headers={"Authorization": key}) as program:
            assert program.get("/bim/rpc/user/current").status_code == (401 if ends else 200)
        found = admin.get(f"/serviceaccount/{name}")
        if ends:
            assert found.status_code == 404
        else:
            assert found.json()["owner"] == {"userid": successor, "group": None}
    answer = admin.delete(f"/bim/iam/bim/user/{any_site.new_user().userid}?handOverTo=nobody")
    assert answer.status_code == 422
    assert answer.json()["validation"] == [{"code": "invalid", "field": "handOverTo"}]


def test_what_a_group_is_given_its_members_have(any_site: Site, admin: httpx.Client) -> None:
    """`authorizations` are one's own and one's groups', `bimAuthorizations` one's own; names lower case."""
    user = any_site.new_user()
    path = f"/bim/iam/bim/user/{user.userid}"
    group = admin.post("/bim/group", json={"iamid": "bim", "name": fresh_name()}).json()
    member = admin.post(f"/bim/group/{group['id']}/user", json={"userid": user.userid, "iamid": "bim"}).json()
    (listed,) = admin.get(f"/bim/group/{group['id']}/user").json()["hits"]
    assert (listed["id"], listed["uid"], listed["group"]) == (member["id"], user.user_id, group["id"])
    assert admin.get(path).json()["bimAuthorizations"] is None
    admin.put(f"/bim/iam/bim/group/{group['id']}/authorizations/Team/core")
    admin.put(f"{path}/authorizations/TEAM/ops", json={})
    admin.put(f"{path}/authorizations/team/ops", json={})
    read = admin.get(path).json()
    assert read["authorizations"] == {"team": ["core", "ops"]}
    assert read["bimAuthorizations"] == {"team": ["ops"]}
    assert read["iamAuthorizations"] is None
    twice = admin.post(f"/bim/group/{group['id']}/user", json={"userid": str(user.user_id)})
    assert twice.json()["validation"] == [{"code": "unique", "field": "userid"}]
    assert admin.delete(f"/bim/group/{group['id']}/user/{member['id']}").json() == {"id": member["id"]}
    assert admin.get(path).json()["authorizations"] == {"team": ["ops"]}
    assert admin.delete(f"{path}/authorizations/team/ops").json()["authorizations"] == {}


@pytest.mark.parametrize(
    ("sent", "key", "value"),
    [
        ("Region/eu%2Fwest", "region", "eu/west"),
        ("region/eu/west", "region", "eu/west"),
        ("region/%2Fetc%2F%2Fx%2F", "region", "/etc//x/"),
        ("region/a%20b%3Fc%23d%25", "region", "a b?c#d%"),
        ("%C3%84mter/stra%C3%9Fe", "ämter", "straße"),
        ("region/..", "region", ".."),
        ("region/%F0%9F%98%80", "region", "😀"),
        ("region/a+b", "region", "a+b"),
    ],
)
def test_an_attribute_is_kept_as_it_was_sent(
    any_site: Site, admin: httpx.Client, sent: str, key: str, value: str
) -> None:
    """Values hold slashes, dots and any character, percent-encoded or not; DELETE finds the very same."""
    user = any_site.new_user()
    secret = any_site.key(ADMIN).secret
    for method, expected in (("PUT", {key: [value]}), ("DELETE", {})):
        any_site.raw(
            f"{method} /bim/iam/bim/user/{user.userid}/authorizations/{sent} HTTP/1.1\r\n"
            f"Host: {any_site.host}\r\nAuthorization: {secret}\r\nContent-Type: application/json\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        assert admin.get(f"/bim/iam/bim/user/{user.user_id}").json()["authorizations"] == expected


def test_a_system_key_is_one_and_the_same_until_it_is_regenerated(
    any_site: Site, admin: httpx.Client
) -> None:
    """Same name, connection and scopes: the same key on both paths; `regenerate` ends it for another."""
    body = {"name": fresh_name(), "scopes": ["plugin:trino"], "connectionKey": CONNECTION}
    first, second = (admin.post(path, json=body).json() for path in ("/apikey/system", "/bim/apikey/system"))
    assert {**first, "lastUsedAt": None} == {**second, "lastUsedAt": None}
    third = admin.post("/apikey/system", json={**body, "regenerate": True}).json()
    assert third["apikey"] != first["apikey"]
    with any_site.client() as client:
        for secret, status in ((first["apikey"], 401), (third["apikey"], 200)):
            answer = client.get("/verify", headers={"Authorization": secret})
            assert answer.status_code == status
        assert answer.headers["keyturn-scopes"] == "plugin:trino"
        assert answer.headers["keyturn-permissions"] == ""
        assert admin.delete(f"/apikey/system/{third['keyid']}").json() == {"keyid": third["keyid"]}
        assert client.get("/verify", headers={"Authorization": third["apikey"]}).status_code == 401
    assert admin.delete(f"/apikey/system/{third['keyid']}").status_code == 404
    assert admin.delete(f"/apikey/system/{any_site.key(BOB).record.key_id}").status_code == 404
    for wrong in ({"connectionKey": "no-such"}, {"scopes": ["all"]}, {"scopes": []}, {"name": " "}):
        answer = admin.post("/apikey/system", json={**body, **wrong})
        assert answer.status_code == 400, wrong
        assert set(answer.json()) <= ERROR


def test_a_project_key_shows_its_project_and_sees_its_connections_alone(
    any_site: Site, admin: httpx.Client
) -> None:
    """A key with `projectId` names the project, and reads what the project holds; it manages nothing."""
    project = admin.post("/project", json={"name": fresh_name()}).json()["id"]
    made = admin.post("/apikey", json={"projectId": project}).json()
    assert (made["project"], made["context"]) == (project, "Project")
    with any_site.client(headers={"Authorization": made["apikey"]}) as linked:
        path = f"/data/connection/{CONNECTION}"
        assert linked.get(path).status_code == 404
        assert admin.put(f"/project/{project}/connection/{CONNECTION}").status_code == 200
        assert linked.get(path).status_code == 200
        assert linked.post("/bim/group", json={"name": "x"}).status_code == 403
        assert linked.get("/bim/user").json()["count"] == 1
        assert admin.delete(f"/project/{project}").json() == {"id": project}
        assert linked.get(path).status_code == 401
    not_in = admin.post("/project", json={"name": fresh_name()}).json()["id"]
    with any_site.client(headers={"Authorization": any_site.key(BOB).secret}) as bob:
        assert bob.post("/apikey", json={"projectId": not_in}).status_code == 404
        assert bob.post("/apikey", json={"projectId": 987654321}).status_code == 404


def test_a_project_keeps_an_owner(any_site: Site, admin: httpx.Client) -> None:
    """The last owner cannot leave or be made a member: 400, and it stays as it was."""
    project = admin.post("/project", json={"name": fresh_name()}).json()["id"]
    path = f"/project/{project}/member"
    assert admin.delete(f"{path}/{ADMIN}").status_code == 400
    assert admin.put(f"{path}/{ADMIN}", json={"owner": False}).status_code == 400
    members = admin.put(f"{path}/{BOB}", json={"owner": True}).json()["members"]
    assert [(member["userid"], member["owner"]) for member in members] == [(ADMIN, True), (BOB, True)]
    assert [member["userid"] for member in admin.delete(f"{path}/{ADMIN}").json()["members"]] == [BOB]
