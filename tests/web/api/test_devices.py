"""Signing a device in over HTTP: what the device is told, and what a person sees and decides (RFC 8628)."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.services.oauth.device_logins import BEGINNINGS_PER_MINUTE, LIFE, WRONG_CODES_PER_MINUTE
from tests.apis import register
from tests.conftest import PASSWORD
from tests.web.sites import Browser

if TYPE_CHECKING:
    import httpx

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

WHO = "/bim/rpc/user/current"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
NAME = "keyturn on laptop"
HOSTILE = '"><img src=x onerror=1>'


@pytest.fixture(autouse=True)
def rested(request: pytest.FixtureRequest) -> None:
    """Let a minute pass before each test: they all begin from one address."""
    for name in ("any_site", "site"):
        if name in request.fixturenames:
            request.getfixturevalue(name).clock.advance(timedelta(minutes=1))


def begin(client: httpx.Client, **form: str) -> Any:
    answer = client.post("/oauth/device_authorization", data={"client_id": NAME, **form})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def ask(client: httpx.Client, begun: Any, **form: str) -> httpx.Response:
    given = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"], "client_id": NAME, **form}
    return client.post("/oauth/token", data=given)


def decide(browser: Browser, begun: Any, decision: str = "approve", **fields: str) -> httpx.Response:
    return browser.submit(
        "/device/decision", user_code=begun["user_code"], decision=decision, expiry="30", **fields
    )


def test_a_device_is_signed_in(any_site: Site) -> None:
    """From the codes to a key that works as a bearer token, is listed, and is shown to nobody else."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    with any_site.client() as client:
        begun = begin(client)
        assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", begun["user_code"])
        assert begun["verification_uri"] == f"{any_site.url}/device"
        assert begun["verification_uri_complete"] == f"{any_site.url}/device?user_code={begun['user_code']}"
        assert (begun["expires_in"], begun["interval"]) == (600, 5)
        pending = ask(client, begun)
        assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")

        shown = browser.submit("/device", user_code=begun["user_code"].lower()).text
        assert "<dt>Requested</dt>" in shown
        for told in (NAME, "127.0.0.1", begun["user_code"], "Continue only if you started this yourself"):
            assert told in shown
        decided = decide(browser, begun)
        assert decided.status_code == 200
        assert "Your device is connected" in decided.text

        answer = ask(client, begun)
        body = answer.json()
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert set(body) == {"access_token", "token_type", "expires_in"}
        assert (body["token_type"], body["expires_in"]) == ("Bearer", 30 * 86_400)
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        assert client.get(WHO, headers=bearer).json()["userid"] == user.userid
        page = browser.get("/profile/keys").text
        assert NAME in page
        assert body["access_token"] not in page + decided.text
        assert ask(client, begun).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("decision", ["deny", "", "Approve", "x"])
def test_what_is_no_approval_is_a_refusal(site: Site, decision: str) -> None:
    """Whatever is not plainly an approval gives the device nothing, for good."""
    user = site.new_user()
    browser = site.browser(user.userid)
    with site.client() as client:
        begun = begin(client)
        assert "got no key" in decide(browser, begun, decision).text
        answer = ask(client, begun)
        assert (answer.status_code, answer.json()["error"]) == (400, "access_denied")
        assert decide(browser, begun).status_code == 422
    assert site.services.keys.list_of(user.user_id).items == ()


def test_the_page_says_what_is_to_be_done_with_the_code(site: Site) -> None:
    """A code that a link filled in is to be compared; an empty field and a wrong code are to be typed."""
    browser = site.browser(site.new_user().userid)
    compare, write = "Check that this is the code your device shows.", "Enter the code it shows."
    filled_in = browser.get("/device?user_code=WDJB-MJHT").text
    assert (compare in filled_in, write in filled_in) == (True, False)
    for other in (browser.get("/device"), browser.submit("/device", user_code="WDJB-MJHT")):
        assert (compare in other.text, write in other.text) == (False, True)
    assert "No device is waiting with that code. Check the code, or start again on the device." in other.text


def test_a_device_that_asks_too_often_is_slowed(site: Site) -> None:
    """Each answer of RFC 8628, section 3.5, in its own word and with 400."""
    with site.client() as client:
        begun = begin(client)
        assert ask(client, begun).json()["error"] == "authorization_pending"
        assert ask(client, begun).json()["error"] == "slow_down"
        site.clock.advance(timedelta(seconds=5))
        assert ask(client, begun).json()["error"] == "authorization_pending"
        site.clock.advance(LIFE)
        assert ask(client, begun).json()["error"] == "expired_token"
        answers = (
            ask(client, begun, device_code="nonsense"),
            ask(client, begun, device_code=""),
            ask(client, begun, client_id="another"),
            ask(client, begun, client_id=""),
        )
        assert [answer.json()["error"] for answer in answers] == [
            "invalid_grant", "invalid_request", "invalid_grant", "invalid_request",
        ]  # fmt: skip
        assert {answer.status_code for answer in answers} == {400}


def test_scopes_are_shown_and_kept(site: Site) -> None:
    """A person sees which scopes a device wants, and the key covers these alone."""
    browser = site.browser(site.new_user().userid)
    register(site.services, "orders")
    with site.client() as client:
        begun = begin(client, scope="orders:write orders:read")
        shown = browser.submit("/device", user_code=begun["user_code"]).text
        assert "<code>orders:read</code> <code>orders:write</code>" in shown
        decide(browser, begun)
        body = ask(client, begun).json()
        assert body["scope"] == "orders:read orders:write"
        unknown = begin(client, scope="nothing:read")
        answer = decide(browser, unknown)
        assert answer.status_code == 422
        assert "There is no scope nothing:read" in answer.text
        verified = client.get("/verify", headers={"Authorization": body["access_token"]})
        assert verified.headers["keyturn-scopes"] == "orders:read orders:write"
        assert verified.headers["keyturn-permissions"] == ""


def test_a_key_without_end_says_no_end(site: Site) -> None:
    """A key that never ends has no `expires_in`, which is how OAuth says so."""
    browser = site.browser(site.new_user().userid)
    with site.client() as client:
        begun = begin(client)
        browser.submit("/device/decision", user_code=begun["user_code"], decision="approve", expiry="never")
        assert set(ask(client, begun).json()) == {"access_token", "token_type"}


@pytest.mark.parametrize("fields", [{"expiry": "1"}, {"expiry": "date"}, {"expiry": ""}])
def test_an_unfit_expiry_is_told_and_decides_nothing(site: Site, fields: dict[str, str]) -> None:
    """The person is shown the same device again, with what was wrong; it still waits."""
    browser = site.browser(site.new_user().userid)
    with site.client() as client:
        begun = begin(client)
        form = {"user_code": begun["user_code"], "decision": "approve", **fields}
        answer = browser.submit("/device/decision", **form)
        assert answer.status_code == 422
        assert NAME in answer.text
        assert ask(client, begun).json()["error"] == "authorization_pending"


def test_a_stranger_signs_in_first_and_comes_back(site: Site) -> None:
    """The login leads back to the code; whatever else stands in the address leads to no other site."""
    user = site.new_user()
    with site.client() as client:
        begun = begin(client)
    with Browser(site) as browser:
        path = f"/device?user_code={begun['user_code']}"
        to_login = browser.get(path)
        assert (to_login.status_code, to_login.headers["location"]) == (303, f"/login?then={path}")
        form = browser.get(to_login.headers["location"]).text
        (then,) = re.findall(r'name="next" value="([^"]+)"', form)
        assert then == path
        answer = browser.log_in(user.userid, PASSWORD, next=html.unescape(then))
        assert answer.headers["location"] == path
        page = browser.get(path).text
        assert f'value="{begun["user_code"]}"' in page
        assert NAME not in page, "what asks is shown once the code is confirmed"
    for hostile in ("javascript:alert(1)", "WDJB-MJHT&next=//evil", HOSTILE, "//evil.example"):
        with Browser(site) as browser:
            location = browser.get("/device", params={"user_code": hostile}).headers["location"]
            assert location == "/login?then=/device"
            for then in (f"/device?user_code={hostile}", f"/device{hostile}", "/device/decision"):
                answer = browser.log_in(user.userid, PASSWORD, next=then)
                assert answer.headers["location"] == "/profile/keys", then


def test_a_hostile_device_is_text(site: Site) -> None:
    """Whatever a device calls itself is shown as text, on the page and in the list of keys."""
    browser = site.browser(site.new_user().userid)
    with site.client() as client:
        answer = client.post("/oauth/device_authorization", data={"client_id": HOSTILE})
        begun = answer.json()
        pages = [
            browser.submit("/device", user_code=begun["user_code"]).text,
            decide(browser, begun).text,
        ]
        assert ask(client, begun, client_id=HOSTILE).status_code == 200
        pages.append(browser.get("/profile/keys").text)
    for page in pages:
        assert HOSTILE not in page
        assert html.escape(HOSTILE).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page


def test_guesses_are_bounded(site: Site) -> None:
    """After a few wrong codes a person is told how long to wait, and a right one is not looked at."""
    browser = site.browser(site.new_user().userid)
    with site.client() as client:
        begun = begin(client)
    for _ in range(WRONG_CODES_PER_MINUTE):
        assert browser.submit("/device", user_code="BBBB-BBBB").status_code == 422
    for path in ("/device", "/device/decision"):
        answer = browser.submit(path, user_code=begun["user_code"], decision="approve", expiry="30")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert "Too many wrong codes" in answer.text
    site.clock.advance(timedelta(minutes=1))
    assert NAME in browser.submit("/device", user_code=begun["user_code"]).text


def test_one_address_begins_few(open_site: SiteOpener) -> None:
    """An address that begins login after login is answered 429, with how long to wait."""
    with open_site() as site, site.client() as client:
        form = {"client_id": NAME}
        answers = [
            client.post("/oauth/device_authorization", data=form) for _ in range(BEGINNINGS_PER_MINUTE + 1)
        ]
        assert [answer.status_code for answer in answers] == [200] * BEGINNINGS_PER_MINUTE + [429]
        assert int(answers[-1].headers["retry-after"]) > 0
        assert "Too many logins" in answers[-1].json()["message"]


def test_another_site_s_form_decides_nothing(site: Site) -> None:
    """Without the token of the session, or from another site's page, nothing is looked at or decided (L8)."""
    browser = site.browser(site.new_user().userid)
    with site.client() as client:
        begun = begin(client)
        for path in ("/device", "/device/decision"):
            form = {"user_code": begun["user_code"], "decision": "approve", "expiry": "30"}
            assert browser.post(path, data=form).status_code == 403
            form["csrf"] = browser.csrf()
            headers = {"Sec-Fetch-Site": "cross-site"}
            assert browser.post(path, data=form, headers=headers).status_code == 403
        assert ask(client, begun).json()["error"] == "authorization_pending"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"client_id": ""}, "invalid_request"),
        ({"client_id": "x" * 65}, "invalid_request"),
        ({"client_id": "a\nb"}, "invalid_request"),
        ({"client_id": "a", "scope": "é"}, "invalid_scope"),
    ],
)
def test_an_unfit_beginning_is_refused(site: Site, form: dict[str, str], error: str) -> None:
    """What is wrong is said in the words of OAuth (RFC 6749, section 5.2)."""
    with site.client() as client:
        answer = client.post("/oauth/device_authorization", data=form)
        assert (answer.status_code, answer.json()["error"]) == (400, error)
        assert client.post("/oauth/device_authorization", json={"client_id": "a"}).status_code == 400
