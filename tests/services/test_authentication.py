"""Who is calling: a principal, nobody, or a refusal; never anything between."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.composition import Services
from keyturn.core.principal import AuthMethod, Principal
from keyturn.errors import AmbiguousCredential, CredentialRefused, StoreUnavailable, TooManyFailures
from tests.conftest import PASSPHRASE
from tests.services.people import HERE, actions, add_person, caller, change_behind
from tests.statements import statements_of


@pytest.fixture
def key(services: Services, bob: Principal) -> str:
    return services.keys.create(bob, HERE, name=None, lifetime=None).secret


def test_without_a_credential_there_is_nobody(services: Services) -> None:
    """No header line is no caller, and no refusal either."""
    assert services.authenticator.authenticate([], HERE) is None


def test_a_caller_is_known_by_how_they_came(services: Services, key: str) -> None:
    """Key, token of a key and token of a login give the same person, each by its own method."""
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    login = services.logins.log_in_api("bim", "bob", PASSPHRASE, HERE).token

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
    asked = statements_of(services.store)

    for place in range(len("kt_"), len(key)):
        other = "A" if key[place] != "A" else "B"
        with pytest.raises(CredentialRefused):
            caller(services, key[:place] + other + key[place + 1 :])

    assert asked == []


def test_verifying_writes_nothing(services: Services, key: str) -> None:
    """However often a key is verified, no statement but a question reaches the database (A7)."""
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    before = actions(services)
    asked = statements_of(services.store)

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
