"""Arguments of a page's handler: the visitor, the page, and the submitted form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any

from litestar import Response
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import RawBody, SkipValidation

from keyturn.composition import Services
from keyturn.core.principal import Principal
from keyturn.errors import (
    ChangeRefused,
    Conflict,
    InvalidInput,
    InvalidState,
    KeyturnError,
    NotFound,
    PermissionMissing,
    QuotaExceeded,
    TooBusy,
    TooManyFailures,
)
from keyturn.verifying.origin import Origin
from keyturn.web.pages.frame.reauthentication import proven
from keyturn.web.pages.frame.rendering import InjectedPages, Pages
from keyturn.web.pages.frame.tabs import Part
from keyturn.web.pages.frame.visitors import (
    AnyConnection,
    Visitor,
    open_form,
    require_visitor,
    session_form,
)
from keyturn.web.requests import AnyRequest, InjectedServices, origin_of

TOLD_ON_THE_PAGE = (
    ChangeRefused,
    Conflict,
    InvalidInput,
    InvalidState,
    PermissionMissing,
    QuotaExceeded,
    TooBusy,
    TooManyFailures,
)
"""Errors that a person can mend, or understand, on the page where they are. Everything else gets a page of
its own."""

WAS = "was."
"""The prefix of the field that holds the value that the page had shown in another."""

Guard = Callable[[AnyConnection, BaseRouteHandler], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenView:
    """Somebody looks at a page that is for strangers too."""

    services: Services
    pages: Pages
    origin: Origin
    error: KeyturnError | None = None
    """The error of the form for which the page is shown again."""
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The values that were typed there."""
    notice: str | None = None
    """A word on the page besides its own."""

    @property
    def seen_by(self) -> Visitor | None:
        """The person that the head of the page names."""
        return None

    def render(self, template: str, *, error: KeyturnError | None = None, **context: Any) -> Response[str]:
        """Return the page, with what went wrong and what was typed; `context` may have other `values`."""
        shown = {"values": self.values, **context}
        if self.notice is not None:
            shown["notice"] = self.notice
        return self.pages.render(template, self.seen_by, refused=error or self.error, **shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenForm(OpenView):
    """Somebody has sent a form that a stranger may send."""

    form: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class View(OpenView):
    """Somebody who is signed in looks at a page."""

    visitor: Visitor

    @property
    def seen_by(self) -> Visitor | None:
        """Who looks."""
        return self.visitor

    @property
    def principal(self) -> Principal:
        """Who looks."""
        return self.visitor.session.principal

    @property
    def zone(self) -> tzinfo:
        """The zone in which they read times and mean days: that of their profile, or UTC."""
        return self.visitor.session.time_zone or UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedForm(View):
    """Somebody who is signed in has sent a form of one of our pages."""

    form: dict[str, str] = field(repr=False)

    def text(self, name: str) -> str | None:
        """Return what a field says, None if nothing."""
        return self.form.get(name, "").strip() or None

    def changed(self, *names: str) -> dict[str, str]:
        """Return what was typed into these fields, without those that say what the page had shown there.

        Changes that somebody else made meanwhile stay.
        """
        typed = {name: self.form.get(name, "").strip() for name in names}
        shown = {name: self.form.get(f"{WAS}{name}") for name in names}
        return {
            name: text for name, text in typed.items() if (was := shown[name]) is None or text != was.strip()
        }

    def ticked(self, prefix: str) -> list[str]:
        """Return what follows `prefix` in the names of the boxes that are ticked."""
        return [name.removeprefix(prefix) for name in self.form if name.startswith(prefix)]


InjectedOpenView = NamedDependency[SkipValidation[OpenView]]
InjectedOpenForm = NamedDependency[SkipValidation[OpenForm]]
InjectedView = NamedDependency[SkipValidation[View]]
InjectedForm = NamedDependency[SkipValidation[SubmittedForm]]


def admits(part: Part) -> Guard:
    """Return a guard that lets in those whom a part is for.

    A stranger is sent to the login. For anybody else there is no such page, whatever they send to it.
    """

    def check(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
        visitor = require_visitor(connection, connection.app.state.services)
        if part.any_of and not visitor.session.principal.may(*part.any_of):
            raise NotFound
        if part.is_for_connections and not visitor.sees_connections:
            raise NotFound
        connection.scope["state"]["visitor"] = visitor

    return check


def open_view_of(request: AnyRequest, services: InjectedServices, pages: InjectedPages) -> OpenView:
    """Return that somebody looks."""
    return OpenView(services=services, pages=pages, origin=origin_of(request))


def open_form_of(
    request: AnyRequest, body: RawBody, services: InjectedServices, pages: InjectedPages
) -> OpenForm:
    """Return the form that somebody sends; raise `ForeignForm` if it is none of ours."""
    sent = open_form(request, body, services)
    return OpenForm(services=services, pages=pages, origin=origin_of(request), form=sent)


def view_of(request: AnyRequest, services: InjectedServices, pages: InjectedPages) -> View:
    """Return who looks, whom the guard has let in."""
    return View(services=services, pages=pages, origin=origin_of(request), visitor=visitor_of(request))


def form_of(
    request: AnyRequest, body: RawBody, services: InjectedServices, pages: InjectedPages
) -> SubmittedForm:
    """Return who sends which form, whom the guard has let in; raise `ForeignForm` if it is none of ours.

    Raise `PasswordNeeded` for whoever must give the password first.
    """
    visitor = visitor_of(request)
    visitor, form = proven(request, services, visitor, session_form(request, body, services, visitor))
    return SubmittedForm(
        services=services, pages=pages, origin=origin_of(request), visitor=visitor, form=form
    )


def visitor_of(request: AnyRequest) -> Visitor:
    """Return who is signed in, whom the guard has let in."""
    visitor: Visitor = request.scope["state"]["visitor"]
    return visitor
