"""Pages of one message: what went wrong, in words for people, and the way on."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from markupsafe import Markup

from keyturn.core.permissions import ALLOWS, Permission
from keyturn.errors import ForeignForm, KeyturnError, PermissionMissing, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Message:
    """What a page says."""

    picture: str
    title: str
    text: str | Markup


_NOT_FOUND = Markup(
    "There is nothing at <code>{}</code>. The address may be mistyped, or what was here has been deleted."
)
_DEFECT = Markup(
    "Something went wrong on the server. Nothing more is known here; give your administrator the request ID "
    "<code>{}</code>."
)


def message_of(
    status: int, text: str, error: KeyturnError | None, *, path: str, request_id: str | None
) -> Message:
    """Return what a person is told of an answer; `text` is what a program is told.

    `path` is what they asked for, without what could be a credential.
    """
    match error:
        case PermissionMissing(any_of=needed):
            return Message("lock", "You can’t do this", _missing(needed))
        case ForeignForm():
            return Message("warn", "Nothing was changed", text)
        case StoreUnavailable():
            told = "Keyturn can’t reach its database. Nothing was changed. Try again in a moment."
            return Message("db", "Try again in a moment", told)
    picture, title = _BY_STATUS.get(status, ("warn", "That didn’t work"))
    match status:
        case HTTPStatus.NOT_FOUND:
            text = _NOT_FOUND.format(path)
        case HTTPStatus.INTERNAL_SERVER_ERROR:
            text = _DEFECT.format(request_id or "")
    return Message(picture, title, text)


_BY_STATUS: Mapping[int, tuple[str, str]] = {
    HTTPStatus.NOT_FOUND: ("search", "Page not found"),
    HTTPStatus.TOO_MANY_REQUESTS: ("clock", "Too many attempts"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("clock", "Try again in a moment"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("warn", "Something went wrong"),
}


def _missing(needed: tuple[str, ...]) -> Markup:
    """Say which permissions would do, and what they are for."""
    names = Markup(" or ").join(Markup("<b>{}</b>").format(name) for name in needed)
    known = [
        ALLOWS[Permission(name)] for name in needed if name in set(Permission) and Permission(name) in ALLOWS
    ]
    purpose = Markup(" It is for this: {}").format(known[0]) if len(needed) == 1 and known else ""
    return Markup(
        "It needs the permission {}, which your account doesn’t have. Nothing was changed. Ask an "
        "administrator for the permission.{}"
    ).format(names, purpose)
