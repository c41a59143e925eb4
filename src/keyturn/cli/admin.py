"""`keyturn admin …`: the commands for whoever may read the server's database and root key."""

import click

from keyturn.cli.keys import key
from keyturn.cli.maintenance import check, migrate_command, root_key
from keyturn.cli.services import service
from keyturn.cli.signing_keys import signing_key
from keyturn.cli.tokens import token
from keyturn.cli.users import user
from keyturn.logs import configure_logs


@click.group()
def admin() -> None:
    """Work on the database of this server directly."""
    configure_logs("warning")


for command in (user, key, token, service, signing_key, migrate_command, check, root_key):
    admin.add_command(command)
