"""`keyturn thumbprint`: what a key is bound to."""

import sys
from pathlib import Path

import click

from keyturn.cli.command import Command
from keyturn.client.dpop import thumbprint_of_key
from keyturn.errors import InvalidInput

MAX_BYTES = 64 * 1024


@click.command(
    cls=Command,
    examples={
        "keyturn thumbprint client.pem": "Print the thumbprint of a key pair",
        'keyturn key create --dpop-jkt "$(keyturn thumbprint client.pem)"': "Bind a new key to it",
    },
    more="howto/bind-a-key.md",
)
@click.argument("file", default="-")
def thumbprint(file: str) -> None:
    """Print the thumbprint of a key pair and nothing else, for `--dpop-jkt` and the form for a new key.

    FILE holds the public or the private key, in PEM or as a JWK; without it, standard input does. The private
    key stays where it is.
    """
    try:
        click.echo(thumbprint_of_key(_read(file)))
    except OSError as error:
        raise InvalidInput("file", f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise InvalidInput("file", f"{str(error)[0].upper()}{str(error)[1:]}.") from None


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(MAX_BYTES)
    with Path(file).open("rb") as opened:
        return opened.read(MAX_BYTES)
