"""`keyturn serve --demo`: something to look at within a minute."""

import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pysqlite3

from keyturn.composition import Services
from keyturn.core.encoding import base62_from_random
from keyturn.core.lifetimes import Lifetime
from keyturn.core.permissions import Permission
from keyturn.errors import CannotStart, Conflict, NotFound
from keyturn.services.keys.keys import NewKey
from keyturn.settings import Settings, data_directory
from keyturn.store.database.engine import sqlite_path
from keyturn.verifying.origin import COMMAND_LINE

USERID = "admin"
CONNECTION_KEY = "123456789"
"""The key of the connection in the documentation of the API, so that its example works as printed."""
KEY_LIFE = timedelta(days=7)
"""Each start makes a key, since an earlier one cannot be shown again; this bounds how many work."""
PASSWORD_CHARACTERS = 20
FOLDER = "demo"
DATABASE_FILE_NAME = "demo.db"
WAREHOUSE_FILE_NAME = "demo-warehouse.db"


def demonstration_database(given: str | None, environment: Mapping[str, str]) -> str | None:
    """Return a database for demonstrations alone, None if one was given.

    It has a folder of its own, and so a root key of its own: no demonstration gets into an installation.
    """
    if given is not None or "KEYTURN_DATABASE" in environment:
        return None
    return f"sqlite:///{data_directory() / FOLDER / DATABASE_FILE_NAME}"


def set_up_demonstration(services: Services) -> str:
    """Make what is missing of the demonstration; return what to tell the person.

    Raise `CannotStart` for a database of other people: the demonstration's administrator may do anything.
    """
    _check_own(services)
    password = _add_admin(services)
    user = services.users.get_by_userid(None, USERID)
    warehouse = (sqlite_path(services.settings.database) or data_directory() / "x").with_name(
        WAREHOUSE_FILE_NAME
    )
    _create_warehouse(warehouse)
    details = {
        "technology": "SQLite",
        "database": str(warehouse),
        "authenticationType": "none",
    }
    with suppress(Conflict):  # It is there from an earlier start.
        services.connections.register(COMMAND_LINE, user.user_id, CONNECTION_KEY, details)
    lifetime = Lifetime(services.system.now() + KEY_LIFE)
    created = services.keys.create_for(user.user_id, COMMAND_LINE, NewKey("demonstration", lifetime))
    return _what_to_try(services.settings, password, created.secret)


def _check_own(services: Services) -> None:
    """Raise `CannotStart` if there are users in the database, and no earlier demonstration made them."""
    has_users = next(services.users.list_all(), None) is not None
    if has_users and services.store.connections.find(CONNECTION_KEY) is None:
        raise CannotStart(
            "This database has users that no demonstration made: leave out --demo; or leave out --database "
            "and KEYTURN_DATABASE, for a database of the demonstration's own."
        )


def _add_admin(services: Services) -> str | None:
    """Make the administrator; return the password, None if there is one from an earlier start."""
    try:
        services.users.get_by_userid(None, USERID)
    except NotFound:
        random = services.system.random_bytes(3 * PASSWORD_CHARACTERS)
        password = base62_from_random(random, PASSWORD_CHARACTERS)
        services.users.add(
            COMMAND_LINE,
            userid=USERID,
            name="Demonstration Admin",
            password=password,
            permissions=frozenset(Permission),
        )
        return password
    return None


def _create_warehouse(path: Path) -> None:
    """Make the small database that the demonstration's connection points at."""
    connection = pysqlite3.connect(path)
    try:
        connection.executescript(
            """
            CREATE TABLE IF NOT EXISTS region (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS customer (
                id INTEGER PRIMARY KEY, name TEXT NOT NULL, region_id INTEGER NOT NULL REFERENCES region
            );
            INSERT OR IGNORE INTO region VALUES (1, 'North'), (2, 'South');
            INSERT OR IGNORE INTO customer VALUES (1, 'Acme', 1), (2, 'Globex', 2), (3, 'Initech', 2);
            """
        )
    finally:
        connection.close()


def _what_to_try(settings: Settings, password: str | None, key: str) -> str:
    url = settings.public_url
    shown = password or f"(as printed at the first start; `{_new_password(settings)}` sets another)"
    connection = f"{url}/data/connection/{CONNECTION_KEY}"
    return f"""
Keyturn serves {url}

  Sign in at   {url}/login
  User name    {USERID}
  Password     {shown}
  API key      {key}

Four calls to try:

  curl -H 'Authorization: {key}' {connection}

  curl -H 'Content-Type: application/json' -d '{{"apikey": "{key}"}}' {url}/bim/apikey/authenticate

  TOKEN=$(curl -s -d apikey={key} {url}/bim/apikey/authenticate \\
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')

  curl -H "Authorization: Bearer $TOKEN" {connection}

Everything about it is at {settings.documentation_url}
"""


def _new_password(settings: Settings) -> str:
    """Return the command that gives the administrator another password."""
    command = f"{shlex.quote(sys.argv[0])} admin user password {USERID}"
    if sqlite_path(settings.database) is None:  # Its address may hold a password, and was given by hand.
        return command
    return f"{command} --database {shlex.quote(settings.database)}"
