"""`keyturn key …`: one's own keys on a server."""

from datetime import datetime

import click

from keyturn.cli.remote import client_of, json_option, print_json, profile_option
from keyturn.cli.tables import print_table
from keyturn.core.times import readable_time


@click.group()
def key() -> None:
    """Make, list and revoke your own keys."""


@key.command()
@click.option("--name", help="What the key is for.")
@click.option(
    "--project", "project_id", type=int, help="A project, by number, whose connections alone it sees."
)
@json_option
@profile_option
def create(*, name: str | None, project_id: int | None, profile: str, as_json: bool) -> None:
    """Make a key, and print it and nothing else. It cannot be shown again."""
    with client_of(profile) as client:
        made = client.create_key(name, project_id=project_id)
    if as_json:
        print_json(made)
    else:
        click.echo(made.apikey)


@key.command("list")
@json_option
@profile_option
def list_keys(*, profile: str, as_json: bool) -> None:
    """List your keys, without their secrets."""
    with client_of(profile) as client:
        keys = list(client.list_keys())
    if as_json:
        print_json(keys)
        return
    rows = [
        (
            str(one.id),
            one.masked,
            one.name or "",
            _moment(one.created_at),
            _moment(one.expires_at),
            _moment(one.last_used_at),
            one.state,
        )
        for one in keys
    ]
    print_table(("id", "key", "name", "made", "expires", "last used", "state"), rows)


@key.command()
@click.argument("key_id", type=int)
@profile_option
def revoke(*, key_id: int, profile: str) -> None:
    """Revoke one of your keys, and every token made from it."""
    with client_of(profile) as client:
        client.revoke_key(key_id)
    click.echo(f"Key {key_id} is revoked.")


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else readable_time(moment)
