"""The frame of a page's form: what can go wrong, and how it is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from litestar import Response
from litestar.handlers import HTTPRouteHandler

from keyturn.errors import Conflict, CredentialRefused, InvalidInput, NotFound, Reason, TooManyFailures
from keyturn.web.pages.frame.forms import asset, at_field, form, page, parts_of, typed_in
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.tabs import ANYBODY, GROUPS, PROFILE, Part
from keyturn.web.pages.frame.views import OpenForm, OpenView
from keyturn.web.routes import OPEN, HeaderSet, declared_by

TYPED = {"name": "x", "password": "secret one", "password_again": "secret one", "current_password": "secret"}


def sent(fields: dict[str, str]) -> OpenForm:
    nothing: Any = None
    return OpenForm(services=nothing, pages=nothing, origin=nothing, form=fields)


@page("/{number:str}", GROUPS)
def shown(view: OpenView, number: str, notice: str | None = None) -> Response[Any]:
    """Show what it was given."""
    return Response((view.error, dict(view.values), number, notice))


def framed(error: Exception | None, **options: Any) -> HTTPRouteHandler:
    @form("/{number:str}", GROUPS, again=shown, **options)
    def save(number: str, sent: OpenForm) -> Response[Any]:
        if error is not None:
            raise error
        return Response((sent.form["name"], number))

    return save


def content_of(handler: HTTPRouteHandler, **arguments: Any) -> Any:
    called: Any = handler.fn
    return asyncio.run(called(**arguments)).content


def test_what_works_is_what_the_handler_returns() -> None:
    """A handler says what happens, and the frame adds nothing."""
    assert content_of(framed(None), number="7", sent=sent(TYPED)) == ("x", "7")


@pytest.mark.parametrize(
    "error",
    [InvalidInput("name", "No."), Conflict("No."), TooManyFailures(retry_after=3)],
    ids=lambda error: type(error).__name__,
)
def test_what_a_person_can_mend_is_told_on_the_page_of_the_form(error: Exception) -> None:
    """The page has the error and what was typed, but no password, and the arguments that it names."""
    told = content_of(framed(error), number="7", sent=sent(TYPED))
    assert told == (error, {"name": "x"}, "7", None)


def test_a_form_that_nobody_typed_keeps_nothing() -> None:
    """Where the fields are those of a button they are not shown in the inputs of another form."""
    error = InvalidInput("name", "No.")
    assert content_of(framed(error, keeps=False), number="7", sent=sent(TYPED)) == (error, {}, "7", None)


@pytest.mark.parametrize("error", [NotFound(), CredentialRefused(Reason.LOGIN_FAILED), ValueError("defect")])
def test_everything_else_has_a_page_of_its_own(error: Exception) -> None:
    """What is not there, what must not be told here, and a defect go through the frame."""
    with pytest.raises(type(error)):
        content_of(framed(error), number="7", sent=sent(TYPED))


def test_a_form_may_tell_of_more() -> None:
    """The login tells of a wrong password on its page, not by leading to itself."""
    error = CredentialRefused(Reason.LOGIN_FAILED)
    handler = framed(error, also=(CredentialRefused,))
    assert content_of(handler, number="7", sent=sent(TYPED))[0] is error


def test_a_form_must_take_what_its_page_needs() -> None:
    """That an argument is missing is told when the module is imported, not when a person errs."""
    with pytest.raises(TypeError, match=r"number"):

        @form("/new", GROUPS, again=shown)
        def save(sent: OpenForm) -> None:
            pass


def test_no_password_is_shown_again() -> None:
    """Whatever a field of a password is called in our pages, its text is dropped."""
    assert typed_in({**TYPED, "own_password": "secret", "password": "secret"}) == {"name": "x"}


def test_an_error_is_told_at_the_input_of_the_form() -> None:
    """A field that the service calls otherwise keeps its message and code; others stay as they are."""
    with pytest.raises(InvalidInput, match="Taken") as caught, at_field(scopes="scope"):
        raise InvalidInput("scopes", "Taken.", code="unique")
    assert (caught.value.field, caught.value.code) == ("scope", "unique")
    with pytest.raises(InvalidInput) as caught, at_field(scopes="scope"):
        raise InvalidInput("name", "No.")
    assert caught.value.field == "name"


def test_a_page_says_who_is_let_in() -> None:
    """A page without a part is not taken: forgetting it opens nothing."""
    with pytest.raises(TypeError, match="who is let in"):
        page("/things")(lambda: None)


def test_a_page_stands_in_each_of_its_parts() -> None:
    """From its parts follow its paths and who is let in; from a section, that all below is pages."""
    other = Part("/profile/things")

    @form("/", GROUPS, other, asks=NEVER_ASKS)
    def save(sent: OpenForm) -> None:
        pass

    first, second = declared_by(save)
    assert parts_of(save) == (GROUPS, other)
    assert (first.method, first.path, first.access.any_of) == ("POST", "/admin/groups", GROUPS.any_of)
    assert (second.path, second.access.any_of, second.access.is_open) == ("/profile/things", (), False)
    assert (first.section, second.section) == ("/admin", "/profile")
    assert first.is_page
    assert (first.headers, second.headers) == (HeaderSet.CONNECTING_DOCUMENT, HeaderSet.DOCUMENT)
    assert not declared_by(page("/", PROFILE)(lambda: None))[0].access.is_open
    assert declared_by(page("/login", ANYBODY)(lambda: None))[0].access.is_open
    (file,) = declared_by(asset("/static/{name:str}")(lambda: None))
    assert (file.access, file.is_page) == (OPEN, False)
