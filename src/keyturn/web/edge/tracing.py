"""The traces of requests (OpenTelemetry), and the ids by which others know a request already.

A plain `/verify` has no span: it takes less time than a span. Names and attributes of spans are those of
OpenTelemetry's semantic conventions for HTTP. Paths are told as they are declared, never with what stands in
them, and no query, header, body or address is.
"""

import re
import threading
from collections.abc import Callable, Sequence
from http import HTTPMethod, HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from keyturn import __version__
from keyturn.errors import CannotStart

if TYPE_CHECKING:
    from opentelemetry.trace import Span

NEEDED = (
    "KEYTURN_TRACES=true needs packages that are not installed: install keyturn[server,telemetry], or leave "
    "the setting out."
)
FLUSH_SECONDS = 2.0
"""How long the end of a process waits for its last spans."""
TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
"""W3C Trace Context, section 3.2, version 00."""
REQUEST_ID = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""As gateways make them: a UUID, or 32 hexadecimal digits. No credential of ours looks like that."""

_METHODS = frozenset(HTTPMethod)
Headers = Sequence[tuple[bytes, bytes]]


def given_request_id(headers: Headers) -> str | None:
    """Return the id that a request has from whoever sent it, None unless there is one and it is sane."""
    return _only(headers, b"x-request-id", REQUEST_ID)


def given_trace_id(headers: Headers) -> str | None:
    """Return the trace that a request is a part of, by its `traceparent`; None for none or an unfit one."""
    found = _only(headers, b"traceparent", TRACEPARENT)
    trace, span = (None, None) if found is None else found.split("-")[1:3]
    return trace if trace is not None and trace.strip("0") and span and span.strip("0") else None


def check_can_trace() -> None:
    """Raise `CannotStart` if the extra that traces need is not installed. Imports nothing of it."""
    try:
        is_there = find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:
        is_there = False
    if not (is_there and find_spec("opentelemetry.sdk") is not None):
        raise CannotStart(NEEDED)


class Traces:
    """Makes spans, and sends them as OpenTelemetry's own variables say (`OTEL_…`)."""

    def __init__(self) -> None:
        """Open the exporter; raise `CannotStart` without the extra."""
        check_can_trace()
        # With 20 MB, for servers that trace.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        name = OTELResourceDetector().detect().attributes.get("service.name", "keyturn")
        resource = Resource.create({"service.name": name, "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("keyturn", __version__)

    async def trace(self, scope: Any, respond: Callable[[], Any]) -> None:
        """Answer a request within a span, which is a child of the one that `traceparent` names."""
        from opentelemetry.propagate import extract  # noqa: PLC0415 - as above
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - as above

        parent = None
        if given_trace_id(scope["headers"]) is not None:
            names = {b"traceparent": "traceparent", b"tracestate": "tracestate"}
            carrier = {
                names[name]: value.decode("latin-1") for name, value in scope["headers"] if name in names
            }
            parent = extract(carrier)
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        with self._tracer.start_as_current_span(
            method, context=parent, kind=SpanKind.SERVER, attributes={"http.request.method": method}
        ) as span:
            trace_id = f"{span.get_span_context().trace_id:032x}"
            scope["state"] = {**scope.get("state", {}), "trace_id": trace_id}
            try:
                await respond()
            finally:
                _describe(span, method, scope)

    def close(self) -> None:
        """Send the last spans, no longer than a moment: nobody may take them."""
        closing = threading.Thread(target=self._provider.shutdown, name="keyturn-traces", daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)


def _describe(span: "Span", method: str, scope: Any) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - as above

    state, user = scope["state"], scope.get("user")
    route, status = scope.get("path_template") or state.get("route"), state.get("status")
    if route:
        span.update_name(f"{method} {route}")
    told = {
        "http.route": route,
        "http.response.status_code": status,
        "error.type": state.get("failure"),
        "keyturn.request_id": getattr(state.get("origin"), "request_id", None),
        "keyturn.user_id": getattr(user, "user_id", None),
        "keyturn.key_id": getattr(user, "key_id", None),
    }
    span.set_attributes({name: value for name, value in told.items() if value is not None})
    if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_status(Status(StatusCode.ERROR))


def _only(headers: Headers, wanted: bytes, form: re.Pattern[bytes]) -> str | None:
    """Return the value of a field that stands there once and has this form; else None."""
    values = [value for name, value in headers if name == wanted]
    if len(values) != 1 or form.fullmatch(values[0]) is None:
        return None
    return values[0].decode("ascii")
