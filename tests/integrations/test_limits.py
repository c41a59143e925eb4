"""What is around a request: the client's address, the budget of failures, the database, threads, the loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tests.databases import new_postgresql_database
from tests.integrations.conftest import issuing
from tests.integrations.issuer import NOWHERE_NEAR
from tests.integrations.sites import ASGI, Options, application, running
from tests.people import unknown_key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integrations.issuer import Issuer
    from tests.integrations.sites import Site

WRONG = "kt_wrong"


def test_a_trusted_proxy_names_the_client(integration: str, own_issuer: Issuer) -> None:
    """What our own proxy appended is the client's address; what stands left of it anybody can claim (H10)."""
    near, far = own_issuer.key(source="127.0.0.1").secret, own_issuer.key(source=NOWHERE_NEAR).secret
    options = Options(own_issuer.database, trusted_proxies=["127.0.0.1"])
    with running(integration, options) as site:

        def status(credential: str, *forwarded: str) -> int:
            lines = [("X-Forwarded-For", each) for each in forwarded]
            return site.get(("Authorization", credential), *lines).status_code

        assert [status(near), status(far)] == [200, 401]
        assert [status(near, "192.0.2.7"), status(far, "192.0.2.7")] == [401, 200]
        assert status(far, "192.0.2.7, 198.51.100.1") == status(far, "192.0.2.7", "198.51.100.1") == 401
        assert status(far, "198.51.100.1, 192.0.2.7") == status(far, "198.51.100.1", "192.0.2.7") == 200


def test_guessing_ends(integration: str, own_issuer: Issuer) -> None:
    """An address that guesses too often is told to wait, in seconds; a remembered key goes on."""
    known = own_issuer.key().secret
    with running(integration, Options(own_issuer.database, failures_per_minute=3)) as site:
        assert site.call(known).status_code == 200
        assert [site.call(unknown_key()).status_code for _ in range(3)] == [401] * 3
        spent = site.call(unknown_key())
        assert (spent.status_code, spent.json()["error"]) == (429, "Too Many Requests")
        assert 1 <= int(spent.headers["Retry-After"]) <= 60
        assert "WWW-Authenticate" not in spent.headers
        assert site.call(own_issuer.key().secret).status_code == 429
        assert site.call(known).status_code == 200


def test_nothing_is_decided_without_the_database(integration: str, own_issuer: Issuer) -> None:
    """When the database cannot be asked, good and bad are both told to come again, and nothing else (R2)."""
    first, second = own_issuer.key(), own_issuer.key()
    token = own_issuer.token(second)
    with running(integration, Options(own_issuer.database)) as site:
        assert site.call(first.secret).status_code == 200
        own_issuer.take_the_keys_away()
        for credential in (first.secret, second.secret, token, "0123456789abcdef" * 2):
            answer = site.call(credential)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json() == {
                "statusCode": 503,
                "error": "Service Unavailable",
                "message": "Nothing can be decided just now: try again in a moment.",
            }
        assert site.get().status_code == 401


def test_callers_are_not_mixed_up(site: Site, issuer: Issuer) -> None:
    """Many at once, each is told their own name, and a stranger is never let in."""
    people = [issuer.add_person() for _ in range(6)]
    wrong: list[object] = []

    def call(name: str | None, credential: str) -> None:
        for _ in range(15):
            answer = site.call(credential)
            found = answer.json().get("for") if answer.status_code == 200 else None
            if found != name:
                wrong.append((name, answer.status_code, answer.text))

    calls = [(name, issuer.key(name).secret) for name in people] + [(None, WRONG)] * 2
    threads = [threading.Thread(target=call, args=each) for each in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


@pytest.mark.parametrize("name", ASGI)
def test_a_slow_database_does_not_stop_the_loop(
    name: str, postgresql_server: str, root_key_file: Path
) -> None:
    """While a look-up waits for the database, the loop goes on and remembered keys are answered."""
    database = new_postgresql_database(postgresql_server)

    async def ask(app: object, known: str, unknown: str) -> None:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:

            async def status(credential: str) -> int:
                return (await client.get("/orders", headers={"Authorization": credential})).status_code

            assert await status(known) == 200
            with psycopg.connect(database) as other:
                other.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
                waiting = asyncio.create_task(status(unknown))
                for _ in range(20):
                    await asyncio.sleep(0.005)
                    assert await status(known) == 200
                assert not waiting.done()
            assert await waiting == 200

    with issuing(database, root_key_file) as issuer, application(name, Options(database)) as app:
        asyncio.run(ask(app, issuer.key().secret, issuer.key().secret))
