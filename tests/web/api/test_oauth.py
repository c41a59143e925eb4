"""OAuth over HTTP: tokens for keys, what a token is, and its end, in the words of the RFCs."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.oauth import (
    ACCESS_TOKEN_TYPE,
    API_KEY_TYPE,
    CLIENT_CREDENTIALS,
    DEVICE_CODE,
    TOKEN_EXCHANGE,
)
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.services.oauth.endpoints import JWT_TYPE
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.conftest import PASSWORD
from tests.people import HERE, person
from tests.web.people_callers import comparable
from tests.web.people_routes import fresh_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from keyturn.services.keys.keys import CreatedKey
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

WHO = "/bim/rpc/user/current"
USER = "bob@example.com"


@dataclass
class Client:
    """A key as OAuth sees it."""

    http: httpx.Client
    made: CreatedKey

    @property
    def key(self) -> str:
        return self.made.secret

    @property
    def client_id(self) -> str:
        return f"key-{self.made.record.key_id}"

    @property
    def auth(self) -> tuple[str, str]:
        return self.client_id, self.key

    def token(self, **parameters: str) -> httpx.Response:
        form = {"grant_type": CLIENT_CREDENTIALS, **parameters}
        return self.http.post("/oauth/token", data=form, auth=self.auth)

    def exchange(self, subject: str, kind: str, **parameters: str) -> httpx.Response:
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": subject,
            "subject_token_type": kind,
            **parameters,
        }
        return self.http.post("/oauth/token", data=form)

    def introspect(self, token: str) -> Any:
        return self.http.post("/oauth/introspect", data={"token": token}, auth=self.auth).json()

    def revoke(self, token: str) -> httpx.Response:
        return self.http.post("/oauth/revoke", data={"token": token}, auth=self.auth)

    def opens(self, credential: str) -> bool:
        answer = self.http.get(WHO, headers={"Authorization": f"Bearer {credential}"})
        assert answer.status_code in {200, 401}
        return answer.status_code == 200


@pytest.fixture
def client(any_site: Site) -> Iterator[Client]:
    """A key of Bob's, and a connection to a server over either database."""
    with any_site.client() as http:
        yield Client(http, any_site.key(USER))


@pytest.fixture
def other(any_site: Site) -> Iterator[Client]:
    """A key of somebody else."""
    with any_site.client() as http:
        yield Client(http, any_site.key("admin@example.com"))


# The token endpoint


@pytest.mark.parametrize("method", ["basic", "basic by public id", "post"])
def test_a_key_is_a_client(client: Client, method: str) -> None:
    """By each way of RFC 6749, section 2.3.1, a key gets a token that no cache keeps."""
    form = {"grant_type": CLIENT_CREDENTIALS}
    match method:
        case "basic":
            answer = client.http.post("/oauth/token", data=form, auth=client.auth)
        case "basic by public id":
            answer = client.http.post("/oauth/token", data=form, auth=(client.key.split("_")[1], client.key))
        case _:
            form |= {"client_id": client.client_id, "client_secret": client.key}
            answer = client.http.post("/oauth/token", data=form)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert answer.headers["cache-control"] == "no-store"
    assert client.opens(body["access_token"])


@pytest.mark.parametrize(
    ("client_id", "spoil"), [("key-0", False), ("", False), ("bob", False), (None, True)]
)
def test_a_client_that_is_not_known_is_told_nothing(
    client: Client, client_id: str | None, *, spoil: bool
) -> None:
    """Another id, or another secret, is one and the same `invalid_client` (RFC 6749, 5.2)."""
    secret = client.key[:-1] + ("a" if client.key[-1] != "a" else "b") if spoil else client.key
    auth = (client.client_id if client_id is None else client_id, secret)

    answer = client.http.post("/oauth/token", data={"grant_type": CLIENT_CREDENTIALS}, auth=auth)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="keyturn"'
    assert answer.json() == {"error": "invalid_client", "error_description": "This client is not known."}


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic =",
        "Basic !!!",
        "Basic YQ==",
        "Basic " + base64.b64encode(b"a:\xff").decode(),
        "Digest a",
    ],
)
def test_an_unreadable_authorization_is_no_client(client: Client, value: str) -> None:
    """What cannot be read as a client is `invalid_client`, and no failure of the server."""
    answer = client.http.post(
        "/oauth/token", data={"grant_type": CLIENT_CREDENTIALS}, headers={"Authorization": value}
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "code": "x"}, "unsupported_grant_type"),
        ({"grant_type": CLIENT_CREDENTIALS, "scope": 'a"b'}, "invalid_scope"),
        ({"grant_type": CLIENT_CREDENTIALS, "scope": "é"}, "invalid_scope"),
        (
            {"grant_type": CLIENT_CREDENTIALS, "scope": " ".join(f"s{n:04}" for n in range(900))},
            "invalid_scope",
        ),
        ({"grant_type": CLIENT_CREDENTIALS, "resource": "https://elsewhere.example"}, "invalid_target"),
        ({"grant_type": CLIENT_CREDENTIALS, "audience": "elsewhere"}, "invalid_target"),
        ({"grant_type": TOKEN_EXCHANGE}, "invalid_request"),
        ({"grant_type": TOKEN_EXCHANGE, "subject_token": "x"}, "invalid_request"),
        (
            {"grant_type": TOKEN_EXCHANGE, "subject_token": "x", "subject_token_type": "urn:x"},
            "invalid_request",
        ),
        (
            {"grant_type": TOKEN_EXCHANGE, "subject_token": "x", "subject_token_type": API_KEY_TYPE},
            "invalid_request",
        ),
    ],
)
def test_each_mistake_has_its_code(client: Client, form: dict[str, str], error: str) -> None:
    """What is wrong with a request is said in the codes of RFC 6749, RFC 8693 and RFC 8707."""
    answer = client.http.post("/oauth/token", data=form, auth=client.auth)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert set(answer.json()) == {"error", "error_description"}


def test_a_request_is_a_form_with_each_parameter_once(client: Client) -> None:
    """JSON, parameters in the URL or twice, and two proofs of the client are refused (3.2)."""
    form = {"grant_type": CLIENT_CREDENTIALS}
    both = form | {"client_id": client.client_id, "client_secret": client.key}
    twice = f"grant_type={CLIENT_CREDENTIALS}&grant_type={CLIENT_CREDENTIALS}"
    answers = (
        client.http.post("/oauth/token", json=form, auth=client.auth),
        client.http.post("/oauth/token", params={"scope": "a"}, data=form, auth=client.auth),
        client.http.post(
            "/oauth/token",
            content=twice,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            auth=client.auth,
        ),
        client.http.post("/oauth/token", data=both, auth=client.auth),
    )
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_token_is_narrowed_to_what_was_asked(client: Client) -> None:
    """A token for scopes says them, covers them and no others, and carries no permission of its owner."""
    body = client.token(scope="orders:read orders:write").json()

    assert body["scope"] == "orders:read orders:write"
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    verified = client.http.get("/verify", params={"scope": "orders:read"}, headers=bearer)
    assert verified.headers["keyturn-scopes"] == "orders:read orders:write"
    assert client.http.get("/verify", params={"scope": "admin"}, headers=bearer).status_code == 403
    assert client.http.post("/project", json={"name": "x"}, headers=bearer).status_code == 403


@pytest.mark.parametrize("kind", [API_KEY_TYPE, ACCESS_TOKEN_TYPE, JWT_TYPE])
def test_a_key_or_token_is_exchanged(client: Client, kind: str) -> None:
    """Token exchange gives a token for a key, or for a token that came from one (RFC 8693, section 2.2.1)."""
    subject = client.key if kind == API_KEY_TYPE else client.token().json()["access_token"]

    answer = client.exchange(subject, kind, scope="a b")

    body = answer.json()
    assert answer.status_code == 200
    assert body["issued_token_type"] == ACCESS_TOKEN_TYPE
    assert body["scope"] == "a b"
    assert client.opens(body["access_token"])


def test_an_exchanged_token_is_never_wider(client: Client) -> None:
    """From a token for some scopes none for others is made, and none for all of its owner's rights (T15)."""
    narrow = client.token(scope="a b").json()["access_token"]

    assert client.exchange(narrow, ACCESS_TOKEN_TYPE, scope="a c").json()["error"] == "invalid_scope"
    assert client.exchange(narrow, ACCESS_TOKEN_TYPE, scope="a").json()["scope"] == "a"
    assert client.exchange(narrow, ACCESS_TOKEN_TYPE).json()["scope"] == "a b"


def test_an_exchanged_token_never_lives_longer(any_site: Site, client: Client) -> None:
    """A token that is made from a token ends with it, so that nothing is renewed for ever."""
    token = client.token().json()["access_token"]
    any_site.clock.advance(timedelta(minutes=50))

    again = client.exchange(token, ACCESS_TOKEN_TYPE).json()

    assert again["expires_in"] <= 600
    any_site.clock.advance(timedelta(seconds=again["expires_in"]))
    assert not client.opens(again["access_token"])


def test_what_is_exchanged_must_be_what_it_is_called(any_site: Site, client: Client) -> None:
    """A key is no token and a token no key; a token for a password, and an actor, are not exchanged."""
    token = client.token().json()["access_token"]
    session = any_site.services.logins.log_in_api("bim", USER, PASSWORD, Origin())
    for answer in (
        client.exchange(client.key, ACCESS_TOKEN_TYPE),
        client.exchange(token, API_KEY_TYPE),
        client.exchange(session.token, ACCESS_TOKEN_TYPE),
        client.exchange(token, ACCESS_TOKEN_TYPE, actor_token=token),
        client.exchange(token, ACCESS_TOKEN_TYPE, requested_token_type="urn:x"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_dead_key_gets_nothing(any_site: Site, client: Client) -> None:
    """A key that was revoked a moment ago is no client, and its token no subject (T15)."""
    token = client.token().json()["access_token"]
    any_site.services.keys.revoke_any(client.made.record.key_id, COMMAND_LINE)

    assert client.token().json()["error"] == "invalid_client"
    assert client.exchange(token, ACCESS_TOKEN_TYPE).json()["error"] == "invalid_request"
    assert client.exchange(client.key, API_KEY_TYPE).json()["error"] == "invalid_request"


def test_there_is_nothing_to_refresh(client: Client) -> None:
    """A client that refreshes is told to exchange its key again (http-api/tokens.md, "Refresh a token")."""
    body = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "a", "client_secret": "b"}
    answer = client.http.post("/bim/oauth/token", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    assert "exchange the API key" in answer.json()["error_description"]


# Introspection


def test_a_living_token_is_described(any_site: Site, client: Client) -> None:
    """Introspection says of a token what it is, as RFC 7662 and RFC 9068 name it."""
    token = client.token(scope="a").json()["access_token"]

    told = client.introspect(token)

    user = any_site.users[USER]
    assert told.pop("jti")
    assert told.pop("exp") - told.pop("iat") == 3600
    assert told == {
        "active": True,
        "scope": "a",
        "client_id": client.client_id,
        "username": USER,
        "token_type": "Bearer",
        "sub": str(user.user_id),
        "aud": any_site.url,
        "iss": any_site.url,
        "permissions": [],
        "iamid": "bim",
    }


def test_a_living_key_is_described(client: Client, other: Client) -> None:
    """A key that is introspected by a holder of VERIFY_CREDENTIALS is described, without its secret."""
    told = other.introspect(client.key)

    assert (told["active"], told["token_type"], told["username"]) == (True, "api_key", USER)
    assert told["permissions"] == ["CREATE_PROJECT"]
    assert client.key not in str(told)


def test_fault_b13_only_verifiers_are_told_of_others(any_site: Site) -> None:
    """Whatever of somebody else's is asked about, without VERIFY_CREDENTIALS it is as a text that is none.

    Byte for byte, also for a key that does not carry its owner's permission; of one's own all is told.
    """
    verifies = any_site.add_user(fresh_name(), frozenset({Permission.VERIFY_CREDENTIALS.value}))
    everything_else = frozenset(Permission) - {Permission.VERIFY_CREDENTIALS}
    administers, stranger = any_site.add_user(fresh_name(), everything_else), any_site.new_user()
    project = any_site.services.projects.add(
        person(any_site.services, verifies.userid), HERE, name=fresh_name(), description=None
    )
    linked = any_site.services.keys.create(
        person(any_site.services, verifies.userid), HERE, NewKey(project_id=project.project_id)
    )
    with any_site.client() as http:

        def told(asks: str, token: str) -> tuple[int, dict[str, str], bytes]:
            headers = {"Authorization": f"Bearer {asks}"}
            return comparable(http.post("/oauth/introspect", data={"token": token}, headers=headers))

        bob = Client(http, any_site.key(USER))
        login = http.post("/bim/iam/bim/user/authenticate", json={"username": USER, "password": PASSWORD})
        credentials = (
            bob.key,
            bob.token().json()["access_token"],
            bob.token(scope="a").json()["access_token"],
            login.json()["token"],
        )
        askers = [any_site.key(user.userid).secret for user in (administers, stranger)] + [linked.secret]
        for asks in askers:
            nothing = told(asks, "x")
            assert nothing[2] == b'{"active":false}'
            assert {repr(told(asks, credential)) for credential in credentials} == {repr(nothing)}
        for asks in (bob.key, credentials[2], any_site.key(verifies.userid).secret):
            for credential in credentials:
                assert json.loads(told(asks, credential)[2])["active"] is True


def test_whatever_is_not_good_is_inactive(any_site: Site, client: Client, other: Client) -> None:
    """Unknown, malformed, expired, revoked: `{"active": false}` and nothing else (T17)."""
    dead = any_site.key(USER)
    token = client.token().json()["access_token"]
    any_site.services.keys.revoke_any(dead.record.key_id, COMMAND_LINE)
    for presented in (
        dead.secret,
        client.key[:-1],
        "x",
        "a.b.c",
        "é",
        token[:-2],
        " ",
        f"Bearer {client.key}",
    ):
        assert other.introspect(presented) == {"active": False}, presented
    any_site.clock.advance(timedelta(hours=1))
    assert other.introspect(token) == {"active": False}


def test_introspection_asks_who_asks(client: Client) -> None:
    """Without proof of a client nothing is said of any token (T17)."""
    for options in ({}, {"headers": {"Authorization": "Bearer nonsense"}}, {"auth": ("key-1", "x")}):
        answer = client.http.post("/oauth/introspect", data={"token": client.key}, **options)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_what_others_present_costs_the_asking_service_nothing(open_site: SiteOpener) -> None:
    """A service may introspect wrong tokens without end: they are not its own failures."""
    with open_site(failures_per_minute=2) as site:
        site.add_people()
        with site.client() as http:
            client = Client(http, site.key(USER))
            unknown = client.key[:-1] + ("a" if client.key[-1] != "a" else "b")
            for _ in range(20):
                assert client.introspect(unknown) == {"active": False}
            assert client.token().status_code == 200


# Revocation


def test_a_token_is_ended_by_itself(client: Client) -> None:
    """A client ends its token, once or twice; its other tokens and its key go on (RFC 7009)."""
    first, second = (client.token().json()["access_token"] for _ in range(2))

    assert [client.revoke(first).status_code for _ in range(2)] == [200, 200]

    assert not client.opens(first)
    assert client.opens(second)
    assert client.opens(client.key)


def test_a_key_is_ended_with_its_tokens(client: Client) -> None:
    """A key that is revoked as a token ends with every token that was made from it."""
    token = client.token().json()["access_token"]

    assert client.revoke(client.key).status_code == 200

    assert not client.opens(client.key)
    assert not client.opens(token)


def test_nobody_ends_what_is_another_s(client: Client, other: Client) -> None:
    """A token of somebody else, and what is no token, answer the same and change nothing (R9)."""
    token = client.token().json()["access_token"]
    answers = [other.revoke(presented) for presented in (token, client.key, "nonsense", "a.b.c")]

    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert client.opens(token)
    assert client.opens(client.key)


# Metadata


def test_the_metadata_tells_where_everything_is(any_site: Site, client: Client) -> None:
    """Each endpoint that is named exists, and issuer and resource are the configured address (T18)."""
    foreign = {"Host": any_site.host, "X-Forwarded-Host": "evil.example"}
    told = client.http.get("/.well-known/oauth-authorization-server", headers=foreign).json()

    assert told == client.http.get("/.well-known/openid-configuration").json()
    assert told["issuer"] == any_site.url
    assert told["grant_types_supported"] == [CLIENT_CREDENTIALS, TOKEN_EXCHANGE, DEVICE_CODE]
    for name in (
        "token_endpoint",
        "device_authorization_endpoint",
        "introspection_endpoint",
        "revocation_endpoint",
    ):
        path = told[name].removeprefix(any_site.url)
        assert client.http.post(path, data={}).status_code in {400, 401}
    assert client.http.get(told["jwks_uri"].removeprefix(any_site.url)).json()["keys"]
    resource = client.http.get("/.well-known/oauth-protected-resource").json()
    assert (resource["resource"], resource["authorization_servers"]) == (any_site.url, [any_site.url])
