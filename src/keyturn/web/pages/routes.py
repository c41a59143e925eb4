"""Every page, and who is let in: anybody, whoever is signed in, or the holders of a permission."""

from collections.abc import Sequence

from litestar import Router
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from keyturn.core.permissions import Permission
from keyturn.web.pages.apis import registry as resources
from keyturn.web.pages.audit import log as audit
from keyturn.web.pages.frame import assets, tabs
from keyturn.web.pages.frame.account_lists import (
    OWN_SERVICE_ACCOUNTS,
    PEOPLE,
    SERVICE_ACCOUNTS,
    AccountList,
)
from keyturn.web.pages.frame.views import admits, form_of, view_of
from keyturn.web.pages.frame.visitors import visitor_of
from keyturn.web.pages.installation import settings, start
from keyturn.web.pages.keys import administration as all_keys
from keyturn.web.pages.keys import rotation as key_rotation
from keyturn.web.pages.keys import tab as keys
from keyturn.web.pages.oauth import device
from keyturn.web.pages.ownership import offboarding as endings
from keyturn.web.pages.ownership import service_accounts
from keyturn.web.pages.people import accounts, groups, profile, projects, users
from keyturn.web.pages.sign_in import invitation, login

OPEN_PAGES = (
    login.home,
    login.login_page,
    login.log_in,
    login.log_out,
    login.setup_page,
    login.set_up,
    invitation.invitation_page,
    invitation.accept,
    device.device_page,
    device.look_at_device,
    device.decide,
    assets.static_file,
    assets.api_page,
    assets.api_page_asset,
)
PROFILE_PAGES = (
    profile.details_page,
    profile.save_details,
    profile.sessions_page,
    profile.end_session,
    profile.end_other_sessions,
    profile.security_page,
    profile.change_password,
    keys.keys_page,
    keys.create_key,
    keys.revoke_page,
    keys.revoke_key,
    key_rotation.rotate_page,
    key_rotation.rotate_key,
)
ADMINISTRATION = (
    (tabs.GROUPS, groups.HANDLERS),
    (tabs.PROJECTS, projects.HANDLERS),
    (tabs.RESOURCES, resources.HANDLERS),
    (tabs.KEYS, all_keys.HANDLERS),
    (tabs.AUDIT, audit.HANDLERS),
    (tabs.SETTINGS, settings.HANDLERS),
)
"""Each part that is no list of accounts, with its pages."""

_OF_ANY_ACCOUNT = (*accounts.HANDLERS, *endings.HANDLERS)
ACCOUNTS: tuple[tuple[AccountList, tuple[Permission, ...], tuple[HTTPRouteHandler, ...]], ...] = (
    (
        PEOPLE,
        tabs.USERS.any_of,
        (*_OF_ANY_ACCOUNT, *accounts.ADMINISTRATION_HANDLERS, *users.HANDLERS),
    ),
    (
        SERVICE_ACCOUNTS,
        tabs.SERVICE_ACCOUNTS.any_of,
        (
            *_OF_ANY_ACCOUNT,
            *accounts.ADMINISTRATION_HANDLERS,
            *service_accounts.HANDLERS,
            *service_accounts.ADMINISTRATION_HANDLERS,
        ),
    ),
    (OWN_SERVICE_ACCOUNTS, (), (*_OF_ANY_ACCOUNT, *service_accounts.HANDLERS)),
)
"""Each list of accounts, who is let in (whoever is signed in, for those that they own), and its pages."""


_SENT = Provide(form_of, sync_to_thread=True)


def page_routers() -> list[Router]:
    """Return all pages. What is not for everybody stands behind the guard of its part."""
    anywhere = frozenset(permission for tab in tabs.TABS for permission in tab.any_of)
    return [
        Router("/", route_handlers=OPEN_PAGES, dependencies={"sent": _SENT}),
        Router(
            "/",
            route_handlers=PROFILE_PAGES,
            dependencies={"visitor": Provide(visitor_of, sync_to_thread=True), "sent": _SENT},
        ),
        _guarded(tabs.START, (start.start,), tuple(anywhere)),
        *(_guarded(tab.path, handlers, tab.any_of) for tab, handlers in ADMINISTRATION),
        *(
            _guarded(account_list.path, handlers, any_of, account_list)
            for account_list, any_of, handlers in ACCOUNTS
        ),
    ]


def _guarded(
    path: str,
    handlers: Sequence[HTTPRouteHandler],
    any_of: tuple[Permission, ...],
    account_list: AccountList | None = None,
) -> Router:
    return Router(
        path,
        route_handlers=handlers,
        guards=[admits(*any_of)],
        dependencies={
            "view": Provide(view_of, sync_to_thread=False),
            "sent": _SENT,
            "account_list": Provide(lambda: account_list, sync_to_thread=False),
        },
    )
