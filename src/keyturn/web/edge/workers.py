"""Several processes that serve the same sockets, and the one that watches them."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.importer import import_from_string
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from keyturn.counting.counts import Counts
from keyturn.counting.shared import SharedCounts, Slot
from keyturn.errors import CannotStart
from keyturn.logs import configure_logs, log_uncaught
from keyturn.settings import Settings, read_settings
from keyturn.web.edge.server import (
    END_SIGNAL,
    FORCED_END_SECONDS,
    SHUTDOWN_TIMEOUT_SECONDS,
    STOP_SIGNAL,
    Server,
)
from keyturn.web.edge.service_manager import ServiceManager

LOOK_SECONDS = 0.1
"""How often signals are looked for."""
LOOKS_PER_CHECK = 5
"""How often the workers are, in looks."""
START_SECONDS = 60.0
"""How long a new worker may take to import what it needs, on a machine that has much else to do."""
EXTRA_SECONDS = 5.0
"""How much longer than it may a worker takes to stop before it is killed."""


class Worker(Process):
    """A process that serves."""

    slot: Slot
    """Where it counts."""
    _has_answered: bool = False
    _is_listening: bool = False
    _starts_until: float = 0.0
    """Until when it may not answer yet."""

    @cached_property
    def server(self) -> Server:
        """The server of this process, which reads its settings from the environment."""
        return Server(self.config, read_settings(os.environ), counts=self.counts)

    @cached_property
    def counts(self) -> Counts:
        """The numbers of this process."""
        return self.slot.open()

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, in the new process; what ends it is in the log."""
        settings = read_settings(os.environ)
        configure_logs(settings.log_level)
        log_uncaught()
        self.config.app = partial(import_from_string(str(self.config.app)), self.counts)
        self.server.take_signals()
        try:
            super().target(sockets)
        except CannotStart as error:
            structlog.get_logger().error("worker_cannot_start", reason=str(error))
            sys.exit(1)
        except Exception:  # noqa: BLE001 - whatever it is, it is said in the form of all lines
            structlog.get_logger().exception("worker_failed")
            sys.exit(1)

    def is_alive(self, timeout: float = 5) -> bool:
        """Return whether the worker answers in time. One that starts has longer for its first answer."""
        if self._has_answered or not self.process.is_alive():
            return super().is_alive(timeout)
        self._has_answered = self.ping(LOOK_SECONDS)
        return self._has_answered or time.monotonic() < self._starts_until

    def ping(self, timeout: float = 5) -> bool:
        """Ask the worker whether it is there; what it answered too late before does not count."""
        while self.parent_conn.poll(0):
            self.parent_conn.recv()
        return super().ping(timeout)

    def has_started(self) -> bool:
        """Return whether the worker is known to listen, or says so at once."""
        self._is_listening = self._is_listening or self.is_ready(LOOK_SECONDS)
        return self._is_listening

    def start(self) -> None:
        """Start the process. SIGHUP waits until it has a handler, which a new process has not."""
        self._starts_until = time.monotonic() + START_SECONDS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        if self.process.exitcode is None and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Supervisor(Multiprocess):
    """Keeps the workers alive, and stops them in order.

    It obeys signals from the moment that it is made.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        sockets: list[socket.socket],
        counts: SharedCounts,
        manager: ServiceManager | None = None,
    ) -> None:
        super().__init__(config, sockets)
        self._counts = counts
        self._manager = manager or ServiceManager()
        self._serves = f"Serving {settings.public_url}"
        self._is_ready = False
        self.processes: list[Worker] = []  # type: ignore[assignment]  # Each is one of ours.
        self._stop_seconds = settings.drain_time + SHUTDOWN_TIMEOUT_SECONDS + EXTRA_SECONDS
        self._is_told_twice = False
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Serve until told to stop; raise `CannotStart` if the workers cannot serve."""
        looks = 0
        if not self._is_stopping():
            self.processes = [self._new_worker(number) for number in range(self.processes_num)]
        while not self._is_stopping():
            looks += 1
            if looks % LOOKS_PER_CHECK == 0:
                self.keep_subprocess_alive()
                self._tell_when_ready()
            time.sleep(LOOK_SECONDS)
        self._stop_workers()

    def _tell_when_ready(self) -> None:
        """Tell the service manager, once, that every worker listens."""
        if not self._is_ready and all(worker.has_started() for worker in self.processes):
            self._is_ready = True
            self._manager.tell_ready(self._serves)
            self._manager.watch(self.sockets[0], tls=self.config.is_ssl)

    def _is_stopping(self) -> bool:
        self.handle_signals()
        return self.should_exit.is_set()

    def _new_worker(self, number: int) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.slot = self._counts.slot(number)
        worker.start()
        return worker

    def keep_subprocess_alive(self) -> None:
        """Replace workers that ended or hang, and say so."""
        for number, worker in enumerate(self.processes):
            if worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            is_hung = worker.process.is_alive()
            worker.kill()
            worker.join()
            self._counts.workers[number].end()
            if worker.exitcode == STARTUP_FAILURE:
                self._stop_workers()
                raise CannotStart("A worker cannot serve: the line before this one says why.")
            self.processes[number] = self._new_worker(number)
            self._counts.replaced += 1
            self._log.error(
                "worker_replaced",
                pid=worker.pid,
                cause="hung" if is_hung else "ended",
                exit_code=None if is_hung else worker.exitcode,
                replacement=self.processes[number].pid,
            )

    def handle_hup(self) -> None:
        """Let each worker read the certificate again."""
        self._manager.tell_reloading()
        for worker in self.processes:
            worker.tell(signal.SIGHUP)
        if self._is_ready:
            self._manager.tell_ready(self._serves)

    def handle_int(self) -> None:
        """Stop; at once if told so before."""
        self._is_told_twice = self.should_exit.is_set()
        if not self._is_told_twice:
            self._manager.tell_stopping()
        self.should_exit.set()

    handle_term = handle_int

    def handle_ttin(self) -> None:
        """Serve on with as many workers as there are."""

    handle_ttou = handle_ttin

    def _stop_workers(self) -> None:
        for worker in self.processes:
            worker.tell(STOP_SIGNAL)
        for listener in self.sockets:
            listener.close()  # Or connections would wait here that no worker takes any more.
        if self._wait(self._stop_seconds, lambda: self._is_told_twice):
            return
        if self._is_told_twice:
            for worker in self.processes:
                worker.tell(END_SIGNAL)
            if self._wait(FORCED_END_SECONDS * 2, lambda: False):
                return
        for worker in self.processes:
            if worker.process.is_alive():
                self._log.error("worker_killed", pid=worker.pid, cause="it did not stop in time")
                worker.kill()
            worker.join()

    def _wait(self, seconds: float, is_over: Callable[[], bool]) -> bool:
        """Wait for the workers to end; return whether all did."""
        deadline = time.monotonic() + seconds
        while any(worker.process.is_alive() for worker in self.processes):
            self.handle_signals()
            if is_over() or time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS / 2)
        return True
