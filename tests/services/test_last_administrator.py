"""There is always somebody left who can administer (A5)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from keyturn.composition import Services
from keyturn.core.people import ServiceOwner, UserKind, UserRecord
from keyturn.core.permissions import ADMINISTRATION, Permission
from keyturn.core.principal import Principal
from keyturn.core.searches import UserSearch
from keyturn.errors import Conflict
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import (
    HERE,
    actions,
    add_holder,
    add_service_account,
    caller,
    holder,
    last_rows,
    new_key,
)
from tests.sizes import size
from tests.store.crowds import all_at_once

ROUNDS, MIXED_ROUNDS = size(12, full=50), size(4, full=10)
APPLICATION_ADMIN, USER_ADMIN = Permission.APPLICATION_ADMIN, Permission.USER_ADMIN


@dataclass(frozen=True)
class Way:
    """One way in which an administrator ceases to be one, and how they become one again."""

    leave: Callable[[Services, Principal, str], object]
    again: Callable[[Services, Principal, str], object]


def add_again(services: Services, _admin: Principal, userid: str) -> None:
    add_holder(services, userid, *ADMINISTRATION, Permission.AUDIT)


def give_again(services: Services, admin: Principal, userid: str) -> None:
    services.user_administration.set_permissions(admin, "bim", userid, ADMINISTRATION, HERE)


WAYS = {
    "demote": Way(
        lambda s, a, u: s.user_administration.set_permissions(a, "bim", u, [Permission.AUDIT], HERE),
        give_again,
    ),
    "take": Way(
        lambda s, a, u: s.user_administration.remove_permission(a, "bim", u, USER_ADMIN, HERE), give_again
    ),
    "disable": Way(
        lambda s, a, u: s.offboarding.set_disabled(a, "bim", u, HERE, disabled=True),
        lambda s, a, u: s.offboarding.set_disabled(a, "bim", u, HERE, disabled=False),
    ),
    "disable from the command line": Way(
        lambda s, _a, u: s.users.set_disabled(COMMAND_LINE, u, disabled=True),
        lambda s, _a, u: s.users.set_disabled(COMMAND_LINE, u, disabled=False),
    ),
    "delete": Way(lambda s, a, u: s.offboarding.delete(a, "bim", u, HERE), add_again),
}


def administrators(services: Services) -> list[UserRecord]:
    """Return the living people with USER_ADMIN."""
    found = services.store.users.search(UserSearch(is_disabled=False), size=1000).items
    return [user for user in found if USER_ADMIN in user.permissions and user.kind is UserKind.PERSON]


@pytest.fixture
def root(services: Services) -> Principal:
    """An administrator who may do what the others may."""
    return holder(services, "one", *ADMINISTRATION, Permission.AUDIT)


@pytest.fixture
def office(services: Services) -> Principal:
    """The installation's own account, which holds the same and is no person: both of the last two can go."""
    account = services.users.add(
        COMMAND_LINE, userid="office", name=None, permissions=Permission, kind=UserKind.SYSTEM
    )
    key = services.keys.create_for(account.user_id, COMMAND_LINE, NewKey())
    return caller(services, key.secret)


@pytest.mark.parametrize(
    ("way", "permission"),
    [each for each in itertools.product(WAYS, ADMINISTRATION) if each != ("take", APPLICATION_ADMIN)],
)
def test_the_last_one_stays(services: Services, root: Principal, way: str, permission: Permission) -> None:
    """Who alone holds a permission of administration cannot leave, and nothing is written (A5)."""
    other = ({*ADMINISTRATION} - {permission}).pop()
    add_holder(services, "two", other)
    robot_owner = ServiceOwner(root.user_id)
    add_service_account(services, root, robot_owner, "robot", ADMINISTRATION)
    key = new_key(services, root)
    before = actions(services)

    with pytest.raises(Conflict, match=permission):
        WAYS[way].leave(services, root, "one")

    assert actions(services) == before
    one = services.user_administration.get(root, "bim", "one")
    assert (one.permissions, one.is_disabled) == (root.permissions, False)
    assert [kept.key_id for kept in services.keys.list_of(root.user_id)] == [key.record.key_id]
    assert services.user_administration.get(root, "bim", "robot").owner == robot_owner


@pytest.mark.parametrize("way", WAYS)
def test_the_last_but_one_may_leave(services: Services, root: Principal, way: str) -> None:
    """While another living person holds the same, an administrator may go: a disabled one does not count."""
    add_holder(services, "two", *ADMINISTRATION)
    services.offboarding.set_disabled(root, "bim", "two", HERE, disabled=True)
    with pytest.raises(Conflict):
        WAYS[way].leave(services, root, "one")
    services.offboarding.set_disabled(root, "bim", "two", HERE, disabled=False)

    WAYS[way].leave(services, root, "one")

    assert [user.userid for user in administrators(services)] == ["two"]


@pytest.mark.sized
@pytest.mark.parametrize(("one", "two"), list(itertools.combinations_with_replacement(WAYS, 2)))
@pytest.mark.usefixtures("root")
def test_of_the_last_two_one_stays(services: Services, office: Principal, one: str, two: str) -> None:
    """When the last two leave at once, by whatever ways, exactly one may, every time (A5)."""
    add_holder(services, "two", *ADMINISTRATION)
    ways = (WAYS[one], WAYS[two])
    for round_ in range(ROUNDS if one == two else MIXED_ROUNDS):
        before = len(actions(services))
        outcomes = all_at_once(2, lambda number: ways[number].leave(services, office, ("one", "two")[number]))

        left = administrators(services)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [type(error) for error in errors] == [Conflict], (round_, errors)
        assert len(left) == 1, round_
        assert len(last_rows(services, before)) == 1, round_
        gone = ("one", "two").index("two" if left[0].userid == "one" else "one")
        assert not isinstance(outcomes[gone], BaseException)
        ways[gone].again(services, office, ("one", "two")[gone])
