"""The API Keys tab."""

from litestar import Response
from litestar.params import FromQuery, RawBody
from litestar.response import Redirect

from keyturn.composition import Services
from keyturn.core.networks import read_address
from keyturn.core.records import KeyState
from keyturn.errors import (
    Conflict,
    InvalidInput,
    InvalidState,
    KeyturnError,
    NotFound,
    QuotaExceeded,
    TooManyFailures,
)
from keyturn.verifying.origin import Origin
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import InjectedPages, Pages, see_other
from keyturn.web.pages.frame.tabs import PROFILE
from keyturn.web.pages.frame.views import InjectedForm
from keyturn.web.pages.frame.visitors import InjectedVisitor, Visitor, session_form
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
from keyturn.web.requests import (
    AnyRequest,
    IdInPath,
    InjectedOrigin,
    InjectedServices,
    asked_id,
    in_thread,
    read_id,
)

KEYS_PER_PAGE = 25
"""So that a page of them stays under 60 KB."""

_NOTICES = {"revoked": "The key is revoked. It and every token made from it are refused from now on."}


@page("/keys", PROFILE)
@in_thread
def keys_page(
    services: InjectedServices,
    pages: InjectedPages,
    visitor: InjectedVisitor,
    origin: InjectedOrigin,
    notice: FromQuery[str | None] = None,
    page: FromQuery[int] = 1,
) -> Response[str]:
    """Show the person's keys, and the form for a new one."""
    return _keys(services, pages, visitor, origin, notice=_NOTICES.get(notice or ""), page=page)


@form("/keys", PROFILE)
@in_thread
def create_key(sent: InjectedForm) -> Response[str]:
    """Make a key and show it, this once."""
    services, pages, visitor, origin, form = sent.services, sent.pages, sent.visitor, sent.origin, sent.form
    try:
        created = services.keys.create(
            visitor.session.principal,
            origin,
            new_key_of(form, services, project_id=_project_of(form, services, visitor)),
            replaces_on_retry=False,
        )
    except (InvalidInput, InvalidState, QuotaExceeded, TooManyFailures) as error:
        return _keys(services, pages, visitor, origin, error=error, values=form)
    except Conflict as error:
        return show_it_was_shown(pages, visitor, error, back="/profile/keys")
    return show_created(services, pages, visitor, created, back="/profile/keys")


def show_it_was_shown(pages: Pages, visitor: Visitor, error: Conflict, *, back: str) -> Response[str]:
    """Say that a form for a new key was sent a second time."""
    return pages.render(
        "frame/message.html",
        visitor,
        refused=error,
        title="This key was shown already",
        text="The form was sent a second time, so no second key was made. A key is shown only once: "
        "if you did not keep it, revoke it and generate another.",
        link_href=back,
        link_text="Back to your API keys" if back == "/profile/keys" else "Back to the account",
    )


@page("/keys/{key_id:str}/revoke", PROFILE)
@in_thread
def revoke_page(
    key_id: IdInPath, services: InjectedServices, pages: InjectedPages, visitor: InjectedVisitor
) -> Response[str]:
    """Ask before revoking, saying when and from where the key was last used."""
    record = services.keys.get_own(visitor.session.principal, read_id(key_id))
    now = services.system.now()
    if record.state(now) is KeyState.REVOKED:
        raise NotFound
    return pages.render(
        "keys/revoke.html",
        visitor,
        key=shown_key(record, now),
        action=f"/profile/keys/{record.key_id}/revoke",
        back="/profile/keys",
    )


@form("/keys/{key_id:str}/revoke", PROFILE, asks=NEVER_ASKS)
@in_thread
def revoke_key(
    key_id: IdInPath,
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    visitor: InjectedVisitor,
    origin: InjectedOrigin,
) -> Redirect:
    """End the key."""
    session_form(request, body, services, visitor)
    services.keys.revoke_own(visitor.session.principal, read_id(key_id), origin)
    return see_other("/profile/keys?notice=revoked")


def _keys(
    services: Services,
    pages: Pages,
    visitor: Visitor,
    origin: Origin,
    *,
    notice: str | None = None,
    page: int = 1,
    error: KeyturnError | None = None,
    values: dict[str, str] | None = None,
) -> Response[str]:
    now = services.system.now()
    principal = visitor.session.principal
    at, records = read_page(
        lambda offset, size: services.keys.list_active_first(principal.user_id, offset=offset, size=size),
        page,
        "/profile/keys",
        size=KEYS_PER_PAGE,
    )
    active_count = services.keys.list_active(principal.user_id, size=0).count
    names = project_names(services, principal, records)
    return pages.render(
        "keys/tab.html",
        visitor,
        refused=error,
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
        address=read_address(origin.address or ""),
        project_choices=[
            (one.project_id, f"{one.name} (project {one.project_id})")
            for one in services.projects.list_own(principal)
        ],
        **key_form(services, services.apis.list_grantable(principal.user_id, size=OFFERED_SERVICES)),
        notice=notice,
        problems=problems_of(values, services) if values else {},
        values=values or {},
    )


def _project_of(form: dict[str, str], services: Services, visitor: Visitor) -> int | None:
    """Return the project that is chosen, None for none; raise `InvalidInput` for what is no choice."""
    chosen = form.get("project", "")
    if not chosen:
        return None
    project_id = asked_id(chosen)
    if services.projects.is_in(visitor.session.principal.user_id, project_id):
        return project_id
    raise InvalidInput("project", "Choose one of your projects, or none.")
