"""PostgreSQL, over psycopg and libpq.

libpq connects to `hostaddr`, the checked address, and compares the certificate with `host`. All that libpq
would take from files and the environment is given here, or would lie in the empty home of the worker.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import IsolationLevel, errors, sql

from keyturn.adapters.adapter import Session, Target
from keyturn.adapters.catalog import MAYBE_TEXT, TEXT, Schema, Table, read_columns, read_row
from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.technologies import TlsMode
from keyturn.adapters.tls import begin_postgresql

CERTIFICATES = Path("authorities.pem")
"""In the folder of the worker. libpq reads certificates from files alone."""
ROWS_AT_ONCE = 500
"""Tables that a fetch brings: with the most columns, and the longest comments, tens of megabytes."""

_VERIFIED_LOGINS = "scram-sha-256,md5,password,none"
_OTHER_LOGINS = "scram-sha-256,md5,none"
"""A server that nobody has verified is never sent the password itself (rule F24)."""

_SCHEMAS: LiteralString = r"""
SELECT n.nspname, left(d.description, %s)
FROM pg_namespace n
LEFT JOIN pg_description d ON d.classoid = 'pg_namespace'::regclass AND d.objoid = n.oid AND d.objsubid = 0
WHERE n.nspname NOT LIKE 'pg\_%%' AND n.nspname <> 'information_schema'
  AND has_schema_privilege(n.oid, 'USAGE')
"""
_TABLES: LiteralString = r"""
SELECT t.schema, t.name, t.kind, t.comment, t.fingerprint,
       CASE WHEN t.fingerprint = ANY (%(known)s::text[]) THEN NULL ELSE t.columns END
FROM (
    SELECT s.*, md5(concat_ws(E'\x01', s.schema, s.name, s.kind, s.comment, s.columns)) AS fingerprint
    FROM (
        SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
               left(d.description, %(comment)s) AS comment, coalesce(a.columns, '[]') AS columns
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_description d
            ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = 0
        LEFT JOIN (
            SELECT a.attrelid,
                   json_agg(json_build_array(
                       a.attname, format_type(a.atttypid, a.atttypmod), left(e.description, %(comment)s)
                   ) ORDER BY a.attnum)::text AS columns
            FROM pg_attribute a
            LEFT JOIN pg_description e
                ON e.classoid = 'pg_class'::regclass AND e.objoid = a.attrelid AND e.objsubid = a.attnum
            WHERE a.attnum > 0 AND NOT a.attisdropped
            GROUP BY a.attrelid
        ) a ON a.attrelid = c.oid
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
          AND n.nspname NOT LIKE 'pg\_%%' AND n.nspname <> 'information_schema'
          AND has_schema_privilege(n.oid, 'USAGE')
    ) s
) t
"""
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}

_REFUSALS = (
    ("authentication method requirement", Finding.UNSAFE_LOGIN),
    ("password authentication failed", Finding.LOGIN_REFUSED),
    ("no pg_hba.conf entry", Finding.LOGIN_REFUSED),
    ("is not permitted to log in", Finding.LOGIN_REFUSED),
    ("authentication failed", Finding.LOGIN_REFUSED),
    ("permission denied for database", Finding.DATABASE_REFUSED),
    ("is not currently accepting connections", Finding.DATABASE_REFUSED),
    ("remaining connection slots", Finding.TOO_MANY_SESSIONS),
    ("too many ", Finding.TOO_MANY_SESSIONS),
    ("certificate verify failed", Finding.UNKNOWN_AUTHORITY),
    ("does not match host name", Finding.WRONG_NAME),
    ("server does not support SSL", Finding.NO_TLS),
    ("out of memory", Finding.TOO_LARGE),
    ("closed the connection", Finding.CONNECTION_LOST),
    ("timeout", Finding.TOO_SLOW),
    ("Connection refused", Finding.PORT_CLOSED),
    ("expected authentication request", Finding.OTHER_PROTOCOL),
    ("invalid response", Finding.OTHER_PROTOCOL),
    ("lost synchronization", Finding.OTHER_PROTOCOL),
)
"""Words of libpq and of the server, in English: an error of a login has no SQLSTATE."""


class PostgreSQL:
    """Signs in to PostgreSQL."""

    begin_tls = staticmethod(begin_postgresql)

    def login(self, target: Target, context: ssl.SSLContext | None) -> Session:  # noqa: ARG002 - libpq has its own
        """Sign in to the database of the connection: here the two are one."""
        with _faults(login_to=target.text("database")):
            # Behind a pooler a prepared statement is another session's.
            connection = psycopg.connect(**parameters(target), prepare_threshold=None)  # type: ignore[arg-type]
        return _Session(connection, target)


def parameters(target: Target) -> dict[str, str | int]:
    """Return all parameters of libpq, each typed: none of them is a string of several (rule O1)."""
    verified = target.tls_mode is TlsMode.VERIFY_FULL
    chosen: dict[str, str | int] = {
        "host": target.host,
        "hostaddr": str(target.address),
        "port": target.port,
        "dbname": target.text("database"),
        "user": target.text("username"),
        "password": target.text("password"),
        "sslmode": target.tls_mode.value,
        "sslcertmode": "disable",
        "gssencmode": "disable",
        "require_auth": _VERIFIED_LOGINS if verified else _OTHER_LOGINS,
        "connect_timeout": max(2, round(target.limits.step)),
        "client_encoding": "UTF8",
        "application_name": "keyturn",
    }
    if verified:
        chosen["sslrootcert"] = _authorities(target)
    return chosen


def _authorities(target: Target) -> str:
    if not (certificates := target.text("tlsCertificate")):
        return "system"
    CERTIFICATES.write_text(certificates)
    return str(CERTIFICATES.absolute())


@dataclass(frozen=True, slots=True)
class _Session:
    connection: psycopg.Connection[Any]
    target: Target

    def open_database(self) -> None:
        """Begin what only reads: the login has opened the database."""
        with _faults():
            self._begin(read_only=True)

    def count_schemas(self) -> int:
        with _faults():
            return sum(1 for _ in self.connection.execute(_SCHEMAS, (0,)))

    def version(self) -> str:
        with _faults():
            (text,) = read_row(self.connection.execute("SHOW server_version").fetchone(), TEXT)
        return f"PostgreSQL {text}"

    def crawl(self, known: frozenset[str]) -> Iterator[Schema | Table]:
        database, comment = self.target.text("database"), self.target.limits.comment_characters
        with _faults():
            for row in self.connection.execute(_SCHEMAS, (comment,)):
                name, note = read_row(row, TEXT, MAYBE_TEXT)
                yield Schema((database, name), note)
            with self.connection.cursor(name="keyturn_crawl") as cursor:
                cursor.itersize = ROWS_AT_ONCE
                cursor.execute(_TABLES, {"known": sorted(known), "comment": comment})
                for row in cursor:
                    yield _read_table(database, row)

    def change_password(self, new: str) -> None:
        """Change the account's password. Only a verifier of it leaves this process; a log may have that."""
        user, connection = self.target.text("username"), self.connection
        try:
            connection.rollback()
            self._begin(read_only=False)
            verifier = connection.pgconn.encrypt_password(new.encode(), user.encode()).decode()
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(user), sql.Literal(verifier)
            )
            connection.execute(statement)
            connection.commit()
        except psycopg.Error as error:
            # Without the server's word nobody knows whether it had committed.
            is_refused = error.sqlstate is not None
            finding = Finding.PASSWORD_UNCHANGED if is_refused else Finding.CONNECTION_LOST
            raise Fault(finding, str(error)) from None

    def close(self) -> None:
        self.connection.close()

    def _begin(self, *, read_only: bool) -> None:
        """Begin a transaction whose settings hold behind a pooler too: they are of the transaction."""
        connection = self.connection
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = read_only
        milliseconds = f"{self.target.limits.statement}s"
        for name, value in (
            ("search_path", "pg_catalog"),  # No function or operator of anybody else is called.
            ("default_transaction_read_only", "on" if read_only else "off"),
            ("statement_timeout", milliseconds),
            ("lock_timeout", milliseconds),
            ("idle_in_transaction_session_timeout", "600s"),
            ("jit", "off"),
        ):
            connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))


def _read_table(database: str, row: object) -> Table:
    schema, name, kind, comment, fingerprint, columns = read_row(
        row, TEXT, TEXT, TEXT, MAYBE_TEXT, TEXT, MAYBE_TEXT
    )
    return Table(
        (database, schema, name), _KINDS.get(kind, "table"), comment, fingerprint, read_columns(columns)
    )


@contextmanager
def _faults(login_to: str | None = None) -> Iterator[None]:
    """Raise `Fault` for what psycopg raises in the block."""
    try:
        yield
    except (errors.QueryCanceled, errors.LockNotAvailable) as error:
        raise Fault(Finding.TOO_SLOW, str(error)) from None
    except errors.InsufficientPrivilege as error:
        raise Fault(Finding.STATEMENT_REFUSED, str(error)) from None
    except psycopg.Error as error:
        raise Fault(_finding_of(error, login_to), str(error)) from None


def _finding_of(error: psycopg.Error, login_to: str | None) -> Finding:
    text = str(error)
    if not isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return Finding.OTHER_PROTOCOL  # psycopg's own, of an answer that it did not expect.
    if login_to is not None and f'database "{login_to}" does not exist' in text:
        return Finding.NO_DATABASE
    return next((finding for words, finding in _REFUSALS if words in text), Finding.FAILED)


ADAPTER = PostgreSQL()
