"""Bound keys and tokens in somebody else's process: the same rules, whoever says which request it is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from keyturn import (
    AmbiguousCredential,
    CredentialRefused,
    DpopProofRefused,
    PresentedProof,
    ProofFault,
    Reason,
    Verifier,
)
from tests.people import HERE, add_person, new_key, person
from tests.proofs import Prover
from tests.replica.edges import new_follower
from tests.servers import RunningServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.composition import Services

URL = "https://api.example.com/orders/1"


@pytest.fixture
def running(database: str, root_key_file: Path) -> Iterator[RunningServer]:
    """A server on the database, on the clock of the machine."""
    with running_server(database, root_key_file=root_key_file) as opened:
        add_person(opened.services)
        yield opened


@pytest.fixture
def server(running: RunningServer) -> Services:
    return running.services


@pytest.fixture
def prover() -> Prover:
    return Prover()


@pytest.fixture(params=["key", "token"])
def credential(request: pytest.FixtureRequest, server: Services, prover: Prover) -> str:
    """A key that is bound to the key pair, or a token of one that is not."""
    bob = person(server)
    if request.param == "key":
        return new_key(server, bob, dpopJkt=prover.jkt).secret
    url = "https://keys.example.com/exchange"
    proof = PresentedProof("POST", url, [prover.proof("POST", url, at=time.time()).encode()])
    secret = new_key(server, bob).secret
    return server.exchange.exchange(in_header=[], in_body=secret, origin=HERE, presented=proof).token


@pytest.fixture
def unbound(server: Services) -> str:
    """A key that anybody may present."""
    return new_key(server, person(server)).secret


@pytest.fixture(params=["database", "feed", "questions"])
def verifier(
    request: pytest.FixtureRequest, running: RunningServer, database: str, credential: str, unbound: str
) -> Iterator[Verifier]:
    """One that reads the database, one that follows the server, and one that asks it.

    Each is opened once the credentials are there: what is new reaches a follower a moment later.
    """
    match request.param:
        case "database":
            opened = Verifier(database)
        case "feed":
            opened = Verifier(running.url, new_follower(running.services).secret)
        case _:
            opened = Verifier(running.url, new_follower(running.services).secret, follow=False)
    with opened:
        yield opened


def presented(
    prover: Prover, credential: str, *, method: str = "GET", url: str = URL, **others: Any
) -> PresentedProof:
    """Return what came with a request for `URL`."""
    proof = prover.proof(others.pop("htm", method), URL, at=time.time(), credential=credential, **others)
    return PresentedProof(method, url, [proof.encode()])


def fault_of(verifier: Verifier, credential: str, proof: PresentedProof | None) -> ProofFault:
    with pytest.raises(DpopProofRefused) as refused:
        verifier.verify(f"DPoP {credential}", dpop=proof)
    return refused.value.reason


def test_a_bound_credential_passes_with_a_proof_once(
    verifier: Verifier, prover: Prover, credential: str
) -> None:
    """With a proof for its request it says who calls; the same proof is none a second time."""
    for _ in range(2):
        proof = presented(prover, credential)
        caller = verifier.verify(f"DPoP {credential}", dpop=proof)
        assert (caller.userid, caller.jkt) == ("bob", prover.jkt)
        assert fault_of(verifier, credential, proof) is ProofFault.USED
    proof = presented(prover, credential)
    assert asyncio.run(verifier.verify_async(f"DPoP {credential}", dpop=proof)).userid == "bob"
    assert fault_of(verifier, credential, proof) is ProofFault.USED


def test_a_bound_credential_alone_is_refused(verifier: Verifier, prover: Prover, credential: str) -> None:
    """Bare, as Bearer, and with the proof of another key pair, before and after its good use."""
    for _ in range(2):
        for value in (credential, f"Bearer {credential}"):
            with pytest.raises(CredentialRefused) as refused:
                verifier.verify(value, dpop=presented(prover, credential))
            assert (refused.value.reason, refused.value.secret_matched) == (Reason.SENDER, True)
        with pytest.raises(CredentialRefused) as refused:
            verifier.verify(f"DPoP {credential}", dpop=presented(Prover(), credential))
        assert refused.value.reason is Reason.SENDER
        verifier.verify(f"DPoP {credential}", dpop=presented(prover, credential))


def test_a_proof_for_something_else_is_refused(verifier: Verifier, prover: Prover, credential: str) -> None:
    """Method, URL and credential are those of the request, and the proof is there."""
    assert fault_of(verifier, credential, None) is ProofFault.MISSING
    assert fault_of(verifier, credential, PresentedProof("GET", URL, [])) is ProofFault.MISSING
    assert fault_of(verifier, credential, presented(prover, credential, htm="PUT")) is ProofFault.METHOD
    assert fault_of(verifier, credential, presented(prover, credential, url=f"{URL}/2")) is ProofFault.URL
    assert fault_of(verifier, credential, presented(prover, "other")) is ProofFault.CREDENTIAL
    two = presented(prover, credential).lines * 2
    with pytest.raises(AmbiguousCredential):
        verifier.verify(f"DPoP {credential}", dpop=PresentedProof("GET", URL, two))


def test_an_unbound_key_is_refused_with_a_proof(verifier: Verifier, prover: Prover, unbound: str) -> None:
    """As DPoP it is refused; as Bearer it passes, whatever stands beside it."""
    for _ in range(2):
        with pytest.raises(CredentialRefused) as refused:
            verifier.verify(f"DPoP {unbound}", dpop=presented(prover, unbound))
        assert refused.value.reason is Reason.NOT_BOUND
        assert verifier.verify(unbound, dpop=presented(prover, unbound)).jkt is None


def test_a_revoked_one_is_refused(server: Services, database: str, prover: Prover, credential: str) -> None:
    """It dies with its key like any other, whatever is proved."""
    with Verifier(database) as verifier:
        caller = verifier.verify(f"DPoP {credential}", dpop=presented(prover, credential))
        assert caller.key_id is not None
        server.keys.revoke_own(person(server), caller.key_id, HERE)
        with pytest.raises(CredentialRefused) as refused:
            verifier.verify(f"DPoP {credential}", dpop=presented(prover, credential))
    assert refused.value.reason is Reason.REVOKED
