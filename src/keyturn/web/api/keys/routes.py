"""The caller's own API keys."""

from datetime import timedelta
from typing import Annotated

import msgspec
from litestar.params import FromPath, HeaderParameter, QueryParameter, RawBody

from keyturn.core.pages import MAX_PAGE
from keyturn.core.permissions import Permission
from keyturn.core.records import MAX_ID
from keyturn.services.keys.keys import NewKey
from keyturn.services.keys.rotation import MAX_OVERLAP
from keyturn.web.api.documentation import with_body
from keyturn.web.api.people.users import ONESELF_OR_SERVICE
from keyturn.web.api.views import (
    KeyActivity,
    KeyUseView,
    ListedApiKeyView,
    NewApiKeyView,
    RevokedKey,
)
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
from keyturn.web.routes import Alias, needs, route

MAX_OVERLAP_SECONDS = int(MAX_OVERLAP.total_seconds())


class NewKeyBody(RestrictionFields, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The properties of a new key."""

    name: ShortText | None = None
    project_id: int | None = None
    expires_at: ExpiresAt = msgspec.UNSET


class RotationBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The options of a rotation."""

    overlap_seconds: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=MAX_OVERLAP_SECONDS,
            description="Seconds for which the former secret still works. A whole number: `60`, not `60.0`.",
        ),
    ] = 0


IdInQuery = Annotated[str, QueryParameter(schema_extra={"type": "integer", "minimum": 1, "maximum": MAX_ID})]
"""An id in the query, read as one in a path is."""
IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=200)]


@route(
    "POST",
    "/bim/apikey",
    alias=Alias("/apikey"),
    tag="API keys",
    summary="Create an API key",
    body=with_body(
        NewKeyBody,
        example={"name": "nightly export", "allowMethods": ["GET"]},
        description="The properties of the key. Optional.",
    ),
    refusals=(NOT_FOUND, CONFLICT, TOO_MANY),
)
@in_thread
def create_key(
    request: AnyRequest,
    body: RawBody,
    call: InjectedCall,
    idempotency_key: IdempotencyKey = None,
) -> NewApiKeyView:
    """Create an API key for the caller.

    The response contains the secret in `apikey`. No other response shows it.

    The key expires at `expiresAt`. Without it, the key gets the default lifetime. Null creates a key that
    never expires, if the installation allows this. A key can do no more than the credential that creates it,
    and expires no later: a request for a later expiration returns 409. A token from a password sign-in does
    not limit the expiration.

    `projectId` links the key to a project of the caller: the key then sees only the connections of that
    project. `scopes` narrows the key to scopes of registered APIs that the caller may hold. `allowFrom`
    limits the key to IP addresses and networks. `dpopJkt` binds the key to the key pair with this thumbprint:
    each request then needs a proof of possession (RFC 9449). `allowMethods` and `allowPaths` limit the key to
    HTTP methods and to path prefixes of whole segments. These two limits still allow the exchange for a
    token, and the token has the same limits.

    To retry safely, send an `Idempotency-Key` header. A retry with the same value gives the same key a new
    secret instead of creating a second key.
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
    body=with_body(RotationBody, example={"overlapSeconds": 3600}, description="The overlap. Optional."),
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
    """Replace the secret of one of the caller's API keys.

    The response contains the new secret in `apikey`. No other response shows it. The key keeps its id, name,
    expiration, and restrictions.

    The former secret works for `overlapSeconds` more. Without an overlap, the former secret and every token
    of the key stop working at once.

    Authenticate with the key itself, or with a token from a password sign-in. Any other key or token is
    refused with 409, or with 404 if it cannot see the key.

    If a response is lost, retry with the same `Idempotency-Key`. The retry replaces the lost secret.
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
) -> list[ListedApiKeyView]:
    """List the API keys of a user, newest first, without their secrets.

    The list is an array and includes expired and revoked keys. `project` is an object; its name is null if
    the caller may not see the project.

    Requires `USER_ADMIN`, except for the caller's own keys and those of a service account that the caller or
    one of the caller's groups owns.
    """
    user = call.services.user_administration.get(call.principal, iamid, userid)
    keys = call.services.keys.list_of(user.user_id, offset=offset, size=size)
    projects = {key.project_id for key in keys if key.project_id is not None}
    names = call.services.projects.names(call.principal, projects)
    now = call.services.system.now()
    return [ListedApiKeyView.of_listed(key, now, names) for key in keys]


@route(
    "GET",
    "/audit/apikey/activity",
    access=needs(
        Permission.AUDIT,
        Permission.USER_ADMIN,
        without="your own keys, and those of service accounts that you or one of your groups owns",
    ),
    tag="API keys",
    summary="List the latest uses of an API key",
    refusals=(NOT_FOUND,),
)
@in_thread
def list_activity(
    call: InjectedCall,
    keyid: IdInQuery,
    count: Annotated[int, QueryParameter(ge=1, le=1_000_000)] = 1,
) -> KeyActivity:
    """List who used a key last, newest first.

    A caller is an address with a program. Keyturn keeps the last 20 callers of each key: no answer has more.

    Requires `AUDIT` or `USER_ADMIN`, except for the caller's own keys and those of a service account that the
    caller or one of the caller's groups owns.
    """
    key_id = read_id(keyid)
    found = call.services.key_uses.latest(call.principal, key_id, at_most=count)
    return KeyActivity(len(found), [KeyUseView.of(key_id, one) for one in found])


@route(
    "DELETE",
    "/bim/apikey/{keyid:str}",
    alias=Alias("/apikey/{keyid:str}"),
    tag="API keys",
    summary="Revoke an API key",
    refusals=(CONFLICT,),
)
@in_thread
def delete_key(keyid: IdInPath, call: InjectedCall) -> RevokedKey:
    """Revoke one of the caller's API keys and all of its tokens immediately.

    `revokedTokens` is always 1: the key itself. Keyturn does not count the tokens that end with it.

    A revoked key cannot be restored. A credential that is narrowed to scopes or linked to a project can
    revoke only its own key.
    """
    key_id = read_id(keyid)
    call.services.keys.revoke_own(call.principal, key_id, call.origin)
    return RevokedKey(key_id, revoked_tokens=1)
