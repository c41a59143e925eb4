"""The addresses that a connection may lead to, judged after DNS has answered, once (rule O3).

name ──resolve once──▶ every address ──all allowed?──▶ connect to one of these, under the name given

A name whose second answer is another one gains nothing: nobody asks a second time.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from keyturn.core.networks import Address, Network, is_within

Resolver = Callable[[str], Sequence[str]]
"""All addresses of a name, as texts; raises `OSError` if there are none."""
Endpoint = tuple[Address, int]

_NEVER = {
    "unspecified": ("0.0.0.0/8", "::/128"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "broadcast": ("255.255.255.255/32",),
    # Services by which a cloud tells a machine its credentials.
    "metadata": ("169.254.169.254/32", "169.254.170.2/32", "100.100.100.200/32", "168.63.129.16/32",
                 "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
}  # fmt: skip
_UNLESS_NAMED = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "shared": ("100.64.0.0/10",),
    # IANA's registries of special-purpose addresses (RFC 6890), and of IPv6 all that is not global unicast
    # (RFC 4291, section 2.4).
    "reserved": ("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
                 "203.0.113.0/24", "240.0.0.0/4", "::/3", "2001::/23",
                 "2001:db8::/32", "3fff::/20", "4000::/2", "8000::/1"),
}  # fmt: skip


def _tables(kinds: dict[str, tuple[str, ...]]) -> tuple[tuple[str, tuple[Network, ...]], ...]:
    return tuple((kind, tuple(map(ipaddress.ip_network, texts))) for kind, texts in kinds.items())


_NEVER_NETWORKS = _tables(_NEVER)
_KINDS = _tables(_UNLESS_NAMED)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")


class Forbidden(Exception):
    """A connection may not lead to this address; `kind` is one word for people."""

    def __init__(self, address: Address, kind: str) -> None:
        super().__init__(f"{address} is {kind}")
        self.address = address
        self.kind = kind


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The addresses that connections may lead to."""

    allowed: tuple[Network, ...] = ()
    """Networks that an administrator named: of private and special addresses only these are reached."""
    own: frozenset[Endpoint] = frozenset()
    """Where Keyturn and its database listen: never allowed, whoever names them."""

    def check(self, address: Address, port: int) -> None:
        """Raise `Forbidden` unless a connection may lead there."""
        for each in _disguises(address):
            if (each, port) in self.own:
                raise Forbidden(address, "Keyturn's own")
            if (kind := _find_kind(each, _NEVER_NETWORKS)) is not None:
                raise Forbidden(address, kind)
            if (kind := _find_kind(each, _KINDS)) is not None and not is_within(each, self.allowed):
                raise Forbidden(address, kind)


def resolve(host: str, resolver: Resolver) -> tuple[Address, ...]:
    """Return all addresses of a host, IPv4 in IPv6 clothes as IPv4; raise `OSError` if there are none."""
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        found = [ipaddress.ip_address(each) for each in resolver(host)]
    if not found:
        raise OSError("no addresses")
    return tuple(dict.fromkeys(map(_undisguised, found)))


def _undisguised(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def _disguises(address: Address) -> Iterable[Address]:
    """Yield the address, and the IPv4 address that a translator would send its packets to."""
    plain = _undisguised(address)
    if isinstance(plain, ipaddress.IPv6Address) and plain in _NAT64:
        yield ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF)
        return
    yield plain
    if isinstance(plain, ipaddress.IPv6Address) and plain in _6TO4:
        yield ipaddress.IPv4Address(int(plain) >> 80 & 0xFFFFFFFF)


def _find_kind(address: Address, tables: Iterable[tuple[str, tuple[Network, ...]]]) -> str | None:
    return next((kind for kind, networks in tables if is_within(address, networks)), None)
