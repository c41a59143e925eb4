"""System keys, for what is part of the installation (http-api/system-keys.md, "System keys")."""

from typing import Annotated

import msgspec
from litestar.params import RawBody

from keyturn.core.permissions import Permission
from keyturn.services.keys.system_keys import SCOPES
from keyturn.web.api.documentation import with_body
from keyturn.web.api.views import DeletedKey, SystemKeyView
from keyturn.web.bodies import ExpiresAt, ShortText, get_json, lifetime_of
from keyturn.web.requests import AnyRequest, IdInPath, InjectedCall, asked_id, in_thread
from keyturn.web.responses import CONFLICT, TOO_MANY
from keyturn.web.routes import Alias, needs, route

_TAG = "System keys"
_APPLICATION_ADMIN = needs(Permission.APPLICATION_ADMIN)

Scope = Annotated[str, msgspec.Meta(extra_json_schema={"enum": sorted(SCOPES)})]


class SystemKeyBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The system key to return or create."""

    name: ShortText
    scopes: list[Scope]
    connection_key: str
    regenerate: bool = False
    expires_at: ExpiresAt = msgspec.UNSET


@route(
    "POST",
    "/bim/apikey/system",
    access=_APPLICATION_ADMIN,
    alias=Alias("/apikey/system"),
    tag=_TAG,
    summary="Get or create a system key",
    body=with_body(
        SystemKeyBody,
        example={"name": "warehouse sync", "scopes": ["plugin:trino"], "connectionKey": "123456789"},
        required=True,
        description="The name, scopes, and connection.",
    ),
    refusals=(CONFLICT, TOO_MANY),
)
@in_thread
def get_system_key(request: AnyRequest, body: RawBody, call: InjectedCall) -> SystemKeyView:
    """Return the system key with this name, connection, and scopes, and create it if necessary.

    The response contains the secret in `apikey`, for an existing key too. `regenerate` revokes the existing
    key and creates a new one.

    Requires `APPLICATION_ADMIN`.
    """
    such_as = '{"name": …, "scopes": ["plugin:trino"], "connectionKey": …}'
    asked = get_json(body, request.headers.get("content-type"), SystemKeyBody, such_as=such_as)
    system_keys = call.services.system_keys
    revealed = system_keys.get_or_create(
        call.principal,
        call.origin,
        name=asked.name,
        scopes=asked.scopes,
        connection_key=asked.connection_key,
        regenerate=asked.regenerate,
        lifetime=lifetime_of(asked.expires_at),
    )
    key = system_keys.get_key(call.principal, revealed.record)
    return SystemKeyView.of(revealed, key, call.services.system.now())


@route(
    "DELETE",
    "/bim/apikey/system/{keyid:str}",
    access=_APPLICATION_ADMIN,
    alias=Alias("/apikey/system/{keyid:str}"),
    tag=_TAG,
    summary="Revoke a system key",
)
@in_thread
def delete_system_key(keyid: IdInPath, call: InjectedCall) -> DeletedKey:
    """Revoke a system key and all of its tokens immediately.

    Requires `APPLICATION_ADMIN`.
    """
    key_id = asked_id(keyid)
    call.services.system_keys.delete(call.principal, key_id, call.origin)
    return DeletedKey(key_id)
