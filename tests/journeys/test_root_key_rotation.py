"""The root key is rotated under servers that run: they follow, and nothing is refused meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.composition import open_services
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.databases import new_postgresql_database
from tests.journeys.processes import run_command, serving

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM_KEY = {"name": "trino", "scopes": ["plugin:trino"], "connectionKey": "one"}


@pytest.mark.parametrize("kind", ["sqlite, own file", "postgresql"])
def test_servers_follow_a_rotation(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """S3: two processes answer the same system key and valid tokens before, during and after a rotation."""
    database, file = f"sqlite:///{tmp_path / 'keyturn.db'}", tmp_path / "root.key"
    given: dict[str, str] = {}
    if kind == "postgresql":
        database = new_postgresql_database(request.getfixturevalue("postgresql_server"))
        file = request.getfixturevalue("root_key_file")
        given["KEYTURN_ROOT_KEY_FILE"] = str(file)
    environment = {"KEYTURN_DATABASE": database, "KEYTURN_NEW_INSTALLATION": "true"} | given
    add = ("admin", "user", "add", "ada", "--permission", "all", "--password-stdin")
    assert run_command(*add, stdin=PASSWORD, environment=environment).returncode == 0
    key = run_command("admin", "key", "add", "--user", "ada", environment=environment).stdout.strip()
    with_connection(environment)

    with serving(database, tmp_path, "--workers", "2", environment=given) as server:
        before = reveal(server.url, key)
        end, seen = threading.Event(), []

        def watch() -> None:
            while not end.is_set():
                seen.append(reveal(server.url, key))

        watching = threading.Thread(target=watch)
        watching.start()
        if kind == "postgresql":
            new = run_command("admin", "root-key").stdout
            write(file, new + file.read_text())
        rotated = run_command("admin", "root-key", "rotate", environment=environment)
        if kind == "postgresql":
            write(file, new)
        # Every process reads the signing keys anew, which are under the new root key by now.
        signing = run_command("admin", "signing-key", "rotate", "--lead", "0", environment=environment)
        for _ in range(20):
            seen.append(reveal(server.url, key))
            token = httpx.post(f"{server.url}/bim/apikey/authenticate", json={"apikey": key}).json()["token"]
            verified = httpx.get(f"{server.url}/verify", headers={"Authorization": f"Bearer {token}"})
            assert verified.status_code == 200
        end.set()
        watching.join()
        output = server.output()

    assert rotated.returncode == signing.returncode == 0, (rotated.stderr, signing.stderr)
    assert len(file.read_text().split()) == 1
    assert set(seen) == {before}
    assert "request_failed" not in output, output[:2000]
    check = run_command("admin", "check", environment=environment)
    assert check.returncode == 0, check.stderr


def reveal(url: str, key: str) -> str:
    """Return the secret of the system key, over a connection of its own: to any of the processes."""
    answer = httpx.post(f"{url}/bim/apikey/system", json=SYSTEM_KEY, headers={"Authorization": key})
    assert answer.status_code == 200, answer.text
    secret: str = answer.json()["apikey"]
    return secret


def write(file: Path, text: str) -> None:
    """Write the file of root keys as the documentation has it: a reader finds the one or the other."""
    draft = file.with_name("draft")
    draft.write_text(text)
    draft.chmod(0o600)
    draft.replace(file)


def with_connection(environment: dict[str, str]) -> None:
    """Register the connection that the system key belongs to."""
    services = open_services(read_settings(environment), hashing=CHEAPEST)
    ada = services.users.get_by_userid("bim", "ada")
    services.connections.register(COMMAND_LINE, ada.user_id, "one", {"technology": "Trino"})
    services.close()
