"""A key pair that a credential is bound to, and the proofs that it signs (RFC 9449)."""

import hashlib
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from keyturn.core.dpop import TYPE
from keyturn.core.encoding import base64url_encode
from keyturn.core.jwk import PublicKey, private_key_of, public_key_of, read_public_key
from keyturn.core.own_credential import read_own_credential

_JTI_BYTES = 16
_NO_KEY = "this is not a key on P-256 or Ed25519, in PEM or as a JWK"


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
        self._key = private_key_of(private_key)
        self.jkt = self._key.thumbprint()
        header = {"typ": TYPE, "alg": self._key.algorithm, "jwk": self._key.public_jwk()}
        self._header = base64url_encode(msgspec.json.encode(header))

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
        try:
            private_key = load_pem_private_key(pem, password=None)
        except TypeError:
            raise ValueError("give the key pair as bytes, in PEM, without a passphrase") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("this is not a private key in PEM") from None
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
            digest = hashlib.sha256(read_own_credential(credential).encode("ascii")).digest()
            claims["ath"] = base64url_encode(digest).decode("ascii")
        signed = self._header + b"." + base64url_encode(msgspec.json.encode(claims))
        return (signed + b"." + base64url_encode(self._key.sign(signed))).decode("ascii")

    def __repr__(self) -> str:
        """Show the thumbprint alone."""
        return f"DpopKeyPair({self.jkt})"


def thumbprint_of_key(text: bytes) -> str:
    """Return the thumbprint of a key in PEM, public or private, or as a JWK (RFC 7638).

    Raise `ValueError`, saying what to do, for what is no key on P-256 or Ed25519.
    """
    key = _read_jwk(text) if text.lstrip().startswith(b"{") else _read_pem(text)
    return key.thumbprint()


def _read_pem(text: bytes) -> PublicKey:
    try:
        if b"PUBLIC KEY-----" in text:
            return public_key_of(load_pem_public_key(text))
        return public_key_of(load_pem_private_key(text, password=None).public_key())
    except TypeError:
        raise ValueError("this key has a passphrase: give its public key (openssl pkey -pubout)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(_NO_KEY) from None


def _read_jwk(text: bytes) -> PublicKey:
    """Return the public half, whatever else stands in the JWK."""
    with suppress(ValueError, msgspec.DecodeError):  # Which may quote what was read.
        return read_public_key(msgspec.json.decode(text, type=dict[str, object]))
    raise ValueError(_NO_KEY)


def presenting(credential: str, key_pair: DpopKeyPair | None, method: str, url: str) -> dict[str, str]:
    """Return the headers that present a credential with one request, with a proof if there is a key pair."""
    credential = read_own_credential(credential)
    if key_pair is None:
        return {"Authorization": f"Bearer {credential}"}
    return {"Authorization": f"DPoP {credential}", "DPoP": key_pair.proof(method, url, credential=credential)}
