"""`keyturn admin token …`, and signing somebody out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.errors import CredentialRefused, Reason
from keyturn.verifying.origin import Origin
from tests.cli.conftest import Command, opened, refused
from tests.conftest import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def key(run: Command) -> str:
    assert run("admin", "user", "add", "bob", "--password-stdin", stdin=PASSWORD).code == 0
    return run("admin", "key", "add", "--user", "bob").out.strip()


def tokens(directory: Path, key: str) -> tuple[str, str]:
    """Return a token of the key, and one for the password."""
    with opened(directory) as services:
        of_key = services.exchange.exchange(in_header=[], in_body=key, origin=Origin()).token
        return of_key, services.logins.log_in_api("bim", "bob", PASSWORD, Origin()).token


def reason(directory: Path, credential: str) -> Reason | None:
    """Return why the credential is refused, None if it is good."""
    with opened(directory) as services:
        try:
            services.authenticator.authenticate([credential.encode()], Origin())
        except CredentialRefused as error:
            return error.reason
        return None


def test_a_token_can_be_ended_by_itself(run: Command, tmp_path: Path, key: str) -> None:
    """`token revoke` ends the token that it reads, and no other; doing it again says so."""
    first, second = (tokens(tmp_path, key)[0] for _ in range(2))

    done = run("admin", "token", "revoke", stdin=f"{first}\n")

    assert (done.code, done.out) == (0, "The token is revoked.\n")
    assert reason(tmp_path, first) is Reason.REVOKED
    assert reason(tmp_path, second) is reason(tmp_path, key) is None
    assert run("admin", "token", "revoke", stdin=first).out == "The token had ended already.\n"


@pytest.mark.parametrize("text", ["", "nonsense", "a.b.c", "é" * 40])
def test_what_is_no_token_of_ours_is_refused(run: Command, key: str, text: str) -> None:
    """Anything that is no token of this server is refused in one sentence that does not repeat it."""
    done = run("admin", "token", "revoke", stdin=text)
    assert refused(done)
    assert not text or text not in done.err


def test_signing_out_ends_tokens_and_no_key(run: Command, tmp_path: Path, key: str) -> None:
    """`user sign-out` ends what a person is signed in with; the key works, and makes good tokens at once."""
    of_key, of_login = tokens(tmp_path, key)

    done = run("admin", "user", "sign-out", "bob")

    assert (done.code, done.out) == (0, "bob is signed out everywhere.\n")
    assert reason(tmp_path, of_key) is reason(tmp_path, of_login) is Reason.REVOKED
    assert reason(tmp_path, key) is None
    for token in tokens(tmp_path, key):
        assert reason(tmp_path, token) is None
