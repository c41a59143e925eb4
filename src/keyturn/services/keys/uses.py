"""How often keys are used, and by whom: counts by day, and the last callers."""

from collections.abc import Collection
from datetime import timedelta
from urllib.parse import quote

from keyturn.core.key_uses import add_by_day, day_of, first_hour_of, merge_callers
from keyturn.core.people import UserRecord
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import (
    MAX_CALLERS,
    MAX_VIA_CHARACTERS,
    ApiKeyRecord,
    ConnectionCaller,
    KeyCaller,
    UseCount,
    hour_of,
)
from keyturn.errors import NotFound
from keyturn.services.installation.retention import KEPT
from keyturn.services.people.administration import UserAdministration
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.uses import Usage

DAYS = 30
"""Of the sum that lists show."""
SHOWN_DAYS = KEPT.days
_METHODS = ("GET", "HEAD", "PUT")
"""Of the requests that name a connection and nothing below it."""


class KeyUses:
    """Uses of keys: those that are written, and those that this process noted since.

    Records of keys are those that the caller was given: they may see what happens to them.
    """

    def __init__(
        self, store: Store, usage: Usage, administration: UserAdministration, system: System
    ) -> None:
        self._store = store
        self._administration = administration
        self._usage = usage
        self._system = system

    def count(self, user_id: int) -> dict[int, int]:
        """Return how often each of a user's keys was used in the last `DAYS` days, as written so far."""
        since = self._system.now() - timedelta(days=DAYS)
        return self._store.api_keys.count_uses(user_id, since_hour=hour_of(since))

    def by_day(
        self, keys: Collection[ApiKeyRecord], *, shift_hours: int = 0
    ) -> dict[int, dict[int, UseCount]]:
        """Return how often keys were used and refused on each of the last `SHOWN_DAYS`, up to now.

        By key, and by day since 1970 in a zone that is `shift_hours` ahead of UTC. Keys and days without any
        are left out.
        """
        today = day_of(hour_of(self._system.now()), shift_hours)
        since_hour = first_hour_of(today - SHOWN_DAYS + 1, shift_hours)
        key_ids = [key.key_id for key in keys]
        counts = self._store.api_keys.uses_by_day(key_ids, since_hour, shift_hours=shift_hours)
        for key_id in key_ids:
            unwritten = self._usage.unwritten(key_id)
            if unwritten is not None:
                counts[key_id] = add_by_day(
                    counts.get(key_id, {}), unwritten, since_hour=since_hour, shift_hours=shift_hours
                )
        return counts

    def callers(self, key: ApiKeyRecord) -> tuple[KeyCaller, ...]:
        """Return who presented a key last, up to now: `MAX_CALLERS` at most, the newest first."""
        written, unwritten = self._store.api_keys.callers(key.key_id), self._usage.unwritten(key.key_id)
        return written if unwritten is None else merge_callers((*written, *unwritten.callers))

    def latest(self, principal: Principal, key_id: int, *, at_most: int) -> tuple[KeyCaller, ...]:
        """Return who used a key last, as far as its callers are kept, the newest first.

        Raise `NotFound` unless the caller may see the key: their own, that of a service account of theirs, or
        with AUDIT or USER_ADMIN anybody's.
        """
        owner_id = self._store.api_keys.find_owner(key_id)
        owner = None if owner_id is None else self._store.users.find_by_id(owner_id)
        if owner is None or not self._may_see_keys_of(principal, owner):
            raise NotFound
        key = self._store.api_keys.find_of_user(key_id, owner.user_id)
        callers = () if key is None else self.callers(key)
        return tuple(one for one in callers if one.uses)[:at_most]

    def of_connection(self, principal: Principal, connection_key: str) -> tuple[ConnectionCaller, ...]:
        """Return the callers whose last request was for a connection, the newest first, as written so far.

        Whose keys they are: anybody's for AUDIT or USER_ADMIN, otherwise the caller's own.
        """
        paths = {f"/data/connection/{name}" for name in (quote(connection_key, safe=""), connection_key)}
        vias = {f"{method} {path}"[:MAX_VIA_CHARACTERS] for method in _METHODS for path in paths}
        sees_all = principal.may(Permission.AUDIT, Permission.USER_ADMIN)
        return self._store.api_keys.callers_by_via(
            vias, user_id=None if sees_all else principal.user_id, size=MAX_CALLERS
        )

    def _may_see_keys_of(self, principal: Principal, owner: UserRecord) -> bool:
        return (
            owner.user_id == principal.user_id
            or principal.may(Permission.AUDIT)
            or self._administration.controls(principal, owner)
        )
