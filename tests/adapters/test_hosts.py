"""A host has one spelling, and nothing that a driver could read as more than a host."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.hosts import read_host
from keyturn.errors import InvalidInput

SPELLINGS = {
    "db.example.com": "db.example.com",
    "DB.Example.COM.": "db.example.com",
    "my_db": "my_db",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "192.0.2.1": "192.0.2.1",
    "2130706433": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "0X7F.1": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "127.1": "127.0.0.1",
    "0": "0.0.0.0",
    "::1": "::1",
    "[::1]": "::1",
    "0:0:0:0:0:0:0:1": "::1",
    "::ffff:127.0.0.1": "127.0.0.1",
    "[::FFFF:7f00:1]": "127.0.0.1",
    "2001:DB8::1": "2001:db8::1",
}
REFUSED = (
    "", ".", "..", " ", "a b", "a,b", "a;b", "a/b", "/var/run/postgresql", "@abstract", "a\0b", "a\nb",
    "http://a", "a:5432", "[::1]:5432", "[::1", "::1]", "fe80::1%eth0", "host=a", "a?sslmode=disable", "a#b",
    "user@a", "user:password@a", "-a", "a-", "a..b", "bücher.example", "\uff11\uff12\uff17.0.0.1",
    "a" * 64, "a." * 127 + "a",
    "1.2.3.4.5", "256.1.1.1", "1.2.3.0x", "a.1", "0x", "999999999999", "%2f", "a\\b", "$(id)", "`id`",
    "(DESCRIPTION=(ADDRESS=))", "*",
)  # fmt: skip


@pytest.mark.parametrize(("given", "wanted"), SPELLINGS.items())
def test_each_host_has_one_spelling(given: str, wanted: str) -> None:
    """Every form of an address is the address, and reading a host again changes nothing."""
    assert read_host(given) == wanted
    assert read_host(wanted) == wanted


@pytest.mark.parametrize("given", REFUSED)
def test_what_is_more_than_a_host_is_refused(given: str) -> None:
    """URLs, lists, sockets, options, ports and spaces are refused at the field."""
    with pytest.raises(InvalidInput) as refused:
        read_host(given, "hostname")
    assert refused.value.field == "hostname"


@given(st.ip_addresses())
def test_every_address_is_a_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """An address in the spelling of `ipaddress` stays, but for IPv4 in IPv6 clothes."""
    assert ipaddress.ip_address(read_host(str(address))) == (getattr(address, "ipv4_mapped", None) or address)


@given(st.text(max_size=40))
def test_an_accepted_host_holds_nothing_else(text: str) -> None:
    """Whatever is accepted is a name or an address in lower case, and stays as it is."""
    try:
        host = read_host(text)
    except InvalidInput:
        return
    assert set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-:")
    assert read_host(host) == host
