"""Logs: one JSON object per line, on standard error, control characters escaped (S6)."""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from structlog.typing import Processor


def _encode(event: dict[str, Any], **_: Any) -> str:
    """Write one line, in ASCII alone: nothing in it that a terminal or a reader of lines would obey."""
    return _ENCODER.encode(event)


_ENCODER = json.JSONEncoder(default=repr)
"""Made once: `json.dumps` with options makes one for each line."""


class RequestLog:
    """Writes the line of each request, in the form of all others.

    Without structlog's chain of processors, which takes as long as verifying several credentials.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def write(self, **fields: Any) -> None:
        """Write one line, if lines of this level are wanted."""
        if not self._log.is_enabled_for(logging.INFO):
            return
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        event = {**fields, "event": "request", "level": "info", "at": at}
        line = msgspec.json.encode(event)
        is_plain = line.isascii() and _DELETE not in line
        sys.stderr.write((line.decode("ascii") if is_plain else _encode(event)) + "\n")


_DELETE = b"\x7f"
"""The one ASCII control character that JSON need not escape (RFC 8259, section 7)."""


def configure_logs(level: str, *, debug: bool = False) -> None:
    """Set up structlog, and lead the standard library's loggers through it.

    Tracebacks are written without local variables, which may hold secrets.
    """
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    traces = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    structlog.configure(
        processors=[*shared, traces, structlog.processors.JSONRenderer(_encode)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                traces,
                structlog.processors.JSONRenderer(_encode),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if debug else logging.WARNING)


def log_uncaught() -> None:
    """Write what no code catches, in any thread, as a line of the log in place of Python's own text."""

    def write(kind: type[BaseException] | None, error: BaseException | None, _trace: object = None) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
            structlog.get_logger().critical("uncaught", exc_info=(kind, error, error.__traceback__))

    sys.excepthook = write
    threading.excepthook = lambda told: write(told.exc_type, told.exc_value)
    sys.unraisablehook = lambda told: write(told.exc_type, told.exc_value)
