"""`keyturn admin …`: the commands for whoever may read the server's database and root key."""

import click

from keyturn.cli.lazy import LazyCommand, LazyGroup

_APIS = "Register, list and delete APIs that tokens are for."
_COMMANDS = {
    "api": LazyCommand("keyturn.cli.admin.services:api", _APIS),
    "check": LazyCommand("keyturn.cli.admin.maintenance:check", "Say whether the server could start."),
    "key": LazyCommand("keyturn.cli.admin.keys:key", "Make, list, revoke and import API keys."),
    "migrate": LazyCommand(
        "keyturn.cli.admin.maintenance:migrate_command", "Bring the database to the schema of this program."
    ),
    "root-key": LazyCommand("keyturn.cli.admin.maintenance:root_key", "Print a new root key."),
    "service": LazyCommand("keyturn.cli.admin.services:service", _APIS),
    "signing-key": LazyCommand(
        "keyturn.cli.admin.signing_keys:signing_key", "List and replace the keys that sign bearer tokens."
    ),
    "token": LazyCommand("keyturn.cli.admin.tokens:token", "End bearer tokens."),
    "user": LazyCommand("keyturn.cli.admin.users:user", "Add, list and stop people."),
}


@click.group(cls=LazyGroup, lazy_commands=_COMMANDS, of_the_server=_COMMANDS)
def admin() -> None:
    """Work on the database of this server directly."""
