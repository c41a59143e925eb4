"""Services: the APIs that are registered here, their scopes, and who may hold them."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from litestar.params import RawBody

from keyturn.core.apis import MAX_IDENTIFIER_CHARACTERS
from keyturn.core.pages import MAX_PAGE
from keyturn.core.permissions import Permission
from keyturn.core.records import MAX_ID
from keyturn.services.apis.fields import MAX_SCOPES, ScopeToRegister
from keyturn.web.api.apis.views import ServiceList, ServiceView
from keyturn.web.api.documentation import with_body
from keyturn.web.api.views import DeletedThing
from keyturn.web.bodies import LongText, ScopeName, ShortText, get_json
from keyturn.web.requests import (
    AnyRequest,
    Call,
    IdInPath,
    InjectedCall,
    PageOffset,
    PageSize,
    asked_id,
    in_thread,
)
from keyturn.web.routes import Alias, needs, route

_SERVICE, _API = "/services/{serviceid:str}", "/apis/{serviceid:str}"
_TAG = "APIs"
_APPLICATION_ADMIN = needs(Permission.APPLICATION_ADMIN)
_HOLDER = needs(
    Permission.APPLICATION_ADMIN, without="APIs of which you may hold scopes, listing those scopes only"
)
_SUCH_AS = '{"name": …, "identifier": …, "scopes": [{"name": …}]}'

GroupId = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]


class ScopeBody(msgspec.Struct, forbid_unknown_fields=True):
    """A scope. `groups` lists the groups whose members may hold it. Omit it, or send null, for everyone."""

    name: ScopeName
    description: ShortText | None = None
    groups: list[GroupId] | None = None


ServiceIdentifier = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_IDENTIFIER_CHARACTERS)]
Scopes = Annotated[list[ScopeBody], msgspec.Meta(min_length=1, max_length=MAX_SCOPES)]


class ServiceBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a new API."""

    name: ShortText
    identifier: ServiceIdentifier
    scopes: Scopes
    description: LongText | None = None


class ServiceChangesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of an API to change."""

    name: ShortText | msgspec.UnsetType = msgspec.UNSET
    identifier: ServiceIdentifier | msgspec.UnsetType = msgspec.UNSET
    scopes: Scopes | msgspec.UnsetType = msgspec.UNSET
    description: LongText | msgspec.UnsetType | None = msgspec.UNSET


@route(
    "GET",
    "/services",
    access=_HOLDER,
    alias=Alias("/apis", "list_apis"),
    tag=_TAG,
    summary="List APIs",
)
@in_thread
def list_services(call: InjectedCall, size: PageSize = MAX_PAGE, offset: PageOffset = 0) -> ServiceList:
    """List the registered APIs.

    With `APPLICATION_ADMIN`, the list contains every API, with all of its scopes and the groups that may hold
    them. Without it, the list contains the APIs whose scopes the caller may hold, with only these scopes.
    """
    resources = call.services.apis.list_visible(call.principal, offset=offset, size=size)
    shows_holders = call.services.apis.may_change(call.principal)
    return ServiceList(
        resources.count, [ServiceView.of(resource, shows_holders=shows_holders) for resource in resources]
    )


@route(
    "POST",
    "/services",
    access=_APPLICATION_ADMIN,
    alias=Alias("/apis", "add_api"),
    tag=_TAG,
    summary="Register an API",
    body=with_body(
        ServiceBody,
        example={
            "name": "Reports",
            "identifier": "https://reports.example.com",
            "scopes": [{"name": "reports:read", "description": "Read reports"}],
        },
        required=True,
        description="The fields of the API.",
    ),
)
@in_thread
def add_service(request: AnyRequest, body: RawBody, call: InjectedCall) -> ServiceView:
    """Register an API.

    The name, the identifier, and the scopes must not belong to another API. The identifier is an absolute
    URI. Tokens for the API contain it as `aud`, and gateways send it to `/verify` as `audience`.

    Requires `APPLICATION_ADMIN`.
    """
    asked = get_json(body, request.headers.get("content-type"), ServiceBody, such_as=_SUCH_AS)
    resource = call.services.apis.add(
        call.principal,
        call.origin,
        name=asked.name,
        identifier=asked.identifier,
        description=asked.description,
        scopes=_scopes(asked.scopes),
    )
    return ServiceView.of(resource, shows_holders=True)


@route(
    "GET",
    _SERVICE,
    access=_HOLDER,
    alias=Alias(_API, "get_api"),
    tag=_TAG,
    summary="Read an API",
)
@in_thread
def get_service(serviceid: IdInPath, call: InjectedCall) -> ServiceView:
    """Return a registered API.

    With `APPLICATION_ADMIN`, the response contains all scopes and the groups that may hold them. Without it,
    the response contains only the scopes that the caller may hold. The status is 404 for an API without
    these.
    """
    return _view(call, asked_id(serviceid))


@route(
    "PUT",
    _SERVICE,
    access=_APPLICATION_ADMIN,
    alias=Alias(_API, "update_api"),
    tag=_TAG,
    summary="Change an API",
    body=with_body(
        ServiceChangesBody,
        example={"description": "The monthly reports"},
        required=True,
        description="The fields to change.",
    ),
)
@in_thread
def update_service(
    serviceid: IdInPath, request: AnyRequest, body: RawBody, call: InjectedCall
) -> ServiceView:
    """Change an API.

    Omitted fields keep their values. `scopes` replaces the whole list. From the next request on, keys and
    tokens no longer cover a scope that was removed.

    Requires `APPLICATION_ADMIN`.
    """
    asked = get_json(body, request.headers.get("content-type"), ServiceChangesBody, such_as=_SUCH_AS)
    resource = call.services.apis.update(
        call.principal,
        asked_id(serviceid),
        call.origin,
        name=asked.name,
        identifier=asked.identifier,
        description=asked.description,
        scopes=msgspec.UNSET if asked.scopes is msgspec.UNSET else _scopes(asked.scopes),
    )
    return ServiceView.of(resource, shows_holders=True)


@route(
    "DELETE",
    _SERVICE,
    access=_APPLICATION_ADMIN,
    alias=Alias(_API, "delete_api"),
    tag=_TAG,
    summary="Delete an API",
)
@in_thread
def delete_service(serviceid: IdInPath, call: InjectedCall) -> DeletedThing:
    """Delete an API.

    Keys and tokens are then no longer valid for this API.

    Requires `APPLICATION_ADMIN`.
    """
    gone = call.services.apis.delete(call.principal, asked_id(serviceid), call.origin)
    return DeletedThing(gone.resource_id)


def _view(call: Call, resource_id: int) -> ServiceView:
    resources = call.services.apis
    return ServiceView.of(
        resources.get(call.principal, resource_id), shows_holders=resources.may_change(call.principal)
    )


def _scopes(scopes: Iterable[ScopeBody]) -> list[ScopeToRegister]:
    return [ScopeToRegister(scope.name, scope.description, scope.groups) for scope in scopes]
