"""How long a key may live: the rules for every way in which a key is made, and for its tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from keyturn.core.principal import Principal
from keyturn.core.times import in_milliseconds, time_at, wire_time
from keyturn.errors import Conflict, InvalidInput

MAX_LIFE = timedelta(days=3653)
"""Ten years. A key that is to live longer never ends, which an operator can forbid."""

_FIELD = "expiresAt"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a key is to live."""

    expires_at: datetime | None
    """None for never, which is an explicit choice and written in the audit log."""


@dataclass(frozen=True, slots=True)
class KeyLife:
    """The installation's rule for the life of keys."""

    default: timedelta
    """For a key whose maker chose nothing."""
    allows_never: bool

    def end_of(self, lifetime: Lifetime | None, now: datetime) -> datetime | None:
        """Return when a key ends that is made at `now`, None for never; raise `InvalidInput` if it may not.

        Without `lifetime` it lives for the default.
        """
        if lifetime is None:
            return now + self.default
        end = lifetime.expires_at
        if end is None:
            if not self.allows_never:
                raise InvalidInput(_FIELD, "Keys without an expiry are not allowed here: choose a date.")
            return None
        if end <= now:
            raise InvalidInput(_FIELD, "The expiry must lie in the future.")
        if end - now > MAX_LIFE:
            otherwise = ", or never" if self.allows_never else ""
            raise InvalidInput(_FIELD, f"A key ends within ten years: choose an earlier date{otherwise}.")
        return time_at(in_milliseconds(end))


def end_within(principal: Principal, lifetime: Lifetime | None, end: datetime | None) -> datetime | None:
    """Return when something ends that `principal` makes and that would end at `end`, None for never.

    It ends no later than its maker (A3). Raise `Conflict` if that is sooner than `lifetime` asks for.
    """
    last = principal.makes_until
    if last is None or (end is not None and end <= last):
        return end
    if lifetime is not None:
        raise Conflict(
            f"Nothing outlives the credential that it is made with, and this one ends at {wire_time(last)}: "
            "choose no later expiry, or leave it out."
        )
    return last
