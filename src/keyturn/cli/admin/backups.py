"""`keyturn admin backup`."""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from keyturn import __version__
from keyturn.cli.admin.options import database_option, opened_sealed
from keyturn.cli.command import Command
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import counting

if TYPE_CHECKING:
    from keyturn.services.installation.backup import Backup


@click.command(
    cls=Command,
    examples={
        "keyturn admin backup /backup": "Write a backup into a folder",
        "keyturn admin backup /backup --keep 14": "Write one, and delete all but the newest 14",
        "keyturn admin backup --to-stdout > nightly.backup": "Write a backup into a pipe or a file",
    },
    more="howto/back-up.md",
)
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--to-stdout", is_flag=True, help="Write the backup to standard output, once it is verified.")
@click.option(
    "--keep", type=click.IntRange(min=1), metavar="N", help="Delete all backups in DIR but the newest N."
)
@click.option(
    "--with-root-key", is_flag=True, help="Put the root key into the backup, which opens everything."
)
@json_option
@database_option
def backup(
    *,
    folder: Path | None,
    to_stdout: bool,
    keep: int | None,
    with_root_key: bool,
    as_json: bool,
    database: str | None,
) -> None:
    """Write a verified backup of the database into DIR, while servers run.

    The file keyturn-TIME.backup appears when it is whole. It holds no root key: keep that elsewhere.
    """
    if to_stdout:
        if folder is not None or keep is not None or as_json:
            raise click.UsageError("--to-stdout goes with neither DIR, --keep nor --json.")
        _to_stdout(database, with_root_key=with_root_key)
        return
    if folder is None:
        raise click.UsageError("Name the folder for the backup, or give --to-stdout.")
    made = _make(folder, database, with_root_key=with_root_key)
    deleted = [] if keep is None else _prune(folder, keep)
    if as_json:
        print_json(
            {"file": str(made.path), "bytes": made.size, "manifest": made.manifest, "deleted": deleted}
        )
        return
    click.echo(
        f"{made.path} is written and verified: revision {made.manifest['revision']}, {made.size:,} bytes."
    )
    for path in deleted:
        click.echo(f"{path} is deleted.")


def _make(folder: Path, database: str | None, *, with_root_key: bool) -> "Backup":
    if with_root_key:
        click.echo(
            "This backup holds the root key: anybody who reads the file can read every secret in it.",
            err=True,
        )
    with opened_sealed(database) as sealed, counting("Copying the database…") as on_progress:
        return sealed.backups.make(folder, on_progress, version=__version__, with_root_key=with_root_key)


def _prune(folder: Path, keep: int) -> list[str]:
    from keyturn.services.installation.backup import prune_backups

    return [str(path) for path in prune_backups(folder, keep=keep)]


def _to_stdout(database: str | None, *, with_root_key: bool) -> None:
    """Write the backup to standard output, which gets nothing of one that is not whole."""
    if sys.stdout.isatty():
        raise click.UsageError("Standard output is a terminal: send the backup to a file or a program.")
    with TemporaryDirectory(prefix="keyturn-") as folder:
        made = _make(Path(folder), database, with_root_key=with_root_key)
        with made.path.open("rb") as archive:
            shutil.copyfileobj(archive, sys.stdout.buffer)
