"""Copies of a PostgreSQL database: an archive of `pg_dump`, which `pg_restore` reads back."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, text

from keyturn.errors import CannotStart, StoreUnavailable
from keyturn.store.database.postgresql import BoundedConnection, wait_as_long_as_it_takes
from keyturn.store.database.schema import metadata
from keyturn.store.installation.contents import Contents
from keyturn.store.installation.seals import SEALED_COLUMNS, SealedRow

REPLACED = "keyturn_replaced_"
"""With what the schemas begin in which restores keep the tables that they replaced."""
_FAILURES = {
    "server version mismatch": "it is older than the server: install the client programs of its version",
    "No space left on device": "the disk is full",
    "File too large": "a limit on files is reached",
    "permission denied": "the database's user may not read every table: make it their owner",
}
"""By a part of what pg_dump says. Its whole text may name the user and the host."""


def write_copy(connection: Connection, file: Path) -> None:
    """Dump the state that the transaction of `connection` reads, while others write.

    Raise `CannotStart` where the programs are not installed, `StoreUnavailable` if they fail.
    """
    dump = _program("pg_dump")
    _program("pg_restore")  # Now, and not after an hour.
    driver = connection.connection.driver_connection  # Which the connection lets go of next.
    assert isinstance(driver, BoundedConnection)  # noqa: S101 - the engine makes no other
    wait_as_long_as_it_takes(connection)
    snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
    address, environment = _address(driver)
    arguments = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
    arguments.append(f"--exclude-schema={REPLACED}*")
    done = subprocess.run(  # noqa: S603 - a program of the database's, without a shell
        [dump, *arguments, f"--file={file}", f"--dbname={address}"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        restore_signals=False,  # A limit on files is then told of, and ends no program.
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")
        why = next((words for sign, words in _FAILURES.items() if sign in said), "run it by hand to see why")
        raise StoreUnavailable(f"pg_dump failed: {why}")


def read_copy(file: Path) -> Contents:
    """Read every row of a dump. Raise `StoreUnavailable` if it is not whole."""
    counts = dict.fromkeys(metadata.tables, 0)
    sealed = {column.sealed.table.name: column for column in SEALED_COLUMNS}
    seals: list[SealedRow] = []
    told: dict[str, str] = {}
    for table, row in _rows(file, read={*sealed, "alembic_version"}):
        counts[table] = counts.get(table, 0) + 1
        if table in sealed and (seal := row[sealed[table].sealed.name]) is not None:
            name = sealed[table].row.name
            seals.append(
                SealedRow(
                    table, str(row[name]), sealed[table].sealed.name, bytes.fromhex(seal.removeprefix("\\x"))
                )
            )
        told |= {name: row[name] or "" for name in ("version_num", "revision") if name in row}
    if {"version_num", "revision"} - told.keys():
        raise StoreUnavailable("the copy is not whole: it has no row of the installation")
    del counts["alembic_version"]
    return Contents(told["version_num"], int(told["revision"]), counts, tuple(seals))


def _rows(file: Path, *, read: set[str]) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Yield each row of a dump with its table; its values as text for the tables in `read` alone."""
    with restoring_lines(file) as lines:
        for table, names, rows in copied_tables(lines):
            for row in rows:
                values = row.decode().removesuffix("\n").split("\t") if table in read else []
                yield table, dict(zip(names, map(_value, values), strict=False))


def copied_tables(lines: Iterable[bytes]) -> Iterator[tuple[str, list[str], Iterator[bytes]]]:
    """Yield each table that these lines fill, its columns, and its rows, which must be read then."""
    lines = iter(lines)
    for line in lines:
        if (begins := _COPY.match(line)) is not None:
            columns = begins[2].decode().replace('"', "").split(", ")
            yield begins[1].decode(), columns, iter(partial(next, lines, _END), _END)


_END = b"\\.\n"
_COPY = re.compile(rb'COPY (?:\w+\.)?"?(\w+)"? \((.*)\) FROM stdin;\n')
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _value(written: str) -> str | None:
    r"""Return a value in the text format of COPY, in which `\N` is null."""
    if written == "\\N":
        return None
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), written)


@contextmanager
def restoring_lines(file: Path, *names: str) -> Iterator[IO[bytes]]:
    """Give the lines of the data in a dump, of these tables or sequences or of all.

    Raise `StoreUnavailable` at the end unless all could be read.
    """
    chosen = [f"--table={name}" for name in names]
    with subprocess.Popen(  # noqa: S603 - as above
        [_program("pg_restore"), "--data-only", *chosen, "--file=-", str(file)],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe, as above
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise StoreUnavailable("the copy is not whole: pg_restore cannot read it")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotStart(
            f"A backup of PostgreSQL needs the program {name}: install PostgreSQL's client programs of the "
            "server's version or newer (on Debian the package postgresql-client)."
        )
    return found


def _address(driver: BoundedConnection) -> tuple[str, dict[str, str]]:
    """Return where the connection leads, and an environment with its password, which stands in no argument.

    Of several hosts it is the one that answered, since the others do not know the snapshot.
    """
    # Not what libpq made of them: the program's own libpq may be older, and not know all of its names.
    given = {name: value for name, value in driver.parameters.items() if name not in {"password", "hostaddr"}}
    if "sslpassword" in given:
        raise CannotStart(
            "The database's address has sslpassword, which every user of this machine could read in the "
            "arguments of pg_dump: use a key without a password, or run pg_dump yourself."
        )
    info = driver.info
    at = {"host": info.host, "port": str(info.port), "dbname": info.dbname, "user": info.user}
    if info.hostaddr and not info.host.startswith("/"):
        at["hostaddr"] = info.hostaddr
    return make_conninfo(**(given | at)), _environment() | (
        {"PGPASSWORD": info.password} if info.password else {}
    )


def _environment() -> dict[str, str]:
    return os.environ | {"LC_ALL": "C"}
