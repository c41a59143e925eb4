"""The declaration of a page and of a form, and the frame in which a form's handler runs.

    @page("/new", GROUPS)
    def new_page(view: InjectedView) -> Response[str]:
        return view.render("people/group_new.html")

    @form("/new", GROUPS, asks=NEVER_ASKS, again=new_page)
    def create(sent: InjectedForm) -> Redirect:
        group = sent.services.groups.add(…)
        return see_other(…)

A declaration says where a page is, in which parts, and so who is let in, and whether a form asks for the
password first. A handler says what happens. The frame says what can go wrong: it shows the page of the form
again, with the status of the error, its message at its field, what was typed, and its name in the log.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from http import HTTPStatus
from inspect import iscoroutinefunction, signature
from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from keyturn.core.principal import Principal
from keyturn.errors import InvalidInput, KeyturnError
from keyturn.web.pages.frame.reauthentication import ALWAYS_ASKS
from keyturn.web.pages.frame.secret_texts import looks_secret
from keyturn.web.pages.frame.tabs import ANYBODY, Part
from keyturn.web.pages.frame.views import TOLD_ON_THE_PAGE, Guard, SubmittedForm
from keyturn.web.requests import in_thread
from keyturn.web.routes import OPEN, Handler, HeaderSet, Method, Route, RouteAccess, declared_by, serving

PARTS = "parts"
"""Where a handler keeps the parts that it stands in, among the framework's options."""

SHOWN = "shown"
"""Where the handler of a page keeps the function that returns it."""

AGAIN = "again"
"""Where the handler of a form keeps the function that shows it again, and whether with what was typed."""

Shown = Callable[..., Response[Any]]
Declare = Callable[[Handler], HTTPRouteHandler]

_SECRETS = frozenset({"password", "password_again", "current_password", "own_password"})
"""The fields that are never shown again."""
SECRET = "secret."
"""The beginning of the names of others that are not, such as the secrets of a connection."""


def page(path: str, *parts: Part, guard: Guard | None = None) -> Declare:
    """Declare a page below each of these parts. It may wait: it runs in a thread.

    `guard` is asked after that of the part.
    """

    def declare(handler: Handler) -> HTTPRouteHandler:
        return _declared("GET", path, parts, _waiting(handler), opt={SHOWN: handler}, guard=guard)

    return declare


def asset(*paths: str, headers: HeaderSet = HeaderSet.DOCUMENT, method: Method = "GET") -> Declare:
    """Declare what anybody may ask for, whether they have a session or not."""

    def declare(handler: Handler) -> HTTPRouteHandler:
        return serving(
            _waiting(handler),
            [Route(method, path, OPEN, headers) for path in paths],
            paths=list(paths),
            status_code=HTTPStatus.OK,
            opt={PARTS: (ANYBODY,)},
            include_in_schema=False,
        )

    return declare


def form(
    path: str,
    *parts: Part,
    again: HTTPRouteHandler | Shown | None = None,
    asks: Mapping[str, Any] = ALWAYS_ASKS,
    keeps: bool = True,
    also: tuple[type[KeyturnError], ...] = (),
    guard: Guard | None = None,
) -> Declare:
    """Declare a form below each of these parts. It runs in a thread.

    Where the handler raises what a person can mend, or one of `also`, the answer is the page `again`. It is
    given the form as its `view`, which has the error and what was typed, and those arguments of the handler
    that it names. `keeps` is False where nobody typed what the form says. Without `again`, for a form of
    one button, and for every other error, the answer is a page of the error alone.
    """

    def declare(handler: Handler) -> HTTPRouteHandler:
        framed, opt = handler, asks
        if again is not None:
            shown = again.opt[SHOWN] if isinstance(again, HTTPRouteHandler) else again
            framed = _framed(handler, shown, told=(*TOLD_ON_THE_PAGE, *also), keeps=keeps)
            opt = {**asks, AGAIN: (shown, keeps)}
        return _declared("POST", path, parts, _waiting(framed), opt=opt, guard=guard)

    return declare


def parts_of(handler: HTTPRouteHandler) -> tuple[Part, ...]:
    """Return the parts that a page stands in."""
    parts: tuple[Part, ...] = handler.opt[PARTS]
    return parts


@contextmanager
def at_field(**fields: str) -> Iterator[None]:
    """Say at the inputs of a form what is wrong with fields that the service calls otherwise."""
    try:
        yield
    except InvalidInput as error:
        if error.field not in fields:
            raise
        raise InvalidInput(fields[error.field], str(error), code=error.code) from None


def without_secrets(form: Mapping[str, str], key_prefix: str, *, but: Collection[str] = ()) -> dict[str, str]:
    """Return what a form says that may be sent once more: no password, and nothing that looks like a key.

    `but` are further fields that are left out.
    """
    return {
        name: text
        for name, text in typed_in(form).items()
        if name not in but and not any(looks_secret(one, key_prefix) for one in (name, text))
    }


def typed_in(form: Mapping[str, str]) -> dict[str, str]:
    """Return what a page shows again of a form: no password or other secret."""
    return {name: text for name, text in form.items() if name not in _SECRETS and not name.startswith(SECRET)}


@dataclass(frozen=True, slots=True)
class FoundForm:
    """A form at one path, as it is shown again."""

    shown: Shown
    part: Part
    keeps: bool
    """Whether somebody typed what it says."""
    ids: Mapping[str, str]
    """The values of the parameters of its path."""

    def show(self, view: SubmittedForm) -> Response[Any]:
        """Return its page; raise what the page raises."""
        known = {**self.ids, "account_list": self.part}
        wanted = signature(self.shown).parameters
        return self.shown(view=view, **{name: value for name, value in known.items() if name in wanted})


class Forms:
    """The forms of all pages, by their paths."""

    def __init__(self, handlers: Iterable[HTTPRouteHandler]) -> None:
        self._forms: list[tuple[re.Pattern[str], HTTPRouteHandler, Part]] = []
        self._pages: list[re.Pattern[str]] = []
        for handler in handlers:
            for declared, part in zip(declared_by(handler), parts_of(handler), strict=False):
                pattern = re.compile(re.sub(r"\{(\w+):str\}", r"(?P<\1>[^/]+)", declared.path))
                if declared.method == "GET":
                    self._pages.append(pattern)
                elif AGAIN in handler.opt and not part.is_open:
                    self._forms.append((pattern, handler, part))
        self._forms.sort(key=lambda one: one[0].groups)  # /groups/new before /groups/{group_id}.

    def find(self, path: str, principal: Principal) -> FoundForm | None:
        """Return the form that is sent to this path, if it is for this person and can be shown again."""
        for pattern, handler, part in self._forms:
            if (found := pattern.fullmatch(path)) and (not part.any_of or principal.may(*part.any_of)):
                shown, keeps = handler.opt[AGAIN]
                return FoundForm(shown, part, keeps, found.groupdict())
        return None

    def has_page(self, path: str) -> bool:
        """Return whether there is a page at this path."""
        return any(pattern.fullmatch(path) for pattern in self._pages)


def _framed(handler: Handler, shown: Shown, *, told: tuple[type[KeyturnError], ...], keeps: bool) -> Handler:
    """Return the handler in its frame; raise `TypeError` if it lacks an argument that the page needs."""
    wanted = signature(shown).parameters
    given = signature(handler).parameters.keys() & wanted.keys()
    if missing := {name for name, one in wanted.items() if one.default is one.empty} - given - {"view"}:
        raise TypeError(f"{handler.__qualname__} does not take what its page needs: {sorted(missing)}.")

    @wraps(handler)
    def run(**arguments: Any) -> Any:
        sent = arguments["sent"]
        try:
            return handler(**arguments)
        except told as error:
            refused = replace(sent, error=error, values=typed_in(sent.form) if keeps else {})
            return shown(view=refused, **{name: arguments[name] for name in given})

    return run


def _waiting(handler: Handler) -> Handler:
    return handler if iscoroutinefunction(handler) else in_thread(handler)


def _declared(
    method: Method,
    path: str,
    parts: tuple[Part, ...],
    handler: Handler,
    *,
    opt: Mapping[str, Any] | None = None,
    guard: Guard | None = None,
) -> HTTPRouteHandler:
    if not parts:
        raise TypeError(f"{handler.__qualname__} says of no part who is let in: name one, or ANYBODY.")
    return serving(
        handler,
        [_route(method, path, part) for part in parts],
        paths=[path],
        opt={**(opt or {}), PARTS: parts},
        guards=None if guard is None else [guard],
        include_in_schema=False,
    )


def _route(method: Method, path: str, part: Part) -> Route:
    return Route(
        method,
        (part.path.rstrip("/") + path).rstrip("/") or "/",
        RouteAccess(part.any_of, is_open=part.is_open),
        HeaderSet.CONNECTING_DOCUMENT if part.asks else HeaderSet.DOCUMENT,
        is_page=True,
        section="/" + part.path.split("/")[1] if part.is_section else None,
    )
