"""The proof of possession: a JWT that a client signs for one request (RFC 9449).

    DPoP: eyJ0eXAiOiJkcG9wK2p3dCIs… . eyJqdGkiOiItQndDM0VTYzZh… . 64 bytes
          header                      claims                      signature
          {"typ","alg","jwk"}         {"jti","htm","htu","iat"}   ES256 or EdDSA, by the key in the header

A credential that is bound to a key pair carries the thumbprint of its public key, the *jkt* (RFC 7638):
whoever takes the credential alone has nothing. Programs of other people write the proofs, so JSON of any
order and spacing is read, and both signatures (r, s) and (r, n - s): a proof is told from another by its
`jti`, never by its bytes. A proof that two readers could understand in two ways is refused: doubled names,
unknown members of the header and the key, private members, base64url with a second spelling.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from keyturn.core.encoding import EncodingError, base64url_decode, base64url_encode
from keyturn.core.jwk import PublicKey, read_public_key
from keyturn.errors import AmbiguousCredential, DpopProofRefused, ProofFault

ALGORITHMS = ("ES256", "EdDSA")
"""In the order in which they are told to clients."""
TYPE = "dpop+jwt"
MAX_PROOF_BYTES = 4096
MAX_JTI_CHARACTERS = 256
MAX_SECONDS = 2**53
"""The largest whole number that all programs mean alike in JSON (RFC 8259, section 6)."""
LEEWAY = timedelta(seconds=60)
"""How far the clocks of client and server may differ, and so how long a proof is good (section 11.1)."""
GOOD_FOR = 2 * LEEWAY
"""At most, from its first moment to its last: by a client's clock that is ahead as far as it may be."""
REPLAY_BOUND = (
    "A proof is good once in each process of the installation, and for "
    f"{GOOD_FOR.total_seconds():g} seconds at most."
)
"""The scope of the replay check: each process remembers the proofs that it has seen itself."""

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_URL = re.compile(
    r"(https?)://([A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]*))?(/[!-\"$->@-~]*)?(?:[?#][!-~]*)?",
    re.IGNORECASE,
)
"""An absolute URL without user information (RFC 9110, section 4.2.4): host, port, path."""
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PresentedProof:
    """The `DPoP` header of a request, and which request that is."""

    method: str
    url: str | None
    """As its client knows it, with scheme and host; a query does not count. None if it is not known."""
    lines: Sequence[bytes] = field(repr=False)
    """The value of each `DPoP` field line."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that is good for its request, unless it was used before."""

    jkt: str
    """The thumbprint of the key pair that it was made with."""
    jti: str
    iat: int
    """Seconds since 1970."""


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The public key (RFC 7517, RFC 7518, section 6.2, and RFC 8037, section 2).

    Beside what makes the key itself stands what exporting one adds, as browsers do, if it allows this use.
    """

    kty: Literal["EC", "OKP"]
    crv: Literal["P-256", "Ed25519"]
    x: str
    y: str | None = None
    kid: str | None = None
    alg: str | None = None
    use: Literal["sig"] | None = None
    key_ops: list[Literal["verify"]] | None = None
    ext: bool | None = None


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    typ: Literal["dpop+jwt"]
    alg: Literal["ES256", "EdDSA"]
    jwk: _Key


class _Claims(msgspec.Struct, frozen=True):
    """The claims that are read. Others may stand beside them (RFC 9449, section 4.2)."""

    jti: str
    htm: str
    htu: str
    iat: Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)]
    ath: str | None = None
    exp: float | None = None
    nbf: float | None = None


def check_proof(presented: PresentedProof | None, *, now: datetime, credential: bytes | None) -> Proof:
    """Return the proof of a request; raise `DpopProofRefused` if it is none, or for another request.

    `credential` is the SHA-256 of what is presented with it; None where nothing is, as at the exchange. That
    it was not used before is the caller's next question. Raise `AmbiguousCredential` for several proofs.
    """
    if presented is None or not presented.lines:
        raise DpopProofRefused(ProofFault.MISSING)
    if len(presented.lines) > 1:
        raise AmbiguousCredential("Send one DPoP header, not several.")
    if presented.url is None:
        raise DpopProofRefused(ProofFault.UNKNOWN_REQUEST)
    key, claims = _read(presented.lines[0])
    _check_time(claims, now)
    if claims.htm != presented.method:
        raise DpopProofRefused(ProofFault.METHOD)
    asked = normal_url(presented.url)
    if asked is None or normal_url(claims.htu) != asked:
        raise DpopProofRefused(ProofFault.URL)
    if credential is not None and claims.ath != base64url_encode(credential).decode("ascii"):
        raise DpopProofRefused(ProofFault.CREDENTIAL)
    return Proof(key.thumbprint(), claims.jti, claims.iat)


def normal_url(url: str) -> str | None:
    """Return the URL without query and fragment, in the spelling that equal ones share; None if it is none.

    RFC 3986, sections 6.2.2.1, 6.2.2.2 and 6.2.3. Segments of dots are kept: whether they mean something is
    for the server that was asked, and nobody signs for one path to ask for another.
    """
    found = _URL.fullmatch(url)
    if found is None:
        return None
    scheme, host, port, path = found[1].lower(), found[2].lower(), found[3], found[4]
    if port in {None, "", _DEFAULT_PORTS[scheme]}:
        return f"{scheme}://{host}{_normal_path(path or '/')}"
    return f"{scheme}://{host}:{port}{_normal_path(path or '/')}"


def path_of_url(url: str) -> str | None:
    """Return the path of a URL as it stands there, without query and fragment; None if it is no URL."""
    found = _URL.fullmatch(url)
    return None if found is None else found[4] or "/"


def _read(proof: bytes) -> tuple[PublicKey, _Claims]:
    """Return the key and the claims of a proof that this key signed."""
    if len(proof) > MAX_PROOF_BYTES:
        raise DpopProofRefused(ProofFault.MALFORMED)
    segments = proof.split(b".")
    if len(segments) != 3:
        raise DpopProofRefused(ProofFault.MALFORMED)
    key = _key_of(_decoded(segments[0], _Header, ProofFault.HEADER))
    try:
        is_signed = key.verify(segments[0] + b"." + segments[1], base64url_decode(segments[2]))
    except EncodingError:
        is_signed = False
    if not is_signed:
        raise DpopProofRefused(ProofFault.SIGNATURE)
    claims = _decoded(segments[1], _Claims, ProofFault.CLAIMS)
    if not 0 < len(claims.jti) <= MAX_JTI_CHARACTERS:
        raise DpopProofRefused(ProofFault.CLAIMS)
    return key, claims


def _key_of(header: _Header) -> PublicKey:
    """Return the key of a header whose algorithm it is for."""
    members = msgspec.structs.asdict(header.jwk)
    try:
        key = read_public_key({name: value for name, value in members.items() if value is not None})
    except ValueError:
        raise DpopProofRefused(ProofFault.HEADER) from None
    if header.alg != key.algorithm or header.jwk.alg not in {None, header.alg}:
        raise DpopProofRefused(ProofFault.HEADER)
    return key


def _decoded(segment: bytes, shape: type[T], fault: ProofFault) -> T:
    """Decode a segment of JSON, in which no name stands twice."""
    try:
        text = base64url_decode(segment).decode("utf-8")
        return msgspec.convert(
            json.loads(text, object_pairs_hook=_without_twins, parse_constant=_refuse_constant), shape
        )
    except (ValueError, OverflowError, RecursionError, msgspec.ValidationError):
        # The errors of the libraries quote what was sent.
        raise DpopProofRefused(fault) from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _refuse_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")  # RFC 8259, section 6


def _check_time(claims: _Claims, now: datetime) -> None:
    moment, leeway = now.timestamp(), LEEWAY.total_seconds()
    if abs(moment - claims.iat) > leeway:
        raise DpopProofRefused(ProofFault.TIME)
    # RFC 7519, section 4.1.4 and 4.1.5: whoever says so means it.
    if (claims.exp is not None and claims.exp <= moment) or (
        claims.nbf is not None and claims.nbf > moment + leeway
    ):
        raise DpopProofRefused(ProofFault.TIME)


def _normal_path(path: str) -> str:
    """Write `%7e` as `~`, and `%2f` as `%2F`."""
    return _ENCODED.sub(_normal_escape, path)


def _normal_escape(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _UNRESERVED.fullmatch(character) else f"%{escape[1].upper()}"
