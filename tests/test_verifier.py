"""The verifier in somebody else's process: the server's verdicts, without the server and its root key."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, NoReturn

import psycopg
import pytest

from keyturn import (
    AuthMethod,
    CannotStart,
    CredentialRefused,
    Principal,
    Reason,
    ScopeMissing,
    StoreUnavailable,
    TooManyFailures,
    Verifier,
)
from keyturn import verifier as verifier_module
from keyturn.composition import Services, open_services
from keyturn.services.keys.keys import CreatedKey, NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store import open_engine
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.databases import new_postgresql_database
from tests.faults.forwarder import forwarding
from tests.people import HERE, add_person, change_behind, person, restricted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(database: str, root_key_file: Path) -> Iterator[Services]:
    """The services of a server that runs on the database, on the clock of the machine."""
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file)
    opened = open_services(settings, hashing=CHEAPEST)
    opened.start()
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def bob(server: Services) -> Principal:
    add_person(server)
    return person(server)


@pytest.fixture
def key(server: Services, bob: Principal) -> CreatedKey:
    return server.keys.create(bob, HERE, NewKey())


@pytest.fixture
def verifier(server: Services, database: str) -> Iterator[Verifier]:
    with Verifier(database) as opened:
        yield opened


def refusal(verifier: Verifier, authorization: str | bytes | None, **options: str) -> Reason:
    with pytest.raises(CredentialRefused) as refused:
        verifier.verify(authorization, source=options.get("source"))
    return refused.value.reason


def test_whatever_the_server_issued_is_known(verifier: Verifier, server: Services, key: CreatedKey) -> None:
    """Keys and tokens, alone or after a scheme, as text or bytes, say the same as on the server."""
    token = server.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token
    login = server.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    for credential, method in (
        (key.secret, AuthMethod.API_KEY),
        (token, AuthMethod.ACCESS_TOKEN),
        (login, AuthMethod.ACCESS_TOKEN),
    ):
        for value in (credential, f"Bearer {credential}", f"bearer  {credential}", credential.encode()):
            for _ in range(2):
                found = verifier.verify(value)
                assert (found.userid, found.method) == ("bob", method)
                assert found == server.authenticator.authenticate([credential.encode()], HERE)


def test_a_refusal_has_its_reason(verifier: Verifier, server: Services, bob: Principal) -> None:
    """Each refusal is typed, and says why to the program that asks."""
    revoked = server.keys.create(bob, HERE, NewKey())
    assert verifier.verify(revoked.secret).key_id == revoked.record.key_id
    server.keys.revoke_own(bob, revoked.record.key_id, HERE)

    assert refusal(verifier, revoked.secret) is Reason.REVOKED
    assert refusal(verifier, None) is refusal(verifier, "") is Reason.MISSING
    assert refusal(verifier, "Basic a") is refusal(verifier, "kt_ü") is Reason.MALFORMED
    assert refusal(verifier, b"\xff" * 50) is refusal(verifier, "Bearer \udcff") is Reason.MALFORMED
    wrong = revoked.secret[:-1] + ("a" if revoked.secret[-1] != "a" else "b")
    assert refusal(verifier, wrong) is Reason.CHECKSUM
    assert refusal(verifier, "0123456789abcdef" * 2) is Reason.UNKNOWN


def test_what_the_server_revokes_is_dead_here(verifier: Verifier, server: Services, bob: Principal) -> None:
    """A key and its token that are remembered here are refused on the very next call (R1)."""
    for _ in range(20):
        key = server.keys.create(bob, HERE, NewKey())
        token = server.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token
        for credential in (key.secret, token, key.secret, token):
            assert verifier.verify(credential).userid == "bob"
        server.keys.revoke_own(bob, key.record.key_id, HERE)
        assert refusal(verifier, key.secret) is refusal(verifier, token) is Reason.REVOKED


def test_scopes_and_addresses_are_held(verifier: Verifier, server: Services, bob: Principal) -> None:
    """A narrowed key passes for what it covers, and a bound one from its networks, remembered or not."""
    narrow = server.keys.create(bob, HERE, NewKey())
    bound = server.keys.create_for(
        bob.user_id, COMMAND_LINE, NewKey(restrictions=restricted(allowFrom=["192.0.2.0/24"]))
    )
    change_behind(server, "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id", id=narrow.record.key_id)
    for _ in range(2):
        assert verifier.verify(narrow.secret, scopes=["a"]).scopes == frozenset("a")
        with pytest.raises(ScopeMissing, match="b"):
            verifier.verify(narrow.secret, scopes=("a", "b"))
        assert verifier.verify(bound.secret, source="192.0.2.7", scopes=("a", "b")).userid == "bob"
        assert refusal(verifier, bound.secret, source="192.0.3.7") is Reason.SOURCE
        assert refusal(verifier, bound.secret) is Reason.SOURCE


def test_guessing_ends(server: Services, key: CreatedKey, database: str) -> None:
    """A source that fails too often must wait; known keys and other sources go on."""
    with Verifier(database, failures_per_minute=3) as verifier:
        verifier.verify(key.secret, source="203.0.113.1")
        for _ in range(3):
            refusal(verifier, "kt_wrong", source="203.0.113.1")
        with pytest.raises(TooManyFailures) as spent:
            verifier.verify("kt_wrong", source="203.0.113.1")
        assert spent.value.retry_after >= 1
        assert verifier.verify(key.secret, source="203.0.113.1").userid == "bob"
        assert refusal(verifier, "kt_wrong", source="203.0.113.2") is Reason.MALFORMED


def test_uses_are_written_at_the_end(
    server: Services, bob: Principal, key: CreatedKey, database: str
) -> None:
    """Closing writes when, from where and how often each key was used."""
    with Verifier(database) as verifier:
        for _ in range(7):
            verifier.verify(key.secret, source="203.0.113.1")

    record = server.keys.get_own(bob, key.record.key_id)
    assert record.last_use is not None
    assert record.last_use.address == "203.0.113.1"
    assert server.key_uses.count(bob.user_id) == {key.record.key_id: 7}


def test_refusals_are_written_at_the_end(
    server: Services, bob: Principal, key: CreatedKey, database: str
) -> None:
    """A call that lacks a scope, remembered or not, and one with a dead key are refusals and no uses."""
    dead = server.keys.create(bob, HERE, NewKey())
    server.keys.revoke_own(bob, dead.record.key_id, HERE)
    change = "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id"
    change_behind(server, change, id=key.record.key_id)
    with Verifier(database) as verifier:
        for _ in range(2):
            with pytest.raises(ScopeMissing):
                verifier.verify(key.secret, source="203.0.113.1", scopes=iter(["b"]))
            verifier.verify(key.secret, source="203.0.113.1", scopes=iter(["a"]))
            with pytest.raises(ScopeMissing):
                asyncio.run(verifier.verify_async(key.secret, source="203.0.113.1", scopes=iter(["b"])))
            assert refusal(verifier, dead.secret, source="203.0.113.1") is Reason.REVOKED

    (caller,), (dead_caller,) = (server.key_uses.callers(one.record) for one in (key, dead))
    assert (caller.address, caller.uses, caller.refused, caller.reason) == (
        "203.0.113.1",
        2,
        4,
        "ScopeMissing",
    )
    assert (dead_caller.uses, dead_caller.refused, dead_caller.reason) == (0, 2, "revoked")
    assert server.key_uses.count(bob.user_id) == {key.record.key_id: 2}


def test_threads_share_one(verifier: Verifier, server: Services, bob: Principal) -> None:
    """Many threads that verify, while keys are revoked, never accept a dead one nor refuse the living one."""
    living, *others = (server.keys.create(bob, HERE, NewKey()) for _ in range(20))
    wrong: list[str] = []
    stop = threading.Event()
    dead: set[str] = set()

    def is_accepted(secret: str) -> bool:
        try:
            verifier.verify(secret)
        except CredentialRefused:
            return False
        return True

    def verify() -> None:
        while not stop.is_set():
            was_dead = frozenset(dead)
            wrong.extend(key.secret for key in others if is_accepted(key.secret) and key.secret in was_dead)
            if not is_accepted(living.secret):
                wrong.append(living.secret)

    threads = [threading.Thread(target=verify) for _ in range(4)]
    for thread in threads:
        thread.start()
    for key in others:
        server.keys.revoke_own(bob, key.record.key_id, HERE)
        dead.add(key.secret)
    stop.set()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_coroutines_get_the_same_answers(verifier: Verifier, key: CreatedKey) -> None:
    """In a coroutine the answers and errors are the same, remembered or not."""

    async def ask() -> None:
        for _ in range(2):
            assert (await verifier.verify_async(f"Bearer {key.secret}")).userid == "bob"
            with pytest.raises(CredentialRefused):
                await verifier.verify_async("kt_wrong")
            with pytest.raises(CredentialRefused):
                await verifier.verify_async(None)

    asyncio.run(ask())


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_slow_database_does_not_stop_the_loop(verifier: Verifier, key: CreatedKey, database: str) -> None:
    """While a look-up waits for the database, other coroutines run, and remembered keys are verified."""

    async def ask() -> None:
        with psycopg.connect(database) as other:
            other.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(verifier.verify_async(key.secret))
            for _ in range(20):
                await asyncio.sleep(0.005)
            assert not waiting.done()
        assert (await waiting).userid == "bob"

    asyncio.run(ask())


def test_no_root_key_is_needed(server: Services, key: CreatedKey, database: str, root_key_file: Path) -> None:
    """Verifying needs nothing but the database: the root key can be out of reach."""
    token = server.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token
    root_key_file.unlink()
    with Verifier(database) as verifier:
        assert verifier.verify(token).userid == "bob"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("https://keys.example.com", "is given a key"),
        ("ftp://keys.example.com", "https://host"),
        ("keyturn.db", "sqlite:///"),
        ("", "sqlite:///"),
        ("mysql://localhost/keyturn", "sqlite:///"),
        ("postgres://127.0.0.1:9", "The database 127.0.0.1 cannot be opened"),
        ("sqlite:////nowhere/keyturn.db", "There is no database"),
    ],
)
def test_another_address_says_what_to_give(url: str, what: str) -> None:
    """An address that no verifier can use is refused with what to give instead."""
    with pytest.raises(CannotStart, match=what):
        Verifier(url)


@pytest.mark.parametrize(
    "options",
    [{"max_staleness_seconds": float("inf")}, {"max_staleness_seconds": 0}, {"failures_per_minute": 0}],
)
def test_a_bound_that_is_none_is_refused(server: Services, database: str, options: dict[str, float]) -> None:
    """A verifier that would trust its memory for ever, or let nobody fail, is not opened."""
    with pytest.raises(CannotStart):
        Verifier(database, **options)  # type: ignore[arg-type]


def test_scopes_are_a_list(verifier: Verifier, key: CreatedKey) -> None:
    """A text in place of a list of scopes is a mistake of the program, and says so."""
    with pytest.raises(TypeError):
        verifier.verify(key.secret, scopes="orders:read")


class NobodysThreads(ThreadPoolExecutor):
    """The application's default executor, in which nothing of ours may run."""

    def submit(self, *_arguments: Any, **_options: Any) -> NoReturn:
        raise AssertionError("a thread of the application was used")


def test_fault_f9_a_verifier_uses_threads_of_its_own(
    server: Services, key: CreatedKey, database: str
) -> None:
    """Fault F9: a look into the database takes none of the application's threads."""

    async def ask() -> None:
        asyncio.get_running_loop().set_default_executor(NobodysThreads())
        with Verifier(database) as verifier:
            assert (await verifier.verify_async(key.secret)).userid == "bob"

    asyncio.run(ask())


def test_fault_f9_a_coroutine_does_not_wait_for_a_database_that_hangs(
    postgresql_server: str, root_key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault F9: when the database says nothing, each of many coroutines is answered at the stated bound."""
    monkeypatch.setattr(verifier_module, "ANSWER_SECONDS", 0.3)
    database = new_postgresql_database(postgresql_server)
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file)
    with ExitStack() as open_:
        services = open_.enter_context(closing(open_services(settings, hashing=CHEAPEST)))
        services.start()
        add_person(services)
        keys = [services.keys.create(person(services), HERE, NewKey()) for _ in range(20)]
        forwarder = open_.enter_context(forwarding(postgresql_server))
        verifier = open_.enter_context(Verifier(forwarder.url(database.partition("?")[0].rpartition("/")[2])))

        async def ask() -> list[object]:
            asking = (verifier.verify_async(key.secret) for key in keys)
            return await asyncio.gather(*asking, return_exceptions=True)

        forwarder.fall_silent()
        assert {type(answer) for answer in asyncio.run(ask())} == {StoreUnavailable}
        forwarder.open()


def test_a_database_without_a_server_says_so(empty_database: str, root_key_file: Path) -> None:
    """An empty database, and one that no server ever ran on, stop the start with what to do."""
    open_engine(empty_database).dispose()
    with pytest.raises(CannotStart, match=r"nothing of Keyturn|no database"):
        Verifier(empty_database)
    settings = read_settings(
        {"KEYTURN_DATABASE": empty_database}, root_key_file=root_key_file, new_installation=True
    )
    open_services(settings, hashing=CHEAPEST).close()
    with pytest.raises(CannotStart, match="keyturn serve"):
        Verifier(empty_database)
