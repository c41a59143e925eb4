"""Which request a credential is judged for: this one, or at `/verify` the one that a gateway asks about.

A proof of possession is for one request (RFC 9449), and a key may be restricted to methods and paths.
The URL of a request of ours is the public address with the path as it was sent: never what `Host` or another
header says (T18). At `/verify` it is in the headers of the gateway:

    X-Original-Method, X-Original-URL                                           nginx, as our how-to has it
    X-Forwarded-Method, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Uri    Caddy, Traefik

They are believed from trusted proxies alone, if each is there once and only one of the two sets is there: a
gateway that writes one set may pass on the other as its client wrote it. They serve to check a proof, and a
key that is restricted to requests, and nothing else; without them such a credential is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from keyturn.core.dpop import PresentedProof, path_of_url
from keyturn.core.networks import (
    UNIX_PEER,
    Network,
    is_within,
    read_address,
)
from keyturn.core.paths import RequestTarget

Scope = Any
"""Of ASGI: the server and the framework have each their own type for it."""
Headers = Sequence[tuple[bytes, bytes]]

PROOF_HEADER = b"dpop"
_ORIGINAL = (b"x-original-method", b"x-original-url")
_FORWARDED = (b"x-forwarded-method", b"x-forwarded-uri")
"""The header that tells one set from the other. Proxies write the host and the protocol for many reasons."""
_NOTHING_ASKED = ("", None, None)
_FORWARDED_ORIGIN = (b"x-forwarded-proto", b"x-forwarded-host")


def proof_for_this(scope: Scope, public_url: str) -> PresentedProof | None:
    """Return the proof that came with a request of ours; None if there is none."""
    lines = _proofs(scope["headers"])
    if not lines:
        return None
    return PresentedProof(scope["method"], public_url + _sent_path(scope), lines)


def proof_for_asked(scope: Scope, trusted: Sequence[Network]) -> PresentedProof | None:
    """Return the proof that came with the request that a gateway asks about; None if there is none."""
    lines = _proofs(scope["headers"])
    if not lines:
        return None
    method, url, _ = _asked_of(scope, trusted)
    return PresentedProof(method, url, lines)


def target_of_this(scope: Scope) -> RequestTarget:
    """Return which request of ours this is, its path as it was sent."""
    return RequestTarget(scope["method"], (_sent_path(scope),))


def target_asked(scope: Scope, trusted: Sequence[Network]) -> RequestTarget | None:
    """Return the request that a gateway asks about; None if no trusted one says so."""
    method, _, path = _asked_of(scope, trusted)
    if not method or path is None or not path.startswith("/"):
        return None
    return RequestTarget(method, (path,))


def _sent_path(scope: Scope) -> str:
    sent: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if sent is None else sent.decode("latin-1")


def _asked_of(scope: Scope, trusted: Sequence[Network]) -> tuple[str, str | None, str | None]:
    client = scope.get("client")
    peer = client[0] if client else ""
    is_trusted = peer == UNIX_PEER or is_within(read_address(peer), trusted)
    return _asked(scope["headers"]) if is_trusted else _NOTHING_ASKED


def _proofs(headers: Headers) -> list[bytes]:
    return [value for name, value in headers if name == PROOF_HEADER]


def _asked(headers: Headers) -> tuple[str, str | None, str | None]:
    """Return method, URL and path of the request that a gateway asks about; no URL if it does not say so.

    The path is that of one header: what stands in the others must not move where it begins.
    """
    said: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name in _ORIGINAL or name in _FORWARDED or name in _FORWARDED_ORIGIN:
            said.setdefault(name, []).append(value.decode("latin-1"))
    is_original, is_forwarded = not said.keys().isdisjoint(_ORIGINAL), not said.keys().isdisjoint(_FORWARDED)
    if is_original and is_forwarded:
        return _NOTHING_ASKED
    if is_original:
        method, url = (_only(said, name) for name in _ORIGINAL)
        return method or "", url, None if url is None else path_of_url(url)
    method, uri = (_only(said, name) for name in _FORWARDED)
    protocol, host = (_only(said, name) for name in _FORWARDED_ORIGIN)
    if method is None or uri is None or protocol is None or host is None:
        return _NOTHING_ASKED
    return method, f"{protocol}://{host}{uri}", uri.partition("?")[0]


def _only(said: Mapping[bytes, list[str]], name: bytes) -> str | None:
    """Return the value of a header that is there once."""
    values = said.get(name, [])
    return values[0] if len(values) == 1 else None
