"""`keyturn admin root-key …`."""

import click

from keyturn.cli.admin.options import database_option, opened_sealed
from keyturn.cli.command import Group
from keyturn.cli.lazy import server_packages
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import counting
from keyturn.verifying.origin import COMMAND_LINE


@click.group(
    "root-key",
    cls=Group,
    invoke_without_command=True,
    examples={
        "(umask 077 && keyturn admin root-key > root.key)": "Keep a new root key in a file",
        "keyturn admin root-key rotate": "Encrypt everything under a new root key",
    },
    more="howto/rotate-the-root-key.md",
)
@click.pass_context
def root_key(context: click.Context) -> None:
    """Print a new root key for KEYTURN_ROOT_KEY_FILE. Keep it outside the database and its backups."""
    if context.invoked_subcommand is not None:
        return
    with server_packages():
        from keyturn.services.installation.root_keys import new_root_key
        from keyturn.system import System
    click.echo(new_root_key(System()), nl=False)


@root_key.command(
    examples={
        "keyturn admin root-key rotate": "Encrypt everything under a new root key",
        "keyturn admin root-key rotate --json | jq .problems": "List what could not be read",
    }
)
@json_option
@database_option
def rotate(*, as_json: bool, database: str | None) -> None:
    """Encrypt everything under a new root key, while servers run. Run it again if it was interrupted.

    The file root.key beside an SQLite database is written for you. Otherwise you put the new root key first,
    into the file on every node or into what the command prints. The exit code is 1 if a row does not open.
    """
    with opened_sealed(database) as sealed, counting("Encrypting anew…") as on_progress:
        rotated = sealed.rotation.run(COMMAND_LINE, on_progress)
    problems = [str(broken) for broken in rotated.broken]
    if as_json:
        print_json(
            {
                "keyId": rotated.key_id,
                "renewed": rotated.renewed,
                "formerNeeded": rotated.former_needed,
                "problems": problems,
            }
        )
    else:
        rows = "1 row is" if rotated.renewed == 1 else f"{rotated.renewed} rows are"
        click.echo(f"{rows} encrypted anew, under the root key {rotated.key_id}.")
        for problem in problems:
            click.echo(problem, err=True)
        click.echo(_WHAT_NEXT[rotated.former_needed, rotated.wrote_file])
    if problems:
        raise click.exceptions.Exit(1)


_WHAT_NEXT = {
    (
        False,
        True,
    ): "No row needs the former root key, which is removed from the file. Copy the file to where you "
    "keep it, and keep the former root key as long as the backups that were made under it.",
    (
        False,
        False,
    ): "No row needs another root key: remove the lines below the first one, on every node. Keep the "
    "former root key as long as the backups that were made under it.",
    (True, True): "Keep the former root keys, which are still in the file: repair or delete these rows, and "
    "rotate again.",
    (True, False): "Keep the former root keys: repair or delete these rows, and rotate again.",
}
"""By whether a row still needs a former root key, and whether the file is Keyturn's own."""
