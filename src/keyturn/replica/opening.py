"""Opens the verifying half over a copy that the feed keeps true: what `composition` is for a database."""

import logging
import ssl
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import msgspec

from keyturn.core import feed
from keyturn.core.access_token import AccessTokenFormat
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.loopback import httpx_options, is_loopback
from keyturn.core.oauth import SERVER_METADATA_PATH
from keyturn.core.records import SessionLimits
from keyturn.errors import CannotStart, CredentialRefused, KeyturnError
from keyturn.replica.copy import Replica
from keyturn.replica.follower import CONNECT_SECONDS, SILENCE_SECONDS, FeedRefused, Follower
from keyturn.replica.introspection import IntrospectingAuthenticator, NoAudiences, introspect
from keyturn.replica.trust import Trust
from keyturn.replica.uses import SendsUses
from keyturn.services.authentication import Authenticator
from keyturn.services.failures import CredentialFailures
from keyturn.services.lookup import Lookup
from keyturn.services.redaction import SecretsOut
from keyturn.services.usage import Usage
from keyturn.services.verification_index import VerificationIndex
from keyturn.system import System

LEAST_STALENESS_SECONDS = 2.0
"""The server says once in a second how far it has told everything: with less there would be gaps."""

_NO_ADDRESS = "Give the server's address as https://host, with a port and path if it has any."
_NO_SESSIONS = SessionLimits(timedelta(0), timedelta(0))
"""For browsers, whose cookies are not ours."""


@dataclass(frozen=True, slots=True)
class FollowingVerification:
    """What verifies from a copy."""

    http: httpx.Client
    follower: Follower
    usage: Usage
    audiences: Replica
    authenticator: Authenticator

    def start(self) -> None:
        """Start the thread that sends uses; the one that follows runs already."""
        self.usage.start()

    def close(self) -> None:
        """Send what is still only noted, and stop following."""
        self.follower.stop()
        self.usage.stop()
        self.http.close()


@dataclass(frozen=True, slots=True)
class AskingVerification:
    """What verifies by asking."""

    http: httpx.Client
    audiences: NoAudiences
    authenticator: IntrospectingAuthenticator

    def start(self) -> None:
        """Do nothing: no thread is needed."""

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


def open_elsewhere(
    url: str,
    key: str,
    *,
    max_staleness_seconds: float,
    failures_per_minute: int,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    system: System | None = None,
) -> FollowingVerification | AskingVerification:
    """Follow the feed of a server, and return once all of it was told; or ask, if the key may not follow.

    Raise `CannotStart` with one sentence that says what to do.
    """
    _check_given(url, key, max_staleness_seconds)
    system = system or System()
    http = httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
        verify=True if tls is None else tls,
        **httpx_options(url),
    )
    failures = CredentialFailures(failures_per_minute, system)
    try:
        try:
            return _following(http, max_staleness_seconds, timeout, failures, system)
        except FeedRefused as refused:
            if refused.status != httpx.codes.FORBIDDEN:
                raise CannotStart(f"This cannot verify: {refused}.") from None
            logging.getLogger(__name__).warning(
                "The feed is not followed, and each credential is asked about: %s.", refused
            )
            return _asking(http, key, max_staleness_seconds, failures, system)
    except BaseException:
        http.close()
        raise


def _check_given(url: str, key: str, max_staleness_seconds: float) -> None:
    """Raise `CannotStart` for what can be seen to be wrong before anything is sent."""
    check_address(url)
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise CannotStart("This is no key: give the text that was shown when it was made.")
    if max_staleness_seconds < LEAST_STALENESS_SECONDS:
        raise CannotStart(
            f"For a server elsewhere max_staleness_seconds is at least {LEAST_STALENESS_SECONDS:g}."
        )


def _following(
    http: httpx.Client,
    max_staleness_seconds: float,
    timeout: float,
    failures: CredentialFailures,
    system: System,
) -> FollowingVerification:
    copy, index, trust = Replica(system), VerificationIndex(), Trust(system)
    follower = Follower(
        http,
        copy=copy,
        index=index,
        trust=trust,
        max_staleness_seconds=max_staleness_seconds,
        system=system,
    )
    try:
        hello = follower.start(timeout)
    except BaseException:
        follower.stop()
        raise
    usage = Usage(SendsUses(http), system, SecretsOut(hello.key_prefix))
    authenticator = _judging(hello, copy, index, trust, usage=usage, failures=failures, system=system)
    return FollowingVerification(http, follower, usage, copy, authenticator)


def _judging(
    hello: feed.Hello,
    copy: Replica,
    index: VerificationIndex,
    trust: Trust,
    *,
    usage: Usage,
    failures: CredentialFailures,
    system: System,
) -> Authenticator:
    """Return the server's own judge, who asks the copy where it asks the database."""
    lookup = Lookup(
        copy,
        token_format=AccessTokenFormat(
            hello.issuer, hello.audience, timedelta(seconds=hello.max_token_life_seconds)
        ),
        keys=copy,
        session_limits=_NO_SESSIONS,
        index=index,
        failures=failures,
        usage=usage,
        system=system,
    )
    return Authenticator(
        key_format=ApiKeyFormat(hello.key_prefix),
        index=index,
        freshness=trust,
        lookup=lookup,
        failures=failures,
        system=system,
    )


class _Metadata(msgspec.Struct):
    issuer: str


def _asking(
    http: httpx.Client, key: str, max_staleness_seconds: float, failures: CredentialFailures, system: System
) -> AskingVerification:
    """Ask about the own key first: whoever gets no good answer to that gets none at all."""
    try:
        if not introspect(http, key, system).active:
            raise CannotStart("This cannot verify: the server does not know the key that it is to ask with.")
        issuer = msgspec.json.decode(http.get(SERVER_METADATA_PATH).content, type=_Metadata).issuer
    except (KeyturnError, httpx.HTTPError, msgspec.MsgspecError) as error:
        if isinstance(error, CannotStart):
            raise
        raise CannotStart(f"This cannot verify, since the server cannot be asked ({error}).") from None
    authenticator = IntrospectingAuthenticator(
        http,
        issuer=issuer,
        key_format=_format_of(key),
        max_staleness_seconds=max_staleness_seconds,
        failures=failures,
        system=system,
    )
    return AskingVerification(http, NoAudiences(), authenticator)


def _format_of(key: str) -> ApiKeyFormat:
    """Return the form of the keys of the installation that this one is of."""
    try:
        own = ApiKeyFormat(key.partition("_")[0])
        own.check_well_formed(key.encode())
    except (ValueError, CredentialRefused):
        return ApiKeyFormat()  # The key was made elsewhere.
    return own


def check_address(url: str) -> None:
    """Raise `CannotStart` for an address that would send a key in clear over a network, or is none."""
    try:
        parts = urlsplit(url)
        is_plain = bool(parts.hostname) and parts.username is None and not parts.query and not parts.fragment
        _ = parts.port  # Which is read only when it is asked for.
    except ValueError:
        raise CannotStart(_NO_ADDRESS) from None
    if not is_plain:
        raise CannotStart(_NO_ADDRESS)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise CannotStart("Give the server's address with https: the key must not travel in clear.")
