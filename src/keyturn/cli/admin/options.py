"""Options that several commands share, and the services they work on."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keyturn.cli.lazy import server_packages
from keyturn.cli.standard_input import read_stdin
from keyturn.errors import InvalidInput

if TYPE_CHECKING:
    from keyturn.composition import Recovery, Sealed, Services

LOG_LEVEL = "critical"
"""The log of a command that ends soon: its one sentence tells of every failure."""

F = TypeVar("F", bound=Callable[..., Any])


def _check_database(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse a password on the command line, where every user of the machine can read it."""
    if value is None:
        return None
    with server_packages():
        from keyturn.store.database.engine import has_password
    if has_password(value):  # What else is wrong with it is said where it is opened.
        raise click.BadParameter(
            "do not put the password here, where other users can see it: set KEYTURN_DATABASE instead, "
            "or use PGPASSFILE."
        )
    return value


def database_option(command: F) -> F:
    """Add `--database`."""
    return click.option(
        "--database",
        metavar="URL",
        callback=_check_database,
        help="sqlite:///path or postgresql://user@host/name. [env: KEYTURN_DATABASE; default: a file in "
        "your data directory]",
    )(command)


def password_option(command: F) -> F:
    """Add `--password-stdin`."""
    return click.option(
        "--password-stdin", is_flag=True, help="Read the password from standard input, without asking."
    )(command)


@contextmanager
def opened_services(database: str | None, *, may_begin: bool = False) -> "Iterator[Services]":
    """Open the services for one command, and close them after it.

    Unless it `may_begin` an installation, raise `CannotStart` where there is none: an address that was
    mistyped is told of, and nothing is made there. The schema is left as it is, and what the installation has
    announced is as its server has it, whatever this shell says.
    """
    with server_packages():
        from keyturn.composition import open_services
        from keyturn.logs import configure_logs
        from keyturn.settings import read_settings
    configure_logs(LOG_LEVEL)
    settings = read_settings(os.environ, database=database)
    services = open_services(settings, must_exist=not may_begin, beside_server=True)
    try:
        yield services
    finally:
        services.close()


@contextmanager
def opened_sealed(database: str | None) -> "Iterator[Sealed]":
    """Open an installation for a command that checks or renews what is encrypted in it, and close it after.

    Raise `CannotStart` where there is none, as `opened_services` does. A row that does not open is not one
    of its reasons.
    """
    with server_packages():
        from keyturn.composition import open_sealed
        from keyturn.logs import configure_logs
        from keyturn.settings import read_settings
    configure_logs(LOG_LEVEL)
    with open_sealed(read_settings(os.environ, database=database)) as sealed:
        yield sealed


@contextmanager
def opened_recovery(database: str | None) -> "Iterator[Recovery]":
    """Open an installation for a command that the loss of the root key must not stop."""
    with server_packages():
        from keyturn.composition import open_recovery
        from keyturn.logs import configure_logs
        from keyturn.settings import read_settings
    configure_logs(LOG_LEVEL)
    with open_recovery(read_settings(os.environ, database=database)) as recovery:
        yield recovery


def read_password(*, from_stdin: bool) -> str:
    """Return a password from standard input, or ask for it twice."""
    if from_stdin:
        given = read_stdin("password").removesuffix("\n").removesuffix("\r")
        if not given:
            raise InvalidInput("password", "The password on standard input is empty.")
        return given
    if not sys.stdin.isatty():
        raise InvalidInput("password", "There is no terminal to ask on: pipe it in, with --password-stdin.")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt="Once more")
    return password
