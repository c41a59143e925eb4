"""The process that talks to a database is bounded, has nobody's environment, and ends with its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from keyturn.adapters.findings import Fault, Finding, State, Step
from keyturn.adapters.limits import Limits
from keyturn.adapters.target_process import TargetProcess, crawl
from keyturn.adapters.target_process import test as climb
from keyturn.adapters.tasks import Action, StepBegun
from keyturn.adapters.technologies import TECHNOLOGIES, Technology, Tier
from keyturn.errors import InvalidInput
from tests.adapters import rogues
from tests.adapters.rogues import rogue
from tests.adapters.targets import PASSWORD, a_task, climbed
from tests.adapters.test_rogues import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.adapters.validation import Value

WAIT_SECONDS = 10


@pytest.fixture
def silent() -> Iterator[dict[str, Value]]:
    """A connection to a server that says nothing."""
    with rogue(rogues.silent) as server:
        yield connection(server.port, "PostgreSQL")


def children() -> set[psutil.Process]:
    """The processes that this one has started."""
    return set(psutil.Process().children(recursive=True))


def test_a_process_shows_no_password_and_takes_no_environment(
    silent: dict[str, Value], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its arguments nor its environment hold the password, nor anything that libpq would read."""
    monkeypatch.setenv("PGPASSFILE", "/somebody/elses")
    monkeypatch.setenv("PGSERVICE", "somebody")
    process = TargetProcess(a_task(silent))
    messages = process.messages()
    next(messages)
    seen = psutil.Process(process._process.pid)
    assert PASSWORD not in f"{seen.cmdline()}{seen.environ()}"
    assert not [name for name in seen.environ() if name.startswith(("PG", "MYSQL", "KEYTURN"))]
    assert seen.environ()["HOME"] == seen.cwd() != str(Path.home())
    assert seen.nice() > psutil.Process().nice()
    process.close()
    assert not Path(seen.environ()["HOME"] if seen.is_running() else process._folder.name).exists()


def test_a_process_that_is_left_ends(silent: dict[str, Value]) -> None:
    """Somebody who stops reading leaves no process behind."""
    before = children()
    found = climb(a_task(silent))
    assert isinstance(next(found), StepBegun)
    assert len(children() - before) == 1
    found.close()
    assert children() == before


def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    """A server that is killed leaves no process behind, however long the database is silent."""
    with rogue(rogues.silent) as server:
        program = tmp_path / "parent.py"
        program.write_text(
            "import os, sys\n"
            "from keyturn.adapters.target_process import TargetProcess\n"
            "from keyturn.adapters.limits import Limits\n"
            "from tests.adapters.targets import a_task\n"
            "from tests.adapters.test_rogues import connection\n"
            "limits = Limits(step=600, test=600)\n"
            f"process = TargetProcess(a_task(connection({server.port}, 'PostgreSQL'), limits=limits))\n"
            "for message in process.messages():\n"
            "    if getattr(message, 'step', '') == 'login':\n"
            "        print(process._process.pid, flush=True)\n"
        )
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with subprocess.Popen(
            [sys.executable, program], stdout=subprocess.PIPE, env={**os.environ, **paths}
        ) as parent:
            assert parent.stdout is not None
            worker = psutil.Process(int(parent.stdout.readline()))
            parent.kill()
        psutil.wait_procs([worker], timeout=WAIT_SECONDS)
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_memory_is_bounded() -> None:
    """A server that would fill the memory fills that of its process, which ends."""
    with rogue(rogues.huge_postgresql) as server:
        limits = Limits(step=60.0, test=60.0, memory=192 * 2**20)
        task = a_task(connection(server.port, "PostgreSQL"), limits=limits)
        results = [each for each in climb(task) if not isinstance(each, StepBegun)]
    (failed,) = (each for each in results if each.state is State.FAILED)
    assert failed.finding in {Finding.TOO_LARGE, Finding.OTHER_PROTOCOL, Finding.CONNECTION_LOST}


def test_a_process_that_cannot_start_fails_at_the_first_step(silent: dict[str, Value]) -> None:
    """Too little memory for the interpreter is a failed test, and no error of the server."""
    results = climbed(silent, limits=Limits(memory=2**20))
    assert [each.state for each in results] == [State.FAILED, *[State.SKIPPED] * (len(Step) - 1)]
    assert results[0].finding in {Finding.FAILED, Finding.TOO_LARGE}


@pytest.mark.parametrize("technology", [each for each in TECHNOLOGIES if each.tier is Tier.KEPT])
def test_no_process_is_started_for_what_is_only_kept(technology: Technology) -> None:
    """A test of a technology of the third tier is refused by its sentence, before a process is made."""
    before = children()
    with pytest.raises(InvalidInput, match="does not test or crawl"):
        climbed({"technology": technology.name})
    assert children() == before


def test_a_canceled_test_says_so(silent: dict[str, Value]) -> None:
    """Cancel ends a step that waits."""
    process = TargetProcess(a_task(silent, Action.CRAWL))
    messages = process.messages()
    while next(messages) != StepBegun(Step.LOGIN):
        pass
    process.cancel()
    with pytest.raises(Fault) as ended:
        list(messages)
    process.close()
    assert ended.value.finding is Finding.CANCELED


def test_a_crawl_ends_at_its_time(silent: dict[str, Value]) -> None:
    """The limit of a crawl holds from its first step on."""
    task = a_task(silent, Action.CRAWL, limits=Limits(step=60.0, crawl=0.5))
    with pytest.raises(Fault) as ended:
        list(crawl(TargetProcess(task)))
    assert ended.value.finding is Finding.TOO_SLOW


def test_a_large_message_is_refused(postgresql: tuple[object, dict[str, Value]]) -> None:
    """The process is not trusted either: it may send no more than a batch takes."""
    with pytest.raises(Fault) as ended:
        list(crawl(TargetProcess(a_task(postgresql[1], Action.CRAWL, limits=Limits(message=64)))))
    assert ended.value.finding is Finding.TOO_LARGE


@pytest.mark.skipif(sys.platform != "linux", reason="policies of Linux")
def test_a_crawl_gives_way_to_everything(silent: dict[str, Value]) -> None:
    """It runs when nothing else does, in the session of the server: Linux weighs sessions as equals."""
    for action, policy in ((Action.CRAWL, os.SCHED_IDLE), (Action.TEST, os.SCHED_BATCH)):
        process = TargetProcess(a_task(silent, action))
        next(process.messages())
        number = process._process.pid
        assert os.sched_getscheduler(number) == policy
        assert os.getsid(number) == os.getsid(0)
        assert os.getpgid(number) != os.getpgid(0), "an interrupt at the terminal is for the server"
        process.close()
