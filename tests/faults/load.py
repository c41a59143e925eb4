"""Writers and verifiers that keep a server busy until it is killed, and tell the oracle everything."""

from __future__ import annotations

import random
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.oracle import Oracle

WRITERS = 8
VERIFIERS = 16
REQUEST_TIMEOUT_SECONDS = 15
JOIN_TIMEOUT_SECONDS = 30
IDEMPOTENT_SHARE = 0.3
REVOKE_SHARE = 0.4
TOKEN_SHARE = 0.5

# The server speaks http: one context for all clients saves reading the trusted roots for each.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def new_client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, verify=_NO_TLS, timeout=REQUEST_TIMEOUT_SECONDS, trust_env=False)


@dataclass
class Load:
    """The clients of one round."""

    url: str
    oracle: Oracle
    credentials: tuple[str, ...]
    """What writers use: a key and a token."""
    seed: str
    killed_at: float | None = None
    """When the kill was sent. What gets no answer after it is nobody's fault."""
    surprises: list[str] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run all clients until the block ends."""
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
                thread.join(JOIN_TIMEOUT_SECONDS)
        left = [thread.name for thread in threads if thread.is_alive()]
        assert not left, f"these clients hang: {left}"

    def kill(self, kill: Callable[[], None]) -> None:
        """End the server under the load."""
        self.killed_at = time.monotonic()
        kill()
        self._ending.set()

    def _loop(self, name: str, step: Callable[[httpx.Client, str, random.Random], None]) -> None:
        choice = random.Random(f"{self.seed} {name}")
        with new_client(self.url) as client:
            while not self._ending.is_set():
                try:
                    step(client, name, choice)
                except httpx.TransportError as error:
                    if self.killed_at is None:
                        self.surprises.append(f"{name}: {error!r} with nothing killed")
                        return
                except Exception as error:  # noqa: BLE001 - reported by the test, which a thread cannot fail
                    self.surprises.append(f"{name}: {error!r}")
                    return

    def _write(self, client: httpx.Client, name: str, choice: random.Random) -> None:
        authorization = choice.choice(self.credentials)
        if choice.random() < REVOKE_SHARE:
            self._revoke(client, authorization, choice)
            return
        label = f"{self.seed} {name} {choice.getrandbits(64):016x}"
        idempotency_key = f"retry {label}" if choice.random() < IDEMPOTENT_SHARE else None
        key = self.oracle.create_begins(label, idempotency_key)
        key_id, secret = create(client, authorization, label, idempotency_key)
        self.oracle.create_acked(key, key_id, secret, time.monotonic())
        if choice.random() < TOKEN_SHARE:
            answer = client.post("/bim/apikey/authenticate", json={"apikey": secret})
            if answer.status_code == 200:
                key.token = answer.json()["token"]
            elif answer.status_code != 401:  # 401: another writer revoked it meanwhile.
                self.surprises.append(f"exchange: {answer.status_code} {answer.text}")

    def _revoke(self, client: httpx.Client, authorization: str, choice: random.Random) -> None:
        key = self.oracle.revoke_begins(choice, time.monotonic())
        if key is None:
            return
        answer = client.delete(f"/bim/apikey/{key.key_id}", headers={"Authorization": authorization})
        if answer.status_code == 200:
            self.oracle.revoke_acked(key, time.monotonic())
        else:
            self.surprises.append(f"revoke: {answer.status_code} {answer.text}")

    def _verify(self, client: httpx.Client, _name: str, choice: random.Random) -> None:
        probe = self.oracle.pick(choice)
        if probe is None:
            self._ending.wait(0.01)
            return
        began_at = time.monotonic()
        try:
            status = verify(client, probe.credential, bearer=choice.random() < 0.5)
        except httpx.TransportError:
            if self.killed_at is None:
                self.oracle.unanswered(probe)
            return
        self.oracle.judge(probe, status, began_at)


def create(
    client: httpx.Client, authorization: str, name: str, idempotency_key: str | None
) -> tuple[int, str]:
    """Make a key; return its id and secret."""
    headers = {"Authorization": authorization}
    if idempotency_key is not None:
        headers["Idempotency-Key"] = idempotency_key
    answer = client.post("/bim/apikey", headers=headers, json={"name": name})
    assert answer.status_code == 200, f"create: {answer.status_code} {answer.text}"
    made = answer.json()
    return made["keyid"], made["apikey"]


def verify(client: httpx.Client, credential: str, *, bearer: bool = False) -> int:
    """Present a credential; return the status of the answer."""
    value = f"Bearer {credential}" if bearer else credential
    return client.get("/bim/rpc/user/current", headers={"Authorization": value}).status_code
