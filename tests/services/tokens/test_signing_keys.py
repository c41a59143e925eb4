"""Signing keys follow each other: no living token is refused, and none outlives a leak."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.audit import AuditAction
from keyturn.errors import CannotStart, CredentialRefused, Reason
from keyturn.services.keys.keys import NewKey
from keyturn.services.tokens.signing_keys import LEAD
from keyturn.store.tokens.signing_keys import LONG_AGO
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE, actions, add_person, caller, change_behind

if TYPE_CHECKING:
    from keyturn.composition import Services
    from tests.conftest import Opener
    from tests.fakes import Clock

MOMENT = timedelta(milliseconds=1)


def new_key(services: Services) -> str:
    user = add_person(services)
    return services.keys.create_for(user.user_id, COMMAND_LINE, NewKey()).secret


def token_of(services: Services, key: str) -> str:
    return services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token


def signing_kid(services: Services) -> str:
    return services.signing_keys.ring.signing.kid


def test_the_signing_key_stays(services: Services, reopen: Opener) -> None:
    """A restart signs with the same key, which was made and audited once."""
    assert reopen().signing_keys.ring.signing.kid == services.signing_keys.ring.signing.kid
    assert actions(services) == ["SigningKeyCreated"]


def test_only_public_members_are_published(services: Services, reopen: Opener) -> None:
    """The key set holds public members only, each with kid, alg and use (T12)."""
    changed = reopen(token_algorithm="EdDSA")
    changed.signing_keys.follow_algorithm()
    published = changed.signing_keys.jwks()["keys"]

    assert {key["alg"] for key in published} == {"ES256", "EdDSA"}
    assert len({key["kid"] for key in published}) == 2
    for key in published:
        assert set(key) <= {"kty", "crv", "x", "y", "kid", "alg", "use"}
        assert key["use"] == "sig"


def test_a_new_key_is_published_before_it_signs(services: Services, reopen: Opener, clock: Clock) -> None:
    """For as long as others may cache the key set, the old key signs on, on every node (T13)."""
    node = reopen()
    old = signing_kid(services)

    new = services.signing_keys.rotate(COMMAND_LINE).kid
    node.authenticator.recognise(b"", (None, None, None, None))
    node.verification.freshness.ensure()

    for one in (services, node):
        assert signing_kid(one) == old
        assert {key["kid"] for key in one.signing_keys.jwks()["keys"]} == {old, new}
    clock.advance(LEAD - MOMENT)
    assert [signing_kid(one) for one in (services, node)] == [old, old]
    clock.advance(MOMENT)
    assert [signing_kid(one) for one in (services, node)] == [new, new]


def test_a_token_outlives_the_key_that_signed_it(services: Services, reopen: Opener, clock: Clock) -> None:
    """A token of the last moment before a change of keys is accepted for its whole life, on every node."""
    node, key = reopen(), new_key(services)
    services.signing_keys.rotate(COMMAND_LINE)
    clock.advance(LEAD - MOMENT)
    token = token_of(services, key)
    life = services.settings.token_life

    clock.advance(life - timedelta(seconds=1))

    for one in (services, node):
        one.signing_keys.forget()
        assert caller(one, token).userid == "bob"
    clock.advance(timedelta(seconds=2))
    with pytest.raises(CredentialRefused) as refused:
        caller(reopen(), token)
    assert refused.value.reason is Reason.EXPIRED


def test_what_ended_is_not_published(services: Services, clock: Clock) -> None:
    """A key whose last token has ended is gone from the key set, and later its private half."""
    old = signing_kid(services)
    services.signing_keys.rotate(COMMAND_LINE)

    clock.advance(LEAD + services.settings.token_life + timedelta(minutes=1))

    assert old not in {key["kid"] for key in services.signing_keys.jwks()["keys"]}
    services.signing_keys.rotate(COMMAND_LINE)
    records = services.store.signing_keys.list_verifying(LONG_AGO - timedelta(days=1))
    assert {record.kid for record in records if record.sealed_jwk is None} == {old}


def test_a_leaked_key_opens_nothing_any_more(services: Services, reopen: Opener) -> None:
    """After a leak every token from before is refused at once, remembered or not; keys give new ones."""
    node, key = reopen(), new_key(services)
    token = token_of(services, key)
    assert caller(node, token).userid == "bob"

    services.signing_keys.replace_at_once(COMMAND_LINE)

    for one in (services, node):
        with pytest.raises(CredentialRefused) as refused:
            caller(one, token)
        assert refused.value.reason is Reason.SIGNATURE
    assert caller(node, token_of(services, key)).userid == "bob"
    assert caller(services, token_of(node, key)).userid == "bob"


def test_fault_a2_a_leak_ends_keys_of_every_algorithm(services: Services, reopen: Opener) -> None:
    """Whichever node replaces the keys at once, no token of any algorithm opens anything afterwards."""
    changed, key = reopen(token_algorithm="EdDSA"), new_key(services)
    old = token_of(services, key)
    changed.signing_keys.follow_algorithm(lead=timedelta(0))
    tokens = [old, token_of(changed, key)]
    assert len({token.split(".")[0] for token in tokens}) == 2

    services.signing_keys.replace_at_once(COMMAND_LINE)

    for one in (services, changed, reopen()):
        assert [is_accepted(one, token) for token in tokens] == [False, False]
        assert len(one.signing_keys.list_all()) == 1


@pytest.mark.parametrize("has_own_key", [False, True], ids=["none yet", "one already"])
def test_fault_a2_a_changed_algorithm_gives_the_former_key_an_end(
    services: Services, reopen: Opener, clock: Clock, *, has_own_key: bool
) -> None:
    """The key of the former algorithm signs until the new one was published, and ends with its last token."""
    key, former = new_key(services), signing_kid(services)
    changed = reopen(token_algorithm="EdDSA")
    if has_own_key:  # As programs of before made them: beside each other, without an end.
        changed.signing_keys.rotate(COMMAND_LINE)
        change_behind(services, "UPDATE signing_key SET verifies_until = NULL")
    for node in (changed, reopen(token_algorithm="EdDSA")):
        node.signing_keys.follow_algorithm()

    assert signing_kid(changed) == signing_kid(services) == former
    clock.advance(LEAD - MOMENT)
    token = token_of(services, key)
    clock.advance(services.settings.token_life - timedelta(seconds=1))
    nodes = (services, changed)
    assert [is_accepted(node, token) for node in nodes] == [True, True]
    assert {node.signing_keys.ring.signing.algorithm for node in nodes} == {"EdDSA"}
    clock.advance(timedelta(minutes=1))
    for node in nodes:
        assert [published["alg"] for published in node.signing_keys.jwks()["keys"]] == ["EdDSA"]


def test_many_rotations_refuse_no_living_token(services: Services, reopen: Opener, clock: Clock) -> None:
    """Whenever keys follow each other, on whichever node, every token lives as long as it says."""
    nodes, key = (services, reopen()), new_key(services)
    tokens: list[tuple[str, int]] = []
    for number in range(30):
        nodes[number % 2].signing_keys.rotate(COMMAND_LINE, lead=timedelta(seconds=number % 4))
        tokens.append((token_of(nodes[(number + 1) % 2], key), number))
        clock.advance(timedelta(seconds=150))
        for token, made in tokens:
            lives = (number - made + 1) * 150 < services.settings.token_life.total_seconds()
            for node in nodes:
                assert is_accepted(node, token) is lives, (number, made)


def is_accepted(services: Services, token: str) -> bool:
    try:
        caller(services, token)
    except CredentialRefused:
        return False
    return True


def test_each_change_of_keys_is_audited(services: Services) -> None:
    """Making, following and replacing a signing key each leave one row, with the key that came."""
    services.signing_keys.rotate(COMMAND_LINE)
    kid = services.signing_keys.replace_at_once(COMMAND_LINE).kid

    rows = services.store.audit_log.list_after()
    created = AuditAction.SIGNING_KEY_CREATED.value
    retired = AuditAction.SIGNING_KEYS_RETIRED.value
    assert [row.action for row in rows] == [created, created, retired, retired]
    assert rows[2].target_id == kid


def test_a_clock_that_is_behind_signs_all_the_same(services: Services, reopen: Opener, clock: Clock) -> None:
    """A node by whose clock no key has begun to sign uses the one that begins first."""
    kid = services.signing_keys.replace_at_once(COMMAND_LINE).kid
    clock.advance(-timedelta(minutes=10))

    assert signing_kid(reopen()) == kid


def test_a_key_of_another_place_stops_the_start(services: Services, reopen: Opener) -> None:
    """The sealed half of one key in the row of another does not open (S1)."""
    services.signing_keys.rotate(COMMAND_LINE)
    with services.store._database.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE signing_key SET sealed_jwk = (SELECT max(sealed_jwk) FROM signing_key)"
        )

    with pytest.raises(CannotStart):
        reopen()
