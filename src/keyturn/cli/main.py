"""The entry: finds the commands, and turns what goes wrong into one sentence."""

import os
import sys

import click

from keyturn import __version__
from keyturn.cli.colors import wants_color
from keyturn.cli.lazy import LazyCommand
from keyturn.cli.output import EXIT_REFUSED, accept_any_text, end_without_output, is_of_output
from keyturn.cli.start import StartGroup
from keyturn.errors import KeyturnError, StoreUnavailable

EXIT_INTERRUPTED = 130
"""The exit status of a program that SIGINT ended: 128 and the signal's number."""
EXIT_DEFECT = 70
"""EX_SOFTWARE of sysexits.h."""

_START, _KEYS, _CALL, _RUN, _ADMINISTER = (
    "Get started",
    "Keys and tokens",
    "Call APIs",
    "Run a server",
    "Administer",
)
_COMMANDS = {
    "login": LazyCommand(_START, "keyturn.cli.remote.login:login", "Sign this machine in with the browser."),
    "configure": LazyCommand(
        _START, "keyturn.cli.remote.commands:configure", "Sign this machine in with a key that you have."
    ),
    "whoami": LazyCommand(_START, "keyturn.cli.remote.commands:whoami", "Show whose key this is."),
    "logout": LazyCommand(
        _START, "keyturn.cli.remote.login:logout", "Revoke the key of the profile and forget it."
    ),
    "completion": LazyCommand(
        _START, "keyturn.cli.completion:completion", "Print the completion script of a shell."
    ),
    "key": LazyCommand(
        _KEYS, "keyturn.cli.remote.keys:key", "Create, list, rotate and revoke your own keys."
    ),
    "token": LazyCommand(_KEYS, "keyturn.cli.remote.commands:token", "Print a bearer token."),
    "thumbprint": LazyCommand(
        _KEYS, "keyturn.cli.remote.thumbprint:thumbprint", "Print the thumbprint of a key pair."
    ),
    "api": LazyCommand(_CALL, "keyturn.cli.remote.commands:api", "Send a request and print the answer."),
    "serve": LazyCommand(_RUN, "keyturn.cli.serve:serve", "Run the server."),
    "admin": LazyCommand(
        _ADMINISTER, "keyturn.cli.admin.commands:admin", "Administer the database of this server directly."
    ),
}


@click.group(
    cls=StartGroup,
    lazy_commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples={
        "keyturn login https://keys.example.com": "Sign this machine in",
        'keyturn key create --name "nightly export"': "Create a key",
        'curl -H "Authorization: Bearer $(keyturn token)" https://api.example.com': "Call an API",
        "keyturn serve --demo": "Try a server on this machine",
    },
    more="howto/use-the-command-line.md",
)
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(*, debug: bool) -> None:
    """Create, verify and revoke API keys and bearer tokens that you host yourself."""
    click.get_current_context().obj = debug


def main() -> None:
    """Run the command line. No traceback reaches a person without `--debug`."""
    accept_any_text()
    try:
        code = _run()
        if sys.stdout is not None:
            sys.stdout.flush()  # Now, while a failure can still be told.
    except click.Abort:
        code = EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except Exception as error:
        if "--debug" in sys.argv[1:]:
            raise
        code = _tell(error)
    sys.exit(code)


def _run() -> int:
    # Without its standalone mode click returns the code of an `Exit` instead of raising it.
    code = cli.main(prog_name="keyturn", standalone_mode=False, color=wants_color(os.environ))
    return code if isinstance(code, int) else 0


def _tell(error: Exception) -> int:
    """Say in one sentence on standard error what went wrong; return the exit code."""
    match error:
        case StoreUnavailable():
            text, code = f"{str(error)[0].upper()}{str(error)[1:]}.", EXIT_REFUSED
        case KeyturnError():
            text, code = str(error), EXIT_REFUSED
        case OSError() if is_of_output(error):
            return end_without_output(error)
        case OSError(filename=str(name)):
            text, code = f"{name} cannot be used: {error.strerror}.", EXIT_REFUSED
        case _:
            text, code = _of_http(error) or _of_defect(error)
    click.echo(f"keyturn: {text}", err=True)
    return code


def _of_http(error: Exception) -> tuple[str, int] | None:
    # Here, since this imports httpx, which takes longer than all the rest: most commands end without.
    from keyturn.cli.remote.unreachable import explain

    return explain(error)


def _of_defect(error: Exception) -> tuple[str, int]:
    return f"this is a defect ({type(error).__name__}); run `keyturn --debug …` to see where.", EXIT_DEFECT
