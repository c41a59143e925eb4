"""Sessions: how long they live, who ends them, and the token that their forms carry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyturn.composition import Services
from keyturn.core.audit import AuditAction
from keyturn.core.principal import Principal
from keyturn.core.records import SessionKind
from keyturn.errors import CredentialRefused, NotFound
from keyturn.services.people.sessions import MAX_TOUCH_INTERVAL, csrf_token, is_csrf_token
from tests.conftest import PASSWORD, Opener
from tests.fakes import Clock
from tests.people import HERE, actions, add_person, caller, log_in, person, signed_in

MILLISECOND = timedelta(milliseconds=1)
IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)


@pytest.fixture
def cookie(services: Services) -> str:
    add_person(services)
    return log_in(services)


def end(services: Services, principal: Principal, session_id: int) -> None:
    services.sessions.end_own(principal, session_id, HERE, action=AuditAction.SESSION_ENDED)


def test_an_idle_session_is_dead_at_thirty_minutes(services: Services, cookie: str, clock: Clock) -> None:
    """A session that nobody used lives until exactly thirty minutes after its last use (L7)."""
    clock.advance(IDLE - MILLISECOND)
    assert services.sessions.find(cookie) is not None

    clock.advance(IDLE)
    assert services.sessions.find(cookie) is None
    clock.advance(-IDLE * 2)
    assert services.sessions.find(cookie) is not None, "the clock was set right: the session had not ended"


def test_use_keeps_a_session_alive(services: Services, cookie: str, clock: Clock) -> None:
    """A session in use lives on, until exactly twelve hours after it began (L7)."""
    step = timedelta(minutes=29)
    used = timedelta()
    while used + step < ABSOLUTE:
        clock.advance(step)
        used += step
        assert services.sessions.find(cookie) is not None
    clock.advance(ABSOLUTE - used - MILLISECOND)
    assert services.sessions.find(cookie) is not None

    clock.advance(MILLISECOND)
    assert services.sessions.find(cookie) is None


def last_seen(services: Services, cookie: str) -> object:
    session = signed_in(services, cookie)
    found = services.store.sessions.find_for_token(session.session_id)
    assert found is not None
    return found.last_seen_at


def test_a_page_is_seldom_a_write(services: Services, cookie: str, clock: Clock) -> None:
    """Uses within a minute of the last noted one write nothing; the next one does, without a revision."""
    began = clock.now
    revision = services.store.installation.revision()

    clock.advance(MAX_TOUCH_INTERVAL - MILLISECOND)
    signed_in(services, cookie)
    assert last_seen(services, cookie) == began
    clock.advance(MILLISECOND)
    signed_in(services, cookie)

    assert last_seen(services, cookie) == clock.now
    assert services.store.installation.revision() == revision


def test_the_shortest_idle_limit_keeps_who_is_busy(
    database: str, services: Services, reopen: Opener, clock: Clock
) -> None:
    """With an idle limit of one minute a session that is used every twenty seconds lives."""
    strict = reopen(session_idle_minutes=1)
    add_person(strict)
    cookie = log_in(strict)

    for _ in range(12):
        clock.advance(timedelta(seconds=20))
        assert strict.sessions.find(cookie) is not None


def test_what_is_no_cookie_of_ours_is_nobody(services: Services, cookie: str) -> None:
    """A cookie that was not given out, or not whole, is nobody's (L5)."""
    for presented in (
        "",
        "x",
        "A" * 43,
        "\x00",
        "\ud800",
        "é",
        "x" * 100_000,
    ):
        assert services.sessions.find(presented) is None
        assert services.sessions.find(cookie[:-1]) is None
        assert services.sessions.find(cookie + presented + "x") is None


def test_a_cookie_is_not_kept(services: Services, cookie: str) -> None:
    """Neither cookie nor form token is in a repr, or in the audit log."""
    session = signed_in(services, cookie)

    assert session.csrf_token not in repr(session)
    assert cookie not in repr(session)
    assert cookie not in str(services.store.audit_log.list_after())
    assert cookie not in repr(services.logins.log_in_browser("bob", PASSWORD, HERE))


def test_the_list_shows_what_lives(services: Services, cookie: str, clock: Clock) -> None:
    """The list holds exactly the caller's living sessions, the last seen first."""
    bob = signed_in(services, cookie)
    add_person(services, "alice")
    log_in(services, "alice")
    clock.advance(timedelta(minutes=20))
    services.logins.log_in_api("bim", "bob", PASSWORD, HERE)
    second = signed_in(services, log_in(services))

    listed = services.sessions.list_own(bob.principal)
    assert [session.kind for session in listed].count(SessionKind.TOKEN) == 1
    assert {session.user_id for session in listed} == {bob.principal.user_id}
    assert listed[-1].session_id == bob.session_id
    assert len(listed) == 3

    clock.advance(timedelta(minutes=10))
    assert {session.session_id for session in services.sessions.list_own(bob.principal)} == {
        session.session_id for session in listed
    } - {bob.session_id}
    assert services.sessions.find(cookie) is None
    clock.advance(timedelta(minutes=20))
    assert [session.kind for session in services.sessions.list_own(second.principal)] == [SessionKind.TOKEN]
    clock.advance(timedelta(minutes=30))
    assert services.sessions.list_own(second.principal).items == ()


@pytest.mark.parametrize("hours", [1, 12])
def test_what_is_listed_is_accepted(services: Services, reopen: Opener, clock: Clock, hours: int) -> None:
    """At every hour a login's token is listed as living exactly when it is accepted (L7)."""
    node = reopen(token_life_seconds=86_400, session_absolute_hours=hours)
    add_person(node)
    token = node.logins.log_in_api("bim", "bob", PASSWORD, HERE)
    bob = caller(node, token.token)

    for _ in range(26):
        try:
            accepted = caller(node, token.token) is not None
        except CredentialRefused:
            accepted = False
        assert bool(node.sessions.list_own(bob)) is accepted
        clock.advance(timedelta(hours=1))


def test_a_login_s_token_lives_as_long_as_it_says(services: Services, reopen: Opener, clock: Clock) -> None:
    """The expiry told with a token is when it ends, not earlier, whatever limits browsers have."""
    node = reopen(token_life_seconds=86_400)
    add_person(node)
    token = node.logins.log_in_api("bim", "bob", PASSWORD, HERE)

    clock.advance(token.expires_at - clock.now - timedelta(seconds=1))
    assert caller(node, token.token).userid == "bob"
    clock.advance(timedelta(seconds=1))
    with pytest.raises(CredentialRefused):
        caller(node, token.token)


def test_a_login_s_token_is_never_idle(services: Services, clock: Clock) -> None:
    """A token for a password is not renewed by use nor ended by the lack of it: it has one end."""
    add_person(services)
    token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE)
    assert token.key_id is None
    assert token.expires_at == clock.now + timedelta(hours=1)

    clock.advance(timedelta(minutes=59, seconds=59))
    assert caller(services, token.token).userid == "bob"
    clock.advance(timedelta(seconds=1))
    with pytest.raises(CredentialRefused):
        caller(services, token.token)


def test_ending_a_session_ends_its_token(services: Services, cookie: str) -> None:
    """A token for a password is refused on the next call once its session was ended (R1)."""
    bob = signed_in(services, cookie)
    token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    (its_session,) = (
        session for session in services.sessions.list_own(bob.principal) if session.kind is SessionKind.TOKEN
    )

    end(services, bob.principal, its_session.session_id)

    with pytest.raises(CredentialRefused):
        caller(services, token)
    assert services.sessions.find(cookie) is not None


def test_a_session_ends_once(services: Services, cookie: str) -> None:
    """An ended session is dead on the next call, leaves one audit row, and cannot be ended again (L7)."""
    bob = signed_in(services, cookie)

    end(services, bob.principal, bob.session_id)
    with pytest.raises(NotFound):
        end(services, bob.principal, bob.session_id)

    assert services.sessions.find(cookie) is None
    assert actions(services).count("SessionEnded") == 1


def test_somebody_else_s_session_is_not_found(services: Services, cookie: str) -> None:
    """Nobody ends another's session, and it looks like one that is not there (A2)."""
    theirs = signed_in(services, cookie)
    add_person(services, "eve")
    eve = person(services, "eve")

    refusals = set()
    for session_id in (theirs.session_id, 10**6, 0, -1, 2**63 - 1, 2**63, 10**40):
        with pytest.raises(NotFound) as refused:
            end(services, eve, session_id)
        refusals.add(str(refused.value))

    assert len(refusals) == 1
    assert services.sessions.find(cookie) is not None
    assert "SessionEnded" not in actions(services)


def test_all_others_end_at_once(services: Services, cookie: str) -> None:
    """Ending all others keeps this one and other people's; with none to end nothing is written."""
    current = signed_in(services, cookie)
    others = [log_in(services), log_in(services)]
    token = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    add_person(services, "alice")
    theirs = log_in(services, "alice")

    assert services.sessions.end_others(current, HERE) == 3
    assert services.sessions.end_others(current, HERE) == 0

    assert [services.sessions.find(other) for other in others] == [None, None]
    with pytest.raises(CredentialRefused):
        caller(services, token)
    assert services.sessions.find(cookie) is not None
    assert services.sessions.find(theirs) is not None
    assert actions(services).count("SessionEnded") == 1


def test_an_ended_session_is_dead_on_every_node(services: Services, cookie: str, reopen: Opener) -> None:
    """Another node over the same database refuses an ended session, also after a restart (R7)."""
    other = reopen()
    assert other.sessions.find(cookie) is not None
    current = signed_in(services, cookie)

    end(services, current.principal, current.session_id)

    assert other.sessions.find(cookie) is None
    assert reopen().sessions.find(cookie) is None


def test_a_form_token_belongs_to_its_cookie(services: Services, cookie: str) -> None:
    """The token of a form is the same for one cookie, and another for any other."""
    token = signed_in(services, cookie).csrf_token

    assert token == signed_in(services, cookie).csrf_token == csrf_token(cookie)
    assert is_csrf_token(token, token)
    assert token != signed_in(services, log_in(services)).csrf_token
    for other in ("", token[:-1], token + "=", token.swapcase(), cookie, "é", "\ud800"):
        assert not is_csrf_token(other, token)


def test_a_token_made_in_a_browser_may_what_its_maker_may(services: Services, clock: Clock) -> None:
    """It lives for 15 minutes and is one of the person's sessions: whatever ends those ends it."""
    add_person(services)
    current = signed_in(services, log_in(services))
    issued = services.logins.token_for(current, HERE)

    assert issued.expires_at - clock.now == timedelta(minutes=15)
    assert caller(services, issued.token).permissions == current.principal.permissions
    assert actions(services)[-1] == "TokenIssued"
    kinds = [one.kind for one in services.sessions.list_own(current.principal).items]
    assert sorted(kinds) == [SessionKind.BROWSER, SessionKind.TOKEN]

    services.sessions.end_others(current, HERE)
    with pytest.raises(CredentialRefused):
        caller(services, issued.token)


def test_a_session_that_ended_makes_no_token(services: Services) -> None:
    """A request that was let in before the session ended, and comes after, makes nothing."""
    add_person(services)
    current = signed_in(services, log_in(services))
    end(services, current.principal, current.session_id)
    revision = services.store.installation.revision()

    with pytest.raises(CredentialRefused):
        services.logins.token_for(current, HERE)
    assert services.store.installation.revision() == revision
