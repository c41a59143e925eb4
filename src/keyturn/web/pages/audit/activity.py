"""The last events about one person or key: a card on the page of it, in the sentences of the audit log."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from markupsafe import Markup

from keyturn.core.audit import AuditNames, AuditRow, AuditSearch, Target
from keyturn.core.permissions import Permission
from keyturn.core.records import ApiKeyRecord
from keyturn.web.pages.audit.sentences import Narrator, Sentence
from keyturn.web.pages.frame.tabs import AUDIT
from keyturn.web.pages.frame.views import View

LISTED_EVENTS = 10


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """A row of the log, as a card tells it."""

    at: datetime
    day: str
    icon: str
    text: Markup
    succeeded: bool
    address: str | None


@dataclass(frozen=True, slots=True)
class Activity:
    """The last events about something, the newest first."""

    events: tuple[ShownEvent, ...]
    log: str | None
    """Where the audit log shows all of them; None for somebody who may not read it."""


def activity_of_user(view: View, user_id: int) -> Activity | None:
    """Return what a user did and what was done to them; None for somebody who may not read the audit log."""
    principal, trail = view.principal, view.services.audit_trail
    if not principal.may(Permission.AUDIT):
        return None
    rows = trail.newest(principal, AuditSearch(user_id=user_id), size=LISTED_EVENTS)
    narrator = Narrator.to(principal, trail.names(principal, rows))
    return Activity(_told(narrator, rows), _path(user=user_id))


def activity_of_key(view: View, key: ApiKeyRecord) -> Activity:
    """Return what was done to a key that the viewer may see; `AuditTrail.of_key` says how much they learn."""
    principal, trail = view.principal, view.services.audit_trail
    rows = trail.of_key(principal, key, size=LISTED_EVENTS)
    reads_log = principal.may(Permission.AUDIT)
    names = trail.names(principal, rows) if reads_log else AuditNames()
    named = replace(names, users={**names.users, principal.user_id: "You"})
    narrator = replace(Narrator.to(principal, named), on_page_of_key=key.key_id)
    log = _path(target_type=Target.API_KEY, target=key.key_id) if reads_log else None
    return Activity(_told(narrator, rows), log)


def _told(narrator: Narrator, rows: Iterable[AuditRow]) -> tuple[ShownEvent, ...]:
    return tuple(_event(row, narrator.tell(row)) for row in rows)


def _event(row: AuditRow, told: Sentence) -> ShownEvent:
    return ShownEvent(row.at, f"{row.at:%b} {row.at.day}", told.icon, told.text, row.succeeded, row.address)


def _path(**filters: object) -> str:
    return f"{AUDIT.path}?{urlencode(filters)}"
