"""Signing a device in: a person types the code that it shows, sees what asks, and decides (RFC 8628)."""

from typing import Any
from urllib.parse import parse_qsl

from litestar import Response, get, post
from litestar.params import FromQuery, RawBody

from keyturn.composition import Services
from keyturn.core.device_codes import read_user_code
from keyturn.core.device_logins import DeviceLogin
from keyturn.core.pages import Page
from keyturn.errors import InvalidInput, TooManyFailures
from keyturn.verifying.origin import Origin
from keyturn.web.access import DEVICE_PAGE_PATH
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS, asks_if
from keyturn.web.pages.frame.rendering import InjectedPages, Pages
from keyturn.web.pages.frame.views import InjectedForm
from keyturn.web.pages.frame.visitors import Visitor, require_visitor, session_form
from keyturn.web.pages.keys.forms import key_form, lifetime_of
from keyturn.web.requests import AnyRequest, InjectedServices, in_thread

DECISION_PATH = f"{DEVICE_PAGE_PATH}/decision"


def wanted_page(path: str, query: bytes) -> str:
    """Return what a browser is to be led to after the login: with the code of a device, if there is one."""
    if path != DEVICE_PAGE_PATH:
        return path
    given = dict(parse_qsl(query.decode("latin-1"))).get("user_code", "")
    code = read_user_code(given)
    return path if code is None else f"{path}?user_code={code}"


@get(DEVICE_PAGE_PATH, include_in_schema=False)
@in_thread
def device_page(
    request: AnyRequest,
    services: InjectedServices,
    pages: InjectedPages,
    user_code: FromQuery[str | None] = None,
) -> Response[str]:
    """Ask for the code. One that stands in the address is filled in, and still to be confirmed."""
    return _ask(pages, require_visitor(request, services), read_user_code(user_code or "") or "")


@post(DEVICE_PAGE_PATH, include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def look_at_device(
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    pages: InjectedPages,
) -> Response[str]:
    """Show what asks to be signed in, and let the person decide."""
    visitor = require_visitor(request, services)
    form = session_form(request, body, services, visitor)
    code = form.get("user_code", "")
    try:
        device = services.devices.get_waiting(visitor.session, code)
    except (InvalidInput, TooManyFailures) as error:
        return _ask(pages, visitor, code, error)
    return _show(services, pages, visitor, device, form)


@post(DECISION_PATH, include_in_schema=False, opt=asks_if(decision="approve"))
@in_thread
def decide(sent: InjectedForm) -> Response[str]:
    """Let the device have a key, or nothing. What is not plainly an approval is none."""
    services, pages, visitor, origin, form = sent.services, sent.pages, sent.visitor, sent.origin, sent.form
    code = form.get("user_code", "")
    try:
        if form.get("decision") == "approve":
            return _approve(services, pages, visitor, form, origin)
        device = services.devices.deny(visitor.session, code, origin)
    except (InvalidInput, TooManyFailures) as error:
        return _ask(pages, visitor, code, error)
    return _say(pages, visitor, "Refused", f"{device.client_id} gets nothing. You can close this page.")


def _approve(
    services: Services, pages: Pages, visitor: Visitor, form: dict[str, str], origin: Origin
) -> Response[str]:
    code = form.get("user_code", "")
    device = services.devices.get_waiting(visitor.session, code)
    try:
        services.devices.approve(visitor.session, code, lifetime_of(form, services), origin)
    except InvalidInput as error:
        if error.field == "user_code":
            raise
        return _show(services, pages, visitor, device, form, error)
    return _say(
        pages,
        visitor,
        "You are signed in there",
        f"{device.client_id} will have a key of yours in a moment. It is listed among your API keys, where "
        "you can revoke it. You can close this page.",
    )


def _say(pages: Pages, visitor: Visitor, title: str, text: str) -> Response[str]:
    return pages.render(
        "frame/message.html",
        visitor,
        title=title,
        text=text,
        link_href="/profile/keys",
        link_text="Go to your API keys",
    )


def _ask(
    pages: Pages, visitor: Visitor, code: str, error: InvalidInput | TooManyFailures | None = None
) -> Response[str]:
    field = None if error is None else "user_code"
    return pages.render("oauth/device.html", visitor, refused=error, values={"user_code": code}, field=field)


def _show(
    services: Services,
    pages: Pages,
    visitor: Visitor,
    device: DeviceLogin,
    form: dict[str, str],
    error: InvalidInput | None = None,
) -> Response[str]:
    shown: dict[str, Any] = {
        "name": device.client_id,
        "address": device.address,
        "asked_at": device.created_at,
        "scopes": sorted(device.scopes or ()),
    }
    return pages.render(
        "oauth/device_decide.html",
        visitor,
        refused=error,
        device=shown,
        user_code=read_user_code(form.get("user_code", "")),
        values=form,
        **key_form(services, Page(0, ())),
    )
