"""Searching among users."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Text, and_, case, func, literal, or_, select, type_coerce

from keyturn.core.folding import folded
from keyturn.core.people import StateRule, UserKind, UserState
from keyturn.core.permissions import Permission
from keyturn.core.searches import UserOrder, UserSearch
from keyturn.store.database import folding
from keyturn.store.database.schema import (
    api_key,
    group_member,
    profile,
    service_account,
    user,
)
from keyturn.store.ownership.control import owned_by


def visibility_of(viewer: Any) -> list[Any]:
    """Return what must be true of a user whom `viewer` sees: themselves, or a service account of theirs.

    In the question itself, so that asking for a hidden user takes no longer than for an absent one (A2).
    """
    return [or_(user.c.id == viewer, user.c.id.in_(_managed_by(viewer)))]


def _managed_by(viewer: Any) -> Any:
    groups = select(group_member.c.group_id).where(group_member.c.user_id == viewer)
    return select(service_account.c.user_id).where(
        or_(service_account.c.owner_user_id == viewer, service_account.c.owner_group_id.in_(groups))
    )


def conditions_of(wanted: UserSearch) -> list[Any]:
    """Return what must be true of a user joined with their profile."""
    conditions = [*_texts_of(wanted), *_rights_of(wanted)]
    if wanted.is_disabled is not None:
        conditions.append(
            user.c.disabled_at.is_not(None) if wanted.is_disabled else user.c.disabled_at.is_(None)
        )
    if wanted.kinds is not None:
        conditions.append(user.c.kind.in_([kind.value for kind in wanted.kinds]))
    if wanted.owners is not None:
        owned = or_(False, *map(owned_by, wanted.owners))
        conditions.append(user.c.id.in_(select(service_account.c.user_id).where(owned)))
    if wanted.managed_by is not None:
        conditions.append(user.c.id.in_(_managed_by(wanted.managed_by)))
    if wanted.in_group is not None:
        members = select(group_member.c.user_id).where(group_member.c.group_id == wanted.in_group)
        conditions.append(user.c.id.in_(members))
    if wanted.ids is not None:
        conditions.append(user.c.id.in_(wanted.ids))
    if wanted.state is not None and wanted.rule is not None:
        conditions.append(state_by(wanted.rule) == wanted.state.value)
    return conditions


def has_permission(permission: Permission) -> Any:
    """Return whether a user holds a permission, which stands quoted among theirs."""
    return type_coerce(user.c.permissions, Text).contains(f'"{permission.value}"', autoescape=True)


def state_by(rule: StateRule) -> Any:
    """Return the state of a user, as `UserRecord.state` decides it."""
    is_person = user.c.kind == UserKind.PERSON.value
    lacks_password = and_(user.c.password_hash.is_(None), user.c.iamid.in_(rule.providers))
    return case(
        (user.c.disabled_at.is_not(None), UserState.SUSPENDED.value),
        (and_(is_person, user.c.locked_until > rule.now), UserState.LOCKED.value),
        (and_(is_person, lacks_password), UserState.INVITED.value),
        else_=UserState.ACTIVE.value,
    )


def order_of(wanted: UserSearch) -> list[Any]:
    """Return how users joined with their profile are ordered.

    No index serves these orders: a database looks once at each user that is found, as it does to count their
    states, and keeps the first of them. Living keys are counted by the index of `api_key.user_id`.
    """
    return folding.in_order(_column_of(wanted), user.c.id, is_descending=wanted.is_descending)


def _column_of(wanted: UserSearch) -> Any:
    match wanted.order:
        case UserOrder.STATE:
            ranks: dict[Any, int] = {state.value: rank for rank, state in enumerate(UserState)}
            return case(ranks, value=state_by(_rule_of(wanted)))
        case UserOrder.KEYS:
            return _living_keys(_rule_of(wanted).now)
        case order:
            return _COLUMNS[order]


_COLUMNS: Mapping[UserOrder, Any] = {
    UserOrder.NUMBER: user.c.id,
    UserOrder.NAME: profile.c.searched,
    UserOrder.USERID: user.c.canonical_userid,
    UserOrder.PROVIDER: user.c.iamid,
    UserOrder.EMAIL: func.lower(profile.c.email),
    UserOrder.USED: user.c.last_login_at,
}


def _rule_of(wanted: UserSearch) -> StateRule:
    if wanted.rule is None:
        raise ValueError("This order needs the rule of the states.")
    return wanted.rule


def _living_keys(now: datetime) -> Any:
    return (
        select(func.count())
        .where(
            api_key.c.user_id == user.c.id,
            api_key.c.revoked_at.is_(None),
            or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now),
        )
        .correlate(user)
        .scalar_subquery()
    )


def _rights_of(wanted: UserSearch) -> list[Any]:
    """Return the conditions on where somebody signs in and what they may do."""
    conditions: list[Any] = []
    if wanted.providers is not None:
        conditions.append(user.c.iamid.in_(wanted.providers))
    if wanted.not_providers:
        conditions.append(user.c.iamid.not_in(wanted.not_providers))
    if wanted.holding is not None:
        conditions.append(or_(False, *map(has_permission, wanted.holding)))
    conditions += [~has_permission(permission) for permission in sorted(wanted.not_holding)]
    return conditions


def _texts_of(wanted: UserSearch) -> list[Any]:
    columns = (
        (user.c.userid, wanted.userid),
        (profile.c.email, wanted.email),
        (profile.c.name, wanted.name),
    )
    conditions = [_contains(column, text) for column, text in columns if text is not None]
    if wanted.text is not None:
        conditions.append(profile.c.searched.contains(folded(wanted.text), autoescape=True))
    if wanted.called is not None:
        lines = literal("\n") + profile.c.searched + "\n"
        conditions.append(lines.contains(f"\n{folded(wanted.called)}\n", autoescape=True))
    return conditions


def _contains(column: Any, text: str) -> Any:
    return func.lower(column).contains(text.lower(), autoescape=True)
