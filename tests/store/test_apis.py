"""Registered APIs in the store, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from keyturn.core.apis import ResourceScope
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.permissions import Permission
from keyturn.errors import Conflict, NotFound
from keyturn.store.apis import ApiFields, ApiSearch
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import leave, new_group
from tests.people import HERE, add_person, holder

if TYPE_CHECKING:
    from keyturn.composition import Services
    from keyturn.core.principal import Principal

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
FIELDS = ApiFields(
    name="Orders",
    identifier="https://orders.example.com",
    description="All\norders",
    scopes=(
        ResourceScope("orders:read", "Read", is_for_everyone=True, group_ids=frozenset()),
        ResourceScope("orders:write", None, is_for_everyone=False, group_ids=frozenset()),
    ),
)


@pytest.fixture
def admin(services: Services) -> Principal:
    return holder(services, "ada", *Permission)


def audit(action: AuditAction, target: str | None = None) -> AuditEntry:
    return AuditEntry(NOW, action, COMMAND_LINE, Target.RESOURCE, target)


def add(services: Services, fields: ApiFields = FIELDS) -> int:
    return services.store.apis.add(fields, NOW, audit(AuditAction.RESOURCE_CREATED))


def update(services: Services, number: int, fields: ApiFields) -> bool:
    return services.store.apis.update(number, fields, NOW, audit(AuditAction.RESOURCE_UPDATED, str(number)))


def test_what_is_stored_is_read_again(services: Services) -> None:
    """All that is said of an API comes back, its scopes in alphabetical order."""
    number = add(services, replace(FIELDS, scopes=FIELDS.scopes[::-1]))
    (found,) = services.store.apis.search(ApiSearch())
    assert (found.resource_id, found.created_at, found.updated_at) == (number, NOW, NOW)
    assert ApiFields(found.name, found.identifier, found.description, found.scopes) == FIELDS
    assert found.scope_names == {"orders:read", "orders:write"}


@pytest.mark.parametrize("same", ["name", "identifier", "scopes"])
def test_twins_are_refused_whole(services: Services, same: str) -> None:
    """A taken name, identifier or scope is a conflict, and nothing of the other is stored or told of."""
    add(services)
    other = ApiFields("Other", "urn:other", None, (replace(FIELDS.scopes[0], name="other:read"),))
    number = add(services, other)
    before = services.store.installation.revision(), services.store.apis.search(ApiSearch())
    twin = replace(replace(other, name="Third", identifier="urn:third"), **{same: getattr(FIELDS, same)})
    with pytest.raises(Conflict):
        add(services, twin)
    with pytest.raises(Conflict):
        update(services, number, twin)
    assert (services.store.installation.revision(), services.store.apis.search(ApiSearch())) == before


def test_a_group_that_is_gone_holds_nothing(services: Services, admin: Principal) -> None:
    """To name it is refused whole; and with a group go its rights, not the scope."""
    group = new_group(services, admin)
    held = replace(FIELDS, scopes=(replace(FIELDS.scopes[1], group_ids=frozenset({group})),))
    number = add(services, held)
    assert services.store.apis.search(ApiSearch())[0].scopes[0].group_ids == {group}
    before = services.store.installation.revision()
    gone = replace(held, scopes=(replace(held.scopes[0], group_ids=frozenset({group, 987})),))
    with pytest.raises(NotFound):
        update(services, number, gone)
    assert services.store.installation.revision() == before
    services.groups.delete(admin, group, HERE)
    (found,) = services.store.apis.search(ApiSearch())
    assert (found.scopes[0].is_for_everyone, found.scopes[0].group_ids) == (False, frozenset())


def test_scopes_change_places(services: Services) -> None:
    """An API is said anew as a whole: what it had and has no more is free for another."""
    number = add(services)
    only_read = replace(FIELDS, scopes=FIELDS.scopes[:1])
    assert update(services, number, only_read)
    other = add(services, ApiFields("Other", "urn:other", None, FIELDS.scopes[1:]))
    found = {one.resource_id: one.scope_names for one in services.store.apis.search(ApiSearch())}
    assert found == {number: {"orders:read"}, other: {"orders:write"}}
    assert not update(services, 987, only_read)
    delete = audit(AuditAction.RESOURCE_DELETED, str(number))
    assert services.store.apis.delete(number, delete)
    assert not services.store.apis.delete(number, delete)
    assert [one.resource_id for one in services.store.apis.search(ApiSearch())] == [other]


def test_the_groups_of_a_user_are_those_of_now(services: Services, admin: Principal) -> None:
    """Coming and going counts at once."""
    user = add_person(services)
    ask = services.store.apis.groups_of
    assert ask(user.user_id) == frozenset()
    group = new_group(services, admin, "writers", "bob")
    assert ask(user.user_id) == {group}
    leave(services, admin, group, user.user_id)
    assert ask(user.user_id) == frozenset()
