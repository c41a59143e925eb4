"""What names an API, who may hold its scopes, and what a credential covers there."""

from __future__ import annotations

from itertools import product

import pytest

from keyturn.core.apis import MAX_IDENTIFIER_CHARACTERS, ResourceScope, is_resource_identifier
from keyturn.core.verification import scopes_at
from keyturn.errors import CredentialRefused, Reason, ScopeMissing

EVERY = ("a", "b", "c")


@pytest.mark.parametrize(
    ("is_for_everyone", "group_ids", "told"),
    [
        (True, {1}, "everyone"),
        (False, {2, 1}, "clerks, drivers"),
        (False, {1, 3}, "drivers"),
        (False, {3}, "nobody"),
        (False, set(), "nobody"),
    ],
)
def test_holders_are_told_by_name(is_for_everyone: bool, group_ids: set[int], told: str) -> None:
    """Groups are named in alphabetical order; one that is gone meanwhile is left out."""
    scope = ResourceScope("a", None, is_for_everyone, frozenset(group_ids))
    assert scope.held_by({1: "drivers", 2: "clerks"}) == told


@pytest.mark.parametrize(
    "text",
    [
        "https://orders.example.com",
        "https://orders.example.com/",
        "https://orders.example.com:8443/api?v=1",
        "http://127.0.0.1:9000",
        "https://orders.example.com/%C3%A4",
        "urn:example:orders",
        "api://orders",
        "x:" + "y" * (MAX_IDENTIFIER_CHARACTERS - 2),
    ],
)
def test_an_absolute_uri_names_an_api(text: str) -> None:
    """RFC 8707, section 2: absolute, without a fragment; of any scheme."""
    assert is_resource_identifier(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders",
        "/orders",
        "//orders.example.com",
        ":orders",
        "1x:orders",
        "https:",
        "https://",
        "https:///orders",
        "https://:8400",
        "https://orders.example.com#part",
        "https://orders.example.com#",
        "https://orders.example.com/a b",
        "https://orders.example.com/\n",
        'https://orders.example.com/"',
        "https://orders.example.com/<a>",
        "https://bücher.example.com",
        "https://orders.example.com:99999",
        "https://orders.example.com:x",
        "x:" + "y" * (MAX_IDENTIFIER_CHARACTERS - 1),
    ],
)
def test_what_is_none_names_no_api(text: str) -> None:
    """Neither what is relative, has a fragment or no host, nor what a header could not carry."""
    assert not is_resource_identifier(text)


def test_a_scope_is_for_everyone_or_for_groups() -> None:
    """For everyone the groups do not matter; else one in common is needed, and no group is nobody."""
    scope = ResourceScope("a", None, is_for_everyone=False, group_ids=frozenset({1, 2}))
    assert [scope.may_be_held_by(frozenset(of)) for of in ((), (3,), (2, 3))] == [False, False, True]
    nobody = ResourceScope("a", None, is_for_everyone=False, group_ids=frozenset())
    everyone = ResourceScope("a", None, is_for_everyone=True, group_ids=frozenset())
    assert [one.may_be_held_by(frozenset({1})) for one in (nobody, everyone)] == [False, True]
    assert everyone.may_be_held_by(frozenset())


def test_what_a_credential_covers() -> None:
    """For each credential, API and cap: in full at an API, never what is withheld, never nothing."""
    some = [
        frozenset(name for name, is_in in zip(EVERY, bits, strict=True) if is_in)
        for bits in product((0, 1), repeat=3)
    ]
    for scopes, there, withheld in product([None, *some[1:]], [None, *some[1:]], some):
        held = (frozenset(EVERY) if scopes is None else scopes) - withheld
        if there is not None:
            if held & there:
                assert scopes_at(scopes, there, withheld) == held & there
            else:
                with pytest.raises(ScopeMissing) as missing:
                    scopes_at(scopes, there, withheld)
                assert missing.value.scopes == (), "which scopes there are is not for everybody to know"
        elif scopes is None:
            assert scopes_at(None, None, withheld) is None
        elif held:
            assert scopes_at(scopes, None, withheld) == held
        else:
            with pytest.raises(CredentialRefused) as refused:
                scopes_at(scopes, None, withheld)
            assert (refused.value.reason, refused.value.secret_matched) == (Reason.WITHHELD, True)
