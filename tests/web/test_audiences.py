"""A token is for one API: `/verify?audience=…` and OAuth's `resource`, over HTTP."""

from __future__ import annotations

import html
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from keyturn.client import DpopKeyPair
from keyturn.core.oauth import ACCESS_TOKEN_TYPE, API_KEY_TYPE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from keyturn.core.principal import Principal
from keyturn.errors import HOLDER_IS_TOLD, Reason
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from tests.people import HERE, restricted
from tests.web.edge.test_forward_auth import identity
from tests.web.people_routes import ADMIN, add_service, fresh_name, principal

if TYPE_CHECKING:
    import httpx

    from tests.web.sites import Site

BOB = "bob@example.com"


class Api:
    """A registered API with two scopes: `read` for everyone, `write` for a group that nobody is in."""

    def __init__(self, site: Site, admin: Principal) -> None:
        self.name = fresh_name()
        self.read, self.write = f"{self.name}:read", f"{self.name}:write"
        self.group = site.services.groups.add(admin, HERE, iamid="bim", name=fresh_name()).group_id
        scopes = [ScopeToRegister(self.read, "Read"), ScopeToRegister(self.write, None, [self.group])]
        self.identifier = add_service(site, admin, self.name, scopes).identifier

    @property
    def verify(self) -> str:
        return f"/verify?audience={quote(self.identifier, safe='')}"


@pytest.fixture
def admin(any_site: Site) -> Principal:
    return principal(any_site, ADMIN)


@pytest.fixture
def orders(any_site: Site, admin: Principal) -> Api:
    return Api(any_site, admin)


@pytest.fixture
def stock(any_site: Site, admin: Principal) -> Api:
    return Api(any_site, admin)


def narrow_key(site: Site, *scopes: str) -> str:
    return site.services.keys.create(
        principal(site, BOB), HERE, NewKey(restrictions=restricted(scopes=scopes))
    ).secret


def ask(site: Site, credential: str | None, path: str, **headers: str) -> httpx.Response:
    sent = headers if credential is None else {"Authorization": f"Bearer {credential}", **headers}
    with site.client() as client:
        return client.get(path, headers=sent)


def grant(site: Site, subject: str, **parameters: str) -> Any:
    """Exchange a key or token; return the answer's JSON."""
    kind = ACCESS_TOKEN_TYPE if subject.count(".") == 2 else API_KEY_TYPE
    form = {"grant_type": TOKEN_EXCHANGE, "subject_token": subject, "subject_token_type": kind, **parameters}
    with site.client() as client:
        return client.post("/oauth/token", data=form).json()


def token_of(site: Site, subject: str, **parameters: str) -> str:
    token: str = grant(site, subject, **parameters)["access_token"]
    return token


# /verify


def test_a_token_opens_the_api_that_it_is_for(any_site: Site, orders: Api, stock: Api) -> None:
    """There it says its scopes in full and no permission; at another API, and without audience, it is 401."""
    token = token_of(any_site, any_site.key(ADMIN).secret, resource=orders.identifier)
    for _ in range(2):  # As it is looked up, and as it is remembered.
        answer = ask(any_site, token, orders.verify)
        assert answer.status_code == 200
        assert answer.headers["keyturn-scopes"] == orders.read
        assert answer.headers["keyturn-permissions"] == ""
        for elsewhere in (stock.verify, "/verify", "/bim/rpc/user/current"):
            refused = ask(any_site, token, elsewhere)
            assert refused.status_code == 401
            assert not any(name.startswith("keyturn-") for name in refused.headers)


def test_fault_g9_a_holder_is_told_that_the_token_is_for_another_service(
    any_site: Site, orders: Api, stock: Api
) -> None:
    """A good token for another audience is told so, in the challenge too; a forged one is not."""
    key = any_site.key(BOB).secret
    whole, other = token_of(any_site, key), token_of(any_site, key, resource=stock.identifier)
    for token, path in (
        (whole, orders.verify),
        (other, orders.verify),
        (other, "/verify"),
        (other, "/bim/rpc/user/current"),
    ):
        refused = ask(any_site, token, path)
        assert refused.status_code == 401
        told = refused.json()["message"] if refused.content else HOLDER_IS_TOLD[Reason.AUDIENCE]
        assert "for another API" in told
        challenge = refused.headers["www-authenticate"]
        assert challenge == f'Bearer realm="keyturn", error="invalid_token", error_description="{told}"'
        forged = token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:]
        assert "description" not in ask(any_site, forged, path).headers["www-authenticate"]


def test_a_token_of_the_installation_opens_no_api(any_site: Site, orders: Api) -> None:
    """Neither one for a key nor one for a password is good where another audience is named."""
    key = any_site.key(BOB).secret
    login = any_site.services.logins.log_in_api("bim", BOB, "seven green lanterns drift", HERE).token
    for token in (token_of(any_site, key), login):
        assert ask(any_site, token, "/verify").status_code == 200
        assert ask(any_site, token, orders.verify).status_code == 401


def test_a_key_covers_what_its_owner_may_hold_there(any_site: Site, orders: Api, stock: Api) -> None:
    """A key says what it covers of the API; one that covers nothing there is 403 and learns no scope."""
    whole, narrow = any_site.key(BOB).secret, narrow_key(any_site, stock.read)
    for _ in range(2):
        assert ask(any_site, whole, orders.verify).headers["keyturn-scopes"] == orders.read
        assert ask(any_site, narrow, stock.verify).headers["keyturn-scopes"] == stock.read
        at_length = ask(any_site, narrow, stock.verify, Cookie="unrelated=1")  # Not by the shortest way.
        assert identity(at_length) == identity(ask(any_site, narrow, stock.verify))
        refused = ask(any_site, narrow, orders.verify)
        assert refused.status_code == 403
        assert refused.headers["www-authenticate"].endswith('error="insufficient_scope"')
    for path, status in (
        (f"{orders.verify}&scope={orders.read}", 200),
        (f"{orders.verify}&scope={orders.write}", 403),
    ):
        assert ask(any_site, whole, path).status_code == status
    assert ask(any_site, whole, f"/verify?scope={orders.write}").status_code == 403, "withheld everywhere"
    assert ask(any_site, whole, orders.verify, **{"Keyturn-Require-Scope": stock.read}).status_code == 403


def test_an_unknown_audience_is_a_mistake_of_the_gateway(any_site: Site) -> None:
    """For a good credential it is 400; a stranger and a wrong key learn nothing of it."""
    path = f"/verify?audience={quote('https://nobody.example.com', safe='')}"
    for _ in range(2):
        answer = ask(any_site, any_site.key(BOB).secret, path)
        assert (answer.status_code, "register it" in answer.json()["message"]) == (400, True)
    assert ask(any_site, None, path).status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        "audience=",
        "audience",
        "audience=a&audience=a",
        "audience=" + "x" * 256,
        "Audience=urn:x",
        "audience=urn:x&more=1",
        "audience=%ff%fe",
        "audience=http://%5B",
    ],
)
def test_an_unfit_audience_is_refused(any_site: Site, query: str) -> None:
    """Whatever is not one identifier is 400, and never read as no audience."""
    assert ask(any_site, any_site.key(BOB).secret, f"/verify?{query}").status_code == 400


def test_no_header_chooses_the_audience(any_site: Site, orders: Api, stock: Api) -> None:
    """What a client sends along never makes its token good at another API than the gateway asks for."""
    token = token_of(any_site, any_site.key(BOB).secret, resource=orders.identifier)
    for name in ("Audience", "Keyturn-Audience", "Keyturn-Require-Audience", "Resource"):
        for path, status in ((stock.verify, 401), ("/verify", 401), (orders.verify, 200)):
            assert ask(any_site, token, path, **{name: orders.identifier}).status_code == status
    target = f"{orders.verify.removeprefix('/verify')}"
    forged = {"X-Original-URI": target, "X-Forwarded-Uri": target, "X-Original-URL": target}
    assert ask(any_site, token, stock.verify, **forged).status_code == 401
    assert ask(any_site, token, f"/verify/for/x{target}").status_code == 401


# OAuth


def test_the_grant_says_what_it_gives(any_site: Site, orders: Api) -> None:
    """A token of an API says its scopes in the answer, and the API to whoever asks what it is."""
    key = any_site.key(BOB)
    answer = grant(any_site, key.secret, resource=orders.identifier)
    assert answer["scope"] == orders.read
    with any_site.client() as client:
        asking = {"auth": (f"key-{key.record.key_id}", key.secret)}
        seen = client.post("/oauth/introspect", data={"token": answer["access_token"]}, **asking).json()  # type: ignore[arg-type]
        assert (seen["active"], seen["aud"], seen["scope"]) == (True, orders.identifier, orders.read)
        assert seen["permissions"] == []
        revoked = client.post("/oauth/revoke", data={"token": answer["access_token"]}, **asking)  # type: ignore[arg-type]
        assert revoked.status_code == 200
        again = client.post("/oauth/introspect", data={"token": answer["access_token"]}, **asking).json()  # type: ignore[arg-type]
        assert again == {"active": False}
    assert ask(any_site, answer["access_token"], orders.verify).status_code == 401


@pytest.mark.parametrize("name", ["resource", "audience"])
def test_a_client_names_the_api(any_site: Site, orders: Api, name: str) -> None:
    """With client credentials `resource` (RFC 8707) and `audience` (RFC 8693) mean the same."""
    key = any_site.key(BOB)
    form = {"grant_type": CLIENT_CREDENTIALS, name: orders.identifier, "scope": orders.read}
    with any_site.client() as client:
        auth = (f"key-{key.record.key_id}", key.secret)
        token = client.post("/oauth/token", data=form, auth=auth).json()["access_token"]
    assert ask(any_site, token, orders.verify).headers["keyturn-scopes"] == orders.read


def test_a_target_is_one_registered_api(any_site: Site, orders: Api, stock: Api) -> None:
    """Several, none that is registered, or another than a token is for, are `invalid_target`."""
    key = any_site.key(BOB).secret
    token = token_of(any_site, key, resource=orders.identifier)
    for subject, asked in (
        (key, {"resource": "https://nobody.example.com"}),
        (key, {"resource": orders.identifier + "/"}),
        (key, {"resource": orders.identifier, "audience": stock.identifier}),
        (token, {"resource": stock.identifier}),
        (token, {"resource": any_site.url}),
        (token, {}),
    ):
        assert grant(any_site, subject, **asked)["error"] == "invalid_target", asked
    both = grant(any_site, key, resource=orders.identifier, audience=orders.identifier)
    assert both["scope"] == orders.read
    assert "scope" not in grant(any_site, key, resource=any_site.url), "the installation itself, not narrowed"


def test_scopes_beyond_the_api_are_refused(any_site: Site, orders: Api, stock: Api) -> None:
    """`invalid_scope` for what is withheld, of another API, or not covered by the key."""
    key, narrow = any_site.key(BOB).secret, narrow_key(any_site, stock.read)
    for scope in (orders.write, stock.read, f"{orders.read} {stock.read}", "no:such"):
        assert grant(any_site, key, resource=orders.identifier, scope=scope)["error"] == "invalid_scope", (
            scope
        )
    assert grant(any_site, narrow, resource=orders.identifier)["error"] == "invalid_scope"
    assert grant(any_site, narrow, resource=stock.identifier)["scope"] == stock.read


def test_the_metadata_names_the_scopes_that_everyone_may_hold(any_site: Site, orders: Api) -> None:
    """Strangers read of no scope that is for some alone."""
    with any_site.client() as client:
        for path in ("oauth-authorization-server", "openid-configuration"):
            supported = client.get(f"/.well-known/{path}").json()["scopes_supported"]
            assert orders.read in supported
            assert orders.write not in supported
            assert supported == sorted(supported)


# What the page of a new key prints


def run_printed(page: str, name: str) -> str:
    """Run a command as the page prints it, after the one that sets the key; return what it answers."""
    typed = []
    for each in ("set", name):
        found = re.search(rf'<code id="{each}">(.*?)</code>', page, re.DOTALL)
        assert found is not None, each
        typed.append(html.unescape(found[1]))
    done = subprocess.run(
        ["bash", "-c", "\n".join(typed)], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


def test_fault_g9_the_printed_commands_are_for_the_services_of_the_key(
    any_site: Site, orders: Api, stock: Api
) -> None:
    """A key for two services is printed with commands for each, which work there as they are."""
    chosen = {f"scope.{api.read}": "on" for api in (orders, stock)}
    page = any_site.browser(BOB).create_key(covers="chosen", **chosen).text
    targets = sorted((orders, stock), key=lambda api: api.name)
    for nth, api in enumerate(targets, 1):
        assert f"for {api.name}" in page
        assert run_printed(page, f"program-{nth}-curl").startswith("HTTP/1.1 200")
        token = json.loads(run_printed(page, f"exchange-{nth}"))["access_token"]
        assert ask(any_site, token, api.verify).headers["keyturn-scopes"] == api.read


def test_fault_g9_the_printed_program_names_the_service(any_site: Site, orders: Api) -> None:
    """The program for a key with a key pair gets a token for the service that the key is for."""
    thumbprint = DpopKeyPair.generate().jkt
    chosen = {"covers": "chosen", f"scope.{orders.read}": "on", "dpopJkt": thumbprint}
    page = any_site.browser(BOB).create_key(**chosen).text
    assert f"resource=&#34;{orders.identifier}&#34;" in page
