"""Write access_tokens.json: the bearer tokens that must be accepted, and the ones that must be refused.

Nothing of Keyturn is imported: the vectors are made with `cryptography` alone, so that they can disagree
with the code. Every signature is deterministic (RFC 6979, RFC 8032), so a second run writes the same file:

    python tests/vectors/make_access_tokens.py
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

HERE = Path(__file__).parent
KEYS = json.loads((HERE / "signing_keys.json").read_text(encoding="utf-8"))

NOW = 1_800_000_000
ISSUER = "https://keys.example"
AUDIENCE = "https://api.example"
MAX_LIFE = 3600
MAX_TOKEN_BYTES = 4096
SKEW = 30

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493

Sign = Callable[[bytes], bytes]
Vector = dict[str, Any]


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text: str) -> int:
    return int.from_bytes(unb64(text), "big")


def ec_key(jwk: dict[str, str]) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number(jwk["d"]), ec.SECP256R1())


def rsa_key() -> rsa.RSAPrivateKey:
    jwk = {name: number(value) for name, value in KEYS["rsa"].items() if name not in ("kty", "kid")}
    public = rsa.RSAPublicNumbers(jwk["e"], jwk["n"])
    return rsa.RSAPrivateNumbers(
        jwk["p"], jwk["q"], jwk["d"], jwk["dp"], jwk["dq"], jwk["qi"], public
    ).private_key()


ES256_KEY = ec_key(KEYS["es256"])
STRANGER_KEY = ec_key(KEYS["stranger_es256"])
EDDSA_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(unb64(KEYS["eddsa"]["d"]))
RSA_KEY = rsa_key()


def es256_numbers(message: bytes, key: ec.EllipticCurvePrivateKey = ES256_KEY) -> tuple[int, int]:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return r, min(s, P256_ORDER - s)


def two(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def es256(message: bytes) -> bytes:
    return two(*es256_numbers(message))


def es256_by_a_stranger(message: bytes) -> bytes:
    return two(*es256_numbers(message, STRANGER_KEY))


def eddsa(message: bytes) -> bytes:
    return EDDSA_KEY.sign(message)


def rs256(message: bytes) -> bytes:
    return RSA_KEY.sign(message, padding.PKCS1v15(), hashes.SHA256())


def hs256(secret: bytes) -> Sign:
    return lambda message: hmac.new(secret, message, hashlib.sha256).digest()


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


ES256_HEADER = {"alg": "ES256", "kid": KEYS["es256"]["kid"], "typ": "at+jwt"}
EDDSA_HEADER = {"alg": "EdDSA", "kid": KEYS["eddsa"]["kid"], "typ": "at+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "7",
    "aud": AUDIENCE,
    "client_id": "keyturn",
    "exp": NOW + 600,
    "iat": NOW - 60,
    "jti": "0123456789ABCDEFGHIJKL",
    "scope": "read write",
    "kt_key": 42,
}
SESSION_CLAIMS = {name: value for name, value in CLAIMS.items() if name != "kt_key"} | {"kt_session": 5}


def token(
    payload: bytes = compact(CLAIMS),
    *,
    header: bytes = compact(ES256_HEADER),
    sign: Sign = es256,
    segments: tuple[bytes, bytes] | None = None,
) -> bytes:
    """Return a signed token; `segments` gives header and payload already encoded."""
    first, second = segments or (b64(header), b64(payload))
    return first + b"." + second + b"." + b64(sign(first + b"." + second))


def with_claims(**changed: Any) -> bytes:
    return token(compact(CLAIMS | changed))


def with_payload(old: bytes, new: bytes) -> bytes:
    payload = compact(CLAIMS)
    if payload.count(old) != 1:
        raise ValueError(f"{old!r} must stand in the claims exactly once")
    return token(payload.replace(old, new))


def without(claim: str) -> bytes:
    return token(compact({name: value for name, value in CLAIMS.items() if name != claim}))


def with_header(**changed: Any) -> bytes:
    return token(header=compact(ES256_HEADER | changed))


def resigned(change: Callable[[int, int], bytes]) -> bytes:
    return token(sign=lambda message: change(*es256_numbers(message)))


def of_length(wanted: Callable[[int], bool]) -> bytes:
    """Return the first good token of such a length, made longer by its scope."""
    for letters in range(2000, 4000):
        made = with_claims(scope="s" * letters)
        if wanted(len(made)):
            return made
    raise ValueError("no scope gives that length")


def vector(requirement: str, name: str, made: bytes, outcome: str) -> Vector:
    """`outcome` is "accepted" or the expected `Reason`; a token that is not ASCII is written as hex."""
    spelled = {"token": made.decode("ascii")} if made.isascii() else {"token_hex": made.hex()}
    return {"requirement": requirement, "name": name, "outcome": outcome} | spelled


def accepted() -> Iterator[Vector]:
    yield vector("T1", "ES256, made from a key", token(), "accepted")
    yield vector(
        "T1",
        "EdDSA, made from a key",
        token(header=compact(EDDSA_HEADER), sign=eddsa),
        "accepted",
    )
    yield vector("T6", "ES256, made from a session", token(compact(SESSION_CLAIMS)), "accepted")
    yield vector("T6", "the least epoch that is written", with_claims(kt_epoch=1), "accepted")
    yield vector("T6", "the greatest epoch", with_claims(kt_epoch=2**63 - 1), "accepted")
    yield vector("T6", "the first secret after another", with_claims(kt_secret=1), "accepted")
    yield vector("T6", "the last secret", with_claims(kt_epoch=1, kt_secret=2**63 - 1), "accepted")
    yield vector("T6", "no scopes of its own", with_claims(scope=""), "accepted")
    yield vector("T7", "exp one second after now", with_claims(exp=NOW + 1), "accepted")
    yield vector("T7", "a life of exactly the maximum", with_claims(iat=NOW, exp=NOW + MAX_LIFE), "accepted")
    yield vector("T7", "iat ahead by exactly the skew", with_claims(iat=NOW + SKEW), "accepted")
    yield vector("T9", "exactly the longest token", of_length(lambda n: n == MAX_TOKEN_BYTES), "accepted")


def refused_algorithms() -> Iterator[Vector]:
    pem = ES256_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    point = ES256_KEY.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    ed_raw = unb64(KEYS["eddsa"]["x"])
    for spelling in ("none", "None", "NONE", "nOnE"):
        header = compact(ES256_HEADER | {"alg": spelling})
        yield vector(
            "T2", f"alg {spelling}, no signature", token(header=header, sign=lambda _: b""), "signature"
        )
        yield vector("T2", f"alg {spelling}, an ES256 signature", token(header=header), "signature")
    for name, secret, header_of in (
        ("the PEM of the public key", pem, ES256_HEADER),
        ("the public point", point, ES256_HEADER),
        ("the Ed25519 public key", ed_raw, EDDSA_HEADER),
        ("an empty secret", b"", ES256_HEADER),
    ):
        header = compact(header_of | {"alg": "HS256"})
        yield vector("T2", f"HS256 with {name}", token(header=header, sign=hs256(secret)), "signature")
        yield vector(
            "T2",
            f"a MAC made with {name} under our own header",
            token(header=compact(header_of), sign=hs256(secret)),
            "signature",
        )
    header = compact(ES256_HEADER | {"alg": "RS256"})
    yield vector("T2", "RS256", token(header=header, sign=rs256), "signature")
    yield vector("T2", "RS256 under our own header", token(sign=rs256), "signature")
    for algorithm in ("ES384", "ES512", "ES256K", "PS256", "Ed25519", "es256", "", 7, None, ["ES256"]):
        yield vector("T2", f"alg {algorithm!r}", with_header(alg=algorithm), "signature")
    absent = {name: value for name, value in ES256_HEADER.items() if name != "alg"}
    yield vector("T2", "alg absent", token(header=compact(absent)), "signature")
    swapped = compact(ES256_HEADER | {"alg": "EdDSA"})
    yield vector("T1", "EdDSA named for the ES256 key", token(header=swapped, sign=eddsa), "signature")
    swapped = compact(EDDSA_HEADER | {"alg": "ES256"})
    yield vector("T1", "ES256 named for the EdDSA key", token(header=swapped), "signature")
    yield vector("T1", "the ES256 header over an EdDSA signature", token(sign=eddsa), "signature")
    yield vector(
        "T1", "the EdDSA header over an ES256 signature", token(header=compact(EDDSA_HEADER)), "signature"
    )


def refused_headers() -> Iterator[Vector]:
    stranger = {name: KEYS["stranger_es256"][name] for name in ("kty", "crv", "x", "y")}
    by_stranger = compact(ES256_HEADER | {"jwk": stranger})
    yield vector(
        "T3", "jwk: the signer's own key", token(header=by_stranger, sign=es256_by_a_stranger), "signature"
    )
    for name, value in (
        ("jwk", {name: KEYS["es256"][name] for name in ("kty", "crv", "x", "y")}),
        ("jku", f"{ISSUER}/.well-known/jwks.json"),
        ("x5u", f"{ISSUER}/certificate"),
        ("x5c", ["MIIB"]),
        ("x5t", "AAAA"),
        ("crit", []),
        ("crit", ["exp"]),
        ("b64", True),
        ("b64", False),
        ("zip", "DEF"),
        ("cty", "JWT"),
        ("unknown", 1),
    ):
        made = with_header(**{name: value})
        yield vector("T3", f"{name}: {json.dumps(value)[:40]}", made, "signature")
    for typ in ("JWT", "jwt", "AT+JWT", "application/at+jwt", "logout+jwt", "", None, ["at+jwt"]):
        yield vector("T4", f"typ {typ!r}", with_header(typ=typ), "signature")
    absent = {name: value for name, value in ES256_HEADER.items() if name != "typ"}
    yield vector("T4", "typ absent", token(header=compact(absent)), "signature")
    for kid in (
        "another",
        "../../../../dev/null",
        "https://evil.example/key",
        "' OR 1=1 --",
        "vector-es256\u0000",
        "VECTOR-ES256",
        "",
        None,
        0,
    ):
        yield vector("T5", f"kid {kid!r}", with_header(kid=kid), "signature")
    absent = {name: value for name, value in ES256_HEADER.items() if name != "kid"}
    yield vector("T5", "kid absent", token(header=compact(absent)), "signature")
    yield vector("T5", "our kid, a stranger's signature", token(sign=es256_by_a_stranger), "signature")
    plain = compact(ES256_HEADER)
    for name, header in (
        ("another order of members", compact(dict(reversed(ES256_HEADER.items())))),
        ("white space", json.dumps(ES256_HEADER).encode("ascii")),
        ("a line feed at its end", plain + b"\n"),
        ("alg twice", b'{"alg":"ES256",' + plain[1:]),
        ("alg twice, none first", b'{"alg":"none",' + plain[1:]),
        ("alg twice, none last", plain[:-1] + b',"alg":"none"}'),
        ("a BOM", b"\xef\xbb\xbf" + plain),
        ("UTF-16", plain.decode("ascii").encode("utf-16")),
        ("an escaped letter", plain.replace(b"ES256", b"\\u0045S256", 1)),
        ("an array", b"[" + plain + b"]"),
        ("no JSON", b"ES256"),
    ):
        yield vector("T8", f"header with {name}", token(header=header), "signature")


def refused_claims() -> Iterator[Vector]:
    plain = compact(CLAIMS)
    text = plain.decode("ascii")
    for name, payload, outcome in (
        ("exp twice", plain[:-1] + b',"exp":%d}' % (NOW + 600), "claims"),
        ("sub twice, the other last", plain[:-1] + b',"sub":"1"}', "claims"),
        ("another order of members", compact(dict(reversed(CLAIMS.items()))), "claims"),
        ("white space after a colon", plain.replace(b'"sub":', b'"sub": '), "claims"),
        ("a space before it", b" " + plain, "claims"),
        ("a line feed after it", plain + b"\n", "claims"),
        ("an escaped letter", plain.replace(b'"read write"', b'"\\u0072ead write"'), "claims"),
        ("an escaped slash", plain.replace(b"https://keys", b"https:\\/\\/keys"), "claims"),
        ("more after the object", plain + b"{}", "malformed"),
        ("a BOM", b"\xef\xbb\xbf" + plain, "malformed"),
        ("UTF-16 with a BOM", text.encode("utf-16"), "malformed"),
        ("UTF-16LE", text.encode("utf-16-le"), "malformed"),
        ("UTF-32BE", text.encode("utf-32-be"), "malformed"),
        ("Latin-1 instead of UTF-8", plain.replace(b"keyturn", b"cl\xe9"), "malformed"),
        ("an over-long UTF-8 slash", plain.replace(b"keyturn", b"\xc0\xaf"), "malformed"),
        ("a surrogate in UTF-8", plain.replace(b"keyturn", b"\xed\xa0\x80"), "malformed"),
        ("half a surrogate pair", plain.replace(b"keyturn", b"\\ud800"), "malformed"),
        ("a name that is not UTF-8", plain.replace(b'"client_id"', b'"client\xff"'), "malformed"),
        ("an unknown claim", plain[:-1] + b',"admin":true}', "malformed"),
        ("an array around it", b"[" + plain + b"]", "malformed"),
        ("a string", b'"claims"', "malformed"),
        ("nothing", b"", "malformed"),
        ("an empty object", b"{}", "malformed"),
        ("a depth of 1000", b'{"iss":' + b"[" * 1000 + b"]" * 1000 + b"}", "malformed"),
        ("a depth of 1000 in an unknown claim", b'{"x":' + b"[" * 1000 + b"]" * 1000 + b"}", "malformed"),
        ("an unclosed depth of 2000", b'{"x":' + b"[" * 2000, "malformed"),
    ):
        yield vector("T8", f"claims with {name}", token(payload), outcome)
    exp = b'"exp":%d' % CLAIMS["exp"]
    for spelling in ("NaN", "Infinity", "-Infinity", "1800000600.0", "1.8000006e9", "1e400", "01800000600"):
        yield vector("T8", f"exp {spelling}", with_payload(exp, b'"exp":' + spelling.encode()), "malformed")
    wrong_times: tuple[object, ...] = (str(CLAIMS["exp"]), True, None, [CLAIMS["exp"]], {})
    for wrong in wrong_times:
        yield vector("T6", f"exp {wrong!r}", with_claims(exp=wrong), "malformed")
    for claim in ("iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope"):
        yield vector("T6", f"{claim} absent", without(claim), "malformed")
        yield vector("T6", f"{claim} null", with_claims(**{claim: None}), "malformed")
        other = 7 if isinstance(CLAIMS[claim], str) else "7"
        yield vector("T6", f"{claim} of another type", with_claims(**{claim: other}), "malformed")
    wrong_ids: tuple[object, ...] = ("42", True, 42.0, [42])
    for wrong in wrong_ids:
        yield vector("T6", f"kt_key {wrong!r}", with_claims(kt_key=wrong), "malformed")
    wrong_epochs: tuple[object, ...] = ("1", True, 1.0, [1], -1, 2**63, 10**400)
    for wrong in wrong_epochs:
        yield vector("T6", f"kt_epoch {str(wrong)[:30]!r}", with_claims(kt_epoch=wrong), "malformed")
    yield vector("T8", "kt_epoch 0, which is written by leaving it out", with_claims(kt_epoch=0), "claims")
    yield vector(
        "T8",
        "kt_epoch twice",
        with_payload(b'"kt_key":42', b'"kt_key":42,"kt_epoch":9,"kt_epoch":1'),
        "claims",
    )
    yield vector("T15", "an epoch of a session", token(compact(SESSION_CLAIMS | {"kt_epoch": 1})), "claims")
    for wrong in wrong_epochs:
        yield vector("T6", f"kt_secret {str(wrong)[:30]!r}", with_claims(kt_secret=wrong), "malformed")
    yield vector("T8", "kt_secret 0, which is written by leaving it out", with_claims(kt_secret=0), "claims")
    yield vector(
        "T8",
        "kt_secret before kt_epoch",
        with_payload(b'"kt_key":42', b'"kt_key":42,"kt_secret":1,"kt_epoch":1'),
        "claims",
    )
    yield vector("T15", "a secret of a session", token(compact(SESSION_CLAIMS | {"kt_secret": 1})), "claims")
    yield vector("T6", "aud as a list", with_claims(aud=[AUDIENCE]), "malformed")
    yield vector("T15", "kt_key and kt_session", with_claims(kt_session=5), "claims")
    yield vector("T15", "neither kt_key nor kt_session", without("kt_key"), "claims")
    yield vector("T15", "kt_key null", with_claims(kt_key=None), "claims")
    yield vector("T15", "kt_session null beside kt_key", with_claims(kt_session=None), "claims")
    for name, issuer in (
        ("a prefix of ours", ISSUER[:-1]),
        ("ours and a slash", ISSUER + "/"),
        ("ours and more", ISSUER + ".evil.example"),
        ("ours in capitals", ISSUER.upper()),
    ):
        yield vector("T6", f"iss: {name}", with_claims(iss=issuer), "claims")
    yield vector("T6", "iss: empty", with_claims(iss=""), "malformed")
    for name, audience in (
        ("another", "https://other.example"),
        ("ours and a slash", AUDIENCE + "/"),
        ("a prefix of ours", AUDIENCE[:-1]),
        ("two in one string", f"{AUDIENCE} https://other.example"),
        ("the issuer", ISSUER),
    ):
        yield vector("T6", f"aud: {name}", with_claims(aud=audience), "audience")
    yield vector("T6", "aud: empty", with_claims(aud=""), "malformed")


def refused_bounds() -> Iterator[Vector]:
    for value in (2**63, 2**64, 10**400):
        digits = len(str(value))
        yield vector("T6", f"exp of {digits} digits", with_claims(exp=value), "malformed")
        yield vector(
            "T6", f"exp and iat of {digits} digits", with_claims(exp=value, iat=value - 1), "malformed"
        )
        yield vector("T6", f"kt_key of {digits} digits", with_claims(kt_key=value), "malformed")
        yield vector("T6", f"sub of {digits} digits", with_claims(sub="9" * (digits + 1)), "malformed")
    for name, text in (("empty", ""), ("of 65 characters", "x" * 65), ("of 1,500 characters", "x" * 1500)):
        yield vector("T6", f"jti {name}", with_claims(jti=text), "malformed")
        yield vector("T6", f"client_id {name}", with_claims(client_id=text), "malformed")
    for name, text in (("beyond ASCII", "clé"), ("with a line break", "read\n"), ("of two spaces", "a  b")):
        for claim in ("sub", "client_id", "jti", "scope"):
            yield vector("T6", f"{claim} {name}", with_claims(**{claim: text}), "malformed")
    yield vector("T6", "kt_key 0", with_claims(kt_key=0), "malformed")
    yield vector("T6", "kt_key -1", with_claims(kt_key=-1), "malformed")


def refused_times() -> Iterator[Vector]:
    yield vector("T7", "exp exactly now", with_claims(exp=NOW), "expired")
    yield vector("T7", "exp one second before now", with_claims(exp=NOW - 1), "expired")
    yield vector("T7", "iat ahead by more than the skew", with_claims(iat=NOW + SKEW + 1), "claims")
    yield vector("T7", "a life one second too long", with_claims(iat=NOW, exp=NOW + MAX_LIFE + 1), "claims")
    yield vector("T7", "too long a life, nearly over", with_claims(iat=NOW - MAX_LIFE, exp=NOW + 1), "claims")
    yield vector("T7", "exp equal to iat", with_claims(iat=NOW + 10, exp=NOW + 10), "claims")
    yield vector("T7", "exp before iat", with_claims(iat=NOW + 20, exp=NOW + 10), "claims")
    yield vector("T7", "iat 0", with_claims(iat=0), "claims")
    yield vector("T7", "both times negative", with_claims(iat=-2, exp=-1), "malformed")


def refused_encodings() -> Iterator[Vector]:
    good = token()
    header, payload, signature = good.split(b".")
    padded = payload + b"=" * (-len(payload) % 4 or 4)
    yield vector("T9", "header with =", header + b"=." + payload + b"." + signature, "signature")
    signed = token(segments=(header, padded))
    yield vector("T9", "claims with =, signed so", signed, "malformed")
    yield vector("T9", "claims with =, added later", header + b"." + padded + b"." + signature, "signature")
    yield vector("T9", "signature with ==", good + b"==", "malformed")
    yield vector("T9", "signature with =", good + b"=", "malformed")
    for name, space in (("a space", b" "), ("a line feed", b"\n"), ("a TAB", b"\t"), ("a NUL", b"\0")):
        yield vector("T9", f"{name} after the token", good + space, "malformed")
        yield vector("T9", f"{name} before the token", space + good, "signature")
        broken = payload[:8] + space + payload[8:]
        yield vector("T9", f"{name} in the claims, signed so", token(segments=(header, broken)), "malformed")
    for byte in (0x80, 0xA0, 0xFF):
        yield vector("T9", f"byte {byte:#x} in the signature", good[:-1] + bytes([byte]), "malformed")
        yield vector("T9", f"byte {byte:#x} in the header", bytes([byte]) + good[1:], "signature")
    yield vector("T9", "unused bits in the signature", good[:-1] + next_character(good[-1:]), "malformed")
    odd = b64(compact(CLAIMS | {"jti": "0"}))
    while len(odd) % 4 == 0:
        odd = b64(compact(CLAIMS | {"jti": "00"}))
    odd = odd[:-1] + next_character(odd[-1:])
    yield vector("T9", "unused bits in the claims, signed so", token(segments=(header, odd)), "malformed")
    standard = token(compact(CLAIMS | {"client_id": "???>>>"}))
    segments = standard.split(b".")
    plus = segments[1].replace(b"-", b"+").replace(b"_", b"/")
    if plus == segments[1]:
        raise ValueError("these claims do not show the difference of the alphabets")
    yield vector("T9", "claims in base64 with + and /", token(segments=(header, plus)), "malformed")
    yield vector("T9", "no segment", b"", "signature")
    yield vector("T9", "1 segment", header, "signature")
    yield vector("T9", "2 segments", header + b"." + payload, "signature")
    yield vector("T9", "4 segments", good + b"." + signature, "malformed")
    yield vector("T9", "5 segments, as a JWE has", good + b".." + signature, "malformed")
    yield vector("T9", "an empty 4th segment", good + b".", "malformed")
    yield vector("T9", "an empty header", b"." + payload + b"." + signature, "signature")
    yield vector("T9", "empty claims, signed so", token(b""), "malformed")
    yield vector("T9", "an empty signature", header + b"." + payload + b".", "signature")
    yield vector("T9", "two dots", b"..", "signature")
    yield vector("T9", "one byte or two too long", of_length(lambda n: n > MAX_TOKEN_BYTES), "malformed")
    yield vector("T9", "much too long", good + b"A" * 10_000, "malformed")
    other = token(compact(CLAIMS | {"sub": "1"}))
    spliced = header + b"." + other.split(b".")[1] + b"." + signature
    yield vector("T9", "the claims of another token", spliced, "signature")


def next_character(character: bytes) -> bytes:
    """Return the base64url character whose value is one more: the same bytes, one unused bit set."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    place = alphabet.index(character)
    return alphabet[place + 1 : place + 2]


def refused_signatures() -> Iterator[Vector]:
    n = P256_ORDER
    for requirement, name, change in (
        ("T10", "the other s", lambda r, s: two(r, n - s)),
        ("T11", "all zeros", lambda r, s: bytes(64)),
        ("T11", "r = 0", lambda r, s: two(0, s)),
        ("T11", "s = 0", lambda r, s: two(r, 0)),
        ("T11", "r = n", lambda r, s: two(n, s)),
        ("T11", "s = n", lambda r, s: two(r, n)),
        ("T11", "r = n and s = n", lambda r, s: two(n, n)),
        ("T11", "r = n, s = 0", lambda r, s: two(n, 0)),
        ("T11", "r = 1, s = 1", lambda r, s: two(1, 1)),
        ("T11", "r = n - 1, s = 1", lambda r, s: two(n - 1, 1)),
        ("T11", "r and s exchanged", lambda r, s: two(s, r)),
        ("T11", "all ones", lambda r, s: b"\xff" * 64),
        ("T11", "63 bytes", lambda r, s: two(r, s)[:63]),
        ("T11", "65 bytes, a zero after", lambda r, s: two(r, s) + b"\0"),
        ("T11", "65 bytes, a zero before", lambda r, s: b"\0" + two(r, s)),
        (
            "T11",
            "66 bytes, each number with a zero",
            lambda r, s: b"\0" + two(r, s)[:32] + b"\0" + two(r, s)[32:],
        ),
        ("T11", "128 bytes", lambda r, s: two(r, s) * 2),
        ("T11", "DER", encode_dss_signature),
        ("T11", "no bytes", lambda r, s: b""),
    ):
        yield vector(requirement, f"ES256 signature: {name}", resigned(change), "signature")
    for requirement, name, alter in (
        ("T10", "S and the group order", eddsa_plus_order),
        ("T11", "all zeros", lambda made: bytes(64)),
        ("T11", "63 bytes", lambda made: made[:63]),
        ("T11", "65 bytes", lambda made: made + b"\0"),
        ("T11", "S = 0 and R the neutral point", lambda made: b"\x01" + bytes(63)),
    ):
        yield vector(requirement, f"EdDSA signature: {name}", eddsa_altered(alter), "signature")


def eddsa_altered(alter: Sign) -> bytes:
    return token(header=compact(EDDSA_HEADER), sign=lambda message: alter(eddsa(message)))


def eddsa_plus_order(signature: bytes) -> bytes:
    s = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    return signature[:32] + s.to_bytes(32, "little")


def make() -> dict[str, Any]:
    """Return the whole file."""
    made = [
        *accepted(),
        *refused_algorithms(),
        *refused_headers(),
        *refused_claims(),
        *refused_bounds(),
        *refused_times(),
        *refused_encodings(),
        *refused_signatures(),
    ]
    return {
        "about": "Bearer tokens at the time `now`, for the public halves of signing_keys.json. `outcome` is "
        "accepted, or the Reason of the refusal. Written by make_access_tokens.py.",
        "now": NOW,
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "max_life": MAX_LIFE,
        "vectors": made,
    }


def written() -> str:
    """Return the text of the file."""
    return json.dumps(make(), indent=2) + "\n"


if __name__ == "__main__":
    (HERE / "access_tokens.json").write_text(written(), encoding="utf-8")
