"""`keyturn admin user …`."""

import click

from keyturn.cli.admin.options import (
    database_option,
    opened_services,
    password_option,
    read_password,
)
from keyturn.cli.browser import USERS_PAGE, show_page, web_option
from keyturn.cli.command import Group
from keyturn.cli.output import json_option, print_json
from keyturn.cli.tables import Column, as_object, print_list
from keyturn.core.people import UserRecord
from keyturn.core.permissions import Permission
from keyturn.verifying.origin import COMMAND_LINE

ALL = "all"
"""Instead of a permission: every one."""
NO_USERS = "There is no user yet. `keyturn admin user add USERID` adds one."


_COLUMNS: tuple[Column[UserRecord], ...] = (
    Column("ID", "id", lambda one: one.user_id),
    Column("User", "userid", lambda one: one.userid, is_flexible=True),
    Column("Name", "name", lambda one: one.profile.name, is_flexible=True),
    Column(
        "State", "disabled", lambda one: one.is_disabled, lambda is_so: "suspended" if is_so else "active"
    ),
    Column("Last sign-in", "lastLoginAt", lambda one: one.last_login_at, missing="never"),
    Column(
        "Permissions",
        "permissions",
        lambda one: sorted(one.permissions),
        lambda held: ALL if set(held) == set(Permission) else " ".join(held),
        is_flexible=True,
    ),
)


@click.group(
    cls=Group,
    examples={
        "keyturn admin user add ada@example.com --name Ada --permission all": "Add an administrator",
        "keyturn admin user disable ada@example.com": "Suspend an account",
        "keyturn admin user disable ada@example.com --undo": "Restore it",
    },
    more="howto/manage-people.md",
)
def user() -> None:
    """Add, list, suspend and restore users."""


@user.command(
    examples={
        "keyturn admin user add ada@example.com --name Ada": "Add a user, and type the password",
        "keyturn admin user add ada@example.com --permission all": "Add an administrator",
        "keyturn admin user add ada@example.com --password-stdin < password.txt": "Read the password",
    }
)
@click.argument("userid")
@click.option("--name", help="The full name.")
@click.option("--email", help="The email address.")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice([ALL, *(permission.value for permission in Permission)]),
    metavar="PERMISSION",
    help="A permission, or `all`. Can be repeated. Everybody has CREATE_PROJECT.",
)
@password_option
@json_option
@database_option
def add(
    userid: str,
    name: str | None,
    email: str | None,
    permissions: tuple[str, ...],
    *,
    password_stdin: bool,
    as_json: bool,
    database: str | None,
) -> None:
    """Add a user who signs in as USERID.

    In your empty data directory this begins an installation.
    """
    with opened_services(database, may_begin=True) as services:
        record = services.users.add(
            COMMAND_LINE,
            userid=userid,
            name=name,
            email=email,
            password=read_password(from_stdin=password_stdin),
            permissions=Permission if ALL in permissions else permissions,
        )
    if as_json:
        print_json(as_object(record, _COLUMNS))
        return
    click.echo(f"Added {record.userid} with {', '.join(sorted(record.permissions))}.")


@user.command(
    "list",
    examples={
        "keyturn admin user list": "List all users",
        "keyturn admin user list --json | jq -r '.[] | select(.disabled) | .userid'": "List suspended users",
        "keyturn admin user list --web": "Open the page of users",
    },
)
@json_option
@web_option
@database_option
def list_users(*, as_json: bool, web: bool, database: str | None) -> None:
    """List all users."""
    with opened_services(database) as services:
        if web:
            show_page(services.settings.public_url + USERS_PAGE)
            return
        print_list(services.users.list_all(), _COLUMNS, as_json=as_json, if_none=NO_USERS)


@user.command(
    examples={
        "keyturn admin user disable ada@example.com": "Suspend an account",
        "keyturn admin user disable ada@example.com --undo": "Restore it",
    },
    more="howto/when-someone-leaves.md",
)
@click.argument("userid")
@click.option("--undo", is_flag=True, help="Restore the account. Revoked keys stay revoked.")
@database_option
def disable(userid: str, *, undo: bool, database: str | None) -> None:
    """Suspend the account USERID: stop its sessions, keys and tokens at once. Restore it with --undo."""
    with opened_services(database) as services:
        changed = services.users.set_disabled(COMMAND_LINE, userid, disabled=not undo)
    state = "restored" if undo else "suspended"
    was = "active" if undo else "suspended"
    click.echo(f"{userid} is {state}." if changed else f"{userid} was {was} already.")


@user.command(
    "sign-out", examples={"keyturn admin user sign-out ada@example.com": "End all sessions and tokens"}
)
@click.argument("userid")
@database_option
def sign_out(userid: str, *, database: str | None) -> None:
    """End all sessions and bearer tokens of USERID at once. The keys work on."""
    with opened_services(database) as services:
        services.users.sign_out(COMMAND_LINE, userid)
    click.echo(f"{userid} is signed out everywhere.")


@user.command(
    examples={"keyturn admin user unlock ada@example.com": "Let ada sign in again after wrong passwords"},
    more="howto/manage-people.md",
)
@click.argument("userid")
@database_option
def unlock(userid: str, *, database: str | None) -> None:
    """Unlock the account USERID after wrong passwords. The password stays."""
    with opened_services(database) as services:
        found = services.users.get_by_userid(None, userid)
        unlocked = services.users.unlock(COMMAND_LINE, found.user_id)
    click.echo(f"{userid} is unlocked." if unlocked else f"{userid} was not locked.")


@user.command(
    examples={"keyturn admin user rename ada ada@example.com": "Let ada sign in as ada@example.com"},
    more="howto/manage-people.md",
)
@click.argument("userid")
@click.argument("new")
@database_option
def rename(userid: str, new: str, *, database: str | None) -> None:
    """Change the user name USERID to NEW. Sessions, keys and tokens go on."""
    with opened_services(database) as services:
        services.users.rename(COMMAND_LINE, services.users.get_by_userid(None, userid), new)
    click.echo(f"{userid} is now {new}.")


@user.command(
    examples={
        "keyturn admin user password ada@example.com": "Type a new password",
        "keyturn admin user password ada@example.com --password-stdin < password.txt": "Read it from a file",
    }
)
@click.argument("userid")
@password_option
@database_option
def password(userid: str, *, password_stdin: bool, database: str | None) -> None:
    """Set the password of USERID, end all sessions, and unlock the account. The keys work on."""
    with opened_services(database) as services:
        user = services.users.get_by_userid(None, userid)
        services.users.set_password(COMMAND_LINE, user, read_password(from_stdin=password_stdin))
    click.echo(f"The password of {userid} is set.")
