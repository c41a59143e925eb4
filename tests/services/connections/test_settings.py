"""What holds for an object, of all that objects above it say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.connections import ObjectPath, ObjectRole, ObjectSettings, RoleHolder
from keyturn.services.connections.settings import inherited, paths_to

NAMES = st.sampled_from(["a", "b"])
PATHS = st.lists(NAMES, max_size=3).map(tuple)
HOLDERS = st.frozensets(st.integers(1, 3).map(RoleHolder), max_size=2)
SETTINGS = st.builds(
    ObjectSettings,
    is_active=st.none() | st.booleans(),
    activates_new_children=st.none() | st.booleans(),
    later_than=st.integers(0, 3),
    roles=st.dictionaries(st.sampled_from(ObjectRole), HOLDERS),
)
SAID = st.dictionaries(PATHS, SETTINGS, max_size=6)
CRAWLS = st.integers(1, 4)


@given(SAID, PATHS, CRAWLS)
def test_what_an_object_says_itself_holds(
    said: dict[ObjectPath, ObjectSettings], path: ObjectPath, first: int
) -> None:
    """Nothing above it overrides that."""
    own, found = said.get(path, ObjectSettings()), inherited(said, path, first)
    assert found.said == own
    assert own.is_active in (None, found.is_active)
    assert own.activates_new_children in (None, found.activates_new_children)
    assert all(found.roles[role] == holders for role, holders in own.roles.items())


@given(SAID, PATHS.filter(bool), CRAWLS)
def test_what_an_object_does_not_say_is_as_above(
    said: dict[ObjectPath, ObjectSettings], path: ObjectPath, first: int
) -> None:
    """Roles and flags are those of its parent, but that a parent may want what is new to be inactive."""
    said = {each: one for each, one in said.items() if each != path}
    above, found = inherited(said, path[:-1], first), inherited(said, path, first)
    assert found.roles == above.roles
    assert found.activates_new_children == above.activates_new_children
    assert found.is_active == above.is_active or not above.activates_new_children


@given(SAID, PATHS, CRAWLS, PATHS, SETTINGS)
def test_what_stands_elsewhere_makes_no_difference(
    said: dict[ObjectPath, ObjectSettings],
    path: ObjectPath,
    first: int,
    elsewhere: ObjectPath,
    more: ObjectSettings,
) -> None:
    """Only the objects on the way to it matter."""
    if elsewhere not in paths_to(path):
        assert inherited({**said, elsewhere: more}, path, first) == inherited(said, path, first)


def test_what_is_new_is_inactive_where_the_parent_says_so() -> None:
    """From the next crawl on: what was there when it was said stays active, and so does what says so."""
    said = {("db",): ObjectSettings(activates_new_children=False, later_than=3)}
    assert inherited(said, ("db", "old"), 3).is_active
    assert not inherited(said, ("db", "new"), 4).is_active
    assert not inherited(said, ("db", "new", "table"), 4).is_active
    assert inherited({**said, ("db", "new"): ObjectSettings(is_active=True)}, ("db", "new"), 4).is_active
