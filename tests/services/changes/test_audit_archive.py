"""Events leave the log for files that cannot be changed unseen; readers of the log never believe a gap."""

from __future__ import annotations

import json
import signal
import threading
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import open_services
from keyturn.core.audit import AuditSearch
from keyturn.errors import CannotStart, Conflict, CredentialRefused, InvalidState, Reason
from keyturn.services.changes.audit_archive import AuditArchive
from keyturn.services.installation.retention import Pruning, Retention
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.databases import new_postgresql_database, new_sqlite_database
from tests.people import HERE, actions, caller
from tests.store.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.composition import Services
    from keyturn.core.audit import Mark
    from keyturn.core.principal import Principal
    from tests.fakes import Clock

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def archive(services: Services, folder: Path) -> list[str]:
    """Archive all that may be, and return the names of the files."""
    before = services.system.now() + SECOND
    return [one.file for one in services.audit_archive.archive(folder, COMMAND_LINE, before=before)]


def events_in(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()[:-1]]


def happen(services: Services, name: str) -> None:
    """Have something happen that is an event."""
    services.users.add(COMMAND_LINE, userid=name, name=None)


def refusal(services: Services, file: Path) -> str:
    with pytest.raises(InvalidState) as refused:
        services.audit_archive.verify(file)
    return str(refused.value)


def revisions(services: Services) -> list[int]:
    return [row.revision for row in services.store.audit_log.list_after(limit=10_000)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def test_events_are_in_the_file_and_gone_from_the_log(
    services: Services, admin: Principal, folder: Path
) -> None:
    """Each event is in the file as the export has it; the newest, and the one that tells of it, stay."""
    happen(services, "one")
    rows = services.store.audit_log.list_after(limit=1000)
    exported = list(services.audit_trail.json_lines(admin, AuditSearch()))

    (name,) = archive(services, folder)

    assert (folder / name).stat().st_mode & 0o077 == 0
    events = events_in(folder / name)
    assert [event.pop("revision") for event in events] == [row.revision for row in rows[:-1]]
    assert events == [json.loads(line) for line in exported[:-1]]
    kept = services.store.audit_log.list_after()
    assert [row.action for row in kept] == [rows[-1].action, "AuditPruned"]
    assert kept[-1].details["file"] == name
    assert kept[-1].details["events"] == len(events)


def test_only_events_from_before_are_archived(
    services: Services, admin: Principal, folder: Path, clock: Clock
) -> None:
    """An event of the very instant stays, with all that came after it, also one whose clock was behind."""
    clock.advance(DAY)
    at = clock.now
    happen(services, "at-the-instant")
    first = revisions(services)[-1]
    clock.now -= timedelta(hours=1)
    happen(services, "by-a-clock-behind")

    list(services.audit_archive.archive(folder, COMMAND_LINE, before=at))

    assert revisions(services) == [first, first + 1, first + 2]


def test_nothing_is_archived_twice(services: Services, admin: Principal, folder: Path) -> None:
    """Files follow each other without a gap or an overlap, and each names the digest of the one before."""
    for name in ("one", "two", "three"):
        happen(services, name)
        archive(services, folder)
    happen(services, "four")

    files = sorted(folder.glob("*.jsonl"))

    assert len(files) == 3
    verified = [services.audit_archive.verify(file).checkpoint for file in files]
    assert [one.first for one in verified] == [1, *(one.last + 1 for one in verified[:-1])]
    assert [one.previous for one in verified] == ["0" * 64, *(one.digest for one in verified[:-1])]
    assert revisions(services)[0] == verified[-1].last + 1


def test_a_large_log_is_several_files(services: Services, admin: Principal, folder: Path) -> None:
    """A file holds a bounded number of events."""
    for name in ("one", "two", "three", "four"):
        happen(services, name)
    small = AuditArchive(
        services.store,
        Pruning(services.store, services.system),
        issuer="https://keys.example.com",
        sign=services.signing_keys.sign_checkpoint,
        max_events=2,
        system=services.system,
    )
    last = revisions(services)[-1]

    files = list(small.archive(folder, COMMAND_LINE, before=services.system.now()))
    assert files == []
    files = list(small.archive(folder, COMMAND_LINE, before=services.system.now() + SECOND))

    assert {one.events for one in files[:-1]} == {2}
    assert files[-1].last == last - 1
    assert len(files) > 1


def test_any_change_of_a_file_is_found(services: Services, admin: Principal, folder: Path) -> None:
    """A byte, a line more or less, another order, another checkpoint: each is found."""
    for name in ("one", "two"):
        happen(services, name)
        archive(services, folder)
    file, other = sorted(folder.glob("*.jsonl"))
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    services.audit_archive.verify(file)
    changed = {
        "a byte": whole.replace(b'"success"', b'"failure"', 1),
        "a line less": b"".join(lines[1:]),
        "a line more": b"".join([lines[0], *lines]),
        "order": b"".join([lines[1], lines[0], *lines[2:]]),
        "no checkpoint": b"".join(lines[:-1]),
        "another checkpoint": b"".join([*lines[:-1], other.read_bytes().splitlines(keepends=True)[-1]]),
        "a line behind": whole + b"{}\n",
        "nothing": b"",
        "no text": b"\xff\xfe\n",
    }
    for what, content in changed.items():
        assert content != whole
        file.write_bytes(content)
        assert "cannot be trusted" in refusal(services, file), what
    file.unlink()
    assert "cannot be read" in refusal(services, file)


def test_a_file_is_verified_when_its_signing_key_is_gone(
    services: Services, admin: Principal, folder: Path
) -> None:
    """The public half of a signing key stays, also of one that leaked."""
    (name,) = archive(services, folder)
    kid = services.audit_archive.verify(folder / name).kid
    services.signing_keys.replace_at_once(COMMAND_LINE)

    assert services.audit_archive.verify(folder / name).kid == kid
    assert services.signing_keys.ring.signing.kid != kid


def test_who_read_up_to_an_archived_event_forgets_everything(
    services: Services, admin: Principal, folder: Path
) -> None:
    """A mark of an event that is archived is answered by "anything may have changed", and no error."""
    log = services.store.audit_log
    marks: list[Mark] = [log.newest()]
    for name in ("one", "two"):
        happen(services, name)
        marks.append(log.newest())

    archive(services, folder)

    assert [log.changes_since(mark).changes for mark in marks[:-1]] == [None, None]
    kept = log.changes_since(marks[-1]).changes
    assert kept is not None
    assert [change.action for change in kept] == ["AuditPruned"]
    assert log.newest().event_id is not None


def test_nobody_takes_archived_events_for_unchanged_rules(
    services: Services, admin: Principal, folder: Path
) -> None:
    """Between revisions whose events are archived the rules may have changed."""
    log = services.store.audit_log
    happen(services, "one")
    newest = log.newest().revision
    assert not log.has_changed_rules(after=newest - 1, until=newest)

    happen(services, "two")
    archive(services, folder)

    assert log.has_changed_rules(after=newest - 1, until=newest)
    assert not log.has_changed_rules(after=newest, until=newest)


def test_a_revoked_key_stays_refused_across_an_archive(
    services: Services, bob: Principal, folder: Path
) -> None:
    """A process that did not look while a key was revoked, and the event archived, refuses the key."""
    made = services.keys.create(bob, HERE, NewKey())
    assert caller(services, made.secret).key_id == made.record.key_id
    other = open_services(services.settings, services.system, hashing=CHEAPEST)
    other.keys.revoke_own(bob, made.record.key_id, HERE)
    archive(other, folder)
    other.close()

    with pytest.raises(CredentialRefused) as refused:
        caller(services, made.secret)
    assert refused.value.reason is Reason.REVOKED


def test_a_day_is_a_file(services: Services, admin: Principal, folder: Path, clock: Clock) -> None:
    """By the schedule events are kept for their days, and then leave a day at a time."""
    archive_all = services.audit_archive
    scheduled = Retention(
        Pruning(services.store, services.system),
        ended_keys_kept=None,
        archive=lambda: archive_all.archive_in_time(folder, kept=30 * DAY),
        system=services.system,
    )
    happen(services, "one")
    clock.advance(31 * DAY)
    happen(services, "two")
    assert not scheduled.look()
    assert not folder.exists()

    clock.advance(SECOND)
    assert scheduled.look()
    assert not scheduled.look()

    (file,) = folder.iterdir()
    assert events_in(file)[-1]["action"] == "UserCreated"
    newest = services.store.audit_log.list_after()[-1]
    assert (newest.action, newest.actor_userid) == ("AuditPruned", "schedule")


def test_one_process_archives_at_a_time(services: Services, admin: Principal, folder: Path) -> None:
    """A second run into the same folder is refused, and the schedule passes over it."""
    happen(services, "one")
    running = services.audit_archive.archive(folder, COMMAND_LINE, before=services.system.now() + SECOND)
    next(running)
    refused = []

    def run() -> None:
        try:
            archive(services, folder)
        except Conflict as error:
            refused.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert refused == ["Another process archives events into this folder."]
    running.close()
    archive(services, folder)


def test_two_nodes_with_folders_of_their_own_archive_an_event_once(
    services: Services, admin: Principal, folder: Path
) -> None:
    """Of two nodes that wrote a file of the same events one is refused, and no event is lost."""
    happen(services, "one")
    log = services.store.audit_log
    (name,) = archive(services, folder)
    entry = log.list_after()[-1]
    before = log.newest()

    with pytest.raises(Conflict, match="just now"):
        log.record_archive(
            services.audit_archive._entry(
                COMMAND_LINE, services.audit_archive.verify(folder / name).checkpoint, name
            ),
            after=0,
        )

    assert log.newest() == before
    assert entry.action == "AuditPruned"


def test_a_folder_that_cannot_be_written_is_told(
    services: Services, admin: Principal, tmp_path: Path
) -> None:
    """A file in the place of the folder, or another file under the name, stops before an event is lost."""
    taken = tmp_path / "file"
    taken.write_text("")
    before = revisions(services)
    with pytest.raises(CannotStart, match="cannot hold archives"):
        archive(services, taken)

    (tmp_path / "archive").mkdir()
    file = tmp_path / "archive" / f"keyturn-audit-{1:012}-{before[-1] - 1:012}.jsonl"
    file.write_text("something\nelse\n")
    with pytest.raises(Conflict, match="already with other events"):
        archive(services, tmp_path / "archive")
    assert file.read_text() == "something\nelse\n"
    assert revisions(services) == before


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Another process on this host."""
    process = Peer()
    try:
        yield process
    finally:
        process.end()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_kill_loses_an_event(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, folder: Path, root_key_file: Path, peer: Peer
) -> None:
    """Killed before each commit and each write of a file, each event is in the log or in a good file."""
    database = (
        new_postgresql_database(request.getfixturevalue("postgresql_server"))
        if kind == "postgresql"
        else new_sqlite_database(tmp_path / "data")
    )
    environment = {"KEYTURN_DATABASE": database, "KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    services = open_services(read_settings(environment), hashing=CHEAPEST)

    def seen() -> set[int]:
        """Every revision that is somewhere."""
        found = set(revisions(services))
        for file in folder.glob("*.jsonl"):
            services.audit_archive.verify(file)
            found |= {int(str(event["revision"])) for event in events_in(file)}
        return found

    for step in count(1):
        for number in range(3):
            happen(services, f"user-{step}-{number}")
        ended = peer.died(peer.archive_events(environment, str(folder), step))
        assert seen() == set(range(1, services.store.installation.revision() + 1)), step
        if ended == 0:
            break
        assert ended == signal.SIGKILL, step
        archive(services, folder)
        assert seen() == set(range(1, services.store.installation.revision() + 1)), step
        assert len(revisions(services)) == 2, step
    assert step > 5
    assert actions(services)[-1] == "AuditPruned"
    services.close()
