"""How long what somebody makes may live: no longer than the credential that it is made with (A3)."""

from datetime import datetime

from keyturn.core.lifetimes import Lifetime
from keyturn.core.principal import Principal
from keyturn.core.times import wire_time
from keyturn.errors import Conflict


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
