"""Signing in and out."""

import re
from typing import Any

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.composition import Services
from keyturn.core.audit import AuditAction
from keyturn.errors import CredentialRefused, TooBusy, TooManyFailures
from keyturn.services.people.logins import StartedSession
from keyturn.verifying.origin import Origin
from keyturn.web.pages.frame.forms import asset, form, page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import ANYBODY, SIGNED_IN
from keyturn.web.pages.frame.views import InjectedForm, InjectedOpenForm, InjectedOpenView, OpenForm, OpenView
from keyturn.web.pages.frame.visitors import expired_cookie, find_visitor, session_cookie
from keyturn.web.pages.sign_in.attempts import check_filled, told_of
from keyturn.web.requests import AnyRequest

START = "/profile/keys"
_LOCAL_TARGET = re.compile(r"/(profile|admin|docs)(/[a-z0-9/-]*)?|/device(\?user_code=[A-Z]{4}-[A-Z]{4})?")

_NOTICES = {
    "signed-out": "You’re signed out.",
    "set-up": "Created the administrator. Sign in to create your first key.",
    "password-set": "Your password is set. Sign in with it.",
}


@asset("/")
def home() -> Redirect:
    """Lead to the API keys, or by way of them to the login."""
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
        return see_other(local_target(then))
    return _login(view, then, _NOTICES.get(notice or ""))


def _login_again(view: OpenView) -> Response[str]:
    """Show the form to whoever could not sign in, also in a browser that somebody else is signed in with."""
    return _login(view, view.values.get("next"))


def _login(view: OpenView, then: str | None, notice: str | None = None) -> Response[str]:
    return view.render(
        "sign_in/login.html",
        notice=notice,
        providers=providers_of(view.services),
        needs_setup=view.services.installation.is_setup_open(),
        values={**view.values, "next": local_target(then)},
        **told_of(view),
    )


def providers_of(services: Services) -> list[tuple[str, str]]:
    """Return the identity providers that take a password, with their names."""
    return [(one.iamid, one.display_name) for one in services.identity if one.takes_password]


@form("/login", ANYBODY, again=_login_again, also=(CredentialRefused,))
def log_in(request: AnyRequest, sent: InjectedOpenForm) -> Redirect:
    """Start a session with a new id, and end the one that this browser had."""
    started = started_session(sent, name="userid", password="password")  # noqa: S106 - names of fields
    end_session(request, sent.services, sent.origin)
    return see_other(local_target(sent.form.get("next")), session_cookie(sent.services, started.cookie))


def started_session(sent: OpenForm, *, name: str, password: str) -> StartedSession:
    """Start the session that a form asks for in these fields.

    Raise `CredentialRefused` for a wrong pair, and `InvalidInput` for an empty field.
    """
    check_filled(sent.form, name, password)
    return sent.services.logins.log_in_browser(
        sent.form[name], sent.form[password], sent.origin, iamid=sent.form.get("iamid") or None
    )


@form("/logout", SIGNED_IN, asks=NEVER_ASKS)
def log_out(request: AnyRequest, sent: InjectedForm) -> Redirect:
    """End the session on the server, and let the browser forget it."""
    end_session(request, sent.services, sent.origin)
    return see_other("/login?notice=signed-out", expired_cookie(sent.services))


def end_session(request: AnyRequest, services: Services, origin: Origin) -> None:
    """End the session that this browser has, if any."""
    visitor = find_visitor(request, services)
    if visitor is not None:
        session = visitor.session
        services.sessions.end_own(
            session.principal, session.session_id, origin, action=AuditAction.USER_LOGGED_OUT
        )


def local_target(wanted: str | None) -> str:
    """Return where to go after the login: a page of ours, never an address from outside."""
    return wanted if wanted is not None and _LOCAL_TARGET.fullmatch(wanted) else START


def signed_in(sent: OpenForm, userid: str, password: str, *, otherwise: str) -> Redirect:
    """Sign in somebody who has just set this password; to the login with a notice if that cannot be now."""
    try:
        started = sent.services.logins.log_in_browser(userid, password, sent.origin)
    except (CredentialRefused, TooBusy, TooManyFailures):
        return see_other(f"/login?notice={otherwise}", expired_cookie(sent.services))
    return see_other(START, session_cookie(sent.services, started.cookie))
