"""Not yours and not there are one answer, wherever a route or page is given an id or a name (fault B7)."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.oauth import API_KEY_TYPE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import SEE_CONNECTION, SEE_PROJECTS, Permission
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from keyturn.web.pages.frame.tabs import TABS
from tests.conftest import PASSWORD
from tests.people import HERE
from tests.web.people_callers import PERMITTED, PROTECTED, comparable
from tests.web.people_routes import ADMIN, Call, Things, add_service, add_things, fresh_name, principal
from tests.web.sites import Browser, filled

if TYPE_CHECKING:
    import httpx

    from tests.web.sites import Site

USER_ADMIN, APPLICATION_ADMIN = (Permission.USER_ADMIN,), (Permission.APPLICATION_ADMIN,)
SEES: Mapping[str, tuple[Permission, ...]] = {
    "userid": USER_ADMIN,
    "successor": USER_ADMIN,
    "profileid": USER_ADMIN,
    "groupid": USER_ADMIN,
    "membershipid": USER_ADMIN,
    "projectid": SEE_PROJECTS,
    "serviceid": APPLICATION_ADMIN,
    "keyid": (),
    "scope": (),
    "connection_key": SEE_CONNECTION,
    "object_path": SEE_CONNECTION,
    "job_id": SEE_CONNECTION,
}
"""What a route can be given, and who sees all of it. Of keys nobody does."""
NAMES_ALL: Mapping[tuple[str, str], tuple[str, tuple[Permission, ...]]] = {
    ("PUT", "/project/{projectid}/member/{userid}"): ("userid", (Permission.PROJECT_MANAGEMENT,)),
    ("PUT", "/project/{projectid}/connection/{connection_key}"): (
        "connection_key",
        (Permission.PROJECT_MANAGEMENT,),
    ),
    ("POST", "/project/{projectid}/members"): ("profileid", (Permission.PROJECT_MANAGEMENT,)),
    ("GET", "/audit/apikey/activity"): ("keyid", (Permission.AUDIT, Permission.USER_ADMIN)),
    ("POST", "/services"): ("groupid", (Permission.APPLICATION_ADMIN,)),
    ("PUT", "/services/{serviceid}"): ("groupid", (Permission.APPLICATION_ADMIN,)),
    ("POST", "/apis"): ("groupid", (Permission.APPLICATION_ADMIN,)),
    ("POST", "/data/connection"): ("groupid", (Permission.APPLICATION_ADMIN,)),
    ("PUT", "/data/settings/{object_path}"): ("groupid", (Permission.APPLICATION_ADMIN,)),
    ("PUT", "/apis/{serviceid}"): ("groupid", (Permission.APPLICATION_ADMIN,)),
    ("POST", "/apikey/impersonate"): ("userid", (Permission.IMPERSONATE_USER,)),
    ("POST", "/bim/apikey/impersonate"): ("userid", (Permission.IMPERSONATE_USER,)),
    ("DELETE", "/apikey/system/{keyid}"): ("keyid", (Permission.APPLICATION_ADMIN,)),
    ("DELETE", "/bim/apikey/system/{keyid}"): ("keyid", (Permission.APPLICATION_ADMIN,)),
}
"""Where a permission lets its holder name what they do not see otherwise (permissions.md)."""
ABSENT = {
    **dict.fromkeys(SEES, 987654321),
    "userid": "nobody@example.com",
    "successor": "nobody@example.com",
    "connection_key": "no-such",
    "object_path": "no-such",
    "job_id": "0b8f7d6e-58a4-4a39-8f0e-0f6f4f1c2f55",
}
REFERENCES = {
    "projectId": "projectid",
    "profileId": "profileid",
    "userId": "userid",
    "userid": "userid",
    "group": "groupid",
    "groups": "groupid",
    "connectionKey": "connection_key",
    "handOverTo": "successor",
    "jobIds": "job_id",
    "bulkId": "job_id",
    **{name: name for name in SEES if name != "scope"},
}
"""The names of parameters and fields that refer to something, and to what."""
PLAIN = {
    "apikey", "allowFrom", "dpopJkt", "allowMethods", "allowPaths", "overlapSeconds", "scopes",
    "regenerate", "iamid", "password",
    "originalPassword", "permissions", "permission", "disable", "key", "value", "owner", "profile", "email",
    "phone", "about", "location", "organization", "position", "preferences", "externalUserIds", "description",
    "size", "offset", "username", "uses", "keyId", "at", "address", "userAgent", "nonce", "since", "event_id",
    "scope", "audience", "name", "identifier", "expiresAt", "revision", "via", "agent", "requestId",
    "for", "token", "state", "states", "searchText", "status", "subscription", "sortField", "sortOrder",
    "nameOnly", "count", "includeDisabled", "excludeAdminAndGovernor", "excludeBIM", "excludeDeletedIams",
    "excludeSystemGenerated", "groupId", "id", "gid", "authorizations", "scim", "scimid", "createdAt",
    "updatedAt", "connection", "settings", "isActive", "activateNewChildren", "dataOwners",
    "infrastructureAdmins", "type", "options", "forceRecursiveCrawl", "nativeIntegration", "autoBootstrap",
    "config", "unityCatalog", "crawlEveryHours", "clientConfiguration", "dryRun", "force", "jobType[]",
    "startDate", "endDate", "wait", "pollInterval",
}  # fmt: skip
"""Those that do not; names are in `test_fault_b7_a_taken_name_that_one_cannot_see_is_free`.

`keyId` is in the report of a follower, who is told of every key. The audience of `/verify` and the resource
of a grant are addresses of APIs, which are published. A `groupId` is refused whatever it says, and the fields
of a group that cannot be changed are compared with its own.
"""
PERMISSIONS = sorted({permission for asked in PERMITTED.values() for permission in asked.any_of})
FORM_FIELDS = {
    "project": "projectid",
    "userid": "userid",
    "owner": "userid",
    "group": "groupid",
    "groups": "groupid",
    "handOverTo": "successor",
    "connectionKey": "connection_key",
    "key": "keyid",
    "keys": "keyid",
    "was": "scope",
}


@dataclass(frozen=True)
class Caller:
    """Somebody with one permission at most, and one of everything that they may have."""

    userid: str
    held: frozenset[str]
    own: Mapping[str, object]
    service: Mapping[str, object]
    """What is theirs instead on the routes of service accounts."""

    def sees(self, kind: str) -> bool:
        return not self.held.isdisjoint(SEES[kind])

    def values(self, path: str) -> dict[str, object]:
        values = dict(self.own) | {"fresh": fresh_name(), "identifier": f"https://{fresh_name()}.example.com"}
        return values | (self.service if path.startswith("/serviceaccount") else {})


def new_caller(site: Site, held: frozenset[str]) -> Caller:
    admin, services = principal(site, ADMIN), site.services
    user = site.add_holder(f"{fresh_name()}@example.com", held)
    robot = services.service_accounts.add(
        admin, HERE, userid=fresh_name(), name=None, owner=ServiceOwner(user.user_id)
    )
    group = services.groups.add(admin, HERE, iamid="bim", name=fresh_name())
    member = services.groups.add_member(admin, group.group_id, HERE, iamid="bim", userid=user.userid)
    project = services.projects.add(admin, HERE, name=fresh_name(), description=None)
    services.projects.set_member(admin, project.project_id, user.userid, HERE, is_owner=True)
    own = {
        **add_things(site, password=PASSWORD).values,
        "userid": user.userid,
        "successor": user.userid,
        "profileid": user.profile.profile_id,
        "groupid": group.group_id,
        "membershipid": member.membership_id,
        "projectid": project.project_id,
        "keyid": site.key(user.userid).record.key_id,
    }
    key = services.service_accounts.create_key(admin, robot.userid, HERE, NewKey())
    return Caller(user.userid, held, own, {"userid": robot.userid, "keyid": key.record.key_id})


@pytest.fixture(scope="module")
def callers(site: Site) -> list[Caller]:
    return [
        new_caller(site, frozenset(held)) for held in ((), *((permission,) for permission in PERMISSIONS))
    ]


@pytest.fixture(scope="module")
def things(site: Site) -> Things:
    """One of each that is none of theirs."""
    return add_things(site, password=PASSWORD)


def kinds_in(call: Call) -> list[str]:
    """Return what the path, query and body of a call refer to."""
    told = call.path + call.query + json.dumps(call.body)
    return [kind for kind in SEES if f"{{{kind}}}" in told]


def hidden_from(caller: Caller) -> Iterator[tuple[Call, str]]:
    """Give each call, with each thing that it refers to and this caller does not see."""
    for call in PROTECTED:
        asked = PERMITTED.get(call.route)
        if asked is not None and asked.without is None and caller.held.isdisjoint(asked.any_of):
            continue  # 403 whatever the target: tests/web/api/test_people_access.py.
        for kind in kinds_in(call):
            named, permissions = NAMES_ALL.get(call.route, ("", ()))
            if not caller.sees(kind) and not (named == kind and not caller.held.isdisjoint(permissions)):
                yield call, kind


def test_fault_b7_not_yours_and_not_there_are_one_answer(
    site: Site, callers: list[Caller], things: Things
) -> None:
    """On every route, in path, query and body, for everybody who does not see the thing: the same bytes."""
    asked = set()
    for caller in callers:
        with site.client(headers={"Authorization": site.key(caller.userid).secret}) as client:
            for call, kind in hidden_from(caller):
                values = caller.values(call.path)
                foreign = call.send(client, {**values, kind: things.of(call)[kind]})
                absent = call.send(client, {**values, kind: ABSENT[kind]})
                assert foreign.status_code >= 400 or foreign.json() == {}, (
                    call,
                    kind,
                    caller.held,
                    foreign.text,
                )
                assert comparable(foreign) == comparable(absent), (call, kind, caller.held)
                asked.add((call.route, kind))
    assert (("POST", "/bim/apikey"), "projectid") in asked
    assert (("PUT", "/project/{projectid}/member/{userid}"), "userid") in asked


def test_fault_b7_every_field_that_refers_to_something_is_asked_about(site: Site) -> None:
    """Each parameter and field of the description is known, and each that refers has a call that uses it."""
    with site.client() as client:
        described = client.get("/openapi.json").json()
    used = {(call.route, kind) for call in PROTECTED for kind in kinds_in(call)}
    for path, item in described["paths"].items():
        if path.startswith("/oauth/") or path == "/bim/oauth/token":
            continue
        for method, operation in item.items():
            for name in names_in(operation, described):
                assert (name in REFERENCES) != (name in PLAIN), (method, path, name)
                kind = REFERENCES.get(name)
                is_new = method == "post" and not path.endswith(f"{{{name}}}") and name == "userid"
                if kind and name != "handOverTo" and not is_new and method != "get":
                    alike = {kind, "successor"} if kind == "userid" else {kind}
                    fixed = (method.upper(), path) in {*SYSTEM_KEY_ROUTES, ("POST", "/data/connection")}
                    assert fixed or any(((method.upper(), path), one) in used for one in alike), (path, name)


SYSTEM_KEY_ROUTES = {("POST", "/bim/apikey/system"), ("POST", "/apikey/system")}
"""Their connection is the one that there is; whoever may call them sees all. A new one has a new key."""


def names_in(operation: Mapping[str, Any], described: Mapping[str, Any]) -> set[str]:
    """Return the names of the parameters and of the fields of the body, at any depth."""
    found = {
        parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] != "header"
    }

    def walk(schema: Any) -> None:
        if isinstance(schema, list):
            for each in schema:
                walk(each)
        elif isinstance(schema, dict):
            if "$ref" in schema:
                walk(described["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
            found.update(schema.get("properties", ()))
            for each in schema.values():
                walk(each)

    walk(operation.get("requestBody", {}))
    return found


def test_fault_b7_searching_finds_nobody_who_is_hidden(
    site: Site, callers: list[Caller], things: Things
) -> None:
    """A search by somebody's name, address or number is answered as one for nobody's."""
    for caller in callers:
        if caller.sees("userid"):
            continue
        with site.client(headers={"Authorization": site.key(caller.userid).secret}) as client:
            for name in ("userid", "email", "name"):
                found = [
                    comparable(client.get("/bim/user", params={name: value}))
                    for value in (things.user.userid, "nobody@example.com")
                ]
                assert found[0] == found[1], (caller.held, name)


def test_fault_b7_a_taken_name_that_one_cannot_see_is_free(site: Site, things: Things) -> None:
    """Whoever makes or renames something is not told that a hidden thing has the name."""
    hidden = site.services.projects.get(principal(site, ADMIN), int(str(things.values["projectid"]))).name
    for method, pattern in (("POST", "/project"), ("PUT", "/project/{projectid}")):
        caller = new_caller(site, frozenset({Permission.CREATE_PROJECT.value}))
        path = filled(pattern, **caller.own)
        with site.client(headers={"Authorization": site.key(caller.userid).secret}) as client:
            taken, free = (
                client.request(method, path, json={"name": name}) for name in (hidden, fresh_name())
            )
        assert (taken.status_code, free.status_code) == (200, 200)
        assert taken.json().keys() == free.json().keys()


# OAuth


def test_what_oauth_tells_of_a_hidden_service_is_what_it_tells_of_none(
    site: Site, callers: list[Caller], things: Things
) -> None:
    """The token endpoint answers alike, by resource and audience; introspection names no hidden scope."""
    admin, scope = principal(site, ADMIN), fresh_name()
    group = int(str(things.values["groupid"]))
    hidden = add_service(site, admin, fresh_name(), [ScopeToRegister(scope, None, [group])])
    for caller in callers:
        whole = site.key(caller.userid).secret
        linked = site.services.keys.create(
            principal(site, caller.userid), HERE, NewKey(project_id=int(str(caller.own["projectid"])))
        ).secret
        for key, parameter, more in itertools.product(
            (whole, linked), ("resource", "audience"), ({}, {"scope": scope}, {"scope": "no-such"})
        ):
            for form in (
                {"grant_type": CLIENT_CREDENTIALS, "client_id": key.split("_")[1], "client_secret": key},
                {"grant_type": TOKEN_EXCHANGE, "subject_token": key, "subject_token_type": API_KEY_TYPE},
            ):
                with site.client() as client:
                    told = [
                        comparable(client.post("/oauth/token", data={**form, **more, parameter: name}))
                        for name in (hidden.identifier, "https://no-such.example.com")
                    ]
                assert told[0][0] == 400
                if Permission.APPLICATION_ADMIN not in caller.held or key == linked:
                    assert told[0] == told[1], (parameter, more, caller.held)
        with site.client(headers={"Authorization": whole}) as client:
            told_of_own = client.post("/oauth/introspect", data={"token": whole}).json()
        verifies = Permission.VERIFY_CREDENTIALS in caller.held
        assert (scope in told_of_own.get("withheld", ())) == verifies, caller.held


# Pages


def page_routes(site: Site, caller: Caller) -> list[tuple[str, str]]:
    """Return the routes of pages that let this caller in."""
    parts = ("/profile", *(tab.path for tab in TABS if not caller.held.isdisjoint(tab.any_of)))
    return [
        (method, path)
        for method, path in site.routes()
        if method in {"GET", "POST"} and path.startswith(parts)
    ]


PAGE_KINDS = {
    "project_id": "projectid",
    "group_id": "groupid",
    "membership_id": "membershipid",
    "resource_id": "serviceid",
    "key_id": "keyid",
}


def masked(answer: httpx.Response, *values: object) -> tuple[int, dict[str, str], str]:
    """Return an answer without what is drawn anew, or was typed and is shown again."""
    status, headers, content = comparable(answer)
    headers.pop("content-length", None)
    text = re.sub(r'name="form_id" value="[^"]*"|<code id="token">[^<]*', "", content.decode())
    for value in sorted({str(value) for value in values}, key=len, reverse=True):
        text = text.replace(f'"{value}"', "…").replace(f">{value}<", "…").replace(f"/{value}", "…")
        headers = {name: told.replace(f"/{value}", "…") for name, told in headers.items()}
    return status, headers, text


def test_fault_b7_pages_tell_nothing_either(site: Site, callers: list[Caller], things: Things) -> None:
    """Pages and forms say of what is not theirs what they say of what is not there."""
    admin, other = principal(site, ADMIN), things.user
    scope = fresh_name()
    guarded = add_service(
        site, admin, fresh_name(), [ScopeToRegister(scope, None, [int(str(things.values["groupid"]))])]
    )
    foreign = {
        **things.values,
        "user_id": things.service.user_id,
        "session_id": session_of(site, other.userid),
        "scope": scope,
        "serviceid": guarded.resource_id,
    }
    absent = {**ABSENT, "user_id": 987654321, "session_id": 987654321, "scope": fresh_name()}
    for caller in callers:
        own = {**caller.own, "user_id": site.users[caller.userid].user_id, "session_id": 987654321}
        with closing(site.browser(caller.userid)) as browser:
            csrf = browser.csrf()
            for method, path in page_routes(site, caller):
                for kind, form in asked_on(caller, method, path):
                    told = []
                    for given in (foreign, absent):
                        values = {**own, kind: given[kind]} if kind else own
                        fields = {field: str(given[of]) for field, of in form.items()}
                        answer = ask(browser, csrf, method, path, values, fields)
                        told.append(masked(answer, *foreign.values(), *absent.values()))
                    assert told[0] == told[1], (method, path, kind or form, caller.held)


def asked_on(caller: Caller, method: str, path: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Give what of a page's address the caller does not see, and all fields of a form that they do not."""
    if path.startswith("/admin/keys"):
        return  # Whoever is let in there sees every key.
    for name in re.findall(r"\{(\w+)", path):
        if path.startswith("/admin/keys/"):
            continue  # Whoever is let in there sees every key.
        kind = PAGE_KINDS.get(name, name)
        if not caller.sees({"user_id": "userid", "session_id": "keyid"}.get(kind, kind)):
            yield kind, {}
    if path.startswith(("/admin/users", "/admin/groups", "/admin/service")):
        return  # Whoever is let in there sees all that can be named.
    ends_what_is_their_own = path.endswith(("/revoke", "/rotate"))
    if method == "POST" and not ends_what_is_their_own and Permission.PROJECT_MANAGEMENT not in caller.held:
        yield "", {field: kind for field, kind in FORM_FIELDS.items() if not caller.sees(kind)}


def session_of(site: Site, userid: str) -> int:
    site.browser(userid).close()
    return site.services.sessions.list_of(site.users[userid].user_id)[0].session_id


def ask(
    browser: Browser,
    csrf: str,
    method: str,
    path: str,
    values: Mapping[str, object],
    form: Mapping[str, str],
) -> httpx.Response:
    target = filled(
        path, **{name: values.get(PAGE_KINDS.get(name, name), "1") for name in re.findall(r"\{(\w+)", path)}
    )
    if method == "GET":
        return browser.get(target)
    return browser.post(target, data={"csrf": csrf, **form})
