"""Who may do what to people over HTTP: the table of permissions, and what is hidden."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from tests.conftest import PASSWORD
from tests.people import HERE
from tests.web.people_callers import (
    ASKING,
    CLOSED,
    NOBODY,
    PERMITTED,
    PROTECTED,
    calls_of,
    client_of,
    comparable,
    needed,
)
from tests.web.people_routes import (
    ABSENT,
    ADMIN,
    Call,
    Things,
    add_things,
    fresh_name,
    principal,
)
from tests.web.sites import CONNECTION

if TYPE_CHECKING:
    import httpx

    from keyturn.core.people import UserRecord
    from tests.web.sites import Site

NAMED_OBJECTS = (
    "userid",
    "groupid",
    "membershipid",
    "projectid",
    "serviceid",
    "keyid",
    "connection_key",
    "object_path",
    "job_id",
)
HEIR = "?handOverTo=admin@example.com"


@pytest.fixture(scope="module")
def things(any_site: Site) -> Things:
    """Things of others, for calls that are refused: nothing happens to them."""
    return add_things(any_site, password=PASSWORD)


# The table


@pytest.mark.parametrize("route", CLOSED, ids=" ".join)
def test_without_the_permission_a_route_is_403_whatever_the_target(
    any_site: Site, things: Things, route: tuple[str, str]
) -> None:
    """The refusal names those of the table, and is the same for what exists, what does not, and oneself."""
    asked = PERMITTED[route]
    me = any_site.add_holder(f"{fresh_name()}@example.com", NOBODY)
    for call in calls_of(route):
        with client_of(any_site, NOBODY, me.userid) as client:
            answers = [
                call.send(client, {**things.of(call), **instead})
                for instead in ({}, ABSENT, {"userid": me.userid}, {"userid": me.user_id}, {"iamid": "okta"})
            ]
        assert len({repr(comparable(answer)) for answer in answers}) == 1
        assert needed(answers[0]) == list(asked.any_of)


@pytest.mark.parametrize("route", ASKING, ids=" ".join)
def test_each_permission_of_the_table_is_enough(any_site: Site, route: tuple[str, str]) -> None:
    """Whoever holds any one of a route's permissions, and nothing else, is answered."""
    for call in calls_of(route):
        for permission in PERMITTED[route].any_of:
            with client_of(any_site, frozenset({permission.value})) as client:
                answer = call.send(client, add_things(any_site, password=PASSWORD).of(call))
            assert answer.status_code == call.status, (permission, answer.text)


def test_no_other_permission_opens_a_closed_route(any_site: Site, things: Things) -> None:
    """Whoever holds every permission but those of the table is refused."""
    for route in CLOSED:
        others = frozenset(Permission) - set(PERMITTED[route].any_of)
        for call in calls_of(route):
            with client_of(any_site, others) as client:
                assert needed(call.send(client, things.of(call))) == list(PERMITTED[route].any_of)


def test_every_route_that_can_miss_a_permission_is_in_the_table(any_site: Site) -> None:
    """Of all routes, called by many for many targets, only those of the table answer 403.

    What the description tells of 403 is the same set: `/verify` is about scopes, `/feed` has no end.
    """
    refused = {call.route for call, answer in calls_by_many(any_site) if needed(answer)}
    with any_site.client() as client:
        described = client.get("/openapi.json").json()["paths"]
    documented = {
        (method.upper(), path)
        for path, item in described.items()
        for method, operation in item.items()
        if "403" in operation["responses"] and path not in {"/verify", "/feed"}
    }
    assert documented == refused
    assert refused <= set(PERMITTED)
    operations = {(method.upper(), path) for path, item in described.items() for method in item}
    assert set(PERMITTED) <= operations


def calls_by_many(site: Site) -> list[tuple[Call, httpx.Response]]:
    """Call every route as people with much and little in common with its target, with every sort of key."""
    answered = []
    linked, narrowed = narrowed_keys(site)
    administrator = site.add_user(fresh_name(), frozenset({Permission.USER_ADMIN.value}))
    administers = site.key(administrator.userid).secret
    with site.client() as client:
        for call in {call.route: call for call in reversed(PROTECTED)}.values():
            things = add_things(site, password=PASSWORD)
            values = things.of(call)
            owner = site.add_user(f"{fresh_name()}@example.com", NOBODY)
            governor = site.add_user(fresh_name(), frozenset({Permission.GOVERNANCE.value}))
            for credential, target in (
                (site.key(things.user.userid).secret, {**values, "userid": values["successor"]}),
                (site.key(owner.userid).secret, values),
                (site.key(owner.userid).secret, {**values, **owned_by(site, owner, call)}),
                (linked, values),
                (narrowed, values),
                (administers, {**values, "userid": governor.userid}),
                (site.key(governor.userid).secret, values),
            ):
                client.headers["Authorization"] = credential
                answered.append((call, call.send(client, target)))
    return answered


def owned_by(site: Site, owner: UserRecord, call: Call) -> dict[str, object]:
    """Make something that belongs to a person, as what a call is about."""
    admin = principal(site, ADMIN)
    if call.path.startswith("/serviceaccount"):
        broader = site.services.service_accounts.add(
            admin,
            HERE,
            userid=fresh_name(),
            name=None,
            owner=ServiceOwner(owner.user_id),
            permissions=["AUDIT"],
        )
        return {"userid": broader.userid}
    if "/project/" in call.path:
        theirs = site.services.projects.add(admin, HERE, name=fresh_name(), description=None)
        site.services.projects.set_member(admin, theirs.project_id, owner.userid, HERE, is_owner=True)
        return {"projectid": theirs.project_id}
    return {"userid": owner.userid}


def narrowed_keys(site: Site) -> tuple[str, str]:
    """Return a key of the administrator that is linked to a project, and one with scopes."""
    admin = principal(site, ADMIN)
    project = site.services.projects.add(admin, HERE, name=fresh_name(), description=None)
    linked = site.services.keys.create(admin, HERE, NewKey(project_id=project.project_id))
    narrowed = site.services.system_keys.get_or_create(
        admin,
        HERE,
        name=fresh_name(),
        scopes=["plugin:trino"],
        connection_key=CONNECTION,
        regenerate=False,
    )
    return linked.secret, narrowed.secret


# A2: not yours is not found


@pytest.mark.parametrize("call", PROTECTED, ids=lambda call: f"{call.method} {call.path}{call.query}")
def test_what_is_not_theirs_is_as_absent(any_site: Site, things: Things, call: Call) -> None:
    """To a person without permissions, what others have and what there is not are the same bytes (A2)."""
    values = things.of(call)
    objects = [name for name in NAMED_OBJECTS if f"{{{name}}}" in call.path]
    with client_of(any_site, NOBODY) as client:
        for name in objects:
            by_number = {"userid": things.user.user_id} if name == "userid" else {}
            others = [call.send(client, {**values, **target}) for target in ({}, by_number)]
            absent = call.send(client, {**values, name: ABSENT[name]})
            for answer in others:
                assert answer.status_code in {403, 404}
                assert comparable(answer) == comparable(absent)
        if objects and call.method in {"PUT", "DELETE"} and not call.query:
            handed = replace(call, query="?handOverTo={successor}", body=None)
            assert comparable(handed.send(client, values)) == comparable(
                handed.send(client, {**values, **ABSENT, "successor": "nobody"})
            )


def test_a_project_tells_nothing_of_hidden_connections(any_site: Site) -> None:
    """To an owner who may see no connection, one that exists is as one that does not (A2)."""
    statuses = {}
    for permissions in (frozenset({"CREATE_PROJECT"}), frozenset({"CREATE_PROJECT", "CREATE_DATA_SOURCE"})):
        with client_of(any_site, permissions) as client:
            project = client.post("/project", json={"name": fresh_name()}).json()["id"]
            there, absent = (
                client.put(f"/project/{project}/connection/{name}") for name in (CONNECTION, "no-such")
            )
        if len(permissions) == 1:
            assert comparable(there) == comparable(absent)
        statuses[len(permissions)] = there.status_code, absent.status_code
    assert statuses == {1: (403, 403), 2: (200, 422)}


def test_lists_show_what_is_ones_own(any_site: Site, things: Things) -> None:
    """To a person without permissions, each list holds themselves and what they are in, and nothing else."""
    member = things.user.userid
    with client_of(any_site, NOBODY) as stranger, client_of(any_site, NOBODY, member) as client:
        for path in ("/bim/user", "/bim/iam/bim/user"):
            found = client.get(path).json()
            assert (found["count"], [hit["userid"] for hit in found["hits"]]) == (1, [member])
        assert client.get("/bim/user", params={"userid": "admin"}).json() == {"count": 0, "hits": []}
        assert [hit["id"] for hit in client.get("/bim/group").json()["hits"]] == [things.values["groupid"]]
        assert [hit["id"] for hit in client.get("/project").json()["hits"]] == [things.values["projectid"]]
        accounts = client.get("/serviceaccount").json()["hits"]
        assert [hit["userid"] for hit in accounts] == [things.service.userid]
        for path in ("/bim/group", "/project", "/serviceaccount"):
            answer = stranger.get(path).json()
            assert (answer["count"], answer["hits"]) == (0, [])


def test_an_owner_manages_their_service_account_and_no_other(any_site: Site) -> None:
    """Without permissions one reads, gives keys to, stops and deletes one's own service account."""
    things = add_things(any_site, password=PASSWORD)
    name = things.service.userid
    with client_of(any_site, NOBODY, things.user.userid) as owner:
        assert owner.get(f"/serviceaccount/{name}").status_code == 200
        made = owner.post(f"/serviceaccount/{name}/apikey").json()
        assert owner.get(f"/serviceaccount/{name}/apikey").json()["count"] == 2
        assert owner.delete(f"/serviceaccount/{name}/apikey/{made['keyid']}").status_code == 200
        assert owner.delete(f"/serviceaccount/{name}/apikey/{made['keyid']}").status_code == 404
        assert owner.delete(f"/serviceaccount/{name}/apikey/{things.values['keyid']}").status_code == 404
        assert owner.put(f"/bim/iam/bim/user/{name}/disable/true").status_code == 200
        assert needed(owner.put(f"/bim/iam/bim/user/{name}/disable/false")) == ["USER_ADMIN"]
        assert needed(owner.delete(f"/bim/iam/bim/user/{name}{HEIR}")) == ["USER_ADMIN"]
        assert owner.delete(f"/bim/iam/bim/user/{name}").status_code == 200
