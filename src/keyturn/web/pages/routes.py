"""Every page: which modules declare them, and the guard of each part."""

from litestar import Router
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from keyturn.web.pages.apis import registry
from keyturn.web.pages.audit import log
from keyturn.web.pages.connections import checks, connection, crawls, objects
from keyturn.web.pages.connections import registry as connection_registry
from keyturn.web.pages.connections import settings as connection_settings
from keyturn.web.pages.documentation import api_reference, indexes, kit, mcp
from keyturn.web.pages.documentation import pages as documentation
from keyturn.web.pages.frame import assets
from keyturn.web.pages.frame.forms import parts_of
from keyturn.web.pages.frame.tabs import Part
from keyturn.web.pages.frame.views import (
    admits,
    form_of,
    open_form_of,
    open_view_of,
    view_of,
    visitor_of,
)
from keyturn.web.pages.installation import settings, start
from keyturn.web.pages.keys import administration, rotation, tab
from keyturn.web.pages.oauth import device
from keyturn.web.pages.ownership import offboarding, service_accounts
from keyturn.web.pages.people import account_forms, accounts, groups, profile, projects, users
from keyturn.web.pages.sign_in import invitation, login, session_end, setup
from keyturn.web.routes import handlers_in

MODULES = (
    assets,
    login,
    invitation,
    setup,
    session_end,
    device,
    profile,
    tab,
    rotation,
    start,
    users,
    accounts,
    account_forms,
    offboarding,
    service_accounts,
    groups,
    projects,
    registry,
    connection_registry,
    connection,
    checks,
    crawls,
    objects,
    connection_settings,
    administration,
    log,
    settings,
)


DOCUMENTATION = (documentation, indexes, api_reference, kit, mcp)
"""The pages of the documentation, which can be switched off."""


def page_handlers(*, documentation: bool = True) -> list[HTTPRouteHandler]:
    """Return the handlers of the pages."""
    return handlers_in((*MODULES, *(DOCUMENTATION if documentation else ())))


def page_routers(*, documentation: bool = True) -> list[Router]:
    """Return all pages. Pages that are not for everybody stand behind the guard of their part."""
    by_part: dict[Part, list[HTTPRouteHandler]] = {}
    for handler in page_handlers(documentation=documentation):
        for part in parts_of(handler):
            by_part.setdefault(part, []).append(handler)
    return [_router(part, handlers) for part, handlers in by_part.items()]


def _router(part: Part, handlers: list[HTTPRouteHandler]) -> Router:
    if part.is_open:
        return Router(
            part.path,
            route_handlers=handlers,
            dependencies={
                "view": Provide(open_view_of, sync_to_thread=False),
                "sent": Provide(open_form_of, sync_to_thread=False),
            },
        )
    return Router(
        part.path,
        route_handlers=handlers,
        guards=[admits(part)],
        dependencies={
            "view": Provide(view_of, sync_to_thread=False),
            "sent": Provide(form_of, sync_to_thread=True),
            "visitor": Provide(visitor_of, sync_to_thread=False),
            "account_list": Provide(lambda: part, sync_to_thread=False),
        },
    )
