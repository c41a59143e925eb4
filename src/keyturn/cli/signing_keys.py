"""`keyturn admin signing-key …`."""

from datetime import timedelta

import click

from keyturn.cli.options import database_option, opened_services
from keyturn.cli.tables import print_table
from keyturn.core.times import readable_time
from keyturn.services.actors import COMMAND_LINE
from keyturn.services.signing_keys import LEAD

MAX_LEAD_SECONDS = 7 * 24 * 3600


@click.group("signing-key")
def signing_key() -> None:
    """List and replace the keys that sign bearer tokens."""


@signing_key.command("list")
@database_option
def list_keys(database: str | None) -> None:
    """List the keys whose tokens may still live."""
    columns = ("kid", "algorithm", "signs from", "verifies until")
    with opened_services(database) as services:
        rows = [
            (
                record.kid,
                record.algorithm,
                readable_time(record.signs_from),
                readable_time(record.verifies_until) if record.verifies_until else "it is replaced",
            )
            for record in services.signing_keys.list_all()
        ]
    print_table(columns, rows)


@signing_key.command()
@click.option(
    "--lead",
    type=click.IntRange(0, MAX_LEAD_SECONDS),
    default=int(LEAD.total_seconds()),
    show_default=True,
    metavar="SECONDS",
    help="How long the new key is published before it signs: services may cache the published keys.",
)
@click.option(
    "--leaked",
    is_flag=True,
    help="Sign with a new key at once, and refuse every token of the old ones.",
)
@database_option
def rotate(*, lead: int, leaked: bool, database: str | None) -> None:
    """Make a new signing key. Running servers follow by themselves."""
    with opened_services(database) as services:
        if leaked:
            record = services.signing_keys.replace_at_once(COMMAND_LINE)
        else:
            record = services.signing_keys.rotate(COMMAND_LINE, lead=timedelta(seconds=lead))
    click.echo(f"{record.kid} signs from {readable_time(record.signs_from)}.")
    if leaked:
        click.echo(
            "Every bearer token from before is refused: clients exchange their keys again. Whatever verifies "
            "with a copy of the published keys accepts them until it fetches the keys anew."
        )
