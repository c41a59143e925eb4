"""`keyturn admin …`: the commands for whoever may read the server's database and root key."""

import click

from keyturn.cli.lazy import LazyCommand, LazyGroup

_USERS, _KEYS, _APIS, _INSTALLATION = "Users", "Keys and tokens", "APIs", "Installation"
_OF_APIS = "Register, list and delete APIs."
_COMMANDS = {
    "user": LazyCommand(_USERS, "keyturn.cli.admin.users:user", "Add, list, suspend and restore users."),
    "key": LazyCommand(_KEYS, "keyturn.cli.admin.keys:key", "Create, list, revoke and import API keys."),
    "token": LazyCommand(_KEYS, "keyturn.cli.admin.tokens:token", "Revoke bearer tokens."),
    "signing-key": LazyCommand(
        _KEYS, "keyturn.cli.admin.signing_keys:signing_key", "List and rotate the keys that sign tokens."
    ),
    "api": LazyCommand(_APIS, "keyturn.cli.admin.services:api", _OF_APIS),
    "service": LazyCommand(_APIS, "keyturn.cli.admin.services:service", "The same as api, its former name."),
    "check": LazyCommand(
        _INSTALLATION, "keyturn.cli.admin.maintenance:check", "Check that the server could start."
    ),
    "doctor": LazyCommand(
        _INSTALLATION, "keyturn.cli.admin.doctor:doctor", "Find what is wrong, and say what to do."
    ),
    "upgrade": LazyCommand(
        _INSTALLATION, "keyturn.cli.admin.upgrades:upgrade", "Upgrade the database, or show what that does."
    ),
    "migrate": LazyCommand(
        _INSTALLATION, "keyturn.cli.admin.upgrades:migrate", "The same as upgrade, its former name."
    ),
    "backup": LazyCommand(
        _INSTALLATION, "keyturn.cli.admin.backups:backup", "Write a verified backup while servers run."
    ),
    "restore": LazyCommand(
        _INSTALLATION, "keyturn.cli.admin.restores:restore", "Put a backup in the place of the database."
    ),
    "audit": LazyCommand(
        _INSTALLATION, "keyturn.cli.admin.audit:audit", "Move old events into signed files, and verify them."
    ),
    "root-key": LazyCommand(
        _INSTALLATION, "keyturn.cli.admin.root_keys:root_key", "Print a new root key, or rotate the root key."
    ),
}


@click.group(
    cls=LazyGroup,
    lazy_commands=_COMMANDS,
    examples={
        "keyturn admin user list": "List all users",
        "keyturn admin key add --user ada@example.com --name export": "Create a key for a user",
        "keyturn admin check --database sqlite:////var/lib/keyturn/keyturn.db": "Check one database",
    },
    more="reference/command-line.md",
)
def admin() -> None:
    """Administer the database of this server directly, whether the server runs or not.

    You need to be able to read the database and its root key.
    """
