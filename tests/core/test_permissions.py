"""The permissions: one table, which says of each whether it allows anything here."""

import pytest
from msgspec.structs import replace

from keyturn.core.permissions import (
    ADMINISTRATION,
    ALLOWS,
    DEFAULT_PERMISSIONS,
    SEE_CONNECTION,
    SEE_PROJECTS,
    Permission,
)
from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.errors import PermissionMissing

EVERYTHING = Principal(
    7,
    "ada",
    "bim",
    None,
    frozenset(Permission),
    None,
    AuthMethod.API_KEY,
    42,
    project_id=None,
    withheld=frozenset(),
    jkt=None,
    requests=None,
    impersonator=None,
    credential=PresentedCredential(None),
)


def test_what_is_named_is_a_permission() -> None:
    """No table names a permission that does not exist, and each is spelled as it is called."""
    for table in (ALLOWS, ADMINISTRATION, SEE_CONNECTION, SEE_PROJECTS, DEFAULT_PERMISSIONS):
        assert set(table) <= set(Permission)
    assert all(permission.name == permission.value for permission in Permission)
    assert {*ADMINISTRATION, *SEE_CONNECTION, *SEE_PROJECTS, *DEFAULT_PERMISSIONS} <= set(ALLOWS)


def test_a_project_carries_nothing_that_manages() -> None:
    """A key of a project sees connections if its owner may, and carries no permission besides (A3)."""
    linked = replace(EVERYTHING, project_id=1)
    assert not linked.may(*Permission)
    for permission in Permission:
        owner = replace(linked, permissions=frozenset({permission}))
        assert may_see_connections(owner) is (permission in SEE_CONNECTION)
        assert may_see_connections(replace(owner, project_id=None)) is (permission in SEE_CONNECTION)


def may_see_connections(principal: Principal) -> bool:
    try:
        principal.check_may_see_connections()
    except PermissionMissing:
        return False
    return True


@pytest.mark.parametrize("scopes", [{"plugin:trino"}, {"USER_ADMIN"}, {"*"}, {""}])
def test_a_scope_carries_no_permission(scopes: set[str]) -> None:
    """Whatever a credential is narrowed to, none of its owner's permissions comes with it (A3)."""
    for project_id in (None, 1):
        narrowed = replace(EVERYTHING, scopes=frozenset(scopes), project_id=project_id)
        assert not narrowed.may(*Permission)
        assert not may_see_connections(narrowed)
