"""Progress of a command that works for long: one line on standard error, and only on a terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from keyturn.cli.colors import wants_color

SLOW_SECONDS = 1.0
"""How long work may take before a person is told of it, where it is short as a rule."""


@contextmanager
def working(text: str, *, after_seconds: float = 0.0) -> Iterator[None]:
    """Show `text`, with something that moves, until the block ends; not before `after_seconds`."""
    # Not as rich tells a terminal: FORCE_COLOR makes one of a pipe for it.
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    status = Console(stderr=True, no_color=wants_color(os.environ) is False).status(text)
    timer = Timer(after_seconds, status.start)
    timer.daemon = True
    if after_seconds:
        timer.start()
    else:
        status.start()
    try:
        yield
    finally:
        timer.cancel()
        if after_seconds:
            timer.join()
        status.stop()
