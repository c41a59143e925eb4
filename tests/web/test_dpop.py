"""Bound keys and tokens over HTTP: nothing without a proof for this very request, once (RFC 9449)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from keyturn.core.networks import read_network
from keyturn.core.oauth import API_KEY_TYPE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from keyturn.services.oauth.endpoints import JWT_TYPE
from tests.conftest import PASSWORD
from tests.proofs import Prover

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

WHO, VERIFY = "/bim/rpc/user/current", "/verify"
EXCHANGE, TOKEN = "/bim/apikey/authenticate", "/oauth/token"
USER = "bob@example.com"
MANY = 50
INVALID_PROOF = 'DPoP realm="keyturn", error="invalid_dpop_proof", algs="ES256 EdDSA"'
INVALID_TOKEN = 'DPoP realm="keyturn", error="invalid_token", algs="ES256 EdDSA"'
INVALID_BEARER = 'Bearer realm="keyturn", error="invalid_token"'


@dataclass
class Sender:
    """Bob's program: a key pair, and a connection to a server."""

    site: Site
    http: httpx.Client
    prover: Prover

    def proof(self, method: str, path: str, credential: str | None = None, **others: Any) -> str:
        """Return a good proof for a request of this server, or one that `others` spoil."""
        at = self.site.clock.now.timestamp()
        return self.prover.proof(method, self.site.url + path, at=at, credential=credential, **others)

    def present(
        self, credential: str, proof: str | None, *, method: str = "GET", path: str = WHO, **options: Any
    ) -> httpx.Response:
        """Send a credential as DPoP, with this proof."""
        headers = {"Authorization": f"DPoP {credential}", **options.pop("headers", {})}
        if proof is not None:
            headers["DPoP"] = proof
        return self.http.request(method, path, headers=headers, **options)

    def call(
        self, credential: str, *, method: str = "GET", path: str = WHO, **options: Any
    ) -> httpx.Response:
        """Send a credential with a good proof."""
        return self.present(
            credential, self.proof(method, path, credential), method=method, path=path, **options
        )

    def key(self) -> str:
        """Return a new key that is not bound."""
        return self.site.key(USER).secret

    def login(self) -> str:
        """Return a token of Bob's that was given for a password."""
        login = {"username": USER, "password": PASSWORD}
        return str(self.http.post("/bim/iam/bim/user/authenticate", json=login).json()["token"])

    def bound_key(self) -> str:
        """Return a new key that is bound to the key pair, as a person makes one."""
        made = self.create({"dpopJkt": self.prover.jkt}, {"Authorization": self.login()})
        assert made.status_code == 200, made.text
        return str(made.json()["apikey"])

    def create(self, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        return self.http.post("/bim/apikey", json=body, headers=headers)

    def exchange(self, key: str, proof: str | None = None) -> httpx.Response:
        headers = {} if proof is None else {"DPoP": proof}
        return self.http.post(EXCHANGE, json={"apikey": key}, headers=headers)

    def bound_token(self, key: str | None = None) -> str:
        """Return a token of a key that is bound to the key pair."""
        answer = self.exchange(key or self.key(), self.proof("POST", EXCHANGE))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def credential(self, kind: str) -> str:
        match kind:
            case "key":
                return self.bound_key()
            case "token of a key":
                return self.bound_token()
            case _:
                return self.bound_token(self.bound_key())


KINDS = ("key", "token of a key", "token of a bound key")


@pytest.fixture
def sender(any_site: Site) -> Iterator[Sender]:
    with any_site.client() as http:
        yield Sender(any_site, http, Prover())


@pytest.fixture
def eddsa(sender: Sender) -> Sender:
    return Sender(sender.site, sender.http, Prover("EdDSA"))


@pytest.fixture
def other(sender: Sender) -> Sender:
    """Who stole everything but the private key."""
    return Sender(sender.site, sender.http, Prover())


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def check_refused(answer: httpx.Response, challenge: str, message: str) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"] == challenge
    assert message in answer.json()["message"]


# Presenting


@pytest.mark.parametrize("kind", KINDS)
def test_a_bound_credential_opens_with_a_proof(sender: Sender, kind: str) -> None:
    """A bound key, and a bound token, open what others open, as often as there is a new proof."""
    credential = sender.credential(kind)
    for _ in range(3):
        answer = sender.call(credential)
        assert answer.status_code == 200, answer.text
        assert answer.json()["userid"] == USER


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer {}"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_bound_credential_alone_opens_nothing(sender: Sender, kind: str, form: str) -> None:
    """Bare or as Bearer it is refused, before and after its good use, whether or not a proof comes along."""
    credential = sender.credential(kind)
    for _ in range(2):
        for path in (WHO, VERIFY):
            for headers in ({}, {"DPoP": sender.proof("GET", path, credential)}):
                given = {"Authorization": form.format(credential), **headers}
                answer = sender.http.get(path, headers=given)
                check_refused(answer, INVALID_TOKEN, "bound to a key pair")
        assert sender.call(credential).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_proof_of_another_key_pair_opens_nothing(sender: Sender, other: Sender, kind: str) -> None:
    """Who holds the whole credential and signs with a key pair of their own is refused."""
    credential = sender.credential(kind)
    check_refused(other.call(credential), INVALID_TOKEN, "bound to a key pair")
    assert sender.call(credential).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_proof_is_good_once(sender: Sender, kind: str) -> None:
    """The same proof a second time is refused, wherever it is sent."""
    credential = sender.credential(kind)
    proof = sender.proof("GET", WHO, credential)
    assert sender.present(credential, proof).status_code == 200
    for _ in range(2):
        check_refused(sender.present(credential, proof), INVALID_PROOF, "used before")


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_replays_at_once_one_passes(sender: Sender, kind: str) -> None:
    """Fifty requests with one proof at the same time: exactly one passes."""
    credential = sender.credential(kind)
    proof = sender.proof("GET", WHO, credential)
    with ThreadPoolExecutor(MANY) as threads:
        answers = list(threads.map(lambda _: sender.present(credential, proof).status_code, range(MANY)))
    assert (answers.count(200), answers.count(401)) == (1, MANY - 1)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"htm": "POST"}, "another method"),
        ({"htu": "https://elsewhere.example.com" + WHO}, "another URL"),
        ({"htu": WHO}, "another URL"),
        ({"ath": "A" * 43}, "another credential"),
        ({"iat": 1}, "not of this minute"),
        ({"jti": ""}, "jti"),
    ],
    ids=repr,
)
def test_a_proof_for_something_else_is_told_what_is_wrong(
    sender: Sender, others: dict[str, Any], message: str
) -> None:
    """Each claim must be that of the request; the answer says which is not, and no more is lost."""
    credential = sender.bound_token()
    refused = sender.present(credential, sender.proof("GET", WHO, credential, **others))
    check_refused(refused, INVALID_PROOF, message)
    assert sender.call(credential).status_code == 200


def test_a_proof_for_another_credential_of_the_same_key_pair(sender: Sender) -> None:
    """A proof that was made for one token is none for another of the same key pair."""
    first, second = sender.bound_token(), sender.bound_token()
    check_refused(
        sender.present(second, sender.proof("GET", WHO, first)), INVALID_PROOF, "another credential"
    )


def test_a_proof_for_the_exchange_opens_nothing_else(sender: Sender) -> None:
    """Without ath a proof is refused beside a credential, on any route."""
    credential = sender.bound_token()
    check_refused(sender.present(credential, sender.proof("GET", WHO)), INVALID_PROOF, "another credential")


def test_no_proof_and_no_jwt(sender: Sender) -> None:
    """DPoP without the header, or with something that is no proof, is refused for that."""
    credential = sender.bound_token()
    check_refused(sender.present(credential, None), INVALID_PROOF, "Send a proof")
    for nonsense in ("", "x", "a.b.c", credential):
        assert sender.present(credential, nonsense).headers["www-authenticate"] == INVALID_PROOF


def test_two_proofs_make_the_request_wrong(sender: Sender) -> None:
    """Two DPoP headers are 400, equal or not (RFC 9449, section 4.3, 1)."""
    credential = sender.bound_token()
    first, second = (sender.proof("GET", WHO, credential) for _ in range(2))
    for lines in ((first, first), (first, second)):
        answer = sender.site.raw_get(
            WHO, f"Authorization: DPoP {credential}".encode(), *(f"DPoP: {line}".encode() for line in lines)
        )
        assert answer.startswith(b"HTTP/1.1 400 ")
    assert sender.present(credential, first).status_code == 200


@pytest.mark.parametrize("kind", ["key", "token"])
def test_a_credential_that_is_not_bound_is_none_with_a_proof(sender: Sender, kind: str) -> None:
    """As DPoP an unbound one is refused, before and after its good use, and stays good as Bearer."""
    credential = sender.key()
    if kind == "token":
        credential = sender.exchange(credential).json()["token"]
    for _ in range(2):
        check_refused(sender.call(credential), INVALID_BEARER, "not bound to a key pair")
        assert sender.http.get(WHO, headers={"Authorization": f"Bearer {credential}"}).status_code == 200


def test_a_credential_that_is_not_bound_may_have_any_proof_beside_it(sender: Sender) -> None:
    """Beside Bearer a DPoP header is not read (RFC 9449 has no use for it)."""
    answer = sender.http.get(WHO, headers={"Authorization": f"Bearer {sender.key()}", "DPoP": "nonsense"})
    assert answer.status_code == 200


def test_a_stranger_is_told_nothing_of_credentials(sender: Sender) -> None:
    """A made-up key with a perfect proof gets what every made-up key gets."""
    key = sender.key()
    made_up = key[:-8] + ("a" * 8 if not key.endswith("a" * 8) else "b" * 8)
    answer = sender.call(made_up)
    bare = sender.http.get(WHO, headers={"Authorization": f"Bearer {made_up}"})
    assert (answer.status_code, answer.json()) == (bare.status_code, bare.json())


def test_no_header_of_the_client_changes_the_url(sender: Sender) -> None:
    """A proof for another host stays one, whatever Host and X-Forwarded say (T18)."""
    credential = sender.bound_token()
    foreign = sender.proof("GET", WHO, credential, htu=f"https://evil.example.com{WHO}")
    headers = {
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Uri": WHO,
        "X-Original-URL": f"https://evil.example.com{WHO}",
        "X-Original-Method": "GET",
        "Forwarded": "host=evil.example.com;proto=https",
    }
    for name, value in headers.items():
        answer = sender.present(credential, foreign, headers={name: value})
        check_refused(answer, INVALID_PROOF, "another URL")
    check_refused(sender.present(credential, foreign, headers=headers), INVALID_PROOF, "another URL")


def test_the_query_does_not_count_and_the_path_does(sender: Sender) -> None:
    """A proof is for the URL without its query, and for the path as it was sent."""
    credential = sender.bound_token()
    proof = sender.proof("GET", WHO, credential)
    assert sender.present(credential, proof, path=f"{WHO}?a=b").status_code == 200
    proof = sender.proof("GET", WHO, credential)
    check_refused(sender.present(credential, proof, path=f"{WHO}/"), INVALID_PROOF, "another URL")
    proof = sender.proof("HEAD", WHO, credential)
    assert sender.present(credential, proof, method="HEAD").status_code == 200
    proof = sender.proof("GET", WHO, credential)
    assert sender.present(credential, proof, method="HEAD").status_code == 401


def test_eddsa_is_as_good(eddsa: Sender) -> None:
    """A key pair on Ed25519 does all the same."""
    for kind in KINDS:
        assert eddsa.call(eddsa.credential(kind)).status_code == 200


def test_a_proof_is_spent_by_a_good_credential_alone(sender: Sender, other: Sender) -> None:
    """A refused request uses no proof up: the holder may send it with what it is good for."""
    key = sender.bound_key()
    proof = sender.proof("GET", WHO, key)
    assert sender.present(other.bound_key(), proof).status_code == 401
    assert sender.present(key, proof).status_code == 200


def test_a_revoked_bound_key_is_dead(sender: Sender) -> None:
    """A bound key, and its tokens, end like any other, with the best proof."""
    key = sender.bound_key()
    token = sender.bound_token(key)
    key_id = sender.http.post("/oauth/introspect", data={"token": key}, auth=_client(sender)).json()[
        "client_id"
    ]
    path = f"/bim/apikey/{key_id.removeprefix('key-')}"
    assert sender.call(key, method="DELETE", path=path).status_code == 200
    for credential in (key, token):
        check_refused(sender.call(credential), INVALID_BEARER, "revoked")


def _client(sender: Sender) -> tuple[str, str]:
    made = sender.site.key(USER)
    return f"key-{made.record.key_id}", made.secret


# The exchange


def test_a_token_says_what_it_is_bound_to(sender: Sender) -> None:
    """With a proof the token carries the thumbprint, and without one no cnf at all."""
    assert claims_of(sender.bound_token())["cnf"] == {"jkt": sender.prover.jkt}
    assert "cnf" not in claims_of(sender.exchange(sender.key()).json()["token"])


def test_a_bound_key_is_exchanged_with_its_key_pair_alone(sender: Sender, other: Sender) -> None:
    """Without a proof, or with another's, there is no token; in body and header alike."""
    key = sender.bound_key()
    check_refused(sender.exchange(key), INVALID_TOKEN, "bound to a key pair")
    check_refused(other.exchange(key, other.proof("POST", EXCHANGE)), INVALID_TOKEN, "bound to a key pair")
    for scheme in ("", "Bearer ", "DPoP "):
        headers = {"Authorization": scheme + key}
        refused = sender.http.post(EXCHANGE, headers=headers)
        assert refused.status_code == 401
        assert "token" not in refused.json()
        given = sender.http.post(EXCHANGE, headers={**headers, "DPoP": sender.proof("POST", EXCHANGE)})
        assert claims_of(given.json()["token"])["cnf"] == {"jkt": sender.prover.jkt}


def test_a_proof_gives_one_token(sender: Sender) -> None:
    """The proof of an exchange is used up by it."""
    key, proof = sender.key(), sender.proof("POST", EXCHANGE)
    assert sender.exchange(key, proof).status_code == 200
    check_refused(sender.exchange(key, proof), INVALID_PROOF, "used before")


def test_a_wrong_proof_gives_no_token(sender: Sender) -> None:
    """A client that asks for a bound token gets no unbound one in its place."""
    for proof in ("nonsense", "", sender.proof("GET", EXCHANGE), sender.proof("POST", TOKEN)):
        refused = sender.exchange(sender.key(), proof)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == INVALID_PROOF
        assert "token" not in refused.json()


def test_oauth_gives_bound_tokens(sender: Sender) -> None:
    """By client credentials and by exchange; `token_type` says so (RFC 9449, section 5)."""
    form = {"grant_type": CLIENT_CREDENTIALS}
    first = sender.http.post(
        TOKEN, data=form, auth=_client(sender), headers={"DPoP": sender.proof("POST", TOKEN)}
    ).json()
    form = {"grant_type": TOKEN_EXCHANGE, "subject_token": sender.key(), "subject_token_type": API_KEY_TYPE}
    second = sender.http.post(TOKEN, data=form, headers={"DPoP": sender.proof("POST", TOKEN)}).json()
    for given in (first, second):
        assert given["token_type"] == "DPoP"
        assert claims_of(given["access_token"])["cnf"] == {"jkt": sender.prover.jkt}
        assert sender.call(given["access_token"]).status_code == 200


def test_oauth_says_what_is_wrong_with_a_proof(sender: Sender, other: Sender) -> None:
    """A wrong proof, a used one, and a bound key without its own are 400 `invalid_dpop_proof`."""
    form, auth = {"grant_type": CLIENT_CREDENTIALS}, _client(sender)
    used = sender.proof("POST", TOKEN)
    assert sender.http.post(TOKEN, data=form, auth=auth, headers={"DPoP": used}).status_code == 200
    for proof in ("nonsense", sender.proof("POST", EXCHANGE), used):
        refused = sender.http.post(TOKEN, data=form, auth=auth, headers={"DPoP": proof})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")
    bound = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": sender.bound_key(),
        "subject_token_type": API_KEY_TYPE,
    }
    for headers in ({}, {"DPoP": other.proof("POST", TOKEN)}):
        refused = sender.http.post(TOKEN, data=bound, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")
        assert "key pair" in refused.json()["error_description"]
    headers = {"DPoP": sender.proof("POST", TOKEN)}
    assert sender.http.post(TOKEN, data=bound, headers=headers).json()["token_type"] == "DPoP"


def test_a_bound_token_is_exchanged_for_one_of_the_same_key_pair(sender: Sender, other: Sender) -> None:
    """A thief of a bound token cannot exchange it for one of their own key pair, or for an unbound one."""
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": sender.bound_token(),
        "subject_token_type": JWT_TYPE,
    }
    for headers in ({}, {"DPoP": other.proof("POST", TOKEN)}):
        assert sender.http.post(TOKEN, data=form, headers=headers).json()["error"] == "invalid_dpop_proof"
    given = sender.http.post(TOKEN, data=form, headers={"DPoP": sender.proof("POST", TOKEN)}).json()
    assert claims_of(given["access_token"])["cnf"] == {"jkt": sender.prover.jkt}


def test_many_exchanges_with_one_proof(sender: Sender) -> None:
    """Fifty exchanges at once with one proof give exactly one token."""
    form, auth = {"grant_type": CLIENT_CREDENTIALS}, _client(sender)
    headers = {"DPoP": sender.proof("POST", TOKEN)}
    with ThreadPoolExecutor(MANY) as threads:
        answers = list(
            threads.map(
                lambda _: sender.http.post(TOKEN, data=form, auth=auth, headers=headers).status_code,
                range(MANY),
            )
        )
    assert (answers.count(200), answers.count(400)) == (1, MANY - 1)


@pytest.mark.parametrize("path", ["/oauth/introspect", "/oauth/revoke"])
def test_a_bound_credential_asks_with_a_proof(sender: Sender, path: str) -> None:
    """At introspection and revocation too: as DPoP, or as a client's secret with a proof, and never alone."""
    key, token = sender.bound_key(), sender.bound_token()
    form = {"token": "anything"}
    for credential in (key, token):
        for scheme in ("Bearer ", ""):
            headers = {"Authorization": scheme + credential}
            assert sender.http.post(path, data=form, headers=headers).status_code in {400, 401}
        assert sender.call(credential, method="POST", path=path, data=form).status_code == 200
        stolen = sender.present(credential, None, method="POST", path=path, data=form)
        assert stolen.status_code == 400
    client_id = sender.http.post("/oauth/introspect", data={"token": key}, auth=_client(sender)).json()[
        "client_id"
    ]
    assert sender.http.post(path, data=form, auth=(client_id, key)).status_code == 400
    headers = {"DPoP": sender.proof("POST", path)}
    assert sender.http.post(path, data=form, auth=(client_id, key), headers=headers).status_code == 200
    assert sender.http.post(path, data=form, auth=(client_id, key), headers=headers).status_code == 400


def test_introspection_says_what_is_bound(sender: Sender) -> None:
    """`cnf` of a bound key and token, `token_type` DPoP of a token, and neither of others (RFC 9449, 6.2)."""
    auth = _client(sender)

    def of(token: str) -> Any:
        return sender.http.post("/oauth/introspect", data={"token": token}, auth=auth).json()

    jkt = {"jkt": sender.prover.jkt}
    key = sender.bound_key()
    assert (of(key)["cnf"], of(key)["token_type"]) == (jkt, "api_key")
    for token in (sender.bound_token(), sender.bound_token(key)):
        assert (of(token)["cnf"], of(token)["token_type"]) == (jkt, "DPoP")
    plain = of(sender.key())
    assert plain["active"] is True
    assert "cnf" not in plain


def test_the_metadata_name_the_algorithms(sender: Sender) -> None:
    """Clients learn from the server and from the resource which proofs are read (RFC 9449, 5.1; RFC 9728)."""
    for name in ("oauth-authorization-server", "openid-configuration", "oauth-protected-resource"):
        told = sender.http.get(f"/.well-known/{name}").json()
        assert told["dpop_signing_alg_values_supported"] == ["ES256", "EdDSA"]


# Making keys


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_bound_makes_only_what_is_bound_alike(sender: Sender, other: Sender, kind: str) -> None:
    """A key that is made with a bound credential is bound to the same key pair, and to no other (A3)."""
    credential = sender.credential(kind)
    made = sender.call(credential, method="POST", path="/bim/apikey", json={})
    key = made.json()["apikey"]
    assert sender.http.get(WHO, headers={"Authorization": key}).status_code == 401
    assert sender.call(key).status_code == 200
    again = {"dpopJkt": sender.prover.jkt}
    assert sender.call(credential, method="POST", path="/bim/apikey", json=again).status_code == 200
    foreign = {"dpopJkt": other.prover.jkt}
    refused = sender.call(credential, method="POST", path="/bim/apikey", json=foreign)
    assert (refused.status_code, refused.json()["validation"][0]["field"]) == (422, "dpopJkt")


@pytest.mark.parametrize("jkt", ["", "x", "A" * 42, "A" * 44, "A" * 42 + "B", "é" * 43, 5])
def test_a_thumbprint_that_is_none(sender: Sender, jkt: object) -> None:
    """A key is bound to a thumbprint of one spelling, or not made."""
    refused = sender.create({"dpopJkt": jkt}, {"Authorization": sender.key()})
    assert (refused.status_code, refused.json()["validation"][0]["field"]) == (422, "dpopJkt")


def test_a_retry_does_not_change_what_a_key_is_bound_to(sender: Sender, other: Sender) -> None:
    """With the Idempotency-Key of a bound key nobody wins an unbound one, or one of another key pair."""
    headers = {"Authorization": sender.key(), "Idempotency-Key": f"retry {sender.prover.jkt}"}
    body = {"dpopJkt": sender.prover.jkt}
    assert sender.create(body, headers).status_code == 200
    again = sender.create(body, headers)
    assert sender.call(again.json()["apikey"]).status_code == 200
    for changed in ({}, {"dpopJkt": other.prover.jkt}):
        assert sender.create(changed, headers).status_code == 409


def test_a_bound_credential_gives_no_unbound_key_a_new_secret(sender: Sender) -> None:
    """Rotating an unbound key with a bound credential would give what opens more: it is refused (A3)."""
    made = sender.site.key(USER)
    path = f"/bim/apikey/{made.record.key_id}/rotate"
    assert sender.call(sender.bound_token(), method="POST", path=path).status_code == 409
    bound = sender.bound_token(made.secret)
    assert sender.call(bound, method="POST", path=path).status_code == 409
    assert sender.http.post(path, headers={"Authorization": made.secret}).status_code == 200


def test_lists_say_what_a_key_is_bound_to(sender: Sender) -> None:
    """`dpopJkt` is the thumbprint, in the answer that makes a key and in lists, and null for others."""
    login = {"Authorization": sender.login()}
    made = [sender.create(body, login).json() for body in ({"dpopJkt": sender.prover.jkt}, {})]
    hits = sender.http.get(f"/bim/iam/bim/user/{USER}/apikeys", headers=login).json()
    listed = {hit["keyid"]: hit["dpopJkt"] for hit in hits}
    assert [key["dpopJkt"] for key in made] == [sender.prover.jkt, None]
    assert [listed[key["keyid"]] for key in made] == [sender.prover.jkt, None]


def test_a_key_of_a_service_account_can_be_bound(sender: Sender) -> None:
    """Whoever manages a service account makes bound keys for it; a bound credential makes no others."""
    admin = {"Authorization": sender.site.key("admin@example.com").secret}
    service = f"robot-{sender.prover.jkt}"
    owner = {"userid": "admin@example.com"}
    made = sender.http.post("/serviceaccount", json={"userid": service, "owner": owner}, headers=admin)
    assert made.status_code == 200, made.text
    path = f"/serviceaccount/{service}/apikey"
    key = sender.http.post(path, json={"dpopJkt": sender.prover.jkt}, headers=admin).json()["apikey"]
    assert sender.call(key).json()["userid"] == service
    token = sender.bound_token(admin["Authorization"])
    inherited = sender.call(token, method="POST", path=path, json={}).json()
    assert inherited["dpopJkt"] == sender.prover.jkt


def test_the_feed_is_not_for_what_is_bound(sender: Sender) -> None:
    """A stream has its credential looked at anew all the time, without a proof for each: 400."""
    admin = sender.site.key("admin@example.com").secret
    refused = sender.call(sender.bound_token(admin), path=f"/feed?nonce={'n' * 22}")
    assert refused.status_code == 400, refused.text


# Behind a gateway


@pytest.fixture(scope="module")
def behind(open_site: SiteOpener) -> Iterator[Site]:
    """A server that believes what this machine says."""
    with open_site(trusted_proxies=(read_network("127.0.0.1"),)) as opened:
        opened.add_people()
        yield opened


ASKED = "https://api.example.com/orders/1"
ORIGINAL = {"X-Original-Method": "PUT", "X-Original-URL": f"{ASKED}?a=b"}
FORWARDED = {
    "X-Forwarded-Method": "PUT",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "api.example.com",
    "X-Forwarded-Uri": "/orders/1?a=b",
}


def asked(sender: Sender, credential: str, headers: dict[str, str], **others: Any) -> httpx.Response:
    """Ask `/verify` about a request that came with a proof for `PUT ASKED`."""
    at = sender.site.clock.now.timestamp()
    proof = sender.prover.proof(others.pop("method", "PUT"), ASKED, at=at, credential=credential, **others)
    return sender.present(credential, proof, path=VERIFY, headers=headers)


@pytest.fixture
def gateway(behind: Site) -> Iterator[Sender]:
    with behind.client() as http:
        yield Sender(behind, http, Prover())


@pytest.mark.parametrize("headers", [ORIGINAL, FORWARDED], ids=["nginx", "Caddy"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gateway_asks_about_its_own_request(gateway: Sender, kind: str, headers: dict[str, str]) -> None:
    """`/verify` answers who calls for a proof of the request that a trusted gateway names, once."""
    credential = gateway.credential(kind)
    answer = asked(gateway, credential, headers)
    assert (answer.status_code, answer.headers["keyturn-user"]) == (200, USER)
    again = [asked(gateway, credential, headers, jti="the same").status_code for _ in range(2)]
    assert again == [200, 401]
    check_refused(asked(gateway, credential, headers, method="GET"), INVALID_PROOF, "another method")
    foreign = asked(gateway, credential, headers, htu="https://api.example.com/orders/2")
    check_refused(foreign, INVALID_PROOF, "another URL")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**ORIGINAL, **FORWARDED},
        {**ORIGINAL, "X-Forwarded-Method": "PUT"},
        {**FORWARDED, "X-Original-URL": ASKED},
        *({name: value for name, value in FORWARDED.items() if name != left} for left in FORWARDED),
        {"X-Original-Method": "PUT"},
        {"Forwarded": "host=api.example.com;proto=https"},
    ],
    ids=lambda headers: ",".join(headers) or "nothing",
)
def test_a_gateway_that_does_not_plainly_say_which_request(gateway: Sender, headers: dict[str, str]) -> None:
    """Without one whole set of headers, or with parts of both, no proof is good."""
    refused = asked(gateway, gateway.bound_token(), headers)
    check_refused(refused, INVALID_PROOF, "no trusted gateway says so")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Original-URL": ASKED},
        {**FORWARDED, "X-Forwarded-Proto": "https, http"},
        {**FORWARDED, "X-Forwarded-Host": "api.example.com/x?"},
        {**FORWARDED, "X-Forwarded-Uri": "orders/1"},
    ],
    ids=repr,
)
def test_a_gateway_that_says_it_wrong(gateway: Sender, headers: dict[str, str]) -> None:
    """What is no method and URL fits no proof."""
    assert asked(gateway, gateway.bound_token(), headers).status_code == 401


def test_a_header_that_is_there_twice_says_nothing(gateway: Sender) -> None:
    """A client that adds a line beside the gateway's makes its own request unknown."""
    credential, at = gateway.bound_token(), gateway.site.clock.now.timestamp()
    proof = gateway.prover.proof("PUT", ASKED, at=at, credential=credential)
    lines = [f"{name}: {value}".encode() for name, value in ORIGINAL.items()]
    given = [f"Authorization: DPoP {credential}".encode(), f"DPoP: {proof}".encode(), *lines]
    twice = gateway.site.raw_get(VERIFY, *given, lines[1])
    assert twice.startswith(b"HTTP/1.1 401 ")
    assert b"no trusted gateway says so" in twice
    assert gateway.site.raw_get(VERIFY, *given).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("headers", [ORIGINAL, FORWARDED], ids=["nginx", "Caddy"])
def test_nobody_else_says_which_request_it_is(sender: Sender, headers: dict[str, str]) -> None:
    """From a peer that is no trusted proxy the headers say nothing, and the proof is refused."""
    refused = asked(sender, sender.bound_token(), headers)
    check_refused(refused, INVALID_PROOF, "no trusted gateway says so")


def test_a_proof_for_verify_itself_is_none(gateway: Sender, sender: Sender) -> None:
    """`/verify` answers for other requests: a proof for its own URL opens nothing there."""
    for caller in (gateway, sender):
        credential = caller.bound_token()
        assert caller.call(credential, path=VERIFY).status_code == 401


def test_the_headers_open_nothing_to_others(gateway: Sender) -> None:
    """A credential that is not bound may do the same whatever a gateway says, or does not say."""
    key = gateway.key()
    for headers in ({}, ORIGINAL, FORWARDED, {**ORIGINAL, **FORWARDED}):
        given = {"Authorization": f"Bearer {key}", **headers}
        assert gateway.http.get(VERIFY, headers=given).status_code == 200


def test_scopes_are_asked_of_bound_credentials_too(gateway: Sender) -> None:
    """A narrowed bound token is refused for a scope that it does not cover, with 403."""
    form = {"grant_type": CLIENT_CREDENTIALS, "scope": "orders:read"}
    headers = {"DPoP": gateway.proof("POST", TOKEN)}
    token = gateway.http.post(TOKEN, data=form, auth=_client(gateway), headers=headers).json()["access_token"]
    for scope, status in (("orders:read", 200), ("orders:write", 403)):
        answer = asked(gateway, token, {**ORIGINAL, "Keyturn-Require-Scope": scope})
        assert answer.status_code == status
