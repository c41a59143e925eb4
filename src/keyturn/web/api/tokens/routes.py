"""The exchange of a key for a bearer token, and the sign-in with a password."""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter, RawBody

from keyturn.core.api_key import FOREIGN_KEY_MAX_LENGTH
from keyturn.core.apis import MAX_IDENTIFIER_CHARACTERS
from keyturn.core.permissions import Permission
from keyturn.core.scopes import check_scopes
from keyturn.core.times import wire_time
from keyturn.web import forward_auth
from keyturn.web.api.documentation import with_body
from keyturn.web.bodies import Unshown, get_json
from keyturn.web.edge.dpop_target import proof_for_this
from keyturn.web.edge.exchange import (
    EXCHANGE_PATH,
    OLDER_EXCHANGE_PATH,
    ExchangeBody,
    TokenView,
    answer_exchange,
    token_view,
    wrong_key_refused,
)
from keyturn.web.requests import AnyRequest, InjectedCall, brief_read, in_thread
from keyturn.web.responses import FORBIDDEN, NOT_FOUND, TOO_MANY, UNAUTHENTICATED
from keyturn.web.routes import OPEN, PROVES_ITSELF, Alias, route


class LoginView(TokenView, frozen=True, rename="camel", kw_only=True):
    """The answer of the sign-in: the token, and the id of the profile of whoever signed in."""

    profile_id: int


class LoginBody(Unshown, frozen=True, forbid_unknown_fields=True):
    """A user name and a password."""

    username: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class ImpersonationBody(Unshown, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A key, and the person to act for."""

    apikey: Annotated[str, msgspec.Meta(min_length=1, max_length=FOREIGN_KEY_MAX_LENGTH)]
    userid: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    iamid: Annotated[str, msgspec.Meta(min_length=1, max_length=254)] | None = None
    """None for the built-in identity manager."""


@route(
    "POST",
    OLDER_EXCHANGE_PATH,
    access=PROVES_ITSELF,
    alias=Alias(EXCHANGE_PATH),
    tag="Authentication",
    summary="Exchange an API key for a bearer token",
    body=with_body(
        ExchangeBody,
        example={"apikey": "API_KEY"},
        form=True,
        description="The key. Omit the body to send the key in `Authorization`.",
    ),
    refusals=(UNAUTHENTICATED,),
)
@brief_read
def exchange(request: AnyRequest, body: RawBody, call: InjectedCall) -> TokenView:
    """Exchange an API key for a bearer token.

    Send the key in the body, as JSON or as a form. Alternatively, send no body and the key in
    `Authorization`.

    The token can do what the key can do, until `tokenExpiration` or until the key is revoked. If the request
    has a proof of possession in a `DPoP` header, the token is bound to the key pair of the proof (RFC 9449).
    """
    proof = proof_for_this(request.scope, call.services.settings.public_url)
    return answer_exchange(call.services.exchange, request.scope["headers"], body, call.origin, proof)


@route(
    "POST",
    "/bim/apikey/impersonate",
    access=replace(OPEN, any_of=(Permission.IMPERSONATE_USER,)),  # Of the key in the body.
    alias=Alias("/apikey/impersonate"),
    tag="Authentication",
    summary="Impersonate a user",
    body=with_body(
        ImpersonationBody,
        example={"apikey": "API_KEY", "userid": "grace@example.com"},
        required=True,
        description="A key of an account that holds IMPERSONATE_USER, and the person to act for.",
    ),
    refusals=(UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TOO_MANY),
)
@in_thread
def impersonate(request: AnyRequest, body: RawBody, call: InjectedCall) -> TokenView:
    """Issue a bearer token that acts for another person.

    The token is valid for an hour at most. It carries the permissions that both accounts hold, and its claim
    `act` names the account that acts (RFC 8693). It ends with the key and with its session, which the person
    sees among theirs. It changes no accounts, keys, groups, projects, and APIs.

    The account of the key needs IMPERSONATE_USER, and the key must not be limited to scopes or to a project.
    A person who holds USER_ADMIN, APPLICATION_ADMIN, or ADMIN is impersonated only by an account that holds
    it too.
    """
    such_as = '{"apikey": …, "iamid": …, "userid": …}'
    with wrong_key_refused():
        asked = get_json(body, request.headers.get("content-type"), ImpersonationBody, such_as=such_as)
    proof = proof_for_this(request.scope, call.services.settings.public_url)
    issued = call.services.impersonation.impersonate(
        asked.apikey, asked.iamid, asked.userid, call.origin, proof
    )
    return token_view(issued)


@route(
    "GET",
    forward_auth.PATH,
    tag="Authentication",
    summary="Verify a credential for a gateway",
    refusals=(FORBIDDEN, TOO_MANY),
    answers={
        HTTPStatus.OK: ResponseSpec(
            None,
            generate_examples=False,
            description=f"An empty body, with the headers {forward_auth.IDENTITY}.",
        )
    },
)
@brief_read
def verify(
    call: InjectedCall,
    needed: Annotated[
        str,
        QueryParameter(
            name=forward_auth.SCOPE_PARAMETER,
            max_length=forward_auth.MAX_SCOPE_CHARACTERS,
            pattern=forward_auth.SCOPE_PATTERN,
        ),
    ] = "",
    needed_too: Annotated[
        str,
        HeaderParameter(
            name=forward_auth.SCOPE_HEADER.decode().title(),
            max_length=forward_auth.MAX_SCOPE_CHARACTERS,
            pattern=forward_auth.SCOPE_PATTERN,
        ),
    ] = "",
    audience: Annotated[  # noqa: ARG001 - for the description: the gate reads it
        str | None,
        QueryParameter(
            name=forward_auth.AUDIENCE_PARAMETER,
            min_length=1,
            max_length=MAX_IDENTIFIER_CHARACTERS,
            description="The identifier of the registered API to verify for. No header can set it.",
        ),
    ] = None,
) -> Response[None]:
    """Verify the credential of a request for a gateway.

    If the credential is valid, the response is 200 with an empty body and all identity headers.

    `scope` and the `Keyturn-Require-Scope` header list required scopes, separated by spaces. The status is
    403 if the credential does not cover all of them.

    With `audience`, the credential must be valid for that registered API: a token must be for this API, and a
    key must cover at least one of its scopes. The status is 403 for any other key, and 400 for an API that is
    not registered.
    """
    # The gate answers this itself, with the same functions: the route is there for its description.
    check_scopes(call.principal, [*needed.split(), *needed_too.split()])
    headers = {name.decode(): value.decode() for name, value in forward_auth.identity_headers(call.principal)}
    return Response(None, headers=headers)


@route(
    "POST",
    "/bim/iam/{iamid:str}/user/authenticate",
    access=OPEN,
    tag="Authentication",
    summary="Sign in with a password",
    body=with_body(
        LoginBody,
        example={"username": "ada@example.com", "password": "seven green lanterns drift"},
        required=True,
        description="The user name and the password.",
    ),
    refusals=(UNAUTHENTICATED,),
)
@in_thread
def log_in(
    iamid: FromPath[str],
    request: AnyRequest,
    body: RawBody,
    call: InjectedCall,
) -> LoginView:
    """Issue a bearer token for a user name and a password.

    Built-in users belong to the identity manager `bim`.
    """
    such_as = '{"username": …, "password": …}'
    login = get_json(body, request.headers.get("content-type"), LoginBody, such_as=such_as)
    issued = call.services.logins.log_in_api(iamid, login.username, login.password, call.origin)
    return LoginView(
        token=issued.token, token_expiration=wire_time(issued.expires_at), profile_id=issued.profile_id
    )
