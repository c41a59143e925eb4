"""The published description of the API, held against the real server by generated requests."""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import socket
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from keyturn.core.permissions import Permission
from keyturn.web.app import route_table
from tests.conftest import PASSWORD
from tests.journeys.processes import ServerProcess, run_command, serving
from tests.sizes import size
from tests.web.sites import read_all, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

schemathesis = pytest.importorskip(
    "schemathesis", reason="no schema fuzzer: install schemathesis to run these tests"
)

from schemathesis.engine import events, from_schema  # noqa: E402 - after the check that it is there

SEED = 20261125
EXAMPLES_PER_OPERATION = size(8, full=25)
EXAMPLES_OF_THE_EXCHANGE = size(30, full=100)
MIN_CASES = size(800, full=2000)
SAME_EVERY_TIME = {
    "generation": {"max-examples": EXAMPLES_PER_OPERATION, "deterministic": True, "database": "none"},
    "phases": {
        # Answers hold secrets and times, which differ from run to run.
        "examples": {"extra-data-sources": {"responses": False}},
        "coverage": {"extra-data-sources": {"responses": False}},
        "fuzzing": {"extra-data-sources": {"responses": False}, "error-feedback": {"enabled": False}},
        "stateful": {"enabled": False},
    },
}
FINDS = json.loads((Path(__file__).parents[1] / "vectors" / "fuzzed_requests.json").read_text())["requests"]
SECURITY_SCHEME = "Authorization"

TWO_GENERATIONS = [
    ("/bim/apikey", "post"),
    ("/bim/apikey/{keyid}", "delete"),
    ("/bim/apikey/authenticate", "post"),
    ("/bim/apikey/system", "post"),
    ("/bim/apikey/system/{keyid}", "delete"),
    ("/bim/iam/{iamid}/user/{userid}/apikeys", "get"),
]
OPEN_OPERATIONS = {
    (one.described_path, one.method.lower())
    for one in route_table().routes
    if one.access.is_open
    and one.operation_id is not None
    and one.path not in {"/openapi.json", "/health/seen"}
}
METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The real program, with one administrator."""
    directory = tmp_path_factory.mktemp("schema")
    database = f"sqlite:///{directory / 'keyturn.db'}"
    may = [word for permission in Permission for word in ("--permission", permission.value)]
    added = run_command(
        "admin", "user", "add", "fuzzer", "--password-stdin", *may,
        stdin=PASSWORD, environment={"KEYTURN_DATABASE": database, "KEYTURN_NEW_INSTALLATION": "true"},
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    environment = {
        "KEYTURN_LOG_LEVEL": "error",
        "KEYTURN_FAILURES_PER_MINUTE": "1000000",  # Or how fast the machine is decides what is answered 429.
    }
    with serving(database, directory, environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def token(server: ServerProcess) -> str:
    """A token that stands on a password: no generated DELETE of a key can end it."""
    answer = httpx.post(
        f"{server.url}/bim/iam/bim/user/authenticate", json={"username": "fuzzer", "password": PASSWORD}
    )
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


@pytest.fixture(scope="module")
def document(server: ServerProcess) -> dict[str, Any]:
    """The description as the server serves it."""
    answer = httpx.get(f"{server.url}/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return path, method and description of every operation."""
    return [
        (path, method, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def is_open(document: dict[str, Any], operation: dict[str, Any]) -> bool:
    """Return whether the description says that an operation needs no credential."""
    security: list[dict[str, Any]] = operation.get("security", document.get("security", []))
    return not security or {} in security


@pytest.mark.sized
def test_no_generated_request_breaks_the_description(server: ServerProcess, token: str) -> None:
    """Whatever is sent, the server answers what its description says, and never with a server error.

    Fault C13: what is sent is the same in every run. New cases are hunted by the test below.
    """
    check_fuzzed(server, token, SEED, SAME_EVERY_TIME)


@pytest.mark.faults
def test_fault_c13_new_requests_are_hunted(server: ServerProcess, token: str) -> None:
    """Fault C13: requests that no run has sent before, and that follow answers, break nothing either.

    A find belongs into tests/vectors/fuzzed_requests.json. `KEYTURN_SCHEMA_SEED` repeats a run.
    """
    seed = int(os.environ.get("KEYTURN_SCHEMA_SEED") or secrets.randbelow(2**32))
    check_fuzzed(server, token, seed, {"generation": {"max-examples": EXAMPLES_PER_OPERATION}})


def check_fuzzed(server: ServerProcess, token: str, seed: int, how: dict[str, Any]) -> None:
    found, cases = fuzz(server, token, seed, how)
    said = f"{len(found)} breaks in {cases} cases with seed {seed}:\n\n"
    assert not found, said + "\n\n".join(sorted(found))
    assert cases >= MIN_CASES, f"only {cases} cases were tried"
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("case", FINDS, ids=[case["name"] for case in FINDS])
def test_fault_c13_what_was_once_found_stays_mended(
    server: ServerProcess, token: str, case: dict[str, Any]
) -> None:
    """Fault C13: each request that once broke the description is answered with its status and our body."""
    host = urlsplit(server.url).netloc
    lines = [case["line"], f"Host: {host}", f"Authorization: {token}", "Connection: close", *case["fields"]]
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall("\r\n".join([*lines, "", case["body"]]).encode("latin-1"))
        answer = read_all(connection)
    assert status_of(answer) == case["status"]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["statusCode"] == case["status"]


def fuzz(server: ServerProcess, token: str, seed: int, how: dict[str, Any]) -> tuple[set[str], int]:
    """Run the fuzzer; return the breaks, one per kind and operation, and the cases."""
    config = schemathesis.Config.from_dict(
        {
            **how,
            "seed": seed,
            "base-url": server.url,
            "auth": {"openapi": {SECURITY_SCHEME: {"api_key": token}}},
            "operations": [
                {
                    # A key beside a credential in the header, which the fuzzer also tries, is ambiguous: 400.
                    "include-path-regex": "/apikey/authenticate$",
                    "generation": {"max-examples": EXAMPLES_OF_THE_EXCHANGE},
                    "checks": {
                        "positive_data_acceptance": {"enabled": False},
                        "unsupported_method": {"enabled": False},
                    },
                },
                {
                    # No description says which names are taken, who may own or hold what, which passwords
                    # are fit.
                    "include-path-regex": "^/(bim/(group|iam/|user)|project|service|apis)|/apikey(/system)?$",
                    "checks": {"positive_data_acceptance": {"enabled": False}},
                },
                {
                    # The technology decides which fields a connection has, and a time has a zone.
                    "include-path-regex": "^/(data/|jobs|api/connections/)",
                    "checks": {"positive_data_acceptance": {"enabled": False}},
                },
                {
                    # 60.0 is a whole number to JSON Schema, and another spelling of one here.
                    "include-path-regex": "/rotate$",
                    "checks": {"positive_data_acceptance": {"enabled": False}},
                },
                {
                    # A client proves itself in the form, with a secret that no description can hold.
                    "include-path-regex": "/oauth/",
                    "checks": {
                        "positive_data_acceptance": {"enabled": False},
                        "unsupported_method": {"enabled": False},
                    },
                },
                {
                    # JSON Schema takes 3.0 for a whole number, and half a character for a text.
                    "include-path-regex": "^/feed/uses$",
                    "checks": {"positive_data_acceptance": {"enabled": False}},
                },
                {
                    # It never ends. Its tests are in tests/web/edge/test_feed.py.
                    "include-path-regex": "^/feed$",
                    "enabled": False,
                },
                {
                    # Gateways ask with any method, and for an audience that is registered.
                    "include-path-regex": "^/verify$",
                    "checks": {
                        "positive_data_acceptance": {"enabled": False},
                        "unsupported_method": {"enabled": False},
                    },
                },
                {
                    # Open for the described method alone: any other is a closed route, 401 (A1).
                    "include-path-regex": "^/health/|^/.well-known/|/user/authenticate$|/apikey/impersonate$",
                    "checks": {"unsupported_method": {"enabled": False}},
                },
            ],
        }
    )
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=config)
    found: dict[tuple[str, str, str], str] = {}
    cases = 0
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                cases += len(event.recorder.interactions)
                for check, failure, sample in failures(event):
                    known = (check, str(event.label), type(failure).__name__)
                    found.setdefault(known, f"{event.label}: {check}: {failure.message}\n  {sample}")
            case events.NonFatalError() | events.FatalError():
                found.setdefault(("error", str(event), ""), f"the fuzzer could not go on: {event}")
            case _:
                pass
    return set(found.values()), cases


def failures(event: Any) -> Iterator[tuple[str, Any, str]]:
    """Return name, failure and reproduction of each failed check of a scenario."""
    for checks in event.recorder.checks.values():
        for check in checks:
            if check.failure_info is not None:
                yield check.name, check.failure_info.failure, check.failure_info.code_sample


def test_the_fuzzer_finds_a_planted_break(
    server: ServerProcess, token: str, document: dict[str, Any]
) -> None:
    """Control: a description that promises something else is caught."""
    wrong = copy.deepcopy(document)
    wrong["components"]["schemas"]["UserView"]["properties"]["id"] = {"type": "string"}
    config = schemathesis.Config.from_dict({"seed": SEED, "base-url": server.url})
    case = schemathesis.openapi.from_dict(wrong, config=config)["/bim/rpc/user/current"]["GET"].Case()
    with pytest.raises(BaseExceptionGroup, match="failure") as caught:
        case.call_and_validate(headers={"Authorization": token})
    assert "violates schema" in str(caught.value.exceptions[0])


def test_the_description_is_openapi_3_1(document: dict[str, Any]) -> None:
    """The document is OpenAPI 3.1 and fits the specification's own schema."""
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()


def test_every_operation_is_named_and_told_of(document: dict[str, Any]) -> None:
    """Each operation has a readable unique id, a summary, a tag and its success."""
    ids = Counter(operation["operationId"] for _, _, operation in operations(document))
    assert [name for name, count in ids.items() if count > 1] == []
    unreadable = [name for name in ids if not re.fullmatch(r"[a-z][a-z0-9_]{2,60}", name)]
    assert unreadable == []
    incomplete = [
        (path, method)
        for path, method, operation in operations(document)
        if not (operation.get("summary") and operation.get("tags") and "200" in operation["responses"])
    ]
    assert incomplete == []


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """Each operation says in a sentence what it does: what its handler's contract says."""
    bare = [
        (path, method) for path, method, operation in operations(document) if not operation.get("description")
    ]
    assert bare == []


def test_every_protected_operation_tells_of_401(document: dict[str, Any]) -> None:
    """An operation that needs a credential says what is answered without one."""
    silent = [
        (path, method)
        for path, method, operation in operations(document)
        if not is_open(document, operation) and "401" not in operation["responses"]
    ]
    assert silent == []


def test_only_open_operations_are_described_as_open(document: dict[str, Any]) -> None:
    """The description says of each operation whether it needs a credential, as the server has it."""
    described = {
        (path, method) for path, method, operation in operations(document) if is_open(document, operation)
    }
    assert described == OPEN_OPERATIONS


@pytest.mark.parametrize(("path", "method"), TWO_GENERATIONS)
def test_both_generations_of_paths_are_described(document: dict[str, Any], path: str, method: str) -> None:
    """The older paths under /bim and the newer ones without it are both there, and alike."""
    older, newer = document["paths"][path][method], document["paths"][path.removeprefix("/bim")][method]
    older, newer = ({**one, "operationId": ""} for one in (older, newer))
    assert older == newer


def test_errors_are_described_in_their_one_shape(document: dict[str, Any]) -> None:
    """Every documented error refers to the one shape that all errors have, or to that of OAuth.

    OAuth has words for what is wrong with a request, and none for a server that has no time for it.
    """
    shapes = {
        (status if "/oauth/" in path and status in {"400", "401"} else "else", reference)
        for path, _, operation in operations(document)
        for status, response in operation["responses"].items()
        if status >= "400"
        for content in response.get("content", {}).values()
        for reference in re.findall(r"#/components/schemas/(\w+)", json.dumps(content["schema"]))
    }
    # What is no request of OAuth, nor of HTTP, has the one shape there too.
    assert shapes == {
        ("else", "ErrorBody"),
        ("400", "ErrorBody"),
        ("400", "OAuthErrorBody"),
        ("401", "OAuthErrorBody"),
    }
