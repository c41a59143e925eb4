"""`keyturn admin upgrade` and `check`, and what stops every command."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pysqlite3
import pytest

from keyturn import __version__
from keyturn.store import open_engine
from keyturn.store.database import writes
from keyturn.store.database.migrations import current_version, newest_version
from tests.cli.conftest import Command, refused
from tests.conftest import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    (),
    ("serve",),
    ("admin",),
    ("admin", "migrate"),
    ("admin", "upgrade"),
    ("admin", "check"),
    ("admin", "root-key"),
    ("admin", "user"),
    *(("admin", "user", name) for name in ("add", "list", "disable", "password")),
    ("admin", "key"),
    *(("admin", "key", name) for name in ("add", "list", "revoke", "import")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(run: Command, command: tuple[str, ...]) -> None:
    """Every command explains itself, and touches no database for it."""
    for option in ("--help", "-h"):
        done = run(*command, option, KEYTURN_DATABASE="nonsense")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("Usage: ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_unknown_option_is_a_usage_error(run: Command, command: tuple[str, ...]) -> None:
    """A misspelt option stops every command."""
    assert "--databse" in refused(run(*command, "--databse", "x"), code=2)


def test_the_version_is_told(run: Command) -> None:
    """`--version` names the version of the package."""
    assert __version__ in run("--version").out


def test_an_unknown_command_is_a_usage_error(run: Command) -> None:
    """A misspelt command is named."""
    assert "chek" in refused(run("admin", "chek"), code=2)


def test_an_empty_database_is_brought_up_to_date(run: Command, empty_database: str) -> None:
    """`upgrade` makes the tables, on both databases, and a second time changes nothing."""
    first = run("admin", "upgrade", KEYTURN_DATABASE=empty_database)
    assert (first.code, first.err) == (0, "")
    assert first.out == f"A new installation is begun, with the schema {newest_version()}.\n"
    second = run("admin", "upgrade", KEYTURN_DATABASE=empty_database)
    assert (second.code, second.out) == (0, f"The schema is at {newest_version()}.\n")


def test_a_sound_installation_passes_its_check(
    run: Command, empty_database: str, root_key_file: Path
) -> None:
    """`check` says that all is well, on both databases."""
    settings = {"KEYTURN_DATABASE": empty_database, "KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    assert run("admin", "upgrade", **settings).code == 0
    done = run("admin", "check", **settings)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("All is well.\n")


def test_a_damaged_database_fails_its_check(run: Command, tmp_path: Path, person: str) -> None:
    """`check` ends with 1 and says what the database reports."""
    connection = pysqlite3.connect(tmp_path / "keyturn.db")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("DELETE FROM user_account")
    connection.commit()
    connection.close()
    done = run("admin", "check")
    assert done.code == 1
    assert done.err
    assert "All is well" not in done.out


def test_the_check_names_each_row_that_does_not_open(run: Command, tmp_path: Path, person: str) -> None:
    """S1: every encrypted row is opened; each that does not is named with its reason, all of them.

    Two signing keys that were exchanged are so, and one that another installation encrypted.
    """
    assert run("admin", "signing-key", "rotate").code == 0
    connection = pysqlite3.connect(tmp_path / "keyturn.db")
    kids = [kid for (kid,) in connection.execute("SELECT kid FROM signing_key")]
    connection.execute("UPDATE signing_key SET kid = 'exchanged' WHERE kid = ?", (kids[0],))
    connection.execute("UPDATE signing_key SET kid = ? WHERE kid = ?", (kids[0], kids[1]))
    connection.execute("UPDATE signing_key SET kid = ? WHERE kid = 'exchanged'", (kids[1],))
    connection.execute(
        "INSERT INTO signing_key (kid, algorithm, sealed_jwk, created_at, signs_from, verifies_until) "
        "VALUES ('foreign', 'ES256', ?, 0, 0, 1)",
        (b"\x01elsewhere",),
    )
    connection.commit()
    connection.close()

    done = run("admin", "check")

    assert done.code == 1
    assert "All is well" not in done.out
    told = done.err.splitlines()
    assert len(told) == 3
    for kid in kids:
        (line,) = [line for line in told if kid in line]
        assert line == (
            f"Problem: The row {kid} of the table signing_key does not open: "
            "it was changed, or moved from another row."
        )
    (foreign,) = [line for line in told if "foreign" in line]
    assert "under the root key 656c736577686572, which is not given" in foreign
    assert len(json.loads(run("admin", "check", "--json").out)["problems"]) == 3
    assert "keyturn admin check" in refused(run("serve"))


def test_fault_f3_a_database_that_takes_no_writes_is_told_in_a_sentence(
    run: Command, tmp_path: Path, person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault F3: `check` tries to write, and every command that does says in words why it could not."""
    monkeypatch.setattr(writes, "WRITE_SECONDS", 0.1)
    locking = pysqlite3.connect(tmp_path / "keyturn.db", isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    try:
        for command in (
            ("admin", "key", "add", "--user", person),
            ("admin", "user", "add", "carol", "--password-stdin"),
            ("admin", "user", "disable", person),
        ):
            done = run(*command, stdin=PASSWORD)
            assert (done.code, done.out) == (1, ""), command
            assert done.err == "keyturn: The database cannot be used: another process holds its lock.\n", (
                command
            )
        done = run("admin", "check")
        assert done.code == 1
        assert "another process holds its lock" in done.err
        assert "All is well" not in done.out
    finally:
        locking.close()
    assert run("admin", "check").code == 0


def _replace_root_key(path: Path) -> None:
    path.write_text("B" * 42 + "A")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_replace_root_key, "does not belong"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: path.write_text("no key"), "no root key"),
        (lambda path: path.write_bytes(b"\xff" * 43), "no root key"),
        (lambda path: (path.unlink(), path.mkdir()), str),
    ],
    ids=["wrong", "missing", "readable", "text", "bytes", "directory"],
)
def test_a_wrong_root_key_stops_every_command(
    run: Command, tmp_path: Path, person: str, change: object, expected: object
) -> None:
    """S2: with a missing, wrong, unfit or readable root key nothing starts, and none is made anew."""
    path = tmp_path / "root.key"
    change(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    for command in (("admin", "check"), ("admin", "user", "list"), ("serve",)):
        sentence = refused(run(*command))
        assert expected is str or str(expected) in sentence
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_newer_database_is_refused_untouched(run: Command, tmp_path: Path, person: str) -> None:
    """U3: a database of a newer program is refused before anything in it changes."""
    path = tmp_path / "keyturn.db"
    connection = pysqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for command in (("admin", "upgrade"), ("admin", "check"), ("serve",)):
        assert "newer than this program" in refused(run(*command))
    assert path.read_bytes() == before


def _file(path: Path) -> str:
    path.write_text(
        "this is no database, but it is long enough to look like a file of some other program\n" * 9
    )
    return str(path)


@pytest.mark.parametrize(
    "place",
    [
        lambda directory: f"sqlite:///{_file(directory / 'text')}",
        lambda directory: f"sqlite:///{_file(directory / 'text')}/below/keyturn.db",
        lambda directory: f"sqlite:///{directory}",
        lambda directory: "sqlite:///:memory:",
        lambda directory: "sqlite://",
        lambda directory: "",
        lambda directory: "keyturn.db",
        lambda directory: "mysql://host/name",
        lambda directory: "postgresql://keyturn@127.0.0.1:9/keyturn",
        lambda directory: "postgresql://keyturn@127.0.0.1:port/keyturn",
    ],
    ids=["text", "below", "directory", "memory", "none", "empty", "bare", "mysql", "closed", "port"],
)
def test_a_database_that_cannot_be_opened_is_explained(
    run: Command, tmp_path: Path, root_key_file: Path, place: object
) -> None:
    """What cannot be a database, or does not answer, stops a command with one sentence."""
    database = place(tmp_path)  # type: ignore[operator]
    for command in (("admin", "check"), ("admin", "upgrade")):
        refused(run(*command, KEYTURN_DATABASE=database, KEYTURN_ROOT_KEY_FILE=str(root_key_file)))


def test_the_option_wins_over_the_variable(run: Command, tmp_path: Path) -> None:
    """`--database` names the database, whatever KEYTURN_DATABASE says."""
    other = tmp_path / "other.db"
    assert run("admin", "upgrade", "--database", f"sqlite:///{other}", KEYTURN_DATABASE="nonsense").code == 0
    assert stat.S_IMODE(other.stat().st_mode) == 0o600


@pytest.mark.parametrize("folder", ["plain", "with space", "100%25", "a%2520b", "ü"])
def test_the_root_key_lies_beside_the_database(run: Command, tmp_path: Path, folder: str) -> None:
    """The root key of an embedded database is made in the folder of its file, and nowhere else."""
    database = f"sqlite:///{tmp_path}/{folder}/keyturn.db"
    for command in ("upgrade", "check"):
        assert run("admin", command, KEYTURN_DATABASE=database).code == 0
    (database,) = tmp_path.rglob("keyturn.db")
    (root_key,) = tmp_path.rglob("root.key")
    assert root_key.parent == database.parent


NOT_BEGINNING = [
    ("check",),
    ("user", "list"),
    ("user", "disable", "ada"),
    ("user", "password", "ada", "--password-stdin"),
    ("key", "add", "--user", "ada"),
    ("key", "list", "--user", "ada"),
    ("key", "import", "--user", "ada"),
    ("service", "list"),
    ("signing-key", "rotate"),
    ("token", "revoke"),
]


@pytest.mark.parametrize("command", NOT_BEGINNING, ids=" ".join)
def test_a_mistyped_database_is_not_made(run: Command, tmp_path: Path, command: tuple[str, ...]) -> None:
    """What works on an installation says that there is none, and makes no folder, database or root key."""
    database = f"sqlite:///{tmp_path / 'mistyped' / 'keyturn.db'}"
    sentence = refused(run("admin", *command, stdin=PASSWORD, KEYTURN_DATABASE=database))
    assert f"There is no database {tmp_path / 'mistyped' / 'keyturn.db'}: check its address" in sentence
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_told_of(run: Command, empty_database: str, root_key_file: Path) -> None:
    """On both databases one in which nothing of Keyturn is does not pass its check, and stays empty."""
    settings = {"KEYTURN_DATABASE": empty_database, "KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    engine = open_engine(empty_database)
    try:
        assert "check its address" in refused(run("admin", "check", **settings))
        assert current_version(engine) is None
    finally:
        engine.dispose()


def test_an_old_sqlite_is_refused(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SQLite that can corrupt a database stops every command, and says what to install."""
    monkeypatch.setattr(pysqlite3, "sqlite_version_info", (3, 51, 2))
    monkeypatch.setattr(pysqlite3, "sqlite_version", "3.51.2")
    for command in (("admin", "check"), ("admin", "upgrade"), ("serve",)):
        assert "3.51.3" in refused(run(*command))


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("KEYTURN_DATABSE", "sqlite:///x.db", "did you mean KEYTURN_DATABASE?"),
        ("KEYTURN_XYZZY", "1", "KEYTURN_XYZZY is unknown: docs/"),
        ("KEYTURN_FOO", "1", "KEYTURN_FOO is unknown: docs/"),
        ("KEYTURN_PORT", "80x", "KEYTURN_PORT"),
        ("KEYTURN_PORT", "0", "KEYTURN_PORT"),
        ("KEYTURN_TOKEN_ALGORITHM", "none", "KEYTURN_TOKEN_ALGORITHM"),
        ("KEYTURN_PUBLIC_URL", "http://keys.example.com", "https://"),
        ("KEYTURN_HOST", "0.0.0.0", "On 0.0.0.0 others reach the server: set KEYTURN_PUBLIC_URL"),
        ("KEYTURN_TLS_KEY_FILE", "x.pem", "KEYTURN_TLS_CERTIFICATE_FILE"),
        ("KEYTURN_KEY_PREFIX", "KT", "KEYTURN_KEY_PREFIX"),
    ],
)
def test_an_unfit_setting_stops_every_command(run: Command, variable: str, value: str, expected: str) -> None:
    """An unknown or unfit setting is named before anything is opened or bound."""
    for command in (("admin", "check"), ("serve",)):
        assert expected in refused(run(*command, **{variable: value}))


def test_a_defect_is_told_without_a_traceback(run: Command, tmp_path: Path, person: str) -> None:
    """What nobody foresaw ends with 70 and one sentence; `--debug` shows where."""
    connection = pysqlite3.connect(tmp_path / "keyturn.db")
    connection.execute("UPDATE user_account SET permissions = '{'")
    connection.commit()
    connection.close()
    done = run("admin", "user", "list")
    assert done.code == 70
    assert "defect" in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", [("add", "bob"), ("password", "ada@example.com")])
def test_debug_shows_where_it_went_wrong(run: Command, person: str, command: tuple[str, ...]) -> None:
    """With `--debug` the exception itself comes out; without the password in it."""
    with pytest.raises(Exception, match="characters") as caught:
        run("--debug", "admin", "user", command[0], command[1], "--password-stdin", stdin=PASSWORD[:9])
    assert PASSWORD[:9] not in repr(caught.value)
