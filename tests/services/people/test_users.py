"""Users: one per name, guarded against guessing, and dead at once when disabled."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from keyturn.composition import Services
from keyturn.core.access_token import AccessTokenFormat
from keyturn.core.audit import AuditAction, AuditEntry, AuditSearch, Target
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import DEFAULT_PERMISSIONS
from keyturn.core.principal import Principal
from keyturn.core.records import SessionLimits
from keyturn.core.searches import UserSearch
from keyturn.errors import (
    Conflict,
    CredentialRefused,
    InvalidInput,
    InvalidState,
    NotFound,
    Reason,
    TooBusy,
    TooManyFailures,
)
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.attempts import (
    FREE_FAILURES,
    MAX_DELAY,
    MAX_FAILURES,
    SignInAttempts,
)
from keyturn.services.people.identity.password_provider import PasswordProvider
from keyturn.services.people.identity.passwords import ARGON2ID, CHEAPEST, Passwords
from keyturn.services.people.identity.registry import IdentityProviders
from keyturn.services.people.identity.turns import Asker, Turns
from keyturn.services.people.logins import Logins
from keyturn.services.people.users import USERID_MAX_CHARACTERS
from keyturn.services.text import canonical_userid
from keyturn.services.tokens.issuer import TokenIssuer
from keyturn.store.people import failed_sign_ins
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.conftest import PASSWORD, Opener
from tests.fakes import Clock
from tests.people import (
    HERE,
    NEW_PASSWORD,
    actions,
    add_person,
    caller,
    log_in,
    person,
    set_password,
    signed_in,
)
from tests.store.crowds import all_at_once

MILLISECOND = timedelta(milliseconds=1)
WRONG = "seven green lanterns drown"


def fail_to_log_in(services: Services, userid: str = "bob", password: str = WRONG) -> None:
    with pytest.raises(CredentialRefused) as refused:
        services.logins.log_in_browser(userid, password, HERE)
    assert refused.value.reason is Reason.LOGIN_FAILED
    assert not refused.value.secret_matched


def logins_with(services: Services, passwords: Passwords) -> Logins:
    """The same accounts with other hashing."""
    settings = services.settings
    token_format = AccessTokenFormat(settings.public_url, settings.public_url, settings.token_life)
    return Logins(
        services.store,
        attempts=SignInAttempts(
            services.store,
            IdentityProviders(PasswordProvider(passwords)),
            failures_per_minute=settings.sign_in_failures_per_minute,
            passwords_per_minute=settings.passwords_per_minute,
            system=services.system,
        ),
        issuer=TokenIssuer(token_format, services.signing_keys, services.system),
        session_limits=SessionLimits(timedelta(minutes=30), timedelta(hours=12)),
        token_life=settings.token_life,
        system=services.system,
    )


# Names


SAME_AS_BOB = ["bob", "Bob", "BOB", " bob", "bob ", "\u00a0bob\u3000", "ｂｏｂ", "ＢＯＢ", "ｂob"]


@pytest.mark.parametrize("typed", SAME_AS_BOB)
def test_names_fold_to_one(typed: str) -> None:
    """Case, width and white space around a name do not make another name (L4)."""
    assert canonical_userid(typed) == "bob"


@given(st.text(max_size=30))
def test_a_folded_name_is_folded(name: str) -> None:
    """Folding a folded name changes nothing, for any text at all."""
    folded = canonical_userid(name)

    assert canonical_userid(folded) == folded
    folded.encode()


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_case_makes_no_other_name(name: str) -> None:
    """A name in capitals, or in small letters, folds to the same."""
    assert canonical_userid(name.upper().lower()) == canonical_userid(name.lower().upper().lower())
    assert canonical_userid(f" {name} ") == canonical_userid(name)


def test_all_spellings_are_one_account(services: Services) -> None:
    """Every spelling finds, and logs in to, the one account, and none can be made beside it (L4)."""
    made = add_person(services, "Bob")

    for typed in SAME_AS_BOB:
        assert services.users.get_by_userid("bim", typed).user_id == made.user_id
        assert services.logins.log_in_browser(typed, PASSWORD, HERE).userid == "Bob"
        with pytest.raises((Conflict, InvalidInput)):
            add_person(services, typed)


def test_all_spellings_share_one_counter(services: Services) -> None:
    """Guessing under another spelling of the name counts against the same account (L4)."""
    add_person(services)

    for typed in SAME_AS_BOB[:FREE_FAILURES]:
        fail_to_log_in(services, typed)

    for typed in SAME_AS_BOB:
        fail_to_log_in(services, typed, PASSWORD)


def test_an_unfit_name_is_refused(services: Services) -> None:
    """A user name has 1 to 254 characters and no control character."""
    for userid in (
        "",
        "   ",
        "\t",
        "b\x00b",
        "b\nb",
        "b\x7fb",
        "b\ud800b",
        "b\u0085b",
        "x" * 255,
    ):
        with pytest.raises(InvalidInput) as refused:
            services.users.add(COMMAND_LINE, userid=userid, name=None)
        assert refused.value.field == "userid"


def test_a_name_that_grows_when_folded_has_an_answer(services: Services) -> None:
    """A name whose folded form is longer than it is kept or refused as unfit, on every database alike."""
    for userid in ("ß" * USERID_MAX_CHARACTERS, "\ufdfa" * USERID_MAX_CHARACTERS):
        try:
            made = services.users.add(COMMAND_LINE, userid=userid, name=None)
        except InvalidInput as refused:
            assert refused.field == "userid"  # noqa: PT017 - refusing is one of the two right answers
        else:
            assert services.users.get_by_userid("bim", userid) == made


def test_a_line_separator_is_no_part_of_a_name(services: Services) -> None:
    """What begins a new line, in any script, is refused where one line of text is asked for."""
    for separator in ("\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"):
        with pytest.raises(InvalidInput):
            services.users.add(COMMAND_LINE, userid="eve", name=f"Eve{separator}admin logged in")


def test_an_absent_user_is_not_found(services: Services) -> None:
    """Whatever is asked for, an absent user is not found."""
    for userid in (
        "nobody",
        "",
        " ",
        "\x00",
        "\ud800",
        "9" * 18,
        "9" * 30,
        "-1",
        "0",
        "１",
        "x" * 9999,
    ):
        with pytest.raises(NotFound):
            services.users.get_by_userid("bim", userid)


def test_a_user_of_another_identity_manager_is_not_found(services: Services) -> None:
    """Whatever identity manager is asked for, its absent users are not found, and nobody logs in there."""
    made = add_person(services)

    for iamid in ("okta", "", "BIM", "bim ", "x" * 9999, "b\x00", "\ud800"):
        with pytest.raises(CredentialRefused):
            services.logins.log_in_api(iamid, "bob", PASSWORD, HERE)
        for userid in ("bob", str(made.user_id)):
            with pytest.raises(NotFound):
                services.users.get_by_userid(iamid, userid)


@pytest.mark.parametrize("userid", ["17", " 17 ", "１７", "000", "9" * 200])
def test_digits_are_an_id_and_never_a_name(services: Services, userid: str) -> None:
    """No account can take the number of another for its name, in whatever digits it is written."""
    first = add_person(services)
    assert services.users.get_by_userid("bim", str(first.user_id)).userid == "bob"
    with pytest.raises(InvalidInput, match="digits alone"):
        add_person(services, userid)


def test_a_hidden_user_looks_absent(services: Services, bob: Principal) -> None:
    """Somebody else's account and an absent one are refused alike; one's own is seen (A2)."""
    add_person(services, "alice")

    refusals = set()
    for userid in ("alice", "nobody", "9" * 18):
        with pytest.raises(NotFound) as refused:
            services.user_administration.get(bob, "bim", userid)
        refusals.add(str(refused.value))

    assert len(refusals) == 1
    assert services.user_administration.get(bob, "bim", "BOB").userid == "bob"


# Making users


def test_a_new_user_has_the_default_permissions(services: Services) -> None:
    """A person holds the default whatever else is given; a service account holds what is given alone (A3)."""
    bob = add_person(services)
    assert bob.permissions == DEFAULT_PERMISSIONS
    none = services.users.add(COMMAND_LINE, userid="none", name=None, permissions=frozenset())
    assert none.permissions == DEFAULT_PERMISSIONS
    auditor = services.users.add(COMMAND_LINE, userid="auditor", name=None, permissions={"AUDIT"})
    assert auditor.permissions == {"AUDIT"} | DEFAULT_PERMISSIONS
    robot = services.users.add(COMMAND_LINE, userid="robot", name=None, owner=ServiceOwner(bob.user_id))
    assert robot.permissions == frozenset()


def test_an_unknown_permission_is_refused(services: Services) -> None:
    """A permission that means nothing is not given, nor is anything with it (A4)."""
    for permission in (
        "ROOT",
        "",
        "governance",
        "GOVERNANCE ",
        "*",
    ):
        with pytest.raises(InvalidInput) as refused:
            services.users.add(
                COMMAND_LINE, userid="eve", name=None, permissions=frozenset({"GOVERNANCE", permission})
            )
        assert refused.value.field == "permissions"
        assert list(services.users.list_all()) == []


def test_without_a_password_nobody_signs_in(services: Services) -> None:
    """An account without password opens for no password, not even an empty one."""
    add_person(services, password=None)

    for typed in ("", "nobody has this password", PASSWORD):
        fail_to_log_in(services, "bob", typed)


def test_a_weak_password_makes_no_user(services: Services) -> None:
    """A password that breaks a rule makes no account; the user's own name is among the rules (L1)."""
    for userid, password in (("bob", "too short"), ("lanternkeeper", "lanternkeeper12")):
        with pytest.raises(InvalidInput) as refused:
            add_person(services, userid, password)
        assert refused.value.field == "password"
    assert list(services.users.list_all()) == []
    assert services.installation.is_setup_open()


# Logging in


def test_a_login_opens_a_session(services: Services, clock: Clock) -> None:
    """The right password gives a cookie that was never seen, for twelve hours, and one audit row (L5)."""
    user = add_person(services)

    first, second = log_in(services), log_in(services)

    assert first != second
    assert len(first) == 43
    session = signed_in(services, first)
    assert (session.principal.user_id, session.principal.userid) == (user.user_id, "bob")
    assert session.principal.key_id is None
    assert actions(services)[-2:] == ["UserLoggedIn"] * 2
    assert services.users.get(session.principal).last_login_at == clock.now


class CountingHasher(PasswordHasher):
    """A real hasher that counts what it computes."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.parameters: list[str] = []

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.parameters.append("hash")
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002 - the base class's name
        self.parameters.append(str(hash).rsplit("$", 2)[0])
        return super().verify(hash, password)


def test_every_refused_login_is_the_same_work(services: Services) -> None:
    """Unknown, disabled, locked and passwordless accounts cost one hash, as a wrong password does (L3)."""
    passwords = Passwords(CHEAPEST)
    logins = logins_with(services, passwords)
    for userid in ("bob", "gone", "locked"):
        add_person(services, userid)
    add_person(services, "keyless", None)
    services.users.set_disabled(COMMAND_LINE, "gone", disabled=True)
    for _ in range(FREE_FAILURES):
        fail_to_log_in(services, "locked")
    work = {}

    for userid in ("bob", "nobody", "gone", "locked", "keyless", "", "\x00"):
        passwords._hasher = counting = CountingHasher()
        with pytest.raises(CredentialRefused):
            logins.log_in_browser(userid, WRONG, HERE)
        work[userid] = counting.parameters
    passwords._hasher = counting = CountingHasher()
    with pytest.raises(CredentialRefused):
        logins.log_in_api("okta", "bob", PASSWORD, HERE)
    work["other identity manager"] = counting.parameters

    assert len(work["bob"]) == 1
    assert set(map(tuple, work.values())) == {tuple(work["bob"])}


def test_a_login_that_fails_against_an_account_is_one_audit_row(services: Services) -> None:
    """Every wrong password of an account is one row, which does not repeat what was typed (rule A6)."""
    add_person(services)
    before = len(actions(services))
    fail_to_log_in(services, "bob")
    assert actions(services)[before:] == ["UserLoginFailed"]
    assert WRONG not in str(services.store.audit_log.list_after())


def test_fault_b5_strangers_guesses_are_counted_and_make_no_rows_without_end(
    services: Services, clock: Clock
) -> None:
    """Unknown names, and accounts that take no sign-in, add to one row a day, network and target.

    It says when, from where, of what and how often (ASVS 16.2.1), and nothing of what was typed.
    """
    typed = "oops my password in the name field"
    for userid in ("gone", "locked"):
        add_person(services, userid)
    services.users.set_disabled(COMMAND_LINE, "gone", disabled=True)
    for _ in range(FREE_FAILURES):
        fail_to_log_in(services, "locked")
    rows, revision = len(actions(services)), services.store.audit_log.newest().revision
    began = clock.now

    for number in range(25):
        fail_to_log_in(services, f"{typed} {number}")
        fail_to_log_in(services, "gone")
        fail_to_log_in(services, "locked")
    clock.advance(timedelta(seconds=1))
    with pytest.raises(CredentialRefused):
        services.logins.log_in_api("bim", "", WRONG, Origin("2001:db8::1", "browser", "the last"))
    with pytest.raises(CredentialRefused):
        services.logins.log_in_api("okta", "", WRONG, Origin("2001:db8::2", "browser", "the very last"))

    assert len(actions(services)) == rows
    assert services.store.audit_log.newest().revision == revision  # So that no other node has to look.
    counted = services.store.failed_sign_ins.newest(10)
    assert sorted(row.failures for row in counted) == [2, 25, 25, 25]
    newest = counted[0]
    assert (newest.target_id, newest.address, newest.request_id) == (
        "unknown",
        "2001:db8::2",
        "the very last",
    )
    assert {row.first_at for row in counted[1:]} == {began}
    assert newest.last_at == clock.now
    assert typed not in str(counted)


def test_fault_b5_the_table_of_guesses_has_a_bound(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks beyond the bound of a day are counted as one, and days end that are long past."""
    monkeypatch.setattr(failed_sign_ins, "MAX_ROWS_A_DAY", 3)
    monkeypatch.setattr(failed_sign_ins, "KEPT_DAYS", 2)
    for _ in range(4):
        for number in range(9):
            with pytest.raises(CredentialRefused):
                services.logins.log_in_browser("nobody", WRONG, Origin(f"192.0.2.{number}"))
        clock.advance(timedelta(days=1))
    counted = services.store.failed_sign_ins.newest(100)
    assert len(counted) == 2 * 4
    assert sum(row.failures for row in counted) == 2 * 9
    assert [row.failures for row in counted if row.network == failed_sign_ins.OTHERS] == [6, 6]


def test_fault_b5_an_address_has_a_budget_of_sign_ins_before_hashing(reopen: Opener, clock: Clock) -> None:
    """After so many failures, of whatever names, nothing from there is hashed; success costs nothing."""
    services = reopen(sign_in_failures_per_minute=3)
    add_person(services)
    here, there = Origin("2001:db8:1:2::1"), Origin("2001:db8:1:3::1")
    for _ in range(5):
        services.logins.log_in_browser("bob", PASSWORD, here)
    for number in range(3):
        with pytest.raises(CredentialRefused):
            services.logins.log_in_browser(f"nobody-{number}", WRONG, Origin(f"2001:db8:1:2::{number}"))
    services.identity.built_in.passwords._hasher = counting = CountingHasher()
    for ask in (services.logins.log_in_browser, partial(services.logins.log_in_api, "bim")):
        with pytest.raises(TooManyFailures, match="sign-ins failed") as refused:
            ask("bob", PASSWORD, here)
        assert refused.value.retry_after == 20
    assert counting.parameters == []
    assert services.logins.log_in_browser("bob", PASSWORD, there).userid == "bob"
    clock.advance(timedelta(seconds=20))
    assert services.logins.log_in_browser("bob", PASSWORD, here).userid == "bob"


def test_a_sign_in_that_nobody_judged_is_no_failure(reopen: Opener) -> None:
    """Where too many sign in at once, who is turned away has not failed."""
    services = reopen(sign_in_failures_per_minute=3)
    add_person(services)
    passwords, begun, let_go = services.identity.built_in.passwords, threading.Event(), threading.Event()
    passwords._turns = Turns("one", at_once=1, waiting=0)
    other = threading.Thread(
        target=lambda: passwords._turns.take(Asker("", ""), lambda: (begun.set(), let_go.wait(10)))
    )
    other.start()
    assert begun.wait(10)
    for _ in range(10):
        with pytest.raises(TooBusy):
            services.logins.log_in_browser("bob", PASSWORD, HERE)
    let_go.set()
    other.join()
    passwords._turns = Turns("two", at_once=2, waiting=0)
    assert services.logins.log_in_browser("bob", PASSWORD, HERE).userid == "bob"


def test_a_password_that_is_no_text_is_wrong(services: Services) -> None:
    """Lone surrogates in what was typed are refused like any wrong name or password."""
    add_person(services)

    fail_to_log_in(services, "b\ud800b", PASSWORD)
    fail_to_log_in(services, "bob", "\ud800" * 20)


def test_a_weak_hash_is_renewed_at_login(services: Services) -> None:
    """A hash with weaker parameters becomes one of today's at the next login, and goes on working (L2)."""
    add_person(services)
    logins = logins_with(services, Passwords(ARGON2ID))

    logins.log_in_browser("bob", PASSWORD, HERE)

    login = services.store.logins.find_for_login("bim", "bob")
    assert login is not None
    assert login.password_hash is not None
    assert login.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    logins.log_in_browser("bob", PASSWORD, HERE)
    again = services.store.logins.find_for_login("bim", "bob")
    assert again is not None
    assert again.password_hash == login.password_hash


# Guessing


def test_the_lock_grows_and_time_lifts_it(services: Services, clock: Clock) -> None:
    """From the fifth failure on each doubles the wait, up to a bound; at its end one may try again (L4)."""
    add_person(services)
    for _ in range(FREE_FAILURES):
        fail_to_log_in(services)

    for expected in (
        1,
        2,
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        512,
        MAX_DELAY.total_seconds(),
        MAX_DELAY.total_seconds(),
    ):
        fail_to_log_in(services, password=PASSWORD)
        clock.advance(timedelta(seconds=expected) - MILLISECOND)
        fail_to_log_in(services, password=PASSWORD)
        clock.advance(MILLISECOND)
        fail_to_log_in(services)

    clock.advance(MAX_DELAY)
    log_in(services)
    fail_to_log_in(services)
    log_in(services)


def test_tries_during_a_lock_do_not_count(services: Services, clock: Clock) -> None:
    """What is tried while the account is locked is refused unread, and does not make the lock longer."""
    add_person(services)
    for _ in range(FREE_FAILURES):
        fail_to_log_in(services)
    for _ in range(20):
        fail_to_log_in(services)

    clock.advance(timedelta(seconds=1))

    log_in(services)


def test_four_failures_lock_nobody_out(services: Services) -> None:
    """Fewer than five failures in a row cost nothing, and a right password forgets them."""
    add_person(services)

    for _ in range(3):
        for _ in range(FREE_FAILURES - 1):
            fail_to_log_in(services)
        log_in(services)


def test_a_lock_ends_no_session_and_no_key(services: Services) -> None:
    """Whoever guesses cannot put the person out: sessions, tokens and keys go on (L4)."""
    add_person(services)
    cookie = log_in(services)
    bob = signed_in(services, cookie).principal
    key = services.keys.create(bob, HERE, NewKey()).secret
    token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    for _ in range(FREE_FAILURES):
        fail_to_log_in(services)
    fail_to_log_in(services, password=PASSWORD)

    assert services.sessions.find(cookie) is not None
    assert caller(services, key).userid == "bob"
    assert caller(services, token).userid == "bob"


def test_a_hundred_failures_close_for_good(services: Services, clock: Clock) -> None:
    """After a hundred failures in a row no wait opens the account, only a new password does (L4)."""
    add_person(services)
    for _ in range(MAX_FAILURES):
        fail_to_log_in(services)
        clock.advance(MAX_DELAY)

    clock.advance(timedelta(days=365 * 50))
    fail_to_log_in(services, password=PASSWORD)

    set_password(services, "bob", NEW_PASSWORD)
    log_in(services, password=NEW_PASSWORD)


def test_the_hundredth_failure_is_the_last(services: Services, clock: Clock) -> None:
    """With ninety-nine failures the right password still opens the account."""
    add_person(services)
    for _ in range(MAX_FAILURES - 1):
        fail_to_log_in(services)
        clock.advance(MAX_DELAY)

    log_in(services)


def test_an_administrator_unlocks_somebody(
    services: Services, admin: Principal, reopen: Opener, clock: Clock
) -> None:
    """The right password opens the account at once, in every process; the row says how many were wrong."""
    user = add_person(services)
    elsewhere = reopen()
    for _ in range(MAX_FAILURES):
        fail_to_log_in(services)
        clock.advance(MAX_DELAY)
    fail_to_log_in(elsewhere, password=PASSWORD)
    service, admin = services.user_administration, person(services, admin.userid)

    assert service.unlock(admin, "bim", "bob", HERE)

    log_in(elsewhere)
    row = services.store.audit_log.search(AuditSearch(action=AuditAction.USER_UNLOCKED), size=9)[0]
    assert (row.actor_user_id, row.target_id) == (admin.user_id, str(user.user_id))
    assert row.details == {"failures": MAX_FAILURES}

    for _ in range(FREE_FAILURES):
        fail_to_log_in(services)
    fail_to_log_in(services, password=PASSWORD)
    assert services.users.unlock(COMMAND_LINE, user.user_id)
    log_in(services)
    before = actions(services)
    assert not service.unlock(admin, "bim", "bob", HERE), "there is nothing to forget"
    assert not services.users.unlock(COMMAND_LINE, 987_654)
    assert actions(services) == before


def test_a_user_is_renamed(services: Services, admin: Principal, reopen: Opener) -> None:
    """A new user name opens the account in every process, the old one no longer; keys and sessions go on."""
    user = add_person(services)
    key = services.keys.create(person(services, "bob"), HERE, NewKey())
    elsewhere, service = reopen(), services.user_administration
    token = elsewhere.logins.log_in_api("bim", "bob", PASSWORD, HERE).token

    renamed = service.rename(person(services, admin.userid), "bim", "bob", " Robert ", HERE)

    assert (renamed.user_id, renamed.userid) == (user.user_id, "Robert")
    for credential in (key.secret, token):
        assert caller(elsewhere, credential).userid == "Robert"
    log_in(elsewhere, "robert")
    fail_to_log_in(elsewhere, "bob")
    assert [one.user_id for one in service.search(admin, UserSearch(text="robert")).items] == [user.user_id]
    row = services.store.audit_log.search(AuditSearch(action=AuditAction.USER_RENAMED), size=9)[0]
    assert (row.target_id, row.details) == (str(user.user_id), {"userid": "Robert", "was": "bob"})
    before = actions(services)
    service.rename(admin, "bim", "robert", "Robert", HERE)
    assert actions(services) == before, "it is their name already"


@pytest.mark.parametrize(
    "name", ["", "12", "keyturn system", "grace", " GRACE", "gr\u0430ce", "a" * 255, "a\u202eb"]
)
def test_a_name_that_is_taken_or_is_none_renames_nobody(
    services: Services, admin: Principal, name: str
) -> None:
    """A new name follows the rules of a first one: nobody has it, or one that looks like it (L4)."""
    add_person(services)
    add_person(services, "grace")
    with pytest.raises((InvalidInput, Conflict)):
        services.user_administration.rename(admin, "bim", "bob", name, HERE)
    assert services.users.get_by_name("bim", "bob").userid == "bob"


def test_another_provider_names_its_users(services: Services, admin: Principal) -> None:
    """A user of another identity provider keeps the name that it gives."""
    user = add_person(services)
    with pytest.raises(InvalidState):
        services.users.rename(COMMAND_LINE, replace(user, iamid="elsewhere"), "robert")


def test_nobody_unlocks_themselves(services: Services, admin: Principal) -> None:
    """The lock bounds the guesses of one who found an open browser, an administrator's too (L4)."""
    for _ in range(FREE_FAILURES):
        fail_to_log_in(services, admin.userid)

    with pytest.raises(InvalidState):
        services.user_administration.unlock(admin, "bim", admin.userid, HERE)

    fail_to_log_in(services, admin.userid, PASSWORD)


def test_a_lock_survives_a_restart(services: Services, reopen: Opener) -> None:
    """The counter is kept with the account, not in the process (R7)."""
    add_person(services)
    for _ in range(FREE_FAILURES):
        fail_to_log_in(services)

    fail_to_log_in(reopen(), password=PASSWORD)


class TogetherHasher(PasswordHasher):
    """A real hasher that begins only when all guesses are in: the worst order there can be."""

    def __init__(self, guesses: int) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self._all_in = threading.Barrier(guesses)

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002 - the base class's name
        self._all_in.wait(timeout=10)
        return super().verify(hash, password)


def guess_in_pairs(services: Services) -> None:
    """Guess twice at the same time: both are checked before either is counted."""
    passwords = Passwords(CHEAPEST)
    passwords._hasher = TogetherHasher(2)
    logins = logins_with(services, passwords)
    outcomes = all_at_once(2, lambda _: logins.log_in_browser("bob", WRONG, HERE))
    assert [type(outcome) for outcome in outcomes] == [CredentialRefused] * 2


def test_guesses_at_once_are_counted_each(services: Services) -> None:
    """Guesses that arrive together lock the account as surely as one after the other (L4)."""
    add_person(services)
    for _ in range(FREE_FAILURES - 2):
        fail_to_log_in(services)

    guess_in_pairs(services)

    login = services.store.logins.find_for_login("bim", "bob")
    assert login is not None
    assert login.failed_logins == FREE_FAILURES
    fail_to_log_in(services, password=PASSWORD)


def test_guesses_at_once_close_for_good(services: Services, clock: Clock) -> None:
    """The hundredth failure closes the account also when it arrives together with the ninety-ninth (L4)."""
    add_person(services)
    for _ in range(MAX_FAILURES - 2):
        fail_to_log_in(services)
        clock.advance(MAX_DELAY)

    guess_in_pairs(services)

    clock.advance(timedelta(days=365))
    fail_to_log_in(services, password=PASSWORD)


# Email addresses


@pytest.mark.parametrize("typed", ["ada", "@", "ada@", "@example.com", "a da@example.com", "a@b@c"])
def test_what_is_no_email_address_is_refused(services: Services, typed: str) -> None:
    """For a new user as in a profile, at its field; the shape alone counts, and nothing takes it away."""
    bob = person(services, add_person(services).userid)
    for act in (
        lambda: services.users.add(COMMAND_LINE, userid="eve", name=None, email=typed),
        lambda: services.users.update_profile(bob, {"email": typed}, HERE),
    ):
        with pytest.raises(InvalidInput) as refused:
            act()
        assert refused.value.field == "email"
    for fine in ("ada@localhost", " ada@example.com ", "Ünal+x@beispiel.test", "", None):
        services.users.update_profile(bob, {"email": fine}, HERE)
        assert services.users.get(bob).profile.email == ((fine or "").strip() or None)


# Changing passwords


def test_a_new_password_ends_what_the_old_one_opened(services: Services) -> None:
    """Other sessions and password tokens end; this one goes on under a new id, as do keys (L5, L7)."""
    add_person(services)
    here, elsewhere = log_in(services), log_in(services)
    current = signed_in(services, here)
    key = services.keys.create(current.principal, HERE, NewKey()).secret
    key_token = services.exchange.exchange(in_header=[key.encode()], in_body=None, origin=HERE).token
    token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token

    renewed = services.users.change_password(current, old=PASSWORD, new=NEW_PASSWORD, origin=HERE)

    assert services.sessions.find(elsewhere) is None
    assert services.sessions.find(here) is None
    assert signed_in(services, renewed.cookie).session_id == current.session_id
    with pytest.raises(CredentialRefused):
        caller(services, token)
    assert caller(services, key).userid == caller(services, key_token).userid == "bob"
    fail_to_log_in(services, password=PASSWORD)
    log_in(services, password=NEW_PASSWORD)
    assert actions(services).count("UserPasswordUpdated") == 1


def test_a_wrong_old_password_changes_nothing(services: Services, clock: Clock) -> None:
    """Whoever found an open browser guesses against the same counter, and changes nothing."""
    add_person(services)
    current = signed_in(services, log_in(services))

    for _ in range(FREE_FAILURES):
        with pytest.raises(InvalidInput) as refused:
            services.users.change_password(current, old=WRONG, new=NEW_PASSWORD, origin=HERE)
        assert refused.value.field == "current_password"
    with pytest.raises(InvalidInput):
        services.users.change_password(current, old=PASSWORD, new=NEW_PASSWORD, origin=HERE)
    fail_to_log_in(services, password=PASSWORD)

    clock.advance(timedelta(seconds=1))
    log_in(services)
    assert actions(services).count("UserPasswordUpdated") == 0


def test_a_weak_new_password_changes_nothing(services: Services) -> None:
    """The rules hold for a changed password too, also against the person's own name (L1)."""
    services.users.add(COMMAND_LINE, userid="bob", name="Harbour Master", password=PASSWORD)
    current = signed_in(services, log_in(services))

    for weak in ("short", "harbour master 1"):
        with pytest.raises(InvalidInput):
            services.users.change_password(current, old=PASSWORD, new=weak, origin=HERE)
        with pytest.raises(InvalidInput):
            set_password(services, "bob", weak)

    log_in(services)


def test_an_administrator_s_new_password_ends_every_session(services: Services) -> None:
    """A password set by an administrator ends all sessions of that person."""
    add_person(services)
    cookie = log_in(services)

    set_password(services, " BOB", NEW_PASSWORD)

    assert services.sessions.find(cookie) is None
    log_in(services, password=NEW_PASSWORD)


# Disabling


def test_disabling_is_at_once_and_enabling_revives_no_session(services: Services) -> None:
    """Sessions, keys and tokens of the disabled are refused on the next call; sessions stay ended (R3)."""
    add_person(services)
    cookie = log_in(services)
    bob = signed_in(services, cookie).principal
    living = services.keys.create(bob, HERE, NewKey())
    revoked = services.keys.create(bob, HERE, NewKey())
    services.keys.revoke_own(bob, revoked.record.key_id, HERE)
    key_token = services.exchange.exchange(in_header=[], in_body=living.secret, origin=HERE).token
    token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token

    assert services.users.set_disabled(COMMAND_LINE, "Bob", disabled=True)
    assert not services.users.set_disabled(COMMAND_LINE, "bob", disabled=True)

    for credential in (living.secret, key_token, token):
        with pytest.raises(CredentialRefused):
            caller(services, credential)
    with pytest.raises(CredentialRefused):
        services.exchange.exchange(in_header=[], in_body=living.secret, origin=HERE)
    assert services.sessions.find(cookie) is None
    fail_to_log_in(services, password=PASSWORD)

    assert services.users.set_disabled(COMMAND_LINE, "bob", disabled=False)
    assert caller(services, living.secret).userid == "bob"
    assert services.sessions.find(cookie) is None
    for credential in (revoked.secret, token):
        with pytest.raises(CredentialRefused):
            caller(services, credential)
    log_in(services)
    assert actions(services).count("UserDisabled") == actions(services).count("UserEnabled") == 1


def test_disabling_somebody_absent_is_not_found(services: Services) -> None:
    """Only somebody who is there can be disabled."""
    with pytest.raises(NotFound):
        services.users.set_disabled(COMMAND_LINE, "nobody", disabled=True)


# Profiles


def test_a_profile_is_one_s_own(services: Services, bob: Principal) -> None:
    """A person changes what they say of themselves alone; the audit row names the fields only."""
    add_person(services, "alice")
    services.users.update_profile(bob, {"name": " Bob ", "about": "one\ntwo", "phone": "  "}, HERE)

    profile = services.users.get(bob).profile
    assert (profile.name, profile.about, profile.phone) == ("Bob", "one\ntwo", None)
    assert services.users.get_by_userid("bim", "alice").profile.name is None
    row = services.store.audit_log.list_after(limit=1000)[-1]
    assert (row.action, row.details) == ("UserProfileUpdated", {"fields": ["about", "name"]})


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x" * 255},
        {"name": "a\nb"},
        {"about": "a\x00b"},
        {"phone": "1" * 65},
        {"about": "x" * 2001},
        {"time_zone": "Europe/Atlantis"},
        {"time_zone": "../../etc/passwd"},
        {"time_zone": "Etc/GMT+5"},
    ],
)
def test_an_unfit_profile_changes_nothing(
    services: Services, bob: Principal, fields: dict[str, str | None]
) -> None:
    """One unfit field, and none of the fields is changed."""
    with pytest.raises(InvalidInput) as refused:
        services.users.update_profile(bob, {"location": "here", **fields}, HERE)

    assert refused.value.field in fields
    assert services.users.get(bob).profile.location is None


def test_a_chosen_time_zone_comes_with_the_session(services: Services, bob: Principal) -> None:
    """A session knows the zone of its person; one that this machine does not know counts as none chosen."""
    cookie = log_in(services)
    for stored, known in (("Europe/Berlin", "Europe/Berlin"), ("Mars/Olympus", None), (None, None)):
        now = services.system.now()
        audit = AuditEntry(now, AuditAction.USER_PROFILE_UPDATED, COMMAND_LINE, Target.USER, "1")
        services.store.users.update_profile(bob.user_id, {"time_zone": stored}, now, audit)
        zone = signed_in(services, cookie).time_zone
        assert (zone and zone.key) == known


def test_a_person_keeps_their_identity(services: Services, bob: Principal) -> None:
    """What is not a field of the profile cannot be changed through it (A4)."""
    for name in ("user_id", "id", "permissions", "created_at", ""):
        with pytest.raises(InvalidInput) as refused:
            services.users.update_profile(bob, {name: "1"}, HERE)
        assert refused.value.field == name
    assert person(services).user_id == bob.user_id
