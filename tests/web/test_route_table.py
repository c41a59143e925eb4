"""Every route refuses strangers, except those that are written down here (A1, T19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.web.sites import filled

if TYPE_CHECKING:
    import httpx

    from tests.web.sites import Site

OPEN = {
    "/": 303,
    "/health/live": 200,
    "/health/ready": 200,
    "/.well-known/jwks.json": 200,
    "/.well-known/oauth-authorization-server": 200,
    "/.well-known/openid-configuration": 200,
    "/.well-known/oauth-protected-resource": 200,
    "/openapi.json": 200,
    "/docs/api": 200,
    "/docs/api/assets/{name:str}": None,
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
    # Not a form: refused before it is read.
    "/oauth/token": 400,
    "/bim/oauth/token": 400,
    "/oauth/introspect": 400,
    "/oauth/revoke": 400,
    "/oauth/device_authorization": 400,
    "/login": 403,
    "/invitation": 403,
    "/setup": 404,
}
"""What a stranger may POST, and what an empty one is answered."""

PAGES = {
    ("POST", "/logout"),
    ("GET", "/profile"),
    ("POST", "/profile"),
    ("GET", "/profile/sessions"),
    ("POST", "/profile/sessions/{session_id:str}/end"),
    ("POST", "/profile/sessions/end-others"),
    ("GET", "/profile/security"),
    ("POST", "/profile/security"),
    ("GET", "/profile/keys"),
    ("POST", "/profile/keys"),
    ("GET", "/profile/keys/{key_id:str}/revoke"),
    ("POST", "/profile/keys/{key_id:str}/revoke"),
    ("GET", "/profile/keys/{key_id:str}/rotate"),
    ("POST", "/profile/keys/{key_id:str}/rotate"),
    ("GET", "/device"),
    ("POST", "/device"),
    ("POST", "/device/decision"),
}
"""What leads a stranger to the login."""

GUARDED = ("/admin", "/profile/service-accounts")
"""Below these everything does, whatever the method."""

BODY = {"statusCode": 401, "error": "Unauthorized", "message": "Not authenticated."}


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
        "name": "keyturn.css",
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
    "name": "no-such",
    "path": "no-such",
}


def is_page(method: str, path: str) -> bool:
    return ("GET" if method == "HEAD" else method, path) in PAGES or path.startswith(GUARDED)


def is_open(method: str, path: str) -> bool:
    if method == "OPTIONS":
        # Says which methods there are, on pages and nowhere else.
        return path in {page for _, page in PAGES} | {"/login", "/invitation", "/setup"}
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
    with site.client() as client:
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
    """Each route on the list exists and answers as written, so that no dead line hides a live route."""
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
        "/docs",
        "/docs/api/",
        "/docs/api/assets/a/b",
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
        "/docs/api%0a",
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
    """Pages ask for a session: whatever `Authorization` says, a stranger is sent to the login."""
    key = site.key("admin@example.com").secret
    for value in (credential, key, f"Bearer {key}"):
        with site.client(headers={"Authorization": value}) as client:
            for method, path in sorted(PAGES):
                assert client.request(method, filled(path, **UNKNOWN)).status_code == 303, path


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
