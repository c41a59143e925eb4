"""Rotating a key on the API Keys tab."""

from datetime import timedelta
from typing import Any

from litestar import Response

from keyturn.core.records import KeyState
from keyturn.errors import Conflict, InvalidInput
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import PROFILE
from keyturn.web.pages.frame.views import InjectedForm, InjectedView
from keyturn.web.pages.keys.forms import (
    idempotency_key_of,
    new_form_id,
    show_created,
    shown_key,
)
from keyturn.web.requests import IdInPath, read_id

OVERLAPS = (
    (0, "End it now", "if the secret leaked"),
    (3_600, "1 hour", ""),
    (86_400, "1 day", ""),
)
"""How long the old secret may go on, in seconds, in words, and when to choose that."""
PRESELECTED_OVERLAP = 86_400


@page("/keys/{key_id:str}/rotate", PROFILE)
def rotate_page(key_id: IdInPath, view: InjectedView) -> Response[Any]:
    """Say what a rotation does, and ask how long the former secret goes on."""
    record = view.services.keys.get_own(view.principal, read_id(key_id))
    now = view.services.system.now()
    if record.state(now) is not KeyState.ACTIVE:
        return see_other(f"/profile/keys/{record.key_id}")
    return view.render(
        "keys/rotate.html",
        key=shown_key(record, now, path=f"/profile/keys/{record.key_id}"),
        overlaps=[
            (str(seconds), words, note, now + timedelta(seconds=seconds), seconds == PRESELECTED_OVERLAP)
            for seconds, words, note in OVERLAPS
        ],
        form_id=new_form_id(view.services),
    )


@form("/keys/{key_id:str}/rotate", PROFILE, again=rotate_page, keeps=False)
def rotate_key(key_id: IdInPath, sent: InjectedForm) -> Response[str]:
    """Give the key a new secret, and show it, this once."""
    if sent.form.get("overlap") not in {str(seconds) for seconds, _, _ in OVERLAPS}:
        raise InvalidInput("overlap", "Choose how long the old secret keeps working.")
    try:
        rotated = sent.services.key_rotation.rotate_own(
            sent.principal,
            read_id(key_id),
            sent.origin,
            overlap=timedelta(seconds=int(sent.form["overlap"])),
            idempotency_key=idempotency_key_of(sent.form),
            replaces_on_retry=False,
        )
    except Conflict as error:
        return sent.render(
            "frame/message.html",
            error=error,
            title="Nothing was rotated",
            text="The key has changed since you opened the form, or the form was sent a second time. Look at "
            "the key again, then rotate it if you still need to.",
            link_href="/profile/keys",
            link_text="Back to your API keys",
        )
    return show_created(sent, rotated, back="/profile/keys", is_rotated=True)
