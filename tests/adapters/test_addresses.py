"""Connections lead to public addresses, and to those that an administrator named."""

from __future__ import annotations

import ipaddress

import pytest

from keyturn.adapters.addresses import AddressPolicy, Forbidden, resolve
from keyturn.core.networks import read_network

PUBLIC = ("8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "64:ff9b::808:808", "2002:808:808::1")
SPECIAL = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "64:ff9b::7f00:1": "loopback",
    "2002:7f00:1::": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::a00:1": "private",
    "fd00::1": "private",
    "fec0::1": "private",
    "100.64.0.1": "shared",
    "169.254.1.1": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "192.0.2.1": "reserved",
    "198.18.0.1": "reserved",
    "240.0.0.1": "reserved",
    "2001:db8::1": "reserved",
    "2001::1": "reserved",
    "64:ff9b:1::1": "reserved",
    "::7f00:1": "reserved",
    "::ffff:0:7f00:1": "reserved",
    "100::1": "reserved",
    "4000::1": "reserved",
    "fe00::1": "reserved",
}
NEVER = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "::": "unspecified",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "broadcast",
    "169.254.169.254": "metadata",
    "::ffff:169.254.169.254": "metadata",
    "64:ff9b::a9fe:a9fe": "metadata",
    "2002:a9fe:a9fe::": "metadata",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "fd00:ec2::254": "metadata",
}
EVERYTHING = (read_network("0.0.0.0/0"), read_network("::/0"))


def kind_of(address: str, policy: AddressPolicy) -> str | None:
    """Why a policy forbids an address; None if it does not."""
    try:
        policy.check(ipaddress.ip_address(address), 5432)
    except Forbidden as error:
        return error.kind
    return None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """Nobody has to name the networks of the Internet."""
    assert kind_of(address, AddressPolicy()) is None


@pytest.mark.parametrize(("address", "kind"), SPECIAL.items())
def test_special_addresses_have_to_be_named(address: str, kind: str) -> None:
    """Loopback, private, link-local and reserved addresses, in any clothes, have to be named."""
    assert kind_of(address, AddressPolicy()) == kind
    assert kind_of(address, AddressPolicy(EVERYTHING)) is None


@pytest.mark.parametrize(("address", "kind"), NEVER.items())
def test_no_list_names_what_is_never_a_database(address: str, kind: str) -> None:
    """The services by which clouds give out credentials, multicast and 0/8 stay forbidden."""
    assert kind_of(address, AddressPolicy()) == kind
    assert kind_of(address, AddressPolicy(EVERYTHING)) == kind


def test_a_named_network_opens_no_other() -> None:
    """Only addresses within a named network are allowed, whatever translator they are behind."""
    policy = AddressPolicy((read_network("10.20.0.0/16"),))
    assert kind_of("10.20.8.4", policy) is None
    assert kind_of("::ffff:10.20.8.4", policy) is None
    assert kind_of("64:ff9b::a14:804", policy) is None
    assert kind_of("10.21.0.1", policy) == "private"
    assert kind_of("127.0.0.1", policy) == "loopback"


@pytest.mark.parametrize("address", ["192.168.1.5", "::ffff:192.168.1.5", "64:ff9b::c0a8:105"])
def test_the_database_of_keyturn_is_never_a_target(address: str) -> None:
    """Its address and port are forbidden though the network is named; other ports of it are not."""
    own = frozenset({(ipaddress.ip_address("192.168.1.5"), 5432)})
    policy = AddressPolicy(EVERYTHING, own)
    assert kind_of(address, policy) == "Keyturn's own"
    policy.check(ipaddress.ip_address(address), 5433)


def test_an_address_is_not_looked_up() -> None:
    """A host that is an address is that address, and nobody is asked."""
    assert resolve("8.8.8.8", lambda _: pytest.fail("asked")) == (ipaddress.ip_address("8.8.8.8"),)


def test_a_name_without_addresses_is_an_error() -> None:
    """A resolver that answers nothing has found nothing."""
    with pytest.raises(OSError, match="no addresses"):
        resolve("a", lambda _: [])
