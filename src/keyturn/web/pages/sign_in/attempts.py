"""The words for a sign-in that failed: the same for accounts and for names that nobody has."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup, escape

from keyturn.core.times import wire_time
from keyturn.errors import CredentialRefused, InvalidInput
from keyturn.web.pages.frame.views import OpenView

WRONG_PAIR = "That user name and password don’t match. Check both and try again."
_LONGEST = timedelta(days=1)
"""A wait beyond this is one that only an administrator ends."""


_ENTER = ("Enter your user name.", "Enter your password.")
_BOTH = "both_empty"


def check_filled(form: Mapping[str, str], name: str, password: str) -> None:
    """Raise `InvalidInput` unless somebody said who they are and gave a password."""
    empty = [not form.get(field, "").strip() for field in (name, password)]
    if any(empty):
        first = empty.index(True)
        code = _BOTH if all(empty) else "empty"
        raise InvalidInput((name, password)[first], _ENTER[first], code=code)


def told_of(view: OpenView, password: str = "password") -> dict[str, Any]:  # noqa: S107 - a field's name
    """Return what the page is told of the attempt that failed: `problems`, or a `problem`, or a `wait`."""
    match view.error:
        case InvalidInput(code=code) if code == _BOTH:
            return {"problems": {password: _ENTER[1]}}
        case CredentialRefused(until=datetime() as until):
            return {"problem": None, "wait": _wait(until, view.services.system.now())}
        case CredentialRefused():
            return {"problem": WRONG_PAIR}
    return {}


def _wait(until: datetime, now: datetime) -> Markup:
    if until - now > _LONGEST:
        return Markup("An administrator must unlock you before the next attempt.")
    seconds = max(1, -(-(until - now) // timedelta(seconds=1)))
    minutes = -(-seconds // 60)
    long = f"{minutes} minutes" if seconds > 60 else f"{seconds} second{'' if seconds == 1 else 's'}"
    return Markup(
        'You can try again in {}, at <time datetime="{}" data-clock>{}</time>. Until then, even the right '
        "password is refused. An administrator can unlock you sooner."
    ).format(long, escape(wire_time(until)), f"{until:%H:%M:%S}" if seconds <= 60 else f"{until:%H:%M}")
