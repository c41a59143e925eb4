"""`keyturn admin key …`."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.output import json_option, print_secret
from keyturn.cli.restrictions import expires_option, restriction_options, restriction_text
from keyturn.cli.standard_input import read_stdin
from keyturn.cli.tables import Column, never_without, print_list
from keyturn.core.lifetimes import Lifetime
from keyturn.core.pages import every
from keyturn.core.records import ApiKeyRecord
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import Restrictions
from keyturn.core.shown import shown
from keyturn.services.keys.keys import USES_DAYS, NewKey
from keyturn.verifying.origin import COMMAND_LINE


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
@restriction_options
@database_option
def add(
    userid: str,
    name: str | None,
    expires: Lifetime | None,
    restrictions: Restrictions,
    database: str | None,
) -> None:
    """Make a key, and print it and nothing else. It cannot be shown again."""
    with opened_services(database) as services:
        user = services.users.get_by_userid(None, userid)
        created = services.keys.create_for(user.user_id, COMMAND_LINE, NewKey(name, expires, restrictions))
    if user.is_disabled:
        click.echo(f"{shown(user.userid)} is disabled: the key opens nothing until that ends.", err=True)
    print_secret(
        created.secret,
        otherwise="The key could not be printed, and lives: `keyturn admin key revoke "
        f"{created.record.key_id}` ends it.",
    )


@key.command("list")
@user_option
@json_option
@database_option
def list_keys(userid: str, *, as_json: bool, database: str | None) -> None:
    """List the keys of a user, without their secrets."""
    with opened_services(database) as services:
        user = services.users.get_by_userid(None, userid)
        columns = _columns(services.keys.count_uses(user.user_id), services.system.now())
        keys = every(lambda offset, size: services.keys.list_of(user.user_id, offset=offset, size=size))
        print_list(keys, columns, as_json=as_json)


def _columns(uses: Mapping[int, int], now: datetime) -> tuple[Column[ApiKeyRecord], ...]:
    return (
        Column("id", "id", lambda one: one.key_id),
        Column("key", "masked", lambda one: one.masked),
        Column("name", "name", lambda one: one.name),
        Column("made", "createdAt", lambda one: one.created_at),
        Column("expires", "expiresAt", lambda one: one.expires_at, never_without),
        Column(
            "last used", "lastUsedAt", lambda one: one.last_use.at if one.last_use else None, never_without
        ),
        Column(
            f"uses, {USES_DAYS} days", "uses", lambda one: uses.get(one.key_id, 0), lambda count: f"{count:,}"
        ),
        Column("only", None, _restriction_text),
        Column(None, "project", lambda one: one.project_id),
        *(Column(None, kind.wire, partial(_restriction, kind.wire)) for kind in KINDS),
        Column("state", "state", lambda one: one.state(now).value),
    )


def _restriction_text(one: ApiKeyRecord) -> str:
    return restriction_text(one.project_id, one.restrictions)


def _restriction(name: str, one: ApiKeyRecord) -> object:
    return one.restrictions.to_wire()[name]


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
        user = services.users.get_by_userid(None, userid)
        record = services.keys.import_foreign(
            user.user_id, COMMAND_LINE, text=text, name=name, lifetime=expires
        )
    click.echo(f"Imported as key {record.key_id} of {user.userid}.")
