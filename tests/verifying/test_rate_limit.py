"""Guessing: each source has a budget of failures, and what it spends costs nobody else anything (Q1, Q3)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.composition import Services
from keyturn.core.principal import Principal
from keyturn.errors import CredentialRefused, StoreUnavailable, TooManyFailures
from keyturn.services.keys.keys import NewKey
from keyturn.verifying import rate_limit as module
from keyturn.verifying.origin import Origin
from keyturn.verifying.rate_limit import MAX_SOURCES, RateLimiter
from tests.conftest import PASSWORD, Opener
from tests.fakes import Clock
from tests.people import HERE, NOWHERE, add_person, person, unknown_key
from tests.statements import statements

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
GUESSER, OTHER = Origin(address="192.0.2.1"), Origin(address="192.0.2.2")
MANY_SOURCES = int(os.environ.get("KEYTURN_FAILURE_SOURCES", "110000"))
MAX_BYTES = 50_000_000
MORE_THAN_ANY_BUDGET = 5_000


def note(budget: RateLimiter, source: str | None) -> int | None:
    """Count one failure; return None, or for how many seconds the source must wait."""
    try:
        budget.note(source)
    except TooManyFailures as refused:
        return refused.retry_after
    return None


def may_ask(budget: RateLimiter, source: str | None) -> bool:
    try:
        budget.check(source)
    except TooManyFailures:
        return False
    return True


def spend(budget: RateLimiter, source: str) -> int:
    """Fail until the budget is spent; return how often that was."""
    for times in range(MORE_THAN_ANY_BUDGET):
        if note(budget, source) is not None:
            return times
    raise AssertionError("the budget has no end")


# The budget by itself


@pytest.mark.parametrize("per_minute", [1, 2, 3, 7, 59, 60, 61, 120, 1000])
def test_a_budget_is_exactly_what_was_set(clock: Clock, per_minute: int) -> None:
    """A source that never failed may fail exactly as often as set, now and whenever a minute has passed."""
    budget = RateLimiter(per_minute, clock.system())
    for _ in range(3):
        assert may_ask(budget, "192.0.2.1")
        assert spend(budget, "192.0.2.1") == per_minute
        assert not may_ask(budget, "192.0.2.1")
        clock.advance(MINUTE)


def test_a_budget_refills_evenly(clock: Clock) -> None:
    """One more failure is allowed after each share of the minute, and not two."""
    budget = RateLimiter(60, clock.system())
    spend(budget, "192.0.2.1")
    for _ in range(200):
        clock.advance(SECOND)
        assert spend(budget, "192.0.2.1") == 1


def test_a_budget_never_overflows(clock: Clock) -> None:
    """Who did not fail for a day may fail no more often than who did not for a minute."""
    budget = RateLimiter(10, clock.system())
    spend(budget, "192.0.2.1")
    clock.advance(timedelta(days=1))
    assert spend(budget, "192.0.2.1") == 10


def test_refused_failures_cost_nothing(clock: Clock) -> None:
    """Who goes on guessing while over the budget does not push the end of the wait away."""
    budget = RateLimiter(6, clock.system())
    spend(budget, "192.0.2.1")
    for left in range(9, 0, -1):
        clock.advance(SECOND)
        assert note(budget, "192.0.2.1") == left
    clock.advance(SECOND)
    assert note(budget, "192.0.2.1") is None


def test_a_budget_says_what_it_counts(clock: Clock) -> None:
    """The sentence is that of the budget, with the seconds to wait; without one, that of credentials."""
    mine = RateLimiter(1, clock.system(), refusal="Wait {wait}.")
    for budget, says in ((mine, "Wait 60 seconds."), (RateLimiter(1, clock.system()), "wrong credentials")):
        spend(budget, "192.0.2.1")
        with pytest.raises(TooManyFailures, match=says):
            budget.check("192.0.2.1")


def test_asking_costs_nothing(clock: Clock) -> None:
    """Only failures are counted, not questions."""
    budget = RateLimiter(2, clock.system())
    for _ in range(100):
        assert may_ask(budget, "192.0.2.1")
    assert spend(budget, "192.0.2.1") == 2


@given(
    per_minute=st.integers(1, 500),
    pauses=st.lists(st.integers(0, 400).map(lambda tenths: tenths / 8), min_size=1, max_size=60),
)
def test_the_wait_that_is_told_is_right(per_minute: int, pauses: list[float]) -> None:
    """After the told seconds the source may fail again, and a second less would not have been enough."""
    clock = Clock()
    budget = RateLimiter(per_minute, clock.system())
    for pause in pauses:
        clock.advance(timedelta(seconds=pause))
        spend(budget, "192.0.2.1")
        told = note(budget, "192.0.2.1")
        assert told is not None
        assert 1 <= told <= ceil(60 / per_minute)
        clock.advance(timedelta(seconds=told - 1.001))
        assert not may_ask(budget, "192.0.2.1")
        clock.advance(timedelta(seconds=1.001))
        assert may_ask(budget, "192.0.2.1")
        assert note(budget, "192.0.2.1") is None


@given(
    per_minute=st.integers(1, 30),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 80)), max_size=150),
)
def test_no_source_affects_another(per_minute: int, steps: list[tuple[int, int]]) -> None:
    """Each source is answered as if it were alone, and never fails more often than its budget allows."""
    clock = Clock()
    shared = RateLimiter(per_minute, clock.system())
    alone = [RateLimiter(per_minute, clock.system()) for _ in range(5)]
    noted: list[list[float]] = [[] for _ in range(5)]
    for source, quarters in steps:
        clock.advance(timedelta(seconds=quarters / 4))
        told = note(shared, f"192.0.2.{source}")
        assert told == note(alone[source], "192.0.2.9")
        if told is None:
            noted[source].append(clock.monotonic)
    for times in noted:
        for first, begin in enumerate(times):
            for count, end in enumerate(times[first:], start=1):
                assert count <= per_minute + (end - begin) * per_minute / 60 + 1e-6


SAME_SOURCE = [
    ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
    ("2001:db8:1:2::1", "2001:DB8:1:2:0::1"),
    ("2001:db8:1:2::1", "[2001:db8:1:2::9]:443"),
    ("192.0.2.1", "::ffff:192.0.2.1"),
    ("192.0.2.1", "::ffff:c000:201"),
    ("192.0.2.1", "192.0.2.1:55555"),
    ("192.0.2.1:1", "192.0.2.1:2"),
    ("fe80::1%eth0", "fe80::2%eth0"),
]
OTHER_SOURCE = [
    ("2001:db8:1:2::1", "2001:db8:1:3::1"),
    ("192.0.2.1", "192.0.2.2"),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ("::1", "127.0.0.1"),
    ("a socket", "another socket"),
]


@pytest.mark.parametrize(("one", "other"), SAME_SOURCE)
def test_who_has_many_addresses_has_one_budget(clock: Clock, one: str, other: str) -> None:
    """A subscriber's IPv6 network is one source, and so is an address however it is written (Q3)."""
    budget = RateLimiter(5, clock.system())
    spend(budget, one)
    assert not may_ask(budget, other)
    assert note(budget, other) is not None


@pytest.mark.parametrize(("one", "other"), OTHER_SOURCE)
def test_others_have_their_own_budget(clock: Clock, one: str, other: str) -> None:
    """Different networks and different IPv4 addresses are different sources (Q3)."""
    budget = RateLimiter(5, clock.system())
    spend(budget, one)
    assert may_ask(budget, other)
    assert spend(budget, other) == 5


def test_an_unknown_source_is_not_limited(clock: Clock) -> None:
    """Callers of which no address is known do not share a budget that one of them could spend."""
    budget = RateLimiter(1, clock.system())
    for _ in range(100):
        assert note(budget, None) is None
        assert may_ask(budget, None)


def test_sources_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound the source that failed longest ago is forgotten, and no other (Q3)."""
    monkeypatch.setattr(module, "MAX_SOURCES", 50)
    budget = RateLimiter(1, clock.system())
    for number in range(50):
        assert note(budget, f"192.0.2.{number}") is None
    clock.advance(SECOND)

    for number in range(100, 125):
        assert note(budget, f"192.0.2.{number}") is None
        assert len(budget._empty_at) == 50

    assert [number for number in range(50) if may_ask(budget, f"192.0.2.{number}")] == list(range(25))
    assert not any(may_ask(budget, f"192.0.2.{number}") for number in range(100, 125))


def test_who_fails_again_is_not_forgotten_first(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that goes on failing keeps its place, however long ago it began."""
    monkeypatch.setattr(module, "MAX_SOURCES", 3)
    budget = RateLimiter(2, clock.system())
    for source in ("first", "second", "third", "first", "fourth"):
        assert note(budget, source) is None

    assert not may_ask(budget, "first")
    assert list(budget._empty_at) == ["third", "first", "fourth"]


@given(sources=st.lists(st.text(max_size=40) | st.ip_addresses().map(str), max_size=50))
def test_any_text_is_a_source(sources: list[str]) -> None:
    """Whatever stands for an address, counting it never fails."""
    clock = Clock()
    budget = RateLimiter(3, clock.system())
    for source in sources:
        note(budget, source)
        may_ask(budget, source)


@pytest.mark.faults
def test_many_sources_fit_in_memory(clock: Clock) -> None:
    """However many sources there are, what is kept of them stays below 50 MB (Q3)."""
    budget = RateLimiter(120, clock.system())
    for number in range(MANY_SOURCES):
        budget.note(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1")

    kept = sum(sys.getsizeof(name) + sys.getsizeof(at) for name, at in budget._empty_at.items())
    assert len(budget._empty_at) == min(MANY_SOURCES, MAX_SOURCES)
    assert kept + sys.getsizeof(budget._empty_at) < MAX_BYTES


# The budget where credentials are verified


@pytest.fixture
def limited(reopen: Opener) -> Services:
    """Services that let one address fail three times a minute, and Bob."""
    opened = reopen(failures_per_minute=3)
    add_person(opened)
    return opened


@pytest.fixture
def bob(limited: Services) -> Principal:
    return person(limited)


def mistyped(key: str) -> str:
    """Return a key whose last character is wrong."""
    return key[:-1] + ("A" if key[-1] != "A" else "B")


def told(services: Services, credential: str, origin: Origin) -> str:
    """Return what a request is told: `accepted`, `limited`, or why it was refused."""
    if services.authenticator.recognise(credential.encode(), NOWHERE) is not None:
        return "accepted"
    try:
        found = services.authenticator.authenticate([credential.encode()], origin)
    except TooManyFailures:
        return "limited"
    except CredentialRefused as refused:
        return refused.reason.value
    assert found is not None
    return "accepted"


def told_by_exchange(services: Services, key: str, origin: Origin) -> str:
    try:
        services.exchange.exchange(in_header=[], in_body=key, origin=origin)
    except TooManyFailures:
        return "limited"
    except CredentialRefused as refused:
        return refused.reason.value
    return "accepted"


def new_key(services: Services, owner: Principal) -> str:
    return services.keys.create(owner, HERE, NewKey()).secret


def token_of(services: Services, key: str) -> str:
    return services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token


def spend_all(services: Services) -> None:
    """Let the guesser spend its budget, and the database be asked for what is due."""
    assert [told(services, unknown_key(), GUESSER) for _ in range(4)] == ["unknown"] * 3 + ["limited"]


def test_a_source_over_its_budget(limited: Services, bob: Principal) -> None:
    """What is known to be good passes all the same; all else is told to wait, and costs no question (Q1)."""
    known, unseen, revoked = (limited.keys.create(bob, HERE, NewKey()) for _ in range(3))
    assert told(limited, known.secret, HERE) == "accepted"
    of_known = token_of(limited, known.secret)
    of_unseen = token_of(limited, unseen.secret)
    login = limited.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    negative = unknown_key()
    limited.keys.revoke_own(bob, revoked.record.key_id, HERE)
    limited.authenticator._index.forget_everything()
    assert told(limited, known.secret, HERE) == "accepted"
    assert told(limited, revoked.secret, HERE) == "revoked"
    assert told(limited, negative, OTHER) == "unknown"
    spend_all(limited)

    expected = {
        known.secret: "accepted",
        f"Bearer {known.secret}": "accepted",
        f"bEaReR  {known.secret}": "accepted",
        of_known: "accepted",
        unseen.secret: "limited",
        of_unseen: "limited",
        login: "limited",
        revoked.secret: "revoked",
        negative: "limited",
        unknown_key(): "limited",
        "f0reign-0123456789-ABCDEFGHIJKLM": "limited",
        mistyped(known.secret): "limited",
        "Basic Zm9vOmJhcg==": "limited",
        "": "limited",
        of_known[:-4] + "AAAA": "limited",
    }
    with statements(limited) as asked:
        assert {given: told(limited, given, GUESSER) for given in expected} == expected
        assert told_by_exchange(limited, known.secret, GUESSER) == "accepted"
        assert told_by_exchange(limited, unseen.secret, GUESSER) == "limited"
        assert limited.authenticator.authenticate([], GUESSER) is None
    # A token of a remembered key is looked for among the revoked: its signature is no guess.
    assert {statement for statement in asked if "FROM revoked_token" not in statement} == set()

    # Everybody else is answered as ever.
    for origin in (OTHER, Origin(address=None)):
        assert told(limited, unseen.secret, origin) == "accepted"
        assert told(limited, login, origin) == "accepted"
        assert told(limited, unknown_key(), origin) == "unknown"


def test_fault_b6_a_neighbors_wrong_key_takes_no_first_use_of_a_good_one(
    reopen: Opener, clock: Clock
) -> None:
    """After a restart sixty good keys work at once, though one client there sends one wrong key at 20/s."""
    services = reopen()
    add_person(services)
    bob = person(services)
    good = [new_key(services, bob) for _ in range(60)]
    services.authenticator._index.forget_everything()
    stale = unknown_key()
    for key in good:  # One a second: the wrong key is looked up anew every five.
        refused = {told(services, stale, GUESSER) for _ in range(20)}
        assert refused <= {"unknown", "limited"}
        assert told(services, key, GUESSER) == "accepted"
        clock.advance(SECOND)


def test_fault_b6_what_is_wrong_by_its_form_takes_no_first_use(limited: Services, bob: Principal) -> None:
    """Noise, mistyped keys and forged tokens are refused without a look-up, and cost no look-up of others."""
    good = new_key(limited, bob)
    forged = token_of(limited, good)[:-4] + "AAAA"
    limited.authenticator._index.forget_everything()
    for wrong in ("noise", mistyped(good), forged) * 3:
        assert told(limited, wrong, GUESSER) in {"malformed", "checksum", "signature", "limited"}
    assert told(limited, "noise", GUESSER) == "limited"
    assert told(limited, good, GUESSER) == "accepted"


def test_fault_b6_the_bound_of_look_ups_holds(limited: Services, bob: Principal) -> None:
    """An address has as many different wrong keys looked up in a minute as are set, and each of them once."""
    wrong = [unknown_key() for _ in range(5)]
    limited.authenticator._freshness.ensure()
    with statements(limited) as asked:
        for _ in range(3):
            for key in wrong:
                assert told(limited, key, GUESSER) in {"unknown", "limited"}
    assert len([statement for statement in asked if "former_secret" in statement]) == 3
    assert told(limited, new_key(limited, bob), GUESSER) == "limited"


def test_a_wait_over_all_is_as_before(limited: Services, bob: Principal, clock: Clock) -> None:
    """After the told seconds a source that waited may ask again, once for each share of its budget."""
    unseen = new_key(limited, bob)
    spend_all(limited)
    with pytest.raises(TooManyFailures) as refused:
        limited.authenticator.authenticate([unseen.encode()], GUESSER)
    assert refused.value.retry_after == 20

    clock.advance(SECOND * 20)

    assert told(limited, unseen, GUESSER) == "accepted"
    assert told(limited, unknown_key(), GUESSER) == "unknown"
    assert told(limited, unknown_key(), GUESSER) == "limited"


FAILURES: dict[str, Callable[[Services, str], str]] = {
    "unknown key": lambda services, _key: told(services, unknown_key(), GUESSER),
    "wrong checksum": lambda services, key: told(
        services, key[:-1] + ("A" if key[-1] != "A" else "B"), GUESSER
    ),
    "malformed": lambda services, _key: told(services, "no key", GUESSER),
    "forged token": lambda services, key: told(services, token_of(services, key)[:-4] + "AAAA", GUESSER),
    "same guess": lambda services, _key: told(services, "f0reign-0123456789-ABCDEFGHIJKLM", GUESSER),
    "exchange, unknown key": lambda services, _key: told_by_exchange(services, unknown_key(), GUESSER),
    "exchange, malformed": lambda services, _key: told_by_exchange(services, "no key", GUESSER),
}


def test_each_kind_of_failure_counts(limited: Services, bob: Principal, clock: Clock) -> None:
    """Whatever a guess looks like and wherever it is tried, the fourth of them has to wait (Q1)."""
    key = new_key(limited, bob)
    outcomes = {}
    for name, fail in FAILURES.items():
        clock.advance(MINUTE)
        outcomes[name] = [fail(limited, key) == "limited" for _ in range(4)]

    assert outcomes == {name: [False, False, False, True] for name in FAILURES}


def test_success_costs_nothing(limited: Services, bob: Principal) -> None:
    """However many good credentials come from one address, remembered or not, none has to wait."""
    for _ in range(10):
        key = new_key(limited, bob)
        assert told(limited, key, GUESSER) == "accepted"
        assert told(limited, token_of(limited, key), GUESSER) == "accepted"


def test_a_database_that_is_away_costs_nothing(limited: Services, clock: Clock) -> None:
    """That nothing can be known is no failure of the caller, who may ask again (Q1)."""
    counter = limited.store.counter
    with limited.store._database.writes._engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE installation RENAME TO gone")
    for _ in range(10):
        with counter.committing():
            pass
        with pytest.raises(StoreUnavailable):
            limited.authenticator.authenticate([unknown_key().encode()], GUESSER)
    with limited.store._database.writes._engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO installation")
    clock.advance(SECOND)

    assert told(limited, unknown_key(), GUESSER) == "unknown"
