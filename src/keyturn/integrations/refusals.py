"""What a protected service answers to a request that may not pass: the one table of its status codes.

RFC 6750, section 3. The answers are those of Keyturn itself, word for word, and tell a stranger no more:
why a credential is refused is told only to somebody who holds the whole of it.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import TypedDict

import msgspec

from keyturn.errors import (
    AmbiguousCredential,
    CredentialRefused,
    KeyturnError,
    PermissionMissing,
    Reason,
    ScopeMissing,
    StoreUnavailable,
    TooManyFailures,
)

REALM = "keyturn"

REFUSALS: tuple[type[KeyturnError], ...] = (
    AmbiguousCredential,
    CredentialRefused,
    PermissionMissing,
    ScopeMissing,
    StoreUnavailable,
    TooManyFailures,
)
"""What is answered. Any other error is a mistake of the program: it is raised, and nobody passes."""

_HOLDER_IS_TOLD = {
    Reason.EXPIRED: "This credential has expired.",
    Reason.REVOKED: "This credential has been revoked.",
    Reason.OWNER_DISABLED: "The owner of this credential is disabled.",
    Reason.SOURCE: "This credential may not be used from this address.",
}
_NOT_AUTHENTICATED = "Not authenticated."
_UNAVAILABLE = "The database does not answer, so nothing was decided: try again in a moment."


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


def refusal_of(error: Exception) -> Refusal:
    """Return what is answered to `error`; raise it again if it is none of `REFUSALS`."""
    match error:
        case CredentialRefused():
            return _unauthenticated(error)
        case ScopeMissing(scopes=needed) | PermissionMissing(any_of=needed):
            challenge = _challenge(error="insufficient_scope", scope=" ".join(needed))
            return Refusal(HTTPStatus.FORBIDDEN, str(error), challenge)
        case AmbiguousCredential():
            return Refusal(HTTPStatus.BAD_REQUEST, str(error))
        case TooManyFailures(retry_after=seconds):
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, str(error), retry_after=seconds)
        case StoreUnavailable():
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, _UNAVAILABLE, retry_after=1)
        case _:
            raise error


def _unauthenticated(error: CredentialRefused) -> Refusal:
    if error.reason is Reason.MISSING:
        return Refusal(HTTPStatus.UNAUTHORIZED, _NOT_AUTHENTICATED, _challenge())
    told = _HOLDER_IS_TOLD.get(error.reason, _NOT_AUTHENTICATED) if error.secret_matched else None
    return Refusal(HTTPStatus.UNAUTHORIZED, told or _NOT_AUTHENTICATED, _challenge(error="invalid_token"))


def _challenge(**attributes: str) -> str:
    return "Bearer " + ", ".join(
        f'{name}="{value}"' for name, value in {"realm": REALM, **attributes}.items()
    )
