"""The store: all questions, grouped by what they are about."""

from contextlib import AbstractContextManager

from sqlalchemy import Engine

from keyturn.counting.counts import Counts
from keyturn.store.apis import Apis
from keyturn.store.audit_log import AuditLog
from keyturn.store.connections.connections import Connections
from keyturn.store.connections.jobs import Jobs
from keyturn.store.connections.objects import DataObjects
from keyturn.store.connections.settings import StoredSettings
from keyturn.store.database.engine import describe
from keyturn.store.database.transactions import ChangeLimit, Database
from keyturn.store.feed import Feed
from keyturn.store.installation.copies import Copies
from keyturn.store.installation.installation import Installation
from keyturn.store.installation.lineage import Lineage
from keyturn.store.installation.retention import Retention
from keyturn.store.installation.seals import Seals
from keyturn.store.keys.api_keys import ApiKeys
from keyturn.store.keys.rotation import KeyRotation
from keyturn.store.keys.system_keys import SystemKeys
from keyturn.store.oauth.device_logins import DeviceLogins
from keyturn.store.people.failed_sign_ins import FailedSignIns
from keyturn.store.people.groups import Groups
from keyturn.store.people.logins import Logins
from keyturn.store.people.projects import Projects
from keyturn.store.people.service_accounts import ServiceAccounts
from keyturn.store.people.sessions import Sessions
from keyturn.store.people.users import Users
from keyturn.store.tokens.revoked_tokens import Tokens
from keyturn.store.tokens.signing_keys import SigningKeys


class Store:
    """Everything Keyturn remembers, in one database."""

    def __init__(self, engine: Engine, counts: Counts | None = None) -> None:
        database = Database(engine, counts)
        self._database = database
        self.counter = database.counter
        self.hints = database.hints
        self.writes = database.writes
        self.check_file = database.check_file
        self.check_writes = database.check_writes
        self.api_keys = ApiKeys(database)
        self.audit_log = AuditLog(database)
        self.connections = Connections(database)
        self.copies = Copies(database)
        self.data_objects = DataObjects(database)
        self.object_settings = StoredSettings(database)
        self.jobs = Jobs(database)
        self.device_logins = DeviceLogins(database)
        self.failed_sign_ins = FailedSignIns(database)
        self.feed = Feed(database)
        self.installation = Installation(database)
        self.lineage = Lineage(database)
        self.sessions = Sessions(database)
        self.groups = Groups(database)
        self.key_rotation = KeyRotation(database)
        self.logins = Logins(database)
        self.projects = Projects(database)
        self.apis = Apis(database)
        self.retention = Retention(database)
        self.seals = Seals(database)
        self.service_accounts = ServiceAccounts(database)
        self.signing_keys = SigningKeys(database)
        self.system_keys = SystemKeys(database)
        self.tokens = Tokens(database)
        self.users = Users(database)

    def limit_changes(self, limit: ChangeLimit) -> None:
        """Ask `limit` about each change from now on, and let it count them."""
        self._database.limit = limit

    @property
    def blocks_briefly(self) -> bool:
        """Whether a read takes microseconds, as on SQLite, and not a network round trip."""
        return self._database.engine.dialect.name == "sqlite"

    @property
    def name(self) -> str:
        """Which database this is, without a user or a password."""
        return describe(self._database.engine.url)

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """The host and port of the database, None if it is no server over TCP."""
        url = self._database.engine.url
        if url.get_backend_name() == "sqlite" or not url.host or url.host.startswith("/"):
            return None
        return url.host, url.port or 5432

    @property
    def connections_used(self) -> int:
        """How many connections of the pool are in use."""
        return self._database.pool.checkedout()

    @property
    def connections_limit(self) -> int:
        """How many connections the pool has at most."""
        return self._database.pool.size()

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of the database, and of SQLite's write-ahead log, which is 0 elsewhere.

        Raise `StoreUnavailable` if they cannot be told.
        """
        return self._database.sizes()

    def snapshot(self) -> AbstractContextManager[object]:
        """Have all that this thread reads in this block be of one committed state. To be short."""
        return self._database.snapshot()

    def integrity_problems(self) -> list[str]:
        """Return what the database itself finds wrong with its files; empty when nothing is."""
        if self._database.engine.dialect.name != "sqlite":
            return []
        with self._database.reading() as connection:
            integrity = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            foreign = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return [text for text in integrity if text != "ok"] + [
            f"a row of {row[0]} refers to nothing" for row in foreign
        ]

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
