"""The process that talks to a database: of bounded memory, and without anybody's environment.

    stdin: one task, then open until the task is not wanted any more        stdout: messages

Nothing of a task stands in its arguments or its environment. `target_process` starts it, and ends it in time.
"""

import ipaddress
import os
import resource
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

import msgspec

from keyturn.adapters.adapter import Session, open_adapter
from keyturn.adapters.addresses import AddressPolicy
from keyturn.adapters.catalog import batches
from keyturn.adapters.findings import Fault, Finding, Step
from keyturn.adapters.ladder import Ladder, StepResult, failure, faults, redacted
from keyturn.adapters.tasks import HEADER, Action, Changing, Done, Message, StepBegun, Task, framed
from keyturn.adapters.validation import TECHNOLOGY, Value, get_technology, secrets_of
from keyturn.core.networks import read_network

MAX_FILES = 64
MAX_NOTE = 2000
"""Characters of a driver's words for the log."""


def main() -> None:
    """Do the one task that comes over stdin."""
    messages = _take_stdout()
    task = _read_task(sys.stdin.buffer)
    technology = get_technology(task.values[TECHNOLOGY])
    _bound(task.limits.memory + technology.driver_memory)
    with suppress(Fault):  # A step tells of a driver that is missing; to load one takes no time of a step.
        open_adapter(technology)
    threading.Thread(target=end_with, args=(sys.stdin.buffer,), daemon=True).start()
    Work(task, messages).run()
    messages.close()
    os._exit(0)  # Drivers with threads of their own could hold a plain end up.


class Work:
    """A task, and where its messages go."""

    def __init__(self, task: Task, messages: BinaryIO) -> None:
        self._task = task
        self._messages = messages
        self._step = Step.RESOLVE
        self._secrets = [*secrets_of(task.values), *filter(None, [task.new_password])]

    def run(self) -> None:
        """Do the task and tell of it; of every error the last message is a step that failed."""
        try:
            with faults():
                self._act()
        except Fault as fault:
            self._send(failure(self._step, fault))
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the parent is told
            self._send(failure(self._step, Fault(Finding.FAILED, repr(error))))
        else:
            self._send(Done())

    def _act(self) -> None:
        match self._task.action:
            case Action.TEST:
                self._test()
            case Action.CRAWL:
                self._crawl()
            case Action.ROTATE:
                self._rotate()

    def _test(self) -> None:
        ladder = self._ladder(self._task.values)
        for result in ladder.climb(self._begin):
            self._send(result)
        ladder.close()

    def _crawl(self) -> None:
        session = self._ladder(self._task.values).get_session(self._begin)
        self._begin(Step.LIST)
        found = session.crawl(frozenset(self._task.known_fingerprints))
        for batch in batches(found, self._task.limits):
            self._send(batch)
        session.close()

    def _rotate(self) -> None:
        """Change the password, and back again unless the new one opens the database."""
        values, new = self._task.values, self._task.new_password
        session = self._ladder(values).get_session(self._begin)
        self._send(Changing())
        session.change_password(new)
        try:
            self._ladder({**values, "password": new}).get_session(self._begin).close()
        except Fault as fault:
            self._change_back(session, fault)
        session.close()

    def _change_back(self, session: Session, why: Fault) -> None:
        try:
            session.change_password(str(self._task.values["password"]))
        except Fault as fault:
            raise Fault(Finding.FAILED, f"{why}; {fault}") from None
        raise Fault(Finding.PASSWORD_UNCHANGED, str(why)) from None

    def _ladder(self, values: dict[str, Value]) -> Ladder:
        task = self._task
        own = frozenset((ipaddress.ip_address(address), port) for address, port in task.own_endpoints)
        policy = AddressPolicy(tuple(map(read_network, task.allowed_networks)), own)
        return Ladder(values, policy, addresses_of, task.limits)

    def _begin(self, step: Step) -> None:
        self._step = step
        self._send(StepBegun(step))

    def _send(self, message: Message) -> None:
        if isinstance(message, StepResult):
            # A server that was told the password could say it back, as its version for instance.
            detail, note = (redacted(text, self._secrets) for text in (message.detail, message.note))
            message = msgspec.structs.replace(message, detail=detail, note=note[:MAX_NOTE])
        self._messages.write(framed(message))
        self._messages.flush()


def addresses_of(host: str) -> Sequence[str]:
    """Return the addresses of a name by the system's resolver; raise `OSError`."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def _take_stdout() -> BinaryIO:
    """Keep the pipe for messages: what a driver prints goes nowhere."""
    pipe = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return pipe


def _read_task(pipe: BinaryIO) -> Task:
    (length,) = HEADER.unpack(pipe.read(HEADER.size))
    return msgspec.msgpack.decode(pipe.read(length), type=Task)


def _bound(memory: int) -> None:
    for kind, wanted in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),  # A core would hold the password.
        (resource.RLIMIT_NOFILE, MAX_FILES),
    ):
        _, most = resource.getrlimit(kind)
        bound = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(kind, (bound, bound))


def end_with(pipe: BinaryIO) -> None:
    """End when the parent closes its end, or has ended itself."""
    pipe.read()
    os._exit(1)


if __name__ == "__main__":
    main()
