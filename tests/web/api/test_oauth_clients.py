"""Other people's OAuth clients work as they are, with a key as the client's secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import jwt
import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry
from joserfc.jwt import decode as joserfc_decode
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session as RequestsSession

from keyturn.system import utc_now
from keyturn.verifying.origin import COMMAND_LINE

if TYPE_CHECKING:
    from keyturn.services.keys.keys import CreatedKey
    from tests.web.sites import Site

USER = "bob@example.com"
WHO = "/bim/rpc/user/current"


@pytest.fixture
def made(site: Site) -> CreatedKey:
    """A key, on a server that has the time of these clients, which read their own clock."""
    site.clock.now = utc_now()
    return site.key(USER)


@pytest.fixture
def client_id(made: CreatedKey) -> str:
    return f"key-{made.record.key_id}"


@pytest.fixture(autouse=True)
def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """These clients refuse http, which here is loopback alone."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_gets_describes_and_revokes(
    site: Site, made: CreatedKey, client_id: str, method: str
) -> None:
    """Authlib finds the endpoints by their metadata, gets a token, uses it, asks what it is, and ends it."""
    told = httpx.get(f"{site.url}/.well-known/oauth-authorization-server").json()
    with AuthlibSession(
        client_id, made.secret, token_endpoint_auth_method=method, scope="orders:read"
    ) as session:
        token = session.fetch_token(told["token_endpoint"], grant_type="client_credentials")
        assert session.get(f"{site.url}{WHO}").json()["userid"] == USER
        described = session.introspect_token(told["introspection_endpoint"], token=token["access_token"])
        assert described.json()["active"] is True
        assert described.json()["scope"] == "orders:read"
        revoked = session.revoke_token(told["revocation_endpoint"], token=token["access_token"])
        assert revoked.status_code == 200
        described = session.introspect_token(told["introspection_endpoint"], token=token["access_token"])
        assert described.json() == {"active": False}


@pytest.mark.parametrize("method", ["basic", "post"])
def test_requests_oauthlib_gets_a_token(site: Site, made: CreatedKey, client_id: str, method: str) -> None:
    """requests-oauthlib's client credentials give a token that it then sends by itself."""
    with RequestsSession(client=BackendApplicationClient(client_id, scope=["orders:read"])) as session:
        if method == "basic":
            token = session.fetch_token(f"{site.url}/oauth/token", auth=HTTPBasicAuth(client_id, made.secret))
        else:
            token = session.fetch_token(
                f"{site.url}/oauth/token", client_secret=made.secret, include_client_id=True
            )
        assert token["scope"] == ["orders:read"]
        assert session.get(f"{site.url}/verify").headers["Keyturn-User"] == USER


def test_requests_oauthlib_says_what_was_refused(site: Site, client_id: str) -> None:
    """A wrong secret is an error that the client knows by its code."""
    with (
        RequestsSession(client=BackendApplicationClient(client_id)) as session,
        pytest.raises(Exception, match="invalid_client"),
    ):
        session.fetch_token(f"{site.url}/oauth/token", auth=HTTPBasicAuth(client_id, "wrong"))


def test_pyjwt_verifies_by_the_key_set(site: Site, made: CreatedKey) -> None:
    """PyJWT finds the signing key of a token in the key set, also of one that a new key signed."""
    keys = jwt.PyJWKClient(f"{site.url}/.well-known/jwks.json", cooldown_duration=0)
    for _ in range(2):
        token = token_of(made, site)
        claims = jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token).key,
            algorithms=["ES256"],
            audience=site.url,
            issuer=site.url,
            options={"require": ["exp", "iat", "sub", "jti", "aud", "iss"]},
        )
        assert claims["client_id"] == f"key-{made.record.key_id}"
        site.services.signing_keys.replace_at_once(COMMAND_LINE)


def test_joserfc_verifies_by_the_key_set(site: Site, made: CreatedKey) -> None:
    """So does joserfc, which checks the claims as RFC 9068 wants them."""
    keys = KeySet.import_key_set(httpx.get(f"{site.url}/.well-known/jwks.json").json())
    read = joserfc_decode(token_of(made, site), keys, algorithms=["ES256"])
    assert read.header["typ"] == "at+jwt"
    now = int(site.services.system.timestamp())
    registry = JWTClaimsRegistry(
        now=now,
        iss={"essential": True, "value": site.url},
        aud={"essential": True, "value": site.url},
        sub={"essential": True, "value": str(site.users[USER].user_id)},
    )
    registry.validate(read.claims)


def token_of(made: CreatedKey, site: Site) -> str:
    answer = httpx.post(
        f"{site.url}/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(f"key-{made.record.key_id}", made.secret),
    )
    token: str = answer.json()["access_token"]
    return token
