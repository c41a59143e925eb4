"""What a key is restricted to: one value, by one table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.paths import RequestTarget
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import (
    UNRESTRICTED,
    Restrictions,
    find_faults,
    read_restrictions,
    restore_restrictions,
    typed_restrictions,
)
from keyturn.errors import InvalidInput, Reason

JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
OTHER_JKT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
CHOICES: dict[str, list[Any]] = {
    "scopes": [["a"], ["a", "b"], ["b", "c"]],
    "allowFrom": [["10.0.0.0/8"], ["10.1.0.0/16", "192.0.2.7"], ["2001:db8::/32"]],
    "dpopJkt": [JKT, OTHER_JKT],
    "allowMethods": [["GET"], ["HEAD"], ["GET", "POST"], ["DELETE"]],
    "allowPaths": [["/data"], ["/data/x"], ["/data/x/y", "/data/z"], ["/database", "/"]],
}
"""Of each kind some that differ."""
CHOSEN = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in CHOICES.items()}
)
RESTRICTIONS = CHOSEN.map(read_restrictions)


def test_every_kind_has_examples_here() -> None:
    """A new kind is tried by all that follows."""
    assert [*CHOICES] == [kind.wire for kind in KINDS]
    assert {kind.name for kind in KINDS} | {"is_unknown"} == {*Restrictions.__struct_fields__}


@given(RESTRICTIONS)
def test_what_is_written_is_read_again(restrictions: Restrictions) -> None:
    """The wire, the columns and the feed hold all of it, through JSON."""
    written = msgspec.json.decode(msgspec.json.encode(restrictions.to_wire()))
    assert restore_restrictions(written) == restrictions
    assert [*restrictions.to_columns().values()] == [*restrictions.to_wire().values()]
    assert len(restrictions.to_details()) == len(restrictions.describe())


@given(RESTRICTIONS, RESTRICTIONS)
def test_a_key_makes_nothing_wider(maker: Restrictions, chosen: Restrictions) -> None:
    """What a key makes is refused, or has every restriction of its maker, as narrow or narrower (A3)."""
    try:
        made = chosen.within(maker)
    except InvalidInput:
        return
    for kind in KINDS:
        wide, narrow = getattr(maker, kind.name), getattr(made, kind.name)
        assert wide is None or kind.is_within(narrow, wide)
        assert narrow == (wide if getattr(chosen, kind.name) is None else getattr(chosen, kind.name))
    assert made.within(maker) == made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.wire)
def test_each_kind_holds_what_is_made(kind: Any) -> None:
    """Without a choice the maker's holds, itself is allowed, and another choice is refused at its field."""
    values = CHOICES[kind.wire]
    maker = read_restrictions({kind.wire: values[0]})
    assert UNRESTRICTED.within(maker) == maker.within(maker) == maker
    assert maker.within(UNRESTRICTED) == maker
    with pytest.raises(InvalidInput) as refused:
        read_restrictions({kind.wire: values[-1]}).within(maker)
    assert refused.value.field == kind.wire


def test_a_restriction_that_is_not_known_opens_nothing() -> None:
    """What a newer program wrote is refused from everywhere, and nothing of it is taken for free."""
    newer = restore_restrictions({"allowFrom": ["127.0.0.0/8"], "allowMoons": ["full"]})
    assert newer.is_conditional
    assert newer.find_fault("127.0.0.1", RequestTarget("GET", ("/",))) is Reason.RESTRICTION
    assert restore_restrictions({"allowMoons": None}) == UNRESTRICTED


@pytest.mark.parametrize(
    "written",
    [
        {"scopes": "a"},
        {"scopes": [1]},
        {"allowFrom": ["x"]},
        {"allowFrom": 5},
        {"dpopJkt": ["x"]},
        {"allowMethods": "GET"},
        {"allowPaths": ["/a/../b"]},
    ],
    ids=str,
)
def test_what_was_never_written_is_an_error(written: dict[str, Any]) -> None:
    """Text for a list, and what is none of its kind, is not taken for no restriction."""
    with pytest.raises(ValueError, match=r".+"):
        restore_restrictions(written)


def test_all_faults_are_found_at_once() -> None:
    """Each field that is wrong has its sentence; one that is empty has none."""
    assert find_faults({"scopes": ["a"], "allowFrom": ["x"], "dpopJkt": "y"}).keys() == {
        "allowFrom",
        "dpopJkt",
    }
    assert find_faults({"scopes": None, "allowFrom": None}) == {}


def test_what_is_typed_is_cut_into_entries() -> None:
    """Lists stand on lines or between commas; a field of white space is empty."""
    typed = typed_restrictions({"allowFrom": " 10.0.0.0/8,\r\n192.0.2.7 ", "dpopJkt": f" {JKT} "})
    assert (typed["allowFrom"], typed["dpopJkt"]) == (["10.0.0.0/8", "192.0.2.7"], JKT)
    assert {*typed_restrictions({"allowFrom": " \r\n", "dpopJkt": "\t"}).values()} == {None}


def test_a_list_shows_few_and_a_page_all() -> None:
    """Scopes stand in full, of networks the first two, and of a key pair its beginning."""
    networks = ["10.0.0.7", "10.1.0.0/16", "::1"]
    facts = read_restrictions({"scopes": ["c", "a", "b"], "allowFrom": networks, "dpopJkt": JKT}).describe()
    assert [fact.listed for fact in facts] == ["a, b, c", "10.0.0.7, 10.1.0.0/16 and 1 more", "0ZcOCORZ…"]
    assert [fact.words for fact in facts] == [["a", "b", "c"], networks, [JKT]]


# Methods and paths


def is_allowed(chosen: dict[str, Any], method: str, *paths: str, is_exchange: bool = False) -> bool:
    target = RequestTarget(method, paths, is_exchange)
    return read_restrictions(chosen).find_fault(None, target) is None


@pytest.mark.parametrize(
    ("chosen", "method", "path", "passes"),
    [
        ({"allowMethods": ["GET"]}, "GET", "/any", True),
        ({"allowMethods": ["GET"]}, "HEAD", "/any", True),
        ({"allowMethods": ["GET"]}, "get", "/any", False),
        ({"allowMethods": ["GET"]}, "POST", "/any", False),
        ({"allowMethods": ["HEAD"]}, "GET", "/any", False),
        ({"allowMethods": ["GET", "POST"]}, "POST", "/any", True),
        ({"allowPaths": ["/data"]}, "POST", "/data", True),
        ({"allowPaths": ["/data"]}, "POST", "/data/x", True),
        ({"allowPaths": ["/data"]}, "POST", "/database", False),
        ({"allowPaths": ["/data"]}, "GET", "/data/../admin", False),
        ({"allowPaths": ["/data"]}, "GET", "/%64ata", False),
        ({"allowPaths": ["/"]}, "GET", "/anything", True),
        ({"allowPaths": ["/"]}, "GET", "//anything", False),
        ({"allowPaths": ["/u/bob@x"]}, "GET", "/u/bob%40x/1", True),
        ({"allowPaths": ["/d%C3%A9"]}, "GET", "/d%c3%a9/1", True),
        ({"allowPaths": ["/a", "/b"]}, "GET", "/b/1", True),
        ({"allowMethods": ["GET"], "allowPaths": ["/data"]}, "GET", "/data", True),
        ({"allowMethods": ["GET"], "allowPaths": ["/data"]}, "PUT", "/data", False),
        ({"allowMethods": ["GET"], "allowPaths": ["/data"]}, "GET", "/other", False),
    ],
)
def test_a_request_is_within_both(chosen: dict[str, Any], method: str, path: str, *, passes: bool) -> None:
    """Method and path must both be allowed: GET stands for HEAD, and a prefix ends at a segment."""
    assert is_allowed(chosen, method, path) is passes


@pytest.mark.parametrize("chosen", [{"allowMethods": ["GET"]}, {"allowPaths": ["/"]}], ids=str)
def test_a_request_that_is_not_known_is_refused(chosen: dict[str, Any]) -> None:
    """A door that knows no method and path lets no such key pass (K11); the exchange is always allowed."""
    restrictions = read_restrictions(chosen)
    assert restrictions.is_conditional
    assert restrictions.find_fault("127.0.0.1", None) is Reason.REQUEST
    assert is_allowed(chosen, "POST", "/bim/apikey/authenticate", is_exchange=True)


def test_every_reading_of_a_path_must_be_allowed() -> None:
    """Where a mount makes two paths of one, the key needs both; none at all is no path."""
    one, both = {"allowPaths": ["/api/orders"]}, {"allowPaths": ["/api/orders", "/orders"]}
    assert is_allowed(both, "GET", "/api/orders/1", "/orders/1")
    for chosen, paths in ((one, ("/api/orders", "/orders")), (both, ("/orders", "")), (both, ())):
        assert not is_allowed(chosen, "GET", *paths)


@pytest.mark.parametrize(
    ("field", "unfit", "told"),
    [
        ("allowMethods", [], "works nowhere"),
        ("allowMethods", ["get"], "in capitals"),
        ("allowMethods", ["GET "], "in capitals"),
        ("allowMethods", [""], "in capitals"),
        ("allowMethods", ["A" * 33], "in capitals"),
        ("allowMethods", ["A" * length for length in range(1, 22)], "20 methods at most"),
        ("allowPaths", [], "works nowhere"),
        ("allowPaths", ["/data", "data"], "Entry 2 is not a canonical path"),
        ("allowPaths", ["/data/../x"], "Entry 1 is not a canonical path"),
        ("allowPaths", ["/dépôt"], "from the first slash"),
        ("allowPaths", ["/data?x=1"], "without a query"),
        ("allowPaths", ["/data/"], "Leave out the slash at the end of entry 1"),
        ("allowPaths", ["/" + "a" * 255], "longer than 255"),
        ("allowPaths", [f"/{number}" for number in range(21)], "20 paths at most"),
    ],
)
def test_unfit_methods_and_paths(field: str, unfit: list[str], told: str) -> None:
    """What could match nothing, or could be read in two ways, is refused at its field."""
    with pytest.raises(InvalidInput, match=told) as refused:
        read_restrictions({field: unfit})
    assert refused.value.field == field


def test_what_is_named_twice_counts_once() -> None:
    """Methods are a set and stand in order; paths keep the order in which they were named."""
    chosen = {"allowMethods": ["POST", "GET", "POST"], "allowPaths": ["/b", "/a", "/b"]}
    told = read_restrictions(chosen).to_wire()
    assert (told["allowMethods"], told["allowPaths"]) == (["GET", "POST"], ["/b", "/a"])
