"""What one user may make: a bound on how much, and on how fast (fault B8)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.lifetimes import Lifetime
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.errors import OAuthCode, OAuthRefused, QuotaExceeded, TooManyFailures
from keyturn.services.keys.keys import CreatedKey, NewKey
from keyturn.services.people import projects
from keyturn.store.people import sessions
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import (
    HERE,
    add_person,
    add_service_account,
    caller,
    is_accepted,
    key_of_service,
    log_in,
    new_key,
    person,
    signed_in,
)
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from tests.conftest import Opener
    from tests.fakes import Clock

NONE = timedelta(0)
FOREIGN = "3f9c2b7e81d04a56b7c9e0f1a2d3c4b5"


def test_fault_b8_an_account_has_so_many_living_keys(
    services: Services, bob: Principal, clock: Clock, reopen: Opener
) -> None:
    """One key more than the bound is refused, by a key too; what has ended, and the shell, does not count."""
    bounded = reopen(keys_per_owner=3)
    made = [new_key(bounded, bob) for _ in range(2)]
    new_key(bounded, bob, lifetime=Lifetime(clock.now + timedelta(hours=1)))
    by_key = caller(bounded, made[0].secret)
    for who in (bob, by_key):
        with pytest.raises(QuotaExceeded, match="3 living keys"):
            new_key(bounded, who)
    assert len(bounded.keys.list_own(bob)) == 3

    bounded.keys.create_for(bob.user_id, COMMAND_LINE, NewKey())
    bounded.keys.import_foreign(bob.user_id, COMMAND_LINE, text=FOREIGN, name=None, lifetime=None)
    for key in made:
        bounded.keys.revoke_own(bob, key.record.key_id, HERE)
    clock.advance(timedelta(hours=1))
    assert is_accepted(bounded, new_key(bounded, bob).secret)
    with pytest.raises(QuotaExceeded):
        new_key(bounded, bob)


def test_fault_b8_of_many_at_once_no_key_is_one_too_many(
    services: Services, bob: Principal, reopen: Opener
) -> None:
    """However many ask at the same instant, an account has no key more than the bound."""
    bounded = reopen(keys_per_owner=5)
    made = all_at_once(12, lambda _: new_key(bounded, bob))
    assert sum(isinstance(one, CreatedKey) for one in made) == 5
    assert all(isinstance(one, CreatedKey | QuotaExceeded) for one in made), made


def test_fault_b8_the_bound_is_each_account_s_own(
    services: Services, admin: Principal, bob: Principal, reopen: Opener
) -> None:
    """The keys of a service account are its own: they fill neither its owner's bound nor another's."""
    bounded = reopen(keys_per_owner=1)
    add_service_account(bounded, admin, ServiceOwner(bob.user_id))
    new_key(bounded, bob)
    key_of_service(bounded, bob)
    for make in (lambda: new_key(bounded, bob), lambda: key_of_service(bounded, bob)):
        with pytest.raises(QuotaExceeded):
            make()


def test_fault_b8_a_device_gets_no_key_too_many(services: Services, bob: Principal, reopen: Opener) -> None:
    """A person who has all the keys they may have gives none to a device, which is told why."""
    bounded = reopen(keys_per_owner=1)
    session = signed_in(bounded, log_in(bounded))
    form = {"client_id": "laptop"}
    begun = bounded.devices.begin(form, HERE)
    bounded.devices.approve(session, begun.user_code, Lifetime(None), HERE)
    new_key(bounded, bob)
    with pytest.raises(OAuthRefused, match="1 living keys") as refused:
        bounded.devices.take({**form, "device_code": begun.device_code}, HERE)
    assert refused.value.code is OAuthCode.ACCESS_DENIED


def test_fault_b8_nobody_makes_more_in_a_minute(
    services: Services, admin: Principal, bob: Principal, clock: Clock, reopen: Opener
) -> None:
    """Keys, keys of accounts, new secrets and projects share one user's rate, and nobody else's."""
    bounded = reopen(creations_per_minute=4)
    add_service_account(bounded, admin, ServiceOwner(bob.user_id))
    made = new_key(bounded, bob)
    makers = (
        lambda: new_key(bounded, caller(bounded, made.secret)),
        lambda: key_of_service(bounded, bob),
        lambda: bounded.projects.add(bob, HERE, name="one", description=None),
        lambda: bounded.key_rotation.rotate_own(bob, made.record.key_id, HERE, overlap=timedelta(hours=1)),
    )
    for make in makers[:3]:
        make()
    for make in makers:
        with pytest.raises(TooManyFailures) as refused:
            make()
        assert refused.value.retry_after == 15
    new_key(bounded, admin)
    bounded.keys.create_for(bob.user_id, COMMAND_LINE, NewKey())
    clock.advance(timedelta(seconds=15))
    makers[3]()


def test_fault_b8_a_person_has_so_many_projects(
    services: Services, bob: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One project more than the bound is refused, until one that the person made is deleted."""
    monkeypatch.setattr(projects, "PROJECTS_PER_PERSON", 2)
    first, _ = (services.projects.add(bob, HERE, name=name, description=None) for name in ("one", "two"))
    with pytest.raises(QuotaExceeded, match="2 projects"):
        services.projects.add(bob, HERE, name="three", description=None)
    add_person(services, "carol")
    services.projects.add(person(services, "carol"), HERE, name="three", description=None)
    services.projects.delete(bob, first.project_id, HERE)
    services.projects.add(bob, HERE, name="four", description=None)


def test_fault_b8_the_oldest_session_gives_way(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person has so many sessions: one more ends the oldest, with its token, and the log says so."""
    monkeypatch.setattr(sessions, "MAX_LIVING", 2)
    add_person(services)
    token = services.logins.log_in_api("bim", "bob", "seven green lanterns drift", HERE).token
    cookies = [log_in(services)]
    assert is_accepted(services, token)
    cookies.append(log_in(services))
    assert not is_accepted(services, token)
    cookies.append(log_in(services))
    assert [services.sessions.find(cookie) is not None for cookie in cookies] == [False, True, True]
    rows = services.store.audit_log.list_after(limit=1000)
    assert [row.action for row in rows].count("SessionEnded") == 2


def test_fault_b8_every_permission_of_a_newcomer_is_looked_at(services: Services, bob: Principal) -> None:
    """What a plain user may make is bounded above: a further default permission must be looked at here."""
    assert bob.permissions == {Permission.CREATE_PROJECT}
