"""System keys: named keys of Keyturn itself, whose text can be read again, as the Immuta API has it.

Their secrets are encrypted under the root key. Every other key is stored as a digest alone; prefer those.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.lifetimes import Lifetime, end_within
from keyturn.core.people import UserKind, UserRecord
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import ApiKeyRecord, SystemKeyRecord, is_id
from keyturn.core.restrictions import Restrictions
from keyturn.core.times import in_milliseconds
from keyturn.errors import Conflict, InvalidState, NotFound
from keyturn.services.installation.vault import SealBroken, Vault, slot_of
from keyturn.services.keys.keys import Keys, NewKey
from keyturn.services.people.users import SYSTEM_USERID, Users
from keyturn.services.text import checked_text, is_storable
from keyturn.store import Store
from keyturn.store.keys.system_keys import SystemKeyToAdd
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

SCOPES = frozenset({"plugin:trino"})
"""The scopes that a system key can have (http-api/system-keys.md, "Get or create a system key")."""
NAME_MAX_CHARACTERS = 254


@dataclass(frozen=True, slots=True)
class RevealedSystemKey:
    """A system key with its secret."""

    record: SystemKeyRecord
    secret: str = field(repr=False)


class SystemKeys:
    """Manages system keys, for holders of APPLICATION_ADMIN."""

    def __init__(self, store: Store, vault: Vault, *, users: Users, keys: Keys, system: System) -> None:
        self._store = store
        self._system = system
        self._vault = vault
        self._users = users
        self._keys = keys

    def get_or_create(
        self,
        principal: Principal,
        origin: Origin,
        *,
        name: str,
        scopes: Sequence[str],
        connection_key: str,
        regenerate: bool,
        lifetime: Lifetime | None = None,
    ) -> RevealedSystemKey:
        """Return the key of this name, connection and scopes, made now if there is none that lives.

        With `regenerate` the old one is revoked and a new one made. A new one never ends, unless `lifetime`
        or the installation's rule says otherwise, or the credential that asks ends (A3).

        Raise `InvalidState` if the connection or a scope does not exist, or the name belongs to another
        connection or other scopes; `Conflict` if the key that there is ends at another time than the one that
        `lifetime` asks for, or outlives the credential that asks.
        """
        principal.check_may(Permission.APPLICATION_ADMIN)
        checked = checked_text("name", name, max_characters=NAME_MAX_CHARACTERS)
        if checked is None:
            raise InvalidState("Give the system key a name.")
        wanted = tuple(sorted(set(scopes)))
        if not wanted or not SCOPES.issuperset(wanted):
            raise InvalidState(f"The scopes of a system key are among {', '.join(sorted(SCOPES))}.")
        if not is_storable(connection_key) or self._store.connections.find(connection_key) is None:
            raise InvalidState("There is no such connection.")
        self._keys.check_may_make(principal)
        actor, now = actor_of(principal, origin), self._system.now()
        expires_at = end_within(principal, lifetime, self._end_of_new(lifetime, now))
        found = self._store.system_keys.find_by_name(checked)
        if found is not None:
            if (found.connection_key, found.scopes) != (connection_key, wanted):
                raise InvalidState("This name belongs to a key of another connection or other scopes.")
            if not regenerate and not _has_ended(found, now):
                return self._revealed(found, principal, actor, lifetime)
        self._keys.quotas.note_creation(principal)
        try:
            return self._add(actor, checked, wanted, connection_key, expires_at, replaced=found)
        except Conflict:
            # Another call was faster: what it made is what this one asked for.
            made = self._store.system_keys.find_by_name(checked)
            if made is None or (made.connection_key, made.scopes) != (connection_key, wanted):
                raise
            return self._revealed(made, principal, actor, lifetime)

    def delete(self, principal: Principal, key_id: int, origin: Origin) -> None:
        """Revoke a system key; raise `NotFound` if there is none with this id."""
        principal.check_may(Permission.APPLICATION_ADMIN)
        if not is_id(key_id) or self._store.system_keys.find_by_id(key_id) is None:
            raise NotFound
        self._keys.revoke_any(key_id, actor_of(principal, origin))

    def get_key(self, principal: Principal, record: SystemKeyRecord) -> ApiKeyRecord:
        """Return what a list says of a system key; raise `NotFound` if it is gone."""
        principal.check_may(Permission.APPLICATION_ADMIN)
        owner = self._store.api_keys.find_owner(record.key_id)
        if owner is None:
            raise NotFound
        return self._keys.get_of(owner, record.key_id)

    def _add(
        self,
        actor: Actor,
        name: str,
        scopes: tuple[str, ...],
        connection_key: str,
        expires_at: datetime | None,
        *,
        replaced: SystemKeyRecord | None,
    ) -> RevealedSystemKey:
        key, secret, audit = self._keys.prepare(
            self._owner(actor).user_id,
            actor,
            NewKey(name, restrictions=Restrictions(scopes=frozenset(scopes))),
            expires_at=expires_at,
        )
        new = SystemKeyToAdd(
            key, name, connection_key, scopes, self._vault.seal(secret.encode("ascii"), slot=_slot(name))
        )
        if replaced is None:
            return RevealedSystemKey(self._store.system_keys.add(new, audit), secret)
        revocation = AuditEntry(
            key.created_at, AuditAction.API_KEY_DELETED, actor, Target.API_KEY, str(replaced.key_id)
        )
        made = self._store.system_keys.replace(
            replaced, new, key.created_at, revocation=revocation, audit=audit
        )
        if made is None:
            raise Conflict(f"The system key {name} was replaced or deleted just now.")
        return RevealedSystemKey(made, secret)

    def _end_of_new(self, lifetime: Lifetime | None, now: datetime) -> datetime | None:
        """Return when a key ends that is made now: never by default, where that is allowed."""
        life = self._keys.life
        return life.end_of(Lifetime(None) if lifetime is None and life.allows_never else lifetime, now)

    def _revealed(
        self, record: SystemKeyRecord, principal: Principal, actor: Actor, lifetime: Lifetime | None
    ) -> RevealedSystemKey:
        """Return a key with its secret, and write down who had it again: no other secret can be."""
        end_within(principal, Lifetime(record.expires_at), record.expires_at)
        if lifetime is not None and not _ends_as_asked(record, lifetime):
            raise Conflict(
                "The system key of this name ends at another time: regenerate it, or leave the expiry out."
            )
        audit = AuditEntry(
            self._system.now(), AuditAction.API_KEY_REVEALED, actor, Target.API_KEY, str(record.key_id)
        )
        secret = self._open(record)
        self._store.audit_log.record(audit)
        return RevealedSystemKey(record, secret)

    def _open(self, record: SystemKeyRecord) -> str:
        """Return the secret; raise `InvalidState` if it does not open, as after a change of its row (S1)."""
        try:
            return self._vault.open(record.sealed_secret, slot=_slot(record.name)).decode("ascii")
        except SealBroken:
            raise InvalidState(
                "The secret of this system key does not open any more: regenerate it."
            ) from None

    def _owner(self, actor: Actor) -> UserRecord:
        """Return the account that holds all system keys, made when it is first needed."""
        found = self._users.find_system()
        if found is None:
            try:
                return self._users.add(
                    actor,
                    userid=SYSTEM_USERID,
                    name="System",
                    kind=UserKind.SYSTEM,
                )
            except Conflict:  # Another call was faster.
                found = self._users.find_system()
        if found is None or found.kind is not UserKind.SYSTEM:
            raise InvalidState(f"The user name {SYSTEM_USERID} is taken by a person: delete or rename them.")
        return found


def _has_ended(record: SystemKeyRecord, now: datetime) -> bool:
    return record.expires_at is not None and record.expires_at <= now


def _ends_as_asked(record: SystemKeyRecord, lifetime: Lifetime) -> bool:
    if record.expires_at is None or lifetime.expires_at is None:
        return record.expires_at is lifetime.expires_at
    return in_milliseconds(record.expires_at) == in_milliseconds(lifetime.expires_at)


def _slot(name: str) -> str:
    return slot_of("system_key", name, "sealed_secret")
