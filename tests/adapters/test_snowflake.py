"""Snowflake's own driver, on answers written by hand: no server of the vendor's is run here."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from keyturn.adapters.catalog import Column, Schema
from keyturn.adapters.findings import Finding, State, Step
from tests.adapters.https import running
from tests.adapters.targets import PASSWORD, USER, climbed, crawled, failing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.adapters.validation import Value
    from tests.adapters.https import Answer
    from tests.certificates import Certificate

COLUMNS = [
    ["PUBLIC", "ORDERS", "ID", "NUMBER", None],
    ["PUBLIC", "ORDERS", "NOTE", "TEXT", "free text"],
    ["SALES", "ORDERS", "ID", "NUMBER", None],
]


class Account:
    """An account of Snowflake with one database."""

    def __init__(self) -> None:
        self.databases = {"LAKE"}
        self.statements: list[str] = []
        self._database: str | None = None

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer a request as Snowflake does."""
        path = urlsplit(target).path
        sent = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        data: dict[str, Any] = json.loads(sent or b"{}")
        if path == "/session/v1/login-request":
            return self._login(data["data"], target)
        if path == "/queries/v1/query-request":
            self.statements.append(data["sqlText"])
            return self._rows(data["sqlText"])
        return _said(None)

    def _login(self, given: dict[str, Any], target: str) -> Answer:
        if (given["LOGIN_NAME"], given["PASSWORD"]) != (USER, PASSWORD):
            return _said(None, code="390100", message="Incorrect username or password was specified.")
        name = target.partition("databaseName=")[2].partition("&")[0].upper()
        self._database = name if name in self.databases else None
        return _said(
            {
                "token": "t", "masterToken": "m", "validityInSeconds": 3600, "masterValidityInSeconds": 14400,
                "sessionId": 1, "displayUserName": "U", "serverVersion": "9.30", "parameters": [],
                "sessionInfo": {
                    "databaseName": self._database, "schemaName": None, "warehouseName": "W", "roleName": "R",
                },
            }
        )  # fmt: skip

    def _rows(self, statement: str) -> Answer:
        if "schemata" in statement:
            return _result([["PUBLIC", None], ["SALES", "of tests"]], 2)
        if "information_schema.columns" in statement:
            return _result(COLUMNS, 5)
        if "CURRENT_DATABASE" in statement:
            return _result([[self._database]], 1)
        return _result([["9.30.1"]], 1)


def _said(data: object, *, code: str | None = None, message: str | None = None) -> Answer:
    said = {"data": data, "success": code is None, "code": code, "message": message}
    return 200, {"Content-Type": "application/json"}, json.dumps(said).encode()


def _result(rows: list[list[str | None]], width: int) -> Answer:
    column = {
        "type": "text", "nullable": True, "length": 100, "byteLength": 400, "scale": None, "precision": None,
        "database": "", "schema": "", "table": "", "collation": None,
    }  # fmt: skip
    return _said(
        {
            "parameters": [], "rowtype": [{"name": f"C{number}", **column} for number in range(width)],
            "rowset": rows, "total": len(rows), "returned": len(rows), "queryId": "01-1", "version": 1,
            "queryResultFormat": "json", "sqlState": None, "statementTypeId": 4096, "numberOfBinds": 0,
            "finalDatabaseName": "LAKE", "finalSchemaName": None, "finalWarehouseName": "W",
            "finalRoleName": "R", "arrayBindSupported": False,
        }
    )  # fmt: skip


@pytest.fixture
def values(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Value]]:
    """A connection to such an account, at an address that `validate` would refuse."""
    pytest.importorskip(
        "snowflake.connector", reason="no driver: install keyturn[snowflake] to run these tests"
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with running(Account().answer, certificate) as port:
        yield {
            "technology": "Snowflake", "authenticationType": "userPassword", "hostname": "127.0.0.1",
            "port": port, "database": "lake", "warehouse": "W", "username": USER, "password": PASSWORD,
        }  # fmt: skip


def test_a_good_connection_takes_every_step(values: dict[str, Value]) -> None:
    """All steps are ok."""
    results = climbed(values)
    assert {each.state for each in results} == {State.OK}, results
    assert results[-1].detail == "Snowflake 9.30.1"


def test_a_crawl_gathers_tables(values: dict[str, Value]) -> None:
    """Schemas and tables are of the database as Snowflake writes it."""
    (batch,) = crawled(values)
    assert batch.schemas == (Schema(("LAKE", "PUBLIC")), Schema(("LAKE", "SALES"), "of tests"))
    assert [(each.path, each.columns) for each in batch.tables] == [
        (("LAKE", "PUBLIC", "ORDERS"), (Column("ID", "NUMBER"), Column("NOTE", "TEXT", "free text"))),
        (("LAKE", "SALES", "ORDERS"), (Column("ID", "NUMBER"),)),
    ]


@pytest.mark.parametrize(
    ("changes", "step", "finding"),
    [
        ({"password": "wrong"}, Step.LOGIN, Finding.LOGIN_REFUSED),
        ({"database": "absent"}, Step.DATABASE, Finding.NO_DATABASE),
    ],
)
def test_the_step_that_is_wrong_fails(
    values: dict[str, Value], changes: dict[str, Value], step: Step, finding: Finding
) -> None:
    """The finding is of its step."""
    found = failing({**values, **changes})
    assert (found.step, found.finding) == (step, finding)
