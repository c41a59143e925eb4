"""Progress of a command that works for long: one line on standard error, and only on a terminal."""

import os
import sys
from collections.abc import Callable, Iterator
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


@contextmanager
def counting(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show `text` with how many are done and of how many, as the block tells by calling what it is given."""
    if not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    from rich.console import Console

    with Console(stderr=True, no_color=wants_color(os.environ) is False).status(text) as status:
        yield lambda done, of: status.update(f"{text} {done:,} of {of:,}")
