"""Every route refuses strangers, except those that are written down here (A1, T19)."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import httpx
import pytest

from tests.web.sites import ROUTES, Browser, filled

if TYPE_CHECKING:
    from tests.web.sites import Site

OPEN = {
    "/": 303,
    "/health/live": 200,
    "/health/ready": 200,
    "/health/seen": 404,  # For those who can read the database.
    "/.well-known/jwks.json": 200,
    "/.well-known/oauth-authorization-server": 200,
    "/.well-known/openid-configuration": 200,
    "/.well-known/oauth-protected-resource": 200,
    "/openapi.json": 200,
    "/docs": 200,
    "/docs.md": 200,
    "/docs/{path:path}": None,
    "/docs/api": 200,
    "/docs/design": 200,
    "/docs/api/{name:str}": None,
    "/llms.txt": 200,
    "/llms-full.txt": 200,
    "/sitemap.xml": 200,
    "/skill.md": 200,
    "/static/{name:str}": None,
    "/login": 200,
    "/invitation": 200,
    # Gone for ever, since there is a user.
    "/setup": 404,
}
"""What a stranger may GET, and what comes back; None where it depends on the parameter."""

OPEN_POSTS = {
    # These check a credential of their own: a stranger without one gets no further.
    "/apikey/authenticate": 401,
    "/bim/apikey/authenticate": 401,
    "/bim/iam/{iamid:str}/user/authenticate": 400,
    "/apikey/impersonate": 400,
    "/bim/apikey/impersonate": 400,
    # Not a form: refused before it is read.
    "/oauth/token": 400,
    "/bim/oauth/token": 400,
    "/oauth/introspect": 400,
    "/oauth/revoke": 400,
    "/oauth/device_authorization": 400,
    "/docs/mcp": 400,
    "/login": 403,
    "/login/again": 404,  # Only the gate leads there, with a form whose session has ended.
    "/invitation": 403,
    "/invitation/password": 403,
    "/setup": 404,
}
"""What a stranger may POST, and what an empty one is answered."""

GUARDED = ("/admin", "/profile/service-accounts")
"""Below these everything leads a stranger to the login, whatever the method."""

PAGES = {
    (one.method, one.path)
    for one in ROUTES.routes
    if one.is_page and not one.access.is_open and not one.path.startswith(GUARDED)
}
"""What does besides."""

FORMS = "Send a key or token in Authorization: alone, after Bearer, or after DPoP with a proof."
BODY = {"statusCode": 401, "error": "Unauthorized", "message": f"Not authenticated. {FORMS}"}


def plausible(site: Site) -> dict[str, object]:
    """Parameters of things that exist."""
    user = site.users["bob@example.com"]
    return {
        "iamid": "bim",
        "userid": user.userid,
        "keyid": site.key(user.userid).record.key_id,
        "key_id": 1,
        "session_id": 1,
        "user_id": user.user_id,
        "group_id": 1,
        "membership_id": 1,
        "project_id": 1,
        "resource_id": 1,
        "groupid": 1,
        "membershipid": 1,
        "projectid": 1,
        "serviceid": 1,
        "key": "team",
        "value": "core",
        "permission": "AUDIT",
        "disable": "true",
        "connection_key": "123456789",
        "object_path": "123456789",
        "job_id": "0b8f7d6e-58a4-4a39-8f0e-0f6f4f1c2f55",
        "name": "face.css",
        "path": "openapi.json",
    }


UNKNOWN: dict[str, object] = {
    "iamid": "nowhere",
    "userid": "nobody",
    "keyid": 987654321,
    "key_id": 987654321,
    "session_id": 987654321,
    "user_id": 987654321,
    "group_id": 987654321,
    "membership_id": 987654321,
    "project_id": 987654321,
    "resource_id": 987654321,
    "groupid": 987654321,
    "membershipid": 987654321,
    "projectid": 987654321,
    "serviceid": 987654321,
    "key": "no-such",
    "value": "no-such",
    "permission": "NO_SUCH",
    "disable": "no-such",
    "connection_key": "no-such",
    "object_path": "no-such",
    "job_id": "no-such",
    "name": "no-such",
    "path": "no-such",
}


def is_page(method: str, path: str) -> bool:
    return ("GET" if method == "HEAD" else method, path) in PAGES or path.startswith(GUARDED)


def is_open(method: str, path: str) -> bool:
    if method == "OPTIONS":
        # Says which methods there are, on open pages and nowhere else.
        return path in {"/login", "/login/again", "/invitation", "/invitation/password", "/setup"}
    return (method in {"GET", "HEAD"} and path in OPEN) or (method == "POST" and path in OPEN_POSTS)


def check_refused(answer: httpx.Response, method: str, challenge: str = 'Bearer realm="keyturn"') -> None:
    assert answer.status_code == 401, f"{method} {answer.request.url}: {answer.status_code} {answer.text}"
    assert answer.headers["www-authenticate"] == challenge
    assert answer.headers["content-type"] == "application/json"
    if method != "HEAD":
        assert answer.json() == BODY


@pytest.mark.parametrize("exists", [True, False])
def test_every_route_refuses_strangers_or_is_written_down(site: Site, exists: bool) -> None:
    """Without a credential each route answers one and the same 401, whether its object exists or not."""
    values = plausible(site) if exists else UNKNOWN
    routes = site.routes()
    assert len(routes) > 40
    checked = 0
    with site.client() as client:
        for method, path in routes:
            if is_page(method, path) or is_open(method, path):
                continue
            answer = client.request(method, filled(path, **values))
            check_refused(answer, method)
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("exists", [True, False])
def test_every_page_sends_strangers_to_the_login(site: Site, exists: bool) -> None:
    """A page answers a stranger with a redirect to the login and nothing else, its forms too."""
    values = plausible(site) if exists else UNKNOWN
    seen = set()
    with Browser(site) as client:
        for method, path in site.routes():
            if not is_page(method, path):
                continue
            seen.add((method, path))
            answer = client.request(method, filled(path, **values))
            assert answer.status_code == 303, f"{method} {path}"
            assert answer.headers["location"].startswith("/login?then=/")
            assert "set-cookie" not in answer.headers
    assert seen >= PAGES


def test_the_list_of_open_routes_is_exact(site: Site) -> None:
    """The routes on the list are those that are declared open, and answer as written."""
    declared = {(one.method, one.path) for one in ROUTES.routes if one.access.is_open}
    assert declared == {("GET", path) for path in OPEN} | {("POST", path) for path in OPEN_POSTS}
    routes = site.routes()
    assert {path for method, path in routes if method == "GET"} >= set(OPEN)
    assert {path for method, path in routes if method == "POST"} >= set(OPEN_POSTS)
    with site.client() as client:
        for path, status in OPEN.items():
            answer = client.get(filled(path, **UNKNOWN))
            assert answer.status_code == (status or 404), path
        for path, status in OPEN_POSTS.items():
            answer = client.post(filled(path, **UNKNOWN))
            assert answer.status_code == status, path


@pytest.mark.parametrize(
    "path",
    [
        "/admins",
        "/no/such/route",
        "/favicon.ico",
        "/metrics",
        "/verify",
        "/profiles",
        "/profile.json",
        "/login/",
        "/setup/",
        "/static",
        "/health",
        "/health/live/",
        "/Health/live",
        "/doc",
        "/docs.html",
        "/llms",
        "/llms.txt/",
        "//bim/rpc/user/current",
        "/bim//rpc/user/current",
        "/bim/rpc/user/current/",
        "/static/../bim/rpc/user/current",
        "/static/..%2fbim/rpc/user/current",
        "/static/%2e%2e/bim/rpc/user/current",
        "/health/live/../../bim/rpc/user/current",
        "/health/live;/bim/rpc/user/current",
        "/health/live%00",
        "/health/live%0a",
        "/login%0a",
        "/docs%0a",
    ],
)
def test_an_unknown_path_is_refused_as_every_other(site: Site, path: str) -> None:
    """A stranger cannot tell a path that does not exist, or is only spelled oddly, from a protected one."""
    answer = site.raw_get(path)
    status = int(answer.split(b" ", 2)[1])
    if path.startswith("/static/"):
        # Below an open folder: a file that is not there.
        assert status in {401, 404}
    else:
        assert status == 401
    assert b'"userid"' not in answer


@pytest.mark.parametrize("credential", ["Bearer x", "x", "Bearer", "Bearer null", "Bearer undefined", ""])
def test_a_placeholder_credential_opens_nothing(site: Site, credential: str) -> None:
    """`Authorization: Bearer x` is refused with invalid_token on every protected route (T19)."""
    values = plausible(site)
    with site.client(headers={"Authorization": credential}) as client:
        for method, path in site.routes():
            if is_page(method, path) or is_open(method, path):
                continue
            answer = client.request(method, filled(path, **values))
            check_refused(answer, method, 'Bearer realm="keyturn", error="invalid_token"')


@pytest.mark.parametrize("credential", ["Bearer x", "Basic YTpi"])
def test_a_credential_in_the_header_opens_no_page(site: Site, credential: str) -> None:
    """Pages ask for a session: whatever `Authorization` says, a browser is sent to the login."""
    key = site.key("admin@example.com").secret
    for value in (credential, key, f"Bearer {key}"):
        with Browser(site) as client:
            for method, path in sorted(PAGES):
                headers = {"Authorization": value}
                answer = client.request(method, filled(path, **UNKNOWN), headers=headers)
                assert answer.status_code == 303, path


NOWHERE = [
    "/nope",
    "/bim/nope",
    "/admin/nosuch",
    "/profile/x",
    "/device/x",
    "/admin/a\nb",
    "/static",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def closed_requests(site: Site) -> list[tuple[str, str]]:
    """Return requests for all that is not open: every route with every method, and what is no route."""
    paths = {filled(path, **plausible(site)) for _, path in site.routes()} | set(NOWHERE)
    return [
        (method, path) for path in sorted(paths) for method in METHODS if not ROUTES.is_open(method, path)
    ]


def test_fault_c3_a_program_without_a_credential_finds_no_path(site: Site) -> None:
    """Fault C3: every path that is not open answers one and the same 401, there or not, with any method."""
    cookies = [None, "keyturn=x", "keyturn="]
    with site.client() as client:
        for method, path in closed_requests(site):
            for cookie in cookies if path.startswith(("/admin", "/profile")) else cookies[:1]:
                headers = {"Accept": "application/json"} | ({} if cookie is None else {"Cookie": cookie})
                check_refused(client.request(method, quote(path), headers=headers), method)


def test_fault_c3_a_browser_without_a_session_is_led_to_the_login(site: Site) -> None:
    """Fault C3: the same for a browser: one answer to all, which says nothing but where it wanted to go."""
    with Browser(site) as browser:
        for method, path in closed_requests(site):
            answer = browser.request(method, quote(path), headers={"Cookie": "keyturn=x"})
            if path.startswith("/verify"):
                check_refused(answer, method)  # A gateway passes on what its browser accepts.
                continue
            assert answer.status_code == 303, f"{method} {path}"
            assert answer.headers["location"] == f"/login?then={quote(path)}"
            assert answer.content == b""
            assert "allow" not in answer.headers


def test_fault_c3_who_is_known_is_told_that_there_is_nothing(site: Site) -> None:
    """Fault C3: 404 is a page for a browser that is signed in, JSON for a program with a key."""
    key = site.key("admin@example.com").secret
    browser = site.browser("admin@example.com")
    with site.client() as client:
        for path in map(quote, NOWHERE):
            page = browser.get(path)
            assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8"), path
            assert "Page not found" in page.text
            assert f"<code>{html.escape(unquote(path))}</code>" in page.text
            assert "Sign out" in page.text
            for told in (
                client.get(path, headers={"Authorization": key}),
                browser.get(path, headers={"Accept": "application/json", "Authorization": key, "Cookie": ""}),
            ):
                assert (told.status_code, told.headers["content-type"]) == (404, "application/json"), path
                assert told.json()["error"] == "Not Found"
        # To a program with a key no page exists; what is an API route to it is no page to a browser.
        assert client.get("/profile", headers={"Authorization": key}).status_code == 404
        assert browser.get("/bim/rpc/user/current").status_code == 404
        assert (
            browser.get("/admin/nosuch", headers={"Accept": "application/json"}).json()["statusCode"] == 404
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"},
        {"Accept": "text/html;q=0, */*"},
        {"Accept": "application/json, text/html-not"},
        {"Accept": "text/html", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_fault_c3_what_only_resembles_a_browser_is_a_program(site: Site, headers: dict[str, str]) -> None:
    """Fault C3: a program that names HTML by habit, as Java's does, gets 401 and no page."""
    with site.client(headers=headers) as client:
        for path in ("/bim/rpc/user/current", "/nope", "/profile", "/admin/nosuch"):
            check_refused(client.get(path), "GET")


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({"X-Api-Key": "{key}"}, "A credential in X-Api-Key is not read."),
        ({"Api-Key": "{key}"}, "A credential in Api-Key is not read."),
        ({"X-Auth-Token": "{key}"}, "A credential in X-Auth-Token is not read."),
        ({"Authorization": "ApiKey {key}"}, "The scheme Apikey is not read."),
        ({"Authorization": "token {key}"}, "The scheme Token is not read."),
        ({"Authorization": "Basic YTpi"}, "The scheme Basic is not read."),
        ({"Authorization": "Bearer x"}, ""),
        ({}, ""),
    ],
)
def test_fault_c3_the_401_names_the_forms_that_are_read(
    site: Site, headers: dict[str, str], hint: str
) -> None:
    """Fault C3: a stranger reads how to send a credential, and where theirs was not read."""
    for secret in (site.key("bob@example.com").secret, "x"):
        sent = {name: value.format(key=secret) for name, value in headers.items()}
        for path in ("/verify", "/bim/rpc/user/current", "/nope", "/admin/nosuch"):
            with site.client(headers=sent) as client:
                answer = client.get(path)
            assert answer.status_code == 401
            assert answer.json()["message"] == f"Not authenticated. {FORMS} {hint}".strip()


def test_fault_c11_the_framework_serves_no_route_of_its_own(site: Site) -> None:
    """Fault C11: the framework's table of routes holds what is declared, and nothing else."""
    declared = {one.path for one in ROUTES.routes}
    assert {path for _, path in site.routes()} == declared
    document = httpx.get(f"{site.url}/openapi.json").json()
    assert set(document["paths"]) <= {re.sub(r":\w+}", "}", path) for path in declared}


def test_method_override_headers_change_nothing(site: Site) -> None:
    """No header or field makes one method pass for another."""
    with site.client() as client:
        for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
            answer = client.get("/bim/apikey/authenticate", headers={name: "POST"})
            assert answer.status_code == 401
            answer = client.post("/bim/rpc/user/current?_method=GET", headers={name: "GET"})
            assert answer.status_code == 401
    answer = site.raw_get(
        "/bim/rpc/user/current", b"X-Original-URL: /health/live", b"X-Rewrite-URL: /health/live"
    )
    assert answer.startswith(b"HTTP/1.1 401 ")
