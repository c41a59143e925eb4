"""Finding users over HTTP: pages, filters, and how a person is named in a path."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

from tests.conftest import PASSWORD
from tests.web.people_routes import ADMIN, CALLS, Call, add_things, fresh_name
from tests.web.sites import status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.sites import Site

BOB = "bob@example.com"


@pytest.fixture
def admin(any_site: Site) -> Iterator[httpx.Client]:
    with any_site.client(headers={"Authorization": any_site.key(ADMIN).secret}) as client:
        yield client


def add(admin: httpx.Client, userid: str, **profile: str) -> int:
    answer = admin.post("/bim/iam/bim/user", json={"userid": userid, "profile": profile})
    assert answer.status_code == 200, answer.text
    number: int = answer.json()["newUser"]["id"]
    return number


def found(admin: httpx.Client, **params: object) -> list[str]:
    answer = admin.get("/bim/user", params=params)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["count"] == len(body["hits"])
    return [hit["userid"] for hit in body["hits"]]


def test_users_come_in_pages(any_site: Site, admin: httpx.Client) -> None:
    """`count` is of all, pages of up to 200 join without gap or twin, and a short one is the last."""
    mark = fresh_name()
    made = [add(admin, f"{mark}-{number:03d}") for number in range(7)]
    for path, params in (("/bim/user", {"userid": mark}), ("/bim/user", {"userid": mark, "iamid": "bim"})):
        seen: list[int] = []
        for offset in range(0, 9, 3):
            page = admin.get(path, params={**params, "size": 3, "offset": offset}).json()
            assert page["count"] == 7
            assert len(page["hits"]) == min(3, max(0, 7 - offset))
            seen += [hit["id"] for hit in page["hits"]]
        assert seen == made
        assert len(admin.get(path, params={**params, "size": 200}).json()["hits"]) == 7
        assert admin.get(path, params={**params, "offset": 1000}).json() == {"count": 7, "hits": []}
    for wrong in (
        {"size": 0},
        {"size": 201},
        {"size": "a"},
        {"offset": -1},
        {"offset": 10**30},
        {"size": ""},
    ):
        for path in ("/bim/user", "/bim/iam/bim/user", "/serviceaccount"):
            assert admin.get(path, params=wrong).status_code == 422, (path, wrong)


def test_each_filter_finds_a_part_of_its_field(any_site: Site, admin: httpx.Client) -> None:
    """A filter is a part of its own field, whatever the case, in any script; all of them must fit.

    Those who are found come by name.
    """
    mark = fresh_name()
    add(admin, f"{mark}one", name=f"Zoë ÄRGER {mark}", email=f"first.{mark}@example.com")
    add(admin, f"{mark}two", name=f"Ivan Иванов {mark}", email=f"second.{mark}@example.com")
    one, two = f"{mark}one", f"{mark}two"
    assert found(admin, userid=mark) == [two, one]
    assert found(admin, userid=mark.upper()) == [two, one]
    assert found(admin, name=f"ärger {mark}") == [one]
    assert found(admin, name=f"ÄRGER {mark}") == [one]
    assert found(admin, name=f"иВАНОВ {mark}") == [two]
    assert found(admin, email=f"{mark}@EXAMPLE") == [two, one]
    assert found(admin, email=f"second.{mark}") == [two]
    assert found(admin, email=f"second.{mark}", name="zoë") == []
    assert found(admin, userid=mark, name="", email="") == [two, one]
    assert found(admin, name=mark, iamid="bim") == [two, one]
    assert found(admin, name=mark, iamid="okta") == []


@pytest.mark.parametrize("text", ["%", "_", "\\", "%%", "'", '"', "\x00", "\ufffd", "😀", "a" * 3000, "%25"])
def test_no_character_of_a_filter_is_a_wildcard(any_site: Site, admin: httpx.Client, text: str) -> None:
    """A filter finds only what holds its very text."""
    mark = fresh_name()
    add(admin, mark, name="plain")
    assert found(admin, userid=f"{mark[:-1]}{text}") == []
    if text != "\x00" and len(text) < 100:
        add(admin, f"{mark}x", name=f"{mark} {text} {mark}")
        assert found(admin, name=f"{mark} {text} {mark}") == [f"{mark}x"]


def test_a_name_of_digits_is_refused(any_site: Site, admin: httpx.Client) -> None:
    """Digits in a path always name the user with that number: nobody can take it for a name."""
    first = add(admin, fresh_name())
    answer = admin.post("/bim/iam/bim/user", json={"userid": str(first)})
    assert (answer.status_code, answer.json()["validation"][0]["field"]) == (422, "userid")
    assert admin.get(f"/bim/iam/bim/user/{first}").json()["id"] == first


@pytest.mark.parametrize(
    "userid",
    [
        "a+b c@example.com",
        "Zoë",
        "ключ@пример",
        "a?b#c&d=e",
        "100%",
        "..",
        "a%2Fb",
        "<b>",
        "'; --",
        "DOMAIN\\ada",
    ],
)
def test_a_name_in_a_path_is_percent_decoded_once(any_site: Site, admin: httpx.Client, userid: str) -> None:
    """Any name is reached percent-encoded, by its number, and as a successor in a query."""
    number = add(admin, userid)
    secret = any_site.key(ADMIN).secret.encode()
    for name in (quote(userid, safe="@"), quote(userid, safe=""), str(number)):
        raw = any_site.raw_get(f"/bim/iam/bim/user/{name}", b"Authorization: " + secret)
        assert status_of(raw) == 200, name
        assert f'"id":{number},'.encode() in raw
    owner = any_site.new_user().userid
    service = fresh_name()
    admin.post("/serviceaccount", json={"userid": service, "owner": {"userid": owner}})
    admin.delete(f"/bim/iam/bim/user/{owner}", params={"handOverTo": userid})
    assert admin.get(f"/serviceaccount/{service}").json()["owner"]["userid"] == userid
    assert admin.delete(f"/bim/iam/bim/user/{number}").json() == {"id": number, "userid": userid}


def test_a_name_with_a_slash_is_reached_by_its_number(any_site: Site, admin: httpx.Client) -> None:
    """A slash ends a part of the path, encoded or not; by number such a user is reached."""
    number = add(admin, f"{fresh_name()}/permissions/AUDIT")
    assert admin.get(f"/bim/iam/bim/user/{number}").status_code == 200
    assert admin.delete(f"/bim/iam/bim/user/{number}").status_code == 200


# A doubled slash at the start


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}{call.query}")
def test_a_doubled_slash_at_the_start_changes_nothing(any_site: Site, call: Call) -> None:
    """Where `/x` answers, `//x` answers the same caller, and a stranger is refused as there (H6)."""
    doubled = replace(call, path=f"{any_site.url_bound}/{call.path}")
    things = add_things(any_site, password=PASSWORD)
    is_open = call.path.endswith("/authenticate")
    # A key is rotated with itself alone.
    credential = {} if is_open else {"Authorization": str(things.of(call)["secret"])}
    with httpx.Client() as stranger, httpx.Client(headers=credential) as client:
        if not is_open:
            assert doubled.send(stranger, things.of(call)).status_code == 401
        answer = doubled.send(client, things.of(call))
        assert answer.request.url.raw_path.startswith(b"//")
        assert answer.status_code == call.status


def test_only_a_doubled_slash_is_tolerated(any_site: Site) -> None:
    """Three slashes and more are no path of ours: open routes are closed there, as every unknown path is."""
    for path in ("///health/live", "///login", "////.well-known/jwks.json", "///bim/apikey/authenticate"):
        assert status_of(any_site.raw_get(path)) == 401, path
    for path in ("//health/live", "//login", "//.well-known/jwks.json"):
        assert status_of(any_site.raw_get(path)) == 200, path
    raw = any_site.raw(
        f"POST //apikey/authenticate HTTP/1.1\r\nHost: {any_site.host}\r\nConnection: close\r\n"
        f"Authorization: {any_site.key(BOB).secret}\r\n\r\n".encode()
    )
    assert status_of(raw) == 200
