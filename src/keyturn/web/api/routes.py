"""Every route of the API: which modules declare them."""

from litestar.handlers import HTTPRouteHandler

from keyturn.web.api import feed, system
from keyturn.web.api.apis import routes as apis
from keyturn.web.api.connections import jobs, preview
from keyturn.web.api.connections import routes as connections
from keyturn.web.api.keys import routes as keys
from keyturn.web.api.keys import system_keys
from keyturn.web.api.oauth import devices
from keyturn.web.api.oauth import routes as oauth
from keyturn.web.api.ownership import service_accounts
from keyturn.web.api.people import attributes, groups, me, projects, users
from keyturn.web.api.tokens import routes as tokens
from keyturn.web.routes import handlers_in

MODULES = (
    tokens,
    oauth,
    devices,
    system,
    keys,
    system_keys,
    me,
    users,
    attributes,
    groups,
    projects,
    apis,
    service_accounts,
    connections,
    preview,
    jobs,
    feed,
)


def api_handlers() -> list[HTTPRouteHandler]:
    """Return the handlers of the API."""
    return handlers_in(MODULES)
