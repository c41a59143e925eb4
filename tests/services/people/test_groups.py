"""Groups: managed with USER_ADMIN, seen by their members, and what they are given their members have."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyturn.composition import Services
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import MAX_ID
from keyturn.errors import InvalidInput, NotFound, PermissionMissing
from tests.people import (
    HERE,
    actions,
    add_person,
    add_service_account,
    holder,
    is_accepted,
    key_of_service,
    last_rows,
)
from tests.store.crowds import all_at_once

NO_IDS = (0, -1, 10**6, MAX_ID, MAX_ID + 1, 2**70)


def add_group(services: Services, admin: Principal, name: str = "one") -> int:
    return services.groups.add(admin, HERE, iamid="bim", name=name).group_id


def join(services: Services, admin: Principal, group_id: int, userid: str = "bob") -> int:
    """Put somebody into a group; return the id of the membership."""
    return services.groups.add_member(admin, group_id, HERE, iamid="bim", userid=userid).membership_id


def test_a_group_is_what_was_said_of_it(services: Services, admin: Principal) -> None:
    """What was said of a group is what is read; a change that gives no name keeps it, and clears the rest."""
    made = services.groups.add(
        admin, HERE, iamid="bim", name=" Team Ö ", email="t@example.com", description="Two\nlines"
    )
    assert (made.name, made.email, made.description) == ("Team Ö", "t@example.com", "Two\nlines")
    assert services.groups.get(admin, made.group_id) == made

    changed = services.groups.update(admin, made.group_id, HERE, name=None, email=None, description=None)
    assert (changed.name, changed.email, changed.description) == ("Team Ö", None, None)
    assert services.groups.list_visible(admin).items == (changed,)


def test_a_name_is_taken_once(services: Services, admin: Principal) -> None:
    """A taken name is refused with its field and the code "unique", at a change too (1.6)."""
    add_group(services, admin)
    other = add_group(services, admin, "two")
    before = actions(services)
    for act in (
        lambda: add_group(services, admin),
        lambda: services.groups.update(admin, other, HERE, name="one", email=None, description=None),
    ):
        with pytest.raises(InvalidInput) as refused:
            act()
        assert (refused.value.field, refused.value.code) == ("name", "unique")
    assert actions(services) == before


def test_only_the_built_in_identity_manager_has_groups(services: Services, admin: Principal) -> None:
    """A group of another identity manager, or without a name, is refused with what is wrong."""
    for iamid, name, field in (("okta", "one", "iamid"), ("bim", " ", "name"), ("bim", "x" * 255, "name")):
        with pytest.raises(InvalidInput) as refused:
            services.groups.add(admin, HERE, iamid=iamid, name=name)
        assert refused.value.field == field


def test_members_see_their_groups_alone(services: Services, admin: Principal, bob: Principal) -> None:
    """A member sees their groups and who is in them; a hidden group is as absent as none (A2)."""
    mine, other = add_group(services, admin), add_group(services, admin, "two")
    join(services, admin, mine)
    join(services, admin, mine, "ada")

    assert [group.group_id for group in services.groups.list_visible(bob)] == [mine]
    assert [member.userid for member in services.groups.list_members(bob, mine)] == ["bob", "ada"]
    assert {group.group_id for group in services.groups.list_visible(admin)} == {mine, other}
    refusals = set()
    for group_id in (other, *NO_IDS):
        for ask in (services.groups.get, services.groups.list_members):
            with pytest.raises(NotFound) as refused:
                ask(bob, group_id)
            refusals.add(str(refused.value))
    assert len(refusals) == 1


def test_only_user_admin_manages_groups(services: Services, admin: Principal) -> None:
    """Every other permission, and being a member, changes no group: before it is looked for at all (A1)."""
    others = holder(services, "others", *(set(Permission) - {Permission.USER_ADMIN}))
    group = add_group(services, admin)
    membership = join(services, admin, group, "others")
    before = actions(services)
    for group_id in (group, *NO_IDS):
        acts: list[Callable[[int], object]] = [
            lambda number: services.groups.update(
                others, number, HERE, name="x", email=None, description=None
            ),
            lambda number: services.groups.delete(others, number, HERE),
            lambda number: join(services, others, number, "ada"),
            lambda number: services.groups.remove_member(others, number, membership, HERE),
            lambda number: services.groups.change_attribute(others, number, ("a", "b"), HERE, is_given=True),
        ]
        for act in acts:
            with pytest.raises(PermissionMissing):
                act(group_id)
    with pytest.raises(PermissionMissing):
        add_group(services, others, "two")
    assert actions(services) == before


def test_absent_groups_and_members_are_not_found(services: Services, admin: Principal) -> None:
    """A change of a group or membership that is not there, or of another group, is not found."""
    one, two = add_group(services, admin), add_group(services, admin, "two")
    add_person(services)
    membership = join(services, admin, one)
    for group_id in NO_IDS:
        with pytest.raises(NotFound):
            services.groups.delete(admin, group_id, HERE)
    for number in (*NO_IDS, membership):
        with pytest.raises(NotFound):
            services.groups.remove_member(admin, two, number, HERE)
    with pytest.raises(InvalidInput):
        join(services, admin, one, "nobody")


def test_a_member_is_in_once(services: Services, admin: Principal, bob: Principal) -> None:
    """Of twelve who put one person into a group at once one succeeds; the others are told "unique"."""
    group = add_group(services, admin)
    outcomes = all_at_once(12, lambda _number: join(services, admin, group))

    errors = [outcome for outcome in outcomes if not isinstance(outcome, int)]
    assert len(errors) == 11
    assert {(error.field, error.code) for error in errors if isinstance(error, InvalidInput)} == {
        ("userid", "unique")
    }
    assert [member.userid for member in services.groups.list_members(admin, group)] == ["bob"]
    assert actions(services).count("GroupMemberAdded") == 1


def test_who_leaves_loses_what_the_group_gave(services: Services, admin: Principal, bob: Principal) -> None:
    """A member who is taken out has the group's attributes no longer, and controls its programs no longer."""
    group = add_group(services, admin)
    membership = join(services, admin, group)
    services.groups.change_attribute(admin, group, ("team", "a"), HERE, is_given=True)
    add_service_account(services, admin, ServiceOwner(group_id=group))
    assert services.user_administration.get(admin, "bim", "bob").authorizations == {"team": ("a",)}
    assert services.service_accounts.get(bob, "robot").userid == "robot"

    left = services.groups.remove_member(admin, group, membership, HERE)

    assert left.userid == "bob"
    assert services.user_administration.get(admin, "bim", "bob").authorizations == {}
    with pytest.raises(NotFound):
        services.service_accounts.get(bob, "robot")
    with pytest.raises(NotFound):
        services.groups.remove_member(admin, group, membership, HERE)


def test_an_attribute_of_a_group_is_given_once(services: Services, admin: Principal) -> None:
    """Giving a group what it has, and taking what it has not, writes nothing (A6)."""
    group = add_group(services, admin)
    before = len(actions(services))
    for is_given in (False, True, True, False, False):
        services.groups.change_attribute(admin, group, ("Team", "a"), HERE, is_given=is_given)
    assert [row.details for row in last_rows(services, before)] == [
        {"added": {"team": ["a"]}},
        {"removed": {"team": ["a"]}},
    ]


@pytest.mark.parametrize("has_heir", [True, False])
def test_a_deleted_group_s_programs_end_or_are_handed_over(
    services: Services, admin: Principal, bob: Principal, *, has_heir: bool
) -> None:
    """The service accounts of a deleted group end at once, or go on under the successor; its members stay."""
    group = add_group(services, admin)
    join(services, admin, group)
    add_service_account(services, admin, ServiceOwner(group_id=group))
    key = key_of_service(services, admin).secret
    assert is_accepted(services, key)

    services.groups.delete(admin, group, HERE, successor=ServiceOwner(admin.user_id) if has_heir else None)

    assert is_accepted(services, key) is has_heir
    assert services.groups.list_visible(admin).items == ()
    assert services.user_administration.get(admin, "bim", "bob").user_id == bob.user_id
    with pytest.raises(NotFound):
        services.groups.delete(admin, group, HERE)
    assert services.store.integrity_problems() == []
