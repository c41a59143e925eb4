"""Signing in and out, and the very first set-up."""

import re

from litestar import Response, get, post
from litestar.params import FromQuery, RawBody
from litestar.response import Redirect

from keyturn.composition import Services
from keyturn.core.audit import AuditAction
from keyturn.errors import CredentialRefused, InvalidInput, KeyturnError, NotFound, TooBusy, TooManyFailures
from keyturn.verifying.origin import Origin
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import InjectedPages, Pages, see_other
from keyturn.web.pages.frame.visitors import (
    expired_cookie,
    find_visitor,
    open_form,
    require_visitor,
    session_cookie,
    session_form,
)
from keyturn.web.requests import AnyRequest, InjectedOrigin, InjectedServices, in_thread

START = "/profile"
_LOCAL_TARGET = re.compile(r"/(profile|admin)(/[a-z0-9/-]*)?|/device(\?user_code=[A-Z]{4}-[A-Z]{4})?")

_NOTICES = {
    "signed-out": "You are signed out.",
    "set-up": "The administrator is made. Sign in to generate your first key.",
    "passphrase-set": "Your passphrase is set. Sign in with it.",
}


@get("/", include_in_schema=False, sync_to_thread=False)
def home() -> Redirect:
    """Lead to the profile, or by way of it to the login."""
    return see_other(START)


@get("/login", include_in_schema=False)
@in_thread
def login_page(
    request: AnyRequest,
    services: InjectedServices,
    pages: InjectedPages,
    then: FromQuery[str | None] = None,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the form; send a person who is signed in on."""
    target = _target(then)
    if find_visitor(request, services) is not None:
        return see_other(target)
    return _login(services, pages, {"next": target}, notice=_NOTICES.get(notice or ""))


@post("/login", include_in_schema=False)
@in_thread
def log_in(
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    pages: InjectedPages,
    origin: InjectedOrigin,
) -> Response[str]:
    """Start a session with a new id, and end the one that this browser had."""
    form = open_form(request, body, services)
    target = _target(form.get("next"))
    userid, iamid = form.get("userid", ""), form.get("iamid") or None
    try:
        started = services.logins.log_in_browser(userid, form.get("password", ""), origin, iamid=iamid)
    except (CredentialRefused, TooBusy, TooManyFailures) as error:
        typed = {"next": target, "userid": userid, "iamid": iamid or ""}
        return _login(services, pages, typed, refused=error)
    end_session(request, services, origin)
    return see_other(target, session_cookie(services, started.cookie))


def _login(
    services: Services,
    pages: Pages,
    values: dict[str, str],
    *,
    notice: str | None = None,
    refused: KeyturnError | None = None,
) -> Response[str]:
    providers = [(one.iamid, one.display_name) for one in services.identity if one.takes_password]
    return pages.render(
        "sign_in/login.html", notice=notice, refused=refused, providers=providers, values=values
    )


@post("/logout", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def log_out(
    request: AnyRequest, body: RawBody, services: InjectedServices, origin: InjectedOrigin
) -> Redirect:
    """End the session on the server, and let the browser forget it."""
    session_form(request, body, services, require_visitor(request, services))
    end_session(request, services, origin)
    return see_other("/login?notice=signed-out", expired_cookie(services))


@get("/setup", include_in_schema=False)
@in_thread
def setup_page(services: InjectedServices, pages: InjectedPages) -> Response[str]:
    """Show the form that makes the first administrator, while there is no user."""
    _check_setup_is_open(services)
    return pages.render("sign_in/setup.html")


@post("/setup", include_in_schema=False)
@in_thread
def set_up(
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    pages: InjectedPages,
    origin: InjectedOrigin,
) -> Response[str]:
    """Make the first administrator with the printed code, once."""
    _check_setup_is_open(services)
    form = open_form(request, body, services)
    try:
        check_repeated(form)
        user = services.users.add_first(
            code=form.get("code", ""),
            userid=form.get("userid", ""),
            name=form.get("name"),
            password=form.get("password", ""),
            origin=origin,
        )
        if user is None:
            raise InvalidInput("code", "This is not the code that the server printed at its last start.")
    except InvalidInput as error:
        kept = {name: form.get(name, "") for name in ("code", "userid", "name")}
        return pages.render("sign_in/setup.html", refused=error, values=kept)
    return see_other("/login?notice=set-up")


def _check_setup_is_open(services: Services) -> None:
    if not services.installation.is_setup_open():
        raise NotFound


def check_repeated(form: dict[str, str]) -> None:
    """Raise `InvalidInput` unless the new passphrase was typed twice alike."""
    if form.get("password") != form.get("password_again"):
        raise InvalidInput("password_again", "The two passphrases differ.")


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
