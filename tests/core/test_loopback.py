"""What is this machine, and is asked directly."""

from __future__ import annotations

import pytest

from keyturn.core.loopback import httpx_options, is_loopback, requests_proxies


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("::ffff:8.8.8.8", False),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.example", False),
        ("2130706433", False),
        ("0x7f.1", False),
        ("", False),
    ],
)
def test_only_loopback_is_this_machine(host: str, expected: bool) -> None:
    """Only `localhost` and loopback addresses in their usual spelling mean this machine."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "url", ["https://keys.example.com", "https://localhost.example", "https://10.0.0.1:8400"]
)
def test_elsewhere_the_environment_decides(url: str) -> None:
    """To any other address a proxy may be the only way."""
    assert httpx_options(url) == {}
    assert requests_proxies(url) == {}


@pytest.mark.parametrize("url", ["http://127.0.0.1:8400", "https://[::1]:8400", "https://localhost/keyturn"])
def test_loopback_is_asked_directly(url: str) -> None:
    """Whatever the scheme and the spelling are."""
    assert httpx_options(url)
    assert requests_proxies(url)
