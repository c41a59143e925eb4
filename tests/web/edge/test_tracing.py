"""Traces of requests, sent to a real collector, and the ids by which others know a request."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from keyturn import Verifier
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.web.edge.tracing import given_trace_id
from tests.collectors import Collector, attributes_of, collecting
from tests.databases import new_sqlite_database
from tests.journeys.processes import KEYTURN, free_port
from tests.people import HERE, add_person, holder, person
from tests.servers import running_server
from tests.web.processes import server_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.composition import Services

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
LONGER = {"Cookie": "a=b"}
"""With this a request for `/verify` is not plain."""


@contextmanager
def traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[httpx.Client, Collector, Services]]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with running_server(new_sqlite_database(tmp_path), traces=True) as server:
            add_person(server.services)
            with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
                yield client, collector, server.services


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[httpx.Client, Collector, Services]]:
    """A client of a server that traces, what the collector got, and the services."""
    with traced(tmp_path, monkeypatch) as found:
        yield found


def test_a_request_is_a_child_of_the_one_that_it_serves(
    site: tuple[httpx.Client, Collector, Services],
) -> None:
    """A span has the route, the status and the ids, and the parent that `traceparent` names."""
    client, collector, services = site
    key = services.keys.create(person(services, "bob"), HERE, NewKey())
    answer = client.delete(
        f"/bim/apikey/{key.record.key_id}", headers={"Authorization": key.secret, **TRACEPARENT}
    )
    assert answer.status_code == 200
    span = collector.wait_for("DELETE /bim/apikey/{keyid}")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    found = attributes_of(span)
    assert found["http.request.method"] == "DELETE"
    assert found["http.route"] == "/bim/apikey/{keyid}"
    assert found["http.response.status_code"] == 200
    assert found["keyturn.request_id"] == answer.headers["x-request-id"]
    assert found["keyturn.key_id"] == key.record.key_id
    assert found["keyturn.user_id"] == person(services, "bob").user_id
    assert collector.paths[0] == "/v1/traces"
    assert collector.resources[0]["service.name"] == "keyturn"


def test_a_refusal_is_told_by_its_reason(site: tuple[httpx.Client, Collector, Services]) -> None:
    """What was refused says why, as the log does; a client's fault is no error of the server."""
    client, collector, _ = site
    client.post("/apikey/authenticate", data={"apikey": "no-key"})
    span = collector.wait_for("POST /apikey/authenticate")
    assert attributes_of(span)["error.type"] == "malformed"
    assert attributes_of(span)["http.response.status_code"] == 401
    assert span.status.code == 0


def test_a_plain_verification_has_no_span(site: tuple[httpx.Client, Collector, Services]) -> None:
    """A plain `/verify` is too quick to be told of, good or refused; every other one has a span."""
    client, collector, services = site
    key = services.keys.create(person(services, "bob"), HERE, NewKey()).secret
    for headers in (
        {"Authorization": key},
        {"Authorization": key, **TRACEPARENT},
        {"Authorization": "no-key"},
    ):
        client.get("/verify", headers=headers)
    client.get("/verify", headers={"Authorization": key, **LONGER})
    collector.wait_for("GET /verify")
    assert [span.name for span in collector.spans] == ["GET /verify"]


def test_no_secret_and_no_text_of_a_client_is_told(site: tuple[httpx.Client, Collector, Services]) -> None:
    """Neither credentials nor what stands in paths, queries, bodies and headers is in any span."""
    client, collector, services = site
    key = services.keys.create(person(services, "bob"), HERE, NewKey()).secret
    canary = f"canary{secrets.token_hex(8)}"
    for path in (
        f"/{canary}",
        f"/bim/apikey/{canary}",
        f"/bim/apikey?name={canary}",
        f"/{key}",
        f"/login?then={canary}",
    ):
        client.get(path, headers={"Authorization": key, "User-Agent": canary, "tracestate": f"a={canary}"})
    client.post("/bim/apikey", headers={"Authorization": key}, json={"name": canary})
    client.post("/login", data={"userid": canary, "password": canary})
    client.request(canary.upper(), "/bim/apikey", headers={"Authorization": key})
    client.get("/health/ready")
    collector.wait_for("GET /health/ready")
    sent = b"".join(collector.bodies)
    for secret in (canary, canary.upper(), key, key[4:16], "bob"):
        assert secret.encode() not in sent


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}",
        f" 00-{TRACE}-{PARENT}-01",
    ],
)
def test_an_unfit_traceparent_is_ignored(value: str) -> None:
    """What is not of the form of W3C Trace Context names no trace, as if it were not there."""
    assert given_trace_id([(b"traceparent", value.encode())]) is None


def test_two_traceparents_are_none() -> None:
    """Which of two is meant is not guessed."""
    one = (b"traceparent", TRACEPARENT["traceparent"].encode())
    assert given_trace_id([one]) == TRACE
    assert given_trace_id([one, one]) is None


@pytest.mark.parametrize("traces", ["true", "false"])
def test_the_line_of_a_request_names_its_trace(tmp_path: Path, traces: str) -> None:
    """The log line of a request has the id of the trace that it is a part of, with and without traces."""
    with collecting() as collector:
        given = {"KEYTURN_TRACES": traces, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with server_process(tmp_path, **given) as server:
            httpx.get(f"{server.url}/bim/apikey", headers=TRACEPARENT, trust_env=False)
            deadline = time.monotonic() + 30
            while not any(TRACE in line for line in server.lines()):
                assert time.monotonic() < deadline, server.lines()
                time.sleep(0.05)


def test_a_collector_that_is_away_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are answered, and the server ends, where nobody takes its spans."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with running_server(new_sqlite_database(tmp_path), traces=True) as server:
        for _ in range(3):
            assert httpx.get(f"{server.url}/health/ready", trust_env=False).status_code == 200


def test_a_missing_extra_is_told_at_the_start(tmp_path: Path) -> None:
    """Without its packages a server that is to trace does not start, and says what to install."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()  # Found first, and it holds nothing.
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "KEYTURN_DATABASE": new_sqlite_database(tmp_path),
        "KEYTURN_TRACES": "true",
    }
    for workers in ("1", "2"):
        done = subprocess.run(
            [sys.executable, KEYTURN, "serve", "--port", str(free_port()), "--workers", workers],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode != 0
        assert "keyturn[server,telemetry]" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_verifier_that_asks_tells_the_span_that_it_asks_within(
    site: tuple[httpx.Client, Collector, Services],
) -> None:
    """The introspection of a remote verifier is part of the trace of the request that it judges."""
    client, collector, services = site
    asker = holder(services, "asker", Permission.VERIFY_CREDENTIALS)
    own = services.keys.create(asker, HERE, NewKey()).secret
    key = services.keys.create(person(services, "bob"), HERE, NewKey()).secret
    context = SpanContext(int(TRACE, 16), int(PARENT, 16), is_remote=False, trace_flags=TraceFlags(1))
    verifier = Verifier(str(client.base_url).rstrip("/"), own, follow=False)
    with verifier, use_span(NonRecordingSpan(context)):
        assert verifier.verify(key).userid == "bob"
    deadline = time.monotonic() + 30
    while not any(span.trace_id.hex() == TRACE for span in collector.spans):
        assert time.monotonic() < deadline
        time.sleep(0.05)
