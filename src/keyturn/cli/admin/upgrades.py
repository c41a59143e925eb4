"""`keyturn admin upgrade`, and `migrate`, its former name."""

import os
from typing import TYPE_CHECKING

import click

from keyturn.cli.admin.options import LOG_LEVEL, database_option
from keyturn.cli.command import Command
from keyturn.cli.lazy import server_packages
from keyturn.cli.output import json_option, print_json
from keyturn.cli.progress import SLOW_SECONDS, working

if TYPE_CHECKING:
    from keyturn.store.database.migrations.steps import Plan


_EXAMPLES = {
    "keyturn admin upgrade --check": "Show what an upgrade would do, and change nothing",
    "keyturn admin upgrade": "Upgrade the database in your data directory",
    "keyturn admin upgrade --database postgresql://keyturn@db.example.com/keyturn": "Upgrade another one",
}
_MORE = "operate/upgrade.md"


@click.command(cls=Command, examples=_EXAMPLES, more=_MORE)
@click.option("--check", is_flag=True, help="Show what would happen, and change nothing.")
@click.option("--stopped", is_flag=True, help="All servers and verifiers of the older version are stopped.")
@json_option
@database_option
def upgrade(*, check: bool, stopped: bool, as_json: bool, database: str | None) -> None:
    """Upgrade the database to the schema of this program, or begin an installation in an empty database.

    Servers of the version before go on meanwhile. An upgrade that they cannot go on beside is refused,
    unless you say that they are stopped. `keyturn serve` upgrades an older schema too, unless it is started
    with --no-migrate.
    """
    if check and stopped:
        raise click.UsageError("Give either --check, which changes nothing, or --stopped.")
    with server_packages():
        from keyturn.logs import configure_logs
        from keyturn.settings import read_settings
        from keyturn.store import open_engine
        from keyturn.store.database.migrations import check_older_servers_go_on, migrate, plan_upgrade
    configure_logs(LOG_LEVEL)
    engine = open_engine(read_settings(os.environ, database=database).database, must_exist=check)
    try:
        plan = plan_upgrade(engine)
        if not check:
            if not stopped:
                check_older_servers_go_on(engine)
            with working("Upgrading the database…", after_seconds=SLOW_SECONDS):
                migrate(engine)
    finally:
        engine.dispose()
    if check:
        _show_plan(plan, as_json=as_json)
    else:
        _show_done(plan, as_json=as_json)


def _show_plan(plan: "Plan", *, as_json: bool) -> None:
    """Show what would happen; end with 1 where servers would have to stop for it."""
    if as_json:
        print_json(_as_json(plan))
    elif plan.before is None:
        click.echo(f"The database is empty: an installation with the schema {plan.after} would begin in it.")
    elif not plan.steps:
        click.echo(f"The schema is at {plan.after}. There is nothing to upgrade.")
    else:
        click.echo(f"The schema would go from {plan.before} to {plan.after}:\n")
        for step in plan.steps:
            rows = plan.rows_in(step)
            through = f" (goes through {rows:,} {'row' if rows == 1 else 'rows'})" if rows else ""
            click.echo(f"  {step.revision}  {step.kind:<8}  {step.title}{through}")
        seconds = "a second" if plan.seconds == 1 else f"{plan.seconds:,} seconds"
        click.echo(f"\nIt takes about {seconds} or less, while the database accepts no changes.")
        click.echo(_who_goes_on(plan))
    if plan.needs is not None:
        raise click.exceptions.Exit(1)


def _who_goes_on(plan: "Plan") -> str:
    if plan.needs is None:
        return "Servers and verifiers of the older version go on. Upgrade them after the database."
    between = (
        "There is no version between that avoids this."
        if plan.way_between is None
        else f"To go on without stopping, do not skip version {plan.way_between}: upgrade to it first."
    )
    return (
        f"Servers and verifiers of the older version cannot go on: stop all of them, then run "
        f"`keyturn admin upgrade --stopped`. {between}"
    )


def _as_json(plan: "Plan") -> dict[str, object]:
    return {
        "before": plan.before,
        "after": plan.after,
        "steps": [
            {
                "revision": step.revision,
                "kind": step.kind.value,
                "title": step.title,
                "rows": plan.rows_in(step),
            }
            for step in plan.steps
        ],
        "seconds": plan.seconds if plan.steps else 0,
        "olderServersGoOn": plan.needs is None,
        "versionBetween": plan.way_between,
    }


def _show_done(plan: "Plan", *, as_json: bool) -> None:
    if as_json:
        print_json({"before": plan.before, "after": plan.after})
    elif plan.before is None:
        click.echo(f"A new installation is begun, with the schema {plan.after}.")
    elif not plan.steps:
        click.echo(f"The schema is at {plan.after}.")
    else:
        click.echo(f"The schema went from {plan.before} to {plan.after}.")


migrate = Command(
    "migrate",
    callback=upgrade.callback,
    params=upgrade.params,
    help=upgrade.help,
    examples=_EXAMPLES,
    more=_MORE,
)
"""The same command under its former name."""
