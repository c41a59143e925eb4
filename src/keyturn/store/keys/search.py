"""Searching among the keys of all users."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, or_

from keyturn.core.records import KeyState
from keyturn.core.searches import KeySearch
from keyturn.store.database.schema import api_key, user


def conditions_of(wanted: KeySearch, now: datetime) -> list[Any]:
    """Return what must be true of a key joined with its owner."""
    conditions: list[Any] = []
    if wanted.key_id is not None:
        conditions.append(api_key.c.id == wanted.key_id)
    if wanted.owner is not None:
        conditions.append(func.lower(user.c.userid).contains(wanted.owner.lower(), autoescape=True))
    is_over = api_key.c.expires_at <= now
    match wanted.state:
        case KeyState.REVOKED:
            conditions.append(api_key.c.revoked_at.is_not(None))
        case KeyState.EXPIRED:
            conditions += [api_key.c.revoked_at.is_(None), is_over]
        case KeyState.ACTIVE:
            conditions += [
                api_key.c.revoked_at.is_(None),
                or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now),
            ]
    if wanted.made_before is not None:
        conditions.append(api_key.c.created_at < wanted.made_before)
    if wanted.unused_since is not None:
        conditions.append(or_(api_key.c.last_used_at.is_(None), api_key.c.last_used_at < wanted.unused_since))
    if wanted.never_ends is not None:
        conditions.append(
            api_key.c.expires_at.is_(None) if wanted.never_ends else api_key.c.expires_at.is_not(None)
        )
    return conditions
