"""`keyturn admin root-key …`."""

import sys

import click

from keyturn.cli.admin.options import database_option, opened_recovery, opened_sealed
from keyturn.cli.command import Group
from keyturn.cli.lazy import server_packages
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import counting
from keyturn.cli.standard_input import read_stdin
from keyturn.errors import InvalidInput
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


@root_key.command(
    examples={
        "keyturn admin root-key split": "Print five shares, of which three are needed",
        "keyturn admin root-key split --shares 3 --threshold 2": "Print three, of which two are needed",
    },
    more="operate/root-key-lost.md",
)
@click.option(
    "--shares", type=int, default=5, show_default=True, metavar="N", help="How many shares to make."
)
@click.option(
    "--threshold", type=int, default=3, show_default=True, metavar="N", help="How many of them are needed."
)
@json_option
@database_option
def split(*, shares: int, threshold: int, as_json: bool, database: str | None) -> None:
    """Print recovery shares of the root key: words to write on paper, each for another person.

    Fewer shares than are needed tell nothing of the key. They are those of the present root key: make new
    ones after each rotation.
    """
    with opened_recovery(database) as recovery:
        key_id, made = recovery.shares.split(shares=shares, threshold=threshold)
    if as_json:
        print_json({"keyId": key_id, "threshold": threshold, "shares": made})
        return
    for number, share in enumerate(made, 1):
        click.echo(f"Share {number} of {shares} of the root key {key_id}, {threshold} needed:\n{share}\n")


@root_key.command(
    examples={
        "keyturn admin root-key combine": "Type the shares, without showing them",
        "keyturn admin root-key combine < shares": "Read them from a file, one a line",
    },
    more="operate/root-key-lost.md",
)
@json_option
@database_option
def combine(*, as_json: bool, database: str | None) -> None:
    """Write the root key file again, from recovery shares on standard input, one a line.

    Nothing is written unless the shares make the root key of this database, and a file is never replaced.
    """
    with opened_recovery(database) as recovery:
        key_id, file = recovery.shares.combine(_read_shares())
    if as_json:
        print_json({"keyId": key_id, "file": str(file)})
    else:
        click.echo(f"The root key {key_id} is in {file}.")


def _read_shares() -> list[str]:
    """Return the lines of standard input, or what is typed on a terminal until there are enough shares."""
    from keyturn.services.installation.recovery import needed

    if not sys.stdin.isatty():
        return read_stdin("shares").splitlines()
    shares: list[str] = []
    wanted = 1
    while len(shares) < wanted:
        share: str = click.prompt(f"Share {len(shares) + 1}", hide_input=True)
        threshold = needed(share)
        if threshold is None:
            click.echo("This is not a recovery share: type it again.", err=True)
        elif share not in shares:
            shares.append(share)
            wanted = threshold
    return shares


@root_key.command(
    examples={"keyturn admin root-key replace --lost": "Begin anew with another root key"},
    more="operate/root-key-lost.md",
)
@click.option("--lost", is_flag=True, required=True, help="The root key is lost, and no shares are left.")
@json_option
@database_option
def replace(*, lost: bool, as_json: bool, database: str | None) -> None:  # noqa: ARG001 - click refuses its absence
    """Go on without the root key that is lost. Type "replace" to confirm, or pipe it in.

    Every bearer token ends. Secrets of connections and system keys cannot be read any more: enter and make
    them again. API keys, people, sessions and passwords go on.
    """
    with opened_recovery(database) as recovery:
        recovery.replacement.check_lost()
        _confirm("replace", "All bearer tokens end, and all encrypted secrets become unreadable.")
        replaced = recovery.replacement.run(COMMAND_LINE)
    if as_json:
        rows = [{"table": table, "row": row} for table, row in replaced.unreadable]
        print_json({"keyId": replaced.key_id, "unreadable": rows})
        return
    click.echo(f"The root key {replaced.key_id} encrypts from now on, and a new signing key signs.")
    for table, row in replaced.unreadable:
        click.echo(_TO_DO[table].format(row))
    if replaced.wrote_file:
        click.echo("Copy the root key file to where you keep it, and make recovery shares.")


def _confirm(word: str, consequences: str) -> None:
    """Raise `InvalidInput` unless the word is typed, or comes on standard input."""
    if sys.stdin.isatty():
        given: str = click.prompt(f'{consequences} Type "{word}" to go on')
    else:
        given = read_stdin("confirmation")
    if given.strip() != word:
        raise InvalidInput("confirmation", f'Nothing is changed: "{word}" was not typed.')


_TO_DO = {
    "connection": "Enter the secrets of the connection {} again.",
    "system_key": "Regenerate the system key {}.",
}
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
