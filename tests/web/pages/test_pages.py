"""The pages: sessions, forms that only we can send, keys shown once, the one set-up (L5-L13, K7)."""

from __future__ import annotations

import html
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.core.audit import AuditAction
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.web.sites import ACCEPT, FORM, TIMEOUT_SECONDS, Browser, form_body, secret_on

if TYPE_CHECKING:
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMIN = "admin@example.com"
BOB = "bob@example.com"
WHO = "/bim/rpc/user/current"
NEW_PASSWORD = "three copper kettles sing"
HOSTILE = '"><img src=x onerror=1>'

FORMS = (
    "/profile",
    "/profile/keys",
    "/profile/keys/1/revoke",
    "/profile/keys/1/rotate",
    "/device",
    "/device/decision",
    "/profile/sessions/1/end",
    "/profile/sessions/end-others",
    "/profile/security",
    "/logout",
)
"""Every form of somebody who is signed in."""
ADDRESS = re.compile(r"nothing at <code>[^<]*</code>")
"""A page that is not there says which address was asked for."""


def is_signed_in(browser: httpx.Client) -> bool:
    return browser.get("/profile").status_code == 200


def revision(site: Site) -> int:
    return site.services.store.installation.revision()


# Signing in and out


def test_the_right_password_starts_a_session(site: Site) -> None:
    """Signing in leads on to the API keys with a cookie that works, and no page of the way may be stored."""
    with Browser(site) as browser:
        page = browser.get("/login")
        assert page.status_code == 200
        assert page.headers["cache-control"] == "no-store"
        answer = browser.log_in(BOB, PASSWORD)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/profile/keys"
        assert answer.headers["cache-control"] == "no-store"
        assert is_signed_in(browser)
        assert browser.get("/login").headers["location"] == "/profile/keys"


def test_a_wrong_login_does_not_say_what_was_wrong(site: Site) -> None:
    """Wrong password, unknown name, disabled account: the same bytes but for the typed name (L3).

    What is said hangs on how many failed under that name from that address, and on nothing else.
    """
    disabled = site.new_user()
    site.services.users.set_disabled(COMMAND_LINE, disabled.userid, disabled=True)
    without_password = site.services.users.add(COMMAND_LINE, userid="nopass@example.com", name=None)
    answers = []
    with Browser(site) as browser:
        for userid, password in (
            (BOB, "wrong wrong wrong"),
            ("nobody@example.com", PASSWORD),
            (disabled.userid, PASSWORD),
            (without_password.userid, PASSWORD),
            ("\x00", "\x00"),
            (HOSTILE, PASSWORD),
        ):
            answer = browser.log_in(userid, password)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
            typed = f'value="{html.escape(userid)}"'.replace("&quot;", "&#34;")
            text = re.sub(r' autofocus(="")?', "", answer.text.replace(typed, 'value=""'))
            headers = {
                name: value
                for name, value in answer.headers.items()
                if name not in {"x-request-id", "date", "content-length"}
            }
            answers.append((headers, text))
    assert "That user name and password don’t match." in answers[0][1]
    assert all(answer == answers[0] for answer in answers)


def test_an_empty_field_is_told_at_the_field(site: Site) -> None:
    """Nothing is judged until there is a name and a password; each empty field says what it wants."""
    before = revision(site)
    with Browser(site) as browser:
        for userid, password, told in (
            (BOB, "", {"password"}),
            ("", PASSWORD, {"userid"}),
            ("nobody@example.com", " ", {"password"}),
            ("", "", {"userid", "password"}),
        ):
            answer = browser.log_in(userid, password)
            assert answer.status_code == 422
            assert set(re.findall(r'id="(\w+)-problem"', answer.text)) == told
            assert ("Enter your password." in answer.text) == ("password" in told)
    assert revision(site) == before


def test_how_long_to_wait_is_said_alike(open_site: SiteOpener) -> None:
    """From the fifth failure on it is said until when, for a name that nobody has as for others (L3)."""
    with open_site() as opened:
        opened.add_people()
        disabled = opened.new_user()
        opened.services.users.set_disabled(COMMAND_LINE, disabled.userid, disabled=True)
        told = []
        with Browser(opened) as browser:
            for userid in (BOB, "nobody@example.com", disabled.userid):
                texts = [browser.log_in(userid, "wrong wrong wrong").text for _ in range(7)]
                told.append([text.replace(userid, "") for text in texts])
            assert told[0] == told[1] == told[2]
            assert ["Too many attempts" in text for text in told[0]] == [False] * 4 + [True] * 3
            assert "You can try again in 1 second, at" in told[0][4]
            assert "An administrator can unlock you sooner." in told[0][4]
            assert browser.log_in(BOB, PASSWORD).status_code == 401, "the wait is real"
            opened.clock.advance(timedelta(seconds=2))
            assert browser.log_in(BOB, PASSWORD).status_code == 303
            again = browser.log_in(BOB, "wrong wrong wrong")
            assert "Too many attempts" in again.text, "that somebody signed in is told to nobody"
            opened.clock.advance(timedelta(minutes=30))
            assert "Too many attempts" not in browser.log_in(BOB, "wrong wrong wrong").text


def test_a_password_is_never_on_a_page(site: Site) -> None:
    """No form is refilled with a password."""
    with Browser(site) as browser:
        assert "canary" not in browser.log_in(BOB, "canary canary canary").text
    signed_in = site.browser(BOB)
    answer = signed_in.submit(
        "/profile/security", current_password="canary a", password="canary b", password_again="canary c"
    )
    assert answer.status_code == 422
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ("/profile/keys", "/profile/keys"),
        ("/profile/sessions", "/profile/sessions"),
        ("/profile", "/profile"),
        ("", "/profile/keys"),
        ("//evil.example", "/profile/keys"),
        ("///evil.example", "/profile/keys"),
        ("https://evil.example/profile", "/profile/keys"),
        ("/\\evil.example", "/profile/keys"),
        ("\\\\evil.example", "/profile/keys"),
        ("/profile@evil.example", "/profile/keys"),
        ("/profile/../../evil", "/profile/keys"),
        ("/profile/\\evil.example", "/profile/keys"),
        ("/profile\r\nSet-Cookie: a=b", "/profile/keys"),
        ("/profile?x=//evil.example", "/profile/keys"),
        ("javascript:alert(1)", "/profile/keys"),
        ("/logout", "/profile/keys"),
        ("/bim/rpc/user/current", "/profile/keys"),
        ("/profile\n", "/profile/keys"),
    ],
)
def test_the_login_leads_to_our_own_pages_alone(site: Site, wanted: str, target: str) -> None:
    """Wherever the address or the form says to go next, only a page of the profile is gone to."""
    with Browser(site) as browser:
        page = browser.get("/login", params={"then": wanted})
        assert f'name="next" value="{target}"' in page.text
        assert "evil" not in page.text
        answer = browser.log_in(BOB, PASSWORD, next=wanted)
        assert answer.headers["location"] == target
        signed_in = browser.get("/login", params={"then": wanted})
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, target)


def test_a_stranger_comes_back_to_where_they_wanted_to_go(site: Site) -> None:
    """A page that needs a session is where the login leads to."""
    with Browser(site) as browser:
        lead = browser.get("/profile/keys").headers["location"]
        target = re.search(r'name="next" value="([^"]*)"', browser.get(lead).text)
        assert target is not None
        assert browser.log_in(BOB, PASSWORD, next=target[1]).headers["location"] == "/profile/keys"


def test_the_cookie_over_http_on_loopback(site: Site) -> None:
    """On loopback the cookie is HttpOnly, SameSite, for this host and session, 256 bits (L6)."""
    with Browser(site) as browser:
        (cookie,) = browser.log_in(BOB, PASSWORD).headers.get_list("set-cookie")
    parts = [part.strip().lower() for part in cookie.split(";")]
    assert re.fullmatch(r"keyturn=[A-Za-z0-9_-]{43}", cookie.partition(";")[0])
    assert {"httponly", "samesite=lax", "path=/"} <= set(parts)
    assert not any(part.startswith(("domain", "expires", "max-age")) or part == "secure" for part in parts)


def test_the_cookie_over_https(open_site: SiteOpener) -> None:
    """Where the public address is https the cookie is `__Host-` and Secure, the plain one nothing (L6)."""
    with open_site(public_url="https://keys.example.com") as secure:
        secure.add_people()
        with Browser(secure) as browser:
            (cookie,) = browser.log_in(BOB, PASSWORD).headers.get_list("set-cookie")
            parts = [part.strip().lower() for part in cookie.split(";")]
            name, _, value = cookie.partition(";")[0].partition("=")
            assert name == "__Host-keyturn"
            assert {"httponly", "samesite=lax", "path=/", "secure"} <= set(parts)
            assert not any(part.startswith("domain") for part in parts)
            for sent, status in (("__Host-keyturn", 200), ("keyturn", 303), ("__host-keyturn", 303)):
                answer = httpx.get(
                    f"{secure.url_bound}/profile", headers={"Cookie": f"{sent}={value}", "Accept": ACCEPT}
                )
                assert answer.status_code == status, sent


def test_a_login_gives_a_new_session_and_ends_the_old(site: Site) -> None:
    """Each login sets another id, and the one that the browser had before is dead (L5)."""
    browser = site.browser(BOB)
    old = browser.session_value()
    assert browser.log_in(BOB, PASSWORD).status_code == 303
    new = browser.session_value()
    assert new != old
    assert is_signed_in(browser)
    assert (
        httpx.get(f"{site.url}/profile", headers={"Cookie": f"keyturn={old}", "Accept": ACCEPT}).status_code
        == 303
    )


def test_an_id_that_the_client_chose_is_never_adopted(site: Site) -> None:
    """A session id that the browser brought to the login opens nothing, before and after (L5)."""
    for chosen in ("chosen", "A" * 43, "", "\xe9", "x" * 5000):
        headers = {"Cookie": f"keyturn={chosen}".encode("latin-1"), "Accept": ACCEPT.encode()}
        answer = httpx.post(f"{site.url}/login", data={"userid": BOB, "password": PASSWORD}, headers=headers)
        assert answer.status_code == 303
        assert answer.cookies["keyturn"] != chosen
        assert httpx.get(f"{site.url}/profile", headers=headers).status_code == 303


def test_signing_out_ends_the_session_on_the_server(site: Site) -> None:
    """After signing out the cookie is taken back, and opens nothing for whoever kept it (L7)."""
    browser = site.browser(BOB)
    kept = browser.session_value()
    answer = browser.submit("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?notice=signed-out")
    assert re.search(r'keyturn=("")?;.*Max-Age=0', answer.headers["set-cookie"])
    assert not is_signed_in(browser)
    assert (
        httpx.get(f"{site.url}/profile", headers={"Cookie": f"keyturn={kept}", "Accept": ACCEPT}).status_code
        == 303
    )
    assert "You’re signed out." in browser.get("/login?notice=signed-out").text


def test_a_session_ends_when_idle_and_after_its_time(open_site: SiteOpener) -> None:
    """A session ends at exactly 30 minutes without use, and 12 hours after its start with any (L7)."""
    with open_site() as opened:
        opened.add_people()
        idle = opened.browser(BOB)
        opened.clock.advance(timedelta(minutes=30) - timedelta(milliseconds=1))
        assert is_signed_in(idle)
        opened.clock.advance(timedelta(minutes=30))
        assert not is_signed_in(idle)
        busy = opened.browser(BOB)
        for _ in range(12 * 3 - 1):
            opened.clock.advance(timedelta(minutes=20))
            assert is_signed_in(busy)
        opened.clock.advance(timedelta(minutes=20))
        assert not is_signed_in(busy)


def test_a_disabled_person_is_out_at_once(site: Site) -> None:
    """Disabling an account ends its sessions on the next request."""
    user = site.new_user()
    browser = site.browser(user.userid)
    site.services.users.set_disabled(COMMAND_LINE, user.userid, disabled=True)
    assert not is_signed_in(browser)
    site.services.users.set_disabled(COMMAND_LINE, user.userid, disabled=False)
    assert not is_signed_in(browser)


# Forms from elsewhere


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("token", ["missing", "empty", "wrong", "other session", "old session"])
def test_a_form_needs_the_token_of_its_session(site: Site, path: str, token: str) -> None:
    """Without the CSRF token of this very session every form is 403 and changes nothing (L8)."""
    user = site.new_user()
    browser = site.browser(user.userid)
    own = browser.csrf()
    fields = {"expiry": "90", "form_id": "x", "name": "changed", "current_password": PASSWORD,
              "password": NEW_PASSWORD, "password_again": NEW_PASSWORD}  # fmt: skip
    match token:
        case "empty":
            fields["csrf"] = ""
        case "wrong":
            fields["csrf"] = own[:-1] + ("A" if own[-1] != "A" else "B")
        case "other session":
            fields["csrf"] = site.browser(user.userid).csrf()
        case "old session":
            fields["csrf"] = own
            browser.log_in(user.userid, PASSWORD)
    before = revision(site)
    answer = browser.post(path, data=fields)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert revision(site) == before
    assert is_signed_in(browser)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:8400"},
        {"Origin": "<url>.evil.example"},
        {"Origin": ""},
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "<url>", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_form_from_another_site_is_refused(site: Site, headers: dict[str, str]) -> None:
    """A foreign Origin or Sec-Fetch-Site is 403 though the token is right, at the login too (L8)."""
    headers = {name: value.replace("<url>", site.url) for name, value in headers.items()}
    user = site.new_user()
    browser = site.browser(user.userid)
    csrf = browser.csrf()
    before = revision(site)
    for path in (*FORMS, "/login"):
        fields = {"csrf": csrf, "userid": user.userid, "password": PASSWORD, "expiry": "90", "form_id": "x"}
        assert browser.post(path, data=fields, headers=headers).status_code == 403, path
    assert revision(site) == before
    assert is_signed_in(browser)


def test_a_form_from_our_own_pages_is_taken(site: Site) -> None:
    """What a browser sends with our own forms is no obstacle."""
    browser = site.browser(BOB)
    for headers in (
        {"Origin": site.url, "Sec-Fetch-Site": "same-origin"},
        {"Origin": site.url},
        {"Sec-Fetch-Site": "none"},
    ):
        answer = browser.post("/profile", data={"csrf": browser.csrf(), "name": "Bob"}, headers=headers)
        assert answer.status_code == 303


def test_the_http_twin_of_an_https_site_is_foreign(open_site: SiteOpener) -> None:
    """Where the public address is https, a page of the same name over http is another origin (L8)."""
    with open_site(public_url="https://keys.example.com") as secure:
        secure.add_people()
        form = {"userid": BOB, "password": PASSWORD}
        for origin, status in (
            ("https://keys.example.com", 303),
            ("http://keys.example.com", 403),
            ("https://keys.example.com:8443", 403),
            ("https://keys.example.com.evil.example", 403),
        ):
            answer = httpx.post(
                f"{secure.url_bound}/login",
                data=form,
                headers={"Host": "keys.example.com", "Origin": origin},
            )
            assert answer.status_code == status, origin


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "multipart/form-data; boundary=x", None]
)
def test_a_form_that_is_none_is_refused(site: Site, content_type: str | None) -> None:
    """A body that is not an URL-encoded form is 403 on every form, and changes nothing (L8)."""
    user = site.new_user()
    browser = site.browser(user.userid)
    fields = {"csrf": browser.csrf(), "expiry": "90", "form_id": "x", "userid": BOB, "password": PASSWORD}
    before = revision(site)
    headers = {} if content_type is None else {"Content-Type": content_type}
    for path in (*FORMS, "/login"):
        assert browser.post(path, content=form_body(fields), headers=headers).status_code == 403, path
    assert revision(site) == before


def test_a_form_that_cannot_be_read_is_refused(site: Site) -> None:
    """A field given twice, bytes that are no text, and too many fields are 400, and change nothing."""
    browser = site.browser(BOB)
    csrf = browser.csrf()
    before = revision(site)
    for body in (
        f"csrf={csrf}&csrf={csrf}&name=a",
        f"csrf={csrf}&name=a&name=b",
        f"csrf={csrf}&name=%FF",
        f"csrf={csrf}&name=%ED%A0%80",
        f"csrf={csrf}&" + "&".join(f"a{number}=b" for number in range(260)),
    ):
        answer = browser.post("/profile", content=body.encode(), headers={"Content-Type": FORM})
        assert answer.status_code == 400, body
    assert browser.post("/profile", content=b"\xff\xfe", headers={"Content-Type": FORM}).status_code == 400
    assert revision(site) == before


def test_get_never_changes_anything(site: Site) -> None:
    """No GET or HEAD of any page changes state, whatever its query says."""
    user = site.new_user()
    key = site.key(user.userid)
    browser = site.browser(user.userid)
    browser.get("/profile")
    csrf = browser.csrf()
    before = revision(site)
    query = f"csrf={csrf}&name=changed&expiry=never&form_id=y&password={NEW_PASSWORD}"
    for path in (*FORMS, f"/profile/keys/{key.record.key_id}/revoke", "/setup", "/login"):
        for method in ("GET", "HEAD"):
            assert browser.request(method, f"{path}?{query}").status_code < 500
    assert revision(site) == before
    assert is_signed_in(browser)


# Keys


def test_a_key_is_shown_once(any_site: Site) -> None:
    """The new key stands in the one answer to its form, which nothing may store, and nowhere else (K7)."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    answer = browser.create_key(name="nightly export", expiry="90")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    secret = secret_on(answer.text)
    assert secret not in str(answer.headers)
    assert any_site.client().get(WHO, headers={"Authorization": secret}).status_code == 200
    (record,) = any_site.services.keys.list_of(user.user_id)
    for path in (
        "/profile", "/profile/keys", f"/profile/keys/{record.key_id}/revoke", "/profile/sessions",
        f"/bim/iam/bim/user/{user.userid}/apikeys",
    ):  # fmt: skip
        headers = {"Authorization": secret} if path.startswith("/bim") else {}
        client = any_site.client() if path.startswith("/bim") else browser
        page = client.get(path, headers=headers)
        assert page.status_code == 200
        assert secret not in page.text
        assert secret[16:-4] not in page.text
    listed = browser.get("/profile/keys").text
    assert "nightly export" in listed
    assert html.escape(record.masked) in listed
    for row in any_site.services.store._database.engine.connect().exec_driver_sql("SELECT * FROM audit"):
        assert secret[16:] not in str(tuple(row))


def test_a_form_sent_twice_makes_one_key(any_site: Site) -> None:
    """The second of two submissions of one form is 409, says so, shows no key, and makes none (D5)."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    form_id = browser.form_id()
    first = browser.create_key(name="a", form_id=form_id)
    assert first.status_code == 200
    for name in ("a", "b"):
        again = browser.create_key(name=name, form_id=form_id)
        assert again.status_code == 409
        assert "kt_" not in again.text
        assert "You have already seen this key" in again.text
    assert len(any_site.services.keys.list_of(user.user_id)) == 1
    assert any_site.client().get(WHO, headers={"Authorization": secret_on(first.text)}).status_code == 200


def test_a_form_sent_many_times_at_once_makes_one_key(any_site: Site) -> None:
    """Of many submissions of one form at the same time exactly one shows a key (R10)."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    fields = {"csrf": browser.csrf(), "form_id": browser.form_id(), "expiry": "90"}
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: browser.post("/profile/keys", data=fields), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert len(any_site.services.keys.list_of(user.user_id)) == 1


@pytest.mark.parametrize("form_id", ["\x00", "é", "x" * 196, "😀" * 30, "\n"])
def test_no_form_id_makes_the_server_fail(any_site: Site, form_id: str) -> None:
    """A form id that no form of ours carries is taken or refused, never a failure of the server."""
    browser = any_site.browser(BOB)
    assert browser.create_key(form_id=form_id).status_code in {200, 400, 403, 422}


@pytest.mark.parametrize(
    "name",
    [
        HOSTILE,
        "<script>alert(1)</script>",
        "{{ 7 * 7 }}",
        "' onmouseover='alert(1)",
        "a" * 254,
        "&lt;b&gt;",
        "名前 😀",
    ],
)
def test_a_hostile_name_is_text(site: Site, name: str) -> None:
    """Whatever a key is called stands on every page as text (L10)."""
    user = site.new_user()
    browser = site.browser(user.userid)
    created = browser.create_key(name=name)
    assert created.status_code == 200
    (record,) = site.services.keys.list_of(user.user_id)
    assert record.name == name
    for page in (
        created,
        browser.get("/profile/keys"),
        browser.get(f"/profile/keys/{record.key_id}/revoke"),
        browser.create_key(name=name + "\x01"),
    ):
        assert name in html.unescape(page.text)
        assert "<img src=x" not in page.text
        assert "<script>alert" not in page.text
        assert "onmouseover='" not in page.text
        assert page.text.count("{{") == (page.text.count("{{ 7 * 7 }}"))


def test_a_hostile_profile_is_text(site: Site) -> None:
    """Whatever somebody says of themselves stands on every page as text."""
    user = site.new_user()
    browser = site.browser(user.userid)
    fields = dict.fromkeys(("name", "phone", "about", "location", "organization", "position"), HOSTILE)
    assert browser.submit("/profile", **fields, email='"><img/src=x>@example.com').status_code == 303
    for path in ("/profile", "/profile/keys", "/profile/sessions", "/profile/security"):
        page = browser.get(path).text
        assert re.search("<img.src=x", page) is None
        assert HOSTILE in html.unescape(page)


def test_a_hostile_agent_is_text(site: Site) -> None:
    """What a client calls itself stands on the pages as text, without what looks like a credential."""
    user = site.new_user()
    for agent, device in ((HOSTILE, "Unknown client"), (f"loader&{HOSTILE}", "loader")):
        browser = Browser(site, headers={"User-Agent": f"{agent} 0123456789abcdef0123456789abcdef"})
        browser.log_in(user.userid, PASSWORD)
        page = browser.get("/profile/sessions").text
        assert "<img src=x" not in page
        assert f"<b>{device}</b>" in page
        assert "0123456789abcdef" not in page


def test_unfit_names_are_refused(site: Site) -> None:
    """A name that is too long or holds control characters is 422, said at its field, and makes no key."""
    user = site.new_user()
    browser = site.browser(user.userid)
    for name in ("a" * 255, "a\nb", "\x00", "a\x1b[31m", "a\x7f"):
        answer = browser.create_key(name=name)
        assert answer.status_code == 422
        assert 'id="name-problem"' in answer.text
    assert site.services.keys.list_of(user.user_id).items == ()
    assert browser.create_key(name="   ").status_code == 200


def test_each_choice_of_expiry_is_kept(any_site: Site) -> None:
    """A key ends after the chosen days, at the end of the chosen day in UTC, or never, as audited."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    now = any_site.clock.now
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    day = timedelta(days=1)
    choices: list[tuple[dict[str, str], datetime | None]] = [
        ({"expiry": "7"}, now + 7 * day),
        ({"expiry": "30"}, now + 30 * day),
        ({"expiry": "90"}, now + 90 * day),
        ({"expiry": "365"}, now + 365 * day),
        ({"expiry": "365", "expiry_date": "1999-01-01"}, now + 365 * day),
        ({"expiry": "date", "expiry_date": now.date().isoformat()}, midnight + day),
        ({"expiry": "date", "expiry_date": "2028-02-29"}, datetime(2028, 3, 1, tzinfo=now.tzinfo)),
        ({"expiry": "never"}, None),
    ]
    for fields, expected in choices:
        assert browser.create_key(**fields).status_code == 200, fields
        assert any_site.services.keys.list_of(user.user_id)[0].expires_at == expected, fields
    page = browser.get("/profile/keys/new").text
    assert re.search(r'value="90"\s+checked', page)
    assert f"{now + 90 * day:%a, %b} {(now + 90 * day).day}, " in page
    engine = any_site.services.store._database.engine
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT details FROM audit ORDER BY id").all()
    assert '"expires":"never"' in rows[-1][0]


@pytest.mark.parametrize(
    "fields",
    [
        {"expiry": ""},
        {"expiry": "1"},
        {"expiry": "0"},
        {"expiry": "-7"},
        {"expiry": "07"},
        {"expiry": "7 "},
        {"expiry": "７"},
        {"expiry": "99999999999999999999"},
        {"expiry": "Never"},
        {"expiry": "date"},
        {"expiry": "date", "expiry_date": ""},
        {"expiry": "date", "expiry_date": "2026-11-24"},
        {"expiry": "date", "expiry_date": "1999-01-01"},
        {"expiry": "date", "expiry_date": "0001-01-01"},
        {"expiry": "date", "expiry_date": "2037-01-01"},
        {"expiry": "date", "expiry_date": "9999-12-31"},
        {"expiry": "date", "expiry_date": "2027-02-30"},
        {"expiry": "date", "expiry_date": "tomorrow"},
        {"expiry": "date", "expiry_date": "2027-01-01T00:00"},
        {"expiry": "date", "expiry_date": "2027-1-1"},
        {"expiry": "date", "expiry_date": "20270101"},
        {"expiry": "date", "expiry_date": "2027-W01-1"},
    ],
)
def test_any_other_expiry_is_refused(site: Site, fields: dict[str, str]) -> None:
    """An expiry in the past, too far, or in another spelling than a browser's is 422, no key (K8)."""
    user = site.new_user()
    browser = site.browser(user.userid)
    answer = browser.create_key(name="kept", **fields)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert 'value="kept"' in answer.text
    assert site.services.keys.list_of(user.user_id).items == ()


def test_never_can_be_forbidden(open_site: SiteOpener) -> None:
    """Where keys must end, the form does not offer never, and does not take it (K8)."""
    with open_site(allow_keys_without_expiry=False) as strict:
        strict.add_people()
        browser = strict.browser(BOB)
        assert 'value="never"' not in browser.get("/profile/keys/new").text
        assert browser.create_key(expiry="never").status_code == 422
        assert strict.services.keys.list_of(strict.users[BOB].user_id).items == ()


def test_a_key_is_revoked_after_a_question(any_site: Site) -> None:
    """The question tells of the last use; the answer ends the key and its tokens on the next request (R1)."""
    user = any_site.new_user()
    key = any_site.key(user.userid)
    browser = any_site.browser(user.userid)
    question = f"/profile/keys/{key.record.key_id}/revoke"
    with any_site.client(headers={"User-Agent": "nightly/1"}) as client:
        token = client.post("/apikey/authenticate", json={"apikey": key.secret}).json()["token"]
        assert client.get(WHO, headers={"Authorization": key.secret}).status_code == 200
        page = browser.get(question).text
        assert f"GET {WHO}" in page
        assert "nightly/1" in page
        assert "127.0.0.1" in page
        answer = browser.submit(question)
        notice = f"/profile/keys?notice=revoked&key={key.record.key_id}"
        assert (answer.status_code, answer.headers["location"]) == (303, notice)
        for credential in (key.secret, token):
            assert client.get(WHO, headers={"Authorization": credential}).status_code == 401
    after = browser.get(notice).text
    assert "Revoked <b>test</b>. The key and every token made from it are refused from now on." in after
    assert re.search(r'state=ended">Ended <span class="count">1<', after)
    assert question not in after


def test_the_page_of_a_key_says_what_breaks(any_site: Site) -> None:
    """Before it is revoked, its page names each caller of the last days; afterwards nothing can break."""
    user = any_site.new_user()
    key, browser = any_site.key(user.userid), any_site.browser(user.userid)
    path = f"/profile/keys/{key.record.key_id}"
    assert "Nothing has used this key yet." in browser.get(path).text
    with any_site.client(headers={"User-Agent": "nightly/1"}) as client:
        assert client.get(WHO, headers={"Authorization": key.secret}).status_code == 200
    card = browser.get(path).text.partition('id="breaks"')[2]
    assert "Calls from <code>127.0.0.1</code> are refused at once." in card
    assert "nightly/1" in card
    assert f"<code>GET {WHO}</code>" in card
    browser.submit(f"{path}/revoke")
    assert 'id="breaks"' not in browser.get(path).text


def test_a_key_that_was_revoked_in_another_tab_says_so(any_site: Site) -> None:
    """Asking to revoke or rotate it leads to its page; to revoke it once more changes nothing."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    path = f"/profile/keys/{any_site.key(user.userid).record.key_id}"
    assert browser.submit(f"{path}/revoke").status_code == 303
    revoked_at = any_site.services.keys.list_of(user.user_id).items[0].revoked_at
    for question in ("revoke", "rotate"):
        answer = browser.get(f"{path}/{question}")
        assert (answer.status_code, answer.headers["location"]) == (303, path)
    assert "Revoked <b>test</b>." in browser.get(browser.submit(f"{path}/revoke").headers["location"]).text
    assert any_site.services.keys.list_of(user.user_id).items[0].revoked_at == revoked_at


def test_a_foreign_and_an_absent_key_are_one_page(any_site: Site) -> None:
    """The question and the answer for another's or no key are one 404 page (A2)."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    foreign = any_site.key(ADMIN)
    pages = []
    for key_id in (foreign.record.key_id, 987654321, 0, -1, 2**63, 10**30):
        for answer in (
            browser.get(f"/profile/keys/{key_id}/revoke"),
            browser.submit(f"/profile/keys/{key_id}/revoke"),
        ):
            assert answer.status_code == 404, key_id
            assert answer.headers["content-type"].startswith("text/html")
            pages.append(ADDRESS.sub("", answer.text))
    assert len(set(pages)) == 1
    assert any_site.client().get(WHO, headers={"Authorization": foreign.secret}).status_code == 200


# Profile, sessions, security


def test_only_what_a_person_may_say_is_stored(site: Site) -> None:
    """Fields that a person may not edit are ignored, whatever the form says (A4)."""
    user = site.new_user()
    browser = site.browser(user.userid)
    answer = browser.submit(
        "/profile",
        name="New name",
        about="two\r\nlines",
        userid="root",
        iamid="okta",
        permissions="APPLICATION_ADMIN",
        id="1",
        user_id="1",
        is_disabled="true",
        password_hash="x",
    )
    assert answer.status_code == 303
    after = site.services.users.get_by_userid("bim", user.userid)
    assert (after.user_id, after.userid, after.permissions) == (user.user_id, user.userid, user.permissions)
    assert after.profile.name == "New name"
    assert after.profile.about == "two\r\nlines"
    assert after.profile.email == user.profile.email
    for fields in ({"name": "a\x00"}, {"name": "a\nb"}, {"phone": "1" * 65}, {"about": "a" * 2001}):
        refused = browser.submit("/profile", **fields)
        assert refused.status_code == 422
        assert f'id="{next(iter(fields))}-problem"' in refused.text


def test_sessions_are_listed_and_ended(any_site: Site) -> None:
    """Sessions of browsers and password tokens are listed, and end one by one or all others at once (L7)."""
    user = any_site.new_user()
    browser, second, third = (any_site.browser(user.userid) for _ in range(3))
    login = {"username": user.userid, "password": PASSWORD}
    token = any_site.client().post("/bim/iam/bim/user/authenticate", json=login).json()["token"]
    page = browser.get("/profile/sessions").text
    ids = [int(found) for found in re.findall(r"/profile/sessions/(\d+)/end\"", page)]
    assert len(ids) == 3
    assert page.count("This device") == 1
    assert page.count('<span class="chip">token</span>') == 1
    for cookie in (browser.session_value(), second.session_value()):
        assert cookie not in page
    assert browser.submit(f"/profile/sessions/{min(ids)}/end").status_code == 303
    assert [is_signed_in(client) for client in (second, third)] == [False, True]
    assert browser.submit(f"/profile/sessions/{min(ids)}/end").status_code == 404
    assert browser.submit("/profile/sessions/end-others").status_code == 303
    assert not is_signed_in(third)
    assert any_site.client().get(WHO, headers={"Authorization": token}).status_code == 401
    assert is_signed_in(browser)
    assert "No other sessions." in browser.get("/profile/sessions").text


def test_another_persons_session_cannot_be_ended(any_site: Site) -> None:
    """Another's session and one that never was are the same 404 page (A2)."""
    browser = any_site.browser(BOB)
    victim = any_site.browser(ADMIN)
    sessions = any_site.services.sessions.list_own(
        any_site.services.sessions.find(victim.session_value()).principal  # type: ignore[union-attr]
    )
    pages = set()
    for session_id in (*(session.session_id for session in sessions), 987654321, 0, -1, 2**63):
        answer = browser.submit(f"/profile/sessions/{session_id}/end")
        assert answer.status_code == 404
        pages.add(ADDRESS.sub("", answer.text))
    assert len(pages) == 1
    assert is_signed_in(victim)


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"current_password": "wrong wrong wrong"}, "current_password"),
        ({"current_password": ""}, "current_password"),
        ({"password_again": NEW_PASSWORD + "x"}, "password_again"),
        ({"password": "short", "password_again": "short"}, "password"),
        ({"password": "a" * 20, "password_again": "a" * 20}, "password"),
        ({"password": "abcabcabcabcabcabc", "password_again": "abcabcabcabcabcabc"}, "password"),
        ({"password": "x" * 257, "password_again": "x" * 257}, "password"),
        ({"password": "", "password_again": ""}, "password"),
    ],
)
def test_an_unfit_change_of_password_is_refused(site: Site, fields: dict[str, str], at_fault: str) -> None:
    """A wrong old password, two new ones that differ, or a weak one is 422, and nothing changes."""
    user = site.new_user()
    browser = site.browser(user.userid)
    other = site.browser(user.userid)
    sent = {
        "current_password": PASSWORD,
        "password": NEW_PASSWORD,
        "password_again": NEW_PASSWORD,
    } | fields
    answer = browser.submit("/profile/security", **sent)
    assert answer.status_code == 422
    assert f'id="{at_fault}-problem"' in answer.text
    assert is_signed_in(other)
    assert site.browser(user.userid, PASSWORD)


def test_a_change_of_password_ends_what_the_old_one_opened(any_site: Site) -> None:
    """After it other sessions and password tokens are dead, keys live, the new one signs in (L7)."""
    user = any_site.new_user()
    browser, other = any_site.browser(user.userid), any_site.browser(user.userid)
    key = any_site.key(user.userid).secret
    with any_site.client() as client:
        login = {"username": user.userid, "password": PASSWORD}
        token = client.post("/bim/iam/bim/user/authenticate", json=login).json()["token"]
        answer = browser.submit(
            "/profile/security",
            current_password=PASSWORD,
            password=NEW_PASSWORD,
            password_again=NEW_PASSWORD,
        )
        assert answer.status_code == 303
        assert is_signed_in(browser)
        assert not is_signed_in(other)
        assert client.get(WHO, headers={"Authorization": token}).status_code == 401
        assert client.get(WHO, headers={"Authorization": key}).status_code == 200
    with Browser(any_site) as again:
        assert again.log_in(user.userid, PASSWORD).status_code == 401
        assert again.log_in(user.userid, NEW_PASSWORD).status_code == 303


def test_a_change_of_password_gives_a_new_session_id(site: Site) -> None:
    """Proving the password again gives the browser a new id, and the one that it had is dead (L5)."""
    user = site.new_user()
    browser = site.browser(user.userid)
    old = browser.session_value()
    browser.submit(
        "/profile/security",
        current_password=PASSWORD,
        password=NEW_PASSWORD,
        password_again=NEW_PASSWORD,
    )
    assert is_signed_in(browser)
    assert (
        httpx.get(f"{site.url}/profile", headers={"Cookie": f"keyturn={old}", "Accept": ACCEPT}).status_code
        == 303
    )


def test_each_change_is_one_audit_row(site: Site) -> None:
    """Signing in and out, and a refused login, each leave one row with request id and address (A6)."""
    user = site.new_user()
    engine = site.services.store._database.engine
    with engine.connect() as connection:
        start = connection.exec_driver_sql("SELECT max(id) FROM audit").scalar_one()
    browser = Browser(site)
    refused = browser.log_in(user.userid, "wrong wrong wrong")
    started = browser.log_in(user.userid, PASSWORD)
    ended = browser.submit("/logout")
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            f"SELECT action, request_id, address FROM audit WHERE id > {start} ORDER BY id"
        ).all()
    assert [tuple(row) for row in rows] == [
        (action.value, answer.headers["x-request-id"], "127.0.0.1")
        for action, answer in (
            (AuditAction.USER_LOGIN_FAILED, refused),
            (AuditAction.USER_LOGGED_IN, started),
            (AuditAction.USER_LOGGED_OUT, ended),
        )
    ]


# Set-up


def setup_form(code: str, /, **fields: str) -> dict[str, str]:
    return {
        "code": code,
        "userid": "root@example.com",
        "name": "Root",
        "password": PASSWORD,
        "password_again": PASSWORD,
    } | fields


def test_the_set_up_works_once(open_site: SiteOpener) -> None:
    """The printed code makes one administrator; then the page is gone, after a restart too (L13)."""
    with open_site() as fresh:
        code = fresh.services.installation.new_setup_code()
        assert code is not None
        with Browser(fresh) as browser:
            assert browser.get("/setup").status_code == 200
            for fields, field in (
                ({"code": "wrong"}, "code"),
                ({"code": ""}, "code"),
                ({"password": "short", "password_again": "short"}, "password"),
                ({"password_again": "other"}, "password_again"),
                ({"userid": ""}, "userid"),
                ({"userid": "a\x00"}, "userid"),
                ({"name": "a" * 255}, "name"),
            ):
                answer = browser.post("/setup", data=setup_form(code, **fields))
                assert answer.status_code == 422, fields
                assert f'id="{field}-problem"' in answer.text
                assert PASSWORD not in answer.text
            assert (
                browser.post("/setup", data=setup_form(code), headers={"Origin": "null"}).status_code == 403
            )
            answer = browser.post("/setup", data=setup_form(code))
            assert (answer.status_code, answer.headers["location"]) == (303, "/profile/keys")
            assert is_signed_in(browser), "the first administrator is signed in at once"
            check_set_up_is_gone(browser, code)
            assert browser.log_in("root@example.com", PASSWORD).status_code == 303
            page = browser.get("/profile").text
            for permission in ("Manage people and keys", "Manage the installation"):
                assert permission in page
        assert fresh.services.installation.new_setup_code() is None
        database = fresh.database
    with open_site(database) as restarted, Browser(restarted) as browser:
        assert restarted.services.installation.new_setup_code() is None
        check_set_up_is_gone(browser, code)
        assert len(list(restarted.services.users.list_all())) == 1


def check_set_up_is_gone(browser: Browser, code: str) -> None:
    for answer in (
        browser.get("/setup"),
        browser.post("/setup", data=setup_form(code, userid="second@example.com")),
        browser.post("/setup", content=b"x"),
    ):
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")


def test_a_new_code_voids_the_old(open_site: SiteOpener) -> None:
    """Only the code of the last start opens the set-up."""
    with open_site() as fresh, Browser(fresh) as browser:
        old, new = (fresh.services.installation.new_setup_code() for _ in range(2))
        assert browser.post("/setup", data=setup_form(str(old))).status_code == 422
        assert browser.post("/setup", data=setup_form(str(new))).status_code == 303


def test_a_first_user_from_the_command_line_closes_the_set_up(open_site: SiteOpener) -> None:
    """Once there is any user there is no set-up page, though its code was printed."""
    with open_site() as fresh, Browser(fresh) as browser:
        code = fresh.services.installation.new_setup_code()
        fresh.add_user(BOB)
        check_set_up_is_gone(browser, str(code))


def test_of_many_set_ups_at_once_one_wins(open_site: SiteOpener) -> None:
    """Of 50 posts of the right code at the same time one makes a user, and only one (R10)."""
    with open_site() as fresh:
        code = str(fresh.services.installation.new_setup_code())

        def post(number: int) -> int:
            return httpx.post(
                f"{fresh.url}/setup",
                data=setup_form(code, userid=f"root{number}@example.com"),
                timeout=TIMEOUT_SECONDS,
            ).status_code

        with ThreadPoolExecutor(50) as pool:
            statuses = list(pool.map(post, range(50)))
        assert statuses.count(303) == 1
        assert set(statuses) <= {303, 404, 422, 503}
        assert len(list(fresh.services.users.list_all())) == 1
