"""The last events about a person, key or connection: a card on its page, in the words of the audit log."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from itertools import groupby, islice
from urllib.parse import urlencode

from markupsafe import Markup

from keyturn.core.audit import AuditNames, AuditRow, AuditSearch, Target
from keyturn.core.permissions import Permission
from keyturn.core.records import ApiKeyRecord
from keyturn.web.pages.audit.sentences import Narrator, Sentence
from keyturn.web.pages.frame.tabs import AUDIT
from keyturn.web.pages.frame.views import View

LISTED_EVENTS = 10
READ_ROWS = 50
"""How many rows are read for them: the same event again and again, as guesses at a password, is told once."""


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """Rows of the log that follow each other and say the same, as a card tells them: when the newest was."""

    at: datetime
    day: str
    icon: str
    text: Markup
    succeeded: bool
    address: str | None
    times: int


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
    rows = trail.newest(principal, AuditSearch(user_id=user_id), size=READ_ROWS)
    narrator = Narrator.to(principal, trail.names(principal, rows), view.zone)
    return Activity(_told(narrator, rows), _path(user=user_id))


def activity_of_key(view: View, key: ApiKeyRecord) -> Activity:
    """Return what was done to a key that the viewer may see; `AuditTrail.of_key` says how much they learn."""
    principal, trail = view.principal, view.services.audit_trail
    rows = trail.of_key(principal, key, size=READ_ROWS)
    reads_log = principal.may(Permission.AUDIT)
    names = trail.names(principal, rows) if reads_log else AuditNames()
    named = replace(names, users={**names.users, principal.user_id: "You"})
    narrator = replace(Narrator.to(principal, named, view.zone), on_page_of_key=key.key_id)
    log = _path(target_type=Target.API_KEY, target=key.key_id) if reads_log else None
    return Activity(_told(narrator, rows), log)


def activity_of_connection(view: View, connection_key: str) -> Activity | None:
    """Return what was done to a connection; None for somebody who may not read the audit log."""
    principal, trail = view.principal, view.services.audit_trail
    if not principal.may(Permission.AUDIT):
        return None
    wanted = AuditSearch(target_type=Target.CONNECTION, target_id=connection_key)
    rows = trail.newest(principal, wanted, size=READ_ROWS)
    narrator = Narrator.to(principal, trail.names(principal, rows), view.zone)
    return Activity(_told(narrator, rows), _path(target_type=Target.CONNECTION, target=connection_key))


def _told(narrator: Narrator, rows: Iterable[AuditRow]) -> tuple[ShownEvent, ...]:
    told = ((narrator.tell(row), row) for row in rows)
    alike = groupby(told, key=lambda one: (one[0], one[1].address))
    return tuple(
        _event(sentence, list(some), narrator.zone) for (sentence, _), some in islice(alike, LISTED_EVENTS)
    )


def _event(told: Sentence, alike: list[tuple[Sentence, AuditRow]], zone: tzinfo) -> ShownEvent:
    row = alike[0][1]
    local = row.at.astimezone(zone)
    return ShownEvent(
        row.at,
        f"{local:%b} {local.day}, {local:%H:%M}",
        told.icon,
        told.text,
        row.succeeded,
        row.address,
        len(alike),
    )


def _path(**filters: object) -> str:
    return f"{AUDIT.path}?{urlencode(filters)}"
