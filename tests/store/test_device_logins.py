"""Devices that wait, as rows: bounded, each code once, and forgotten when they are over."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from keyturn.errors import Conflict
from keyturn.store import Store
from keyturn.store.device_logins import DeviceLogin, DeviceLoginToAdd
from keyturn.store.schema import metadata
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, a_key, a_session, an_entry

LIFE = timedelta(minutes=10)

_numbers = itertools.count(1)


def a_device(**changed: Any) -> DeviceLoginToAdd:
    values: dict[str, Any] = {
        "digest": next(_numbers).to_bytes(32),
        "user_code_digest": next(_numbers).to_bytes(32),
        "client_id": "keyturn on laptop",
        "scopes": None,
        "address": "192.0.2.7",
        "created_at": NOW,
        "expires_at": NOW + LIFE,
    }
    return DeviceLoginToAdd(**(values | changed))


def begin(store: Store, new: DeviceLoginToAdd, at_most: int = 100) -> bool:
    return store.device_logins.begin(new, forget_before=new.created_at - LIFE, at_most=at_most)


def a_session_of(store: Store, user_id: int, **changed: Any) -> int:
    session = a_session(user_id, **changed)
    number = store.logins.record_login(session, an_entry(), checked="hash", rehashed=None)
    assert number is not None
    return number


def count(store: Store) -> int:
    with store._database.reading() as connection:
        number: int = connection.execute(text("SELECT count(*) FROM device_login")).scalar_one()
    return number


def set_moment(store: Store, table: str, column: str, value: datetime | None) -> None:
    """Write a time as nothing but these tests does: each change of the store would end sessions too."""
    with store._database.writing() as connection:
        connection.execute(update(metadata.tables[table]).values({column: value}))


def test_a_device_is_stored_whole(store: Store, bob: int) -> None:
    """What was given of a device is what is found, by either code, until somebody decides."""
    new = a_device(client_id="näme", scopes=["a", "b"])
    assert begin(store, new)

    found = store.device_logins.find_by_device_code(new.digest)

    assert found == DeviceLogin(
        client_id="näme",
        scopes=frozenset("ab"),
        address="192.0.2.7",
        created_at=NOW,
        expires_at=NOW + LIFE,
        polled_at=None,
        is_denied=False,
        key_expires_at=None,
        user_id=None,
        userid=None,
    )
    assert store.device_logins.find_waiting(new.user_code_digest, NOW) == found
    assert store.device_logins.find_waiting(new.digest, NOW) is None
    assert store.device_logins.find_by_device_code(new.user_code_digest) is None


def test_a_bounded_number_waits(store: Store) -> None:
    """So many wait and no more; what is over makes room at its instant, and is forgotten a while later."""
    assert [begin(store, a_device(), at_most=3) for _ in range(4)] == [True, True, True, False]
    later = NOW + LIFE
    assert begin(store, a_device(created_at=later, expires_at=later + LIFE), at_most=3)
    assert count(store) == 4, "a device that asks late is told that it is over"
    later += LIFE + timedelta(milliseconds=1)
    assert begin(store, a_device(created_at=later, expires_at=later + LIFE), at_most=3)
    assert count(store) == 2


def test_a_code_is_one_device_s(store: Store) -> None:
    """Neither code is given to a second device."""
    new = a_device()
    assert begin(store, new)
    for twin in (a_device(digest=new.digest), a_device(user_code_digest=new.user_code_digest)):
        with pytest.raises(Conflict):
            begin(store, twin)


def test_a_key_is_made_once_and_for_who_approved(store: Store, bob: int) -> None:
    """Many fetch one approved device's key at once: one gets it, of the person who approved (R10)."""
    new = a_device()
    begin(store, new)
    session = a_session_of(store, bob)
    end = NOW + timedelta(days=7)
    assert store.device_logins.approve(new.user_code_digest, session, end, NOW, an_entry())
    found = store.device_logins.find_by_device_code(new.digest)
    assert found is not None
    assert (found.user_id, found.userid, found.key_expires_at) == (bob, "bob", end)

    made = all_at_once(50, lambda _: store.device_logins.take(new.digest, a_key(bob), NOW, an_entry()))

    assert sum(one is not None for one in made) == 1
    assert not [one for one in made if isinstance(one, Exception)]
    assert len(store.api_keys.list_of_user(bob)) == 1
    assert count(store) == 0


def test_what_nobody_approved_is_not_taken(store: Store, bob: int) -> None:
    """No key is made for a device that waits, was refused, is over, or for another person than approved."""
    session = a_session_of(store, bob)
    devices = [a_device() for _ in range(4)]
    waiting, refused, over, another = devices
    for new in devices:
        begin(store, new)
    assert store.device_logins.deny(refused.user_code_digest, NOW, an_entry())
    for new in (over, another):
        assert store.device_logins.approve(new.user_code_digest, session, None, NOW, an_entry())
    assert not store.device_logins.approve(refused.user_code_digest, session, None, NOW, an_entry())

    for new, user_id, at in (
        (waiting, bob, NOW),
        (refused, bob, NOW),
        (over, bob, NOW + LIFE),
        (another, bob + 1, NOW),
    ):
        assert store.device_logins.take(new.digest, a_key(user_id), at, an_entry()) is None
    assert store.api_keys.list_of_user(bob) == []


@pytest.mark.parametrize("end", ["sign out", "disable"])
def test_a_wait_ends_with_what_it_stands_on(store: Store, bob: int, end: str) -> None:
    """A device that asks when its session is over, or its person disabled, gets no key later either."""
    new = a_device()
    begin(store, new)
    store.device_logins.approve(new.user_code_digest, a_session_of(store, bob), None, NOW, an_entry())
    column, table = ("ended_at", "session") if end == "sign out" else ("disabled_at", "user_account")
    set_moment(store, table, column, NOW)
    assert store.device_logins.take(new.digest, a_key(bob), NOW, an_entry()) is None
    set_moment(store, table, column, None)

    assert store.device_logins.take(new.digest, a_key(bob), NOW, an_entry()) is None

    assert store.api_keys.list_of_user(bob) == []
    assert count(store) == 0


def test_a_question_before_the_decision_ends_nothing(store: Store, bob: int) -> None:
    """A device that is asked for while nobody has decided goes on waiting."""
    new = a_device()
    begin(store, new)
    assert store.device_logins.take(new.digest, a_key(bob), NOW, an_entry()) is None
    assert store.device_logins.find_waiting(new.user_code_digest, NOW) is not None


def test_devices_go_with_the_account(store: Store, bob: int) -> None:
    """When a person is deleted, nothing is left of what they approved."""
    new = a_device()
    begin(store, new)
    store.device_logins.approve(new.user_code_digest, a_session_of(store, bob), None, NOW, an_entry())
    with store._database.writing() as connection:
        connection.execute(text("DELETE FROM user_account"))
    assert count(store) == 0
