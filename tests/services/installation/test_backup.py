"""Backups: whole and verified, beside servers that write, or not there at all."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import tarfile
import threading
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import open_services
from keyturn.errors import CannotStart, Conflict, InvalidState, StoreUnavailable
from keyturn.services.installation.archive import check_archive
from keyturn.services.installation.backup import Backup, prune_backups
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store.database.schema import metadata
from tests.databases import empty_postgresql_database
from tests.people import add_person, change_behind, is_accepted, new_key, person
from tests.postgresql import client_programs
from tests.services.installation.test_root_key_rotation import World, a_line, new_world
from tests.store.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from tests.fakes import Clock


AROUND_THE_COPY = 5_000
"""Bytes of an archive beside the copy, at least."""


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of PostgreSQL in the version of the tests' server, before those of this machine."""
    monkeypatch.setenv("PATH", f"{client_programs()}:{os.environ['PATH']}")


@pytest.fixture
def world(services: Services, admin: Principal, root_key_file: Path) -> World:
    return new_world(services, admin, root_key_file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder for backups."""
    path = tmp_path / "backups"
    path.mkdir()
    return path


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Another process on this host."""
    process = Peer()
    try:
        yield process
    finally:
        process.end()


def make(world: World, folder: Path, *, with_root_key: bool = False) -> Backup:
    with world.sealed() as sealed:
        return sealed.backups.make(
            folder, lambda _done, _of: None, version="1.2", with_root_key=with_root_key
        )


def unpacked(backup: Path, folder: Path) -> Path:
    """Unpack a backup as the documentation says, and return the folder."""
    folder.mkdir(mode=0o700)
    subprocess.run(["tar", "xf", str(backup), "-C", str(folder)], check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    return folder


def restored(files: Path, world: World, request: pytest.FixtureRequest) -> str:
    """Put the copy of an unpacked backup into a database of its own, and return the address of that."""
    if world.services.store.copies.kind == "sqlite":
        return f"sqlite:///{files / 'database'}"
    address = empty_postgresql_database(request.getfixturevalue("postgresql_server"))
    plain = address.replace("+psycopg", "")
    subprocess.run(
        ["pg_restore", "--no-owner", "--exit-on-error", f"--dbname={plain}", str(files / "database")],
        check=True,
    )
    return address


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_restored_backup_has_everything(
    world: World, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A server on the copy accepts the keys of before and reads every secret, on both databases."""
    add_person(world.services, "bob")
    key = new_key(world.services, person(world.services)).secret
    backup = make(world, folder)
    files = unpacked(backup.path, tmp_path / "files")

    settings = read_settings({"KEYTURN_DATABASE": restored(files, world, request)}, root_key_file=world.file)
    with closing(open_services(settings, world.services.system, hashing=CHEAPEST)) as copy:
        assert copy.store.installation.revision() == backup.manifest["revision"]
        assert is_accepted(copy, key)
        assert {name: world.reveal(name, copy) for name in world.secrets} == world.secrets


def test_the_manifest_tells_the_contents(world: World, folder: Path, tmp_path: Path) -> None:
    """It names version, revision and the rows of each table, and the root key is not in the backup."""
    revision = world.services.store.installation.revision()

    backup = make(world, folder)

    files = unpacked(backup.path, tmp_path / "files")
    assert names(files) == ["SHA256SUMS", "database", "manifest.json"]
    assert json.loads((files / "manifest.json").read_text()) == backup.manifest
    assert backup.path.stat().st_mode & 0o777 == 0o600
    assert backup.manifest["format"] == 1
    assert backup.manifest["version"] == "1.2"
    assert backup.manifest["revision"] == revision
    assert backup.manifest["counts"].keys() == metadata.tables.keys()
    assert backup.manifest["counts"]["system_key"] == len(world.secrets)
    assert backup.manifest["counts"]["audit"] == revision
    key = world.file.read_bytes().strip()
    assert not [path for path in files.iterdir() if key in path.read_bytes()]
    assert names(folder) == [backup.path.name]


def test_the_root_keys_are_in_it_if_that_is_asked_for(world: World, folder: Path, tmp_path: Path) -> None:
    """With the root keys, the newest first, the backup has all that a server needs."""
    world.put_first()

    files = unpacked(make(world, folder, with_root_key=True).path, tmp_path / "files")

    assert (files / "root.key").read_text().split() == world.lines()
    assert (files / "root.key").stat().st_mode & 0o077 == 0


def test_writers_go_on_meanwhile(world: World, folder: Path, clock: Clock) -> None:
    """A backup while others write is of one state: each change is in it with its audit row, or is not."""
    add_person(world.services, "bob")
    owner = person(world.services)
    ended, wrote = threading.Event(), itertools.count()

    def write() -> None:
        while not ended.is_set():
            new_key(world.services, owner, name=f"key {next(wrote)}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        before = next(wrote)
        backups = []
        for _ in range(3):
            backups.append(make(world, folder))
            clock.advance(timedelta(seconds=1))
    finally:
        ended.set()
        writer.join()

    assert next(wrote) > before + 1, "nothing was written meanwhile"
    for backup in backups:
        check_archive(backup.path)
        counts = backup.manifest["counts"]
        assert counts["audit"] == backup.manifest["revision"]


def test_a_row_that_does_not_open_is_no_backup(world: World, folder: Path) -> None:
    """A secret in another one's place is told of, and no file appears."""
    world.swap("a", "b")

    with pytest.raises(StoreUnavailable, match="The row a of the table system_key does not open"):
        make(world, folder)

    assert names(folder) == []


def test_the_wrong_root_key_makes_no_backup(world: World, folder: Path) -> None:
    """A root key that opens nothing is refused before anything is written."""
    world.file.write_text(a_line())

    with pytest.raises(CannotStart, match="does not belong"):
        make(world, folder)

    assert names(folder) == []


def test_one_backup_at_a_time(world: World, folder: Path) -> None:
    """While another one is written into the folder, a backup is refused, and the other's draft stays."""
    draft = folder / ".keyturn-backup.next"
    draft.mkdir()
    other = os.open(folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)

    with pytest.raises(Conflict, match="Another backup is written"):
        make(world, folder)

    assert draft.is_dir()
    os.close(other)
    make(world, folder)
    assert not draft.exists()


def test_a_name_that_is_taken_stays(world: World, folder: Path) -> None:
    """A second backup of the same second is refused, and the first one stays as it is."""
    first = make(world, folder)
    content = first.path.read_bytes()

    with pytest.raises(Conflict, match="is there already"):
        make(world, folder)

    assert names(folder) == [first.path.name]
    assert first.path.read_bytes() == content


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_is_needed(world: World, tmp_path: Path, name: str) -> None:
    """A folder that is not there is not made, and a file is none."""
    (tmp_path / "file").touch()

    with pytest.raises(CannotStart, match="name a folder that is there"):
        make(world, tmp_path / name)

    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_full_disk_leaves_nothing(world: World, folder: Path, clock: Clock, part: float) -> None:
    """Where the copy or the archive does not fit, one sentence says so and nothing is left."""
    size = make(world, folder).size
    (former,) = folder.iterdir()
    clock.advance(timedelta(seconds=1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with world.sealed() as sealed:
        # The archive is the copy, and what stands around it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int((size - AROUND_THE_COPY) * part), limits[1]))
        try:
            with pytest.raises((CannotStart, StoreUnavailable)) as refused:
                sealed.backups.make(folder, lambda _done, _of: None, version="1", with_root_key=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    reasons = ("disk I/O error", "limit on files", os.strerror(errno.EFBIG))
    assert any(words in str(refused.value) for words in reasons), refused.value
    assert names(folder) == [former.name]


def test_each_changed_byte_is_found(world: World, folder: Path) -> None:
    """A byte that is changed in a file of the archive, or in the head of one, is found, and so is a cut."""
    backup = make(world, folder, with_root_key=True).path
    whole = backup.read_bytes()
    with tarfile.open(backup) as archive:
        members = archive.getmembers()
    places = {
        place
        for member in members
        for place in (
            member.offset,
            member.offset + 124,  # The size, in the head.
            *(member.offset_data + member.size * part // 16 for part in range(16)),
            member.offset_data + member.size - 1,
        )
    }
    assert len(members) == 4

    for place in sorted(places):
        backup.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InvalidState, match="damaged"):
            check_archive(backup)
    for end in (0, 512, members[1].offset_data + 1, members[-1].offset, members[-1].offset_data):
        backup.write_bytes(whole[:end])
        with pytest.raises(InvalidState, match="damaged"):
            check_archive(backup)
    backup.write_bytes(whole)
    check_archive(backup)


def test_old_backups_are_pruned(folder: Path) -> None:
    """The newest stay, and whatever else is in the folder is left alone."""
    kept = [f"keyturn-2026010{day}T000000Z.backup" for day in range(1, 6)]
    others = ["keyturn-notes.backup", "other.backup", "keyturn-20260101T000000Z.backup.copy"]
    for name in kept + others:
        (folder / name).touch()

    assert [path.name for path in prune_backups(folder, keep=2)] == kept[:3]
    assert prune_backups(folder, keep=2) == []
    assert names(folder) == sorted(kept[3:] + others)


def test_no_kill_leaves_half_a_backup(world: World, folder: Path, peer: Peer) -> None:
    """Killed before each step that lasts, there is a whole backup or none, and the next one clears up."""
    environment = {
        "KEYTURN_DATABASE": world.services.settings.database,
        "KEYTURN_ROOT_KEY_FILE": str(world.file),
    }
    whole = 0
    for step in itertools.count(1):
        ended = peer.died(peer.back_up(environment, str(folder), step))
        for backup in folder.glob("*.backup"):
            check_archive(backup)
            backup.unlink()
            whole += 1
        if ended == 0:
            break
        assert ended == signal.SIGKILL, step
    assert step > 3
    assert whole == 2, "the one that only the folder was not flushed for, and the last"
    assert names(folder) == []


def test_postgresql_needs_its_programs(
    world: World, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pg_dump is missing the refusal says what to install; SQLite needs no program."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if world.services.store.copies.kind == "sqlite":
        make(world, folder)
        return

    with pytest.raises(CannotStart, match="needs the program pg_dump: install"):
        make(world, folder)

    assert names(folder) == []


def test_a_copy_that_is_damaged_is_not_believed(world: World, tmp_path: Path) -> None:
    """A copy in which a page is lost is told of when it is read."""
    file = tmp_path / "copy"
    copies = world.services.store.copies
    written = copies.write(file, lambda _done, _of: None)
    assert copies.read(file) == written
    damaged = tmp_path / "damaged"
    shutil.copyfile(file, damaged)
    os.truncate(damaged, file.stat().st_size // 2)

    with pytest.raises(StoreUnavailable, match="the copy"):
        copies.read(damaged)


def test_a_row_that_the_copy_lacks_is_noticed(world: World, tmp_path: Path) -> None:
    """The rows of each table are counted in the database and in its copy, and compared."""
    copies = world.services.store.copies
    copies.write(tmp_path / "copy", lambda _done, _of: None)
    before = copies.read(tmp_path / "copy")

    change_behind(world.services, "DELETE FROM system_key WHERE name = 'a'")

    after = copies.write(tmp_path / "later", lambda _done, _of: None)
    assert after != before
    assert copies.read(tmp_path / "later") == after
