"""The output of commands, and the end of a command that cannot print."""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from keyturn.core.shown import shown_json

F = TypeVar("F", bound=Callable[..., Any])

EXIT_REFUSED = 1
EXIT_CANNOT_PRINT = 74
"""EX_IOERR of sysexits.h."""
EXIT_CLOSED_PIPE = 1
"""As click ends, too. Nobody is left to tell more."""


_OF_OUTPUT = frozenset({errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EBADF})


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def json_text(value: Any) -> str:
    """Return a value as JSON, indented for people and scripts alike."""
    return shown_json(msgspec.json.format(msgspec.json.encode(value))).decode()


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json_text(value))


def print_secret(text: str, *, otherwise: str) -> None:
    """Print what is shown once. If that fails, say on standard error what to do `otherwise`, then raise."""
    try:
        click.echo(text)
    except OSError:
        click.echo(f"keyturn: {otherwise}", err=True)
        raise


def accept_any_text() -> None:
    """Escape the characters that a terminal or a file in another encoding than UTF-8 cannot hold."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_of_output(error: OSError) -> bool:
    """Return whether writing to standard output failed: an error of that kind, and about no file by name."""
    return error.filename is None and error.errno in _OF_OUTPUT


def end_without_output(error: OSError) -> int:
    """Say that the output cannot be written; return the exit code. A closed pipe gets no message."""
    # What is still buffered would be tried again, and fail again, when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return EXIT_CLOSED_PIPE
    click.echo(f"keyturn: The output cannot be written: {error.strerror}.", err=True)
    return EXIT_CANNOT_PRINT
