"""Opens the verifying half over a copy that the feed keeps true: what `composition` is for a database."""

import logging
import ssl
from dataclasses import dataclass
from datetime import timedelta

import httpx
import msgspec

from keyturn.core import feed
from keyturn.core.access_token import AccessTokenFormat
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.loopback import check_address, httpx_options
from keyturn.core.oauth import SERVER_METADATA_PATH
from keyturn.core.own_credential import read_own_credential
from keyturn.core.records import SessionLimits
from keyturn.errors import CannotStart, CredentialRefused, KeyturnError
from keyturn.replica.follower import TIMEOUTS, FeedRefused, Follower, Timeouts
from keyturn.replica.introspection import IntrospectingAuthenticator, NoAudiences, check_may_ask
from keyturn.replica.state import Replica
from keyturn.replica.trust import Trust
from keyturn.replica.uses import SendsUses
from keyturn.system import System
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.lookup import Lookup
from keyturn.verifying.rate_limit import CredentialRateLimit
from keyturn.verifying.redaction import Redactor
from keyturn.verifying.uses import Usage
from keyturn.verifying.verdict_cache import VerdictCache

LEAST_STALENESS_SECONDS = 2.0
"""The server says once in a second how far it has told everything: with less there would be gaps."""

_NO_SESSIONS = SessionLimits(timedelta(0), timedelta(0))
"""For browsers, whose cookies are not ours."""


@dataclass(frozen=True, slots=True)
class FollowingVerification:
    """Verification from a copy."""

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
    """Verification by introspection."""

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
    tls: ssl.SSLContext | None = None,
    follow: bool = True,
    system: System | None = None,
    timeouts: Timeouts = TIMEOUTS,
) -> FollowingVerification | AskingVerification:
    """Follow the feed of a server, and return once all of it was told; or ask about each credential.

    It asks without `follow`, and where something between answers 403 to the feed. Either takes a key that
    carries VERIFY_CREDENTIALS. Raise `CannotStart` with one sentence that says what to do.
    """
    key = _checked_key(url, key, max_staleness_seconds)
    system = system or System()
    http = httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(timeouts.silence, connect=timeouts.connect),
        verify=True if tls is None else tls,
        **httpx_options(url),
    )
    failures = CredentialRateLimit(failures_per_minute, system)
    try:
        if not follow:
            return _asking(http, key, max_staleness_seconds, failures, system)
        try:
            return _following(http, max_staleness_seconds, failures, system, timeouts)
        except FeedRefused as refused:
            if refused.status != httpx.codes.FORBIDDEN:
                raise CannotStart(f"This cannot verify: {refused}.") from None
            asking = _asking(http, key, max_staleness_seconds, failures, system)
            logging.getLogger(__name__).warning(
                "Something before the server answers 403 to /feed: each credential is asked about instead."
            )
            return asking
    except BaseException:
        http.close()
        raise


def _checked_key(url: str, key: str, max_staleness_seconds: float) -> str:
    """Return the key; raise `CannotStart` for what can be seen to be wrong before anything is sent."""
    try:
        check_address(url)
    except ValueError as error:
        raise CannotStart(f"This cannot verify: {error}.") from None
    if max_staleness_seconds < LEAST_STALENESS_SECONDS:
        raise CannotStart(
            f"For a server elsewhere max_staleness_seconds is at least {LEAST_STALENESS_SECONDS:g}."
        )
    try:
        return read_own_credential(key)
    except ValueError as error:
        raise CannotStart(f"{str(error)[0].upper()}{str(error)[1:]}.") from None


def _following(
    http: httpx.Client,
    max_staleness_seconds: float,
    failures: CredentialRateLimit,
    system: System,
    timeouts: Timeouts,
) -> FollowingVerification:
    copy, index, trust = Replica(system), VerdictCache(), Trust(system)
    follower = Follower(
        http,
        copy=copy,
        index=index,
        trust=trust,
        max_staleness_seconds=max_staleness_seconds,
        system=system,
        timeouts=timeouts,
    )
    try:
        hello = follower.start()
    except BaseException:
        follower.stop()
        raise
    usage = Usage(SendsUses(http), system, Redactor(hello.key_prefix))
    authenticator = _judging(hello, copy, index, trust, usage=usage, failures=failures, system=system)
    return FollowingVerification(http, follower, usage, copy, authenticator)


def _judging(
    hello: feed.Hello,
    copy: Replica,
    index: VerdictCache,
    trust: Trust,
    *,
    usage: Usage,
    failures: CredentialRateLimit,
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
        usage=usage,
        system=system,
    )


class _Metadata(msgspec.Struct):
    issuer: str


def _asking(
    http: httpx.Client, key: str, max_staleness_seconds: float, failures: CredentialRateLimit, system: System
) -> AskingVerification:
    """Ask about the own key first: it must be good, and allowed to ask about those of others."""
    try:
        check_may_ask(http, key, system)
        issuer = msgspec.json.decode(http.get(SERVER_METADATA_PATH).content, type=_Metadata).issuer
    except (KeyturnError, httpx.HTTPError, msgspec.MsgspecError) as error:
        raise CannotStart(f"This cannot verify, since the server cannot be asked ({error}).") from None
    authenticator = IntrospectingAuthenticator(
        http,
        own_key=key,
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
