"""The only reader of the `Authorization` header.

    Authorization: <key>            Authorization: Bearer <key>
    Authorization: <token>          Authorization: Bearer <token>

The scheme is matched without case (RFC 9110, section 11.1) and followed by one or more spaces. All four
forms are sent by real clients of the Immuta API. Every other scheme is refused. The value is read as
bytes: nothing is trimmed but HTTP's optional white space, nothing is folded or normalised, and a byte
above 0x7F is a refusal like any other.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from keyturn.core.access_token import MAX_TOKEN_BYTES
from keyturn.core.api_key import ApiKeyFormat, digest_api_key
from keyturn.errors import AmbiguousCredential, CredentialRefused, Reason

_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_OPTIONAL_WHITE_SPACE = b" \t"


@dataclass(frozen=True, slots=True)
class ApiKeyCredential:
    """A well-formed API key, already reduced to what it is looked up by."""

    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccessTokenCredential:
    """Something of the shape of a token, unverified."""

    token: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """What the token is remembered by: SHA-256 of every byte of it."""
        return hashlib.sha256(self.token).digest()


Credential = ApiKeyCredential | AccessTokenCredential


def read_authorization(values: Sequence[bytes], key_format: ApiKeyFormat) -> Credential | None:
    """Return the credential in the `Authorization` field lines of one request.

    `values` holds the value of each field line. Return None when there is none. Raise
    `AmbiguousCredential` for more than one line, equal or not, and `CredentialRefused` for a value
    that no key or token of ours can have.
    """
    if not values:
        return None
    if len(values) > 1:
        raise AmbiguousCredential("Send one Authorization header, not several.")
    value = values[0].strip(_OPTIONAL_WHITE_SPACE)
    if scheme := _BEARER.match(value):
        value = value[scheme.end() :]
    return read_credential(value, key_format)


def read_credential(presented: bytes, key_format: ApiKeyFormat) -> Credential:
    """Tell a token from a key by its form; raise `CredentialRefused` if it has neither."""
    if len(presented) > MAX_TOKEN_BYTES:
        raise CredentialRefused(Reason.MALFORMED)
    if _TOKEN.fullmatch(presented) is not None:
        return AccessTokenCredential(presented)
    return read_api_key(presented, key_format)


def read_api_key(presented: bytes, key_format: ApiKeyFormat) -> ApiKeyCredential:
    """Read a key alone, as the exchange takes it; raise `CredentialRefused` if it cannot be one."""
    key_format.check_well_formed(presented)
    return ApiKeyCredential(digest_api_key(presented))
