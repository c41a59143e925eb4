"""Backups that are made by themselves: one of all processes makes the one that is due.

The folder says when that is, by the name of its newest backup, and which process has its turn, by a lock on a
file in it. So a server that was stopped for a night makes the backup at its start, and a killed one leaves
nothing that would have to expire. Nodes that share the folder share the schedule.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from keyturn.errors import NotFound
from keyturn.services.installation.backup import newest_backup
from keyturn.settings import ENVIRONMENT_PREFIX, Settings
from keyturn.system import System

TURN = ".keyturn-backup.turn"
RETRY = timedelta(minutes=10)
"""After a backup failed, the next attempt waits for so long."""
COMMAND = (
    "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); "
    "from keyturn.cli import main; main()"
)
"""In a process of its own, which runs while no other wants to: in the server, what it reads and compares
would hold up requests."""
_STARTED_WITH = ("database", "root_key_file", "root_key_command", "backup_key_file")

_log = structlog.get_logger()


class BackupSchedule:
    """Begins a backup when it is due, and says what became of it. Called by one thread at a time."""

    def __init__(self, settings: Settings, system: System) -> None:
        self._settings = settings
        self._system = system
        self._turn: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before: datetime | None = None

    def look(self) -> None:
        """Begin the backup that is due, or log how the last one ended; returns at once."""
        folder = self._settings.backup_folder
        if folder is None:
            return
        if self._process is not None:
            self._end_if_done()
            return
        try:
            if self._is_due(folder) and self._has_turn(folder):
                if self._is_due(folder):  # Another process may have made it meanwhile.
                    self._begin(folder)
                else:
                    self._let_go()
        except OSError as error:
            self._fail(f"the folder cannot be used: {error.strerror}")

    def close(self) -> None:
        """End a backup under way, which leaves nothing under a name."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)  # The programs of PostgreSQL too.
            self._process.communicate()
            self._process = None
        self._let_go()

    def _is_due(self, folder: Path) -> bool:
        now = self._system.now()
        if self._not_before is not None and now < self._not_before:
            return False
        made_at = newest_backup_at(folder)
        return made_at is None or now - made_at >= timedelta(hours=self._settings.backup_every_hours)

    def _has_turn(self, folder: Path) -> bool:
        descriptor = os.open(folder / TURN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._turn = descriptor
        return True

    def _begin(self, folder: Path) -> None:
        keep = ("--keep", str(self._settings.backup_keep))
        self._process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-P", "-c", COMMAND, "admin", "backup", str(folder), *keep],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._environment(),
            pass_fds=() if self._turn is None else (self._turn,),  # Held until it ends, however we end.
            start_new_session=True,
        )

    def _environment(self) -> Mapping[str, str]:
        others = {
            name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
        } | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        own = {name: getattr(self._settings, name) for name in _STARTED_WITH}
        return others | {
            ENVIRONMENT_PREFIX + name.upper(): str(value) for name, value in own.items() if value is not None
        }

    def _end_if_done(self) -> None:
        process = self._process
        if process is None or process.poll() is None:
            return
        said = process.communicate()[1].decode(errors="replace").strip()
        self._process = None
        self._let_go()
        if process.returncode == 0:
            self._not_before = None
            _log.info("backup_made", folder=str(self._settings.backup_folder))
        else:
            self._fail(said.rpartition("\n")[2] or f"it ended with {process.returncode}")

    def _fail(self, reason: str) -> None:
        self._not_before = self._system.now() + RETRY
        _log.error("backup_failed", folder=str(self._settings.backup_folder), reason=reason)

    def _let_go(self) -> None:
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None


def newest_backup_at(folder: Path) -> datetime | None:
    """Return when the newest backup of a folder was made, by its name; None without one. Raise `OSError`."""
    try:
        name = newest_backup(folder).name
    except NotFound:
        return None
    return datetime.strptime(name, "keyturn-%Y%m%dT%H%M%SZ.backup").replace(tzinfo=UTC)
