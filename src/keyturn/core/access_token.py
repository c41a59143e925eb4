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
from typing import Annotated, Any, Literal, Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey, OKPKey

from keyturn.core.encoding import EncodingError, base64url_decode, base64url_encode
from keyturn.core.records import MAX_ID
from keyturn.errors import CredentialRefused, Reason

Algorithm = Literal["ES256", "EdDSA"]

MAX_TOKEN_BYTES = 4096
SIGNATURE_BYTES = 64
"""Both algorithms sign with 64 bytes: RFC 7518, section 3.4; RFC 8032, section 5.1.6."""
CLOCK_SKEW = timedelta(seconds=30)
"""How far in the future another node's `iat` may lie. `exp` gets no leeway."""

_ALGORITHM_OF_CURVE: dict[tuple[Any, Any], Algorithm] = {
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
_ECDSA = ECDSA(SHA256())
_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y"})
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


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


class AccessTokenClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The claims of a bearer token, in the order they are written (RFC 9068, section 2.2).

    Each within its bounds: what is read is what a database holds and what a time can say.

    Exactly one of `kt_key` and `kt_session` says what the token stands on and dies with.
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
    key: ECKey | OKPKey = field(repr=False)
    header_segment: bytes = field(repr=False)

    @classmethod
    def from_jwk(cls, jwk: dict[str, Any]) -> Self:
        """Read a JWK (RFC 7517) that this module wrote; raise `ValueError` for another."""
        algorithm = _algorithm_of(jwk)
        key = ECKey.import_key(jwk) if algorithm == "ES256" else OKPKey.import_key(jwk)
        header = {"alg": algorithm, "kid": jwk["kid"], "typ": "at+jwt"}
        return cls(jwk["kid"], algorithm, key, base64url_encode(msgspec.json.encode(header)))

    def public_jwk(self) -> dict[str, Any]:
        """Return the public members, as a JWKS publishes them."""
        members = self.key.as_dict(private=False).items()
        kept: dict[str, Any] = {name: value for name, value in members if name in _PUBLIC_MEMBERS}
        return kept | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """Return whether this key made `signature`, in the spelling that `sign` writes."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        public: Any = self.key.public_key
        try:
            if self.algorithm == "EdDSA":
                public.verify(signature, signing_input)
                return True
            r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
            if s > _P256_ORDER // 2:
                return False
            public.verify(encode_dss_signature(r, s), signing_input, _ECDSA)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey(VerifyingKey):
    """A key with its private half."""

    @classmethod
    def from_jwk(cls, jwk: dict[str, Any]) -> Self:
        """Read a private JWK that `generate_signing_key` wrote; raise `ValueError` for another."""
        if "d" not in jwk:
            raise ValueError("a signing key has its private half")
        # The two-argument form, since a slotted dataclass is not the class that the bare `super()` means.
        return super(SigningKey, cls).from_jwk(jwk)

    def sign(self, signing_input: bytes) -> bytes:
        """Return the one signature spelling that `verify` accepts for what it signs."""
        private: Any = self.key.private_key
        if self.algorithm == "EdDSA":
            signature: bytes = private.sign(signing_input)
            return signature
        r, s = decode_dss_signature(private.sign(signing_input, _ECDSA))
        return r.to_bytes(32) + min(s, _P256_ORDER - s).to_bytes(32)


def generate_signing_key(algorithm: Algorithm, kid: str) -> dict[str, Any]:
    """Return a new private JWK. The randomness is the crypto library's own, as no other is fit for it."""
    key = ECKey.generate_key("P-256") if algorithm == "ES256" else OKPKey.generate_key("Ed25519")
    return {**key.as_dict(private=True), "kid": kid}


def _algorithm_of(jwk: dict[str, Any]) -> Algorithm:
    """Return the one algorithm that this key is for; raise `ValueError` unless it is one of ours."""
    algorithm = _ALGORITHM_OF_CURVE.get((jwk.get("kty"), jwk.get("crv")))
    if algorithm is None:
        raise ValueError("a signing key is on P-256 or Ed25519")
    if not isinstance(jwk.get("kid"), str) or _KID.fullmatch(jwk["kid"]) is None:
        raise ValueError("the kid of a signing key is 1 to 64 letters, digits, '_' and '-'")
    is_for_signing = jwk.get("use", "sig") == "sig" and "sign" in jwk.get("key_ops", ["sign"])
    if not is_for_signing or jwk.get("alg", algorithm) != algorithm:
        raise ValueError(f"the key is not for signing with {algorithm}")
    return algorithm


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
        if (claims.kt_key is None) == (claims.kt_session is None):
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
