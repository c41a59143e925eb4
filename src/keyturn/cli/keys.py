"""`keyturn admin key …`."""

import click

from keyturn.cli.options import database_option, opened_services
from keyturn.cli.restrictions import allow_from_option, dpop_jkt_option, expires_option, restriction_text
from keyturn.cli.standard_input import read_stdin
from keyturn.cli.tables import print_table
from keyturn.core.lifetimes import Lifetime
from keyturn.core.principal import BUILT_IN_IAM
from keyturn.core.sources import Network
from keyturn.core.times import readable_time
from keyturn.services.actors import COMMAND_LINE
from keyturn.services.keys import USES_DAYS


@click.group()
def key() -> None:
    """Make, list, revoke and import API keys."""


user_option = click.option("--user", "userid", required=True, help="Whose key it is.")
name_option = click.option("--name", help="What the key is for.")
default_expires_option = expires_option("the server's KEYTURN_KEY_LIFE_DAYS from now")


@key.command()
@user_option
@name_option
@default_expires_option
@allow_from_option
@dpop_jkt_option
@database_option
def add(
    userid: str,
    name: str | None,
    expires: Lifetime | None,
    sources: tuple[Network, ...],
    dpop_jkt: str | None,
    database: str | None,
) -> None:
    """Make a key, and print it and nothing else. It cannot be shown again."""
    with opened_services(database) as services:
        user = services.accounts.get_by_userid(BUILT_IN_IAM, userid)
        created = services.keys.create_for(
            user.user_id,
            COMMAND_LINE,
            name=name,
            lifetime=expires,
            sources=sources,
            dpop_jkt=dpop_jkt,
        )
    click.echo(created.secret)


@key.command("list")
@user_option
@database_option
def list_keys(userid: str, database: str | None) -> None:
    """List the keys of a user, without their secrets."""
    columns = (
        "id",
        "key",
        "name",
        "made",
        "expires",
        "last used",
        f"uses, {USES_DAYS} days",
        "only",
        "state",
    )
    with opened_services(database) as services:
        user = services.accounts.get_by_userid(BUILT_IN_IAM, userid)
        uses = services.keys.count_uses(user.user_id)
        rows = [
            (
                str(record.key_id),
                record.masked,
                record.name or "",
                readable_time(record.created_at),
                readable_time(record.expires_at) if record.expires_at else "never",
                readable_time(record.last_use.at) if record.last_use else "never",
                f"{uses.get(record.key_id, 0):,}",
                restriction_text(
                    project_id=record.project_id,
                    scopes=record.scopes,
                    sources=record.sources,
                    jkt=record.jkt,
                ),
                record.state(services.system.now()).value,
            )
            for record in services.keys.list_of(user.user_id)
        ]
    print_table(columns, rows)


@key.command()
@click.argument("key_id", type=int)
@database_option
def revoke(key_id: int, database: str | None) -> None:
    """Revoke the key with this id, and every token made from it."""
    with opened_services(database) as services:
        services.keys.revoke_any(key_id, COMMAND_LINE)
    click.echo(f"Key {key_id} is revoked.")


@key.command("import")
@user_option
@name_option
@default_expires_option
@database_option
def import_key(userid: str, name: str | None, expires: Lifetime | None, database: str | None) -> None:
    """Take over a key that was made elsewhere, read from standard input.

    Clients that hold it go on working. Only its digest is stored.
    """
    text = read_stdin("apikey").strip()
    with opened_services(database) as services:
        user = services.accounts.get_by_userid(BUILT_IN_IAM, userid)
        record = services.keys.import_foreign(
            user.user_id, COMMAND_LINE, text=text, name=name, lifetime=expires
        )
    click.echo(f"Imported as key {record.key_id} of {user.userid}.")
