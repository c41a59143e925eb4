"""Where a request comes from: told by the peer and by proxies that we trust, and by nobody else (H10)."""

import ipaddress
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.networks import (
    MAX_HOPS,
    Network,
    are_within,
    client_address,
    is_within,
    read_address,
    read_network,
    readable_network,
    site_of,
)

PROXIES = tuple(map(read_network, ("10.0.0.0/8", "192.0.2.7", "2001:db8:ffff::/48")))

# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("192.0.2.1:65535", "192.0.2.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:0db8::0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::1", "::1"),
        ("::", "::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("::ffff:0.0.0.0", "0.0.0.0"),
        # Only this one mapping means the IPv4 address itself.
        ("::192.0.2.1", "::c000:201"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
        ("2002:c000:201::", "2002:c000:201::"),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str) -> None:
    """However a proxy writes an address, with a port, in brackets or mapped, it is one and the same."""
    assert str(read_address(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "unknown",
        "_hidden",
        "localhost",
        "example.com",
        "192.0.2",
        "192.0.2.1.",
        "192.0.2.256",
        "192.0.2.01",
        "0300.0.2.1",
        "0xc0.0.2.1",
        "3221225985",
        "192.0.2.1/32",
        "192.0.2.1 ",
        " 192.0.2.1",
        "192.0.2.1\n",
        "192.0.2.1\x00",
        "192.0.2.1, 192.0.2.2",
        "192.0.2.1;192.0.2.2",
        '"192.0.2.1"',
        "for=192.0.2.1",
        "192.0.2.\u00b9",
        "\u0661\u0669\u0662.0.2.1",
        "\uff11\uff19\uff12.0.2.1",
        "192.0.2.1:80:80",
        "2001:db8::1::",
        "2001:db8::g",
        "12345::1",
        "2001:db8::1/64",
        "fe80::1%",
        "fe80::1%eth 0",
        "fe80::1%a%b",
        "[fe80::1%]:80",
        "2001:db8::1%eth0",
        "::ffff:192.0.2.1%1",
        "192.0.2.1%eth0",
        "::ffff:192.0.2.256",
        "[]",
        "[]:80",
        "[",
        "]",
        "[[::1]]",
        ":",
        ":80",
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    """Names, numbers, several addresses, zones and other digits than ours are no address."""
    assert read_address(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1:",
        "192.0.2.1:http",
        "192.0.2.1:-1",
        "192.0.2.1:65536",
        "192.0.2.1: 80",
        "192.0.2.1:80 192.0.2.2",
        "[2001:db8::1",
        "[2001:db8::1]443",
        "[2001:db8::1]x",
        "[2001:db8::1]:",
        "[2001:db8::1]:http",
        "[2001:db8::1],192.0.2.1",
        "[192.0.2.1]",
        "[192.0.2.1]:80",
    ],
)
def test_what_no_proxy_writes_is_none(text: str) -> None:
    """An address with something behind it that is no port was written by nobody whom we know."""
    assert read_address(text) is None


@given(text=st.text(max_size=60) | st.text(alphabet="0123456789abcdef.:[]%/ ", max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    """Whatever a text holds, reading it gives an address or none, and never fails."""
    address = read_address(text)
    assert address is None or read_address(str(address)) == address


@given(address=st.ip_addresses(), port=st.integers(0, 65535))
def test_every_address_is_read(address: Network, port: int) -> None:
    """Each address is read back from each form in which proxies write it, and is never IPv6 if it is IPv4."""
    bare = str(address)
    bracketed = f"[{bare}]" if ":" in bare else bare
    expected = getattr(address, "ipv4_mapped", None) or address
    assert read_address(bare) == read_address(f"{bracketed}:{port}") == expected


# Networks


def test_networks_are_read() -> None:
    """A network or a single address of either kind is read as written."""
    for text in ("192.0.2.0/24", "0.0.0.0/0", "192.0.2.1/32", "2001:db8::/32", "::/0", "2001:db8::1/128"):
        assert str(read_network(text)) == text
    assert str(read_network("192.0.2.1")) == "192.0.2.1/32"
    assert str(read_network("2001:db8::1")) == "2001:db8::1/128"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "192.0.2.1/24",
        "2001:db8::1/32",
        "192.0.2.0/33",
        "2001:db8::/129",
        "192.0.2.0/-1",
        "192.0.2",
        "*",
    ],
)
def test_a_doubtful_network_is_refused(text: str) -> None:
    """What is not a network, or could mean one address as well, is refused by its name."""
    with pytest.raises(ValueError, match="is not a network like") as refused:
        read_network(text)
    assert repr(text) in str(refused.value)


@given(text=st.text(max_size=40) | st.text(alphabet="0123456789abcdef.:/", max_size=40))
def test_any_text_is_a_network_or_refused(text: str) -> None:
    """Whatever a text holds, reading it gives a network or says what is wrong."""
    try:
        network = read_network(text)
    except ValueError as error:
        refusal = str(error)
        network = None
    if network is None:
        assert refusal.startswith(repr(text))
    else:
        assert read_network(str(network)) == network


@given(
    network=st.builds(
        lambda address, bits: ipaddress.ip_network((int(address), bits), strict=False),
        st.ip_addresses(v=4),
        st.integers(1, 31),
    )
)
def test_a_network_ends_where_it_ends(network: ipaddress.IPv4Network) -> None:
    """Its first and last address lie within a network; the ones before and after do not."""
    first, last = network.network_address, network.broadcast_address
    assert is_within(first, [network])
    assert is_within(last, [network])
    assert is_within(read_address(f"::ffff:{first}"), [network])
    if int(first) > 0:
        assert not is_within(first - 1, [network])
    if int(last) < 2**32 - 1:
        assert not is_within(last + 1, [network])


def test_kinds_do_not_mix() -> None:
    """No IPv6 address lies in a network of IPv4 or the other way round, and an unknown one in none."""
    everything = read_network("0.0.0.0/0"), read_network("::/0")
    assert is_within(read_address("192.0.2.1"), everything[:1])
    assert not is_within(read_address("192.0.2.1"), everything[1:])
    assert not is_within(read_address("::c000:201"), everything[:1])
    assert is_within(read_address("::c000:201"), everything[1:])
    assert not is_within(None, everything)
    assert not is_within(read_address("192.0.2.1"), [])


# The client of a request


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        # Nobody has said anything.
        ("192.0.2.1", [], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        (None, [], None),
        ("", [], ""),
        ("a socket", [], "a socket"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        # Somebody whom we do not trust has.
        ("192.0.2.1", [b"198.51.100.1"], "192.0.2.1"),
        ("192.0.2.1", [b"10.0.0.1"], "192.0.2.1"),
        ("2001:db8::1", [b"198.51.100.1"], "2001:db8::1"),
        (None, [b"198.51.100.1"], None),
        ("a socket", [b"198.51.100.1"], "a socket"),
        # One proxy of ours.
        ("10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.255.255.255", [b"198.51.100.1"], "198.51.100.1"),
        ("11.0.0.0", [b"198.51.100.1"], "11.0.0.0"),
        ("9.255.255.255", [b"198.51.100.1"], "9.255.255.255"),
        ("192.0.2.7", [b"198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
        ("2001:db8:ffff::1", [b"2001:db8::5"], "2001:db8::5"),
        # What the client wrote before it came to us.
        ("10.0.0.1", [b"203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"203.0.113.9,198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"10.0.0.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"127.0.0.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"203.0.113.9", b"198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"garbage, 198.51.100.1"], "198.51.100.1"),
        # Several proxies of ours.
        ("10.0.0.1", [b"198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"198.51.100.1, 192.0.2.7, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"198.51.100.1", b"10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # In other forms.
        ("10.0.0.1", [b"198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", [b"[2001:db8::5]:4711"], "2001:db8::5"),
        ("10.0.0.1", [b"::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"\t 198.51.100.1 \t"], "198.51.100.1"),
        # What is not an address ends the reading at the one who wrote it.
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [b","], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1,"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"198.51.100.1", b""], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"198.51.100.1, \xff\xfe"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, 10.0.0.2\n"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, 10.0.0.2;x"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1 10.0.0.2"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", [b"198.51.100.1, [fe80::1%2]:80"], "fe80::1"),
        ("fe80::1%eth0", [], "fe80::1%eth0"),
    ],
)
def test_the_client_is_who_the_last_trusted_one_says(
    peer: str | None, lines: list[bytes], client: str | None
) -> None:
    """The list is read from the right, past our proxies, to the first address that is not one of them."""
    assert client_address(peer, lines, PROXIES) == client


def test_nobody_is_trusted_by_default() -> None:
    """Without trusted proxies nothing that is said of a client is read (H10)."""
    assert client_address("127.0.0.1", [b"198.51.100.1"], ()) == "127.0.0.1"


def test_a_long_list_is_read_to_a_limit() -> None:
    """Of very many hops only the last ones are read, and never one that a stranger wrote."""
    for hops in (MAX_HOPS - 1, MAX_HOPS, MAX_HOPS + 1, 5000):
        ours = [b"10.0.0.%d" % (hop % 250) for hop in range(hops)]
        found = client_address("10.0.0.1", [b", ".join([b"198.51.100.1", *ours])], PROXIES)
        assert found == ("198.51.100.1" if hops < MAX_HOPS else ours[-MAX_HOPS].decode())


ENTRIES = st.one_of(
    st.binary(max_size=24).filter(lambda entry: b"," not in entry),
    st.sampled_from([b"10.0.0.2", b"192.0.2.7", b"2001:db8:ffff::2", b"unknown", b"", b" 10.9.9.9 "]),
    st.ip_addresses().map(lambda address: str(address).encode()),
)
PEERS = st.none() | st.text(max_size=20) | st.sampled_from(["10.0.0.1", "192.0.2.1", "2001:db8:ffff::1"])


@given(peer=PEERS, lines=st.lists(st.binary(max_size=80), max_size=5))
def test_any_bytes_can_be_read(peer: str | None, lines: list[bytes]) -> None:
    """Whatever bytes come, the client is the peer or an address, and reading never fails."""
    client = client_address(peer, lines, PROXIES)
    assert client == peer or read_address(client or "") is not None


@given(peer=PEERS, spoofed=st.lists(ENTRIES, max_size=8), told=st.lists(ENTRIES, min_size=1, max_size=8))
def test_nothing_left_of_a_stranger_is_believed(
    peer: str | None, spoofed: list[bytes], told: list[bytes]
) -> None:
    """Once an entry is no proxy of ours, what stands left of it changes nothing, whatever it is."""
    stranger = [b"198.51.100.1", *told]

    alone = client_address(peer, [b",".join(stranger)], PROXIES)

    assert client_address(peer, [b",".join([*spoofed, *stranger])], PROXIES) == alone
    assert client_address(peer, [*spoofed, *stranger], PROXIES) == alone


def believed(peer: str, entries: Sequence[bytes]) -> str:
    """Say the rule once more, from left to right and with other words."""
    chain = [*(read_address(entry.strip(b" \t").decode("latin-1")) for entry in entries), read_address(peer)]
    client = chain[-1]
    while chain:
        hop = chain.pop()
        if hop is None:
            break
        client = hop
        if not any(hop in network for network in PROXIES):
            break
    return str(client)


@given(
    peer=st.sampled_from(["10.0.0.1", "192.0.2.1", "2001:db8:ffff::1"]),
    entries=st.lists(ENTRIES, max_size=MAX_HOPS),
    cuts=st.sets(st.integers(1, MAX_HOPS)),
)
def test_lines_are_one_list(peer: str, entries: list[bytes], cuts: set[int]) -> None:
    """However the entries are spread over lines, each is vouched for by the one right of it."""
    bounds = [0, *sorted(cut for cut in cuts if cut < len(entries)), len(entries)]
    lines = [b",".join(entries[begin:end]) for begin, end in pairwise(bounds) if begin < end]
    assert client_address(peer, lines, PROXIES) == believed(peer, entries)


@pytest.mark.parametrize(
    ("source", "site"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.255", "192.0.2.0/24"),
        ("2001:db8:1:ffff::9", "2001:db8:1::/48"),
        ("2001:db8:2::9", "2001:db8:2::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("unix", "unix"),
        (None, None),
    ],
)
def test_neighbours_share_a_site(source: str | None, site: str | None) -> None:
    """Addresses that an organization can choose among are one network; another text is alone."""
    assert site_of(source) == site


# Networks in networks


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_of_mapped_addresses_is_the_one_that_they_mean(text: str, network: str) -> None:
    """An address in IPv6 clothes is read as IPv4, and so is its network: else nobody would be in it."""
    assert str(read_network(text)) == network


def test_a_network_is_not_of_an_interface() -> None:
    """An address never says by which interface it came: a network that does would hold nobody."""
    for text in ("fe80::1%eth0", "fe80::%1/64"):
        with pytest.raises(ValueError, match="interface"):
            read_network(text)


@pytest.mark.parametrize(
    ("networks", "wider", "is_inside"),
    [
        ((), (), True),
        (("192.0.2.0/24",), (), False),
        (("192.0.2.0/24",), ("192.0.2.0/24",), True),
        (("192.0.2.0/25", "192.0.2.7"), ("192.0.2.0/24",), True),
        (("192.0.2.0/23",), ("192.0.2.0/24",), False),
        (("192.0.2.7", "198.51.100.1"), ("192.0.2.0/24",), False),
        (("192.0.2.7", "198.51.100.1"), ("192.0.2.0/24", "198.51.100.0/24"), True),
        (("2001:db8::/48",), ("2001:db8::/32",), True),
        (("::c000:200/120",), ("192.0.2.0/24",), False),
        (("192.0.2.0/24",), ("::/0",), False),
        (("::/0",), ("0.0.0.0/0",), False),
    ],
)
def test_networks_lie_within_others(
    networks: Sequence[str], wider: Sequence[str], *, is_inside: bool
) -> None:
    """Each must lie within one of the wider ones as a whole, and IPv4 never lies within IPv6."""
    assert are_within([*map(read_network, networks)], [*map(read_network, wider)]) is is_inside


@given(st.ip_addresses(), st.ip_addresses(network="192.0.2.0/29"), st.integers(24, 32), st.integers(24, 32))
def test_what_lies_within_holds_no_other_address(
    anyone: ipaddress.IPv4Address, near: ipaddress.IPv4Address, one: int, other: int
) -> None:
    """An address of a network that lies within another is in that one too."""
    narrow = ipaddress.ip_network(f"{near}/{one}", strict=False)
    wide = ipaddress.ip_network(f"192.0.2.0/{other}", strict=False)
    for address in (anyone, *narrow):
        if are_within([narrow], [wide]) and is_within(address, [narrow]):
            assert is_within(address, [wide])
    assert are_within([narrow], [wide]) == all(address in wide for address in narrow)


def test_one_address_is_read_without_its_length() -> None:
    """People read `192.0.2.7`, and of a network all of it, also of one whose length looks alike."""
    for text in ("192.0.2.7", "192.0.2.0/24", "2001:db8::7", "2001:db8::/32", "0.0.0.0/0", "::/0"):
        assert readable_network(str(read_network(text))) == text


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::1%1", "[fe80::1%eth0.100]:443", "fe80::1%wlan-0"])
def test_fault_g6_an_address_on_a_link_is_within_its_network(text: str) -> None:
    """The interface behind an address of a link does not keep it out of a network that holds the address."""
    assert str(read_address(text)) == "fe80::1"
    assert is_within(read_address(text), [read_network("fe80::/10")])
    assert not is_within(read_address(text), [read_network("fe80::2"), read_network("2001:db8::/32")])
    assert (
        client_address(text.strip("[]").split("]")[0], [b"192.0.2.1"], [read_network("fe80::/10")])
        == "192.0.2.1"
    )
