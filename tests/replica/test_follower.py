"""One who follows, told word by word on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from keyturn.core import feed
from keyturn.core.access_token import (
    AccessTokenClaims,
    AccessTokenFormat,
    KeyRing,
    SigningKey,
    VerifyingRing,
    generate_signing_key,
)
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.permissions import Permission
from keyturn.core.records import SessionLimits
from keyturn.errors import CredentialRefused, KeyturnError, Reason, StoreUnavailable
from keyturn.replica import follower as follower_module
from keyturn.replica.follower import Follower, Timeouts
from keyturn.replica.state import Replica
from keyturn.replica.trust import Trust
from keyturn.services.apis.fields import ScopeToRegister
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.lookup import Lookup
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.verifying.rate_limit import CredentialRateLimit
from keyturn.verifying.redaction import Redactor
from keyturn.verifying.uses import Usage
from keyturn.verifying.verdict_cache import VerdictCache
from tests.apis import register, say_anew, scopes_of
from tests.fakes import Clock
from tests.people import HERE, add_person, holder

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.composition import Services
    from keyturn.core.audit import Mark
    from keyturn.core.principal import Principal

BOUND = 60.0
ISSUER = "https://keys.example.com"


class Overtaken(Replica):
    """A copy that takes in a change right after its signing keys were asked for."""

    after_ring: Callable[[], None] | None = None

    @property
    def ring(self) -> VerifyingRing:
        ring, change = super().ring, self.after_ring
        self.after_ring = None
        if change is not None:
            change()
        return ring


class NoUses:
    """Keeps nothing of uses."""

    def record_use(self, uses: object) -> None: ...


@dataclass
class Told:
    """A follower whose stream is what the test says."""

    clock: Clock
    events: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        system = self.clock.system()
        self.trust, self.index, self.copy = Trust(system), VerdictCache(), Overtaken(system)
        self.format = AccessTokenFormat(ISSUER, ISSUER, timedelta(hours=1))
        failures = CredentialRateLimit(1000, system)
        usage = Usage(NoUses(), system, Redactor("kt"))
        self.lookup = Lookup(
            self.copy,
            token_format=self.format,
            keys=self.copy,
            session_limits=SessionLimits(timedelta(0), timedelta(0)),
            index=self.index,
            failures=failures,
            usage=usage,
            system=system,
        )
        self.authenticator = Authenticator(
            key_format=ApiKeyFormat("kt"),
            index=self.index,
            freshness=self.trust,
            lookup=self.lookup,
            failures=failures,
            usage=usage,
            system=system,
        )
        self.follower = Follower(
            httpx.Client(),
            copy=self.copy,
            index=self.index,
            trust=self.trust,
            max_staleness_seconds=BOUND,
            system=system,
        )
        self.asked_at = self.clock.monotonic

    def hear(self, name: str, data: object = None) -> None:
        self.follower._apply(name, msgspec.json.encode({} if data is None else data), self.asked_at)

    def hear_alive(self, elapsed: float) -> None:
        self.hear(feed.ALIVE, feed.Alive(revision=1, event_id="e" * 36, elapsed=elapsed))

    def end_stream(self) -> None:
        """Begin as with another stream, which comes to nothing."""
        with pytest.raises(httpx.UnsupportedProtocol):
            self.follower._follow()

    def hear_all(self) -> None:
        self.hear(feed.RESET)
        self.hear(feed.WHOLE)
        self.hear_alive(0.0)

    @property
    def asks_anew(self) -> bool:
        return self.follower._is_old(self.asked_at)


@pytest.fixture
def admin(services: Services) -> Principal:
    return holder(services, "ada", *Permission)


@pytest.fixture
def told(clock: Clock) -> Told:
    return Told(clock)


FOREIGN = b"0123456789abcdef" * 2
DIGEST = sha256(FOREIGN).digest()
OWNER = [1, "bob", "bim", None, ["AUDIT"], False, 0, []]
KEY = [7, 1, DIGEST, None, None, 0, None, None, None, None, 0, None]
API = "https://orders.example.com"


def with_(row: list[Any], at: int, value: object) -> list[Any]:
    return [*row[:at], value, *row[at + 1 :]]


DISABLED, REVOKED = with_(OWNER, 5, True), with_(KEY, 4, 1)


def begin(told: Told, *, users: list[Any], keys: list[Any], resources: tuple[Any, ...] = ()) -> None:
    told.hear(feed.RESET)
    told.hear(feed.USERS, users)
    told.hear(feed.KEYS, keys)
    told.hear(feed.RESOURCES, resources)
    told.hear(feed.WHOLE)
    told.hear_alive(0.0)


def answer_of(told: Told) -> object:
    """Return who calls with the key, or why it opens nothing; for one that was not seen before."""
    told.index.forget_everything()
    try:
        return told.authenticator.authenticate([FOREIGN], HERE)
    except KeyturnError as refused:
        return getattr(refused, "reason", type(refused))


@pytest.mark.parametrize("at_once", [True, False], ids=["kept aside", "as it comes"])
def test_fault_a4_a_batch_is_one_change(
    told: Told, monkeypatch: pytest.MonkeyPatch, *, at_once: bool
) -> None:
    """Once an owner is enabled again whose keys were revoked meanwhile, none of them is accepted."""
    begin(told, users=[DISABLED], keys=[KEY])
    if not at_once:
        monkeypatch.setattr(follower_module, "MAX_CHANGE_BYTES", 1)
    answers = [answer_of(told)]
    for name, rows in ((feed.USERS, [OWNER]), (feed.KEYS, [REVOKED])):
        told.hear(name, rows)
        answers.append(answer_of(told))
    told.hear_alive(0.0)
    answers.append(answer_of(told))
    before, during = Reason.OWNER_DISABLED, Reason.OWNER_DISABLED if at_once else StoreUnavailable
    assert answers == [before, during, during, Reason.REVOKED]


def test_fault_a4_what_was_cut_off_is_not_taken_in(told: Told) -> None:
    """Of a batch whose end never came nothing is known, and the next stream begins with nothing of it."""
    begin(told, users=[DISABLED], keys=[KEY])
    told.hear(feed.USERS, [OWNER])
    told.end_stream()
    told.hear_alive(0.0)
    assert answer_of(told) == Reason.OWNER_DISABLED


def test_fault_a4_half_a_change_is_never_answered_from(told: Told) -> None:
    """A batch that turns out to be none half way is not answered from, until another has come whole."""
    begin(told, users=[DISABLED], keys=[KEY])
    told.hear(feed.USERS, [OWNER])
    told.hear(feed.KEYS, ["nonsense"])
    with pytest.raises(KeyturnError, match="not an event of it"):
        told.hear_alive(0.0)
    assert answer_of(told) is StoreUnavailable
    told.end_stream()
    told.hear(feed.USERS, [DISABLED])
    assert answer_of(told) is StoreUnavailable
    told.hear_alive(0.0)
    assert answer_of(told) == Reason.OWNER_DISABLED


def test_fault_a4_a_token_is_judged_by_one_state(told: Told, clock: Clock) -> None:
    """A token is refused whose signing key ends, while it is looked up, with what enables its owner."""
    old, new = (SigningKey.from_jwk(generate_signing_key("ES256", kid)) for kid in ("old", "new"))
    told.hear(feed.SIGNING_KEYS, [[old.public_jwk(), None]])
    begin(told, users=[DISABLED], keys=[KEY])
    token = signed(told, old, clock)

    def change() -> None:
        told.hear(feed.SIGNING_KEYS, [[new.public_jwk(), None]])
        told.hear(feed.USERS, [OWNER])
        told.hear_alive(0.0)

    told.copy.after_ring = change
    with pytest.raises(CredentialRefused) as refused:
        told.lookup.find_token(token, sha256(token).digest(), None, told.index.generation, None)
    assert refused.value.reason is Reason.SIGNATURE
    assert told.copy.after_ring is None, "the change came"


def signed(told: Told, key: SigningKey, clock: Clock) -> bytes:
    now = int(clock.now.timestamp())
    claims = AccessTokenClaims(
        iss=ISSUER,
        sub="1",
        aud=ISSUER,
        client_id="key-7",
        exp=now + 60,
        iat=now,
        jti="j" * 22,
        scope="",
        kt_key=7,
    )
    return told.format.sign(claims, KeyRing.of(key)).encode()


def test_fault_a3_a_new_scope_is_withheld_before_it_is_covered(
    services: Services, admin: Principal, clock: Clock
) -> None:
    """Whoever takes in a change event by event, as another follower may, never covers a guarded scope."""
    key = services.keys.create_for(add_person(services).user_id, COMMAND_LINE, NewKey())
    api = register(services, "orders", None)
    subscription = services.feed.follow(replace(admin, jkt=None), lambda: None)
    told, digest = Told(clock), sha256(key.secret.encode()).digest()

    def hear(mark: Mark | None) -> list[object]:
        found = []
        for data in services.feed.begin(subscription, "n" * 16, mark):
            for name, event in feed.EventReader().read(data):
                if name in told.follower._applies:
                    with told.copy.one_change():
                        told.follower._applies[name](event)
                    known = told.lookup.find_key(digest, None, -1, API) if mark else None
                    found.append(None if known is None else known.principal.scopes)
        return found

    hear(None)
    mark = services.store.audit_log.newest()
    guarded = [ScopeToRegister("orders:delete", None, []), *scopes_of("orders", [])]
    say_anew(services, admin, api, guarded)

    assert set(hear(mark)) <= {frozenset({"orders:read", "orders:write"}), frozenset({"orders:read"})}
    services.feed.leave(subscription)


def test_nothing_is_trusted_after_a_time_that_has_not_come(told: Told) -> None:
    """What was buffered while this machine stood still says that it did, not for how long: all trust ends."""
    told.hear_all()
    told.trust.ensure()
    told.hear_alive(0.05)
    with pytest.raises(KeyturnError, match="stood still"):
        told.hear_alive(1.0)  # The first of the six hundred that came meanwhile.
    with pytest.raises(StoreUnavailable, match="stood still"):
        told.trust.ensure()


def test_a_full_copy_is_heard_to_its_end(told: Told, clock: Clock) -> None:
    """A stream is exchanged after its time, but not in the middle of a full copy, which would begin anew."""
    told.hear_all()
    told.hear(feed.RESET)
    clock.advance(timedelta(seconds=Timeouts().stream + 1))
    assert not told.asks_anew
    told.hear(feed.WHOLE)
    told.hear_alive(Timeouts().stream + 1)
    assert told.asks_anew


def test_who_goes_on_after_much_is_given_time(told: Told, clock: Clock) -> None:
    """A stream that has not said yet how far it reaches does not lag; one that says it late does."""
    told.hear(feed.USERS, [])
    clock.advance(timedelta(seconds=Timeouts().lag + BOUND))
    assert not told.asks_anew
    told.hear_alive(Timeouts().lag)
    assert told.asks_anew


def test_trust_that_ended_for_good_does_not_come_back(told: Told) -> None:
    """A word that is applied while the verifier is closed extends nothing, and changes no reason."""
    told.hear_all()
    told.follower._trust.end("the verifier is closed", for_good=True)
    told.hear_alive(0.0)
    told.trust.end("something else")
    with pytest.raises(StoreUnavailable, match="is closed"):
        told.trust.ensure()
