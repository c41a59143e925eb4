"""Sign a program in without a credential (RFC 8628): a person types a code on a page, the program gets a key.

login = DeviceLogin("https://keys.example.com", "nightly export")
codes = login.begin()
print(codes.verification_uri, codes.user_code)
key = login.wait(codes)
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from keyturn.client.tokens import NOT_KEYTURN
from keyturn.core.loopback import check_address, httpx_options
from keyturn.core.oauth import DEVICE_AUTHORIZATION_PATH, DEVICE_CODE, TOKEN_PATH
from keyturn.core.own_credential import is_credential
from keyturn.errors import KeyturnError, OAuthCode

TIMEOUT_SECONDS = 10.0
SLOWER_SECONDS = 5.0
"""Seconds that `slow_down` adds to the interval (RFC 8628, section 3.5)."""
MAX_INTERVAL_SECONDS = 60.0
SERVER_ERROR = 500


class LoginRefused(KeyturnError):
    """The login came to nothing; the message says why, `code` in the words of OAuth."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class DeviceCodes(msgspec.Struct, frozen=True):
    """The codes that the person sees."""

    device_code: str
    """Known to the program alone."""
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: float
    interval: float = 5

    def __repr__(self) -> str:
        """Show what can be shown: whoever has the device code gets the key."""
        return f"DeviceCodes(user_code={self.user_code!r})"


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """The key that the person gave."""

    key: str = field(repr=False)
    expires_in: int | None
    """Seconds; None for a key that never ends."""


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: int | None = None

    def __repr__(self) -> str:
        """Show nothing of the secret."""
        return "_Granted(…)"


class DeviceLogin:
    """One login of a program that names itself `client_id`, with at most 64 characters.

    Raises `LoginRefused` when the server or the person says no, httpx's errors when there is no answer, and
    `ValueError` for an address without https that is not loopback.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        *,
        scope: str = "",
        sleep: Callable[[float], object] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        check_address(url)
        self._client_id = client_id
        self._scope = scope
        self._sleep = sleep
        self._monotonic = monotonic
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, **httpx_options(url, tls))

    def begin(self) -> DeviceCodes:
        """Ask for the codes."""
        form = {"client_id": self._client_id} | ({"scope": self._scope} if self._scope else {})
        answer = self._http.post(DEVICE_AUTHORIZATION_PATH, data=form)
        if not answer.is_success:
            raise _refusal(answer)
        try:
            codes = msgspec.json.decode(answer.content, type=DeviceCodes)
        except (msgspec.ValidationError, msgspec.DecodeError):
            raise LoginRefused("invalid_response", NOT_KEYTURN) from None
        if not _can_be_shown(codes):
            raise LoginRefused("invalid_response", NOT_KEYTURN)
        return codes

    def wait(self, codes: DeviceCodes) -> DeviceKey:
        """Ask until the person has decided, no faster than the server wants; return the key."""
        ends_at = self._monotonic() + codes.expires_in
        interval = codes.interval
        form = {"grant_type": DEVICE_CODE, "device_code": codes.device_code, "client_id": self._client_id}
        while True:
            self._sleep(interval)
            if self._monotonic() >= ends_at:
                raise LoginRefused(OAuthCode.EXPIRED_TOKEN, "Nobody decided in time: begin again.")
            try:
                answer = self._http.post(TOKEN_PATH, data=form)
            except httpx.TransportError:
                interval = min(2 * interval, MAX_INTERVAL_SECONDS)  # RFC 8628, section 3.5
                continue
            if answer.is_success:
                return _granted(answer)
            refused = _refusal(answer)
            if refused.code == OAuthCode.SLOW_DOWN:
                interval += SLOWER_SECONDS
            elif answer.status_code < SERVER_ERROR and refused.code != OAuthCode.AUTHORIZATION_PENDING:
                raise refused

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the login itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _can_be_shown(codes: DeviceCodes) -> bool:
    """Return whether what a server sent is safe in a terminal, and its addresses are those of pages."""
    addresses = (codes.verification_uri, codes.verification_uri_complete)
    return all(text.isascii() and text.isprintable() for text in (codes.user_code, *addresses)) and all(
        urlsplit(address).scheme in {"http", "https"} for address in addresses
    )


def _granted(answer: httpx.Response) -> DeviceKey:
    try:
        granted = msgspec.json.decode(answer.content, type=_Granted)
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise LoginRefused("invalid_response", NOT_KEYTURN) from None
    if not is_credential(granted.access_token):
        raise LoginRefused("invalid_response", NOT_KEYTURN)
    return DeviceKey(granted.access_token, granted.expires_in)


def _refusal(answer: httpx.Response) -> LoginRefused:
    """Read an error of OAuth (RFC 6749, section 5.2), or of Keyturn; what it says of it may be absent."""
    try:
        said: Any = answer.json()
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    message = said.get("error_description") or said.get("message")
    if not isinstance(message, str):
        message = f"The server answered {answer.status_code} {answer.reason_phrase}."
    return LoginRefused(str(said.get("error", "")), message[:200])
