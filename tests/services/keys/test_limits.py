"""Where a key works and who may present it: chosen when it is made, kept, and never wider than its maker."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.networks import Network, read_network
from keyturn.core.people import ServiceOwner
from keyturn.core.records import ApiKeyRecord
from keyturn.core.restriction_kinds import MAX_NETWORKS
from keyturn.errors import Conflict, CredentialRefused, InvalidInput, Reason
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import (
    HERE,
    add_service_account,
    caller,
    chosen_key,
    is_accepted,
    last_rows,
    new_key,
    person,
    restricted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from keyturn.services.keys.keys import CreatedKey

JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
KEY = "kt_7hQ2mZ9fT1xD_Jr0cW8vNq3LsYbGd5kPzXa6EtUoMhRi43EwHfW"
FOREIGN = "3f9c2b7e81d04a56b7c9e0f1a2d3c4b5"
HOME, ELSEWHERE = ("127.0.0.0/8", "2001:db8::/32"), ("192.0.2.0/24",)

# What is read


def test_networks_are_kept_once_and_in_one_spelling() -> None:
    """Addresses become networks, IPv4 in IPv6 clothes becomes IPv4, and what is named twice counts once."""
    typed = ["192.0.2.7", "2001:DB8:0::/32", "192.0.2.7/32", "::ffff:192.0.2.7", "10.0.0.0/255.0.0.0"]
    meant = ("192.0.2.7", "2001:db8::/32", "10.0.0.0/8")
    assert restricted(allowFrom=typed).networks == tuple(map(read_network, meant))


def test_no_word_of_networks_means_anywhere() -> None:
    """Nothing asked is no restriction; a list that is there and empty is an error, never all or none."""
    assert restricted(allowFrom=None).networks is None
    with pytest.raises(InvalidInput, match="works nowhere") as refused:
        restricted(allowFrom=[])
    assert refused.value.field == "allowFrom"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10.0.0.1/8", "10.0.0.1/8 is an address within a network: write 10.0.0.0/8, or 10.0.0.1 alone."),
        ("2001:db8::1/32", "write 2001:db8::/32, or 2001:db8::1 alone."),
        ("vpn.example.com", "vpn.example.com is not an address or network."),
        ("192.0.2.300", "192.0.2.300 is not an address or network."),
        ("192.0.2.0/33", "192.0.2.0/33 is not an address or network."),
        ("2001:db8:85a3:8d3:1319:8a2e:370:7348:1", "370:7348:1 is not an address or network."),
        ("fe80::1%eth0", "fe80::1%eth0 names an interface of one machine (%): leave that out."),
        ("*", "* is not an address or network."),
        ("", "Entry 1 is not an address or network."),
        ("a\x1b[2Jb", "Entry 1 is not an address or network."),
        ("é", "Entry 1 is not an address or network."),
        ("٣.0.0.1", "Entry 1 is not an address or network."),
    ],
)
def test_what_is_wrong_with_a_network_is_told(text: str, told: str) -> None:
    """The sentence names what cannot be read, and says what to write instead."""
    with pytest.raises(InvalidInput) as refused:
        restricted(allowFrom=[text])
    assert refused.value.field == "allowFrom"
    assert told in str(refused.value)
    is_unreadable = "is not an address" in told
    assert (
        "Write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32 or the like." in str(refused.value)
    ) is is_unreadable


@pytest.mark.parametrize("secret", [KEY, FOREIGN, KEY[:40], "correct horse battery staple"])
def test_a_secret_that_is_typed_for_a_network_is_not_repeated(secret: str) -> None:
    """Who pastes a key into the wrong field finds it in no error: it is called by its place."""
    with pytest.raises(InvalidInput) as refused:
        restricted(allowFrom=["192.0.2.7", secret])
    assert "Entry 2 is not an address" in str(refused.value)
    assert secret[:10] not in str(refused.value)


def test_of_many_faults_some_are_told() -> None:
    """Each of the first three is told, and how many more there are."""
    with pytest.raises(InvalidInput) as refused:
        restricted(allowFrom=[f"host-{number}" for number in range(MAX_NETWORKS)])
    assert [f"host-{number} is" in str(refused.value) for number in range(4)] == [True, True, True, False]
    assert f"There are {MAX_NETWORKS - 3} more such faults." in str(refused.value)


def test_the_number_of_networks_is_bounded() -> None:
    """A key has as many networks as can be looked at with each request, and not one more."""
    many = [f"10.0.{number}.0/24" for number in range(MAX_NETWORKS + 1)]
    found = restricted(allowFrom=[*many[:-1], many[0]]).networks
    assert found is not None
    assert len(found) == MAX_NETWORKS
    with pytest.raises(InvalidInput, match=str(MAX_NETWORKS)):
        restricted(allowFrom=many)


# What is made


def test_a_key_works_from_its_networks_alone(services: Services, bob: Principal) -> None:
    """From an address in them it is good with its tokens; from elsewhere its holder is told why not."""
    made = new_key(services, bob, allowFrom=["127.0.0.1", "192.0.2.0/24"])
    token = services.exchange.exchange(in_header=[made.secret.encode()], in_body=None, origin=HERE).token
    for credential in (made.secret, f"Bearer {token}"):
        assert caller(services, credential).user_id == bob.user_id
        for address in ("198.51.100.7", "::1", None):
            with pytest.raises(CredentialRefused) as refused:
                services.authenticator.authenticate([credential.encode()], replace(HERE, address=address))
            assert refused.value.reason is Reason.SOURCE


def bound_to(record: ApiKeyRecord) -> tuple[tuple[str, ...] | None, str | None]:
    """The networks and the key pair of a key, as they are told."""
    told = record.restrictions.to_wire()
    return told["allowFrom"] and tuple(told["allowFrom"]), told["dpopJkt"]


def test_a_key_says_what_it_is_bound_to(services: Services, bob: Principal) -> None:
    """The answer, the list and the audit log name its networks and key pair, if it has any."""
    before = len(last_rows(services, 0))
    made = [new_key(services, bob, allowFrom=["127.0.0.1", *HOME], dpopJkt=JKT), new_key(services, bob)]
    told = [(("127.0.0.1/32", *HOME), JKT), (None, None)]
    assert [bound_to(key.record) for key in made] == told
    listed = {key.key_id: bound_to(key) for key in services.keys.list_own(bob)}
    assert [listed[key.record.key_id] for key in made] == told
    bound, free = (row.details for row in last_rows(services, before))
    assert (bound["sources"], bound["dpopJkt"]) == ([*told[0][0]], JKT)
    assert {"sources", "dpopJkt"}.isdisjoint(free)


def test_the_command_line_binds_alike(services: Services, bob: Principal) -> None:
    """`create_for` keeps the same two bounds."""
    made = services.keys.create_for(
        bob.user_id,
        COMMAND_LINE,
        NewKey(restrictions=restricted(allowFrom=HOME, dpopJkt=JKT)),
    )
    assert bound_to(made.record) == (HOME, JKT)
    with pytest.raises(InvalidInput):
        services.keys.create_for(bob.user_id, COMMAND_LINE, NewKey(restrictions=restricted(dpopJkt=JKT[:-1])))


def test_the_command_line_names_no_more_networks_than_others(services: Services, bob: Principal) -> None:
    """`create_for` keeps each network once, and refuses more of them than any form does."""
    networks = [read_network(f"10.0.{number}.0/24") for number in range(MAX_NETWORKS + 1)]

    def new(sources: Sequence[Network]) -> CreatedKey:
        return services.keys.create_for(
            bob.user_id, COMMAND_LINE, NewKey(restrictions=restricted(allowFrom=sources))
        )

    assert bound_to(new(networks[:1] * 3).record)[0] == ("10.0.0.0/24",)
    assert len(bound_to(new(networks[:-1] * 2).record)[0] or ()) == MAX_NETWORKS
    with pytest.raises(InvalidInput, match=f"{MAX_NETWORKS} networks at most") as refused:
        new(networks)
    assert refused.value.field == "allowFrom"


@pytest.mark.parametrize(
    ("unfit", "field"),
    [
        ({"allowFrom": []}, "allowFrom"),
        ({"allowFrom": ["127.0.0.1/8"]}, "allowFrom"),
        ({"allowFrom": ["127.0.0.1"], "dpopJkt": ""}, "dpopJkt"),
    ],
)
def test_an_unfit_bound_makes_no_key(
    services: Services, bob: Principal, unfit: dict[str, object], field: str
) -> None:
    """Nothing is written: a key that was to be bound is never made unbound."""
    before = len(last_rows(services, 0))
    with pytest.raises(InvalidInput) as refused:
        new_key(services, bob, **unfit)
    assert refused.value.field == field
    assert services.keys.list_own(bob).items == ()
    assert last_rows(services, before) == []


# Never wider than its maker


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, HOME),
        (HOME, HOME),
        (("127.0.0.1",), ("127.0.0.1/32",)),
        (("2001:db8:1::/48", "127.1.0.0/16"), ("2001:db8:1::/48", "127.1.0.0/16")),
        (("127.0.0.1", *ELSEWHERE), None),
        (("126.0.0.0/7",), None),
        (("0.0.0.0/0", "::/0"), None),
        (("::/0",), None),
    ],
)
def test_a_bound_key_makes_none_that_works_from_elsewhere(
    services: Services, bob: Principal, asked: Sequence[str] | None, given: Sequence[str] | None
) -> None:
    """A key, and a token of it, make what works from the same places or from some of them (A3)."""
    maker = new_key(services, bob, allowFrom=HOME)
    token = services.exchange.exchange(in_header=[maker.secret.encode()], in_body=None, origin=HERE).token
    for credential in (maker.secret, f"Bearer {token}"):
        who = caller(services, credential)
        if given is None:
            with pytest.raises(InvalidInput, match="more places") as refused:
                new_key(services, who, allowFrom=asked)
            assert refused.value.field == "allowFrom"
        else:
            assert bound_to(new_key(services, who, allowFrom=asked).record)[0] == tuple(given)


def test_a_free_key_makes_bound_ones(services: Services, bob: Principal) -> None:
    """A key without networks makes one with any, as its owner does: it only narrows."""
    who = caller(services, new_key(services, bob).secret)
    assert bound_to(new_key(services, who, allowFrom=ELSEWHERE).record)[0] == ELSEWHERE


def test_a_key_of_a_service_account_is_bound_alike(
    services: Services, admin: Principal, bob: Principal
) -> None:
    """Who manages an account binds its keys, and with a bound key makes none that is wider (A3)."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))

    def key_of_robot(who: Principal, **chosen: object) -> tuple[object, object]:
        made = services.service_accounts.create_key(who, "robot", HERE, chosen_key(**chosen))
        return bound_to(made.record)

    assert key_of_robot(bob, allowFrom=ELSEWHERE, dpopJkt=JKT) == (ELSEWHERE, JKT)
    assert key_of_robot(bob) == (None, None)
    who = caller(services, new_key(services, bob, allowFrom=HOME).secret)
    assert key_of_robot(who) == (HOME, None)
    with pytest.raises(InvalidInput, match="more places"):
        key_of_robot(who, allowFrom=ELSEWHERE)


# Kept


def test_a_rotation_keeps_networks_and_key_pair(services: Services, bob: Principal) -> None:
    """A new secret is bound as the one before, at once, in the list, and after a restart of the memory."""
    made = new_key(services, bob, allowFrom=["127.0.0.0/8"])
    bound = new_key(services, bob, allowFrom=ELSEWHERE, dpopJkt=JKT)
    for key in (made, bound):
        rotated = services.key_rotation.rotate_own(
            person(services), key.record.key_id, HERE, overlap=timedelta(hours=1)
        )
        kept = services.keys.get_own(bob, key.record.key_id)
        assert bound_to(rotated.record) == bound_to(key.record)
        assert bound_to(kept) == bound_to(key.record)
        for secret in (key.secret, rotated.secret):
            assert is_accepted(services, secret) == (key is made)
            with pytest.raises(CredentialRefused) as refused:
                services.authenticator.authenticate([secret.encode()], replace(HERE, address="198.51.100.7"))
            assert refused.value.reason is Reason.SOURCE
        found = services.store.api_keys.find_for_token(key.record.key_id)
        assert found is not None
        assert found.restrictions == key.record.restrictions


def test_a_retry_does_not_change_where_a_key_works(services: Services, bob: Principal) -> None:
    """The same call again gives the same key a new secret; with other networks it is a conflict."""
    first = new_key(services, bob, allowFrom=HOME, idempotency_key="once")
    again = new_key(services, bob, allowFrom=HOME, idempotency_key="once")
    assert again.record.key_id == first.record.key_id
    assert bound_to(again.record)[0] == HOME
    for other in (None, ELSEWHERE, HOME[:1]):
        with pytest.raises(Conflict):
            new_key(services, bob, allowFrom=other, idempotency_key="once")
