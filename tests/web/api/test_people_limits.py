"""What nobody makes of people over HTTP: more than they hold, what only the server sets, an end of rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.people import HERE
from tests.web.people_callers import CLOSED, NOBODY, PERMITTED, PROTECTED, calls_of, client_of, needed
from tests.web.people_routes import ADMIN, Call, Things, add_things, fresh_name, principal
from tests.web.sites import CONNECTION

if TYPE_CHECKING:
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site


@pytest.fixture(scope="module")
def things(any_site: Site) -> Things:
    """Things of others, for calls that are refused: nothing happens to them."""
    return add_things(any_site, password=PASSWORD)


# A3: nobody makes anything broader than themselves


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/bim/iam/bim/user", {"userid": "{fresh}", "permissions": ["GOVERNANCE"]}),
        ("PUT", "/bim/iam/bim/user/{bob}/permissions", ["CREATE_PROJECT", "GOVERNANCE"]),
        ("PUT", "/bim/iam/bim/user/{me}/permissions", {"permissions": ["USER_ADMIN", "GOVERNANCE"]}),
        ("PUT", "/bim/iam/bim/user/{governor}/password", {"password": PASSWORD}),
        ("POST", "/bim/iam/bim/user/{governor}/invitation", None),
        ("POST", "/bim/iam/bim/user/{governor}/sign-out", None),
        ("POST", "/bim/iam/bim/user/{governor}/unlock", None),
        (
            "POST",
            "/serviceaccount",
            {"userid": "{fresh}", "owner": {"userid": "{me}"}, "permissions": ["GOVERNANCE"]},
        ),
        ("POST", "/serviceaccount/{service}/apikey", None),
    ],
)
def test_nobody_gives_what_they_do_not_hold(any_site: Site, method: str, path: str, body: Any) -> None:
    """USER_ADMIN alone gives no GOVERNANCE, nor a way into an account that has it; nothing changes (A3)."""
    me, bob = any_site.add_user(fresh_name(), frozenset({"USER_ADMIN"})), any_site.new_user()
    governor = any_site.add_user(fresh_name(), frozenset({"GOVERNANCE"}))
    service = any_site.services.service_accounts.add(
        principal(any_site, ADMIN),
        HERE,
        userid=fresh_name(),
        name=None,
        owner=ServiceOwner(me.user_id),
        permissions=["GOVERNANCE"],
    )
    values = {
        "me": me.userid,
        "bob": bob.userid,
        "governor": governor.userid,
        "service": service.userid,
        "fresh": fresh_name(),
    }
    with client_of(any_site, NOBODY, me.userid) as client:
        before = any_site.services.store.installation.revision()
        answer = Call(method, path, body).send(client, values)
        assert needed(answer) == ["GOVERNANCE"]
        assert any_site.services.store.installation.revision() == before


def test_a_narrowed_credential_manages_nothing(any_site: Site, things: Things) -> None:
    """A key with scopes or of a project, and their tokens, open no closed route, whoever owns them (A3)."""
    admin = principal(any_site, ADMIN)
    project = any_site.services.projects.add(admin, HERE, name=fresh_name(), description=None)
    linked = any_site.services.keys.create(admin, HERE, NewKey(project_id=project.project_id))
    body = {"name": fresh_name(), "scopes": ["plugin:trino"], "connectionKey": CONNECTION}
    with any_site.client() as client:
        authorization = {"Authorization": any_site.key(ADMIN).secret}
        system_key = client.post("/apikey/system", json=body, headers=authorization).json()["apikey"]
        credentials = [linked.secret, system_key]
        for key in (linked.secret, system_key):
            exchanged = client.post("/apikey/authenticate", json={"apikey": key})
            credentials.append(exchanged.json()["token"])
    closed = [route for route in CLOSED if route != ("GET", "/data/connection/{connection_key}")]
    for credential in credentials:
        with any_site.client(headers={"Authorization": credential}) as client:
            for route in closed:
                for call in calls_of(route):
                    answer = call.send(client, things.of(call))
                    if call.takes_key and "." in credential:
                        assert answer.status_code == 401
                        continue
                    assert needed(answer) == list(PERMITTED[route].any_of), (
                        call,
                        answer.text,
                        credential,
                    )
            made = client.post("/apikey").json()
            made_with = client.get("/verify", headers={"Authorization": made["apikey"]})
            own = client.get("/verify")
            for header in ("keyturn-scopes", "keyturn-user"):
                assert made_with.headers[header] == own.headers[header]


# A4: nothing is stored that is not asked for


READ_ONLY: tuple[dict[str, object], ...] = (
    {"id": 1},
    {"role": "admin"},
    {"createdAt": "2020-01-01T00:00:00.000Z"},
    {"systemGenerated": True},
    {"authentication": 1},
    {"authorizations": {"team": ["core"]}},
    {"disabled": False},
    {"is_admin": True},
)


def test_unknown_and_read_only_fields_are_refused(any_site: Site) -> None:
    """In the body of every route, a field that only the server sets is 422, and nothing changes (A4)."""
    things = add_things(any_site, password=PASSWORD)
    refused = 0
    with any_site.client(headers={"Authorization": any_site.key(ADMIN).secret}) as client:
        before = any_site.services.store.installation.revision()
        for call in PROTECTED:
            if not isinstance(call.body, dict) or "authorizations" in call.path:
                continue
            for added in READ_ONLY:
                values = things.of(call)
                full = Call(call.method, call.path, {**call.body, **added})
                answer = full.send(client, values)
                assert answer.status_code == 422, (call, added)
                refused += 1
        nested = {"userid": "x", "profile": {"name": "x", "id": 1}}
        assert client.post("/bim/iam/bim/user", json=nested).status_code == 422
        owner = {"userid": "x", "owner": {"userid": ADMIN, "id": 1}}
        assert client.post("/serviceaccount", json=owner).status_code == 422
        assert any_site.services.store.installation.revision() == before
    assert refused > 100


# A5: somebody is left


def test_the_last_administrator_stays(open_site: SiteOpener) -> None:
    """The last person who administers is 409 to demote, disable and delete; not so the last but one."""
    with open_site() as site:
        site.add_people()
        path = f"/bim/iam/bim/user/{ADMIN}"
        with site.client(headers={"Authorization": site.key(ADMIN).secret}) as client:
            held = client.get(path).json()["permissions"]
            attempts: list[tuple[str, str, Any]] = [
                ("PUT", f"{path}/permissions", []),
                ("PUT", f"{path}/permissions", {"permissions": ["USER_ADMIN"]}),
                ("DELETE", f"{path}/permissions/USER_ADMIN", None),
                ("DELETE", f"{path}/permissions/APPLICATION_ADMIN", None),
                ("PUT", f"{path}/disable/true", None),
                ("DELETE", path, None),
                ("DELETE", f"{path}?handOverTo=bob@example.com", None),
            ]
            for method, target, body in attempts:
                answer = Call(method, target, body).send(client, {})
                assert answer.status_code == 409, (method, target)
                assert "last person" in answer.json()["message"]
            assert client.get(path).json()["permissions"] == held
            assert client.put(
                f"{path}/permissions", json=[name for name in held if name != "AUDIT"]
            ).is_success
            site.services.users.add(
                COMMAND_LINE,
                userid="second",
                name=None,
                password=PASSWORD,
                permissions=frozenset(Permission),
            )
            assert client.delete(path).status_code == 200
            assert client.get(path).status_code == 401


def test_a_deeply_nested_body_is_no_failure_of_ours(any_site: Site) -> None:
    """Free-form JSON may be nested only so deep: more is 400, at once and without a traceback (S7, Q6)."""
    nested = "[" * 3000 + "]" * 3000
    body = f'{{"preferences": {{"a": {nested}}}}}'
    with any_site.client(headers={"Authorization": any_site.key("bob@example.com").secret}) as client:
        answer = client.put(
            "/bim/iam/bim/user/bob@example.com/profile",
            content=body,
            headers={"Content-Type": "application/json"},
        )
    assert answer.status_code == 400
    assert "nested too deeply" in answer.json()["message"]
