"""One question to the verifier, the same from every framework: who calls, from where, for what?"""

import logging
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from keyturn.core.dpop import PresentedProof, normal_url
from keyturn.core.networks import client_address, read_network
from keyturn.core.paths import RequestTarget
from keyturn.core.principal import Principal
from keyturn.core.scopes import check_scopes, is_scope
from keyturn.errors import AmbiguousCredential, CredentialRefused, KeyturnError, Reason
from keyturn.verifier import Verifier

VerifierSource = Verifier | Callable[[], Verifier]
"""A verifier, or what returns it once it is open."""

VERIFIED = "keyturn.verified"
"""Where a request keeps its `Verified`. No header can be there: WSGI's begin with `HTTP_`."""

UNQUOTED = "/!$&'()*+,;=:@~"
"""Characters that stand in a path as they are (RFC 3986, section 3.3)."""

_log = logging.getLogger("keyturn.integrations")


@dataclass(frozen=True, slots=True)
class Presented:
    """The credentials and address of one request."""

    authorization: Sequence[bytes] = field(repr=False)
    """The value of each `Authorization` line."""
    peer: str | None
    """The address that the connection came from; None if it has none, as a Unix socket."""
    forwarded_for: Sequence[bytes]
    """The value of each `X-Forwarded-For` line."""
    request: MutableMapping[str, Any] = field(repr=False)
    """The ASGI scope or WSGI environment, which keeps who was verified for this request."""
    proofs: Sequence[bytes] = field(repr=False)
    """The value of each `DPoP` line."""
    method: str
    path: str
    """As it was sent, without the query."""
    routed_path: str
    """By which the application routes, below its mount; as it was sent, and empty where that is not known."""
    routed_method: str | None = None
    """By which the application dispatches, where something in front of it may have overridden the method."""

    @property
    def target(self) -> RequestTarget:
        """The request that a key must allow: as the application reads it."""
        return RequestTarget(self.routed_method or self.method, (self.path, self.routed_path))


@dataclass(frozen=True, slots=True)
class Verified:
    """The caller that one verifier passed for one request, for code behind it that asks the same verifier.

    For another verifier this says nothing: it may judge for another audience, or another installation.
    """

    verifier: Verifier
    authorization: tuple[bytes, ...] = field(repr=False)
    proofs: tuple[bytes, ...] = field(repr=False)
    principal: Principal


class Protection:
    """A verifier, and the proxies that it believes about a client's address.

    `trusted_proxies` are networks like `10.0.0.0/8`; by default no proxy is believed, and the peer is the
    client. `public_url` is what clients put before a path: without it, what is bound to a key pair is
    refused, since nobody knows which URL a proof is to be for. Raises `ValueError` for what is no network or
    no URL.
    """

    def __init__(
        self,
        verifier: VerifierSource,
        *,
        trusted_proxies: Iterable[str] = (),
        public_url: str | None = None,
    ) -> None:
        if isinstance(trusted_proxies, str):
            raise TypeError("give the trusted proxies as a list of networks")
        self._verifier = verifier
        self._public_url = _checked_public_url(public_url)
        self._trusted = tuple(read_network(network) for network in trusted_proxies)

    def check(self, presented: Presented, scopes: Iterable[str] = ()) -> Principal:
        """Return who calls; raise as `Verifier.verify` does, or `AmbiguousCredential`. May block."""
        verifier = self._opened()
        if (known := _already_verified(presented, verifier)) is not None:
            check_scopes(known, scopes)
            return known
        source, target = self._source(presented), presented.target
        try:
            principal = verifier.verify(
                _only(presented.authorization),
                source=source,
                scopes=scopes,
                dpop=self._proof(presented),
                method=target.method,
                path=target.paths,
            )
        except KeyturnError as error:
            _note(error, source)
            raise
        return _keep(presented, verifier, principal)

    async def check_async(self, presented: Presented, scopes: Iterable[str] = ()) -> Principal:
        """Do what `check` does, with any look into the database in a thread."""
        verifier = self._opened()
        if (known := _already_verified(presented, verifier)) is not None:
            check_scopes(known, scopes)
            return known
        source, target = self._source(presented), presented.target
        try:
            principal = await verifier.verify_async(
                _only(presented.authorization),
                source=source,
                scopes=scopes,
                dpop=self._proof(presented),
                method=target.method,
                path=target.paths,
            )
        except KeyturnError as error:
            _note(error, source)
            raise
        return _keep(presented, verifier, principal)

    def _opened(self) -> Verifier:
        return self._verifier if isinstance(self._verifier, Verifier) else self._verifier()

    def _proof(self, presented: Presented) -> PresentedProof | None:
        if not presented.proofs:
            return None
        url = None if self._public_url is None else self._public_url + presented.path
        return PresentedProof(presented.method, url, presented.proofs)

    def _source(self, presented: Presented) -> str | None:
        if not self._trusted:  # As in the gate: reading an address costs more than verifying a key.
            return presented.peer
        return client_address(presented.peer, presented.forwarded_for, self._trusted)


def checked_scopes(scopes: Iterable[object]) -> tuple[str, ...]:
    """Return the scopes that a handler needs; raise `ValueError` if one of them can be none.

    So a decorator without its parentheses, or a list in place of its items, stops the program at its start.
    """
    if isinstance(scopes, str):
        raise TypeError("give the scopes as a list: a text would be read letter by letter")
    checked: list[str] = []
    for scope in scopes:
        if not isinstance(scope, str) or not is_scope(scope):
            raise ValueError(
                f'{scope!r} is not a scope: write them as require("orders:read", "orders:write").'
            )
        checked.append(scope)
    return tuple(checked)


def _already_verified(presented: Presented, verifier: Verifier) -> Principal | None:
    """Return whom this same verifier, so for the same audience, passed for the credential of this request.

    A proof of possession is good once: without this, two layers of one service could not both ask.
    """
    known = presented.request.get(VERIFIED)
    if not isinstance(known, Verified) or known.verifier is not verifier:
        return None
    is_same = (*presented.authorization,) == known.authorization and (*presented.proofs,) == known.proofs
    if not is_same:
        return None
    requests = known.principal.requests
    if requests is not None and not requests.allows(
        presented.target
    ):  # The application reads another request in it.
        raise CredentialRefused(Reason.REQUEST, key_id=known.principal.key_id, secret_matched=True)
    return known.principal


def _keep(presented: Presented, verifier: Verifier, principal: Principal) -> Principal:
    """Note in the request whom it is from."""
    presented.request[VERIFIED] = Verified(
        verifier, tuple(presented.authorization), tuple(presented.proofs), principal
    )
    return principal


def _checked_public_url(url: str | None) -> str | None:
    """Return what clients put before a path; raise `ValueError` for more than scheme, host and port."""
    if url is not None and (normal_url(url) is None or urlsplit(url)[2:] != ("", "", "")):
        raise ValueError(f"{url!r} is not a public_url: give one like https://api.example.com")
    return url


def _only(authorization: Sequence[bytes]) -> bytes | None:
    """Return the one value, None for none. An empty one presents nothing, however a framework shows it."""
    if len(authorization) > 1:  # RFC 6750, section 2
        raise AmbiguousCredential("Send one Authorization header, not several.")
    return (authorization[0] or None) if authorization else None


def _note(error: KeyturnError, source: str | None) -> None:
    """Log why, which the client is not told; never what was presented."""
    reason = error.reason.value if isinstance(error, CredentialRefused) else type(error).__name__
    key_id = error.key_id if isinstance(error, CredentialRefused) else None
    _log.info("refused: %s, key id %s, from %s", reason, key_id, source)
