"""The entry: finds the commands, and turns what goes wrong into one sentence."""

import re
import sys

import click
import httpx

from keyturn import __version__
from keyturn.cli.lazy import LazyCommand, LazyGroup
from keyturn.errors import KeyturnError

EXIT_REFUSED = 1
EXIT_NO_ANSWER = 69
"""EX_UNAVAILABLE of sysexits.h."""
EXIT_DEFECT = 70
"""EX_SOFTWARE of sysexits.h."""

_COMMANDS = {
    "admin": LazyCommand("keyturn.cli.admin:admin", "Work on the database of this server directly."),
    "api": LazyCommand("keyturn.cli.remote:api", "Ask anything of the API, and print the answer."),
    "completion": LazyCommand(
        "keyturn.cli.completion:completion", "Print what makes a shell complete the commands."
    ),
    "configure": LazyCommand(
        "keyturn.cli.remote:configure", "Keep the address of a server and a key for it."
    ),
    "key": LazyCommand("keyturn.cli.remote_keys:key", "Make, list, rotate and revoke your own keys."),
    "login": LazyCommand("keyturn.cli.login:login", "Sign this machine in by way of a page in the browser."),
    "logout": LazyCommand("keyturn.cli.login:logout", "Revoke the key of the profile, and forget it here."),
    "serve": LazyCommand("keyturn.cli.serve:serve", "Run the server."),
    "thumbprint": LazyCommand("keyturn.cli.thumbprint:thumbprint", "Print the thumbprint of a key pair."),
    "token": LazyCommand("keyturn.cli.remote:token", "Exchange the key, and print the bearer token."),
    "whoami": LazyCommand("keyturn.cli.remote:whoami", "Say whose key this is."),
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


def _without_answer(error: httpx.TransportError) -> str:
    """Say where nobody answered, why, as far as the system knows, and what to do."""
    server = f"{error.request.url.scheme}://{error.request.url.netloc.decode('ascii')}"
    reason = re.sub(r"^\[[^]]*\] *", "", str(error)).rstrip(".")  # Without the number of the error.
    why = f" ({reason})" if reason else ""
    return f"Nobody answers at {server}{why}: check the address, and that the server runs."


def main() -> None:
    """Run the command line. No traceback reaches a person without `--debug`."""
    debug = "--debug" in sys.argv[1:]
    try:
        # Without its standalone mode click returns the code of an `Exit` instead of raising it.
        code = cli.main(prog_name="keyturn", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyturnError as error:
        if debug:
            raise
        click.echo(f"keyturn: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    except httpx.TransportError as error:
        if debug:
            raise
        click.echo(f"keyturn: {_without_answer(error)}", err=True)
        sys.exit(EXIT_NO_ANSWER)
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"keyturn: this is a defect ({type(error).__name__}); run `keyturn --debug …` to see where.",
            err=True,
        )
        sys.exit(EXIT_DEFECT)
