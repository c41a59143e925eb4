"""Options that several commands share, and the services they work on."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import click

from keyturn.composition import Services, open_services
from keyturn.errors import InvalidInput
from keyturn.services.keys import Lifetime
from keyturn.settings import read_settings
from keyturn.store.engine import holds_a_password

F = TypeVar("F", bound=Callable[..., Any])

MAX_SECRET_BYTES = 4096


def _check_database(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse a password on the command line, where every user of the machine can read it."""
    if value is None:
        return None
    if holds_a_password(value):  # What else is wrong with it is said where it is opened.
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
        "--password-stdin", is_flag=True, help="Read the passphrase from standard input, without asking."
    )(command)


@contextmanager
def opened_services(database: str | None, *, may_begin: bool = False) -> Iterator[Services]:
    """Open the services for one command, and close them after it.

    Unless it `may_begin` an installation, raise `CannotStart` where there is none: an address that was
    mistyped is told of, and nothing is made there. The schema is left as it is.
    """
    settings = read_settings(os.environ, database=database)
    services = open_services(settings, must_exist=not may_begin, may_migrate=False)
    try:
        yield services
    finally:
        services.close()


def read_passphrase(*, from_stdin: bool) -> str:
    """Return a passphrase from standard input, or ask for it twice."""
    if from_stdin:
        return read_stdin("password").removesuffix("\n").removesuffix("\r")
    passphrase: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt="Once more")
    return passphrase


def read_stdin(field: str) -> str:
    """Return standard input as text, whatever the locale; raise `InvalidInput` for bytes that are none."""
    try:
        return sys.stdin.buffer.read(MAX_SECRET_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(field, "Standard input is not UTF-8 text.") from None


class LifetimeType(click.ParamType[Lifetime, Any]):
    """`90d`, a date like 2027-01-31, or `never`."""

    name = "90d|DATE|never"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Lifetime:
        """Read the choice."""
        if isinstance(value, Lifetime):
            return value
        if value == "never":
            return Lifetime(None)
        if value.endswith("d") and value[:-1].isascii() and value[:-1].isdigit() and len(value) <= 5:
            return Lifetime(datetime.now(UTC) + timedelta(days=int(value[:-1])))
        try:
            day = date.fromisoformat(value)
        except ValueError:
            self.fail("give a number of days like 90d, a date like 2027-01-31, or never.", param, ctx)
        try:
            return Lifetime(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1))
        except OverflowError:
            self.fail("give an earlier date, or never.", param, ctx)
