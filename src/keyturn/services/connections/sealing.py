"""The secrets of connections: sealed for their row, and opened for the process that reaches the database."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from keyturn.adapters.validation import Value
from keyturn.core.audit import AuditEntry
from keyturn.core.connections import ConnectionRecord
from keyturn.errors import InvalidState
from keyturn.services.installation.vault import SealBroken, Vault, slot_of
from keyturn.store import Store

REDACTED = "[REDACTED]"
"""Stands for a secret in what is shown; sent back, it says that the secret stays
(http-api/connections.md, "Change some fields of a connection")."""
DOES_NOT_OPEN = "The stored secrets do not open. Enter them again."


@dataclass(frozen=True, slots=True)
class OpenedSecrets:
    """The secrets of a connection."""

    current: Mapping[str, Value] = field(default_factory=dict, repr=False)
    next_password: str | None = field(default=None, repr=False)
    """While a rotation is under way, or after one that nobody knows the end of: the server takes this or
    the current one."""


class ConnectionSecrets:
    """Seals and opens what a connection keeps secret."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    def seal(self, connection_key: str, secrets: OpenedSecrets) -> bytes | None:
        """Return the seal of the secrets of a connection, None for none."""
        if not secrets.current:
            return None
        stored = _Stored(dict(secrets.current), secrets.next_password)
        return self._vault.seal(msgspec.json.encode(stored), slot=_slot(connection_key))

    def open(self, record: ConnectionRecord) -> OpenedSecrets:
        """Return the secrets of a connection; raise `InvalidState` if their seal does not open.

        The connection is then unhealthy. Every other one goes on (S1).
        """
        return self._opened(record, self._store.connections.find_seal(record.connection_id))

    def redacted(self, record: ConnectionRecord) -> dict[str, Value]:
        """Return `[REDACTED]` for each stored secret, nested as they are; nothing if none opens."""
        try:
            return redacted(self.open(record).current)
        except InvalidState:
            return {}

    def replace(self, record: ConnectionRecord, secrets: OpenedSecrets, audit: AuditEntry) -> None:
        """Store other secrets; raise `ChangedMeanwhile` if somebody else stores some at this moment."""
        former = self._store.connections.find_seal(record.connection_id)
        seal = self.seal(record.connection_key, secrets)
        self._store.connections.replace_seal(record.connection_id, former, seal, audit)

    def _opened(self, record: ConnectionRecord, seal: bytes | None) -> OpenedSecrets:
        if seal is None:
            return OpenedSecrets()
        try:
            stored = _DECODER.decode(self._vault.open(seal, slot=_slot(record.connection_key)))
        except (SealBroken, msgspec.DecodeError):
            self._store.connections.note_health(record.connection_id, DOES_NOT_OPEN)
            raise InvalidState(DOES_NOT_OPEN) from None
        return OpenedSecrets(stored.secrets, stored.next_password)


class _Stored(msgspec.Struct):
    """The sealed text, as JSON."""

    secrets: dict[str, Value]
    next_password: str | None = None


_DECODER = msgspec.json.Decoder(_Stored)


def redacted(secrets: Mapping[str, Value]) -> dict[str, Value]:
    """Return the same names with `[REDACTED]` for each secret."""
    return {
        name: dict.fromkeys(value, REDACTED) if isinstance(value, dict) else REDACTED
        for name, value in secrets.items()
    }


def merged(plain: Mapping[str, Value], secrets: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values of a connection, as `adapters.validation.split_secrets` took them apart."""
    values = dict(plain)
    for name, secret in secrets.items():
        shown = values.get(name)
        values[name] = {**shown, **secret} if isinstance(shown, dict) and isinstance(secret, dict) else secret
    return values


def _slot(connection_key: str) -> str:
    return slot_of("connection", connection_key, "sealed_secrets")
