"""`keyturn admin migrate`, `check` and `root-key`."""

import os

import click

from keyturn.cli.admin.options import LOG_LEVEL, database_option, opened_services
from keyturn.cli.command import Command
from keyturn.cli.lazy import server_packages
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import SLOW_SECONDS, working
from keyturn.errors import StoreUnavailable


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
    """Check that the server could start: settings, database, schema, root key, signing keys.

    The exit code is 1 if it could not.
    """
    with opened_services(database) as services:
        with working("Reading the whole database…"):
            problems = services.store.integrity_problems()
        try:
            services.store.check_writes()
        except StoreUnavailable as error:
            problems.append(str(error))
        signing_keys = len(services.signing_keys.list_all())
        revision = services.store.installation.revision()
    if as_json:
        print_json({"signingKeys": signing_keys, "revision": revision, "problems": problems})
    else:
        keys = "1 signing key" if signing_keys == 1 else f"{signing_keys} signing keys"
        click.echo(f"{keys}, revision {revision}.")
        for problem in problems:
            click.echo(f"The database reports: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)
    if not as_json:
        click.echo("All is well.")


@click.command(
    "root-key",
    cls=Command,
    examples={"(umask 077 && keyturn admin root-key > root.key)": "Keep a new root key in a file"},
    more="howto/install.md",
)
def root_key() -> None:
    """Print a new root key for KEYTURN_ROOT_KEY_FILE. Keep it outside the database and its backups."""
    with server_packages():
        from keyturn.services.installation.vault import new_root_key
        from keyturn.system import System
    click.echo(new_root_key(System()), nl=False)
