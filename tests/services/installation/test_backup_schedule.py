"""Backups that are made by themselves: when one is due, by one of several, and never in the way."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import open_services
from keyturn.services.installation.archive import check_archive
from keyturn.services.installation.backup_schedule import RETRY, BackupSchedule, newest_backup_at
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import Settings, read_settings
from keyturn.system import System
from tests.databases import new_sqlite_database
from tests.fakes import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_SECONDS = 60


@pytest.fixture
def settings(tmp_path: Path, root_key_file: Path) -> Iterator[Settings]:
    folder = tmp_path / "backups"
    folder.mkdir()
    chosen = read_settings(
        {"KEYTURN_DATABASE": new_sqlite_database(tmp_path / "kept")},
        root_key_file=root_key_file,
        backup_folder=folder,
        backup_keep=1,
    )
    with closing(open_services(chosen, hashing=CHEAPEST)):
        yield chosen


def backups(settings: Settings) -> list[Path]:
    assert settings.backup_folder is not None
    return sorted(settings.backup_folder.glob("*.backup"))


def finish(schedule: BackupSchedule) -> None:
    """Look until the backup under way has ended."""
    until = time.monotonic() + PATIENCE_SECONDS
    while schedule._process is not None:
        assert time.monotonic() < until
        time.sleep(0.05)
        schedule.look()


def test_the_backup_that_is_due_is_made_once(settings: Settings) -> None:
    """Of two processes one makes it, while servers run; it is whole, and then none is due."""
    first, second = (BackupSchedule(settings, System()) for _ in range(2))

    first.look()
    second.look()

    assert first._process is not None
    assert second._process is None
    finish(first)
    (made,) = backups(settings)
    check_archive(made)
    first.look()
    second.look()
    assert first._process is None
    assert second._process is None
    first.close()


def test_the_next_one_is_made_after_its_time(settings: Settings) -> None:
    """A backup of the age that is set is followed by another one, and no more are kept than are to be."""
    assert settings.backup_folder is not None
    older = settings.backup_folder / "keyturn-20200101T000000Z.backup"
    older.touch()
    made_at = newest_backup_at(settings.backup_folder)
    assert made_at is not None
    clock = Clock(made_at + timedelta(hours=23, minutes=59))
    schedule = BackupSchedule(settings, clock.system())

    schedule.look()
    assert schedule._process is None
    clock.advance(timedelta(minutes=1))
    schedule.look()
    finish(schedule)

    (made,) = backups(settings)
    assert made != older


def test_a_failure_is_logged_and_tried_again(
    settings: Settings, root_key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup that cannot be made is told of with its reason; the next attempt comes after a while."""
    clock = Clock()
    schedule = BackupSchedule(settings, clock.system())
    right = root_key_file.read_text()
    root_key_file.write_text("B" * 42 + "A")

    schedule.look()
    finish(schedule)

    said = capsys.readouterr()
    assert "backup_failed" in said.out + said.err
    assert "does not belong to this database" in said.out + said.err
    root_key_file.write_text(right)
    schedule.look()
    assert schedule._process is None
    clock.advance(RETRY)
    schedule.look()
    finish(schedule)
    assert len(backups(settings)) == 1


def test_a_folder_that_is_gone_is_told_of(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Without its folder nothing is made, and the log says why."""
    schedule = BackupSchedule(replace(settings, backup_folder=settings.backup_folder / "gone"), System())  # type: ignore[operator]

    schedule.look()

    said = capsys.readouterr()
    assert "No such file or directory" in said.out + said.err


def test_a_server_that_stops_ends_its_backup(settings: Settings) -> None:
    """A backup under way leaves nothing under a name, and another process makes it anew."""
    stopped, other = (BackupSchedule(settings, System()) for _ in range(2))
    stopped.look()
    stopped.close()
    assert backups(settings) == []

    other.look()
    finish(other)

    assert len(backups(settings)) == 1


def test_none_is_made_without_a_folder(settings: Settings) -> None:
    """Whoever sets no folder has no backups by themselves."""
    schedule = BackupSchedule(replace(settings, backup_folder=None), System())
    schedule.look()
    assert schedule._process is None
