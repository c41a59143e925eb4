"""Projects: seen by members, changed by owners; a key of one sees its connections and nothing else."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from keyturn.composition import Services
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import MAX_ID
from keyturn.core.scopes import check_scopes, covers
from keyturn.errors import InvalidInput, InvalidState, NotFound, PermissionMissing, ScopeMissing
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import NOTHING_THERE, covered, register, why_no_token
from tests.people import (
    HERE,
    NOWHERE,
    actions,
    add_person,
    caller,
    change_behind,
    holder,
    is_accepted,
    last_rows,
    new_key,
    put_together,
)
from tests.store.crowds import all_at_once

NO_IDS = (0, -1, 10**6, MAX_ID, MAX_ID + 1, 2**70)
CONNECTIONS = ("one", "three", "two")


@pytest.fixture
def carol(services: Services, admin: Principal) -> Principal:
    """Carol, who may see connections and make projects. There are three connections."""
    for key in CONNECTIONS:
        services.connections.register(COMMAND_LINE, admin.user_id, key, {"technology": key})
    carol = holder(services, "carol", Permission.CREATE_DATA_SOURCE, Permission.CREATE_PROJECT)
    put_together(services, admin, "carol", "ada")
    return carol


@pytest.fixture
def project(services: Services, carol: Principal) -> int:
    """The id of a project of Carol's with one connection."""
    made = services.projects.add(carol, HERE, name="trial", description=None)
    services.projects.add_connection(carol, made.project_id, "one", HERE)
    return made.project_id


def key_of(services: Services, who: Principal, project_id: int) -> str:
    return new_key(services, who, project_id=project_id).secret


def seen(services: Services, credential: str) -> list[str]:
    """Return the connections that exist for a credential, asked in both ways, which must agree."""
    who = caller(services, credential)
    listed = services.connections.list_keys(who)
    for key in CONNECTIONS:
        if key in listed:
            assert services.connections.get(who, key).connection_key == key
        else:
            with pytest.raises(NotFound, match=r"^There is no such connection\.$"):
                services.connections.get(who, key)
    return listed


# The project


def test_a_project_is_its_maker_s(services: Services, carol: Principal, admin: Principal) -> None:
    """Who makes a project owns it; what was said of it is what is read."""
    made = services.projects.add(carol, HERE, name=" Trial ", description="Two\nlines")
    assert (made.name, made.description, made.created_by) == ("Trial", "Two\nlines", carol.user_id)
    (member,) = made.members
    assert (member.userid, member.is_owner) == ("carol", True)
    assert services.projects.get(carol, made.project_id) == made
    changed = services.projects.update(carol, made.project_id, HERE, name=None, description=None)
    assert (changed.name, changed.description) == ("Trial", None)
    with pytest.raises(InvalidInput) as refused:
        services.projects.add(admin, HERE, name="Trial", description=None)
    assert (refused.value.field, refused.value.code) == ("name", "unique")
    with pytest.raises(InvalidInput):
        services.projects.add(carol, HERE, name=" ", description=None)


def test_making_one_needs_the_permission(services: Services, admin: Principal) -> None:
    """Every other permission makes no project."""
    all_but_one = frozenset(Permission) - {Permission.CREATE_PROJECT}
    others = replace(holder(services, "others"), permissions=all_but_one)
    with pytest.raises(PermissionMissing):
        services.projects.add(others, HERE, name="mine", description=None)


def test_fault_b2_a_name_is_taken_where_it_can_be_seen(
    services: Services, carol: Principal, admin: Principal, project: int
) -> None:
    """A name is free if one cannot see the project that has it, for a new project and for a change."""
    dave = holder(services, "dave", Permission.CREATE_PROJECT)
    own = services.projects.add(dave, HERE, name="own", description=None).project_id
    assert services.projects.update(dave, own, HERE, name="trial", description=None).name == "trial"
    twin = services.projects.add(dave, HERE, name="twin", description=None).project_id
    for act in (
        lambda: services.projects.add(dave, HERE, name="trial", description=None),
        lambda: services.projects.update(dave, twin, HERE, name="trial", description=None),
        lambda: services.projects.add(carol, HERE, name="trial", description=None),
        lambda: services.projects.add(admin, HERE, name="twin", description=None),
        lambda: services.projects.update(admin, project, HERE, name="twin", description=None),
    ):
        with pytest.raises(InvalidInput) as refused:
            act()
        assert (refused.value.field, refused.value.code) == ("name", "unique")
    assert services.projects.add(carol, HERE, name="twin", description=None).name == "twin"


def test_fault_b2_of_several_with_one_name_at_once_one_is_made(services: Services, carol: Principal) -> None:
    """However many a person makes at the same moment, one has the name."""
    outcomes = all_at_once(
        4, lambda _number: services.projects.add(carol, HERE, name="trial", description=None)
    )
    assert sorted(isinstance(outcome, InvalidInput) for outcome in outcomes) == [False, True, True, True]
    assert len(services.projects.list_visible(carol)) == 1


def test_strangers_see_no_project(services: Services, carol: Principal, project: int) -> None:
    """A project exists for its members, and for who may see all; for others it is as absent as none (A2)."""
    stranger = holder(services, "stranger", Permission.CREATE_PROJECT, Permission.USER_ADMIN)
    governor = holder(services, "governor", Permission.GOVERNANCE)
    manager = holder(services, "manager", Permission.PROJECT_MANAGEMENT)
    services.projects.set_member(carol, project, "ada", HERE, is_owner=False)
    for who in (carol, governor, manager):
        assert [each.project_id for each in services.projects.list_visible(who)] == [project]
    assert services.projects.list_visible(stranger).items == ()
    refusals = set()
    for project_id in (project, *NO_IDS):
        for act in (
            services.projects.get,
            lambda who, number: services.projects.delete(who, number, HERE),
            lambda who, number: services.projects.add_connection(who, number, "one", HERE),
            lambda who, number: services.projects.set_member(who, number, "ada", HERE, is_owner=True),
        ):
            with pytest.raises(NotFound) as refused:
                act(stranger, project_id)  # type: ignore[operator]
            refusals.add(str(refused.value))
    assert len(refusals) == 1


def test_members_do_not_change_it(
    services: Services, carol: Principal, project: int, admin: Principal
) -> None:
    """A member who is no owner, and GOVERNANCE, see a project and change nothing of it."""
    member = holder(services, "member", Permission.CREATE_DATA_SOURCE)
    put_together(services, admin, "carol", "member")
    services.projects.set_member(carol, project, "member", HERE, is_owner=False)
    before = actions(services)
    for who in (member, holder(services, "governor", Permission.GOVERNANCE)):
        for act in (
            lambda who: services.projects.update(who, project, HERE, name="x", description=None),
            lambda who: services.projects.delete(who, project, HERE),
            lambda who: services.projects.set_member(who, project, "member", HERE, is_owner=True),
            lambda who: services.projects.remove_member(who, project, "carol", HERE),
            lambda who: services.projects.add_connection(who, project, "two", HERE),
            lambda who: services.projects.remove_connection(who, project, "one", HERE),
        ):
            with pytest.raises(PermissionMissing):
                act(who)
    assert [action for action in actions(services)[len(before) :] if action.startswith("Project")] == []


def test_the_last_owner_stays(services: Services, carol: Principal, project: int, admin: Principal) -> None:
    """A project keeps an owner: the last one neither leaves nor ceases to own it, until another does."""
    add_person(services)
    put_together(services, admin, "carol", "bob")
    for act in (
        lambda: services.projects.remove_member(carol, project, "carol", HERE),
        lambda: services.projects.set_member(carol, project, "carol", HERE, is_owner=False),
    ):
        with pytest.raises(InvalidState):
            act()
    services.projects.set_member(carol, project, "bob", HERE, is_owner=True)
    left = services.projects.remove_member(carol, project, "carol", HERE)
    assert [(member.userid, member.is_owner) for member in left.members] == [("bob", True)]
    with pytest.raises(NotFound):
        services.projects.get(carol, project)


def test_of_the_last_two_owners_one_stays(services: Services, admin: Principal, carol: Principal) -> None:
    """When the last two owners leave at once, or cease to own, one of them stays, every time."""
    add_person(services)
    put_together(services, admin, "carol", "bob")
    for round_ in range(12):
        made = services.projects.add(carol, HERE, name=f"trial {round_}", description=None).project_id
        services.projects.set_member(carol, made, "bob", HERE, is_owner=True)

        def leave(number: int, project_id: int = made) -> object:
            userid = ("carol", "bob")[number]
            if number and project_id % 2:
                return services.projects.set_member(admin, project_id, userid, HERE, is_owner=False)
            return services.projects.remove_member(admin, project_id, userid, HERE)

        outcomes = all_at_once(2, leave)

        errors = [type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)]
        assert errors == [InvalidState]
        owners = [member for member in services.projects.get(admin, made).members if member.is_owner]
        assert len(owners) == 1


def test_wrong_names_are_said_of_their_fields(services: Services, carol: Principal, project: int) -> None:
    """Users and connections that are not there, or not in the project, are refused with their field."""
    for field, act in (
        ("userid", lambda: services.projects.set_member(carol, project, "nobody", HERE, is_owner=False)),
        ("userid", lambda: services.projects.remove_member(carol, project, "ada", HERE)),
        ("connectionKey", lambda: services.projects.add_connection(carol, project, "none", HERE)),
        ("connectionKey", lambda: services.projects.add_connection(carol, project, "\x00\ud800", HERE)),
        ("connectionKey", lambda: services.projects.remove_connection(carol, project, "two", HERE)),
        ("connectionKey", lambda: services.projects.remove_connection(carol, project, "\x00", HERE)),
    ):
        with pytest.raises(InvalidInput) as refused:
            act()
        assert refused.value.field == field


def test_what_is_so_already_writes_nothing(services: Services, carol: Principal, project: int) -> None:
    """Adding a connection that is there, and setting a member to what they are, leave no row."""
    before = len(actions(services))
    for _ in range(2):
        services.projects.add_connection(carol, project, "two", HERE)
        services.projects.set_member(carol, project, "ada", HERE, is_owner=False)
    assert len(last_rows(services, before)) == 2


# Keys of a project


def test_a_key_of_a_project_sees_its_connections_alone(
    services: Services, carol: Principal, project: int
) -> None:
    """A key of a project, and a token of it, see the project's connections as they are at each call (A3)."""
    free, linked = new_key(services, carol).secret, key_of(services, carol, project)
    token = services.exchange.exchange(in_header=[], in_body=linked, origin=HERE).token
    assert seen(services, free) == list(CONNECTIONS)
    for change, expected in (
        (None, ["one"]),
        (lambda: services.projects.add_connection(carol, project, "two", HERE), ["one", "two"]),
        (lambda: services.projects.remove_connection(carol, project, "one", HERE), ["two"]),
        (lambda: services.projects.remove_connection(carol, project, "two", HERE), []),
        (lambda: services.projects.add_connection(carol, project, "three", HERE), ["three"]),
    ):
        if change is not None:
            change()
        for credential in (linked, token):
            assert seen(services, credential) == expected
        assert seen(services, free) == list(CONNECTIONS)


def test_who_left_sees_nothing(services: Services, carol: Principal, project: int, admin: Principal) -> None:
    """A key of a project sees nothing from the moment its owner is out, and again once they are back."""
    dave = holder(services, "dave", Permission.GOVERNANCE)
    put_together(services, admin, "carol", "dave")
    services.projects.set_member(carol, project, "dave", HERE, is_owner=False)
    linked, of_carol = key_of(services, dave, project), key_of(services, carol, project)
    assert seen(services, linked) == ["one"]

    services.projects.remove_member(carol, project, "dave", HERE)
    assert seen(services, linked) == []
    assert seen(services, of_carol) == ["one"]
    services.projects.set_member(carol, project, "dave", HERE, is_owner=False)
    assert seen(services, linked) == ["one"]


def test_a_deleted_project_ends_its_keys(services: Services, carol: Principal, project: int) -> None:
    """The keys of a deleted project are revoked at once, each with its row, and never see anything again."""
    free, linked = new_key(services, carol), new_key(services, carol, project_id=project)
    token = services.exchange.exchange(in_header=[], in_body=linked.secret, origin=HERE).token
    assert is_accepted(services, token)
    before = len(actions(services))

    services.projects.delete(carol, project, HERE)

    assert not is_accepted(services, linked.secret)
    assert not is_accepted(services, token)
    assert is_accepted(services, free.secret)
    assert [(row.action, row.target_type, row.target_id) for row in last_rows(services, before)] == [
        ("ProjectDeleted", "PROJECT", str(project)),
        ("ApiKeyDeleted", "APIKEY", str(linked.record.key_id)),
    ]
    with pytest.raises(NotFound):
        services.projects.delete(carol, project, HERE)
    again = services.projects.add(carol, HERE, name="trial", description=None)
    assert again.project_id > project, "its number never means another project"


def test_a_key_that_was_made_too_late_sees_nothing(
    services: Services, carol: Principal, project: int
) -> None:
    """A key whose project was deleted while it was made may be alive, and sees nothing."""
    linkable = services.projects.check_linkable
    services.projects.check_linkable = (  # type: ignore[method-assign]
        lambda *given: (linkable(*given), services.projects.delete(carol, project, HERE))[0]
    )
    linked = key_of(services, carol, project)
    assert seen(services, linked) == []


def test_a_key_is_linked_by_members_alone(services: Services, carol: Principal, project: int) -> None:
    """Nobody links a key to a project that is not there, or that they are not in (1.2)."""
    governor = holder(services, "governor", Permission.GOVERNANCE)
    refusals = set()
    for who, number in ((governor, project), *((carol, number) for number in NO_IDS)):
        with pytest.raises(NotFound) as refused:
            new_key(services, who, project_id=number)
        refusals.add(str(refused.value))
    assert len(refusals) == 1


def test_a_key_made_with_a_key_of_a_project_stays_in_it(
    services: Services, carol: Principal, project: int
) -> None:
    """With a key of a project no other key is made than one of that project, nor with a token of it (A3)."""
    other = services.projects.add(carol, HERE, name="other", description=None).project_id
    linked = key_of(services, carol, project)
    token = services.exchange.exchange(in_header=[], in_body=linked, origin=HERE).token
    for credential in (linked, token):
        who = caller(services, credential)
        for chosen in ({}, {"project_id": project}):
            made = new_key(services, who, **chosen)
            assert made.record.project_id == project
            assert seen(services, made.secret) == ["one"]
        with pytest.raises(NotFound):
            new_key(services, who, project_id=other)


def test_a_key_of_a_project_changes_no_project(services: Services, carol: Principal, project: int) -> None:
    """With a key of a project, its owner even, nobody widens what the key sees (A3)."""
    who = caller(services, key_of(services, carol, project))
    for act in (
        lambda: services.projects.add_connection(who, project, "two", HERE),
        lambda: services.projects.set_member(who, project, "ada", HERE, is_owner=True),
        lambda: services.projects.add(who, HERE, name="mine", description=None),
    ):
        with pytest.raises(PermissionMissing):
            act()


def test_a_deleted_member_leaves_the_project(services: Services, admin: Principal, carol: Principal) -> None:
    """A project outlives its owner: who manages all projects names another."""
    made = services.projects.add(carol, HERE, name="trial", description=None).project_id
    services.offboarding.delete(admin, "bim", "carol", HERE)
    left = services.projects.get(admin, made)
    assert (left.members, left.created_by) == ((), carol.user_id)
    changed = services.projects.set_member(admin, made, "ada", HERE, is_owner=True)
    assert [member.userid for member in changed.members] == ["ada"]


@pytest.mark.parametrize("has_left", [False, True], ids=["member", "left"])
def test_fault_a11_a_key_of_a_project_covers_no_scope(
    services: Services, admin: Principal, carol: Principal, project: int, *, has_left: bool
) -> None:
    """A key of a project, or a token of it, covers no scope anywhere, also when its owner has left."""
    dave = holder(services, "dave", Permission.CREATE_DATA_SOURCE)
    register(services, "orders")
    put_together(services, admin, "carol", "dave")
    services.projects.set_member(carol, project, "dave", HERE, is_owner=False)
    linked = key_of(services, dave, project)
    if has_left:
        services.projects.remove_member(carol, project, "dave", HERE)
    for credential in (linked, services.exchange.exchange(in_header=[], in_body=linked, origin=HERE).token):
        for _ in range(2):  # Looked up, and remembered.
            assert covered(services, credential, "orders") in {NOTHING_THERE, "audience"}
            with pytest.raises(ScopeMissing):
                check_scopes(caller(services, credential), {"orders:read"})
            wanted = frozenset({"orders:read"})
            assert services.authenticator.recognise(credential.encode(), NOWHERE, wanted) is None
            told = services.oauth.introspect({"token": credential}, [linked.encode()], HERE)
            assert told is not None
            assert not covers(told.principal, wanted)
        assert why_no_token(services, credential, "orders") == "invalid_scope"
        assert why_no_token(services, credential, None, "orders:read") == "invalid_scope"


def test_fault_a11_a_key_is_of_a_project_or_of_scopes(
    services: Services, carol: Principal, project: int
) -> None:
    """Nothing is made that is linked to a project and narrowed to scopes; what was made before is refused."""
    register(services, "orders")
    with pytest.raises(InvalidInput, match="choose one of both"):
        new_key(services, carol, project_id=project, scopes=["orders:read"])
    made = new_key(services, carol, scopes=["orders:read"])
    change_behind(
        services,
        "UPDATE api_key SET project_id = :project WHERE id = :id",
        project=project,
        id=made.record.key_id,
    )
    assert covered(services, made.secret, "orders") == NOTHING_THERE
    assert covered(services, made.secret, None) == "withheld"
