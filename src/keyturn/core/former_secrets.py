"""What a secret of a key may not do any more once it was rotated away, while its overlap lasts.

It goes on for programs that do not have the new one yet. Whoever else has it must not outlast it, nor shut
out the holder of the new one.
"""

from keyturn.core.records import AuditAction, AuditEntry
from keyturn.errors import Conflict

FORMER_SECRET = (
    "This secret was rotated away: it makes, rotates and ends no keys and does not change its account."
)

_OF_KEYS = "APIKEY"
_OF_ACCOUNTS = frozenset({"USER", "SESSION"})
_OF_ANY_OTHER_KEY = frozenset({AuditAction.API_KEY_DELETED})
_IN_ANY_CASE = frozenset({AuditAction.API_KEY_REPLACED})
"""The retry of the rotation itself, for which its service has a bound of its own."""


def check_may_record(entry: AuditEntry) -> None:
    """Raise `Conflict` for a change that a former secret may not make."""
    principal = entry.actor.principal
    if principal is None or not principal.credential.is_former_secret or entry.action in _IN_ANY_CASE:
        return
    if entry.target_type == _OF_KEYS:
        may = entry.action in _OF_ANY_OTHER_KEY and entry.target_id != str(principal.key_id)
    else:
        may = entry.target_type not in _OF_ACCOUNTS or entry.target_id not in {None, str(principal.user_id)}
    if not may:
        raise Conflict(f"{FORMER_SECRET} Use the new one.")
