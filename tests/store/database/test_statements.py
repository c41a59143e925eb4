"""A prepared question is answered as SQLAlchemy answers it, by name and type, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.store import Store
from keyturn.store.database.statements import CompiledQuery
from keyturn.store.keys import api_keys
from keyturn.store.people import (
    groups,
    projects,
    users,
)
from keyturn.store.people import (
    rows as user_rows,
)
from keyturn.store.people.groups import GroupFields
from tests.store.rows import NOW, a_key, a_user, an_entry, giving, grant_all

if TYPE_CHECKING:
    from collections.abc import Iterator

PARAMETERS = {
    "user_id": 1, "project_id": 1, "group_id": 1, "viewer": 1, "iamid": "bim", "name": "bob", "first": 1,
    "last": 9, "profile_id": 1, "size": 9, "skipped": 0,
}  # fmt: skip

RAW = {"digest", "key_id"}
"""What is read as the driver gives it: the path of a million verifications."""


def prepared() -> Iterator[CompiledQuery]:
    """Give every question that is read by name."""
    for module in (user_rows, users, api_keys, groups, projects):
        for value in vars(module).values():
            for question in value if isinstance(value, tuple) else (value,):
                if isinstance(question, CompiledQuery) and not RAW & {*question.names}:
                    yield question


@pytest.fixture
def filled_store(store: Store) -> Store:
    """A store with one of each."""
    user_id = store.users.add(a_user(), an_entry()).user_id
    other_id = store.users.add(a_user("alice"), an_entry()).user_id
    store.users.change_attributes(user_id, giving("team", "x"), NOW, an_entry(target_id="1"))
    group_id = store.groups.add("bim", GroupFields("one", None, None), NOW, an_entry()).group_id
    store.groups.change_attributes(group_id, giving("team", "y"), NOW, an_entry(target_id="1"))
    store.groups.add_member(group_id, user_id, NOW, an_entry(target_id="1"), allow=grant_all)
    project_id = store.projects.add("one", None, user_id, NOW, an_entry()).project_id
    store.projects.set_member(project_id, other_id, NOW, an_entry(target_id="1"), is_owner=False)
    store.connections.add("there", {"technology": "Trino"}, user_id, an_entry())
    store.projects.add_connection(project_id, "there", an_entry(target_id="1"))
    store.api_keys.add(a_key(user_id), an_entry())
    return store


def test_fault_h2_prepared_questions_are_answered_alike(filled_store: Store) -> None:
    """Each column has the value and the type that the ordinary way gives."""
    database, asked = filled_store._database, 0
    for question in prepared():
        given = {name: PARAMETERS[name] for name in question.select.compile().params if name in PARAMETERS}
        with database.reading() as connection:
            expected = connection.execute(question.select, given).all()
        found = database.read(question, **given)
        assert [tuple(row) for row in found] == [tuple(row) for row in expected]
        assert [list(map(type, row)) for row in found] == [list(map(type, row)) for row in expected]
        assert expected
        asked += 1
    assert asked > 12
