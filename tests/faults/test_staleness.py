"""R1 on one host: once a revoke is acknowledged no worker accepts the key again, whoever revoked it."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select

from keyturn.composition import Services, open_services
from keyturn.core.api_key import RANDOM_BYTES, ApiKeyFormat
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store.database.schema import api_key
from keyturn.verifying.origin import COMMAND_LINE
from tests.databases import new_postgresql_database
from tests.faults.changes import changing
from tests.faults.wire import Wire, wires_to_workers
from tests.journeys.processes import serving
from tests.people import add_person
from tests.store.rows import a_key

if TYPE_CHECKING:
    from pathlib import Path


ROUNDS = int(os.environ.get("KEYTURN_STALENESS_ROUNDS", "500"))
SEED = os.environ.get("KEYTURN_FAULT_SEED", "20261125")
CLIENTS = 3
BATCH = 50
RACING_SHARE = 0.3
PROCESS_SHARE = 0.3
TOKEN_SHARE = 0.3
UNBOUNDED_FAILURES = "1000000"


@dataclass
class Tally:
    """What one client asked, and what it was answered."""

    rounds: int = 0
    checks: int = 0
    warm: int = 0
    tokens: int = 0
    raced: Counter[int] = field(default_factory=Counter)
    """How the look-ups that raced with a revoke were answered."""
    accepted: list[str] = field(default_factory=list)
    """Accepted after the acknowledgement: what must not be."""
    surprises: list[str] = field(default_factory=list)


class Client(threading.Thread):
    """Makes keys and revokes each, one after the other."""

    def __init__(
        self, number: int, rounds: int, services: Services, user_id: int, writer: str, wires: list[Wire]
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._choice = random.Random(f"{SEED} {number}")
        self._rounds = rounds
        self._services = services
        self._user_id = user_id
        self._writer = writer
        self._wires = wires
        self.tally = Tally()

    def run(self) -> None:
        try:
            while self.tally.rounds < self._rounds:
                number = min(BATCH, self._rounds - self.tally.rounds)
                for key_id, secret in make_keys(self._services, self._user_id, number):
                    if self._choice.random() < RACING_SHARE:
                        self._revoke_while_looked_up(key_id, secret)
                    else:
                        self._revoke_remembered(key_id, secret)
                    self.tally.rounds += 1
        except Exception as error:  # noqa: BLE001 - reported by the test, which a thread cannot fail
            self.tally.surprises.append(f"{self.name}: {error!r}")

    def _revoke_remembered(self, key_id: int, secret: str) -> None:
        """Have all workers remember a key or a token of it, revoke the key, and present it to all at once."""
        what = "key"
        if self._choice.random() < TOKEN_SHARE:
            what, secret = "token of key", self._exchanged(secret)
            self.tally.tokens += 1
        for _ in range(2):
            for wire in self._wires:
                wire.send_verify(secret)
            for wire in self._wires:
                if (status := wire.status()) != 200:
                    self.tally.surprises.append(f"{what} {key_id} before its revoke: {status}")
        how = self._revoke(key_id, self._choice.choice(self._wires))
        for wire in self._wires:
            wire.send_verify(secret)
        for wire in self._wires:
            self._judge(wire.status(), f"{what} {key_id}, remembered, revoked by {how}")
        self.tally.warm += 1

    def _revoke_while_looked_up(self, key_id: int, secret: str) -> None:
        """Present a key that nobody knows yet while it is revoked (R4), and again to every worker after."""
        revoking = self._choice.choice(self._wires)
        others = [wire for wire in self._wires if wire is not revoking]
        for wire in others:
            wire.send_verify(secret)
        how = self._revoke(key_id, revoking)
        for wire in self._wires:
            wire.send_verify(secret)
        for wire in others:  # What raced may be answered either way; what it left behind must not count.
            self.tally.raced[wire.status()] += 1
        for wire in self._wires:
            self._judge(wire.status(), f"key {key_id}, being looked up, revoked by {how}")

    def _exchanged(self, secret: str) -> str:
        """Have a worker make a token of a key."""
        wire = self._choice.choice(self._wires)
        wire.send("POST", "/bim/apikey/authenticate", secret)
        assert wire.status() == 200, wire.body
        token: str = json.loads(wire.body)["token"]
        return token

    def _revoke(self, key_id: int, wire: Wire) -> str:
        """Revoke by a worker, or past all of them by this process; return which, when it is acknowledged."""
        if self._choice.random() < PROCESS_SHARE:
            self._services.keys.revoke_any(key_id, COMMAND_LINE)
            return "another process"
        if (status := wire.revoke(key_id, self._writer)) != 200:
            self.tally.surprises.append(f"revoke of key {key_id}: {status} {wire.body!r}")
        return "a worker"

    def _judge(self, status: int, what: str) -> None:
        self.tally.checks += 1
        if status == 200:
            self.tally.accepted.append(what)
        elif status != 401:
            self.tally.surprises.append(f"{what}: {status}")


def make_keys(services: Services, user_id: int, number: int) -> list[tuple[int, str]]:
    """Make keys in one transaction, since making them is not what is tried; return ids and secrets."""
    key_format = ApiKeyFormat(services.settings.key_prefix)
    new = [key_format.make_api_key(os.urandom(RANDOM_BYTES)) for _ in range(number)]
    rows = [
        asdict(a_key(user_id, digest=key.digest, created_at=services.system.now(), expires_at=None))
        for key in new
    ]
    with services.store._database.writing() as connection:
        connection.execute(insert(api_key), rows)
        made = connection.execute(
            select(api_key.c.digest, api_key.c.id).where(api_key.c.digest.in_([key.digest for key in new]))
        ).all()
    ids = dict(made)
    return [(ids[key.digest], key.text) for key in new]


def hunt(database: str, folder: Path, root_key_file: Path, *, workers: int, rounds: int) -> None:
    """Revoke and verify `rounds` keys on a server with several workers; none may be accepted afterwards."""
    settings = read_settings(
        {"KEYTURN_DATABASE": database, "KEYTURN_NEW_INSTALLATION": "true"}, root_key_file=root_key_file
    )
    services = open_services(settings, hashing=CHEAPEST)
    environment = {
        "KEYTURN_LOG_LEVEL": "error",
        "KEYTURN_FAILURES_PER_MINUTE": UNBOUNDED_FAILURES,
        "KEYTURN_CREATIONS_PER_MINUTE": "1000000",
        "KEYTURN_KEYS_PER_OWNER": "1000000",
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
    }
    wires: list[Wire] = []
    try:
        user_id = add_person(services).user_id
        other_id = add_person(services, "other").user_id
        writer = services.keys.create_for(user_id, COMMAND_LINE, NewKey("writer")).secret
        with (
            serving(database, folder, "--workers", str(workers), environment=environment) as server,
            changing(database, other_id, root_key_file),
        ):
            clients = []
            for number in range(CLIENTS):
                own = wires_to_workers(server, workers)
                wires += own
                assert len(own) == workers, f"only {len(own)} of {workers} workers could be reached"
                share = rounds // CLIENTS + (number < rounds % CLIENTS)
                clients.append(Client(number, share, services, user_id, writer, own))
            began = time.monotonic()
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            seconds = time.monotonic() - began
        report(clients, seconds, rounds, server.output())
    finally:
        for wire in wires:
            wire.close()
        services.close()


def report(clients: list[Client], seconds: float, rounds: int, output: str) -> None:
    tallies = [client.tally for client in clients]
    done = sum(tally.rounds for tally in tallies)
    accepted = [what for tally in tallies for what in tally.accepted]
    surprises = [what for tally in tallies for what in tally.surprises]
    raced = sum((tally.raced for tally in tallies), Counter())
    summary = (
        f"seed {SEED}: {done} rounds, {sum(tally.warm for tally in tallies)} of them remembered, "
        f"{sum(tally.tokens for tally in tallies)} by a token; "
        f"{sum(tally.checks for tally in tallies)} checks after the revoke, {len(accepted)} accepted; "
        f"of those racing with it {raced[200]} accepted, {raced[401]} refused; {done / seconds:.0f} rounds/s"
    )
    print(f"\n{summary}")
    assert not accepted, (summary, accepted[:10])
    assert not surprises, (summary, surprises[:10])
    assert set(raced) <= {200, 401}, (summary, raced)
    assert done == rounds, summary
    assert "request_failed" not in output, (summary, output[:2000])


@pytest.mark.faults
def test_no_worker_accepts_what_was_revoked_on_its_host(tmp_path: Path, root_key_file: Path) -> None:
    """R1, R4: on SQLite a revoke by any worker or process is obeyed by all workers at the next request."""
    hunt(f"sqlite:///{tmp_path / 'keyturn.db'}", tmp_path, root_key_file, workers=4, rounds=ROUNDS)


@pytest.mark.faults
def test_no_worker_accepts_what_was_revoked_on_its_host_with_postgresql(
    postgresql_server: str, tmp_path: Path, root_key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R1, R4: so it is on PostgreSQL for the workers and processes of one host."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    database = new_postgresql_database(postgresql_server)
    hunt(database, tmp_path, root_key_file, workers=2, rounds=ROUNDS // 10)
