"""People of a second identity provider, through pages and API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.databases import new_postgresql_database
from tests.fakes import Directory
from tests.web.sites import Browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMIN = "admin@example.com"
PASSWORD = "as the directory knows it"
AUTHENTICATE = "/bim/iam/corp/user/authenticate"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, open_site: SiteOpener, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A server whose people come from the built-in provider and from a directory."""
    settings: dict[str, object] = {
        "identity_providers": (Directory(carol=PASSWORD, locked=PASSWORD, dave=PASSWORD),)
    }
    database = None
    if request.param == "postgresql":
        database = new_postgresql_database(request.getfixturevalue("postgresql_server"))
        root_key = tmp_path_factory.mktemp("root") / "root.key"
        root_key.write_text("A" * 43)
        root_key.chmod(0o600)
        settings["root_key_file"] = root_key
    with open_site(database, **settings) as opened:
        opened.add_people()
        yield opened


@pytest.fixture
def api(site: Site) -> Iterator[httpx.Client]:
    """An administrator's client."""
    with site.client(headers={"Authorization": site.key(ADMIN).secret}) as client:
        yield client


def add(api: httpx.Client, userid: str) -> httpx.Response:
    return api.post("/bim/iam/corp/user", json={"userid": userid, "iamid": "corp"})


def log_in(site: Site, userid: str, password: str = PASSWORD) -> httpx.Response:
    with Browser(site) as browser:
        return browser.log_in(userid, password, iamid="corp")


def test_a_person_of_the_directory_signs_in_over_page_and_api(site: Site, api: httpx.Client) -> None:
    """They are made without a link, sign in at their provider, and are addressed by its iamid everywhere."""
    assert [one["id"] for one in api.get("/bim/iam").json()] == ["bim", "corp"]
    made = add(api, "carol").json()
    assert (made["newUser"]["iamid"], made["newUserLink"]) == ("corp", None)

    assert log_in(site, "carol").headers["location"] == "/profile/keys"
    answer = api.post(AUTHENTICATE, json={"username": "carol", "password": PASSWORD})
    token = answer.json()["token"]
    mine = {"Authorization": f"Bearer {token}"}

    assert api.get("/bim/rpc/user/current", headers=mine).json()["iamid"] == "corp"
    assert api.get("/bim/iam/corp/user/carol").json()["userid"] == "carol"
    assert api.get("/bim/iam/bim/user/carol").status_code == 404
    assert [one["userid"] for one in api.get("/bim/iam/corp/user").json()["hits"]] == ["carol"]
    assert "carol" not in [one["userid"] for one in api.get("/bim/iam/bim/user").json()["hits"]]
    assert api.post("/bim/apikey", json={}, headers=mine).status_code == 200
    assert len(api.get("/bim/iam/corp/user/carol/apikeys").json()) == 1
    assert api.get("/bim/iam/bim/user/carol/apikeys").status_code == 404
    for iamid in ("bim", "nowhere"):
        refused = api.post(
            f"/bim/iam/{iamid}/user/authenticate", json={"username": "carol", "password": PASSWORD}
        )
        assert refused.status_code == 401


def test_the_sign_in_page_lets_people_choose(site: Site) -> None:
    """With two providers that take a password the form asks which; the choice is kept after a wrong one."""
    with Browser(site) as browser:
        assert 'name="iamid"' in browser.get("/login").text
        page = browser.log_in("nobody", "wrong", iamid="corp").text
    assert '<option value="corp" selected>' in page


def test_wrong_tries_lock_them_as_anybody(site: Site, api: httpx.Client) -> None:
    """After five wrong passwords, over page and API together, the right one is refused too."""
    add(api, "locked")
    for _ in range(3):
        assert log_in(site, "locked", "wrong").status_code == 401
    for _ in range(2):
        wrong = api.post(AUTHENTICATE, json={"username": "locked", "password": "wrong"})
        assert wrong.status_code == 401
    assert log_in(site, "locked").status_code == 401


def test_they_have_no_password_to_change(site: Site, api: httpx.Client) -> None:
    """Neither page nor API sets one, nor makes a link for one; the Security tab says where it is kept."""
    number = add(api, "dave").json()["newUser"]["id"]
    answers = [
        api.put("/bim/iam/corp/user/dave/password", json={"password": "seven green lanterns drift"}),
        api.post("/bim/iam/corp/user/dave/invitation"),
        api.post("/bim/iam/corp/user", json={"userid": "eve", "password": "seven green lanterns drift"}),
    ]
    assert [answer.status_code for answer in answers] == [422] * 3
    with Browser(site) as browser:
        assert browser.log_in("dave", PASSWORD, iamid="corp").status_code == 303
        assert "Corporate directory" in browser.get("/profile/security").text
        refused = browser.submit(
            "/profile/security",
            current_password=PASSWORD,
            password="seven green lanterns drift",
            password_again="seven green lanterns drift",
        )
        assert refused.status_code == 422
    admin = site.browser(ADMIN)
    assert "invitation link" not in admin.get(f"/admin/users/{number}").text
    assert admin.submit(f"/admin/users/{number}/invite").status_code == 422
