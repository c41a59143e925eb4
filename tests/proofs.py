"""A client that writes proofs of possession, with a library that is none of ours."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_p256
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

_numbers = itertools.count(1)


def digest_text(text: str) -> str:
    """Return the SHA-256 of a text as base64url: an `ath`, or with the right text a thumbprint."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


class Prover:
    """A key pair, and the proofs that it signs: PyJWT's, so that nothing of ours checks itself."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.jwk: dict[str, Any]
        if algorithm == "ES256":
            self.private: Any = generate_p256(SECP256R1())
            self.jwk = json.loads(ECAlgorithm.to_jwk(self.private.public_key()))
        else:
            self.private = Ed25519PrivateKey.generate()
            self.jwk = json.loads(OKPAlgorithm.to_jwk(self.private.public_key()))
        # As RFC 7638 writes it, section 3.1: required members alone, in order, without white space.
        members = {name: self.jwk[name] for name in ("crv", "kty", "x", "y") if name in self.jwk}
        self.jkt = digest_text(json.dumps(members, separators=(",", ":"), sort_keys=True))

    def claims(
        self, method: str, url: str, *, at: float, credential: str | None = None, **others: Any
    ) -> dict[str, Any]:
        """Return the claims of a proof that is good at this time."""
        claims = {"jti": f"proof-{next(_numbers)}", "htm": method, "htu": url, "iat": int(at)}
        if credential is not None:
            claims["ath"] = digest_text(credential)
        return claims | others

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """Sign any claims under any header."""
        header = {"typ": "dpop+jwt", "jwk": self.jwk, **header}
        return jwt.encode(claims, self.private, algorithm=self.algorithm, headers=header)

    def proof(self, method: str, url: str, *, at: float, credential: str | None = None, **others: Any) -> str:
        """Return a good proof for one request, or one that `others` spoil."""
        return self.sign(self.claims(method, url, at=at, credential=credential, **others))
