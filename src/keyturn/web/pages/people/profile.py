"""The profile: details, sessions, security."""

from litestar import Response, get, post
from litestar.params import FromQuery, RawBody
from litestar.response import Redirect

from keyturn.composition import Services
from keyturn.core.audit import AuditAction
from keyturn.errors import InvalidInput, TooBusy, TooManyFailures
from keyturn.services.people.users import PROFILE_LIMITS
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import InjectedPages, Pages, see_other
from keyturn.web.pages.frame.views import SubmittedForm
from keyturn.web.pages.frame.visitors import (
    InjectedVisitor,
    Visitor,
    session_cookie,
    session_form,
)
from keyturn.web.requests import AnyRequest, IdInPath, InjectedOrigin, InjectedServices, in_thread, read_id

_NOTICES = {
    "saved": "Your details are saved.",
    "session-ended": "The session has ended.",
    "sessions-ended": "All other sessions have ended.",
    "passphrase-changed": "Your passphrase is changed. All other sessions have ended.",
}


@get("/profile", include_in_schema=False)
@in_thread
def details_page(
    services: InjectedServices,
    pages: InjectedPages,
    visitor: InjectedVisitor,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show what the person says of themselves, and what they may do."""
    return _details(services, pages, visitor, notice=_NOTICES.get(notice or ""))


@post("/profile", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def save_details(
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    pages: InjectedPages,
    visitor: InjectedVisitor,
    origin: InjectedOrigin,
) -> Response[str]:
    """Store the fields that were sent."""
    form = session_form(request, body, services, visitor)
    sent = SubmittedForm(services, pages, visitor, origin, form)
    fields = sent.changed(*(name for name in PROFILE_LIMITS if name in form))
    try:
        services.users.update_profile(visitor.session.principal, fields, origin)
    except (InvalidInput, TooManyFailures) as error:
        return _details(services, pages, visitor, error=error, values=form)
    return see_other("/profile?notice=saved")


@get("/profile/sessions", include_in_schema=False)
@in_thread
def sessions_page(
    services: InjectedServices,
    pages: InjectedPages,
    visitor: InjectedVisitor,
    notice: FromQuery[str | None] = None,
    page: FromQuery[int] = 1,
) -> Response[str]:
    """Show where the person is signed in: this session, then the others."""
    session = visitor.session
    at, records = read_page(
        lambda offset, size: services.sessions.list_own(
            session.principal, first=session.session_id, offset=offset, size=size
        ),
        page,
        "/profile/sessions",
    )
    sessions = [
        {
            "id": record.session_id,
            "created_at": record.created_at,
            "last_seen_at": record.last_seen_at,
            "expires_at": record.expires_at,
            "address": record.address,
            "user_agent": record.user_agent,
            "kind": record.kind.value,
            "current": record.session_id == session.session_id,
        }
        for record in records
    ]
    return pages.render(
        "people/profile_sessions.html",
        visitor,
        tab="sessions",
        sessions=sessions,
        at=at,
        notice=_NOTICES.get(notice or ""),
    )


@post("/profile/sessions/{session_id:str}/end", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def end_session(
    session_id: IdInPath,
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    visitor: InjectedVisitor,
    origin: InjectedOrigin,
) -> Redirect:
    """End one session of the person."""
    session_form(request, body, services, visitor)
    services.sessions.end_own(
        visitor.session.principal, read_id(session_id), origin, action=AuditAction.SESSION_ENDED
    )
    return see_other("/profile/sessions?notice=session-ended")


@post("/profile/sessions/end-others", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def end_other_sessions(
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    visitor: InjectedVisitor,
    origin: InjectedOrigin,
) -> Redirect:
    """End all sessions of the person but this one."""
    session_form(request, body, services, visitor)
    services.sessions.end_others(visitor.session, origin)
    return see_other("/profile/sessions?notice=sessions-ended")


@get("/profile/security", include_in_schema=False)
@in_thread
def security_page(
    services: InjectedServices,
    pages: InjectedPages,
    visitor: InjectedVisitor,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the form for a new passphrase."""
    return _security(services, pages, visitor, notice=_NOTICES.get(notice or ""))


@post("/profile/security", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def change_password(
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    pages: InjectedPages,
    visitor: InjectedVisitor,
    origin: InjectedOrigin,
) -> Response[str]:
    """Change the passphrase for one who knows the old one."""
    form = session_form(request, body, services, visitor)
    try:
        if form.get("password") != form.get("password_again"):
            raise InvalidInput("password_again", "The two passphrases differ.")
        renewed = services.users.change_password(
            visitor.session,
            old=form.get("current_password", ""),
            new=form.get("password", ""),
            origin=origin,
        )
    except (InvalidInput, TooBusy, TooManyFailures) as error:
        return _security(services, pages, visitor, error=error)
    return see_other("/profile/security?notice=passphrase-changed", session_cookie(services, renewed.cookie))


def _details(
    services: Services,
    pages: Pages,
    visitor: Visitor,
    *,
    notice: str | None = None,
    error: InvalidInput | TooManyFailures | None = None,
    values: dict[str, str] | None = None,
) -> Response[str]:
    record = services.users.get(visitor.session.principal)
    user = {
        "userid": record.userid,
        "iamid": record.iamid,
        "permissions": sorted(record.permissions),
        "created_at": record.created_at,
        "last_login_at": record.last_login_at,
    }
    return pages.render(
        "people/profile_details.html",
        visitor,
        refused=error,
        tab="details",
        profile=record.profile,
        user=user,
        notice=notice,
        values=values or {},
    )


def _security(
    services: Services,
    pages: Pages,
    visitor: Visitor,
    *,
    notice: str | None = None,
    error: InvalidInput | TooBusy | TooManyFailures | None = None,
) -> Response[str]:
    user = services.users.get(visitor.session.principal)
    provider = services.identity.find(user.iamid)
    return pages.render(
        "people/profile_security.html",
        visitor,
        refused=error,
        tab="security",
        has_passphrase_here=services.identity.stores_password_of(user),
        provider=user.iamid if provider is None else provider.display_name,
        password_changed_at=user.password_changed_at,
        notice=notice,
    )
