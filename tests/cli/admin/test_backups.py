"""`keyturn admin backup`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

from tests.cli.conftest import Command, refused

if TYPE_CHECKING:
    from pathlib import Path


def test_a_backup_is_written(run: Command, tmp_path: Path, person: str) -> None:
    """The command names the file, its revision and size, and no secret; `--keep` deletes older ones."""
    folder = tmp_path / "backups"
    folder.mkdir()
    older = [folder / f"keyturn-2020010{day}T000000Z.backup" for day in (1, 2)]
    for path in older:
        path.touch()

    done = run("admin", "backup", str(folder), "--keep", "2")

    assert (done.code, done.err) == (0, "")
    (backup,) = set(folder.iterdir()) - set(older)
    first, second = done.out.splitlines()
    assert first.startswith(f"{backup} is written and verified: revision ")
    assert first.endswith(f" {backup.stat().st_size:,} bytes.")
    assert second == f"{older[0]} is deleted."
    assert older[1].exists()
    with tarfile.open(backup) as archive:
        assert archive.getnames() == ["manifest.json", "database", "SHA256SUMS"]


def test_a_backup_goes_to_standard_output(tmp_path: Path, person: str) -> None:
    """A pipe gets the whole backup and nothing else, with the root key and a warning if that is asked for."""
    done = subprocess.run(
        [sys.executable, "-c", "from keyturn.cli import main; main()", *_TO_STDOUT],
        env={
            "PATH": os.environ["PATH"],
            "KEYTURN_DATABASE": f"sqlite:///{tmp_path / 'keyturn.db'}",
            "TMPDIR": str(tmp_path),
        },
        capture_output=True,
        check=True,
    )

    assert b"holds the root key" in done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        content = archive.extractfile("root.key")
        assert content is not None
        assert content.read() == (tmp_path / "root.key").read_bytes()
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)["database"] == "sqlite"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("keyturn-")]


_TO_STDOUT = ("admin", "backup", "--to-stdout", "--with-root-key")


def test_options_that_contradict_each_other_are_refused(run: Command, tmp_path: Path) -> None:
    """A folder or standard output, and not both; at least one backup is kept."""
    assert "Name the folder" in refused(run("admin", "backup"), code=2)
    assert "neither DIR" in refused(run("admin", "backup", str(tmp_path), "--to-stdout"), code=2)
    assert "neither DIR" in refused(run("admin", "backup", "--to-stdout", "--keep", "1"), code=2)
    assert "--keep" in refused(run("admin", "backup", str(tmp_path), "--keep", "0"), code=2)


def test_a_failure_deletes_no_older_backup(run: Command, tmp_path: Path, person: str) -> None:
    """Older backups stay where the new one could not be made."""
    older = [tmp_path / f"keyturn-2020010{day}T000000Z.backup" for day in (1, 2)]
    for path in older:
        path.touch()
    (tmp_path / "root.key").write_text(f"{'A' * 43}\n")

    assert "does not belong" in refused(run("admin", "backup", str(tmp_path), "--keep", "1"))

    assert all(path.exists() for path in older)


def test_a_missing_installation_is_not_begun(run: Command, tmp_path: Path) -> None:
    """A mistyped address makes neither a database nor a backup."""
    assert "There is no database" in refused(run("admin", "backup", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
