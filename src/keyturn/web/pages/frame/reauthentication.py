"""The page that asks for the password again, and then goes on with what the person wanted to do.

Every form asks, once the password was given too long ago in its session, unless its declaration
says `asks=NEVER_ASKS`, or with which fields it asks alone: a form that is forgotten asks too often.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from litestar import Response
from litestar.types import Message, Scope

from keyturn.composition import Services
from keyturn.errors import CredentialRefused, InvalidInput, KeyturnError, Reason, TooBusy, TooManyFailures
from keyturn.services.people.sessions import BrowserSession
from keyturn.web.pages.frame.rendering import Pages
from keyturn.web.pages.frame.visitors import AnyConnection, Visitor, session_cookie
from keyturn.web.requests import AnyRequest, origin_of

FIELD = "own_password"
"""The input of the password, beside those of the form that was sent."""
_RULE = "asks_for_password"
_COOKIE = "renewed_session"

Form = Mapping[str, str]
Asks = Callable[[Form], bool]

ALWAYS_ASKS: Mapping[str, Any] = {}
NEVER_ASKS: Mapping[str, Any] = {_RULE: None}
"""For a form that makes no key and gives no right, or asks for the password itself."""


def asks_if(**fields: str | None) -> Mapping[str, Any]:
    """Return the rule of a form that asks where a field says this, or, for None, anything at all."""

    def asks(form: Form) -> bool:
        return any(
            bool(form.get(name, "").strip()) if value is None else form.get(name) == value
            for name, value in fields.items()
        )

    return {_RULE: asks}


class PasswordNeeded(Exception):
    """A form was sent that is done only after the password; `error` is what was wrong with the last one."""

    def __init__(self, visitor: Visitor, form: Form, error: KeyturnError | None = None) -> None:
        super().__init__()
        self.visitor = visitor
        self.form = form
        self.error = error


def is_asked(connection: AnyConnection, form: Form) -> bool:
    """Return whether what this form asks for may need the password."""
    opt: Mapping[str, Any] = connection.route_handler.opt
    asks: Asks | None = opt.get(_RULE, lambda _form: True)
    return asks is not None and asks(form)


def proven(
    request: AnyRequest, services: Services, visitor: Visitor, form: dict[str, str]
) -> tuple[Visitor, dict[str, str]]:
    """Return who sends which form, once they have proved the password lately; raise `PasswordNeeded`.

    With a right one the session has a new id from then on.
    """
    typed = form.get(FIELD)
    form = {name: value for name, value in form.items() if name != FIELD}
    if not is_asked(request, form) or not services.reauthentication.is_due(visitor.session):
        return visitor, form
    if typed is None:
        raise PasswordNeeded(visitor, form)
    try:
        cookie = services.reauthentication.prove(
            visitor.session, typed, field=FIELD, origin=origin_of(request)
        )
    except (InvalidInput, TooBusy, TooManyFailures) as error:
        raise PasswordNeeded(visitor, form, error) from None
    request.scope["state"][_COOKIE] = session_cookie(services, cookie).to_encoded_header()
    session = services.sessions.find(cookie)
    return (visitor if session is None else replace(visitor, session=session)), form


def ask(request: AnyRequest, needed: PasswordNeeded) -> Response[str]:
    """Ask for the password, with everything that the form said."""
    pages: Pages = request.app.state.pages
    page = pages.render(
        "frame/reauthentication.html",
        needed.visitor,
        refused=needed.error,
        action=request.scope["path"],
        sent={name: value for name, value in needed.form.items() if name != "csrf"},
        name=FIELD,
    )
    if needed.error is None:
        request.scope["state"]["failure"] = PasswordNeeded.__name__
        page.status_code = HTTPStatus.FORBIDDEN
    return page


def keep_session(request: AnyRequest, services: Services, cookie: str) -> BrowserSession:
    """Send the browser this new session with whatever is answered, and return it.

    Raise `CredentialRefused` if it has ended already.
    """
    request.scope["state"][_COOKIE] = session_cookie(services, cookie).to_encoded_header()
    session = services.sessions.find(cookie)
    if session is None:
        raise CredentialRefused(Reason.REVOKED)
    return session


async def send_renewed_session(message: Message, scope: Scope) -> None:
    """Send the new id of a session with whatever is answered, an error too: the old one is dead."""
    if message["type"] == "http.response.start" and _COOKIE in scope["state"]:
        message["headers"] = [*message["headers"], scope["state"][_COOKIE]]
