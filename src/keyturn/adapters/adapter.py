"""The functions of an adapter, which knows one family of databases, and the adapters there are."""

import importlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from keyturn.adapters.catalog import Schema, Table
from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.limits import Limits
from keyturn.adapters.technologies import Technology, TlsMode
from keyturn.adapters.tls import Beginning
from keyturn.adapters.validation import Value
from keyturn.core.networks import Address


@dataclass(frozen=True, slots=True)
class Target:
    """A database at an address that was checked: the one address that may be connected to."""

    technology: Technology
    values: dict[str, Value] = field(repr=False)
    address: Address
    limits: Limits

    def text(self, name: str) -> str:
        """Return the text of a field; empty if it has none."""
        return str(self.values.get(name, ""))

    @property
    def host(self) -> str:
        """The name that the certificate has to have."""
        return self.text("hostname")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.text("port"))

    @property
    def tls_mode(self) -> TlsMode:
        """How the connection is encrypted; with TLS that is verified where there is no choice."""
        return TlsMode(self.text("tlsMode") or TlsMode.VERIFY_FULL)

    def open_socket(self, seconds: float | None = None) -> socket.socket:
        """Connect to the checked address, within the limit of a step or in fewer seconds; raise `OSError`."""
        endpoint, seconds = (str(self.address), self.port), seconds or self.limits.step
        opened = socket.create_connection(endpoint, timeout=seconds)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened


class Session(Protocol):
    """A session with a database, signed in."""

    def open_database(self) -> None:
        """Open the database of the connection; raise `Fault`."""

    def count_schemas(self) -> int:
        """Return how many schemas the account sees, those of the system left out; raise `Fault`."""

    def version(self) -> str:
        """Return the version of the server, in its own words; raise `Fault`."""

    def crawl(self, known: frozenset[str]) -> Iterator[Schema | Table]:
        """Yield all schemas, then all tables; of tables whose fingerprint is known without columns."""

    def change_password(self, new: str) -> None:
        """Change the password of the account; raise `Fault`, where it cannot be changed from here too."""

    def close(self) -> None:
        """End the session, whatever state it is in."""


class Adapter(Protocol):
    """The way to sign in to one family of databases."""

    begin_tls: Beginning

    def login(self, target: Target, context: ssl.SSLContext | None) -> Session:
        """Sign in, having verified TLS as the context says; raise `Fault`."""


_MODULES = {
    "PostgreSQL": "postgresql",
    "MariaDB": "mysql",
    "MySQL": "mysql",
    "Snowflake": "snowflake",
    "Trino": "trino",
}


def open_adapter(technology: Technology) -> Adapter:
    """Return the adapter of a technology, its driver loaded; raise `Fault` that names the extra."""
    try:
        module = importlib.import_module(f"keyturn.adapters.{_MODULES[technology.name]}")
    except ModuleNotFoundError as error:
        extra = f"keyturn[{technology.extra}]"
        raise Fault(Finding.DRIVER_MISSING, str(error), detail=f"Install {extra} on the server.") from None
    adapter: Adapter = module.ADAPTER
    return adapter
