"""The proof of somebody who can read the database."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.errors import NotFound
from keyturn.services.installation.reader_proof import PROOF_SECONDS, check_proof, new_proof

if TYPE_CHECKING:
    from keyturn.composition import Services
    from tests.fakes import Clock


def test_a_proof_is_good_for_a_minute(services: Services, clock: Clock) -> None:
    """At exactly its end it still is, and a second later it is not, before its time neither."""
    proof = new_proof(services.store, services.system)
    assert proof is not None
    for seconds in (-PROOF_SECONDS, 2 * PROOF_SECONDS):
        clock.advance(timedelta(seconds=seconds))
        check_proof(proof, services.store, services.system)
    for seconds in (1, -2 * PROOF_SECONDS - 2):
        clock.advance(timedelta(seconds=seconds))
        with pytest.raises(NotFound):
            check_proof(proof, services.store, services.system)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda _: ".",
        lambda proof: proof[:-1],
        lambda proof: f"{proof}=",
        lambda proof: f"0{proof}",
        lambda proof: f"+{proof}",
        lambda proof: proof.replace(".", ".."),
        lambda proof: proof.partition(".")[0],
        lambda proof: proof.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
        lambda proof: "1" * 10_000 + proof,
    ],
)
def test_nothing_else_is_a_proof(services: Services, change: object) -> None:
    """One spelling is a proof; every other text is not found."""
    proof = new_proof(services.store, services.system)
    assert proof is not None
    assert callable(change)
    with pytest.raises(NotFound):
        check_proof(change(proof), services.store, services.system)
