"""The table of answers: Keyturn's own, and nothing that a stranger could learn from."""

from __future__ import annotations

import pytest

from keyturn.errors import (
    AmbiguousCredential,
    CannotStart,
    CredentialRefused,
    DpopProofRefused,
    KeyturnError,
    PermissionMissing,
    ProofFault,
    Reason,
    ScopeMissing,
    StoreUnavailable,
    TooBusy,
    TooManyFailures,
    UnknownAudience,
)
from keyturn.integrations.refusals import REFUSALS, refusal_of
from keyturn.web.responses import response_of

OF_A_LOGIN = {Reason.LOGIN_FAILED}
"""Reasons that no verifier gives."""
ERRORS: list[KeyturnError] = [
    *(CredentialRefused(reason) for reason in Reason if reason not in OF_A_LOGIN),
    *(CredentialRefused(reason, secret_matched=True) for reason in Reason if reason not in OF_A_LOGIN),
    *map(DpopProofRefused, ProofFault),
    AmbiguousCredential("Send one Authorization header, not several."),
    PermissionMissing("AUDIT", "GOVERNANCE"),
    ScopeMissing("orders:read", "orders:write"),
    StoreUnavailable("the driver's own words"),
    TooBusy("Too many at once.", retry_after=3),
    TooManyFailures(retry_after=17),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_protected_service_answers_as_keyturn_does(error: KeyturnError) -> None:
    """Status, headers and body are those of Keyturn's own server, byte for byte."""
    ours, theirs = refusal_of(error), response_of(error)
    assert (int(ours.status), ours.encoded()) == (theirs.status, theirs.encoded())
    assert ours.headers() == {"Cache-Control": "no-store", **dict(theirs.headers)}


def test_every_refusal_is_in_the_table_above() -> None:
    """What the integrations answer is what is compared, but for what only they can meet."""
    assert {type(error) for error in ERRORS} == set(REFUSALS) - {UnknownAudience}


def test_a_service_that_is_registered_no_more_lets_nobody_in() -> None:
    """That is no mistake of its clients, as it is one of a gateway that asks Keyturn itself."""
    refusal = refusal_of(UnknownAudience("https://orders.example.com"))
    assert (refusal.status, refusal.challenge, refusal.retry_after) == (503, None, None)
    assert "orders.example.com" not in refusal.message


def test_strangers_learn_nothing() -> None:
    """Whoever did not present the whole secret gets one and the same answer for every reason."""
    told = {
        refusal_of(error) for reason in Reason if (error := CredentialRefused(reason)) and reason != "missing"
    }
    assert len(told) == 1


def test_a_mistake_of_the_program_is_no_answer() -> None:
    """An error that is no refusal goes on as it is, and so lets nobody through."""
    with pytest.raises(CannotStart, match="forked"):
        refusal_of(CannotStart("forked"))
