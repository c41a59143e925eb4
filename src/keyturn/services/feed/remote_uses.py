"""When keys were used elsewhere, as the verifiers there report it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from keyturn.core.networks import read_address
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import KeyCaller, KeyUsage, LastUse
from keyturn.system import System
from keyturn.verifying.redaction import Redactor

OLDEST = timedelta(days=1)
"""A report of an older use counts as of then: it was held back, and must not rewrite history."""
MAX_USES = 1_000_000_000
"""The most uses of one key in one report: more than a process verifies in a minute."""


class RecordsReports(Protocol):
    """Where reports are written."""

    def record_use(
        self, uses: Mapping[int, KeyUsage], *, reported: tuple[Principal, datetime] | None
    ) -> None:
        """Write these uses; raise `CredentialRefused` if whoever reports them was revoked meanwhile."""


class RemoteUses:
    """Writes what is reported as uses here are written: nobody's rights depend on it."""

    def __init__(self, keys: RecordsReports, without_secrets: Redactor, system: System) -> None:
        self._keys = keys
        self._without_secrets = without_secrets
        self._system = system

    def record(self, principal: Principal, uses: Iterable[tuple[int, LastUse, int]]) -> None:
        """Write when keys were last used, and how often; raise `PermissionMissing`, or `CredentialRefused`.

        Of one key the last report counts. A use in the future was now; what is no address is left out; a key
        that is gone is passed over. All uses of a report count for the caller that it tells of.
        """
        principal.check_may(Permission.VERIFY_CREDENTIALS)
        bounded = {key_id: self._bounded(last, times) for key_id, last, times in uses}
        self._keys.record_use(bounded, reported=(principal, self._system.now()))

    def _bounded(self, last: LastUse, times: int) -> KeyUsage:
        now = self._system.now()
        at = max(min(last.at, now), now - OLDEST)
        read = None if last.address is None else read_address(last.address)
        address = None if read is None else str(read)
        via, agent = (
            None if text is None else self._without_secrets(text) for text in (last.via, last.agent)
        )
        uses = min(max(times, 0), MAX_USES)
        caller = KeyCaller(
            address=address, agent=agent, via=via, uses=uses, refused=0, reason=None, first_at=at, last_at=at
        )
        return KeyUsage(LastUse(at, address, via, agent), uses, callers=(caller,))
