"""A collector of traces: OTLP over HTTP on loopback, as OpenTelemetry's own one takes it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 30


@dataclass
class Collector:
    """What it received, and where it listens."""

    port: int
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Any]:
        """All spans, in the order in which they came."""
        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The attributes of those who sent spans."""
        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [attributes_of(one.resource) for request in requests for one in request.resource_spans]

    def wait_for(self, name: str) -> Any:
        """Return the first span of this name."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if found := [span for span in self.spans if span.name == name]:
                return found[0]
            time.sleep(0.05)
        raise AssertionError(f"there is no span {name}: {[span.name for span in self.spans]}")


def attributes_of(thing: Any) -> dict[str, Any]:
    """Return the attributes of a span or a resource as plain values."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in thing.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Receive traces until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.paths.append(self.path)
            collector.bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
