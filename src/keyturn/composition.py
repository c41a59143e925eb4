"""The composition root: settings in, everything wired. Nothing else opens a database."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from argon2 import Parameters

from keyturn.core.access_token import AccessTokenFormat, KeyRing
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.records import SessionLimits
from keyturn.services.accounts import Accounts
from keyturn.services.authentication import Authenticator
from keyturn.services.connections import Connections
from keyturn.services.exchange import Exchange
from keyturn.services.installation import Installation
from keyturn.services.keys import Keys
from keyturn.services.logins import Logins
from keyturn.services.passwords import ARGON2ID, Passwords
from keyturn.services.sessions import Sessions
from keyturn.services.tokens import TokenIssuer
from keyturn.services.usage import Usage
from keyturn.services.vault import Vault, read_root_key
from keyturn.settings import Settings
from keyturn.store import Store, open_engine
from keyturn.store.engine import sqlite_path
from keyturn.store.migrations import migrate
from keyturn.system import System

ROOT_KEY_FILE_NAME = "root.key"


@dataclass(frozen=True, slots=True)
class Services:
    """All use cases of one installation, ready."""

    settings: Settings
    system: System
    store: Store
    ring: KeyRing
    usage: Usage
    authenticator: Authenticator
    exchange: Exchange
    keys: Keys
    logins: Logins
    accounts: Accounts
    sessions: Sessions
    connections: Connections
    installation: Installation

    def close(self) -> None:
        """Write what is still only noted, and close the database."""
        self.usage.stop()
        self.store.close()


def open_services(
    settings: Settings, system: System | None = None, *, hashing: Parameters = ARGON2ID
) -> Services:
    """Open the database, bring its schema up to date, check the root key, and wire everything.

    Raise `CannotStart` with one sentence that says what to do. `hashing` is for tests, which want the
    same argon2id with less work.
    """
    system = system or System()
    engine = open_engine(settings.database)
    migrate(engine)
    store = Store(engine)
    try:
        return _wire(settings, system, store, hashing)
    except BaseException:
        store.close()
        raise


def _wire(settings: Settings, system: System, store: Store, hashing: Parameters) -> Services:
    root_key = read_root_key(
        file=_root_key_file(settings),
        command=settings.root_key_command,
        may_create=settings.root_key_file is None and store.installation.find_root_key_check() is None,
        system=system,
    )
    installation = Installation(store, Vault(root_key, system), system)
    installation.check_root_key()
    ring = installation.load_key_ring(settings.token_algorithm)

    key_format = ApiKeyFormat(settings.key_prefix)
    token_format = AccessTokenFormat(settings.public_url, settings.public_url, settings.token_life)
    limits = SessionLimits(
        idle=timedelta(minutes=settings.session_idle_minutes),
        absolute=timedelta(hours=settings.session_absolute_hours),
    )
    usage = Usage(store.api_keys, system)
    issuer = TokenIssuer(token_format, ring, system)
    authenticator = Authenticator(
        store,
        key_format=key_format,
        token_format=token_format,
        ring=ring,
        session_limits=limits,
        usage=usage,
        system=system,
    )
    passwords = Passwords(hashing)
    logins = Logins(
        store,
        passwords=passwords,
        issuer=issuer,
        session_limits=limits,
        token_life=settings.token_life,
        system=system,
    )
    return Services(
        settings=settings,
        system=system,
        store=store,
        ring=ring,
        usage=usage,
        authenticator=authenticator,
        exchange=Exchange(authenticator, issuer, key_format),
        keys=Keys(
            store,
            key_format=key_format,
            default_life=timedelta(days=settings.key_life_days),
            allows_never=settings.allow_keys_without_expiry,
            usage=usage,
            system=system,
        ),
        logins=logins,
        accounts=Accounts(store, passwords=passwords, logins=logins, system=system),
        sessions=Sessions(store, limits, system),
        connections=Connections(store, system),
        installation=installation,
    )


def _root_key_file(settings: Settings) -> Path | None:
    """Return where the root key is: as set, or beside an embedded database."""
    if settings.root_key_file is not None:
        return settings.root_key_file
    database = sqlite_path(settings.database)
    return None if database is None else database.with_name(ROOT_KEY_FILE_NAME)
