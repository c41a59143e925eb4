"""`keyturn admin user …`."""

import click

from keyturn.cli.admin.options import (
    database_option,
    opened_services,
    password_option,
    read_password,
)
from keyturn.cli.output import json_option
from keyturn.cli.tables import Column, never_without, print_list
from keyturn.core.people import UserRecord
from keyturn.core.permissions import Permission
from keyturn.verifying.origin import COMMAND_LINE

ALL = "all"
"""Instead of a permission: every one."""


_COLUMNS: tuple[Column[UserRecord], ...] = (
    Column("id", "id", lambda one: one.user_id),
    Column("user", "userid", lambda one: one.userid),
    Column("name", "name", lambda one: one.profile.name),
    Column(
        "permissions",
        "permissions",
        lambda one: sorted(one.permissions),
        lambda held: ALL if set(held) == set(Permission) else " ".join(held),
    ),
    Column("last sign-in", "lastLoginAt", lambda one: one.last_login_at, never_without),
    Column("state", "disabled", lambda one: one.is_disabled, lambda is_so: "disabled" if is_so else "active"),
)


@click.group()
def user() -> None:
    """Add, list and stop people."""


@user.command()
@click.argument("userid")
@click.option("--name", help="The person's full name.")
@click.option("--email", help="Their email address.")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice([ALL, *(permission.value for permission in Permission)]),
    help="A permission, or `all`; can be given several times. CREATE_PROJECT is held by everybody.",
)
@password_option
@database_option
def add(
    userid: str,
    name: str | None,
    email: str | None,
    permissions: tuple[str, ...],
    *,
    password_stdin: bool,
    database: str | None,
) -> None:
    """Add a person who signs in as USERID."""
    with opened_services(database, may_begin=True) as services:
        record = services.users.add(
            COMMAND_LINE,
            userid=userid,
            name=name,
            email=email,
            password=read_password(from_stdin=password_stdin),
            permissions=Permission if ALL in permissions else permissions,
        )
    click.echo(f"Added {record.userid} with {', '.join(sorted(record.permissions))}.")


@user.command("list")
@json_option
@database_option
def list_users(*, as_json: bool, database: str | None) -> None:
    """List all people."""
    with opened_services(database) as services:
        print_list(services.users.list_all(), _COLUMNS, as_json=as_json)


@user.command()
@click.argument("userid")
@click.option("--undo", is_flag=True, help="Let them in again. Revoked keys stay revoked.")
@database_option
def disable(userid: str, *, undo: bool, database: str | None) -> None:
    """Stop the sessions, keys and tokens of USERID at once."""
    with opened_services(database) as services:
        changed = services.users.set_disabled(COMMAND_LINE, userid, disabled=not undo)
    state = "enabled" if undo else "disabled"
    click.echo(f"{userid} is {state}." if changed else f"{userid} was {state} already.")


@user.command("sign-out")
@click.argument("userid")
@database_option
def sign_out(userid: str, *, database: str | None) -> None:
    """End all sessions and bearer tokens of USERID at once. Their keys go on working."""
    with opened_services(database) as services:
        services.users.sign_out(COMMAND_LINE, userid)
    click.echo(f"{userid} is signed out everywhere.")


@user.command()
@click.argument("userid")
@password_option
@database_option
def password(userid: str, *, password_stdin: bool, database: str | None) -> None:
    """Set the password of USERID and end all their sessions. Their keys stay."""
    with opened_services(database) as services:
        user = services.users.get_by_userid(None, userid)
        services.users.set_password(COMMAND_LINE, user, read_password(from_stdin=password_stdin))
    click.echo(f"The password of {userid} is set.")
