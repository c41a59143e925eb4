"""All keys of all users: for administrators, to find those that should be gone."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from msgspec import structs

from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import OwnedKey, RevocationReason, is_id
from keyturn.core.searches import KeyCounts, KeySearch
from keyturn.errors import ChangedMeanwhile, InvalidState, NotFound
from keyturn.services.keys.presented import find_presented
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of
from keyturn.verifying.uses import Usage

MAX_SELECTED = 10_000
"""How many keys are revoked by one request at most."""
REVOKED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class KeySelection:
    """Keys that somebody looks at before all of them are revoked."""

    key_ids: tuple[int, ...]

    @property
    def digest(self) -> str:
        """A text that is another one for other keys."""
        return hashlib.sha256(",".join(map(str, self.key_ids)).encode()).hexdigest()


class KeyAdministration:
    """Finds and revokes anybody's keys, for holders of USER_ADMIN."""

    def __init__(self, store: Store, *, key_format: ApiKeyFormat, usage: Usage, system: System) -> None:
        self._store = store
        self._format = key_format
        self._usage = usage
        self._system = system

    def search(
        self, principal: Principal, wanted: KeySearch, *, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[OwnedKey]:
        """Return the keys that are looked for, the newest first, as they are now."""
        principal.check_may(Permission.USER_ADMIN)
        if not is_storable(wanted.owner, wanted.text, wanted.about):
            return Page(0, ())
        found = self._store.api_keys.search(wanted, now=self._system.now(), offset=offset, size=size)
        items = (
            replace(owned, key=structs.replace(owned.key, last_use=self._usage.latest(owned.key)))
            for owned in found.items
        )
        return Page(found.count, tuple(items))

    def count_parts(self, principal: Principal, wanted: KeySearch) -> KeyCounts:
        """Return how many of the keys that are looked for are in each part of the list."""
        principal.check_may(Permission.USER_ADMIN)
        if not is_storable(wanted.owner, wanted.text, wanted.about):
            return KeyCounts(0, 0, 0, 0, 0)
        return self._store.api_keys.count_parts(wanted, now=self._system.now())

    def find_presented(self, principal: Principal, secret: str) -> int | None:
        """Return the number of anybody's key with this secret, as `presented.find_presented` does."""
        principal.check_may(Permission.USER_ADMIN)
        found = find_presented(self._store, self._format, secret)
        return None if found is None else found.key_id

    def get(self, principal: Principal, key_id: int) -> OwnedKey:
        """Return anybody's key; raise `NotFound` if there is none with this id."""
        found = self.search(principal, KeySearch(key_id=key_id), size=1).items if is_id(key_id) else ()
        if not found:
            raise NotFound
        return found[0]

    def select(self, principal: Principal, wanted: KeySearch) -> KeySelection:
        """Return the keys that are looked for and not revoked.

        Raise `InvalidState` for more than `MAX_SELECTED`.
        """
        principal.check_may(Permission.USER_ADMIN)
        if not is_storable(wanted.owner, wanted.text, wanted.about):
            return KeySelection(())
        found = self._store.api_keys.numbers(
            replace(wanted, is_revoked=False), now=self._system.now(), size=MAX_SELECTED + 1
        )
        if len(found) > MAX_SELECTED:
            raise InvalidState(f"More than {MAX_SELECTED:,} keys match. Narrow the search to revoke them.")
        return KeySelection(found)

    def revoke(
        self,
        principal: Principal,
        key_ids: Iterable[int],
        origin: Origin,
        *,
        reason: RevocationReason | None = None,
    ) -> int:
        """End these keys, and every token made from them; return how many were alive.

        At most `REVOKED_AT_ONCE` in each transaction, so that nobody waits long for the lock of changes.
        """
        principal.check_may(Permission.USER_ADMIN)
        audit = AuditEntry(
            self._system.now(),
            AuditAction.API_KEY_DELETED,
            actor_of(principal, origin),
            Target.API_KEY,
            None,
            details={} if reason is None else {"reason": reason.value},
        )
        numbers = sorted({key_id for key_id in key_ids if is_id(key_id)})
        return sum(
            self._store.api_keys.revoke_some(numbers[first : first + REVOKED_AT_ONCE], audit.at, audit)
            for first in range(0, len(numbers), REVOKED_AT_ONCE)
        )

    def revoke_selected(
        self,
        principal: Principal,
        wanted: KeySearch,
        origin: Origin,
        *,
        seen: str,
        reason: RevocationReason | None = None,
    ) -> int:
        """End the keys that `select` returns now; return how many.

        Raise `ChangedMeanwhile`, and end none, unless they are those whose digest was `seen`.
        """
        selected = self.select(principal, wanted)
        if selected.digest != seen:
            raise ChangedMeanwhile(
                "Nothing was changed: other keys match now than when this page was shown. Look at them again."
            )
        return self.revoke(principal, selected.key_ids, origin, reason=reason)
