"""F7, F8: PostgreSQL is killed under load and started again, and it hangs; the node is never restarted."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from keyturn.composition import open_services
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.databases import new_postgresql_database
from tests.faults.load import new_client, verify
from tests.faults.oracle import Fate, Oracle, StoredKey, StoredState
from tests.faults.postgresql import OwnPostgresql, own_postgresql
from tests.journeys.processes import ServerProcess, serving
from tests.people import add_person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KILLS = int(os.environ.get("KEYTURN_PG_KILLS", "3"))
SEED = os.environ.get("KEYTURN_FAULT_SEED", "20261125")
MAX_STALENESS_SECONDS = 1
MAX_SECONDS_TO_HEALTHY = 5.0
MAX_ANSWER_SECONDS = 5.0
HANG_SECONDS = 10.0
LOAD_SECONDS = (0.5, 1.5)
AWAY_SECONDS = (0.0, 3.0)
WRITERS = 2
VERIFIERS = 4
IN_PARALLEL = 30
"""More than the connections of the pool: all of them must have come back."""


@pytest.fixture
def postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnPostgresql]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with own_postgresql(tmp_path / "pg") as server:
        yield server


@dataclass
class Node:
    """A server, and a key that may make and revoke others."""

    server: ServerProcess
    database: str
    writer: str

    def seconds_to_healthy(self, since: float) -> float:
        """Ask until it says that it is ready and makes a key; return how long after `since` that was."""
        with new_client(self.server.url) as client:
            while time.monotonic() < since + 4 * MAX_SECONDS_TO_HEALTHY:
                if client.get("/health/ready").status_code == 200:
                    made = client.post("/bim/apikey", headers={"Authorization": self.writer}, json={})
                    if made.status_code == 200:
                        return time.monotonic() - since
                time.sleep(0.02)
        raise AssertionError("the node does not become healthy")


@contextmanager
def node_on(postgresql: OwnPostgresql, folder: Path, root_key_file: Path) -> Iterator[Node]:
    database = new_postgresql_database(postgresql.address)
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file)
    services = open_services(settings, hashing=CHEAPEST)
    try:
        user_id = add_person(services).user_id
        writer = services.keys.create_for(user_id, COMMAND_LINE, NewKey()).secret
    finally:
        services.close()
    environment = {
        "KEYTURN_LOG_LEVEL": "error",
        "KEYTURN_FAILURES_PER_MINUTE": "1000000",
        "KEYTURN_CREATIONS_PER_MINUTE": "1000000",
        "KEYTURN_PASSWORDS_PER_MINUTE": "1000000",
        "KEYTURN_KEYS_PER_OWNER": "1000000",
        "KEYTURN_MAX_STALENESS_SECONDS": str(MAX_STALENESS_SECONDS),
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
    }
    with serving(database, folder, environment=environment) as server:
        yield Node(server, database, writer)


@dataclass
class Outage:
    """When the database was away. Times are monotonic seconds of the observer."""

    began_at: float = float("inf")
    """All processes are killed."""
    away_until: float = float("inf")
    """It still refused connections."""
    healthy_at: float = float("inf")


@dataclass
class Load:
    """Clients that go on through every outage, and tell the oracle what they were answered."""

    node: Node
    oracle: Oracle
    outages: list[Outage] = field(default_factory=list)
    accepted_too_late: list[str] = field(default_factory=list)
    refused_without_outage: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    slowest: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    _ending: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        jobs = [(f"w{number}", self._write) for number in range(WRITERS)]
        jobs += [(f"v{number}", self._verify) for number in range(VERIFIERS)]
        threads = [threading.Thread(target=self._loop, args=job, name=job[0], daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            for thread in threads:
                thread.join(30)
        assert not [thread for thread in threads if thread.is_alive()], "clients hang"

    def _loop(self, name: str, step: Callable[[httpx.Client, random.Random, str], None]) -> None:
        choice = random.Random(f"{SEED} {name}")
        with new_client(self.node.server.url) as client:
            while not self._ending.is_set():
                try:
                    step(client, choice, name)
                except Exception as error:  # noqa: BLE001 - reported by the test, which a thread cannot fail
                    self.surprises.append(f"{name}: {error!r}")
                    return

    def _timed(self, began_at: float, status: int, what: str) -> None:
        """Hold an answer against the outages: 503 belongs to one, and nothing takes long."""
        ended_at = time.monotonic()
        self.slowest = max(self.slowest, ended_at - began_at)
        self.statuses[status] += 1
        if status == 503:
            if not any(ended_at >= o.began_at - 0.5 and began_at <= o.healthy_at for o in self.outages):
                self.refused_without_outage.append(what)
        elif status not in {200, 401}:
            self.surprises.append(f"{what}: {status}")

    def _write(self, client: httpx.Client, choice: random.Random, name: str) -> None:
        headers = {"Authorization": self.node.writer}
        if choice.random() < 0.5 and (key := self.oracle.revoke_begins(choice, time.monotonic())):
            began_at = time.monotonic()
            status = client.delete(f"/bim/apikey/{key.key_id}", headers=headers).status_code
            self._timed(began_at, status, "revoke")
            if status == 200:
                self.oracle.revoke_acked(key, time.monotonic())
            return
        key = self.oracle.create_begins(f"{SEED} {name} {choice.getrandbits(64):016x}")
        began_at = time.monotonic()
        answer = client.post("/bim/apikey", headers=headers, json={"name": key.name})
        self._timed(began_at, answer.status_code, "create")
        if answer.status_code == 200:
            made = answer.json()
            self.oracle.create_acked(key, made["keyid"], made["apikey"], time.monotonic())

    def _verify(self, client: httpx.Client, choice: random.Random, _name: str) -> None:
        probe = self.oracle.pick(choice)
        if probe is None:
            self._ending.wait(0.01)
            return
        began_at = time.monotonic()
        status = client.get("/verify", headers={"Authorization": probe.credential}).status_code
        ended_at = time.monotonic()
        self._timed(began_at, status, "verify")
        if status != 503:
            self.oracle.judge(probe, status, began_at)
        for outage in self.outages:
            if status == 200 and (
                began_at > outage.began_at + MAX_STALENESS_SECONDS and ended_at < outage.away_until
            ):
                late = began_at - outage.began_at
                self.accepted_too_late.append(f"{probe.key} accepted {late:.2f} s after the database went")


@pytest.mark.faults
def test_no_kill_of_postgresql_loses_or_revives_anything(
    postgresql: OwnPostgresql, tmp_path: Path, root_key_file: Path
) -> None:
    """F7: whenever PostgreSQL dies, what was acknowledged holds, and the node comes back by itself."""
    choice, oracle, healthy_after = random.Random(SEED), Oracle(), []
    with node_on(postgresql, tmp_path, root_key_file) as node:
        load = Load(node, oracle)
        with load.running():
            for _ in range(KILLS):
                # Not a wait for something to be done: the moment of the kill, drawn at random.
                time.sleep(choice.uniform(*LOAD_SECONDS))
                outage = Outage(began_at=time.monotonic())
                load.outages.append(outage)
                postgresql.kill()
                outage.began_at = time.monotonic()
                time.sleep(choice.uniform(*AWAY_SECONDS))
                came_back = postgresql.start()
                outage.away_until = came_back.refused_at
                healthy_after.append(node.seconds_to_healthy(came_back.accepted_at))
                outage.healthy_at = time.monotonic()
            time.sleep(LOAD_SECONDS[0])
        with new_client(node.server.url) as client:
            for key in oracle.of_fate(Fate.REVOKING, Fate.LIVE, Fate.DEAD):
                assert key.secret is not None
                oracle.found(key, verify(client, key.secret), time.monotonic())
        wrong = oracle.compare_with_store(read_past_the_program(node.database))
        output = node.server.output()

    acked = sum(key.create_acked_at is not None for key in oracle.keys)
    revoked = sum(key.revoke_was_acked for key in oracle.keys)
    summary = (
        f"seed {SEED}: {KILLS} kills, {acked} acked creates, {revoked} acked revokes, "
        f"{oracle.checks} verifies, answers {dict(load.statuses)}, slowest {load.slowest:.2f} s, "
        f"healthy after {[round(seconds, 2) for seconds in healthy_after]} s"
    )
    print(f"\n{summary}")
    assert not load.surprises, (summary, load.surprises[:10])
    assert not oracle.lost, (summary, oracle.lost[:10])
    assert not oracle.revived, (summary, oracle.revived[:10])
    assert not oracle.other, (summary, oracle.other[:10])
    assert not oracle.refused, (summary, oracle.refused[:10])
    assert not load.accepted_too_late, (summary, load.accepted_too_late[:10])
    assert not load.refused_without_outage, (summary, load.refused_without_outage[:10])
    assert not wrong, (summary, wrong[:10])
    assert load.statuses[503], f"no outage was felt: {summary}"
    assert revoked > KILLS, f"too little was asked to mean anything: {summary}"
    assert max(healthy_after) <= MAX_SECONDS_TO_HEALTHY, summary
    assert load.slowest <= MAX_ANSWER_SECONDS, summary
    assert "request_failed" not in output, (summary, output[:2000])


def read_past_the_program(database: str) -> StoredState:
    """Read the database by a connection of the test's own."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT id, name, revoked_at IS NOT NULL FROM api_key WHERE name IS NOT NULL"
        ).fetchall()
        keys = {key_id: StoredKey(key_id, name, is_revoked) for key_id, name, is_revoked in rows}
        told: dict[str, Counter[int]] = {"ApiKeyCreated": Counter(), "ApiKeyDeleted": Counter()}
        for action, target in connection.execute(
            "SELECT action, target_id::bigint FROM audit WHERE action LIKE 'ApiKey%' AND target_id::bigint "
            "NOT IN (SELECT id FROM api_key WHERE name IS NULL)"
        ):
            told[action][target] += 1
        revision = connection.execute("SELECT revision FROM installation").fetchone()
        assert revision is not None
        return StoredState(
            keys=keys,
            created=dict(told["ApiKeyCreated"]),
            deleted=dict(told["ApiKeyDeleted"]),
            revisions=[row[0] for row in connection.execute("SELECT revision FROM audit ORDER BY revision")],
            revision=revision[0],
            problems=[],
        )


QUESTIONS: dict[str, tuple[str, str, dict[str, object] | None]] = {
    "verify a remembered key": ("GET", "/verify", None),
    "verify an unknown key": ("GET", "/verify", None),
    "who am I": ("GET", "/bim/rpc/user/current", None),
    "make a key": ("POST", "/bim/apikey", {"name": "made meanwhile"}),
    "exchange": ("POST", "/bim/apikey/authenticate", {}),
    "log in": ("POST", "/bim/iam/bim/user/authenticate", {"username": "bob", "password": PASSWORD}),
    "login page": ("GET", "/login", None),
    "ready": ("GET", "/health/ready", None),
    "live": ("GET", "/health/live", None),
}
"""What is asked of a node all the time while its database hangs."""


@pytest.mark.faults
def test_every_request_ends_while_postgresql_hangs(
    postgresql: OwnPostgresql, tmp_path: Path, root_key_file: Path
) -> None:
    """F8: when the database stops answering every request ends in 5 s, and all goes on when it does."""
    with node_on(postgresql, tmp_path, root_key_file) as node:
        with new_client(node.server.url) as client:
            made = [
                client.post("/bim/apikey", headers={"Authorization": node.writer}, json={}).json()["apikey"]
                for _ in range(2)
            ]
            assert verify(client, made[0]) == 200
        in_parallel(node, made[0])  # Fills the pool: what waits on a connection that is there waits longest.
        answers: dict[str, list[tuple[float, float, int]]] = {name: [] for name in QUESTIONS}
        is_over = threading.Event()

        def ask(name: str) -> None:
            method, path, body = QUESTIONS[name]
            if name == "exchange":
                body = {"apikey": made[0]}
            secret = made[1] if "unknown" in name else made[0]
            headers = {} if name in {"exchange", "log in", "login page"} else {"Authorization": secret}
            with httpx.Client(base_url=node.server.url, trust_env=False, timeout=4 * HANG_SECONDS) as client:
                while not is_over.is_set():
                    began_at = time.monotonic()
                    status = client.request(method, path, json=body, headers=headers).status_code
                    answers[name].append((began_at, time.monotonic() - began_at, status))
                    is_over.wait(0.02)

        threads = [
            threading.Thread(target=ask, args=(name,), daemon=True) for name in QUESTIONS for _ in "ab"
        ]
        with postgresql.hanging():
            began_at = time.monotonic()
            for thread in threads:
                thread.start()
            # Not a wait for something to be done: the length of the fault.
            time.sleep(HANG_SECONDS)
            is_over.set()
        ended_at = time.monotonic()
        for thread in threads:
            thread.join(4 * HANG_SECONDS)
        healthy_after = node.seconds_to_healthy(ended_at)
        with new_client(node.server.url) as client:
            afterwards = [verify(client, secret) for secret in made]
        crowd = in_parallel(node, made[0])
        output = node.server.output()

    slowest = {name: round(max((s for _, s, _ in got), default=-1), 2) for name, got in answers.items()}
    summary = f"slowest answers {slowest}, healthy {healthy_after:.2f} s after the end"
    print(f"\n{summary}")
    late = {
        (name, status)
        for name in ("verify a remembered key", "verify an unknown key", "who am I", "ready", "exchange")
        for began, seconds, status in answers[name]
        if began > began_at + MAX_STALENESS_SECONDS and began + seconds < ended_at and status != 503
    }
    assert not late, (late, summary)
    assert {status for _, _, status in answers["live"]} == {200}, summary
    assert healthy_after <= MAX_SECONDS_TO_HEALTHY, summary
    assert afterwards == [200, 200], summary
    assert crowd == Counter({200: IN_PARALLEL}), (crowd, summary)
    assert "request_failed" not in output, (summary, output[:2000])
    assert max(slowest.values()) <= MAX_ANSWER_SECONDS, summary


def in_parallel(node: Node, secret: str) -> Counter[int]:
    """Ask at once more than the pool has connections for; return how it was answered."""
    statuses: Counter[int] = Counter()

    def ask() -> None:
        with new_client(node.server.url) as client:
            statuses[verify(client, secret)] += 1

    threads = [threading.Thread(target=ask) for _ in range(IN_PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses
