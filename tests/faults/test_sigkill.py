"""Fault F1: the server is killed under load, again and again, over one database."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pysqlite3
import pytest

from tests.conftest import PASSWORD
from tests.faults.load import Load, create, new_client, verify
from tests.faults.oracle import Fate, Oracle, StoredKey, StoredState
from tests.journeys.processes import ServerProcess, run_command

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.faults.oracle import TrackedKey

ROUNDS = int(os.environ.get("KEYTURN_FAULT_ROUNDS", "20"))
SEED = os.environ.get("KEYTURN_FAULT_SEED", "20261125")
MAX_SECONDS_TO_READY = 5.0
MIN_SHARE_ACCEPTED = 0.999
KILL_AFTER_MS = (50, 3000)
OLDER_KEYS_RECHECKED = 60
RETRIES_PER_ROUND = 10


@pytest.mark.faults
def test_no_kill_loses_an_acknowledged_change_or_revives_a_key(tmp_path: Path) -> None:
    """F1: whenever the server dies, what it acknowledged holds after the restart, and nothing else does."""
    path = tmp_path / "keyturn.db"
    environment = {"KEYTURN_DATABASE": f"sqlite:///{path}", "KEYTURN_NEW_INSTALLATION": "true"}
    added = run_command(
        "admin", "user", "add", "writer", "--password-stdin", stdin=PASSWORD, environment=environment
    )
    assert added.returncode == 0, added.stderr
    writer_key = run_command(
        "admin", "key", "add", "--user", "writer", "--expires", "never", environment=environment
    ).stdout.strip()

    choice, oracle, slowest, surprises = random.Random(SEED), Oracle(), 0.0, []
    server = ServerProcess(
        environment["KEYTURN_DATABASE"],
        tmp_path,
        environment={
            "KEYTURN_LOG_LEVEL": "error",
            "KEYTURN_FAILURES_PER_MINUTE": "1000000",
            "KEYTURN_CREATIONS_PER_MINUTE": "1000000",
            "KEYTURN_KEYS_PER_OWNER": "1000000",
        },
    )
    try:
        for number in range(ROUNDS):
            server.start()
            slowest = max(slowest, server.wait_ready())
            settle(server, oracle, writer_key, choice)
            load = Load(server.url, oracle, (writer_key, exchanged(server, writer_key)), f"{SEED} {number}")
            with load.running():
                # Not a wait for something to be done: the moment of the kill, drawn at random.
                threading.Event().wait(choice.randint(*KILL_AFTER_MS) / 1000)
                load.kill(server.kill)
            surprises += load.surprises
        server.start()
        slowest = max(slowest, server.wait_ready())
        settle(server, oracle, writer_key, choice, everything=True)
        server.stop()
    finally:
        server.kill()

    wrong = oracle.compare_with_store(read_past_the_program(path))
    created = sum(key.create_acked_at is not None for key in oracle.keys)
    revoked = sum(key.revoke_was_acked for key in oracle.keys)
    summary = (
        f"seed {SEED}: {ROUNDS} rounds, {created} acked creates, {revoked} acked revokes, "
        f"{oracle.checks} verifies, {len(oracle.lost)} lost, {len(oracle.revived)} revived, "
        f"slowest ready {slowest:.2f} s"
    )
    print(f"\n{summary}")
    assert not surprises, (summary, surprises[:10])
    assert not oracle.lost, (summary, oracle.lost[:10])
    assert not oracle.revived, (summary, oracle.revived[:10])
    assert not oracle.other, (summary, oracle.other[:10])
    assert oracle.share_of_live_accepted >= MIN_SHARE_ACCEPTED, (summary, oracle.refused[:10])
    assert not wrong, (summary, wrong[:10])
    assert "request_failed" not in server.output(), (summary, server.output()[:2000])
    assert created > ROUNDS, f"too little was asked to mean anything: {summary}"
    assert revoked > ROUNDS, f"too little was asked to mean anything: {summary}"
    assert slowest <= MAX_SECONDS_TO_READY, (
        f"ready must be answered within {MAX_SECONDS_TO_READY} s: {summary}"
    )


def exchanged(server: ServerProcess, key: str) -> str:
    """Return a bearer token for a key."""
    with new_client(server.url) as client:
        token: str = client.post("/bim/apikey/authenticate", json={"apikey": key}).json()["token"]
        return token


def settle(
    server: ServerProcess, oracle: Oracle, writer_key: str, choice: random.Random, *, everything: bool = False
) -> None:
    """After a restart: hold keys against the oracle, learn what the kill left open, retry (I1, I2, I6)."""
    with new_client(server.url) as client:
        _check(client, oracle, oracle.of_fate(Fate.REVOKING))
        known = oracle.of_fate(Fate.LIVE, Fate.DEAD)
        if not everything:
            newest, older = known[-OLDER_KEYS_RECHECKED:], known[:-OLDER_KEYS_RECHECKED]
            known = newest + choice.sample(older, min(OLDER_KEYS_RECHECKED, len(older)))
        _check(client, oracle, known)
        _retry(client, oracle, writer_key, choice)


def _check(client: httpx.Client, oracle: Oracle, keys: list[TrackedKey]) -> None:
    for key in keys:
        statuses = {verify(client, credential) for credential in (key.secret, key.token) if credential}
        oracle.found(key, statuses.pop() if len(statuses) == 1 else -1, time.monotonic())


def _retry(client: httpx.Client, oracle: Oracle, writer_key: str, choice: random.Random) -> None:
    """Repeat creates whose answer was lost, and a few whose answer came, with their Idempotency-Key."""
    unanswered = [key for key in oracle.of_fate(Fate.CREATING) if key.idempotency_key]
    answered = [key for key in oracle.of_fate(Fate.LIVE) if key.idempotency_key]
    for key in unanswered + choice.sample(answered, min(RETRIES_PER_ROUND, len(answered))):
        for _ in range(2):
            replaced = [credential for credential in (key.secret, key.token) if credential]
            key_id, secret = create(client, writer_key, key.name, key.idempotency_key)
            oracle.create_retried(key, key_id, secret, time.monotonic())
            for credential in replaced:
                if (status := verify(client, credential)) != 401:
                    oracle.revived.append(f"what was replaced of {key} answered with {status}")
        oracle.found(key, verify(client, secret), time.monotonic())


def read_past_the_program(path: Path) -> StoredState:
    """Read the database file itself."""
    connection = pysqlite3.connect(path)
    try:
        rows = connection.execute(
            "SELECT id, name, revoked_at IS NOT NULL FROM api_key WHERE name IS NOT NULL"
        )
        keys = {key_id: StoredKey(key_id, name, bool(revoked)) for key_id, name, revoked in rows}
        unnamed = {row[0] for row in connection.execute("SELECT id FROM api_key WHERE name IS NULL")}
        told = {
            action: Counter(
                int(target)
                for (target,) in connection.execute("SELECT target_id FROM audit WHERE action = ?", (action,))
                if int(target) not in unnamed
            )
            for action in ("ApiKeyCreated", "ApiKeyDeleted")
        }
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        problems += [f"foreign key {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        return StoredState(
            keys=keys,
            created=dict(told["ApiKeyCreated"]),
            deleted=dict(told["ApiKeyDeleted"]),
            revisions=[row[0] for row in connection.execute("SELECT revision FROM audit ORDER BY id")],
            revision=connection.execute("SELECT revision FROM installation").fetchone()[0],
            problems=problems,
        )
    finally:
        connection.close()
