"""Searching among the keys of all users."""

from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, not_, or_, select

from keyturn.core.folding import folded
from keyturn.core.records import KeyState, is_id
from keyturn.core.searches import SOON, KeyFilter, KeyOrder, KeySearch
from keyturn.store.database.schema import api_key, profile, user


def conditions_of(wanted: KeySearch, now: datetime) -> list[Any]:
    """Return what must be true of a key joined with its owner."""
    return [*_named(wanted), *_in_state(wanted, now), *_by_time(wanted)]


def _named(wanted: KeySearch) -> list[Any]:
    conditions: list[Any] = []
    if wanted.key_id is not None:
        conditions.append(api_key.c.id == wanted.key_id)
    if wanted.user_id is not None:
        conditions.append(api_key.c.user_id == wanted.user_id)
    if wanted.text is not None:
        conditions.append(_is_called(wanted.text))
    if wanted.about is not None:
        conditions.append(or_(_is_called(wanted.about), *_is_owned_or_numbered(wanted.about)))
    if wanted.owner is not None:
        conditions.append(func.lower(user.c.userid).contains(wanted.owner.lower(), autoescape=True))
    return conditions


def _is_called(text: str) -> Any:
    said = (
        func.lower(column).contains(text.lower(), autoescape=True)
        for column in (api_key.c.name, api_key.c.note)
    )
    return or_(*said, api_key.c.masked.contains(text, autoescape=True))


def _is_owned_or_numbered(text: str) -> list[Any]:
    owners = select(profile.c.user_id).where(profile.c.searched.contains(folded(text), autoescape=True))
    conditions: list[Any] = [api_key.c.user_id.in_(owners)]
    if text.isascii() and text.isdigit() and is_id(int(text[:20])):
        conditions.append(api_key.c.id == int(text))
    return conditions


def _in_state(wanted: KeySearch, now: datetime) -> list[Any]:
    conditions: list[Any] = [] if wanted.part is None else [_is_in(wanted.part, now)]
    if wanted.is_revoked is not None:
        conditions.append(
            api_key.c.revoked_at.is_not(None) if wanted.is_revoked else api_key.c.revoked_at.is_(None)
        )
    if wanted.ends_within is not None:
        conditions += [
            api_key.c.revoked_at.is_(None),
            api_key.c.expires_at > now,
            api_key.c.expires_at <= now + wanted.ends_within,
        ]
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
    return conditions


def _by_time(wanted: KeySearch) -> list[Any]:
    conditions: list[Any] = []
    if wanted.made_before is not None:
        conditions.append(api_key.c.created_at < wanted.made_before)
    if wanted.unused_since is not None:
        conditions.append(or_(api_key.c.last_used_at.is_(None), api_key.c.last_used_at < wanted.unused_since))
    if wanted.never_ends is not None:
        conditions.append(
            api_key.c.expires_at.is_(None) if wanted.never_ends else api_key.c.expires_at.is_not(None)
        )
    return conditions


def order_of(wanted: KeySearch, now: datetime) -> list[Any]:
    """Return by what the keys are ordered: what lacks a value comes last, the newest first among equals."""
    column = {
        KeyOrder.CREATED: api_key.c.id,
        KeyOrder.NAME: func.lower(api_key.c.name),
        KeyOrder.STATE: case((_is_in(KeyFilter.ENDED, now), 1), else_=0),
        KeyOrder.USED: api_key.c.last_used_at,
        KeyOrder.EXPIRES: api_key.c.expires_at,
        KeyOrder.OWNER: func.lower(user.c.userid),
    }[wanted.order]
    directed = column.desc() if wanted.is_descending else column.asc()
    return [directed.nulls_last(), api_key.c.id.desc()]


def counts_of(now: datetime) -> list[Any]:
    """Return the columns that count all keys, and those of each part."""
    return [
        func.count(),
        *(func.coalesce(func.sum(case((_is_in(part, now), 1), else_=0)), 0) for part in KeyFilter),
    ]


def _is_in(part: KeyFilter, now: datetime) -> Any:
    """Return whether a key joined with its owner is in this part."""
    is_alive = and_(
        api_key.c.revoked_at.is_(None), or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now)
    )
    match part:
        case KeyFilter.ACTIVE:
            return and_(is_alive, user.c.disabled_at.is_(None))
        case KeyFilter.SOON:
            return and_(is_alive, user.c.disabled_at.is_(None), api_key.c.expires_at <= now + SOON)
        case KeyFilter.SUSPENDED:
            return and_(is_alive, user.c.disabled_at.is_not(None))
        case KeyFilter.ENDED:
            return not_(is_alive)
