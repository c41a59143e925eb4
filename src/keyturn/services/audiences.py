"""Whom credentials are good for, and what of it their owners may hold: read seldom, asked often."""

import threading
from dataclasses import dataclass, replace

from keyturn.core.records import KeyForVerification, OwnerRecord, SessionForVerification
from keyturn.core.resources import ResourceRecord, ResourceScope, withheld_from
from keyturn.store import Store

TARGETS = ("RESOURCE", "GROUP")
"""What the audit log calls things whose changes change this."""


@dataclass(frozen=True, slots=True)
class _Registered:
    """What the database says of the registered APIs."""

    resources: tuple[ResourceRecord, ...]
    guarded: tuple[ResourceScope, ...]
    """The scopes that not everyone may hold."""


class Audiences:
    """The registered APIs, remembered until one of them or a group changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._registered: _Registered | None = None
        self._generation = 0
        self._lock = threading.Lock()

    @property
    def resources(self) -> tuple[ResourceRecord, ...]:
        """All registered APIs, in alphabetical order."""
        return self._known().resources

    def forget(self) -> None:
        """Read them anew before they are next used: they may have changed."""
        with self._lock:
            self._generation += 1
            self._registered = None

    def scopes_of(self, audience: str) -> frozenset[str] | None:
        """Return the scopes of the API with this identifier; None if none is registered."""
        for resource in self.resources:
            if resource.identifier == audience:
                return resource.scope_names
        return None

    def open_scopes(self) -> list[str]:
        """Return the names of the scopes that everyone may hold, in alphabetical order."""
        return sorted(
            scope.name for resource in self.resources for scope in resource.scopes if scope.is_for_everyone
        )

    def withheld_from(self, user_id: int) -> frozenset[str]:
        """Return the scopes that a user may not hold: guarded ones of others, and retired ones."""
        guarded = self._known().guarded
        if not guarded:  # The groups need not be asked for.
            return frozenset()
        return withheld_from(guarded, self._store.resources.groups_of(user_id))

    def _known(self) -> _Registered:
        known = self._registered
        if known is not None:
            return known
        since = self._generation
        read = _Registered(
            tuple(self._store.resources.list_all()), tuple(self._store.resources.list_guarded())
        )
        with self._lock:
            if since == self._generation:  # Nothing changed while the database was asked (R4).
                self._registered = read
        return read


class StoredCredentials:
    """What `Lookup` asks, answered from the database."""

    def __init__(self, store: Store, audiences: Audiences) -> None:
        self._store = store
        self._audiences = audiences

    def find_key(self, digest: bytes) -> KeyForVerification | None:
        """Return the key with this digest, alive or not."""
        return self._capped_key(self._store.api_keys.find_for_verification(digest))

    def find_key_by_id(self, key_id: int) -> KeyForVerification | None:
        """Return the key that a token names, alive or not."""
        return self._capped_key(self._store.api_keys.find_for_token(key_id))

    def find_session(self, session_id: int) -> SessionForVerification | None:
        """Return the session that a token names, ended or not."""
        found = self._store.sessions.find_for_token(session_id)
        return None if found is None else replace(found, owner=self._capped(found.owner))

    def is_revoked(self, jti: str) -> bool:
        """Return whether a token was revoked by itself (RFC 7009)."""
        return self._store.tokens.is_revoked(jti)

    def scopes_of(self, audience: str) -> frozenset[str] | None:
        """Return the scopes of the API with this identifier; None if none is registered."""
        return self._audiences.scopes_of(audience)

    def _capped_key(self, found: KeyForVerification | None) -> KeyForVerification | None:
        if found is None:
            return None
        owner = self._capped(found.owner)
        return found if owner is found.owner else replace(found, owner=owner)

    def _capped(self, owner: OwnerRecord) -> OwnerRecord:
        """Return an owner with what is withheld from them."""
        withheld = self._audiences.withheld_from(owner.user_id)
        return replace(owner, withheld=withheld) if withheld else owner
