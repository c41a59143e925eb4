"""A refused key whose secret was right is noted with the reason, at every door; a guess is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.dpop import PresentedProof
from keyturn.core.lifetimes import Lifetime
from keyturn.core.oauth import API_KEY_TYPE, TOKEN_EXCHANGE
from keyturn.core.paths import RequestTarget
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.core.records import KeyUsage
from keyturn.core.scopes import NO_SCOPES
from keyturn.errors import DpopProofRefused, KeyturnError, NotFound, OAuthRefused, StoreUnavailable
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.people import (
    HERE,
    add_service_account,
    caller,
    change_behind,
    holder,
    key_of_service,
    restricted,
    unknown_key,
)
from tests.proofs import Prover
from tests.statements import statements

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from keyturn.core.records import ApiKeyRecord
    from keyturn.services.keys.keys import CreatedKey
    from tests.fakes import Clock

PLAIN = NewKey()
PROVER = Prover()
URL = "https://api.example.com/orders"
WRITE = Origin("192.0.2.1", "curl", via="POST /orders", target=RequestTarget("POST", ("/orders",)))


@dataclass(frozen=True)
class Request:
    """A request with a key of Bob's."""

    new: NewKey = PLAIN
    end: Callable[[Services, Principal, CreatedKey], object] = lambda *_all: None
    """What happens to the key or its owner before it is presented."""
    scheme: str = "Bearer"
    proof: Callable[[Services, str], PresentedProof | None] = lambda *_all: None
    scopes: frozenset[str] = NO_SCOPES


def a_proof(services: Services, credential: str, prover: Prover = PROVER) -> PresentedProof:
    at = services.system.timestamp()
    return PresentedProof("GET", URL, [prover.proof("GET", URL, at=at, credential=credential).encode()])


BOUND = NewKey(restrictions=restricted(dpopJkt=PROVER.jkt))
REFUSED: dict[str, tuple[str, Request]] = {
    "revoked": (
        "revoked",
        Request(end=lambda s, bob, key: s.keys.revoke_own(bob, key.record.key_id, HERE)),
    ),
    "owner disabled": (
        "owner_disabled",
        Request(end=lambda s, bob, _key: change_behind(
            s, "UPDATE user_account SET disabled_at = 1 WHERE id = :id", id=bob.user_id
        )),
    ),
    "wrong network": ("source", Request(NewKey(restrictions=restricted(allowFrom=["10.0.0.0/8"])))),
    "wrong method": ("request", Request(NewKey(restrictions=restricted(allowMethods=["GET"])))),
    "wrong path": ("request", Request(NewKey(restrictions=restricted(allowPaths=["/invoices"])))),
    "no proof": ("sender", Request(BOUND)),
    "another key pair's proof": (
        "sender",
        Request(BOUND, scheme="DPoP", proof=lambda s, key: a_proof(s, key, Prover())),
    ),
    "a proof without need": ("not_bound", Request(scheme="DPoP", proof=a_proof)),
    "scopes withheld": (
        "withheld",
        Request(end=lambda s, _bob, key: change_behind(
            s, "UPDATE api_key SET scopes = '[\"a\"]', project_id = 1 WHERE id = :id", id=key.record.key_id
        )),
    ),
    "scope missing": (
        "ScopeMissing",
        Request(
            end=lambda s, _bob, key: change_behind(
                s, "UPDATE api_key SET scopes = '[\"a\"]' WHERE id = :id", id=key.record.key_id
            ),
            scopes=frozenset({"b"}),
        ),
    ),
}  # fmt: skip
"""What refuses a key that is presented whole, with the word that is noted."""


def present(services: Services, request: Request, credential: str) -> None:
    """Present a credential as the gate does, and ignore what is answered."""
    try:
        services.authenticator.authenticate(
            [f"{request.scheme} {credential}".encode()],
            WRITE,
            request.proof(services, credential),
            request.scopes,
        )
    except KeyturnError:
        return


def noted(services: Services, key: ApiKeyRecord) -> KeyUsage:
    """Return what is noted of a key and not written yet, without who made its token."""
    found = services.usage.unwritten(key.key_id)
    assert found is not None
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_noted_with_its_reason(services: Services, bob: Principal, name: str) -> None:
    """Whatever refuses a whole key is counted as a refusal and never as a use, remembered or not."""
    reason, request = REFUSED[name]
    key = services.keys.create_for(bob.user_id, COMMAND_LINE, request.new)
    request.end(services, bob, key)

    for times in (1, 2, 3):
        present(services, request, key.secret)
        usage = noted(services, key.record)
        assert (usage.last, usage.uses, usage.refused) == (None, 0, times)
    (found,) = services.key_uses.callers(key.record)
    assert (found.address, found.agent, found.via) == ("192.0.2.1", "curl", "POST /orders")
    assert (found.uses, found.refused, found.reason) == (0, 3, reason)
    services.usage.flush(everything=True)
    assert services.key_uses.callers(key.record) == (found,)


@pytest.mark.parametrize("name", ["revoked", "owner disabled", "no proof"])
def test_a_refused_token_counts_for_its_key(services: Services, bob: Principal, name: str) -> None:
    """A genuine token that is refused is a refusal of the key that it was made from."""
    reason, request = REFUSED[name]
    key = services.keys.create(bob, HERE, NewKey())
    proof = None if request.new is not BOUND else _for_exchange(services)
    token = services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE, presented=proof).token
    services.usage.flush(everything=True)
    request.end(services, bob, key)

    present(services, replace(request, scheme="Bearer"), token)

    usage = noted(services, key.record)
    assert (usage.uses, usage.refused, usage.callers[0].reason) == (0, 1, reason)


def _for_exchange(services: Services) -> PresentedProof:
    return PresentedProof("POST", URL, [PROVER.proof("POST", URL, at=services.system.timestamp()).encode()])


def test_an_expired_key_is_refused_and_noted(services: Services, bob: Principal, clock: Clock) -> None:
    """A key is a refused one from exactly its end on, also where it was remembered until then."""
    end = clock.now + timedelta(hours=1)
    key = services.keys.create(bob, HERE, NewKey(lifetime=Lifetime(end)))
    clock.advance(timedelta(hours=1) - timedelta(milliseconds=1))
    present(services, Request(), key.secret)
    clock.advance(timedelta(milliseconds=1))
    present(services, Request(), key.secret)

    usage = noted(services, key.record)
    assert (usage.uses, usage.refused, usage.refused_at) == (1, 1, end)
    assert usage.callers[0].reason == "expired"


def test_a_proof_that_shows_nothing_is_noted_of_a_remembered_key(services: Services, bob: Principal) -> None:
    """A wrong or used proof beside a key in the cache is a refusal; beside another nothing is looked up."""
    key = services.keys.create_for(bob.user_id, COMMAND_LINE, BOUND)
    wrong = PresentedProof("GET", URL, [b"nonsense"])
    line = [f"DPoP {key.secret}".encode()]
    with statements(services) as asked, pytest.raises(DpopProofRefused):
        services.authenticator.authenticate(line, HERE, wrong)
    assert asked == []
    assert services.usage.unwritten(key.record.key_id) is None

    good = a_proof(services, key.secret)
    services.authenticator.authenticate(line, HERE, good)
    for proof, reason in ((wrong, "proof_malformed"), (good, "proof_used")):
        with pytest.raises(DpopProofRefused):
            services.authenticator.authenticate(line, HERE, proof)
        assert noted(services, key.record).callers[0].reason == reason
    assert (noted(services, key.record).uses, noted(services, key.record).refused) == (1, 2)


DOORS: dict[str, Callable[[Services, str], object]] = {
    "exchange": lambda s, key: s.exchange.exchange(in_header=[], in_body=key, origin=HERE),
    "exchange, in the header": lambda s, key: s.exchange.exchange(
        in_header=[key.encode()], in_body=None, origin=HERE
    ),
    "introspection, who asks": lambda s, key: s.oauth.introspect({"token": "x"}, [key.encode()], HERE),
    "introspection, by a client": lambda s, key: s.oauth.introspect(
        {"token": "x", "client_id": "key-1", "client_secret": key}, [], HERE
    ),
    "token exchange": lambda s, key: s.oauth.grant(
        {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": key,
            "subject_token_type": API_KEY_TYPE,
        },
        [],
        HERE,
    ),
}


@pytest.mark.parametrize("name", DOORS)
def test_every_door_notes_refusals(services: Services, bob: Principal, name: str) -> None:
    """A revoked key is noted as refused wherever it is presented, by whatever error that is answered."""
    key = services.keys.create(bob, HERE, NewKey())
    services.keys.revoke_own(bob, key.record.key_id, HERE)

    with pytest.raises((KeyturnError, OAuthRefused)):
        DOORS[name](services, key.secret)

    assert (noted(services, key.record).uses, noted(services, key.record).refused) == (0, 1)


def test_asking_about_a_key_is_neither_use_nor_refusal(services: Services, bob: Principal) -> None:
    """Introspection tells about a credential that nobody presented."""
    key, asks = services.keys.create(bob, HERE, NewKey()), services.keys.create(bob, HERE, NewKey())
    assert services.oauth.introspect({"token": key.secret}, [asks.secret.encode()], HERE) is not None
    services.keys.revoke_own(bob, key.record.key_id, HERE)
    assert services.oauth.introspect({"token": key.secret}, [asks.secret.encode()], HERE) is None

    assert services.usage.unwritten(key.record.key_id) is None


def test_a_guess_is_noted_of_no_key(services: Services, bob: Principal) -> None:
    """An unknown key, a wrong checksum and a forged token are refusals of no key."""
    key = services.keys.create(bob, HERE, NewKey()).secret
    token = services.exchange.exchange(in_header=[], in_body=key, origin=HERE).token
    services.usage.flush(everything=True)
    for credential in (unknown_key(), key[:-1] + ("a" if key[-1] != "a" else "b"), token[:-6] + "AAAAAA"):
        present(services, Request(), credential)

    assert services.usage.flush(everything=True) == 0


def test_refusals_write_nothing_at_once(services: Services, bob: Principal) -> None:
    """However often a revoked key or its token is presented, nothing is written until the batch is due."""
    key = services.keys.create(bob, HERE, NewKey())
    token = services.exchange.exchange(in_header=[], in_body=key.secret, origin=HERE).token
    services.keys.revoke_own(bob, key.record.key_id, HERE)
    services.usage.flush(everything=True)
    with statements(services) as asked:
        for _ in range(100):
            present(services, Request(), key.secret)
            present(services, Request(), token)

    assert {statement.split()[0] for statement in asked} <= {"SELECT", "BEGIN"}
    assert services.usage.flush(everything=True) == 1
    assert {caller.refused for caller in services.key_uses.callers(key.record)} == {0, 200}


def test_a_refusal_is_counted_whether_or_not_the_database_is_there(
    services: Services, bob: Principal
) -> None:
    """What cannot be known is no refusal of a key."""
    key = services.keys.create(bob, HERE, NewKey())
    change_behind(services, "ALTER TABLE api_key RENAME TO gone")
    with pytest.raises(StoreUnavailable):
        caller(services, key.secret)

    assert services.usage.unwritten(key.record.key_id) is None


def test_the_page_of_a_key_sees_what_is_not_written_yet(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """Uses by day and callers are those of this moment, and the same once they are written."""
    lasting = NewKey(lifetime=Lifetime(clock.now + timedelta(days=1)))
    key, other = (services.keys.create(bob, HERE, lasting) for _ in range(2))
    caller(services, key.secret)
    services.usage.flush(everything=True)
    clock.advance(timedelta(hours=13))
    for _ in range(3):
        caller(services, key.secret)
    present(services, REFUSED["scope missing"][1], other.secret)
    services.keys.revoke_of(bob.user_id, key.record.key_id, COMMAND_LINE)
    clock.advance(timedelta(seconds=1))
    present(services, Request(), key.secret)

    def shown() -> tuple[object, ...]:
        keys = [key.record, other.record]
        return (
            services.key_uses.by_day(keys),
            services.key_uses.by_day(keys, shift_hours=-2),
            services.key_uses.callers(key.record),
            services.key_uses.callers(other.record),
        )

    before = shown()
    services.usage.flush(everything=True)
    assert before == shown()
    day = int(clock.now.timestamp()) // 86400
    assert before[0] == {
        key.record.key_id: {day - 1: (1, 0), day: (3, 1)},
        other.record.key_id: {day: (1, 0)},
    }
    assert before[1] == {
        key.record.key_id: {day - 1: (4, 1)}, other.record.key_id: {day - 1: (1, 0)}
    }  # fmt: skip
    newest, *_others = services.key_uses.callers(key.record)
    assert (newest.address, newest.refused, newest.reason) == ("192.0.2.1", 1, "revoked")


def test_uses_are_shown_for_90_days(services: Services, bob: Principal, clock: Clock) -> None:
    """The first of the days is shown whole, and the day before it not at all."""
    key = services.keys.create(bob, HERE, NewKey(lifetime=Lifetime(clock.now + timedelta(days=365))))
    clock.advance(timedelta(hours=12) - timedelta(seconds=1))  # The last second of a day.
    for _ in range(2):
        caller(services, key.secret)
        services.usage.flush(everything=True)
        clock.advance(timedelta(seconds=1))
    clock.advance(timedelta(days=90) - timedelta(seconds=2))

    day = int(clock.now.timestamp()) // 86400
    assert services.key_uses.by_day([key.record]) == {key.record.key_id: {day - 89: (1, 0)}}


def test_who_may_see_a_key_may_see_its_callers(services: Services, bob: Principal) -> None:
    """The record is what opens the rest: owners, managers of service accounts and administrators get it."""
    admin = holder(services, "admin", Permission.USER_ADMIN)
    add_service_account(services, admin, ServiceOwner(bob.user_id))
    made = services.keys.create(bob, HERE, NewKey()), key_of_service(services, bob)
    for key in made:
        caller(services, key.secret)
    own, of_service = made[0].record.key_id, made[1].record.key_id
    (listed,) = services.service_accounts.list_keys(bob, "robot").items
    for key_id, given in ((own, services.keys.get_own(bob, own)), (of_service, listed)):
        as_administrator = services.all_keys.get(admin, key_id).key
        (found,) = services.key_uses.callers(given)
        assert services.key_uses.callers(as_administrator) == (found,)
        assert services.key_uses.by_day([given]) == services.key_uses.by_day([as_administrator])
    with pytest.raises(NotFound):
        services.keys.get_own(admin, own)
