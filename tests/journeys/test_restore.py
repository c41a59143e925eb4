"""The restore drill, with real processes: nothing that ended after the backup is accepted (R7, U5)."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx

from keyturn.composition import open_services
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import Settings, read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import NO_WAITS
from tests.journeys.processes import ServerProcess, free_port, run_command
from tests.journeys.verifying import ACCEPTED, REFUSED, VerifierProcess
from tests.people import HERE, PASSWORD, add_person, log_in, new_key, person
from tests.postgresql import client_programs
from tests.replica.edges import new_follower

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from keyturn.composition import Services

PATIENCE_SECONDS = 30.0


def test_nothing_that_ended_is_accepted_after_a_restore(
    database: str, root_key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On server, second node, embedded verifier, follower and introspecting verifier: 0 accepted.

    Verifiers elsewhere live through the restore; a key that did not end goes on on all of them.
    """
    monkeypatch.setenv("PATH", f"{client_programs()}:{os.environ['PATH']}")
    port = free_port()
    given = {"KEYTURN_ROOT_KEY_FILE": str(root_key_file), "KEYTURN_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    environment = {"KEYTURN_DATABASE": database} | given
    settings = read_settings(environment, **NO_WAITS)
    folder = tmp_path / "backups"
    folder.mkdir()
    with opened(settings) as services:
        kept, following, ending, secrets = furnish(services)
    nodes = [
        ServerProcess(database, tmp_path, environment=given, port=port),
        ServerProcess(database, tmp_path, environment=given),
    ]
    with ExitStack() as held:
        start(nodes, held)
        follower = held.enter_context(VerifierProcess(nodes[0].url, following))
        asking = held.enter_context(VerifierProcess(nodes[1].url, following, follow=False))
        with VerifierProcess(database) as embedded:
            for place in (follower, asking, embedded):
                assert {place.verify(one) for one in (kept, *secrets)} == {ACCEPTED}
            assert {status(node, one) for node in nodes for one in (kept, *secrets)} == {200}
        assert run_command("admin", "backup", str(folder), environment=environment).returncode == 0
        with opened(settings) as services:
            end(services, ending)
        refused = run_command("admin", "restore", str(folder), "--yes", environment=environment)
        assert "stop all servers" in refused.stderr
        for node in nodes:
            node.stop()

        done = run_command("admin", "restore", str(folder), "--yes", environment=environment)

        assert done.returncode == 0, done.stderr
        start(nodes, held)
        embedded = held.enter_context(VerifierProcess(database))
        for place in (follower, asking, embedded):
            for answer in answers(place, kept):
                assert answer != REFUSED
        accepted = [
            (number, place)
            for number, secret in enumerate(secrets)
            for place in (follower, asking, embedded)
            if place.verify(secret) != REFUSED
        ]
        accepted += [
            (number, node) for number, one in enumerate(secrets) for node in nodes if status(node, one) != 401
        ]
        assert accepted == []
        assert {status(node, kept) for node in nodes} == {200}


def opened(settings: Settings) -> closing[Services]:
    """Open the services beside servers, as another process of this host."""
    return closing(open_services(settings, hashing=CHEAPEST))


def furnish(services: Services) -> tuple[str, str, dict[str, int], list[str]]:
    """Return a key that stays, one to follow with, what is to end, and the credentials of that."""
    add_person(services, "bob")
    add_person(services, "eve")
    bob = person(services, "bob")
    kept, revoked, rotated = (new_key(services, bob) for _ in range(3))
    suspended = new_key(services, person(services, "eve"))
    tokens = [
        services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token
        for key in (kept, revoked, rotated, suspended)
    ]
    tokens.append(services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token)
    log_in(services)
    following = new_follower(services).secret
    ending = {"revoked": revoked.record.key_id, "rotated": rotated.record.key_id}
    secrets = [key.secret for key in (revoked, rotated, suspended)]
    return kept.secret, following, ending, [*secrets, *tokens]


def end(services: Services, ending: dict[str, int]) -> None:
    """Revoke a key, rotate one, suspend a user."""
    services.keys.revoke_any(ending["revoked"], COMMAND_LINE)
    services.key_rotation.rotate_own(person(services, "bob"), ending["rotated"], HERE, overlap=timedelta(0))
    services.users.set_disabled(COMMAND_LINE, "eve", disabled=True)


def start(nodes: list[ServerProcess], held: ExitStack) -> None:
    for node in nodes:
        node.start()
        held.callback(node.kill)
    for node in nodes:
        node.wait_ready()


def status(node: ServerProcess, credential: str) -> int:
    return httpx.get(f"{node.url}/verify", headers={"Authorization": f"Bearer {credential}"}).status_code


def answers(place: VerifierProcess, credential: str) -> Iterator[str]:
    """Yield what a verifier says until it accepts, which it must in time."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (answer := place.verify(credential)) != ACCEPTED:
        yield answer
        assert time.monotonic() < until, answer
        time.sleep(0.05)
