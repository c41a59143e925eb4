"""The log of revocations beside an SQLite database (R7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.errors import CannotStart, StoreUnavailable
from keyturn.store import Store, open_engine
from keyturn.store.database import revocations
from keyturn.store.database.revocations import RevocationLog
from tests.databases import new_sqlite_database
from tests.store.rows import NOW, SEAL, an_entry

if TYPE_CHECKING:
    from pathlib import Path


def revoking(number: int) -> AuditEntry:
    return an_entry(action=AuditAction.API_KEY_DELETED, target_type=Target.API_KEY, target_id=str(number))


@pytest.fixture
def log(tmp_path: Path) -> RevocationLog:
    (tmp_path / "keyturn.db").touch()
    return RevocationLog(tmp_path / "keyturn.db")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(open_engine(new_sqlite_database(tmp_path / "kept")))
    made.installation.begin(SEAL, NOW)
    made.lineage.keep_log()
    return made


def test_a_change_is_told_and_its_end_before_it(store: Store) -> None:
    """The log has what a change ends, as a digest, and the revision once it is committed."""
    store.audit_log.record(revoking(17))

    found = store._database.revocations.read()

    assert (found.since, found.newest) == (0, 1)
    (end,) = found.ends
    assert end.revision == 1
    assert "17" not in end.what[1:3]
    assert len(end.what) == 33


def test_a_change_that_cannot_be_told_is_not_made(store: Store) -> None:
    """A revocation whose end cannot be written is refused, and nothing of it is there."""
    log = store._database.revocations
    assert isinstance(log, RevocationLog)
    log.path.unlink()
    log.path.mkdir()

    with pytest.raises(StoreUnavailable, match="log of revocations"):
        store.audit_log.record(revoking(1))

    assert store.installation.revision() == 0


def test_half_a_line_is_passed_over(log: RevocationLog) -> None:
    """What a power cut leaves of a line spoils neither that before nor that after it."""
    log.begin(1)
    log.announce([(2, revoking(1))])
    with log.path.open("a") as opened:
        opened.write("end 3 17")
    log.announce([(4, revoking(2))])
    log.confirm(4)

    found = log.read()

    assert [end.revision for end in found.ends] == [2, 4]
    assert found.newest == 4


def test_a_large_log_loses_its_older_half(log: RevocationLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is bounded, and says from where on it is whole."""
    monkeypatch.setattr(revocations, "MAX_BYTES", 2_000)
    log.begin(1)
    for revision in range(2, 200):
        log.announce([(revision, revoking(revision))])
        log.confirm(revision)

    found = log.read()

    assert log.path.stat().st_size < 3_000
    assert found.newest == 199
    assert found.since == found.ends[0].revision > 100
    assert [end.revision for end in found.ends] == list(range(found.since, 200))


def test_what_was_not_told_is_told_at_the_start(store: Store) -> None:
    """Changes that the log lost in a power cut are written again; where it is gone, it begins anew."""
    log = store._database.revocations
    assert isinstance(log, RevocationLog)
    before = log.path.read_text()
    store.audit_log.record(revoking(1))
    log.path.write_text(before)

    store.lineage.keep_log()

    assert [end.revision for end in log.read().ends] == [1]
    assert log.read().since == 0
    log.path.unlink()
    store.lineage.keep_log()
    assert (log.read().since, log.read().newest) == (1, 1)


def test_an_unreadable_log_stops_the_start(store: Store) -> None:
    """A log that cannot be read is told of, and nothing is believed without it."""
    log = store._database.revocations
    assert isinstance(log, RevocationLog)
    log.path.unlink()
    log.path.mkdir()

    with pytest.raises(CannotStart, match="revocations in force"):
        store.lineage.check()
