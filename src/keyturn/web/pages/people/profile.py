"""The profile: details, sessions, security."""

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.audit import AuditAction
from keyturn.services.people.logins import TRIAL_LIFE
from keyturn.services.people.time_zones import time_zone_names
from keyturn.services.people.users import PROFILE_LIMITS, TIME_ZONE
from keyturn.services.tokens.issuer import IssuedToken
from keyturn.web.pages.frame.confirmation import check_repeated
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import PROFILE
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, View
from keyturn.web.pages.frame.visitors import session_cookie
from keyturn.web.pages.people.account_notices import told_of_session
from keyturn.web.pages.people.accounts import shown_session
from keyturn.web.pages.people.permission_boxes import permission_words
from keyturn.web.requests import IdInPath, asked_id, read_id

_NOTICES = {
    "saved": "Saved your details.",
    "sessions-ended": "Ended all other sessions.",
    "password-changed": "Changed your password and ended all other sessions.",
}


@page("/", PROFILE)
def details_page(view: InjectedView, notice: FromQuery[str | None] = None) -> Response[str]:
    """Show what the person says of themselves, and what they may do."""
    record = view.services.users.get(view.principal)
    user = {
        "userid": record.userid,
        "iamid": record.iamid,
        "created_at": record.created_at,
        "last_login_at": record.last_login_at,
    }
    return view.render(
        "people/profile_details.html",
        tab="details",
        profile=record.profile,
        user=user,
        permissions=permission_words(record.permissions),
        zones=time_zone_names(),
        notice=_NOTICES.get(notice or ""),
    )


@form("/", PROFILE, asks=NEVER_ASKS, again=details_page)
def save_details(sent: InjectedForm) -> Redirect:
    """Store the fields that were sent."""
    fields = sent.changed(*(name for name in (*PROFILE_LIMITS, TIME_ZONE) if name in sent.form))
    sent.services.users.update_profile(sent.principal, fields, sent.origin)
    return see_other("/profile?notice=saved")


@page("/sessions", PROFILE)
def sessions_page(
    view: InjectedView,
    notice: FromQuery[str | None] = None,
    about: FromQuery[str | None] = None,
    page: FromQuery[int] = 1,
) -> Response[str]:
    """Show where the person is signed in: this session, then the others.

    `about` is the number of the session that the notice tells of.
    """
    session = view.visitor.session
    at, records = read_page(
        lambda offset, size: view.services.sessions.list_own(
            view.principal, first=session.session_id, offset=offset, size=size
        ),
        page,
        "/profile/sessions",
    )
    sessions = [
        {**shown_session(record), "current": record.session_id == session.session_id} for record in records
    ]
    return view.render(
        "people/profile_sessions.html",
        tab="sessions",
        sessions=sessions,
        at=at,
        notice=told_of_session(view, view.principal.user_id, asked_id(about or ""))
        if notice == "session-ended"
        else _NOTICES.get(notice or ""),
    )


@form("/sessions/{session_id:str}/end", PROFILE, asks=NEVER_ASKS)
def end_session(session_id: IdInPath, sent: InjectedForm) -> Redirect:
    """End one session of the person."""
    number = read_id(session_id)
    sent.services.sessions.end_own(sent.principal, number, sent.origin, action=AuditAction.SESSION_ENDED)
    return see_other(f"/profile/sessions?notice=session-ended&about={number}")


@form("/sessions/end-others", PROFILE, asks=NEVER_ASKS)
def end_other_sessions(sent: InjectedForm) -> Redirect:
    """End all sessions of the person but this one."""
    sent.services.sessions.end_others(sent.visitor.session, sent.origin)
    return see_other("/profile/sessions?notice=sessions-ended")


@page("/token", PROFILE)
def token_page(view: InjectedView) -> Response[str]:
    """Offer a token for some minutes."""
    return _token(view, None)


@form("/token", PROFILE, again=token_page)
def make_token(sent: InjectedForm) -> Response[str]:
    """Make a token for some minutes, and show it once."""
    return _token(sent, sent.services.logins.token_for(sent.visitor.session, sent.origin))


def _token(view: View, issued: IssuedToken | None) -> Response[str]:
    minutes = int(TRIAL_LIFE.total_seconds() // 60)
    return view.render("people/profile_token.html", issued=issued, minutes=minutes)


@page("/security", PROFILE)
def security_page(view: InjectedView, notice: FromQuery[str | None] = None) -> Response[str]:
    """Show the form for a new password."""
    user = view.services.users.get(view.principal)
    provider = view.services.identity.find(user.iamid)
    return view.render(
        "people/profile_security.html",
        tab="security",
        has_password_here=view.services.identity.stores_password_of(user),
        provider=user.iamid if provider is None else provider.display_name,
        password_changed_at=user.password_changed_at,
        notice=_NOTICES.get(notice or ""),
    )


@form("/security", PROFILE, asks=NEVER_ASKS, again=security_page)
def change_password(sent: InjectedForm) -> Redirect:
    """Change the password for one who knows the old one."""
    check_repeated(sent.form)
    renewed = sent.services.users.change_password(
        sent.visitor.session,
        old=sent.form.get("current_password", ""),
        new=sent.form.get("password", ""),
        origin=sent.origin,
    )
    return see_other(
        "/profile/security?notice=password-changed", session_cookie(sent.services, renewed.cookie)
    )
