"""`keyturn admin signing-key …`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.cli.admin.options import opened_services
from keyturn.composition import ANNOUNCED, open_services
from keyturn.errors import CredentialRefused, Reason
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import Settings, read_settings
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.cli.conftest import Command, opened, refused
from tests.conftest import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.composition import Services


@pytest.fixture
def token(run: Command, tmp_path: Path) -> str:
    """A token that the first signing key signed."""
    assert run("admin", "user", "add", "bob", "--password-stdin", stdin=PASSWORD).code == 0
    key = run("admin", "key", "add", "--user", "bob").out.strip()
    with opened(tmp_path) as services:
        return services.exchange.exchange(in_header=[], in_body=key, origin=Origin()).token


@contextmanager
def announced(directory: Path, **settings: object) -> Iterator[Services]:
    """Run a server with these settings over the database of a directory."""
    address = f"sqlite:///{directory / 'keyturn.db'}"
    services = open_services(read_settings({"KEYTURN_DATABASE": address}, **settings), hashing=CHEAPEST)
    try:
        services.start()
        yield services
    finally:
        services.close()


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


def test_fault_a2_a_leak_ends_every_token_whatever_the_shell_says(
    run: Command, tmp_path: Path, token: str
) -> None:
    """From a shell that does not know the server's algorithm, `rotate --leaked` leaves one key, of it."""
    with announced(tmp_path, token_algorithm="EdDSA") as services:
        services.signing_keys.rotate(COMMAND_LINE, lead=timedelta(0))

    assert run("admin", "signing-key", "rotate", "--leaked").code == 0

    listed = run("admin", "signing-key", "list", KEYTURN_TOKEN_ALGORITHM="ES256").out
    assert (listed.count("EdDSA"), listed.count("ES256")) == (1, 0)
    assert reason(tmp_path, token) is Reason.SIGNATURE


def other_values(name: str) -> tuple[object, str]:
    """Return what a server announces for a setting, and what a shell says of it instead."""
    match getattr(Settings(), name):
        case bool(default):
            return not default, str(default).lower()
        case int(default):
            return default * 2, str(default)
        case _:
            return {
                "public_url": ("https://keys.example.com", "https://other.example.com"),
                "key_prefix": ("acme", "other"),
                "token_algorithm": ("EdDSA", "ES256"),
            }[name]


@pytest.mark.parametrize("name", sorted(set(ANNOUNCED.values())))
def test_fault_a2_commands_use_what_the_server_announced(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever an installation knows of itself, a command has from it, and not from its shell."""
    of_server, of_shell = other_values(name)
    with announced(tmp_path, **{name: of_server}):
        pass
    monkeypatch.delenv("KEYTURN_NO_SKIPS", raising=False)
    monkeypatch.setenv(f"KEYTURN_{name.upper()}", of_shell)

    with opened_services(f"sqlite:///{tmp_path / 'keyturn.db'}") as services:
        assert getattr(services.settings, name) == of_server


def test_fault_a2_a_key_made_by_a_command_is_one_of_the_server(
    run: Command, tmp_path: Path, token: str
) -> None:
    """A key and the end of a token are made with the prefix and the address that the server announced."""
    with announced(tmp_path, key_prefix="acme", public_url="https://keys.example.com") as services:
        key = run("admin", "key", "add", "--user", "bob", "--expires", "never").out.strip()
        assert key.startswith("acme_")
        other = services.exchange.exchange(in_header=[], in_body=key, origin=Origin()).token
        assert run("admin", "token", "revoke", stdin=other).out == "The token is revoked.\n"


@pytest.mark.parametrize("lead", ["-1", "soon", "999999999"])
def test_an_unfit_lead_changes_nothing(run: Command, token: str, lead: str) -> None:
    """A time that is none, or is longer than a week, is refused with what is allowed."""
    done = run("admin", "signing-key", "rotate", "--lead", lead)
    assert refused(done, code=2)
    assert run("admin", "signing-key", "list").out.count("ES256") == 1
