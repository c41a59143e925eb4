"""Devices sign in: a stranger's code, a person's decision, one key."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from keyturn.composition import Services
from keyturn.core.audit import AuditAction
from keyturn.core.device_codes import digest_device_code, digest_user_code
from keyturn.core.lifetimes import Lifetime
from keyturn.core.principal import Principal
from keyturn.errors import InvalidInput, OAuthCode, OAuthRefused, TooBusy, TooManyFailures
from keyturn.services.keys.keys import CreatedKey
from keyturn.services.oauth import device_logins
from keyturn.services.oauth.device_logins import DECISIONS_PER_MINUTE, LIFE, BegunLogin
from keyturn.services.people.sessions import BrowserSession
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.apis import new_group, register
from tests.fakes import Clock
from tests.people import HERE, add_person, caller, last_rows, log_in, signed_in
from tests.statements import statements
from tests.store.crowds import all_at_once, at_the_commit_of

THERE = Origin(address="192.0.2.7", user_agent="device", request_id="request", via="POST /oauth/token")
NAME = "keyturn on laptop"
MILLISECOND = timedelta(milliseconds=1)
POLL = timedelta(seconds=device_logins.INTERVAL_SECONDS)


@pytest.fixture
def session(services: Services) -> BrowserSession:
    """Bob's browser."""
    add_person(services)
    return signed_in(services, log_in(services))


def begin(services: Services, origin: Origin = THERE, **form: str) -> BegunLogin:
    return services.devices.begin({"client_id": NAME, **form}, origin)


def take(services: Services, begun: BegunLogin, **form: str) -> CreatedKey:
    given = {"device_code": begun.device_code, "client_id": NAME, **form}
    return services.devices.take(given, THERE)


def approve(
    services: Services, session: BrowserSession, begun: BegunLogin, life: Lifetime | None = None
) -> Any:
    chosen = life or Lifetime(services.system.now() + timedelta(days=90))
    return services.devices.approve(session, begun.user_code, chosen, HERE)


def refusal(services: Services, begun: BegunLogin, **form: str) -> OAuthCode:
    with pytest.raises(OAuthRefused) as refused:
        take(services, begun, **form)
    return refused.value.code


def test_a_device_gets_a_key_of_whoever_approves(
    services: Services, session: BrowserSession, clock: Clock
) -> None:
    """The key is named as the device called itself, is the person's, and ends when they chose."""
    begun = begin(services)
    assert (begun.interval, begun.expires_in) == (5, 600)
    shown = services.devices.get_waiting(session, begun.user_code.lower().replace("-", " "))
    assert (shown.client_id, shown.address, shown.created_at) == (NAME, THERE.address, clock.now)

    approve(services, session, begun, Lifetime(clock.now + timedelta(days=7)))
    made = take(services, begun)

    assert services.keys.list_own(session.principal).items == (made.record,)
    who = caller(services, made.secret)
    assert (who.user_id, who.scopes, who.key_id) == (session.principal.user_id, None, made.record.key_id)
    assert (made.record.name, made.record.expires_at) == (NAME, clock.now + timedelta(days=7))


def test_a_device_may_ask_for_scopes(services: Services, session: BrowserSession) -> None:
    """A device that asks for scopes gets a key that covers these alone, and carries no permission."""
    register(services, "orders")
    begun = begin(services, scope="orders:read orders:write")
    assert services.devices.get_waiting(session, begun.user_code).scopes == {"orders:read", "orders:write"}

    approve(services, session, begun)

    who = caller(services, take(services, begun).secret)
    assert who.scopes == {"orders:read", "orders:write"}
    assert not who.carried_permissions


@pytest.mark.parametrize("scope", ["nothing:read", "orders:write"])
def test_a_device_gets_no_scope_that_the_person_may_not_hold(
    services: Services, session: BrowserSession, admin: Principal, scope: str
) -> None:
    """Scopes that are registered nowhere, or are for a group that the person is not in, are not approved."""
    register(services, "orders", [new_group(services, admin)])
    begun = begin(services, scope=scope)
    with pytest.raises(InvalidInput) as refused:
        approve(services, session, begun)
    assert refused.value.field == "scopes"
    assert refusal(services, begun) is OAuthCode.AUTHORIZATION_PENDING


def test_a_key_can_be_for_ever(services: Services, session: BrowserSession) -> None:
    """Never is a choice here too, and is written down."""
    begun = begin(services)
    approve(services, session, begun, Lifetime(None))
    made = take(services, begun)
    assert made.record.expires_at is None
    assert last_rows(services, 0)[-1].details["expires"] == "never"


def test_nothing_is_given_before_a_person_approves(
    services: Services, session: BrowserSession, clock: Clock
) -> None:
    """Who asks too early is told to wait, who asks too often to slow down, and nobody gets a key."""
    begun = begin(services)
    asked = []
    for wait in (timedelta(0), timedelta(seconds=3), timedelta(seconds=2), POLL):
        clock.advance(wait)
        asked.append(refusal(services, begun))
    pending, slow = OAuthCode.AUTHORIZATION_PENDING, OAuthCode.SLOW_DOWN
    assert asked == [pending, slow, pending, pending]
    assert services.keys.list_own(session.principal).items == ()


def test_a_refused_device_gets_nothing(services: Services, session: BrowserSession, clock: Clock) -> None:
    """A person says no, and no later yes changes it."""
    begun = begin(services)
    services.devices.deny(session, begun.user_code, HERE)
    with pytest.raises(InvalidInput):
        approve(services, session, begun)
    assert refusal(services, begun) is OAuthCode.ACCESS_DENIED
    assert services.keys.list_own(session.principal).items == ()


def test_a_code_is_over_at_its_instant(services: Services, session: BrowserSession, clock: Clock) -> None:
    """After ten minutes nobody approves and nothing is fetched, even if it was approved before."""
    unanswered, approved = begin(services), begin(services)
    clock.advance(LIFE - MILLISECOND)
    services.devices.get_waiting(session, unanswered.user_code)
    approve(services, session, approved)
    clock.advance(MILLISECOND)

    with pytest.raises(InvalidInput):
        services.devices.get_waiting(session, unanswered.user_code)
    with pytest.raises(InvalidInput):
        approve(services, session, unanswered)
    assert refusal(services, unanswered) is OAuthCode.EXPIRED_TOKEN
    assert refusal(services, approved) is OAuthCode.EXPIRED_TOKEN


def test_an_approval_makes_one_key(services: Services, session: BrowserSession) -> None:
    """Of fifty questions at once, exactly one is answered with a key, and no later one is (R10)."""
    begun = begin(services)
    approve(services, session, begun)

    outcomes = all_at_once(50, lambda _: take(services, begun))

    made = [one for one in outcomes if isinstance(one, CreatedKey)]
    refused = {getattr(one, "code", one) for one in outcomes if not isinstance(one, CreatedKey)}
    assert (len(made), refused) == (1, {OAuthCode.INVALID_GRANT})
    assert len(services.keys.list_own(session.principal)) == 1
    assert refusal(services, begun) is OAuthCode.INVALID_GRANT


def test_a_decision_is_made_once(services: Services, session: BrowserSession) -> None:
    """Of many who decide about one device at once, one does."""
    begun = begin(services)

    def decide(number: int) -> object:
        if number % 2:
            return services.devices.deny(session, begun.user_code, HERE)
        return approve(services, session, begun)

    outcomes = all_at_once(8, decide)

    assert sum(not isinstance(one, Exception) for one in outcomes) == 1
    assert all(
        isinstance(one, (InvalidInput, TooManyFailures)) for one in outcomes if isinstance(one, Exception)
    )


@pytest.mark.parametrize("end", ["sign_out", "disable", "password"])
def test_an_approval_dies_with_its_session(services: Services, session: BrowserSession, end: str) -> None:
    """Who is signed out, disabled, or given a new password before the device asks, gave nothing away."""
    begun, principal = begin(services), session.principal
    approve(services, session, begun)
    match end:
        case "sign_out":
            services.sessions.end_own(principal, session.session_id, HERE, action=AuditAction.USER_LOGGED_OUT)
        case "disable":
            services.users.set_disabled(COMMAND_LINE, "bob", disabled=True)
        case _:
            user = services.users.get_by_userid("bim", "bob")
            services.users.set_password(COMMAND_LINE, user, "eleven quiet harbours at dusk")

    assert refusal(services, begun) is OAuthCode.INVALID_GRANT
    assert services.keys.list_own(principal).items == ()


@pytest.mark.parametrize("end", ["session", "person"])
def test_fault_a8_an_approval_that_ends_while_the_device_asks_is_void(
    services: Services, session: BrowserSession, end: str
) -> None:
    """A device whose key is being made when the session that approved is ended gets none, now or later."""
    begun, principal = begin(services), session.principal
    approve(services, session, begun)

    def end_it() -> object:
        if end == "person":
            return services.users.set_disabled(COMMAND_LINE, "bob", disabled=True)
        return services.sessions.end_own(
            principal, session.session_id, HERE, action=AuditAction.USER_LOGGED_OUT
        )

    outcome = at_the_commit_of(services.store, end_it, lambda: take(services, begun))

    assert isinstance(outcome, OAuthRefused)
    assert outcome.code is OAuthCode.INVALID_GRANT
    assert services.keys.list_own(principal).items == ()
    assert refusal(services, begun) is OAuthCode.INVALID_GRANT


def test_a_device_code_is_for_its_client(services: Services, session: BrowserSession) -> None:
    """Unknown codes, the shown code, another client's code, and none are all refused."""
    begun = begin(services)
    approve(services, session, begun)
    assert refusal(services, begun, client_id="another") is OAuthCode.INVALID_GRANT
    for wrong in (begun.user_code, begun.device_code[:-1], begun.device_code + "A", "é\ud800"):
        assert refusal(services, begun, device_code=wrong) is OAuthCode.INVALID_GRANT
    assert refusal(services, begun, device_code="") is OAuthCode.INVALID_REQUEST
    assert take(services, begun)


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb", "a\x00b", "\ud800"])
def test_a_client_names_itself_in_one_line(services: Services, name: str) -> None:
    """A name that is empty, long, or could forge a line is refused."""
    with pytest.raises(OAuthRefused) as refused:
        begin(services, client_id=name)
    assert refused.value.code is OAuthCode.INVALID_REQUEST


def test_a_key_is_no_name(services: Services, session: BrowserSession) -> None:
    """A key that is sent as the name is not stored, shown or logged."""
    begun = begin(services)
    approve(services, session, begun)
    secret = take(services, begun).secret
    with pytest.raises(OAuthRefused) as refused:
        begin(services, client_id=secret)
    assert secret not in str(refused.value)


@pytest.mark.parametrize("scope", ['a"b', "é", " ".join(f"s{n:0>99}" for n in range(21))])
def test_what_is_no_scope_is_refused(services: Services, scope: str) -> None:
    """A device asks for scopes as OAuth spells them, and for a bounded length of them."""
    with pytest.raises(OAuthRefused) as refused:
        begin(services, scope=scope)
    assert refused.value.code is OAuthCode.INVALID_SCOPE


def test_guessing_codes_ends_soon(services: Services, session: BrowserSession, clock: Clock) -> None:
    """After five wrong codes in a minute a person waits, even with a right one; others do not (5.1)."""
    begun = begin(services)
    for _ in range(device_logins.WRONG_CODES_PER_MINUTE):
        with pytest.raises(InvalidInput):
            services.devices.get_waiting(session, "BBBB-BBBB")
    for code in (begun.user_code, "nonsense"):
        with pytest.raises(TooManyFailures):
            services.devices.get_waiting(session, code)
    add_person(services, "eve")
    assert services.devices.get_waiting(signed_in(services, log_in(services, "eve")), begun.user_code)
    clock.advance(timedelta(minutes=1))
    assert services.devices.get_waiting(session, begun.user_code)


def test_unknown_codes_are_looked_up_for_a_while(services: Services, session: BrowserSession) -> None:
    """A source that asks with code after unknown code is not looked up any more; another one is."""
    begun = begin(services)
    approve(services, session, begun)
    for _ in range(device_logins.UNKNOWN_CODES_PER_MINUTE):
        assert refusal(services, begun, device_code="unknown") is OAuthCode.INVALID_GRANT
    with pytest.raises(TooManyFailures):
        take(services, begun)
    form = {"device_code": begun.device_code, "client_id": NAME}
    assert services.devices.take(form, Origin(address="192.0.2.8")).secret


def test_one_address_begins_few_logins(services: Services, clock: Clock) -> None:
    """A source that begins login after login is told to wait; another is not."""
    for _ in range(device_logins.BEGINNINGS_PER_MINUTE):
        begin(services)
    with pytest.raises(TooManyFailures):
        begin(services)
    assert begin(services, Origin(address="192.0.2.8"))
    clock.advance(timedelta(minutes=1))
    assert begin(services)


@pytest.mark.parametrize("flood", ["2001:db8:1:{:x}::1", "198.51.100.{}"])
def test_one_network_does_not_take_all_places(
    services: Services, session: BrowserSession, monkeypatch: pytest.MonkeyPatch, flood: str
) -> None:
    """A stranger with a /48 of IPv6, or a /24 of IPv4, keeps nobody else from signing in (Q8)."""
    monkeypatch.setattr(device_logins, "MAX_WAITING", 5)
    for number in range(5):
        begin(services, Origin(address=flood.format(number)))
    with pytest.raises(TooBusy):
        begin(services, Origin(address=flood.format(6)))

    begun = begin(services)

    approve(services, session, begun)
    assert take(services, begun)


def test_denying_one_s_own_devices_takes_no_place(
    services: Services, session: BrowserSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who begins logins and refuses them keeps nobody else from signing in (Q8)."""
    monkeypatch.setattr(device_logins, "MAX_WAITING", 5)
    for number in range(10):
        begun = begin(services, Origin(address=f"2001:db8:1:{number:x}::1"))
        services.devices.deny(session, begun.user_code, HERE)

    for number in range(5):
        assert begin(services, Origin(address=f"198.51.{number}.7"))


def test_one_person_decides_so_often(services: Services, session: BrowserSession, clock: Clock) -> None:
    """Decisions of a person are bounded in a minute, each kind; others decide meanwhile, and they later."""
    waiting = [
        begin(services, Origin(address=f"192.0.{number}.7")) for number in range(DECISIONS_PER_MINUTE + 1)
    ]
    *most, last = waiting
    for number, begun in enumerate(most):
        if number % 2:
            approve(services, session, begun)
        else:
            services.devices.deny(session, begun.user_code, HERE)

    with pytest.raises(TooManyFailures, match="Too many decisions"):
        approve(services, session, last)
    with pytest.raises(TooManyFailures, match="wait 2 seconds"):
        services.devices.deny(session, last.user_code, HERE)

    assert refusal(services, last) is OAuthCode.AUTHORIZATION_PENDING
    add_person(services, "eve")
    others = signed_in(services, log_in(services, "eve"))
    services.devices.deny(others, begin(services).user_code, HERE)
    clock.advance(timedelta(seconds=2))
    approve(services, session, last)


def test_to_ask_writes_nothing(services: Services, session: BrowserSession, clock: Clock) -> None:
    """A device that waits costs a question each time it asks, in time or too soon, and no write (Q1)."""
    begun = begin(services)
    with statements(services) as asked:
        for wait in (timedelta(0), MILLISECOND, POLL):
            clock.advance(wait)
            refusal(services, begun)
    questions = [one for one in asked if one.lstrip().upper().startswith("SELECT")]
    assert len(questions) == 3
    assert not [one for one in asked if one.lstrip().upper().startswith(("UPDATE", "INSERT", "DELETE"))]


def test_each_device_is_timed_by_itself(services: Services) -> None:
    """One that asks too soon slows down nobody else."""
    one, other = begin(services), begin(services)
    pending, slow = OAuthCode.AUTHORIZATION_PENDING, OAuthCode.SLOW_DOWN
    assert [refusal(services, device) for device in (one, one, other, other)] == [
        pending,
        slow,
        pending,
        slow,
    ]


def test_what_is_remembered_of_devices_is_bounded(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more times are kept than devices may wait: the oldest goes first (Q3)."""
    one, other, third = begin(services), begin(services), begin(services)
    monkeypatch.setattr(device_logins, "MAX_WAITING", 2)
    asked = [refusal(services, device) for device in (one, other, third, third, one)]
    pending, slow = OAuthCode.AUTHORIZATION_PENDING, OAuthCode.SLOW_DOWN
    assert asked == [pending, pending, pending, slow, pending]


def test_neither_code_is_stored(services: Services) -> None:
    """What is stored of a code is its digest, and no repr shows the device's own."""
    begun = begin(services)
    with services.store._database.reading() as connection:
        (row,) = connection.execute(text("SELECT * FROM device_login")).all()
    kept = repr([bytes(value) if isinstance(value, memoryview) else value for value in row])
    assert begun.device_code not in kept + repr(begun)
    assert begun.user_code not in kept
    assert digest_device_code(begun.device_code) != hashlib.sha256(begun.device_code.encode()).digest()
    assert digest_user_code(begun.user_code) != digest_device_code(begun.user_code)


def test_what_was_decided_is_written_down(services: Services, session: BrowserSession) -> None:
    """The audit log says who approved and who refused what, from where it asked, and whose key was made."""
    approved, refused = begin(services), begin(services)
    before = len(last_rows(services, 0))
    approve(services, session, approved)
    services.devices.deny(session, refused.user_code, HERE)
    made = take(services, approved)

    told = last_rows(services, before)

    assert [row.action for row in told] == ["DeviceApproved", "DeviceDenied", "ApiKeyCreated"]
    assert told[0].details == told[1].details == {"device": NAME, "address": THERE.address}
    assert (told[0].address, told[2].address) == (HERE.address, THERE.address)
    assert {(row.actor_user_id, row.actor_userid) for row in told} == {(session.principal.user_id, "bob")}
    assert told[2].target_id == str(made.record.key_id)
    for secret in (made.secret, approved.device_code, approved.user_code):
        assert secret not in repr(told)


def test_waiting_forgets_nothing(services: Services, session: BrowserSession) -> None:
    """A stranger who begins and asks ends nobody's remembered credentials: nothing is written that tells."""
    revision = services.store.installation.revision()
    begun = begin(services)
    refusal(services, begun)
    assert services.store.installation.revision() == revision
