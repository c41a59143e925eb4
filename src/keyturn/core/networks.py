"""Where a request comes from, and which addresses a credential may be used from.

A proxy appends the address that it was called from to `X-Forwarded-For`, so only the right end of that list
is told by somebody whom we trust: it is read from the right, past our own proxies, to the first address that
is not one of them. The part left of that was written by the client and means nothing.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNIX_PEER = "unix"
"""The address of a caller over a Unix socket. The permissions of its file say who can call."""
MAX_HOPS = 32
"""How many entries of `X-Forwarded-For` are read; nobody has that many proxies."""

SITE_PREFIXES = {4: 24, 6: 48}
"""The longest that are routed between providers: from one of these an organisation chooses its addresses."""

MAX_PORT = 65535
_MAPPED_BITS = 96
"""The bytes before the IPv4 address in `::ffff:192.0.2.1` (RFC 4291, section 2.5.5.2)."""
_WITH_PORT = re.compile(
    r"(?:\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[^%\[\]:]+)?)\]|([0-9.]+)(?=:))(?::([0-9]{1,5}))?"
)
"""RFC 3986, section 3.2.2: an IPv6 address is in brackets where a port may follow."""
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")
"""RFC 4007, section 11: the interface of this machine by which an address on a link is reached."""


def read_network(text: str) -> Network:
    """Read `192.0.2.0/24` or one address; raise `ValueError` saying what is wrong.

    Bits outside the mask are refused: whoever writes 192.0.2.1/24 may have meant one address. A network of
    IPv4 in IPv6 clothes is the IPv4 network, as with addresses: else no client would ever be in it.
    """
    try:
        network = ipaddress.ip_network(text, strict=True)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network like 192.0.2.0/24 or 2001:db8::/32 ({error})") from None
    if isinstance(network, ipaddress.IPv4Network):
        return network
    if network.network_address.scope_id is not None:
        raise ValueError(f"{text!r} names an interface of one machine (%): leave it out")
    mapped = network.network_address.ipv4_mapped
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def read_address(text: str) -> Address | None:
    """Read an address as a proxy writes it, perhaps with a port; None if it is none.

    An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 address: one machine, one spelling. The
    interface behind an address on a link (`fe80::1%eth0`) is left out: networks are of addresses.
    """
    if (with_port := _WITH_PORT.fullmatch(text)) is not None:
        text, port = with_port[1] or with_port[2], with_port[3]
        if port is not None and int(port) > MAX_PORT:
            return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is None:
            return address.ipv4_mapped or address
        is_named = address.is_link_local and _ZONE.fullmatch(address.scope_id) is not None
        return ipaddress.IPv6Address(int(address)) if is_named else None
    return address


def is_within(address: Address | None, networks: Iterable[Network]) -> bool:
    """Return whether the address lies in one of the networks; an unknown address lies in none."""
    return address is not None and any(address in network for network in networks)


def are_within(networks: Iterable[Network], wider: Sequence[Network]) -> bool:
    """Return whether each of the networks lies within one of the `wider` ones."""
    return all(any(_is_part(network, wide) for wide in wider) for network in networks)


def _is_part(network: Network, wide: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network):
        return isinstance(wide, ipaddress.IPv4Network) and network.subnet_of(wide)
    return isinstance(wide, ipaddress.IPv6Network) and network.subnet_of(wide)


def readable_network(text: str) -> str:
    """Return a network as people read it: one address without its length."""
    return text.removesuffix("/128" if ":" in text else "/32")


def site_of(source: str | None) -> str | None:
    """Return the network that a source shares with its neighbours: a /24 of IPv4, a /48 of IPv6.

    A text that is no address is a site of its own.
    """
    address = None if source is None else read_address(source.partition("%")[0])
    if address is None:
        return source
    return str(ipaddress.ip_network((address, SITE_PREFIXES[address.version]), strict=False))


def client_address(
    peer: str | None, forwarded_for: Sequence[bytes], trusted: Sequence[Network]
) -> str | None:
    """Return the address of the client: the peer's, or what a trusted proxy says of it (H10).

    `peer` itself where that is all that is known. `forwarded_for` holds the values of the `X-Forwarded-For`
    field lines, in order. An entry that is no address ends the reading: the proxy that wrote it is then all
    that is known.
    """
    address = read_address(peer) if peer is not None else None
    if not forwarded_for or not (peer == UNIX_PEER or is_within(address, trusted)):
        return peer if address is None or "%" in (peer or "") else str(address)
    entries = b",".join(forwarded_for).split(b",")
    for entry in reversed(entries[-MAX_HOPS:]):
        hop = read_address(entry.strip(b" \t").decode("latin-1"))
        if hop is None:
            break
        address = hop
        if not is_within(hop, trusted):
            break
    return peer if address is None else str(address)
