"""Restores: what was revoked since the backup stays revoked, and everything that was issued is void (R7, U5)."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.composition import open_restores, open_sealed, open_services, open_verification
from keyturn.core.audit import AuditAction
from keyturn.core.ends import ENDS
from keyturn.core.permissions import Permission
from keyturn.errors import CannotStart, Conflict, CredentialRefused, InvalidState, NotFound
from keyturn.services.installation.restore import Restored, Source, Unknown
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import Settings, read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import register
from tests.conftest import NO_WAITS
from tests.people import (
    HERE,
    NEW_PASSWORD,
    PASSWORD,
    add_holder,
    add_person,
    is_accepted,
    log_in,
    new_key,
    person,
    set_password,
)
from tests.postgresql import client_programs
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
