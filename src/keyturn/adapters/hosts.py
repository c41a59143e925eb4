"""The names of servers, in one spelling each (rules O1 and O3)."""

import ipaddress
import re
import socket

from keyturn.core.networks import read_address
from keyturn.errors import InvalidInput

MAX_HOST_LENGTH = 253
"""RFC 1035, section 2.3.4, without the final dot."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that `inet_aton` reads as a part of an address, so that no resolver takes it for a name."""

_NOT_A_HOST = "Enter one name or address, such as db.example.com, without a scheme, port, path or list."


def read_host(text: str, field: str = "hostname") -> str:
    """Return a name in lower case, or an address as `ipaddress` writes it; raise `InvalidInput` at `field`.

    Every form that `inet_aton` takes (`2130706433`, `0x7f.1`, `0177.0.0.1`) becomes the address it means, and
    an IPv4 address in IPv6 clothes the IPv4 address. URLs, lists, ports, sockets and spaces are refused.
    """
    host = text.lower().removesuffix(".")
    if not host.isascii():
        raise InvalidInput(field, "Enter the name in its ASCII form, which begins with xn--.")
    if ":" in host:
        return _read_ipv6(host, field)
    labels = host.split(".")
    if len(host) > MAX_HOST_LENGTH or any(_LABEL.fullmatch(each) is None for each in labels):
        raise InvalidInput(field, _NOT_A_HOST)
    if _NUMBER.fullmatch(labels[-1]) is None:
        return host
    try:
        return str(ipaddress.IPv4Address(socket.inet_aton(host)))
    except OSError:
        raise InvalidInput(field, _NOT_A_HOST) from None


def _read_ipv6(host: str, field: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    address = None if "%" in bare or "[" in bare else read_address(bare)
    if address is None:
        raise InvalidInput(field, _NOT_A_HOST)
    return str(address)
