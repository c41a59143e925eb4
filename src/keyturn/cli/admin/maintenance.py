"""`keyturn admin migrate`, `check` and `root-key`."""

import os

import click

from keyturn.cli.admin.options import LOG_LEVEL, database_option, opened_services
from keyturn.cli.progress import working
from keyturn.errors import StoreUnavailable
from keyturn.logs import configure_logs
from keyturn.services.installation.vault import new_root_key
from keyturn.settings import read_settings
from keyturn.store import open_engine
from keyturn.store.database.migrations import current_version, migrate
from keyturn.system import System


@click.command("migrate")
@database_option
def migrate_command(database: str | None) -> None:
    """Bring the database to the schema of this program, or begin an installation in an empty one.

    Starting the server brings an older schema up to date too, unless it is told not to.
    """
    configure_logs(LOG_LEVEL)
    engine = open_engine(read_settings(os.environ, database=database).database)
    before = current_version(engine)
    migrate(engine)
    after = current_version(engine)
    engine.dispose()
    if before is None:
        click.echo(f"A new installation is begun, with the schema {after}.")
    elif before == after:
        click.echo(f"The schema is at {after}.")
    else:
        click.echo(f"The schema went from {before} to {after}.")


@click.command()
@database_option
def check(database: str | None) -> None:
    """Say whether the server could start: settings, database, schema, root key, signing keys."""
    with opened_services(database) as services:
        with working("Reading the whole database…"):
            problems = services.store.integrity_problems()
        try:
            services.store.check_writes()
        except StoreUnavailable as error:
            problems.append(str(error))
        click.echo(
            f"{len(services.signing_keys.list_all())} signing key, "
            f"revision {services.store.installation.revision()}."
        )
    for problem in problems:
        click.echo(f"The database reports: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)
    click.echo("All is well.")


@click.command("root-key")
def root_key() -> None:
    """Print a new root key, for KEYTURN_ROOT_KEY_FILE. Keep it outside the database and its backups."""
    click.echo(new_root_key(System()), nl=False)
