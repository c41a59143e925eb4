"""Connections."""

from litestar.params import FromPath

from keyturn.core.permissions import SEE_CONNECTION
from keyturn.web.api.views import ConnectionView
from keyturn.web.requests import InjectedCall, brief_read
from keyturn.web.routes import needs, route


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
