"""The command line in CI, behind a private authority, and where its output cannot go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.certificates import make_certificate
from tests.cli.conftest import Command, refused
from tests.conftest import PASSWORD
from tests.databases import new_sqlite_database
from tests.people import add_person
from tests.servers import RunningServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 30
SCRIPT = Path(sys.executable).with_name("keyturn")
READERS = (("whoami",), ("key", "list"), ("key", "list", "--json"), ("api", "GET", "/bim/rpc/user/current"))


@pytest.fixture
def in_ci(call: Command, server: RunningServer, key: str) -> Command:
    """Commands with the server and the key in the environment, and no file."""

    def in_ci(*arguments: str, **environment: str) -> object:
        return call(*arguments, **{"KEYTURN_URL": server.url, "KEYTURN_KEY": key, **environment})

    return in_ci  # type: ignore[return-value]


def test_fault_g7_the_environment_gives_server_and_key(in_ci: Command, tmp_path: Path) -> None:
    """With KEYTURN_URL and KEYTURN_KEY every command works, and no file is read or written."""
    for command in (*READERS, ("token",), ("key", "create", "--name", "from CI")):
        assert in_ci(*command).code == 0, command
    assert not (tmp_path / "config").exists()


def test_fault_g7_half_an_environment_is_told(call: Command, key: str) -> None:
    """A key without the address that it is for is sent nowhere."""
    assert "KEYTURN_URL is not" in refused(call("whoami", KEYTURN_KEY=key))


def test_fault_g7_a_named_profile_wins(configured: Command, server: RunningServer, key: str) -> None:
    """`--profile` and KEYTURN_PROFILE name a profile, whatever key the environment has."""
    other = add_person(server.services, "alice")
    made = server.services.keys.create_for(other.user_id, COMMAND_LINE, NewKey()).secret
    environment = {"KEYTURN_URL": server.url, "KEYTURN_KEY": made}
    assert configured("whoami", **environment).out.startswith("alice")
    assert configured("whoami", "--profile", "default", **environment).out.startswith("bob")
    assert configured("whoami", KEYTURN_PROFILE="default", **environment).out.startswith("bob")


@pytest.mark.parametrize(
    "command", [("configure", "--url", "https://keys.example.com"), ("login",), ("logout",)]
)
def test_fault_g7_nothing_is_kept_that_would_not_be_used(in_ci: Command, command: tuple[str, ...]) -> None:
    """While the environment gives the key, keeping and forgetting profiles is refused with the way out."""
    assert "KEYTURN_KEY is set" in refused(in_ci(*command))


def test_fault_g7_a_rotated_key_of_the_environment_is_told_of(
    in_ci: Command, call: Command, server: RunningServer
) -> None:
    """The new secret is printed, and where the former one still is."""
    (listed,) = json.loads(in_ci("key", "list", "--json").out)
    done = in_ci("key", "rotate", str(listed["id"]))
    assert done.err == "KEYTURN_KEY holds the former secret: put the new one there.\n"
    assert call("whoami", KEYTURN_URL=server.url, KEYTURN_KEY=done.out.strip()).code == 0


def test_fault_g7_whoami_says_what_the_key_carries(call: Command, server: RunningServer) -> None:
    """A key that is narrowed carries none of its owner's permissions, and `whoami` names its scopes."""
    services = server.services
    ada = services.users.add(
        COMMAND_LINE, userid="ada", name=None, password=PASSWORD, permissions=["USER_ADMIN"]
    )
    services.apis.register(
        COMMAND_LINE,
        name="Orders",
        identifier="https://orders.example.com",
        description=None,
        scopes=[ScopeToRegister("orders:read", None, None)],
    )
    key = services.keys.create_for(ada.user_id, COMMAND_LINE, NewKey()).secret
    environment = {"KEYTURN_URL": server.url, "KEYTURN_KEY": key}
    assert call("whoami", **environment).out == "ada, with CREATE_PROJECT, USER_ADMIN\n"
    narrowed = call("key", "create", "--scope", "orders:read", **environment).out.strip()
    environment["KEYTURN_KEY"] = narrowed
    assert call("whoami", **environment).out == "ada, by a key for orders:read, with no permissions\n"
    told = json.loads(call("whoami", "--json", **environment).out)
    assert (told["permissions"], told["scopes"]) == ([], ["orders:read"])


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server whose certificate no system trusts: `tls.pem` in `tmp_path`."""
    certificate = make_certificate(tmp_path)
    with running_server(
        new_sqlite_database(tmp_path / "behind-tls"),
        tls_certificate_file=certificate.file,
        tls_key_file=certificate.key_file,
    ) as running:
        yield running


def test_fault_g7_a_private_authority_is_given_by_file(
    call: Command, tls_server: RunningServer, tmp_path: Path
) -> None:
    """`--ca-file` is kept with the profile; KEYTURN_CA_FILE does the same for the environment."""
    user = add_person(tls_server.services)
    key = tls_server.services.keys.create_for(user.user_id, COMMAND_LINE, NewKey()).secret
    file = str(tmp_path / "tls.pem")
    arguments = ("configure", "--url", tls_server.url, "--key-stdin")
    untrusted = refused(call(*arguments, stdin=key), code=69)
    assert f"The certificate of {tls_server.url} is not trusted (self-signed certificate)" in untrusted
    assert "--ca-file" in untrusted
    assert call(*arguments, "--ca-file", file, stdin=key).code == 0
    for command in (("whoami",), ("token",), ("logout",)):
        assert call(*command).code == 0, command
    environment = {"KEYTURN_URL": tls_server.url, "KEYTURN_KEY": key, "KEYTURN_CA_FILE": file}
    assert "revoked" in call("whoami", **environment).err


@pytest.mark.parametrize(("content", "told"), [(None, "cannot be read"), ("nothing", "holds no certificate")])
def test_fault_g7_an_unfit_file_of_certificates_is_told(
    call: Command, tmp_path: Path, content: str | None, told: str
) -> None:
    """A file that is missing or holds no certificate stops the command, which asks nobody."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    environment = {
        "KEYTURN_URL": "https://127.0.0.1:1",
        "KEYTURN_KEY": "kt_key",
        "KEYTURN_CA_FILE": str(file),
    }
    assert told in refused(call("whoami", **environment))


def test_fault_g7_the_wrong_scheme_is_told(
    call: Command, server: RunningServer, tls_server: RunningServer, key: str
) -> None:
    """Where TLS meets plain HTTP, the sentence does not say that nobody answers."""
    to_plain = refused(call("whoami", KEYTURN_URL=server.url.replace("http:", "https:"), KEYTURN_KEY=key), 69)
    assert "does not speak TLS" in to_plain
    to_tls = refused(
        call("whoami", KEYTURN_URL=tls_server.url.replace("https:", "http:"), KEYTURN_KEY=key), 69
    )
    assert "does not speak HTTP" in to_tls


def run_script(
    server: RunningServer, key: str, *arguments: str, stdout: object = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        stdout=stdout,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
        env={"PATH": os.environ["PATH"], "KEYTURN_URL": server.url, "KEYTURN_KEY": key, **environment},
    )


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_fault_g7_any_text_goes_to_any_terminal(
    server: RunningServer, key: str, command: tuple[str, ...]
) -> None:
    """On a terminal that is not UTF-8 the characters that it lacks are escaped; no command fails."""
    made = run_script(server, key, "key", "create", "--name", "Schlüssel ✓", PYTHONIOENCODING="utf-8")
    assert made.returncode == 0
    done = run_script(server, key, *command, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")


def test_fault_g7_a_full_disk_is_told(server: RunningServer, key: str) -> None:
    """Output that cannot be written is told in one sentence; of a key that nobody has seen, how to end it."""
    with Path("/dev/full").open("w") as full:
        for command in READERS:
            done = run_script(server, key, *command, stdout=full)
            assert done.returncode == 74, command
            assert done.stderr == "keyturn: The output cannot be written: No space left on device.\n"
        lost = run_script(server, key, "key", "create", stdout=full)
    assert lost.returncode == 74
    first, second = lost.stderr.splitlines()
    assert "`keyturn key revoke 2` ends it" in first
    assert second == "keyturn: The output cannot be written: No space left on device."


def test_fault_g7_a_closed_pipe_is_no_defect(server: RunningServer, key: str) -> None:
    """Whoever reads no more is told nothing, and the exit code says that not all was written."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        for command in (*READERS, ("--help",)):
            done = run_script(server, key, *command, stdout=writing)
            assert (done.returncode, done.stderr) == (1, ""), command
    finally:
        os.close(writing)
