"""The verifier far from the database, through cuts and a restart, while keys are made and revoked."""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from keyturn import CredentialRefused, StoreUnavailable, Verifier
from keyturn.composition import Services, open_services
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.databases import new_postgresql_database
from tests.journeys.processes import ServerProcess, serving
from tests.people import add_person
from tests.replica.edges import accepts, new_follower, wait_until
from tests.replica.proxy import Proxy, between

if TYPE_CHECKING:
    from pathlib import Path

DISCONNECTS = int(os.environ.get("KEYTURN_FEED_DISCONNECTS", "6"))
SEED = os.environ.get("KEYTURN_FAULT_SEED", "20261126")
MAX_STALENESS = 20.0
"""More than a restart takes on a busy machine: in all of the test no living key may be refused."""
SETTLED_SECONDS = 1.0
"""After this a new key, and a revoke, must be known wherever the feed is connected."""
LONGEST_PAUSE = 1.5
CHECKERS = 2


@dataclass(eq=False)
class Key:
    """A key and a token of it. Times are monotonic, of this process."""

    credentials: tuple[str, str]
    key_id: int
    known_since: float = float("inf")
    """When it was first accepted here."""
    revoke_begun_at: float = float("inf")
    revoked_at: float = float("inf")
    """When its revoke was acknowledged."""


@dataclass
class Tally:
    """What came of the checks."""

    checks: int = 0
    of_dead: list[tuple[float, float]] = field(default_factory=list)
    """When a key was revoked, and when it was accepted after that."""
    refused: list[str] = field(default_factory=list)
    """Living, and refused or unknown."""
    surprises: list[str] = field(default_factory=list)


class Keys(threading.Thread):
    """Makes a key, waits until it is known, and revokes another; from another process than the server."""

    def __init__(self, services: Services, user_id: int, verifier: Verifier, end: threading.Event) -> None:
        super().__init__(name="keys", daemon=True)
        self._services, self._user_id, self._verifier, self._end = services, user_id, verifier, end
        self._choice = random.Random(SEED)
        self.living: list[Key] = []
        self.dead: list[Key] = []
        self.surprises: list[str] = []
        self.slowest = 0.0
        """How long it took until a revoke was seen, with the feed connected or not."""

    def run(self) -> None:
        try:
            while not self._end.is_set():
                key = self._make()
                if len(self.living) > 20:  # Before the new one is known: the feed may be away now.
                    self._revoke(self.living.pop(self._choice.randrange(20)))
                self._know(key)
        except Exception as error:  # noqa: BLE001 - reported by the test, which a thread cannot fail
            self.surprises.append(f"{self.name}: {error!r}")

    def _make(self) -> Key:
        made = self._services.keys.create_for(self._user_id, COMMAND_LINE, NewKey())
        token = self._services.exchange.exchange(in_header=[], in_body=made.secret, origin=Origin()).token
        return Key((made.secret, token), made.record.key_id)

    def _know(self, key: Key) -> None:
        wait_until(lambda: accepts(self._verifier, key.credentials[0]), seconds=30)
        key.known_since = time.monotonic()
        self.living.append(key)

    def _revoke(self, key: Key) -> None:
        key.revoke_begun_at = time.monotonic()
        self._services.keys.revoke_any(key.key_id, COMMAND_LINE)
        key.revoked_at = time.monotonic()
        self.dead = [*self.dead[-200:], key]
        wait_until(lambda: not accepts(self._verifier, key.credentials[0]), seconds=30)
        self.slowest = max(self.slowest, time.monotonic() - key.revoked_at)


class Checker(threading.Thread):
    """Presents living and dead credentials all the time."""

    def __init__(self, number: int, keys: Keys, verifier: Verifier, end: threading.Event) -> None:
        super().__init__(name=f"checker-{number}", daemon=True)
        self._choice = random.Random(f"{SEED} {number}")
        self._keys, self._verifier, self._end = keys, verifier, end
        self.tally = Tally()

    def run(self) -> None:
        try:
            while not self._end.is_set():
                pool = self._keys.dead if self._choice.random() < 0.5 else self._keys.living
                if pool:
                    self._check(self._choice.choice(list(pool)))
                time.sleep(0.0005)  # The other threads have changes to make.
        except Exception as error:  # noqa: BLE001 - reported by the test, which a thread cannot fail
            self.tally.surprises.append(f"{self.name}: {error!r}")

    def _check(self, key: Key) -> None:
        began_at, tally = time.monotonic(), self.tally
        tally.checks += 1
        try:
            self._verifier.verify(self._choice.choice(key.credentials))
        except (CredentialRefused, StoreUnavailable) as error:
            if time.monotonic() < key.revoke_begun_at and began_at >= key.known_since:
                tally.refused.append(f"{key.key_id}: {error}")
            return
        if began_at > key.revoked_at:
            tally.of_dead.append((key.revoked_at, began_at))


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_cuts_and_a_restart_open_nothing_and_refuse_nobody(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, root_key_file: Path
) -> None:
    """A revoked key is accepted while the feed is away and a second more at most; no living one is refused.

    On PostgreSQL the keys change on another node, which shares no file with the server.
    """
    database = f"sqlite:///{tmp_path / 'keyturn.db'}"
    environment = {
        "KEYTURN_LOG_LEVEL": "error",
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
        "KEYTURN_CREATIONS_PER_MINUTE": "1000000",
        "KEYTURN_KEYS_PER_OWNER": "1000000",
    }
    if kind == "postgresql":
        database = new_postgresql_database(request.getfixturevalue("postgresql_server"))
        environment["XDG_DATA_HOME"] = str(tmp_path / "elsewhere")
    settings = read_settings(
        {"KEYTURN_DATABASE": database, "KEYTURN_NEW_INSTALLATION": "true"}, root_key_file=root_key_file
    )
    services = open_services(settings, hashing=CHEAPEST)
    follower = new_follower(services).secret
    user_id = add_person(services).user_id
    with (
        serving(database, tmp_path, environment=environment) as server,
        between(server.url) as proxy,
        Verifier(proxy.url, follower, max_staleness_seconds=MAX_STALENESS) as verifier,
    ):
        services = _of_the_same_issuer(services, server, root_key_file)
        end = threading.Event()
        keys = Keys(services, user_id, verifier, end)
        checkers = [Checker(number, keys, verifier, end) for number in range(CHECKERS)]
        for thread in (keys, *checkers):
            thread.start()
        away = _disturb(server, proxy)
        end.set()
        for thread in (keys, *checkers):
            thread.join()
        output = server.output()
    services.close()
    _judge(kind, keys, [checker.tally for checker in checkers], away, output)


def _of_the_same_issuer(services: Services, server: ServerProcess, root_key_file: Path) -> Services:
    """Open the services anew, with the server's address as the issuer of tokens."""
    database = services.settings.database
    services.close()
    settings = read_settings(
        {"KEYTURN_DATABASE": database, "KEYTURN_NEW_INSTALLATION": "true"},
        root_key_file=root_key_file,
        port=server.port,
    )
    return open_services(settings, hashing=CHEAPEST)


def _disturb(server: ServerProcess, proxy: Proxy) -> list[tuple[float, float]]:
    """Cut, and restart once; return from when until when the feed was away."""
    choice, away = random.Random(SEED), []
    for number in range(DISCONNECTS):
        time.sleep(choice.uniform(0, LONGEST_PAUSE))  # Cut at any moment of what goes on.
        began_at = time.monotonic()
        if number == DISCONNECTS // 2:
            server.stop()
            server.start()
            server.wait_ready()
        else:
            for _ in range(choice.randint(1, 3)):  # Again while it comes back.
                proxy.cut()
                time.sleep(choice.uniform(0, 0.1))
        proxy.recorded.clear()
        wait_until(lambda: b"event: alive" in proxy.recorded, seconds=30)
        away.append((began_at, time.monotonic()))
    time.sleep(SETTLED_SECONDS)
    return away


def _connected_seconds(begin: float, end: float, away: list[tuple[float, float]]) -> float:
    """Return for how much of this time the feed was not away."""
    return end - begin - sum(max(0.0, min(end, until) - max(begin, since)) for since, until in away)


def _judge(kind: str, keys: Keys, tallies: list[Tally], away: list[tuple[float, float]], output: str) -> None:
    refused = [what for tally in tallies for what in tally.refused]
    of_dead = [when for tally in tallies for when in tally.of_dead]
    longest = max((end - begin for begin, end in of_dead), default=0.0)
    overdue = max((_connected_seconds(*when, away) for when in of_dead), default=0.0)
    surprises = [*keys.surprises, *(what for tally in tallies for what in tally.surprises)]
    summary = (
        f"{kind}: {DISCONNECTS} disconnects, 1 of them a restart; {sum(t.checks for t in tallies)} checks; "
        f"{len(keys.dead) + len(keys.living)} keys; accepted {len(of_dead)} times after a "
        f"revoke, at most {longest:.3f} s after, of which the feed was there for {overdue:.3f} s at most; "
        f"it was away for {max(end - begin for begin, end in away):.3f} s at most; "
        f"{len(refused)} living refused; the slowest revoke was seen after {keys.slowest:.3f} s"
    )
    print(f"\n{summary}")
    assert not surprises, (summary, surprises[:5])
    assert of_dead, summary
    assert overdue < SETTLED_SECONDS, summary
    assert not refused, (summary, refused[:5])
    assert min(tally.checks for tally in tallies) > 100, summary
    assert "request_failed" not in output, (summary, output[:2000])
    assert "changes_not_told" not in output, (summary, output[:2000])
