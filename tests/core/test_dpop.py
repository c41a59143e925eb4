"""The proof of possession: one signed JWT for one request, read strictly, whoever wrote it."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey

from keyturn.core.dpop import (
    LEEWAY,
    MAX_JTI_CHARACTERS,
    MAX_PROOF_BYTES,
    PresentedProof,
    Proof,
    check_proof,
    normal_url,
)
from keyturn.core.encoding import base64url_decode, base64url_encode
from keyturn.core.jwk import is_thumbprint, read_public_key
from keyturn.errors import AmbiguousCredential, DpopProofRefused, ProofFault
from tests.core.conftest import read_vectors
from tests.proofs import Prover

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
AT = NOW.timestamp()
METHOD, URL = "GET", "https://api.example.com/orders"
CREDENTIAL = "kt_key"
CREDENTIAL_DIGEST = hashlib.sha256(CREDENTIAL.encode()).digest()
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
JTI, JKT = "-BwC3ESc6acc2lTc", "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


@pytest.fixture(scope="module", params=["ES256", "EdDSA"])
def prover(request: pytest.FixtureRequest) -> Prover:
    return Prover(request.param)


def outcome(
    proof: str | bytes,
    *,
    method: str = METHOD,
    url: str = URL,
    now: datetime = NOW,
    credential: bytes | None = CREDENTIAL_DIGEST,
) -> Proof | ProofFault:
    """Return the proof, or what is wrong with it."""
    line = proof.encode("utf-8", "surrogatepass") if isinstance(proof, str) else proof
    try:
        return check_proof(PresentedProof(method, url, [line]), now=now, credential=credential)
    except DpopProofRefused as refused:
        return refused.reason


def good_claims(prover: Prover, **others: Any) -> dict[str, Any]:
    return prover.claims(METHOD, URL, at=AT, credential=CREDENTIAL, **others)


def spelled(prover: Prover, header: str, claims: str) -> str:
    """Return a proof whose header and claims are this text, under a right signature."""
    signed = base64url_encode(header.encode()) + b"." + base64url_encode(claims.encode())
    if prover.algorithm == "ES256":
        r, s = decode_dss_signature(prover.private.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32) + s.to_bytes(32)
    else:
        signature = prover.private.sign(signed)
    return (signed + b"." + base64url_encode(signature)).decode()


def header_of(prover: Prover, **others: Any) -> str:
    return json.dumps({"typ": "dpop+jwt", "alg": prover.algorithm, "jwk": prover.jwk} | others)


@pytest.fixture(scope="session")
def rfc_proofs() -> dict[str, Any]:
    return read_vectors("dpop_proofs.json")


def test_the_proofs_of_the_rfc_are_good_for_their_requests(rfc_proofs: dict[str, Any]) -> None:
    """The examples of RFC 9449, sections 5 and 7.1, are proofs of the key pair with the thumbprint of 6.1."""
    for example in rfc_proofs["vectors"]:
        credential = example["access_token"]
        digest = None if credential is None else hashlib.sha256(credential.encode()).digest()
        now = datetime.fromtimestamp(example["iat"], UTC)
        found = outcome(
            example["proof"], method=example["method"], url=example["url"], now=now, credential=digest
        )
        assert found == Proof(rfc_proofs["jkt"], example["jti"], example["iat"])


def test_a_proof_without_ath_is_for_no_credential(rfc_proofs: dict[str, Any]) -> None:
    """The proof of the token request is refused beside a token (RFC 9449, section 4.3, 12)."""
    example = rfc_proofs["vectors"][0]
    now = datetime.fromtimestamp(example["iat"], UTC)
    found = outcome(example["proof"], method=example["method"], url=example["url"], now=now)
    assert found is ProofFault.CREDENTIAL


def test_a_good_proof_says_who_made_it(prover: Prover) -> None:
    """Both algorithms: what PyJWT signs is read, with the thumbprint of its key and what to remember."""
    claims = good_claims(prover)
    assert outcome(prover.sign(claims)) == Proof(prover.jkt, claims["jti"], claims["iat"])


def test_the_thumbprint_is_that_of_another_library(prover: Prover) -> None:
    """The jkt of a key is what joserfc says, whatever else the JWK holds (RFC 7638)."""
    key = (ECKey if prover.algorithm == "ES256" else OKPKey).import_key(prover.jwk)
    assert read_public_key({**prover.jwk, "kid": "1"}).thumbprint() == key.thumbprint() == prover.jkt
    assert is_thumbprint(prover.jkt)


@pytest.mark.parametrize(
    "text", ["", "a" * 42, "a" * 44, "a" * 42 + "B", "a" * 42 + "=", "é" * 43, " " + JKT]
)
def test_what_is_no_thumbprint(text: str) -> None:
    """A thumbprint is the one spelling of 32 bytes."""
    assert not is_thumbprint(text)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [([], ProofFault.MISSING), ([b""], ProofFault.MALFORMED), ([b"a"], ProofFault.MALFORMED)],
)
def test_there_is_one_proof(lines: list[bytes], fault: ProofFault) -> None:
    """No header, and one that holds no proof, are told apart (RFC 9449, section 4.3, 1 and 2)."""
    with pytest.raises(DpopProofRefused) as refused:
        check_proof(PresentedProof(METHOD, URL, lines), now=NOW, credential=None)
    assert refused.value.reason is fault
    with pytest.raises(DpopProofRefused):
        check_proof(None, now=NOW, credential=None)


def test_several_proofs_are_none(prover: Prover) -> None:
    """Two headers, equal or not, good or not, make the request itself wrong (RFC 9449, section 4.3, 1)."""
    proof = prover.sign(good_claims(prover)).encode()
    for lines in ([proof, proof], [proof, b""], [b"", b""], [proof] * 3):
        with pytest.raises(AmbiguousCredential):
            check_proof(PresentedProof(METHOD, URL, lines), now=NOW, credential=CREDENTIAL_DIGEST)


def test_a_request_that_is_not_known_has_no_proof(prover: Prover) -> None:
    """Where nobody says for which request it is, the best proof shows nothing."""
    presented = PresentedProof("GET", None, [prover.sign(good_claims(prover)).encode()])
    with pytest.raises(DpopProofRefused) as refused:
        check_proof(presented, now=NOW, credential=CREDENTIAL_DIGEST)
    assert refused.value.reason is ProofFault.UNKNOWN_REQUEST


@pytest.mark.parametrize(
    ("offset", "is_good"),
    [
        (-LEEWAY, True),
        (-LEEWAY - timedelta(milliseconds=1), False),
        (LEEWAY, True),
        (LEEWAY + timedelta(milliseconds=1), False),
        (timedelta(0), True),
    ],
)
def test_a_proof_is_good_for_a_minute(prover: Prover, offset: timedelta, is_good: bool) -> None:
    """A proof is good from a minute before to a minute after it was made, each included."""
    found = outcome(prover.sign(good_claims(prover)), now=NOW + offset)
    assert isinstance(found, Proof) if is_good else found is ProofFault.TIME


@pytest.mark.parametrize(
    ("claims", "is_good"),
    [
        ({"exp": AT}, False),
        ({"exp": AT + 0.001}, True),
        ({"nbf": AT + 60}, True),
        ({"nbf": AT + 60.001}, False),
    ],
)
def test_an_end_in_the_proof_is_kept(prover: Prover, claims: dict[str, Any], is_good: bool) -> None:
    """Who writes exp or nbf means it (RFC 7519, sections 4.1.4 and 4.1.5)."""
    found = outcome(prover.sign(good_claims(prover, **claims)))
    assert isinstance(found, Proof) if is_good else found is ProofFault.TIME


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"htm": "POST"}, ProofFault.METHOD),
        ({"htm": "get"}, ProofFault.METHOD),
        ({"htu": "https://api.example.com/order"}, ProofFault.URL),
        ({"htu": "https://api.example.com/Orders"}, ProofFault.URL),
        ({"htu": "http://api.example.com/orders"}, ProofFault.URL),
        ({"htu": "https://api.example.com:444/orders"}, ProofFault.URL),
        ({"htu": "https://api.example.com.evil.test/orders"}, ProofFault.URL),
        ({"htu": "https://bob@api.example.com/orders"}, ProofFault.URL),
        ({"htu": "/orders"}, ProofFault.URL),
        ({"htu": ""}, ProofFault.URL),
        ({"ath": "A" * 43}, ProofFault.CREDENTIAL),
        ({"ath": CREDENTIAL}, ProofFault.CREDENTIAL),
        ({"ath": None}, ProofFault.CREDENTIAL),
        ({"ath": 1}, ProofFault.CLAIMS),
        ({"jti": ""}, ProofFault.CLAIMS),
        ({"jti": "j" * (MAX_JTI_CHARACTERS + 1)}, ProofFault.CLAIMS),
        ({"jti": None}, ProofFault.CLAIMS),
        ({"iat": None}, ProofFault.CLAIMS),
        ({"iat": str(int(AT))}, ProofFault.CLAIMS),
        ({"iat": AT + 0.5}, ProofFault.CLAIMS),
        ({"iat": True}, ProofFault.CLAIMS),
        ({"iat": -1}, ProofFault.CLAIMS),
        ({"iat": 10**400}, ProofFault.CLAIMS),
        ({"exp": 10**400}, ProofFault.CLAIMS),
        ({"htm": ["GET"]}, ProofFault.CLAIMS),
    ],
    ids=repr,
)
def test_claims_that_are_not_of_this_request(
    prover: Prover, claims: dict[str, Any], fault: ProofFault
) -> None:
    """Each claim must be there, of its type, and that of the request; the fault says which is not."""
    assert outcome(prover.sign(good_claims(prover) | claims)) is fault


@pytest.mark.parametrize("missing", ["jti", "htm", "htu", "iat", "ath"])
def test_each_claim_is_needed(prover: Prover, missing: str) -> None:
    """A proof without any one of its claims is refused (RFC 9449, section 4.3, 3)."""
    claims = good_claims(prover)
    del claims[missing]
    expected = ProofFault.CREDENTIAL if missing == "ath" else ProofFault.CLAIMS
    assert outcome(prover.sign(claims)) is expected


def test_claims_of_others_may_stand_beside(prover: Prover) -> None:
    """A nonce, or a claim that we do not know, does no harm; the longest jti is read."""
    claims = good_claims(prover, nonce="n", other={"a": [1]}, jti="j" * MAX_JTI_CHARACTERS)
    assert isinstance(outcome(prover.sign(claims)), Proof)


def test_ath_beside_no_credential_is_left_alone(prover: Prover) -> None:
    """Where nothing is presented, as at the exchange, a proof may say ath or not."""
    assert isinstance(outcome(prover.sign(good_claims(prover)), credential=None), Proof)


@pytest.mark.parametrize(
    "changed",
    [
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"typ": "DPOP+JWT"},
        {"typ": "application/dpop+jwt"},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES384"},
        {"kid": "1"},
        {"crit": ["b64"]},
        {"b64": True},
        {"jku": "https://evil.test/"},
        {"x5c": []},
        {"jwk": None},
        {"jwk": "key"},
        {"jwk": []},
    ],
    ids=repr,
)
def test_a_header_that_is_another(prover: Prover, changed: dict[str, Any]) -> None:
    """The header holds typ, alg and jwk, and nothing else (RFC 9449, section 4.3, 4 to 7)."""
    proof = spelled(prover, header_of(prover, **changed), json.dumps(good_claims(prover)))
    assert outcome(proof) is ProofFault.HEADER


@pytest.mark.parametrize(
    "changed",
    [
        {"d": "AAAA"},
        {"k": "AAAA"},
        {"x5u": "https://evil.test/"},
        {"oth": []},
        {"kty": "RSA"},
        {"kty": "oct"},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": "Ed448"},
        {"x": ""},
        {"x": "A" * 43 + "="},
        {"x": "A" * 42 + "B"},
        {"x": "A" * 44},
        {"x": "é" * 43},
        {"x": 1},
        {"alg": "none"},
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": ["verify", "sign"]},
    ],
    ids=repr,
)
def test_a_key_that_is_none(prover: Prover, changed: dict[str, Any]) -> None:
    """The key is public, on P-256 or Ed25519, to verify, of one spelling (RFC 9449, section 4.3, 7)."""
    proof = spelled(prover, header_of(prover, jwk={**prover.jwk, **changed}), json.dumps(good_claims(prover)))
    assert outcome(proof) is ProofFault.HEADER


def test_a_private_key_is_refused(prover: Prover) -> None:
    """A proof that gives its private key away is none: it shows that somebody has it, not who."""
    private = prover.private
    number = (
        private.private_numbers().private_value.to_bytes(32)
        if prover.algorithm == "ES256"
        else private.private_bytes_raw()
    )
    jwk = {**prover.jwk, "d": base64url_encode(number).decode()}
    proof = spelled(prover, header_of(prover, jwk=jwk), json.dumps(good_claims(prover)))
    assert outcome(proof) is ProofFault.HEADER


def test_what_exporting_a_key_adds_does_no_harm(prover: Prover) -> None:
    """`ext` and `key_ops` as browsers add them, `use`, `alg` and `kid` as libraries do, do no harm."""
    jwk = {
        **prover.jwk,
        "ext": True,
        "key_ops": ["verify"],
        "use": "sig",
        "alg": prover.algorithm,
        "kid": "1",
    }
    found = outcome(spelled(prover, header_of(prover, jwk=jwk), json.dumps(good_claims(prover))))
    assert isinstance(found, Proof)
    assert found.jkt == prover.jkt


def test_a_key_of_one_algorithm_is_not_of_the_other() -> None:
    """The algorithm in the header is the one that the key is for, and a missing or foreign y is none."""
    for mine, other in (("ES256", "EdDSA"), ("EdDSA", "ES256")):
        prover = Prover(mine)
        proof = spelled(prover, header_of(prover, alg=other), json.dumps(good_claims(prover)))
        assert outcome(proof) is ProofFault.HEADER
    okp = Prover("EdDSA")
    with_y = header_of(okp, jwk={**okp.jwk, "y": okp.jwk["x"]})
    assert outcome(spelled(okp, with_y, json.dumps(good_claims(okp)))) is ProofFault.HEADER
    on_p256 = Prover("ES256")
    without_y = header_of(on_p256, jwk={name: on_p256.jwk[name] for name in ("kty", "crv", "x")})
    assert outcome(spelled(on_p256, without_y, json.dumps(good_claims(on_p256)))) is ProofFault.HEADER


def test_a_point_that_is_not_on_the_curve() -> None:
    """Two numbers that are no point of P-256 are no key: no attack by invalid curves, no foreign error."""
    prover = Prover("ES256")
    y = int.from_bytes(base64url_decode(prover.jwk["y"].encode())) ^ 1
    jwk = {**prover.jwk, "y": base64url_encode(y.to_bytes(32)).decode()}
    assert outcome(spelled(prover, header_of(prover, jwk=jwk), json.dumps(good_claims(prover)))) is (
        ProofFault.HEADER
    )


def test_both_spellings_of_a_signature_are_one_proof() -> None:
    """A foreign library may write either s: both are read, as one jti of one key, so it is good once."""
    prover = Prover("ES256")
    proof = prover.sign(good_claims(prover))
    signed, _, signature = proof.rpartition(".")
    raw = base64url_decode(signature.encode())
    other = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)
    found = outcome(proof)
    assert isinstance(found, Proof)
    assert outcome(f"{signed}.{base64url_encode(other).decode()}") == found


@pytest.mark.parametrize("s", [0, P256_ORDER, 2**256 - 1])
def test_numbers_out_of_range_sign_nothing(s: int) -> None:
    """r and s of 0, or past the order of the group, are refused (CVE-2022-21449)."""
    prover = Prover("ES256")
    signed = prover.sign(good_claims(prover)).rpartition(".")[0]
    signature = base64url_encode(s.to_bytes(32) * 2).decode()
    assert outcome(f"{signed}.{signature}") is ProofFault.SIGNATURE


def test_a_signature_of_another_length_is_none() -> None:
    """A zero before one of its numbers, which changes no number, is no second spelling of a signature."""
    prover = Prover("ES256")
    signed, _, signature = prover.sign(good_claims(prover)).rpartition(".")
    raw = base64url_decode(signature.encode())
    for other in (raw[:32] + b"\0" + raw[32:], b"\0" + raw, raw + b"\0", raw[:63]):
        assert outcome(f"{signed}.{base64url_encode(other).decode()}") is ProofFault.SIGNATURE


def test_a_signature_in_der_is_none() -> None:
    """A signature is 64 bytes (RFC 7518, section 3.4): not the ASN.1 that other programs write."""
    prover = Prover("ES256")
    signed, _, signature = prover.sign(good_claims(prover)).rpartition(".")
    raw = base64url_decode(signature.encode())
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    assert outcome(f"{signed}.{base64url_encode(der).decode()}") is ProofFault.SIGNATURE


def test_the_key_of_somebody_else_in_the_header(prover: Prover) -> None:
    """Who puts another's public key into the header cannot sign for it."""
    other = Prover(prover.algorithm)
    proof = spelled(prover, header_of(other), json.dumps(good_claims(prover)))
    assert outcome(proof) is ProofFault.SIGNATURE


def test_doubled_names_are_refused(prover: Prover) -> None:
    """A name that stands twice, in header, key or claims, at any depth, could be read in two ways."""
    claims, header = json.dumps(good_claims(prover)), header_of(prover)
    for doubled in ('"jti": "other"', '"iat": 0', '"a": {"b": 1, "b": 1}'):
        assert outcome(spelled(prover, header, f"{claims[:-1]}, {doubled}}}")) is ProofFault.CLAIMS
    assert outcome(spelled(prover, header[:-1] + ', "alg": "none"}', claims)) is ProofFault.HEADER
    twice = header.replace('"kty"', '"kty": "EC", "kty"')
    assert outcome(spelled(prover, twice, claims)) is ProofFault.HEADER


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "1", '"a"', "{", "{}x", "\ufeff{}", "[" * 2000, '{"iat": NaN}', '{"exp": Infinity}'],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_json_object(prover: Prover, text: str) -> None:
    """Anything but one JSON object is refused, in header and claims, without an error of a library."""
    assert outcome(spelled(prover, text, json.dumps(good_claims(prover)))) in {
        ProofFault.HEADER,
        ProofFault.MALFORMED,
    }
    assert outcome(spelled(prover, header_of(prover), text)) in {ProofFault.CLAIMS, ProofFault.MALFORMED}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_json_is_utf_8(prover: Prover, encoding: str) -> None:
    """No other encoding is guessed at (RFC 8259, section 8.1)."""
    claims = json.dumps(good_claims(prover, other="é"), ensure_ascii=False).encode(encoding)
    signed = base64url_encode(header_of(prover).encode()) + b"." + base64url_encode(claims)
    if prover.algorithm == "EdDSA":
        signature = prover.private.sign(signed)
    else:
        r, s = decode_dss_signature(prover.private.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32) + s.to_bytes(32)
    assert outcome(signed + b"." + base64url_encode(signature)) is ProofFault.CLAIMS


def test_the_longest_proof(prover: Prover) -> None:
    """A proof of 4096 bytes is read, and one that is longer is not looked at."""

    def of_length(padding: int) -> str:
        return spelled(
            prover, header_of(prover), json.dumps(good_claims(prover, jti="j", other="x" * padding))
        )

    longest = next(
        proof
        for proof in (of_length(padding) for padding in range(2800, 1, -1))
        if len(proof) <= MAX_PROOF_BYTES
    )
    assert len(longest) >= MAX_PROOF_BYTES - 1
    assert isinstance(outcome(longest), Proof)
    assert outcome(of_length(2800)) is ProofFault.MALFORMED


def other_spellings(proof: str) -> Iterator[str]:
    header, claims, signature = proof.split(".")
    yield f"{header}.{claims}"
    yield f"{header}.{claims}."
    yield f".{claims}.{signature}"
    yield f"{header}..{signature}"
    yield f"{proof}."
    yield f"{proof}.{signature}"
    yield f"{header}.{claims}.{signature}="
    yield f" {proof}"
    yield f"{proof}\n"
    yield proof.replace(".", ",")
    yield base64.b64encode(proof.encode()).decode()


def test_other_spellings_are_no_proof(prover: Prover) -> None:
    """Three segments without padding, white space or anything else: nothing is repaired."""
    for spelling in other_spellings(prover.sign(good_claims(prover))):
        assert isinstance(outcome(spelling), ProofFault), spelling


FIXED = Prover("ES256"), Prover("EdDSA")
FIXED_PROOFS = [fixed.sign(good_claims(fixed)).encode() for fixed in FIXED]


@given(st.sampled_from(FIXED_PROOFS), st.data())
def test_any_changed_byte_is_refused(proof: bytes, data: st.DataObject) -> None:
    """Whatever byte of a good proof is changed, removed or added, it is none any more."""
    position = data.draw(st.integers(0, len(proof) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != proof[position]))
    how = data.draw(st.sampled_from(["changed", "removed", "added"]))
    kept_until = position if how == "added" else position + 1
    put = b"" if how == "removed" else bytes([byte])
    assert isinstance(outcome(proof[:position] + put + proof[kept_until:]), ProofFault)


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_anything_at_all_is_refused_and_nothing_breaks(line: bytes) -> None:
    """Bytes of a stranger are refused with a fault, never with another error."""
    assert isinstance(outcome(line), ProofFault)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["jti", "htm", "htu", "iat", "ath", "exp", "nbf", "x"]), JSON_VALUES)
def test_a_claim_of_any_value_breaks_nothing(name: str, value: Any) -> None:
    """Whatever a claim holds, the proof is good or has a fault: no other error gets out."""
    found = outcome(spelled(FIXED[1], header_of(FIXED[1]), json.dumps(good_claims(FIXED[1]) | {name: value})))
    assert isinstance(found, Proof | ProofFault)


@given(st.sampled_from(["kty", "crv", "x", "y", "kid", "alg", "use", "key_ops", "ext", "a"]), JSON_VALUES)
def test_a_member_of_the_key_of_any_value_breaks_nothing(name: str, value: Any) -> None:
    """Whatever a member of the key holds, the proof is of this very key, or has a fault."""
    for prover in FIXED:
        jwk = prover.jwk | {name: value}
        found = outcome(spelled(prover, header_of(prover, jwk=jwk), json.dumps(good_claims(prover))))
        assert found in {ProofFault.HEADER, ProofFault.SIGNATURE} or (
            isinstance(found, Proof) and found.jkt == prover.jkt
        )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTPS://API.example.COM/a", "https://api.example.com/a"),
        ("https://api.example.com:443/a", "https://api.example.com/a"),
        ("https://api.example.com:/a", "https://api.example.com/a"),
        ("http://api.example.com:80/a", "http://api.example.com/a"),
        ("https://api.example.com", "https://api.example.com/"),
        ("https://api.example.com/a?b=c", "https://api.example.com/a"),
        ("https://api.example.com/a#b", "https://api.example.com/a"),
        ("https://api.example.com?b=/c", "https://api.example.com/"),
        ("https://api.example.com/%7euser", "https://api.example.com/~user"),
        ("https://api.example.com/a%2fb", "https://api.example.com/a%2Fb"),
        ("http://[2001:DB8::1]:8400/a", "http://[2001:db8::1]:8400/a"),
    ],
)
def test_equal_urls_have_one_spelling(one: str, other: str) -> None:
    """Case of scheme and host, the default port, needless escapes and the query make no difference."""
    assert normal_url(one) == normal_url(other)
    assert normal_url(other) == other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://api.example.com/a", "https://api.example.com/a/"),
        ("https://api.example.com/a", "https://api.example.com/A"),
        ("https://api.example.com/a", "https://api.example.com//a"),
        ("https://api.example.com/a/b", "https://api.example.com/a%2Fb"),
        ("https://api.example.com/a", "https://api.example.com/x/../a"),
        ("https://api.example.com:80/a", "https://api.example.com/a"),
        ("https://api.example.com/a%3Fb", "https://api.example.com/a"),
        ("https://api.example.com/%252e", "https://api.example.com/%2e"),
    ],
)
def test_other_urls_are_others(one: str, other: str) -> None:
    """What a server could take for another resource is another URL."""
    assert None is not normal_url(one) != normal_url(other) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/a",
        "//api.example.com/a",
        "ftp://a/",
        "https:///a",
        "https://",
        "https://a b/",
        "https://a/b c",
        "https://bob:x@a/",
        "https://a/\n",
        "https://a/é",
        "https://é/",
        "https://a:b/",
        "https://a\\b/",
        "https://[/",
    ],
)
def test_what_is_no_url(text: str) -> None:
    """A relative one, another scheme, user information, and characters that no URL holds are refused."""
    assert normal_url(text) is None


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40))
def test_the_one_spelling_stays(text: str) -> None:
    """Normalising twice changes nothing, so that comparing the results is comparing the URLs."""
    once = normal_url(f"https://api.example.com/{text}")
    assert once is None or normal_url(once) == once


def test_a_proof_shows_nothing_in_a_log(prover: Prover) -> None:
    """What was presented is in no repr, and no fault quotes it."""
    proof = prover.sign(good_claims(prover, jti="unmistakable"))
    assert proof not in repr(PresentedProof(METHOD, URL, [proof.encode()]))
    with pytest.raises(DpopProofRefused) as refused:
        check_proof(PresentedProof("PUT", URL, [proof.encode()]), now=NOW, credential=None)
    assert "unmistakable" not in str(refused.value)
    assert msgspec.json.encode(str(refused.value))
