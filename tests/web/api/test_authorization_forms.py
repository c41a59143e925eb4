"""Each form of `Authorization` that real clients send, on each protected route, and those refused (H1-H6)."""

from __future__ import annotations

import base64
import hashlib
import secrets
import string
from typing import TYPE_CHECKING

import pytest

from keyturn.core.encoding import crc32_base62
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.sizes import FULL
from tests.statements import statements
from tests.web.sites import ROUTES, filled, status_of, statuses_of
from tests.web.test_route_table import UNKNOWN

if TYPE_CHECKING:
    from tests.web.sites import Site

WHO = "/bim/rpc/user/current"
ADMIN = "admin@example.com"

FORMS = {
    "key": "{key}",
    "token": "{token}",
    "Bearer key": "Bearer {key}",
    "Bearer token": "Bearer {token}",
    "scheme in lower case, key": "bearer {key}",
    "scheme in upper case, token": "BEARER {token}",
    "scheme in mixed case, key": "bEaReR {key}",
    "several spaces, key": "Bearer    {key}",
    "several spaces, token": "Bearer    {token}",
    "trailing white space, key": "{key} \t ",
    "trailing white space, token": "Bearer {token}\t",
    "leading white space, key": "  \t{key}",
    "leading white space, Bearer token": "\t Bearer {token}",
}


def token_for(site: Site, key: str) -> str:
    issued = site.services.exchange.exchange(in_header=[], in_body=key, origin=Origin())
    return issued.token


def lines(*values: str | bytes) -> list[bytes]:
    return [
        b"Authorization: " + (value if isinstance(value, bytes) else value.encode("latin-1"))
        for value in values
    ]


def target_of(path: str) -> str:
    """Return the path of a request. Of connections that a call could delete there is none."""
    may_end = path.startswith("/api/connections/")
    return filled(path, **(PARAMETERS | {"connection_key": "no-such"} if may_end else PARAMETERS))


def statuses(site: Site, routes: list[tuple[str, str]], header: list[bytes]) -> list[int]:
    """Send the same header to each route, one after the other over one connection; return the statuses."""
    requests = [
        f"{method} {target_of(path)} HTTP/1.1\r\nHost: {site.host}\r\n".encode()
        + b"".join(line + b"\r\n" for line in header)
        + b"Content-Length: 0\r\n"
        for method, path in routes
    ]
    return statuses_of(site.raw(b"\r\n".join([*requests, b""])[:-2] + b"Connection: close\r\n\r\n"))


def protected(site: Site) -> list[tuple[str, str]]:
    return [
        (method, path)
        for method, path in site.routes()
        if not ROUTES.is_open(method, filled(path, **PARAMETERS))
        and not ROUTES.is_page(filled(path, **PARAMETERS))
    ]


PARAMETERS: dict[str, object] = {
    **UNKNOWN,
    "iamid": "bim",
    "userid": ADMIN,
    "keyid": 987654321,
    "key_id": 987654321,
    "session_id": 987654321,
    "connection_key": "123456789",
    "name": "no-such",
    "path": "openapi.json",
}

OWN_ANSWER = {
    ("POST", "/bim/apikey"): 200,
    ("POST", "/apikey"): 200,
    ("GET", "/bim/iam/{iamid:str}/user/{userid:str}/apikeys"): 200,
    ("GET", "/iam/{iamid:str}/user/{userid:str}/apikeys"): 200,
    ("DELETE", "/apikey/{keyid:str}"): 404,
    ("DELETE", "/bim/apikey/{keyid:str}"): 404,
    ("GET", "/bim/rpc/user/current"): 200,
    ("GET", "/data/connection/{connection_key:str}"): 200,
}
"""What each protected route of ours answers to the parameters above."""


ENDS_THE_TOKEN = ("POST", "/bim/iam/{iamid:str}/user/{userid:str}/sign-out")
"""With the parameters above the caller signs themselves out, and each form after it would be refused."""

ON_EACH_ROUTE = FORMS if FULL else ("Bearer token",)
"""The forms that are sent to every route, as the key alone is. All routes lie behind the gate, which reads
the header (`tests/web/test_route_table.py`), so the others go to those whose answer is known."""


@pytest.mark.sized
@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_accepted_on_each_protected_route(site: Site, name: str) -> None:
    """The four forms, with any spelling of the scheme and of the white space, reach the route itself."""
    key = site.key(ADMIN).secret
    value = FORMS[name].format(key=key, token=token_for(site, key))
    assert set(OWN_ANSWER) <= set(protected(site))
    routes = protected(site) if name in ON_EACH_ROUTE else [*OWN_ANSWER]
    routes = [route for route in routes if route != ENDS_THE_TOKEN]
    answers = statuses(site, routes, lines(value))
    # By the key alone, which is what every form must come to: many routes miss a body, and say so.
    plain = statuses(site, routes, lines(key))
    for (method, path), status, expected in zip(routes, answers, plain, strict=True):
        if (method, path) in OWN_ANSWER:
            assert status == OWN_ANSWER[method, path], f"{method} {path}"
        assert status == expected, f"{method} {path}"
        assert status != 401, f"{method} {path}"
        assert status < 500, f"{method} {path}"


def test_the_exchange_takes_a_key_in_the_header_in_each_form(site: Site) -> None:
    """The exchange takes the key from `Authorization` in the forms that the other routes take."""
    key = site.key(ADMIN).secret
    with site.client() as client:
        for path in ("/bim/apikey/authenticate", "/apikey/authenticate"):
            for value in (key, f"Bearer {key}", f"bearer  {key}", f"BEARER {key}"):
                answer = client.post(path, headers={"Authorization": value})
                assert answer.status_code == 200, value


def test_the_exchange_gives_no_token_for_a_token(site: Site) -> None:
    """A token cannot renew itself, neither in the header nor in the body."""
    token = token_for(site, site.key(ADMIN).secret)
    with site.client() as client:
        answers = [
            client.post("/bim/apikey/authenticate", headers={"Authorization": token}),
            client.post("/bim/apikey/authenticate", headers={"Authorization": f"Bearer {token}"}),
            client.post("/bim/apikey/authenticate", json={"apikey": token}),
        ]
    for answer in answers:
        assert answer.status_code == 401
        assert "token" not in answer.json()


def test_a_stale_token_does_not_stand_in_the_way_of_the_exchange(site: Site) -> None:
    """A client that still sends the token that ended gets a new one for the key in the body."""
    key = site.key(ADMIN).secret
    token = token_for(site, key)
    with site.client() as client:
        for value in (token, f"Bearer {token}"):
            answer = client.post(
                "/bim/apikey/authenticate", json={"apikey": key}, headers={"Authorization": value}
            )
            assert answer.status_code == 200
            wrong = client.post(
                "/bim/apikey/authenticate", json={"apikey": "x"}, headers={"Authorization": value}
            )
            assert wrong.status_code == 401


@pytest.mark.parametrize("same", [True, False])
def test_two_authorization_lines_are_refused_on_each_protected_route(site: Site, same: bool) -> None:
    """Two lines are 400 everywhere, also when both are equal and good (H2)."""
    key = site.key(ADMIN).secret
    other = key if same else token_for(site, key)
    routes = [*protected(site), ("POST", "/bim/apikey/authenticate"), ("POST", "/apikey/authenticate")]
    assert set(statuses(site, routes, lines(key, other))) == {400}


@pytest.mark.parametrize("second", ["", "Bearer x", "Basic YTpi"])
def test_a_second_line_is_refused_whatever_it_holds(site: Site, second: str) -> None:
    """A second line is 400 though it holds nothing that is a credential (H2)."""
    key = site.key(ADMIN).secret
    for values in ((key, second), (second, key)):
        assert status_of(site.raw_get(WHO, *lines(*values))) == 400


@pytest.mark.parametrize(
    "query",
    [
        "access_token={key}",
        "a=b&access_token={key}",
        "apikey={key}",
        "api_key={key}",
        "apiKey={key}",
        "APIKEY={key}",
        "token={key}",
        "authorization={key}",
        "access_token=",
        "a=b;token={key}",
        pytest.param("access%5Ftoken={key}", id="percent-encoded-name"),
        pytest.param("%61pikey={key}", id="percent-encoded-first-letter"),
    ],
)
def test_a_credential_also_in_the_query_is_refused(site: Site, query: str) -> None:
    """With a good header, a credential in the query as well is 400, and its value is not told (H3)."""
    key = site.key(ADMIN).secret
    answer = site.raw_get(f"{WHO}?{query.format(key=key)}", *lines(f"Bearer {key}"))
    assert status_of(answer) == 400
    assert key.encode() not in answer


@pytest.mark.parametrize(
    "line", ["X-Api-Key: {key}", "x-api-key: other", "Api-Key: {key}", "Proxy-Authorization: Bearer {key}"]
)
def test_a_credential_also_in_another_header_is_refused(site: Site, line: str) -> None:
    """With a good header, a credential in a second header is 400 (H3)."""
    key = site.key(ADMIN).secret
    answer = site.raw_get(WHO, *lines(key), line.format(key=key).encode())
    assert status_of(answer) == 400
    assert key.encode() not in answer


@pytest.mark.parametrize("cookie", ["keyturn={value}", "__Host-keyturn={value}", "a=b; keyturn={value}"])
def test_a_credential_also_in_a_cookie_is_refused(site: Site, cookie: str) -> None:
    """With a good header, a session cookie is 400 (H3)."""
    key = site.key(ADMIN).secret
    session = site.browser(ADMIN).session_value()
    line = f"Cookie: {cookie.format(value=session)}".encode()
    assert status_of(site.raw_get(WHO, *lines(key), line)) == 400


def test_an_unrelated_cookie_is_no_credential(site: Site) -> None:
    """Cookies of other applications on the host do not stand in the way of a good credential."""
    key = site.key(ADMIN).secret
    for cookie in (b"theme=dark", b"sessionid=abc; csrftoken=def"):
        assert status_of(site.raw_get(WHO, *lines(key), b"Cookie: " + cookie)) == 200


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"params": {"access_token": "KEY"}, "headers": {"Authorization": "KEY"}}, id="query"),
        pytest.param({"params": {"apikey": "KEY"}, "json": {"apikey": "KEY"}}, id="query-and-body"),
        pytest.param({"headers": {"Authorization": "KEY", "X-Api-Key": "KEY"}}, id="x-api-key"),
        pytest.param({"headers": {"Authorization": "KEY"}, "json": {"apikey": "KEY"}}, id="body"),
        pytest.param({"headers": {"Authorization": "KEY"}, "data": {"apikey": "KEY"}}, id="form"),
        pytest.param({"headers": {"Authorization": "KEY", "Cookie": "keyturn=abc"}}, id="cookie"),
    ],
)
def test_the_exchange_takes_the_key_from_one_place(site: Site, extra: dict[str, dict[str, str]]) -> None:
    """A key in more than one place is 400 at the exchange too (H3)."""
    key = site.key(ADMIN).secret
    options = {
        name: {field: key if value == "KEY" else value for field, value in fields.items()}
        for name, fields in extra.items()
    }
    with site.client() as client:
        answer = client.post("/bim/apikey/authenticate", **options)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert "token" not in answer.json()


def test_a_credential_elsewhere_than_in_authorization_opens_nothing(site: Site) -> None:
    """In the query, another header, or a cookie alone, a good credential is as none at all (H3)."""
    key = site.key(ADMIN).secret
    token = token_for(site, key)
    session = site.browser(ADMIN).session_value()
    with site.client() as client:
        for credential in (key, token):
            for answer in (
                client.get(WHO, params={"access_token": credential}),
                client.get(WHO, params={"apikey": credential}),
                client.get(WHO, params={"token": credential}),
                client.get(WHO, headers={"X-Api-Key": credential}),
                client.get(WHO, headers={"Api-Key": credential}),
                client.get(WHO, headers={"Proxy-Authorization": f"Bearer {credential}"}),
                client.get(WHO, headers={"X-Authorization": f"Bearer {credential}"}),
                client.get(WHO, headers={"Cookie": f"keyturn={credential}"}),
                client.post("/bim/apikey", json={"apikey": credential}),
                client.post("/bim/apikey", data={"access_token": credential}),
                client.post("/bim/apikey/authenticate", params={"apikey": credential}),
                client.post("/bim/apikey/authenticate", headers={"X-Api-Key": credential}),
            ):
                assert answer.status_code == 401, answer.request.url
                assert answer.headers["www-authenticate"] == 'Bearer realm="keyturn"'
                assert credential not in answer.text
        assert client.get(WHO, headers={"Cookie": f"keyturn={session}"}).status_code == 401


@pytest.mark.parametrize(
    "value",
    [
        "Basic {basic}",
        "Basic {key}",
        "Digest {key}",
        "Token {key}",
        "ApiKey {key}",
        "Bearer",
        "Bearer ",
        "Bearer{key}",
        "Bearer\t{key}",
        "Bearer: {key}",
        "Bearer Bearer {key}",
        "Bearer {key} {key}",
        "Bearer {key},Bearer {key}",
        "{key},{key}",
        "{key}x",
        "{key}=",
        "{key}.",
        "{key}%00",
        "x{key}",
        '"{key}"',
        "'{key}'",
        "<{key}>",
        "{key};",
        "{key}\x0b",
        "{key}\x0c",
        "{key}\x85",
        "{key}\xa0",
        "{upper}",
        "{short}",
        "{token}x",
        "{token}=",
        "{token}.x",
        "{token_padded}",
        "Bearer token={token}",
        "",
        " ",
        "kt_",
        "null",
        "..",
        "a.b.c",
    ],
)
def test_anything_else_is_refused(site: Site, value: str) -> None:
    """A value that is no key and no token, to the last character, is 401, no more (H1, H4, H9)."""
    key = site.key(ADMIN).secret
    token = token_for(site, key)
    head, claims, signature = token.split(".")
    presented = value.format(
        key=key,
        token=token,
        upper=key.upper(),
        short=key[:-1],
        basic=base64.b64encode(f"{ADMIN}:{key}".encode()).decode(),
        token_padded=f"{head}.{claims}==.{signature}",
    )
    answer = site.raw_get(WHO, *lines(presented))
    assert status_of(answer) in ({400, 401} if "\x0b" in value or "\x0c" in value else {401})
    if status_of(answer) == 401:
        assert b'"message":"Not authenticated. Send a key or token in Authorization' in answer
        assert b'WWW-Authenticate: Bearer realm="keyturn", error="invalid_token"'.lower() in answer.lower()
    assert key.encode() not in answer


def test_no_byte_makes_the_server_fail(site: Site) -> None:
    """Each byte from 0x80 to 0xFF, before, in and after a key, is 401 and never 500 (K6)."""
    key = site.key(ADMIN).secret.encode()
    for number in range(0x80, 0x100):
        byte = bytes([number])
        values = (key + byte, byte + key, key[:20] + byte + key[21:], b"Bearer " + byte, byte * 8)
        head = f"GET {WHO} HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: ".encode()
        requests = b"\r\n\r\n".join(head + value for value in values)
        answer = site.raw(requests + b"\r\nConnection: close\r\n\r\n")
        assert statuses_of(answer) == [401] * len(values), byte
    for text in ("ключ", "Ｂｅａｒｅｒ x", "😀", "Bearer ١٢٣"):
        assert status_of(site.raw_get(WHO, b"Authorization: " + text.encode())) == 401


def test_the_exchange_refuses_every_strange_character(site: Site) -> None:
    """A key with any character beyond ASCII in it is 401 at the exchange, in the body and in the header."""
    key = site.key(ADMIN).secret
    with site.client() as client:
        for character in ("é", "Ａ", "\u200b", "\x00", "\n", " ", "😀"):
            for presented in (key + character, character + key):
                assert client.post("/apikey/authenticate", json={"apikey": presented}).status_code == 401
                assert client.post("/apikey/authenticate", data={"apikey": presented}).status_code == 401


def test_a_credential_above_8_kib_is_refused(site: Site) -> None:
    """A credential longer than any of ours is refused before anything is looked up (H5)."""
    key = site.key(ADMIN).secret
    for value in (
        "a" * (8 * 1024 + 1),
        key + "a" * 8192,
        f"Bearer {'a' * 5000}.{'b' * 5000}.{'c' * 3000}",
        "Bearer" + " " * 9000 + "x",
    ):
        assert status_of(site.raw_get(WHO, *lines(value))) in {400, 401, 431}


def look_ups(asked: list[str]) -> list[str]:
    """Return the questions about secrets: those of earlier uses, which are written meanwhile, are none."""
    return [text for text in asked if text.startswith("SELECT") and "api_key.digest" in text]


def test_a_wrong_checksum_costs_no_look_up(site: Site) -> None:
    """Well-shaped strings with a wrong checksum are refused without one question to the database (K3)."""
    alphabet = string.ascii_letters + string.digits
    with site.client() as client, statements(site.services) as asked:
        for _ in range(200):
            unchecked = "kt_" + "".join(secrets.choice(alphabet) for _ in range(12)) + "_"
            unchecked += "".join(secrets.choice(alphabet) for _ in range(32))
            right = crc32_base62(unchecked)
            wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
            assert client.get(WHO, headers={"Authorization": unchecked + wrong}).status_code == 401
        assert look_ups(asked) == []
        assert client.get(WHO, headers={"Authorization": unchecked + right}).status_code == 401
        assert len(look_ups(asked)) == 1, "among the secrets of today and the former ones at once"


def test_an_imported_key_works_in_each_form(site: Site) -> None:
    """A key that was made elsewhere is sent in the same forms, and can be exchanged."""
    text = hashlib.sha256(b"made elsewhere").hexdigest()[:32]
    site.services.keys.import_foreign(
        site.users[ADMIN].user_id, COMMAND_LINE, text=text, name="old", lifetime=None
    )
    with site.client() as client:
        for value in (text, f"Bearer {text}", f"bearer  {text}"):
            assert client.get(WHO, headers={"Authorization": value}).status_code == 200
        token = client.post("/bim/apikey/authenticate", json={"apikey": text}).json()["token"]
        for value in (token, f"Bearer {token}"):
            assert client.get(WHO, headers={"Authorization": value}).status_code == 200
        assert client.get(WHO, headers={"Authorization": text.upper()}).status_code == 401
