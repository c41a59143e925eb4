"""API keys as rows: found by digest, one per idempotency key, revoked once, last use forward only."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from keyturn.core.records import KeyUsage, LastUse
from keyturn.errors import Conflict
from keyturn.store import Store
from tests.store.rows import NOW, a_key, a_user, an_entry

LATER = NOW + timedelta(hours=1)


def test_a_key_is_stored_whole(store: Store, bob: int) -> None:
    """What was given of a key is what is found, by each question."""
    key = a_key(bob, name="näme")
    record = store.api_keys.add(key, an_entry())

    assert (record.user_id, record.name, record.masked) == (bob, "näme", key.masked)
    assert (record.created_at, record.expires_at, record.revoked_at) == (NOW, key.expires_at, None)
    assert record.last_use is None
    assert store.api_keys.find_of_user(record.key_id, bob) == record
    assert store.api_keys.find_owner(record.key_id) == bob
    found = store.api_keys.find_for_verification(key.digest)
    assert found == store.api_keys.find_for_token(record.key_id)
    assert found is not None
    assert (found.key_id, found.owner.user_id, found.owner.userid) == (record.key_id, bob, "bob")
    assert (found.expires_at, found.revoked_at, found.restrictions.scopes) == (key.expires_at, None, None)


def test_an_unknown_digest_is_none(store: Store, bob: int) -> None:
    """Nothing is found under a digest that was never stored."""
    store.api_keys.add(a_key(bob), an_entry())

    for digest in (b"", b"\x00" * 32, b"\xff" * 32, b"' OR 1=1 --"):
        assert store.api_keys.find_for_verification(digest) is None


def test_a_digest_is_found_only_whole(store: Store, bob: int) -> None:
    """A digest that differs in its last byte, or is a part of one, is another key's (K5)."""
    key = a_key(bob)
    store.api_keys.add(key, an_entry())

    assert store.api_keys.find_for_verification(key.digest[:-1]) is None
    assert store.api_keys.find_for_verification(key.digest + b"\x00") is None
    assert store.api_keys.find_for_verification(key.digest[:-1] + bytes([key.digest[-1] ^ 1])) is None


def test_absent_keys_are_none(store: Store, bob: int) -> None:
    """No question about an absent key, or somebody else's, finds one."""
    record = store.api_keys.add(a_key(bob), an_entry())

    assert store.api_keys.find_for_token(record.key_id + 1) is None
    assert store.api_keys.find_owner(record.key_id + 1) is None
    assert store.api_keys.find_of_user(record.key_id, bob + 1) is None
    assert store.api_keys.find_of_user(record.key_id + 1, bob) is None
    assert store.api_keys.list_of_user(bob + 1).items == ()


def test_a_digest_is_stored_once(store: Store, bob: int) -> None:
    """The same digest again is a Conflict, also for another user."""
    key = a_key(bob)
    store.api_keys.add(key, an_entry())
    eve = store.users.add(a_user("eve"), an_entry()).user_id

    with pytest.raises(Conflict):
        store.api_keys.add(a_key(eve, digest=key.digest), an_entry())


def test_an_idempotency_key_belongs_to_its_user(store: Store, bob: int) -> None:
    """One user has an idempotency key once; another may use the same; none at all is no idempotency key."""
    eve = store.users.add(a_user("eve"), an_entry()).user_id
    store.api_keys.add(a_key(bob, idempotency_key="same"), an_entry())
    store.api_keys.add(a_key(eve, idempotency_key="same"), an_entry())
    for _ in range(2):
        store.api_keys.add(a_key(bob), an_entry())

    with pytest.raises(Conflict):
        store.api_keys.add(a_key(bob, idempotency_key="same"), an_entry())

    assert len(store.api_keys.list_of_user(bob)) == 3


def test_a_key_of_nobody_is_no_conflict(store: Store, bob: int) -> None:
    """`Conflict` is said only of what is there already, not of a key for a user who is not."""
    with pytest.raises(Exception) as refused:  # noqa: PT011 - any error but the wrong one
        store.api_keys.add(a_key(bob + 1000), an_entry())

    assert not isinstance(refused.value, Conflict)


def test_a_replaced_secret_keeps_the_key(store: Store, bob: int) -> None:
    """A replaced secret opens the same key, and the one before it nothing (D5)."""
    first = a_key(bob, idempotency_key="same")
    record = store.api_keys.add(first, an_entry())
    second = a_key(bob, idempotency_key="same")

    replaced = store.api_keys.replace_secret(second, an_entry())

    assert replaced is not None
    assert replaced.key_id == record.key_id
    assert store.api_keys.find_for_verification(first.digest) is None
    assert store.api_keys.find_for_verification(second.digest) is not None
    assert store.audit_log.list_after()[-1].target_id == str(record.key_id)


def test_a_dead_key_gets_no_new_secret(store: Store, bob: int) -> None:
    """The secret of a revoked key is not replaced."""
    record = store.api_keys.add(a_key(bob, idempotency_key="same"), an_entry())
    store.api_keys.revoke(record.key_id, bob, NOW, an_entry())

    assert store.api_keys.replace_secret(a_key(bob, idempotency_key="same"), an_entry()) is None


def test_without_an_idempotency_key_no_secret_is_replaced(store: Store, bob: int) -> None:
    """A key that was made without idempotency key never gets another's secret."""
    key = a_key(bob)
    store.api_keys.add(key, an_entry())

    assert store.api_keys.replace_secret(a_key(bob), an_entry()) is None
    assert store.api_keys.find_for_verification(key.digest) is not None


def test_a_key_is_revoked_once(store: Store, bob: int) -> None:
    """A revoke ends a living key of that user, says so, and a second finds nothing to end (R7)."""
    key = a_key(bob)
    record = store.api_keys.add(key, an_entry())

    assert not store.api_keys.revoke(record.key_id, bob + 1, LATER, an_entry())
    assert store.api_keys.revoke(record.key_id, bob, LATER, an_entry())
    assert not store.api_keys.revoke(record.key_id, bob, LATER + timedelta(1), an_entry())

    found = store.api_keys.find_for_verification(key.digest)
    assert found is not None
    assert found.revoked_at == LATER


def test_the_list_holds_all_keys_newest_first(store: Store, bob: int) -> None:
    """The list of a user holds dead keys too, and nobody else's."""
    eve = store.users.add(a_user("eve"), an_entry()).user_id
    store.api_keys.add(a_key(eve), an_entry())
    made = [store.api_keys.add(a_key(bob), an_entry()).key_id for _ in range(3)]
    store.api_keys.revoke(made[1], bob, NOW, an_entry())

    assert [record.key_id for record in store.api_keys.list_of_user(bob)] == made[::-1]


def test_the_last_use_moves_forward_only(store: Store, bob: int) -> None:
    """An older use never overwrites a newer one, and a use bumps no revision and leaves no audit row."""
    record = store.api_keys.add(a_key(bob), an_entry())
    revision = store.installation.revision()
    newer = LastUse(LATER, "10.0.0.2", "GET /b", "b")

    store.api_keys.record_use({record.key_id: KeyUsage(LastUse(NOW, "10.0.0.1", "GET /a", "a"), 1)})
    store.api_keys.record_use({record.key_id: KeyUsage(newer, 1)})
    store.api_keys.record_use({record.key_id: KeyUsage(LastUse(NOW, "10.0.0.3", "GET /c", "c"), 1)})

    found = store.api_keys.find_of_user(record.key_id, bob)
    assert found is not None
    assert found.last_use == newer
    assert store.installation.revision() == revision == len(store.audit_log.list_after())


def test_a_use_of_any_length_is_written(store: Store, bob: int) -> None:
    """Long or strange texts of a use are cut to what is kept; unknown keys are passed over."""
    record = store.api_keys.add(a_key(bob), an_entry())
    strange = "\x00" + "é" * 1000

    store.api_keys.record_use(
        {
            record.key_id: KeyUsage(LastUse(NOW, strange, strange, strange), 1),
            10**6: KeyUsage(LastUse(NOW, None, None, None), 1),
        }
    )

    found = store.api_keys.find_of_user(record.key_id, bob)
    assert found is not None
    assert found.last_use == LastUse(NOW, "é" * 64, "é" * 255, "é" * 255)
    store.api_keys.record_use({})


def test_uses_add_up_by_the_hour(store: Store, bob: int) -> None:
    """Uses of one hour are one number, however often they are written."""
    record = store.api_keys.add(a_key(bob), an_entry())
    hour = int(NOW.timestamp()) // 3600

    for at, uses in ((NOW, 3), (NOW, 4), (NOW + timedelta(hours=1), 5)):
        store.api_keys.record_use({record.key_id: KeyUsage(LastUse(at, None, None, None), uses)})

    assert store.api_keys.count_uses(bob, since_hour=hour) == {record.key_id: 12}
    assert store.api_keys.count_uses(bob, since_hour=hour + 1) == {record.key_id: 5}


def test_times_are_kept_to_the_millisecond(store: Store, bob: int) -> None:
    """An expiry is never stored later than it was given."""
    expires_at = NOW + timedelta(microseconds=1_999)

    record = store.api_keys.add(a_key(bob, expires_at=expires_at), an_entry())

    assert record.expires_at == NOW + timedelta(milliseconds=1)


def test_scopes_are_a_set(store: Store, bob: int, engine: Engine) -> None:
    """Stored scopes are read as a set; an empty one is not the same as none."""
    record = store.api_keys.add(a_key(bob), an_entry())
    for stored, expected in (('["a","b"]', frozenset("ab")), ("[]", frozenset())):
        with engine.begin() as connection:
            connection.execute(text("UPDATE api_key SET scopes = :scopes"), {"scopes": stored})

        found = store.api_keys.find_for_token(record.key_id)

        assert found is not None
        assert found.restrictions.scopes == expected
