"""Sessions as rows."""

from __future__ import annotations

from datetime import datetime, timedelta

from keyturn.core.records import SessionKind
from keyturn.store import Store
from keyturn.store.people.sessions import SessionToAdd
from tests.store.rows import NOW, a_session, a_user, an_entry

LATER = NOW + timedelta(hours=1)


def begin(store: Store, session: SessionToAdd) -> int:
    session_id = store.logins.record_login(session, an_entry(), checked="hash", rehashed=None)
    assert session_id is not None
    return session_id


def test_a_session_is_stored_whole(store: Store, bob: int) -> None:
    """What was given of a session is what is found, by digest and by id."""
    session = a_session(bob, address="::1", user_agent="browser")
    session_id = begin(store, session)

    found = store.sessions.find_for_verification(session.digest)

    assert found == store.sessions.find_for_token(session_id)
    assert found is not None
    assert (found.session_id, found.kind, found.owner.user_id) == (session_id, SessionKind.BROWSER, bob)
    assert (found.created_at, found.last_seen_at, found.expires_at) == (NOW, NOW, session.expires_at)
    (listed,) = store.sessions.list_living(bob, NOW, NOW - timedelta(1))
    assert (listed.address, listed.user_agent) == ("::1", "browser")


def test_absent_sessions_are_none(store: Store, bob: int) -> None:
    """Nothing is found under another digest or id."""
    session_id = begin(store, a_session(bob))

    assert store.sessions.find_for_verification(b"other") is None
    assert store.sessions.find_for_token(session_id + 1) is None


def test_the_last_sight_moves_forward_only(store: Store, bob: int) -> None:
    """An older sight never overwrites a newer one, and a sight bumps no revision."""
    session_id = begin(store, a_session(bob))
    revision = store.installation.revision()

    store.sessions.touch(session_id, LATER)
    store.sessions.touch(session_id, NOW)

    found = store.sessions.find_for_token(session_id)
    assert found is not None
    assert found.last_seen_at == LATER
    assert store.installation.revision() == revision


def test_a_session_ends_once_and_for_its_user_only(store: Store, bob: int) -> None:
    """Only its user ends a session, once."""
    session_id = begin(store, a_session(bob))

    assert not store.sessions.end(session_id, bob + 1, LATER, an_entry())
    assert store.sessions.end(session_id, bob, LATER, an_entry())
    assert not store.sessions.end(session_id, bob, LATER, an_entry())
    found = store.sessions.find_for_token(session_id)
    assert found is not None
    assert found.ended_at == LATER


def test_ending_all_keeps_one_and_other_people(store: Store, bob: int) -> None:
    """Ending all sessions leaves the kept one and everybody else's, and says how many ended."""
    eve = store.users.add(a_user("eve"), an_entry()).user_id
    theirs = begin(store, a_session(eve))
    kept, *_ = [begin(store, a_session(bob)) for _ in range(3)]

    assert store.sessions.end_all(bob, LATER, an_entry(), keep=kept) == 2
    assert store.sessions.end_all(bob, LATER, an_entry(), keep=kept) == 0

    assert [row.session_id for row in store.sessions.list_living(bob, NOW, NOW - timedelta(1))] == [kept]
    assert [row.session_id for row in store.sessions.list_living(eve, NOW, NOW - timedelta(1))] == [theirs]


def test_the_list_holds_living_sessions(store: Store, bob: int) -> None:
    """A session is listed until exactly its end; a browser also only while it is not idle."""
    begin(store, a_session(bob, kind=SessionKind.BROWSER, expires_at=LATER))
    begin(store, a_session(bob, kind=SessionKind.TOKEN, expires_at=LATER))
    instant, long_ago = timedelta(milliseconds=1), NOW - timedelta(1)

    def listed(now: datetime, idle_since: datetime) -> set[str]:
        return {session.kind.value for session in store.sessions.list_living(bob, now, idle_since)}

    assert listed(NOW, NOW - instant) == {"browser", "token"}
    assert listed(NOW, NOW) == {"token"}
    assert listed(LATER - instant, LATER) == {"token"}
    assert listed(LATER - instant, long_ago) == {"browser", "token"}
    assert listed(LATER, long_ago) == set()
