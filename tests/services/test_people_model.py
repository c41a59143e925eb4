"""People in every order: credentials, permissions, attributes and the audit log are as a plain model says."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keyturn.composition import Services, open_services
from keyturn.core.audit import AuditAction
from keyturn.core.people import Attributes, ServiceOwner, UserKind
from keyturn.core.permissions import ADMINISTRATION, DEFAULT_PERMISSIONS, Permission
from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.core.records import SessionKind
from keyturn.core.searches import UserSearch
from keyturn.errors import (
    Conflict,
    CredentialRefused,
    InvalidInput,
    InvalidState,
    KeyturnError,
    NotFound,
    PermissionMissing,
)
from keyturn.services.keys.keys import Lifetime, NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store.people.sessions import SessionToAdd, insert_session
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.fakes import Clock
from tests.people import HERE, caller, is_accepted
from tests.services.plain_people import (
    Account,
    Attribute,
    Credential,
    Group,
    PlainPeople,
    Project,
    Refused,
)
from tests.sizes import size

EXAMPLES, STEPS = size(40, full=200), 50
PEOPLE, PROGRAMS, GROUPS, PROJECTS = ("ann", "ben", "cid"), ("p1", "p2"), ("g1", "g2"), ("w1", "w2")
ADMIN = Principal(
    1,
    "root",
    "bim",
    None,
    frozenset(Permission),
    None,
    AuthMethod.API_KEY,
    1,
    project_id=None,
    withheld=frozenset(),
    jkt=None,
    requests=None,
    impersonator=None,
    credential=PresentedCredential(None, secret_number=0),
)
"""Who does all this, with a key: the installation's own account, so that every person can go."""
REFUSALS = (Conflict, CredentialRefused, InvalidInput, InvalidState, NotFound, PermissionMissing)

some = st.integers(0, 999)
"""Which of those that there are; now and then one that is not."""
groups, projects = st.sampled_from(GROUPS), st.sampled_from(PROJECTS)
successors = st.sampled_from((None, None, *PEOPLE))
owners = st.sampled_from(PEOPLE + GROUPS)
permissions = st.sampled_from(
    [
        frozenset(),
        frozenset({Permission.AUDIT}),
        frozenset({Permission.USER_ADMIN}),
        frozenset({Permission.GOVERNANCE, Permission.APPLICATION_ADMIN}),
        frozenset(ADMINISTRATION),
    ]
)
attributes = st.sampled_from([("team", "a"), ("team", "b"), ("city", "a")])


@dataclass(frozen=True)
class Beginning:
    """An installation with some of everything, which most steps are then about."""

    folder: Path
    now: datetime
    before: int
    """How many rows the audit log had before anything here."""
    plain: PlainPeople


@cache
def beginning() -> Beginning:
    """Make that, once: each example begins with a copy."""
    folder = new_folder()
    services = open_in(folder, Clock())
    services.connections.register(COMMAND_LINE, 0, "one", {"technology": "Trino"})
    root = services.users.add(
        COMMAND_LINE, userid="root", name=None, permissions=Permission, kind=UserKind.SYSTEM
    )
    services.keys.create_for(root.user_id, COMMAND_LINE, NewKey(None, Lifetime(None)))
    before = services.store.installation.revision()
    services.close()
    machine = People(Beginning(folder, Clock().now, before, PlainPeople()))
    machine.begin()
    machine.services.close()
    for made in (folder, machine.folder):
        atexit.register(shutil.rmtree, made)
    return Beginning(machine.folder, machine.clock.now, before, machine.plain)


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="keyturn-people-"))


def open_in(folder: Path, clock: Clock) -> Services:
    chosen = read_settings(
        {"KEYTURN_DATABASE": f"sqlite:///{folder}/keyturn.db"},
        failures_per_minute=1_000_000,
        new_installation=True,
        sign_in_failures_per_minute=1_000_000,
    )
    return open_services(chosen, clock.system(), hashing=CHEAPEST)


def gathered(given: set[Attribute]) -> Attributes:
    """Return attributes as a record holds them."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in sorted(given):
        names[name].append(value)
    return {name: tuple(values) for name, values in names.items()}


class People(RuleBasedStateMachine):
    """People, programs, groups and projects over an embedded database, beside a plain model of them."""

    def __init__(self, begun: Beginning | None = None) -> None:
        super().__init__()
        begun = begun or beginning()
        self.folder = new_folder()
        shutil.copytree(begun.folder, self.folder, dirs_exist_ok=True)
        self.clock = Clock(begun.now)
        self.services = open_in(self.folder, self.clock)
        self.before, self.plain = begun.before, deepcopy(begun.plain)

    def teardown(self) -> None:
        self.check_audit_log()
        self.services.close()
        shutil.rmtree(self.folder)

    def begin(self) -> None:
        """Let there be some of everything."""
        for userid in PEOPLE:
            self.add_person(userid, frozenset(ADMINISTRATION) if userid != "cid" else frozenset())
        for name in GROUPS:
            self.add_group(name)
            self.join_or_leave(name, PEOPLE.index("ben"))
        for userid, owner in zip(PROGRAMS, ("ann", "g1"), strict=True):
            self.add_program(userid, owner, frozenset())
        self.add_or_delete_project("w1", PEOPLE.index("ann"))
        for which in range(len(PEOPLE)):
            self.make_key(which, None)
            self.log_in(which)
        for which in range(len(PROGRAMS)):
            self.make_key_of_program(which)
        self.make_key(PEOPLE.index("ann"), "w1")

    @contextmanager
    def happening(self, *, is_possible: bool = True) -> Iterator[None]:
        """Do something on both sides: either both refuse it, or neither does."""
        refusal = None
        try:
            yield
        except REFUSALS as error:
            refusal = error
        assert (refusal is None) is is_possible, repr(refusal)
        self.clock.advance(timedelta(seconds=1))

    @contextmanager
    def as_the_model_says(self, change: Callable[[], object]) -> Iterator[None]:
        """Do something that the model, asked first, does or refuses."""
        try:
            change()
        except Refused:
            with self.happening(is_possible=False):
                yield
        else:
            with self.happening():
                yield

    def account(self, userid: str) -> Account | None:
        return self.plain.accounts.get(userid)

    def userid(self, which: int, kind: UserKind | None = None) -> str:
        """Return the user name of one of those that there are, now and then of nobody."""
        named = [each.userid for each in self.plain.accounts.values() if kind in {None, each.kind}]
        return "nobody" if which % 20 == 19 or not named else named[which % len(named)]

    def key(self, which: int) -> Credential | None:
        keys = [each for each in self.plain.credentials if each.key is None and not each.is_session]
        return keys[which % len(keys)] if keys else None

    def successor(self, userid: str | None, of: object) -> tuple[Account | None, bool]:
        """Return who inherits, and whether they can."""
        successor = None if userid is None else self.account(userid)
        return successor, userid is None or (
            successor is not None and not successor.is_disabled and successor is not of
        )

    # Users

    @rule(userid=st.sampled_from(PEOPLE), held=permissions)
    def add_person(self, userid: str, held: frozenset[str]) -> None:
        with self.happening(is_possible=self.account(userid) is None):
            made = self.services.user_administration.add(
                ADMIN, HERE, userid=userid, profile={}, password=PASSWORD, permissions=held
            ).record
            account = Account(made.user_id, userid, UserKind.PERSON, held | DEFAULT_PERMISSIONS)
            self.plain.accounts[userid] = account
            self.plain.tell(AuditAction.USER_CREATED, account)

    @rule(userid=st.sampled_from(PROGRAMS), owner=owners, held=permissions)
    def add_program(self, userid: str, owner: str, held: frozenset[str]) -> None:
        found = self.owner(owner)
        with self.happening(is_possible=self.account(userid) is None and found is not None):
            named = self.named_owner(owner)
            made = self.services.service_accounts.add(
                ADMIN, HERE, userid=userid, name=None, owner=named, permissions=held
            )
            account = Account(made.user_id, userid, UserKind.SERVICE, held, found)
            self.plain.accounts[userid] = account
            self.plain.tell(AuditAction.SERVICE_ACCOUNT_CREATED, account)

    def owner(self, name: str) -> Account | Group | None:
        """Return who can own something under this name."""
        account = self.account(name)
        return account if account is not None and not account.is_disabled else self.plain.groups.get(name)

    def named_owner(self, name: str) -> ServiceOwner:
        if name in PEOPLE:
            return self.services.service_accounts.find_owner(ADMIN, userid=name)
        group = self.plain.groups.get(name)
        return self.services.service_accounts.find_owner(ADMIN, group_id=group.number if group else 10**6)

    @rule(which=some, held=permissions)
    def set_permissions(self, which: int, held: frozenset[str]) -> None:
        userid = self.userid(which)
        account = self.account(userid)
        with self.as_the_model_says(
            lambda: self.plain.set_permissions(account, held) if account else self.refuse()
        ):
            self.services.user_administration.set_permissions(ADMIN, "bim", userid, held, HERE)

    @rule(which=some, permission=st.sampled_from([*ADMINISTRATION, Permission.AUDIT]))
    def remove_permission(self, which: int, permission: str) -> None:
        userid = self.userid(which)
        account = self.account(userid)
        with self.as_the_model_says(
            lambda: (
                self.plain.set_permissions(account, account.permissions - {permission})
                if account
                else self.refuse()
            )
        ):
            self.services.user_administration.remove_permission(ADMIN, "bim", userid, permission, HERE)

    def refuse(self) -> None:
        raise Refused

    @rule(which=some, successor=successors)
    def disable(self, which: int, successor: str | None) -> None:
        self.set_disabled(self.userid(which), successor, disabled=True)

    @rule(which=some)
    def enable(self, which: int) -> None:
        self.set_disabled(self.userid(which), None, disabled=False)

    @rule(which=some)
    def stop_a_program_or_let_it_go_on(self, which: int) -> None:
        account = self.account(self.userid(which, UserKind.SERVICE))
        if account is not None:
            self.set_disabled(account.userid, None, disabled=not account.is_disabled)

    @rule(which=some)
    def stop_its_owner_or_let_them_go_on(self, which: int) -> None:
        account = self.account(self.userid(which, UserKind.SERVICE))
        if account is not None and isinstance(account.owner, Account):
            self.set_disabled(account.owner.userid, None, disabled=not account.owner.is_disabled)

    def set_disabled(self, userid: str, successor: str | None, *, disabled: bool) -> None:
        account, (inherits, can) = self.account(userid), self.successor(successor, self.account(userid))

        def change() -> None:
            if account is None or not can:
                raise Refused
            if disabled:
                self.plain.disable(account, inherits)
            elif account.is_disabled and isinstance(account.owner, Account) and account.owner.is_disabled:
                raise Refused
            else:
                self.plain.enable(account)

        with self.as_the_model_says(change):
            found = self.services.service_accounts.find_successor(ADMIN, successor)
            self.services.offboarding.set_disabled(
                ADMIN, "bim", userid, HERE, disabled=disabled, successor=found
            )

    @rule(which=some, successor=successors)
    def delete(self, which: int, successor: str | None) -> None:
        userid = self.userid(which)
        account, (inherits, can) = self.account(userid), self.successor(successor, self.account(userid))
        with self.as_the_model_says(
            lambda: self.plain.delete(account, inherits) if account and can else self.refuse()
        ):
            self.services.offboarding.delete(
                ADMIN,
                "bim",
                userid,
                HERE,
                successor=self.services.service_accounts.find_successor(ADMIN, successor),
            )

    @rule(which=some, owner=owners)
    def transfer(self, which: int, owner: str) -> None:
        userid = self.userid(which, UserKind.SERVICE)
        account, found = self.account(userid), self.owner(owner)
        with self.as_the_model_says(
            lambda: self.plain.transfer(account, found) if account and found else self.refuse()
        ):
            self.services.service_accounts.transfer(ADMIN, userid, self.named_owner(owner), HERE)

    @rule(which=some, attribute=attributes, is_given=st.booleans())
    def change_attribute(self, which: int, attribute: Attribute, is_given: bool) -> None:
        userid = self.userid(which)
        account = self.account(userid)
        with self.happening(is_possible=account is not None):
            self.services.user_administration.change_attribute(
                ADMIN, "bim", userid, attribute, HERE, is_given=is_given
            )
            if account:
                self.plain.change_attribute(
                    account, attribute, AuditAction.USER_ATTRIBUTES_UPDATED, is_given=is_given
                )

    # Groups

    @rule(name=groups)
    def add_group(self, name: str) -> None:
        with self.happening(is_possible=name not in self.plain.groups):
            made = self.services.groups.add(ADMIN, HERE, iamid="bim", name=name)
            self.plain.groups[name] = Group(made.group_id, name)
            self.plain.tell(AuditAction.GROUP_CREATED, made.group_id)

    @rule(name=groups, which=some)
    def join_or_leave(self, name: str, which: int) -> None:
        userid = self.userid(which)
        account, group = self.account(userid), self.plain.groups.get(name)
        if group is None:
            return
        with self.happening(is_possible=account is not None):
            members = self.services.groups.list_members(ADMIN, group.number)
            found = [each.membership_id for each in members if each.userid == userid]
            assert bool(found) is (account is not None and group in account.groups)
            if found and account:
                self.services.groups.remove_member(ADMIN, group.number, found[0], HERE)
                account.groups.remove(group)
                self.plain.tell(AuditAction.GROUP_MEMBER_REMOVED, group)
                return
            self.services.groups.add_member(ADMIN, group.number, HERE, iamid="bim", userid=userid)
            if account:
                account.groups.add(group)
                self.plain.tell(AuditAction.GROUP_MEMBER_ADDED, group)

    @rule(name=groups, attribute=attributes, is_given=st.booleans())
    def change_attribute_of_group(self, name: str, attribute: Attribute, is_given: bool) -> None:
        group = self.plain.groups.get(name)
        if group is not None:
            with self.happening():
                self.services.groups.change_attribute(ADMIN, group.number, attribute, HERE, is_given=is_given)
                self.plain.change_attribute(
                    group, attribute, AuditAction.GROUP_ATTRIBUTES_UPDATED, is_given=is_given
                )

    @rule(name=groups, successor=successors)
    def delete_group(self, name: str, successor: str | None) -> None:
        group, (inherits, can) = self.plain.groups.get(name), self.successor(successor, None)
        if group is not None:
            with self.as_the_model_says(
                lambda: self.plain.delete_group(group, inherits) if can else self.refuse()
            ):
                found = self.services.service_accounts.find_successor(ADMIN, successor)
                self.services.groups.delete(ADMIN, group.number, HERE, successor=found)

    # Projects

    @rule(name=projects, which=some)
    def add_or_delete_project(self, name: str, which: int) -> None:
        userid = self.userid(which, UserKind.PERSON)
        account, project = self.account(userid), self.plain.projects.get(name)
        if project is not None:
            with self.as_the_model_says(lambda: self.plain.delete_project(project)):
                self.services.projects.delete(ADMIN, project.number, HERE)
        elif account is not None:
            may_add = Permission.CREATE_PROJECT in account.permissions and not account.is_disabled
            with self.happening(is_possible=may_add):
                maker = self.calling_as(account)
                made = self.services.projects.add(maker, HERE, name=name, description=None)
                self.services.projects.add_connection(ADMIN, made.project_id, "one", HERE)
                self.plain.projects[name] = Project(made.project_id, name, {account})
                self.plain.tell(AuditAction.PROJECT_CREATED, made.project_id)
                self.plain.tell(AuditAction.PROJECT_UPDATED, made.project_id)

    def calling_as(self, account: Account) -> Principal:
        """Return this person or program in a session that nothing but this call is made in."""
        now = self.clock.now
        new = SessionToAdd(
            account.number, os.urandom(32), SessionKind.BROWSER, now, now + timedelta(hours=1), None, None
        )
        with self.services.store._database.writing() as connection:
            session_id = connection.execute(insert_session(new)).scalar_one()
        return Principal(
            account.number,
            account.userid,
            "bim",
            None,
            account.permissions,
            None,
            AuthMethod.SESSION,
            None,
            project_id=None,
            withheld=frozenset(),
            jkt=None,
            requests=None,
            impersonator=None,
            credential=PresentedCredential(None, session_id=session_id, secret_number=0),
        )

    @rule(name=projects, which=some)
    def enter_or_leave_project(self, name: str, which: int) -> None:
        userid = self.userid(which, UserKind.PERSON)
        account, project = self.account(userid), self.plain.projects.get(name)
        if project is None or account is None:
            return
        if account in project.owners | project.members:
            with self.happening(is_possible=project.owners != {account}):
                self.services.projects.remove_member(ADMIN, project.number, userid, HERE)
                project.owners.discard(account)
                project.members.discard(account)
                self.plain.tell(AuditAction.PROJECT_UPDATED, project)
            return
        with self.happening():
            self.services.projects.set_member(ADMIN, project.number, userid, HERE, is_owner=False)
            project.members.add(account)
            self.plain.tell(AuditAction.PROJECT_UPDATED, project)

    # Credentials

    @rule(which=some, name=st.sampled_from([None, None, *PROJECTS]))
    def make_key(self, which: int, name: str | None) -> None:
        userid = self.userid(which, UserKind.PERSON)
        account, project = self.account(userid), self.plain.projects.get(name or "")
        if account is None or (name is not None and project is None):
            return
        is_in = project is None or account in project.owners | project.members
        with self.happening(is_possible=is_in and not account.is_disabled):
            made = self.services.keys.create(
                self.calling_as(account), HERE, NewKey(project_id=project.number if project else None)
            )
            self.keep(Credential(made.secret, account, made.record.key_id, project=project))

    @rule(which=some)
    def make_key_of_program(self, which: int) -> None:
        userid = self.userid(which, UserKind.SERVICE)
        account = self.account(userid)
        with self.happening(is_possible=account is not None):
            made = self.services.service_accounts.create_key(ADMIN, userid, HERE, NewKey())
            if account:
                self.keep(Credential(made.secret, account, made.record.key_id))

    def keep(self, key: Credential) -> None:
        self.plain.credentials.append(key)
        self.plain.tell(AuditAction.API_KEY_CREATED, key)

    @rule(which=some)
    def exchange(self, which: int) -> None:
        key = self.key(which)
        if key is not None:
            with self.happening(is_possible=key.is_alive):
                issued = self.services.exchange.exchange(in_header=[], in_body=key.text, origin=HERE)
                self.plain.credentials.append(
                    Credential(issued.token, key.owner, key=key, project=key.project)
                )

    @rule(which=some)
    def revoke(self, which: int) -> None:
        key = self.key(which)
        if key is not None:
            is_there = not key.is_over and not key.owner.is_deleted
            with self.happening():
                assert self.services.all_keys.revoke(ADMIN, [key.number], HERE) == is_there
                if is_there:
                    key.is_over = True
                    self.plain.tell(AuditAction.API_KEY_DELETED, key)

    @rule(which=some)
    def log_in(self, which: int) -> None:
        userid = self.userid(which, UserKind.PERSON)
        account = self.account(userid)
        if account is None:
            return
        with self.happening(is_possible=not account.is_disabled):
            if not account.is_disabled:  # Else it is only counted (fault B5).
                self.plain.tell(AuditAction.USER_LOGGED_IN, account)
            started = self.services.logins.log_in_browser(userid, PASSWORD, HERE)
            self.plain.credentials.append(Credential(started.cookie, account, is_session=True))

    @rule(which=some)
    def set_password(self, which: int) -> None:
        userid = self.userid(which, UserKind.PERSON)
        account = self.account(userid)
        with self.happening(is_possible=account is not None):
            self.services.user_administration.set_password(
                ADMIN, "bim", userid, password=PASSWORD, current=None, origin=HERE
            )
            if account:
                account.link = None
                self.plain.end_sessions(account)
                self.plain.tell(AuditAction.USER_PASSWORD_UPDATED, account)

    @rule(which=some)
    def invite(self, which: int) -> None:
        userid = self.userid(which, UserKind.PERSON)
        account = self.account(userid)
        with self.happening(is_possible=account is not None):
            link = self.services.user_administration.invite(ADMIN, "bim", userid, HERE).link
            if account:
                account.link = link.partition("#")[2]
                self.plain.links.append((account.link, account))
                self.plain.tell(AuditAction.USER_INVITED, account)

    @rule(which=some)
    def accept(self, which: int) -> None:
        if not self.plain.links:
            return
        code, account = self.plain.links[which % len(self.plain.links)]
        is_good = account.link == code and not account.is_deleted and not account.is_disabled
        with self.happening(is_possible=is_good):
            self.services.invitations.accept(code, PASSWORD, HERE)
            account.link = None
            self.plain.end_sessions(account)
            self.plain.tell(AuditAction.USER_PASSWORD_UPDATED, account)

    @rule(which=some)
    def sign_out(self, which: int) -> None:
        userid = self.userid(which)
        account = self.account(userid)
        with self.happening(is_possible=account is not None):
            self.services.users.sign_out(COMMAND_LINE, userid)
            if account:
                self.plain.end_sessions(account)
                self.plain.end_tokens(account)
                self.plain.tell(AuditAction.USER_SIGNED_OUT, account)

    # What is true after every step

    @invariant()
    def exactly_the_living_are_accepted(self) -> None:
        for credential in self.plain.credentials:
            accepted = (
                self.services.sessions.find(credential.text) is not None
                if credential.is_session
                else is_accepted(self.services, credential.text)
            )
            assert accepted is credential.is_alive, credential
            if accepted and credential.project is not None:
                self.check_what_it_sees(credential, credential.project)

    def check_what_it_sees(self, credential: Credential, project: Project) -> None:
        who = caller(self.services, credential.text)
        try:
            seen = self.services.connections.list_keys(who)
        except KeyturnError:
            return  # Their owner may see no connection at all.
        is_in = not project.is_deleted and credential.owner in project.owners | project.members
        assert seen == (["one"] if is_in else [])

    @invariant()
    def everybody_reads_back(self) -> None:
        read = {
            user.userid: (
                user.user_id,
                user.kind,
                user.permissions,
                user.is_disabled,
                user.attributes,
                user.group_attributes,
                user.owner,
            )
            for user in self.services.user_administration.search(ADMIN, UserSearch()).items
            if user.user_id != ADMIN.user_id
        }
        assert read == {
            account.userid: (
                account.number,
                account.kind,
                account.permissions,
                account.is_disabled,
                gathered(account.attributes),
                gathered(set().union(*(group.attributes for group in account.groups))),
                None if account.owner is None else self.owner_of(account.owner),
            )
            for account in self.plain.accounts.values()
        }

    def owner_of(self, owner: Account | Group) -> ServiceOwner:
        if isinstance(owner, Group):
            return ServiceOwner(group_id=owner.number)
        return ServiceOwner(owner.number)

    @invariant()
    def changes_are_told_of_once(self) -> None:
        assert self.services.store.installation.revision() == self.before + len(self.plain.log)

    @invariant()
    def somebody_administers(self) -> None:
        for permission in ADMINISTRATION if self.plain.accounts else ():
            assert self.plain.administrators(permission)

    def check_audit_log(self) -> None:
        rows = self.services.store.audit_log.list_after(limit=10_000)
        assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
        assert [(row.action, row.target_id) for row in rows[self.before :]] == self.plain.log


TestPeople = People.TestCase
TestPeople.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)
TestPeople.pytestmark = [pytest.mark.sized]  # type: ignore[attr-defined]
TestPeople.__doc__ = (
    "After any steps, credentials, people and the audit log are exactly what they should be (R3, A5, A6)."
)
