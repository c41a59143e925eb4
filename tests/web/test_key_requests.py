"""Keys that are restricted to methods and paths of requests, at every door of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.networks import read_network
from keyturn.core.oauth import ACCESS_TOKEN_TYPE, API_KEY_TYPE, TOKEN_EXCHANGE
from keyturn.core.people import ServiceOwner
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.web.sites import secret_on
from tests.web.test_key_restrictions import OPEN, fact, submit_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMIN = "admin@example.com"
WHO = "/bim/rpc/user/current"
TOLD = "This credential may not be used for this request."
ASKED = {"X-Original-Method": "GET", "X-Original-URL": "https://api.example.com/data/1?a=b"}
FORWARDED = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "api.example.com",
    "X-Forwarded-Uri": "/data/1?a=b",
}


def made(site: Site, **chosen: Any) -> dict[str, Any]:
    """A key of somebody new, as the API answers it."""
    user = site.new_user()
    with site.client() as http:
        login = {"username": user.userid, "password": PASSWORD}
        token = http.post("/bim/iam/bim/user/authenticate", json=login).json()["token"]
        answer = http.post("/bim/apikey", json=chosen, headers={"Authorization": token})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def call(site: Site, credential: str, method: str = "GET", path: str = WHO, **options: Any) -> httpx.Response:
    headers = {"Authorization": credential, **options.pop("headers", {})}
    with site.client() as http:
        return http.request(method, path, headers=headers, **options)


def exchanged(site: Site, secret: str) -> str:
    answer = call(site, secret, "POST", "/bim/apikey/authenticate")
    return str(answer.json()["token"])


def test_a_key_is_made_for_requests(any_site: Site) -> None:
    """The answer and the list say methods and paths, and the holder of the key is told why it is refused."""
    key = made(any_site, allowMethods=["POST", "GET"], allowPaths=["/bim/iam", "/bim/rpc/user"])
    assert (key["allowMethods"], key["allowPaths"]) == (["GET", "POST"], ["/bim/iam", "/bim/rpc/user"])
    assert call(any_site, key["apikey"]).status_code == 200
    user = call(any_site, key["apikey"]).json()
    listed = call(any_site, key["apikey"], path=f"/bim/iam/bim/user/{user['id']}/apikeys").json()
    assert [(hit["allowMethods"], hit["allowPaths"]) for hit in listed] == [
        (["GET", "POST"], ["/bim/iam", "/bim/rpc/user"])
    ]
    refused = call(any_site, key["apikey"], path="/project")
    assert (refused.status_code, refused.json()["message"]) == (401, TOLD)


@pytest.mark.parametrize(
    ("chosen", "method", "path", "passes"),
    [
        ({"allowMethods": ["GET"]}, "GET", WHO, True),
        ({"allowMethods": ["GET"]}, "HEAD", WHO, True),
        ({"allowMethods": ["POST"]}, "GET", WHO, False),
        ({"allowPaths": ["/bim"]}, "GET", WHO, True),
        ({"allowPaths": ["/bim/rpc/user/current"]}, "GET", WHO, True),
        ({"allowPaths": ["/bi"]}, "GET", WHO, False),
        ({"allowPaths": ["/"]}, "GET", WHO, True),
        ({"allowPaths": ["/"]}, "GET", "/bim/rpc/user/%63urrent", False),
        ({"allowPaths": ["/"]}, "GET", "/bim/rpc/../rpc/user/current", False),
        ({"allowPaths": ["/"]}, "GET", "//bim/rpc/user/current", False),
        ({"allowPaths": ["/"]}, "GET", "/bim%2frpc/user/current", False),
    ],
)
@pytest.mark.parametrize("kind", ["key", "token"])
def test_our_own_api_is_such_a_door(
    site: Site, kind: str, chosen: dict[str, Any], method: str, path: str, *, passes: bool
) -> None:
    """Method and path are those of the request as it was sent; a token of the key is restricted alike."""
    secret = made(site, **chosen)["apikey"]
    credential = secret if kind == "key" else exchanged(site, secret)
    for _ in range(2):  # The second is not answered from what is remembered of the first.
        answer = site.raw(
            f"{method} {path} HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n"
            f"Authorization: {credential}\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 200 ") is passes, answer
        assert passes or answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 ")), answer


@pytest.mark.parametrize("chosen", [{"allowMethods": ["DELETE"]}, {"allowPaths": ["/nowhere"]}], ids=str)
def test_the_exchange_is_always_allowed(any_site: Site, chosen: dict[str, Any]) -> None:
    """Every way to a token is open to the key, and its tokens open no more than it does."""
    key = made(any_site, **chosen)
    secret, client = key["apikey"], f"key-{key['keyid']}"
    of_key = {"grant_type": TOKEN_EXCHANGE, "subject_token": secret, "subject_token_type": API_KEY_TYPE}
    with any_site.client() as http:
        answers = [
            http.post("/apikey/authenticate", json={"apikey": secret}),
            http.post("/bim/apikey/authenticate", data={"apikey": secret}),
            http.post("/bim/apikey/authenticate", headers={"Authorization": secret}),
            http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(client, secret)),
            http.post("/oauth/token", data=of_key),
        ]
        tokens = [answer.json().get("token") or answer.json().get("access_token") for answer in answers]
        assert None not in tokens, [answer.text for answer in answers]
        of_token = {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": tokens[0],
            "subject_token_type": ACCESS_TOKEN_TYPE,
        }
        tokens.append(http.post("/oauth/token", data=of_token).json()["access_token"])
    for token in tokens:
        assert call(any_site, token).status_code == 401
    assert call(any_site, secret, "GET", "/bim/apikey/authenticate").status_code in {401, 405}


@pytest.mark.parametrize("chosen", [{"allowMethods": ["GET", "POST"]}, {"allowPaths": ["/"]}], ids=str)
def test_introspection_knows_no_request(any_site: Site, chosen: dict[str, Any]) -> None:
    """Whoever asks what such a key or a token of it is, is told that it is not active."""
    secret = made(any_site, **chosen)["apikey"]
    for credential in (secret, exchanged(any_site, secret)):
        answer = call(any_site, secret, "POST", "/oauth/introspect", data={"token": credential})
        assert (answer.status_code, answer.json()) == (200, {"active": False})


def test_a_restricted_key_asks_where_it_may(any_site: Site) -> None:
    """The endpoints of OAuth but the one for tokens are requests as all others."""
    key = made(any_site, allowPaths=["/oauth/revoke"])
    asks = {"token": key["apikey"]}
    assert call(any_site, key["apikey"], "POST", "/oauth/introspect", data=asks).status_code == 401
    assert call(any_site, key["apikey"], "POST", "/oauth/revoke", data=asks).status_code == 200
    assert "token" not in call(any_site, key["apikey"], "POST", "/bim/apikey/authenticate").json()


def test_a_restricted_key_makes_none_that_is_wider(any_site: Site) -> None:
    """What it makes is restricted alike or further, over the API too (A3)."""
    secret = made(any_site, allowMethods=["POST", "GET"], allowPaths=["/bim"])["apikey"]

    def make(**chosen: Any) -> httpx.Response:
        return call(any_site, secret, "POST", "/bim/apikey", json=chosen)

    assert (make().json()["allowMethods"], make().json()["allowPaths"]) == (["GET", "POST"], ["/bim"])
    narrower = make(allowMethods=["HEAD"], allowPaths=["/bim/rpc"]).json()
    assert (narrower["allowMethods"], narrower["allowPaths"]) == (["HEAD"], ["/bim/rpc"])
    for field, wider in (
        ("allowMethods", ["DELETE"]),
        ("allowPaths", ["/bim", "/"]),
        ("allowPaths", ["/bi"]),
    ):
        refused = make(**{field: wider})
        assert (refused.status_code, refused.json()["validation"][0]["field"]) == (422, field)


def test_a_retry_and_a_rotation_keep_them(any_site: Site) -> None:
    """A new secret is restricted as the former one, and no retry wins a key that is restricted otherwise."""
    key = made(any_site, allowPaths=["/bim/apikey", "/bim/rpc"])
    secret = key["apikey"]
    headers = {"Idempotency-Key": f"once {secret[-8:]}"}
    first, again, other = (
        call(any_site, secret, "POST", "/bim/apikey", json={"allowPaths": paths}, headers=headers)
        for paths in (["/bim/rpc"], ["/bim/rpc"], ["/bim/apikey"])
    )
    assert first.json()["keyid"] == again.json()["keyid"]
    assert other.status_code == 409
    new = call(any_site, secret, "POST", f"/bim/apikey/{key['keyid']}/rotate").json()
    assert new["allowPaths"] == ["/bim/apikey", "/bim/rpc"]
    assert call(any_site, new["apikey"]).status_code == 200
    assert call(any_site, new["apikey"], path="/project").status_code == 401


@pytest.mark.parametrize(
    ("field", "unfit"),
    [
        ("allowMethods", []),
        ("allowMethods", "GET"),
        ("allowMethods", ["get"]),
        ("allowMethods", ["GET"] * 21),
        ("allowPaths", [5]),
        ("allowPaths", ["data"]),
        ("allowPaths", ["/data/"]),
        ("allowPaths", ["/data/../x"]),
        ("allowPaths", ["/" + "x" * 255]),
    ],
)
def test_unfit_requests_make_no_key(site: Site, field: str, unfit: object) -> None:
    """What could match nothing is 422 at its field, for one's own and an account's keys."""
    admin = site.key(ADMIN).secret
    account = site.services.users.add(
        COMMAND_LINE,
        userid=f"requests {site.new_user().userid}",
        name=None,
        permissions=frozenset(),
        owner=ServiceOwner(1),
    )
    for path in ("/bim/apikey", f"/serviceaccount/{account.userid}/apikey"):
        refused = call(site, admin, "POST", path, json={field: unfit})
        assert refused.status_code == 422
        assert refused.json()["validation"][0]["field"].startswith(field)
    assert site.services.keys.list_of(account.user_id).count == 0


def test_a_key_of_a_service_account_is_restricted(site: Site) -> None:
    """Who makes it chooses its methods and paths as for their own."""
    admin = site.key(ADMIN).secret
    account = site.services.users.add(
        COMMAND_LINE,
        userid=f"requests {site.new_user().userid}",
        name=None,
        permissions=frozenset(),
        owner=ServiceOwner(1),
    )
    path = f"/serviceaccount/{account.userid}/apikey"
    key = call(site, admin, "POST", path, json={"allowMethods": ["GET"], "allowPaths": ["/bim/rpc"]}).json()
    assert (key["allowMethods"], key["allowPaths"]) == (["GET"], ["/bim/rpc"])
    statuses = [call(site, key["apikey"], path=asked).status_code for asked in (WHO, "/project")]
    assert statuses == [200, 401]


# Behind a gateway


@pytest.fixture(scope="module")
def behind(open_site: SiteOpener) -> Iterator[Site]:
    """A server that believes what this machine says."""
    with open_site(trusted_proxies=(read_network("127.0.0.1"),)) as opened:
        opened.add_people()
        yield opened


@pytest.mark.parametrize("headers", [ASKED, FORWARDED], ids=["nginx", "Caddy"])
@pytest.mark.parametrize("kind", ["key", "token"])
def test_a_gateway_asks_about_its_own_request(behind: Site, kind: str, headers: dict[str, str]) -> None:
    """`/verify` judges the method and path of the request that a trusted gateway names, each time anew."""
    secret = made(behind, allowMethods=["GET"], allowPaths=["/data"])["apikey"]
    credential = secret if kind == "key" else exchanged(behind, secret)
    method, *_, target = headers
    url = headers[target].replace("/data/1?a=b", "{}")
    for sent, path, status in (
        ("GET", "/data/1?a=b", 200),
        ("HEAD", "/data", 200),
        ("POST", "/data/1", 401),
        ("GET", "/database", 401),
        ("GET", "/data/../admin", 401),
        ("GET", "/data/%2e%2e/admin", 401),
        ("GET", "/data//1", 401),
        ("GET", "/bim/apikey/authenticate", 401),
    ):
        said = {**headers, method: sent, target: url.format(path)}
        assert call(behind, credential, path="/verify", headers=said).status_code == status, (sent, path)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**ASKED, **FORWARDED},
        {**ASKED, "X-Forwarded-Method": "GET"},
        *({name: value for name, value in FORWARDED.items() if name != left} for left in FORWARDED),
        {"X-Original-Method": "GET"},
        {"X-Original-URL": ASKED["X-Original-URL"]},
        {**ASKED, "X-Original-URL": "/data/1"},
        {**FORWARDED, "X-Forwarded-Uri": "data/1"},
        {**FORWARDED, "X-Forwarded-Uri": "https://api.example.com/data/1"},
    ],
    ids=lambda headers: ",".join(headers) or "nothing",
)
@pytest.mark.parametrize("chosen", [{"allowMethods": ["GET"]}, {"allowPaths": ["/"]}], ids=str)
def test_a_gateway_that_does_not_plainly_say_which_request(
    behind: Site, chosen: dict[str, Any], headers: dict[str, str]
) -> None:
    """Without one whole set of headers, or with parts of both, such a key is refused."""
    refused = call(behind, made(behind, **chosen)["apikey"], path="/verify", headers=headers)
    assert (refused.status_code, refused.json()["message"]) == (401, TOLD)


@pytest.mark.parametrize("host", ["api.example.com/data/1?", "a/data/1#", "api.example.com@b", ""])
def test_no_host_moves_the_path(behind: Site, host: str) -> None:
    """A host is what many clients can write: the path is that of its own header, whatever stands in it."""
    key = made(behind, allowPaths=["/data"])["apikey"]
    for target, status in (("/data/1", 200), ("/admin", 401), ("/admin?/data/1", 401)):
        headers = {**FORWARDED, "X-Forwarded-Host": host, "X-Forwarded-Uri": target}
        assert call(behind, key, path="/verify", headers=headers).status_code == status


@pytest.mark.parametrize("headers", [{}, ASKED, FORWARDED], ids=["nothing", "nginx", "Caddy"])
def test_nobody_else_says_which_request_it_is(site: Site, headers: dict[str, str]) -> None:
    """At `/verify` the headers of a peer that is no trusted proxy say nothing."""
    key = made(site, allowPaths=["/verify", "/data"])["apikey"]
    assert call(site, key, path="/verify", headers=headers).status_code == 401


def test_a_key_without_them_needs_no_headers(site: Site) -> None:
    """Any other key passes `/verify` as before, whatever is said of the request."""
    key = made(site)["apikey"]
    assert [call(site, key, path="/verify", headers=said).status_code for said in ({}, ASKED)] == [200, 200]


# On the pages


def test_a_person_restricts_a_key_to_requests(any_site: Site) -> None:
    """The form takes paths by lines and methods by spaces; lists, questions and the answer say them."""
    user = any_site.new_user()
    browser = any_site.browser(user.userid)
    typed = {"allowPaths": "/bim/rpc\r\n /bim/a,b \r\n/bim/iam", "allowMethods": " POST, GET"}
    shown = submit_key(browser, "/profile/keys", **typed)
    assert shown.status_code == 200
    paths = "/bim/rpc, /bim/a,b, /bim/iam"
    assert (fact(shown.text, "Paths"), fact(shown.text, "Methods")) == (paths, "GET, POST")
    assert call(any_site, secret_on(shown.text)).status_code == 200
    assert call(any_site, secret_on(shown.text), path="/project").status_code == 401
    listed = browser.get("/profile/keys").text
    assert ">GET, POST</span>" in listed
    assert ">/bim/rpc, /bim/a,b and 1 more</span>" in listed
    assert ">/bim/rpc, " in any_site.browser(ADMIN).get("/admin/keys", params={"owner": user.userid}).text
    (key,) = any_site.services.keys.list_of(user.user_id)
    for page in ("revoke", "rotate"):
        assert fact(browser.get(f"/profile/keys/{key.key_id}/{page}").text, "Paths") == paths


def test_the_page_of_a_new_key_shows_what_works(site: Site) -> None:
    """A key that may not ask who it is gets no command that would be refused, and the exchange stays."""
    browser = site.browser(site.new_user().userid)
    for path, works in (("/bim", True), ("/data", False)):
        shown = submit_key(browser, "/profile/keys", allowPaths=path).text
        assert ('id="program-1-httpx"' in shown) is works
        assert "/bim/apikey/authenticate" in shown


@pytest.mark.parametrize(
    ("fields", "at_fault", "told"),
    [
        ({"allowPaths": "/data/"}, "allowPaths", "Leave out the slash"),
        ({"allowPaths": "/data\r\nadmin"}, "allowPaths", "Entry 2 is not a canonical path"),
        ({"allowMethods": "get"}, "allowMethods", "in capitals"),
        ({"allowMethods": ","}, "allowMethods", "works nowhere"),
    ],
)
def test_a_mistake_is_told_where_it_was_typed(
    site: Site, fields: dict[str, str], at_fault: str, told: str
) -> None:
    """No key is made; the part of the form is open again, with the reason at its field."""
    user = site.new_user()
    answer = submit_key(site.browser(user.userid), "/profile/keys", **fields)
    assert (answer.status_code, OPEN in answer.text) == (422, True)
    assert told in answer.text.partition(f'id="{at_fault}-problem"')[2].partition("</p>")[0]
    assert site.services.keys.list_of(user.user_id).count == 0
