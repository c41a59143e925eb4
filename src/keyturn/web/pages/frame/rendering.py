"""Templates to answers."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from http import HTTPStatus
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from litestar import MediaType, Response
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Redirect

from keyturn.core.permissions import Permission
from keyturn.core.shown import shown
from keyturn.core.times import wire_time
from keyturn.errors import Ambiguous, InvalidInput, KeyturnError
from keyturn.system import System
from keyturn.web.pages.frame import moments
from keyturn.web.pages.frame.tabs import visible_tabs
from keyturn.web.pages.frame.visitors import Visitor, initials_of
from keyturn.web.requests import Refusal
from keyturn.web.responses import response_of

PRODUCT = "Keyturn"


def see_other(path: str, *cookies: Cookie) -> Redirect:
    """Lead a browser on with GET (RFC 9110, section 15.4.4): a reload then repeats no form."""
    return Redirect(path, status_code=303, cookies=list(cookies))


class Pages:
    """Renders templates with what every page needs."""

    def __init__(
        self, system: System, *, password_min_characters: int, has_documentation: bool = True
    ) -> None:
        self._system = system
        self._has_documentation = has_documentation
        self._environment = Environment(
            loader=PackageLoader("keyturn.web", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "when": _in_its_zone(moments.moment),
            "day": _in_its_zone(moments.day),
            "iso": wire_time,
            "ago": _in_its_zone(self._ago),
            "due": _in_its_zone(self._due),
            "zone_words": moments.zone_words,
            "initials": initials_of,
        }
        self._environment.globals["password_hint"] = (
            f"At least {password_min_characters} characters. A few unrelated words are easy to remember and "
            "hard to guess."
        )
        self._environment.tests["soon"] = self._is_soon

    def render(
        self,
        template: str,
        visitor: Visitor | None = None,
        *,
        refused: KeyturnError | None = None,
        **context: Any,
    ) -> Response[str]:
        """Return the page. `context` adds to, and wins over, what every page has.

        `refused` is what the page tells of: it decides the status, and the log has its name.

        `problem` is what is wrong with the form, at `field` if it is one input's; `problems` are those of
        other inputs, by their names. `candidates` are what may have been meant at `field`.
        """
        tabs = visible_tabs(visitor.session.principal) if visitor else ()
        common: dict[str, Any] = {
            "product": PRODUCT,
            "has_documentation": self._has_documentation,
            "csrf": visitor.session.csrf_token if visitor else "",
            "time_zone": visitor.session.time_zone if visitor else None,
            "person": visitor.person if visitor else None,
            "admin_tabs": tabs,
            "admin_sections": [
                (section, tuple(some)) for section, some in groupby(tabs, key=lambda one: one.section)
            ],
            "sees_connections": visitor is not None and visitor.sees_connections,
            "keeps_service_accounts": visitor is not None and visitor.keeps_service_accounts,
            "notice": None,
            "problem": None,
            "field": None,
            "problems": {},
            "candidates": (),
            "values": {},
            "sees_people": visitor is not None and visitor.session.principal.may(Permission.USER_ADMIN),
        }
        if refused is not None:
            common["problem"] = response_of(refused).body.message
            common["field"] = refused.field if isinstance(refused, InvalidInput) else None
            common["candidates"] = refused.candidates if isinstance(refused, Ambiguous) else ()
        shown = common | context
        if shown["field"] is not None:
            shown["problems"] = {shown["field"]: shown["problem"], **shown["problems"]}
        html = self.text(template, **shown)
        if refused is not None:
            return Refusal(html, refused=refused, media_type=MediaType.HTML)
        return Response(html, status_code=HTTPStatus.OK, media_type=MediaType.HTML)

    def text(self, template: str, **context: Any) -> str:
        """Return a template filled in with nothing but the product's name and `context`."""
        return self._environment.get_template(template).render({"product": PRODUCT} | context)

    def _ago(self, when: datetime | None, zone: tzinfo) -> str:
        """Say how long ago; "Never" for None."""
        return "Never" if when is None else moments.ago(when, self._system.now(), zone)

    def _due(self, when: datetime, zone: tzinfo) -> str:
        return moments.due(when, self._system.now(), zone)

    def _is_soon(self, when: datetime | None) -> bool:
        """Return whether an end is near, and still to come."""
        now = self._system.now()
        return when is not None and now < when <= now + moments.SOON


def _in_its_zone(tell: Callable[[Any, tzinfo], str]) -> Callable[[Context, Any], str]:
    """Return the filter that tells a moment in the zone of the page's reader, in UTC where none is chosen."""

    @pass_context
    def told(context: Context, when: Any) -> str:
        return tell(when, context.get("time_zone") or UTC)

    return told


def _shown(value: Any) -> Any:
    """Return what a template shows, with what nobody would see as its code."""
    if not isinstance(value, str) or value.isascii():
        return value
    return type(value)(shown(value))


InjectedPages = NamedDependency[SkipValidation[Pages]]
