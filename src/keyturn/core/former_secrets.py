"""The changes that a former secret of a key, and any token of it, may not make.

While its overlap lasts it goes on for programs that do not have the new one yet. A thief who has it must not
outlast it, nor shut out the holder of the new one. So it touches nothing by which anybody gets in: no key and
no account, its own or another's. One check where every change is written down: no route can be forgotten.
"""

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.errors import ChangeRefused

FORMER_SECRET = (
    "This secret, or the one that this token was made with, was rotated away: it makes, rotates and ends no "
    "keys and changes no accounts."
)

_MAY_NOT_TOUCH = frozenset({Target.API_KEY, Target.USER, Target.SESSION})


def check_may_record(entry: AuditEntry) -> None:
    """Raise `ChangeRefused` for a change that a former secret may not make, for whoever makes it with one."""
    principal = entry.actor.principal
    is_retry = entry.action is AuditAction.API_KEY_REPLACED and (
        principal is not None and entry.target_id == str(principal.key_id)
    )
    is_free = is_retry or entry.action is AuditAction.USER_IMPERSONATED  # Such a token ends with the secret.
    if entry.target_type in _MAY_NOT_TOUCH and not is_free:  # A rotation's service bounds its retries.
        raise ChangeRefused(f"{FORMER_SECRET} Use the new one.")
