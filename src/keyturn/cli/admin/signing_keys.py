"""`keyturn admin signing-key …`."""

from datetime import timedelta

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.command import Group
from keyturn.cli.output import json_option, print_json
from keyturn.cli.tables import Column, as_object, print_list
from keyturn.core.records import SigningKeyRecord
from keyturn.core.times import readable_time
from keyturn.verifying.origin import COMMAND_LINE

MAX_LEAD_SECONDS = 7 * 24 * 3600

_COLUMNS: tuple[Column[SigningKeyRecord], ...] = (
    Column("Key ID", "kid", lambda one: one.kid),
    Column("Algorithm", "algorithm", lambda one: one.algorithm),
    Column("Signs from", "signsFrom", lambda one: one.signs_from),
    Column("Verifies until", "verifiesUntil", lambda one: one.verifies_until, missing="rotation"),
)


@click.group(
    "signing-key",
    cls=Group,
    examples={
        "keyturn admin signing-key list": "List the keys that sign tokens",
        "keyturn admin signing-key rotate": "Rotate them, with time for every cache to follow",
    },
    more="howto/when-a-key-leaks.md",
)
def signing_key() -> None:
    """List and rotate the keys that sign bearer tokens."""


@signing_key.command(
    "list",
    examples={
        "keyturn admin signing-key list": "List the keys that sign tokens",
        "keyturn admin signing-key list --json | jq -r '.[].kid'": "Print their IDs",
    },
)
@json_option
@database_option
def list_keys(*, as_json: bool, database: str | None) -> None:
    """List the keys whose tokens may still be alive."""
    with opened_services(database) as services:
        print_list(services.signing_keys.list_all(), _COLUMNS, as_json=as_json)


@signing_key.command(
    examples={
        "keyturn admin signing-key rotate": "Sign with a new key in ten minutes",
        "keyturn admin signing-key rotate --lead 86400": "Sign with it in a day",
        "keyturn admin signing-key rotate --leaked": "Refuse every token of the former keys at once",
    }
)
@click.option(
    "--lead",
    type=click.IntRange(0, MAX_LEAD_SECONDS),
    metavar="SECONDS",
    help="How long the new key is published before it signs: APIs may cache the published keys. "
    "[default: 600]",
)
@click.option(
    "--leaked",
    is_flag=True,
    help="Sign with a new key at once, and refuse every token of the former ones.",
)
@json_option
@database_option
def rotate(*, lead: int | None, leaked: bool, as_json: bool, database: str | None) -> None:
    """Create a new signing key. Running servers follow by themselves."""
    with opened_services(database) as services:
        if leaked:
            record = services.signing_keys.replace_at_once(COMMAND_LINE)
        elif lead is None:
            record = services.signing_keys.rotate(COMMAND_LINE)
        else:
            record = services.signing_keys.rotate(COMMAND_LINE, lead=timedelta(seconds=lead))
    if as_json:
        print_json(as_object(record, _COLUMNS))
    else:
        click.echo(f"{record.kid} signs from {readable_time(record.signs_from)}.")
    if leaked:
        click.echo(
            "Every bearer token from before is refused: clients exchange their keys again. Whatever verifies "
            "with a copy of the published keys accepts them until it fetches the keys anew.",
            err=as_json,
        )
