"""What verifiers elsewhere report: bounded, readable, and only from who may."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.permissions import Permission
from keyturn.core.records import KeyCaller, LastUse
from keyturn.errors import PermissionMissing
from keyturn.services.keys.keys import NewKey
from tests.people import HERE, add_person, holder, person

if TYPE_CHECKING:
    from keyturn.composition import Services


def test_a_report_is_bounded(services: Services) -> None:
    """A use of tomorrow was now, one of last year counts as of a day ago, and no secret gets through."""
    edge = holder(services, "edge", Permission.VERIFY_CREDENTIALS)
    add_person(services)
    bob, now = person(services), services.system.now()
    new, old = (services.keys.create(bob, HERE, NewKey()) for _ in range(2))
    services.remote_uses.record(
        edge,
        [
            (new.record.key_id, LastUse(now + timedelta(days=1), "192.0.2.7", None, old.secret), 3),
            (old.record.key_id, LastUse(now - timedelta(days=400), "<b>", "GET /a", None), 10**12),
            (987654321, LastUse(now, None, None, None), 1),
        ],
    )
    second, first = services.keys.list_own(bob)
    assert first.last_use == LastUse(now, "192.0.2.7", None, "[REDACTED]")
    assert second.last_use == LastUse(now - timedelta(days=1), None, "GET /a", None)
    assert services.key_uses.count(bob.user_id)[first.key_id] == 3


def test_a_report_is_one_caller(services: Services) -> None:
    """All uses of a report count for the caller it names; reports of one caller add up, in any order."""
    edge = holder(services, "edge", Permission.VERIFY_CREDENTIALS)
    add_person(services)
    bob, now = person(services), services.system.now()
    key = services.keys.create(bob, HERE, NewKey()).record
    for at, via, uses in ((now, "GET /b", 3), (now - timedelta(hours=1), "GET /a", 4)):
        services.remote_uses.record(edge, [(key.key_id, LastUse(at, "192.0.2.7", via, "curl"), uses)])
    services.remote_uses.record(edge, [(key.key_id, LastUse(now - timedelta(hours=2), None, None, None), 5)])

    known, unknown = services.key_uses.callers(key)
    assert known == KeyCaller("192.0.2.7", "curl", "GET /b", 7, 0, None, now - timedelta(hours=1), now)
    assert (unknown.address, unknown.agent, unknown.uses) == (None, None, 5)


def test_nobody_else_reports(services: Services) -> None:
    """Without the permission nothing is written."""
    add_person(services)
    bob = person(services)
    key = services.keys.create(bob, HERE, NewKey())
    last = LastUse(services.system.now(), None, None, None)
    with pytest.raises(PermissionMissing):
        services.remote_uses.record(bob, [(key.record.key_id, last, 1)])
    assert services.keys.list_own(bob)[0].last_use is None
