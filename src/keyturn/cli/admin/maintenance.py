"""`keyturn admin check`."""

import click

from keyturn.cli.admin.options import database_option, opened_sealed, opened_services
from keyturn.cli.command import Command
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import working
from keyturn.errors import StoreUnavailable
from keyturn.system import utc_now


@click.command(
    cls=Command,
    examples={
        "keyturn admin check": "Check the database in your data directory",
        "keyturn admin check --json | jq -r '.problems[]'": "List the problems",
    },
    more="howto/troubleshooting.md",
)
@json_option
@database_option
def check(*, as_json: bool, database: str | None) -> None:
    """Check that the server could start: settings, database, schema, root key, everything encrypted.

    The exit code is 1 if it could not.
    """
    with opened_sealed(database) as sealed, working("Reading the whole database…"):
        problems = sealed.store.integrity_problems()
        problems += [str(broken) for broken in sealed.seals.find_broken()]
        signing_keys = sealed.store.signing_keys.list_verifying(utc_now())
        revision = sealed.store.installation.revision()
        try:
            sealed.store.check_writes()
        except StoreUnavailable as error:
            problems.append(str(error))
    if not problems:
        # What else a start looks at; it makes the first signing key, too.
        with opened_services(database) as services:
            signing_keys = services.signing_keys.list_all()
            revision = services.store.installation.revision()
    _report(problems, signing_keys=len(signing_keys), revision=revision, as_json=as_json)
    if problems:
        raise click.exceptions.Exit(1)


def _report(problems: list[str], *, signing_keys: int, revision: int, as_json: bool) -> None:
    if as_json:
        print_json({"signingKeys": signing_keys, "revision": revision, "problems": problems})
        return
    keys = "1 signing key" if signing_keys == 1 else f"{signing_keys} signing keys"
    click.echo(f"{keys}, revision {revision}.")
    for problem in problems:
        click.echo(f"Problem: {problem}", err=True)
    if not problems:
        click.echo("All is well.")
