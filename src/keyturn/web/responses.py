"""Turns errors into answers, by one table: status, body and headers.

The body has the shape of the Immuta API: `{"statusCode": 401, "error": "Unauthorized", "message": …}`,
and `validation` where a field is at fault.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from keyturn.core.dpop import ALGORITHMS
from keyturn.core.oauth import INSUFFICIENT_SCOPE, INVALID_TOKEN
from keyturn.core.shown import shown
from keyturn.errors import (
    HOLDER_IS_TOLD,
    NOT_AUTHENTICATED,
    Ambiguous,
    AmbiguousCredential,
    ChangedMeanwhile,
    ChangeRefused,
    Conflict,
    CredentialRefused,
    DpopProofRefused,
    ForeignForm,
    InvalidInput,
    InvalidState,
    KeyturnError,
    Limit,
    LimitExceeded,
    MalformedRequest,
    NotFound,
    OAuthCode,
    OAuthRefused,
    PermissionMissing,
    QuotaExceeded,
    Reason,
    ScopeMissing,
    StoreUnavailable,
    TooBusy,
    TooManyFailures,
    UnknownAudience,
    UnknownTransferCoding,
)

REALM = "keyturn"


class Validation(msgspec.Struct, frozen=True):
    """The fault of one field."""

    code: str
    field: str


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error."""

    statusCode: int  # noqa: N815 - a name of the wire
    error: str
    message: str
    validation: list[Validation] | None = None


class OAuthErrorBody(msgspec.Struct, frozen=True):
    """The body of an error of OAuth (RFC 6749, section 5.2)."""

    error: str
    error_description: str


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error, ready to be sent."""

    status: int
    body: ErrorBody
    headers: tuple[tuple[str, str], ...] = ()
    oauth: OAuthErrorBody | None = None
    """The body where OAuth has words of its own."""

    def encoded(self) -> bytes:
        """Return the body as JSON."""
        return msgspec.json.encode(self.body if self.oauth is None else self.oauth)


MALFORMED, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT, INVALID, TOO_MANY, UNAVAILABLE = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

_STATUS: dict[type[KeyturnError], HTTPStatus] = {
    AmbiguousCredential: MALFORMED,
    MalformedRequest: MALFORMED,
    UnknownAudience: MALFORMED,
    UnknownTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    InvalidState: MALFORMED,
    CredentialRefused: UNAUTHENTICATED,
    DpopProofRefused: UNAUTHENTICATED,
    ForeignForm: FORBIDDEN,
    PermissionMissing: FORBIDDEN,
    ScopeMissing: FORBIDDEN,
    NotFound: NOT_FOUND,
    Conflict: CONFLICT,
    ChangeRefused: CONFLICT,
    ChangedMeanwhile: CONFLICT,
    QuotaExceeded: CONFLICT,
    InvalidInput: INVALID,
    Ambiguous: INVALID,
    TooBusy: UNAVAILABLE,
    TooManyFailures: TOO_MANY,
    StoreUnavailable: UNAVAILABLE,
}

_LIMIT_STATUS = {
    Limit.HEADER: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Limit.BODY: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Limit.BODY_TIME: HTTPStatus.REQUEST_TIMEOUT,
}

_ERROR_NAMES = {INVALID: "Unprocessable entity"}
"""Where the Immuta API spells a name otherwise than the RFC."""

_DPOP_ALGORITHMS = f'algs="{" ".join(ALGORITHMS)}"'
_LOGIN_FAILED = "Wrong user name or password, or too many attempts: wait a little before the next one."


def response_of(error: KeyturnError, hint: str | None = None) -> ErrorResponse:  # noqa: PLR0911 - one row of a table each
    """Return what a client is told of `error`.

    `hint` is told to a stranger besides: what of the form of their request is not read.
    """
    status = _STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    match error:
        case CredentialRefused():
            return _unauthenticated(error, hint)
        case DpopProofRefused():
            return error_response(
                status, str(error), ("WWW-Authenticate", _dpop_challenge(OAuthCode.INVALID_DPOP_PROOF))
            )
        case PermissionMissing(any_of=needed) | ScopeMissing(scopes=needed):
            scope = f', scope="{" ".join(needed)}"' if needed else ""
            challenge = f'Bearer realm="{REALM}", error="{INSUFFICIENT_SCOPE}"{scope}'
            return error_response(status, str(error), ("WWW-Authenticate", challenge))
        case OAuthRefused():
            return _oauth_refused(error)
        case InvalidInput(field=field, code=code):
            body = _body(status, str(error), [Validation(code, field)])
            return ErrorResponse(status, body)
        case LimitExceeded(limit=limit):
            return error_response(_LIMIT_STATUS[limit], str(error), ("Connection", "close"))
        case TooBusy(retry_after=seconds) | TooManyFailures(retry_after=seconds):
            return error_response(status, str(error), ("Retry-After", str(seconds)))
        case StoreUnavailable():
            message = "Nothing can be decided just now: try again in a moment."
            return error_response(status, message, ("Retry-After", "1"))
        case _:
            return error_response(status, str(error)) if type(error) in _STATUS else internal_error()


def error_response(status: int, message: str, *headers: tuple[str, str]) -> ErrorResponse:
    """Return an error of this status with this message."""
    return ErrorResponse(status, _body(status, message), headers)


def internal_error() -> ErrorResponse:
    """Return what a client is told of a defect: nothing of it. The log has the rest, by request id."""
    return error_response(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here. The log knows it by the request id."
    )


def _oauth_refused(error: OAuthRefused) -> ErrorResponse:
    is_client = error.code is OAuthCode.INVALID_CLIENT
    status = UNAUTHENTICATED if is_client else MALFORMED
    headers = (("WWW-Authenticate", f'Basic realm="{REALM}"'),) if is_client else ()
    return ErrorResponse(
        status, _body(status, str(error)), headers, OAuthErrorBody(error.code.value, str(error))
    )


def _unauthenticated(error: CredentialRefused, hint: str | None) -> ErrorResponse:
    """Tell a holder why, and anybody else one and the same thing (RFC 6750, section 3)."""
    message = NOT_AUTHENTICATED if hint is None else f"{NOT_AUTHENTICATED} {hint}"
    if error.reason is Reason.MISSING:
        return error_response(UNAUTHENTICATED, message, ("WWW-Authenticate", f'Bearer realm="{REALM}"'))
    if error.reason is Reason.LOGIN_FAILED:
        message = _LOGIN_FAILED
    elif error.secret_matched:
        message = HOLDER_IS_TOLD.get(error.reason, message)
    challenge = f'Bearer realm="{REALM}", error="{INVALID_TOKEN}"'
    if error.reason is Reason.AUDIENCE and error.secret_matched:
        challenge += f', error_description="{message}"'
    if error.reason is Reason.SENDER and error.secret_matched:
        challenge = _dpop_challenge(INVALID_TOKEN)
    return error_response(UNAUTHENTICATED, message, ("WWW-Authenticate", challenge))


def _dpop_challenge(error: str) -> str:
    """Ask for a proof (RFC 9449, section 7.1)."""
    return f'DPoP realm="{REALM}", error="{error}", {_DPOP_ALGORITHMS}'


def _body(status: int, message: str, validation: list[Validation] | None = None) -> ErrorBody:
    known = HTTPStatus(status)
    return ErrorBody(int(known), _ERROR_NAMES.get(known, known.phrase), shown(message), validation)


ANY_ROUTE = (MALFORMED, INVALID, UNAVAILABLE)
"""The answers of any route that reads input or the database."""


def documented(*statuses: HTTPStatus) -> dict[int, Any]:
    """Return how the OpenAPI description tells of these errors, and of those that any route may answer."""
    return {
        int(status): ResponseSpec(ErrorBody, generate_examples=False, description=status.phrase)
        for status in sorted({*statuses, *ANY_ROUTE})
    }
