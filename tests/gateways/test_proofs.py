"""A credential that is bound to a key pair passes each gateway with a proof for that very request, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.core.principal import AuthMethod
from keyturn.services.keys.keys import NewKey
from tests.gateways.conftest import BOB, HOST
from tests.people import HERE, person, restricted
from tests.proofs import Prover

if TYPE_CHECKING:
    from tests.gateways.conftest import Answer, Scene

TARGET = "/reports/1"


class Sender:
    """Bob's program, which sends a bound key through a gateway."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.prover = scene, Prover()
        services = scene.site.services
        made = services.keys.create(
            person(services, BOB), HERE, NewKey(restrictions=restricted(dpopJkt=self.prover.jkt))
        )
        self.key = made.secret

    def proof(self, *, method: str = "GET", target: str = TARGET, host: str = HOST, **others: object) -> str:
        at = self.scene.site.clock.now.timestamp()
        url = f"http://{host}{target}"
        return f"DPoP: {self.prover.proof(method, url, at=at, credential=self.key, **others)}"

    def send(self, *lines: str, method: str = "GET", target: str = TARGET, scheme: str = "DPoP ") -> Answer:
        return self.scene.get(target, f"{scheme}{self.key}", *lines, method=method)


@pytest.fixture
def sender(scene: Scene) -> Sender:
    return Sender(scene)


def test_a_bound_key_passes_with_a_proof(sender: Sender) -> None:
    """The API gets who calls, and neither the key nor the proof; the query does not count."""
    for target in (TARGET, f"{TARGET}?a=b&c=%20d"):
        got = sender.scene.passed(target, f"DPoP {sender.key}", sender.proof())
        assert (got.values("keyturn-user"), got.values("keyturn-auth-method")) == (
            [BOB],
            [AuthMethod.API_KEY],
        )
        assert (got.values("authorization"), got.values("dpop")) == ([], [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
def test_the_method_is_that_of_the_client(sender: Sender, method: str) -> None:
    """A proof is for the method that the client sent, not for the one that the gateway asks with."""
    assert sender.send(sender.proof(method=method), method=method).status == 200
    assert sender.send(sender.proof(method="PATCH"), method=method).status == 401


def test_a_proof_passes_once(sender: Sender) -> None:
    """The same proof a second time is refused, with a challenge that says so."""
    proof = sender.proof()
    assert sender.send(proof).status == 200
    again = sender.send(proof)
    assert again.status == 401
    assert 'error="invalid_dpop_proof"' in again.headers["www-authenticate"]


def test_a_proof_for_something_else_is_refused(sender: Sender) -> None:
    """Another path, another host, another scheme, and no proof at all do not pass."""
    for proof in (
        sender.proof(target="/reports/2"),
        sender.proof(target="/verify"),
        sender.proof(host="evil.example.com"),
        sender.proof(host=f"{HOST}:8443"),
        sender.proof(htu=f"https://{HOST}{TARGET}"),
        "X-Nothing: x",
    ):
        assert sender.send(proof).status == 401, proof


def test_a_bound_key_alone_does_not_pass(sender: Sender) -> None:
    """As Bearer, with and without a proof beside it, it opens nothing."""
    for scheme in ("", "Bearer "):
        assert sender.send(sender.proof(), scheme=scheme).status == 401


@pytest.mark.parametrize(
    "name", ["X-Original-URL", "X-Forwarded-Uri", "X-Original-Method", "X-Forwarded-Method"]
)
def test_a_client_cannot_say_which_request_it_is(sender: Sender, name: str) -> None:
    """What the client writes into the headers of the gateway makes no foreign proof good."""
    said = {
        "X-Original-URL": f"http://{HOST}/reports/2",
        "X-Forwarded-Uri": "/reports/2",
        "X-Original-Method": "PUT",
        "X-Forwarded-Method": "PUT",
    }
    for target, method in (("/reports/2", "GET"), (TARGET, "PUT"), ("/reports/2", "PUT")):
        proof = sender.proof(target=target, method=method)
        for lines in ([f"{name}: {said[name]}"], [f"{other}: {value}" for other, value in said.items()]):
            assert sender.send(proof, *lines).status == 401


def test_what_a_client_writes_there_disturbs_nothing(sender: Sender) -> None:
    """A good proof passes, whatever its client writes into the headers of the gateway."""
    for name in ("X-Original-URL", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Method"):
        assert sender.send(sender.proof(), f"{name}: /reports/2").status == 200, name
    for name in ("X-Forwarded-Host", "X-Forwarded-Proto"):
        assert sender.send(sender.proof(), f"{name}: evil.example.com").status == 200, name


def test_a_client_cannot_choose_the_host(sender: Sender) -> None:
    """A proof that was made for another server stays one when the client names that server."""
    proof = sender.proof(host="evil.example.com")
    for line in (
        "X-Forwarded-Host: evil.example.com",
        "X-Forwarded-Proto: https",
        "Forwarded: host=evil.example.com",
    ):
        assert sender.send(proof, line).status == 401
    request = (
        f"GET {TARGET} HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n"
        f"Authorization: DPoP {sender.key}\r\n{proof}\r\n\r\n"
    )
    assert sender.scene.send(request.encode()).status != 200


def test_each_scope_is_asked_for(sender: Sender) -> None:
    """On a route that asks for a scope a bound key passes with a proof for that route."""
    target = "/orders/1"
    assert sender.send(sender.proof(target=target), target=target).status == 200
    assert sender.send(sender.proof(), target=target).status == 401
