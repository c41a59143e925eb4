"""Several keys change while their uses are noted: one of the two waits, neither for ever."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from keyturn.core.people import ServiceOwner
from keyturn.core.records import KeyCaller, KeyUsage, LastUse
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, a_key, a_user, an_entry
from tests.store.test_successors import a_name, new_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.store import Store

ROUNDS = 5
KEYS = 60

_numbers = itertools.count(1)


def add_keys(store: Store, *owners: int, project_id: int | None = None) -> list[int]:
    """Give the owners keys in turn, and let the rows stand in the table in the reverse order of their ids."""
    turns = itertools.islice(itertools.cycle(owners), KEYS)
    keys = [store.api_keys.add(a_key(one, project_id=project_id), an_entry()).key_id for one in turns]
    with store._database.writing() as connection:
        for key_id in reversed(keys):
            digest = b"moved" + next(_numbers).to_bytes(27)
            connection.execute(
                text("UPDATE api_key SET digest = :digest WHERE id = :id"), {"digest": digest, "id": key_id}
            )
    return keys


def a_person(store: Store) -> tuple[list[int], Callable[[], bool]]:
    person = store.users.add(a_user(a_name()), an_entry()).user_id
    keys = add_keys(store, person)
    return keys, lambda: store.users.delete(person, NOW, an_entry(target_id=str(person)))


def a_person_with_services(store: Store) -> tuple[list[int], Callable[[], bool]]:
    person = store.users.add(a_user(a_name()), an_entry()).user_id
    services = [new_service(store, ServiceOwner(person)) for _ in range(2)]
    keys = add_keys(store, person, *services)
    return keys, lambda: store.users.delete(person, NOW, an_entry(target_id=str(person)))


def a_project(store: Store) -> tuple[list[int], Callable[[], bool]]:
    person = store.users.add(a_user(a_name()), an_entry()).user_id
    project = store.projects.add(a_name(), None, person, NOW, an_entry()).project_id
    keys = add_keys(store, person, project_id=project)
    return keys, lambda: store.projects.delete(project, NOW, an_entry(target_id=str(project)))


@pytest.mark.parametrize("make", [a_person, a_person_with_services, a_project])
def test_what_ends_keys_and_what_notes_their_uses_do_not_wait_for_each_other(
    store: Store, make: Callable[[Store], tuple[list[int], Callable[[], bool]]]
) -> None:
    """Keys end together while their uses are written, some older than what is known: both are done."""
    store.users.add(a_user(permissions=frozenset({"APPLICATION_ADMIN", "USER_ADMIN"})), an_entry())
    earlier, later = (
        KeyUsage(
            LastUse(at, "192.0.2.7", None, None), 1, 1, at, (KeyCaller(None, None, None, 1, 1, None, at, at),)
        )
        for at in (NOW, NOW + timedelta(hours=1))
    )
    for _ in range(ROUNDS):
        keys, end = make(store)
        store.api_keys.record_use(dict.fromkeys(keys[::2], later))
        uses = dict.fromkeys(keys, earlier)

        def act(number: int, end: Callable[[], bool] = end, uses: dict[int, KeyUsage] = uses) -> object:
            return store.api_keys.record_use(uses) if number == 0 else end()

        assert all_at_once(2, act) == [None, True]
