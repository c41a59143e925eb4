"""`keyturn admin restore`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.conftest import Command, refused

if TYPE_CHECKING:
    from pathlib import Path


def back_up(run: Command, tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    assert run("admin", "backup", str(folder)).code == 0
    return folder


def lose(tmp_path: Path) -> None:
    for path in tmp_path.glob("keyturn.db*"):
        path.unlink()


def test_a_backup_is_restored(run: Command, tmp_path: Path, person: str) -> None:
    """The command says what is void, where it learned what ended, which keys, and where the old one is."""
    assert run("admin", "key", "add", "--user", person, "--name", "export").code == 0
    folder = back_up(run, tmp_path)
    assert run("admin", "key", "revoke", "1").code == 0

    done = run("admin", "restore", str(folder), "--yes")

    assert (done.code, done.err) == (0, "")
    assert "All tokens and sessions from before are void." in done.out
    assert "taken from the replaced database" in done.out
    assert "  keys: 1\n" in done.out
    assert f"  {person}\n" in done.out
    (kept,) = tmp_path.glob("keyturn.db.replaced-*")
    assert str(kept) in done.out
    assert "\trevoked\t" in run("admin", "key", "list", "--user", person).out


def test_nothing_is_replaced_without_a_word(run: Command, tmp_path: Path, person: str) -> None:
    """Without a terminal the question is an option, and so is the decision that nothing tells."""
    assert run("admin", "key", "add", "--user", person).code == 0
    folder = back_up(run, tmp_path)
    assert "give --yes" in refused(run("admin", "restore", str(folder)))
    lose(tmp_path)
    said = refused(run("admin", "restore", str(folder), "--yes"))
    assert "1 of its keys would work: give --revoke-unknown or --keep-unknown." in said
    assert not list(tmp_path.glob("keyturn.db*"))

    done = run("admin", "restore", str(folder), "--yes", "--revoke-unknown", "--json")

    told = json.loads(done.out)
    assert (told["revocations"], told["ended"], told["kept"]) == (
        "revoked",
        {"api_key": 1, "user_account": 1},
        None,
    )


def test_an_older_copy_is_adopted(run: Command, tmp_path: Path, person: str) -> None:
    """A file that somebody put back is refused by every command, and adopted by this one."""
    assert run("admin", "key", "add", "--user", person).code == 0
    older = (tmp_path / "keyturn.db").read_bytes()
    assert run("admin", "key", "revoke", "1").code == 0
    (tmp_path / "keyturn.db").write_bytes(older)
    assert "is an older copy" in refused(run("admin", "user", "list"))

    done = run("admin", "restore", "--adopt", "--yes")

    assert done.code == 0, done
    assert "from the log of revocations" in done.out
    assert "\trevoked\t" in run("admin", "key", "list", "--user", person).out


def test_one_of_two_is_restored(run: Command, tmp_path: Path) -> None:
    """A backup or the database in its place, and not both or neither."""
    assert "give --adopt" in refused(run("admin", "restore"), code=2)
    assert "give --adopt" in refused(run("admin", "restore", str(tmp_path), "--adopt"), code=2)
