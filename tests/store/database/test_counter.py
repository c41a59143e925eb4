"""The change counter: whoever asks it knows of every change on this host, whoever died (R1, R7)."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import Services, open_services
from keyturn.errors import CannotStart, CredentialRefused, Reason
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store import Store, open_engine
from keyturn.store.database.counter import ChangeCounter
from keyturn.system import System
from keyturn.verifying.origin import COMMAND_LINE
from tests.databases import new_postgresql_database, new_sqlite_database
from tests.people import NOWHERE, add_person, caller
from tests.store.peers import POINTS, Peer, count_at_once, revoke
from tests.store.rows import NOW, an_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.services.keys.keys import CreatedKey
    from tests.fakes import Clock

PATIENCE_SECONDS = 10
RANDOM_KILLS = 8
KEYS_PER_KILL = 60


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    """Another process on this host."""
    process = Peer()
    try:
        yield process
    finally:
        process.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyturn.db-changes"


@pytest.fixture
def counter(path: Path) -> Iterator[ChangeCounter]:
    opened = ChangeCounter(path, one_writer=True)
    yield opened
    opened.close()


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite alone: on PostgreSQL the counter is a hint."""
    return new_sqlite_database(tmp_path)


@pytest.fixture
def services(database: str, clock: Clock) -> Iterator[Services]:
    """All use cases, with no end to how often one may fail: these tests try dead keys all the time."""
    settings = read_settings({"KEYTURN_DATABASE": database}, failures_per_minute=10**6)
    opened = open_services(settings, clock.system(), hashing=CHEAPEST)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def people(services: Services) -> People:
    """A user whose keys this process remembers. Its clock stands still: only the counter can end a yes."""
    return People(services)


class People:
    """Somebody with keys, and the process that verifies them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.user_id = add_person(services).user_id
        self.counter = services.store.counter

    def remembered_keys(self, number: int = 1) -> list[CreatedKey]:
        keys = [self.services.keys.create_for(self.user_id, COMMAND_LINE, NewKey()) for _ in range(number)]
        for key in keys:
            caller(self.services, key.secret)
        for key in keys:
            caller(self.services, key.secret)
            assert self.services.authenticator.recognise(key.secret.encode(), NOWHERE) is not None
        return keys

    def accepts(self, key: CreatedKey) -> bool:
        try:
            caller(self.services, key.secret)
        except CredentialRefused as refused:
            if refused.reason is not Reason.REVOKED:
                raise
            return False
        return True

    def is_revoked(self, key: CreatedKey) -> bool:
        """Ask the database itself."""
        record = self.services.store.api_keys.find_for_token(key.record.key_id)
        assert record is not None
        return record.revoked_at is not None


def kill_a_writer(peer: Peer, people: People, key: CreatedKey, point: str, tmp_path: Path) -> None:
    """Let another process die while it revokes a key."""
    database = people.services.settings.database
    process = peer.revoke(database, people.user_id, [key.record.key_id], point, tmp_path / "acks")
    assert peer.died(process) == signal.SIGKILL


# The protocol


def test_a_change_is_two_and_the_number_is_odd_meanwhile(counter: ChangeCounter) -> None:
    """The number is odd while a change is committed and even after it, two higher."""
    before = counter.cell[0]

    with counter.committing():
        assert counter.cell[0] == before + 1

    assert before % 2 == 0
    assert counter.cell[0] == counter.settled() == before + 2


def test_a_commit_that_fails_is_counted(counter: ChangeCounter) -> None:
    """A commit that raised may have happened all the same, so it counts, and the next one can begin."""
    before = counter.settled()

    with pytest.raises(OSError, match="the connection broke"), counter.committing():
        raise OSError("the connection broke")

    assert counter.settled() == before + 2
    with counter.committing():
        pass
    assert counter.settled() == before + 4


def test_every_change_of_the_store_is_counted_before_it_returns(people: People, peer: Peer) -> None:
    """When a change returns, this process and another one see another number than before it."""
    path = people.counter._path
    before = people.counter.settled()
    assert peer.settled(path) == before

    (key,) = people.remembered_keys()
    made = people.counter.settled()
    assert before < made == peer.settled(path)

    revoke(people.services.store, people.user_id, key.record.key_id)
    assert made < people.counter.settled() == peer.settled(path)


def test_what_changes_nothing_is_not_counted(people: People) -> None:
    """A change that found nothing to change leaves the number, and so everything remembered, alone."""
    before = people.counter.settled()

    assert not people.services.store.api_keys.revoke(10**6, people.user_id, NOW, an_entry())

    assert people.counter.settled() == before


def test_many_processes_and_threads_lose_no_count(counter: ChangeCounter, path: Path, peer: Peer) -> None:
    """Two processes with several threads each, counting and reading at once, count all, and end even."""
    peer.tell("count", path, 4, 400)
    count_at_once(counter, 4, 400)
    peer.hear()

    assert counter.cell[0] == counter.settled() == peer.settled(path) == 2 * 2 * 4 * 400


# A living writer


def test_a_living_writer_of_another_process_is_not_taken_for_dead(
    counter: ChangeCounter, path: Path, peer: Peer
) -> None:
    """While another process commits, this one goes on with the number from before, however often it asks."""
    with counter.committing():
        pass

    odd = peer.hold(path)
    assert [counter.settled() for _ in range(100)] == [2] * 100
    assert counter.cell[0] == odd == 3
    peer.release()

    assert counter.settled() == 4


def test_a_living_writer_of_this_process_is_not_taken_for_dead(counter: ChangeCounter, path: Path) -> None:
    """While one thread commits, the others go on with the number from before, through any open counter."""
    second = ChangeCounter(path, one_writer=True)
    is_committing, may_end = threading.Event(), threading.Event()

    def commit() -> None:
        with counter.committing():
            is_committing.set()
            may_end.wait(PATIENCE_SECONDS)

    writer = threading.Thread(target=commit)
    writer.start()
    assert is_committing.wait(PATIENCE_SECONDS)
    seen = [(counter.settled(), second.settled()) for _ in range(100)]
    number = counter.cell[0]
    may_end.set()
    writer.join()
    second.close()

    assert seen == [(0, 0)] * 100
    assert number == 1
    assert counter.settled() == 2


def test_a_writer_waits_for_the_other_process(counter: ChangeCounter, path: Path, peer: Peer) -> None:
    """Only one process at a time commits: the number of another one's commit is never overwritten."""
    peer.hold(path)
    numbers: list[int] = []

    def commit() -> None:
        with counter.committing():
            numbers.append(counter.cell[0])

    writer = threading.Thread(target=commit)
    writer.start()
    writer.join(0.2)
    assert (numbers, counter.cell[0]) == ([], 1)
    peer.release()
    writer.join(PATIENCE_SECONDS)

    assert numbers == [3]
    assert counter.settled() == 4


# A dead writer


@pytest.mark.parametrize("point", POINTS)
def test_a_key_is_as_dead_as_its_writer_made_it(
    people: People, peer: Peer, point: str, tmp_path: Path
) -> None:
    """Wherever the writer was killed, a remembered key is refused at once if its revoke happened."""
    revoked, other = people.remembered_keys(2)

    kill_a_writer(peer, people, revoked, point, tmp_path)

    was_committed = point.startswith("after")
    assert people.accepts(revoked) is not was_committed
    assert people.is_revoked(revoked) is was_committed
    assert people.accepts(other)


@pytest.mark.parametrize("point", ["before the commit", "after the commit"])
@pytest.mark.parametrize("first", ["this process", "another process"])
def test_a_dead_writer_moves_the_number(
    people: People, peer: Peer, point: str, first: str, tmp_path: Path
) -> None:
    """A writer that was killed with the number odd has counted, whoever asks first, for everybody alike."""
    (key,) = people.remembered_keys()
    path, before = people.counter._path, people.counter.settled()
    assert peer.settled(path) == before

    kill_a_writer(peer, people, key, point, tmp_path)

    assert people.counter.cell[0] == before + 1
    asked = [people.counter.settled, lambda: peer.settled(path)]
    numbers = [ask() for ask in (asked if first == "this process" else reversed(asked))]
    assert numbers == [before + 2] * 2
    assert people.counter.cell[0] == before + 2


def test_the_next_writer_hides_no_dead_one(people: People, peer: Peer, tmp_path: Path) -> None:
    """While the next writer commits already, the key that a dead one revoked is refused."""
    (key,) = people.remembered_keys()
    kill_a_writer(peer, people, key, "after the commit", tmp_path)

    peer.hold(people.counter._path)
    try:
        assert not people.accepts(key)
    finally:
        peer.release()

    assert people.counter.settled() % 2 == 0
    assert not people.accepts(key)


def test_a_change_after_a_dead_writer_is_seen(people: People, peer: Peer, tmp_path: Path) -> None:
    """A writer that died blocks nobody: the next change is made and seen."""
    left, right = people.remembered_keys(2)
    kill_a_writer(peer, people, left, "before the commit", tmp_path)

    process = peer.revoke(
        people.services.settings.database, people.user_id, [right.record.key_id], "", tmp_path / "acks"
    )
    assert peer.died(process) == 0

    assert people.accepts(left)
    assert not people.accepts(right)


def test_whenever_a_writer_dies_what_it_committed_is_refused(
    people: People, peer: Peer, tmp_path: Path
) -> None:
    """A writer killed at any moment leaves every key just as alive here as it is in the database."""
    choice, acks, ended_early = random.Random(20261125), tmp_path / "acks", 0
    for _ in range(RANDOM_KILLS):
        acks.unlink(missing_ok=True)
        keys = people.remembered_keys(KEYS_PER_KILL)
        ids = [key.record.key_id for key in keys]
        writer = peer.revoke(people.services.settings.database, people.user_id, ids, "", acks)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (acks.exists() and acks.stat().st_size) and time.monotonic() < deadline:
            people.accepts(keys[0])
        until = time.monotonic() + choice.uniform(0, 0.05)
        while time.monotonic() < until:
            people.accepts(choice.choice(keys))  # Readers meet the writer at every point.
        os.kill(writer, signal.SIGKILL)
        ended_early += peer.died(writer) == signal.SIGKILL

        accepted = {key.record.key_id for key in keys if people.accepts(key)}
        alive = {key.record.key_id for key in keys if not people.is_revoked(key)}
        acked = {int(line) for line in acks.read_text().splitlines(keepends=True) if line.endswith("\n")}
        assert accepted == alive
        assert acked, "the writer did something"
        assert not accepted & acked

    assert ended_early > RANDOM_KILLS / 2, "too few writers were killed at their work to mean anything"


# The file


def test_a_deleted_or_replaced_file_is_noticed(counter: ChangeCounter, path: Path) -> None:
    """A counter knows that others count elsewhere when its file is gone or is another one."""
    assert not counter.is_replaced()

    path.unlink()
    assert counter.is_replaced()

    other = ChangeCounter(path, one_writer=True)
    assert counter.is_replaced()
    assert not other.is_replaced()

    counter.reopen()
    assert not counter.is_replaced()
    with other.committing():
        assert counter.settled() == 0
    assert counter.settled() == 2
    other.close()


@pytest.mark.parametrize("size", [0, 5])
def test_a_file_that_is_found_truncated_begins_by_chance(
    counter: ChangeCounter, path: Path, size: int
) -> None:
    """It does not begin from zero, from which a few changes would lead to a number that was seen before."""
    counter.close()
    os.truncate(path, size)

    found = ChangeCounter(path, one_writer=True)

    assert found.settled() > 1000
    assert found.settled() % 2 == 0
    found.close()


def test_a_child_of_a_dead_writer_holds_nobody_up(counter: ChangeCounter, path: Path) -> None:
    """A child that a writer forked inside its change, and left behind, does not keep its lock."""
    reading, writing = os.pipe()
    writer = os.fork()
    if writer == 0:
        with ChangeCounter(path, one_writer=True).committing():
            child = os.fork()
            if child == 0:
                os.write(writing, b"%d\n" % os.getpid())
                signal.pause()
            os.close(writing)
            signal.pause()
    os.close(writing)
    with os.fdopen(reading) as told:
        child = int(told.readline())
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        try:
            with counter.committing():
                assert counter.cell[0] == 3, "the dead writer's change is counted"
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_counter_reopens_only_between_commits(counter: ChangeCounter, path: Path, peer: Peer) -> None:
    """Opening the new file waits for a commit under way, and loses no count of the new file."""
    path.unlink()
    with counter.committing():
        reopening = threading.Thread(target=counter.reopen)
        reopening.start()
        reopening.join(0.1)
        assert counter.is_replaced()
    reopening.join(PATIENCE_SECONDS)
    assert not counter.is_replaced()

    peer.tell("count", path, 2, 200)
    count_at_once(counter, 2, 200)
    peer.hear()
    assert counter.settled() == 2 * 2 * 2 * 200


def test_a_deleted_file_keeps_no_key_alive(database: str, peer: Peer, tmp_path: Path) -> None:
    """A key revoked after the file was deleted is refused by the next poll, and from then on at once."""
    settings = read_settings({"KEYTURN_DATABASE": database})
    with_threads = open_services(settings, System(), hashing=CHEAPEST)
    try:
        with_threads.start()
        people = People(with_threads)
        first, second = people.remembered_keys(2)
        people.counter._path.unlink()

        for key, patience in ((first, PATIENCE_SECONDS), (second, 0)):
            writer = peer.revoke(database, people.user_id, [key.record.key_id], "", tmp_path / "acks")
            assert peer.died(writer) == 0
            deadline = time.monotonic() + patience
            while people.accepts(key):
                assert time.monotonic() < deadline, "a key that was revoked is accepted"
    finally:
        with_threads.close()


def test_a_new_file_is_not_believed_for_its_number(people: People, peer: Peer, tmp_path: Path) -> None:
    """A new file that happens to hold the number seen in the old one makes nothing remembered true."""
    path = people.counter._path
    left_behind = ChangeCounter(path, one_writer=True)
    (key,) = people.remembered_keys()
    path.unlink()
    new = ChangeCounter(path, one_writer=True)
    for _ in range(people.counter.settled() // 2 - 1):
        with new.committing():
            pass
    writer = peer.revoke(
        people.services.settings.database, people.user_id, [key.record.key_id], "", tmp_path / "acks"
    )
    assert peer.died(writer) == 0
    assert new.settled() == people.counter.settled(), "the same number in both files"

    with left_behind.committing():
        pass  # Makes this process look, and find the new file.

    assert not people.accepts(key)
    new.close()
    left_behind.close()


def test_two_names_of_one_database_share_a_counter(people: People, tmp_path: Path) -> None:
    """A process that opens the database by a symbolic link tells the others of its changes too."""
    (key,) = people.remembered_keys()
    link = tmp_path / "elsewhere" / "current.db"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "keyturn.db")

    store = Store(open_engine(f"sqlite:///{link}"))
    try:
        revoke(store, people.user_id, key.record.key_id)
    finally:
        store.close()

    assert people.is_revoked(key)
    assert not people.accepts(key)


def test_the_file_is_private(counter: ChangeCounter, path: Path) -> None:
    """Nobody but its owner can read or move the number."""
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == 8


def test_a_symbolic_link_is_refused(path: Path, tmp_path: Path, database: str) -> None:
    """A link in the place of the file, which could lead to anybody's, stops the start with a sentence."""
    victim = tmp_path / "victim"
    victim.write_text("")
    path.symlink_to(victim)

    with pytest.raises(CannotStart) as refused:
        ChangeCounter(path, one_writer=True)
    assert is_a_sentence(str(refused.value), about=path)
    with pytest.raises(CannotStart):
        open_services(read_settings({"KEYTURN_DATABASE": database}), hashing=CHEAPEST)

    assert victim.read_text() == ""


@pytest.mark.parametrize("exists", [False, True])
def test_a_place_that_cannot_be_written_stops_the_start(peer: Peer, tmp_path: Path, *, exists: bool) -> None:
    """Where this user may not write the file, the start is refused with a sentence that says what to do."""
    folder, name = tmp_path / "locked", "keyturn.db-changes"
    folder.mkdir()
    if exists:
        (folder / name).write_bytes(bytes(8))
        (folder / name).chmod(0o400)
    folder.chmod(0o555)
    try:
        said = peer.refused_to_a_stranger(folder, name)
    finally:
        folder.chmod(0o700)

    assert said is not None
    assert is_a_sentence(said, about=Path(name))
    assert "Permission denied" in said


def test_no_folder_can_be_made_where_a_file_is(tmp_path: Path) -> None:
    """A data directory that is a file stops the start with a sentence."""
    (tmp_path / "data").write_text("")

    with pytest.raises(CannotStart) as refused:
        ChangeCounter(tmp_path / "data" / "changes", one_writer=False)

    assert is_a_sentence(str(refused.value), about=tmp_path / "data" / "changes")


def is_a_sentence(text: str, *, about: Path) -> bool:
    return text.startswith("The file ") and text.endswith(".") and "\n" not in text and str(about) in text


# PostgreSQL


def test_many_commit_at_once_where_the_database_lets_them(path: Path) -> None:
    """On PostgreSQL commits do not wait for each other; each moves the number when it is done or failed."""
    counter = ChangeCounter(path, one_writer=False)
    seen = [counter.settled()]

    with counter.committing():
        with counter.committing():
            assert counter.settled() == seen[0]
        seen.append(counter.settled())
    seen.append(counter.settled())
    with pytest.raises(OSError, match="broke"), counter.committing():
        raise OSError("broke")
    seen.append(counter.settled())

    assert len(set(seen)) == 4
    assert not any(number & 1 for number in seen)
    counter.close()


def test_processes_on_one_postgresql_database_share_a_counter(
    postgresql_server: str, clock: Clock, root_key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one host a key that was revoked through one process is refused at once by the other, bus or not."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    database = new_postgresql_database(postgresql_server)
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file)
    services = open_services(settings, clock.system(), hashing=CHEAPEST)
    other, elsewhere = (
        Store(open_engine(address)) for address in (database, new_postgresql_database(postgresql_server))
    )
    try:
        people = People(services)
        (key,) = people.remembered_keys()
        before = elsewhere.counter.settled()

        revoke(other, people.user_id, key.record.key_id)

        assert not people.accepts(key)
        assert elsewhere.counter.settled() == before, "another database has another counter"
    finally:
        for store in (other, elsewhere):
            store.close()
        services.close()
