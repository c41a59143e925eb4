"""`keyturn admin key …`."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.browser import USERS_PAGE, show_page, web_option
from keyturn.cli.command import Group
from keyturn.cli.output import json_option, json_text, print_json, print_secret
from keyturn.cli.progress import SLOW_SECONDS, working
from keyturn.cli.restrictions import expires_option, restriction_options, restriction_text
from keyturn.cli.standard_input import read_stdin
from keyturn.cli.tables import Column, as_object, print_list
from keyturn.core.lifetimes import Lifetime
from keyturn.core.pages import every
from keyturn.core.records import ApiKeyRecord
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import Restrictions
from keyturn.core.shown import shown
from keyturn.verifying.origin import COMMAND_LINE

if TYPE_CHECKING:
    from keyturn.services.keys.keys import CreatedKey


@click.group(
    cls=Group,
    examples={
        "keyturn admin key add --user ada@example.com --expires 90d": "Create a key for a user",
        "keyturn admin key list --user ada@example.com": "List the keys of a user",
        "keyturn admin key revoke 12": "Revoke the key with the ID 12",
    },
    more="reference/command-line.md",
)
def key() -> None:
    """Create, list, revoke and import API keys."""


user_option = click.option(
    "--user", "userid", required=True, metavar="USERID", help="The user whose key it is."
)
name_option = click.option("--name", help="The purpose of the key.")
default_expires_option = expires_option("the server's KEYTURN_KEY_LIFE_DAYS from now")


@key.command(
    examples={
        'keyturn admin key add --user ada@example.com --name "export" --expires 90d': "Create a key",
        "keyturn admin key add --user ada@example.com --allow-from 192.0.2.0/24": "Bind it to a network",
        "keyturn admin key add --user ada@example.com --json | jq -r .apikey": "Get the key from JSON",
    },
    more="howto/restrict-a-key.md",
)
@user_option
@name_option
@default_expires_option
@restriction_options
@json_option
@database_option
def add(
    userid: str,
    name: str | None,
    expires: Lifetime | None,
    restrictions: Restrictions,
    *,
    as_json: bool,
    database: str | None,
) -> None:
    """Create a key, and print it and nothing else. It cannot be shown again."""
    with opened_services(database) as services:
        from keyturn.services.keys.keys import NewKey

        user = services.users.get_by_userid(None, userid)
        created = services.keys.create_for(user.user_id, COMMAND_LINE, NewKey(name, expires, restrictions))
        now = services.system.now()
    if user.is_disabled:
        click.echo(f"{shown(user.userid)} is suspended: the key opens nothing until that ends.", err=True)
    print_secret(
        json_text(_with_secret(created, now)) if as_json else created.secret,
        otherwise="The key could not be printed, and lives: `keyturn admin key revoke "
        f"{created.record.key_id}` ends it.",
    )


def _with_secret(created: "CreatedKey", now: datetime) -> dict[str, object]:
    return as_object(created.record, _columns({}, now)) | {"apikey": created.secret}


@key.command(
    "list",
    examples={
        "keyturn admin key list --user ada@example.com": "List the keys of a user",
        "keyturn admin key list --user ada@example.com --json | jq '.[].expiresAt'": "See when they end",
        "keyturn admin key list --user ada@example.com --web": "Open the page of the user",
    },
)
@user_option
@json_option
@web_option
@database_option
def list_keys(userid: str, *, as_json: bool, web: bool, database: str | None) -> None:
    """List the keys of a user, without their secrets, and how often each was used in 30 days."""
    with opened_services(database) as services:
        user = services.users.get_by_userid(None, userid)
        if web:
            show_page(f"{services.settings.public_url}{USERS_PAGE}/{user.user_id}")
            return
        uses = services.key_uses.count(user.user_id)
        columns = _columns(uses, services.system.now())
        keys = every(lambda offset, size: services.keys.list_of(user.user_id, offset=offset, size=size))
        if_none = f"{shown(user.userid)} has no keys. `keyturn admin key add --user …` creates one."
        print_list(keys, columns, as_json=as_json, if_none=if_none)


def _columns(uses: Mapping[int, int], now: datetime) -> tuple[Column[ApiKeyRecord], ...]:
    return (
        Column("ID", "id", lambda one: one.key_id),
        Column("Name", "name", lambda one: one.name, is_flexible=True),
        Column("Key", "masked", lambda one: one.masked),
        Column("State", "state", lambda one: one.state(now).value),
        Column(None, "createdAt", lambda one: one.created_at),
        Column("Expires", "expiresAt", lambda one: one.expires_at, missing="never"),
        Column(
            "Last used",
            "lastUsedAt",
            lambda one: one.last_use.at if one.last_use else None,
            missing="never",
        ),
        Column("Uses", "uses", lambda one: uses.get(one.key_id, 0)),
        Column("Limits", None, _restriction_text, is_flexible=True),
        Column(None, "project", lambda one: one.project_id),
        *(Column(None, kind.wire, partial(_restriction, kind.wire)) for kind in KINDS),
    )


def _restriction_text(one: ApiKeyRecord) -> str:
    return restriction_text(one.project_id, one.restrictions)


def _restriction(name: str, one: ApiKeyRecord) -> object:
    return one.restrictions.to_wire()[name]


@key.command(
    examples={"keyturn admin key revoke 12": "Revoke the key with the ID 12"},
    more="howto/when-a-key-leaks.md",
)
@click.argument("key_id", type=int)
@database_option
def revoke(key_id: int, database: str | None) -> None:
    """Revoke the key with this ID, and every token made from it, at once."""
    with opened_services(database) as services:
        services.keys.revoke_any(key_id, COMMAND_LINE)
    click.echo(f"Key {key_id} is revoked.")


@key.command(
    "import",
    examples={
        "keyturn admin key import --user ada@example.com --name legacy < key.txt": "Import the key in a file"
    },
    more="howto/import-keys.md",
)
@user_option
@name_option
@default_expires_option
@json_option
@database_option
def import_key(
    userid: str, name: str | None, expires: Lifetime | None, *, as_json: bool, database: str | None
) -> None:
    """Import a key of another system from standard input.

    Clients that hold it work on. Only its digest is stored.
    """
    text = read_stdin("apikey").strip()
    with opened_services(database) as services:
        user = services.users.get_by_userid(None, userid)
        with working("Importing the key…", after_seconds=SLOW_SECONDS):
            record = services.keys.import_foreign(
                user.user_id, COMMAND_LINE, text=text, name=name, lifetime=expires
            )
        now = services.system.now()
    if as_json:
        print_json(as_object(record, _columns({}, now)))
        return
    click.echo(f"Imported as key {record.key_id} of {user.userid}.")
