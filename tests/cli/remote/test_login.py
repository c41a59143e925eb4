"""`login` and `logout`, rotation of the profile's own key, and the keyring, against a server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import PasswordSetError

from keyturn.core.lifetimes import Lifetime
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.cli.conftest import Command, Outcome, refused
from tests.people import add_person, is_accepted, log_in, signed_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import RunningServer

HERE = Origin(address="127.0.0.1")
SECONDS = 30
PROGRAM = """
import signal
from keyturn.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""The command. In the background of a shell the tests, and all that they start, ignore Ctrl-C."""


class Kept(KeyringBackend):
    """A keyring in memory, which refuses when it is locked."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def get_password(self, service: str, username: str) -> str | None:
        return self.secrets.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.is_locked:
            raise PasswordSetError("locked")
        self.secrets[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.secrets[service, username]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """The keyring of the system, for one test."""
    before = keyring.get_keyring()
    made = Kept()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


class Login:
    """`keyturn login` in a process of its own, up to the moment when it shows its code."""

    def __init__(self, tmp_path: Path, *arguments: str, **environment: str) -> None:
        names = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(tmp_path / "config"), **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "login", *arguments],
            env=names,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.shown = self.process.stderr.readline()
        found = re.fullmatch(
            r"Open (\S+/device) and type the code ([A-Z]{4}-[A-Z]{4}) within 10 minutes\.\n", self.shown
        )
        assert found is not None, self.shown + self.process.stderr.read()
        self.code = found[2]

    def end(self) -> Outcome:
        out, err = self.process.communicate(timeout=SECONDS)
        return Outcome(self.process.returncode, out, err)


def approve(server: RunningServer, code: str) -> None:
    add_person(server.services)
    services = server.services
    session = signed_in(services, log_in(services))
    services.devices.approve(session, code, Lifetime(None), HERE)


def profiles(tmp_path: Path) -> dict[str, dict[str, str]]:
    file = tmp_path / "config" / "keyturn" / "profiles.json"
    found: dict[str, dict[str, str]] = json.loads(file.read_text())
    return found


def test_a_machine_is_signed_in_by_a_page(server: RunningServer, call: Command, tmp_path: Path) -> None:
    """A person approves on the page; the profile has a key of theirs, and no output ever showed it."""
    login = Login(tmp_path, "--no-browser", "--json", f"{server.url}/")
    approve(server, login.code)

    done = login.end()

    assert done.code == 0, done
    told = json.loads(done.out)
    assert (told["userid"], told["expiresAt"]) == ("bob", None)
    secret = profiles(tmp_path)["default"]["key"]
    assert secret not in done.out + done.err + login.shown
    assert call("whoami").out.startswith("bob")
    (listed,) = json.loads(call("key", "list", "--json").out)
    assert listed["name"].startswith("keyturn on ")

    assert "is revoked" in call("logout").out
    assert not is_accepted(server.services, secret)
    assert profiles(tmp_path) == {}
    assert "keyturn login" in refused(call("whoami"))


def test_the_browser_is_opened_at_the_code(server: RunningServer, tmp_path: Path) -> None:
    """The browser of the person's choice gets the address with the code in it."""
    seen = tmp_path / "seen"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    script.chmod(0o700)
    login = Login(tmp_path, server.url, BROWSER=f"{script} %s")
    assert login.process.stderr is not None
    assert "browser was opened" in login.process.stderr.readline()
    assert seen.read_text() == f"{server.url}/device?user_code={login.code}\n"
    login.process.kill()
    login.end()


def test_giving_up_leaves_nothing_behind(server: RunningServer, tmp_path: Path) -> None:
    """Ctrl-C while waiting ends with 130 and one line, without a profile and without a key."""
    login = Login(tmp_path, "--no-browser", server.url)
    login.process.send_signal(signal.SIGINT)

    done = login.end()

    assert done.code == 130
    assert done.out == ""
    assert "Traceback" not in done.err
    assert not (tmp_path / "config").exists()
    approve(server, login.code)
    user = server.services.users.get_by_userid("bim", "bob")
    assert server.services.keys.list_of(user.user_id).items == ()


def test_a_refusal_is_told(server: RunningServer, tmp_path: Path) -> None:
    """Whoever refuses on the page ends the waiting, with one sentence and the exit code of a refusal."""
    login = Login(tmp_path, "--no-browser", server.url)
    add_person(server.services)
    session = signed_in(server.services, log_in(server.services))
    server.services.devices.deny(session, login.code, HERE)
    assert "refused" in refused(login.end())
    assert not (tmp_path / "config").exists()


def test_a_login_needs_an_address(call: Command) -> None:
    """Without an address and a profile that has one, or with one in clear, nothing is asked."""
    assert "address of the server" in refused(call("login", "--no-browser"))
    assert "https" in refused(call("login", "--no-browser", "http://keys.example.com"))


def test_a_dead_key_is_forgotten_too(configured: Command, server: RunningServer, tmp_path: Path) -> None:
    """`logout` cleans up after a key that was revoked elsewhere, and does not claim to know that it was."""
    (listed,) = json.loads(configured("key", "list", "--json").out)
    assert configured("key", "revoke", str(listed["id"])).code == 0
    said = configured("logout").out
    assert said == (
        "The server no longer accepts this key; if it should be alive, revoke it on its page. "
        "The profile default is gone.\n"
    )
    assert profiles(tmp_path) == {}
    assert "no profile" in refused(configured("logout"))


def test_a_profile_is_forgotten_without_its_server(configured: Command, tmp_path: Path, key: str) -> None:
    """Where the server is gone `logout` keeps the profile and says what forgets it; `--local` asks nobody."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{probe.getsockname()[1]}"
    file = tmp_path / "config" / "keyturn" / "profiles.json"
    file.write_text(json.dumps({"default": {"url": away, "key": key}}))

    done = configured("logout")
    assert done.code == 69
    assert "keyturn logout --local" in done.err
    assert profiles(tmp_path) == {"default": {"url": away, "key": key}}

    assert "The profile default is gone" in configured("logout", "--local").out
    assert profiles(tmp_path) == {}
    assert "no profile" in refused(configured("logout", "--local"))


def test_a_local_logout_revokes_nothing(configured: Command, server: RunningServer, key: str) -> None:
    """The key of a profile that is forgotten here goes on, and that is said."""
    assert "Its key lives" in configured("logout", "--local").out
    assert is_accepted(server.services, key)


# Logging in again


def log_in_again(server: RunningServer, tmp_path: Path, life: Lifetime | None = None) -> Outcome:
    """Log bob in by the page, over what the default profile holds."""
    login = Login(tmp_path, "--no-browser", server.url)
    session = signed_in(server.services, log_in(server.services))
    server.services.devices.approve(session, login.code, life or Lifetime(None), HERE)
    return login.end()


def test_the_former_key_is_not_forgotten(
    configured: Command, server: RunningServer, tmp_path: Path, key: str
) -> None:
    """A login over a profile leaves its key alive, and says which command ends it; that one does."""
    number = own_id(configured)
    ends_at = server.services.system.now() + timedelta(days=7)

    done = log_in_again(server, tmp_path, Lifetime(ends_at))

    assert done.code == 0, done
    assert done.err == f"The former key of this profile is alive: `keyturn key revoke {number}` ends it.\n"
    assert re.search(r"The key is kept in \S+ and ends on \d+ \w{3} \d{4}, \d\d:\d\d UTC\.\n$", done.out)
    assert is_accepted(server.services, key)
    assert configured("key", "revoke", number).code == 0
    assert not is_accepted(server.services, key)
    assert configured("whoami").out.startswith("bob")


def test_a_former_key_of_somebody_else_is_told(call: Command, server: RunningServer, tmp_path: Path) -> None:
    """A key that the new one cannot end is ended on the page of whose it is."""
    eve = add_person(server.services, "eve")
    made = server.services.keys.create_for(eve.user_id, COMMAND_LINE, NewKey())
    assert call("configure", "--url", server.url, "--key-stdin", stdin=made.secret).code == 0
    add_person(server.services)

    done = log_in_again(server, tmp_path)

    assert "of eve, is alive: revoke it on the API Keys page" in done.err
    assert "never ends" in done.out


@pytest.mark.parametrize("fate", ["revoked", "away"])
def test_a_former_key_that_does_not_answer_stops_nothing(
    configured: Command, server: RunningServer, tmp_path: Path, key: str, fate: str
) -> None:
    """A former key that is refused, or whose server is gone, is told of as far as is known."""
    if fate == "revoked":
        assert configured("key", "revoke", own_id(configured)).code == 0
    else:
        file = tmp_path / "config" / "keyturn" / "profiles.json"
        file.write_text(json.dumps({"default": {"url": "http://127.0.0.1:9", "key": key}}))

    done = log_in_again(server, tmp_path)

    assert done.code == 0, done
    says = (
        "no longer accepts the former key"
        if fate == "revoked"
        else "may be alive: revoke it on the API Keys page"
    )
    assert says in done.err
    assert profiles(tmp_path)["default"]["key"] != key


# Rotation


def own_id(configured: Command) -> str:
    (listed,) = json.loads(configured("key", "list", "--json").out)
    return str(listed["id"])


def test_the_own_key_is_rotated_and_kept(
    configured: Command, server: RunningServer, tmp_path: Path, key: str
) -> None:
    """The new secret is printed alone and is in the profile; the former one goes on for the overlap."""
    done = configured("key", "rotate", own_id(configured), "--overlap", "1h")
    assert done.code == 0
    assert done.out.strip() == profiles(tmp_path)["default"]["key"] != key
    assert "has the new secret" in done.err
    assert done.out.strip() not in done.err
    assert configured("whoami").out.startswith("bob")
    assert is_accepted(server.services, key)

    again = json.loads(configured("key", "rotate", own_id(configured), "--json").out)
    assert again["apikey"] == profiles(tmp_path)["default"]["key"]
    assert not is_accepted(server.services, key)
    assert not is_accepted(server.services, done.out.strip())


def test_another_key_is_not_rotated(
    configured: Command, server: RunningServer, tmp_path: Path, key: str
) -> None:
    """Another key gets no new secret with that of the profile: the command says how, and nothing changes."""
    other = json.loads(configured("key", "create", "--json").out)
    assert "rotated with itself" in refused(configured("key", "rotate", str(other["id"])))
    assert is_accepted(server.services, other["apikey"])
    assert profiles(tmp_path)["default"]["key"] == key


def test_a_new_secret_is_not_lost_with_the_disk(configured: Command, tmp_path: Path, key: str) -> None:
    """If the profile cannot keep the new secret, it is printed with what to do, and the command fails."""
    in_the_way = tmp_path / "config" / "keyturn" / f".profiles.json.{os.getpid()}"
    in_the_way.mkdir()
    done = configured("key", "rotate", own_id(configured))
    in_the_way.rmdir()

    assert done.code == 1
    assert done.out == ""
    secret, sentence = done.err.splitlines()
    assert "configure --key-stdin" in sentence
    url = json.loads(configured("api", "GET", "/.well-known/oauth-authorization-server").out)["issuer"]
    assert configured("configure", "--url", url, "--key-stdin", stdin=secret).code == 0


@pytest.mark.parametrize("overlap", ["25h", "-1", "1d", "1.5h", "", "99999999"])
def test_an_overlap_is_a_time(configured: Command, overlap: str) -> None:
    """What is no time, or more than a day, is refused before the server is asked."""
    assert configured("key", "rotate", "1", "--overlap", overlap).code == 2


def test_the_help_shows_times_that_are_taken(call: Command, configured: Command) -> None:
    """What the help names as an overlap is one."""
    shown = call("key", "rotate", "--help").out
    assert "--overlap TIME" in shown
    for overlap in re.findall(r"\d+[smh]\b", shown):
        assert configured("key", "rotate", own_id(configured), "--overlap", overlap).code == 0


# The keyring


def test_a_keyring_keeps_the_key(
    call: Command, server: RunningServer, tmp_path: Path, key: str, kept: Kept
) -> None:
    """With `--keyring` the file says only that the key is elsewhere; rotation and logout follow it there."""
    done = call("configure", "--url", server.url, "--key-stdin", "--keyring", stdin=key)
    assert done.code == 0, done
    assert "keyring" in done.out
    assert kept.secrets == {("keyturn", "default"): key}
    assert profiles(tmp_path) == {"default": {"url": server.url}}
    assert call("whoami").out.startswith("bob")

    new = call("key", "rotate", own_id(call)).out.strip()
    assert kept.secrets == {("keyturn", "default"): new}
    assert profiles(tmp_path) == {"default": {"url": server.url}}

    assert call("configure", "--url", server.url, "--key-stdin", stdin=new).code == 0
    assert kept.secrets, "a key that was in the keyring stays there unless one says otherwise"
    assert call("logout").code == 0
    assert kept.secrets == {}
    assert profiles(tmp_path) == {}


def test_a_key_moves_out_of_the_keyring(
    call: Command, server: RunningServer, tmp_path: Path, key: str, kept: Kept
) -> None:
    """With `--no-keyring` the key is in the file alone."""
    for place in ("--keyring", "--no-keyring"):
        assert call("configure", "--url", server.url, "--key-stdin", place, stdin=key).code == 0
    assert kept.secrets == {}
    assert profiles(tmp_path)["default"]["key"] == key


def test_a_locked_keyring_loses_nothing(
    call: Command, server: RunningServer, tmp_path: Path, key: str, kept: Kept
) -> None:
    """If the keyring does not take the new secret, it is printed with what to do."""
    assert call("configure", "--url", server.url, "--key-stdin", "--keyring", stdin=key).code == 0
    kept.is_locked = True
    done = call("key", "rotate", own_id(call))
    assert done.code == 1
    secret, sentence = done.err.splitlines()
    assert "configure --key-stdin" in sentence
    assert is_accepted(server.services, secret)


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring])
def test_without_a_keyring_it_is_said(
    call: Command,
    server: RunningServer,
    tmp_path: Path,
    key: str,
    kept: Kept,
    backend: type[KeyringBackend],
) -> None:
    """A system without a keyring, or with one that keeps nothing, is told so, and no profile is written."""
    keyring.set_keyring(backend())
    done = call("configure", "--url", server.url, "--key-stdin", "--keyring", stdin=key)
    assert "--keyring" in refused(done)
    assert not (tmp_path / "config" / "keyturn" / "profiles.json").exists()


def test_a_key_that_left_the_keyring_is_missed(
    call: Command, server: RunningServer, key: str, kept: Kept
) -> None:
    """A key that somebody took out of the keyring is told of, with what to do."""
    assert call("configure", "--url", server.url, "--key-stdin", "--keyring", stdin=key).code == 0
    kept.secrets.clear()
    assert "keyturn login" in refused(call("whoami"))


def test_no_keyring_is_asked_by_default(configured: Command, tmp_path: Path) -> None:
    """Without `--keyring` the package is not even imported: a machine without D-Bus never waits for it."""
    program = (
        "import sys; from keyturn.cli import main\ntry: main()\nfinally: sys.exit('keyring' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "whoami"],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(tmp_path / "config")},
    )
    assert done.stdout.startswith("bob")
    assert done.returncode == 0
