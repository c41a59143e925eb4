"""`keyturn admin doctor`."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from keyturn.cli.admin.options import LOG_LEVEL, database_option
from keyturn.cli.command import Command
from keyturn.cli.lazy import server_packages
from keyturn.cli.output import EXIT_REFUSED, json_option, print_json

if TYPE_CHECKING:
    from keyturn.cli.admin.examination import Report


@click.command(
    cls=Command,
    examples={
        "keyturn admin doctor": "Find what is wrong with the server of this machine",
        "keyturn admin doctor --json | jq -r '.findings[].remedy'": "List what to do",
    },
    more="operate/doctor.md",
)
@json_option
@database_option
def doctor(*, as_json: bool, database: str | None) -> None:
    """Find what is wrong with the server and its surroundings, and say what to do.

    Run it with the settings of the server, as its user. It changes nothing. The exit code is 1 if it found
    something. It names the checks that cannot be made here, which are no findings.
    """
    with server_packages():
        from keyturn.cli.admin.examination import examine
        from keyturn.logs import configure_logs
        from keyturn.system import System
    configure_logs(LOG_LEVEL)
    report = examine(os.environ, database, System())
    if as_json:
        print_json(
            {
                "findings": [asdict(finding) for finding in report.findings],
                "notChecked": [asdict(unchecked) for unchecked in report.not_checked],
                "passed": report.passed,
            }
        )
    else:
        _print(report)
    if report.findings:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _print(report: "Report") -> None:
    for finding in report.findings:
        click.echo(f"Problem ({finding.check}): {finding.problem}", err=True)
        click.echo(f"  Remedy: {finding.remedy}", err=True)
        click.echo(f"  More: {finding.more}", err=True)
    for unchecked in report.not_checked:
        click.echo(f"Not checked ({unchecked.check}): {unchecked.reason}")
    if not report.findings:
        click.echo("Nothing is wrong. `keyturn admin check` reads the whole database besides.")
