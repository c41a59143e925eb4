"""Connections."""

from http import HTTPStatus

from litestar import get
from litestar.params import FromPath

from keyturn.web.api.views import ConnectionView
from keyturn.web.requests import InjectedPrincipal, InjectedServices, in_thread
from keyturn.web.responses import documented


@get(
    "/data/connection/{connection_key:str}",
    responses=documented(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND),
    tags=["Connections"],
    summary="Read a connection",
)
@in_thread
def get_connection(
    connection_key: FromPath[str], services: InjectedServices, principal: InjectedPrincipal
) -> ConnectionView:
    """Answer a connection without its secrets.

    Needs APPLICATION_ADMIN, CREATE_DATA_SOURCE or GOVERNANCE.
    """
    return ConnectionView.of(services.connections.get(principal, connection_key))
