"""Clients whose credentials are bound to a key pair: httpx in threads and tasks, and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey

from keyturn.client import DpopKeyPair, KeyturnAuth
from keyturn.client.requests import KeyturnAuth as RequestsAuth
from keyturn.client.tokens import ExchangeFailed
from keyturn.services.keys.keys import NewKey
from tests.client.conftest import WHO, Keyed
from tests.client.test_auth import asking_by_httpx, asking_by_requests, asking_by_tasks
from tests.people import HERE, person, restricted
from tests.proofs import digest_text

if TYPE_CHECKING:
    from collections.abc import Callable

    Asker = Callable[..., Callable[..., int]]

URL = "https://api.example.com/orders/1"


def by_httpx(key: str, url: str | None, dpop: DpopKeyPair | bool) -> Callable[..., int]:
    return asking_by_httpx(KeyturnAuth(key, url, dpop=dpop))


def by_tasks(key: str, url: str | None, dpop: DpopKeyPair | bool) -> Callable[..., int]:
    return asking_by_tasks(KeyturnAuth(key, url, dpop=dpop))


def by_requests(key: str, url: str | None, dpop: DpopKeyPair | bool) -> Callable[..., int]:
    return asking_by_requests(RequestsAuth(key, url, dpop=dpop))


@pytest.fixture(params=[by_httpx, by_tasks, by_requests], ids=["httpx", "asyncio", "requests"])
def asker(request: pytest.FixtureRequest) -> Asker:
    found: Asker = request.param
    return found


def bound_key(keyed: Keyed, key_pair: DpopKeyPair) -> str:
    services = keyed.server.services
    bob = person(services)
    return services.keys.create(bob, HERE, NewKey(restrictions=restricted(dpopJkt=key_pair.jkt))).secret


def test_each_request_has_its_proof(keyed: Keyed, asker: Asker) -> None:
    """A token that is bound to a new key pair opens the API in each request, whatever its query."""
    ask = asker(keyed.key, keyed.url, True)
    assert [ask(keyed.url + WHO + query) for query in ("", "", "?a=b", "?a=b#c")] == [200] * 4
    assert keyed.exchanges() == 1


def test_a_refused_token_is_renewed_with_a_new_proof(keyed: Keyed, asker: Asker) -> None:
    """A token that was ended is replaced by a bound one, and the request sent again with a new proof."""
    ask = asker(keyed.key, keyed.url, True)
    assert ask(keyed.url + WHO) == 200
    keyed.sign_out()
    body = {"content": b'{"name": "second"}', "headers": {"Content-Type": "application/json"}}
    assert ask(keyed.url + "/bim/apikey", "POST", **body) == 200
    assert keyed.exchanges() == 2


def test_a_bound_key_is_sent_with_its_key_pair(keyed: Keyed, asker: Asker) -> None:
    """A key that is bound itself opens the API with its own key pair, as it is and exchanged."""
    key_pair = DpopKeyPair.generate()
    key = bound_key(keyed, key_pair)
    assert [asker(key, None, key_pair)(keyed.url + WHO) for _ in range(2)] == [200] * 2
    assert [asker(key, keyed.url, key_pair)(keyed.url + WHO) for _ in range(2)] == [200] * 2
    for wrong in (False, True, DpopKeyPair.generate()):
        assert asker(key, None, wrong)(keyed.url + WHO) == 401
        with pytest.raises(ExchangeFailed) as failed:
            asker(key, keyed.url, wrong)(keyed.url + WHO)
        assert failed.value.status == 401


def test_a_proof_is_what_the_rfc_says() -> None:
    """Another library verifies it by the key in its header; it is for the request and the credential."""
    key_pair = DpopKeyPair.generate()
    proofs = [key_pair.proof("PUT", f"{URL}?a=b#c", credential="token") for _ in range(2)]
    header = jwt.get_unverified_header(proofs[0])
    assert (header["typ"], header["alg"], set(header["jwk"])) == (
        "dpop+jwt",
        "ES256",
        {"kty", "crv", "x", "y"},
    )
    claims = [
        jwt.decode(proof, jwt.PyJWK(header["jwk"], algorithm="ES256").key, algorithms=["ES256"])
        for proof in proofs
    ]
    assert {(said["htm"], said["htu"], said["ath"]) for said in claims} == {
        ("PUT", URL, digest_text("token"))
    }
    assert claims[0]["jti"] != claims[1]["jti"]
    assert ECKey.import_key(header["jwk"]).thumbprint() == key_pair.jkt


def test_a_key_pair_can_be_kept() -> None:
    """What is written as PEM is read as the same key pair; its repr holds the thumbprint alone."""
    key_pair = DpopKeyPair.generate()
    pem = key_pair.to_pem()
    assert DpopKeyPair.from_pem(pem).jkt == key_pair.jkt
    assert repr(key_pair) == f"DpopKeyPair({key_pair.jkt})"


@pytest.mark.parametrize("private", [generate_private_key(SECP384R1()), Ed25519PrivateKey.generate()])
def test_another_key_is_refused(private: Ed25519PrivateKey) -> None:
    """A key on another curve is no key pair for ES256."""
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="P-256"):
        DpopKeyPair.from_pem(pem)
