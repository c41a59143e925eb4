"""The signed checkpoint that ends an archive of the audit log.

    eyJhbGciOi… . eyJmaXJzdCI6… . 64 bytes     a JWS in its compact form (RFC 7515, section 7.1)
    header        claims          signature
    {"alg","kid","typ":"keyturn-audit+jws"}

`digest` is the end of a chain over the lines of the archive, each with its line feed:

    d0 = previous      d(n) = SHA-256(d(n-1) ‖ line n)

`previous` is the digest of the archive before, so that the newest checkpoint vouches for all of them.
The `typ` keeps a checkpoint from being taken for a token, and a token for a checkpoint (RFC 8725, 3.11).
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from keyturn.core.access_token import SigningKey, VerifyingKey
from keyturn.core.encoding import EncodingError, base64url_decode, base64url_encode

NOTHING_BEFORE = bytes(32)
"""The `previous` of the first archive."""
_TYPE = "keyturn-audit+jws"


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The claims about an archive."""

    first: int
    """The revision of its first event."""
    last: int
    events: int
    previous: str
    """In hexadecimal, as `digest`."""
    digest: str
    iss: str
    iat: int
    """When it was signed, in seconds since 1970."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


def chained(digest: bytes, line: bytes) -> bytes:
    """Return the digest of the chain after one more line."""
    return hashlib.sha256(digest + line).digest()


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Write a checkpoint."""
    header = msgspec.json.encode(_Header(key.algorithm, key.kid, _TYPE))
    signed = base64url_encode(header) + b"." + base64url_encode(msgspec.json.encode(checkpoint))
    return (signed + b"." + base64url_encode(key.sign(signed))).decode("ascii")


def read_checkpoint(
    text: bytes, find_key: Callable[[str], Mapping[str, Any] | None]
) -> tuple[Checkpoint, str]:
    """Return a checkpoint and the `kid` of the key that signed it; raise `ValueError` for another text.

    `find_key` returns the public JWK of a `kid`.
    """
    signed, _, signature = text.rpartition(b".")
    head, _, claims = signed.partition(b".")
    try:
        header = msgspec.json.decode(base64url_decode(head), type=_Header)
        checkpoint = msgspec.json.decode(base64url_decode(claims), type=Checkpoint)
        given = base64url_decode(signature)
    except (EncodingError, msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("it does not end with a checkpoint") from None
    jwk = find_key(header.kid)
    if header.typ != _TYPE or jwk is None:
        raise ValueError("its checkpoint was not signed by a key of this installation")
    key = VerifyingKey.from_jwk(jwk)
    if header.alg != key.algorithm or not key.verify(signed, given):
        raise ValueError("the signature of its checkpoint is wrong")
    return checkpoint, header.kid
