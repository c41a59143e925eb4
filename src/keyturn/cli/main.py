"""The entry: finds the commands, and turns what goes wrong into one sentence."""

import sys

import click

from keyturn import __version__
from keyturn.cli.lazy import LazyCommand, LazyGroup
from keyturn.cli.output import EXIT_REFUSED, accept_any_text, end_without_output, is_of_output
from keyturn.errors import KeyturnError, StoreUnavailable

EXIT_INTERRUPTED = 130
"""The exit status of a program that SIGINT ended: 128 and the signal's number."""
EXIT_DEFECT = 70
"""EX_SOFTWARE of sysexits.h."""

_COMMANDS = {
    "admin": LazyCommand("keyturn.cli.admin.commands:admin", "Work on the database of this server directly."),
    "api": LazyCommand("keyturn.cli.remote.commands:api", "Ask anything of the API, and print the answer."),
    "completion": LazyCommand(
        "keyturn.cli.completion:completion", "Print what makes a shell complete the commands."
    ),
    "configure": LazyCommand(
        "keyturn.cli.remote.commands:configure", "Keep the address of a server and a key for it."
    ),
    "key": LazyCommand("keyturn.cli.remote.keys:key", "Make, list, rotate and revoke your own keys."),
    "login": LazyCommand(
        "keyturn.cli.remote.login:login", "Sign this machine in by way of a page in the browser."
    ),
    "logout": LazyCommand(
        "keyturn.cli.remote.login:logout", "Revoke the key of the profile, and forget it here."
    ),
    "serve": LazyCommand("keyturn.cli.serve:serve", "Run the server."),
    "thumbprint": LazyCommand(
        "keyturn.cli.remote.thumbprint:thumbprint", "Print the thumbprint of a key pair."
    ),
    "token": LazyCommand(
        "keyturn.cli.remote.commands:token", "Exchange the key, and print the bearer token."
    ),
    "whoami": LazyCommand("keyturn.cli.remote.commands:whoami", "Say whose key this is."),
}
_OF_THE_SERVER = frozenset({"admin", "serve"})


@click.group(
    cls=LazyGroup,
    lazy_commands=_COMMANDS,
    of_the_server=_OF_THE_SERVER,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(*, debug: bool) -> None:
    """API keys and bearer tokens, self-hosted."""
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
    code = cli.main(prog_name="keyturn", standalone_mode=False)
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
    from keyturn.cli.remote.unreachable import explain  # noqa: PLC0415 - see above

    return explain(error)


def _of_defect(error: Exception) -> tuple[str, int]:
    return f"this is a defect ({type(error).__name__}); run `keyturn --debug …` to see where.", EXIT_DEFECT
