"""Logs: one JSON object per line, on standard error, control characters escaped (S6).

Libraries and our own modules that run in other people's processes log with `logging`; a program of ours calls
`configure_logs`, and from then on a thread writes every line of this process, in order (see `log_writer`).
"""

import atexit
import json
import logging
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from io import UnsupportedOperation
from typing import Any

import msgspec
import structlog
from structlog.typing import Processor

from keyturn.log_writer import LogWriter


@dataclass
class _Output:
    """Where the lines of this process go: straight to standard error until `configure_logs` was called."""

    writer: LogWriter | None = None


_OUTPUT = _Output()


def write_line(line: str) -> None:
    """Write one line. Once `configure_logs` was called this neither blocks nor raises."""
    if _OUTPUT.writer is not None:
        _OUTPUT.writer.write(line)
    elif sys.stderr is not None:
        sys.stderr.write(line + "\n")


def flush_logs() -> None:
    """Wait until the lines are written; no longer than a second, since nobody may read them."""
    if _OUTPUT.writer is not None:
        _OUTPUT.writer.flush()


class _LineLogger:
    """The last step of structlog: takes whole lines."""

    def msg(self, line: str) -> None:
        """Write one line."""
        write_line(line)

    debug = info = warning = error = critical = exception = msg


class _LineHandler(logging.Handler):
    """The last step of the standard library's logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of one record; one that cannot be put into words is told of by its logger."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - `logging` would write a traceback to standard error, and wait for it
            line = _encode({"event": "log_line_failed", "logger": record.name, "level": "error"})
        write_line(line)


def _encode(event: dict[str, Any], **_: Any) -> str:
    """Write one line, in ASCII alone: nothing in it that a terminal or a reader of lines would obey."""
    return _ENCODER.encode(event)


_ENCODER = json.JSONEncoder(default=repr)
"""Made once: `json.dumps` with options makes one for each line."""


def write_event(name: str, fields: dict[str, Any]) -> None:
    """Write a line at level info, without structlog's processors, in the form of all others."""
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    event = {**fields, "event": name, "level": "info", "at": at}
    line = msgspec.json.encode(event)
    is_plain = line.isascii() and _DELETE not in line
    write_line(line.decode("ascii") if is_plain else _encode(event))


_DELETE = b"\x7f"
"""The one ASCII control character that JSON need not escape (RFC 8259, section 7)."""


def configure_logs(level: str, *, debug: bool = False) -> None:
    """Set up structlog, and lead the standard library's loggers, warnings and uncaught exceptions through it.

    Tracebacks are written without local variables, which may hold secrets.
    """
    _open_output()
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
        logger_factory=lambda *_: _LineLogger(),
        cache_logger_on_first_use=True,
    )
    handler = _LineHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                traces,
                structlog.processors.JSONRenderer(_encode),
            ],
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.getLogger("keyturn").setLevel(level.upper())
    logging.captureWarnings(True)


def _open_output() -> None:
    if _OUTPUT.writer is not None:
        return
    try:
        # None if it was closed before the start: its descriptor may belong to the database by now.
        file = None if sys.stderr is None else sys.stderr.fileno()
    except (UnsupportedOperation, ValueError):
        file = None
    if file is not None:
        _OUTPUT.writer = LogWriter(file)
        atexit.register(flush_logs)


def log_uncaught() -> None:
    """Write what no code catches, in any thread, as a line of the log in place of Python's own text."""

    def write(kind: type[BaseException] | None, error: BaseException | None, _trace: object = None) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
            structlog.get_logger().critical("uncaught", exc_info=(kind, error, error.__traceback__))

    sys.excepthook = write
    threading.excepthook = lambda told: write(told.exc_type, told.exc_value)
    sys.unraisablehook = lambda told: write(told.exc_type, told.exc_value)
