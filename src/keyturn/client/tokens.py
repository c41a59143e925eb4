"""A bearer token that is there when it is needed: exchanged once, kept, and renewed before it ends."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from keyturn.errors import KeyturnError

EXCHANGE_PATH = "/bim/apikey/authenticate"
RENEWED_BEFORE_SECONDS = 60.0
"""A token is renewed when less than this is left of its life, or less than a tenth of it."""
NOT_KEYTURN = "This is no answer of Keyturn: see that the address is right."
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def check_address(url: str) -> None:
    """Raise `ValueError` for an address that would send a key in clear over a network."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("give the server's address with https: a key must not travel in clear")


class ExchangeFailed(KeyturnError):
    """The server gave no token for the key."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The key was not exchanged ({status}): {message}")
        self.status = status


class _Exchanged(msgspec.Struct, rename="camel"):
    token: str
    token_expiration: datetime

    def __repr__(self) -> str:
        """Show nothing of the secret."""
        return "_Exchanged(…)"


@dataclass(slots=True)
class KeptToken:
    """A token with the monotonic time at which it is to be renewed."""

    text: str = field(repr=False)
    renew_at: float


class TokenKeeper:
    """Knows how to ask for a token, and keeps the one it got.

    Whoever uses it sees to it that one thread or task asks at a time. Raises `ValueError` for an address that
    would send the key in clear over a network.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        timestamp: Callable[[], float] = time.time,
    ) -> None:
        check_address(url)
        self.exchange_url = url.rstrip("/") + EXCHANGE_PATH
        self._key = key
        self._monotonic = monotonic
        self._timestamp = timestamp
        self._kept: KeptToken | None = None

    def body(self) -> bytes:
        """Return the body of the exchange, which is JSON."""
        return msgspec.json.encode({"apikey": self._key})

    def find(self, *, not_this: str | None = None) -> str | None:
        """Return the token that is kept, unless it is to be renewed or is the one that was just refused."""
        kept = self._kept
        if kept is None or kept.text == not_this or self._monotonic() >= kept.renew_at:
            return None
        return kept.text

    def keep(self, status: int, body: bytes) -> str:
        """Keep the token of an answer to the exchange, and return it; raise `ExchangeFailed`."""
        if status != 200:
            raise ExchangeFailed(status, _message_of(body))
        try:
            answer = msgspec.json.decode(body, type=_Exchanged)
        except (msgspec.ValidationError, msgspec.DecodeError):
            raise ExchangeFailed(status, NOT_KEYTURN) from None
        life = answer.token_expiration.timestamp() - self._timestamp()
        # By a clock that is far ahead of the server's it has ended: then it is good until it is refused.
        lasts = life - min(RENEWED_BEFORE_SECONDS, life / 10) if life > 0 else float("inf")
        self._kept = KeptToken(answer.token, self._monotonic() + lasts)
        return answer.token


def _message_of(body: bytes) -> str:
    """Return what a server says of a failure, or nothing: its body may be anything."""
    try:
        said: Any = msgspec.json.decode(body)
        return str(said["message"])[:200]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "The answer says no more."
