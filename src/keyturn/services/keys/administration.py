"""All keys of all users: for administrators, to find those that should be gone."""

from collections.abc import Iterable
from dataclasses import replace

from msgspec import structs

from keyturn.core.api_key import ApiKeyFormat, digest_api_key
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import OwnedKey, is_id
from keyturn.core.searches import KeyCounts, KeySearch
from keyturn.errors import CredentialRefused, NotFound
from keyturn.services.keys.keys import Keys
from keyturn.services.text import is_storable
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of
from keyturn.verifying.uses import Usage


class KeyAdministration:
    """Finds and revokes anybody's keys, for holders of USER_ADMIN."""

    def __init__(
        self, store: Store, *, keys: Keys, key_format: ApiKeyFormat, usage: Usage, system: System
    ) -> None:
        self._store = store
        self._keys = keys
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
        """Return the number of the key whose secret this is, or was until its last rotation; None for none.

        It may have ended. Nothing of the secret is kept or written down.
        """
        principal.check_may(Permission.USER_ADMIN)
        try:
            presented = secret.encode("ascii")
            self._format.check_well_formed(presented)
        except (CredentialRefused, UnicodeEncodeError):
            return None
        found = self._store.api_keys.find_for_verification(digest_api_key(presented))
        return None if found is None else found.key_id

    def get(self, principal: Principal, key_id: int) -> OwnedKey:
        """Return anybody's key; raise `NotFound` if there is none with this id."""
        found = self.search(principal, KeySearch(key_id=key_id), size=1).items if is_id(key_id) else ()
        if not found:
            raise NotFound
        return found[0]

    def revoke(self, principal: Principal, key_ids: Iterable[int], origin: Origin) -> int:
        """End these keys, and every token made from them; return how many were alive."""
        principal.check_may(Permission.USER_ADMIN)
        actor = actor_of(principal, origin)
        ended = 0
        for key_id in key_ids:
            try:
                self._keys.revoke_any(key_id, actor)
            except NotFound:  # Revoked already, or never there.
                continue
            ended += 1
        return ended
