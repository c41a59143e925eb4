"""The public signing keys as the feed last told them, in a ring of those that verify now."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from keyturn.core import feed
from keyturn.core.access_token import VerifyingKey, VerifyingRing
from keyturn.core.times import read_time
from keyturn.system import System

_Keys = tuple[tuple[VerifyingKey, datetime | None], ...]
"""Each with the time at which it verifies no more; None for not yet known."""


@dataclass(frozen=True, slots=True)
class _Composed:
    """A ring, of which keys it was made, and the time at which the first of them ends."""

    keys: _Keys
    ring: VerifyingRing
    ends_at: float


class FollowedKeys:
    """One thread applies; any thread may ask."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._keys: _Keys = ()
        self._composed: _Composed | None = None

    def apply(self, data: bytes) -> None:
        """Take in all of them; raise `ValueError` for what is none."""
        self._keys = tuple(
            (VerifyingKey.from_jwk(row.jwk), read_time(row.verifies_until)) for row in _ROWS.decode(data)
        )

    @property
    def ring(self) -> VerifyingRing:
        """The public keys of this moment."""
        known = self._composed
        if (
            known is None
            or known.keys is not self._keys  # They were told anew, maybe while it was composed (R4).
            or self._system.timestamp() >= known.ends_at
        ):
            known = self._composed = self._compose()
        return known.ring

    def _compose(self) -> _Composed:
        held, now = self._keys, self._system.now()
        living = [(key, until) for key, until in held if until is None or until > now]
        ends = [until.timestamp() for _, until in living if until is not None]
        ring = VerifyingRing.of_keys([key for key, _ in living])
        return _Composed(held, ring, min(ends, default=float("inf")))


_ROWS = msgspec.json.Decoder(list[feed.SigningKeyRow])
