"""The API Keys tab."""

from typing import Any

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect
from markupsafe import Markup

from keyturn.core.networks import read_address
from keyturn.core.records import ApiKeyRecord
from keyturn.core.searches import KeyFilter
from keyturn.errors import Conflict, InvalidInput, NotFound
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.lists import address
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.secret_texts import looks_secret
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
    values_like,
)
from keyturn.web.pages.keys.key_page import show_key, uses_of
from keyturn.web.pages.keys.lists import KEYS_PER_PAGE, key_list, parts_of, search_of
from keyturn.web.pages.keys.pasted import MISSING, UNKNOWN, find_pasted
from keyturn.web.requests import AnyRequest, IdInPath, asked_id, read_id

PATH = "/profile/keys"
COLUMNS = ("name", "state", "used", "expires")
PARTS = (KeyFilter.ACTIVE, KeyFilter.SOON, KeyFilter.ENDED)
BACK: dict[str, Any] = {"back": PATH, "back_label": "API Keys"}


@page("/keys", PROFILE)
def keys_page(
    request: AnyRequest,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
    key: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the person's keys: those that are looked for, in the order that is asked for."""
    services, principal, now = view.services, view.principal, view.services.system.now()
    asked = key_list(request.query_params, PATH, COLUMNS)
    if looks_secret(asked.text, services.settings.key_prefix):
        asked, notice = key_list({}, PATH, COLUMNS), UNKNOWN
    at, records = read_page(
        lambda offset, size: services.keys.search_own(principal, search_of(asked), offset=offset, size=size),
        page,
        PATH,
        size=KEYS_PER_PAGE,
        **asked.query,
    )
    counts = services.keys.count_parts(principal.user_id, asked.text)
    names, uses = project_names(services, principal, records), uses_of(view, records)
    return view.render(
        "keys/tab.html",
        keys=[
            shown_key(
                record,
                now,
                path=f"{PATH}/{record.key_id}",
                project=project_of(record, names),
                **uses[record.key_id],
            )
            for record in records
        ],
        total=counts.total if not asked.text else services.keys.count_parts(principal.user_id).total,
        at=at,
        sorting=asked.sorting,
        segments=parts_of(asked, counts, *PARTS),
        values=asked.values,
        missing=MISSING.get(notice or ""),
        notice=_revoked(view, key) if notice == "revoked" else None,
    )


@form("/keys/find", PROFILE, asks=NEVER_ASKS)
def find(sent: InjectedForm) -> Redirect:
    """Lead to the person's key whose secret was pasted, or to those that the text is part of."""
    service = sent.services.keys
    return find_pasted(
        sent,
        lambda secret: service.find_own_presented(sent.principal, secret),
        PATH,
        lambda: address(PATH, key_list(sent.form, PATH, COLUMNS).query),
    )


def _revoked(view: View, number: str | None) -> Markup | None:
    """Say which key was revoked."""
    try:
        record = view.services.keys.get_own(view.principal, read_id(number or ""))
    except NotFound:
        return None
    if record.revoked_at is None:
        return None  # An address that somebody made up.
    return Markup("Revoked <b>{}</b>. The key and every token made from it are refused from now on.").format(
        record.name or record.masked
    )


@page("/keys/new", PROFILE)
def new_key_page(view: InjectedView, like: FromQuery[str | None] = None) -> Response[str]:
    """Show the form for a new key, filled in for one that is `like` another."""
    services, principal = view.services, view.principal
    values, replaced = view.values, None
    if like is not None:
        replaced = services.keys.get_own(principal, read_id(like))
        values = values_like(replaced)
    return view.render(
        "keys/new.html",
        action=PATH,
        replaced=None if replaced is None else replaced.name or replaced.masked,
        owner_name="",
        address=read_address(view.origin.address or ""),
        project_choices=[
            (one.project_id, f"{one.name} (project {one.project_id})")
            for one in services.projects.list_own(principal)
        ],
        **key_form(view, services.apis.list_grantable(principal.user_id, size=OFFERED_SERVICES)),
        problems=problems_of(view),
        values=values,
        **BACK,
    )


@form("/keys", PROFILE, again=new_key_page)
def create_key(sent: InjectedForm) -> Response[str]:
    """Create a key and show it, this once."""
    chosen = new_key_of(sent, project_id=_project_of(sent))
    try:
        created = sent.services.keys.create(sent.principal, sent.origin, chosen, replaces_on_retry=False)
    except Conflict as error:
        return show_it_was_shown(sent, error, back=PATH)
    return show_created(sent, created, back=PATH)


def show_it_was_shown(view: View, error: Conflict, *, back: str) -> Response[str]:
    """Say that a form for a new key was sent a second time."""
    return view.render(
        "frame/message.html",
        error=error,
        title="You have already seen this key",
        text="Keyturn shows a key once. If you did not save it, revoke it and create another. No second key "
        "was created.",
        link_href=back,
        link_text="Back to your API keys" if back == PATH else "Back to the account",
    )


@page("/keys/{key_id:str}", PROFILE)
def key_page(key_id: IdInPath, view: InjectedView) -> Response[str]:
    """Show one key: whether it is used, by whom, and what ends with it."""
    record = view.services.keys.get_own(view.principal, read_id(key_id))
    return show_key(view, record, _shown(view, record), whose="you", is_administered=False, **BACK)


@page("/keys/{key_id:str}/edit", PROFILE)
def edit_page(key_id: IdInPath, view: InjectedView) -> Response[str]:
    """Show the form that renames a key."""
    record = view.services.keys.get_own(view.principal, read_id(key_id))
    return view.render("keys/edit.html", key=_shown(view, record), **BACK)


@form("/keys/{key_id:str}/edit", PROFILE, asks=NEVER_ASKS, again=edit_page)
def edit(key_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Give a key another name and note."""
    number = read_id(key_id)
    sent.services.keys.update_own(
        sent.principal, number, name=sent.text("name"), note=sent.text("note"), origin=sent.origin
    )
    return see_other(f"{PATH}/{number}")


@page("/keys/{key_id:str}/revoke", PROFILE)
def revoke_page(key_id: IdInPath, view: InjectedView) -> Response[Any]:
    """Ask before revoking, saying when and from where the key was last used.

    The page of a key that was revoked already, in another tab, says so.
    """
    record = view.services.keys.get_own(view.principal, read_id(key_id))
    if record.revoked_at is not None:
        return see_other(f"{PATH}/{record.key_id}")
    key = _shown(view, record)
    return view.render("keys/revoke.html", key=key, action=key["revoke"], **BACK)


def _shown(view: View, record: ApiKeyRecord) -> dict[str, Any]:
    services = view.services
    names = project_names(services, view.principal, [record])
    return shown_key(
        record,
        services.system.now(),
        path=f"{PATH}/{record.key_id}",
        project=project_of(record, names),
    )


@form("/keys/{key_id:str}/revoke", PROFILE, asks=NEVER_ASKS)
def revoke_key(key_id: IdInPath, sent: InjectedForm) -> Redirect:
    """End the key."""
    number = read_id(key_id)
    if sent.services.keys.get_own(sent.principal, number).revoked_at is None:
        sent.services.keys.revoke_own(sent.principal, number, sent.origin)
    return see_other(f"{PATH}?notice=revoked&key={number}")


def _project_of(sent: SubmittedForm) -> int | None:
    """Return the project that is chosen, None for none; raise `InvalidInput` for what is no choice."""
    chosen = sent.form.get("project", "")
    if not chosen:
        return None
    project_id = asked_id(chosen)
    if sent.services.projects.is_in(sent.principal.user_id, project_id):
        return project_id
    raise InvalidInput("project", "Choose one of your projects, or none.")
