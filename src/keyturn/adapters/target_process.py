"""A test, a crawl and a rotation, as services call them: each in a process that ends in time (O5, O8).

Whatever a database does to its driver (silence, a byte a second, rows without end, garbage) is done to that
process alone. Its time is measured here, so nothing is asked of a driver; it is killed when the time is up.
"""

import os
import select
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum

import msgspec

from keyturn.adapters.catalog import Batch
from keyturn.adapters.findings import Fault, Finding, State, Step
from keyturn.adapters.ladder import StepResult, failure
from keyturn.adapters.limits import Limits
from keyturn.adapters.priority import give_way
from keyturn.adapters.tasks import HEADER, Action, Changing, Done, Message, StepBegun, Task, framed
from keyturn.adapters.validation import TECHNOLOGY, check_can_reach, get_technology

_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_READ_BYTES = 2**18


class Rotation(StrEnum):
    """How the rotation of a password ended."""

    CHANGED = "changed"
    """The new one works, and was tried."""
    UNCHANGED = "unchanged"
    """The old one works still."""
    UNKNOWN = "unknown"
    """One of the two works: try both, with `test`."""


class TargetProcess:
    """One task in a process of its own. `cancel` may be called by any thread.

    Making one raises `InvalidInput` for a technology whose connections are only kept.
    """

    def __init__(self, task: Task) -> None:
        check_can_reach(get_technology(task.values[TECHNOLOGY]))
        self._task = task
        self._folder = tempfile.TemporaryDirectory(prefix="keyturn-target-")
        self._is_canceled = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "keyturn.adapters.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env=_environment(self._folder.name),
            process_group=0,
        )
        give_way(self._process.pid, to_everything=task.action is Action.CRAWL)
        self._read = bytearray()
        self._ends = time.monotonic() + task.limits.start

    def messages(self) -> Iterator[Message]:
        """Yield messages up to the last; raise `Fault` when the time is up, or the process ended before."""
        self._send_task()
        total = _seconds_of(self._task)
        finish: float | None = None
        while True:
            message = self._next(self._ends)
            now = time.monotonic()
            finish = finish or now + total
            is_step = isinstance(message, StepBegun) and not self._is_listing(message)
            self._ends = min(finish, now + self._task.limits.step) if is_step else finish
            yield message
            if isinstance(message, Done):
                return

    def cancel(self) -> None:
        """End the process, whatever it does."""
        self._is_canceled.set()
        self._process.kill()

    def close(self) -> None:
        """End the process and remove its folder."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._folder.cleanup()

    def _is_listing(self, message: StepBegun) -> bool:
        """Return whether this begins what takes long: a crawl has one limit of its own."""
        return self._task.action is Action.CRAWL and message.step is Step.LIST

    def _send_task(self) -> None:
        pipe = self._process.stdin
        if pipe is None:
            raise Fault(Finding.FAILED)
        try:
            pipe.write(framed(self._task))
            pipe.flush()
        except OSError as error:
            raise Fault(self._ended(), str(error)) from None

    def _next(self, ends: float) -> Message:
        (length,) = HEADER.unpack(self._take(HEADER.size, ends))
        if length > self._task.limits.message:
            raise Fault(Finding.TOO_LARGE)
        try:
            return _DECODER.decode(self._take(length, ends))
        except msgspec.DecodeError as error:
            raise Fault(Finding.FAILED, str(error)) from None

    def _take(self, length: int, ends: float) -> bytes:
        pipe = self._process.stdout
        if pipe is None:
            raise Fault(Finding.FAILED)
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while len(self._read) < length:
            if not poll.poll(max(0.0, ends - time.monotonic()) * 1000):
                raise Fault(Finding.TOO_SLOW)
            more = os.read(pipe.fileno(), _READ_BYTES)
            if not more:
                raise Fault(self._ended(), "the process ended")
            self._read += more
        taken = bytes(self._read[:length])
        del self._read[:length]
        return taken

    def _ended(self) -> Finding:
        return Finding.CANCELED if self._is_canceled.is_set() else Finding.FAILED


def test(task: Task) -> Iterator[StepBegun | StepResult]:
    """Yield each step as it begins and as it ends: one without an end in time has failed."""
    process = TargetProcess(replace(task, action=Action.TEST))
    left = list(Step)
    since = time.monotonic()
    try:
        for message in process.messages():
            match message:
                case StepBegun():
                    since = time.monotonic()
                    yield message
                case StepResult():
                    left.remove(message.step)
                    yield message
    except Fault as fault:
        if left:
            yield failure(left.pop(0), fault, round((time.monotonic() - since) * 1000))
        yield from (StepResult(step, State.SKIPPED) for step in left)
    finally:
        process.close()


def crawl(process: TargetProcess) -> Iterator[Batch]:
    """Yield all that a crawl finds, in batches; raise `Fault` unless it came to its end."""
    try:
        for message in process.messages():
            match message:
                case Batch():
                    yield message
                case StepResult(finding=Finding() as finding):
                    raise Fault(finding, message.note)
    finally:
        process.close()


def rotate(task: Task) -> tuple[Rotation, StepResult | None]:
    """Change the password of the connection's account to `task.new_password`, and try it.

    The caller keeps both until it has stored which works: `UNKNOWN` comes of a database that went away
    meanwhile, and a crash of this process leaves the same. The second value says why nothing was changed.
    """
    process = TargetProcess(replace(task, action=Action.ROTATE))
    step, otherwise = Step.RESOLVE, Rotation.UNCHANGED
    try:
        for message in process.messages():
            match message:
                case StepBegun():
                    step = message.step
                case Changing():
                    otherwise = Rotation.UNKNOWN
                case StepResult(state=State.FAILED):
                    is_known = message.finding is Finding.PASSWORD_UNCHANGED
                    return Rotation.UNCHANGED if is_known else otherwise, message
    except Fault as fault:
        return otherwise, failure(step, fault)
    finally:
        process.close()
    return Rotation.CHANGED, None


def _seconds_of(task: Task) -> float:
    limits: Limits = task.limits
    return limits.crawl if task.action is Action.CRAWL else limits.test


def _environment(home: str) -> dict[str, str]:
    """Return the whole environment: nothing that libpq or a driver would read, and an empty home."""
    trusted = ssl.get_default_verify_paths()
    return {
        "HOME": home,
        "LANG": "C.UTF-8",
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TMPDIR": tempfile.gettempdir(),
        "MALLOC_ARENA_MAX": "2",  # Else threads reserve much of the address space.
        # Snowflake's driver asks the metadata service of each cloud where it runs, unless told not to.
        "SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true",
        # OpenSSL in a wheel of a driver has another idea of where the system keeps these.
        **({"SSL_CERT_FILE": trusted.cafile} if trusted.cafile else {}),
        **({"SSL_CERT_DIR": trusted.capath} if trusted.capath else {}),
    }
