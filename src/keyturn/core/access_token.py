"""The bearer token: an RFC 9068 JWT that only we write and only we accept.

    eyJhbGciOiJFUzI1NiIs… . eyJpc3MiOiJodHRwOi8v… . 64 bytes
    header                  claims                  signature
    {"alg","kid","typ"}     canonical JSON          ES256 (low s) or EdDSA

Each part is base64url and has one spelling:

- The header segment must be, byte for byte, one of the segments that the key ring writes. That alone
  ends algorithm confusion, `none`, `jwk`, `jku`, `x5c`, `crit`, `zip`, a foreign `typ` and doubled
  names, before anything is decoded (RFC 8725, sections 3.1 and 3.10).
- The claims must be the bytes that encoding the decoded claims again would give: no doubled or unknown
  names, no white space, no BOM, no other type.
- An ES256 signature must have its `s` in the lower half of the group order, as ours have: otherwise
  (r, n - s) would be a second spelling of the same token.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

import msgspec

from keyturn.core.encoding import EncodingError, base64url_decode, base64url_encode
from keyturn.core.jwk import (
    Algorithm,
    PrivateKey,
    PublicKey,
    generate_private_key,
    read_private_key,
    read_public_key,
)
from keyturn.core.records import MAX_ID
from keyturn.errors import CredentialRefused, Reason

MAX_TOKEN_BYTES = 4096
CLOCK_SKEW = timedelta(seconds=30)
"""How far in the future another node's `iat` may lie. `exp` gets no leeway."""

_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")

MAX_SECONDS = 253_402_300_799
"""The last second of the year 9999: what a `datetime` can say."""
_Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)]
_Uri = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


def _text(pattern: str) -> msgspec.Meta:
    return msgspec.Meta(pattern=rf"\A{pattern}\Z")


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key pair that a token is bound to (RFC 7800, section 3.1)."""

    jkt: Annotated[str, _text("[A-Za-z0-9_-]{43}")]
    """The thumbprint of the key pair that alone may present it (RFC 9449, section 6.1)."""


class ActorClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The account that acts for the subject of a token (RFC 8693, section 4.1)."""

    sub: Annotated[str, _text("[1-9][0-9]{0,18}")]


class AccessTokenClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The claims of a bearer token, in the order they are written (RFC 9068, section 2.2).

    Each within its bounds: what is read is what a database holds and what a time can say.

    Exactly one of `kt_key` and `kt_session` says what the token stands on and dies with. A token with `act`
    stands on both: on a key of the account that acts, and on a session of the subject.
    """

    iss: _Uri
    sub: Annotated[str, _text("[1-9][0-9]{0,18}")]
    """The numeric user id, as a string: unlike a user name it is never given to somebody else."""
    aud: _Uri
    client_id: Annotated[str, _text("[!-~]{1,64}")]
    exp: _Seconds
    """Seconds since 1970; the token is dead at this instant."""
    iat: _Seconds
    jti: Annotated[str, _text("[A-Za-z0-9_-]{1,64}")]
    scope: Annotated[str, _text(r"([!#-\[\]-~]+( [!#-\[\]-~]+)*)?")]
    """Space-separated scopes (RFC 6749, section 3.3); empty when the key has no scopes of its own."""
    kt_key: _Id | None = None
    kt_session: _Id | None = None
    kt_epoch: Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)] = 0
    """The epoch of the key and its owner when a token of a key was made; it is dead once that has grown.
    Absent for 0, and in tokens of sessions.
    """
    kt_secret: Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)] = 0
    """How many secrets the key had before the one that a token of a key was made with: the token is what that
    secret is, and ends with it. Absent for 0, and in tokens of sessions.
    """
    cnf: Confirmation | None = None
    """None for a token that whoever has it may present."""
    act: ActorClaim | None = None
    """None for a token with which the subject acts."""

    @property
    def jkt(self) -> str | None:
        """The thumbprint of the key pair that it is bound to; None for none."""
        return None if self.cnf is None else self.cnf.jkt

    @property
    def expires_at(self) -> datetime:
        """`exp` as a time."""
        return datetime.fromtimestamp(self.exp, UTC)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """The public half of a signing key, with the one header segment that it accepts."""

    kid: str
    algorithm: Algorithm
    key: PublicKey = field(repr=False)
    header_segment: bytes = field(repr=False)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> Self:
        """Read a public JWK (RFC 7517) that this module wrote; raise `ValueError` for another."""
        return cls._of(read_public_key(jwk), jwk)

    @classmethod
    def _of(cls, key: PublicKey, jwk: Mapping[str, Any]) -> Self:
        kid = _check_purpose(jwk, key.algorithm)
        header = {"alg": key.algorithm, "kid": kid, "typ": "at+jwt"}
        return cls(kid, key.algorithm, key, base64url_encode(msgspec.json.encode(header)))

    def public_jwk(self) -> dict[str, Any]:
        """Return the public members, as a JWKS publishes them."""
        return {**self.key.public_jwk(), "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """Return whether this key made `signature`, in the spelling that `sign` writes."""
        return self.key.is_canonical(signature) and self.key.verify(signing_input, signature)


@dataclass(frozen=True, slots=True)
class SigningKey(VerifyingKey):
    """A key with its private half."""

    key: PrivateKey = field(repr=False)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> Self:
        """Read a private JWK that `generate_signing_key` wrote; raise `ValueError` for another."""
        if "d" not in jwk:
            raise ValueError("a signing key has its private half")
        return cls._of(read_private_key(jwk), jwk)

    def sign(self, signing_input: bytes) -> bytes:
        """Return the one signature spelling that `verify` accepts for what it signs."""
        return self.key.sign(signing_input)


def generate_signing_key(algorithm: Algorithm, kid: str) -> dict[str, Any]:
    """Return a new private JWK."""
    return {**generate_private_key(algorithm).private_jwk(), "kid": kid}


def _check_purpose(jwk: Mapping[str, Any], algorithm: Algorithm) -> str:
    """Return the `kid`; raise `ValueError` for none, and for a key that says it is for something else."""
    kid, operations = jwk.get("kid"), jwk.get("key_ops", ["sign"])
    if not isinstance(kid, str) or _KID.fullmatch(kid) is None:
        raise ValueError("the kid of a signing key is 1 to 64 letters, digits, '_' and '-'")
    is_for_signing = jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "sign" in operations
    if not is_for_signing or jwk.get("alg", algorithm) != algorithm:
        raise ValueError(f"the key is not for signing with {algorithm}")
    return kid


@dataclass(frozen=True, slots=True)
class VerifyingRing:
    """The keys whose tokens are accepted."""

    by_header: Mapping[bytes, VerifyingKey]

    @classmethod
    def of_keys(cls, keys: Sequence[VerifyingKey]) -> "VerifyingRing":
        """Collect keys; raise `ValueError` if two have one `kid`."""
        return VerifyingRing(_by_header(keys))

    def kid_of(self, token: bytes) -> str:
        """Return which key signed a token that was read with this ring."""
        return self.by_header[token.partition(b".")[0]].kid

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set (RFC 7517, section 5): public members only."""
        return {"keys": [key.public_jwk() for key in self.by_header.values()]}


@dataclass(frozen=True, slots=True)
class KeyRing(VerifyingRing):
    """The keys that sign and verify: one signs, each verifies what it has signed before."""

    signing: SigningKey

    @classmethod
    def of(cls, signing: SigningKey, others: Iterable[SigningKey] = ()) -> "KeyRing":
        """Collect keys; raise `ValueError` if two have one `kid`."""
        return KeyRing(_by_header([signing, *others]), signing)


def _by_header(keys: Sequence[VerifyingKey]) -> dict[bytes, VerifyingKey]:
    if len({key.kid for key in keys}) != len(keys):
        raise ValueError("two signing keys have the same kid")
    return {key.header_segment: key for key in keys}


@dataclass(frozen=True, slots=True)
class AccessTokenFormat:
    """The claims that every token of one installation has."""

    issuer: str
    audience: str
    """The installation itself: whom a token is for that nobody asked to be for another."""
    max_life: timedelta
    """A longer-lived token is refused even when the signature is right."""

    def sign(self, claims: AccessTokenClaims, ring: KeyRing) -> str:
        """Write the token; raise `ValueError` if it would be longer than a token may be."""
        key = ring.signing
        signing_input = key.header_segment + b"." + base64url_encode(msgspec.json.encode(claims))
        token = signing_input + b"." + base64url_encode(key.sign(signing_input))
        if len(token) > MAX_TOKEN_BYTES:
            raise ValueError("the scopes do not fit into a token")
        return token.decode("ascii")

    def verify(
        self, token: bytes, ring: VerifyingRing, *, now: datetime, audience: str | None = None
    ) -> AccessTokenClaims:
        """Return the claims of a `token` for `audience`, or raise `CredentialRefused`.

        Only the token is judged: whether the key or session that it stands on still lives is the
        caller's next question.
        """
        claims = self.read(token, ring)
        if claims.iat > (now + CLOCK_SKEW).timestamp():
            raise CredentialRefused(Reason.CLAIMS)
        if claims.exp <= now.timestamp():
            raise CredentialRefused(Reason.EXPIRED, key_id=claims.kt_key, secret_matched=True)
        if claims.aud != (self.audience if audience is None else audience):
            raise CredentialRefused(Reason.AUDIENCE, key_id=claims.kt_key, secret_matched=True)
        return claims

    def read(self, token: bytes, ring: VerifyingRing) -> AccessTokenClaims:
        """Return the claims of a token that this installation once wrote, or raise `CredentialRefused`.

        For whomever it is: `aud` is for the caller to look at.
        """
        claims = _claims_of(token, ring)
        if claims.iss != self.issuer:
            raise CredentialRefused(Reason.CLAIMS)
        stands_on = {claims.kt_key is not None, claims.kt_session is not None}
        if stands_on != ({True, False} if claims.act is None else {True}):
            raise CredentialRefused(Reason.CLAIMS)
        if claims.kt_key is None and (claims.kt_epoch or claims.kt_secret):
            raise CredentialRefused(Reason.CLAIMS)
        if not 0 < claims.exp - claims.iat <= self.max_life.total_seconds():
            raise CredentialRefused(Reason.CLAIMS)
        return claims


def _claims_of(token: bytes, ring: VerifyingRing) -> AccessTokenClaims:
    """Check everything that makes the bytes ours, then decode the claims."""
    if len(token) > MAX_TOKEN_BYTES:
        raise CredentialRefused(Reason.MALFORMED)
    header, _, rest = token.partition(b".")
    key = ring.by_header.get(header)
    if key is None:
        raise CredentialRefused(Reason.SIGNATURE)
    payload, _, signature = rest.partition(b".")
    try:
        if not key.verify(header + b"." + payload, base64url_decode(signature)):
            raise CredentialRefused(Reason.SIGNATURE)
        raw = base64url_decode(payload)
        claims = _decode_claims(raw)
    except (EncodingError, msgspec.DecodeError, UnicodeDecodeError):
        # The library's error quotes the claims.
        raise CredentialRefused(Reason.MALFORMED) from None
    if msgspec.json.encode(claims) != raw:
        raise CredentialRefused(Reason.CLAIMS)
    return claims


_decode_claims = msgspec.json.Decoder(AccessTokenClaims, strict=True).decode
