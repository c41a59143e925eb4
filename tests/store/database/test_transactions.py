"""Transactions: state, audit row and revision are one thing, or nothing (D6, A6, A7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from keyturn.core.audit import AuditAction, Target
from keyturn.core.jwk import Algorithm
from keyturn.core.people import ServiceOwner, UserKind
from keyturn.core.permissions import ADMINISTRATION
from keyturn.core.records import SigningKeyRecord, SystemKeyRecord
from keyturn.core.searches import GroupSearch, KeySearch, ProjectSearch, UserSearch
from keyturn.errors import Conflict, InvalidState, KeyturnError, StoreUnavailable, TooBusy
from keyturn.store import Store
from keyturn.store.database.schema import metadata
from keyturn.store.installation.seals import SEALED_COLUMNS
from keyturn.store.keys.system_keys import SystemKeyToAdd
from keyturn.store.people.groups import GroupFields
from tests.store.crowds import all_at_once
from tests.store.rows import (
    LATER_SEAL,
    NOW,
    SEAL,
    a_key,
    a_session,
    a_successor,
    a_user,
    a_user_name,
    an_entry,
    an_unwritable_entry,
    giving,
    grant_all,
    taking,
)

LATER = NOW + timedelta(hours=1)


@dataclass
class World:
    """A store with something in it that each change can be tried on."""

    store: Store
    user_id: int
    key_id: int
    session_id: int
    other_id: int
    """Somebody else, with nothing."""
    admin_id: int
    """The one administrator."""
    robot_id: int
    """A service account of that user's."""
    group_id: int
    """A group with that user in it."""
    membership_id: int
    project_id: int
    """A project that the user owns and the administrator is in, with a connection."""
    system_key: SystemKeyRecord


@pytest.fixture
def world(store: Store) -> World:
    return new_world(store)


def new_world(store: Store) -> World:
    user_id = store.users.add(a_user(), an_entry()).user_id
    key_id = store.api_keys.add(a_key(user_id, idempotency_key="once"), an_entry()).key_id
    session_id = store.logins.record_login(a_session(user_id), an_entry(), checked="hash", rehashed=None)
    assert session_id is not None
    store.logins.record_failed_login(user_id, lambda _failures: None, an_entry())
    other_id = store.users.add(a_user("other"), an_entry()).user_id
    store.logins.invite(other_id, b"invited", LATER, an_entry())
    store.users.change_attributes(user_id, giving("team", "x"), NOW, an_entry())
    for key in ("there", "free"):
        store.connections.add(key, {"technology": "X"}, user_id, an_entry())
    admin_id = store.users.add(a_user("admin", permissions=frozenset(ADMINISTRATION)), an_entry()).user_id
    robot = a_user("robot", kind=UserKind.SERVICE, owner=ServiceOwner(user_id), password_hash=None)
    group_id = store.groups.add("bim", fields_of_group("one"), NOW, an_entry()).group_id
    store.groups.change_attributes(group_id, giving("team", "x"), NOW, an_entry())
    project_id = store.projects.add("one", None, user_id, NOW, an_entry()).project_id
    store.projects.set_member(project_id, admin_id, NOW, an_entry(), is_owner=False)
    store.projects.add_connection(project_id, "there", an_entry())
    return World(
        store,
        user_id,
        key_id,
        session_id,
        other_id,
        admin_id,
        store.users.add(robot, an_entry()).user_id,
        group_id,
        store.groups.add_member(group_id, user_id, NOW, an_entry(), allow=grant_all).membership_id,
        project_id,
        store.system_keys.add(a_system_key(admin_id, "one"), an_entry()),
    )


def fields_of_group(name: str) -> GroupFields:
    return GroupFields(name, None, None)


def a_system_key(user_id: int, name: str, seal: bytes = SEAL) -> SystemKeyToAdd:
    return SystemKeyToAdd(a_key(user_id), name, "there", ("plugin:trino",), seal)


def handing_over(world: World, entry: Any) -> Any:
    """Return the entry as one of handing the service account over."""
    action = AuditAction.SERVICE_ACCOUNT_TRANSFERRED
    return replace(entry, action=action, target_id=str(world.robot_id))


Attempt = Callable[[World, object], object]


def new_signing_key(kid: str = "kid", algorithm: Algorithm = "ES256", seal: bytes = SEAL) -> SigningKeyRecord:
    return SigningKeyRecord(kid, algorithm, seal, NOW, NOW)


# In an order in which each can follow the ones before it.
CHANGES: dict[str, Attempt] = {
    "users.add": lambda w, e: w.store.users.add(a_user("eve"), e),
    "logins.record_login": lambda w, e: w.store.logins.record_login(
        a_session(w.user_id), e, checked="hash", rehashed="stronger"
    ),
    "logins.record_failed_login": lambda w, e: w.store.logins.record_failed_login(
        w.user_id, lambda _failures: LATER, e
    ),
    "logins.unlock": lambda w, e: w.store.logins.unlock(w.user_id, e),
    "users.rename": lambda w, e: w.store.users.rename(w.user_id, a_user_name("robert"), LATER, e),
    "users.update_profile": lambda w, e: w.store.users.update_profile(
        w.user_id, {"name": "Robert"}, LATER, e
    ),
    "api_keys.add": lambda w, e: w.store.api_keys.add(a_key(w.user_id), e),
    "api_keys.replace_secret": lambda w, e: w.store.api_keys.replace_secret(
        a_key(w.user_id, idempotency_key="once"), e
    ),
    "api_keys.revoke": lambda w, e: w.store.api_keys.revoke(w.key_id, w.user_id, LATER, e),
    "sessions.end": lambda w, e: w.store.sessions.end(w.session_id, w.user_id, LATER, e),
    "sessions.end_all": lambda w, e: w.store.sessions.end_all(w.user_id, LATER, e),
    "connections.add": lambda w, e: w.store.connections.add("new", {"technology": "X"}, w.user_id, e),
    "signing_keys.add_first": lambda w, e: w.store.signing_keys.add_first(new_signing_key(), e),
    "signing_keys.change_algorithm": lambda w, e: w.store.signing_keys.change_algorithm(
        new_signing_key("other", "EdDSA"), e, e, grace=timedelta(0)
    ),
    "signing_keys.add_next": lambda w, e: w.store.signing_keys.add_next(
        new_signing_key("next"), e, others_verify_until=LATER
    ),
    "logins.set_password": lambda w, e: w.store.logins.set_password(w.user_id, "other", LATER, e, kept=None),
    "users.sign_out": lambda w, e: w.store.users.sign_out(w.user_id, LATER, e),
    "users.change_permissions": lambda w, e: w.store.users.change_permissions(
        w.user_id, lambda _held: frozenset({"ADMIN"}), LATER, e
    ),
    "users.change_attributes": lambda w, e: w.store.users.change_attributes(
        w.user_id, giving("team", "y"), LATER, e
    ),
    "users.change_attributes, taking": lambda w, e: w.store.users.change_attributes(
        w.user_id, taking("team", "x"), LATER, e
    ),
    "logins.accept_invitation": lambda w, e: w.store.logins.accept_invitation(b"invited", "other", NOW, e),
    "logins.invite": lambda w, e: w.store.logins.invite(w.user_id, b"again", LATER, e),
    "groups.add": lambda w, e: w.store.groups.add("bim", fields_of_group("two"), NOW, e),
    "groups.update": lambda w, e: w.store.groups.update(w.group_id, fields_of_group("new"), LATER, e),
    "groups.add_member": lambda w, e: w.store.groups.add_member(
        w.group_id, w.other_id, LATER, e, allow=grant_all
    ),
    "groups.remove_member": lambda w, e: w.store.groups.remove_member(w.group_id, w.membership_id, e),
    "groups.change_attributes": lambda w, e: w.store.groups.change_attributes(
        w.group_id, giving("team", "y"), LATER, e
    ),
    "groups.change_attributes, taking": lambda w, e: w.store.groups.change_attributes(
        w.group_id, taking("team", "x"), LATER, e
    ),
    "groups.delete": lambda w, e: w.store.groups.delete(w.group_id, LATER, e),
    "projects.add": lambda w, e: w.store.projects.add("two", None, w.user_id, NOW, e),
    "projects.update": lambda w, e: w.store.projects.update(w.project_id, "new", None, LATER, e),
    "projects.set_member": lambda w, e: w.store.projects.set_member(
        w.project_id, w.other_id, LATER, e, is_owner=True
    ),
    "projects.remove_member": lambda w, e: w.store.projects.remove_member(w.project_id, w.admin_id, e),
    "projects.add_connection": lambda w, e: w.store.projects.add_connection(w.project_id, "free", e),
    "projects.remove_connection": lambda w, e: w.store.projects.remove_connection(w.project_id, "there", e),
    "projects.delete": lambda w, e: w.store.projects.delete(w.project_id, LATER, e),
    "service_accounts.transfer": lambda w, e: w.store.service_accounts.transfer(
        w.robot_id, a_successor(w.other_id), LATER, handing_over(w, e)
    ),
    "system_keys.add": lambda w, e: w.store.system_keys.add(a_system_key(w.admin_id, "two"), e),
    "users.set_disabled": lambda w, e: w.store.users.set_disabled(w.user_id, LATER, LATER, e),
    "users.delete": lambda w, e: w.store.users.delete(w.user_id, LATER, e),
    "seals.begin_rotation": lambda w, e: w.store.seals.begin_rotation(SEAL, LATER_SEAL, e),
}

WITH_CONSEQUENCES: dict[str, Attempt] = {
    "api_keys.revoke_some": lambda w, e: w.store.api_keys.revoke_some([w.key_id], LATER, e),
    "users.set_disabled, of an owner": lambda w, e: w.store.users.set_disabled(w.user_id, LATER, LATER, e),
    "users.set_disabled, with a successor": lambda w, e: w.store.users.set_disabled(
        w.user_id, LATER, LATER, e, successor=a_successor(w.other_id)
    ),
    "users.delete, of an owner": lambda w, e: w.store.users.delete(w.user_id, LATER, e),
    "users.delete, with a successor": lambda w, e: w.store.users.delete(
        w.user_id, LATER, e, successor=a_successor(w.other_id)
    ),
    "system_keys.replace": lambda w, e: w.store.system_keys.replace(
        w.system_key, a_system_key(w.admin_id, "one"), LATER, revocation=e, audit=e
    ),
    "signing_keys.begin_anew": lambda w, e: w.store.signing_keys.begin_anew(
        SEAL, LATER_SEAL, new_signing_key("anew", seal=LATER_SEAL), "They do not open.", replaced=e, retired=e
    ),
}
"""Changes that are told of by one row for each thing that changes."""

REFUSED: dict[str, Attempt] = {
    "users.add, taken": lambda w, e: w.store.users.add(a_user(), e),
    "users.add_first, closed": lambda w, e: w.store.users.add_first(a_user("eve"), b"code", e),
    "logins.record_login, other hash": lambda w, e: w.store.logins.record_login(
        a_session(w.user_id), e, checked="stale", rehashed="stronger"
    ),
    "users.set_disabled, enabled already": lambda w, e: w.store.users.set_disabled(w.user_id, None, LATER, e),
    "users.set_disabled, unknown": lambda w, e: w.store.users.set_disabled(10**6, LATER, LATER, e),
    "api_keys.replace_secret, unknown": lambda w, e: w.store.api_keys.replace_secret(
        a_key(w.user_id, idempotency_key="never seen"), e
    ),
    "api_keys.replace_secret, other name": lambda w, e: w.store.api_keys.replace_secret(
        a_key(w.user_id, idempotency_key="once", name="other"), e
    ),
    "api_keys.revoke, not theirs": lambda w, e: w.store.api_keys.revoke(w.key_id, w.user_id + 1, LATER, e),
    "api_keys.revoke_some, unknown": lambda w, e: w.store.api_keys.revoke_some([10**6], LATER, e),
    "api_keys.revoke, unknown": lambda w, e: w.store.api_keys.revoke(10**6, w.user_id, LATER, e),
    "api_keys.add, idempotency key seen": lambda w, e: w.store.api_keys.add(
        a_key(w.user_id, idempotency_key="once"), e
    ),
    "sessions.end, not theirs": lambda w, e: w.store.sessions.end(w.session_id, w.user_id + 1, LATER, e),
    "users.change_permissions, unknown": lambda w, e: w.store.users.change_permissions(
        10**6, lambda held: held | {"ADMIN"}, LATER, e
    ),
    "users.change_permissions, of the last administrator": lambda w, e: w.store.users.change_permissions(
        w.admin_id, lambda _held: frozenset(), LATER, e
    ),
    "users.set_disabled, the last administrator": lambda w, e: w.store.users.set_disabled(
        w.admin_id, LATER, LATER, e
    ),
    "users.delete, the last administrator": lambda w, e: w.store.users.delete(w.admin_id, LATER, e),
    "users.delete, unknown": lambda w, e: w.store.users.delete(10**6, LATER, e),
    "users.delete, unknown successor": lambda w, e: w.store.users.delete(
        w.user_id, LATER, e, successor=a_successor(10**6)
    ),
    "users.add, unknown owner": lambda w, e: w.store.users.add(
        a_user("eve", kind=UserKind.SERVICE, owner=ServiceOwner(group_id=10**6)), e
    ),
    "users.change_attributes, there": lambda w, e: w.store.users.change_attributes(
        w.user_id, giving("team", "x"), LATER, e
    ),
    "users.change_attributes, unknown": lambda w, e: w.store.users.change_attributes(
        10**6, giving("team", "x"), LATER, e
    ),
    "users.change_attributes, another value": lambda w, e: w.store.users.change_attributes(
        w.user_id, taking("team", "y"), LATER, e
    ),
    "logins.invite, unknown": lambda w, e: w.store.logins.invite(10**6, b"link", LATER, e),
    "logins.accept_invitation, unknown": lambda w, e: w.store.logins.accept_invitation(b"x", "other", NOW, e),
    "logins.accept_invitation, over": lambda w, e: w.store.logins.accept_invitation(
        b"invited", "other", LATER, e
    ),
    "groups.add, taken": lambda w, e: w.store.groups.add("bim", fields_of_group("one"), NOW, e),
    "groups.update, unknown": lambda w, e: w.store.groups.update(10**6, fields_of_group("two"), NOW, e),
    "groups.delete, unknown": lambda w, e: w.store.groups.delete(10**6, LATER, e),
    "groups.add_member, there": lambda w, e: w.store.groups.add_member(
        w.group_id, w.user_id, LATER, e, allow=grant_all
    ),
    "groups.add_member, unknown": lambda w, e: w.store.groups.add_member(
        w.group_id, 10**6, LATER, e, allow=grant_all
    ),
    "groups.remove_member, of another": lambda w, e: w.store.groups.remove_member(
        w.group_id + 1, w.membership_id, e
    ),
    "groups.change_attributes, there": lambda w, e: w.store.groups.change_attributes(
        w.group_id, giving("team", "x"), LATER, e
    ),
    "groups.change_attributes, unknown": lambda w, e: w.store.groups.change_attributes(
        10**6, giving("team", "x"), LATER, e
    ),
    "groups.change_attributes, another name": lambda w, e: w.store.groups.change_attributes(
        w.group_id, taking("Team", None), LATER, e
    ),
    "projects.add, taken": lambda w, e: w.store.projects.add("one", None, w.user_id, NOW, e),
    "projects.update, unknown": lambda w, e: w.store.projects.update(10**6, "two", None, NOW, e),
    "projects.delete, unknown": lambda w, e: w.store.projects.delete(10**6, LATER, e),
    "projects.set_member, unknown": lambda w, e: w.store.projects.set_member(
        w.project_id, 10**6, LATER, e, is_owner=False
    ),
    "projects.set_member, the last owner": lambda w, e: w.store.projects.set_member(
        w.project_id, w.user_id, LATER, e, is_owner=False
    ),
    "projects.remove_member, the last owner": lambda w, e: w.store.projects.remove_member(
        w.project_id, w.user_id, e
    ),
    "projects.remove_member, no member": lambda w, e: w.store.projects.remove_member(
        w.project_id, w.other_id, e
    ),
    "projects.add_connection, unknown": lambda w, e: w.store.projects.add_connection(w.project_id, "none", e),
    "projects.remove_connection, not in it": lambda w, e: w.store.projects.remove_connection(
        w.project_id, "free", e
    ),
    "service_accounts.transfer, theirs": lambda w, e: w.store.service_accounts.transfer(
        w.robot_id, a_successor(w.user_id), LATER, handing_over(w, e)
    ),
    "service_accounts.transfer, a person": lambda w, e: w.store.service_accounts.transfer(
        w.user_id, a_successor(w.other_id), LATER, e
    ),
    "service_accounts.transfer, to nobody": lambda w, e: w.store.service_accounts.transfer(
        w.robot_id, a_successor(10**6), LATER, handing_over(w, e)
    ),
    "system_keys.add, taken": lambda w, e: w.store.system_keys.add(a_system_key(w.admin_id, "one"), e),
    "system_keys.replace, gone": lambda w, e: w.store.system_keys.replace(
        replace(w.system_key, key_id=10**6), a_system_key(w.admin_id, "one"), LATER, revocation=e, audit=e
    ),
    "signing_keys.add_first, under a former root key": lambda w, e: w.store.signing_keys.add_first(
        new_signing_key(seal=LATER_SEAL), e
    ),
    "signing_keys.add_next, under a former root key": lambda w, e: w.store.signing_keys.add_next(
        new_signing_key(seal=LATER_SEAL), e, others_verify_until=LATER
    ),
    "signing_keys.change_algorithm, under a former root key": lambda w, e: (
        w.store.signing_keys.change_algorithm(new_signing_key(seal=LATER_SEAL), e, e, grace=timedelta(0))
    ),
    "system_keys.add, under a former root key": lambda w, e: w.store.system_keys.add(
        a_system_key(w.admin_id, "two", LATER_SEAL), e
    ),
    "system_keys.replace, under a former root key": lambda w, e: w.store.system_keys.replace(
        w.system_key, a_system_key(w.admin_id, "one", LATER_SEAL), LATER, revocation=e, audit=e
    ),
    "seals.begin_rotation, after another": lambda w, e: w.store.seals.begin_rotation(
        LATER_SEAL, LATER_SEAL, e
    ),
    "signing_keys.begin_anew, after another": lambda w, e: w.store.signing_keys.begin_anew(
        LATER_SEAL, LATER_SEAL, new_signing_key("anew", seal=LATER_SEAL), "", replaced=e, retired=e
    ),
    "audit_log.record_archive, after another": lambda w, e: w.store.audit_log.record_archive(e, after=7),
    "connections.add, taken": lambda w, e: w.store.connections.add("there", {}, w.user_id, e),
    "sessions.end_all, none but the kept": lambda w, e: w.store.sessions.end_all(
        w.user_id, LATER, e, keep=w.session_id
    ),
}


def contents(engine: Engine, *, but: frozenset[str] = frozenset()) -> dict[str, list[object]]:
    """Everything in the database."""
    with engine.connect() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select())))
            for table in metadata.sorted_tables
            if table.name not in but
        }


@contextmanager
def without_audit_table(engine: Engine) -> Iterator[None]:
    """Take the audit log away, as a full or broken disk would."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit RENAME TO gone"))
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO audit"))


def test_a_change_is_one_audit_row_and_one_revision(world: World) -> None:
    """Every change writes exactly one audit row, under the next revision (A6, D6)."""
    for name, change in CHANGES.items():
        revision = world.store.installation.revision()
        last = len(world.store.audit_log.list_after())

        change(world, an_entry(target_type=Target.CONNECTION))

        new = world.store.audit_log.list_after()[last:]
        assert [(row.target_type, row.revision) for row in new] == [("CONNECTION", revision + 1)], name
        assert world.store.installation.revision() == revision + 1, name


def test_a_change_without_its_audit_row_does_not_happen(world: World, engine: Engine) -> None:
    """When the audit log cannot be written, nothing changes, and reading goes on (A7)."""
    before = contents(engine)

    with without_audit_table(engine):
        for change in [*WITH_CONSEQUENCES.values(), *CHANGES.values()]:
            with pytest.raises(StoreUnavailable):
                change(world, an_entry())
        assert world.store.users.find_by_id(world.user_id) is not None
        assert world.store.api_keys.find_for_token(world.key_id) is not None

    assert contents(engine) == before


def test_a_refused_audit_row_undoes_its_change(world: World, engine: Engine) -> None:
    """When the database refuses the audit row itself, the change is undone."""
    before = contents(engine)

    for change in [*WITH_CONSEQUENCES.values(), *CHANGES.values()]:
        with pytest.raises(Exception):  # noqa: B017, PT011 - which error it is, the next test says
            change(world, an_unwritable_entry())

    assert contents(engine) == before


def test_no_driver_error_leaves_the_store(world: World) -> None:
    """A refused audit row is an error of ours: a driver's text may hold whole rows, digests too."""
    wrong = {}
    for name, change in (WITH_CONSEQUENCES | CHANGES).items():
        try:
            change(world, an_unwritable_entry())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            if not isinstance(error, KeyturnError) or isinstance(error, Conflict):
                wrong[name] = type(error).__name__

    assert wrong == {}


def test_a_refused_change_writes_nothing(world: World, engine: Engine) -> None:
    """What a change refuses to do leaves no row, no audit row and no revision."""
    before = contents(engine)

    for name, attempt in REFUSED.items():
        try:
            outcome = attempt(world, an_entry())
        except (Conflict, InvalidState, TooBusy):
            outcome = None
        assert not outcome, name
        assert contents(engine) == before, name


def test_reads_write_nothing(world: World, engine: Engine) -> None:
    """No question changes anything."""
    before = contents(engine)
    store = world.store

    store.users.search(UserSearch(), size=10)
    store.users.search(UserSearch(text="b", owners=frozenset({ServiceOwner(world.user_id)})), size=10)
    store.logins.find_for_login("bim", "bob")
    store.logins.find_invited(b"invited", NOW)
    store.groups.search(GroupSearch(name="o", members=frozenset({world.user_id})), size=10)
    store.groups.membership_ids(world.user_id, [world.group_id])
    store.groups.list_members(world.group_id)
    store.projects.search(ProjectSearch(user_id=world.user_id), size=10, listed=5)
    store.projects.find_member(world.project_id, world.user_id)
    store.projects.has_connection(world.project_id, world.user_id, "there")
    store.service_accounts.count_owned(ServiceOwner(world.user_id))
    store.system_keys.find_by_name("one")
    store.api_keys.search(KeySearch(), now=NOW, offset=0, size=10)
    store.connections.list_keys()
    store.logins.find_for_password_change(world.user_id)
    store.api_keys.list_of_user(world.user_id)
    store.api_keys.find_owner(world.key_id)
    store.sessions.list_living(world.user_id, NOW, NOW)
    store.signing_keys.list_verifying(NOW)
    store.installation.is_setup_open()
    store.seals.list_rows(SEALED_COLUMNS[0], size=10)
    store.seals.count_unlike(LATER_SEAL)
    store.audit_log.list_after()

    assert contents(engine) == before


def test_the_audit_log_is_read_in_pages(world: World) -> None:
    """The log is read from any row on, a page at a time, in the order of the revisions."""
    rows = world.store.audit_log.list_after()

    assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
    assert world.store.audit_log.list_after(rows[0].audit_id) == rows[1:]
    assert world.store.audit_log.list_after(rows[0].audit_id, limit=2) == rows[1:3]
    assert world.store.audit_log.list_after(rows[-1].audit_id) == []


def test_an_event_without_change_is_recorded(store: Store) -> None:
    """What changed nothing, such as a refused login, has a row and a revision of its own (A6)."""
    store.audit_log.record(an_entry(succeeded=False, details={"b": 1, "a": None}))

    (row,) = store.audit_log.list_after()
    assert (row.succeeded, row.revision, row.details) == (False, 1, {"a": None, "b": 1})


def test_long_texts_of_strangers_do_not_stop_a_change(store: Store) -> None:
    """A user agent of any length or with NUL in it is cut to what is kept of it."""
    agent = "\x00" + "é" * 5000
    entry = an_entry()
    actor = type(entry.actor)(user_id=None, userid="tester", user_agent=agent)

    user_id = store.users.add(a_user(), an_entry(actor=actor)).user_id
    store.logins.record_login(
        a_session(user_id, user_agent=agent), an_entry(actor=actor), checked="hash", rehashed=None
    )

    (session,) = store.sessions.list_living(user_id, NOW, NOW - timedelta(1))
    assert session.user_agent == "é" * 255


def test_writers_in_parallel_all_succeed(store: Store, bob: int) -> None:
    """Sixteen writers at once never see a locked database, and lose no row (D3)."""
    writers, rounds = 16, 6

    def write(_number: int) -> None:
        for _ in range(rounds):
            record = store.api_keys.add(a_key(bob), an_entry())
            assert store.api_keys.revoke(record.key_id, bob, NOW, an_entry())

    assert all_at_once(writers, write) == [None] * writers
    rows = store.audit_log.list_after(limit=1000)
    assert len(rows) == store.installation.revision() == 1 + 2 * writers * rounds
    assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
    assert len(store.api_keys.list_of_user(bob)) == writers * rounds


def test_a_lost_connection_is_replaced(world: World, engine: Engine) -> None:
    """When the server ended the pooled connections, the next question is answered all the same."""
    if engine.dialect.name == "sqlite":
        engine.dispose()
    else:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            world.store.users.search(UserSearch(), size=10)
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
            assert world.store.users.find_by_id(world.user_id) is not None
    assert world.store.users.find_by_id(world.user_id) is not None


def test_a_database_that_is_gone_is_unavailable(world: World, engine: Engine) -> None:
    """A question that the database cannot answer is `StoreUnavailable`, without the driver's text."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE profile RENAME TO gone"))

    with pytest.raises(StoreUnavailable) as refused:
        world.store.users.find_by_id(world.user_id)

    assert "profile" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_ids_are_never_given_again(world: World, engine: Engine) -> None:
    """The id of a deleted row never comes to mean another one."""
    store = world.store
    makes: dict[str, Callable[[], int | None]] = {
        "user_account": lambda: store.users.add(a_user("eve"), an_entry()).user_id,
        "api_key": lambda: store.api_keys.add(a_key(world.user_id), an_entry()).key_id,
        "session": lambda: store.logins.record_login(
            a_session(world.user_id), an_entry(), checked="hash", rehashed=None
        ),
        "audit": lambda: store.audit_log.record(an_entry()) or store.audit_log.list_after()[-1].audit_id,
    }
    for table, make in makes.items():
        first = make()
        with engine.begin() as connection:
            connection.execute(text(f"DELETE FROM {table} WHERE id = {first}"))

        again = make()

        assert first is not None, table
        assert again is not None, table
        assert again > first, table
