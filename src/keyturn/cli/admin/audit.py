"""`keyturn admin audit …`."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.command import Group
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import working
from keyturn.core.times import read_time, wire_time
from keyturn.errors import InvalidState
from keyturn.verifying.origin import COMMAND_LINE


@click.group(
    cls=Group,
    examples={
        "keyturn admin audit prune --before 2026-01-01 /var/audit": "Move old events into files",
        "keyturn admin audit verify /var/lib/keyturn/audit/*.jsonl": "Check that nobody changed them",
    },
    more="operate/retention.md",
)
def audit() -> None:
    """Move old events of the audit log into signed files, and verify such files."""


@audit.command(
    examples={"keyturn admin audit prune --before 2026-01-01 /var/audit": "Move the events of past years"}
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option(
    "--before",
    type=click.DateTime(["%Y-%m-%d"]),
    required=True,
    metavar="YYYY-MM-DD",
    help="Move the events from before this day begins, in UTC.",
)
@json_option
@database_option
def prune(*, folder: Path, before: datetime, as_json: bool, database: str | None) -> None:
    """Move old events of the audit log into files in DIR, while servers run.

    An event leaves the log when it is in a file on the disk. Run it again if it was interrupted. The newest
    event always stays.
    """
    with opened_services(database) as services, working("Moving events…"):
        moved = list(services.audit_archive.archive(folder, COMMAND_LINE, before=before.replace(tzinfo=UTC)))
    if as_json:
        files = [{"file": str(folder / one.file), "events": one.events} for one in moved]
        print_json({"files": files, "events": sum(one.events for one in moved)})
        return
    for one in moved:
        click.echo(f"{one.events:,} events are in {folder / one.file}.")
    if not moved:
        click.echo(f"The log has no events from before {before:%Y-%m-%d}.")


@audit.command(
    examples={
        "keyturn admin audit verify /var/lib/keyturn/audit/*.jsonl": "Verify all files, and their order",
        "keyturn admin audit verify --json FILE | jq .problems": "List what is wrong",
    }
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@json_option
@database_option
def verify(*, files: tuple[Path, ...], as_json: bool, database: str | None) -> None:
    """Verify files of the audit log: their signatures, every event, and that none is missing between them.

    The exit code is 1 if anything was changed, or a file between two others is missing.
    """
    verified: list[dict[str, Any]] = []
    problems: list[str] = []
    with opened_services(database) as services, working("Verifying…"):
        for file in files:
            try:
                found = services.audit_archive.verify(file)
            except InvalidState as error:
                problems.append(str(error))
                continue
            at = read_time(found.checkpoint.iat * 1000)
            verified.append(
                {
                    "file": str(file),
                    "first": found.checkpoint.first,
                    "last": found.checkpoint.last,
                    "events": found.checkpoint.events,
                    "previous": found.checkpoint.previous,
                    "digest": found.checkpoint.digest,
                    "signedAt": None if at is None else wire_time(at),
                    "kid": found.kid,
                }
            )
    verified.sort(key=lambda one: one["first"])
    problems += [
        f"{later['file']} does not follow {earlier['file']}: a file between them is missing, or was replaced."
        for earlier, later in pairwise(verified)
        if later["previous"] != earlier["digest"]
    ]
    if as_json:
        print_json({"files": verified, "problems": problems})
    else:
        for one in verified:
            click.echo(
                f"{one['file']}: {one['events']:,} events, revisions {one['first']} to {one['last']}, "
                f"as {one['kid']} signed them at {one['signedAt']}."
            )
        for problem in problems:
            click.echo(problem, err=True)
    if problems:
        raise click.exceptions.Exit(1)
