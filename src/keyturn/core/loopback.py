"""Loopback: what is sent there stays on this machine, so it may go in clear, and goes by no proxy.

A proxy would be sent the key, in clear for `http`, and would look for the address on its own machine.
"""

import ipaddress
import ssl
from typing import Any
from urllib.parse import urlsplit

_NO_ADDRESS = "give the server's address as https://host, with a port and path if it has any"
_NO_SCHEME = "give the server's address with its scheme: https://host, or http:// for this machine alone"
_NO_PROXIES: dict[str, None] = {"http": None, "https": None, "all": None}


def is_loopback(host: str) -> bool:
    """Return whether a bind address or host name means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_address(url: str) -> None:
    """Raise `ValueError` for what is no server's address, or would send a key in clear over a network.

    Its message has no capital and no stop: who raises it on puts it into a sentence.
    """
    if not url.isprintable() or " " in url:  # Which `urlsplit` leaves out, and others do not.
        raise ValueError(_NO_ADDRESS)
    try:
        parts = urlsplit(url)
        is_plain = bool(parts.hostname) and parts.username is None and not parts.query and not parts.fragment
        _ = parts.port  # Which is read only when it is asked for.
    except ValueError:
        raise ValueError(_NO_ADDRESS) from None
    if "://" not in url:
        raise ValueError(_NO_SCHEME)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError("give the server's address with https: a key must not travel in clear")
    if not is_plain:
        raise ValueError(_NO_ADDRESS)


def httpx_options(url: str, tls: ssl.SSLContext | None = None) -> dict[str, Any]:
    """Return the options with which a client of httpx asks loopback directly, and verifies with `tls`.

    At any other address the proxies of the environment apply, and without `tls` its authorities.
    """
    verify = {} if tls is None else {"verify": tls}
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return verify
    if parts.scheme == "http":
        return {"trust_env": False}  # There may be a proxy of a kind that httpx cannot even begin with.
    return {**verify, "mounts": {f"{scheme}://": None for scheme in _NO_PROXIES}}


def requests_proxies(url: str) -> dict[str, Any]:
    """Return the `proxies` with which requests asks loopback directly; nothing for any other address."""
    return {**_NO_PROXIES} if is_loopback(urlsplit(url).hostname or "") else {}
