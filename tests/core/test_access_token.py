"""The bearer token: only our own bytes are a token, in one spelling, for as long as it says."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey

from keyturn.core.access_token import (
    CLOCK_SKEW,
    MAX_TOKEN_BYTES,
    AccessTokenClaims,
    AccessTokenFormat,
    KeyRing,
    SigningKey,
    generate_signing_key,
)
from keyturn.core.encoding import base64url_decode, base64url_encode
from keyturn.core.jwk import Algorithm
from keyturn.core.records import is_id
from keyturn.errors import CredentialRefused, Reason
from tests.vectors import make_access_tokens

VECTORS = Path(__file__).parent.parent / "vectors"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "EdDSA")
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture(scope="module")
def claims(now: datetime, token_format: AccessTokenFormat) -> AccessTokenClaims:
    moment = int(now.timestamp())
    return AccessTokenClaims(
        iss=token_format.issuer,
        sub="7",
        aud=token_format.audience,
        client_id="keyturn",
        exp=moment + 600,
        iat=moment,
        jti="0123456789ABCDEFGHIJKL",
        scope="read write",
        kt_key=42,
    )


@pytest.fixture(scope="module", params=ALGORITHMS)
def one_ring(request: pytest.FixtureRequest, es256: SigningKey, eddsa: SigningKey) -> KeyRing:
    """Return a ring of both keys that signs with one of them."""
    return KeyRing.of(es256, [eddsa]) if request.param == "ES256" else KeyRing.of(eddsa, [es256])


def outcome_of(
    token: bytes, token_format: AccessTokenFormat, ring: KeyRing, now: datetime
) -> AccessTokenClaims | Reason:
    """Return the claims, or the reason of the refusal, of which the holder may be told these two alone."""
    try:
        return token_format.verify(token, ring, now=now)
    except CredentialRefused as caught:
        refusal = caught
    assert refusal.secret_matched == (refusal.reason in {Reason.EXPIRED, Reason.AUDIENCE})
    return refusal.reason


def signed(payload: bytes, key: SigningKey) -> bytes:
    """Return a token with any payload under a right signature."""
    signing_input = key.header_segment + b"." + base64url_encode(payload)
    return signing_input + b"." + base64url_encode(key.sign(signing_input))


def test_each_vector_has_its_outcome(
    access_token_vector: dict[str, Any], token_format: AccessTokenFormat, ring: KeyRing, now: datetime
) -> None:
    """Each token of the vectors is accepted, or refused for the reason that the vector names."""
    token = (
        access_token_vector["token"].encode("ascii")
        if "token" in access_token_vector
        else bytes.fromhex(access_token_vector["token_hex"])
    )
    outcome = outcome_of(token, token_format, ring, now)
    if access_token_vector["outcome"] == "accepted":
        assert isinstance(outcome, AccessTokenClaims)
        payload = json.loads(base64url_decode(token.split(b".")[1]))
        assert {name: getattr(outcome, name) for name in payload} == payload
    else:
        assert outcome == access_token_vector["outcome"]


def test_the_vectors_are_what_their_script_writes() -> None:
    """The committed tokens come from the committed script and keys, byte for byte."""
    assert (VECTORS / "access_tokens.json").read_text(encoding="utf-8") == make_access_tokens.written()


def test_what_is_signed_is_verified(
    one_ring: KeyRing, claims: AccessTokenClaims, token_format: AccessTokenFormat, now: datetime
) -> None:
    """Both algorithms write tokens that come back as the same claims."""
    assert token_format.verify(token_format.sign(claims, one_ring).encode(), one_ring, now=now) == claims


@given(
    st.integers(1, 10**19 - 1).map(str),
    st.from_regex(r"[!-~]{1,64}", fullmatch=True),
    st.from_regex(r"([a-z:]{1,9}( [a-z:.]{1,9}){0,9})?", fullmatch=True),
    st.integers(1, 2**63 - 1),
    st.booleans(),
)
def test_claims_come_back_as_they_were(
    one_ring: KeyRing,
    token_format: AccessTokenFormat,
    now: datetime,
    sub: str,
    client_id: str,
    scope: str,
    number: int,
    from_key: bool,
) -> None:
    """Whatever a name, a client or a scope holds, what is signed can be verified and says the same."""
    moment = int(now.timestamp())
    claims = AccessTokenClaims(
        iss=token_format.issuer,
        sub=sub,
        aud=token_format.audience,
        client_id=client_id,
        exp=moment + 1,
        iat=moment,
        jti="j",
        scope=scope,
        kt_key=number if from_key else None,
        kt_session=None if from_key else number,
    )
    token = token_format.sign(claims, one_ring).encode()
    assert token_format.verify(token, one_ring, now=now) == claims


def test_a_token_has_three_segments_in_ascii(
    one_ring: KeyRing, claims: AccessTokenClaims, token_format: AccessTokenFormat
) -> None:
    """A token is three base64url segments: a header of exactly alg, kid and typ, the claims, 64 bytes."""
    header, payload, signature = token_format.sign(claims, one_ring).encode("ascii").split(b".")
    assert json.loads(base64url_decode(header)) == {
        "alg": one_ring.signing.algorithm,
        "kid": one_ring.signing.kid,
        "typ": "at+jwt",
    }
    assert list(json.loads(base64url_decode(payload))) == [
        *("iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope"),
        "kt_key",
    ]
    assert len(base64url_decode(signature)) == 64


def test_any_single_changed_byte_is_refused(
    one_ring: KeyRing, claims: AccessTokenClaims, token_format: AccessTokenFormat, now: datetime
) -> None:
    """A token with any one bit changed, any one byte left out or any one doubled is refused."""
    token = token_format.sign(claims, one_ring).encode()
    for place in range(len(token)):
        before, byte, after = token[:place], token[place], token[place + 1 :]
        changed = [before + bytes([byte ^ 1 << bit]) + after for bit in range(8)]
        changed += [before + after, before + bytes([byte, byte]) + after]
        for other in changed:
            if other == token:
                continue
            assert isinstance(outcome_of(other, token_format, one_ring, now), Reason)


@given(st.data(), st.integers(1, 255))
def test_a_byte_changed_to_any_other_is_refused(
    one_ring: KeyRing,
    claims: AccessTokenClaims,
    token_format: AccessTokenFormat,
    now: datetime,
    data: st.DataObject,
    flip: int,
) -> None:
    """No place of a token can hold another byte than the one that was written."""
    token = bytearray(token_format.sign(claims, one_ring).encode())
    token[data.draw(st.integers(0, len(token) - 1))] ^= flip
    assert isinstance(outcome_of(bytes(token), token_format, one_ring, now), Reason)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_credential(
    token_format: AccessTokenFormat, ring: KeyRing, now: datetime, presented: bytes
) -> None:
    """Arbitrary bytes raise CredentialRefused and no other error, also behind one of our headers."""
    header = ring.signing.header_segment
    for token in (presented, header + b"." + presented, header + b"." + presented + b"." + presented):
        assert isinstance(outcome_of(token, token_format, ring, now), Reason)


@given(st.binary(max_size=200))
def test_any_signed_bytes_are_refused_as_a_credential(
    token_format: AccessTokenFormat, es256: SigningKey, ring: KeyRing, now: datetime, payload: bytes
) -> None:
    """Even under a right signature, bytes that are no claims raise CredentialRefused and no other error."""
    assert isinstance(outcome_of(signed(payload, es256), token_format, ring, now), Reason)


@given(st.data(), st.binary(min_size=1, max_size=4))
def test_signed_claims_with_foreign_bytes_are_judged_as_a_credential(
    token_format: AccessTokenFormat,
    es256: SigningKey,
    ring: KeyRing,
    now: datetime,
    claims: AccessTokenClaims,
    data: st.DataObject,
    inserted: bytes,
) -> None:
    """Bytes put anywhere into signed claims give another good token or CredentialRefused, nothing else."""
    payload = msgspec.json.encode(claims)
    place = data.draw(st.integers(0, len(payload)))
    outcome = outcome_of(signed(payload[:place] + inserted + payload[place:], es256), token_format, ring, now)
    if isinstance(outcome, AccessTokenClaims):
        assert msgspec.json.encode(outcome) == payload[:place] + inserted + payload[place:]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(AccessTokenClaims.__struct_fields__), JSON_VALUES)
def test_a_signed_claim_of_any_other_value_is_judged_as_a_credential(
    token_format: AccessTokenFormat,
    es256: SigningKey,
    ring: KeyRing,
    now: datetime,
    claims: AccessTokenClaims,
    name: str,
    value: object,
) -> None:
    """Any JSON value for any claim gives a good token of that claim's type, or CredentialRefused."""
    payload = json.dumps(
        json.loads(msgspec.json.encode(claims)) | {name: value}, separators=(",", ":"), ensure_ascii=False
    )
    try:
        raw = payload.encode("utf-8")
    except UnicodeEncodeError:
        return
    outcome = outcome_of(signed(raw, es256), token_format, ring, now)
    if isinstance(outcome, AccessTokenClaims):
        assert type(getattr(outcome, name)) is type(getattr(claims, name))


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"])
def test_signed_claims_that_are_not_utf8_are_refused(
    token_format: AccessTokenFormat,
    es256: SigningKey,
    ring: KeyRing,
    now: datetime,
    claims: AccessTokenClaims,
    bad: bytes,
) -> None:
    """T8: claims that are not UTF-8 are malformed, in a value and in a name, and raise no other error."""
    payload = msgspec.json.encode(claims)
    for changed in (payload.replace(b"keyturn", bad), payload.replace(b'"jti"', b'"' + bad + b'"')):
        with pytest.raises(CredentialRefused) as refusal:
            token_format.verify(signed(changed, es256), ring, now=now)
        assert refusal.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("late_by", "accepted"),
    [(-MILLISECOND, True), (timedelta(), False), (MILLISECOND, False), (-timedelta(microseconds=1), True)],
)
def test_a_token_dies_at_exactly_its_expiry(
    one_ring: KeyRing,
    claims: AccessTokenClaims,
    token_format: AccessTokenFormat,
    late_by: timedelta,
    accepted: bool,
) -> None:
    """T7: a token lives until, and is dead at, the instant `exp`; there is no leeway."""
    token = token_format.sign(claims, one_ring).encode()
    at = claims.expires_at + late_by
    if accepted:
        assert token_format.verify(token, one_ring, now=at) == claims
        return
    with pytest.raises(CredentialRefused) as refusal:
        token_format.verify(token, one_ring, now=at)
    assert refusal.value.reason is Reason.EXPIRED
    assert refusal.value.key_id == 42
    assert refusal.value.secret_matched


@pytest.mark.parametrize(
    ("early_by", "accepted"),
    [(CLOCK_SKEW - MILLISECOND, True), (CLOCK_SKEW, True), (CLOCK_SKEW + MILLISECOND, False)],
)
def test_a_token_from_the_future_is_refused_beyond_the_skew(
    one_ring: KeyRing,
    claims: AccessTokenClaims,
    token_format: AccessTokenFormat,
    early_by: timedelta,
    accepted: bool,
) -> None:
    """`iat` may lie ahead by the clock skew, which is at most 30 seconds, and by nothing more."""
    assert timedelta(seconds=30) >= CLOCK_SKEW
    token = token_format.sign(claims, one_ring).encode()
    at = datetime.fromtimestamp(claims.iat, UTC) - early_by
    assert (outcome_of(token, token_format, one_ring, at) == claims) is accepted


@given(st.integers(-(10**5), 10**5))
def test_a_token_once_expired_stays_expired(
    ring: KeyRing, claims: AccessTokenClaims, token_format: AccessTokenFormat, seconds: int
) -> None:
    """At every time a token is accepted exactly from `iat` less the skew until before `exp`."""
    at = datetime.fromtimestamp(claims.iat + seconds, UTC)
    accepted = -30 <= seconds < claims.exp - claims.iat
    assert (
        outcome_of(token_format.sign(claims, ring).encode(), token_format, ring, at) == claims
    ) is accepted


def test_expires_at_is_exp_in_utc(claims: AccessTokenClaims) -> None:
    """The time in `expires_at` is the instant of `exp`, with its zone."""
    assert claims.expires_at.timestamp() == claims.exp
    assert claims.expires_at.tzinfo is UTC


def test_everything_that_is_signed_can_be_verified(
    ring: KeyRing, claims: AccessTokenClaims, token_format: AccessTokenFormat, now: datetime
) -> None:
    """A token that would be too long to be read is not written: `sign` raises instead."""
    scope = " ".join(f"dataset:{number}" for number in range(500))
    try:
        token = token_format.sign(msgspec.structs.replace(claims, scope=scope), ring)
    except ValueError:
        return
    assert len(token) <= MAX_TOKEN_BYTES
    token_format.verify(token.encode(), ring, now=now)


def test_our_own_es256_signatures_have_a_low_s(es256: SigningKey) -> None:
    """T10: every signature we write is 64 bytes with `s` in the lower half of the order, and verifies."""
    for number in range(1000):
        message = b"message %d" % number
        signature = es256.sign(message)
        assert len(signature) == 64
        assert 0 < int.from_bytes(signature[32:]) <= P256_ORDER // 2
        assert es256.verify(message, signature)


@given(st.binary(max_size=64))
def test_a_token_has_no_second_signature(es256: SigningKey, message: bytes) -> None:
    """T10: the twin (r, n - s), which the curve's equation also satisfies, is refused."""
    signature = es256.sign(message)
    s = int.from_bytes(signature[32:])
    twin = signature[:32] + (P256_ORDER - s).to_bytes(32)
    others = es256.key.native
    assert isinstance(others, ec.EllipticCurvePublicKey)
    others.verify(der(twin), message, ec.ECDSA(hashes.SHA256()))  # a right signature for others
    assert not es256.verify(message, twin)


@given(st.binary(max_size=130))
def test_any_bytes_are_no_signature(es256: SigningKey, eddsa: SigningKey, signature: bytes) -> None:
    """`verify` answers False for whatever is no signature, of any length, and raises nothing."""
    assert not es256.verify(b"message", signature)
    assert not eddsa.verify(b"message", signature)


def der(signature: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))


def test_a_removed_key_no_longer_verifies(
    es256: SigningKey,
    eddsa: SigningKey,
    claims: AccessTokenClaims,
    token_format: AccessTokenFormat,
    now: datetime,
) -> None:
    """A token is good while its key is in the ring, signing or not, and refused when it is gone."""
    token = token_format.sign(claims, KeyRing.of(es256)).encode()
    assert token_format.verify(token, KeyRing.of(eddsa, [es256]), now=now) == claims
    assert outcome_of(token, token_format, KeyRing.of(eddsa), now) is Reason.SIGNATURE


def test_another_key_of_the_same_kid_does_not_verify(
    signing_keys: dict[str, Any],
    ring: KeyRing,
    claims: AccessTokenClaims,
    token_format: AccessTokenFormat,
    now: datetime,
) -> None:
    """A stranger who takes our `kid` writes our header, but not our signature."""
    stranger = SigningKey.from_jwk(signing_keys["stranger_es256"])
    token = token_format.sign(claims, KeyRing.of(stranger)).encode()
    assert outcome_of(token, token_format, ring, now) is Reason.SIGNATURE


@given(st.lists(st.text("abcdefg", min_size=1, max_size=3), max_size=5))
def test_a_ring_has_no_kid_twice(es256: SigningKey, kids: list[str]) -> None:
    """T12: two keys of one `kid` make no ring; otherwise each key is in it once, the signing one first."""
    keys = [SigningKey(kid, "ES256", es256.key, kid.encode()) for kid in kids]
    if len(set(kids)) < len(kids):
        with pytest.raises(ValueError, match="kid"):
            KeyRing.of(es256, keys)
    else:
        assert [jwk["kid"] for jwk in KeyRing.of(es256, keys).jwks()["keys"]] == [es256.kid, *kids]


def test_keys_of_two_algorithms_may_not_share_a_kid(signing_keys: dict[str, Any], es256: SigningKey) -> None:
    """T1: one `kid` names one key, and so one algorithm."""
    other = SigningKey.from_jwk(signing_keys["eddsa"] | {"kid": es256.kid})
    with pytest.raises(ValueError, match="kid"):
        KeyRing.of(es256, [other])


def test_the_jwks_holds_public_members_only(ring: KeyRing, signing_keys: dict[str, Any]) -> None:
    """T12: each published key has kid, alg and use=sig, and nothing of its private half."""
    published = ring.jwks()
    assert set(published) == {"keys"}
    by_kid = {jwk["kid"]: jwk for jwk in published["keys"]}
    assert len(by_kid) == len(published["keys"]) == 2
    common = {"kid", "alg", "use", "kty", "crv", "x"}
    assert set(by_kid["vector-es256"]) == common | {"y"}
    assert set(by_kid["vector-eddsa"]) == common
    assert {jwk["use"] for jwk in by_kid.values()} == {"sig"}
    assert (by_kid["vector-es256"]["alg"], by_kid["vector-eddsa"]["alg"]) == ("ES256", "EdDSA")
    text = json.dumps(published)
    assert all(signing_keys[name]["d"] not in text for name in ("es256", "eddsa"))


@pytest.mark.parametrize("member", ["d", "k", "p", "q", "dp", "dq", "qi", "oth", "key_ops", "x5c", "note"])
def test_no_member_beyond_the_public_ones_is_published(signing_keys: dict[str, Any], member: str) -> None:
    """Whatever else a stored JWK holds stays out of what is published."""
    jwk = {"note": "internal"} | signing_keys["es256"]
    published = SigningKey.from_jwk(jwk).public_jwk()
    assert member not in published


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_generated_key_signs_and_verifies(
    algorithm: Algorithm, claims: AccessTokenClaims, token_format: AccessTokenFormat, now: datetime
) -> None:
    """A new key has the asked algorithm and `kid`, is unlike any other, and makes good tokens."""
    made = [generate_signing_key(algorithm, f"key-{number}") for number in range(5)]
    assert len({jwk["d"] for jwk in made}) == len({jwk["x"] for jwk in made}) == 5
    for jwk in made:
        stored = json.loads(json.dumps(jwk))
        ring = KeyRing.of(SigningKey.from_jwk(stored))
        assert (ring.signing.kid, ring.signing.algorithm) == (jwk["kid"], algorithm)
        assert token_format.verify(token_format.sign(claims, ring).encode(), ring, now=now) == claims


@pytest.mark.parametrize(
    "kid", ["", "../../dev/null", "a/b", "https://evil.example", "a b", "é", "a" * 65, "a\n"]
)
def test_a_kid_is_a_plain_name(kid: str) -> None:
    """T5: a `kid` is 1 to 64 of [A-Za-z0-9_-]; another one makes no signing key."""
    with pytest.raises(ValueError, match="kid"):
        SigningKey.from_jwk(generate_signing_key("EdDSA", kid))


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param(ECKey.generate_key("P-384").as_dict(private=True), id="P-384"),
        pytest.param(ECKey.generate_key("P-521").as_dict(private=True), id="P-521"),
        pytest.param(ECKey.generate_key("secp256k1").as_dict(private=True), id="secp256k1"),
        pytest.param(OKPKey.generate_key("X25519").as_dict(private=True), id="X25519"),
        pytest.param(OKPKey.generate_key("Ed448").as_dict(private=True), id="Ed448"),
    ],
)
def test_a_key_of_another_curve_is_no_signing_key(jwk: dict[str, Any]) -> None:
    """T2: ES256 is P-256 and EdDSA is Ed25519; a key of another curve never gets that name."""
    with pytest.raises(ValueError, match=r"curve|crv|key"):
        SigningKey.from_jwk(jwk | {"kid": "other"})


@pytest.mark.parametrize("change", [{"use": "enc"}, {"key_ops": ["deriveKey"]}, {"alg": "ES384"}])
def test_a_key_for_another_purpose_is_no_signing_key(
    signing_keys: dict[str, Any], change: dict[str, Any]
) -> None:
    """T12: a JWK that says it is not for this use is refused when it is read, not used regardless."""
    with pytest.raises(ValueError, match=r"use|key_ops|alg|key"):
        SigningKey.from_jwk(signing_keys["es256"] | change)


def test_a_public_key_is_no_signing_key(signing_keys: dict[str, Any]) -> None:
    """A JWK without its private half is refused when it is read, not at the first exchange."""
    public = {name: value for name, value in signing_keys["es256"].items() if name != "d"}
    with pytest.raises(ValueError, match=r"private|key"):
        SigningKey.from_jwk(public)


def test_other_verifiers_accept_our_tokens(
    one_ring: KeyRing, claims: AccessTokenClaims, token_format: AccessTokenFormat
) -> None:
    """A token verifies with nothing but the published key set and the `cryptography` library."""
    header, payload, signature = token_format.sign(claims, one_ring).encode().split(b".")
    named = json.loads(decode(header))
    jwk = next(key for key in one_ring.jwks()["keys"] if key["kid"] == named["kid"])
    assert jwk["alg"] == named["alg"]
    verify_directly(jwk, header + b"." + payload, decode(signature))
    with pytest.raises(InvalidSignature):
        verify_directly(jwk, header + b"." + payload + b"x", decode(signature))
    assert json.loads(decode(payload)) == {
        name: value for name, value in msgspec.to_builtins(claims).items() if value is not None
    }


def decode(segment: bytes | str) -> bytes:
    text = segment.encode() if isinstance(segment, str) else segment
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def verify_directly(jwk: dict[str, Any], message: bytes, signature: bytes) -> None:
    """Raise `InvalidSignature` unless the key made the signature."""
    if jwk["kty"] == "OKP":
        ed25519.Ed25519PublicKey.from_public_bytes(decode(jwk["x"])).verify(signature, message)
        return
    x, y = (int.from_bytes(decode(jwk[name])) for name in ("x", "y"))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    key.verify(der(signature), message, ec.ECDSA(hashes.SHA256()))


def test_no_private_key_is_shown(ring: KeyRing, signing_keys: dict[str, Any]) -> None:
    """Neither a signing key nor a ring shows a private member in repr or str."""
    for shown in (repr(ring), str(ring), repr(ring.signing), str(ring.signing)):
        assert all(signing_keys[name]["d"] not in shown for name in ("es256", "eddsa"))
        assert "'d'" not in shown


def test_a_refusal_does_not_show_the_token(
    token_format: AccessTokenFormat, ring: KeyRing, now: datetime
) -> None:
    """The error of a refused token, with what caused it, holds no segment of the token."""
    vectors = json.loads((VECTORS / "access_tokens.json").read_text(encoding="utf-8"))["vectors"]
    for token in (
        vector["token"] for vector in vectors if vector["outcome"] != "accepted" and "token" in vector
    ):
        with pytest.raises(CredentialRefused) as refusal:
            token_format.verify(token.encode(), ring, now=now)
        error = refusal.value
        shown = f"{error!r} {error} {error.args} {error.__cause__!r} {error.__context__!r}"
        assert all(segment not in shown for segment in token.split(".") if len(segment) > 8)


@settings(max_examples=20)
@given(st.integers(1, 10**7))
def test_no_life_beyond_the_maximum_is_accepted(
    ring: KeyRing, claims: AccessTokenClaims, token_format: AccessTokenFormat, now: datetime, life: int
) -> None:
    """T7: a longer life than the installation allows is refused even under a right signature."""
    token = token_format.sign(msgspec.structs.replace(claims, exp=claims.iat + life), ring).encode()
    accepted = isinstance(outcome_of(token, token_format, ring, now), AccessTokenClaims)
    assert accepted is (timedelta(seconds=life) <= token_format.max_life)


def test_the_page_names_the_limits_of_the_code(documented: Callable[[str], str]) -> None:
    """The header and the limits on the credentials page are the ones that the code has."""
    ring = KeyRing.of(SigningKey.from_jwk(generate_signing_key("ES256", "8Jx2")))
    assert documented("Header").encode() == base64url_decode(ring.signing.header_segment)
    limits = dict(line.rsplit("  ", 1) for line in documented("Limits").splitlines())
    found = {name.strip(): value.strip() for name, value in limits.items()}
    assert found == {
        "longest token, bytes": str(MAX_TOKEN_BYTES),
        "signature, bytes": "64",
        "iat may lie ahead, seconds": str(int(CLOCK_SKEW.total_seconds())),
        "leeway for exp, seconds": "0",
    }


def test_the_page_lists_the_claims_of_the_code(documented: Callable[[str], str]) -> None:
    """The example of the claims on the page is canonical and names every claim of a token of a key."""
    example = documented("Claims").encode()
    assert msgspec.json.encode(msgspec.json.decode(example, type=AccessTokenClaims)) == example
    claims = [name for name in AccessTokenClaims.__struct_fields__ if name not in {"kt_session", "act"}]
    assert list(json.loads(example)) == claims


BEYOND = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([-1, 0, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**12, 253_402_300_800]),
    st.text(max_size=5),
    st.sampled_from(["", "0", "-1", "01", "9" * 20, "x" * 65, "x" * 1500, "a\n", "é", "\x00", " "]),
    st.lists(st.integers(), max_size=1),
    st.none(),
    st.fixed_dictionaries({"jkt": st.text(max_size=50)}),
)


@pytest.mark.parametrize("field", msgspec.structs.fields(AccessTokenClaims), ids=lambda field: field.name)
@given(value=BEYOND, other=st.sampled_from(["kt_key", "kt_session"]))
@settings(max_examples=60)
def test_fault_d2_a_claim_out_of_bounds_is_refused(
    claims: AccessTokenClaims,
    now: datetime,
    token_format: AccessTokenFormat,
    one_ring: KeyRing,
    field: msgspec.structs.FieldInfo,
    value: object,
    other: str,
) -> None:
    """Whatever a signed claim says, the token is refused, or each of its claims can be worked with."""
    told = msgspec.to_builtins(claims) | {"kt_key": None, "kt_session": None, other: 42, field.name: value}
    names = [one.name for one in msgspec.structs.fields(AccessTokenClaims)]
    payload = msgspec.json.encode({name: told[name] for name in names if told.get(name) is not None})
    token = signed(payload, one_ring.signing)
    for read in (
        lambda: token_format.read(token, one_ring),
        lambda: token_format.verify(token, one_ring, now=now),
    ):
        try:
            found = read()
        except CredentialRefused:
            continue
        assert is_id((found.kt_key or 0) + (found.kt_session or 0))
        assert is_id(int(found.sub))
        assert 0 < len(found.jti) <= 64
        assert found.jti.isascii()
        assert found.expires_at > datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kt_key", 2**63),
        ("kt_key", 0),
        ("kt_key", -1),
        ("jti", ""),
        ("jti", "x" * 65),
        ("jti", "x" * 1500),
        ("jti", "line\n"),
        ("sub", "0"),
        ("sub", "9" * 20),
        ("client_id", ""),
        ("iss", ""),
        ("cnf", {"jkt": ""}),
    ],
)
def test_fault_d2_bounds_are_part_of_the_schema(
    claims: AccessTokenClaims,
    now: datetime,
    token_format: AccessTokenFormat,
    one_ring: KeyRing,
    name: str,
    value: object,
) -> None:
    """What lies out of a claim's bounds makes no token of ours, whoever signed it."""
    payload = msgspec.json.encode(msgspec.to_builtins(claims) | {name: value})
    assert outcome_of(signed(payload, one_ring.signing), token_format, one_ring, now) is Reason.MALFORMED
