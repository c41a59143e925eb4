"""A closed verifier: of every kind, for threads and coroutines, in the process and in its children."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.test import Client as WsgiClient

from keyturn import StoreUnavailable, Verifier
from keyturn.integrations import django as for_django
from tests.apis import identifier_of, register, token_for
from tests.integrations import sites
from tests.integrations.sites import INTEGRATIONS, Options
from tests.integrations.test_frameworks import ask as ask_asgi
from tests.people import unknown_key
from tests.replica.edges import Edge
from tests.servers import running_server
from tests.test_forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

API = identifier_of("orders")
KINDS: dict[str, Callable[[Edge, str], Verifier]] = {
    "database": lambda _, database: Verifier(database),
    "database, for a service": lambda _, database: Verifier(database, audience=API),
    "following": lambda edge, _: edge.verifier(),
    "following, for a service": lambda edge, _: edge.verifier(audience=API),
    "asking": lambda edge, _: edge.verifier(follow=False),
}


@pytest.fixture
def edge(database: str, root_key_file: Path) -> Iterator[Edge]:
    with running_server(database, root_key_file=root_key_file) as server:
        register(server.services, "orders")
        yield Edge.of(server)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def refused(call: Callable[[], object]) -> bool:
    """Return whether nothing was decided, and why is said in our own words."""
    try:
        call()
    except StoreUnavailable as error:
        return "is closed" in str(error)
    return False


def test_a_closed_verifier_passes_nobody(edge: Edge, database: str, kind: str) -> None:
    """What it remembers, what it never saw and what is wrong: nothing is decided any more."""
    is_for_service = kind.endswith("service")
    known, new = edge.key(), edge.key()
    credentials = [known.secret, new.secret]
    if is_for_service:
        credentials += [token_for(edge.services, key.secret, "orders") for key in (known, new)]
    else:
        credentials += [edge.token(known), edge.token(new)]
    verifier = KINDS[kind](edge, database)
    for credential in credentials[::2]:
        for _ in range(2):
            assert verifier.verify(credential).userid == "bob"
    verifier.close()
    credentials += [f"Bearer {known.secret}", unknown_key(), "kt_wrong", f"DPoP {known.secret}"]

    def all_refused() -> bool:
        by_threads = [refused(lambda c=credential: verifier.verify(c)) for credential in credentials]
        by_coroutines = [
            refused(lambda c=credential: asyncio.run(verifier.verify_async(c))) for credential in credentials
        ]
        return all(by_threads) and all(by_coroutines)

    assert all_refused()
    assert in_child(all_refused) == "True"
    verifier.close()
    assert all_refused()


def test_a_child_that_closes_before_it_asks_opens_nothing(edge: Edge, database: str, kind: str) -> None:
    """Closing in a child of a fork holds there, though the verifier was not opened there yet."""
    key = edge.key()
    credential = token_for(edge.services, key.secret, "orders") if kind.endswith("service") else key.secret
    with KINDS[kind](edge, database) as verifier:
        assert verifier.verify(credential).userid == "bob"

        def ask() -> bool:
            verifier.close()
            return refused(lambda: verifier.verify(credential))

        assert in_child(ask) == "True"
        assert verifier.verify(credential).userid == "bob"


def test_who_waits_when_it_closes_is_told(edge: Edge, database: str) -> None:
    """A coroutine whose look-up has not begun when the verifier is closed is refused, and not cancelled."""
    keys = [edge.key().secret for _ in range(40)]
    verifier = Verifier(database)

    async def ask() -> list[Any]:
        asked = [asyncio.create_task(verifier.verify_async(key)) for key in keys]
        await asyncio.sleep(0)
        verifier.close()
        return await asyncio.gather(*asked, return_exceptions=True)

    told = asyncio.run(ask())
    assert all(isinstance(each, StoreUnavailable) or each.userid == "bob" for each in told), told
    assert any(isinstance(each, StoreUnavailable) for each in told)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", INTEGRATIONS)
def test_behind_a_closed_verifier_is_503(edge: Edge, database: str, name: str) -> None:
    """Every integration says that nothing can be decided, and when to come again."""
    secret = edge.key().secret

    def answer(app: Any) -> tuple[int, str | None]:
        if name in sites.ASGI:
            answered = ask_asgi(app, secret)
            return answered.status_code, answered.headers.get("Retry-After")
        told = WsgiClient(app).get("/orders", headers={"Authorization": secret})
        return told.status_code, told.headers.get("Retry-After")

    with _behind(name, database) as (app, close):
        assert answer(app) == (200, None)
        close()
        assert answer(app) == (503, "1")


@contextmanager
def _behind(name: str, database: str) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Open the service behind this integration; yield it, and what closes its verifier."""
    build = sites._WITH_VERIFIER.get(name)
    if build is None:
        with sites.application(name, Options(database)) as app:
            yield app, lambda: for_django.protection()._opened().close()
    else:
        with Verifier(database) as verifier:
            yield build(verifier, (), None), verifier.close
