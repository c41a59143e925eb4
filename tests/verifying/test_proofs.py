"""Proofs of possession: each is good once, and a credential that is bound opens nothing without one."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.dpop import GOOD_FOR, LEEWAY, PresentedProof, Proof
from keyturn.errors import DpopProofRefused, ProofFault, TooBusy
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.proofs import MAX_REMEMBERED, Proofs
from tests.fakes import Clock
from tests.people import HERE, restricted
from tests.proofs import Prover
from tests.threads import switching_every

if TYPE_CHECKING:
    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from tests.conftest import Opener

SECOND = timedelta(seconds=1)
MAX_BYTES = 40_000_000
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def made_at(clock: Clock, jti: str = "1", *, jkt: str = JKT, later: int = 0) -> Proof:
    return Proof(jkt, jti, int(clock.now.timestamp()) + later)


def is_used(proofs: Proofs, proof: Proof) -> bool:
    """Use a proof; return whether it was used before."""
    try:
        proofs.use(proof)
    except DpopProofRefused as refused:
        if refused.reason is ProofFault.USED:
            return True
        raise
    return False


def test_a_proof_is_good_once(clock: Clock) -> None:
    """The same jti of the same key pair is refused for as long as it would be good, and no other is."""
    proofs = Proofs(clock.system())
    first = made_at(clock)
    assert not is_used(proofs, first)
    assert not is_used(proofs, made_at(clock, "2"))
    assert not is_used(proofs, made_at(clock, jkt=JKT[::-1]))
    for _ in range(int(LEEWAY.total_seconds()) + 1):
        assert is_used(proofs, first)
        clock.advance(SECOND)


def test_a_proof_of_a_clock_that_is_ahead_is_remembered_longer(clock: Clock) -> None:
    """A proof from a minute ahead is refused a second time until two minutes later."""
    proofs = Proofs(clock.system())
    ahead = made_at(clock, later=60)
    assert not is_used(proofs, ahead)
    clock.advance(2 * LEEWAY)
    assert is_used(proofs, ahead)


def test_what_is_no_longer_good_takes_no_room(clock: Clock) -> None:
    """Room for three is enough for three every two minutes, for ever."""
    proofs = Proofs(clock.system(), max_remembered=3)
    for _ in range(10):
        for number in range(3):
            assert not is_used(proofs, made_at(clock, str(number)))
        clock.advance(LEEWAY + SECOND)


def test_a_full_memory_refuses_and_forgets_nothing(clock: Clock) -> None:
    """When there is no room a new proof is refused, and a used one stays refused: nothing fails open."""
    proofs = Proofs(clock.system(), max_remembered=2)
    assert not is_used(proofs, made_at(clock, "1"))
    assert not is_used(proofs, made_at(clock, "2"))
    for _ in range(3):
        with pytest.raises(TooBusy) as busy:
            proofs.use(made_at(clock, "3"))
        assert busy.value.retry_after == 1
        assert is_used(proofs, made_at(clock, "1"))
    clock.advance(LEEWAY + SECOND)
    assert not is_used(proofs, made_at(clock, "3"))


def test_a_clock_that_is_set_back_makes_no_proof_good_again(clock: Clock) -> None:
    """What was forgotten is refused by its time, whatever the clock says later; what is newer is not."""
    proofs = Proofs(clock.system())
    used = made_at(clock)
    proofs.use(used)
    clock.advance(2 * LEEWAY)
    proofs.use(made_at(clock))
    clock.advance(-2 * LEEWAY)
    with pytest.raises(DpopProofRefused) as refused:
        proofs.use(used)
    assert refused.value.reason is ProofFault.TIME
    assert not is_used(proofs, made_at(clock, later=1))


def test_of_many_at_once_one_is_good(clock: Clock) -> None:
    """Fifty threads use one proof at the same time: exactly one of them may."""
    proofs = Proofs(clock.system())
    with switching_every(1e-6), ThreadPoolExecutor(50) as threads:
        for number in range(20):
            proof = made_at(clock, str(number))
            used = list(threads.map(lambda _, proof=proof: is_used(proofs, proof), range(50)))
            assert used.count(False) == 1


def test_the_memory_is_bounded(clock: Clock) -> None:
    """As many as are ever remembered, with the longest names, take less than the memory that is set aside."""
    proofs = Proofs(clock.system())
    tracemalloc.start()
    try:
        for number in range(MAX_REMEMBERED):
            proofs.use(made_at(clock, f"{number:0>256}", later=number % 60))
        assert tracemalloc.get_traced_memory()[0] < MAX_BYTES
    finally:
        tracemalloc.stop()
    with pytest.raises(TooBusy):
        proofs.use(made_at(clock, "one more"))


def test_a_proof_that_is_only_checked_takes_no_room(clock: Clock) -> None:
    """Checking says what a proof is as often as it is asked; using it up is another step."""
    proofs, prover = Proofs(clock.system()), Prover()
    url = "https://keys.example.com/oauth/token"
    line = prover.proof("POST", url, at=clock.now.timestamp()).encode()
    presented = PresentedProof("POST", url, [line])
    first = proofs.check(presented, credential=None)
    assert proofs.check(presented, credential=None) == first
    assert not is_used(proofs, first)
    assert is_used(proofs, proofs.check(presented, credential=None))


@pytest.mark.parametrize("ahead", [0, 60], ids=["in time", "ahead"])
def test_fault_e11_a_proof_is_good_once_in_each_process(
    services: Services, reopen: Opener, bob: Principal, clock: Clock, *, ahead: int
) -> None:
    """As is said where it is asked for: each process takes a proof once, and none after its time."""
    prover, url = Prover(), "https://api.example.com/orders"
    key = services.keys.create(bob, HERE, NewKey(restrictions=restricted(dpopJkt=prover.jkt))).secret
    at = clock.now.timestamp() + ahead
    proof = PresentedProof("GET", url, [prover.proof("GET", url, at=at, credential=key).encode()])
    processes = [services, reopen(), reopen()]

    def taken() -> int:
        number = 0
        for process in processes:
            try:
                process.authenticator.authenticate([f"DPoP {key}".encode()], HERE, proof)
            except DpopProofRefused:
                continue
            number += 1
        return number

    assert taken() == len(processes)
    while clock.now.timestamp() <= at + LEEWAY.total_seconds():
        assert taken() == 0
        clock.advance(20 * SECOND)
    processes.append(reopen())  # Which has seen none of it.
    assert taken() == 0
    assert clock.now.timestamp() - (at - ahead) <= GOOD_FOR.total_seconds() + 20
