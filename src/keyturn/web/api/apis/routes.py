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
_HOLDER = needs(Permission.APPLICATION_ADMIN, without="those of which one may hold scopes, with these alone")
_SUCH_AS = '{"name": …, "identifier": …, "scopes": [{"name": …}]}'

GroupId = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]


class ScopeBody(msgspec.Struct, forbid_unknown_fields=True):
    """A scope, and the groups whose members may hold it: everyone if they are left out or null."""

    name: ScopeName
    description: ShortText | None = None
    groups: list[GroupId] | None = None


ServiceIdentifier = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_IDENTIFIER_CHARACTERS)]
Scopes = Annotated[list[ScopeBody], msgspec.Meta(min_length=1, max_length=MAX_SCOPES)]


class ServiceBody(msgspec.Struct, forbid_unknown_fields=True):
    """All fields of an API."""

    name: ShortText
    identifier: ServiceIdentifier
    scopes: Scopes
    description: LongText | None = None


class ServiceChangesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of an API that change."""

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
    """Answer a page of the APIs of which the caller may hold scopes, with these.

    With APPLICATION_ADMIN, all, with all scopes and the groups that may hold them.
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
    body=with_body(ServiceBody, required=True, description="Name, identifier and scopes."),
)
@in_thread
def add_service(request: AnyRequest, body: RawBody, call: InjectedCall) -> ServiceView:
    """Register an API. Its name, its identifier and its scopes are no other's. Needs APPLICATION_ADMIN.

    The identifier is an absolute URI: what tokens for it say as `aud`, and `/verify` is given as `audience`.
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
    """Answer an API of which the caller may hold scopes, with these, or, with APPLICATION_ADMIN, any."""
    return _view(call, asked_id(serviceid))


@route(
    "PUT",
    _SERVICE,
    access=_APPLICATION_ADMIN,
    alias=Alias(_API, "update_api"),
    tag=_TAG,
    summary="Change an API",
    body=with_body(ServiceChangesBody, required=True, description="What is to change."),
)
@in_thread
def update_service(
    serviceid: IdInPath, request: AnyRequest, body: RawBody, call: InjectedCall
) -> ServiceView:
    """Put this in the place of what is said of a service. Omitted fields stay. Needs APPLICATION_ADMIN.

    `scopes` are all that it has from then on. Keys and tokens cover no more what it does not have any more,
    from the next request on.
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
    """Forget an API: no key or token is good for it any more. Needs APPLICATION_ADMIN."""
    gone = call.services.apis.delete(call.principal, asked_id(serviceid), call.origin)
    return DeletedThing(gone.resource_id)


def _view(call: Call, resource_id: int) -> ServiceView:
    resources = call.services.apis
    return ServiceView.of(
        resources.get(call.principal, resource_id), shows_holders=resources.may_change(call.principal)
    )


def _scopes(scopes: Iterable[ScopeBody]) -> list[ScopeToRegister]:
    return [ScopeToRegister(scope.name, scope.description, scope.groups) for scope in scopes]
