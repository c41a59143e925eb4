"""The exchange of a key for a bearer token, as the gate answers it: without the framework, with its rules."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec

from keyturn.core.api_key import FOREIGN_KEY_MAX_LENGTH
from keyturn.core.dpop import PresentedProof
from keyturn.core.times import wire_time
from keyturn.errors import CredentialRefused, InvalidInput, Reason
from keyturn.services.tokens.exchange import Exchange
from keyturn.services.tokens.issuer import IssuedToken
from keyturn.verifying.origin import Origin
from keyturn.web.bodies import FORM, Unshown, media_type, read_form, read_json

OLDER_EXCHANGE_PATH, EXCHANGE_PATH = "/bim/apikey/authenticate", "/apikey/authenticate"
EXCHANGE_PATHS = frozenset({OLDER_EXCHANGE_PATH, EXCHANGE_PATH})


class ExchangeBody(Unshown, frozen=True, forbid_unknown_fields=True):
    """The key to exchange."""

    apikey: Annotated[str, msgspec.Meta(min_length=1, max_length=FOREIGN_KEY_MAX_LENGTH)]


class TokenView(Unshown, frozen=True, rename="camel"):
    """The answer of the exchange and of the login."""

    token: str
    token_expiration: str
    authenticated: bool = True


def answer_exchange(
    exchange: Exchange,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    origin: Origin,
    presented: PresentedProof | None,
) -> TokenView:
    """Exchange the key of a request. The gate calls this too: the route is there for its description."""
    in_header, content_type = [], None
    for name, value in headers:
        if name == b"authorization":
            in_header.append(value)
        elif name == b"content-type":
            content_type = value.decode("latin-1")
    in_body = _key_in_body(body, content_type) if body else None
    return token_view(
        exchange.exchange(in_header=in_header, in_body=in_body, origin=origin, presented=presented)
    )


@contextmanager
def wrong_key_refused() -> Iterator[None]:
    """Refuse a text in the field `apikey` of a body that can be no key as every other wrong key is."""
    try:
        yield
    except InvalidInput as error:
        if error.field == "apikey" and error.code == "value":
            raise CredentialRefused(Reason.MALFORMED) from None
        raise


def token_view(issued: IssuedToken) -> TokenView:
    """Show a token in the one answer that carries it."""
    return TokenView(token=issued.token, token_expiration=wire_time(issued.expires_at))


def _key_in_body(body: bytes, content_type: str | None) -> str | None:
    """Return the key in the body, None without a body; raise an error that never quotes it."""
    if media_type(content_type) == FORM:
        fields = read_form(body)
        if not fields:
            return None
        if set(fields) != {"apikey"}:
            raise InvalidInput(
                "apikey",
                ("A form holds the field apikey and no other. For JSON send Content-Type: application/json."),
            )
        return fields["apikey"]
    with wrong_key_refused():
        read = read_json(body, content_type, ExchangeBody)
    return None if read is None else read.apikey
