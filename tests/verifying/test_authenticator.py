"""Who is calling: a principal, nobody, or a refusal; never anything between."""

from __future__ import annotations

import base64
import random
import string
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.composition import Services
from keyturn.core.api_key import CHECKSUM_LENGTH, RANDOM_BYTES, ApiKeyFormat
from keyturn.core.principal import AuthMethod, Principal
from keyturn.errors import AmbiguousCredential, CredentialRefused, StoreUnavailable, TooManyFailures
from keyturn.services.keys.keys import NewKey
from keyturn.verifying import rate_limit as failures
from keyturn.verifying import verdict_cache
from keyturn.verifying.origin import Origin
from keyturn.verifying.verdict_cache import NEGATIVE_SECONDS
from tests.conftest import PASSWORD
from tests.fakes import Clock
from tests.people import HERE, actions, add_person, caller, change_behind, new_key
from tests.statements import statements


@pytest.fixture
def key(services: Services, bob: Principal) -> str:
    return services.keys.create(bob, HERE, NewKey()).secret


def test_without_a_credential_there_is_nobody(services: Services) -> None:
    """No header line is no caller, and no refusal either."""
    assert services.authenticator.authenticate([], HERE) is None


def test_a_caller_is_known_by_how_they_came(services: Services, key: str) -> None:
    """Key, token of a key and token of a login give the same person, each by its own method."""
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    login = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token

    methods = {credential: caller(services, credential).method for credential in (key, token, login)}

    assert list(methods.values()) == [AuthMethod.API_KEY, AuthMethod.ACCESS_TOKEN, AuthMethod.ACCESS_TOKEN]
    assert caller(services, token).key_id == caller(services, key).key_id
    assert caller(services, login).key_id is None


def test_two_lines_are_ambiguous(services: Services, key: str) -> None:
    """More than one header line is refused, whatever the lines hold (H2)."""
    with pytest.raises(AmbiguousCredential):
        services.authenticator.authenticate([key.encode()] * 2, HERE)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: b"Bearer " + tail)))
def test_any_bytes_are_refused_or_nobody(services: Services, value: bytes) -> None:
    """Whatever bytes come, the answer is a refusal and never a failure (K6)."""
    with pytest.raises((CredentialRefused, TooManyFailures)):
        services.authenticator.authenticate([value], HERE)


def test_noise_asks_no_database(services: Services, key: str) -> None:
    """A key whose checksum is wrong is refused without a question to the database (K3)."""
    with statements(services) as asked:
        for place in range(len("kt_"), len(key)):
            other = "A" if key[place] != "A" else "B"
            with pytest.raises(CredentialRefused):
                caller(services, key[:place] + other + key[place + 1 :])

    assert asked == []


def test_an_unknown_key_costs_one_question(services: Services, bob: Principal, key: str) -> None:
    """A stranger's guess is looked for among living and former secrets at once; so is what is there (Q1)."""
    former = new_key(services, bob)
    services.key_rotation.rotate_own(bob, former.record.key_id, HERE, overlap=timedelta(hours=1))
    caller(services, key)
    for presented in (guess(random.Random(5), "unknown key"), former.secret.encode()):
        with statements(services) as asked, suppress(CredentialRefused):
            services.authenticator.authenticate([presented], HERE)
        assert len([text for text in asked if "FROM api_key" in text]) == 1
        assert len([text for text in asked if "former_secret" in text]) == 1


def test_verifying_writes_nothing(services: Services, key: str) -> None:
    """However often a key is verified, no statement but a question reaches the database (A7)."""
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    before = actions(services)
    with statements(services) as asked:
        for _ in range(5):
            caller(services, key)
            caller(services, token)

    assert {statement.split()[0] for statement in asked} <= {"SELECT", "BEGIN"}
    assert actions(services) == before


def test_what_cannot_be_known_is_not_allowed(services: Services, key: str) -> None:
    """When the database cannot be asked, nobody is let in, nor told that the key is wrong (R2)."""
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    change_behind(services, "ALTER TABLE api_key RENAME TO gone")

    for credential in (key, token):
        with pytest.raises(StoreUnavailable):
            caller(services, credential)


def test_permissions_are_those_of_now(services: Services, key: str) -> None:
    """A key carries no permissions of its own: its caller holds what its owner holds now (R3)."""
    change_behind(services, """UPDATE user_account SET permissions = '["AUDIT"]'""")

    assert caller(services, key).permissions == frozenset({"AUDIT"})


def test_one_person_s_token_names_one_person(services: Services, key: str) -> None:
    """A token whose key now belongs to somebody else is refused."""
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    eve = add_person(services, "eve")
    change_behind(services, f"UPDATE api_key SET user_id = {eve.user_id}")

    with pytest.raises(CredentialRefused):
        caller(services, token)


# Ten thousand of each


GUESSES = 10_000
BOUND = 200


def guess(chance: random.Random, kind: str) -> bytes:
    """Draw a credential that nobody was ever given."""
    made = ApiKeyFormat().make_api_key(chance.randbytes(RANDOM_BYTES)).text
    match kind:
        case "unknown key":
            return made.encode()
        case "wrong checksum":
            tail = "".join(chance.choices(string.ascii_letters + string.digits, k=CHECKSUM_LENGTH))
            return (made[:-CHECKSUM_LENGTH] + tail).encode()
        case "foreign":
            return chance.randbytes(chance.randint(10, 64)).hex().encode()
        case "token":
            parts = [base64.urlsafe_b64encode(chance.randbytes(60)).rstrip(b"=") for _ in range(3)]
            return b"Bearer " + b".".join(parts)
        case "cut key":
            return made[: chance.randrange(len(made))].encode()
        case _:
            return chance.randbytes(chance.randint(0, 200))


def is_refused(services: Services, value: bytes, origin: Origin) -> bool:
    """Return whether the answer is a refusal; only a key that looks foreign may be nobody's at all."""
    try:
        return services.authenticator.authenticate([value], origin) is None
    except (CredentialRefused, TooManyFailures):
        return True


def test_ten_thousand_wrong_checksums_ask_nothing(services: Services, key: str) -> None:
    """Of 10,000 random keys with a random checksum none leads to a question to the database (K3)."""
    caller(services, key)
    chance = random.Random(1)
    with statements(services) as asked:
        for _ in range(GUESSES):
            value = guess(chance, "wrong checksum")
            assert is_refused(services, value, Origin(address=f"192.0.2.{chance.randrange(256)}"))

    assert asked == []


def test_guesses_take_no_memory(services: Services, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many guesses come from however many places, what is kept of them is bounded (R6, Q3)."""
    monkeypatch.setattr(verdict_cache, "MAX_NEGATIVES", BOUND)
    monkeypatch.setattr(failures, "MAX_SOURCES", BOUND)
    authenticator = services.authenticator
    index, noted = authenticator._index, services.usage._noted
    caller(services, key)
    before = len(index.entries), len(noted), len(services.usage._known)
    chance = random.Random(2)
    kinds = ("unknown key", "foreign", *("wrong checksum", "token", "cut key", "bytes") * 2)
    largest = [0, 0]
    for number in range(GUESSES):
        origin = Origin(
            address=f"2001:db8:{number % 4000:x}::1", user_agent=str(number), via=f"GET /{number}"
        )
        assert is_refused(services, guess(chance, chance.choice(kinds)), origin)
        sizes = len(index._negatives), len(authenticator._failures._wrong._empty_at)
        largest = [max(pair) for pair in zip(largest, sizes, strict=True)]

    assert largest == [BOUND, BOUND]
    assert (len(index.entries), len(noted), len(services.usage._known)) == before
    with statements(services) as asked:
        caller(services, key)
    assert asked == [], "what is good is still remembered"


def test_a_guess_is_asked_for_once(services: Services, clock: Clock) -> None:
    """The same unknown key is not looked up again for some seconds, and then it is (R6)."""
    value = guess(random.Random(3), "unknown key")
    questions = []
    for _ in range(3):
        assert is_refused(services, value, Origin())
    for pause in (NEGATIVE_SECONDS - 0.125, 0.125):
        clock.advance(timedelta(seconds=pause))
        services.verification.freshness._look(is_asked=False)
        with statements(services) as asked:
            assert is_refused(services, value, Origin())
        questions.append(len(asked) > 0)

    assert questions == [False, True]


def test_remembered_credentials_are_bounded(
    services: Services, bob: Principal, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many good tokens are used, the number that is remembered is bounded, and each of them works."""
    index = services.authenticator._index
    monkeypatch.setattr(index, "_max_entries", 20)
    tokens = [services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token for _ in range(60)]
    for token in tokens * 2:
        assert caller(services, token).user_id == bob.user_id
        assert len(index.entries) <= 20
        assert len(services.usage._known) == 1
