"""Trino, by answers written by hand after its client protocol: no server of the vendor's is run here."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.adapters import trino
from keyturn.adapters.catalog import Column
from keyturn.adapters.findings import Fault, Finding, State, Step
from keyturn.adapters.target_process import Rotation, rotate
from keyturn.adapters.tasks import Action
from keyturn.adapters.validation import Value, validate
from tests.adapters.https import running
from tests.adapters.targets import PASSWORD, USER, a_task, climbed, crawled, failing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.adapters.https import Answer
    from tests.certificates import Certificate

COLUMNS = [
    ["sales", "orders", "id", "bigint", None],
    ["sales", "orders", "note", "varchar(20)", None],
    ["sales", "customers", "id", "bigint", None],
]
ANSWERS = {
    "SELECT 1": [[1]],
    "SELECT version()": [["476"]],
    'SHOW SCHEMAS FROM "lake""house"': [["information_schema"], ["sales"]],
    'SHOW SCHEMAS FROM "lake""house" LIKE \'information_schema\'': [["information_schema"]],
}


class Coordinator:
    """The coordinator: a row on each page, behind a first page without rows."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self._results: list[list[list[Any]]] = []

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer a request as Trino does."""
        self.seen.append((method, path, headers))
        wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if headers["Authorization"] != f"Basic {wanted}":
            return 401, {"WWW-Authenticate": 'Basic realm="Trino"'}, b"Unauthorized"
        if method == "POST":
            return self._begin(body.decode())
        _, number, page = path.removeprefix("/v1/statement/").split("/")
        rows = self._results[int(number)]
        at = int(page)
        return self._page({"data": rows[at : at + 1]}, int(number), at + 1, at + 1 < len(rows))

    def _begin(self, statement: str) -> Answer:
        if "absent" in statement:
            error = {"message": f"Catalog 'absent' not found {PASSWORD}", "errorName": "CATALOG_NOT_FOUND"}
            return self._page({"error": error}, 0, 0, False)
        rows = COLUMNS if "information_schema.columns" in statement else ANSWERS[statement]
        self._results.append(rows)
        return self._page({}, len(self._results) - 1, 0, True)

    def _page(self, content: dict[str, Any], number: int, page: int, goes_on: bool) -> Answer:
        # Another host, which nobody may follow.
        more = {"nextUri": f"https://elsewhere.invalid:1/v1/statement/executing/{number}/{page}"}
        page_ = {"id": "20261201_1", "stats": {"state": "RUNNING"}, **content, **(more if goes_on else {})}
        return 200, {"Content-Type": "application/json"}, json.dumps(page_).encode()


def connection(port: int, certificate: Certificate, **others: Value) -> dict[str, Value]:
    """The values of a connection to it."""
    return validate(
        {
            "technology": "Trino", "hostname": "127.0.0.1", "port": port, "catalog": 'lake"house',
            "username": USER, "password": PASSWORD, "tlsCertificate": certificate.file.read_text(), **others,
        }
    )  # fmt: skip


@pytest.fixture
def coordinator() -> Coordinator:
    """A coordinator, as yet without a server around it."""
    return Coordinator()


@pytest.fixture
def values(coordinator: Coordinator, certificate: Certificate) -> Iterator[dict[str, Value]]:
    """A connection to a coordinator that runs."""
    with running(coordinator.answer, certificate) as port:
        yield connection(port, certificate)


def test_a_good_connection_takes_every_step(values: dict[str, Value], coordinator: Coordinator) -> None:
    """All steps are ok; each request names the host of the connection and has the password."""
    results = climbed(values)
    assert {each.state for each in results} == {State.OK}
    assert results[-1].detail == "Trino 476"
    assert {headers["Host"] for *_, headers in coordinator.seen} == {f"127.0.0.1:{values['port']}"}
    assert {path.partition("/v1/statement")[0] for _, path, _ in coordinator.seen} == {""}


def test_a_crawl_gathers_tables(values: dict[str, Value]) -> None:
    """Rows of columns become tables; a second crawl brings none of them again."""
    (batch,) = crawled(values)
    assert [each.path for each in batch.schemas] == [('lake"house', "sales")]
    assert [(each.path[1:], each.columns) for each in batch.tables] == [
        (("sales", "orders"), (Column("id", "bigint"), Column("note", "varchar(20)"))),
        (("sales", "customers"), (Column("id", "bigint"),)),
    ]
    (again,) = crawled(values, known_fingerprints=[each.fingerprint for each in batch.tables])
    assert [each.columns for each in again.tables] == [None, None]


@pytest.mark.parametrize(
    ("changes", "step", "finding"),
    [
        ({"password": "wrong"}, Step.LOGIN, Finding.LOGIN_REFUSED),
        ({"catalog": "absent"}, Step.DATABASE, Finding.NO_DATABASE),
        ({"tlsCertificate": ""}, Step.TLS, Finding.UNKNOWN_AUTHORITY),
        ({"hostname": "localhost"}, Step.TLS, Finding.WRONG_NAME),
    ],
)
def test_the_step_that_is_wrong_fails(
    values: dict[str, Value], changes: dict[str, Value], step: Step, finding: Finding
) -> None:
    """The finding is of its step, and the server's words are redacted."""
    found = failing({**values, **changes})
    assert (found.step, found.finding) == (step, finding)
    assert PASSWORD not in str(found)


BAD = {
    "redirect": (307, {"Location": "http://127.0.0.1:1/v1/statement"}, b""),
    "not JSON": (200, {}, b"<html>"),
    "JSON of another shape": (200, {}, b'{"data": 5}'),
    "a next page elsewhere": (200, {}, b'{"nextUri": "https://127.0.0.1/v1/other"}'),
    "a next page above": (200, {}, b'{"nextUri": "https://127.0.0.1/v1/statement/../other"}'),
    "server error": (500, {}, b""),
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
def test_answers_of_another_protocol_end(answer: Answer, certificate: Certificate) -> None:
    """Nobody follows a redirect or a page outside of the protocol."""
    with running(lambda *_: answer, certificate) as port:
        found = failing(connection(port, certificate))
    assert (found.step, found.finding) == (Step.LOGIN, Finding.OTHER_PROTOCOL)


def test_an_answer_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is read up to a limit."""

    class Endless:
        def iter_bytes(self) -> Iterator[bytes]:
            while True:
                yield b" " * 1000

    monkeypatch.setattr(trino, "MAX_PAGE_BYTES", 10_000)
    with pytest.raises(Fault) as ended:
        trino._read(Endless())  # type: ignore[arg-type]
    assert ended.value.finding is Finding.TOO_LARGE


def test_a_password_cannot_be_changed(values: dict[str, Value]) -> None:
    """Trino has no statement for it, so that nothing changes."""
    outcome, why = rotate(a_task(values, Action.ROTATE, new_password="new"))
    assert outcome is Rotation.UNCHANGED
    assert why is not None
    assert why.finding is Finding.PASSWORD_UNCHANGED
