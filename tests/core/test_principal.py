"""The principal: whole, frozen, and allowed only what it holds."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.permissions import DEFAULT_PERMISSIONS, SEE_CONNECTION, Permission
from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.errors import PermissionMissing

PERMISSIONS = st.frozensets(st.sampled_from(Permission))


def holder_of(permissions: frozenset[str]) -> Principal:
    return Principal(
        user_id=7,
        userid="ada@example.org",
        iamid="bim",
        name=None,
        permissions=permissions,
        scopes=None,
        method=AuthMethod.API_KEY,
        key_id=42,
        project_id=None,
        withheld=frozenset(),
        jkt=None,
        requests=None,
        impersonator=None,
        credential=PresentedCredential(None),
    )


def test_a_principal_has_no_empty_form() -> None:
    """T19: every field must be given, so that no half-known caller can be made by leaving one out."""
    assert Principal.__struct_defaults__ == ()
    with pytest.raises(TypeError):
        Principal()  # type: ignore[call-arg]


def test_a_principal_holds_no_secret() -> None:
    """A principal says who calls; no field of it could hold a key, a token or a digest."""
    assert set(inspect.signature(Principal).parameters) == {
        *("user_id", "userid", "iamid", "name", "permissions", "scopes", "method", "key_id", "project_id"),
        *("withheld", "jkt", "credential", "requests", "impersonator"),
    }
    assert set(PresentedCredential.__struct_fields__) == {
        *("ends_at", "is_former_secret", "session_id", "jti", "issued_at", "epoch", "secret_number"),
    }


@pytest.mark.parametrize("name", ["user_id", "permissions", "scopes", "method"])
def test_a_principal_does_not_change(name: str) -> None:
    """Who is calling, and what they may, cannot be altered while the request is served."""
    principal = holder_of(frozenset())
    with pytest.raises(AttributeError, match="immutable"):
        setattr(principal, name, None)
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(principal, "is_admin", True)


@given(PERMISSIONS, PERMISSIONS)
def test_any_one_held_permission_is_enough(held: frozenset[Permission], asked: frozenset[Permission]) -> None:
    """A caller may do what asks for at least one permission that they hold, and nothing else."""
    principal = holder_of(frozenset(permission.value for permission in held))
    assert principal.may(*asked) is bool(held & asked)
    if held & asked:
        principal.check_may(*asked)
    else:
        with pytest.raises(PermissionMissing) as refusal:
            principal.check_may(*asked)
        assert set(refusal.value.any_of) == asked


def test_asking_for_nothing_is_a_no() -> None:
    """An empty list of permissions, which would be a mistake, allows nobody."""
    assert not holder_of(frozenset(Permission)).may()


@given(st.frozensets(st.text(max_size=12)))
def test_an_unknown_permission_opens_nothing(unknown: frozenset[str]) -> None:
    """A permission that means nothing here, in whatever case or spacing, grants none that does."""
    held = frozenset(unknown) - {permission.value for permission in Permission}
    assert not holder_of(held | {"user_admin", "USER_ADMIN ", "USER-ADMIN", ""}).may(*Permission)


@pytest.mark.parametrize("permission", Permission)
def test_no_permission_implies_another(permission: Permission) -> None:
    """Holding one permission, also the application's administration, is holding that one alone."""
    principal = holder_of(frozenset({permission.value}))
    assert [other for other in Permission if principal.may(other)] == [permission]


def test_the_message_names_what_is_missing() -> None:
    """The caller, who is known, is told which permissions would do."""
    with pytest.raises(PermissionMissing, match=r"^This needs the permission AUDIT or GOVERNANCE\.$"):
        holder_of(frozenset()).check_may(Permission.AUDIT, Permission.GOVERNANCE)


def test_new_users_may_little() -> None:
    """The default permissions open neither administration nor connections."""
    assert frozenset({"CREATE_PROJECT"}) == DEFAULT_PERMISSIONS
    assert not holder_of(DEFAULT_PERMISSIONS).may(*SEE_CONNECTION)
    assert not holder_of(DEFAULT_PERMISSIONS).may(Permission.USER_ADMIN, Permission.AUDIT)
