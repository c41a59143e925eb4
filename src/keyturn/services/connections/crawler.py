"""The process that writes down what a crawl finds.

    server ──order──▶ crawler ──task──▶ worker ──▶ database of the connection
           ◀─progress─        ◀─batches─
                      │
                      ▼ Keyturn's database

The worker has the password and no way to Keyturn's database, the crawler has the database and no root key.
In a thread of the server, what they decode and hash would hold up the requests that it verifies.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import IO, BinaryIO

import msgspec

from keyturn.adapters import target_process
from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.priority import give_way
from keyturn.adapters.target_process import TargetProcess
from keyturn.adapters.tasks import HEADER, Task
from keyturn.adapters.worker import end_with
from keyturn.core.times import time_at
from keyturn.errors import KeyturnError, NotFound
from keyturn.services.connections.crawls import Crawl
from keyturn.store import Store, open_engine


class Order(msgspec.Struct, frozen=True):
    """One crawl to do. It holds the password of the connection, and perhaps that of the database."""

    database: str
    connection_id: int
    technology: str
    now: int
    """The time in milliseconds when it was given."""
    task: Task


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How many objects were found so far, of how many the last time."""

    done: int
    expected: int


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The crawl came to its end, and its objects are shown."""

    output: dict[str, int]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The crawl came to no end."""

    finding: Finding
    detail: str = ""
    note: str = ""


Report = Progress | Finished | Failed

_DECODER = msgspec.json.Decoder(Report)


class CrawlerProcess:
    """One crawl in processes of its own. `cancel` may be called by any thread."""

    def __init__(self, order: Order) -> None:
        self._is_canceled = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "keyturn.services.connections.crawler"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            process_group=0,
        )
        give_way(self._process.pid)  # And not to everything: it writes, and others wait for its lock.
        self._order = order

    def reports(self) -> Iterator[Progress | Finished]:
        """Yield how far the crawl is, and at last what came of it; raise `Fault` if it came to no end."""
        try:
            packed = msgspec.msgpack.encode(self._order)
            order, told = _open_pipes(self._process)
            order.write(HEADER.pack(len(packed)) + packed)
            order.flush()  # And left open: its end tells the crawler that the server has ended.
            for line in told:
                report = _DECODER.decode(line)
                if isinstance(report, Failed):
                    raise Fault(report.finding, report.note, detail=report.detail)
                yield report
                if isinstance(report, Finished):
                    return
            raise Fault(Finding.CANCELED if self._is_canceled.is_set() else Finding.FAILED, "it ended")
        except (OSError, msgspec.DecodeError) as error:
            raise Fault(Finding.FAILED, str(error)) from None
        finally:
            self.close()

    def cancel(self) -> None:
        """End the crawl, wherever it is."""
        self._is_canceled.set()
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


def _environment() -> dict[str, str]:
    """Return the server's environment without its settings, which tell where the root key is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def main() -> None:
    """Do the one crawl that comes over stdin, and tell of it over stdout."""
    reports = os.fdopen(os.dup(1), "wb")
    order = msgspec.msgpack.decode(_read(sys.stdin.buffer), type=Order)
    threading.Thread(target=end_with, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        for report in _reports(order):
            _write(reports, report)
    except Fault as fault:
        _write(reports, Failed(fault.finding, fault.detail, fault.note))
    except KeyturnError as error:
        _write(reports, Failed(Finding.FAILED, note=str(error)))
    os._exit(0)


def _reports(order: Order) -> Iterator[Report]:
    """Crawl, and yield how far it is."""
    began_at = time.monotonic()
    store = Store(open_engine(order.database))
    try:
        crawl = _begin(store, order)
        task = replace(order.task, known_fingerprints=crawl.known_fingerprints)
        for batch in target_process.crawl(TargetProcess(task)):
            crawl.take(batch)
            yield Progress(crawl.done, len(crawl.known))
        now = time_at(order.now) + timedelta(seconds=time.monotonic() - began_at)
        yield Finished(dict(crawl.finish(now)))
    finally:
        store.close()


def _begin(store: Store, order: Order) -> Crawl:
    number = store.data_objects.begin_crawl(order.connection_id)
    if number is None:
        raise NotFound("There is no such connection.")
    known = store.data_objects.known(order.connection_id)
    return Crawl(store, order.connection_id, order.technology, number, known)


def _read(pipe: BinaryIO) -> bytes:
    (length,) = HEADER.unpack(pipe.read(HEADER.size))
    return pipe.read(length)


def _write(pipe: BinaryIO, report: Report) -> None:
    pipe.write(msgspec.json.encode(report) + b"\n")
    pipe.flush()


def _open_pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise Fault(Finding.FAILED)
    return process.stdin, process.stdout


if __name__ == "__main__":
    main()
