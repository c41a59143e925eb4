"""`keyturn serve --demo`: something to look at within a minute."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pysqlite3

from keyturn.composition import Services
from keyturn.core.encoding import base62_from_random
from keyturn.core.permissions import Permission
from keyturn.core.principal import BUILT_IN_IAM
from keyturn.errors import Conflict, NotFound
from keyturn.services.audit import COMMAND_LINE
from keyturn.services.keys import Lifetime
from keyturn.settings import data_directory
from keyturn.store.engine import sqlite_path

USERID = "admin"
CONNECTION_KEY = "123456789"
"""The key of the connection in the documentation of the API, so that its example works as printed."""
KEY_LIFE = timedelta(days=7)
"""Each start makes a key, since an earlier one cannot be shown again; this bounds how many work."""
PASSPHRASE_CHARACTERS = 20
WAREHOUSE_FILE_NAME = "demo-warehouse.db"


def set_up_demonstration(services: Services) -> str:
    """Make what is missing of the demonstration; return what to tell the person."""
    passphrase = _add_admin(services)
    user = services.accounts.get_by_userid(BUILT_IN_IAM, USERID)
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
    created = services.keys.create_for(user.user_id, COMMAND_LINE, name="demonstration", lifetime=lifetime)
    return _what_to_try(services.settings.public_url, passphrase, created.secret)


def _add_admin(services: Services) -> str | None:
    """Make the administrator; return the passphrase, None if there is one from an earlier start."""
    try:
        services.accounts.get_by_userid(BUILT_IN_IAM, USERID)
    except NotFound:
        random = services.system.random_bytes(3 * PASSPHRASE_CHARACTERS)
        passphrase = base62_from_random(random, PASSPHRASE_CHARACTERS)
        services.accounts.add(
            COMMAND_LINE,
            userid=USERID,
            name="Demonstration Admin",
            password=passphrase,
            permissions=frozenset(Permission),
        )
        return passphrase
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


def _what_to_try(url: str, passphrase: str | None, key: str) -> str:
    shown = passphrase or "(as printed at the first start; `keyturn admin user password admin` sets another)"
    connection = f"{url}/data/connection/{CONNECTION_KEY}"
    return f"""
Keyturn serves {url}

  Sign in at   {url}/login
  User name    {USERID}
  Passphrase   {shown}
  API key      {key}

Four calls to try:

  curl -H 'Authorization: {key}' {connection}

  curl -H 'Content-Type: application/json' -d '{{"apikey": "{key}"}}' {url}/bim/apikey/authenticate

  TOKEN=$(curl -s -d apikey={key} {url}/bim/apikey/authenticate \\
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')

  curl -H "Authorization: Bearer $TOKEN" {connection}

Everything about it is at {url}/docs/api
"""
