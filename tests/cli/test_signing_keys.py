"""`keyturn admin signing-key …`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.errors import CredentialRefused, Reason
from keyturn.services.actors import Origin
from tests.cli.conftest import Command, opened, refused
from tests.conftest import PASSPHRASE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def token(run: Command, tmp_path: Path) -> str:
    """A token that the first signing key signed."""
    assert run("admin", "user", "add", "bob", "--password-stdin", stdin=PASSPHRASE).code == 0
    key = run("admin", "key", "add", "--user", "bob").out.strip()
    with opened(tmp_path) as services:
        return services.exchange.exchange(in_header=[], in_body=key, origin=Origin()).token


def reason(directory: Path, token: str) -> Reason | None:
    with opened(directory) as services:
        try:
            services.authenticator.authenticate([token.encode()], Origin())
        except CredentialRefused as error:
            return error.reason
        return None


def test_a_rotation_is_listed_and_refuses_no_token(run: Command, tmp_path: Path, token: str) -> None:
    """`rotate` says from when the new key signs, `list` shows both, and old tokens live on."""
    done = run("admin", "signing-key", "rotate", "--lead", "0")

    kid = done.out.split()[0]
    listed = run("admin", "signing-key", "list").out
    assert done.code == 0
    assert kid in listed
    assert listed.count("ES256") == 2
    assert reason(tmp_path, token) is None


def test_a_leak_ends_every_token(run: Command, tmp_path: Path, token: str) -> None:
    """`rotate --leaked` leaves one key, and no token from before opens anything."""
    done = run("admin", "signing-key", "rotate", "--leaked")

    assert done.code == 0
    assert "Every bearer token from before is refused" in done.out
    assert run("admin", "signing-key", "list").out.count("ES256") == 1
    assert reason(tmp_path, token) is Reason.SIGNATURE


@pytest.mark.parametrize("lead", ["-1", "soon", "999999999"])
def test_an_unfit_lead_changes_nothing(run: Command, token: str, lead: str) -> None:
    """A time that is none, or is longer than a week, is refused with what is allowed."""
    done = run("admin", "signing-key", "rotate", "--lead", lead)
    assert refused(done, code=2)
    assert run("admin", "signing-key", "list").out.count("ES256") == 1
