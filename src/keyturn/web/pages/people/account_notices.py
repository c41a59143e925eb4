"""Notices on the page of an account: what was done to it, with its name."""

from collections.abc import Callable, Mapping

from markupsafe import Markup

from keyturn.core.people import UserKind, UserRecord
from keyturn.errors import NotFound
from keyturn.web.pages.frame.account_lists import AccountList, owners_of
from keyturn.web.pages.frame.notices import counted, said
from keyturn.web.pages.frame.views import View
from keyturn.web.pages.people.devices import UNKNOWN, device_of

SENTENCES: Mapping[str, str] = {
    "created": "Created the service account <b>{}</b>.",
    "permissions": "Saved permissions for <b>{}</b>.",
    "permissions-without-link": "Saved permissions for <b>{}</b>. The link that was sent before ended, "
    "since it would open more now. Create another.",
    "attribute": "Saved attributes of <b>{}</b>.",
    "profile": "Saved the profile of <b>{}</b>.",
    "unlocked": "Unlocked <b>{}</b>. Wrong passwords are counted from zero again.",
}
"""Notices that say nothing but the name of the account."""

Notice = Callable[[View, UserRecord, int], Markup]


def shown_name(user: UserRecord) -> str:
    """Return what people call an account."""
    return user.profile.name or user.userid


def notice_of(
    view: View, account_list: AccountList, user: UserRecord, kind: str, about: int
) -> Markup | None:
    """Return what was done, None for nothing; `about` is the number of what else it was about."""
    if kind in SENTENCES:
        return said(SENTENCES[kind], shown_name(user))
    notices = {**_OF_ALL, **(_OF_ADMINISTRATORS if account_list.is_administration else {})}
    return notices[kind](view, user, about) if kind in notices else None


def told_of_session(view: View, user_id: int, session_id: int) -> Markup:
    """Return that a session of this user has ended, with its client if that is known."""
    found = view.services.sessions.find_of(user_id, session_id)
    device = UNKNOWN if found is None else device_of(found.user_agent)
    return (
        Markup("Ended the session.") if device == UNKNOWN else said("Ended the session in <b>{}</b>.", device)
    )


def _suspended(view: View, user: UserRecord, _about: int) -> Markup:
    keys = _count_keys(view, user)
    stopped = [counted(keys, "key")] if keys else []
    stopped += ["all sessions"] if user.kind is UserKind.PERSON else []
    told = f" {' and '.join(stopped).capitalize()} stopped working." if stopped else ""
    return said("Suspended <b>{}</b>.{}", shown_name(user), told)


def _restored(view: View, user: UserRecord, _about: int) -> Markup:
    keys = _count_keys(view, user)
    told = f" {counted(keys, 'key')} {'works' if keys == 1 else 'work'} again." if keys else ""
    return said("Restored <b>{}</b>.{}", shown_name(user), told)


def _transferred(view: View, user: UserRecord, _about: int) -> Markup:
    owner = "a new owner" if user.owner is None else owners_of(view, [user])[user.owner].name
    return said("<b>{}</b> now belongs to {}.", shown_name(user), owner)


def _revoked(view: View, user: UserRecord, about: int) -> Markup:
    try:
        record = view.services.keys.get_of(user.user_id, about)
    except NotFound:
        return Markup("Revoked the key. It and every token made from it are refused from now on.")
    return said(
        "Revoked <b>{}</b>. The key and every token made from it are refused from now on.",
        record.name or record.masked,
    )


def _ended(view: View, user: UserRecord, about: int) -> Markup:
    return told_of_session(view, user.user_id, about)


def _signed_out(_view: View, user: UserRecord, about: int) -> Markup:
    ended = f"{counted(about, 'session')} and all tokens" if about else "All tokens"
    return said("Signed out <b>{}</b> everywhere. {} ended; keys keep working.", shown_name(user), ended)


def _joined(view: View, user: UserRecord, about: int) -> Markup:
    return said("Added <b>{}</b> to {}.", shown_name(user), _group(view, about))


def _left(view: View, user: UserRecord, about: int) -> Markup:
    return said("Removed <b>{}</b> from {}.", shown_name(user), _group(view, about))


def _group(view: View, number: int) -> str:
    return view.services.groups.names(view.principal, {number}).get(number, "the group")


def _count_keys(view: View, user: UserRecord) -> int:
    return view.services.keys.count_living([user.user_id]).get(user.user_id, 0)


_OF_ALL: Mapping[str, Notice] = {
    "disabled": _suspended,
    "enabled": _restored,
    "handed-over": _transferred,
    "revoked": _revoked,
}
_OF_ADMINISTRATORS: Mapping[str, Notice] = {
    "session": _ended,
    "signed-out": _signed_out,
    "joined": _joined,
    "left": _left,
}
