"""The only reader of the `Authorization` header.

    Authorization: <key>            Authorization: Bearer <key>
    Authorization: <token>          Authorization: Bearer <token>
    Authorization: DPoP <key>       Authorization: DPoP <token>

The scheme is matched without case (RFC 9110, section 11.1) and followed by one or more spaces. The first
four forms are sent by real clients of the Immuta API; the last two say that a proof of possession comes with
it (RFC 9449, section 7.1). `Basic` is read at the endpoints of OAuth alone. Every other scheme is refused.
The value is read as bytes: nothing is trimmed but HTTP's optional white space, nothing is folded or
normalised, and a byte above 0x7F is a refusal like any other.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_plus

from keyturn.core.access_token import MAX_TOKEN_BYTES
from keyturn.core.api_key import ApiKeyFormat, digest_api_key
from keyturn.errors import AmbiguousCredential, CredentialRefused, Reason

_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +")
_DPOP = re.compile(rb"[Dd][Pp][Oo][Pp] +")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_OPTIONAL_WHITE_SPACE = b" \t"


@dataclass(frozen=True, slots=True)
class ApiKeyCredential:
    """A well-formed API key, already reduced to what it is looked up by."""

    digest: bytes = field(repr=False)
    is_with_proof: bool = False
    """Whether it was sent as one that comes with a proof of possession."""


@dataclass(frozen=True, slots=True)
class AccessTokenCredential:
    """Something of the shape of a token, unverified."""

    token: bytes = field(repr=False)
    is_with_proof: bool = False
    """Whether it was sent as one that comes with a proof of possession."""

    @property
    def digest(self) -> bytes:
        """The key of the token in caches: SHA-256 of every byte of it."""
        return hashlib.sha256(self.token).digest()


Credential = ApiKeyCredential | AccessTokenCredential


@dataclass(frozen=True, slots=True)
class Presented:
    """The credential in one `Authorization` value, without its scheme and not parsed yet."""

    value: bytes = field(repr=False)
    is_with_proof: bool = False
    """Whether it was sent as one that comes with a proof of possession."""


def read_authorization(values: Sequence[bytes], key_format: ApiKeyFormat) -> Credential | None:
    """Return the credential in the `Authorization` field lines of one request.

    `values` holds the value of each field line. Return None when there is none. Raise
    `AmbiguousCredential` for more than one line, equal or not, and `CredentialRefused` for a value
    that no key or token of ours can have.
    """
    presented = read_presented(values)
    if presented is None:
        return None
    credential = read_credential(presented.value, key_format)
    return replace(credential, is_with_proof=True) if presented.is_with_proof else credential


def read_presented(values: Sequence[bytes]) -> Presented | None:
    """Return what the field lines present, None without any; raise `AmbiguousCredential` for several."""
    if not values:
        return None
    if len(values) > 1:
        raise AmbiguousCredential("Send one Authorization header, not several.")
    value = values[0].strip(_OPTIONAL_WHITE_SPACE)
    if scheme := _BEARER.match(value):
        return Presented(value[scheme.end() :])
    if scheme := _DPOP.match(value):
        return Presented(value[scheme.end() :], is_with_proof=True)
    return Presented(value)


def is_token(presented: bytes) -> bool:
    """Return whether this has the form of a token."""
    return _TOKEN.fullmatch(presented) is not None


def find_flaw(presented: bytes, key_format: ApiKeyFormat) -> Reason | None:
    """Return why this can be neither a key nor a token; None if by its form it can be one of them."""
    if len(presented) > MAX_TOKEN_BYTES:
        return Reason.MALFORMED
    return None if is_token(presented) else key_format.find_flaw(presented)


def read_credential(presented: bytes, key_format: ApiKeyFormat) -> Credential:
    """Tell a token from a key by its form; raise `CredentialRefused` if it has neither."""
    if len(presented) > MAX_TOKEN_BYTES:
        raise CredentialRefused(Reason.MALFORMED)
    if is_token(presented):
        return AccessTokenCredential(presented)
    return read_api_key(presented, key_format)


def read_api_key(presented: bytes, key_format: ApiKeyFormat) -> ApiKeyCredential:
    """Read a key alone, as the exchange takes it; raise `CredentialRefused` if it cannot be one."""
    key_format.check_well_formed(presented)
    return ApiKeyCredential(digest_api_key(presented))


def is_basic(value: bytes) -> bool:
    """Return whether a value has the scheme by which OAuth clients prove who they are."""
    return value[:6].lower() == b"basic "


def read_basic(value: bytes) -> tuple[str, str] | None:
    """Return a client id and secret (RFC 6749, section 2.3.1: both are form-encoded first).

    Base64 in the one spelling that encoding writes. None for anything else.
    """
    if not is_basic(value):
        return None
    given = value[6:].strip(b" ")
    try:
        decoded = base64.b64decode(given, validate=True)
        client_id, found, secret = decoded.decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not found or base64.b64encode(decoded) != given:
        return None
    return unquote_plus(client_id), unquote_plus(secret)
