"""Audiences of credentials, and the scopes that their owners may hold: read seldom, asked often."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from msgspec import structs

from keyturn.core.apis import ApiRecord, Rules
from keyturn.core.audit import Target
from keyturn.core.records import KeyForVerification, SessionForVerification, StoredOwner
from keyturn.store import Store

F = TypeVar("F", KeyForVerification, SessionForVerification)

TARGETS = (Target.RESOURCE, Target.GROUP)
"""The targets whose changes invalidate this."""


MAX_REVISIONS = 1000
"""Over more changes than this the rules are read anew, instead of asking whether they are the same still."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Rules, and the first and the last revision for which they are known to hold."""

    rules: Rules
    first: int
    last: int


class Audiences:
    """The registered APIs and who may hold their scopes, remembered until one of them or a group changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._remembered: _Known | None = None
        self._generation = 0
        self._lock = threading.Lock()

    @property
    def resources(self) -> tuple[ApiRecord, ...]:
        """All registered APIs, in alphabetical order."""
        return self._known().rules.resources

    def forget(self) -> None:
        """Read them anew before they are next used: they may have changed."""
        with self._lock:
            self._generation += 1
            self._remembered = None

    def scopes_of(self, audience: str) -> frozenset[str] | None:
        """Return the scopes of the API with this identifier; None if none is registered."""
        return self._known().rules.audiences.get(audience)

    def open_scopes(self) -> list[str]:
        """Return the names of the scopes that everyone may hold, in alphabetical order."""
        return sorted(
            scope.name for resource in self.resources for scope in resource.scopes if scope.is_for_everyone
        )

    def at(self, revision: int) -> Rules | None:
        """Return the rules of this revision; None if there are others by now."""
        since, known = self._generation, self._known()
        if revision > known.last and not self._is_same(known.last, revision):
            known = self._read()
        if revision < known.first and not self._is_same(revision, known.first):
            return None
        if not known.first <= revision <= known.last:
            known = replace(known, first=min(revision, known.first), last=max(revision, known.last))
        self._keep(known, since)
        return known.rules

    def _is_same(self, after: int, until: int) -> bool:
        if until - after > MAX_REVISIONS:
            return False
        return not self._store.audit_log.has_changed_rules(after=after, until=until)

    def _known(self) -> _Known:
        since, known = self._generation, self._remembered
        if known is None:
            known = self._read()
            self._keep(known, since)
        return known

    def _read(self) -> _Known:
        rules = self._store.apis.rules()
        return _Known(rules, rules.revision, rules.revision)

    def _keep(self, known: _Known, since: int) -> None:
        if known is not self._remembered:
            with self._lock:
                if since == self._generation:  # Nothing changed while the database was asked (R4).
                    self._remembered = known


class StoredCredentials:
    """The credentials for `Lookup`, from the database."""

    changes = 0
    """Each answer is of one committed state, and what comes later only ends more."""

    def __init__(self, store: Store, audiences: Audiences) -> None:
        self._store = store
        self._audiences = audiences

    def find_key(self, digest: bytes) -> KeyForVerification | None:
        """Return the key with this digest, alive or not."""
        return self._capped(partial(self._store.api_keys.find_for_verification, digest))

    def find_key_by_id(self, key_id: int) -> KeyForVerification | None:
        """Return the key that a token names, alive or not."""
        return self._capped(partial(self._store.api_keys.find_for_token, key_id))

    def find_session(self, session_id: int) -> SessionForVerification | None:
        """Return the session that a token names, ended or not."""
        return self._capped(partial(self._store.sessions.find_for_token, session_id))

    def is_revoked(self, jti: str) -> bool:
        """Return whether a token was revoked by itself (RFC 7009)."""
        return self._store.tokens.is_revoked(jti)

    def _capped(self, find: Callable[[], F | None]) -> F | None:
        """Return what is found with what is withheld from its owner, by the rules of the same revision."""
        while (found := find()) is not None:
            owner = found.owner
            assert isinstance(owner, StoredOwner), "the store says which groups"  # noqa: S101 - for the type checker
            rules = self._audiences.at(owner.revision)
            if rules is not None:
                if rules.is_empty:
                    return found
                return structs.replace(
                    found,
                    owner=structs.replace(
                        owner, withheld=rules.withheld_from(owner.group_ids), audiences=rules.audiences
                    ),
                )
        return None
