"""Signing a device in: a person types the code that it shows, sees what asks, and decides (RFC 8628)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from litestar import Response
from litestar.params import FromQuery
from markupsafe import Markup

from keyturn.core.device_codes import read_user_code
from keyturn.core.pages import Page
from keyturn.errors import InvalidInput
from keyturn.web.navigation import DEVICE_PAGE_PATH
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS, asks_if
from keyturn.web.pages.frame.tabs import SIGNED_IN
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, View
from keyturn.web.pages.keys.forms import key_form, lifetime_of

DECISION_PATH = f"{DEVICE_PAGE_PATH}/decision"


def wanted_page(path: str, query: bytes) -> str:
    """Return what a browser is to be led to after the login: with the code of a device, if there is one."""
    if path != DEVICE_PAGE_PATH:
        return path
    given = dict(parse_qsl(query.decode("latin-1"))).get("user_code", "")
    code = read_user_code(given)
    return path if code is None else f"{path}?user_code={code}"


@page(DEVICE_PAGE_PATH, SIGNED_IN)
def device_page(view: InjectedView, user_code: FromQuery[str | None] = None) -> Response[str]:
    """Ask for the code. One that stands in the address is filled in, and still to be confirmed."""
    return _ask(view, read_user_code(user_code or "") or "")


def _ask_again(view: View) -> Response[str]:
    return _ask(view, view.values.get("user_code", ""))


@form(DEVICE_PAGE_PATH, SIGNED_IN, asks=NEVER_ASKS, again=_ask_again)
def look_at_device(sent: InjectedForm) -> Response[str]:
    """Show what asks to be signed in, and let the person decide."""
    return _show(sent, sent.form)


def _ask_or_show_again(view: View) -> Response[str]:
    """Ask for the code again, or show the device again if it is there and the choice was wrong."""
    if isinstance(view.error, InvalidInput) and view.error.field != "user_code":
        return _show(view, view.values)
    return _ask_again(view)


@form(DECISION_PATH, SIGNED_IN, asks=asks_if(decision="approve"), again=_ask_or_show_again)
def decide(sent: InjectedForm) -> Response[str]:
    """Let the device have a key, or nothing. Any answer but a plain approval is none."""
    devices, session, code = sent.services.devices, sent.visitor.session, sent.form.get("user_code", "")
    if sent.form.get("decision") != "approve":
        device = devices.deny(session, code, sent.origin)
        text = Markup("<b>{}</b> got no key. You can close this page.").format(device.client_id)
        return _say(sent, "ban", "The device was not connected", text)
    devices.get_waiting(session, code)
    device = devices.approve(session, code, lifetime_of(sent, sent.form), sent.origin)
    return _say(
        sent,
        "ok",
        "Your device is connected",
        Markup(
            "<b>{}</b> has its own key, listed under API Keys, where you can revoke it. You can close this "
            "page."
        ).format(device.client_id),
    )


def _say(view: View, picture: str, title: str, text: Markup) -> Response[str]:
    return view.render(
        "frame/message.html",
        picture=picture,
        title=title,
        text=text,
        link_href="/profile/keys",
        link_text="Go to API Keys",
    )


def _ask(view: View, code: str) -> Response[str]:
    field = None if view.error is None else "user_code"
    return view.render("oauth/device.html", values={"user_code": code}, field=field)


def _show(view: View, typed: Mapping[str, str]) -> Response[str]:
    """Show the device of the code that was typed; raise as `DeviceLogins.get_waiting` does."""
    device = view.services.devices.get_waiting(view.visitor.session, typed.get("user_code", ""))
    shown: dict[str, Any] = {
        "name": device.client_id,
        "address": device.address,
        "asked_at": device.created_at,
        "scopes": sorted(device.scopes or ()),
    }
    return view.render(
        "oauth/device_decide.html",
        device=shown,
        user_code=read_user_code(typed.get("user_code", "")),
        values=typed,
        **key_form(view, Page(0, ())),
    )
