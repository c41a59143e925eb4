"""Rotating a key on the API Keys tab."""

from datetime import timedelta

from litestar import Response

from keyturn.composition import Services
from keyturn.core.records import KeyState
from keyturn.errors import Conflict, InvalidInput, NotFound, TooManyFailures
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.rendering import InjectedPages, Pages
from keyturn.web.pages.frame.tabs import PROFILE
from keyturn.web.pages.frame.views import InjectedForm
from keyturn.web.pages.frame.visitors import InjectedVisitor, Visitor
from keyturn.web.pages.keys.forms import (
    idempotency_key_of,
    new_form_id,
    show_created,
    shown_key,
)
from keyturn.web.requests import IdInPath, InjectedServices, in_thread, read_id

OVERLAPS = (
    ("0", "None: it ends at once, and every token made from it ends too"),
    ("3600", "1 hour"),
    ("86400", "24 hours"),
)
"""How long the former secret may go on, in seconds."""


@page("/keys/{key_id:str}/rotate", PROFILE)
@in_thread
def rotate_page(
    key_id: IdInPath, services: InjectedServices, pages: InjectedPages, visitor: InjectedVisitor
) -> Response[str]:
    """Say what a rotation does, and ask how long the former secret goes on."""
    return _ask(services, pages, visitor, read_id(key_id))


@form("/keys/{key_id:str}/rotate", PROFILE)
@in_thread
def rotate_key(key_id: IdInPath, sent: InjectedForm) -> Response[str]:
    """Give the key a new secret, and show it, this once."""
    services, pages, visitor, form = sent.services, sent.pages, sent.visitor, sent.form
    number = read_id(key_id)
    if form.get("overlap") not in dict(OVERLAPS):
        wrong = InvalidInput("overlap", "Choose how long the former secret goes on.")
        return _ask(services, pages, visitor, number, wrong)
    try:
        rotated = services.key_rotation.rotate_own(
            visitor.session.principal,
            number,
            sent.origin,
            overlap=timedelta(seconds=int(form["overlap"])),
            idempotency_key=idempotency_key_of(form),
            replaces_on_retry=False,
        )
    except TooManyFailures as error:
        return _ask(services, pages, visitor, number, error)
    except Conflict as error:
        return pages.render(
            "frame/message.html",
            visitor,
            refused=error,
            title="The key was not rotated",
            text="The form was sent a second time, or the key was rotated, revoked or expired meanwhile. A "
            "secret is shown only once: if you did not keep it, rotate the key again.",
            link_href="/profile/keys",
            link_text="Back to your API keys",
        )
    return show_created(services, pages, visitor, rotated, back="/profile/keys")


def _ask(
    services: Services,
    pages: Pages,
    visitor: Visitor,
    key_id: int,
    error: InvalidInput | TooManyFailures | None = None,
) -> Response[str]:
    record = services.keys.get_own(visitor.session.principal, key_id)
    now = services.system.now()
    if record.state(now) is not KeyState.ACTIVE:
        raise NotFound
    return pages.render(
        "keys/rotate.html",
        visitor,
        refused=error,
        key=shown_key(record, now),
        overlaps=OVERLAPS,
        form_id=new_form_id(services),
    )
