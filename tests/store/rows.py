"""Rows to store, complete but for what a test cares about."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from keyturn.core.attributes import AttributeChange, with_attribute, without_attribute
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.people import ServiceOwner
from keyturn.core.records import SessionKind
from keyturn.core.user_names import skeleton_of
from keyturn.core.verification import principal_of_key, principal_of_session
from keyturn.store.keys.api_keys import KeyToAdd
from keyturn.store.ownership.control import Successor
from keyturn.store.people.sessions import SessionToAdd
from keyturn.store.people.users import UserName, UserToAdd
from keyturn.verifying.origin import Origin, actor_of

if TYPE_CHECKING:
    from keyturn.store import Store

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SEAL, LATER_SEAL = b"\x01root one sealed", b"\x01root two sealed"
"""Under the root key that a store begins with, and under another."""
TESTER = Actor(user_id=None, userid="tester")
HERE = Origin(address="192.0.2.9")

_numbers = itertools.count(1)


def an_entry(**changed: Any) -> AuditEntry:
    """An audit entry that any change can carry."""
    values: dict[str, Any] = {
        "at": NOW,
        "action": AuditAction.USER_CREATED,
        "actor": TESTER,
        "target_type": Target.USER,
        "target_id": None,
    }
    return AuditEntry(**(values | changed))


def an_unwritable_entry() -> AuditEntry:
    """An audit entry that no database takes: a column that must be filled is empty."""
    return an_entry(actor=replace(TESTER, userid=None))


def a_user_name(userid: str) -> UserName:
    return UserName(userid, userid.casefold(), skeleton_of(userid))


def giving(name: str, value: str | None) -> AttributeChange:
    return partial(with_attribute, name=name, value=value)


def taking(name: str, value: str | None) -> AttributeChange:
    return partial(without_attribute, name=name, value=value)


def a_user(userid: str = "bob", **changed: Any) -> UserToAdd:
    values: dict[str, Any] = {
        "iamid": "bim",
        "user_name": a_user_name(userid),
        "permissions": frozenset({"GOVERNANCE", "AUDIT"}),
        "name": None,
        "email": None,
        "password_hash": "hash",
        "created_at": NOW,
    }
    return UserToAdd(**(values | changed))


def a_key(user_id: int, **changed: Any) -> KeyToAdd:
    values: dict[str, Any] = {
        "user_id": user_id,
        "digest": next(_numbers).to_bytes(32),
        "masked": "kt_x_…abcd",
        "name": "key",
        "created_at": NOW,
        "expires_at": NOW + timedelta(days=1),
    }
    return KeyToAdd(**(values | changed))


def a_session(user_id: int, **changed: Any) -> SessionToAdd:
    values: dict[str, Any] = {
        "user_id": user_id,
        "digest": next(_numbers).to_bytes(32),
        "kind": SessionKind.BROWSER,
        "created_at": NOW,
        "expires_at": NOW + timedelta(hours=12),
        "address": None,
        "user_agent": None,
    }
    return SessionToAdd(**(values | changed))


def grant_all(_permissions: frozenset[str]) -> None:
    """Allow any permission to be given."""


def a_successor(user_id: int | None = None, group_id: int | None = None) -> Successor:
    return Successor(ServiceOwner(user_id, group_id), grant_all)


def with_key(store: Store, key_id: int) -> Actor:
    """Who acts with this key, as it is now."""
    found = store.api_keys.find_for_token(key_id)
    assert found is not None
    return actor_of(principal_of_key(found), HERE)


def in_session(store: Store, session_id: int) -> Actor:
    """Who acts in this session, as it is now."""
    found = store.sessions.find_for_token(session_id)
    assert found is not None
    return actor_of(principal_of_session(found), HERE)
