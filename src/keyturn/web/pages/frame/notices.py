"""Sentences that say what was done, and to what.

An address says only the number of a thing: its name is looked up for whoever may see it, so that no link can
put words on a page, or find out a name.
"""

from markupsafe import Markup

from keyturn.core.audit import AuditAction, Target
from keyturn.web.pages.frame.views import View
from keyturn.web.requests import asked_id


def said(sentence: str, *names: object) -> Markup:
    """Return a sentence of ours as markup, with names of others as text."""
    return Markup(sentence).format(*names)  # noqa: S704 - the sentence is written here


def counted(number: int, thing: str) -> str:
    """Return how many things there are: 1 key, 2,000 keys."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def deleted_name(view: View, action: AuditAction, target: Target, number: str | None, *fields: str) -> str:
    """Return the name of what the viewer deleted; nothing for what they did not."""
    asked = asked_id(number or "")
    if not asked:
        return ""
    details = view.services.audit_trail.find_own_deletion(view.principal, action, target, asked) or {}
    return next((str(details[name]) for name in fields if details.get(name)), "")
