"""Bound keys and tokens behind every integration: with a proof for this very request, once (RFC 9449)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.integrations.protection import Protection
from keyturn.services.keys.keys import NewKey
from tests.integrations.sites import INTEGRATIONS, Options, Site, running
from tests.people import HERE, person, restricted
from tests.proofs import Prover

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from keyturn import Verifier
    from tests.integrations.issuer import Issuer

PUBLIC_URL = "https://api.example.com"
INVALID_PROOF = 'DPoP realm="keyturn", error="invalid_dpop_proof", algs="ES256 EdDSA"'
INVALID_TOKEN = 'DPoP realm="keyturn", error="invalid_token", algs="ES256 EdDSA"'


class Sender:
    """Bob's program, with a bound key."""

    def __init__(self, issuer: Issuer, site: Site) -> None:
        self.site, self.prover = site, Prover()
        self.key = issuer.services.keys.create(
            person(issuer.services), HERE, NewKey(restrictions=restricted(dpopJkt=self.prover.jkt))
        ).secret

    def proof(self, path: str = "/orders", **others: Any) -> str:
        url = others.pop("url", PUBLIC_URL + path)
        return self.prover.proof("GET", url, at=time.time(), credential=self.key, **others)

    def send(self, *proofs: str, path: str = "/orders", scheme: str = "DPoP ") -> httpx.Response:
        lines = [("DPoP", proof) for proof in proofs]
        return self.site.get(("Authorization", f"{scheme}{self.key}"), *lines, path=path)


@pytest.fixture(scope="module", params=INTEGRATIONS)
def public_site(request: pytest.FixtureRequest, issuer: Issuer) -> Iterator[Site]:
    """The service behind each integration, which is told its public address."""
    with running(request.param, Options(issuer.database, public_url=PUBLIC_URL)) as site:
        yield site


@pytest.fixture
def sender(issuer: Issuer, public_site: Site) -> Sender:
    return Sender(issuer, public_site)


@pytest.mark.parametrize("path", ["/orders", "/whoami", "/orders?a=b"])
def test_a_bound_key_passes_with_a_proof_once(sender: Sender, path: str) -> None:
    """A proof for the public address and the path opens the handler, the first time."""
    proof = sender.proof(path)
    assert sender.send(proof, path=path).json() == {"for": "bob"}
    again = sender.send(proof, path=path)
    assert (again.status_code, again.headers["WWW-Authenticate"]) == (401, INVALID_PROOF)


def test_a_bound_key_without_its_proof(sender: Sender) -> None:
    """Without one, with one for something else, and as Bearer it is refused; two proofs are 400."""
    spoiled = (
        (),
        (sender.proof("/whoami"),),
        (sender.proof(htm="POST"),),
        (sender.proof(url=f"{sender.site.client.base_url}/orders"),),
        (sender.proof(ath="A" * 43),),
    )
    for proofs in spoiled:
        refused = sender.send(*proofs)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, INVALID_PROOF)
    for scheme in ("", "Bearer "):
        refused = sender.send(sender.proof(), scheme=scheme)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, INVALID_TOKEN)
    assert sender.send(sender.proof(), sender.proof()).status_code == 400


def test_without_a_public_address_no_proof_is_good(site: Site, issuer: Issuer) -> None:
    """A service that was not told its address refuses what is bound, whatever Host says."""
    sender = Sender(issuer, site)
    for url in (f"{PUBLIC_URL}/orders", f"{site.client.base_url}/orders"):
        refused = sender.send(sender.proof(url=url))
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, INVALID_PROOF)


@pytest.mark.parametrize(
    "url", ["api.example.com", "https://api.example.com/", "https://a/b", "ftp://a", "", "https://a?b"]
)
def test_a_public_address_is_scheme_and_host(url: str) -> None:
    """What could not stand before a path is refused at the start."""
    with pytest.raises(ValueError, match="public_url"):
        Protection(_not_opened, public_url=url)
    Protection(_not_opened, public_url="http://api.example.com:8080")


def _not_opened() -> Verifier:
    raise AssertionError("nothing is verified here")
