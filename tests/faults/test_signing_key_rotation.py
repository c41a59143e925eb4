"""F16: signing keys follow each other under load, and no living token is refused, here or by others."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from keyturn import KeyturnError, Verifier
from keyturn.composition import open_services
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.databases import new_postgresql_database
from tests.faults.wire import Wire, wires_to_workers
from tests.journeys.processes import serving
from tests.people import add_person
from tests.replica.edges import new_follower

if TYPE_CHECKING:
    from pathlib import Path

ROTATIONS = int(os.environ.get("KEYTURN_ROTATIONS", "3"))
SECONDS_BETWEEN = 10.0 if ROTATIONS >= 30 else 3.0
LEAD = timedelta(seconds=SECONDS_BETWEEN * 0.6)
CACHED_SECONDS = LEAD.total_seconds() * 0.8
"""How long others keep the key set: less than a key is published before it signs."""
SEED = os.environ.get("KEYTURN_FAULT_SEED", "20261125")
WORKERS = 2
CLIENTS = 2
KEPT_TOKENS = 2_000


@dataclass
class Tokens:
    """Every token that was given lately: all of them live for longer than the test takes."""

    given: list[str] = field(default_factory=list)
    kids: set[str] = field(default_factory=set)

    def add(self, token: str) -> None:
        self.given.append(token)
        self.kids.add(token.partition(".")[0])
        if len(self.given) > KEPT_TOKENS:
            del self.given[: KEPT_TOKENS // 2]


class Client(threading.Thread):
    """Exchanges a key, and presents tokens of any age to any worker."""

    def __init__(
        self, number: int, key: str, wires: list[Wire], tokens: Tokens, end: threading.Event
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._choice = random.Random(f"{SEED} {number}")
        self._key, self._wires, self._tokens, self._end = key, wires, tokens, end
        self.answers: Counter[int] = Counter()
        self.surprises: list[str] = []

    def run(self) -> None:
        try:
            while not self._end.is_set():
                self._exchange(self._choice.choice(self._wires))
                for _ in range(10):
                    status = self._choice.choice(self._wires).verify(self._choice.choice(self._tokens.given))
                    self.answers[status] += 1
        except Exception as error:  # noqa: BLE001 - reported by the test, which a thread cannot fail
            self.surprises.append(f"{self.name}: {error!r}")

    def _exchange(self, wire: Wire) -> None:
        wire.send("POST", "/bim/apikey/authenticate", self._key)
        assert wire.status() == 200, wire.body
        self._tokens.add(json.loads(wire.body)["token"])


class Elsewhere(threading.Thread):
    """A service that verifies by itself, and fetches the key set when its copy is old, and only then."""

    def __init__(self, url: str, tokens: Tokens, end: threading.Event) -> None:
        super().__init__(name="elsewhere", daemon=True)
        self._url, self._tokens, self._end = url, tokens, end
        self._choice = random.Random(SEED)
        self.verified = 0
        self.fetches = 0
        self.refused: list[str] = []

    def run(self) -> None:
        keys, fetched_at = self._fetch(), time.monotonic()
        while not self._end.is_set():
            if time.monotonic() - fetched_at > CACHED_SECONDS:
                keys, fetched_at = self._fetch(), time.monotonic()
            token = self._choice.choice(self._tokens.given)
            try:
                jwt.decode(token, keys, algorithms=["ES256"])
                self.verified += 1
            except (JoseError, ValueError) as error:
                self.refused.append(repr(error))

    def _fetch(self) -> KeySet:
        answer: Any = httpx.get(f"{self._url}/.well-known/jwks.json").json()
        self.fetches += 1
        return KeySet.import_key_set(answer)


class AtTheEdge(threading.Thread):
    """A service that follows the feed: it has every key before a token of it is given."""

    def __init__(self, verifier: Verifier, tokens: Tokens, end: threading.Event) -> None:
        super().__init__(name="edge", daemon=True)
        self._verifier, self._tokens, self._end = verifier, tokens, end
        self._choice = random.Random(f"{SEED} edge")
        self.verified = 0
        self.refused: list[str] = []

    def run(self) -> None:
        while not self._end.is_set():
            try:
                self._verifier.verify(self._choice.choice(self._tokens.given))
                self.verified += 1
            except KeyturnError as error:
                self.refused.append(repr(error))
            time.sleep(0.0005)  # The clients have tokens to get.


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_rotation_refuses_a_living_token(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, root_key_file: Path
) -> None:
    """F16, T13: with a new key every few seconds every living token is accepted, here and elsewhere."""
    database = f"sqlite:///{tmp_path / 'keyturn.db'}"
    if kind == "postgresql":
        database = new_postgresql_database(request.getfixturevalue("postgresql_server"))
    services = open_services(
        read_settings(
            {"KEYTURN_DATABASE": database, "KEYTURN_NEW_INSTALLATION": "true"}, root_key_file=root_key_file
        ),
        hashing=CHEAPEST,
    )
    key = services.keys.create_for(add_person(services).user_id, COMMAND_LINE, NewKey()).secret
    follower = new_follower(services).secret
    environment = {
        "KEYTURN_LOG_LEVEL": "error",
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
        "KEYTURN_CREATIONS_PER_MINUTE": "1000000",
        "KEYTURN_KEYS_PER_OWNER": "1000000",
    }
    tokens, end = Tokens(), threading.Event()
    wires: list[Wire] = []
    with (
        serving(database, tmp_path, "--workers", str(WORKERS), environment=environment) as server,
        Verifier(server.url, follower) as verifier,
    ):
        clients = []
        for number in range(CLIENTS):
            own = wires_to_workers(server, WORKERS)
            wires += own
            clients.append(Client(number, key, own, tokens, end))
        clients[0]._exchange(clients[0]._wires[0])
        elsewhere = Elsewhere(server.url, tokens, end)
        edge = AtTheEdge(verifier, tokens, end)
        threads = (*clients, elsewhere, edge)
        for thread in threads:
            thread.start()
        for _ in range(ROTATIONS):
            services.signing_keys.rotate(COMMAND_LINE, lead=LEAD)
            time.sleep(SECONDS_BETWEEN)  # Not a wait for something: the pace of the rotations.
        end.set()
        for thread in threads:
            thread.join()
        output = server.output()
    for wire in wires:
        wire.close()
    services.close()

    answers = sum((client.answers for client in clients), Counter())
    surprises = [what for client in clients for what in client.surprises]
    summary = (
        f"{kind}: {ROTATIONS} rotations, {len(tokens.kids)} keys signed; answers {dict(answers)}; elsewhere "
        f"{elsewhere.verified} verified, {len(elsewhere.refused)} refused, {elsewhere.fetches} fetches; "
        f"by the feed {edge.verified} verified, {len(edge.refused)} refused"
    )
    print(f"\n{summary}")
    assert not surprises, (summary, surprises[:5])
    assert set(answers) == {200}, summary
    assert not elsewhere.refused, (summary, elsewhere.refused[:5])
    assert len(tokens.kids) == ROTATIONS + 1, summary
    assert elsewhere.verified, summary
    assert not edge.refused, (summary, edge.refused[:5])
    assert edge.verified, summary
    assert "request_failed" not in output, (summary, output[:2000])
