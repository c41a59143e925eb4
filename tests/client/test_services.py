"""A client that has tokens for one service alone, and one that narrows keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from keyturn.client import ApiClient, KeyturnAuth, ServerRefused
from keyturn.client.requests import KeyturnAuth as RequestsAuth
from keyturn.client.tokens import ExchangeFailed
from tests.apis import identifier_of, register
from tests.client.conftest import WHO
from tests.client.test_auth import asking_by_httpx, asking_by_requests, asking_by_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.client.conftest import Keyed

ORDERS = identifier_of("orders")
AT_ORDERS = f"/verify?audience={ORDERS}"
WAYS: dict[str, Callable[..., Callable[..., int]]] = {
    "httpx": lambda *given, **narrowed: asking_by_httpx(KeyturnAuth(*given, **narrowed)),
    "asyncio": lambda *given, **narrowed: asking_by_tasks(KeyturnAuth(*given, **narrowed)),
    "requests": lambda *given, **narrowed: asking_by_requests(RequestsAuth(*given, **narrowed)),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[..., Callable[..., int]]:
    found: Callable[..., Callable[..., int]] = WAYS[request.param]
    return found


@pytest.fixture
def orders(keyed: Keyed) -> str:
    register(keyed.server.services, "orders")
    return ORDERS


def grants(keyed: Keyed) -> int:
    """Return how many tokens the server has given so far."""
    keyed.exchanges()
    return sum("POST /oauth/token" in line and '"status":200' in line for line in keyed._seen.splitlines())


def test_a_client_of_one_service_opens_that_alone(keyed: Keyed, orders: str, way: Any) -> None:
    """One token serves many requests there, is renewed when it is ended, and opens nothing else."""
    ask = way(keyed.key, keyed.url, resource=orders, scopes=["orders:read"])
    assert [ask(keyed.url + AT_ORDERS) for _ in range(3)] == [200] * 3
    assert grants(keyed) == 1
    assert ask(f"{keyed.url}{AT_ORDERS}&scope=orders:read") == 200
    assert ask(f"{keyed.url}{AT_ORDERS}&scope=orders:write") == 403
    keyed.sign_out()
    assert ask(keyed.url + AT_ORDERS) == 200
    assert grants(keyed) == 2
    assert ask(keyed.url + WHO) == 401


def test_a_service_that_there_is_not_is_told(keyed: Keyed, way: Any) -> None:
    """The server's own sentence says why no token was given, and nothing shows the key."""
    ask = way(keyed.key, keyed.url, resource="https://nobody.example.com")
    with pytest.raises(ExchangeFailed, match="There is no API with this identifier") as failed:
        ask(keyed.url + AT_ORDERS)
    assert (failed.value.status, keyed.key in str(failed.value)) == (400, False)


def test_scopes_alone_narrow_a_token_of_the_installation(keyed: Keyed, orders: str) -> None:
    """Without a service the token is for Keyturn itself, and covers what was named."""
    auth = KeyturnAuth(keyed.key, keyed.url, scopes=["orders:read"])
    answer = httpx.get(f"{keyed.url}/verify", auth=auth)
    assert (answer.status_code, answer.headers["keyturn-scopes"]) == (200, "orders:read")


@pytest.mark.parametrize("auth", [KeyturnAuth, RequestsAuth])
@pytest.mark.parametrize("narrowed", [{"resource": ORDERS}, {"scopes": ["orders:read"]}])
def test_only_an_exchange_narrows(auth: Any, narrowed: Any) -> None:
    """Without an address the key itself would be sent, wider than what was asked for: that is refused."""
    with pytest.raises(ValueError, match="address"):
        auth("key", **narrowed)
    with pytest.raises(TypeError, match="as a list"):
        auth("key", "https://keys.example.com", scopes="orders:read")


def test_the_client_lists_services_and_narrows_keys(keyed: Keyed, orders: str) -> None:
    """It sees what its user may hold, makes a key for that alone, and is told of what they may not."""
    register(keyed.server.services, "stock", held_by=[])
    with ApiClient(keyed.url, keyed.key) as client:
        seen = {service.name: [scope.name for scope in service.scopes] for service in client.list_services()}
        assert seen == {"orders": ["orders:read", "orders:write"], "stock": ["stock:read"]}
        made = client.create_key("narrow", scopes=["orders:read"])
        assert made.scopes == ["orders:read"]
        assert [key.scopes for key in client.list_keys()] == [["orders:read"], None]
        with pytest.raises(ServerRefused, match="no scope stock:write"):
            client.create_key(scopes=["stock:write"])
