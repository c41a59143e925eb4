"""The entry: collects the commands, and turns what goes wrong into one sentence."""

import sys

import click

from keyturn import __version__
from keyturn.cli.keys import key
from keyturn.cli.maintenance import check, migrate_command, root_key
from keyturn.cli.serve import serve
from keyturn.cli.signing_keys import signing_key
from keyturn.cli.tokens import token
from keyturn.cli.users import user
from keyturn.errors import KeyturnError

EXIT_REFUSED = 1
EXIT_DEFECT = 70
"""EX_SOFTWARE of sysexits.h."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(*, debug: bool) -> None:
    """API keys and bearer tokens, self-hosted."""
    click.get_current_context().obj = debug


@cli.group()
def admin() -> None:
    """Work on the database of this server directly."""


cli.add_command(serve)
admin.add_command(user)
admin.add_command(key)
admin.add_command(token)
admin.add_command(signing_key)
admin.add_command(migrate_command)
admin.add_command(check)
admin.add_command(root_key)


def main() -> None:
    """Run the command line. No traceback reaches a person without `--debug`."""
    debug = "--debug" in sys.argv[1:]
    try:
        # Without its standalone mode click returns the code of an `Exit` instead of raising it.
        code = cli.main(standalone_mode=False)
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
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"keyturn: this is a defect ({type(error).__name__}); run `keyturn --debug …` to see where.",
            err=True,
        )
        sys.exit(EXIT_DEFECT)
