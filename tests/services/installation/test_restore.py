"""Restores: what was revoked since the backup stays revoked, and what was issued is void (R7, U5)."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import MetaData, select, text

from keyturn.composition import open_restores, open_sealed, open_services, open_verification
from keyturn.core.audit import AuditAction
from keyturn.core.ends import ENDS, Ends
from keyturn.core.permissions import Permission
from keyturn.errors import CannotStart, Conflict, CredentialRefused, InvalidState, NotFound
from keyturn.services.installation.archive import write_archive
from keyturn.services.installation.restore import Restored, Source, Unknown
from keyturn.services.installation.root_keys import new_root_key
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import Settings, read_settings
from keyturn.store import open_engine
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import register
from tests.conftest import NO_WAITS
from tests.people import (
    HERE,
    NEW_PASSWORD,
    PASSWORD,
    actions,
    add_holder,
    add_person,
    is_accepted,
    log_in,
    new_key,
    person,
    set_password,
    signed_in,
)
from tests.postgresql import client_programs
from tests.store.database.test_migrations import upgrade
from tests.store.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.composition import Services
    from tests.fakes import Clock


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of PostgreSQL in the version of the tests' server, before those of this machine."""
    monkeypatch.setenv("PATH", f"{client_programs()}:{os.environ['PATH']}")


def never(unknown: Unknown) -> bool:
    raise AssertionError(unknown)


@dataclass
class House:
    """An installation whose server starts and stops."""

    settings: Settings
    clock: Clock
    folder: Path
    file: Path | None
    """That of an SQLite database."""

    @contextmanager
    def running(self) -> Iterator[Services]:
        with closing(open_services(self.settings, self.clock.system(), hashing=CHEAPEST)) as services:
            yield services

    def back_up(self) -> Path:
        with open_sealed(self.settings, self.clock.system()) as sealed:
            return sealed.backups.make(
                self.folder, lambda _done, _of: None, version="1", with_root_key=False
            ).path

    def restore(self, path: Path | None = None, decide: Callable[[Unknown], bool] = never) -> Restored:
        self.clock.advance(timedelta(seconds=1))
        return open_restores(self.settings, self.clock.system()).restore(path or self.folder, decide)

    def adopt(self, decide: Callable[[Unknown], bool] = never) -> Restored:
        self.clock.advance(timedelta(seconds=1))
        return open_restores(self.settings, self.clock.system()).adopt(decide)

    def break_database(self) -> None:
        """Have the file no longer be a database."""
        assert self.file is not None
        self.file.write_bytes(b"broken" * 1000)


@pytest.fixture
def house(database: str, clock: Clock, root_key_file: Path, tmp_path: Path) -> House:
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file, **NO_WAITS)
    folder = tmp_path / "backups"
    folder.mkdir()
    path = Path(database.removeprefix("sqlite:///")) if database.startswith("sqlite") else None
    made = House(settings, clock, folder, path)
    with made.running() as services:
        add_person(services, "bob")
        add_holder(services, "ada", *Permission)
    return made


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Another process on this host."""
    process = Peer()
    try:
        yield process
    finally:
        process.end()


def is_bob_in(services: Services, password: str = PASSWORD) -> bool:
    try:
        log_in(services, "bob", password)
    except (CredentialRefused, InvalidState, NotFound):
        return False
    return True


@dataclass
class Given:
    """What somebody has when the backup is made."""

    key: Any
    group: int
    member: int
    project: int
    api: int


def give(services: Services) -> Given:
    ada = person(services, "ada")
    group = services.groups.add(ada, HERE, iamid="bim", name="one").group_id
    member = services.groups.add_member(ada, group, HERE, iamid="bim", userid="bob").membership_id
    services.user_administration.set_permissions(
        ada, "bim", "bob", [Permission.AUDIT, Permission.USER_ADMIN], HERE
    )
    api = register(services, "read", [group]).resource_id
    project = services.projects.add(ada, HERE, name="one", description=None).project_id
    services.projects.set_member(ada, project, "bob", HERE, is_owner=True)
    services.connections.register(COMMAND_LINE, ada.user_id, "there", {})
    services.projects.add_connection(ada, project, "there", HERE)
    return Given(new_key(services, person(services)), group, member, project, api)


def user_id(services: Services, userid: str = "bob") -> int:
    return services.users.get_by_userid("bim", userid).user_id


def rotate(services: Services, given: Given) -> None:
    services.key_rotation.rotate_own(person(services), given.key.record.key_id, HERE, overlap=timedelta(0))


@dataclass(frozen=True)
class End:
    """Something that ends a right of bob's."""

    act: Callable[[Services, Given], object]
    has: Callable[[Services, Given], bool]
    """Whether he has it."""


def ada(services: Services) -> Any:
    return person(services, "ada")


def with_key(services: Services, given: Given) -> bool:
    return is_accepted(services, given.key.secret)


def suspend(services: Services, _given: Given) -> None:
    services.offboarding.set_disabled(ada(services), "bim", "bob", HERE, disabled=True)


ENDING: dict[str, End] = {
    "revoke the key": End(lambda s, g: s.keys.revoke_any(g.key.record.key_id, COMMAND_LINE), with_key),
    "rotate the key": End(rotate, with_key),
    "suspend the user": End(suspend, with_key),
    "delete the user": End(lambda s, _g: s.offboarding.delete(ada(s), "bim", "bob", HERE), with_key),
    "a new password": End(lambda s, _g: set_password(s, "bob", NEW_PASSWORD), lambda s, _g: is_bob_in(s)),
    "take permissions": End(
        lambda s, _g: s.user_administration.set_permissions(ada(s), "bim", "bob", [Permission.AUDIT], HERE),
        lambda s, _g: is_bob_in(s) and person(s, "bob").may(Permission.USER_ADMIN),
    ),
    "take out of the group": End(
        lambda s, g: s.groups.remove_member(ada(s), g.group, g.member, HERE),
        lambda s, g: s.store.groups.find_member(g.group, g.member) is not None,
    ),
    "delete the group": End(
        lambda s, g: s.groups.delete(ada(s), g.group, HERE),
        lambda s, g: s.store.groups.find_member(g.group, g.member) is not None,
    ),
    "take out of the project": End(
        lambda s, g: s.projects.remove_member(ada(s), g.project, "bob", HERE),
        lambda s, g: s.store.projects.find_member(g.project, user_id(s)) is not None,
    ),
    "delete the project": End(
        lambda s, g: s.projects.delete(ada(s), g.project, HERE),
        lambda s, g: s.store.projects.find_member(g.project, user_id(s)) is not None,
    ),
    "take the connection out of the project": End(
        lambda s, g: s.projects.remove_connection(ada(s), g.project, "there", HERE),
        lambda s, g: bool(s.store.projects.list_connections(g.project, offset=0, size=1).count),
    ),
    "deactivate the connection": End(
        lambda s, _g: s.connections.set_active(ada(s), "there", HERE, is_active=False),
        lambda s, _g: s.connections.get_now(ada(s), "there").state == "ACTIVE",
    ),
    "delete the API": End(
        lambda s, g: s.apis.delete(ada(s), g.api, HERE),
        lambda s, _g: bool(s.apis.list_grantable(user_id(s)).count),
    ),
}


@pytest.mark.parametrize("name", ENDING)
def test_what_ended_since_stays_ended(house: House, name: str) -> None:
    """Each way to end a right holds after a restore of a backup from before, from the replaced database."""
    end = ENDING[name]
    with house.running() as services:
        given = give(services)
        assert end.has(services, given)
    house.back_up()
    with house.running() as services:
        end.act(services, given)

    restored = house.restore()

    assert restored.source is Source.DATABASE
    with house.running() as services:
        assert not end.has(services, given)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ENDING)
def test_what_ended_since_is_in_the_log(house: House, name: str) -> None:
    """Each holds where the replaced database is broken too, from the log of revocations beside it."""
    end = ENDING[name]
    with house.running() as services:
        given = give(services)
    house.back_up()
    with house.running() as services:
        end.act(services, given)
    house.break_database()

    restored = house.restore()

    assert restored.source is Source.LOG
    with house.running() as services:
        assert not end.has(services, given)


def test_each_logged_end_is_shown(house: House) -> None:
    """The events that the log tells are among the ways to end a right that are tried here, or like one."""
    tried = {
        AuditAction.API_KEY_DELETED,
        AuditAction.API_KEY_ROTATED,
        AuditAction.CONNECTION_DEACTIVATED,
        AuditAction.GROUP_DELETED,
        AuditAction.GROUP_MEMBER_REMOVED,
        AuditAction.PROJECT_DELETED,
        AuditAction.PROJECT_UPDATED,
        AuditAction.RESOURCE_DELETED,
        AuditAction.USER_DELETED,
        AuditAction.USER_DISABLED,
        AuditAction.USER_PASSWORD_UPDATED,
        AuditAction.USER_PERMISSIONS_UPDATED,
    }

    untried = {ends for action, ends in ENDS.items() if action not in tried}

    assert untried - {ENDS[action] for action in tried} == {Ends.ATTRIBUTES}


def test_what_was_given_since_is_gone(house: House) -> None:
    """A key that was made after the backup is unknown, and its number is not given again."""
    with house.running() as services:
        add_person(services, "eve")
    house.back_up()
    with house.running() as services:
        later = new_key(services, person(services))

    house.restore()

    with house.running() as services:
        assert not is_accepted(services, later.secret)
        assert new_key(services, person(services)).record.key_id > later.record.key_id


def test_what_did_not_end_goes_on(house: House) -> None:
    """A key from before works on, with the secret that it was rotated to since."""
    with house.running() as services:
        kept, rotated = (new_key(services, person(services)) for _ in range(2))
    house.back_up()
    with house.running() as services:
        new = services.key_rotation.rotate_own(
            person(services), rotated.record.key_id, HERE, overlap=timedelta(0)
        )

    restored = house.restore()

    assert [key_id for key_id, _, _ in restored.keys] == [rotated.record.key_id]
    with house.running() as services:
        assert is_accepted(services, kept.secret)
        assert is_accepted(services, new.secret)
        assert not is_accepted(services, rotated.secret)


def test_everything_issued_is_void(house: House) -> None:
    """Sessions, and tokens of keys and of sessions, are refused, and there is a new epoch."""
    with house.running() as services:
        cookie = log_in(services)
        key = new_key(services, person(services)).secret
        tokens = [
            services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token,
            services.logins.token_for(signed_in(services, cookie), HERE).token,
        ]
        assert all(is_accepted(services, token) for token in tokens)
        before = services.store.installation.revision()
    house.back_up()

    restored = house.restore()

    with house.running() as services:
        assert services.sessions.find(cookie) is None
        assert not any(is_accepted(services, token) for token in tokens)
        assert is_accepted(services, key)
        assert services.store.installation.revision() >= restored.revision > before << 20
        assert actions(services).count(AuditAction.INSTALLATION_RESTORED) == 1


def test_a_running_server_is_not_replaced(house: House, peer: Peer) -> None:
    """While a server, or another process, has the database open, a restore is refused and changes nothing."""
    backup = house.back_up()
    with house.running() as services:
        before = services.store.installation.revision()

        with pytest.raises(Conflict, match="stop all servers"):
            house.restore(backup)
        with pytest.raises(Conflict, match="stop all servers"):
            house.adopt()

        add_person(services, "eve")
        assert services.store.installation.revision() > before
    house.restore(backup)


def test_a_broken_database_in_use_is_not_replaced(house: House, peer: Peer) -> None:
    """So is it where the file is broken, which a server does not notice at once."""
    if house.file is None:
        return
    backup = house.back_up()
    process = peer.freeze_inside_a_change(house.settings.database, {})
    house.break_database()

    with pytest.raises(Conflict, match="stop all servers"):
        house.restore(backup)

    peer.end_frozen(process)
    assert house.restore(backup).source is Source.LOG


def test_no_kill_leaves_half_a_database(house: House, peer: Peer, root_key_file: Path) -> None:
    """Killed before each step that lasts, there is the database of before or the restored one."""
    with house.running() as services:
        key = new_key(services, person(services))
    backup = house.back_up()
    with house.running() as services:
        services.keys.revoke_any(key.record.key_id, COMMAND_LINE)
        revision = services.store.installation.revision()
    environment = {
        "KEYTURN_DATABASE": house.settings.database,
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
    }
    found = []
    for step in itertools.count(1):
        ended = peer.died(peer.restore(environment, str(backup), step))
        with house.running() as services:
            found.append(services.store.installation.revision() > revision + 1000)
            assert not is_accepted(services, key.secret)
            assert services.store.integrity_problems() == []
        if ended == 0:
            break
        assert ended == signal.SIGKILL, step
    assert step > 1
    assert found[0] is False
    assert found[-1] is True


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_copy_by_hand_is_noticed(house: House) -> None:
    """A server, a command and a verifier refuse an older file in the place of a newer one."""
    with house.running() as services:
        key = new_key(services, person(services))
    assert house.file is not None
    older = house.file.read_bytes()
    with house.running() as services:
        services.keys.revoke_any(key.record.key_id, COMMAND_LINE)
    house.file.write_bytes(older)

    for open_it in (
        lambda: house.running().__enter__(),
        house.back_up,
        lambda: open_verification(house.settings.database, max_staleness_seconds=5, failures_per_minute=9),
    ):
        with pytest.raises(CannotStart, match="keyturn admin restore --adopt"):
            open_it()

    assert house.adopt().source is Source.LOG
    with house.running() as services:
        assert not is_accepted(services, key.secret)
        assert is_bob_in(services)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_copy_of_now_is_no_older_one(house: House) -> None:
    """A file that is moved away and back again, or lost its log, is used as before."""
    assert house.file is not None
    log = house.file.with_name("keyturn.db-revocations")
    house.file.write_bytes(house.file.read_bytes())
    with house.running() as services:
        add_person(services, "eve")
    log.unlink()
    with house.running() as services:
        assert is_bob_in(services)
    assert log.exists()


@pytest.mark.parametrize("revokes", [True, False])
def test_somebody_decides_what_nothing_tells(house: House, revokes: bool, root_key_file: Path) -> None:
    """Into an empty place all that would work is told, and revoked or kept as somebody decides."""
    with house.running() as services:
        key = new_key(services, person(services))
    house.back_up()
    with house.running() as services:
        services.keys.revoke_any(key.record.key_id, COMMAND_LINE)
    lose(house)
    asked: list[Unknown] = []

    restored = house.restore(decide=lambda unknown: asked.append(unknown) is None and revokes)

    (unknown,) = asked
    assert [key_id for key_id, _, _ in unknown.keys] == [key.record.key_id]
    assert restored.source is (Source.REVOKED if revokes else Source.KEPT)
    with house.running() as services:
        assert is_accepted(services, key.secret) is not revokes
        assert is_bob_in(services) is not revokes


def lose(house: House) -> None:
    """Have nothing left but the backups and the root key."""
    if house.file is not None:
        for path in house.file.parent.glob("keyturn.db*"):
            path.unlink()
        return
    engine = open_engine(house.settings.database)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def test_a_decision_against_it_leaves_all_as_it_is(house: House) -> None:
    """Whoever decides may raise: then nothing was restored, and nothing is left of it."""
    house.back_up()
    lose(house)

    def refuse(_unknown: Unknown) -> bool:
        raise InvalidState("no")

    with pytest.raises(InvalidState, match="no"):
        house.restore(decide=refuse)

    assert house.file is None or not list(house.file.parent.glob("keyturn.db*"))
    house.restore(decide=lambda _unknown: False)


def test_the_database_of_somebody_else_tells_nothing(house: House, root_key_file: Path) -> None:
    """A new installation in the place of a lost one is no source of what was revoked."""
    with house.running() as services:
        new_key(services, person(services))
    house.back_up()
    lose(house)
    settings = replace(house.settings, new_installation=True)
    house.clock.advance(timedelta(seconds=1))
    with closing(open_services(settings, house.clock.system(), hashing=CHEAPEST)) as services:
        add_person(services, "mallory")
    asked: list[Unknown] = []

    house.restore(decide=lambda unknown: asked.append(unknown) is None)

    assert "another installation" in asked[0].why


def test_a_newer_backup_is_refused(house: House) -> None:
    """A backup whose schema this program does not have is refused."""
    with pytest.raises(CannotStart, match="newer than this program"):
        house.restore(changed(house.back_up(), schema="9999"))


def test_a_backup_of_an_older_version_is_migrated(house: House, empty_database: str, tmp_path: Path) -> None:
    """A backup whose schema is older is restored and brought up to date, with all of its rows."""
    if house.settings.database.partition(":")[0] != empty_database.partition(":")[0]:
        return
    with house.running() as services:
        key = new_key(services, person(services))
    backup = house.back_up()
    older = empty_database.replace("keyturn.db", "older.db")
    fill_older(older, house.settings.database)
    copy = tmp_path / "older.db"
    if house.file is None:
        dump = ["pg_dump", "--format=custom", f"--file={copy}", older.replace("+psycopg", "")]
        subprocess.run(dump, check=True)

    restored = house.restore(changed(backup, copy.read_bytes(), schema=_OLDER, counts={"api_key": 1}))

    assert restored.source is Source.DATABASE
    with house.running() as services:
        assert is_accepted(services, key.secret)
        assert new_key(services, person(services)).record.key_id > key.record.key_id


_OLDER = "0019"


def fill_older(database: str, present: str) -> None:
    """Make a database of an older schema with the rows of the present one."""
    source, target = open_engine(present), open_engine(database)
    upgrade(target, _OLDER)
    there, here = MetaData(), MetaData()
    there.reflect(source)
    here.reflect(target)
    with source.connect() as reading, target.begin() as writing:
        for table in here.sorted_tables:
            if table.name == "alembic_version":
                continue
            columns = [there.tables[table.name].c[column.name] for column in table.columns]
            for row in reading.execute(select(*columns)):
                writing.execute(table.insert().values(dict(row._mapping)))
    source.dispose()
    target.dispose()


def changed(backup: Path, copied: bytes | None = None, **values: object) -> Path:
    """Return a backup with another manifest, and with the digests of it."""
    with tarfile.open(backup) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        content = archive.extractfile("database").read()  # type: ignore[union-attr]
    path, copy = backup.with_name("changed"), backup.with_name("copy")
    copy.write_bytes(content if copied is None else copied)
    written = json.dumps(manifest | values).encode()
    path.unlink(missing_ok=True)
    write_archive(path, texts={"manifest.json": written}, database=copy, seconds=0)
    return path


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"product": "other"}, InvalidState, "not a backup of Keyturn"),
        ({"format": 99}, CannotStart, "upgrade Keyturn"),
        ({"database": "oracle"}, InvalidState, "is of a oracle database"),
        ({"rootKeyId": "0" * 16}, CannotStart, "root key 0000"),
        ({"counts": {"audit": 9999}}, InvalidState, "damaged"),
    ],
)
def test_an_unfit_backup_is_refused(
    house: House, values: dict[str, object], error: type[Exception], words: str
) -> None:
    """A backup of something else, without its root key, or with other rows changes nothing."""
    backup = changed(house.back_up(), **values)

    with pytest.raises(error, match=words):
        house.restore(backup)

    with house.running() as services:
        assert is_bob_in(services)
        assert AuditAction.INSTALLATION_RESTORED not in actions(services)


def test_the_newest_backup_of_a_folder_is_taken(house: House, tmp_path: Path) -> None:
    """A folder stands for its newest backup; an empty one, or a missing file, is told of."""
    house.back_up()
    house.clock.advance(timedelta(seconds=1))
    newest = house.back_up()

    assert house.restore(house.folder).backup == newest

    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (empty, empty / "missing"):
        with pytest.raises(NotFound, match="There is no backup"):
            house.restore(path)


def test_a_restore_is_restored(house: House) -> None:
    """An older backup after a newer one, and one of the new epoch, are restored as well."""
    with house.running() as services:
        key = new_key(services, person(services))
    first = house.back_up()
    with house.running() as services:
        services.keys.revoke_any(key.record.key_id, COMMAND_LINE)
    house.restore(first)
    house.clock.advance(timedelta(seconds=5))
    second = house.back_up()
    revisions = [house.restore(path).revision for path in (second, first, second)]
    assert revisions == sorted(set(revisions))
    with house.running() as services:
        assert not is_accepted(services, key.secret)


def test_an_encrypted_backup_is_restored_with_its_key(house: House, tmp_path: Path) -> None:
    """With a key of backups nothing in the file can be read, and only that key opens it."""
    key, other = tmp_path / "backup.key", tmp_path / "other.key"
    for file in (key, other):
        file.write_text(new_root_key(house.clock.system()))
        file.chmod(0o600)
    plain = house.settings
    house.settings = replace(plain, backup_key_file=key)
    backup = house.back_up()
    assert b"manifest.json" not in backup.read_bytes()

    for file in (None, other):
        house.settings = replace(plain, backup_key_file=file)
        with pytest.raises(CannotStart, match="KEYTURN_BACKUP_KEY_FILE"):
            house.restore(backup)
    other.write_text(other.read_text() + key.read_text())

    assert house.restore(backup).source is Source.DATABASE
    with house.running() as services:
        assert is_bob_in(services)
