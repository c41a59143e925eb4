"""Rotation over HTTP and on its page: one new secret, shown once (K10)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.sites import secret_on

if TYPE_CHECKING:
    import httpx

    from tests.web.sites import Browser, Site

WHO = "/bim/rpc/user/current"
ADMIN = "admin@example.com"


def rotate(client: httpx.Client, key_id: object, with_key: str, /, **options: Any) -> httpx.Response:
    headers = {"Authorization": with_key, **options.pop("headers", {})}
    return client.post(f"/apikey/{key_id}/rotate", headers=headers, **options)


def opens(client: httpx.Client, key: str) -> bool:
    return client.get(WHO, headers={"Authorization": key}).status_code == 200


@pytest.mark.parametrize("prefix", ["/bim/apikey", "/apikey"])
def test_a_rotation_answers_as_a_creation_does(any_site: Site, prefix: str) -> None:
    """The answer is a new key with the old id, which nobody may store; by default the old secret is dead."""
    user = any_site.new_user()
    made = any_site.key(user.userid)
    with any_site.client() as client:
        created = client.post("/apikey", headers={"Authorization": made.secret}, json={"name": "test"})
        answer = client.post(f"{prefix}/{made.record.key_id}/rotate", headers={"Authorization": made.secret})

        body = answer.json()
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert set(body) == set(created.json())
        assert (body["id"], body["name"], body["state"]) == (made.record.key_id, "test", "active")
        assert not opens(client, made.secret)
        assert opens(client, body["apikey"])


def test_an_overlap_is_shown_and_ends(any_site: Site) -> None:
    """During the overlap both secrets work and the list says until when; then the new one alone does."""
    user = any_site.new_user()
    made = any_site.key(user.userid)
    with any_site.client() as client:
        new = rotate(client, made.record.key_id, made.secret, json={"overlapSeconds": 3600}).json()
        path = f"/bim/iam/bim/user/{user.user_id}/apikeys"
        (listed,) = client.get(path, headers={"Authorization": made.secret}).json()
        assert listed["formerSecretEndsAt"] == new["formerSecretEndsAt"]
        assert listed["masked"].endswith(new["apikey"][-4:])
        assert opens(client, made.secret)
        any_site.clock.advance(timedelta(hours=1))
        answer = client.get(WHO, headers={"Authorization": made.secret})
        assert (answer.status_code, answer.json()["message"]) == (401, "This credential has expired.")
        assert opens(client, new["apikey"])


def test_a_retry_wins_the_same_key(any_site: Site) -> None:
    """A rotation whose answer was lost is asked for again with its Idempotency-Key (D5)."""
    user = any_site.new_user()
    made = any_site.key(user.userid)
    options: dict[str, Any] = {
        "json": {"overlapSeconds": 60},
        "headers": {"Idempotency-Key": f"rotate {user.user_id}"},
    }
    with any_site.client() as client:
        lost, again = (
            rotate(client, made.record.key_id, made.secret, **options).json()["apikey"] for _ in range(2)
        )
        assert [opens(client, key) for key in (made.secret, lost, again)] == [True, False, True]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"overlapSeconds": -1}, 422),
        ({"overlapSeconds": 86401}, 422),
        ({"overlapSeconds": 1.5}, 422),
        ({"overlapSeconds": 60.0}, 422),
        ({"overlapSeconds": "60"}, 422),
        ({"overlapSeconds": None}, 422),
        ({"overlap": 60}, 422),
        ([], 422),
    ],
)
def test_an_unfit_rotation_changes_nothing(site: Site, body: object, status: int) -> None:
    """What is no overlap is refused with its reason, and the key goes on."""
    user = site.new_user()
    made = site.key(user.userid)
    with site.client() as client:
        answer = rotate(client, made.record.key_id, made.secret, json=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["validation"]
        assert opens(client, made.secret)


def test_a_foreign_an_absent_and_no_key_are_one_answer(any_site: Site) -> None:
    """Another's key, none, and what is no id are the same 404, also for an administrator (A2)."""
    user = any_site.new_user()
    own, foreign, admin = any_site.key(user.userid), any_site.key(ADMIN), any_site.key(ADMIN)
    with any_site.client() as client:
        answers = [
            rotate(client, key_id, own.secret)
            for key_id in (foreign.record.key_id, 987654321, 0, -1, 2**63, "x", "007")
        ]
        answers.append(rotate(client, own.record.key_id, admin.secret))
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1
        assert opens(client, foreign.secret)
        assert opens(client, own.secret)


def test_a_dead_key_is_a_conflict(any_site: Site) -> None:
    """A key that was revoked is not brought back by a rotation."""
    user = any_site.new_user()
    dead, living = any_site.key(user.userid), any_site.key(user.userid)
    with any_site.client() as client:
        headers = {"Authorization": living.secret}
        assert client.delete(f"/apikey/{dead.record.key_id}", headers=headers).status_code == 200
        answer = rotate(client, dead.record.key_id, living.secret)
        assert answer.status_code == 409
        assert "make a new one" in answer.json()["message"]


# The page


def form_id(browser: Browser, path: str) -> str:
    return browser.get(path).text.partition('name="form_id" value="')[2].partition('"')[0]


def submit(browser: Browser, path: str, overlap: str) -> httpx.Response:
    return browser.submit(path, form_id=form_id(browser, path), overlap=overlap)


@pytest.mark.parametrize(("overlap", "lives"), [("0", False), ("3600", True), ("86400", True)])
def test_a_person_rotates_a_key(any_site: Site, overlap: str, lives: bool) -> None:
    """The page shows the new secret once; the former one goes on for as long as was chosen."""
    user = any_site.new_user()
    made = any_site.key(user.userid)
    browser = any_site.browser(user.userid)
    path = f"/profile/keys/{made.record.key_id}/rotate"
    assert f'href="{path}"' in browser.get("/profile/keys").text
    assert made.record.masked in browser.get(path).text

    shown = submit(browser, path, overlap)

    assert shown.status_code == 200
    assert shown.headers["cache-control"] == "no-store"
    new = secret_on(shown.text)
    listed = browser.get("/profile/keys").text
    assert new not in listed
    assert ("Old secret until" in listed) is lives
    with any_site.client() as client:
        assert opens(client, new)
        assert opens(client, made.secret) is lives


def test_a_form_that_is_sent_twice_shows_no_second_secret(site: Site) -> None:
    """The second time nothing is rotated, and the page says what to do."""
    user = site.new_user()
    made = site.key(user.userid)
    browser = site.browser(user.userid)
    path = f"/profile/keys/{made.record.key_id}/rotate"
    once = {"form_id": form_id(browser, path), "overlap": "0"}
    new = secret_on(browser.submit(path, **once).text)

    second = browser.submit(path, **once)

    assert second.status_code == 409
    assert "the form was sent a second time" in second.text
    with site.client() as client:
        assert opens(client, new)


@pytest.mark.parametrize("overlap", ["", "1", "-1", "86401", "x"])
def test_what_is_no_choice_rotates_nothing(site: Site, overlap: str) -> None:
    """An overlap that the page does not offer is told at its place."""
    user = site.new_user()
    made = site.key(user.userid)
    browser = site.browser(user.userid)
    answer = submit(browser, f"/profile/keys/{made.record.key_id}/rotate", overlap)
    assert answer.status_code == 422
    assert "Choose how long" in answer.text
    with site.client() as client:
        assert opens(client, made.secret)


def test_a_foreign_page_does_not_exist(site: Site) -> None:
    """The pages for another's and for no key are one 404 (A2)."""
    user = site.new_user()
    browser = site.browser(user.userid)
    foreign = site.key(ADMIN)
    pages = [
        browser.get(f"/profile/keys/{key_id}/rotate")
        for key_id in (foreign.record.key_id, 987654321, 0, 2**63)
    ]
    pages.append(submit(browser, f"/profile/keys/{foreign.record.key_id}/rotate", "0"))
    assert {page.status_code for page in pages[:-1]} == {404}
    # The page names the address that was asked for, without what could be a credential.
    assert len({re.sub(r"<code>/profile/.*?</code>", "", page.text) for page in pages[:-1]}) == 1
    with site.client() as client:
        assert opens(client, foreign.secret)
