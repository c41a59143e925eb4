"""`keyturn admin token …`."""

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.standard_input import read_stdin
from keyturn.errors import CredentialRefused, NotFound
from keyturn.verifying.origin import COMMAND_LINE


@click.group()
def token() -> None:
    """End bearer tokens."""


@token.command()
@database_option
def revoke(database: str | None) -> None:
    """End the bearer token that is read from standard input. The key it came from goes on working."""
    text = read_stdin("token").strip()
    with opened_services(database) as services:
        try:
            is_ended = services.revocation.revoke(text, COMMAND_LINE)
        except CredentialRefused:
            url = services.settings.public_url
            raise NotFound(f"This is no token of {url}, or its signing key has ended.") from None
    click.echo("The token is revoked." if is_ended else "The token had ended already.")
