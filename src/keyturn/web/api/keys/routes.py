"""The caller's own API keys."""

from datetime import timedelta
from typing import Annotated

import msgspec
from litestar.params import FromPath, HeaderParameter, RawBody

from keyturn.core.pages import MAX_PAGE
from keyturn.services.keys.keys import NewKey
from keyturn.services.keys.rotation import MAX_OVERLAP
from keyturn.web.api.documentation import with_body
from keyturn.web.api.people.users import ONESELF_OR_SERVICE
from keyturn.web.api.views import ApiKeyList, ApiKeyView, DeletedKey, NewApiKeyView
from keyturn.web.bodies import ExpiresAt, RestrictionFields, ShortText, lifetime_of, read_json
from keyturn.web.requests import (
    AnyRequest,
    IdInPath,
    InjectedCall,
    PageOffset,
    PageSize,
    brief_read,
    in_thread,
    read_id,
)
from keyturn.web.responses import CONFLICT, NOT_FOUND, TOO_MANY
from keyturn.web.routes import Alias, route

MAX_OVERLAP_SECONDS = int(MAX_OVERLAP.total_seconds())


class NewKeyBody(RestrictionFields, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A new key."""

    name: ShortText | None = None
    project_id: int | None = None
    expires_at: ExpiresAt = msgspec.UNSET


class RotationBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """How long the former secret goes on."""

    overlap_seconds: Annotated[
        int,
        msgspec.Meta(ge=0, le=MAX_OVERLAP_SECONDS, description="Written without a fraction: 60, not 60.0."),
    ] = 0


IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=200)]


@route(
    "POST",
    "/bim/apikey",
    alias=Alias("/apikey"),
    tag="API keys",
    summary="Create an API key",
    body=with_body(NewKeyBody, description="May be left out."),
    refusals=(NOT_FOUND, CONFLICT, TOO_MANY),
)
@in_thread
def create_key(
    request: AnyRequest,
    body: RawBody,
    call: InjectedCall,
    idempotency_key: IdempotencyKey = None,
) -> NewApiKeyView:
    """Make a key for the caller. `apikey` in the answer is its secret, which is never shown again.

    It ends at `expiresAt`, never where that is null and allowed; without it, after the installation's default
    time. It does not outlive the key or token that makes it: a later `expiresAt` is refused with 409.

    With `scopes`, of services and such that the caller may hold, it covers these alone. With `allowFrom`,
    which lists addresses and networks, it is refused from anywhere else. With `dpopJkt`, the thumbprint of a
    key pair, it opens nothing without a proof of that key pair (RFC 9449). With `allowMethods` and
    `allowPaths`, prefixes of whole segments, it opens only such requests, and the exchange.

    A retry with the same `Idempotency-Key` gives the same key a new secret instead of making another.
    """
    asked = read_json(body, request.headers.get("content-type"), NewKeyBody) or NewKeyBody()
    created = call.services.keys.create(
        call.principal,
        call.origin,
        NewKey(
            asked.name,
            lifetime_of(asked.expires_at),
            asked.restrictions(),
            project_id=asked.project_id,
            idempotency_key=idempotency_key,
        ),
    )
    return NewApiKeyView.of(created.record, created.secret, call.services.system.now())


@route(
    "POST",
    "/bim/apikey/{keyid:str}/rotate",
    alias=Alias("/apikey/{keyid:str}/rotate"),
    tag="API keys",
    summary="Rotate an API key",
    body=with_body(RotationBody, description="May be left out."),
    refusals=(CONFLICT, TOO_MANY),
)
@in_thread
def rotate_key(
    keyid: IdInPath,
    request: AnyRequest,
    body: RawBody,
    call: InjectedCall,
    idempotency_key: IdempotencyKey = None,
) -> NewApiKeyView:
    """Give one of the caller's keys a new secret, in `apikey`, which is never shown again.

    The credential is the key itself, or a token that was given for a passphrase: any other is refused with
    409. The key keeps its id, and all that it may do. The former secret works for `overlapSeconds` more;
    without them it ends at once, with every token that was made from the key. A retry with the same
    `Idempotency-Key` replaces the secret whose answer was lost.
    """
    asked = read_json(body, request.headers.get("content-type"), RotationBody) or RotationBody()
    rotated = call.services.key_rotation.rotate_own(
        call.principal,
        read_id(keyid),
        call.origin,
        overlap=timedelta(seconds=asked.overlap_seconds),
        idempotency_key=idempotency_key,
    )
    return NewApiKeyView.of(rotated.record, rotated.secret, call.services.system.now())


@route(
    "GET",
    "/bim/iam/{iamid:str}/user/{userid:str}/apikeys",
    access=ONESELF_OR_SERVICE,
    alias=Alias("/iam/{iamid:str}/user/{userid:str}/apikeys"),
    tag="API keys",
    summary="List a user's API keys",
)
@brief_read
def list_keys(
    iamid: FromPath[str],
    userid: FromPath[str],
    call: InjectedCall,
    size: PageSize = MAX_PAGE,
    offset: PageOffset = 0,
) -> ApiKeyList:
    """Answer the user's keys without their secrets: one's own, or anybody's with USER_ADMIN."""
    user = call.services.user_administration.get(call.principal, iamid, userid)
    keys = call.services.keys.list_of(user.user_id, offset=offset, size=size)
    now = call.services.system.now()
    return ApiKeyList(keys.count, [ApiKeyView.of(key, now) for key in keys])


@route(
    "DELETE",
    "/bim/apikey/{keyid:str}",
    alias=Alias("/apikey/{keyid:str}"),
    tag="API keys",
    summary="Revoke an API key",
    refusals=(CONFLICT,),
)
@in_thread
def delete_key(keyid: IdInPath, call: InjectedCall) -> DeletedKey:
    """Revoke one of the caller's keys, and with it every token that was made from it, at once."""
    key_id = read_id(keyid)
    call.services.keys.revoke_own(call.principal, key_id, call.origin)
    return DeletedKey(key_id)
