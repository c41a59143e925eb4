"""What is remembered is true: changes are seen at once, and nothing is trusted too long (R1 to R4, D7)."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import Engine, text

from keyturn.composition import Services, open_recovery, open_sealed
from keyturn.core.apis import ApiRecord
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.connections import JobType
from keyturn.core.lifetimes import Lifetime
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import SessionKind
from keyturn.errors import CredentialRefused, NotFound, Reason, StoreUnavailable
from keyturn.services.changes import freshness as module
from keyturn.services.changes.freshness import POLL_SECONDS, RETRY_SECONDS, Freshness
from keyturn.services.connections.registry import ChangedConnection, NewConnection
from keyturn.services.connections.sealing import OpenedSecrets
from keyturn.services.connections.settings import ChangedSettings
from keyturn.services.installation.root_keys import new_root_key
from keyturn.services.keys.keys import CreatedKey, NewKey
from keyturn.services.people.sessions import BrowserSession
from keyturn.store import audit_log
from keyturn.store.database.hints import NoHints, PostgresqlHints
from keyturn.store.database.schema import metadata
from keyturn.store.installation.epochs import end_everything_issued
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import leave, register, say_anew, scopes_of
from tests.conftest import PASSWORD, Opener
from tests.fakes import Clock
from tests.people import (
    HERE,
    NEW_PASSWORD,
    NOWHERE,
    add_holder,
    add_person,
    add_service_account,
    caller,
    change_behind,
    key_of_service,
    log_in,
    new_key,
    person,
    set_password,
    signed_in,
)
from tests.statements import overtaken, statements
from tests.threads import switching_every

STALENESS = 5.0
NO_LIMIT = 1_000_000
GENEROUS_SECONDS = 20.0
"""How long a thread is waited for before it counts as stuck."""
POLLED_SECONDS = 0.002
ROUNDS_IN_THREADS = 15
SWITCH_SECONDS = 2e-4
ACCEPTED, UNAVAILABLE = "accepted", "unavailable"
SIGNATURE = Reason.SIGNATURE.value
WITHHELD = Reason.WITHHELD.value
UNKNOWN, REVOKED, OWNER_DISABLED = Reason.UNKNOWN.value, Reason.REVOKED.value, Reason.OWNER_DISABLED.value
EXPIRED = Reason.EXPIRED.value

_numbers = itertools.count(1)


def verdict(services: Services, credential: str) -> str:
    """Return what the next request with this credential is told: its owner's name, or why not.

    Asks as the gate does: first for what is plainly remembered, then the long way.
    """
    known = services.authenticator.recognise(credential.encode(), NOWHERE)
    try:
        who = caller(services, credential) if known is None else known.principal
    except CredentialRefused as refused:
        return refused.reason.value
    except StoreUnavailable:
        return UNAVAILABLE
    return who.name or ACCEPTED


def exchange_verdict(services: Services, key: str) -> str:
    """Return what an exchange of this key is told."""
    try:
        services.exchange.exchange(in_header=[], in_body=key, origin=HERE)
    except CredentialRefused as refused:
        return refused.reason.value
    return ACCEPTED


def freshness_of(services: Services) -> Freshness:
    return services.verification.freshness


def engine_of(services: Services) -> Engine:
    return services.store._database.engine


def look(services: Services) -> None:
    """Do what the thread does whenever a hint came or its time is up."""
    freshness_of(services)._look(is_asked=False)


def is_remembered(services: Services, credential: str) -> bool:
    """Return whether the index holds a living entry, whether or not it may be trusted now."""
    return services.authenticator._index.find(hashlib.sha256(credential.encode()).digest()) is not None


def run_behind(services: Services, statement: str, **parameters: str) -> None:
    """Change rows as no Keyturn does: without an audit row, a revision or a count."""
    with engine_of(services).begin() as connection:
        connection.execute(text(statement), parameters)


@contextmanager
def database_away(services: Services) -> Iterator[None]:
    """Let no question about the revision be answered."""
    run_behind(services, "ALTER TABLE installation RENAME TO gone")
    try:
        yield
    finally:
        run_behind(services, "ALTER TABLE gone RENAME TO installation")


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for another thread, longer than it can take."""
    waiting = threading.Event()
    for _ in range(int(GENEROUS_SECONDS / POLLED_SECONDS)):
        if is_so():
            return
        waiting.wait(POLLED_SECONDS)
    raise AssertionError("it did not happen")


@pytest.fixture
def key(services: Services, bob: Principal) -> CreatedKey:
    """A key of Bob's that is remembered."""
    made = services.keys.create(bob, HERE, NewKey())
    assert verdict(services, made.secret) == ACCEPTED
    return made


@pytest.fixture
def elsewhere(
    database: str, reopen: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Services]:
    """Open the services on another host, which shares nothing but the database, where a database has more."""

    def open_elsewhere() -> Services:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
        try:
            return reopen(failures_per_minute=NO_LIMIT)
        finally:
            monkeypatch.undo()

    return open_elsewhere


def shares_host(database: str) -> bool:
    """SQLite is opened from one host only."""
    return database.startswith("sqlite")


# The table of paths and of what is remembered (R3)


@dataclass(frozen=True)
class World:
    """One person with one of each thing that is remembered, and an administrator."""

    services: Services
    admin: Principal
    userid: str
    browser: BrowserSession
    key: CreatedKey
    key_token: str
    login_token: str
    acted_token: str
    """Of somebody who acts for the person."""
    foreign: str
    acting: str
    """The key with which they do."""

    @property
    def principal(self) -> Principal:
        return self.browser.principal

    @property
    def login_session(self) -> int:
        """The session that the login's token stands on."""
        (session,) = (
            session
            for session in self.services.sessions.list_own(self.principal)
            if session.kind is SessionKind.TOKEN and session.impersonator is None
        )
        return session.session_id

    def verdicts(self, services: Services) -> dict[str, str]:
        return {
            "key": verdict(services, self.key.secret),
            "exchange": exchange_verdict(services, self.key.secret),
            "key_token": verdict(services, self.key_token),
            "login_token": verdict(services, self.login_token),
            "acted_token": verdict(services, self.acted_token),
            "negative": verdict(services, self.foreign),
        }


def administrator(services: Services) -> Principal:
    try:
        services.users.get_by_userid("bim", "root")
    except NotFound:
        add_holder(services, "root", *Permission)
    return person(services, "root")


def key_of_person(services: Services, _admin: Principal, who: Principal) -> CreatedKey:
    return services.keys.create(who, HERE, NewKey("key", idempotency_key="the first try"))


def key_of_program(services: Services, admin: Principal, who: Principal) -> CreatedKey:
    """Make a key of a service account that the person owns."""
    add_service_account(services, admin, ServiceOwner(who.user_id), f"program of {who.userid}")
    return key_of_service(services, admin, f"program of {who.userid}")


def key_of_group_s_program(services: Services, admin: Principal, who: Principal) -> CreatedKey:
    """Make a key of a service account that a group owns, which the person is in."""
    group = services.groups.add(admin, HERE, iamid="bim", name=f"group of {who.userid}").group_id
    services.groups.add_member(admin, group, HERE, iamid="bim", userid=who.userid)
    add_service_account(services, admin, ServiceOwner(group_id=group), f"program of {who.userid}")
    return key_of_service(services, admin, f"program of {who.userid}")


def key_of_project(services: Services, _admin: Principal, who: Principal) -> CreatedKey:
    """Make a key that is linked to a project of the person."""
    project = services.projects.add(who, HERE, name=f"project of {who.userid}", description=None)
    return new_key(services, who, project_id=project.project_id)


def key_of_an_api(services: Services, _admin: Principal, who: Principal) -> CreatedKey:
    """Make a key that is narrowed to a scope of an API that is registered for the person."""
    register(services, f"api-of-{who.userid}")
    return new_key(services, who, scopes=[f"api-of-{who.userid}:write"])


def key_of_keyturn(services: Services, admin: Principal, who: Principal, **chosen: bool) -> CreatedKey:
    """Make a system key, which is named after the person, or the next one of that name."""
    if "one of all" not in services.connections.list_keys(admin):
        services.connections.register(COMMAND_LINE, admin.user_id, "one of all", {})
    wanted = {"scopes": ["plugin:trino"], "connection_key": "one of all", "regenerate": False, **chosen}
    made = services.system_keys.get_or_create(admin, HERE, name=who.userid, **wanted)  # type: ignore[arg-type]
    return CreatedKey(services.all_keys.get(admin, made.record.key_id).key, made.secret)


def new_world(
    services: Services, new_key_of: Callable[[Services, Principal, Principal], CreatedKey] = key_of_person
) -> World:
    admin = administrator(services)
    userid = f"person-{next(_numbers)}"
    add_person(services, userid)
    browser = signed_in(services, log_in(services, userid))
    key = new_key_of(services, admin, browser.principal)
    acting = services.keys.create(admin, HERE, NewKey("acting")).secret
    return World(
        services,
        admin,
        userid,
        browser,
        key,
        services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token,
        services.logins.log_in_api("bim", userid, PASSWORD, HERE).token,
        services.impersonation.impersonate(acting, "bim", userid, HERE).token,
        f"f0re1gn-{sha256(userid.encode()).hexdigest()}",
        acting,
    )


@dataclass(frozen=True)
class Change:
    """One way to change something, and what each remembered thing is worth at the very next call."""

    action: AuditAction
    act: Callable[[World], object]
    key: str = ACCEPTED
    exchange: str = ACCEPTED
    key_token: str = ACCEPTED
    login_token: str = ACCEPTED
    acted_token: str | None = None
    """None for the same as the login's token: it stands on a session of the person too."""
    negative: str = UNKNOWN
    before: Callable[[World], object] = lambda _world: None
    """What brings about the state that this changes, before anything is remembered."""
    key_of: Callable[[Services, Principal, Principal], CreatedKey] = key_of_person
    """Whose key it is."""
    besides: tuple[AuditAction, ...] = ()
    """What else is told of in the audit log."""
    for_others: Mapping[str, str] = field(default_factory=dict)
    """What of somebody else's is worth something else."""

    def expected(self) -> dict[str, str]:
        names = ("key", "exchange", "key_token", "login_token", "acted_token", "negative")
        worth = {name: getattr(self, name) for name in names}
        return {**worth, "acted_token": self.acted_token or self.login_token}


def set_disabled(world: World, *, disabled: bool) -> None:
    assert world.services.users.set_disabled(COMMAND_LINE, world.userid, disabled=disabled)


def begin_epoch(world: World) -> None:
    """End everything that was issued, as a restore does, though servers run."""
    store, now = world.services.store, world.services.system.now()
    audit = AuditEntry(
        now, AuditAction.INSTALLATION_RESTORED, COMMAND_LINE, Target.INSTALLATION, None, details={}
    )
    with store._database.change() as change:
        end_everything_issued(change.connection, metadata.tables, now)
        change.record(audit)
    world.services.signing_keys.make_first()


def project_of(world: World) -> int:
    """Return the id of the person's project, made if they have none."""
    found = world.services.projects.list_visible(world.principal)
    if found:
        return found[0].project_id
    return world.services.projects.add(
        world.principal, HERE, name=f"of {world.userid}", description=None
    ).project_id


def connection_of(w: World) -> str:
    """Return the key of a connection of this world, which leads nowhere."""
    key = f"db-{w.userid}"
    if w.services.store.connections.find(key) is None:
        values = {
            "technology": "PostgreSQL", "hostname": "127.0.0.1", "database": "shop",
            "username": "keyturn", "password": "seven quiet harbor lamps",
        }  # fmt: skip
        w.services.connections.add(w.admin, NewConnection(key, values), HERE)
    return key


def about_connection(w: World, action: AuditAction) -> AuditEntry:
    return AuditEntry(w.services.system.now(), action, COMMAND_LINE, Target.CONNECTION, connection_of(w))


def job_of(w: World) -> None:
    """Write down a job that nobody does."""
    record = w.services.connections.get_now(w.admin, connection_of(w))
    entry = about_connection(w, AuditAction.CONNECTION_JOB_STARTED)
    place = (record.connection_id, record.connection_key)
    w.services.store.jobs.add(f"job of {w.userid}", JobType.CRAWL, place, (), by=None, audit=entry)


def group_of(world: World) -> int:
    """Return the id of the person's group, made with an attribute if they are in none."""
    groups = world.services.groups
    found = groups.list_visible(world.principal)
    if found:
        return found[0].group_id
    made = groups.add(world.admin, HERE, iamid="bim", name=f"of {world.userid}").group_id
    groups.add_member(world.admin, made, HERE, iamid="bim", userid=world.userid)
    return made


def api_of(world: World) -> ApiRecord:
    """Return the API of `key_of_an_api`."""
    (found,) = (one for one in world.services.apis.list_all() if one.name == f"api-of-{world.userid}")
    return found


def hand_scope_to(world: World, group_ids: list[int] | None) -> None:
    """Say who may hold what the key is narrowed to: these groups, None for everyone."""
    api = api_of(world)
    say_anew(world.services, world.admin, api, scopes_of(api.name, group_ids))


def unregister(world: World) -> None:
    world.services.apis.delete(world.admin, api_of(world).resource_id, HERE)


def group_without(world: World) -> int:
    """Return the id of a group of the person, after taking them out of it."""
    group = group_of(world)
    leave(world.services, world.admin, group, world.principal.user_id)
    return group


def group_named_after(world: World) -> int:
    (found,) = (
        one for one in world.services.groups.list_visible(world.admin) if one.name == f"of {world.userid}"
    )
    return found.group_id


def program_of(world: World) -> str:
    return f"program of {world.userid}"


def disable(world: World, userid: str, *, disabled: bool = True) -> None:
    world.services.offboarding.set_disabled(world.admin, "bim", userid, HERE, disabled=disabled)


def delete(world: World, userid: str) -> None:
    world.services.offboarding.delete(world.admin, "bim", userid, HERE)


def transfer(world: World) -> None:
    owner = ServiceOwner(world.admin.user_id)
    world.services.service_accounts.transfer(world.admin, program_of(world), owner, HERE)


def invite(world: World) -> None:
    link = world.services.user_administration.invite(world.admin, "bim", world.userid, HERE).link
    _invited[world.userid] = link.partition("#")[2]


_invited: dict[str, str] = {}


def rotate(world: World, overlap: timedelta) -> None:
    world.services.key_rotation.rotate_own(world.principal, world.key.record.key_id, HERE, overlap=overlap)


def device_code(world: World) -> str:
    """Let a device wait; return the code that it shows."""
    return world.services.devices.begin({"client_id": "device"}, HERE).user_code


def fail_to_log_in(world: World) -> None:
    with pytest.raises(CredentialRefused):
        log_in(world.services, world.userid, "not the password")


def archive_events(w: World) -> None:
    """Move all events but the newest into a file."""
    services = w.services
    with TemporaryDirectory() as folder:
        before = services.system.now() + timedelta(seconds=1)
        assert list(services.audit_archive.archive(Path(folder), COMMAND_LINE, before=before))


def rotate_root_key(services: Services) -> None:
    """Put a new root key first, as an operator does, and rotate."""
    file = services.settings.root_key_file
    assert file is not None
    file.write_text(new_root_key(services.system) + file.read_text())
    with open_sealed(services.settings, services.system) as sealed:
        sealed.rotation.run(COMMAND_LINE, lambda _done, _of: None)


def replace_root_key(services: Services) -> None:
    """Begin anew with another root key, as an operator does who lost the one that there was."""
    file = services.settings.root_key_file
    assert file is not None
    file.write_text(new_root_key(services.system))
    with open_recovery(services.settings, services.system) as recovery:
        recovery.replacement.run(COMMAND_LINE)


PATHS: dict[str, Change] = {
    "revoke_own": Change(
        AuditAction.API_KEY_DELETED,
        lambda w: w.services.keys.revoke_own(w.principal, w.key.record.key_id, HERE),
        key=REVOKED,
        exchange=REVOKED,
        key_token=REVOKED,
    ),
    "revoke_own, by the key itself": Change(
        AuditAction.API_KEY_DELETED,
        lambda w: w.services.keys.revoke_own(caller(w.services, w.key.secret), w.key.record.key_id, HERE),
        key=REVOKED,
        exchange=REVOKED,
        key_token=REVOKED,
    ),
    "revoke_any": Change(
        AuditAction.API_KEY_DELETED,
        lambda w: w.services.keys.revoke_any(w.key.record.key_id, COMMAND_LINE),
        key=REVOKED,
        exchange=REVOKED,
        key_token=REVOKED,
    ),
    "replace_secret": Change(
        AuditAction.API_KEY_REPLACED,
        lambda w: w.services.keys.create(w.principal, HERE, NewKey("key", idempotency_key="the first try")),
        key=UNKNOWN,
        exchange=UNKNOWN,
        key_token=REVOKED,
    ),
    "rotate_own": Change(
        AuditAction.API_KEY_ROTATED,
        lambda w: rotate(w, timedelta(0)),
        key=EXPIRED,
        exchange=EXPIRED,
        key_token=REVOKED,
    ),
    "rotate_own, with an overlap": Change(
        AuditAction.API_KEY_ROTATED, lambda w: rotate(w, timedelta(hours=1))
    ),
    "rotate_own a second time": Change(
        AuditAction.API_KEY_ROTATED,
        lambda w: rotate(w, timedelta(hours=1)),
        key=UNKNOWN,
        exchange=UNKNOWN,
        key_token=REVOKED,  # Made with the secret that ends now (fault B10).
        before=lambda w: rotate(w, timedelta(hours=1)),
    ),
    "revoke the token of the key": Change(
        AuditAction.TOKEN_REVOKED,
        lambda w: w.services.revocation.revoke(w.key_token, COMMAND_LINE),
        key_token=REVOKED,
    ),
    "revoke the token of the login": Change(
        AuditAction.TOKEN_REVOKED,
        lambda w: w.services.revocation.revoke(w.login_token, COMMAND_LINE),
        login_token=REVOKED,
        acted_token=ACCEPTED,
    ),
    "sign_out": Change(
        AuditAction.USER_SIGNED_OUT,
        lambda w: w.services.users.sign_out(COMMAND_LINE, w.userid),
        key_token=REVOKED,
        login_token=REVOKED,
    ),
    "rename the owner": Change(
        AuditAction.USER_RENAMED,
        lambda w: w.services.users.rename(
            COMMAND_LINE, w.services.users.get_by_name(None, w.userid), "another"
        ),
    ),
    "unlock": Change(
        AuditAction.USER_UNLOCKED,
        lambda w: w.services.users.unlock(COMMAND_LINE, w.principal.user_id),
        before=fail_to_log_in,
    ),
    "disable": Change(
        AuditAction.USER_DISABLED,
        lambda w: set_disabled(w, disabled=True),
        key=OWNER_DISABLED,
        exchange=OWNER_DISABLED,
        key_token=OWNER_DISABLED,
        login_token=REVOKED,
    ),
    "enable": Change(
        AuditAction.USER_ENABLED,
        lambda w: set_disabled(w, disabled=False),
        key_token=REVOKED,
        login_token=REVOKED,
        before=lambda w: set_disabled(w, disabled=True),
    ),
    "set_password": Change(
        AuditAction.USER_PASSWORD_UPDATED,
        lambda w: set_password(w.services, w.userid, NEW_PASSWORD),
        login_token=REVOKED,
    ),
    "change_password": Change(
        AuditAction.USER_PASSWORD_UPDATED,
        lambda w: w.services.users.change_password(w.browser, old=PASSWORD, new=NEW_PASSWORD, origin=HERE),
        login_token=REVOKED,
    ),
    "end_own": Change(
        AuditAction.SESSION_ENDED,
        lambda w: w.services.sessions.end_own(
            w.principal, w.login_session, HERE, action=AuditAction.SESSION_ENDED
        ),
        login_token=REVOKED,
        acted_token=ACCEPTED,
    ),
    "end_own, at a logout": Change(
        AuditAction.USER_LOGGED_OUT,
        lambda w: w.services.sessions.end_own(
            w.principal, w.login_session, HERE, action=AuditAction.USER_LOGGED_OUT
        ),
        login_token=REVOKED,
        acted_token=ACCEPTED,
    ),
    "end_own, the browser": Change(
        AuditAction.USER_LOGGED_OUT,
        lambda w: w.services.sessions.end_own(
            w.principal, w.browser.session_id, HERE, action=AuditAction.USER_LOGGED_OUT
        ),
    ),
    "prove the password": Change(
        AuditAction.SESSION_PROVED,
        lambda w: w.services.reauthentication.prove(w.browser, PASSWORD, field="password", origin=HERE),
    ),
    "end_others": Change(
        AuditAction.SESSION_ENDED,
        lambda w: w.services.sessions.end_others(w.browser, HERE),
        login_token=REVOKED,
    ),
    "update_profile": Change(
        AuditAction.USER_PROFILE_UPDATED,
        lambda w: w.services.users.update_profile(w.principal, {"name": "Robert"}, HERE),
        key="Robert",
        key_token="Robert",
        login_token="Robert",
    ),
    "import_foreign": Change(
        AuditAction.API_KEY_IMPORTED,
        lambda w: w.services.keys.import_foreign(
            w.principal.user_id, COMMAND_LINE, text=w.foreign, name=None, lifetime=None
        ),
        negative=ACCEPTED,
    ),
    "revoke, as an administrator": Change(
        AuditAction.API_KEY_DELETED,
        lambda w: w.services.all_keys.revoke(w.admin, [w.key.record.key_id], HERE),
        key=REVOKED,
        exchange=REVOKED,
        key_token=REVOKED,
    ),
    "set_disabled, as an administrator": Change(
        AuditAction.USER_DISABLED,
        lambda w: disable(w, w.userid),
        key=OWNER_DISABLED,
        exchange=OWNER_DISABLED,
        key_token=OWNER_DISABLED,
        login_token=REVOKED,
    ),
    "set_password, as an administrator": Change(
        AuditAction.USER_PASSWORD_UPDATED,
        lambda w: w.services.user_administration.set_password(
            w.admin, "bim", w.userid, password=NEW_PASSWORD, current=None, origin=HERE
        ),
        login_token=REVOKED,
    ),
    "accept an invitation": Change(
        AuditAction.USER_PASSWORD_UPDATED,
        lambda w: w.services.invitations.accept(_invited[w.userid], NEW_PASSWORD, HERE),
        login_token=REVOKED,
        before=invite,
    ),
    "delete": Change(
        AuditAction.USER_DELETED,
        lambda w: delete(w, w.userid),
        key=UNKNOWN,
        exchange=UNKNOWN,
        key_token=UNKNOWN,
        login_token=UNKNOWN,
    ),
    "update_profile, as an administrator": Change(
        AuditAction.USER_PROFILE_UPDATED,
        lambda w: w.services.user_administration.update_profile(
            w.admin, "bim", w.userid, {"name": "Robert"}, HERE
        ),
        key="Robert",
        key_token="Robert",
        login_token="Robert",
    ),
    "revoke_key, of a service account": Change(
        AuditAction.API_KEY_DELETED,
        lambda w: w.services.service_accounts.revoke_key(
            w.principal, program_of(w), w.key.record.key_id, HERE
        ),
        key=REVOKED,
        exchange=REVOKED,
        key_token=REVOKED,
        key_of=key_of_program,
    ),
    "disable a service account": Change(
        AuditAction.USER_DISABLED,
        lambda w: disable(w, program_of(w)),
        key=OWNER_DISABLED,
        exchange=OWNER_DISABLED,
        key_token=OWNER_DISABLED,
        key_of=key_of_program,
    ),
    "disable the owner of a service account": Change(
        AuditAction.USER_DISABLED,
        lambda w: disable(w, w.userid),
        key=OWNER_DISABLED,
        exchange=OWNER_DISABLED,
        key_token=OWNER_DISABLED,
        login_token=REVOKED,
        key_of=key_of_program,
        besides=(AuditAction.USER_DISABLED,),
    ),
    "enable the owner of a service account": Change(
        AuditAction.USER_ENABLED,
        lambda w: disable(w, w.userid, disabled=False),
        key_token=REVOKED,
        login_token=REVOKED,
        before=lambda w: disable(w, w.userid),
        key_of=key_of_program,
        besides=(AuditAction.USER_ENABLED,),
    ),
    "delete a service account": Change(
        AuditAction.USER_DELETED,
        lambda w: delete(w, program_of(w)),
        key=UNKNOWN,
        exchange=UNKNOWN,
        key_token=UNKNOWN,
        key_of=key_of_program,
    ),
    "delete the owner of a service account": Change(
        AuditAction.USER_DELETED,
        lambda w: delete(w, w.userid),
        key=UNKNOWN,
        exchange=UNKNOWN,
        key_token=UNKNOWN,
        login_token=UNKNOWN,
        key_of=key_of_program,
        besides=(AuditAction.USER_DELETED,),
    ),
    "delete the group that owns a service account": Change(
        AuditAction.GROUP_DELETED,
        lambda w: w.services.groups.delete(w.admin, group_of(w), HERE),
        key=UNKNOWN,
        exchange=UNKNOWN,
        key_token=UNKNOWN,
        key_of=key_of_group_s_program,
        besides=(AuditAction.USER_DELETED,),
    ),
    "hand over": Change(AuditAction.SERVICE_ACCOUNT_TRANSFERRED, transfer, key_of=key_of_program),
    "hand over what had stopped with its owner": Change(
        AuditAction.SERVICE_ACCOUNT_TRANSFERRED,
        transfer,
        key_token=REVOKED,
        login_token=REVOKED,
        before=lambda w: disable(w, w.userid),
        key_of=key_of_program,
    ),
    "delete the project of a key": Change(
        AuditAction.PROJECT_DELETED,
        lambda w: w.services.projects.delete(w.principal, project_of(w), HERE),
        key=REVOKED,
        exchange=REVOKED,
        key_token=REVOKED,
        key_of=key_of_project,
        besides=(AuditAction.API_KEY_DELETED,),
    ),
    "delete a system key": Change(
        AuditAction.API_KEY_DELETED,
        lambda w: w.services.system_keys.delete(w.admin, w.key.record.key_id, HERE),
        key=REVOKED,
        exchange=REVOKED,
        key_token=REVOKED,
        key_of=key_of_keyturn,
    ),
    "regenerate a system key": Change(
        AuditAction.API_KEY_DELETED,
        lambda w: key_of_keyturn(w.services, w.admin, w.principal, regenerate=True),
        key=REVOKED,
        exchange=REVOKED,
        key_token=REVOKED,
        key_of=key_of_keyturn,
        besides=(AuditAction.API_KEY_CREATED,),
    ),
    # What follows ends no credential. What it ends of permissions and connections, other tests say.
    "set_permissions": Change(
        AuditAction.USER_PERMISSIONS_UPDATED,
        lambda w: w.services.user_administration.set_permissions(
            w.admin, "bim", w.userid, [Permission.AUDIT], HERE
        ),
    ),
    "change_attribute": Change(
        AuditAction.USER_ATTRIBUTES_UPDATED,
        lambda w: w.services.user_administration.change_attribute(
            w.admin, "bim", w.userid, ("team", "a"), HERE, is_given=True
        ),
    ),
    "register a retired scope that keys name": Change(
        AuditAction.RESOURCE_CREATED,
        lambda w: register(w.services, f"api-of-{w.userid}"),
        before=unregister,
        key_of=key_of_an_api,
    ),
    "hand a scope to nobody": Change(
        AuditAction.RESOURCE_UPDATED,
        lambda w: hand_scope_to(w, []),
        key=WITHHELD,
        exchange=WITHHELD,
        key_token=WITHHELD,
        key_of=key_of_an_api,
    ),
    "hand a scope to everyone": Change(
        AuditAction.RESOURCE_UPDATED,
        lambda w: hand_scope_to(w, None),
        before=lambda w: hand_scope_to(w, []),
        key_of=key_of_an_api,
    ),
    "delete the API of a scope": Change(
        AuditAction.RESOURCE_DELETED,
        unregister,
        key=WITHHELD,
        exchange=WITHHELD,
        key_token=WITHHELD,
        key_of=key_of_an_api,
    ),
    "add_member to the group that may hold a scope": Change(
        AuditAction.GROUP_MEMBER_ADDED,
        lambda w: w.services.groups.add_member(
            w.admin, group_named_after(w), HERE, iamid="bim", userid=w.userid
        ),
        before=lambda w: hand_scope_to(w, [group_without(w)]),
        key_of=key_of_an_api,
    ),
    "remove_member of the group that may hold a scope": Change(
        AuditAction.GROUP_MEMBER_REMOVED,
        lambda w: leave(w.services, w.admin, group_of(w), w.principal.user_id),
        key=WITHHELD,
        exchange=WITHHELD,
        key_token=WITHHELD,
        before=lambda w: hand_scope_to(w, [group_of(w)]),
        key_of=key_of_an_api,
    ),
    "delete the group that may hold a scope": Change(
        AuditAction.GROUP_DELETED,
        lambda w: w.services.groups.delete(w.admin, group_of(w), HERE),
        key=WITHHELD,
        exchange=WITHHELD,
        key_token=WITHHELD,
        before=lambda w: hand_scope_to(w, [group_of(w)]),
        key_of=key_of_an_api,
    ),
    "add a group": Change(
        AuditAction.GROUP_CREATED,
        lambda w: w.services.groups.add(w.admin, HERE, iamid="bim", name=f"new, {w.userid}"),
    ),
    "update a group": Change(
        AuditAction.GROUP_UPDATED,
        lambda w: w.services.groups.update(
            w.admin, group_of(w), HERE, name=None, email=None, description="changed"
        ),
        before=group_of,
    ),
    "add_member": Change(
        AuditAction.GROUP_MEMBER_ADDED,
        lambda w: w.services.groups.add_member(w.admin, group_of(w), HERE, iamid="bim", userid="root"),
        before=group_of,
    ),
    "remove_member": Change(
        AuditAction.GROUP_MEMBER_REMOVED,
        lambda w: w.services.groups.remove_member(
            w.admin,
            group_of(w),
            w.services.groups.list_members(w.admin, group_of(w))[0].membership_id,
            HERE,
        ),
        before=group_of,
    ),
    "change_attribute of a group": Change(
        AuditAction.GROUP_ATTRIBUTES_UPDATED,
        lambda w: w.services.groups.change_attribute(
            w.admin, group_of(w), ("team", "a"), HERE, is_given=True
        ),
        before=group_of,
    ),
    "add a project": Change(AuditAction.PROJECT_CREATED, project_of),
    "update a project": Change(
        AuditAction.PROJECT_UPDATED,
        lambda w: w.services.projects.update(
            w.principal, project_of(w), HERE, name=None, description="changed"
        ),
        key_of=key_of_project,
    ),
    # What follows ends nothing, and must not: it happens all the time.
    "reveal a system key again": Change(
        AuditAction.API_KEY_REVEALED,
        lambda w: key_of_keyturn(w.services, w.admin, w.principal),
        key="System",
        key_token="System",
        key_of=key_of_keyturn,
    ),
    "invite": Change(AuditAction.USER_INVITED, invite),
    "approve a device": Change(
        AuditAction.DEVICE_APPROVED,
        lambda w: w.services.devices.approve(w.browser, device_code(w), Lifetime(None), HERE),
    ),
    "refuse a device": Change(
        AuditAction.DEVICE_DENIED, lambda w: w.services.devices.deny(w.browser, device_code(w), HERE)
    ),
    "add a service account": Change(
        AuditAction.SERVICE_ACCOUNT_CREATED,
        lambda w: add_service_account(w.services, w.admin, ServiceOwner(w.principal.user_id), program_of(w)),
    ),
    "create": Change(
        AuditAction.API_KEY_CREATED,
        lambda w: w.services.keys.create(w.principal, HERE, NewKey()),
    ),
    "add": Change(AuditAction.USER_CREATED, lambda w: add_person(w.services, f"friend of {w.userid}")),
    "log in": Change(AuditAction.USER_LOGGED_IN, lambda w: log_in(w.services, w.userid)),
    "rename": Change(
        AuditAction.API_KEY_UPDATED,
        lambda w: w.services.keys.update_own(
            w.principal, w.key.record.key_id, name="renamed", note="for tests", origin=HERE
        ),
    ),
    "act for the person": Change(
        AuditAction.USER_IMPERSONATED,
        lambda w: w.services.impersonation.impersonate(w.acting, "bim", w.userid, HERE),
    ),
    "make a token in the browser": Change(
        AuditAction.TOKEN_ISSUED, lambda w: w.services.logins.token_for(w.browser, HERE)
    ),
    "fail to log in": Change(AuditAction.USER_LOGIN_FAILED, fail_to_log_in),
    "register": Change(
        AuditAction.CONNECTION_CREATED,
        lambda w: w.services.connections.register(COMMAND_LINE, w.principal.user_id, "one", {}),
    ),
    "update a connection": Change(
        AuditAction.CONNECTION_UPDATED,
        lambda w: w.services.connections.update(
            w.admin, connection_of(w), ChangedConnection({"database": "other"}), HERE
        ),
        before=connection_of,
    ),
    "deactivate a connection": Change(
        AuditAction.CONNECTION_DEACTIVATED,
        lambda w: w.services.connections.set_active(w.admin, connection_of(w), HERE, is_active=False),
        before=connection_of,
    ),
    "activate a connection": Change(
        AuditAction.CONNECTION_ACTIVATED,
        lambda w: w.services.connections.set_active(w.admin, connection_of(w), HERE, is_active=True),
        before=lambda w: w.services.connections.set_active(w.admin, connection_of(w), HERE, is_active=False),
    ),
    "delete a connection": Change(
        AuditAction.CONNECTION_DELETED,
        lambda w: w.services.store.connections.delete(
            w.services.connections.get_now(w.admin, connection_of(w)).connection_id,
            about_connection(w, AuditAction.CONNECTION_DELETED),
        ),
        before=connection_of,
    ),
    "change settings of a connection": Change(
        AuditAction.CONNECTION_SETTINGS_UPDATED,
        lambda w: w.services.data_objects.change_settings(
            w.admin, (connection_of(w),), ChangedSettings(is_active=False), HERE
        ),
        before=connection_of,
    ),
    "rotate the password of a connection": Change(
        AuditAction.CONNECTION_PASSWORD_ROTATED,
        lambda w: w.services.connection_secrets.replace(
            w.services.connections.get_now(w.admin, connection_of(w)),
            OpenedSecrets({"password": "other"}),
            about_connection(w, AuditAction.CONNECTION_PASSWORD_ROTATED),
        ),
        before=connection_of,
    ),
    "start a job": Change(AuditAction.CONNECTION_JOB_STARTED, job_of, before=connection_of),
    "cancel a job": Change(
        AuditAction.CONNECTION_JOB_CANCELED,
        lambda w: w.services.jobs.cancel(w.admin, f"job of {w.userid}", HERE),
        before=job_of,
    ),
    "new signing key": Change(
        AuditAction.SIGNING_KEY_CREATED, lambda w: w.services.signing_keys.rotate(COMMAND_LINE)
    ),
    "archive events": Change(AuditAction.AUDIT_PRUNED, archive_events),
    "rotate the root key": Change(AuditAction.ROOT_KEY_ROTATED, lambda w: rotate_root_key(w.services)),
    # It ends the tokens of everybody.
    "replace the signing keys at once": Change(
        AuditAction.SIGNING_KEYS_RETIRED,
        lambda w: w.services.signing_keys.replace_at_once(COMMAND_LINE),
        key_token=SIGNATURE,
        login_token=SIGNATURE,
        besides=(AuditAction.SIGNING_KEYS_RETIRED,),
        for_others={"key_token": SIGNATURE, "login_token": SIGNATURE, "acted_token": SIGNATURE},
    ),
    "restore a backup": Change(
        AuditAction.INSTALLATION_RESTORED,
        begin_epoch,
        key_token=SIGNATURE,
        login_token=SIGNATURE,
        besides=(AuditAction.SIGNING_KEY_CREATED,),
        for_others={"key_token": SIGNATURE, "login_token": SIGNATURE, "acted_token": SIGNATURE},
    ),
    "replace the lost root key": Change(
        AuditAction.ROOT_KEY_REPLACED,
        lambda w: replace_root_key(w.services),
        key_token=SIGNATURE,
        login_token=SIGNATURE,
        besides=(AuditAction.SIGNING_KEYS_RETIRED,),
        for_others={"key_token": SIGNATURE, "login_token": SIGNATURE, "acted_token": SIGNATURE},
    ),
}
"""Each way to change anything. A path that ends a right and is missing here has no test at all."""


def test_every_change_is_in_the_table() -> None:
    """Whoever adds a security event says here what it ends of what is remembered (R3)."""
    assert {path.action for path in PATHS.values()} == set(AuditAction)


def test_each_path_ends_what_is_remembered(
    database: str, reopen: Opener, elsewhere: Callable[[], Services]
) -> None:
    """On every path each remembered thing is worth what it should be at the very next call (R3)."""
    here = reopen(failures_per_minute=NO_LIMIT)
    places = {"here": here, "another process": reopen(failures_per_minute=NO_LIMIT)}
    if not shares_host(database):
        places["another host"] = elsewhere()
    bystander = new_world(here)
    quiet = Change(AuditAction.USER_CREATED, lambda _w: None).expected()
    wrong = {}
    for name, path in PATHS.items():
        world = new_world(here, path.key_of)
        path.before(world)
        for services in places.values():
            look(services)
            assert world.verdicts(services) == world.verdicts(services), name
            assert bystander.verdicts(services) == quiet, name
        last = here.store.audit_log.list_after(limit=10_000)[-1].audit_id

        path.act(world)

        written = [row.action for row in here.store.audit_log.list_after(last)]
        assert written == [path.action, *path.besides], name
        for place, services in places.items():
            if place == "another host":
                look(services)
            # Twice: of what the database was asked for, and of what is remembered of that.
            for _ in range(2):
                if (told := world.verdicts(services)) != path.expected():
                    wrong[name, place] = told
                if bystander.verdicts(services) != {**quiet, **path.for_others}:
                    wrong[name, place, "bystander"] = bystander.verdicts(services)
        if path.for_others:
            bystander = new_world(here)  # Whose tokens live.

    assert wrong == {}


def test_what_ends_nothing_forgets_nothing(services: Services, key: CreatedKey, bob: Principal) -> None:
    """Logins, new keys and new users, which come all day, leave what is remembered in place."""
    services.keys.create(bob, HERE, NewKey())
    log_in(services)
    add_person(services, "eve")
    services.connections.register(COMMAND_LINE, bob.user_id, "one", {})
    freshness_of(services).ensure()

    assert is_remembered(services, key.secret)
    with statements(services) as asked:
        assert verdict(services, key.secret) == ACCEPTED
    assert asked == []


def test_a_change_to_one_forgets_no_other(services: Services, key: CreatedKey, bob: Principal) -> None:
    """When a key, a session or a user ends, no other credential is looked up again."""
    add_person(services, "eve")
    other = services.keys.create(bob, HERE, NewKey())
    services.keys.revoke_own(bob, other.record.key_id, HERE)
    services.users.set_disabled(COMMAND_LINE, "eve", disabled=True)
    for session in services.sessions.list_own(bob):
        services.sessions.end_own(bob, session.session_id, HERE, action=AuditAction.SESSION_ENDED)
    freshness_of(services).ensure()

    assert is_remembered(services, key.secret)


# A look-up that is overtaken by a change (R4)


OVERTAKEN = [
    ("key", "api_key", "revoke_own", ACCEPTED, REVOKED),
    ("key", "api_key", "disable", ACCEPTED, OWNER_DISABLED),
    ("key", "api_key", "delete", ACCEPTED, UNKNOWN),
    ("key_token", "api_key", "delete the owner of a service account", ACCEPTED, UNKNOWN),
    ("login_token", "session", "delete", ACCEPTED, UNKNOWN),
    ("key_token", "api_key", "revoke_any", ACCEPTED, REVOKED),
    ("login_token", "session", "end_own", ACCEPTED, REVOKED),
    ("login_token", "session", "set_password", ACCEPTED, REVOKED),
    ("negative", "api_key", "import_foreign", UNKNOWN, ACCEPTED),
]
"""What is looked up where, by which path it is overtaken, what it is told then, and ever after."""


def test_an_overtaken_answer_is_not_kept(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before a change that others have seen is told once at most, and not remembered (R4)."""
    for thing, table, path, told, then in OVERTAKEN:
        world = new_world(services, PATHS[path].key_of)
        credential = {
            "key": world.key.secret,
            "key_token": world.key_token,
            "login_token": world.login_token,
            "negative": world.foreign,
        }[thing]
        services.authenticator._index.forget_everything()

        def change(path: str = path, world: World = world) -> None:
            PATHS[path].act(world)
            freshness_of(services).ensure()  # As another request does.

        with overtaken(services, table, change, monkeypatch) as happened:
            assert verdict(services, credential) == told, (thing, path)

        assert len(happened) == 1, (thing, path)
        assert [verdict(services, credential) for _ in range(2)] == [then] * 2, (thing, path)


def test_nothing_is_accepted_after_its_end(bob: Principal, reopen: Opener) -> None:
    """While threads use a key and its token, the first call after the revoke is refused (R1, R4)."""
    places = [reopen(failures_per_minute=NO_LIMIT) for _ in range(2)]
    current: list[tuple[str, ...]] = [()]
    is_over = threading.Event()
    accepted = [0] * 3

    def use(number: int) -> None:
        ended: tuple[str, ...] = ()
        while not is_over.is_set():
            used = current[0]
            if used is ended:
                is_over.wait(POLLED_SECONDS)
            elif all(verdict(places[number % 2], credential) == ACCEPTED for credential in used):
                accepted[number] += 1
            else:
                ended = used

    threads = [threading.Thread(target=use, args=(number,)) for number in range(len(accepted))]
    late = []
    with switching_every(SWITCH_SECONDS):
        for thread in threads:
            thread.start()
        try:
            for _ in range(ROUNDS_IN_THREADS):
                made = places[0].keys.create(bob, HERE, NewKey())
                token = places[0].exchange.exchange(in_header=[], in_body=made.secret, origin=HERE).token
                before = list(accepted)
                current[0] = (made.secret, token)
                wait_until(lambda: all(now > then for now, then in zip(accepted, before, strict=True)))  # noqa: B023
                places[0].keys.revoke_own(bob, made.record.key_id, HERE)
                late += [verdict(place, credential) for place in places for credential in current[0]]
        finally:
            is_over.set()
            for thread in threads:
                thread.join()

    assert late == [REVOKED] * len(places) * 2 * ROUNDS_IN_THREADS


# How long an answer is good (R2)


def test_nothing_is_trusted_for_longer_than_stated(services: Services, key: CreatedKey, clock: Clock) -> None:
    """A remembered yes is given until just before `max_staleness`, and from exactly then on not (R2)."""
    look(services)
    with database_away(services):
        clock.advance(timedelta(seconds=STALENESS - 0.125))
        assert verdict(services, key.secret) == ACCEPTED
        assert freshness_of(services).why_not() is None

        clock.advance(timedelta(seconds=0.125))
        assert services.authenticator.recognise(key.secret.encode(), NOWHERE) is None
        assert verdict(services, key.secret) == UNAVAILABLE
        assert freshness_of(services).why_not() is not None

    clock.advance(timedelta(seconds=RETRY_SECONDS * 2))
    assert verdict(services, key.secret) == ACCEPTED
    assert freshness_of(services).why_not() is None


def test_trust_begins_when_the_database_was_asked(
    services: Services, key: CreatedKey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that takes long is trusted from its beginning: what changed meanwhile it may not have seen."""
    answer_late = timedelta(seconds=3)
    with overtaken(services, "installation", lambda: clock.advance(answer_late), monkeypatch) as happened:
        look(services)
    assert len(happened) == 1
    with database_away(services):
        clock.advance(timedelta(seconds=STALENESS - 0.125) - answer_late)
        assert verdict(services, key.secret) == ACCEPTED
        clock.advance(timedelta(seconds=0.125))
        assert verdict(services, key.secret) == UNAVAILABLE


def test_each_look_renews_the_trust(services: Services, key: CreatedKey, clock: Clock) -> None:
    """While the thread finds the database in its place, requests ask it nothing."""
    for _ in range(10):
        clock.advance(timedelta(seconds=POLL_SECONDS))
        look(services)
        with statements(services) as asked:
            assert verdict(services, key.secret) == ACCEPTED
        assert asked == []


def test_a_failed_look_renews_nothing(services: Services, key: CreatedKey, clock: Clock) -> None:
    """Looks that the database did not answer do not make what is remembered good for longer (R2)."""
    look(services)
    with database_away(services):
        for _ in range(4):
            clock.advance(timedelta(seconds=STALENESS / 4))
            with pytest.raises(StoreUnavailable):
                look(services)
        assert verdict(services, key.secret) == UNAVAILABLE


def test_a_change_while_the_database_is_away_refuses_all(
    services: Services, key: CreatedKey, bob: Principal
) -> None:
    """Once it is known that something changed, but not what, nobody is let in, fresh trust or not (R2)."""
    look(services)
    with services.store.counter.committing():
        pass
    with database_away(services):
        assert verdict(services, key.secret) == UNAVAILABLE


def test_a_database_that_failed_is_left_alone(services: Services, key: CreatedKey, clock: Clock) -> None:
    """After each failure no request asks the database for `RETRY_SECONDS`, though it may be back (Q7)."""
    for _ in range(2):
        clock.advance(timedelta(seconds=STALENESS))
        with database_away(services):
            assert verdict(services, key.secret) == UNAVAILABLE
            clock.advance(timedelta(seconds=RETRY_SECONDS * 2))
            assert verdict(services, key.secret) == UNAVAILABLE

        with statements(services) as asked:
            assert verdict(services, key.secret) == UNAVAILABLE
            clock.advance(timedelta(seconds=RETRY_SECONDS - 0.0625))
            assert verdict(services, key.secret) == UNAVAILABLE
        assert asked == []
        clock.advance(timedelta(seconds=0.125))
        with statements(services) as asked:
            assert verdict(services, key.secret) == ACCEPTED
        assert asked != []


def test_the_thread_does_not_wait_to_try_again(
    services: Services, key: CreatedKey, bob: Principal, clock: Clock
) -> None:
    """A look that no request asked for is made whatever failed before, and ends the wait of requests."""
    clock.advance(timedelta(seconds=STALENESS))
    with database_away(services):
        assert verdict(services, key.secret) == UNAVAILABLE
    assert verdict(services, key.secret) == UNAVAILABLE

    look(services)

    assert verdict(services, key.secret) == ACCEPTED
    services.keys.revoke_own(bob, key.record.key_id, HERE)
    assert verdict(services, key.secret) == REVOKED, "asked for at once, since the database is back"


def test_a_look_that_hangs_stops_nobody_for_good(
    services: Services, key: CreatedKey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one look waits for a database that hangs, other requests give up instead of queueing (F8)."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    clock.advance(timedelta(seconds=STALENESS))

    with freshness_of(services)._lock:
        assert verdict(services, key.secret) == UNAVAILABLE

    assert verdict(services, key.secret) == ACCEPTED


# What makes everything be forgotten


def change_nothing(services: Services, action: AuditAction, target_type: str, target_id: str | None) -> None:
    """Tell of a change that did not happen."""
    services.store.audit_log.record(
        AuditEntry(services.system.now(), action, COMMAND_LINE, target_type, target_id)
    )


def test_more_changes_than_are_read_forget_everything(
    services: Services, key: CreatedKey, bob: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more changes than `MAX_CHANGES_AT_ONCE` none is read, and nothing is believed any more."""
    assert audit_log.MAX_CHANGES_AT_ONCE <= 1000
    monkeypatch.setattr(audit_log, "MAX_CHANGES_AT_ONCE", 5)
    for changes, is_kept in ((5, True), (6, False)):
        other = services.keys.create(bob, HERE, NewKey())
        assert verdict(services, other.secret) == ACCEPTED
        services.keys.revoke_own(bob, other.record.key_id, HERE)
        for _ in range(changes - 1):
            change_nothing(services, AuditAction.USER_LOGIN_FAILED, Target.USER, "unknown")

        freshness_of(services).ensure()

        assert is_remembered(services, key.secret) is is_kept
        assert not is_remembered(services, other.secret)
        assert verdict(services, other.secret) == REVOKED
        assert verdict(services, key.secret) == ACCEPTED


def test_missing_audit_rows_forget_everything(services: Services, key: CreatedKey) -> None:
    """When it cannot be read what a revision changed, nothing is believed any more."""
    for missing in ("revision = {0} + 1", "revision = {0} + 3", "revision > {0}"):
        newest = services.store.installation.revision()
        for _ in range(3):
            change_nothing(services, AuditAction.USER_LOGIN_FAILED, Target.USER, "unknown")
        run_behind(services, f"DELETE FROM audit WHERE {missing.format(newest)}")

        freshness_of(services).ensure()

        assert not is_remembered(services, key.secret), missing
        assert verdict(services, key.secret) == ACCEPTED


def test_an_unknown_target_forgets_everything(services: Services, key: CreatedKey) -> None:
    """A change to something that this program does not know could end anything (R3)."""
    for target_type, target_id in (
        ("NOVELTY", "1"),
        (Target.SIGNING_KEY, "kid"),
        (Target.USER, "bob"),
        (Target.USER, None),
        (Target.API_KEY, "-1"),
        ("", "1"),
    ):
        change_nothing(services, AuditAction.USER_DISABLED, Target.USER, target_id)
        run_behind(
            services,
            "UPDATE audit SET target_type = :name WHERE revision = (SELECT max(revision) FROM audit)",
            name=target_type,
        )

        freshness_of(services).ensure()

        assert not is_remembered(services, key.secret), (target_type, target_id)
        assert verdict(services, key.secret) == ACCEPTED


def test_an_unknown_action_ends_its_target(services: Services, key: CreatedKey, bob: Principal) -> None:
    """What a newer program does to a user, under a name that is new, ends all of theirs here (R3)."""
    change_nothing(services, AuditAction.USER_DISABLED, Target.USER, str(bob.user_id))
    run_behind(
        services,
        "UPDATE audit SET action = 'UserMerged' WHERE revision = (SELECT max(revision) FROM audit)",
    )

    freshness_of(services).ensure()

    assert not is_remembered(services, key.secret)


# A database that went back in time (D7)


def test_an_older_database_is_refused(services: Services, key: CreatedKey, clock: Clock) -> None:
    """A database with fewer changes than were seen is not believed, until it has caught up (D7)."""
    run_behind(services, "UPDATE installation SET revision = revision - 1")

    with pytest.raises(StoreUnavailable):
        look(services)
    assert verdict(services, key.secret) == ACCEPTED, "confirmed just now"
    clock.advance(timedelta(seconds=STALENESS))
    for _ in range(3):
        assert verdict(services, key.secret) == UNAVAILABLE
        clock.advance(timedelta(seconds=RETRY_SECONDS * 2))

    run_behind(services, "UPDATE installation SET revision = revision + 1")
    assert verdict(services, key.secret) == ACCEPTED


def test_an_older_database_is_refused_with_a_new_counter_too(
    services: Services, key: CreatedKey, clock: Clock
) -> None:
    """That the counter was lost is no reason to believe a database that went back in time (D7)."""
    run_behind(services, "UPDATE installation SET revision = revision - 1")
    services.store.counter._path.unlink()
    clock.advance(timedelta(seconds=STALENESS))

    assert verdict(services, key.secret) == UNAVAILABLE


@pytest.mark.parametrize("further", [0, 3])
def test_another_past_is_no_small_change(
    services: Services, key: CreatedKey, bob: Principal, clock: Clock, further: int
) -> None:
    """When a failover lost commits, and other changes got their numbers, everything is forgotten (D7)."""
    run_behind(services, f"UPDATE api_key SET revoked_at = 1 WHERE id = {key.record.key_id}")
    newest = services.store.installation.revision()
    run_behind(services, f"UPDATE audit SET event_id = 'another' WHERE revision = {newest}")
    assert verdict(services, key.secret) == ACCEPTED, "nobody was told"

    for _ in range(further):
        add_person(services, f"person-{next(_numbers)}")
    look(services)

    assert verdict(services, key.secret) == REVOKED


# The counter that a host shares


def replace_counter(services: Services, how: str) -> None:
    """Let others count elsewhere from now on."""
    path = services.store.counter._path
    if how == "deleted":
        path.unlink()
    else:
        other = path.with_name("other")
        other.write_bytes(bytes(8))
        other.replace(path)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_replaced_counter_is_noticed(
    services: Services, key: CreatedKey, bob: Principal, reopen: Opener, how: str
) -> None:
    """When the counter's file is lost, the next look of each process finds the new one, and all is well."""
    other = reopen()
    keys = [key, *(services.keys.create(bob, HERE, NewKey()) for _ in range(2))]
    for made, place in itertools.product(keys, (services, other)):
        assert verdict(place, made.secret) == ACCEPTED
    assert not services.store.counter.is_replaced()

    replace_counter(services, how)
    assert services.store.counter.is_replaced()
    services.keys.revoke_own(bob, keys[0].record.key_id, HERE)
    assert verdict(services, keys[0].secret) == REVOKED, "at the next call, where it was revoked"
    look(other)
    assert verdict(other, keys[0].secret) == REVOKED
    look(services)

    for made, (one, two) in zip(keys[1:], ((services, other), (other, services)), strict=True):
        one.keys.revoke_own(bob, made.record.key_id, HERE)
        assert verdict(two, made.secret) == REVOKED, "at the next call, everywhere on the host"
        assert verdict(one, made.secret) == REVOKED
    assert not services.store.counter.is_replaced()
    assert not other.store.counter.is_replaced()


def test_a_new_counter_says_nothing_of_the_old_one(
    services: Services, key: CreatedKey, bob: Principal, clock: Clock
) -> None:
    """A new counter that shows by chance what the old one showed does not hide a change (R1)."""
    shown = freshness_of(services).seen
    services.keys.revoke_own(bob, key.record.key_id, HERE)
    replace_counter(services, "replaced")
    services.store.counter._path.write_bytes(shown.to_bytes(8, "little"))

    assert verdict(services, key.secret) == REVOKED


def test_an_unusable_counter_is_unavailable(services: Services, key: CreatedKey, clock: Clock) -> None:
    """While something that is no file stands in the counter's place, nobody is let in; then all is well."""
    path = services.store.counter._path
    path.unlink()
    path.mkdir()
    try:
        clock.advance(timedelta(seconds=STALENESS))
        with pytest.raises(StoreUnavailable):
            freshness_of(services).ensure()
    finally:
        path.rmdir()
    clock.advance(timedelta(seconds=RETRY_SECONDS * 2))

    assert verdict(services, key.secret) == ACCEPTED


# The thread that follows, and hints


class Bell:
    """Hints that come when the test says so, or never."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._waits = threading.Semaphore(0)
        self._rung = threading.Event()

    def send(self) -> None:
        """Send nothing."""

    def wait(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._waits.release()
        self._rung.wait()
        self._rung.clear()

    def close(self) -> None:
        self._rung.set()

    def until_it_waits(self) -> None:
        assert self._waits.acquire(timeout=GENEROUS_SECONDS), "the thread does not wait for hints"

    def ring(self) -> None:
        self._rung.set()


def test_a_hint_wakes_the_thread(
    services: Services, key: CreatedKey, bob: Principal, elsewhere: Callable[[], Services]
) -> None:
    """When a hint comes, the thread reads what changed; without one it waits no longer than stated."""
    other = elsewhere()
    assert verdict(other, key.secret) == ACCEPTED
    bell = Bell()
    other.store.hints = bell
    freshness_of(other).start()
    try:
        bell.until_it_waits()
        services.keys.revoke_own(bob, key.record.key_id, HERE)
        assert is_remembered(other, key.secret)

        bell.ring()
        bell.until_it_waits()
        assert not is_remembered(other, key.secret)
    finally:
        freshness_of(other).stop()

    assert set(bell.asked) == {POLL_SECONDS}
    assert POLL_SECONDS <= 0.5


def test_a_lost_hint_is_made_up_for(
    services: Services, key: CreatedKey, bob: Principal, elsewhere: Callable[[], Services]
) -> None:
    """Where no hint ever comes, the thread looks by itself (R11)."""
    other = elsewhere()
    assert verdict(other, key.secret) == ACCEPTED
    other.store.hints = NoHints()
    freshness_of(other).start()
    try:
        services.keys.revoke_own(bob, key.record.key_id, HERE)
        wait_until(lambda: not is_remembered(other, key.secret))
    finally:
        freshness_of(other).stop()


def test_the_thread_outlives_a_database_that_is_away(
    services: Services, key: CreatedKey, bob: Principal, elsewhere: Callable[[], Services]
) -> None:
    """After looks that failed the thread goes on, and sees what changed meanwhile."""
    other = elsewhere()
    assert verdict(other, key.secret) == ACCEPTED
    bell = Bell()
    other.store.hints = bell
    freshness_of(other).start()
    try:
        bell.until_it_waits()
        services.keys.revoke_own(bob, key.record.key_id, HERE)
        with database_away(services):
            for _ in range(2):
                bell.ring()
                bell.until_it_waits()
            assert is_remembered(other, key.secret)
        bell.ring()
        bell.until_it_waits()
        assert not is_remembered(other, key.secret)
    finally:
        freshness_of(other).stop()


def test_hints_come_from_other_hosts(
    database: str,
    services: Services,
    key: CreatedKey,
    bob: Principal,
    elsewhere: Callable[[], Services],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A change on one host reaches the others by itself where the database carries hints, without a poll."""
    other = elsewhere()
    assert verdict(other, key.secret) == ACCEPTED
    hints = other.store.hints
    if shares_host(database):
        assert isinstance(hints, NoHints)
        return
    assert isinstance(hints, PostgresqlHints)
    monkeypatch.setattr(module, "POLL_SECONDS", 10 * GENEROUS_SECONDS)
    freshness_of(other).start()
    wait_until(lambda: hints._listening is not None)
    services.keys.revoke_own(bob, key.record.key_id, HERE)

    wait_until(lambda: not is_remembered(other, key.secret))


def test_a_stop_ends_the_thread(services: Services, reopen: Opener) -> None:
    """A stop returns while the thread waits for hints, and leaves no thread behind."""
    other = reopen()
    freshness = freshness_of(other)
    freshness.start()
    thread = freshness._thread
    assert thread is not None

    freshness.stop()

    assert not thread.is_alive()


def test_permissions_of_a_session_s_person(services: Services, clock: Clock) -> None:
    """A person's permissions are those of now for what is remembered too (A5)."""
    world = new_world(services)
    for credential in (world.key.secret, world.key_token, world.login_token):
        assert not caller(services, credential).may(Permission.AUDIT)

    change_behind(services, """UPDATE user_account SET permissions = '["AUDIT"]'""")

    for credential in (world.key.secret, world.key_token, world.login_token):
        assert caller(services, credential).may(Permission.AUDIT)
