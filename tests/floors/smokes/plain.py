"""`pip install keyturn`: tokens and proofs are written and verified, a key is exchanged, extras are named."""

import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

import keyturn
import keyturn.integrations.asgi
import keyturn.integrations.wsgi
from keyturn.client import ApiClient, DpopKeyPair, KeyturnAuth
from keyturn.core.access_token import (
    AccessTokenClaims,
    AccessTokenFormat,
    KeyRing,
    SigningKey,
    VerifyingKey,
    VerifyingRing,
    generate_signing_key,
)
from keyturn.core.dpop import PresentedProof, check_proof

NOW = datetime.now(UTC)
URL = "https://api.example.com/orders"


def check_tokens() -> None:
    for algorithm in ("ES256", "EdDSA"):
        key = SigningKey.from_jwk(generate_signing_key(algorithm, "a"))
        tokens = AccessTokenFormat(URL, URL, timedelta(hours=1))
        moment = int(NOW.timestamp())
        claims = AccessTokenClaims(URL, "7", URL, "c", moment + 60, moment, "j", "", kt_key=1)
        token = tokens.sign(claims, KeyRing.of(key)).encode()
        ring = VerifyingRing.of_keys([VerifyingKey.from_jwk(key.public_jwk())])
        assert tokens.verify(token, ring, now=NOW) == claims


def check_proofs() -> None:
    pair = DpopKeyPair.from_pem(DpopKeyPair.generate().to_pem())
    presented = PresentedProof("GET", URL, [pair.proof("GET", URL, credential="key").encode()])
    proof = check_proof(presented, now=NOW, credential=hashlib.sha256(b"key").digest())
    assert proof.jkt == pair.jkt


def check_client() -> None:
    answer = httpx.MockTransport(lambda request: httpx.Response(200, json=[request.headers["authorization"]]))
    with httpx.Client(auth=KeyturnAuth("kt_key"), transport=answer) as client:
        assert client.get(URL).json() == ["Bearer kt_key"]
    ApiClient("https://keys.example.com", "kt_key").close()


def check_what_is_missing_is_named() -> None:
    told = ""
    try:
        keyturn.Verifier("sqlite:///nowhere.db")
    except keyturn.CannotStart as error:
        told = str(error)
    assert "keyturn[server]" in told
    command = Path(sys.executable).with_name("keyturn")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert "keyturn[cli]" in done.stderr, done


for name in keyturn.__all__:
    getattr(keyturn, name)
check_tokens()
check_proofs()
check_client()
check_what_is_missing_is_named()
