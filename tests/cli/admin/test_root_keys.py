"""`keyturn admin root-key …`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pysqlite3

from tests.cli.conftest import Command, opened, refused

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_root_key_is_printed(run: Command, tmp_path: Path) -> None:
    """`root-key` prints a fresh key, which as a file starts an installation."""
    keys = [run("admin", "root-key").out for _ in range(2)]
    assert keys[0] != keys[1]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", keys[0])
    file = tmp_path / "given.key"
    file.write_text(keys[0])
    file.chmod(0o600)
    assert run("admin", "upgrade").code == 0
    assert run("admin", "check", KEYTURN_ROOT_KEY_FILE=str(file)).code == 0
    assert not (tmp_path / "root.key").exists()


def test_a_new_root_key_needs_no_database(run: Command) -> None:
    """`root-key` alone opens nothing, whatever the settings say."""
    assert run("admin", "root-key", KEYTURN_DATABASE="nonsense").code == 0


def test_the_own_root_key_is_rotated(run: Command, tmp_path: Path, person: str) -> None:
    """Beside an SQLite database one command makes the new root key, says what it did, and all goes on."""
    former = (tmp_path / "root.key").read_text()

    done = run("admin", "root-key", "rotate")

    assert (done.code, done.err) == (0, "")
    assert re.match(
        r"1 row is encrypted anew, under the root key [0-9a-f]{16}\.\nNo row needs the former", done.out
    )
    assert (tmp_path / "root.key").read_text() != former
    assert run("admin", "check").code == 0
    with opened(tmp_path) as services:
        row = services.store.audit_log.list_after()[-1]
        assert (row.action, row.actor_userid, row.target_id) == (
            "RootKeyRotated",
            "command line",
            done.out.splitlines()[0].rpartition(" ")[2].rstrip("."),
        )
        assert re.fullmatch(r"[0-9a-f]{16}", row.details["former"])
    (tmp_path / "root.key").write_text(former)
    assert "does not belong" in refused(run("admin", "check"))


def test_given_root_keys_are_rotated(run: Command, empty_database: str, root_key_file: Path) -> None:
    """On both databases the operator gives the new root key, and is told which lines to remove."""
    settings = {"KEYTURN_DATABASE": empty_database, "KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    assert run("admin", "upgrade", **settings).code == 0
    assert run("admin", "check", **settings).code == 0
    assert "put a new one on a line before it" in refused(run("admin", "root-key", "rotate", **settings))
    new = run("admin", "root-key").out
    both = new + root_key_file.read_text()
    root_key_file.write_text(both)

    done = run("admin", "root-key", "rotate", **settings)

    assert (done.code, done.err) == (0, "")
    assert "remove the lines below the first one, on every node" in done.out
    assert root_key_file.read_text() == both
    again = json.loads(run("admin", "root-key", "rotate", "--json", **settings).out)
    assert (again["renewed"], again["formerNeeded"], again["problems"]) == (0, False, [])
    root_key_file.write_text(new)
    assert run("admin", "check", **settings).code == 0


def test_a_command_gives_the_root_keys(run: Command, tmp_path: Path, person: str) -> None:
    """What a secret manager prints is rotated in the same way as a file."""
    new, former = run("admin", "root-key").out, (tmp_path / "root.key").read_text()
    (tmp_path / "root.key").unlink()

    done = run("admin", "root-key", "rotate", KEYTURN_ROOT_KEY_COMMAND=f"printf '{new}{former}'")

    assert done.code == 0, done
    assert run("admin", "check", KEYTURN_ROOT_KEY_COMMAND=f"printf '{new}'").code == 0


def test_rows_that_do_not_open_are_named(run: Command, tmp_path: Path, person: str) -> None:
    """The command names them, ends with 1, and keeps the former root key; repaired, they are renewed."""
    connection = pysqlite3.connect(tmp_path / "keyturn.db")
    (kid,) = connection.execute("SELECT kid FROM signing_key").fetchone()
    connection.execute("UPDATE signing_key SET kid = 'moved'")
    connection.commit()

    done = run("admin", "root-key", "rotate")

    assert done.code == 1
    assert "The row moved of the table signing_key does not open" in done.err
    assert "repair or delete these rows" in done.out
    assert len((tmp_path / "root.key").read_text().split()) == 2
    connection.execute("UPDATE signing_key SET kid = ?", (kid,))
    connection.commit()
    connection.close()
    assert run("admin", "root-key", "rotate").code == 0
    assert len((tmp_path / "root.key").read_text().split()) == 1
    assert run("admin", "check").code == 0


def test_the_file_is_written_again_from_shares(run: Command, tmp_path: Path, person: str) -> None:
    """Some of the shares that were printed write the root key file again, in any order."""
    printed = run("admin", "root-key", "split", "--shares", "3", "--threshold", "2")
    assert (printed.code, printed.err) == (0, "")
    shares = [line for line in printed.out.splitlines() if len(line.split()) == 33]
    assert len(shares) == 3
    file = tmp_path / "root.key"
    former = file.read_text()
    assert "stays as it is" in refused(run("admin", "root-key", "combine", stdin="\n".join(shares[:2])))
    file.unlink()
    assert "1 different shares, and 2 are needed" in refused(
        run("admin", "root-key", "combine", stdin=shares[0])
    )
    assert not file.exists()

    done = run("admin", "root-key", "combine", stdin=f"{shares[2]}\n\n{shares[0]}\n")

    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"is in {file}.\n")
    assert file.read_text() == former
    assert run("admin", "check").code == 0


def test_a_lost_root_key_is_replaced_once_that_is_confirmed(
    run: Command, tmp_path: Path, person: str
) -> None:
    """The word has to be given, and the root key has to be lost; then the server can start again."""
    file = tmp_path / "root.key"
    assert "is not lost" in refused(run("admin", "root-key", "replace", "--lost", stdin="replace"))
    file.unlink()
    assert run("admin", "root-key", "replace").code == 2
    assert "Nothing is changed" in refused(run("admin", "root-key", "replace", "--lost", stdin="yes"))
    assert not file.exists()
    assert run("admin", "check").code == 1

    done = run("admin", "root-key", "replace", "--lost", stdin="replace\n")

    assert (done.code, done.err) == (0, "")
    assert "a new signing key signs" in done.out
    assert run("admin", "check").code == 0
