"""A verifier elsewhere that is given a key with stray characters, or has one presented to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn import CannotStart, CredentialRefused, Verifier
from tests.strays import KEY, LINE_ENDS, STRAYS, everything_said, tells

if TYPE_CHECKING:
    from tests.replica.edges import Edge

PRESENTED = {**STRAYS, "key of another": KEY, "scheme": f"Basic {KEY}"}


@pytest.mark.parametrize("what", STRAYS)
def test_fault_d1_a_verifier_does_not_start_with_a_stray_key(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that this is not a key, before anything is sent, and nothing of it."""
    with caplog.at_level("DEBUG"), pytest.raises(CannotStart, match="This is not a key") as refused:
        Verifier("http://127.0.0.1:1", STRAYS[what])
    assert not tells(everything_said(refused.value))
    assert not tells(caplog.text)


def test_fault_d1_a_verifier_takes_the_key_of_a_file(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    """The line end of a file is cut; what is presented later is told nowhere when it is refused."""
    with caplog.at_level("DEBUG"):
        for end in LINE_ENDS:
            with Verifier(edge.server.url, edge.follower.secret + end) as verifier:
                for what, stray in PRESENTED.items():
                    with pytest.raises(CredentialRefused) as refused:
                        verifier.verify(stray)
                    assert not tells(everything_said(refused.value)), what
    assert not tells(caplog.text)
    assert edge.follower.secret not in caplog.text


def test_fault_d1_a_verifier_that_asks_tells_nothing(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    """Where it may not follow and asks for each credential, what it is asked about is told nowhere."""
    asking = edge.follower.secret
    with caplog.at_level("DEBUG"), Verifier(edge.server.url, asking + "\n", follow=False) as verifier:
        for what, stray in PRESENTED.items():
            with pytest.raises(CredentialRefused) as refused:
                verifier.verify(stray)
            assert not tells(everything_said(refused.value)), what
    assert not tells(caplog.text)
    assert asking not in caplog.text
