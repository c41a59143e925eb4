"""`keyturn admin restore`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyturn.cli.admin.options import LOG_LEVEL, database_option
from keyturn.cli.command import Command
from keyturn.cli.lazy import server_packages
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import working
from keyturn.errors import InvalidInput

if TYPE_CHECKING:
    from keyturn.services.installation.restore import Restored, Unknown

LISTED = 20
"""Keys that a person is shown; `--json` has all that are named."""

_NAMES = {
    "api_key": "keys",
    "user_account": "users",
    "user_attribute": "attributes of users",
    "group_attribute": "attributes of groups",
    "group_member": "memberships in groups",
    "service_account": "service accounts",
    "project_member": "memberships in projects",
    "former_secret": "former secrets",
    "connection": "connections",
    "object_role": "roles on objects",
    "project_connection": "connections of projects",
    "resource_scope": "scopes",
    "resource_scope_group": "scopes of groups",
}


@click.command(
    cls=Command,
    examples={
        "keyturn admin restore /backup": "Restore the newest backup in a folder",
        "keyturn admin restore /backup/keyturn-20261201T020000Z.backup --yes": "Restore this one in a script",
        "keyturn admin restore --adopt": "Use a database that was put in its place by hand",
    },
    more="operate/restore.md",
)
@click.argument("path", required=False, type=click.Path(path_type=Path), metavar="[PATH]")
@click.option("--adopt", is_flag=True, help="Use the database that is in its place already.")
@click.option(
    "--revoke-unknown",
    "unknown",
    flag_value="revoke",
    help="If nothing tells what was revoked since, revoke all keys and suspend all users.",
)
@click.option(
    "--keep-unknown",
    "unknown",
    flag_value="keep",
    help="If nothing tells what was revoked since, let keys and users work as in the backup.",
)
@click.option("--yes", is_flag=True, help="Do not ask before the database is replaced.")
@json_option
@database_option
def restore(
    *, path: Path | None, adopt: bool, unknown: str | None, yes: bool, as_json: bool, database: str | None
) -> None:
    """Put a backup in the place of the database. PATH is a backup, or a folder of which the newest is taken.

    Stop all servers first. Everything that was revoked since the backup stays revoked; all tokens and
    sessions end. The replaced database is kept.
    """
    if (path is None) is not adopt:
        raise click.UsageError("Name a backup or a folder of them, or give --adopt.")
    with server_packages():
        from keyturn.composition import open_restores
        from keyturn.logs import configure_logs
        from keyturn.settings import read_settings
    configure_logs(LOG_LEVEL)
    restores = open_restores(read_settings(os.environ, database=database))
    if not yes:
        _confirm("Take the database in its place as it is?" if adopt else "Replace the database?", "--yes")

    def decide(found: "Unknown") -> bool:
        return unknown == "revoke" if unknown is not None else _ask(found)

    if path is None:
        restored = restores.adopt(decide)
    else:
        with working("Restoring…"):
            restored = restores.restore(path, decide)
    if as_json:
        print_json(_as_json(restored))
    else:
        _tell(restored)


def _confirm(question: str, option: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidInput("restore", f"There is no terminal to ask on: give {option}.")
    click.confirm(question, abort=True, err=True)


def _ask(found: "Unknown") -> bool:
    """Show the keys that would work again, and ask whether to revoke them."""
    if not sys.stdin.isatty():
        raise InvalidInput(
            "restore",
            f"Nothing tells what was revoked since the backup ({found.why}), and {len(found.keys):,} of "
            "its keys would work: give --revoke-unknown or --keep-unknown.",
        )
    click.echo(f"Nothing tells what was revoked since the backup: {found.why}.", err=True)
    click.echo("These keys would work:", err=True)
    _list(found.keys, err=True)
    return click.confirm("Revoke all of them, and suspend all users?", err=True)


def _list(found: Sequence[tuple[int, str, str]], *, err: bool = False) -> None:
    for number, masked, userid in found[:LISTED]:
        click.echo(f"  {number}  {masked}  {userid}", err=err)
    if len(found) > LISTED:
        click.echo(f"  … and {len(found) - LISTED:,} more", err=err)


_SOURCES = {
    "database": "It was taken from the replaced database what ended since the backup.",
    "log": "It was taken from the log of revocations what ended since the backup.",
    "revoked": "All keys are revoked and all users suspended, since nothing told what ended.",
    "kept": "Keys that were revoked since the backup may work again, since nothing told what ended.",
}


def _tell(restored: "Restored") -> None:
    what = "The database in its place" if restored.backup is None else str(restored.backup)
    click.echo(f"{what} is restored. All tokens and sessions from before are void.")
    click.echo(_SOURCES[restored.source])
    for table, count in restored.carried.counts.items():
        click.echo(f"  {_NAMES[table]}: {count:,}")
    if restored.keys:
        click.echo("Keys that ended again, or changed:")
        _list(restored.keys)
    if restored.kept is not None:
        click.echo(f"The replaced database is kept as {restored.kept}.")


def _as_json(restored: "Restored") -> dict[str, object]:
    return {
        "file": None if restored.backup is None else str(restored.backup),
        "revision": restored.revision,
        "revocations": restored.source,
        "ended": dict(restored.carried.counts),
        "keyIds": list(restored.carried.key_ids),
        "kept": restored.kept,
    }
