"""Snowflake, over its own driver.

The driver asks DNS itself, so hosts are names of the vendor's alone (`host_suffixes`): the addresses that
were checked before, and those that the driver finds, are of one owner, whose certificate it verifies.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from snowflake import connector
from snowflake.connector import errors

from keyturn.adapters.adapter import Session, Target
from keyturn.adapters.catalog import MAYBE_TEXT, TEXT, Schema, Table, read_row, tables_of_rows
from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.tls import begin_at_once

_SCHEMAS = (
    "SELECT schema_name, comment FROM information_schema.schemata WHERE schema_name <> 'INFORMATION_SCHEMA'"
)
_COLUMNS = (
    "SELECT table_schema, table_name, column_name, data_type, comment FROM information_schema.columns "
    "WHERE table_schema <> 'INFORMATION_SCHEMA' ORDER BY table_schema, table_name, ordinal_position"
)
_FINDINGS = {
    390100: Finding.LOGIN_REFUSED,  # Incorrect user name or password.
    390102: Finding.LOGIN_REFUSED,  # The account is locked.
    390144: Finding.LOGIN_REFUSED,  # The key pair's token is refused.
    390422: Finding.LOGIN_REFUSED,  # A network policy.
    604: Finding.TOO_SLOW,  # The statement was canceled.
    630: Finding.TOO_SLOW,  # The statement reached its time limit.
    2003: Finding.STATEMENT_REFUSED,
    3001: Finding.STATEMENT_REFUSED,
}


class Snowflake:
    """Signs in to Snowflake."""

    begin_tls = staticmethod(begin_at_once)

    def login(self, target: Target, context: ssl.SSLContext | None) -> Session:  # noqa: ARG002 - it has its own
        """Sign in with a password or a key pair."""
        with _faults():
            return _Session(connector.connect(**_arguments(target)), target)


def _arguments(target: Target) -> dict[str, Any]:
    seconds = max(1, round(target.limits.step))
    return {
        "account": target.host.partition(".")[0],
        "host": target.host,
        "port": target.port,
        "protocol": "https",
        "user": target.text("username"),
        "database": target.text("database"),
        "warehouse": target.text("warehouse"),
        "role": target.text("role") or None,
        "login_timeout": seconds,
        "connect_timeout": seconds,
        "query_timeout": target.limits.statement,
        "retry_max_attempts": 1,
        "application": "keyturn",
        "use_proxy_env": False,
        "client_store_temporary_credential": False,
        "enable_server_session_keep_alive_auto_detection": False,
        "session_parameters": {"CLIENT_TELEMETRY_ENABLED": False},
        **_credentials(target),
    }


def _credentials(target: Target) -> dict[str, Any]:
    key = target.values.get("privateKey")
    if not isinstance(key, dict):
        return {"password": target.text("password")}
    return {
        "authenticator": "SNOWFLAKE_JWT",
        "private_key": key["content"],
        "private_key_password": target.text("privateKeyPassword") or None,
    }


@dataclass(frozen=True, slots=True)
class _Session:
    connection: Any
    target: Target

    def open_database(self) -> None:
        self._database()

    def count_schemas(self) -> int:
        return sum(1 for _ in self._ask(_SCHEMAS))

    def version(self) -> str:
        (row,) = self._ask("SELECT CURRENT_VERSION()")
        return f"Snowflake {read_row(row, TEXT)[0]}"

    def crawl(self, known: frozenset[str]) -> Iterator[Schema | Table]:
        database = self._database()
        for row in self._ask(_SCHEMAS):
            name, comment = read_row(row, TEXT, MAYBE_TEXT)
            yield Schema((database, name), comment)
        yield from tables_of_rows(self._ask(_COLUMNS), (database,), known)

    def change_password(self, new: str) -> None:  # noqa: ARG002 - as for others
        """Refuse: what a person may set there depends on the account."""
        raise Fault(Finding.PASSWORD_UNCHANGED)

    def close(self) -> None:
        with _faults():
            self.connection.close()

    def _database(self) -> str:
        """Return the name of the database as Snowflake writes it: one that is not there is not opened."""
        for row in self._ask("SELECT CURRENT_DATABASE()"):
            (name,) = read_row(row, MAYBE_TEXT)
            if name:
                return str(name)
        raise Fault(Finding.NO_DATABASE)

    def _ask(self, statement: str) -> Iterator[object]:
        with _faults(), self.connection.cursor() as cursor:
            cursor.execute(statement)
            yield from cursor


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except errors.Error as error:
        raise Fault(_FINDINGS.get(error.errno or 0, Finding.FAILED), str(error)) from None


ADAPTER = Snowflake()
