"""Connections."""

from http import HTTPStatus

from litestar import get
from litestar.params import FromPath

from keyturn.web.api.views import ConnectionView
from keyturn.web.requests import InjectedCall, brief_read
from keyturn.web.responses import documented


@get(
    "/data/connection/{connection_key:str}",
    responses=documented(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND),
    tags=["Connections"],
    summary="Read a connection",
)
@brief_read
def get_connection(connection_key: FromPath[str], call: InjectedCall) -> ConnectionView:
    """Answer a connection without its secrets.

    Needs APPLICATION_ADMIN, CREATE_DATA_SOURCE or GOVERNANCE.
    """
    return ConnectionView.of(call.services.connections.get(call.principal, connection_key))
