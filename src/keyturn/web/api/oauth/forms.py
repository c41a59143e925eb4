"""How OAuth is asked and how it refuses: parameters as a form in the body, errors in words of its own."""

from http import HTTPStatus
from typing import Any

from litestar.openapi.datastructures import ResponseSpec

from keyturn.errors import MalformedRequest, OAuthCode, OAuthRefused
from keyturn.web.bodies import FORM, media_type, read_form
from keyturn.web.requests import AnyRequest
from keyturn.web.responses import TOO_MANY, UNAVAILABLE, ErrorBody, OAuthErrorBody

_BODIES: tuple[tuple[Any, tuple[HTTPStatus | int, ...]], ...] = (
    (OAuthErrorBody | ErrorBody, (HTTPStatus.BAD_REQUEST,)),  # The latter before it is OAuth's to judge.
    (OAuthErrorBody, (HTTPStatus.UNAUTHORIZED,)),
    (ErrorBody, (TOO_MANY, UNAVAILABLE)),  # OAuth has no words for these (RFC 6749, section 5.2).
)
OAUTH_ERRORS = {
    int(status): ResponseSpec(body, generate_examples=False, description=HTTPStatus(status).phrase)
    for body, statuses in _BODIES
    for status in statuses
}


def oauth_form(request: AnyRequest, body: bytes) -> dict[str, str]:
    """Return the parameters, each given once (RFC 6749, section 3.2); raise `OAuthRefused`."""
    if media_type(request.headers.get("content-type")) != FORM:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, f"Send the parameters as {FORM}.")
    if request.scope["query_string"]:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, "Send the parameters in the body, not in the URL.")
    try:
        return read_form(body)
    except MalformedRequest as error:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, str(error)) from None
