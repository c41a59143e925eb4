"""Connections and the objects behind them (http-api/connections.md, "Connections")."""

from dataclasses import replace

import msgspec
from litestar.params import FromPath, RawBody

from keyturn.adapters.findings import State
from keyturn.adapters.ladder import StepResult
from keyturn.adapters.technologies import TECHNOLOGIES
from keyturn.core.permissions import SEE_CONNECTION, Permission
from keyturn.errors import InvalidInput
from keyturn.services.connections.objects import ONLY_CONNECTIONS, Location
from keyturn.services.connections.registry import NewConnection
from keyturn.web.api.connections.bodies import (
    ConnectionChangesBody,
    NewConnectionBody,
    OptionsBody,
    SearchBody,
    SettingsBody,
    SettingsOfObjectBody,
)
from keyturn.web.api.connections.paths import names_in
from keyturn.web.api.connections.views import (
    CheckView,
    ConnectionView,
    DeletedObject,
    JobView,
    ObjectDetailsView,
    ObjectList,
    ObjectView,
    RotationView,
    StepView,
    TechnologyView,
)
from keyturn.web.api.documentation import with_body
from keyturn.web.bodies import get_json, read_json
from keyturn.web.requests import AnyRequest, InjectedCall, at_once, brief_read, in_thread
from keyturn.web.responses import CONFLICT, FORBIDDEN, TOO_MANY
from keyturn.web.routes import needs, route

_CONNECTION = "/data/connection/{connection_key:str}"
_TAG = "Connections"
_SEES = needs(*SEE_CONNECTION, without="connections with an object on which you have a role")
_MANAGES = needs(
    Permission.APPLICATION_ADMIN, without="connections and objects of which you are an infrastructure admin"
)
_OWNS = needs(Permission.APPLICATION_ADMIN, without="objects on which you have a role")
_APPLICATION_ADMIN = needs(Permission.APPLICATION_ADMIN)
_SUCH_AS = '{"connectionKey": …, "connection": {"technology": …, "hostname": …}}'
_EXAMPLE = {
    "technology": "PostgreSQL",
    "hostname": "db.example.com",
    "port": 5432,
    "database": "shop",
    "username": "keyturn",
    "password": "seven quiet harbor lamps",
}


class DataSourceList(msgspec.Struct, frozen=True):
    """The data sources: none, for Keyturn holds none."""

    count: int
    hits: list[None]
    facets: dict[str, None]


@route(
    "GET",
    "/dataSource",
    tag="Connections",
    summary="List data sources (there are none)",
    ignores=("searchText", "publicOnly", "nameOnly", "mode", "size", "offset"),
)
@at_once
def list_data_sources() -> DataSourceList:
    """Answer with an empty list.

    Keyturn holds no data sources. Clients that list them after they signed in find none.
    """
    return DataSourceList(0, [], {})


@route("GET", "/data/technologies", tag=_TAG, summary="List technologies")
@at_once
def list_technologies() -> list[TechnologyView]:
    """List the technologies of connections, with their fields and how much Keyturn does with each."""
    return [TechnologyView.of(one) for one in TECHNOLOGIES]


@route(
    "POST",
    "/data/connection",
    access=_APPLICATION_ADMIN,
    tag=_TAG,
    summary="Register a connection",
    body=with_body(
        NewConnectionBody,
        example={"connectionKey": "shop", "connection": _EXAMPLE},
        required=True,
        description="The connection. The technology decides which fields `connection` has.",
    ),
)
@in_thread
def add_connection(request: AnyRequest, body: RawBody, call: InjectedCall) -> ConnectionView:
    """Register a connection to a database.

    Keyturn encrypts the secrets and never returns them.

    Requires `APPLICATION_ADMIN`.
    """
    asked = get_json(body, request.headers.get("content-type"), NewConnectionBody, such_as=_SUCH_AS)
    settings = (asked.settings or SettingsBody()).changes()
    new = NewConnection(
        asked.connection_key,
        asked.connection,
        native_integration=None if asked.native_integration is None else asked.native_integration.stored(),
        is_active=settings.is_active is not False,
        crawl_every_hours=asked.crawl_every_hours,
    )
    call.services.data_objects.check_settings(call.principal, settings)
    record = call.services.connections.add(call.principal, new, call.origin)
    if asked.settings is not None:
        # Whether it is switched on is a state of the connection, which activating it changes.
        call.services.data_objects.change_settings(
            call.principal, (record.connection_key,), replace(settings, is_active=None), call.origin
        )
    return ConnectionView.of(record)


@route("GET", _CONNECTION, access=_SEES, tag=_TAG, summary="Read a connection", refusals=(FORBIDDEN,))
@brief_read
def get_connection(connection_key: FromPath[str], call: InjectedCall) -> ConnectionView:
    """Return a connection without its secrets.

    A key that is linked to a project sees only the connections of that project.

    Requires `APPLICATION_ADMIN`, `CREATE_DATA_SOURCE`, or `GOVERNANCE`, or a role on one of its objects.
    """
    return ConnectionView.of(call.services.connections.get(call.principal, connection_key))


@route(
    "PUT",
    _CONNECTION,
    access=_MANAGES,
    tag=_TAG,
    summary="Change a connection",
    body=with_body(
        ConnectionChangesBody,
        example={"connection": {**_EXAMPLE, "hostname": "db2.example.com"}},
        required=True,
        description="The connection as it is to be, or its schedule.",
    ),
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def put_connection(
    connection_key: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> ConnectionView:
    """Change a connection. `connection` replaces all fields but the secrets that it omits.

    Where the host, the port, the user or the encryption changes, the secrets must be sent again.

    Requires `APPLICATION_ADMIN`, or being an infrastructure admin of the connection.
    """
    asked = get_json(
        body, request.headers.get("content-type"), ConnectionChangesBody, such_as='{"connection": {…}}'
    )
    record = call.services.connections.update(call.principal, connection_key, asked.changes(), call.origin)
    return ConnectionView.of(record)


@route(
    "POST",
    f"{_CONNECTION}/test",
    access=_MANAGES,
    tag=_TAG,
    summary="Test a connection",
    refusals=(FORBIDDEN, TOO_MANY),
)
@in_thread
def test_connection(connection_key: FromPath[str], call: InjectedCall) -> CheckView:
    """Reach the database of a connection, step by step, within ten seconds.

    Requires `APPLICATION_ADMIN`, or being an infrastructure admin of the connection.
    """
    steps = call.services.connection_checks.test(call.principal, connection_key, call.origin)
    results = [StepView.of(one) for one in steps if isinstance(one, StepResult)]
    return CheckView(all(one.state != State.FAILED.value for one in results), results)


@route(
    "POST",
    f"{_CONNECTION}/rotate",
    access=_MANAGES,
    tag=_TAG,
    summary="Rotate a password",
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def rotate_password(connection_key: FromPath[str], call: InjectedCall) -> RotationView:
    """Give the account of a connection a new password that nobody has seen, and try it.

    Requires `APPLICATION_ADMIN`, or being an infrastructure admin of the connection.
    """
    return RotationView.of(call.services.jobs.rotate(call.principal, connection_key, call.origin))


@route(
    "GET",
    "/data/object/{object_path:path}",
    access=_SEES,
    tag=_TAG,
    summary="Read an object",
    refusals=(FORBIDDEN,),
)
@in_thread
def get_object(object_path: FromPath[str], request: AnyRequest, call: InjectedCall) -> ObjectDetailsView:
    """Return a connection or an object behind it, with its settings and, for a table, its columns.

    Separate the names with slashes, and percent-encode each.

    Requires `APPLICATION_ADMIN`, `CREATE_DATA_SOURCE`, or `GOVERNANCE`, or a role on an object.
    """
    names = names_in(request, object_path)
    return _details(call, call.services.data_objects.get(call.principal, names))


@route(
    "POST",
    "/data/object/search",
    access=_SEES,
    tag=_TAG,
    summary="Search connections and objects",
    body=with_body(
        SearchBody, example={"searchText": "orders"}, description="The text, and the part of the list."
    ),
)
@in_thread
def search_objects(request: AnyRequest, body: RawBody, call: InjectedCall) -> ObjectList:
    """List connections, or, with `searchText`, the objects behind them that have it in their name.

    Requires `APPLICATION_ADMIN`, `CREATE_DATA_SOURCE`, or `GOVERNANCE`, or a role on an object.
    """
    return _search(call, (), _read_search(request, body))


@route(
    "POST",
    "/data/object/search/{object_path:path}",
    access=_SEES,
    tag=_TAG,
    summary="List or search behind a connection",
    body=with_body(
        SearchBody, example={"searchText": "orders"}, description="The text, and the part of the list."
    ),
    refusals=(FORBIDDEN,),
)
@in_thread
def search_object(
    object_path: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> ObjectList:
    """List what is directly below an object, or, with `searchText`, search a whole connection.

    Requires `APPLICATION_ADMIN`, `CREATE_DATA_SOURCE`, or `GOVERNANCE`, or a role on an object.
    """
    return _search(call, names_in(request, object_path), _read_search(request, body))


@route(
    "PUT",
    "/data/settings/{object_path:path}",
    access=_OWNS,
    tag=_TAG,
    summary="Change settings of an object",
    body=with_body(
        SettingsOfObjectBody,
        example={"settings": {"isActive": True}},
        required=True,
        description="The settings to change. Null makes the object inherit.",
    ),
    refusals=(FORBIDDEN,),
)
@in_thread
def put_settings(
    object_path: FromPath[str],
    request: AnyRequest,
    body: RawBody,
    call: InjectedCall,
) -> ObjectDetailsView:
    """Change the settings of an object, which hold for all that is below it and says nothing else.

    A data owner changes `isActive` and `activateNewChildren`; roles are given by infrastructure admins.

    Requires `APPLICATION_ADMIN`, or a role on the object.
    """
    asked = get_json(
        body,
        request.headers.get("content-type"),
        SettingsOfObjectBody,
        such_as='{"settings": {"isActive": …}}',
    )
    names = names_in(request, object_path)
    place = call.services.data_objects.change_settings(
        call.principal, names, asked.settings.changes(), call.origin
    )
    return _details(call, place)


@route(
    "DELETE",
    "/data/object/{object_path:path}",
    access=_APPLICATION_ADMIN,
    tag=_TAG,
    summary="Delete a connection",
    refusals=(CONFLICT,),
)
@in_thread
def delete_object(object_path: FromPath[str], request: AnyRequest, call: InjectedCall) -> DeletedObject:
    """Delete a connection, in whatever state it is, with everything that was found behind it.

    Only a whole connection can be deleted. To hide a part of it, make that part inactive.

    Requires `APPLICATION_ADMIN`.
    """
    names = names_in(request, object_path)
    call.principal.check_may(Permission.APPLICATION_ADMIN)
    if len(names) > 1:
        raise InvalidInput("objectPath", "Name a connection. To hide an object behind it, make it inactive.")
    children = call.services.jobs.delete_now(call.principal, names[0], call.origin)
    return DeletedObject(list(names), children)


@route(
    "POST",
    "/data/crawl/{object_path:path}",
    access=_OWNS,
    tag=_TAG,
    summary="Crawl a connection",
    body=with_body(OptionsBody, example={}, description="Options of the vendor, without an effect here."),
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def crawl_object(
    object_path: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> JobView:
    """Begin a crawl of the whole connection that an object belongs to.

    The answer is the job. The objects of the former crawl are shown until it has ended.

    Requires `APPLICATION_ADMIN`, or a role on the object.
    """
    read_json(body, request.headers.get("content-type"), OptionsBody)
    names = names_in(request, object_path)
    return JobView.of(call.services.jobs.crawl(call.principal, names, call.origin))


def _read_search(request: AnyRequest, body: bytes) -> SearchBody:
    return read_json(body, request.headers.get("content-type"), SearchBody) or SearchBody()


def _search(call: InjectedCall, names: tuple[str, ...], asked: SearchBody) -> ObjectList:
    objects, page = call.services.data_objects, {"offset": asked.offset, "size": asked.size}
    if asked.search_text:
        if asked.state is not None:
            raise InvalidInput("state", ONLY_CONNECTIONS)
        found = objects.search(call.principal, names, asked.search_text, **page)
    else:
        found = objects.children(call.principal, names, state=asked.state, **page)
    return ObjectList(found.count, [ObjectView.of(place) for place in found])


def _details(call: InjectedCall, place: Location) -> ObjectDetailsView:
    objects = call.services.data_objects
    return ObjectDetailsView.of(place, objects.columns(place), objects.count_overrides(place))
