"""Where a request comes from: told by the peer and by proxies that we trust, and by nobody else (H10)."""

import ipaddress
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.sources import MAX_HOPS, Network, client_address, is_within, read_address, read_network

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
        "fe80::1%eth0",
        "fe80::1%",
        "[fe80::1%eth0]:80",
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
    """What is no network, or could mean one address as well, is refused by its name."""
    with pytest.raises(ValueError, match="is no network like") as refused:
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
        # What is no address ends the reading at the one who wrote it.
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
        ("10.0.0.1", [b"198.51.100.1, fe80::1%eth0"], "10.0.0.1"),
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
