"""`keyturn admin token …`."""

import click

from keyturn.cli.admin.options import database_option, opened_services
from keyturn.cli.command import Group
from keyturn.cli.standard_input import read_stdin
from keyturn.errors import CredentialRefused, NotFound
from keyturn.verifying.origin import COMMAND_LINE

_EXAMPLES = {"keyturn admin token revoke < token.txt": "Revoke the token in a file"}


@click.group(cls=Group, examples=_EXAMPLES, more="howto/when-a-key-leaks.md")
def token() -> None:
    """Revoke bearer tokens."""


@token.command(examples=_EXAMPLES)
@database_option
def revoke(database: str | None) -> None:
    """Revoke the bearer token on standard input. The key that it came from works on."""
    text = read_stdin("token").strip()
    with opened_services(database) as services:
        try:
            is_ended = services.revocation.revoke(text, COMMAND_LINE)
        except CredentialRefused:
            url = services.settings.public_url
            raise NotFound(f"This is not a token of {url}, or its signing key has ended.") from None
    click.echo("The token is revoked." if is_ended else "The token had ended already.")
