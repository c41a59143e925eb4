"""Users: one per folded name, set up once, and what a login leaves behind."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from keyturn.core.people import UserRecord
from keyturn.core.searches import UserSearch
from keyturn.errors import Conflict
from keyturn.store import Store
from keyturn.store.people.logins import KeptSession
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, a_session, a_user, an_entry

LATER = NOW + timedelta(hours=1)


def everybody(store: Store) -> tuple[UserRecord, ...]:
    return store.users.search(UserSearch(), size=1000).items


def test_a_user_is_stored_whole(store: Store) -> None:
    """What was given of a user is what is found, by name and by id."""
    made = store.users.add(
        a_user("Bob", name="Bob Ö", email="bob@example.com", password_hash=None), an_entry()
    )

    assert store.users.find_by_id(made.user_id) == made
    assert store.users.find_by_name("bim", "bob") == made
    assert everybody(store) == (made,)
    assert (made.userid, made.profile.name, made.profile.email) == ("Bob", "Bob Ö", "bob@example.com")
    assert made.permissions == frozenset({"GOVERNANCE", "AUDIT"})
    assert (made.has_password, made.password_changed_at, made.is_disabled) == (False, None, False)
    assert (made.created_at, made.updated_at, made.last_login_at) == (NOW, NOW, None)


def test_an_unknown_user_is_none(store: Store, bob: int) -> None:
    """Nobody is found under another id, name or identity manager."""
    assert store.users.find_by_id(bob + 1) is None
    assert store.users.find_by_name("bim", "eve") is None
    assert store.users.find_by_name("okta", "bob") is None
    assert store.logins.find_for_login("bim", "eve") is None
    assert store.logins.find_for_password_change(bob + 1) is None


def test_a_name_is_taken_once_per_identity_manager(store: Store, bob: int) -> None:
    """A folded name that is taken is a Conflict; under another identity manager it is free."""
    with pytest.raises(Conflict, match="BOB"):
        store.users.add(a_user("BOB"), an_entry())

    assert store.users.add(a_user("BOB", iamid="okta"), an_entry()).user_id != bob


def test_the_audit_row_names_the_new_user(store: Store, bob: int) -> None:
    """The row of a creation names the id that the store gave."""
    assert [row.target_id for row in store.audit_log.list_after()] == [str(bob)]


def test_no_secret_is_in_a_repr() -> None:
    """A password hash or digest is in the text of no row."""
    assert "argon" not in repr(a_user(password_hash="$argon2id$"))
    assert repr(a_session(1).digest) not in repr(a_session(1))


def test_a_login_starts_a_session_and_forgets_failures(store: Store, bob: int) -> None:
    """A login leaves a session, no failures, the time, and the stronger hash if there is one."""
    store.logins.record_failed_login(bob, lambda _failures: LATER, an_entry())

    session_id = store.logins.record_login(a_session(bob), an_entry(), checked="hash", rehashed="stronger")

    login = store.logins.find_for_password_change(bob)
    assert login is not None
    assert (login.failed_logins, login.locked_until, login.password_hash) == (0, None, "stronger")
    user = store.users.find_by_id(bob)
    assert user is not None
    assert user.last_login_at == NOW
    assert session_id is not None
    assert store.sessions.find_for_token(session_id) is not None


def test_a_login_without_new_hash_keeps_the_old(store: Store, bob: int) -> None:
    """Only a stronger hash replaces the stored one."""
    store.logins.record_login(a_session(bob), an_entry(), checked="hash", rehashed=None)

    login = store.logins.find_for_login("bim", "bob")
    assert login is not None
    assert login.password_hash == "hash"


def test_what_was_proved_must_still_be_true(store: Store, bob: int) -> None:
    """No session begins for a password that was changed, or a user disabled, while it was checked."""
    assert store.logins.record_login(a_session(bob), an_entry(), checked="old", rehashed=None) is None

    store.users.set_disabled(bob, LATER, LATER, an_entry())
    assert store.logins.record_login(a_session(bob), an_entry(), checked="hash", rehashed=None) is None
    assert store.sessions.list_living(bob, NOW, NOW - timedelta(1)).items == ()


def test_failures_are_counted_per_account(store: Store, bob: int) -> None:
    """Each failed login adds one, and sets until when the account is locked."""
    for _ in range(3):
        store.logins.record_failed_login(bob, lambda _failures: LATER, an_entry())

    login = store.logins.find_for_login("bim", "bob")
    assert login is not None
    assert (login.failed_logins, login.locked_until) == (3, LATER)


def test_a_new_password_ends_sessions_and_lock(store: Store, bob: int) -> None:
    """A new password opens the account and ends every session but the kept one, which gets a new id (L5)."""
    old = a_session(bob)
    kept, ended = (
        store.logins.record_login(session, an_entry(), checked="hash", rehashed=None)
        for session in (old, a_session(bob))
    )
    assert kept is not None
    store.logins.record_failed_login(bob, lambda _failures: LATER, an_entry())

    store.logins.set_password(bob, "other", LATER, an_entry(), kept=KeptSession(kept, b"new"))

    login = store.logins.find_for_login("bim", "bob")
    assert login is not None
    assert (login.password_hash, login.failed_logins, login.locked_until) == ("other", 0, None)
    living = store.sessions.list_living(bob, NOW, NOW - timedelta(1))
    assert [session.session_id for session in living] == [kept]
    assert ended != kept
    renewed = store.sessions.find_for_verification(b"new")
    assert renewed is not None
    assert renewed.session_id == kept
    assert store.sessions.find_for_verification(old.digest) is None
    user = store.users.find_by_id(bob)
    assert user is not None
    assert user.password_changed_at == LATER


def test_disabling_ends_sessions_for_good(store: Store, bob: int) -> None:
    """A disabled user's sessions are over, and stay so when the user is enabled again."""
    store.logins.record_login(a_session(bob), an_entry(), checked="hash", rehashed=None)

    assert store.users.set_disabled(bob, LATER, LATER, an_entry())
    assert not store.users.set_disabled(bob, LATER, LATER, an_entry())
    assert store.users.set_disabled(bob, None, LATER, an_entry())
    assert not store.users.set_disabled(bob, None, LATER, an_entry())

    assert store.sessions.list_living(bob, NOW, NOW - timedelta(1)).items == ()


def test_a_profile_changes_only_where_told(store: Store, bob: int) -> None:
    """Fields that are not given stay; a field may be emptied."""
    store.users.update_profile(bob, {"name": "Robert", "phone": "1"}, LATER, an_entry())
    store.users.update_profile(bob, {"phone": None}, LATER, an_entry())

    user = store.users.find_by_id(bob)
    assert user is not None
    assert (user.profile.name, user.profile.phone, user.updated_at) == ("Robert", None, LATER)


def test_a_session_is_found_with_the_time_zone_of_its_owner(store: Store, bob: int) -> None:
    """The zone that a person chose comes with each of their sessions, and goes with their choice."""
    session = a_session(bob)
    store.logins.record_login(session, an_entry(), checked="hash", rehashed=None)
    for chosen in ("Europe/Berlin", None):
        store.users.update_profile(bob, {"time_zone": chosen}, LATER, an_entry())
        found = store.sessions.find_for_verification(session.digest)
        assert found is not None
        assert found.time_zone == chosen


def test_a_set_up_code_is_used_by_exactly_one(store: Store, engine: Engine) -> None:
    """Of fifty who use the one set-up code at once, exactly one becomes the administrator (R10)."""
    for round_ in range(4):
        store.installation.set_setup_code(b"code")

        outcomes = all_at_once(
            50, lambda number: store.users.add_first(a_user(f"admin{number}"), b"code", an_entry())
        )

        winners = [outcome for outcome in outcomes if outcome is not None]
        assert list(everybody(store)) == winners
        assert len(winners) == 1
        assert store.installation.revision() == 1 + round_
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM user_account"))
            connection.execute(text("UPDATE installation SET setup_completed_at = NULL"))


def test_any_user_closes_set_up(store: Store) -> None:
    """Once any user was made, by whatever way, the set-up code opens nothing."""
    store.installation.set_setup_code(b"code")
    store.users.add(a_user(), an_entry())

    assert not store.installation.is_setup_open()
    assert store.users.add_first(a_user("mallory"), b"code", an_entry()) is None
    store.installation.set_setup_code(b"new")
    assert store.users.add_first(a_user("mallory"), b"new", an_entry()) is None


def test_only_the_newest_set_up_code_works(store: Store) -> None:
    """A later code voids the earlier one."""
    store.installation.set_setup_code(b"first")
    store.installation.set_setup_code(b"second")

    assert store.users.add_first(a_user(), b"first", an_entry()) is None
    assert store.users.add_first(a_user(), b"second", an_entry()) is not None


def test_without_a_code_set_up_opens_for_nobody(store: Store) -> None:
    """Before a code was made, no code opens the set-up, not even an empty one."""
    assert store.users.add_first(a_user(), b"", an_entry()) is None
