"""Signing in and out, and the very first set-up."""

import re
from typing import Any

from litestar import Response
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.composition import Services
from keyturn.core.audit import AuditAction
from keyturn.errors import CredentialRefused, InvalidInput, NotFound
from keyturn.verifying.origin import Origin
from keyturn.web.pages.frame.confirmation import check_repeated
from keyturn.web.pages.frame.forms import asset, form, page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import ANYBODY, SIGNED_IN
from keyturn.web.pages.frame.views import InjectedForm, InjectedOpenForm, InjectedOpenView, OpenView
from keyturn.web.pages.frame.visitors import (
    AnyConnection,
    expired_cookie,
    find_visitor,
    session_cookie,
)
from keyturn.web.requests import AnyRequest, check_not_refused

START = "/profile"
_LOCAL_TARGET = re.compile(r"/(profile|admin|docs)(/[a-z0-9/-]*)?|/device(\?user_code=[A-Z]{4}-[A-Z]{4})?")

_NOTICES = {
    "signed-out": "You are signed out.",
    "set-up": "The administrator is made. Sign in to generate your first key.",
    "password-set": "Your password is set. Sign in with it.",
}


@asset("/")
def home() -> Redirect:
    """Lead to the profile, or by way of it to the login."""
    return see_other(START)


@page("/login", ANYBODY)
def login_page(
    request: AnyRequest,
    view: InjectedOpenView,
    then: FromQuery[str | None] = None,
    notice: FromQuery[str | None] = None,
) -> Response[Any]:
    """Show the form; send a person who is signed in on."""
    if find_visitor(request, view.services) is not None:
        return see_other(_target(then))
    return _login(view, then, _NOTICES.get(notice or ""))


def _login_again(view: OpenView) -> Response[str]:
    """Show the form to whoever could not sign in, also in a browser that somebody else is signed in with."""
    return _login(view, view.values.get("next"))


def _login(view: OpenView, then: str | None, notice: str | None = None) -> Response[str]:
    providers = [(one.iamid, one.display_name) for one in view.services.identity if one.takes_password]
    return view.render(
        "sign_in/login.html",
        notice=notice,
        providers=providers,
        values={**view.values, "next": _target(then)},
    )


@form("/login", ANYBODY, again=_login_again, also=(CredentialRefused,))
def log_in(request: AnyRequest, sent: InjectedOpenForm) -> Redirect:
    """Start a session with a new id, and end the one that this browser had."""
    started = sent.services.logins.log_in_browser(
        sent.form.get("userid", ""),
        sent.form.get("password", ""),
        sent.origin,
        iamid=sent.form.get("iamid") or None,
    )
    end_session(request, sent.services, sent.origin)
    return see_other(_target(sent.form.get("next")), session_cookie(sent.services, started.cookie))


@form("/logout", SIGNED_IN, asks=NEVER_ASKS)
def log_out(request: AnyRequest, sent: InjectedForm) -> Redirect:
    """End the session on the server, and let the browser forget it."""
    end_session(request, sent.services, sent.origin)
    return see_other("/login?notice=signed-out", expired_cookie(sent.services))


def while_setup_is_open(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
    """Raise `NotFound` once there is a user, unless the gate found the request wrong already."""
    check_not_refused(connection.scope)  # The framework asks guards before anything else.
    services: Services = connection.app.state.services
    if not services.installation.is_setup_open():
        raise NotFound


@page("/setup", ANYBODY, guard=while_setup_is_open)
def setup_page(view: InjectedOpenView) -> Response[str]:
    """Show the form that makes the first administrator, while there is no user."""
    return view.render("sign_in/setup.html")


@form("/setup", ANYBODY, guard=while_setup_is_open, again=setup_page)
def set_up(sent: InjectedOpenForm) -> Redirect:
    """Make the first administrator with the printed code, once."""
    check_repeated(sent.form)
    user = sent.services.users.add_first(
        code=sent.form.get("code", ""),
        userid=sent.form.get("userid", ""),
        name=sent.form.get("name"),
        password=sent.form.get("password", ""),
        origin=sent.origin,
    )
    if user is None:
        raise InvalidInput("code", "This is not the code that the server printed at its last start.")
    return see_other("/login?notice=set-up")


def end_session(request: AnyRequest, services: Services, origin: Origin) -> None:
    """End the session that this browser has, if any."""
    visitor = find_visitor(request, services)
    if visitor is not None:
        session = visitor.session
        services.sessions.end_own(
            session.principal, session.session_id, origin, action=AuditAction.USER_LOGGED_OUT
        )


def _target(wanted: str | None) -> str:
    """Return where to go after the login: a page of ours, never an address from outside."""
    return wanted if wanted is not None and _LOCAL_TARGET.fullmatch(wanted) else START
