"""Public keys and their private halves, as JSON Web Keys: the one place that reads, writes and uses them.

    {"kty":"EC","crv":"P-256","x":"…","y":"…"}     ES256    RFC 7518, sections 3.4 and 6.2
    {"kty":"OKP","crv":"Ed25519","x":"…"}          EdDSA    RFC 8037, sections 2 and 3.1
    … "d":"…"                                      in a private key

`x`, `y` and `d` are each 32 bytes as base64url, in the one spelling of those bytes. A curve has one
algorithm, so no header chooses how a signature is checked. The caller judges which other members may stand
beside these: they are neither read nor kept here. The errors are `ValueError`, and quote nothing of a key.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from keyturn.core.encoding import EncodingError, base64url_decode, base64url_encode

Algorithm = Literal["ES256", "EdDSA"]

SIGNATURE_BYTES = 64
"""Both algorithms sign with 64 bytes: RFC 7518, section 3.4; RFC 8032, section 5.1.6."""
OTHER_CURVE = "a key is on P-256 or Ed25519"

_MEMBER_BYTES = 32
_DIGEST_BYTES = 32
_ECDSA = ec.ECDSA(SHA256())
_P256 = ec.SECP256R1()
_P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
_25519_PRIME = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _25519_PRIME - 1, _ORDER_8, _25519_PRIME - _ORDER_8})
"""The y of each point whose order divides 8. With such a key a signature can be good for any message."""
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key on one of the two curves."""

    x: str
    y: str | None
    """None on Ed25519."""
    native: ec.EllipticCurvePublicKey | Ed25519PublicKey = field(repr=False)
    """The same as the cryptography library has it."""

    @property
    def algorithm(self) -> Algorithm:
        """The one algorithm that this key is for."""
        return "EdDSA" if self.y is None else "ES256"

    def public_jwk(self) -> dict[str, str]:
        """Return the members that make the public key, and no other, ordered by name."""
        if self.y is None:
            return {"crv": "Ed25519", "kty": "OKP", "x": self.x}
        return {"crv": "P-256", "kty": "EC", "x": self.x, "y": self.y}

    def thumbprint(self) -> str:
        """Return the base64url of the SHA-256 of the required members, in order (RFC 7638, section 3)."""
        return _text(hashlib.sha256(msgspec.json.encode(self.public_jwk())).digest())

    def verify(self, signed: bytes, signature: bytes) -> bool:
        """Return whether the private half of this key made `signature`, which is 64 bytes.

        Both (r, s) and (r, n - s) are good signatures with ES256: `is_canonical` tells them apart.
        """
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            if isinstance(self.native, Ed25519PublicKey):
                self.native.verify(signature, signed)
            else:
                r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
                self.native.verify(encode_dss_signature(r, s), signed, _ECDSA)
        except InvalidSignature:
            return False
        return True

    def is_canonical(self, signature: bytes) -> bool:
        """Return whether a good signature is spelled as `PrivateKey.sign` spells it.

        Ed25519 has one spelling: an S that is not below the order is refused (RFC 8032, section 5.1.7).
        """
        return self.y is None or int.from_bytes(signature[32:]) <= _P256_ORDER // 2


@dataclass(frozen=True, slots=True)
class PrivateKey(PublicKey):
    """A key with its private half, which leaves it by `private_jwk` alone."""

    native_private: ec.EllipticCurvePrivateKey | Ed25519PrivateKey = field(repr=False)

    def private_jwk(self) -> dict[str, str]:
        """Return the members that make the key, with its private half."""
        if isinstance(self.native_private, Ed25519PrivateKey):
            raw = self.native_private.private_bytes_raw()
        else:
            raw = self.native_private.private_numbers().private_value.to_bytes(_MEMBER_BYTES)
        return {**self.public_jwk(), "d": _text(raw)}

    def sign(self, signed: bytes) -> bytes:
        """Return the 64 bytes of the signature, with `s` in the lower half of the order of P-256."""
        if isinstance(self.native_private, Ed25519PrivateKey):
            return self.native_private.sign(signed)
        r, s = decode_dss_signature(self.native_private.sign(signed, _ECDSA))
        return r.to_bytes(_MEMBER_BYTES) + min(s, _P256_ORDER - s).to_bytes(_MEMBER_BYTES)


def read_public_key(jwk: Mapping[str, object]) -> PublicKey:
    """Return the public key of a JWK; raise `ValueError` for what is none on the two curves.

    A private half beside it is not looked at.
    """
    match jwk.get("kty"), jwk.get("crv"), "y" in jwk:
        case "EC", "P-256", True:
            (x, raw_x), (y, raw_y) = _member(jwk, "x"), _member(jwk, "y")
            if max(raw_x, raw_y) >= _P256_PRIME.to_bytes(_MEMBER_BYTES):
                raise ValueError("a coordinate has a second spelling")
            numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(raw_x), int.from_bytes(raw_y), _P256)
            return PublicKey(x, y, numbers.public_key())
        case "OKP", "Ed25519", False:
            x, raw_x = _member(jwk, "x")
            _check_point(raw_x)
            return PublicKey(x, None, Ed25519PublicKey.from_public_bytes(raw_x))
        case _:
            raise ValueError(OTHER_CURVE)


def read_private_key(jwk: Mapping[str, object]) -> PrivateKey:
    """Return the key of a private JWK; raise `ValueError` for another, and for halves of two keys."""
    public = read_public_key(jwk)
    _, secret = _member(jwk, "d")
    native: ec.EllipticCurvePrivateKey | Ed25519PrivateKey
    if public.algorithm == "EdDSA":
        native = Ed25519PrivateKey.from_private_bytes(secret)
    else:
        native = ec.derive_private_key(int.from_bytes(secret), _P256)
    key = private_key_of(native)
    if (key.x, key.y) != (public.x, public.y):
        raise ValueError("the two halves of the key do not belong together")
    return key


def public_key_of(native: object) -> PublicKey:
    """Wrap a public key of the cryptography library; raise `ValueError` for one of another curve."""
    if isinstance(native, Ed25519PublicKey):
        return PublicKey(_text(native.public_bytes_raw()), None, native)
    if isinstance(native, ec.EllipticCurvePublicKey) and isinstance(native.curve, ec.SECP256R1):
        numbers = native.public_numbers()
        x, y = (_text(number.to_bytes(_MEMBER_BYTES)) for number in (numbers.x, numbers.y))
        return PublicKey(x, y, native)
    raise ValueError(OTHER_CURVE)


def private_key_of(native: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> PrivateKey:
    """Wrap a private key of the cryptography library; raise `ValueError` for one of another curve."""
    public = public_key_of(native.public_key())
    return PrivateKey(public.x, public.y, public.native, native)


def generate_private_key(algorithm: Algorithm) -> PrivateKey:
    """Return a new key. The randomness is the cryptography library's own, as no other is fit for it."""
    if algorithm == "EdDSA":
        return private_key_of(Ed25519PrivateKey.generate())
    return private_key_of(ec.generate_private_key(_P256))


def is_thumbprint(text: str) -> bool:
    """Return whether `text` can be a thumbprint: base64url of a SHA-256 (RFC 9449, section 6.1)."""
    return _decoded(text, _DIGEST_BYTES) is not None


def _check_point(raw: bytes) -> None:
    """Raise `ValueError` for a point of Ed25519 with a second spelling, or of a small order.

    RFC 8032, section 5.1.3, refuses the first and leaves the second to the caller.
    """
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _25519_PRIME:
        raise ValueError("a coordinate has a second spelling")
    if y in _SMALL_ORDER:
        raise ValueError("a point of a small order is not a key: its signatures prove nothing")


def _member(jwk: Mapping[str, object], name: str) -> tuple[str, bytes]:
    """Return a member as it stands there, which is the one spelling of its bytes, and those."""
    text = jwk.get(name)
    if isinstance(text, str) and (raw := _decoded(text, _MEMBER_BYTES)) is not None:
        return text, raw
    raise ValueError(f"the member {name} of a key is 32 bytes as base64url")


def _decoded(text: str, length: int) -> bytes | None:
    """Return the bytes of base64url in its one spelling, None if it is none or of another length."""
    try:
        raw = base64url_decode(text.encode("ascii"))
    except (EncodingError, UnicodeEncodeError):
        return None  # No error is raised from these: they quote the text, which may be secret.
    return raw if len(raw) == length else None


def _text(raw: bytes) -> str:
    return base64url_encode(raw).decode("ascii")
