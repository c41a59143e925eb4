"""Keys that are restricted to methods and paths in somebody else's process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from keyturn import Reason, Verifier
from tests.people import HERE, add_person, new_key, person
from tests.replica.edges import answer_of, new_follower
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.composition import Services


@pytest.fixture(params=["database", "feed"])
def place(
    request: pytest.FixtureRequest, database: str, root_key_file: Path
) -> Iterator[tuple[Services, tuple[str, ...]]]:
    """A server, and what a verifier is given that reads its database, or that follows its feed."""
    with running_server(database, root_key_file=root_key_file) as server:
        add_person(server.services)
        follower = new_follower(server.services).secret
        address = (database,) if request.param == "database" else (server.url, follower)
        yield server.services, address


@pytest.mark.parametrize("kind", ["key", "token"])
def test_a_restricted_key_needs_its_request(place: tuple[Services, tuple[str, ...]], kind: str) -> None:
    """With method and path it passes for its own requests alone, each judged anew; without them for none."""
    services, address = place
    bob = person(services)
    made = new_key(services, bob, allowMethods=["GET"], allowPaths=["/orders"])
    credential = made.secret
    if kind == "token":
        exchange = services.exchange.exchange
        credential = exchange(in_header=[], in_body=made.secret, origin=HERE).token
    refused = (Reason.REQUEST, made.record.key_id, True)
    with Verifier(*address) as opened:
        for _ in range(2):
            found = opened.verify(credential, method="GET", path="/orders/1")
            assert (found.userid, found.requests is not None) == ("bob", True)
            assert opened.verify(credential, method="HEAD", path=["/orders", "/orders/1"]) == found
            assert asyncio.run(opened.verify_async(credential, method="GET", path="/orders")) == found
            for options in (
                {},
                {"method": "GET"},
                {"path": "/orders"},
                {"method": "POST", "path": "/orders"},
                {"method": "GET", "path": "/orders2"},
                {"method": "GET", "path": "/orders/../x"},
                {"method": "GET", "path": ["/orders", "/x"]},
                {"method": "GET", "path": []},
                {"method": "GET", "path": "/orders?x"},
            ):
                assert answer_of(opened, credential, **options) == refused, options


def test_any_other_key_needs_none(place: tuple[Services, tuple[str, ...]]) -> None:
    """A key that is not restricted passes with whatever is said of the request, and without."""
    services, address = place
    key = new_key(services, person(services)).secret
    with Verifier(*address) as opened:
        for options in ({}, {"method": "GET", "path": "//x"}, {"method": "", "path": ""}):
            assert opened.verify(key, **options).requests is None


def test_who_asks_for_each_credential_refuses_it(database: str, root_key_file: Path) -> None:
    """The server, asked what such a key is, knows no request: a verifier that asks lets it pass nowhere."""
    with running_server(database, root_key_file=root_key_file) as server:
        add_person(server.services)
        key = new_key(server.services, person(server.services), allowPaths=["/"]).secret
        follower = new_follower(server.services).secret
        with Verifier(server.url, follower, follow=False) as opened:
            assert answer_of(opened, key, method="GET", path="/")[0] is Reason.UNKNOWN  # type: ignore[index]
