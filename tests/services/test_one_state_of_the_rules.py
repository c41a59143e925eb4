"""Which scopes there are and who may hold them is read as one state, whatever changes meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.errors import OAuthRefused
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from tests.apis import covered, new_group, register, say_anew, scopes_of, token_for
from tests.people import HERE, add_person, person
from tests.services.interruptions import interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from tests.conftest import Opener

MAX_STATEMENTS = 60


class World:
    """An API, two nodes, and a person who may hold `orders:read` alone, whatever happens."""

    def __init__(self, services: Services, node: Services, admin: Principal) -> None:
        self.services, self.node, self.admin = services, node, admin
        self.user_id = add_person(services).user_id
        self.bob = person(services)
        self.groups = [new_group(services, admin, name) for name in ("one", "two")]
        self.api = register(services, "orders", [self.groups[0]])
        self.key = services.keys.create(self.bob, HERE, NewKey()).secret
        self.number = 0

    def register_guarded_scope(self) -> None:
        """Give the API one more scope, which is for a group."""
        self.number += 1
        new = [
            ScopeToRegister(f"orders:new{number}", None, [self.groups[0]]) for number in range(self.number)
        ]
        say_anew(self.services, self.admin, self.api, [*scopes_of("orders", [self.groups[0]]), *new])

    def exchange_guards(self) -> None:
        """Let another group hold the guarded scope, then let the person join the one that held it."""
        say_anew(self.services, self.admin, self.api, scopes_of("orders", [self.groups[1]]))
        self.services.groups.add_member(self.admin, self.groups[0], HERE, iamid="bim", userid="bob")

    def reset(self) -> None:
        """Be again as at the beginning, on a node that remembers nothing."""
        for member in self.services.groups.list_members(self.admin, self.groups[0]):
            self.services.groups.remove_member(self.admin, self.groups[0], member.membership_id, HERE)
        say_anew(self.services, self.admin, self.api, scopes_of("orders", [self.groups[0]]))
        self.node.verification.freshness.ensure()
        self.node.verification.freshness.changes.tell(None)


CHANGES = [World.register_guarded_scope, World.exchange_guards]


@pytest.fixture
def world(services: Services, reopen: Opener, admin: Principal) -> World:
    return World(services, reopen(), admin)


def looked_up_key(world: World) -> object:
    return covered(world.node, world.key, "orders")


def looked_up_token(world: World) -> object:
    return covered(world.node, token_for(world.services, world.key, "orders", "orders:read"), "orders")


def second_token_of_a_known_key(world: World) -> object:
    covered(world.node, world.key, "orders")
    world.node.verification.audiences.forget()
    return looked_up_token(world)


def granted_token(world: World) -> object:
    try:
        return covered(world.services, token_for(world.node, world.key, "orders"), "orders")
    except OAuthRefused as refused:
        return refused.code.value


def granted_scopes(world: World) -> object:
    for scope in ("orders:write", "orders:new0"):
        try:
            token_for(world.node, world.key, "orders", scope)
        except OAuthRefused:
            continue
        return frozenset({scope})
    return frozenset()


def offered_scopes(world: World) -> object:
    names = (
        resource.scope_names
        for resource in world.node.apis.list_grantable(world.user_id)
        if resource.resource_id == world.api.resource_id
    )
    return frozenset().union(*names)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize(
    "ask",
    [
        looked_up_key,
        second_token_of_a_known_key,
        granted_token,
        granted_scopes,
        offered_scopes,
    ],
    ids=lambda ask: ask.__name__,
)
def test_fault_a3_no_mixture_of_rules_is_wider_than_both(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[World], object],
    change: Callable[[World], None],
) -> None:
    """Whenever the rules change during a look-up or a grant, it covers nothing that neither state allows."""

    def act() -> None:
        change(world)
        world.node.verification.freshness.ensure()  # As the next request does, which sees it.

    for number in range(1, MAX_STATEMENTS):
        world.reset()
        with interrupted(world.node, monkeypatch, number, act) as interruption:
            found = ask(world)
        assert found in ({"orders:read"}, frozenset()), (number, found)
        if not interruption.has_happened:
            assert number > 2, "nothing was asked"
            return
    pytest.fail("it asks without end")
