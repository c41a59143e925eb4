"""What is told of a change is what changed: whoever applies it has what the database has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from keyturn.core import feed
from keyturn.core.audit import AuditAction
from keyturn.core.people import ServiceOwner
from keyturn.store.people import service_accounts
from tests.people import (
    HERE,
    actions,
    add_person,
    add_service_account,
    key_of_service,
    last_rows,
    new_key,
)
from tests.services.changes.test_freshness import NO_LIMIT, PATHS, new_world
from tests.services.feed.test_stream import EDGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyturn.composition import Services
    from keyturn.core.audit import Mark
    from keyturn.core.principal import Principal
    from tests.conftest import Opener

State = dict[tuple[str, Any], Any]
"""The row of each thing, by its kind and its number."""


def applied(state: State, events: Iterable[bytes]) -> State:
    """Return what is known after these events, as the reference says that they are applied."""
    reader, known, fresh = feed.EventReader(), dict(state), None
    for name, data in (event for sent in events for event in reader.read(sent)):
        told = msgspec.json.decode(data)
        match name:
            case feed.RESET:
                fresh = {}
            case feed.WHOLE:
                assert fresh is not None
                known, fresh = fresh, None
            case feed.GONE:
                for kind, numbers in told.items():
                    for number in numbers:
                        forget(known, kind, number)
            case feed.RESOURCES | feed.SIGNING_KEYS:
                (known if fresh is None else fresh)[name, None] = told
            case _:
                (known if fresh is None else fresh).update({(name, row[0]): row for row in told})
    return known


def forget(known: State, kind: str, number: int) -> None:
    known.pop((kind, number), None)
    if kind == feed.USERS:
        for (other, of), row in list(known.items()):
            if other in {feed.KEYS, feed.SESSIONS} and row[1] == number:
                del known[other, of]


def everything(services: Services) -> State:
    return applied({}, services.feed.pages.everything())


def told_since(services: Services, mark: Mark) -> list[bytes]:
    """Return what somebody is told who comes back, who are told of what changed and not of everything."""
    subscription = services.feed.follow(EDGE, lambda: None)
    hello, *told = services.feed.begin(subscription, "n" * 16, mark)
    services.feed.leave(subscription)
    assert b'"resumed":true' in hello
    return told


def test_what_is_told_of_any_change_is_all_that_changed(reopen: Opener) -> None:
    """Each way to change anything, applied to what was known before it, gives what there is after it."""
    services = reopen(failures_per_minute=NO_LIMIT)
    wrong, changing = {}, set()
    for name, path in PATHS.items():
        world = new_world(services, path.key_of)
        path.before(world)
        mark, before = services.store.audit_log.newest(), everything(services)

        path.act(world)

        after = everything(services)
        if path.action is AuditAction.INSTALLATION_RESTORED:
            changing.add(path.action)  # An epoch begins: who comes back is told of everything.
            with pytest.raises(AssertionError, match="resumed"):
                told_since(services, mark)
            continue
        told = applied(before, told_since(services, mark))
        if before != after:
            changing.add(path.action)
        differing = {key for key in told.keys() | after.keys() if told.get(key) != after.get(key)}
        # A revocation that is dropped, since the signing key is gone, is told to nobody.
        if differing := {key for key in differing if key[0] != feed.TOKENS or key in after}:
            wrong[name] = [(key, told.get(key), after.get(key)) for key in differing]
    assert wrong == {}
    assert len(changing) > 20


def test_who_is_deleted_takes_their_keys_along(services: Services, admin: Principal, bob: Principal) -> None:
    """Keys of a person who is deleted, and of their service accounts, are told to be gone by number."""
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    living, revoked = new_key(services, bob), new_key(services, bob)
    services.keys.revoke_own(bob, revoked.record.key_id, HERE)
    of_robot = key_of_service(services, bob)
    left = new_key(services, admin)
    mark = services.store.audit_log.newest()

    services.offboarding.delete(admin, "bim", "bob", HERE)

    gone: set[int] = set()
    reader = feed.EventReader()
    for name, data in (event for sent in told_since(services, mark) for event in reader.read(sent)):
        if name == feed.GONE:
            gone.update(msgspec.json.decode(data, type=feed.Gone).keys)
    assert gone == {made.record.key_id for made in (living, revoked, of_robot)}
    assert left.record.key_id not in gone
    own, robots = last_rows(services, len(actions(services)) - 2)
    assert own.details["keyIds"] == [living.record.key_id, revoked.record.key_id]
    assert robots.details["keyIds"] == [of_robot.record.key_id]


def test_the_row_of_an_end_is_bounded(
    services: Services, admin: Principal, bob: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of somebody with very many keys the newest are named; without any, none are."""
    monkeypatch.setattr(service_accounts, "MAX_KEYS_NAMED", 2)
    keys = [new_key(services, bob).record.key_id for _ in range(3)]
    add_person(services, "eve")
    for userid in ("bob", "eve"):
        services.offboarding.delete(admin, "bim", userid, HERE)
    many, none = last_rows(services, len(actions(services)) - 2)
    assert many.details["keyIds"] == keys[1:]
    assert "keyIds" not in none.details
