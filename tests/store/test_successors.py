"""Owners who leave at the same time and name each other as successors: one leaves, one hears why not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from keyturn.core.audit import AuditEntry
from keyturn.core.people import ServiceOwner, UserKind
from keyturn.core.records import ApiKeyRecord
from keyturn.errors import CredentialRefused, InvalidState
from keyturn.store.ownership.control import Successor
from keyturn.store.people.groups import GroupFields
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, a_key, a_user, an_entry, grant_all, with_key

if TYPE_CHECKING:
    from keyturn.store import Store

ROUNDS = 10

_numbers = itertools.count(1)


def a_name() -> str:
    return f"one {next(_numbers)}"


def new_owner(store: Store, kind: str) -> ServiceOwner:
    """Make a person or a group that owns a service account."""
    if kind == "person":
        owner = ServiceOwner(store.users.add(a_user(a_name()), an_entry()).user_id)
    else:
        made = store.groups.add("bim", GroupFields(a_name(), None, None), NOW, an_entry())
        owner = ServiceOwner(group_id=made.group_id)
    new_service(store, owner)
    return owner


def new_service(store: Store, owner: ServiceOwner) -> int:
    robot = a_user(a_name(), kind=UserKind.SERVICE, owner=owner, password_hash=None)
    return store.users.add(robot, an_entry()).user_id


@dataclass(frozen=True)
class Leaving:
    """An owner who is disabled or deleted, and the successor."""

    owner: ServiceOwner
    to: ServiceOwner
    ends: str

    @property
    def successor(self) -> Successor:
        return Successor(self.to, grant_all)

    def act(self, store: Store) -> bool:
        audit = an_entry(target_id="1")
        if self.owner.group_id is not None:
            return store.groups.delete(self.owner.group_id, NOW, audit, successor=self.successor)
        assert self.owner.user_id is not None
        if self.ends == "disable":
            return store.users.set_disabled(self.owner.user_id, NOW, NOW, audit, successor=self.successor)
        return store.users.delete(self.owner.user_id, NOW, audit, successor=self.successor)


@pytest.mark.parametrize(
    ("kinds", "ends"),
    [
        (("person", "person"), "delete"),
        (("person", "person"), "disable"),
        (("group", "group"), "delete"),
        (("person", "group"), "delete"),
    ],
)
def test_successors_of_each_other_do_not_wait_for_ever(
    store: Store, kinds: tuple[str, str], ends: str
) -> None:
    """Of two owners that name each other, one leaves; the other's successor is gone, and it is told so."""
    store.users.add(a_user(permissions=frozenset({"APPLICATION_ADMIN", "USER_ADMIN"})), an_entry())
    for _ in range(ROUNDS):
        one, other = (new_owner(store, kind) for kind in kinds)
        leaving = [Leaving(one, other, ends), Leaving(other, one, ends)]

        outcomes = all_at_once(2, lambda number, both=leaving: both[number].act(store))  # type: ignore[misc]

        assert [one for one in outcomes if one is True] == [True]
        assert [type(one) for one in outcomes if one is not True] == [InvalidState]


def test_a_service_and_its_owner_do_not_wait_for_each_other(store: Store) -> None:
    """A service account that is ended for its owner, while that one is ended, leaves nobody waiting."""
    store.users.add(a_user(permissions=frozenset({"APPLICATION_ADMIN", "USER_ADMIN"})), an_entry())
    robots: list[int] = []
    for _ in range(ROUNDS):
        owner = new_owner(store, "person")
        robots.append(new_service(store, owner))
        leaving = [Leaving(ServiceOwner(robots[-1]), owner, "delete"), Leaving(owner, owner, "delete")]

        def act(number: int, both: list[Leaving] = leaving) -> bool:
            if number == 0:
                return both[0].act(store)
            assert both[1].owner.user_id is not None
            return store.users.delete(both[1].owner.user_id, NOW, an_entry(target_id="1"))

        service_ended, owner_ended = all_at_once(2, act)

        assert owner_ended is True
        assert service_ended in {True, False} or isinstance(service_ended, InvalidState)
    assert not any(store.users.find_by_id(robot) for robot in robots)


def test_a_key_that_makes_keys_does_not_wait_for_its_owner_s_end(store: Store) -> None:
    """A key makes another while its owner is deleted: the owner goes with both, or before the second."""
    store.users.add(a_user(permissions=frozenset({"APPLICATION_ADMIN", "USER_ADMIN"})), an_entry())
    for _ in range(ROUNDS):
        user_id = store.users.add(a_user(a_name()), an_entry()).user_id
        maker = store.api_keys.add(a_key(user_id), an_entry()).key_id
        by_key = an_entry(actor=with_key(store, maker))

        def act(number: int, user_id: int = user_id, by_key: AuditEntry = by_key) -> object:
            if number == 0:
                return store.api_keys.add(a_key(user_id), by_key)
            return store.users.delete(user_id, NOW, an_entry(target_id="1"))

        made, is_deleted = all_at_once(2, act)

        assert is_deleted is True
        assert isinstance(made, (ApiKeyRecord, CredentialRefused, InvalidState))
        assert store.api_keys.list_of_user(user_id) == []
