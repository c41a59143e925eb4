"""Nobody makes anything broader than themselves, whatever way they go (A3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
from msgspec.structs import replace

from keyturn.composition import Services
from keyturn.core.audit import AuditAction
from keyturn.core.pages import Page
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import DEFAULT_PERMISSIONS, Permission
from keyturn.core.principal import Principal
from keyturn.errors import CredentialRefused, InvalidInput, NotFound, PermissionMissing
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.authority import check_may_grant
from tests.people import (
    HERE,
    NEW_PASSWORD,
    actions,
    add_holder,
    add_person,
    add_service_account,
    caller,
    holder,
    key_of_service,
    log_in,
    new_key,
)
from tests.store.crowds import before_change

USER_ADMIN = Permission.USER_ADMIN
BROADER = sorted(set(Permission) - {USER_ADMIN} - DEFAULT_PERMISSIONS)
Way = Callable[[Services, Principal, Permission], object]


def add_user(services: Services, who: Principal, permission: Permission) -> object:
    return services.user_administration.add(
        who, HERE, userid=f"new {permission}", profile={}, password=None, permissions=[permission]
    )


def add_program(services: Services, who: Principal, permission: Permission) -> object:
    return add_service_account(
        services, who, ServiceOwner(who.user_id), f"program {permission}", [permission]
    )


def give(services: Services, who: Principal, permission: Permission) -> object:
    return services.user_administration.set_permissions(who, "bim", "plain", [permission], HERE)


def give_to_self(services: Services, who: Principal, permission: Permission) -> object:
    wanted = [USER_ADMIN, permission, *DEFAULT_PERMISSIONS]
    return services.user_administration.set_permissions(who, "bim", who.userid, wanted, HERE)


def set_password(services: Services, who: Principal, permission: Permission) -> object:
    return services.user_administration.set_password(
        who, "bim", f"with {permission}", password=NEW_PASSWORD, current=None, origin=HERE
    )


def invite(services: Services, who: Principal, permission: Permission) -> object:
    return services.user_administration.invite(who, "bim", f"with {permission}", HERE)


def make_key_of_program(services: Services, who: Principal, permission: Permission) -> object:
    return services.service_accounts.create_key(who, f"program with {permission}", HERE, NewKey())


# Fault B12: service accounts, and what controls them


def take_over(services: Services, who: Principal, permission: Permission) -> object:
    owner = services.service_accounts.find_owner(who, userid=who.userid)
    return services.service_accounts.transfer(who, f"program with {permission}", owner, HERE)


def take_over_by_group(services: Services, who: Principal, permission: Permission) -> object:
    empty = next(group for group in services.groups.list_visible(who) if group.name == "empty")
    owner = services.service_accounts.find_owner(who, group_id=empty.group_id)
    return services.service_accounts.transfer(who, f"program with {permission}", owner, HERE)


def join(services: Services, who: Principal, permission: Permission) -> object:
    return services.groups.add_member(
        who, group_with(services, who, permission), HERE, iamid="bim", userid=who.userid
    )


def inherit_from_group(services: Services, who: Principal, permission: Permission) -> object:
    successor = services.service_accounts.find_successor(who, who.userid)
    return services.groups.delete(who, group_with(services, who, permission), HERE, successor=successor)


def inherit_from_disabled(services: Services, who: Principal, permission: Permission) -> object:
    successor = services.service_accounts.find_successor(who, who.userid)
    return services.offboarding.set_disabled(
        who, "bim", f"owner with {permission}", HERE, disabled=True, successor=successor
    )


def inherit_from_deleted(services: Services, who: Principal, permission: Permission) -> object:
    successor = services.service_accounts.find_successor(who, who.userid)
    return services.offboarding.delete(who, "bim", f"leaver with {permission}", HERE, successor=successor)


def set_password_of(kind: str) -> Way:
    return lambda services, who, permission: services.user_administration.set_password(
        who, "bim", f"{kind} with {permission}", password=NEW_PASSWORD, current=None, origin=HERE
    )


def invite_one(kind: str) -> Way:
    return lambda services, who, permission: services.user_administration.invite(
        who, "bim", f"{kind} with {permission}", HERE
    )


def make_key_of_controlling_program(services: Services, who: Principal, permission: Permission) -> object:
    """A service account without permissions, in a group that owns one that has them."""
    return services.service_accounts.create_key(who, f"controls {permission}", HERE, NewKey())


def group_with(services: Services, who: Principal, permission: Permission) -> int:
    name = f"group with {permission}"
    return next(group.group_id for group in services.groups.list_visible(who) if group.name == name)


WAYS: dict[str, Way] = {
    "add a user": add_user,
    "add a service account": add_program,
    "give a permission": give,
    "give a permission to oneself": give_to_self,
    "set a password": set_password,
    "invite": invite,
    "make a key of a service account": make_key_of_program,
    "take over a service account": take_over,
    "take it over by a group": take_over_by_group,
    "make a key of one that controls it": make_key_of_controlling_program,
    **{f"set a password of a {kind}": set_password_of(kind) for kind in ("owner", "member")},
    **{f"invite a {kind}": invite_one(kind) for kind in ("owner", "member")},
    "inherit from who is disabled": inherit_from_disabled,
    "inherit from who is deleted": inherit_from_deleted,
    "join the group that owns it": join,
    "inherit from a group": inherit_from_group,
}
"""Each way to get hold of a permission through another account, or one's own."""


@pytest.fixture
def world(services: Services, admin: Principal) -> Services:
    """For each permission a person and a service account that hold it, and others that control such."""
    add_holder(services, "plain")
    services.groups.add(admin, HERE, iamid="bim", name="empty")
    for permission in BROADER:
        for kind in ("owner", "leaver"):
            owner = add_person(services, f"{kind} with {permission}", password=None)
            robot = f"robot of {owner.userid}"
            add_service_account(services, admin, ServiceOwner(owner.user_id), robot, [permission])
        group = services.groups.add(admin, HERE, iamid="bim", name=f"group with {permission}").group_id
        add_service_account(
            services, admin, ServiceOwner(group_id=group), f"robot of group {permission}", [permission]
        )
        add_service_account(services, admin, ServiceOwner(admin.user_id), f"controls {permission}")
        add_person(services, f"member with {permission}", password=None)
        for member in (f"member with {permission}", f"controls {permission}"):
            services.groups.add_member(admin, group, HERE, iamid="bim", userid=member)
        add_holder(services, f"with {permission}", permission)
        add_service_account(
            services, admin, ServiceOwner(admin.user_id), f"program with {permission}", [permission]
        )
    return services


def test_fault_b12_no_way_leads_beyond_oneself(world: Services) -> None:
    """With USER_ADMIN alone no other permission is reached, by any way; with both each way is open (A3)."""
    narrow = holder(world, "narrow", USER_ADMIN)
    before = actions(world)
    for name, way in WAYS.items():
        for permission in BROADER:
            with pytest.raises(PermissionMissing) as refused:
                way(world, narrow, permission)
            assert refused.value.any_of == (permission,), name
    assert actions(world) == before

    for number, permission in enumerate(BROADER):
        who = holder(world, f"broad {number}", USER_ADMIN, permission)
        for way in WAYS.values():
            way(world, who, permission)


TOUCHES: dict[str, Callable[[Services, Principal, Principal], object]] = {
    "end a session": lambda services, who, them: services.sessions.end_of(
        who, them.user_id, services.sessions.list_of(them.user_id)[0].session_id, HERE
    ),
    "sign out": lambda services, who, them: services.sessions.sign_out(who, them.user_id, HERE),
    "unlock": lambda services, who, them: services.user_administration.unlock(who, "bim", them.userid, HERE),
    "rename": lambda services, who, them: services.user_administration.rename(
        who, "bim", them.userid, "renamed", HERE
    ),
}
"""What changes how somebody signs in, and gives nobody more."""


@pytest.mark.parametrize("holds", ["the permission", "a service account that holds it"])
def test_only_an_equal_touches_how_somebody_signs_in(
    services: Services, admin: Principal, holds: str
) -> None:
    """An administrator signs nobody out, and unlocks nobody, who may do more than they (A3)."""
    own = [Permission.AUDIT] if holds == "the permission" else []
    them = holder(services, "them", *own)
    if not own:
        add_service_account(services, admin, ServiceOwner(them.user_id), "robot", [Permission.AUDIT])
    log_in(services, "them")
    with pytest.raises(CredentialRefused):
        log_in(services, "them", "not the password")
    found = services.users.get_by_name("bim", "them")
    nobody, narrow, equal = (
        holder(services, userid, *permissions)
        for userid, permissions in (
            ("nobody", [Permission.AUDIT]),
            ("narrow", [USER_ADMIN]),
            ("equal", [USER_ADMIN, Permission.AUDIT]),
        )
    )
    missing = services.user_administration.missing_permissions
    assert (missing(narrow, found), missing(equal, found), missing(them, found)) == (["AUDIT"], [], [])

    before = actions(services)
    for touch in TOUCHES.values():
        for who, needed in ((nobody, USER_ADMIN), (narrow, Permission.AUDIT)):
            with pytest.raises(PermissionMissing) as refused:
                touch(services, who, them)
            assert refused.value.any_of == (needed,)
    assert actions(services) == before
    assert services.sessions.list_of(them.user_id).count == 2

    for touch in TOUCHES.values():
        touch(services, equal, them)
    assert actions(services)[len(before) :] == [
        "SessionEnded",
        "UserSignedOut",
        "UserUnlocked",
        "UserRenamed",
    ]
    assert services.sessions.list_of(them.user_id).count == 0


def test_everybody_signs_themselves_out(services: Services, admin: Principal) -> None:
    """Also an administrator whose service account may do more than they."""
    narrow = holder(services, "narrow", USER_ADMIN)
    add_service_account(services, admin, ServiceOwner(narrow.user_id), "robot", [Permission.AUDIT])
    log_in(services, "narrow")
    assert services.sessions.sign_out(narrow, narrow.user_id, HERE) == 2


GAINS: dict[str, Callable[[Services, Principal, int], object]] = {
    "by hand-over": lambda services, admin, group: services.service_accounts.transfer(
        admin, "robot", services.service_accounts.find_owner(admin, userid="plain"), HERE
    ),
    "by hand-over to their group": lambda services, admin, group: services.service_accounts.transfer(
        admin, "robot", ServiceOwner(group_id=group), HERE
    ),
    "by a new service account": lambda services, admin, group: add_service_account(
        services,
        admin,
        services.service_accounts.find_owner(admin, userid="plain"),
        "new",
        [Permission.AUDIT],
    ),
    "as a successor": lambda services, admin, group: services.offboarding.delete(
        admin, "bim", "leaver", HERE, successor=services.service_accounts.find_successor(admin, "plain")
    ),
    "by membership": lambda services, admin, group: services.groups.add_member(
        admin, group_with(services, admin, Permission.AUDIT), HERE, iamid="bim", userid="plain"
    ),
    "by what their service account is given": lambda services, admin, group: (
        services.user_administration.set_permissions(admin, "bim", "own robot", [Permission.AUDIT], HERE)
    ),
    "by what their group's is given": lambda services, admin, group: (
        services.user_administration.set_permissions(
            admin, "bim", "robot of the group", [Permission.AUDIT], HERE
        )
    ),
}
"""The ways in which somebody who was invited comes to control more than whoever invited them may give."""


@pytest.mark.parametrize("gain", GAINS.values(), ids=GAINS)
def test_fault_b12_a_link_does_not_open_what_came_later(
    services: Services, admin: Principal, gain: Callable[[Services, Principal, int], object]
) -> None:
    """A link is void once its person controls a service account that its maker might not give away."""
    plain, leaver = add_person(services, "plain"), add_person(services, "leaver")
    group = services.groups.add(admin, HERE, iamid="bim", name="plain people").group_id
    services.groups.add_member(admin, group, HERE, iamid="bim", userid="plain")
    broad = services.groups.add(admin, HERE, iamid="bim", name=f"group with {Permission.AUDIT}").group_id
    for userid, owner, permissions in (
        ("robot", ServiceOwner(admin.user_id), [Permission.AUDIT]),
        ("robot of leaver", ServiceOwner(leaver.user_id), [Permission.AUDIT]),
        ("robot of audit", ServiceOwner(group_id=broad), [Permission.AUDIT]),
        ("own robot", ServiceOwner(plain.user_id), []),
        ("robot of the group", ServiceOwner(group_id=group), []),
    ):
        add_service_account(services, admin, owner, userid, permissions)
    narrow = holder(services, "narrow", USER_ADMIN)
    link = services.user_administration.invite(narrow, "bim", "plain", HERE).link

    gain(services, admin, group)

    with pytest.raises(InvalidInput, match="used or has expired"):
        services.invitations.accept(link.partition("#")[2], NEW_PASSWORD, HERE)


def test_fault_b12_what_opens_nothing_new_leaves_a_link_alone(services: Services, admin: Principal) -> None:
    """A person is invited and put into a group that owns nothing that matters: the link is still good."""
    add_person(services, "plain")
    link = services.user_administration.invite(
        holder(services, "narrow", USER_ADMIN), "bim", "plain", HERE
    ).link
    group = services.groups.add(admin, HERE, iamid="bim", name="plain people").group_id
    services.groups.add_member(admin, group, HERE, iamid="bim", userid="plain")
    add_service_account(services, admin, ServiceOwner(group_id=group))

    assert services.invitations.accept(link.partition("#")[2], NEW_PASSWORD, HERE) == "plain"


def test_what_is_held_already_stays(world: Services, admin: Principal) -> None:
    """An administrator may set permissions that they do not hold where they were held before (A3)."""
    narrow = holder(world, "narrow", USER_ADMIN)
    both = [Permission.AUDIT, *DEFAULT_PERMISSIONS]
    record = world.user_administration.set_permissions(narrow, "bim", f"with {Permission.AUDIT}", both, HERE)
    assert record.permissions == frozenset(both)


def principals(services: Services, admin: Principal) -> Iterator[tuple[str, Principal, frozenset[str]]]:
    """Give the ways in which an administrator calls, with the permissions that each carries."""
    everything = frozenset(Permission)
    key = new_key(services, admin).secret
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    project = services.projects.add(admin, HERE, name="one", description=None)
    linked = new_key(services, admin, project_id=project.project_id).secret
    yield "session", admin, everything
    yield "key", caller(services, key), everything
    yield "token", caller(services, token), everything
    yield "key of a project", caller(services, linked), frozenset()
    yield (
        "token of a key of a project",
        caller(services, services.exchange.exchange(in_header=[], in_body=linked, origin=HERE).token),
        frozenset(),
    )
    yield "scoped", replace(caller(services, key), scopes=frozenset({"plugin:trino"})), frozenset()


def test_a_narrowed_credential_carries_what_the_table_says(services: Services, admin: Principal) -> None:
    """A scope takes every permission away, and so does a project (A3)."""
    for name, principal, carried in principals(services, admin):
        assert {permission for permission in Permission if principal.may(permission)} == carried, name
        assert principal.carried_permissions == carried, name
        assert principal.is_unbound is (carried == frozenset(Permission)), name


def test_a_narrowed_credential_manages_nothing(services: Services, admin: Principal) -> None:
    """A key of a project or with scopes, of an administrator even, owns and manages no service account."""
    add_service_account(services, admin, ServiceOwner(admin.user_id))
    for name, principal, carried in principals(services, admin):
        listed = services.service_accounts.list_visible(principal)
        if carried == frozenset(Permission):
            assert listed.count == 1, name
            continue
        assert listed == Page(0, ()), name
        for act in (
            lambda who=principal: services.service_accounts.get(who, "robot"),
            lambda who=principal: services.service_accounts.list_keys(who, "robot"),
            lambda who=principal: services.service_accounts.create_key(who, "robot", HERE, NewKey()),
        ):
            with pytest.raises(NotFound):
                act()


GRANTS: list[tuple[tuple[str, ...], Iterable[str], str | None]] = [
    ((), (), None),
    ((), DEFAULT_PERMISSIONS, None),
    (("AUDIT",), ("AUDIT",), None),
    (("AUDIT",), ("AUDIT", "CREATE_PROJECT"), None),
    (("AUDIT",), ("GOVERNANCE",), "GOVERNANCE"),
    (("AUDIT", "GOVERNANCE"), ("AUDIT", "GOVERNANCE", "USER_ADMIN"), "USER_ADMIN"),
    (("APPLICATION_ADMIN",), ("USER_ADMIN",), "USER_ADMIN"),
    (("USER_ADMIN",), ("APPLICATION_ADMIN",), "APPLICATION_ADMIN"),
    (("USER_ADMIN",), ("UNKNOWN",), "UNKNOWN"),
    (("ADMIN",), ("USER_ADMIN",), "USER_ADMIN"),
]
"""What is held, what is to be given, and which of it may not be."""


def test_what_may_be_granted_is_a_table(admin: Principal) -> None:
    """What is held, and the default, may be given; the first other one is named (A3)."""
    for held, given, missing in GRANTS:
        who = replace(admin, permissions=frozenset(held))
        if missing is None:
            check_may_grant(who, given)
            continue
        with pytest.raises(PermissionMissing) as refused:
            check_may_grant(who, given)
        assert refused.value.any_of == (missing,)


GIVEN_OUT: dict[str, Callable[[Services, Principal], object]] = {
    "a password": lambda services, who: services.user_administration.set_password(
        who, "bim", "eve", password=NEW_PASSWORD, current=None, origin=HERE
    ),
    "a link": lambda services, who: services.user_administration.invite(who, "bim", "eve", HERE),
    "a key": key_of_service,
}


@pytest.mark.parametrize("given", GIVEN_OUT)
def test_fault_a10_nothing_is_given_out_of_who_has_just_become_more(
    services: Services, admin: Principal, given: str
) -> None:
    """Whoever may act as an account when they ask, and may not when it is written, gets nothing (A3)."""
    manager = holder(services, "mel", Permission.USER_ADMIN)
    eve = add_person(services, "eve")
    add_service_account(services, admin, ServiceOwner(eve.user_id))
    target = "robot" if given == "a key" else "eve"
    before_change(
        services.store,
        lambda: services.user_administration.set_permissions(
            admin, "bim", target, [Permission.APPLICATION_ADMIN], HERE
        ),
    )

    with pytest.raises(PermissionMissing):
        GIVEN_OUT[given](services, manager)

    assert actions(services)[-1] == AuditAction.USER_PERMISSIONS_UPDATED
