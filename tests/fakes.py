"""Small real stand-ins for what surrounds Keyturn: a clock that stands still, and a directory."""

from __future__ import annotations

import hashlib
import hmac
import os
from datetime import UTC, datetime, timedelta

from keyturn.services.people.identity.provider import Credentials, Identity
from keyturn.system import System


class Clock:
    """A time of day, and a monotonic time, that move only by `advance`."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
        self.monotonic = 1000.0

    def advance(self, by: timedelta) -> None:
        self.now += by
        self.monotonic += by.total_seconds()

    def system(self) -> System:
        return System(
            now=lambda: self.now,
            timestamp=lambda: self.now.timestamp(),  # noqa: PLW0108 - `now` is replaced
            monotonic=lambda: self.monotonic,
            random_bytes=os.urandom,
        )


class Directory:
    """An identity provider that keeps names and passwords of its own, as a company's directory does."""

    iamid = "corp"
    display_name = "Corporate directory"
    type = "directory"
    takes_password = True
    stores_password = False
    can_reauthenticate = True

    def __init__(self, **passwords: str) -> None:
        self._digests = {name: _digest(password) for name, password in passwords.items()}
        self.asked: list[str] = []
        """Whose password was compared, in order."""

    def verify(self, credentials: Credentials) -> Identity | None:
        self.asked.append(credentials.userid)
        expected = self._digests.get(credentials.userid, b"")
        is_right = hmac.compare_digest(_digest(credentials.password), expected)
        return Identity(credentials.account.user_id) if credentials.account and is_right else None


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()
