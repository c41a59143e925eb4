"""Keys as JSON: two curves, one spelling of each member, and the halves of one key alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey

from keyturn.core.encoding import base64url_decode, base64url_encode
from keyturn.core.jwk import (
    Algorithm,
    generate_private_key,
    private_key_of,
    public_key_of,
    read_private_key,
    read_public_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "EdDSA")
ES256_OF_RFC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}
"""RFC 7515, appendix A.3."""
EDDSA_OF_RFC = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
}
"""RFC 8037, appendix A."""
OF_RFCS = {"ES256": ES256_OF_RFC, "EdDSA": EDDSA_OF_RFC}
SIGNED_OF_RFCS = {
    "ES256": b"eyJhbGciOiJFUzI1NiJ9"
    b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    b".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    "EdDSA": b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    b".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
}


def spelled(number: int, length: int = 32) -> str:
    return base64url_encode(number.to_bytes(length)).decode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_signature_of_the_rfc_is_good(algorithm: Algorithm) -> None:
    """RFC 7515, appendix A.3.2, and RFC 8037, appendix A.5: the key verifies its text, and no other."""
    signed, _, signature = SIGNED_OF_RFCS[algorithm].rpartition(b".")
    key = read_public_key(OF_RFCS[algorithm])
    assert key.algorithm == algorithm
    assert key.verify(signed, base64url_decode(signature))
    assert not key.verify(signed + b"x", base64url_decode(signature))


def test_the_signature_of_the_rfc_is_not_as_we_write_it() -> None:
    """That of RFC 7515 is the one of the two spellings with s in the upper half; Ed25519 has one spelling."""
    for algorithm, canonical in (("ES256", False), ("EdDSA", True)):
        signature = base64url_decode(SIGNED_OF_RFCS[algorithm].rpartition(b".")[2])
        assert read_public_key(OF_RFCS[algorithm]).is_canonical(signature) is canonical


def test_ed25519_signs_as_the_rfc_does() -> None:
    """RFC 8037, appendix A.4: the private key makes that signature, byte for byte."""
    signed, _, signature = SIGNED_OF_RFCS["EdDSA"].rpartition(b".")
    assert base64url_encode(read_private_key(EDDSA_OF_RFC).sign(signed)) == signature


def test_the_thumbprint_of_the_rfc() -> None:
    """RFC 8037, appendix A.3."""
    assert read_public_key(EDDSA_OF_RFC).thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=25)
@given(st.binary(max_size=100))
def test_another_library_reads_and_signs_alike(algorithm: Algorithm, message: bytes) -> None:
    """What joserfc wrote is read, what we write joserfc reads, and both have one thumbprint for it."""
    family, curve = (ECKey, "P-256") if algorithm == "ES256" else (OKPKey, "Ed25519")
    theirs = family.generate_key(curve)
    ours = read_private_key(json.loads(json.dumps(theirs.as_dict(private=True))))
    assert ours.private_jwk() == theirs.as_dict(private=True)
    assert ours.public_jwk() == theirs.as_dict(private=False)
    assert ours.thumbprint() == theirs.thumbprint() == family.import_key(ours.public_jwk()).thumbprint()
    signature = ours.sign(message)
    assert ours.is_canonical(signature)
    assert public_key_of(theirs.public_key).verify(message, signature)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_comes_back_as_it_was_written(algorithm: Algorithm) -> None:
    """Both halves are read as they were written, and the public members hold nothing of the private half."""
    key = generate_private_key(algorithm)
    again = read_private_key(key.private_jwk())
    assert again.private_jwk() == key.private_jwk()
    assert read_public_key(key.private_jwk()).public_jwk() == key.public_jwk()
    assert set(key.private_jwk()) - set(key.public_jwk()) == {"d"}
    assert key.private_jwk()["d"] not in f"{key!r} {key}"


def little(number: int) -> str:
    """Spell a number as a point of Ed25519 has it: the least byte first."""
    return base64url_encode(number.to_bytes(32, "little")).decode()


P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
ROOT_OF_5 = pow(5**3 - 3 * 5 + P256_B, (P256_PRIME + 1) // 4, P256_PRIME)
"""The y of the point of P-256 whose x is 5."""
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDERS = [
    little(y | sign << 255) for y in (0, 1, 2**255 - 20, _ORDER_8, 2**255 - 19 - _ORDER_8) for sign in (0, 1)
]


NOT_PUBLIC: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no kty": (ES256_OF_RFC, {"kty": None}),
    "another kty": (ES256_OF_RFC, {"kty": "OKP"}),
    "kty in another case": (ES256_OF_RFC, {"kty": "ec"}),
    "an RSA key": (ES256_OF_RFC, {"kty": "RSA"}),
    "another curve": (ES256_OF_RFC, {"crv": "P-384"}),
    "a curve that is no text": (ES256_OF_RFC, {"crv": ["P-256"]}),
    "an exchange curve": (EDDSA_OF_RFC, {"crv": "X25519"}),
    "no y": (ES256_OF_RFC, {"y": None}),
    "a y on Ed25519": (EDDSA_OF_RFC, {"y": ES256_OF_RFC["y"]}),
    "no x": (EDDSA_OF_RFC, {"x": None}),
    "an x that is a number": (EDDSA_OF_RFC, {"x": 7}),
    "an empty x": (EDDSA_OF_RFC, {"x": ""}),
    "31 bytes": (EDDSA_OF_RFC, {"x": spelled(1, 31)}),
    "33 bytes": (ES256_OF_RFC, {"x": spelled(1, 33)}),
    "padding": (ES256_OF_RFC, {"x": ES256_OF_RFC["x"] + "="}),
    "unused bits": (ES256_OF_RFC, {"x": ES256_OF_RFC["x"][:-1] + "V"}),
    "base64 of another alphabet": (ES256_OF_RFC, {"y": ES256_OF_RFC["y"].replace("_", "/")}),
    "white space": (ES256_OF_RFC, {"x": " " + ES256_OF_RFC["x"]}),
    "a letter that is not ASCII": (EDDSA_OF_RFC, {"x": "é" + EDDSA_OF_RFC["x"][1:]}),
    "a point beside the curve": (ES256_OF_RFC, {"y": ES256_OF_RFC["x"]}),
    "the point 0, 0": (ES256_OF_RFC, {"x": spelled(0), "y": spelled(0)}),
    "a coordinate beyond the field": (ES256_OF_RFC, {"x": spelled(2**256 - 1)}),
    "a second spelling of a coordinate": (
        ES256_OF_RFC,
        {"x": spelled(P256_PRIME + 5), "y": spelled(ROOT_OF_5)},
    ),
    "a second spelling on Ed25519": (EDDSA_OF_RFC, {"x": little(2**255 - 19 + 3)}),
    **{
        f"a point of a small order, {number}": (EDDSA_OF_RFC, {"x": x})
        for number, x in enumerate(SMALL_ORDERS)
    },
}


def changed(jwk: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a JWK with other members; None takes one away."""
    return {name: value for name, value in (jwk | change).items() if value is not None}


@pytest.mark.parametrize("read", [read_public_key, read_private_key])
@pytest.mark.parametrize("what", NOT_PUBLIC)
def test_what_is_no_key(what: str, read: Callable[[dict[str, Any]], object]) -> None:
    """A JWK of another curve, with a member missing or spelled otherwise, or of no point is refused."""
    with pytest.raises(ValueError, match=r"key|curve|coordinate"):
        read(changed(*NOT_PUBLIC[what]))


NOT_PRIVATE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no d": (ES256_OF_RFC, {"d": None}),
    "a short d": (EDDSA_OF_RFC, {"d": spelled(1, 31)}),
    "padding": (EDDSA_OF_RFC, {"d": EDDSA_OF_RFC["d"] + "="}),
    "zero": (ES256_OF_RFC, {"d": spelled(0)}),
    "the order of the group": (ES256_OF_RFC, {"d": spelled(P256_ORDER)}),
    "the d of another key": (ES256_OF_RFC, {"d": spelled(1)}),
    "the d of another Ed25519 key": (EDDSA_OF_RFC, {"d": spelled(1)}),
    "the twin of its point": (
        ES256_OF_RFC,
        {"d": spelled(P256_ORDER - int.from_bytes(base64url_decode(ES256_OF_RFC["d"].encode())))},
    ),
}


@pytest.mark.parametrize("what", NOT_PRIVATE)
def test_what_is_no_private_key(what: str) -> None:
    """A private half is spelled once too, and is that of the public members beside it."""
    jwk = changed(*NOT_PRIVATE[what])
    read_public_key(jwk)
    with pytest.raises(ValueError, match=r"key|private") as refused:
        read_private_key(jwk)
    error = refused.value
    assert jwk.get("d", ES256_OF_RFC["d"]) not in f"{error!r} {error.__cause__!r} {error.__context__!r}"


def test_a_key_object_of_another_curve_is_refused() -> None:
    """What another library opened is taken on the two curves alone."""
    for native in (ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256K1())):
        with pytest.raises(ValueError, match="P-256 or Ed25519"):
            private_key_of(native)
    with pytest.raises(ValueError, match="P-256 or Ed25519"):
        public_key_of(object())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(st.binary(max_size=130))
def test_any_bytes_are_no_signature(algorithm: Algorithm, signature: bytes) -> None:
    """`verify` answers False for whatever is no signature, of any length, and raises nothing."""
    assert not read_public_key(OF_RFCS[algorithm]).verify(b"message", signature)
