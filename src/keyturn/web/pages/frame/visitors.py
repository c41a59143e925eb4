"""The visitor of a page, and the check that a form came from one of ours."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from keyturn.composition import Services
from keyturn.core.permissions import Permission
from keyturn.errors import ForeignForm
from keyturn.services.people.sessions import (
    LOOPBACK_SESSION_COOKIE,
    SESSION_COOKIE,
    BrowserSession,
    is_csrf_token,
)
from keyturn.web.bodies import FORM, MAX_FORM_FIELDS, media_type, read_form
from keyturn.web.requests import AnyRequest

AnyConnection = ASGIConnection[Any, Any, Any, Any]

MAX_FIELDS_OF_A_PAGE = 251
"""Enough for a box for each of many scopes or groups, and for the password when it is asked for again."""

_FORM_EXPIRED = (
    "The form did not come from a page of this session, so nothing was changed. Go back, reload the page, "
    "and send it again."
)
_OWN_FETCH_SITES = frozenset({"same-origin", "none"})
"""Ours, or a person who typed the address (W3C Fetch Metadata)."""


class LoginNeeded(Exception):
    """The page is for people who are signed in; `path` is where they wanted to go."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def initials_of(name: str) -> str:
    """Return the first letters of the first and the last word of a name, or of a user name."""
    words = [word for word in re.split(r"[\s@._-]+", name) if word]
    chosen = words[:1] if "@" in name or len(words) < 2 else [words[0], words[-1]]
    return "".join(word[0] for word in chosen).upper()


@dataclass(frozen=True, slots=True)
class Person:
    """The signed-in person, for the page's head."""

    userid: str
    name: str | None

    @property
    def initials(self) -> str:
        """The letters that stand for the person where there is no room for the name."""
        return initials_of(self.name or self.userid)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person with their session."""

    session: BrowserSession
    keeps_service_accounts: bool = False
    """Whether they manage service accounts as an owner, and not as an administrator."""
    sees_connections: bool = False
    """Whether there is a connection that they see, or they see all there will be."""

    @property
    def person(self) -> Person:
        """Who it is."""
        return Person(self.session.principal.userid, self.session.principal.name)


InjectedVisitor = NamedDependency[SkipValidation[Visitor]]


def session_cookie_name(services: Services) -> str:
    """Return the name of the session cookie; the plain one only where http is allowed, on loopback."""
    return SESSION_COOKIE if services.settings.uses_https else LOOPBACK_SESSION_COOKIE


def session_cookie(services: Services, value: str) -> Cookie:
    """Return the cookie of a new session, which ends with the browser."""
    return Cookie(
        key=session_cookie_name(services),
        value=value,
        path="/",
        httponly=True,
        samesite="lax",
        secure=services.settings.uses_https,
    )


def expired_cookie(services: Services) -> Cookie:
    """Return the cookie that makes a browser forget its session."""
    cookie = session_cookie(services, "")
    cookie.max_age = 0
    return cookie


def find_visitor(request: AnyConnection, services: Services) -> Visitor | None:
    """Return who is signed in with the cookie of this request."""
    cookie = request.cookies.get(session_cookie_name(services))
    session = services.sessions.find(cookie) if cookie else None
    return None if session is None else Visitor(session)


def require_visitor(request: AnyConnection, services: Services) -> Visitor:
    """Return who is signed in; raise `LoginNeeded`."""
    visitor = find_visitor(request, services)
    if visitor is None:
        raise LoginNeeded(request.url.path)
    return known_visitor(services, visitor.session)


def known_visitor(services: Services, session: BrowserSession) -> Visitor:
    """Return whose session this is, with what their pages need to know of them."""
    principal = session.principal
    sees_connections = (
        services.connection_access.sees_all(principal)
        or services.connections.search(principal, size=1).count > 0
    )
    if principal.may(Permission.USER_ADMIN):
        return Visitor(session, sees_connections=sees_connections)
    owned = services.service_accounts.list_visible(principal, size=1)
    return Visitor(session, keeps_service_accounts=owned.count > 0, sees_connections=sees_connections)


def open_form(
    request: AnyRequest, body: bytes, services: Services, *, max_fields: int = MAX_FORM_FIELDS
) -> dict[str, str]:
    """Return a form that a stranger may send; raise `ForeignForm` if another site's page sent it (L8)."""
    check_same_origin(request, services)
    if media_type(request.headers.get("content-type")) != FORM:
        raise ForeignForm(_FORM_EXPIRED)
    return read_form(body, max_fields=max_fields)


def session_form(request: AnyRequest, body: bytes, services: Services, visitor: Visitor) -> dict[str, str]:
    """Return a form that carries the token of the session; raise `ForeignForm` for any other."""
    form = open_form(request, body, services, max_fields=MAX_FIELDS_OF_A_PAGE)
    if not is_csrf_token(form.get("csrf", ""), visitor.session.csrf_token):
        raise ForeignForm(_FORM_EXPIRED)
    return form


def check_same_origin(request: AnyRequest, services: Services) -> None:
    """Raise `ForeignForm` if the browser says that another site's page made this request.

    `Sec-Fetch-Site` decides where there is one: no script can set it. `Origin` is "null" on our own forms,
    since the pages ask for no referrer (Fetch, "append a request Origin header"), and is judged only
    beside that or when it names a site.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in _OWN_FETCH_SITES:
        raise ForeignForm(_FORM_EXPIRED)
    origin = request.headers.get("origin")
    if origin is None or (origin == "null" and site is not None):
        return
    if origin not in _own_origins(request, services):
        raise ForeignForm(_FORM_EXPIRED)


def is_surely_ours(request: AnyRequest, services: Services) -> bool:
    """Return whether the browser itself says that a page of ours made this request, which passed the check.

    The values of a form are shown again only then, since nothing else keeps another site from filling one in.
    """
    own = _own_origins(request, services)
    return request.headers.get("sec-fetch-site") == "same-origin" or request.headers.get("origin") in own


def _own_origins(request: AnyRequest, services: Services) -> frozenset[str]:
    scheme = urlsplit(services.settings.public_url).scheme
    own_host = request.headers.get("host", "").lower()
    return frozenset({services.settings.public_url, f"{scheme}://{own_host}"})
