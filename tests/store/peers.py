"""A process beside the test's own, which counts, changes and dies as it is told: a JSON line for each order.

The process opens no database itself. What does is forked from it, so that it starts at once and may die.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event

from keyturn.composition import open_recovery, open_restores, open_sealed, open_services
from keyturn.core.audit import AuditAction, Target
from keyturn.errors import CannotStart
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store import Store, open_engine
from keyturn.store.database.counter import ChangeCounter
from keyturn.store.database.postgresql import TransactionLimits
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE, person
from tests.store.rows import NOW, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65534
_PROJECT = Path(__file__).parents[2]


class Peer:
    """Gives orders to the process: `peer.settled(path)` is `settled` below, over there."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_PROJECT,
            text=True,
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def order(*arguments: object) -> Any:
            self.tell(name, *arguments)
            return self.hear()

        return order

    def tell(self, name: str, *arguments: object) -> None:
        """Give an order without waiting for its outcome, which `hear` returns."""
        assert self._process.stdin is not None
        print(json.dumps([name, *arguments], default=str), file=self._process.stdin, flush=True)

    def hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class DyingCounter(ChangeCounter):
    """Ends its process, as a power cut or the kernel would, at one point of the first commit."""

    point = ""

    @contextmanager
    def committing(self) -> Iterator[None]:
        self._die_at("before it is told of")
        with super().committing():
            self._die_at("before the commit")
            yield
            self._die_at("after the commit")
        self._die_at("after it was told of")

    def _die_at(self, point: str) -> None:
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)


POINTS = ("before it is told of", "before the commit", "after the commit", "after it was told of")


class Orders:
    """What the process can do."""

    def __init__(self) -> None:
        self._counters: dict[str, ChangeCounter] = {}
        self._held = ExitStack()

    def settled(self, path: str) -> int:
        return self._counter(path).settled()

    def hold(self, path: str) -> int:
        """Begin to commit, and stay at that; return the number."""
        counter = self._counter(path)
        self._held.enter_context(counter.committing())
        return counter.cell[0]

    def release(self) -> None:
        self._held.close()

    def count(self, path: str, threads: int, times: int) -> None:
        """Count from several threads, each of which reads too."""
        counter = self._counter(path)
        count_at_once(counter, threads, times)

    def revoke(self, database: str, user_id: int, key_ids: list[int], point: str, acks: str) -> int:
        """Revoke keys in a new process, which dies at a point of the first; return its id.

        With no point it goes on to the end. Each acknowledged id is written to the file `acks`.
        """

        def act() -> None:
            store = Store(open_engine(database))
            DyingCounter.point = point
            dying = DyingCounter(store.counter._path, one_writer=True)
            store._database.counter = dying
            with Path(acks).open("a") as told:
                for key_id in key_ids:
                    revoke(store, user_id, key_id)
                    print(key_id, file=told, flush=True)

        return self._fork(act)

    def freeze_inside_a_change(self, database: str, limits: dict[str, int]) -> int:
        """Begin a change in a new process and stop it there, by SIGSTOP; return its id."""
        reading, writing = os.pipe()

        def act() -> None:
            store = Store(open_engine(database, limits=TransactionLimits(**limits)))
            with store._database.change() as change:
                change.record(an_entry())
                os.write(writing, b".")
                signal.pause()

        process = self._fork(act)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            assert told.read(1) == b"."
        os.kill(process, signal.SIGSTOP)
        return process

    def rotate_root_key(self, environment: dict[str, str], step: int) -> int:
        """Rotate in a new process, which dies before the step of this number; return its id.

        A step is what lasts: a commit, a file that takes another's place, and each time the disk is waited
        for. With 0 it goes on to the end.
        """

        def act() -> None:
            with open_sealed(read_settings(environment), batch=2) as sealed:
                die_before(step)
                sealed.rotation.run(COMMAND_LINE, lambda _done, _of: None)

        return self._fork(act)

    def back_up(self, environment: dict[str, str], folder: str, step: int) -> int:
        """Make a backup in a new process, as `rotate_root_key` does."""

        def act() -> None:
            with open_sealed(read_settings(environment)) as sealed:
                die_before(step)
                sealed.backups.make(Path(folder), lambda _done, _of: None, version="1", with_root_key=False)

        return self._fork(act)

    def restore(self, environment: dict[str, str], path: str, step: int) -> int:
        """Restore a backup in a new process, as `rotate_root_key` does."""

        def act() -> None:
            restores = open_restores(read_settings(environment))
            die_before(step)
            restores.restore(Path(path), lambda _unknown: False)

        return self._fork(act)

    def replace_root_key(self, environment: dict[str, str], step: int) -> int:
        """Replace the lost root key in a new process, as `rotate_root_key` does."""

        def act() -> None:
            with open_recovery(read_settings(environment)) as recovery:
                die_before(step)
                recovery.replacement.run(COMMAND_LINE)

        return self._fork(act)

    def archive_events(self, environment: dict[str, str], folder: str, step: int) -> int:
        """Archive the audit log in a new process, as `rotate_root_key` does."""

        def act() -> None:
            services = open_services(read_settings(environment), hashing=CHEAPEST)
            before = services.system.now()
            die_before(step)
            list(services.audit_archive.archive(Path(folder), COMMAND_LINE, before=before))

        return self._fork(act)

    def rotate_password(
        self, environment: dict[str, str], userid: str, connection_key: str, step: int
    ) -> int:
        """Rotate the password of a connection in a new process, as `rotate_root_key` does."""

        def act() -> None:
            services = open_services(read_settings(environment), hashing=CHEAPEST)
            principal = person(services, userid)
            die_before(step)
            assert services.jobs.rotate(principal, connection_key, HERE).is_changed

        return self._fork(act)

    def end_frozen(self, process: int) -> None:
        """Kill a process that is stopped."""
        os.kill(process, signal.SIGKILL)
        self.died(process)

    def died(self, process: int) -> int:
        """Wait for the end of a process; return the signal that ended it, 0 for none."""
        _, status = os.waitpid(process, 0)
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)

    def refused_to_a_stranger(self, folder: str, name: str) -> str | None:
        """Open a counter as a user who may not write there; return what that says."""
        reading, writing = os.pipe()

        def act() -> None:
            os.chdir(folder)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            try:
                ChangeCounter(Path(name), one_writer=True)
            except CannotStart as error:
                os.write(writing, str(error).encode())

        process = self._fork(act)
        os.close(writing)
        with os.fdopen(reading) as said:
            text = said.read()
        os.waitpid(process, 0)
        return text or None

    def _counter(self, path: str) -> ChangeCounter:
        if path not in self._counters:
            self._counters[path] = ChangeCounter(Path(path), one_writer=True)
        return self._counters[path]

    def _fork(self, act: Callable[[], None]) -> int:
        process = os.fork()
        if process == 0:
            try:
                act()
                os._exit(0)
            finally:
                os._exit(1)
        return process


def die_before(step: int) -> None:
    """Have this process die before it does the nth thing that lasts."""
    left = step

    def counted(do: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: object) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return do(*arguments)

        return count

    os.fsync, os.replace, os.link = counted(os.fsync), counted(os.replace), counted(os.link)
    event.listen(Engine, "commit", counted(lambda _connection: None))


def revoke(store: Store, user_id: int, key_id: int) -> None:
    """End a key, as the services do."""
    audit = an_entry(action=AuditAction.API_KEY_DELETED, target_type=Target.API_KEY, target_id=str(key_id))
    assert store.api_keys.revoke(key_id, user_id, NOW, audit)


def count_at_once(counter: ChangeCounter, threads: int, times: int) -> None:
    """Count from several threads, each of which reads too."""

    def count() -> None:
        for _ in range(times):
            with counter.committing():
                counter.settled()
            counter.settled()

    running = [threading.Thread(target=count) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def main() -> None:
    orders = Orders()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(orders, name)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
