"""Devices that wait, as rows: bounded, each code once, and forgotten when they are over."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from keyturn.core.device_logins import DeviceLogin
from keyturn.errors import Conflict, CredentialRefused
from keyturn.store import Store
from keyturn.store.database.schema import metadata
from keyturn.store.oauth.device_logins import DeviceLoginToAdd
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, a_key, a_session, an_entry, in_session

LIFE = timedelta(minutes=10)
ROUNDS = 20

_numbers = itertools.count(1)


def a_device(**changed: Any) -> DeviceLoginToAdd:
    values: dict[str, Any] = {
        "digest": next(_numbers).to_bytes(32),
        "user_code_digest": next(_numbers).to_bytes(32),
        "client_id": "keyturn on laptop",
        "scopes": None,
        "address": "192.0.2.7",
        "network": "192.0.2.0/24",
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
        is_denied=False,
        key_expires_at=None,
        session_id=None,
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


def is_waiting(store: Store, device: DeviceLoginToAdd) -> bool:
    return store.device_logins.find_waiting(device.user_code_digest, device.created_at) is not None


@pytest.mark.parametrize("flood", ["2001:db8:1::/48", None])
def test_no_network_takes_all_places(store: Store, flood: str | None) -> None:
    """Who comes from elsewhere finds a place, until both have as many; what came last gives way first."""
    flooding = [
        a_device(network=flood, created_at=NOW + timedelta(seconds=number), expires_at=NOW + 2 * LIFE)
        for number in range(5)
    ]
    assert all(begin(store, one, at_most=5) for one in flooding)
    late = {"created_at": NOW + timedelta(seconds=9), "expires_at": NOW + 2 * LIFE}
    assert not begin(store, a_device(network=flood, **late), at_most=5)

    others = [a_device(**late) for _ in range(3)]

    assert [begin(store, one, at_most=5) for one in others] == [True, True, False]
    assert [is_waiting(store, one) for one in flooding] == [True, True, True, False, False]
    assert all(is_waiting(store, one) for one in others[:2])
    assert begin(store, a_device(network="198.51.100.0/24", **late), at_most=5)
    assert count(store) == 5


def test_places_go_round_in_the_end(store: Store) -> None:
    """Where every network has one place, the next one waits: nobody is driven out by their equal."""
    devices = [a_device(network=f"192.0.{number}.0/24") for number in range(4)]
    assert [begin(store, one, at_most=3) for one in devices] == [True, True, True, False]


def test_what_was_decided_keeps_its_place(store: Store, bob: int) -> None:
    """A device that a person has approved or refused is told so, however many come after it."""
    first, second, *others = devices = [a_device(network="2001:db8:1::/48") for _ in range(4)]
    for one in devices:
        begin(store, one)
    assert store.device_logins.approve(
        first.user_code_digest, a_session_of(store, bob), None, NOW, an_entry()
    )
    assert store.device_logins.deny(second.user_code_digest, NOW, an_entry())

    assert begin(store, a_device(), at_most=2)
    assert not begin(store, a_device(network="198.51.100.0/24"), at_most=1)

    assert sorted(is_waiting(store, one) for one in others) == [False, True]

    assert store.device_logins.take(first.digest, a_key(bob), NOW, an_entry()) is not None
    found = store.device_logins.find_by_device_code(second.digest)
    assert found is not None
    assert found.is_denied


def test_what_was_decided_takes_no_place(store: Store, bob: int) -> None:
    """However many of their own devices somebody decides about, others find as many places as before."""
    session = a_session_of(store, bob)
    for number in range(6):
        one = a_device(network="2001:db8:1::/48")
        assert begin(store, one, at_most=3)
        if number % 2:
            assert store.device_logins.deny(one.user_code_digest, NOW, an_entry())
        else:
            assert store.device_logins.approve(one.user_code_digest, session, None, NOW, an_entry())

    assert all(begin(store, a_device(network=f"198.51.{number}.0/24"), at_most=3) for number in range(3))


def test_who_approves_while_a_newcomer_makes_room_is_believed(store: Store, bob: int) -> None:
    """A device is approved and gives way at the same moment: never both."""
    session = a_session_of(store, bob)
    for _ in range(ROUNDS):
        at = NOW + next(_numbers) * 2 * LIFE
        ends = {"expires_at": at + LIFE}
        for number in range(5):
            last = a_device(network="2001:db8:1::/48", created_at=at + timedelta(seconds=number), **ends)
            assert begin(store, last, at_most=5)
        newcomer = a_device(created_at=at + timedelta(seconds=9), **ends)

        def act(number: int, last: DeviceLoginToAdd = last, newcomer: DeviceLoginToAdd = newcomer) -> object:
            if number == 0:
                return begin(store, newcomer, at_most=5)
            return store.device_logins.approve(
                last.user_code_digest, session, None, newcomer.created_at, an_entry()
            )

        _, is_approved = all_at_once(2, act)

        assert is_approved is (store.device_logins.find_by_device_code(last.digest) is not None)


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
    assert (found.session_id, found.key_expires_at) == (session, end)

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
    assert store.api_keys.list_of_user(bob).items == ()


@pytest.mark.parametrize("end", ["sign out", "disable"])
def test_a_wait_ends_with_what_it_stands_on(store: Store, bob: int, end: str) -> None:
    """A device that asks when its session is over, or its person disabled, gets no key later either."""
    new = a_device()
    begin(store, new)
    session = a_session_of(store, bob)
    store.device_logins.approve(new.user_code_digest, session, None, NOW, an_entry())
    by_approver = an_entry(actor=in_session(store, session))
    column, table = ("ended_at", "session") if end == "sign out" else ("disabled_at", "user_account")
    set_moment(store, table, column, NOW)
    with pytest.raises(CredentialRefused):
        store.device_logins.take(new.digest, a_key(bob), NOW, by_approver)
    store.device_logins.withdraw(new.digest)
    set_moment(store, table, column, None)

    assert store.device_logins.take(new.digest, a_key(bob), NOW, by_approver) is None

    assert store.api_keys.list_of_user(bob).items == ()
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
