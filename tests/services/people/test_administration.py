"""What administrators do to accounts: seen by those who may, whole, at once, and never beyond themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
from msgspec.structs import replace

from keyturn.composition import Services
from keyturn.core.audit import AuditAction
from keyturn.core.people import ServiceOwner, UserKind
from keyturn.core.permissions import DEFAULT_PERMISSIONS, Permission
from keyturn.core.principal import Principal
from keyturn.core.searches import UserSearch
from keyturn.errors import (
    Conflict,
    CredentialRefused,
    InvalidInput,
    InvalidState,
    NotFound,
    PermissionMissing,
)
from keyturn.services.people.attributes import ATTRIBUTE_MAX_CHARACTERS
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.people import (
    HERE,
    NEW_PASSWORD,
    actions,
    add_holder,
    add_person,
    add_service_account,
    caller,
    holder,
    is_accepted,
    key_of_service,
    last_rows,
    log_in,
    new_key,
    person,
    set_password,
    signed_in,
)
from tests.store.crowds import all_at_once

GOVERNANCE, AUDIT, USER_ADMIN = Permission.GOVERNANCE, Permission.AUDIT, Permission.USER_ADMIN


def found(services: Services, who: Principal, **wanted: object) -> list[str]:
    page = services.user_administration.search(who, UserSearch(**wanted))  # type: ignore[arg-type]
    assert page.count == len(page.items)
    return [user.userid for user in page.items]


def permissions_of(services: Services, userid: str) -> frozenset[str]:
    return services.users.get_by_userid("bim", userid).permissions


# Making and finding


def test_a_new_user_is_what_was_asked_for_and_the_default(services: Services, admin: Principal) -> None:
    """A user gets what was asked for and the default permissions, and can sign in with their password."""
    added = services.user_administration.add(
        admin,
        HERE,
        userid="carol",
        profile={"name": "Carol", "email": "carol@example.com", "phone": "1", "preferences": {"dark": True}},
        password=PASSWORD,
        permissions=[AUDIT],
    )

    assert added.invitation is None
    assert added.record == services.user_administration.get(admin, "bim", "Carol")
    assert added.record.permissions == {AUDIT} | DEFAULT_PERMISSIONS
    profile = added.record.profile
    assert (profile.name, profile.email, profile.phone) == ("Carol", "carol@example.com", "1")
    assert profile.preferences == {"dark": True}
    assert person(services, "carol").user_id == added.record.user_id


def test_a_taken_name_is_said_of_its_field(services: Services, admin: Principal, bob: Principal) -> None:
    """A taken user name, in any spelling, is refused with the field and the code "unique" (1.6)."""
    with pytest.raises(InvalidInput) as refused:
        services.user_administration.add(
            admin, HERE, userid=" BOB", profile={}, password=None, permissions=()
        )
    assert (refused.value.field, refused.value.code) == ("userid", "unique")


def test_a_refused_user_leaves_nothing(services: Services, admin: Principal) -> None:
    """A user who is refused for anything about them is not there, and the audit log says nothing (A6)."""
    before = actions(services)
    wrong: list[dict[str, object]] = [
        {"userid": ""},
        {"userid": "keyturn system"},
        {"profile": {"name": "x" * 255}},
        {"profile": {"user_id": 1}},
        {"permissions": ["ROOT"]},
        {"password": "short"},
    ]
    for changed in wrong:
        with pytest.raises(InvalidInput):
            services.user_administration.add(
                admin,
                HERE,
                **{"userid": "carol", "profile": {}, "password": None, "permissions": (), **changed},  # type: ignore[arg-type]
            )

    assert actions(services) == before
    assert found(services, admin) == ["ada"]


def test_others_see_themselves_alone(services: Services, admin: Principal, bob: Principal) -> None:
    """Without USER_ADMIN a search finds the caller alone, whatever is searched for (A2)."""
    assert found(services, bob) == ["bob"]
    assert found(services, bob, userid="ada") == []
    assert found(services, bob, ids=frozenset({admin.user_id, bob.user_id})) == ["bob"]
    assert found(services, admin) == ["ada", "bob"]


def test_what_no_database_can_hold_finds_nobody(services: Services, admin: Principal) -> None:
    """A search for a text with NUL or half a surrogate pair finds nobody, and is no failure."""
    for text in ("\x00", "a\x00da", "\ud800"):
        assert found(services, admin, providers=frozenset({text})) == []
        for name in ("userid", "email", "name", "text"):
            assert found(services, admin, **{name: text}) == [], (name, text)


def test_only_user_admin_manages_users(services: Services, admin: Principal, bob: Principal) -> None:
    """Every other permission together manages nobody: neither an existing nor an absent user (A1, A2)."""
    add_person(services, "carol")
    others = holder(services, "others", *(set(Permission) - {USER_ADMIN}))
    before = actions(services)
    key = new_key(services, admin, project_id=None)
    narrowed = replace(caller(services, key.secret), scopes=frozenset({"plugin:trino"}))
    of_project = replace(caller(services, key.secret), project_id=1)

    for who in (bob, others, narrowed, of_project):
        for userid in ("carol", "ada", "nobody"):
            for act in (
                lambda who, userid: services.user_administration.set_permissions(
                    who, "bim", userid, [AUDIT], HERE
                ),
                lambda who, userid: services.user_administration.remove_permission(
                    who, "bim", userid, AUDIT, HERE
                ),
                lambda who, userid: services.user_administration.invite(who, "bim", userid, HERE),
                lambda who, userid: services.offboarding.set_disabled(
                    who, "bim", userid, HERE, disabled=True
                ),
                lambda who, userid: services.offboarding.delete(who, "bim", userid, HERE),
                lambda who, userid: services.user_administration.change_attribute(
                    who, "bim", userid, ("a", "b"), HERE, is_given=True
                ),
                lambda who, userid: services.user_administration.add(
                    who, HERE, userid=f"{userid} 2", profile={}, password=None, permissions=()
                ),
                services.service_accounts.find_successor,
            ):
                with pytest.raises(PermissionMissing) as refused:
                    act(who, userid)
                assert refused.value.any_of == (USER_ADMIN,)

    assert actions(services) == [*before, AuditAction.API_KEY_CREATED]


def test_keyturn_itself_is_nobody_s_to_change(services: Services, admin: Principal) -> None:
    """The account that holds the system keys cannot be disabled, deleted, or given anything."""
    services.connections.register(COMMAND_LINE, admin.user_id, "one", {})
    services.system_keys.get_or_create(
        admin, HERE, name="trino", scopes=["plugin:trino"], connection_key="one", regenerate=False
    )
    (system,) = services.user_administration.search(
        admin, UserSearch(kinds=frozenset({UserKind.SYSTEM}))
    ).items

    for userid in (system.userid, str(system.user_id)):
        for act in (
            lambda userid: services.user_administration.set_permissions(admin, "bim", userid, [AUDIT], HERE),
            lambda userid: services.offboarding.set_disabled(admin, "bim", userid, HERE, disabled=True),
            lambda userid: services.offboarding.delete(admin, "bim", userid, HERE),
            lambda userid: services.user_administration.invite(admin, "bim", userid, HERE),
        ):
            with pytest.raises(NotFound):
                act(userid)
        with pytest.raises(InvalidInput):
            services.user_administration.set_password(
                admin, "bim", userid, password=NEW_PASSWORD, current=None, origin=HERE
            )
        with pytest.raises(InvalidInput):
            services.service_accounts.find_successor(admin, userid)


# Permissions


def test_permissions_are_replaced_whole(services: Services, admin: Principal, bob: Principal) -> None:
    """The permissions that are set are all there are: also none, and never one that does not exist."""
    for wanted in ([AUDIT, GOVERNANCE], [GOVERNANCE], [], [AUDIT]):
        record = services.user_administration.set_permissions(admin, "bim", "bob", wanted, HERE)
        assert record.permissions == permissions_of(services, "bob") == frozenset(wanted)
    with pytest.raises(InvalidInput):
        services.user_administration.set_permissions(admin, "bim", "bob", [GOVERNANCE, "ROOT"], HERE)
    assert permissions_of(services, "bob") == {AUDIT}


def test_a_permission_is_taken_once(services: Services, admin: Principal) -> None:
    """A permission that is taken is gone; taking it again, or setting what is set, writes nothing."""
    add_holder(services, "carol", AUDIT, GOVERNANCE)
    before = len(actions(services))

    left = {GOVERNANCE} | DEFAULT_PERMISSIONS
    for _ in range(2):
        services.user_administration.remove_permission(admin, "bim", "carol", AUDIT, HERE)
        services.user_administration.set_permissions(admin, "bim", "carol", left, HERE)
        assert permissions_of(services, "carol") == left

    (row,) = last_rows(services, before)
    assert (row.action, row.details) == (
        AuditAction.USER_PERMISSIONS_UPDATED,
        {"added": [], "removed": [AUDIT]},
    )


def test_permissions_reach_what_is_remembered(services: Services, admin: Principal) -> None:
    """A key and a token lose and win permissions with their owner at the very next call (A5, R1)."""
    carol = holder(services, "carol", AUDIT)
    key = new_key(services, carol).secret
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    for wanted in ([GOVERNANCE], [], [AUDIT, GOVERNANCE]):
        services.user_administration.set_permissions(admin, "bim", "carol", wanted, HERE)
        for credential in (key, token):
            assert caller(services, credential).permissions == frozenset(wanted)


def test_parallel_changes_of_permissions_lose_nothing(services: Services, admin: Principal) -> None:
    """Of twelve who take one permission each at once, each succeeds: nobody puts back what another took."""
    taken = sorted(set(Permission) - {USER_ADMIN, Permission.APPLICATION_ADMIN})[:12]
    for round_ in range(3):
        add_holder(services, f"carol {round_}", *Permission)
        before = len(actions(services))

        outcomes = all_at_once(
            len(taken),
            lambda number, round_=round_: services.user_administration.remove_permission(  # type: ignore[misc]
                admin, "bim", f"carol {round_}", taken[number], HERE
            ),
        )

        assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
        assert permissions_of(services, f"carol {round_}") == set(Permission) - set(taken)
        removed = [row.details["removed"] for row in last_rows(services, before)]
        assert sorted(removed) == [[permission] for permission in taken]


# Attributes


def test_attributes_are_their_own_and_their_groups(services: Services, admin: Principal) -> None:
    """What holds for a user is the union of their own attributes and their groups', each value once."""
    bob = add_person(services)
    groups = [services.groups.add(admin, HERE, iamid="bim", name=name) for name in ("one", "two", "three")]
    for group, value in zip(groups, ("a", "b", "c"), strict=True):
        services.groups.change_attribute(admin, group.group_id, ("Team", value), HERE, is_given=True)
    for group in groups[:2]:
        services.groups.add_member(admin, group.group_id, HERE, iamid="bim", userid="bob")
    for attribute in (("team", "b"), ("TEAM", "z"), ("Country", "DE")):
        services.user_administration.change_attribute(admin, "bim", "bob", attribute, HERE, is_given=True)

    record = services.user_administration.get(admin, "bim", str(bob.user_id))
    assert record.attributes == {"country": ("DE",), "team": ("b", "z")}
    assert record.group_attributes == {"team": ("a", "b")}
    assert record.authorizations == {"country": ("DE",), "team": ("a", "b", "z")}
    assert services.user_administration.search(admin, UserSearch(userid="bob")).items == (record,)

    services.user_administration.change_attribute(admin, "bim", "bob", ("team", "b"), HERE, is_given=False)
    assert services.user_administration.get(admin, "bim", "bob").authorizations["team"] == ("a", "b", "z"), (
        "by the group"
    )
    services.groups.delete(admin, groups[1].group_id, HERE)
    assert services.user_administration.get(admin, "bim", "bob").authorizations["team"] == ("a", "z")


def test_an_attribute_is_given_once_and_taken_once(services: Services, admin: Principal) -> None:
    """Giving what is there and taking what is not changes nothing and writes nothing (A6)."""
    add_person(services)
    before = len(actions(services))
    for is_given in (True, True, False, False):
        services.user_administration.change_attribute(
            admin, "bim", "bob", ("team", "A b"), HERE, is_given=is_given
        )
    assert [row.details for row in last_rows(services, before)] == [
        {"added": {"team": ["A b"]}},
        {"removed": {"team": ["A b"]}},
    ]


UNFIT_ATTRIBUTES = [
    ("", "v"),
    ("n", ""),
    (" ", "v"),
    ("x" * (ATTRIBUTE_MAX_CHARACTERS + 1), "v"),
    ("n", "v" * (ATTRIBUTE_MAX_CHARACTERS + 1)),
    ("n\x00", "v"),
    ("n", "\ud800"),
    ("n\n", "v"),
]


def test_an_unfit_attribute_is_refused(services: Services, admin: Principal, bob: Principal) -> None:
    """An attribute has a name and a value, of one line and at most 254 characters."""
    for attribute in UNFIT_ATTRIBUTES:
        with pytest.raises(InvalidInput):
            services.user_administration.change_attribute(admin, "bim", "bob", attribute, HERE, is_given=True)
    assert services.user_administration.get(admin, "bim", "bob").attributes == {}


# Passwords


def test_one_s_own_password_needs_the_current_one(services: Services, admin: Principal) -> None:
    """Nobody, an administrator neither, changes their own password without the current one (L5)."""
    for current in (None, "", "wrong password here"):
        with pytest.raises(InvalidInput) as refused:
            services.user_administration.set_password(
                admin, "bim", "ada", password=NEW_PASSWORD, current=current, origin=HERE
            )
        assert refused.value.field == "originalPassword"
    log_in(services, "ada")

    services.user_administration.set_password(
        admin, "bim", "ada", password=NEW_PASSWORD, current=PASSWORD, origin=HERE
    )
    log_in(services, "ada", NEW_PASSWORD)


def test_another_s_password_ends_their_sessions(services: Services, admin: Principal) -> None:
    """A password that an administrator sets ends every session of that person, and opens the account."""
    add_person(services)
    cookie = log_in(services)

    services.user_administration.set_password(
        admin, "bim", "bob", password=NEW_PASSWORD, current=None, origin=HERE
    )

    assert services.sessions.find(cookie) is None
    log_in(services, "bob", NEW_PASSWORD)
    with pytest.raises(CredentialRefused):
        log_in(services, "bob")


# Disabling


def test_disabling_stops_all_and_enabling_revives_no_revoked(services: Services, admin: Principal) -> None:
    """Disabling stops sessions, keys, tokens and service accounts; what was revoked by hand stays so (R3)."""
    bob = holder(services, "bob", *DEFAULT_PERMISSIONS)  # type: ignore[arg-type]
    cookie = log_in(services)
    living, revoked = new_key(services, bob), new_key(services, bob)
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    robot, robot_revoked = key_of_service(services, admin), key_of_service(services, admin)
    services.keys.revoke_own(bob, revoked.record.key_id, HERE)
    services.all_keys.revoke(admin, [robot_revoked.record.key_id], HERE)
    before = len(actions(services))

    assert services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True).is_disabled
    for key in (living, revoked, robot, robot_revoked):
        assert not is_accepted(services, key.secret)
    assert services.sessions.find(cookie) is None

    assert not services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=False).is_disabled
    assert is_accepted(services, living.secret)
    assert is_accepted(services, robot.secret)
    assert not is_accepted(services, revoked.secret)
    assert not is_accepted(services, robot_revoked.secret)
    assert services.sessions.find(cookie) is None
    assert [(row.action, row.target_id, row.details) for row in last_rows(services, before)] == [
        ("UserDisabled", str(bob.user_id), {}),
        ("UserDisabled", str(robot.record.user_id), {"because": "UserDisabled", "of": str(bob.user_id)}),
        ("UserEnabled", str(bob.user_id), {}),
        ("UserEnabled", str(robot.record.user_id), {"because": "UserEnabled", "of": str(bob.user_id)}),
    ]


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_was_disabled_by_hand_stays_disabled(
    services: Services, admin: Principal, bob: Principal, when: str
) -> None:
    """A service account disabled by itself, before its owner or after, does not come back with them."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    key = key_of_service(services, admin)

    for userid in ("robot", "bob") if when == "before" else ("bob", "robot"):
        services.offboarding.set_disabled(admin, "bim", userid, HERE, disabled=True)
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=False)

    assert not is_accepted(services, key.secret)
    services.offboarding.set_disabled(admin, "bim", "robot", HERE, disabled=False)
    assert is_accepted(services, key.secret)


def test_an_heir_keeps_service_accounts_going(services: Services, admin: Principal, bob: Principal) -> None:
    """With a successor the service accounts of a disabled person go on, and belong to that successor."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    key = key_of_service(services, admin)
    successor = services.service_accounts.find_successor(admin, "ada")

    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True, successor=successor)

    assert is_accepted(services, key.secret)
    assert services.user_administration.get(admin, "bim", "robot").owner == ServiceOwner(admin.user_id)
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=False)
    assert services.user_administration.get(admin, "bim", "robot").owner == ServiceOwner(admin.user_id)


def test_doing_it_again_changes_nothing(services: Services, admin: Principal, bob: Principal) -> None:
    """Disabling the disabled and enabling the enabled writes nothing (A6)."""
    before = len(actions(services))
    for disabled in (False, True, True, False, False):
        services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=disabled)
    assert [row.action for row in last_rows(services, before)] == ["UserDisabled", "UserEnabled"]


def test_no_disabled_person_or_program_inherits(services: Services, admin: Principal, bob: Principal) -> None:
    """Service accounts are handed to a person who is there and not disabled, and to nobody else."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True)
    for userid in ("bob", "robot", "nobody", ""):
        with pytest.raises(InvalidInput) as refused:
            services.service_accounts.find_successor(admin, userid)
        assert refused.value.field == "handOverTo"
    assert services.service_accounts.find_successor(admin, None) is None


# Deleting


def test_deleting_ends_everything_at_once(services: Services, admin: Principal, bob: Principal) -> None:
    """The deleted are gone with keys, tokens, sessions and service accounts at the very next call (R3)."""
    cookie = log_in(services)
    assert signed_in(services, cookie)
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    key, robot_key = new_key(services, bob).secret, key_of_service(services, admin).secret
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    login_token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    group = services.groups.add(admin, HERE, iamid="bim", name="one")
    services.groups.add_member(admin, group.group_id, HERE, iamid="bim", userid="bob")
    services.groups.add_member(admin, group.group_id, HERE, iamid="bim", userid="robot")
    credentials = (key, robot_key, token, login_token)
    assert all(is_accepted(services, credential) for credential in credentials)
    assert [
        user.userid
        for user in services.offboarding.what_stops(
            admin, services.user_administration.get(admin, "bim", "bob")
        ).service_accounts
    ] == ["robot"]
    before = len(actions(services))

    assert services.offboarding.delete(admin, "bim", "bob", HERE).user_id == bob.user_id

    assert not any(is_accepted(services, credential) for credential in credentials)
    assert services.sessions.find(cookie) is None
    assert [row.action for row in last_rows(services, before)] == ["UserDeleted", "UserDeleted"]
    for userid in ("bob", str(bob.user_id), "robot"):
        with pytest.raises(NotFound):
            services.user_administration.get(admin, "bim", userid)
        with pytest.raises(NotFound):
            services.offboarding.delete(admin, "bim", userid, HERE)
    assert services.groups.list_members(admin, group.group_id).items == ()
    assert services.store.integrity_problems() == []


def test_a_name_that_is_free_again_is_somebody_else(
    services: Services, admin: Principal, bob: Principal
) -> None:
    """Who is made under the name of a deleted person is new: no key, session or id of old is theirs."""
    key, cookie = new_key(services, bob).secret, log_in(services)
    services.offboarding.delete(admin, "bim", "bob", HERE)

    again = add_person(services)

    assert again.user_id > bob.user_id
    assert not is_accepted(services, key)
    assert services.sessions.find(cookie) is None
    assert services.keys.list_of(again.user_id).items == ()


def test_an_heir_keeps_the_service_accounts_of_the_deleted(
    services: Services, admin: Principal, bob: Principal
) -> None:
    """With a successor, those that had stopped with their owner work again, those stopped by hand do not."""
    for name in ("works", "stopped"):
        add_service_account(services, admin, ServiceOwner(bob.user_id), name)
    keys = {name: key_of_service(services, admin, name).secret for name in ("works", "stopped")}
    services.offboarding.set_disabled(admin, "bim", "stopped", HERE, disabled=True)
    services.offboarding.set_disabled(admin, "bim", "bob", HERE, disabled=True)

    services.offboarding.delete(admin, "bim", "bob", HERE, successor=ServiceOwner(admin.user_id))

    assert is_accepted(services, keys["works"])
    assert not is_accepted(services, keys["stopped"])
    for name in keys:
        assert services.user_administration.get(admin, "bim", name).owner == ServiceOwner(admin.user_id)
    assert services.store.integrity_problems() == []


def test_an_heir_who_is_gone_undoes_it(services: Services, admin: Principal, bob: Principal) -> None:
    """When the successor was deleted meanwhile nothing happens at all, and the error says what is wrong."""
    carol = add_person(services, "carol")
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    successor = services.service_accounts.find_successor(admin, "carol")
    services.offboarding.delete(admin, "bim", "carol", HERE)
    before = actions(services)

    for act in (
        lambda: services.offboarding.delete(admin, "bim", "bob", HERE, successor=successor),
        lambda: services.offboarding.set_disabled(
            admin, "bim", "bob", HERE, disabled=True, successor=successor
        ),
    ):
        with pytest.raises(InvalidState):
            act()

    assert actions(services) == before
    assert not services.user_administration.get(admin, "bim", "bob").is_disabled
    assert carol.user_id != bob.user_id


def test_what_a_deleted_person_registered_stays(services: Services, admin: Principal) -> None:
    """A connection whose registrar was deleted reads as before, but for their name."""
    carol = holder(services, "carol", Permission.CREATE_DATA_SOURCE)
    services.connections.register(COMMAND_LINE, carol.user_id, "one", {"technology": "Trino"})
    before = services.connections.get(admin, "one")

    services.offboarding.delete(admin, "bim", "carol", HERE)

    after = services.connections.get(admin, "one")
    assert after.details == before.details
    assert (after.created_by, after.creator.user_id, after.creator.name) == (
        carol.user_id,
        carol.user_id,
        None,
    )


def test_deleting_races_with_everything_else(services: Services, admin: Principal) -> None:
    """Whatever is done to a person while they are deleted succeeds or is refused, and nothing is left."""
    for round_ in range(8):
        acts = everything_done_to(services, admin, f"carol {round_}", f"robot {round_}")

        outcomes = all_at_once(len(acts), lambda number, acts=acts: acts[number]())  # type: ignore[misc]

        assert [outcome for outcome in outcomes if is_failure(outcome)] == []
        assert not isinstance(outcomes[0], BaseException)
        with pytest.raises(NotFound):
            services.user_administration.get(admin, "bim", f"carol {round_}")
    assert services.store.integrity_problems() == []


def everything_done_to(
    services: Services, admin: Principal, userid: str, robot: str
) -> list[Callable[[], object]]:
    """Return what deletes a new person, and what else changes them, their invitation or their program."""
    who = holder(services, userid)
    add_service_account(services, admin, ServiceOwner(who.user_id), robot)
    code = services.user_administration.invite(admin, "bim", userid, HERE).link.partition("#")[2]
    new_key(services, who)
    return [
        lambda: services.offboarding.delete(admin, "bim", userid, HERE),
        lambda: services.offboarding.set_disabled(admin, "bim", userid, HERE, disabled=True),
        lambda: services.offboarding.set_disabled(admin, "bim", robot, HERE, disabled=True),
        lambda: services.offboarding.set_disabled(admin, "bim", robot, HERE, disabled=False),
        lambda: services.user_administration.invite(admin, "bim", userid, HERE),
        lambda: services.invitations.accept(code, NEW_PASSWORD, HERE),
        lambda: new_key(services, who),
        lambda: log_in(services, userid),
        lambda: services.service_accounts.transfer(admin, robot, ServiceOwner(admin.user_id), HERE),
    ]


def is_failure(outcome: object) -> bool:
    """Return whether this is an error that no caller brought about."""
    refusals = (NotFound, InvalidState, InvalidInput, CredentialRefused, Conflict)
    return isinstance(outcome, BaseException) and not isinstance(outcome, refusals)


def test_changes_of_one_account_never_wait_for_each_other(services: Services, admin: Principal) -> None:
    """Whatever is done at once to an owner, their service account and their invitation, nothing fails."""
    bob = holder(services, "bob")
    other = ServiceOwner(add_person(services, "carol").user_id)
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    owners = itertools.cycle([other, ServiceOwner(bob.user_id)])
    for _ in range(15):
        code = services.user_administration.invite(admin, "bim", "bob", HERE).link.partition("#")[2]
        acts: list[Callable[[], object]] = [
            *(
                partial(services.offboarding.set_disabled, admin, "bim", userid, HERE, disabled=disabled)
                for userid in ("bob", "robot")
                for disabled in (True, False)
            ),
            partial(services.service_accounts.transfer, admin, "robot", next(owners), HERE),
            partial(services.user_administration.invite, admin, "bim", "bob", HERE),
            partial(services.user_administration.invite, admin, "bim", "bob", HERE),
            partial(services.invitations.accept, code, NEW_PASSWORD, HERE),
            partial(set_password, services, "bob", PASSWORD),
        ]

        outcomes = all_at_once(len(acts), lambda number, acts=acts: acts[number]())  # type: ignore[misc]

        assert [outcome for outcome in outcomes if is_failure(outcome)] == []
