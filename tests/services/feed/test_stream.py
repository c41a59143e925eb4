"""Who follows, who is told what, and who is too slow."""

from __future__ import annotations

import threading
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import insert

from keyturn.core import feed as wire
from keyturn.core.audit import AuditAction, AuditEntry, Mark, Target
from keyturn.core.permissions import Permission
from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.errors import InvalidState, KeyturnError, PermissionMissing, StoreUnavailable, TooBusy
from keyturn.services.feed import stream as feed
from keyturn.services.feed.stream import FellBehind, Part, Subscription
from keyturn.services.keys.keys import NewKey
from keyturn.store.database.schema import api_key
from keyturn.verifying.origin import COMMAND_LINE
from tests.apis import new_group, register
from tests.people import HERE, add_person, change_behind, person
from tests.replica.edges import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keyturn.composition import Services
    from keyturn.store.database.statements import CompiledQuery, Row
    from keyturn.store.database.transactions import Database
    from tests.fakes import Clock

SECONDS = 10
EDGE = Principal(
    user_id=1,
    userid="edge",
    iamid="bim",
    name=None,
    permissions=frozenset({Permission.VERIFY_CREDENTIALS}),
    scopes=None,
    method=AuthMethod.API_KEY,
    key_id=1,
    project_id=None,
    withheld=frozenset(),
    jkt=None,
    requests=None,
    impersonator=None,
    credential=PresentedCredential(None),
)


class Listener:
    """Somebody who follows, and takes what comes."""

    def __init__(self, services: Services, caller: Principal = EDGE) -> None:
        self._feed = services.feed
        self._woken = threading.Event()
        self.subscription: Subscription = self._feed.follow(caller, self._woken.set)

    def begin(self, mark: Mark | None = None) -> list[str]:
        return names(list(self._feed.begin(self.subscription, "n" * 16, mark)))

    def next(self) -> list[str]:
        """Return the names of the events that come next, waiting for some."""
        while True:
            assert self._woken.wait(SECONDS), "nothing came"
            self._woken.clear()
            parts, _ = self._feed.take(self.subscription)
            if parts:
                return names(list(written(parts)))

    def leave(self) -> None:
        self._feed.leave(self.subscription)


def written(parts: Iterable[Part]) -> Iterator[bytes]:
    """Yield the events of these parts, reading those that are not read yet."""
    for part in parts:
        yield from (part,) if isinstance(part, bytes) else part()


def names(events: list[bytes]) -> list[str]:
    reader = wire.EventReader()
    return [name for event in events for name, _ in reader.read(event)]


def test_each_change_is_told_as_what_it_touches(services: Services) -> None:
    """A user, a key, a session: what changed is read anew and told, and nothing else."""
    add_person(services)
    bob = person(services)
    listener = Listener(services)
    listener.begin()
    key = services.keys.create(bob, HERE, NewKey())
    assert listener.next() == [wire.KEYS]
    services.keys.revoke_own(bob, key.record.key_id, HERE)
    assert listener.next() == [wire.KEYS]
    services.logins.log_in_api("bim", "bob", "seven green lanterns drift", HERE)
    assert listener.next() == [wire.USERS, wire.SESSIONS]
    change_behind(services, "UPDATE user_account SET disabled_at = 1 WHERE userid = 'bob'")
    assert listener.next()[0] == wire.RESET
    listener.leave()


def test_a_mark_is_gone_on_from(services: Services) -> None:
    """With a mark what came since is told, if that can be named; one of the future is not believed."""
    add_person(services)
    mark = services.store.audit_log.newest()
    services.keys.create(person(services), HERE, NewKey())
    listener = Listener(services)
    assert listener.begin(mark)[0] == wire.HELLO
    assert wire.RESET not in listener.begin(mark)
    assert wire.RESET in listener.begin(Mark(mark.revision, "0" * 36))
    with pytest.raises(StoreUnavailable):
        listener.begin(Mark(10**6, "0" * 36))
    listener.leave()


def test_whoever_falls_behind_is_cut_off(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for the slow is bounded; whoever wants more must begin again."""
    monkeypatch.setattr(feed, "MAX_KEPT_BATCHES", 2)
    add_person(services)
    bob = person(services)
    slow, quick = Listener(services), Listener(services)
    for _ in range(4):
        services.keys.create(bob, HERE, NewKey())
        assert quick.next() == [wire.KEYS]
    with pytest.raises(FellBehind):
        services.feed.take(slow.subscription)
    slow.leave()
    quick.leave()


def test_nothing_is_confirmed_from_before_the_greeting(services: Services, clock: Clock) -> None:
    """How far what was told reaches is said of looks after the greeting alone."""
    first, second = Listener(services), Listener(services)
    first.begin()
    wait_until(lambda: services.feed.take(first.subscription)[1] is not None)
    clock.advance(timedelta(milliseconds=1))
    list(services.feed.begin(second.subscription, "n" * 16, None))
    wait_until(lambda: services.feed.take(second.subscription)[1] is not None)
    told = services.feed.take(second.subscription)[1]
    assert told is not None
    assert told.at >= second.subscription.hello_at
    first.leave()
    second.leave()


def test_followers_are_counted(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are taken are told to wait, and each that leaves makes room."""
    monkeypatch.setattr(feed, "MAX_FOLLOWERS", 2)
    listeners = [Listener(services) for _ in range(2)]
    with pytest.raises(TooBusy):
        Listener(services)
    listeners.pop().leave()
    Listener(services).leave()
    listeners.pop().leave()


def test_the_followers_of_one_user_are_counted(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever's programs take many places leaves some for others."""
    monkeypatch.setattr(feed, "MAX_FOLLOWERS_OF_ONE", 2)
    listeners = [Listener(services) for _ in range(2)]
    with pytest.raises(TooBusy):
        Listener(services)
    listeners.append(Listener(services, replace(EDGE, user_id=2)))
    listeners.pop(0).leave()
    listeners.append(Listener(services))
    for listener in listeners:
        listener.leave()


class Counted:
    """The database, and what it has answered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.answers: list[list[Row]] = []

    def query(self, query: CompiledQuery, **parameters: Any) -> list[Row]:
        self.answers.append(self._database.query(query, **parameters))
        return self.answers[-1]


@pytest.fixture
def counted(services: Services, monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted(services.store._database)
    monkeypatch.setattr(services.store.feed, "_database", counted)
    return counted


def make_many_keys(services: Services, user_id: int, many: int, *, scopes: list[str] | None = None) -> None:
    """Make keys, told of one by one, in one transaction."""
    with services.store._database.change() as change:
        for number in range(many):
            key_id = change.connection.execute(
                insert(api_key)
                .values(
                    user_id=user_id,
                    digest=sha256(b"%d" % number).digest(),
                    masked="many",
                    created_at=services.system.now(),
                    scopes=scopes,
                )
                .returning(api_key.c.id)
            ).scalar_one()
            change.record(
                AuditEntry(
                    services.system.now(),
                    AuditAction.API_KEY_CREATED,
                    COMMAND_LINE,
                    Target.API_KEY,
                    str(key_id),
                )
            )


def test_whoever_comes_back_is_greeted_first_and_then_told_in_few_questions(
    services: Services, counted: Counted
) -> None:
    """The greeting waits for no row, and what changed is asked for by the hundred."""
    bob = add_person(services)
    mark = services.store.audit_log.newest()
    make_many_keys(services, bob.user_id, 500)
    listener = Listener(services)
    events = services.feed.begin(listener.subscription, "n" * 16, mark)
    assert names([next(events)]) == [wire.HELLO]
    assert counted.answers == []
    told = list(events)
    listener.leave()
    rows = [
        row
        for event in told
        for _, data in wire.EventReader().read(event)
        for row in msgspec.json.decode(data)
    ]
    assert len({row[0] for row in rows}) == 500
    assert len(counted.answers) <= 5


def test_no_event_is_too_large_to_be_read(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told, all of it or what changed, is cut by its bytes."""
    monkeypatch.setattr(wire, "EVENT_BYTES", 4000)
    bob = add_person(services)
    mark = services.store.audit_log.newest()
    make_many_keys(services, bob.user_id, 150, scopes=["x" * 100])
    listener = Listener(services)
    for since in (None, mark):
        events = list(services.feed.begin(listener.subscription, "n" * 16, since))
        assert max(map(len, events)) < 5000
        assert names(events).count(wire.KEYS) > 3
    listener.leave()


def test_many_changes_at_once_are_told_one_by_one(services: Services) -> None:
    """After thousands of changes whoever follows is told of those, and not of everything."""
    bob = add_person(services)
    listener = Listener(services)
    listener.begin()
    make_many_keys(services, bob.user_id, 1100)
    assert set(listener.next()) == {wire.KEYS}
    listener.leave()


def test_a_login_tells_of_its_own_session(services: Services) -> None:
    """However many sessions somebody has, each login tells of one."""
    add_person(services)
    for _ in range(3):
        services.logins.log_in_api("bim", "bob", "seven green lanterns drift", HERE)
    mark = services.store.audit_log.newest()
    services.logins.log_in_api("bim", "bob", "seven green lanterns drift", HERE)
    listener = Listener(services)
    events = list(services.feed.begin(listener.subscription, "n" * 16, mark))
    listener.leave()
    (sessions,) = (
        data for event in events for name, data in wire.EventReader().read(event) if name == wire.SESSIONS
    )
    assert len(msgspec.json.decode(sessions)) == 1


def test_named_users_are_asked_about_alone(services: Services, counted: Counted, admin: Principal) -> None:
    """The memberships of whoever is between two users that changed are not read."""
    first, _, last = [add_person(services, userid).user_id for userid in ("a", "b", "c")]
    group = new_group(services, admin, "writers", "a", "b", "c")
    register(services, "stock", [group])
    list(services.feed.pages.users([first, last]))
    assert counted.answers[-1] == [(first, group), (last, group)]


@pytest.mark.parametrize(
    ("caller", "refused"),
    [
        (
            replace(EDGE, permissions=frozenset(Permission) - {Permission.VERIFY_CREDENTIALS}),
            PermissionMissing,
        ),
        (replace(EDGE, scopes=frozenset({"a"})), PermissionMissing),
        (replace(EDGE, jkt="A" * 43), InvalidState),
    ],
)
def test_the_service_itself_refuses_who_may_not_follow(
    services: Services, caller: Principal, refused: type[KeyturnError]
) -> None:
    """Without the permission, narrowed, or bound to a key pair, nobody follows, whoever asks for them."""
    with pytest.raises(refused):
        services.feed.follow(caller, lambda: None)
    assert not services.feed._subscriptions


def test_the_thread_ends_when_nobody_follows(services: Services) -> None:
    """A server that nobody follows looks at nothing for the feed."""
    listener = Listener(services)
    thread = services.feed._thread
    assert thread is not None
    listener.leave()
    thread.join(SECONDS)
    assert not thread.is_alive()
    Listener(services).leave()
