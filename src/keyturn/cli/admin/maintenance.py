"""`keyturn admin migrate` and `check`."""

import os

import click

from keyturn.cli.admin.options import LOG_LEVEL, database_option, opened_sealed, opened_services
from keyturn.cli.command import Command
from keyturn.cli.lazy import server_packages
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import SLOW_SECONDS, working
from keyturn.errors import StoreUnavailable
from keyturn.system import utc_now


@click.command(
    "migrate",
    cls=Command,
    examples={
        "keyturn admin migrate": "Upgrade the database in your data directory",
        "keyturn admin migrate --database postgresql://keyturn@db.example.com/keyturn": "Upgrade another one",
    },
    more="howto/install.md",
)
@json_option
@database_option
def migrate_command(*, as_json: bool, database: str | None) -> None:
    """Upgrade the database to the schema of this program, or begin an installation in an empty database.

    `keyturn serve` upgrades an older schema too, unless it is started with --no-migrate.
    """
    with server_packages():
        from keyturn.logs import configure_logs
        from keyturn.settings import read_settings
        from keyturn.store import open_engine
        from keyturn.store.database.migrations import current_version, migrate
    configure_logs(LOG_LEVEL)
    engine = open_engine(read_settings(os.environ, database=database).database)
    before = current_version(engine)
    with working("Upgrading the database…", after_seconds=SLOW_SECONDS):
        migrate(engine)
    after = current_version(engine)
    engine.dispose()
    if as_json:
        print_json({"before": before, "after": after})
    elif before is None:
        click.echo(f"A new installation is begun, with the schema {after}.")
    elif before == after:
        click.echo(f"The schema is at {after}.")
    else:
        click.echo(f"The schema went from {before} to {after}.")


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
