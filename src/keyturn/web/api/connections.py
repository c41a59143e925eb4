"""Connections."""

import msgspec
from litestar.params import FromPath

from keyturn.core.permissions import SEE_CONNECTION
from keyturn.web.api.views import ConnectionView
from keyturn.web.requests import InjectedCall, at_once, brief_read
from keyturn.web.routes import needs, route


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


@route(
    "GET",
    "/data/connection/{connection_key:str}",
    access=needs(*SEE_CONNECTION),
    tag="Connections",
    summary="Read a connection",
)
@brief_read
def get_connection(connection_key: FromPath[str], call: InjectedCall) -> ConnectionView:
    """Return a connection without its secrets.

    A key that is linked to a project sees only the connections of that project.

    Requires `APPLICATION_ADMIN`, `CREATE_DATA_SOURCE`, or `GOVERNANCE`.
    """
    return ConnectionView.of(call.services.connections.get(call.principal, connection_key))
