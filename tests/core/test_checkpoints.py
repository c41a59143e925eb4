"""The checkpoint of an archive: what one key signed, in one form."""

from __future__ import annotations

import msgspec
import pytest

from keyturn.core.access_token import SigningKey, generate_signing_key
from keyturn.core.checkpoints import NOTHING_BEFORE, Checkpoint, chained, read_checkpoint, sign_checkpoint
from keyturn.core.encoding import base64url_encode

CHECKPOINT = Checkpoint(1, 2, 2, NOTHING_BEFORE.hex(), "ab", "https://keys.example.com", 1_700_000_000)
KEYS = {
    algorithm: SigningKey.from_jwk(generate_signing_key(algorithm, f"kid-{algorithm}"))  # type: ignore[arg-type]
    for algorithm in ("ES256", "EdDSA")
}


def find(kid: str) -> dict[str, object] | None:
    return next((key.public_jwk() for key in KEYS.values() if key.kid == kid), None)


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_checkpoint_is_read_as_it_was_signed(algorithm: str) -> None:
    """What either algorithm signs is read with its public half, and names the key."""
    text = sign_checkpoint(CHECKPOINT, KEYS[algorithm]).encode()

    assert read_checkpoint(text, find) == (CHECKPOINT, f"kid-{algorithm}")


def test_a_checkpoint_of_nobody_is_refused() -> None:
    """A changed claim, another key, another algorithm, another type, or no checkpoint at all is refused."""
    key = KEYS["ES256"]
    head, claims, signature = sign_checkpoint(CHECKPOINT, key).encode().split(b".")
    other = base64url_encode(msgspec.json.encode(msgspec.structs.replace(CHECKPOINT, events=3)))

    def header(**changed: str) -> bytes:
        values = {"alg": "ES256", "kid": key.kid, "typ": "keyturn-audit+jws"}
        return base64url_encode(msgspec.json.encode(values | changed))

    def signed(head: bytes) -> bytes:
        return head + b"." + claims + b"." + base64url_encode(key.sign(head + b"." + claims))

    assert read_checkpoint(signed(header()), find)[0] == CHECKPOINT
    for wrong, says in {
        head + b"." + other + b"." + signature: "signature",
        signed(header(kid="kid-EdDSA")): "signature",
        signed(header(alg="EdDSA")): "signature",
        signed(header(kid="stranger")): "was not signed by a key",
        signed(header(typ="at+jwt")): "was not signed by a key",
        signed(header(crit="x")): "does not end with",
        b"": "does not end with",
        b"a.b.c": "does not end with",
        "ä.b.c".encode(): "does not end with",
    }.items():
        with pytest.raises(ValueError, match=says):
            read_checkpoint(wrong, find)


def test_the_order_of_lines_is_part_of_the_digest() -> None:
    """Lines in another order, or joined, have another digest."""
    one = chained(chained(NOTHING_BEFORE, b"a\n"), b"b\n")

    assert one != chained(chained(NOTHING_BEFORE, b"b\n"), b"a\n")
    assert one != chained(NOTHING_BEFORE, b"a\nb\n")
