"""`keyturn` alone: what this is, where one is signed in, and what to do first."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Command

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://keys.example.com"
KEY = "0f7d9b1c5e3a48268f0a6c4e2d1b7a93"


@pytest.fixture
def alone(call: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same as `call`, where no command gets a socket."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    return call


def keep(tmp_path: Path, **profiles: str | None) -> Path:
    """Write profiles, each a name with its key; None for one that is in the keyring."""
    file = tmp_path / "config" / "keyturn" / "profiles.json"
    file.parent.mkdir(parents=True)
    stored = {name: {"url": URL} | ({} if key is None else {"key": key}) for name, key in profiles.items()}
    file.write_text(json.dumps(stored))
    file.chmod(0o600)
    return file


def test_who_is_not_signed_in_is_told_how(alone: Command) -> None:
    """On a new machine the screen says so, names the command, and the exit code is 0."""
    done = alone()
    assert (done.code, done.err) == (0, "")
    assert "You are not signed in." in done.out
    assert "keyturn login https://" in done.out
    assert "keyturn serve --demo" in done.out
    assert len(done.out.splitlines()) <= 12


def test_who_is_signed_in_is_told_where(alone: Command, tmp_path: Path) -> None:
    """The screen names the server and the profiles, no key, and asks neither server nor keyring."""
    keep(tmp_path, default=None, staging=KEY)
    done = alone()
    assert (done.code, done.err) == (0, "")
    assert f"You are signed in to {URL} (profile default). Other profiles: staging." in done.out
    assert "keyturn key list" in done.out
    assert KEY not in done.out
    assert "(profile staging)" in alone(KEYTURN_PROFILE="staging").out
    assert "Name a profile with --profile" in alone(KEYTURN_PROFILE="other").out


def test_the_environment_is_told(alone: Command) -> None:
    """In CI the screen says that the variables decide."""
    assert f"KEYTURN_URL and KEYTURN_KEY sign you in to {URL}." in alone(KEYTURN_URL=URL, KEYTURN_KEY=KEY).out


def test_unfit_profiles_are_told_on_the_screen(alone: Command, tmp_path: Path) -> None:
    """A file that others can read does not keep anybody from the first screen."""
    keep(tmp_path, default=KEY).chmod(0o644)
    done = alone()
    assert done.code == 0
    assert "run chmod 600" in done.out
