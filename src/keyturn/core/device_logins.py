"""A device that waits to be signed in (RFC 8628)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DeviceLogin:
    """A device that waits, or whose wait is over."""

    client_id: str
    """How the program calls itself: a stranger's text."""
    scopes: frozenset[str] | None
    address: str | None
    created_at: datetime
    expires_at: datetime
    is_denied: bool
    key_expires_at: datetime | None
    """When the key is to end that the device is given; None for never, or while nobody has approved."""
    session_id: int | None
    """The session in which a person approved; None while nobody has."""
