"""Which addresses of servers are taken: one rule for every client and for the verifier (fault G10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyturn import CannotStart, Verifier
from keyturn.client import ApiClient, DeviceLogin, KeyturnAuth
from keyturn.core.loopback import check_address

KEY = "kt_7hQ2mZ9fT1xD_Jr0cW8vNq3LsYbGd5kPzXa6EtUoMhRi43EwHfW"
WRONG = (
    "",
    "keys.example.com",
    "http://keys.example.com",
    "ftp://keys.example.com",
    "https://",
    "https://ada@keys.example.com",
    "https://keys.example.com?x=1",
    "https://keys.example.com#x",
    "https://keys.example.com:99999",
    "https://[::1",
)
CLIENTS: dict[str, Callable[[str], object]] = {
    "httpx": lambda url: KeyturnAuth(KEY, url),
    "API": lambda url: ApiClient(url, KEY),
    "device": lambda url: DeviceLogin(url, "laptop"),
}


@pytest.mark.parametrize("url", WRONG)
@pytest.mark.parametrize("client", CLIENTS)
def test_fault_g10_no_client_takes_an_address_that_another_refuses(client: str, url: str) -> None:
    """What is no address, or would send a key in clear, is refused by each before anything is sent."""
    with pytest.raises(ValueError, match="give the server's address"):
        CLIENTS[client](url)


@pytest.mark.parametrize("url", [url for url in WRONG if url.startswith("http")])
def test_fault_g10_a_verifier_takes_the_same(url: str) -> None:
    """A verifier that is to follow a server refuses the same addresses, and says so in its own words."""
    with pytest.raises(CannotStart, match="give the server's address"):
        Verifier(url, KEY)


@pytest.mark.parametrize(
    "url",
    [
        "https://keys.example.com",
        "https://keys.example.com:8443/auth",
        "http://127.0.0.1:8400",
        "http://[::1]:8400",
    ],
)
def test_an_address_is_taken(url: str) -> None:
    """An https address with a port and path, and http on this machine."""
    check_address(url)
