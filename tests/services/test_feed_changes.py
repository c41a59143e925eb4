"""What is told of a change is what changed: whoever applies it has what the database has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from keyturn.core import feed
from tests.services.test_feed import EDGE
from tests.services.test_freshness import NO_LIMIT, PATHS, new_world

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyturn.composition import Services
    from keyturn.store import Mark
    from tests.services.conftest import Opener

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
        told = applied(before, told_since(services, mark))
        if before != after:
            changing.add(path.action)
        if told != after:
            differing = {key for key in told.keys() | after.keys() if told.get(key) != after.get(key)}
            wrong[name] = [(key, told.get(key), after.get(key)) for key in differing]
    assert wrong == {}
    assert len(changing) > 20
