"""What a handler of a page is given: who looks, at what, and what their form says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from litestar import Response
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import RawBody, SkipValidation

from keyturn.composition import Services
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.errors import (
    Conflict,
    InvalidInput,
    InvalidState,
    KeyturnError,
    NotFound,
    PermissionMissing,
    QuotaExceeded,
    TooManyFailures,
)
from keyturn.verifying.origin import Origin
from keyturn.web.pages.frame.reauthentication import proven
from keyturn.web.pages.frame.rendering import InjectedPages, Pages
from keyturn.web.pages.frame.visitors import (
    AnyConnection,
    Visitor,
    require_visitor,
    session_form,
)
from keyturn.web.requests import AnyRequest, InjectedServices, origin_of

TOLD_ON_THE_PAGE = (
    Conflict,
    InvalidInput,
    InvalidState,
    PermissionMissing,
    QuotaExceeded,
    TooManyFailures,
)
"""What a person can mend, or understand, where they are. Everything else gets a page of its own."""

WAS = "was."
"""What the name of the field begins with that holds what the page had shown in another."""

Guard = Callable[[AnyConnection, BaseRouteHandler], None]


@dataclass(frozen=True, slots=True)
class View:
    """Somebody who is signed in looks at a page."""

    services: Services
    pages: Pages
    visitor: Visitor
    origin: Origin

    @property
    def principal(self) -> Principal:
        """Who looks."""
        return self.visitor.session.principal

    def render(self, template: str, *, error: KeyturnError | None = None, **context: Any) -> Response[str]:
        """Return the page, with what went wrong on it."""
        return self.pages.render(template, self.visitor, refused=error, **context)


@dataclass(frozen=True, slots=True)
class SubmittedForm(View):
    """Somebody who is signed in has sent a form of one of our pages."""

    form: dict[str, str] = field(repr=False)

    def text(self, name: str) -> str | None:
        """Return what a field says, None if nothing."""
        return self.form.get(name, "").strip() or None

    def changed(self, *names: str) -> dict[str, str]:
        """Return what was typed into these fields, without those that say what the page had shown there.

        What somebody else changed meanwhile stays so.
        """
        typed = {name: self.form.get(name, "").strip() for name in names}
        shown = {name: self.form.get(f"{WAS}{name}") for name in names}
        return {
            name: text for name, text in typed.items() if (was := shown[name]) is None or text != was.strip()
        }

    def ticked(self, prefix: str) -> list[str]:
        """Return what follows `prefix` in the names of the boxes that are ticked."""
        return [name.removeprefix(prefix) for name in self.form if name.startswith(prefix)]


InjectedView = NamedDependency[SkipValidation[View]]
InjectedForm = NamedDependency[SkipValidation[SubmittedForm]]


def admits(*any_of: Permission) -> Guard:
    """Return a guard that lets in whoever is signed in and holds one of the permissions, if any are named.

    A stranger is sent to the login. For anybody else there is no such page, whatever they send to it.
    """

    def check(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
        visitor = require_visitor(connection, connection.app.state.services)
        if any_of and not visitor.session.principal.may(*any_of):
            raise NotFound
        connection.scope["state"]["visitor"] = visitor

    return check


def view_of(request: AnyRequest, services: InjectedServices, pages: InjectedPages) -> View:
    """Return who looks, whom the guard has let in."""
    return View(services, pages, request.scope["state"]["visitor"], origin_of(request))


def form_of(
    request: AnyRequest, body: RawBody, services: InjectedServices, pages: InjectedPages
) -> SubmittedForm:
    """Return who sends which form; raise `ForeignForm` if it is none of ours.

    Raise `LoginNeeded` for a stranger, and `PassphraseNeeded` for whoever must give the passphrase first.
    """
    visitor: Visitor = request.scope["state"].get("visitor") or require_visitor(request, services)
    visitor, form = proven(request, services, visitor, session_form(request, body, services, visitor))
    return SubmittedForm(services, pages, visitor, origin_of(request), form)
