"""No key goes by a proxy to this machine, whatever the environment names."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
import requests

from keyturn.client import ApiClient, KeyturnAuth
from keyturn.client.device import DeviceLogin
from keyturn.client.requests import KeyturnAuth as RequestsAuth
from tests.client.conftest import WHO, Keyed
from tests.proxies import environment_with_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What reaches the proxy that the environment names."""
    with environment_with_proxy(monkeypatch) as reaches:
        yield reaches


def by_client(keyed: Keyed) -> None:
    with ApiClient(keyed.url, keyed.key) as client:
        assert client.current_user().userid == "bob"


def by_exchanging_client(keyed: Keyed) -> None:
    with ApiClient(keyed.url, keyed.key, exchanges=True) as client:
        assert client.current_user().userid == "bob"


def by_httpx(keyed: Keyed) -> None:
    with httpx.Client(auth=KeyturnAuth(keyed.key, keyed.url), trust_env=False) as client:
        assert client.get(keyed.url + WHO).status_code == 200


def by_tasks(keyed: Keyed) -> None:
    async def ask() -> int:
        async with httpx.AsyncClient(auth=KeyturnAuth(keyed.key, keyed.url), trust_env=False) as client:
            return (await client.get(keyed.url + WHO)).status_code

    assert asyncio.run(ask()) == 200


def by_requests(keyed: Keyed) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = RequestsAuth(keyed.key, keyed.url)
        assert session.get(keyed.url + WHO).status_code == 200


def by_device(keyed: Keyed) -> None:
    with DeviceLogin(keyed.url, "nightly export") as login:
        assert login.begin().user_code


@pytest.mark.parametrize(
    "ask",
    [by_client, by_exchanging_client, by_httpx, by_tasks, by_requests, by_device],
    ids=lambda ask: ask.__name__,
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_key_goes_by_a_proxy_to_this_machine(
    keyed: Keyed, seen: list[bytes], ask: Callable[[Keyed], None], host: str
) -> None:
    """The API client, a login, and each exchange ask loopback directly; the proxy hears nothing."""
    here = replace(keyed.server, url=keyed.url.replace("127.0.0.1", host))
    ask(replace(keyed, server=here))
    assert seen == []


@pytest.mark.parametrize("auth", [KeyturnAuth, RequestsAuth])
def test_another_address_goes_by_the_proxy(auth: type, seen: list[bytes]) -> None:
    """Where a proxy is the only way out, an exchange takes it, and tells it no more than the host."""
    one = auth("kt_key", "https://keys.example.com")
    with suppress(httpx.HTTPError, requests.RequestException):
        one._token(one._tokens, None)
    assert [request.split(b" HTTP/")[0] for request in seen] == [b"CONNECT keys.example.com:443"]
    assert b"kt_key" not in seen[0]
