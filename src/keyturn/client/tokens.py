"""A bearer token that is there when it is needed: exchanged once, kept, and renewed before it ends."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from keyturn.client.dpop import DpopKeyPair
from keyturn.core.loopback import check_address
from keyturn.core.oauth import API_KEY_TYPE, TOKEN_EXCHANGE, TOKEN_PATH
from keyturn.core.own_credential import is_credential, read_own_credential
from keyturn.errors import KeyturnError

EXCHANGE_PATH = "/bim/apikey/authenticate"
RENEWED_BEFORE_SECONDS = 60.0
"""A token is renewed when less than this is left of its life, or less than a tenth of it."""
NOT_KEYTURN = "This answer is not from Keyturn: check the address."


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


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: int

    def __repr__(self) -> str:
        """Show nothing of the secret."""
        return "_Granted(…)"


@dataclass(slots=True)
class KeptToken:
    """A token with the monotonic time at which it is to be renewed."""

    text: str = field(repr=False)
    renew_at: float


class TokenKeeper:
    """Knows how to ask for a token, and keeps the one it got. With `key_pair` the token is bound to that.

    With `resource`, the identifier of a registered API, it is for that API alone (RFC 8707), and with
    `scopes` it covers these alone.

    The caller lets one thread or task ask at a time. Raises `ValueError` for an address that would send the
    key in clear over a network, and for what is no key.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        key_pair: DpopKeyPair | None = None,
        resource: str | None = None,
        scopes: Sequence[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
        timestamp: Callable[[], float] = time.time,
    ) -> None:
        check_address(url)
        if isinstance(scopes, str):
            raise TypeError("give the scopes as a list: a text would be read letter by letter")
        self._narrowed = {} if resource is None else {"resource": resource}
        if scopes:
            self._narrowed["scope"] = " ".join(scopes)
        self.exchange_url = url.rstrip("/") + (TOKEN_PATH if self._narrowed else EXCHANGE_PATH)
        self._key = read_own_credential(key)
        self._key_pair = key_pair
        self._monotonic = monotonic
        self._timestamp = timestamp
        self._kept: KeptToken | None = None

    def body(self) -> bytes:
        """Return the body of the exchange: JSON, or a form where the token is narrowed (RFC 8693)."""
        if not self._narrowed:
            return msgspec.json.encode({"apikey": self._key})
        asked = {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": self._key,
            "subject_token_type": API_KEY_TYPE,
            **self._narrowed,
        }
        return urlencode(asked).encode("ascii")

    def headers(self) -> dict[str, str]:
        """Return the headers of the exchange, with a proof if the token is to be bound to a key pair."""
        content_type = "application/x-www-form-urlencoded" if self._narrowed else "application/json"
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if self._key_pair is not None:
            headers["DPoP"] = self._key_pair.proof("POST", self.exchange_url)
        return headers

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
            token, life = self._read(body)
        except (msgspec.ValidationError, msgspec.DecodeError):
            raise ExchangeFailed(status, NOT_KEYTURN) from None
        if not is_credential(token):
            raise ExchangeFailed(status, NOT_KEYTURN)
        # By a clock that is far ahead of the server's it has ended: then it is good until it is refused.
        lasts = life - min(RENEWED_BEFORE_SECONDS, life / 10) if life > 0 else float("inf")
        self._kept = KeptToken(token, self._monotonic() + lasts)
        return token

    def _read(self, body: bytes) -> tuple[str, float]:
        """Return the token and for how many seconds it lives."""
        if self._narrowed:
            granted = msgspec.json.decode(body, type=_Granted)
            return granted.access_token, float(granted.expires_in)
        answer = msgspec.json.decode(body, type=_Exchanged)
        return answer.token, answer.token_expiration.timestamp() - self._timestamp()


def keeper_of(
    url: str | None,
    key: str,
    key_pair: DpopKeyPair | None,
    resource: str | None,
    scopes: Sequence[str],
) -> TokenKeeper | None:
    """Return what keeps tokens for a key, None without an address: then the key itself is sent.

    Raise `ValueError` for what can be narrowed by an exchange alone.
    """
    if url is not None:
        return TokenKeeper(url, key, key_pair=key_pair, resource=resource, scopes=scopes)
    if resource is not None or scopes:
        raise ValueError("give the server's address too: a token for one API is got from there")
    return None


def _message_of(body: bytes) -> str:
    """Return what a server says of a failure, or nothing: its body may be anything."""
    try:
        said: Any = msgspec.json.decode(body)
        return str(said["error_description"] if "error_description" in said else said["message"])[:200]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "The answer says no more."
