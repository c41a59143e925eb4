"""MariaDB and MySQL, over PyMySQL, on a socket that was connected to the checked address.

PyMySQL sends no local file unless it was asked to at its start, which nothing here does. Given a context it
verifies TLS, for the name of the connection, before it sends anything of the account.
"""

import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import SSCursor

from keyturn.adapters.adapter import Session, Target
from keyturn.adapters.catalog import MAYBE_TEXT, TEXT, Schema, Table, read_columns, read_row
from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.technologies import TlsMode
from keyturn.adapters.tls import begin_mysql, peek_mysql_greeting

MAX_COLUMNS_BYTES = 32 * 2**20
"""Of the columns of one table as JSON. The server cuts what is longer, which is refused here."""

_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
_SCHEMAS = "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN %(system)s"
# Not a join: the server has no index of either view, and would compare all with all. Names are grouped as
# bytes, since the collation of these views takes `a`, `A` and `ä` for one.
_TABLES = """
SELECT t.path_1, t.path_2, t.kind, t.note,
       MD5(CONCAT_WS(CHAR(1), t.path_1, t.path_2, t.kind, t.note, t.listed)),
       IF(%(whole)s, CONCAT('[', IFNULL(t.listed, ''), ']'), NULL)
FROM (
    SELECT MAX(b.path_1) AS path_1, MAX(b.path_2) AS path_2, MAX(b.kind) AS kind, MAX(b.note) AS note,
           GROUP_CONCAT(b.described ORDER BY b.position SEPARATOR ',') AS listed
    FROM (
        SELECT table_schema AS path_1, table_name AS path_2, NULL AS kind, NULL AS note,
               ordinal_position AS position,
               JSON_ARRAY(column_name, column_type, LEFT(column_comment, %(comment)s)) AS described
        FROM information_schema.columns WHERE {where}
        UNION ALL
        SELECT table_schema, table_name, table_type, LEFT(table_comment, %(comment)s), 0, NULL
        FROM information_schema.tables WHERE {where}
    ) b
    GROUP BY BINARY b.path_1, BINARY b.path_2
) t
"""
_ALL = "table_schema NOT IN %(system)s"
_OF_DATABASE = "table_schema = %(schema)s"
_ONE = "table_schema = %(schema)s AND table_name = %(table)s"
"""Constants for both names let the server open that table alone."""
_KINDS = {"VIEW": "view", "SYSTEM VIEW": "view"}

_DISCLOSING = ("mysql_clear_password", "dialog", "sha256_password", "caching_sha2_password")
"""Ways to sign in by which a server learns the password itself, at once or if it asks."""
_WEAK = ("mysql_old_password",)

_FINDINGS: Mapping[int, Finding] = {
    ER.ACCESS_DENIED_ERROR: Finding.LOGIN_REFUSED,
    ER.HOST_NOT_PRIVILEGED: Finding.LOGIN_REFUSED,
    1820: Finding.LOGIN_REFUSED,  # ER_MUST_CHANGE_PASSWORD
    4151: Finding.LOGIN_REFUSED,  # ER_ACCOUNT_HAS_BEEN_LOCKED of MariaDB
    3118: Finding.LOGIN_REFUSED,  # ER_ACCOUNT_HAS_BEEN_LOCKED of MySQL
    ER.CON_COUNT_ERROR: Finding.TOO_MANY_SESSIONS,
    ER.HOST_IS_BLOCKED: Finding.TOO_MANY_SESSIONS,
    ER.TOO_MANY_USER_CONNECTIONS: Finding.TOO_MANY_SESSIONS,
    ER.USER_LIMIT_REACHED: Finding.TOO_MANY_SESSIONS,
    ER.BAD_DB_ERROR: Finding.NO_DATABASE,
    ER.DBACCESS_DENIED_ERROR: Finding.DATABASE_REFUSED,
    ER.TABLEACCESS_DENIED_ERROR: Finding.STATEMENT_REFUSED,
    1969: Finding.TOO_SLOW,  # ER_STATEMENT_TIMEOUT of MariaDB
    3024: Finding.TOO_SLOW,  # ER_QUERY_TIMEOUT of MySQL
    CR.CR_SERVER_LOST: Finding.CONNECTION_LOST,
    CR.CR_SERVER_GONE_ERROR: Finding.CONNECTION_LOST,
    CR.CR_SSL_CONNECTION_ERROR: Finding.NO_TLS,
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD: Finding.UNSAFE_LOGIN,
}
_GARBAGE = (ValueError, LookupError, struct.error, AttributeError, AssertionError, TypeError)
"""Errors that PyMySQL raises where a server does not speak its protocol; for a file, `RuntimeError`."""


class _Unsafe:
    """Takes the place of a way to sign in that is not to be taken."""

    def __init__(self, connection: object) -> None:
        pass

    def authenticate(self, *_: object) -> None:
        """Refuse, before anything is sent."""
        raise Fault(Finding.UNSAFE_LOGIN)

    prompt = authenticate


class MySQL:
    """Signs in to MariaDB and MySQL."""

    begin_tls = staticmethod(begin_mysql)

    def login(self, target: Target, context: ssl.SSLContext | None) -> Session:
        """Sign in without choosing a database."""
        refused = _WEAK if target.tls_mode is TlsMode.VERIFY_FULL else (*_WEAK, *_DISCLOSING)
        plain = target.open_socket()
        try:
            if "sha256_password" in refused:
                # PyMySQL answers this one at once: too early for a class in its map.
                _check_greeting(plain)
            with _faults():
                connection = pymysql.Connection(**_arguments(target, context, refused))
                connection.connect(plain)
        except BaseException:
            plain.close()
            raise
        return _Session(connection, target)


def _check_greeting(plain: socket.socket) -> None:
    if b"sha256_password" in peek_mysql_greeting(plain):
        raise Fault(Finding.UNSAFE_LOGIN)


def _arguments(target: Target, context: ssl.SSLContext | None, refused: tuple[str, ...]) -> dict[str, Any]:
    return {
        "host": target.host,
        "user": target.text("username"),
        "password": target.text("password").encode(),
        "charset": "utf8mb4",
        "sql_mode": "",
        "autocommit": True,
        "local_infile": False,
        "read_timeout": target.limits.statement,
        "write_timeout": target.limits.statement,
        "program_name": "keyturn",
        "auth_plugin_map": dict.fromkeys(refused, _Unsafe),
        "defer_connect": True,
        **({"ssl_disabled": True} if context is None else {"ssl": context}),
    }


@dataclass(frozen=True, slots=True)
class _Session:
    connection: "pymysql.Connection[Any]"
    target: Target

    def open_database(self) -> None:
        """Open the database of the connection, if it has one, and begin what only reads."""
        with _faults():
            if database := self.target.text("database"):
                self.connection.select_db(database)
            seconds = self.target.limits.statement
            is_mariadb = "mariadb" in self._version().lower()
            limit = (
                f"max_statement_time = {seconds}" if is_mariadb else f"max_execution_time = {seconds * 1000}"
            )
            self._ask(f"SET SESSION {limit}, SESSION group_concat_max_len = {MAX_COLUMNS_BYTES}")
            self._ask("SET SESSION TRANSACTION READ ONLY")
            self._ask("START TRANSACTION READ ONLY")

    def count_schemas(self) -> int:
        with _faults():
            return sum(1 for _ in self._schemas())

    def version(self) -> str:
        with _faults():
            return self._version()

    def crawl(self, known: frozenset[str]) -> Iterator[Schema | Table]:
        with _faults():
            for name in self._schemas():
                yield Schema((name,))
            if not known:
                yield from self._tables(whole=True)
            else:
                yield from self._changed(known)

    def change_password(self, new: str) -> None:
        """Change the account's password, by the way to sign in that it has (MariaDB 10.4)."""
        try:
            self._ask("ROLLBACK")
            self._ask("SET SESSION TRANSACTION READ WRITE")
            self._ask("SET PASSWORD = PASSWORD(%(new)s)", {"new": new})
        except pymysql.MySQLError as error:
            # Without the server's word nobody knows whether it had changed it.
            is_lost = error.args[:1] in {(CR.CR_SERVER_LOST,), (CR.CR_SERVER_GONE_ERROR,)}
            finding = Finding.CONNECTION_LOST if is_lost else Finding.PASSWORD_UNCHANGED
            raise Fault(finding, str(error)) from None

    def close(self) -> None:
        if self.connection.open:
            self.connection.close()

    def _version(self) -> str:
        (row,) = self._ask("SELECT VERSION()")
        return str(read_row(row, TEXT)[0])

    def _schemas(self) -> Iterator[str]:
        chosen = self.target.text("database")
        for row in self._stream(_SCHEMAS, {"system": _SYSTEM}):
            (name,) = read_row(row, TEXT)
            if not chosen or name == chosen:
                yield name

    def _tables(self, *, whole: bool, path: tuple[str, ...] | None = None) -> Iterator[Table]:
        """Yield tables, all or the one at `path`; `whole` asks for the columns beside the fingerprint."""
        database = self.target.text("database")
        schema, table = path or (database, "")
        where = _ONE if path else _OF_DATABASE if database else _ALL
        given = {
            "comment": self.target.limits.comment_characters, "whole": int(whole), "system": _SYSTEM,
            "schema": schema, "table": table,
        }  # fmt: skip
        for row in self._stream(_TABLES.format(where=where), given):
            found = _read_table(row)
            if path is None or found.path == path:
                yield found

    def _changed(self, known: frozenset[str]) -> Iterator[Table]:
        """Yield all tables, with columns where they are not known."""
        changed = []
        for table in self._tables(whole=False):
            if table.fingerprint in known:
                yield table
            else:
                changed.append(table.path)
        if len(changed) > self.target.limits.changed_tables:
            wanted = set(changed)
            yield from (table for table in self._tables(whole=True) if table.path in wanted)
        else:
            for path in changed:
                yield from self._tables(whole=True, path=path)

    def _ask(self, statement: str, given: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, given)
            return list(cursor.fetchall())

    def _stream(self, statement: str, given: dict[str, object]) -> Iterator[object]:
        """Yield rows as they come: memory holds one at a time."""
        with self.connection.cursor(SSCursor) as cursor:
            cursor.execute(statement, given)
            while (row := cursor.fetchone()) is not None:
                yield row


def _read_table(row: object) -> Table:
    schema, name, type_, comment, fingerprint, columns = read_row(
        row, TEXT, TEXT, MAYBE_TEXT, MAYBE_TEXT, TEXT, MAYBE_TEXT
    )
    kind = _KINDS.get(type_, "table")
    # The comment of a view is the word VIEW.
    return Table(
        (schema, name), kind, None if kind == "view" else comment, fingerprint, read_columns(columns)
    )


@contextmanager
def _faults() -> Iterator[None]:
    """Raise `Fault` for what PyMySQL raises in the block."""
    try:
        yield
    except pymysql.MySQLError as error:
        original = getattr(error, "original_exception", None)
        if isinstance(original, OSError):
            raise original from None
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        raise Fault(_FINDINGS.get(code, Finding.FAILED), str(error)) from None
    except OSError:
        raise
    except RuntimeError as error:
        if "package is required" in str(error):
            detail = "Accounts that sign in by ed25519 need PyNaCl on the server."
            raise Fault(Finding.DRIVER_MISSING, str(error), detail=detail) from None
        raise Fault(Finding.OTHER_PROTOCOL, str(error)) from None
    except _GARBAGE as error:
        raise Fault(Finding.OTHER_PROTOCOL, repr(error)) from None


ADAPTER = MySQL()
