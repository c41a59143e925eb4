"""What a credential covers: all of what is needed, or it does not pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.core.scopes import check_scopes
from keyturn.errors import ScopeMissing

SCOPE_SETS = st.frozensets(st.sampled_from(["read", "write", "delete", "admin", "rea", ""]))


def narrowed_to(scopes: frozenset[str] | None) -> Principal:
    permissions = frozenset({"read", "write", "GOVERNANCE"})
    return Principal(
        1,
        "bob",
        "bim",
        None,
        permissions,
        scopes,
        AuthMethod.API_KEY,
        1,
        None,
        frozenset(),
        None,
        PresentedCredential(None),
        None,
        None,
    )


@given(scopes=SCOPE_SETS, needed=SCOPE_SETS)
def test_all_that_is_needed_must_be_covered(scopes: frozenset[str], needed: frozenset[str]) -> None:
    """A narrowed credential passes exactly if each needed scope is one of its own."""
    if needed <= scopes:
        check_scopes(narrowed_to(scopes), needed)
        return
    with pytest.raises(ScopeMissing) as refused:
        check_scopes(narrowed_to(scopes), needed)
    assert refused.value.scopes == tuple(sorted(needed))


@given(needed=SCOPE_SETS)
def test_what_is_not_narrowed_covers_all(needed: frozenset[str]) -> None:
    """A credential without scopes may do whatever its owner may, so it covers every scope."""
    check_scopes(narrowed_to(None), needed)


def test_no_scopes_are_not_all_scopes() -> None:
    """A credential that is narrowed to nothing covers nothing, not even what its owner's permissions name."""
    check_scopes(narrowed_to(frozenset()), [])
    with pytest.raises(ScopeMissing):
        check_scopes(narrowed_to(frozenset()), ["read"])


@pytest.mark.parametrize("needed", ["READ", "read ", " read", "rea", "reads", "read write", "*"])
def test_scopes_are_compared_as_they_are(needed: str) -> None:
    """A scope covers itself alone: no other case, no prefix, no pattern (RFC 6749, section 3.3)."""
    with pytest.raises(ScopeMissing):
        check_scopes(narrowed_to(frozenset({"read", "write"})), [needed])


def test_needed_scopes_may_be_any_iterable() -> None:
    """However the needed scopes are given, a refusal names all of them, in order."""
    for needed in (["write", "read"], ("write", "read"), {"write", "read"}, iter(["write", "read"])):
        with pytest.raises(ScopeMissing) as refused:
            check_scopes(narrowed_to(frozenset({"read"})), needed)
        assert refused.value.scopes == ("read", "write")
        assert str(refused.value) == "This needs the scopes read write."
