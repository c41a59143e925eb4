"""Answers of a protected service to requests that may not pass: the one table of its status codes.

RFC 6750, section 3. The answers are those of Keyturn itself, and tell a stranger no more: why a credential is
refused is told only to somebody who holds the whole of it.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import TypedDict

import msgspec

from keyturn.core.dpop import ALGORITHMS
from keyturn.core.oauth import BEARER, DPOP, INSUFFICIENT_SCOPE, INVALID_TOKEN
from keyturn.errors import (
    HOLDER_IS_TOLD,
    NOT_AUTHENTICATED,
    AmbiguousCredential,
    CredentialRefused,
    DpopProofRefused,
    KeyturnError,
    OAuthCode,
    PermissionMissing,
    Reason,
    ScopeMissing,
    StoreUnavailable,
    TooBusy,
    TooManyFailures,
    UnknownAudience,
)

REALM = "keyturn"
BEARER_FORMAT, DESCRIPTION = "API key or token", "An API key, or a token of one."
"""The security scheme in the OpenAPI description of a protected API."""

REFUSALS: tuple[type[KeyturnError], ...] = (
    AmbiguousCredential,
    CredentialRefused,
    DpopProofRefused,
    PermissionMissing,
    ScopeMissing,
    StoreUnavailable,
    TooBusy,
    TooManyFailures,
    UnknownAudience,
)
"""The answer. Any other error is a mistake of the program: it is raised, and nobody passes."""

_DPOP_ALGORITHMS = " ".join(ALGORITHMS)
_UNREGISTERED = "This API is not registered with its Keyturn any more, so nothing was decided."
_UNAVAILABLE = "Nothing can be decided just now: try again in a moment."


class Body(TypedDict):
    """The body of every refusal."""

    statusCode: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal, ready to be sent."""

    status: HTTPStatus
    message: str
    challenge: str | None = None
    """The value of `WWW-Authenticate`."""
    retry_after: int | None = None
    """Seconds, at least 1."""

    def body(self) -> Body:
        """Return what is sent as JSON."""
        return {"statusCode": int(self.status), "error": self.status.phrase, "message": self.message}

    def encoded(self) -> bytes:
        """Return the body as JSON."""
        return msgspec.json.encode(self.body())

    def headers(self) -> dict[str, str]:
        """Return the headers, but for those that describe the body."""
        headers = {"Cache-Control": "no-store"}
        if self.challenge is not None:
            headers["WWW-Authenticate"] = self.challenge
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers


def refusal_of(error: Exception) -> Refusal:  # noqa: PLR0911 - one row of a table each
    """Return what is answered to `error`; raise it again if it is none of `REFUSALS`."""
    match error:
        case CredentialRefused():
            return _unauthenticated(error)
        case DpopProofRefused():
            challenge = _challenge(DPOP, error=OAuthCode.INVALID_DPOP_PROOF, algs=_DPOP_ALGORITHMS)
            return Refusal(HTTPStatus.UNAUTHORIZED, str(error), challenge)
        case ScopeMissing(scopes=needed) | PermissionMissing(any_of=needed):
            named = {"scope": " ".join(needed)} if needed else {}
            challenge = _challenge(BEARER, error=INSUFFICIENT_SCOPE, **named)
            return Refusal(HTTPStatus.FORBIDDEN, str(error), challenge)
        case AmbiguousCredential():
            return Refusal(HTTPStatus.BAD_REQUEST, str(error))
        case TooManyFailures(retry_after=seconds):
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, str(error), retry_after=seconds)
        case TooBusy(retry_after=seconds):
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=seconds)
        case UnknownAudience():  # Its clients did nothing wrong.
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, _UNREGISTERED)
        case StoreUnavailable():
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, _UNAVAILABLE, retry_after=1)
        case _:
            raise error


def _unauthenticated(error: CredentialRefused) -> Refusal:
    if error.reason is Reason.MISSING:
        return Refusal(HTTPStatus.UNAUTHORIZED, NOT_AUTHENTICATED, _challenge(BEARER))
    told = HOLDER_IS_TOLD.get(error.reason, NOT_AUTHENTICATED) if error.secret_matched else None
    challenge = _challenge(BEARER, error=INVALID_TOKEN)
    if error.reason is Reason.AUDIENCE and told is not None:
        challenge = _challenge(BEARER, error=INVALID_TOKEN, error_description=told)
    if error.reason is Reason.SENDER and error.secret_matched:
        challenge = _challenge(DPOP, error=INVALID_TOKEN, algs=_DPOP_ALGORITHMS)
    return Refusal(HTTPStatus.UNAUTHORIZED, told or NOT_AUTHENTICATED, challenge)


def _challenge(scheme: str, **attributes: str) -> str:
    said = {"realm": REALM, **attributes}
    return f"{scheme} " + ", ".join(f'{name}="{value}"' for name, value in said.items())
