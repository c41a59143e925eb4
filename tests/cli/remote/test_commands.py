"""The commands of those who call a server, against a server."""

from __future__ import annotations

import json
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.apis import register
from tests.cli.conftest import Command, refused
from tests.people import HERE, add_person, is_accepted, restricted
from tests.people import person as signed_in_person
from tests.proxies import environment_with_proxy
from tests.servers import RunningServer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_kept_where_nobody_else_reads_it(configured: Command, tmp_path: Path, key: str) -> None:
    """The file of profiles has mode 0600, and holds the key that the server accepted."""
    file = tmp_path / "config" / "keyturn" / "profiles.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["default"]["key"] == key
    assert {name.name: name.stat().st_size > 0 for name in file.parent.iterdir()} == {
        "profiles.json": True,
        ".profiles.json.lock": False,
    }
    assert configured("whoami").out == "bob, with CREATE_PROJECT\n"


def test_a_key_that_is_refused_is_not_kept(call: Command, server: RunningServer, tmp_path: Path) -> None:
    """`configure` asks the server first: a wrong key is told, and leaves no file."""
    done = call("configure", "--url", server.url, "--key-stdin", stdin="kt_wrong")
    assert f"{server.url} does not accept this key: see that it is whole" in refused(done)
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize("url", ["http://keys.example.com", "keys.example.com", "ftp://localhost"])
def test_a_key_is_not_sent_in_clear(call: Command, url: str) -> None:
    """An address without https that is not loopback is refused before anything is sent."""
    assert "https" in refused(call("configure", "--url", url, "--key-stdin", stdin="kt_key"))


def test_a_file_that_others_can_read_is_refused(configured: Command, tmp_path: Path) -> None:
    """Keys in a file that others can read are not used, and the sentence says what to do."""
    file = tmp_path / "config" / "keyturn" / "profiles.json"
    file.chmod(0o640)
    assert f"chmod 600 {file}" in refused(configured("whoami"))
    file.chmod(0o600)
    file.write_text("{")
    assert "not a file of profiles" in refused(configured("whoami"))


def test_profiles_are_kept_apart(
    configured: Command, server: RunningServer, tmp_path: Path, key: str
) -> None:
    """Each profile has a server and a key of its own; one that is not there is named."""
    other = add_person(server.services, "alice")
    made = server.services.keys.create_for(other.user_id, COMMAND_LINE, NewKey()).secret
    done = configured("configure", "--url", server.url, "--key-stdin", "--profile", "work", stdin=made)
    assert done.code == 0
    assert configured("whoami", "--profile", "work").out.startswith("alice")
    assert configured("whoami").out.startswith("bob")
    assert "keyturn configure --profile none" in refused(configured("whoami", "--profile", "none"))


def test_keys_are_made_listed_and_revoked(configured: Command, server: RunningServer) -> None:
    """`key create` prints the key alone, `key list` never a secret, and what `key revoke` names is dead."""
    made = configured("key", "create", "--name", "laptop").out.strip()
    assert made.startswith("kt_")
    listed = json.loads(configured("key", "list", "--json").out)
    assert [one["name"] for one in listed] == ["laptop", "first"]
    table = configured("key", "list").out
    assert "laptop" in table
    assert made not in table + str(listed)

    assert configured("key", "revoke", str(listed[0]["id"])).code == 0

    assert [one["state"] for one in json.loads(configured("key", "list", "--json").out)] == [
        "revoked",
        "active",
    ]
    assert "Not found" in refused(configured("key", "revoke", str(listed[0]["id"])))


def test_a_new_key_can_be_had_as_json(configured: Command) -> None:
    """With `--json` a new key comes with what is known of it."""
    made = json.loads(configured("key", "create", "--json").out)
    assert made["apikey"].startswith("kt_")
    assert made["state"] == "active"


def test_a_token_is_printed_alone(configured: Command, server: RunningServer) -> None:
    """`token` prints a bearer token and nothing else, for use inside another command."""
    done = configured("token")
    assert done.err == ""
    assert done.out.count("\n") == 1
    assert json.loads(configured("api", "get", "/bim/rpc/user/current").out)["userid"] == "bob"
    caller = server.services.authenticator.authenticate([f"Bearer {done.out.strip()}".encode()], Origin())
    assert caller is not None
    assert caller.userid == "bob"


def test_anything_can_be_asked_of_the_api(configured: Command, tmp_path: Path) -> None:
    """A body comes from the command, a file or standard input; what is no JSON is not sent."""
    file = tmp_path / "body.json"
    file.write_text('{"name": "by file"}')
    assert (
        json.loads(configured("api", "POST", "/apikey", "--data", '{"name": "typed"}').out)["name"] == "typed"
    )
    assert json.loads(configured("api", "POST", "/apikey", "--data", f"@{file}").out)["name"] == "by file"
    piped = configured("api", "POST", "/apikey", "--data", "-", stdin='{"name": "piped"}')
    assert json.loads(piped.out)["name"] == "piped"
    assert "not JSON" in refused(configured("api", "POST", "/apikey", "--data", "{"))
    assert "cannot be read" in refused(configured("api", "POST", "/apikey", "--data", f"@{tmp_path}/none"))
    assert "Not found" in refused(configured("api", "GET", "/nothing"))


def test_a_server_that_is_away_is_told(call: Command, configured: Command, tmp_path: Path) -> None:
    """Without an answer the exit code is 69, and the sentence says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = call("configure", "--url", f"http://127.0.0.1:{port}", "--key-stdin", stdin="kt_key")
    assert refused(done, code=69) == (
        f"keyturn: Nobody answers at http://127.0.0.1:{port} (Connection refused): "
        "start the server, or correct the address and port."
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(run: Command, shell: str) -> None:
    """The script that a shell reads names the program and its variable."""
    done = run("completion", shell)
    assert done.code == 0
    assert "_KEYTURN_COMPLETE" in done.out


def test_no_command_asks_this_machine_by_a_proxy(
    configured: Command, key: str, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile's key goes to a server on loopback directly, whatever proxy the environment names."""
    with environment_with_proxy(monkeypatch) as seen:
        for command in (["whoami"], ["token"], ["key", "list"], ["api", "GET", "/bim/rpc/user/current"]):
            assert configured(*command).code == 0
        assert configured("logout").code == 0
    assert seen == []
    assert not is_accepted(server.services, key)


def test_fault_g9_a_token_is_for_the_one_service_of_the_key(call: Command, server: RunningServer) -> None:
    """With a key that covers one service alone `keyturn token` makes a token for that, and says so aside."""
    services = server.services
    bob = add_person(services)
    api = register(services, "orders")
    secret = services.keys.create(
        signed_in_person(services, bob.userid), HERE, NewKey(restrictions=restricted(scopes=["orders:read"]))
    ).secret
    assert call("configure", "--url", server.url, "--key-stdin", stdin=secret).code == 0
    done = call("token")
    assert done.code == 0, done
    assert api.identifier in done.err
    known = services.authenticator.at(api.identifier).identify(done.out.strip().encode())
    assert known.principal.scopes == {"orders:read"}
