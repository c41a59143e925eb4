"""A form sent after its session has ended: nothing is done or lost, and nobody else can use it."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from keyturn.web.pages.frame.forms import without_secrets
from keyturn.web.pages.frame.secret_texts import looks_secret
from tests.conftest import PASSWORD
from tests.web.sites import Browser, form_body

if TYPE_CHECKING:
    import httpx

    from tests.web.sites import Site

ADMIN = "admin@example.com"
BOB = "bob@example.com"
OURS = {"Sec-Fetch-Site": "same-origin"}
"""What a browser says of a form that a page of ours sends."""
SIGNS_IN = {"own_userid": BOB, "own_password": PASSWORD}


def revision(site: Site) -> int:
    return site.services.store.installation.revision()


def hidden(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {html.unescape(name): html.unescape(value) for name, value in found}


def ended(site: Site, path: str, **fields: str) -> httpx.Response:
    """Send a form in a browser whose session is over."""
    with Browser(site) as browser:
        return browser.post(path, data={"csrf": "of a session that is over", **fields}, headers=OURS)


def test_the_form_comes_back_as_it_was_left(site: Site) -> None:
    """The page says what was not done; after signing in the form is filled in, to be sent again."""
    user = site.new_user()
    typed = {
        "name": 'a "quoted" <name>',
        "expiry": "30",
        "allowFrom": "192.0.2.7\r\n127.0.0.1",
        "covers": "all",
    }
    with Browser(site) as browser:
        sent = {"csrf": "x", "form_id": "x" * 22, **typed}
        asked = browser.post("/profile/keys", data=sent, headers=OURS)
        assert asked.status_code == 403
        assert asked.headers["cache-control"] == "no-store"
        assert "Your session ended" in asked.text
        assert "The key was not created." in asked.text
        assert "comes back as you left it." in asked.text
        kept = hidden(asked.text)
        assert {name: text.replace("\r\n", "\n") for name, text in kept.items() if name != "csrf"} == {
            name: text.replace("\r\n", "\n") for name, text in typed.items()
        }
        assert 'action="/profile/keys"' in asked.text

        signs_in = {"own_userid": user.userid, "own_password": PASSWORD}
        back = browser.post("/profile/keys", data={**kept, **signs_in}, headers=OURS)
        assert back.status_code == 200
        assert "Nothing was sent yet" in back.text
        assert 'value="a &#34;quoted&#34; &lt;name&gt;"' in back.text
        assert "192.0.2.7\r\n127.0.0.1" in back.text
        assert re.search(r'value="30" checked', back.text.replace("\n", " "))
        assert PASSWORD not in back.text
        assert site.services.keys.list_of(user.user_id).items == ()

        again = {**typed, **{name: hidden(back.text)[name] for name in ("csrf", "form_id")}}
        assert browser.post("/profile/keys", data=again, headers=OURS).status_code == 200
        (record,) = site.services.keys.list_of(user.user_id)
        assert record.name == typed["name"]


def test_nothing_is_done_before(site: Site) -> None:
    """Neither the form nor the sign-in that brings it back changes what the form is about."""
    with Browser(site) as browser:
        before = revision(site)
        ended(site, "/profile", name="changed")
        assert revision(site) == before
        back = browser.post("/profile", data={"name": "changed", **SIGNS_IN}, headers=OURS)
        assert 'value="changed"' in back.text
        assert site.services.users.get_by_userid("bim", BOB).profile.name == "bob"


def test_no_secret_comes_back(site: Site) -> None:
    """Passwords, and whatever looks like a key or a token, stand on neither page."""
    secret = site.key(BOB).secret
    foreign, token = "9f86d081884c7d659a2feaa0c55ad015", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    fields = {
        "name": f"see {secret}",
        "allowFrom": foreign,
        "dpopJkt": token,
        "current_password": "canary one",
        "password": "canary two",
        "own_password": "canary three",
        f"key.{secret}": "on",
        "expiry": "30",
    }
    asked = ended(site, "/profile/keys", **fields)
    assert asked.status_code == 403
    for text in (secret, secret[16:-4], foreign, token, "canary"):
        assert text not in asked.text
    assert "without passwords and keys" in asked.text
    assert {name for name in hidden(asked.text) if name != "csrf"} == {"expiry"}
    with Browser(site) as browser:
        back = browser.post("/profile/keys", data={**fields, **SIGNS_IN}, headers=OURS)
    assert back.status_code == 200
    for text in (secret, foreign, token, "canary"):
        assert text not in back.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_site_cannot_fill_in_a_form(site: Site, headers: dict[str, str]) -> None:
    """A form from elsewhere is refused, with a right password too, and nothing of it stands on the page."""
    with Browser(site) as browser:
        for fields in ({}, SIGNS_IN):
            answer = browser.post("/profile/keys", data={"name": "planted", **fields}, headers=headers)
            assert answer.status_code == 403
            assert "planted" not in answer.text
            assert "set-cookie" not in answer.headers


def test_what_no_browser_vouches_for_is_not_filled_in(site: Site) -> None:
    """Where nobody says which page sent the form, a person may sign in, and the form comes back empty."""
    with Browser(site) as browser:
        asked = browser.post("/profile/keys", data={"name": "planted", "expiry": "7"})
        assert (asked.status_code, "planted" in asked.text) == (403, False)
        back = browser.post("/profile/keys", data={"name": "planted", **SIGNS_IN})
        assert (back.status_code, "planted" in back.text) == (200, False)


def test_a_stranger_learns_of_no_form(site: Site) -> None:
    """Forms that are there, that are not, and that take other fields are answered with the same page."""
    told = set()
    for path in ("/admin/groups/1", "/admin/keys/find", "/admin/no-such", "/profile/keys/1/revoke", "/admin"):
        answer = ended(site, path, name="x")
        assert answer.status_code == 403
        told.add(answer.text.replace(f'action="{path}"', ""))
    assert len(told) == 1


def test_a_form_that_is_for_others_does_not_come_back(site: Site) -> None:
    """Whoever signs in and may not open the page finds what is found there otherwise: nothing."""
    with Browser(site) as browser:
        back = browser.post("/admin/groups/new", data={"name": "x", **SIGNS_IN}, headers=OURS)
        assert back.status_code == 303
        assert browser.get(back.headers["location"]).status_code == 404
    with Browser(site) as browser:
        signs_in = {"own_userid": ADMIN, "own_password": PASSWORD}
        back = browser.post("/admin/groups/new", data={"name": "kept name", **signs_in}, headers=OURS)
        assert (back.status_code, 'value="kept name"' in back.text) == (200, True)


def test_a_form_of_one_button_leads_to_its_page(site: Site) -> None:
    """What nobody typed is not filled in: the person is led to the question, or to their keys."""
    number = site.key(BOB).record.key_id
    for path, target in (
        (f"/profile/keys/{number}/revoke", f"/profile/keys/{number}/revoke"),
        ("/profile/sessions/end-others", "/profile/keys"),
        ("/profile/no/such/form", "/profile/keys"),
    ):
        with Browser(site) as browser:
            back = browser.post(path, data=SIGNS_IN, headers=OURS)
            assert (back.status_code, back.headers["location"]) == (303, target)
            assert browser.get("/profile/keys").status_code == 200


def test_signing_out_without_a_session_is_done(site: Site) -> None:
    """Whoever signs out of a session that is over is signed out."""
    answer = ended(site, "/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?notice=signed-out")


def test_a_wrong_password_keeps_the_form(site: Site) -> None:
    """The words are those of the login, and what was typed is still there."""
    wrong = {"own_userid": "nobody@example.com", "own_password": "wrong wrong wrong"}
    with Browser(site) as browser:
        answer = browser.post("/profile/keys", data={"name": "kept", **wrong}, headers=OURS)
        assert answer.status_code == 401
        assert "That user name and password don’t match." in answer.text
        assert hidden(answer.text)["name"] == "kept"
        assert "wrong wrong" not in answer.text
        empty = {"own_userid": "", "own_password": ""}
        answer = browser.post("/profile/keys", data={"name": "kept", **empty}, headers=OURS)
        assert answer.status_code == 422
        assert "Enter your user name." in answer.text
        assert "Enter your password." in answer.text


def test_what_is_no_form_is_led_to_the_login(site: Site) -> None:
    """Only what a page's form sends comes back; anything else is answered as before."""
    with Browser(site) as browser:
        for content, headers in (
            (b"", {}),
            (b"{}", {"Content-Type": "application/json"}),
            (form_body({"a": "b"}), {"Content-Type": "text/plain"}),
        ):
            answer = browser.post("/profile/keys", content=content, headers=headers)
            assert (answer.status_code, answer.headers["location"]) == (303, "/login?then=/profile/keys")


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        ("nightly export", False),
        ("kt_7hQ2mZ9fT1xD_…4b1X", False),
        ("kt_7hQ2mZ9fT1xD", False),
        ("kt_7hQ2mZ9fT1xD_Jr0c", True),
        ("API_KEY=kt_7hQ2mZ9fT1xD_Jr0cW8aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", True),
        ("nightly-export-2026-production", False),
        ("etl-v2-production-east1-customers", False),
        ("https://orders-production-eu-west-1.example.com", False),
        ("550e8400-e29b-41d4-a716-446655440000", True),
        ("9f86d081884c7d659a2feaa0c55ad015", True),
        ("eyJhbGciOiJFUzI1NiJ9.e30.x", True),
        ("two\r\nlines", False),
    ],
)
def test_what_looks_like_a_key(text: str, is_secret: bool) -> None:
    """Keys, tokens and parts of keys do; what is shown of a key, names and addresses do not."""
    assert looks_secret(text, "kt") is is_secret
    assert without_secrets({"name": text}, "kt") == ({} if is_secret else {"name": text})
