"""Logs: one JSON object per line, on standard error, control characters escaped (S6)."""

import json
import logging
import sys
from typing import Any

import structlog
from structlog.typing import Processor


def _encode(event: dict[str, Any], **_: Any) -> str:
    """Write one line, in ASCII alone: nothing in it that a terminal or a reader of lines would obey."""
    return _ENCODER.encode(event)


_ENCODER = json.JSONEncoder(default=repr)
"""Made once: `json.dumps` with options makes one for each line."""


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
