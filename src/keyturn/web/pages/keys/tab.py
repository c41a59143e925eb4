"""The API Keys tab."""

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.networks import read_address
from keyturn.core.records import KeyState
from keyturn.errors import Conflict, InvalidInput, NotFound
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import PROFILE
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, SubmittedForm, View
from keyturn.web.pages.keys.forms import (
    OFFERED_SERVICES,
    key_form,
    new_key_of,
    problems_of,
    project_names,
    project_of,
    show_created,
    shown_key,
)
from keyturn.web.requests import IdInPath, asked_id, read_id

KEYS_PER_PAGE = 24
"""So that a page of them stays under 60 KB."""

_NOTICES = {"revoked": "The key is revoked. It and every token made from it are refused from now on."}


@page("/keys", PROFILE)
def keys_page(
    view: InjectedView, notice: FromQuery[str | None] = None, page: FromQuery[int] = 1
) -> Response[str]:
    """Show the person's keys, and the form for a new one."""
    services, principal, now = view.services, view.principal, view.services.system.now()
    at, records = read_page(
        lambda offset, size: services.keys.list_active_first(principal.user_id, offset=offset, size=size),
        page,
        "/profile/keys",
        size=KEYS_PER_PAGE,
    )
    active_count = services.keys.list_active(principal.user_id, size=0).count
    names = project_names(services, principal, records)
    return view.render(
        "keys/tab.html",
        keys=[
            shown_key(
                record,
                now,
                revoke=f"/profile/keys/{record.key_id}/revoke",
                rotate=f"/profile/keys/{record.key_id}/rotate",
                project=project_of(record, names),
            )
            for record in records
        ],
        active_count=active_count,
        ended_count=at.total - active_count,
        at=at,
        address=read_address(view.origin.address or ""),
        project_choices=[
            (one.project_id, f"{one.name} (project {one.project_id})")
            for one in services.projects.list_own(principal)
        ],
        **key_form(services, services.apis.list_grantable(principal.user_id, size=OFFERED_SERVICES)),
        notice=_NOTICES.get(notice or ""),
        problems=problems_of(view.values, services) if view.values else {},
    )


@form("/keys", PROFILE, again=keys_page)
def create_key(sent: InjectedForm) -> Response[str]:
    """Make a key and show it, this once."""
    chosen = new_key_of(sent.form, sent.services, project_id=_project_of(sent))
    try:
        created = sent.services.keys.create(sent.principal, sent.origin, chosen, replaces_on_retry=False)
    except Conflict as error:
        return show_it_was_shown(sent, error, back="/profile/keys")
    return show_created(sent, created, back="/profile/keys")


def show_it_was_shown(view: View, error: Conflict, *, back: str) -> Response[str]:
    """Say that a form for a new key was sent a second time."""
    return view.render(
        "frame/message.html",
        error=error,
        title="This key was shown already",
        text="The form was sent a second time, so no second key was made. A key is shown only once: "
        "if you did not keep it, revoke it and generate another.",
        link_href=back,
        link_text="Back to your API keys" if back == "/profile/keys" else "Back to the account",
    )


@page("/keys/{key_id:str}/revoke", PROFILE)
def revoke_page(key_id: IdInPath, view: InjectedView) -> Response[str]:
    """Ask before revoking, saying when and from where the key was last used."""
    record = view.services.keys.get_own(view.principal, read_id(key_id))
    now = view.services.system.now()
    if record.state(now) is KeyState.REVOKED:
        raise NotFound
    return view.render(
        "keys/revoke.html",
        key=shown_key(record, now),
        action=f"/profile/keys/{record.key_id}/revoke",
        back="/profile/keys",
    )


@form("/keys/{key_id:str}/revoke", PROFILE, asks=NEVER_ASKS)
def revoke_key(key_id: IdInPath, sent: InjectedForm) -> Redirect:
    """End the key."""
    sent.services.keys.revoke_own(sent.principal, read_id(key_id), sent.origin)
    return see_other("/profile/keys?notice=revoked")


def _project_of(sent: SubmittedForm) -> int | None:
    """Return the project that is chosen, None for none; raise `InvalidInput` for what is no choice."""
    chosen = sent.form.get("project", "")
    if not chosen:
        return None
    project_id = asked_id(chosen)
    if sent.services.projects.is_in(sent.principal.user_id, project_id):
        return project_id
    raise InvalidInput("project", "Choose one of your projects, or none.")
