"""`keyturn admin audit …`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.conftest import Command, opened, refused

if TYPE_CHECKING:
    from pathlib import Path

TOMORROW = "2999-01-01"


def test_old_events_are_moved_and_verified(run: Command, tmp_path: Path, person: str) -> None:
    """One command moves events into a file, the other finds them as they were, and says who signed them."""
    folder = tmp_path / "audit"
    assert (
        "no events from before 2000-01-01"
        in run("admin", "audit", "prune", "--before", "2000-01-01", str(folder)).out
    )

    moved = run("admin", "audit", "prune", "--before", TOMORROW, str(folder))

    assert (moved.code, moved.err) == (0, "")
    (file,) = folder.iterdir()
    assert f"events are in {file}." in moved.out
    with opened(tmp_path) as services:
        assert [row.action for row in services.store.audit_log.list_after()][-1] == "AuditPruned"
    found = run("admin", "audit", "verify", str(file))
    assert (found.code, found.err) == (0, "")
    assert f"{file}: " in found.out
    assert "revisions 1 to " in found.out


def test_a_changed_or_missing_file_is_an_error(run: Command, tmp_path: Path, person: str) -> None:
    """Of several files the command tells which was changed, and between which one is missing."""
    folder = tmp_path / "audit"
    for _ in range(3):
        assert run("admin", "signing-key", "rotate").code == 0
        assert run("admin", "audit", "prune", "--before", TOMORROW, str(folder)).code == 0
    first, second, third = map(str, sorted(folder.iterdir()))
    assert run("admin", "audit", "verify", third, second, first).code == 0

    gap = run("admin", "audit", "verify", first, third, "--json")

    assert gap.code == 1
    report = json.loads(gap.out)
    assert [one["file"] for one in report["files"]] == [first, third]
    assert report["problems"] == [
        f"{third} does not follow {first}: a file between them is missing, or was replaced."
    ]
    text = (folder / second).read_text()
    (folder / second).write_text(text.replace("command line", "somebody else", 1))
    changed = run("admin", "audit", "verify", first, second)
    assert changed.code == 1
    assert changed.err == (f"{second} cannot be trusted: its events are not those of its checkpoint.\n")


def test_moved_events_are_printed_as_json(run: Command, tmp_path: Path, person: str) -> None:
    """Programs learn which files there are, and how many events are in each."""
    folder = tmp_path / "audit"

    moved = json.loads(run("admin", "audit", "prune", "--before", TOMORROW, str(folder), "--json").out)

    (file,) = moved["files"]
    assert file["file"] == str(next(folder.iterdir()))
    assert moved["events"] == file["events"] > 0


def test_the_archive_needs_both_settings(run: Command, tmp_path: Path, person: str) -> None:
    """Events do not leave the log by a setting that names no folder."""
    assert "Give both KEYTURN_AUDIT_KEPT_DAYS and KEYTURN_AUDIT_ARCHIVE" in refused(
        run("admin", "check", KEYTURN_AUDIT_KEPT_DAYS="30")
    )
