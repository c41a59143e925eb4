"""`keyturn admin signing-key …`."""

from datetime import timedelta

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.output import json_option
from keyturn.cli.tables import Column, print_list
from keyturn.core.records import SigningKeyRecord
from keyturn.core.times import readable_time
from keyturn.services.tokens.signing_keys import LEAD
from keyturn.verifying.origin import COMMAND_LINE

MAX_LEAD_SECONDS = 7 * 24 * 3600


_COLUMNS: tuple[Column[SigningKeyRecord], ...] = (
    Column("kid", "kid", lambda one: one.kid),
    Column("algorithm", "algorithm", lambda one: one.algorithm),
    Column("signs from", "signsFrom", lambda one: one.signs_from),
    Column(
        "verifies until",
        "verifiesUntil",
        lambda one: one.verifies_until,
        lambda end: readable_time(end) if end else "it is replaced",
    ),
)


@click.group("signing-key")
def signing_key() -> None:
    """List and replace the keys that sign bearer tokens."""


@signing_key.command("list")
@json_option
@database_option
def list_keys(*, as_json: bool, database: str | None) -> None:
    """List the keys whose tokens may still live."""
    with opened_services(database) as services:
        print_list(services.signing_keys.list_all(), _COLUMNS, as_json=as_json)


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
