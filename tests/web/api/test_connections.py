"""Connections, the objects behind them, and jobs over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from keyturn.adapters.technologies import TECHNOLOGIES, Field, FieldType, Technology
from keyturn.core.connections import ConnectionState, FoundObject
from keyturn.core.networks import read_network
from keyturn.core.permissions import SEE_CONNECTION, Permission
from keyturn.services.connections.registry import NewConnection
from tests.adapters.conftest import certificate, postgresql, postgresql_log, postgresql_port
from tests.adapters.targets import LOOPBACK
from tests.databases import new_postgresql_database
from tests.people import HERE
from tests.web.people_callers import NOBODY, client_of, comparable, needed
from tests.web.people_routes import ADMIN, TARGET, add_connection, fresh_name, principal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    import psycopg

    from keyturn.adapters.validation import Value
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

__all__ = ["certificate", "postgresql", "postgresql_log", "postgresql_port"]

SECRET = "Canary-Wq83zKt0pLmv"


@pytest.fixture(scope="module")
def any_site(
    request: pytest.FixtureRequest, open_site: SiteOpener, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A server whose connections may lead to loopback, over both databases."""
    database, more = None, {}
    if request.param == "postgresql":
        more["root_key_file"] = tmp_path_factory.mktemp("root") / "root.key"
        more["root_key_file"].write_text("A" * 43)
        more["root_key_file"].chmod(0o600)
        database = new_postgresql_database(request.getfixturevalue("postgresql_server"))
    with open_site(database, connection_networks=tuple(map(read_network, LOOPBACK)), **more) as opened:
        opened.add_people()
        yield opened


@pytest.fixture
def admin(any_site: Site) -> Iterator[httpx.Client]:
    with any_site.client(headers={"Authorization": any_site.key(ADMIN).secret}) as client:
        yield client


@pytest.fixture
def connection(any_site: Site) -> str:
    """The key of a connection with a database `shop` behind it."""
    return add_connection(any_site, principal(any_site, ADMIN))


def minimal(technology: Technology, fields: tuple[Field, ...]) -> dict[str, Any]:
    """Values for the fields that are needed, each secret the same text."""
    values: dict[str, Any] = {}
    for field in fields:
        if field.required and field.type is FieldType.OBJECT:
            values[field.name] = minimal(technology, field.fields)
        elif field.is_secret:
            values[field.name] = SECRET
        elif field.required:
            host = f"x{technology.host_suffixes[0]}" if technology.host_suffixes else "db.example.com"
            values[field.name] = host if field.type is FieldType.HOST else "name"
    return values


@pytest.mark.parametrize(
    ("technology", "way"),
    [(one, way) for one in TECHNOLOGIES for way in one.authentication_types],
    ids=lambda one: one.name,
)
def test_each_technology_is_registered_and_read_without_its_secrets(
    any_site: Site, admin: httpx.Client, technology: Technology, way: Any
) -> None:
    """With each way to sign in, and what that needs; no answer has a secret, the preview says so (S4)."""
    key = fresh_name()
    values = minimal(technology, (*technology.fields, *way.fields))
    given = {"technology": technology.name, "authenticationType": way.name, **values}
    made = admin.post("/data/connection", json={"connectionKey": key, "connection": given})
    assert made.status_code == 200, made.text
    read = admin.get(f"/data/connection/{key}")
    assert read.json() == made.json()
    preview = admin.get(f"/api/connections/{key}")
    assert preview.json()["state"] == "ACTIVE"
    has_secrets = SECRET in json.dumps(given)
    assert ("[REDACTED]" in preview.text) is has_secrets
    for answer in (made, read, preview, admin.get(f"/data/object/{key}")):
        assert SECRET not in answer.text
    record = any_site.services.store.connections.find(key)
    assert record is not None
    assert record.has_secrets is has_secrets
    configuration = preview.json()["clientConfiguration"]
    again = admin.patch(f"/api/connections/{key}", json={"clientConfiguration": configuration})
    assert again.status_code == 200, again.text
    assert again.json() == preview.json()


@pytest.mark.parametrize(
    ("key", "change", "field"),
    [
        ("fine", {"technology": "Access"}, "technology"),
        ("fine", {"technology": None}, "technology"),
        ("fine", {"authenticationType": "keyPair"}, "authenticationType"),
        ("fine", {"sslmode": "disable"}, "sslmode"),
        ("fine", {"port": 0}, "port"),
        ("fine", {"port": 65536}, "port"),
        ("fine", {"port": "5432 "}, "port"),
        ("fine", {"port": True}, "port"),
        ("fine", {"hostname": "/var/run/postgresql"}, "hostname"),
        ("fine", {"hostname": "postgresql://db"}, "hostname"),
        ("fine", {"hostname": "a,b"}, "hostname"),
        ("fine", {"database": "shop?sslmode=disable"}, "database"),
        ("fine", {"database": "a\u202eb"}, "database"),
        ("fine", {"database": "a\x00b"}, "database"),
        ("fine", {"username": ""}, "username"),
        ("fine", {"password": None}, "password"),
        ("fine", {"tlsMode": "prefer"}, "tlsMode"),
        ("fine", {"tlsCertificate": "no PEM"}, "tlsCertificate"),
        ("data", {}, "connectionKey"),
        ("Search", {}, "connectionKey"),
        ("a b", {}, "connectionKey"),
        ("a/b", {}, "connectionKey"),
        ("ä", {}, "connectionKey"),
        ("x" * 129, {}, "connectionKey"),
        ("123456789", {}, "connectionKey"),
    ],
)
def test_what_cannot_be_registered_is_refused_by_field(
    any_site: Site, admin: httpx.Client, key: str, change: dict[str, Any], field: str
) -> None:
    """Every refusal is 422 and names the field; nothing is registered, and no secret is quoted."""
    before = any_site.services.store.installation.revision()
    values = {**TARGET, "password": SECRET, **change}
    answer = admin.post("/data/connection", json={"connectionKey": key, "connection": values})
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["validation"]
    assert problem["field"] == field
    assert (problem["code"] == "unique") is (key == "123456789")
    assert SECRET not in answer.text
    assert any_site.services.store.installation.revision() == before


def test_a_role_of_nobody_registers_nothing(admin: httpx.Client) -> None:
    """Settings are checked before the connection is there."""
    key = fresh_name()
    body = {"connectionKey": key, "connection": TARGET}
    wrong = {"settings": {"dataOwners": [{"type": "user", "id": 987654321}]}}
    assert admin.post("/data/connection", json=body | wrong).status_code == 422
    assert admin.get(f"/data/connection/{key}").status_code == 404
    assert admin.post("/data/connection", json=body | {"settings": {"isActive": False}}).status_code == 200
    assert admin.get(f"/api/connections/{key}").json()["state"] == "INACTIVE"
    assert admin.post(f"/api/connections/{key}/activate").json()["state"] == "ACTIVE"
    assert admin.get(f"/data/object/{key}").json()["state"] == "active"


@pytest.mark.parametrize(
    "change",
    [{"hostname": "db2.example.com"}, {"port": 10}, {"username": "other"}, {"tlsMode": "disable"}],
    ids=lambda change: next(iter(change)),
)
def test_a_kept_secret_is_sent_nowhere_else(
    any_site: Site, admin: httpx.Client, connection: str, change: dict[str, Any]
) -> None:
    """A change of where it goes asks for it again, by PUT and PATCH; with it, it is made (S4)."""
    path, preview = f"/data/connection/{connection}", f"/api/connections/{connection}"
    without = {name: value for name, value in TARGET.items() if name != "password"}
    opened = any_site.services.connection_secrets.open
    record = any_site.services.store.connections.find(connection)
    assert record is not None
    for answer in (
        admin.put(path, json={"connection": without | change}),
        admin.put(path, json={"connection": TARGET | change | {"password": "[REDACTED]"}}),
        admin.patch(preview, json={"clientConfiguration": change}),
        admin.patch(f"{preview}?dryRun=true", json={"clientConfiguration": change}),
    ):
        assert answer.status_code == 422, answer.text
        assert answer.json()["validation"][0]["field"] == "password"
    assert admin.put(path, json={"connection": without | {"database": "other"}}).status_code == 200
    assert opened(record).current == {"password": TARGET["password"]}
    changed = admin.put(path, json={"connection": TARGET | change | {"password": SECRET}})
    assert changed.status_code == 200, changed.text
    assert opened(record).current == {"password": SECRET}
    assert SECRET not in changed.text


def test_a_dry_run_changes_nothing(any_site: Site, admin: httpx.Client, connection: str) -> None:
    """It answers what would be; the same without it is made, and made again is no change."""
    path = f"/api/connections/{connection}"
    before = any_site.services.store.installation.revision()
    body = {"clientConfiguration": {"database": "other", "credential": {"password": "[REDACTED]"}}}
    dry = admin.patch(f"{path}?dryRun=true", json=body)
    assert any_site.services.store.installation.revision() == before
    assert admin.get(path).json()["clientConfiguration"]["database"] == "shop"
    assert admin.patch(path, json=body).json() == dry.json()
    assert any_site.services.store.installation.revision() == before + 1
    assert admin.patch(path, json=body).json() == dry.json()
    schedule = {"crawlEveryHours": 24, "nativeIntegration": {"type": "PostgreSQL", "autoBootstrap": False}}
    for _ in range(2):
        assert admin.put(f"/data/connection/{connection}", json=schedule).status_code == 200
    assert any_site.services.store.installation.revision() == before + 2
    assert admin.get(path).json()["crawlEveryHours"] == 24
    record = any_site.services.store.connections.find(connection)
    assert record is not None
    assert record.native_integration == schedule["nativeIntegration"]
    for wrong in (0, 8785, 1.5, "24"):
        refused = admin.put(f"/data/connection/{connection}", json={"crawlEveryHours": wrong})
        assert refused.status_code == 422, wrong


def test_connections_are_listed_by_state(admin: httpx.Client, connection: str) -> None:
    """Each is in the list of its state and in no other; below a connection nothing has such a state."""

    def listed(state: str) -> bool:
        hits = admin.post("/data/object/search", json={"state": state, "size": 200}).json()["hits"]
        return [connection] in [hit["objectPath"] for hit in hits]

    assert [listed(state) for state in ("ACTIVE", "INACTIVE", "UNHEALTHY")] == [True, False, False]
    admin.post(f"/api/connections/{connection}/deactivate")
    assert [listed(state) for state in ("ACTIVE", "INACTIVE", "UNHEALTHY")] == [False, True, False]
    for path, body in (
        ("", {"searchText": "a", "state": "ACTIVE"}),
        (f"/{connection}", {"state": "ACTIVE"}),
        ("", {"state": "active"}),
    ):
        refused = admin.post(f"/data/object/search{path}", json=body)
        assert (refused.status_code, refused.json()["validation"][0]["field"]) == (422, "state"), body


def test_states_and_their_texts_are_the_vendors(any_site: Site, admin: httpx.Client, connection: str) -> None:
    """Each transition that is not allowed is 409 with the vendor's words."""
    path = f"/api/connections/{connection}"
    rules = "Connection state must be {}."
    deletion = "Unable to delete connection. " + rules.format("INACTIVE to be deleted")
    for query in ("", "?force=true"):
        refused = admin.delete(path + query)
        assert (refused.status_code, refused.json()["message"]) == (409, deletion)
    for step, state, verb in (
        ("activate", "INACTIVE", "activated"),
        ("deactivate", "ACTIVE or UNHEALTHY", "deactivated"),
    ):
        if step == "deactivate":
            assert admin.post(f"{path}/deactivate").json()["state"] == "INACTIVE"
        refused = admin.post(f"{path}/{step}")
        told = f"Unable to {step} connection. " + rules.format(f"{state} to be {verb}")
        assert (refused.status_code, refused.json()["message"]) == (409, told)
    update = admin.patch(path, json={"clientConfiguration": {"database": "x"}})
    told = "Unable to update connection. " + rules.format("ACTIVE or UNHEALTHY to be updated")
    assert (update.status_code, update.json()["message"]) == (409, told)
    assert admin.post(f"/data/crawl/{connection}").status_code == 400
    task = admin.delete(path)
    assert (task.status_code, task.json()["message"]) == (
        202,
        "Deletion task created and accepted for processing",
    )
    ended = admin.post("/jobs/statuses", json={"jobIds": [task.json()["taskId"]], "wait": 20}).json()
    assert [one["state"] for one in ended.values()] == ["completed"]
    assert admin.get(path).status_code == 404
    any_site.services.connections.add(
        principal(any_site, ADMIN), NewConnection(connection, TARGET), HERE
    )  # The key is free again.


def test_an_unhealthy_connection_is_deleted_by_force(
    any_site: Site, admin: httpx.Client, connection: str
) -> None:
    """A test that fails makes it unhealthy, with the reason; only with `force` it is deleted then."""
    tested = admin.post(f"/data/connection/{connection}/test").json()
    assert not tested["isHealthy"]
    failed = next(step for step in tested["steps"] if step["state"] == "failed")
    assert (failed["step"], failed["finding"]) == ("tcp", "port_closed")
    assert {step["state"] for step in tested["steps"][3:]} == {"skipped"}
    seen = admin.get(f"/api/connections/{connection}").json()
    assert (seen["state"], seen["stateReason"]) == ("UNHEALTHY", f"Connect: {failed['detail']}")
    assert admin.delete(f"/api/connections/{connection}").status_code == 409
    assert admin.delete(f"/api/connections/{connection}?force=true").status_code == 202


def test_a_technology_that_is_kept_is_not_reached(admin: httpx.Client) -> None:
    """Test, crawl and rotation of the third tier are 422 with one sentence."""
    key = fresh_name()
    values = {**TARGET, "technology": "Redshift"}
    assert admin.post("/data/connection", json={"connectionKey": key, "connection": values}).is_success
    for path in (f"/data/connection/{key}/test", f"/data/crawl/{key}"):
        answer = admin.post(path)
        assert answer.status_code == 422, path
        assert "keeps connections to Redshift" in answer.json()["message"]
    assert admin.post(f"/data/connection/{key}/rotate").status_code == 422


def test_a_connection_is_deleted_at_once(admin: httpx.Client, connection: str) -> None:
    """Whole, whatever its state; not a part of it."""
    assert admin.delete(f"/data/object/{connection}/shop").status_code == 422
    deleted = admin.delete(f"/data/object/{connection}")
    assert deleted.json() == {"objectPath": [connection], "childCount": 1}
    assert admin.delete(f"/data/object/{connection}").status_code == 404


# Roles


def attempts(client: httpx.Client, key: str, path: str) -> dict[str, httpx.Response]:
    """What one may do with a connection, and with an object of it."""
    preview = f"/api/connections/{key}"
    return {
        "read": client.get(f"/data/connection/{key}"),
        "object": client.get(f"/data/object/{path}"),
        "flag": client.put(f"/data/settings/{path}", json={"settings": {"isActive": True}}),
        "roles": client.put(f"/data/settings/{path}", json={"settings": {"dataOwners": []}}),
        "GET": client.get(preview),
        "PATCH": client.patch(f"{preview}?dryRun=true", json={"clientConfiguration": {"database": "x"}}),
        "test": client.post(f"/data/connection/{key}/test"),
        "rotate": client.post(f"/data/connection/{key}/rotate"),
        "crawl": client.post(f"/data/crawl/{path}"),
        "at once": client.delete(f"/data/object/{key}"),
    }


def reached(client: httpx.Client, key: str, path: str) -> set[str]:
    return {name for name, answer in attempts(client, key, path).items() if answer.status_code != 403}


@pytest.mark.parametrize("by_group", [False, True])
def test_roles_reach_exactly_their_objects(any_site: Site, by_group: bool) -> None:
    """An infrastructure admin manages, a data owner crawls and activates; below, and nowhere else."""
    site, administrator = any_site, principal(any_site, ADMIN)
    own, parts, other = (add_connection(site, administrator) for _ in range(3))

    def given(role: str, path: str) -> httpx.Client:
        me = site.new_user()
        holder = {"type": "user", "id": me.user_id}
        if by_group:
            group = site.services.groups.add(administrator, HERE, iamid="bim", name=fresh_name())
            site.services.groups.add_member(
                administrator, group.group_id, HERE, iamid="bim", userid=me.userid
            )
            holder = {"type": "group", "id": group.group_id}
        with site.client(headers={"Authorization": site.key(ADMIN).secret}) as admin:
            admin.put(f"/data/settings/{path}", json={"settings": {role: [holder]}}).raise_for_status()
        return site.client(headers={"Authorization": site.key(me.userid).secret})

    owning = {"read", "object", "flag", "crawl"}
    managing = {"read", "object", "flag", "roles", "GET", "PATCH", "test", "rotate", "crawl"}
    expected = (
        ("dataOwners", own, f"{own}/shop", owning),
        ("dataOwners", f"{parts}/shop", parts, {"read", "object"}),
        ("dataOwners", f"{parts}/shop", f"{parts}/shop", owning),
        ("infrastructureAdmins", f"{parts}/shop", f"{parts}/shop", owning | {"roles"}),
    )
    for role, where, path, may in expected:
        with given(role, where) as client:
            assert reached(client, path.split("/")[0], path) == may, (role, where, path)
            assert reached(client, other, other) == set()
            hits = client.post("/data/object/search").json()["hits"]
            assert [hit["objectPath"] for hit in hits] == [[path.split("/")[0]]]
    manager_key = add_connection(site, administrator)
    with given("infrastructureAdmins", manager_key) as client:
        assert reached(client, manager_key, f"{manager_key}/shop") == managing


def test_an_override_with_nobody_ends_a_role(any_site: Site, admin: httpx.Client, connection: str) -> None:
    """An empty list on an object takes the role there, null gives it back, and both are shown."""
    me = any_site.new_user()
    holder = [{"type": "user", "id": me.user_id}]
    admin.put(f"/data/settings/{connection}", json={"settings": {"dataOwners": holder}})
    shop = f"/data/settings/{connection}/shop"
    with any_site.client(headers={"Authorization": any_site.key(me.userid).secret}) as client:
        flag = {"settings": {"isActive": False}}
        assert client.put(shop, json=flag).json()["state"] == "inactive"
        taken = admin.put(shop, json={"settings": {"dataOwners": []}}).json()
        assert taken["overrides"] == ["dataOwners", "isActive"]
        assert client.put(shop, json=flag).status_code == 403
        above = admin.get(f"/data/object/{connection}").json()["settings"]
        assert above["dataOwners"] == {"value": holder, "hasDescendantsWithOverrides": True}
        given = admin.put(shop, json={"settings": {"dataOwners": None, "isActive": None}}).json()
        assert (given["overrides"], given["state"]) == ([], "active")
        assert given["settings"]["dataOwners"]["value"] == holder
        assert client.put(shop, json=flag).status_code == 200
    for wrong in (
        {"isActive": "yes"},
        {"dataOwners": [{"type": "user"}]},
        {"other": True},
        {"dataOwners": 1},
    ):
        assert admin.put(shop, json={"settings": wrong}).status_code == 422, wrong


def test_strangers_cannot_tell_a_connection_from_none(any_site: Site, connection: str) -> None:
    """Without permission and role every route answers alike, of what is there and is not."""
    with client_of(any_site, NOBODY) as client:
        there, absent = (attempts(client, key, f"{key}/shop") for key in (connection, "no-such"))
        for name, answer in there.items():
            assert comparable(answer) == comparable(absent[name]), name
            assert needed(answer), name
        assert client.post("/data/object/search").json() == {"count": 0, "hits": []}
    for permission in SEE_CONNECTION:
        with client_of(any_site, frozenset({permission.value})) as client:
            may = reached(client, connection, f"{connection}/shop")
            assert {"read", "object"} <= may
            assert (may == {"read", "object"}) is (permission is not Permission.APPLICATION_ADMIN)


# Objects

STRANGE = (
    "a/b",
    "100%",
    "%2F",
    "a%2Fb",
    "..",
    ".",
    "a\u202eb",
    "ä ö",
    "x" * 255,
    "?#&+",
    "search",
    "' OR 1=1 --",
)


@pytest.fixture
def strange(any_site: Site) -> str:
    """The key of a connection behind which strange names were found."""
    key, services = fresh_name(), any_site.services
    record = services.connections.add(principal(any_site, ADMIN), NewConnection(key, TARGET), HERE)
    objects = services.store.data_objects
    number = objects.begin_crawl(record.connection_id)
    assert number is not None
    found = [
        FoundObject(path, kind, None, b"1" * 16, columns)
        for name in STRANGE
        for path, kind, columns in (
            ((name,), "database", ()),
            ((name, name), "table", (("id", "bigint", None),)),
        )
    ]
    objects.add(record.connection_id, number, found, [number] * len(found))
    objects.finish(record.connection_id, number, services.system.now())
    return key


def test_strange_names_are_paths(admin: httpx.Client, strange: str) -> None:
    """Each name, percent-encoded, is one step of a path; what is not there is not found, whatever it is."""
    for name in STRANGE:
        encoded = quote(name, safe="").replace(".", "%2E")
        for path in ([name], [name, name]):
            url = f"/data/object/{strange}/" + "/".join([encoded] * len(path))
            answer = admin.get(url)
            assert answer.status_code == 200, (name, answer.text)
            assert answer.json()["objectPath"] == [strange, *path]
        assert [one["name"] for one in answer.json()["columns"]] == ["id"]
        below = admin.post(f"/data/object/search/{strange}/{encoded}").json()
        assert [hit["objectPath"] for hit in below["hits"]] == [[strange, name, name]]
    for absent in (
        "a",
        "a/b",
        "b",
        "%00",
        "a%00",
        "%FF",
        "%ED%A0%80",
        "x" * 256,
        "a/b/c/d/e/f/g/h/i/j",
        "%20",
    ):
        assert admin.get(f"/data/object/{strange}/{absent}").status_code == 404, absent


def test_lists_page_until_an_empty_page_ends_them(admin: httpx.Client, strange: str) -> None:
    """By name, each once; the count is the same on every page, and behind the last there is an empty one."""
    for body in ({}, {"searchText": "a"}):
        seen: list[str] = []
        while True:
            page = admin.post(
                f"/data/object/search/{strange}", json={**body, "offset": len(seen), "size": 5}
            ).json()
            if not page["hits"]:
                break
            assert len(page["hits"]) <= 5
            seen += ["/".join(hit["objectPath"]) for hit in page["hits"]]
        assert len(seen) == len(set(seen)) == page["count"] > 5
    for wrong in ({"size": 0}, {"size": 201}, {"offset": -1}, {"searchText": "x" * 255}, {"other": 1}):
        assert admin.post(f"/data/object/search/{strange}", json=wrong).status_code == 422, wrong
    for empty in (" ", "\x00"):
        answer = admin.post("/data/object/search", json={"searchText": empty})
        assert answer.json()["validation"][0]["field"] == "searchText"


@pytest.mark.parametrize(
    ("text", "found"),
    [("Ä Ö", "ä ö"), ("a o", "ä ö"), ("0%", "100%"), ("%2f", "%2F"), ("or 1=1", "' OR 1=1 --")],
)
def test_a_search_folds_and_has_no_wildcards(
    admin: httpx.Client, strange: str, text: str, found: str
) -> None:
    """Case and accents make no difference; no character stands for others."""
    hits = admin.post(f"/data/object/search/{strange}", json={"searchText": text}).json()["hits"]
    assert found in {hit["objectPath"][-1] for hit in hits}
    assert all(hit["objectPath"][0] == strange for hit in hits)
    none = admin.post(f"/data/object/search/{strange}", json={"searchText": "1_0"}).json()
    assert none == {"count": 0, "hits": []}


# Jobs


def test_a_database_is_crawled_browsed_and_rotated(
    any_site: Site,
    admin: httpx.Client,
    postgresql: tuple[psycopg.Connection[tuple[object, ...]], dict[str, Value]],
) -> None:
    """On a real PostgreSQL: every step of the test, the job, its objects, the rotation, and the end."""
    administrator, values = postgresql
    administrator.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.orders (id bigint); GRANT USAGE ON SCHEMA shop TO PUBLIC"
    )
    key = fresh_name()
    made = admin.post("/data/connection", json={"connectionKey": key, "connection": values})
    assert made.status_code == 200, made.text
    assert admin.post(f"/data/connection/{key}/test").json()["isHealthy"]
    job = admin.post(f"/data/crawl/{key}").json()
    assert admin.post(f"/data/crawl/{key}").status_code == 409
    ended = admin.post("/jobs/statuses", json={"jobIds": [job["id"]], "wait": -1, "pollInterval": 1}).json()
    assert ended[job["id"]]["state"] == "completed", ended
    assert ended[job["id"]]["output"]["added"] > 2
    table = admin.get(f"/data/object/{key}/crawled/shop/orders").json()
    assert table["columns"] == [{"name": "id", "type": "bigint", "comment": None}]
    assert admin.get(f"/api/connections/{key}").json()["crawledAt"] is not None
    assert admin.post(f"/data/connection/{key}/rotate").json() == {"isChanged": True, "reason": None}
    assert admin.post(f"/data/connection/{key}/test").json()["isHealthy"]
    assert str(values["password"]) not in admin.get(f"/api/connections/{key}").text
    types = [("jobType[]", one) for one in ("crawl", "rotate")]
    found = admin.get("/jobs/search", params=[*types, ("state", "completed"), ("size", "200")]).json()
    mine = [one["type"] for one in found["jobs"] if one["objectPath"] == [key]]
    assert sorted(mine) == ["crawl", "rotate"]
    assert admin.delete(f"/data/object/{key}").json()["childCount"] == 1


def test_a_connection_without_encryption_is_healthy(
    any_site: Site,
    admin: httpx.Client,
    postgresql: tuple[psycopg.Connection[tuple[object, ...]], dict[str, Value]],
) -> None:
    """A step for which there is nothing to do is skipped, and does not count against the connection."""
    administrator, values = postgresql
    plain = {name: value for name, value in values.items() if name != "tlsCertificate"}
    port = administrator.info.port
    key = fresh_name()
    body = {"connectionKey": key, "connection": {**plain, "port": port, "tlsMode": "disable"}}
    assert admin.post("/data/connection", json=body).status_code == 200
    answer = admin.post(f"/data/connection/{key}/test").json()
    states = {step["step"]: step["state"] for step in answer["steps"]}
    assert states.pop("tls") == "skipped"
    assert set(states.values()) == {"ok"}, answer
    assert answer["isHealthy"]


def test_jobs_are_searched_counted_and_canceled(any_site: Site, admin: httpx.Client) -> None:
    """By type, state and time, page by page; a job that ended is 409 to cancel, and one of nobody 404."""
    keys = [add_connection(any_site, principal(any_site, ADMIN)) for _ in range(3)]
    ids = [admin.post(f"/data/crawl/{key}").json()["id"] for key in keys]
    ended = admin.post("/jobs/statuses", json={"jobIds": [*ids, "no-such"], "wait": 30}).json()
    assert set(ended) == set(ids)
    assert {one["state"] for one in ended.values()} == {"failed"}
    assert ended[ids[0]]["output"]["finding"] == "port_closed"
    seen: list[str] = []
    offset = "0"
    while offset is not None:
        page = admin.get(f"/jobs/search?state=failed&jobType[]=crawl&size=2&offset={offset}").json()
        seen += [one["id"] for one in page["jobs"]]
        offset = page["next"]
    assert set(ids) <= set(seen)
    assert len(seen) == len(set(seen)) == len(admin.get("/jobs/search?state=failed&size=200").json()["jobs"])
    assert admin.get("/jobs/summary").json()["failed"] == len(seen)
    assert [one["id"] for one in admin.get(f"/jobs?bulkId={ids[0]}").json()] == ids[:1]
    assert admin.post(f"/jobs/{ids[0]}/cancel").status_code == 409
    assert admin.get("/jobs/search?endDate=2001-01-01T00:00:00Z").json() == {"jobs": [], "next": None}
    for absent in ("no-such", "%00", "0b8f7d6e-58a4-4a39-8f0e-0f6f4f1c2f55"):
        assert admin.post(f"/jobs/{absent}/cancel").status_code == 404
        assert admin.get(f"/jobs?bulkId={absent}").status_code == 404
    for query, field in (
        ("state=done", "state"),
        ("jobType[]=walk", "jobType"),
        ("startDate=yesterday", "startDate"),
        ("endDate=2026-11-24T23:25:00", "endDate"),
    ):
        answer = admin.get(f"/jobs/search?{query}")
        assert answer.json()["validation"][0]["field"] == field, query


def test_a_connection_of_a_state_is_in_use(any_site: Site, connection: str) -> None:
    """A crawl that fails leaves what was found, and says why in the state."""
    services = any_site.services
    job = services.jobs.crawl(principal(any_site, ADMIN), (connection,), HERE)
    (ended,) = services.jobs.wait(principal(any_site, ADMIN), frozenset({job.job_id}), 30, 0.05)
    record = services.store.connections.find(connection)
    assert record is not None
    assert (record.state, record.state_reason) == (ConnectionState.UNHEALTHY, ended.output["message"])
    with any_site.client(headers={"Authorization": any_site.key(ADMIN).secret}) as admin:
        assert admin.post(f"/data/object/search/{connection}").json()["count"] == 1
