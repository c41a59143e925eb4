"""The changes that a token may make which acts for somebody.

Such a token is lent for an hour. Nothing that is done with it may outlast it, or open more than it opens:
so it changes connections, where both accounts may, and nothing by which anybody gets in or is let further in.
One check where every change is written down: no route can be forgotten.
"""

from collections.abc import Mapping
from typing import Any

from keyturn.core.audit import AuditEntry, Target
from keyturn.core.principal import Impersonator
from keyturn.errors import Conflict

IMPERSONATOR = "impersonator"
"""The detail of an audit row that says who acted."""

_MAY_TOUCH = frozenset({Target.CONNECTION})


def check_may_record(entry: AuditEntry) -> None:
    """Raise `Conflict` for a change that a token may not make which acts for somebody."""
    if entry.target_type not in _MAY_TOUCH:
        raise Conflict(
            "This token acts for another person: it changes no accounts, keys, groups, projects and APIs. "
            "Use a key of your own."
        )


def told_details(impersonator: Impersonator) -> Mapping[str, Any]:
    """Return what a row says of the account that acts."""
    return {IMPERSONATOR: {"id": impersonator.user_id, "userid": impersonator.userid}}
