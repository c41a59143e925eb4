"""Signing keys in the store: one for an algorithm, and then one after another."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from keyturn.core.records import SigningKeyRecord
from keyturn.store.tokens.signing_keys import LONG_AGO
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, SEAL, an_entry

if TYPE_CHECKING:
    from datetime import datetime

    from keyturn.store import Store

MILLISECOND = timedelta(milliseconds=1)


def a_signing_key(kid: str, algorithm: str = "ES256", **changed: object) -> SigningKeyRecord:
    values = {
        "kid": kid,
        "algorithm": algorithm,
        "sealed_jwk": SEAL + kid.encode(),
        "created_at": NOW,
        "signs_from": NOW,
    }
    return SigningKeyRecord(**(values | changed))  # type: ignore[arg-type]


def test_there_is_one_first_signing_key(store: Store) -> None:
    """A second first key is not stored, and says so, whatever its algorithm."""
    assert store.signing_keys.add_first(a_signing_key("a"), an_entry())
    assert not store.signing_keys.add_first(a_signing_key("b"), an_entry())
    assert not store.signing_keys.add_first(a_signing_key("c", "EdDSA"), an_entry())

    assert [key.kid for key in store.signing_keys.list_verifying(NOW)] == ["a"]
    assert store.installation.revision() == 1


def test_one_node_changes_the_algorithm(store: Store) -> None:
    """Of nodes that start with another algorithm at once, one makes its key; the former gets one end."""
    store.signing_keys.add_first(a_signing_key("a"), an_entry())

    outcomes = all_at_once(
        4,
        lambda number: store.signing_keys.change_algorithm(
            a_signing_key(f"x{number}", "EdDSA"), an_entry(), an_entry(), grace=timedelta(hours=1)
        ),
    )

    assert sorted(map(str, outcomes)) == ["False"] * 3 + ["True"]
    assert len(kids(store, NOW)) == 2
    assert len(kids(store, NOW + timedelta(hours=1))) == 1


def test_a_key_that_ended_is_not_listed(store: Store) -> None:
    """A key verifies until exactly its last moment, which a rotation sets for all others."""
    store.signing_keys.add_first(a_signing_key("a"), an_entry())
    end = NOW + timedelta(hours=1)
    next_key = a_signing_key("b", signs_from=NOW + timedelta(minutes=1))

    store.signing_keys.add_next(next_key, an_entry(), others_verify_until=end)

    assert kids(store, NOW) == ["b", "a"]
    assert kids(store, end - MILLISECOND) == ["b", "a"]
    assert kids(store, end) == ["b"]


def test_a_later_rotation_does_not_lengthen_a_life(store: Store) -> None:
    """A key that is to end keeps its end, however often others follow."""
    store.signing_keys.add_first(a_signing_key("a"), an_entry())
    for hours, kid in enumerate("bcd", 1):
        end = NOW + timedelta(hours=hours)
        store.signing_keys.add_next(a_signing_key(kid), an_entry(), others_verify_until=end)

    assert kids(store, NOW + timedelta(hours=1)) == ["b", "c", "d"]


def test_private_halves_are_forgotten_at_the_end(store: Store) -> None:
    """Of a key that has ended nothing is kept that could sign; what has not ended keeps its private half."""
    store.signing_keys.add_first(a_signing_key("a"), an_entry())
    store.signing_keys.add_next(a_signing_key("b"), an_entry(), others_verify_until=NOW)

    assert store.signing_keys.retire(NOW - MILLISECOND, an_entry()) == 0
    assert store.signing_keys.retire(NOW, an_entry()) == 1
    assert store.signing_keys.retire(NOW, an_entry()) == 0
    sealed = {key.kid: key.sealed_jwk for key in store.signing_keys.list_verifying(LONG_AGO - MILLISECOND)}
    assert sealed == {"a": None, "b": SEAL + b"b"}


def kids(store: Store, now: datetime) -> list[str]:
    return [key.kid for key in store.signing_keys.list_verifying(now)]


def test_nodes_that_start_together_share_a_signing_key(store: Store) -> None:
    """Of nodes that make a signing key at once, one does, and the others use it."""
    nodes = 8

    outcomes = all_at_once(
        nodes, lambda number: store.signing_keys.add_first(a_signing_key(f"kid{number}"), an_entry())
    )

    assert sorted(map(str, outcomes)) == ["False"] * (nodes - 1) + ["True"]
    assert len(store.signing_keys.list_verifying(NOW)) == 1


def test_sealed_bytes_are_kept_as_they_are(store: Store) -> None:
    """Whatever bytes were sealed are read back."""
    for kid, sealed in (("a", SEAL), ("b", SEAL + b"\x00\xff" * 300)):
        store.signing_keys.add_next(
            a_signing_key(kid, sealed_jwk=sealed), an_entry(), others_verify_until=NOW + timedelta(1)
        )

        assert sealed in [key.sealed_jwk for key in store.signing_keys.list_verifying(NOW)]
