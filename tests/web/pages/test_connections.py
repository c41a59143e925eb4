"""The pages of connections: who finds them, what their forms do, and what they never send back."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.adapters.technologies import TECHNOLOGIES, FieldType, Tier
from keyturn.core.audit import AuditAction, AuditSearch
from keyturn.core.connections import ConnectionState, JobSearch, ObjectRole, RoleHolder
from keyturn.core.networks import read_network
from keyturn.services.connections.registry import NewConnection
from keyturn.services.connections.settings import ChangedSettings
from keyturn.web.pages.connections.fields import CHOICES, TIERS
from keyturn.web.pages.connections.places import read_path, sent_path
from keyturn.web.pages.frame.forms import SECRET
from tests.adapters.conftest import certificate, postgresql, postgresql_log, postgresql_port
from tests.adapters.targets import LOOPBACK
from tests.people import HERE, person
from tests.services.connections.conftest import crawled
from tests.store.crowds import all_at_once
from tests.web.sites import CONNECTION, filled

if TYPE_CHECKING:
    import httpx
    import psycopg

    from keyturn.adapters.validation import Value
    from tests.web.sites import Site

__all__ = ["certificate", "postgresql", "postgresql_log", "postgresql_port"]

ADMIN, BOB = "admin@example.com", "bob@example.com"
CANARY = "Canary-4fT7qLw2Zk"
VALUES = {
    "technology": "PostgreSQL",
    "hostname": "db.example.com",
    "port": "5432",
    "database": "sales",
    "tlsMode": "verify-full",
    "tlsCertificate": "",
    "username": "reader",
}
KEPT = {"technology": "Redshift", "hostname": "db.example.com", "database": "sales", "username": "reader"}
Target = tuple["psycopg.Connection[tuple[object, ...]]", "dict[str, Value]"]


@pytest.fixture(scope="module")
def site_settings() -> dict[str, object]:
    """A server that may reach databases on loopback."""
    return {"connection_networks": tuple(map(read_network, LOOPBACK))}


@pytest.fixture
def site(any_site: Site) -> Site:
    return any_site


def register(site: Site, key: str, values: dict[str, Any] | None = None) -> str:
    """Add a connection with a secret that no page may show."""
    given = {**(values or VALUES), "password": (values or {}).get("password", CANARY)}
    site.services.connections.add(person(site.services, ADMIN), NewConnection(key, given), HERE)
    return f"/connections/{key}"


def give(site: Site, key: str, role: ObjectRole, *userids: str) -> None:
    """Give a role on a connection to users."""
    holders = frozenset(RoleHolder(site.users[userid].user_id) for userid in userids)
    site.services.data_objects.change_settings(
        person(site.services, ADMIN), (key,), ChangedSettings(roles={role: holders}), HERE
    )


def state_of(site: Site, key: str) -> ConnectionState:
    return site.services.connections.get_now(person(site.services, ADMIN), key).state


def routes(site: Site) -> list[tuple[str, str]]:
    return [(method, path) for method, path in site.routes() if path.startswith("/connections")]


def page_routes(site: Site) -> list[tuple[str, str]]:
    return [(method, path) for method, path in routes(site) if method != "HEAD"]


def revision(site: Site) -> int:
    return site.services.store.installation.revision()


def last_details(site: Site, action: AuditAction) -> Any:
    rows = site.services.audit_trail.newest(person(site.services, ADMIN), AuditSearch(action=action), size=1)
    return rows[0].details


def as_told(unknown: httpx.Response, answer: httpx.Response) -> bytes:
    """Return the page of an unknown path, with the path that was asked for."""
    told = html.escape(answer.request.url.path)
    return unknown.content.replace(b"/connections/no/such/page", told.encode())


# Who finds them


def test_without_the_right_there_is_no_such_page(site: Site) -> None:
    """Somebody who sees no connection finds no tab, and each path and form answers as an unknown one."""
    register(site, "hidden")
    browser = site.browser(site.new_user().userid)
    csrf = browser.csrf()
    unknown, before = browser.get("/connections/no/such/page"), revision(site)
    assert unknown.status_code == 404
    assert len(page_routes(site)) > 20
    for method, path in page_routes(site):
        answer = browser.request(
            method, filled(path, connection_key="hidden", job_id="x"), data={"csrf": csrf, "typed": "delete"}
        )
        assert answer.status_code == 404, f"{method} {path}"
        assert answer.content == as_told(unknown, answer), f"{method} {path}"
    assert revision(site) == before
    assert "/connections" not in browser.get("/profile/keys").text


@pytest.mark.parametrize("permission", ["APPLICATION_ADMIN", "GOVERNANCE", "CREATE_DATA_SOURCE"])
def test_each_permission_that_sees_connections_has_the_tab(site: Site, permission: str) -> None:
    """The tab is there, with every connection; only an administrator may add one."""
    register(site, f"seen-{permission}")
    user = site.add_holder(f"{permission}@example.com", frozenset({permission}))
    browser = site.browser(user.userid)
    assert 'href="/connections"' in browser.get("/profile/keys").text
    page = browser.get(f"/connections?q=seen-{permission}")
    assert f"/connections/seen-{permission}" in page.text
    is_admin = permission == "APPLICATION_ADMIN"
    assert ("Add connection" in page.text) == is_admin
    assert browser.get("/connections/new").status_code == (200 if is_admin else 404)
    for below in ("edit", "test", "delete", "rotate"):
        if not is_admin:
            assert browser.get(f"/connections/seen-{permission}/{below}").status_code == 404
    assert ("/deactivate" in browser.get(f"/connections/seen-{permission}").text) == is_admin


def test_a_role_on_one_connection_shows_that_one_alone(site: Site) -> None:
    """An owner of one connection sees its page, and of any other as much as of one that is not there."""
    register(site, "mine")
    register(site, "another")
    user = site.new_user()
    give(site, "mine", ObjectRole.DATA_OWNER, user.userid)
    browser = site.browser(user.userid)
    page = browser.get("/connections").text
    assert "/connections/mine" in page
    assert "/connections/another" not in page
    assert browser.get("/connections/mine").status_code == 200
    other, absent = browser.get("/connections/another"), browser.get("/connections/absent-")
    assert other.status_code == absent.status_code == 404
    assert other.content.replace(b"another", b"absent-") == absent.content
    mine = browser.get("/connections/mine").text
    assert "Crawl now" in mine
    assert "/edit" not in mine
    assert "/roles/add" not in mine


def test_an_infrastructure_admin_manages_what_is_theirs(site: Site) -> None:
    """Without any permission they change, switch off and delete their connection, and add no other."""
    register(site, "managed")
    user = site.new_user()
    give(site, "managed", ObjectRole.INFRASTRUCTURE_ADMIN, user.userid)
    browser = site.browser(user.userid)
    assert browser.get("/connections/new").status_code == 404
    assert browser.submit("/connections/managed/deactivate").status_code == 303
    answer = browser.submit("/connections/managed/delete", typed="delete")
    assert answer.headers["location"] == "/connections?notice=deleted"
    assert browser.get("/connections").status_code == 404


# Registering


@pytest.mark.parametrize("technology", TECHNOLOGIES, ids=lambda one: one.name)
def test_the_form_of_each_technology_has_its_fields(site: Site, technology: Any) -> None:
    """Each way to sign in has an input for each field, with its default; secrets have inputs of their own."""
    browser = site.browser(ADMIN)
    for way in technology.authentication_types:
        path = f"/connections/new?technology={technology.name}&authentication_type={way.name}"
        page = browser.get(path).text
        members = [(one, "") for one in (*technology.fields, *way.fields) if one.type is not FieldType.OBJECT]
        members += [(one, f"{each.name}.") for each in way.fields for one in each.fields]
        for field, prefix in members:
            name = f"{SECRET if field.is_secret else ''}{prefix}{field.name}"
            assert f'name="{name}"' in page, name
            if field.type is FieldType.PORT:
                assert re.search(rf'name="{name}" value="{field.default}"', page)
            assert all(CHOICES[one] in page for one in field.choices)
        assert (html.escape(TIERS[technology.tier][1]) in page) == (technology.tier is not Tier.RUN)
        assert ("Save, then test" in page) == (technology.tier is not Tier.KEPT)


def test_every_technology_can_be_chosen(site: Site) -> None:
    """The first page names every technology under the tier that it is of."""
    page = site.browser(ADMIN).get("/connections/new").text
    for technology in TECHNOLOGIES:
        assert f"<b>{technology.name}</b>" in page
    assert all(title in page and sentence in page for title, sentence in TIERS.values())


def test_a_connection_is_registered(site: Site) -> None:
    """It is stored as the form says, its password is sealed, and the next page is that of the test."""
    browser = site.browser(ADMIN)
    sent = {**VALUES, "connectionKey": "added", "secret.password": CANARY}
    answer = browser.submit("/connections/new", **sent, then="test")
    assert (answer.status_code, answer.headers["location"]) == (303, "/connections/added/test?notice=created")
    record = site.services.connections.get_now(person(site.services, ADMIN), "added")
    assert record.details["port"] == 5432
    assert record.has_secrets
    assert CANARY not in str(record)
    assert (
        browser.submit(
            "/connections/new", **{**KEPT, "connectionKey": "kept", "secret.password": CANARY}, then="test"
        ).headers["location"]
        == "/connections/kept?notice=created"
    )


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"connectionKey": "new"}, "connectionKey"),
        ({"connectionKey": "a b"}, "connectionKey"),
        ({"connectionKey": CONNECTION}, "connectionKey"),
        ({"port": "70000"}, "port"),
        ({"port": "x"}, "port"),
        ({"hostname": "postgresql://db"}, "hostname"),
        ({"hostname": ""}, "hostname"),
        ({"database": "a?b=c"}, "database"),
        ({"tlsMode": "never"}, "tlsMode"),
        ({"tlsCertificate": "<b>no</b>"}, "tlsCertificate"),
        ({"secret.password": ""}, "secret.password"),
    ],
)
def test_what_is_wrong_is_said_at_its_input(site: Site, changed: dict[str, str], field: str) -> None:
    """Nothing is registered; what was typed is there still, but for the password, which is typed again."""
    browser, before = site.browser(ADMIN), revision(site)
    sent = {**VALUES, "connectionKey": "wrong", "secret.password": CANARY, **changed}
    answer = browser.submit("/connections/new", **sent)
    assert answer.status_code == 422
    assert f'id="{field}-problem"' in answer.text
    assert CANARY not in answer.text
    assert 'value="reader"' in answer.text
    assert "<b>no</b>" not in answer.text
    assert revision(site) == before


def test_a_key_file_keeps_its_lines(site: Site) -> None:
    """A private key is typed into an area, and stored as it was, whatever line ends a form has."""
    browser = site.browser(ADMIN)
    sent = {
        "technology": "Snowflake", "authenticationType": "keyPair", "connectionKey": "flake",
        "hostname": "a.snowflakecomputing.com", "database": "d", "warehouse": "w", "username": "u",
        "privateKey.filename": "key.p8", "secret.privateKey.content": "-----BEGIN\r\nx\r\nEND-----",
    }  # fmt: skip
    assert browser.submit("/connections/new", **sent).status_code == 303
    record = site.services.connections.get_now(person(site.services, ADMIN), "flake")
    opened = site.services.connection_secrets.open(record).current
    assert opened == {"privateKey": {"content": "-----BEGIN\nx\nEND-----"}}
    refused = browser.submit(
        "/connections/new", **{**sent, "connectionKey": "f2", "secret.privateKey.content": ""}
    )
    assert 'id="secret.privateKey.content-problem"' in refused.text


# Changing


def test_secrets_stay_unless_they_would_go_elsewhere(site: Site) -> None:
    """A changed database keeps the password; a changed host asks for it, at its input (S4)."""
    path = register(site, "changing")
    browser = site.browser(ADMIN)
    page = browser.get(f"{path}/edit").text
    assert 'value="db.example.com"' in page
    assert "Leave it empty to keep the saved one." in page
    sent = {name: value for name, value in VALUES.items() if name != "technology"}
    answer = browser.submit(f"{path}/edit", **{**sent, "database": "other"})
    assert answer.headers["location"] == f"{path}?notice=saved"
    record = site.services.connections.get_now(person(site.services, ADMIN), "changing")
    assert record.details["database"] == "other"
    assert site.services.connection_secrets.open(record).current == {"password": CANARY}
    refused = browser.submit(f"{path}/edit", **{**sent, "hostname": "evil.example.com"})
    assert refused.status_code == 422
    assert 'id="secret.password-problem"' in refused.text
    moved = {**sent, "hostname": "new.example.com", "secret.password": "another"}
    assert browser.submit(f"{path}/edit", **moved).status_code == 303


def test_no_page_shows_a_secret(site: Site) -> None:
    """No page of a connection has its password, nor the page on which somebody signs in again."""
    path = register(site, "canary")
    browser = site.browser(ADMIN)
    for method, route in page_routes(site):
        if method == "GET":
            page = browser.get(filled(route, connection_key="canary", job_id="x"))
            assert CANARY not in page.text, route
    sent = {**VALUES, "csrf": browser.csrf(), "secret.password": CANARY}
    signed_out = site.client(headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"})
    ended = signed_out.post(f"{path}/edit", data=sent)
    assert ended.status_code == 403
    assert 'value="db.example.com"' in ended.text
    assert CANARY not in ended.text


def test_a_connection_is_switched_off_on_and_deleted(site: Site) -> None:
    """Buttons are there for the state it is in; only a typed word deletes."""
    path = register(site, "switched")
    browser = site.browser(ADMIN)
    assert f'href="{path}/delete"' not in browser.get(path).text
    assert browser.get(f"{path}/delete").status_code == 404
    assert browser.submit(f"{path}/deactivate").headers["location"] == f"{path}?notice=deactivated"
    assert state_of(site, "switched") is ConnectionState.INACTIVE
    again = browser.submit(f"{path}/deactivate")
    assert again.status_code == 409
    assert "must be ACTIVE or UNHEALTHY" in again.text
    assert browser.get(f"{path}/test").status_code == 404
    assert browser.submit(f"{path}/activate").headers["location"] == f"{path}?notice=activated"
    browser.submit(f"{path}/deactivate")
    assert browser.submit(f"{path}/delete", typed="no").status_code == 422
    assert (
        browser.submit(f"{path}/delete", typed="delete").headers["location"] == "/connections?notice=deleted"
    )
    assert browser.get(path).status_code == 404


def test_the_schedule_takes_hours(site: Site) -> None:
    """A number of hours is kept, nothing ends the schedule, and anything else is refused at the field."""
    path = register(site, "scheduled")
    browser = site.browser(ADMIN)
    for text, hours in (("24", 24), ("", None), ("8784", 8784)):
        assert browser.submit(f"{path}/schedule", crawlEveryHours=text).status_code == 303
        found = site.services.connections.get_now(person(site.services, ADMIN), "scheduled")
        assert found.crawl_every_hours == hours
    for text in ("0", "8785", "x", "1.5", "-1", "٣"):
        refused = browser.submit(f"{path}/schedule", crawlEveryHours=text)
        assert refused.status_code == 422, text
        assert 'id="crawlEveryHours-problem"' in refused.text


def test_a_kept_connection_has_no_test_and_no_crawl(site: Site) -> None:
    """Its page says so, and the pages of what is not done with it are not there."""
    path = register(site, "only-kept", KEPT)
    browser = site.browser(ADMIN)
    page = browser.get(path).text
    assert "does not test or crawl" in page
    assert "Crawl now" not in page
    assert browser.get(f"{path}/test").status_code == browser.get(f"{path}/rotate").status_code == 404
    refused = browser.submit(f"{path}/crawl")
    assert refused.status_code == 422


def test_a_connection_that_was_registered_as_it_is_has_a_page(site: Site) -> None:
    """The demonstration's connection has no secrets and lacks fields: its pages open all the same."""
    browser = site.browser(ADMIN)
    for below in ("", "/edit", "/test", "/objects"):
        assert browser.get(f"/connections/{CONNECTION}{below}").status_code == 200


# Roles and settings


def test_owners_are_picked_and_removed(site: Site) -> None:
    """A user is found by a part of the name, a group by its name; the list has their names and roles."""
    path = register(site, "owned")
    browser, user = site.browser(ADMIN), site.new_user()
    group = site.services.groups.add(person(site.services, ADMIN), HERE, name="Keepers <b>")
    role = {"at": "[]", "role": "dataOwners"}
    assert browser.submit(f"{path}/roles/add", **role, userid=user.userid).status_code == 303
    assert browser.submit(f"{path}/roles/add", **role, group="Keepers <b>").status_code == 303
    page = browser.get(path).text
    assert "Keepers &lt;b&gt;" in page
    assert user.profile.name is not None
    assert user.profile.name in page
    unknown = browser.submit(f"{path}/roles/add", **role, userid="no such person")
    assert unknown.status_code == 422
    assert 'id="userid-problem"' in unknown.text
    removed = browser.submit(f"{path}/roles/remove", **role, holder=f"user.{user.user_id}")
    assert removed.status_code == 303
    place = site.services.data_objects.get(person(site.services, ADMIN), ("owned",))
    assert place.settings.roles[ObjectRole.DATA_OWNER] == {RoleHolder(group_id=group.group_id)}
    assert last_details(site, AuditAction.CONNECTION_SETTINGS_UPDATED)["dataOwners"] == [
        f"group {group.group_id}"
    ]


def test_of_several_who_add_owners_at_once_nobody_is_lost(site: Site) -> None:
    """Each either has the role afterwards, or the one who named them is told to look again."""
    path = register(site, f"crowd{site.new_user().user_id}")
    browser, users = site.browser(ADMIN), [site.new_user() for _ in range(4)]
    sent = {"csrf": browser.csrf(), "at": "[]", "role": "dataOwners"}

    def add(number: int) -> int:
        data = {**sent, "userid": users[number].userid}
        return browser.post(f"{path}/roles/add", data=data).status_code

    statuses = all_at_once(len(users), add)
    assert set(statuses) <= {303, 409}
    place = site.services.data_objects.get(person(site.services, ADMIN), (path.rpartition("/")[2],))
    named = {RoleHolder(user.user_id) for user, status in zip(users, statuses, strict=True) if status == 303}
    assert place.settings.roles[ObjectRole.DATA_OWNER] == named
    assert named


def test_an_owner_of_one_schema_crawls_from_there(site: Site, postgresql: Target) -> None:
    """The button is on the page of what they own, and not on that of the connection, where it is refused."""
    administrator, values = postgresql
    administrator.execute("CREATE TABLE public.orders (id int)")
    key = f"schema{site.new_user().user_id}"
    path = register(site, key, dict(values))
    crawled(site.services, person(site.services, ADMIN), key)
    user = site.new_user()
    roles = {ObjectRole.DATA_OWNER: frozenset({RoleHolder(user.user_id)})}
    names = (key, "crawled", "public")
    site.services.data_objects.change_settings(
        person(site.services, ADMIN), names, ChangedSettings(roles=roles), HERE
    )
    browser = site.browser(user.userid)
    assert "Crawl now" not in browser.get(path).text
    assert "Crawl now" not in browser.get(f"{path}/objects?at=crawled").text
    assert "Crawl now" in browser.get(f"{path}/objects?at=crawled&at=public").text
    assert browser.submit(f"{path}/crawl", at='["crawled"]').status_code == 403
    assert browser.submit(f"{path}/crawl", at='["crawled","public"]').status_code == 303
    said = {"isActive": "no", "activateNewChildren": "inherit"}
    assert browser.submit(f"{path}/settings", at='["crawled"]', **said).status_code == 403
    assert browser.submit(f"{path}/settings", at='["crawled","public"]', **said).status_code == 303
    refused = browser.submit(f"{path}/roles/add", at='["crawled","public"]', role="dataOwners", userid=BOB)
    assert refused.status_code == 403


def test_whoever_sees_no_users_types_whole_names(site: Site) -> None:
    """An infrastructure admin without USER_ADMIN names an owner exactly, and is offered nobody."""
    path = register(site, "exact")
    keeper, user = site.new_user(), site.new_user()
    give(site, "exact", ObjectRole.INFRASTRUCTURE_ADMIN, keeper.userid)
    browser = site.browser(keeper.userid)
    assert "data-picker" not in browser.get(path).text
    role = {"at": "[]", "role": "dataOwners"}
    assert browser.submit(f"{path}/roles/add", **role, userid=user.userid[:-3]).status_code == 422
    assert browser.submit(f"{path}/roles/add", **role, userid=user.userid).status_code == 303
    assert browser.submit(f"{path}/roles/add", **role).status_code == 422
    assert browser.submit(f"{path}/roles/add", **{**role, "role": "x"}, userid=user.userid).status_code == 422


def test_settings_are_said_and_inherited(site: Site) -> None:
    """Both settings are stored as chosen; a value that is not offered is refused."""
    path = register(site, "said")
    browser = site.browser(ADMIN)
    sent = {"at": "[]", "isActive": "no", "activateNewChildren": "no"}
    assert browser.submit(f"{path}/settings", **sent).headers["location"] == f"{path}?notice=settings"
    settings = site.services.data_objects.get(person(site.services, ADMIN), ("said",)).settings
    assert (settings.is_active, settings.activates_new_children) == (False, False)
    assert browser.submit(f"{path}/settings", **{**sent, "isActive": "maybe"}).status_code == 422
    assert browser.submit(f"{path}/settings", **{**sent, "at": '["absent"]'}).status_code == 404
    assert browser.submit(f"{path}/settings", **{**sent, "at": "{"}).status_code == 404


@pytest.mark.parametrize("path", [(), ("a",), ("a/b", "..", "%2F"), ("ünï", "\u202e", "\r\n"), ("🔑", '"\\')])
def test_a_path_survives_a_hidden_field(path: tuple[str, ...]) -> None:
    """It is ASCII without line ends, and is read back as it was."""
    text = sent_path(path)
    assert text.isascii()
    assert text.isprintable()
    assert read_path(text) == path


# The test, crawls and objects


def test_a_test_answers_as_a_page_or_as_lines(site: Site, postgresql: Target) -> None:
    """The same eight steps come on a page, or as a line of JSON for each that begins or ends."""
    _, values = postgresql
    path = register(site, "tested", dict(values))
    browser = site.browser(ADMIN)
    page = browser.submit(f"{path}/test")
    assert page.status_code == 200
    assert page.text.count('class="ok"') == 8
    assert "tested is ready" in page.text
    lines = browser.post(
        f"{path}/test", data={"csrf": browser.csrf()}, headers={"Accept": "application/x-ndjson"}
    )
    assert lines.headers["content-type"] == "application/x-ndjson"
    states = re.findall(r'"step":"(\w+)".*?"state":"(\w+)"', lines.text)
    assert [state for _, state in states] == ["begun", "ok"] * 8
    assert '"is_ok":true' in lines.text.splitlines()[-1]


def test_a_crawl_is_followed_and_its_tree_is_browsed(site: Site, postgresql: Target) -> None:
    """The newest job is told to script, then the tree leads from the database to the columns."""
    administrator, values = postgresql
    administrator.execute("CREATE TABLE public.orders (id int, note text)")
    administrator.execute("COMMENT ON TABLE public.orders IS '<i>bold</i>'")
    path = register(site, "tree", dict(values))
    browser = site.browser(ADMIN)
    assert browser.submit(f"{path}/crawl").headers["location"] == f"{path}?notice=crawling"
    principal = person(site.services, ADMIN)
    newest = site.services.jobs.search(principal, JobSearch(connection_key="tree"), size=1).items[0]
    site.services.jobs.wait(principal, frozenset({newest.job_id}), 60, 0.05)
    told = browser.get(f"{path}/progress").json()
    assert told["isOver"]
    assert told["told"].startswith("3 found, 3 new")
    assert browser.submit(f"{path}/jobs/{newest.job_id}/cancel").status_code == 409
    assert f"{path}/objects?at=crawled" in html.unescape(browser.get(f"{path}/objects").text)
    table = browser.get(f"{path}/objects?at=crawled&at=public&at=orders").text
    assert "&lt;i&gt;bold&lt;/i&gt;" in table
    assert "<code>note</code>" in table
    found = browser.get(f"{path}/objects?q=ORD").text
    assert "crawled / public" in found
    assert "No objects match" in browser.get(f"{path}/objects?q=absent").text
    assert browser.get(f"{path}/objects?at=absent").status_code == 404
    at = '["crawled","public","orders"]'
    said = browser.submit(f"{path}/settings", at=at, isActive="no", activateNewChildren="inherit")
    assert said.headers["location"].endswith("at=orders&notice=settings")
    inherited = browser.submit(f"{path}/roles/add", at=at, role="dataOwners", userid=BOB)
    assert inherited.status_code == 303
    page = browser.get(f"{path}/objects?at=crawled&at=public&at=orders").text
    assert "set here, apart from those above it" in page
    assert browser.submit(f"{path}/roles/inherit", at=at, role="dataOwners").status_code == 303
    assert "1 setting below it says" in browser.get(path).text


def test_a_long_list_of_objects_comes_in_pages(site: Site, postgresql: Target) -> None:
    """Each page of a schema is reached by its number, which keeps the names of the place."""
    administrator, values = postgresql
    for number in range(45):
        administrator.execute(f"CREATE TABLE public.t{number:02} (id int)".encode())
    path = register(site, "long", dict(values))
    crawled(site.services, person(site.services, ADMIN), "long")
    browser = site.browser(ADMIN)
    seen: list[str] = []
    for page in (1, 2, 3):
        text = browser.get(f"{path}/objects?at=crawled&at=public&page={page}").text
        seen += re.findall(r'<a class="name" href="[^"]*">(t\d\d)</a>', text)
        assert "/objects?at=crawled&amp;at=public&amp;page=" in text
    assert seen == [f"t{number:02}" for number in range(45)]
    search = browser.get(f"{path}/objects?q=t").text
    assert "/objects?q=t&amp;page=2" in search


def test_rotating_asks_first_and_says_how_it_ended(site: Site, postgresql: Target) -> None:
    """The password is another one afterwards, and no page or row of the log has it."""
    _, values = postgresql
    path = register(site, "rotated", dict(values))
    browser = site.browser(ADMIN)
    assert "gets a new password" in browser.get(f"{path}/rotate").text
    assert browser.submit(f"{path}/rotate").headers["location"] == f"{path}?notice=rotated"
    record = site.services.connections.get_now(person(site.services, ADMIN), "rotated")
    new = str(site.services.connection_secrets.open(record).current["password"])
    assert new != values["password"]
    assert new not in browser.get(path).text


def test_the_list_is_searched_and_ordered(site: Site) -> None:
    """The search is by a part of the name, and the head of the column turns the order around."""
    for name in ("zz-a", "zz-b", "zz-c"):
        register(site, name)
    browser = site.browser(ADMIN)

    def names(query: str) -> list[str]:
        return re.findall(
            r'<a class="name" href="/connections/(zz-\w)">', browser.get(f"/connections?{query}").text
        )

    assert names("q=zz-") == ["zz-a", "zz-b", "zz-c"]
    assert names("q=zz-&sort=-name") == ["zz-c", "zz-b", "zz-a"]
    assert "No connections match" in browser.get("/connections?q=<b>").text

    browser.submit("/connections/zz-b/deactivate")
    assert names("q=zz-&state=inactive") == ["zz-b"]
    assert names("q=zz-&state=active&sort=-name") == ["zz-c", "zz-a"]
    assert names("q=zz-&state=other") == ["zz-a", "zz-b", "zz-c"]
    shown = browser.get("/connections?q=zz-&state=inactive").text
    assert re.findall(
        r'<a href="([^"]*)"(?: aria-current="true")?>(All|Inactive) <span class="count">(\d)<', shown
    ) == [
        ("/connections?q=zz-", "All", "3"),
        ("/connections?q=zz-&amp;state=inactive", "Inactive", "1"),
    ]


def test_the_page_says_which_keys_read_it_last(site: Site) -> None:
    """A key that asked for the connection stands there with its owner, for who may see everybody's keys."""
    key = "read-by-keys"
    path = register(site, key)
    with site.client() as client:
        asked = client.get(f"/data/connection/{key}", headers={"Authorization": site.key(ADMIN).secret})
        assert asked.status_code == 200
    site.services.usage.flush(everything=True)
    page = site.browser(ADMIN).get(path).text
    assert "Keys that read it last" in page
    assert re.search(r'<a href="/admin/keys/\d+">test</a>', page)
    give(site, key, ObjectRole.DATA_OWNER, BOB)
    assert "Keys that read it last" not in site.browser(BOB).get(path).text
