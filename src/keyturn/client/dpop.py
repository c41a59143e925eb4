"""A key pair that a credential is bound to, and the proofs that it signs (RFC 9449)."""

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keyturn.core.dpop import TYPE, thumbprint_of
from keyturn.core.encoding import base64url_encode

_ECDSA = ec.ECDSA(SHA256())
_JTI_BYTES = 16


class DpopKeyPair:
    """A key pair on P-256, that signs with ES256. Its private half leaves this program by `to_pem` alone.

    `jkt` is its thumbprint: what a key is bound to, as `dpopJkt` when it is made.
    """

    def __init__(
        self, private_key: ec.EllipticCurvePrivateKey, *, now: Callable[[], float] = time.time
    ) -> None:
        if not isinstance(private_key.curve, ec.SECP256R1):
            raise ValueError("a key pair for proofs is on P-256")  # noqa: TRY004 - of the right type, on another curve
        self._private_key = private_key
        self._now = now
        numbers = private_key.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": "P-256", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
        self.jkt = thumbprint_of(jwk)
        self._header = base64url_encode(msgspec.json.encode({"typ": TYPE, "alg": "ES256", "jwk": jwk}))

    @classmethod
    def chosen(cls, dpop: "DpopKeyPair | bool") -> "DpopKeyPair | None":
        """Return the key pair that is given, a new one for true, None for false."""
        if isinstance(dpop, bool):
            return cls.generate() if dpop else None
        return dpop

    @classmethod
    def generate(cls) -> Self:
        """Return a new key pair."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read what `to_pem` wrote; raise `ValueError` for what is no private key on P-256."""
        private_key = load_pem_private_key(pem, password=None)
        if not isinstance(private_key, ec.EllipticCurvePrivateKey):
            raise ValueError("a key pair for proofs is on P-256")  # noqa: TRY004 - the text is unfit
        return cls(private_key)

    def to_pem(self) -> bytes:
        """Return the private key as PKCS #8, in clear: keep it where only this program can read it."""
        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def proof(self, method: str, url: str, *, credential: str | None = None) -> str:
        """Return the value of the `DPoP` header of one request, which is sent once.

        `url` is the whole one. `credential` is the key or token in `Authorization`; None where none is.
        """
        claims: dict[str, str | int] = {
            "jti": secrets.token_urlsafe(_JTI_BYTES),
            "htm": method,
            "htu": url.partition("#")[0].partition("?")[0],
            "iat": int(self._now()),
        }
        if credential is not None:
            digest = hashlib.sha256(credential.encode("ascii")).digest()
            claims["ath"] = base64url_encode(digest).decode("ascii")
        signed = self._header + b"." + base64url_encode(msgspec.json.encode(claims))
        r, s = decode_dss_signature(self._private_key.sign(signed, _ECDSA))
        return (signed + b"." + base64url_encode(r.to_bytes(32) + s.to_bytes(32))).decode("ascii")

    def __repr__(self) -> str:
        """Show the thumbprint alone."""
        return f"DpopKeyPair({self.jkt})"


def presenting(credential: str, key_pair: DpopKeyPair | None, method: str, url: str) -> dict[str, str]:
    """Return the headers that present a credential with one request, with a proof if there is a key pair."""
    if key_pair is None:
        return {"Authorization": f"Bearer {credential}"}
    return {"Authorization": f"DPoP {credential}", "DPoP": key_pair.proof(method, url, credential=credential)}


def _coordinate(number: int) -> str:
    return base64url_encode(number.to_bytes(32)).decode("ascii")
