"""Lists of three thousand things cost no more than a page of them, on pages and over the API."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import keyturn.web
from tests.databases import new_postgresql_database
from tests.long_lists import ROWS, fill, rows_read
from tests.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Browser, Site

ADMIN = "admin@example.com"
BESIDE = 30
"""How many rows a request reads besides what it lists: the session, the account, the rules, counts."""
STATEMENTS = 30


class Filled:
    """A server with long lists, and the ids of what they are of."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.ids = fill(site.services, site.users[ADMIN].user_id)
        self.ids["admin"] = site.users[ADMIN].user_id
        self.browser: Browser = site.browser(ADMIN)
        self.secret = site.key(ADMIN).secret


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, open_site: SiteOpener, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    """A server with long lists, on both databases."""
    settings: dict[str, object] = {}
    database = None
    if request.param == "postgresql":
        database = new_postgresql_database(request.getfixturevalue("postgresql_server"))
        root_key = tmp_path_factory.mktemp("root") / "root.key"
        root_key.write_text("A" * 43)
        root_key.chmod(0o600)
        settings["root_key_file"] = root_key
    with open_site(database, **settings) as opened:
        opened.add_people()
        yield Filled(opened)


PAGES = {
    "/admin/users": 20,
    "/admin/service-accounts?page=3": 20 * 3,
    "/admin/groups?page=60": 2 * 20,
    "/admin/groups/{group}?page=2": 2 * 20,
    "/admin/groups/{group}/delete": 20,
    "/admin/projects?page=7": 20,
    "/admin/projects/{project}?page=2&connections=3": 20 + 20 + 200,
    "/admin/projects/{project}/delete": 1,
    "/admin/services?page=5": 3 * 20,
    "/admin/services/{api}": 20,
    "/admin/services/{api}/scope": 200,
    "/admin/keys?owner=robot": 20,
    "/admin/users/{admin}": 10 + 5 + 5 + 50 + 200,
    "/admin/users/{admin}/delete": 20 + 20,
    "/admin/service-accounts/{robot}?page=2": 20 + 5 + 50 + 200,
    "/admin/service-accounts/{robot}/keys/new": 2 * 50,
    "/admin/service-accounts/{robot}/disable": 20,
    "/profile/keys?page=61": 20,
    "/profile/keys/new": 2 * 50 + 200,
    "/profile/sessions": 20,
}
"""How many rows of lists each page shows or offers, in all."""


@pytest.mark.parametrize("path", PAGES)
def test_a_page_reads_no_more_rows_than_it_shows(filled: Filled, path: str) -> None:
    """Whatever the length of a list, its page takes few statements and reads the rows of one page."""
    address = path.format(**filled.ids)
    with rows_read(filled.site.services) as rows, statements(filled.site.services) as asked:
        answer = filled.browser.get(address)
    assert answer.status_code == 200, answer.text
    assert rows.count <= PAGES[path] + BESIDE
    assert len([one for one in asked if one.startswith("SELECT")]) <= STATEMENTS, asked


class Shown(NamedTuple):
    """A page of a list."""

    hits: list[Any]
    count: int


LISTS = {
    "/bim/group": ROWS,
    "/bim/group/{group}/user": ROWS + 1,
    "/project": ROWS,
    "/services": ROWS,
    "/serviceaccount": ROWS,
    "/bim/user": ROWS + 2,
    "/bim/iam/bim/user": ROWS + 2,
    "/bim/iam/bim/user/{admin}/apikeys": ROWS + 1,
    "/bim/iam/bim/user/{admin}/groups": ROWS,
    "/project/{project}/members": ROWS + 1,
    "/serviceaccount/{robot}/apikey": ROWS,
}


@pytest.mark.parametrize("path", LISTS)
def test_a_list_of_the_api_comes_in_pages(filled: Filled, path: str) -> None:
    """Each answers 200 at once, tells how many there are unless it is an array, and pages to an end."""
    address = path.format(**filled.ids)

    def listed(answer: httpx.Response) -> Shown:
        body = answer.json()
        return (
            Shown(body, LISTS[path])
            if isinstance(body, list)
            else Shown(body.get("hits", body.get("members")), body["count"])
        )

    with filled.site.client(headers={"Authorization": filled.secret}) as client:
        first = listed(client.get(address, params={"size": 200}))
        with rows_read(filled.site.services) as rows:
            some = listed(client.get(address, params={"size": 7, "offset": 198}))
        beyond = listed(client.get(address, params={"offset": LISTS[path]}))
        wrong = client.get(address, params={"size": 201})
    assert (len(first.hits), first.count) == (200, LISTS[path])
    assert some.hits[:2] == first.hits[198:]
    assert (len(some.hits), some.count) == (7, LISTS[path])
    assert rows.count <= 7 * (1 + 2 * 20) + BESIDE
    assert (beyond.hits, beyond.count) == ([], LISTS[path])
    assert wrong.status_code == 422


def test_no_handler_cuts_a_list_in_python() -> None:
    """What a page or an answer leaves out, the database left out: no handler slices from an offset."""
    folder = Path(keyturn.web.__file__).parent
    found = {
        f"{path.relative_to(folder)}: {ast.unparse(node)}"
        for name in ("pages", "api")
        for path in (folder / name).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Slice) and node.lower is not None
    }
    assert not found


def test_a_project_tells_a_page_of_its_members(filled: Filled) -> None:
    """It tells how many members and connections there are, and pages through both together."""
    address = f"/project/{filled.ids['project']}"

    with filled.site.client(headers={"Authorization": filled.secret}) as client:
        first = client.get(address).json()
        next_page = client.get(address, params={"offset": 200, "size": 10}).json()
        listed = client.get("/project", params={"size": 1}).json()["hits"][0]
    assert (first["memberCount"], first["connectionCount"]) == (ROWS + 1, ROWS // 2)
    assert (len(first["members"]), len(first["connectionKeys"])) == (200, 200)
    assert next_page["connectionKeys"][0] == "connection 0200"
    assert len(next_page["members"]) == 10
    assert not {one["id"] for one in first["members"]} & {one["id"] for one in next_page["members"]}
    assert (len(listed["members"]), len(listed["connectionKeys"])) == (20, 20)


def test_an_owner_changes_a_project_however_many_are_in_it(filled: Filled) -> None:
    """Whether somebody owns a project does not depend on the page that lists them."""
    service, ids = filled.site.services.projects, filled.ids
    with filled.site.client(headers={"Authorization": filled.secret}) as client:
        assert client.put(f"/project/{ids['project']}", json={"description": "long"}).status_code == 200
        gone = client.delete(f"/project/{ids['project']}/member/robot 2999")
    assert gone.json()["memberCount"] == ROWS
    assert service.is_in(ids["robot"], ids["project"])
    with filled.site.client(headers={"Authorization": filled.secret}) as client:
        client.put(f"/project/{ids['project']}/member/robot 2999", json={})


def test_keys_are_shown_active_first_across_pages(filled: Filled) -> None:
    """The page on which the living keys end goes on with those that ended, and none is missed."""
    user_id = filled.ids["robot"]
    keys, now = filled.site.services.keys, filled.site.clock.now
    pages = [keys.list_active_first(user_id, offset=offset, size=400) for offset in range(0, ROWS, 400)]
    seen = [key for page in pages for key in page]
    assert len({key.key_id for key in seen}) == len(seen) == ROWS
    states = [key.state(now).value for key in seen]
    assert states == ["active"] * (ROWS // 2) + ["revoked"] * (ROWS // 2)


def test_a_scope_keeps_holders_that_are_not_offered(filled: Filled) -> None:
    """Groups beyond the offered ones are shown where they hold a scope, and can be named by number."""
    services, admin = filled.site.services, filled.browser
    last = services.groups.list_visible(_principal(filled), offset=ROWS - 1, size=1)[0]
    path = f"/admin/services/{filled.ids['api']}/scope"
    form = {"scope": "held", "who": "chosen", "group_numbers": f"{last.group_id}"}
    assert admin.submit(path, **form).status_code == 303
    page = admin.get(f"{path}?name=held").text
    assert f'name="group.{last.group_id}" checked' in page
    assert 'name="group_numbers"' in page
    wrong = admin.submit(path, **{**form, "scope": "other", "group_numbers": "one"})
    assert wrong.status_code == 422


def test_a_group_that_is_not_offered_can_own_a_service_account(filled: Filled) -> None:
    """Where there are more groups than a choice holds, the form takes the number of any."""
    services, path = filled.site.services, f"/admin/service-accounts/{filled.ids['robot'] + 7}"
    last = services.groups.list_visible(_principal(filled), offset=ROWS - 1, size=1)[0]
    assert filled.browser.submit(f"{path}/hand-over", group="no number").status_code == 422
    assert filled.browser.submit(f"{path}/hand-over", group=f"{last.group_id}").status_code == 303
    assert f"the group {last.name}" in filled.browser.get(path).text


def _principal(filled: Filled) -> object:
    found = filled.site.services.sessions.find(filled.browser.session_value())
    assert found is not None
    return found.principal
