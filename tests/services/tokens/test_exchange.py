"""The exchange: a token for a key, never wider and never longer-lived than the key."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from keyturn.composition import Services
from keyturn.core.encoding import base64url_decode, base64url_encode
from keyturn.core.lifetimes import Lifetime
from keyturn.core.principal import AuthMethod, Principal
from keyturn.errors import AmbiguousCredential, CredentialRefused, InvalidState, Reason
from keyturn.services.keys.keys import NewKey
from keyturn.services.tokens.issuer import IssuedToken
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD, Opener
from tests.fakes import Clock
from tests.people import HERE, caller, change_behind

HOUR = timedelta(hours=1)


@pytest.fixture
def key(services: Services, bob: Principal) -> str:
    return services.keys.create(bob, HERE, NewKey()).secret


def exchange(services: Services, *, header: list[str] | None = None, body: str | None = None) -> IssuedToken:
    return services.exchange.exchange(
        in_header=[value.encode() for value in header or ()], in_body=body, origin=HERE
    )


def test_a_key_gives_a_token_for_an_hour(services: Services, key: str, clock: Clock) -> None:
    """A token names its key, stands for the same person, and lives for exactly an hour (T15)."""
    for issued in (
        exchange(services, header=[key]),
        exchange(services, header=[f"bEARER  {key}"]),
        exchange(services, body=key),
    ):
        who = caller(services, issued.token)
        assert (who.userid, who.method, who.key_id) == ("bob", AuthMethod.ACCESS_TOKEN, issued.key_id)
        assert issued.expires_at == clock.now + HOUR
        assert issued.token not in repr(issued)

    clock.advance(HOUR - timedelta(milliseconds=1))
    caller(services, issued.token)
    clock.advance(timedelta(milliseconds=1))
    with pytest.raises(CredentialRefused) as refused:
        caller(services, issued.token)
    assert refused.value.reason is Reason.EXPIRED


def test_two_tokens_are_never_the_same(services: Services, key: str) -> None:
    """Each token has an identifier of its own, also within one second."""
    assert len({exchange(services, body=key).token for _ in range(20)}) == 20


def test_a_token_does_not_outlive_its_key(services: Services, bob: Principal, clock: Clock) -> None:
    """The expiry of a token is never after that of its key, nor more than an hour away (T15)."""
    for milliseconds in (
        1000,
        1999,
        59_001,
        3_599_999,
        3_600_000,
        3_600_001,
    ):
        end = clock.now + timedelta(milliseconds=milliseconds)
        key = services.keys.create(bob, HERE, NewKey(None, Lifetime(end))).secret

        issued = exchange(services, body=key)

        assert clock.now < issued.expires_at <= min(end, clock.now + HOUR)
        assert min(end, clock.now + HOUR) - issued.expires_at < timedelta(seconds=1)


def test_a_key_with_less_than_a_second_left_gives_none(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """A key whose remaining life no token can express is not exchanged; the key itself still works."""
    key = services.keys.create(
        bob, HERE, NewKey(None, Lifetime(clock.now + timedelta(milliseconds=999)))
    ).secret

    with pytest.raises(CredentialRefused) as refused:
        exchange(services, body=key)

    assert refused.value.reason is Reason.EXPIRED
    assert caller(services, key).userid == "bob"


def test_a_token_is_never_wider_than_its_key(services: Services, key: str) -> None:
    """A token has the scopes of its key, and when the key's are narrowed so are the token's (T15)."""
    whole = exchange(services, body=key).token

    def narrow(scopes: str | None) -> None:
        change_behind(services, "UPDATE api_key SET scopes = :scopes", scopes=scopes)

    narrow('["a","b"]')
    narrowed = exchange(services, body=key).token
    assert caller(services, narrowed).scopes == frozenset("ab")
    assert caller(services, whole).scopes == frozenset("ab")
    narrow('["b","c"]')
    assert caller(services, narrowed).scopes == frozenset("b")
    narrow("[]")
    for nothing in (narrowed, whole, key):
        with pytest.raises(CredentialRefused):
            caller(services, nothing)
    narrow(None)
    assert caller(services, narrowed).scopes == frozenset("ab")


def test_a_dead_key_is_not_exchanged(services: Services, bob: Principal, clock: Clock) -> None:
    """A revoked, expired or disabled key gives no token, and the holder is told why (T15)."""
    revoked, expiring, disabled = (
        services.keys.create(bob, HERE, NewKey(None, Lifetime(clock.now + life)))
        for life in (timedelta(days=9), timedelta(days=1), timedelta(days=9))
    )
    services.keys.revoke_own(bob, revoked.record.key_id, HERE)
    clock.advance(timedelta(days=1))
    reasons = {}
    for name, made in {"revoked": revoked, "expired": expiring}.items():
        with pytest.raises(CredentialRefused) as refused:
            exchange(services, body=made.secret)
        reasons[name] = refused.value.reason
        assert refused.value.secret_matched
    services.users.set_disabled(COMMAND_LINE, "bob", disabled=True)
    with pytest.raises(CredentialRefused) as refused:
        exchange(services, header=[disabled.secret])

    assert reasons == {"revoked": Reason.REVOKED, "expired": Reason.EXPIRED}
    assert refused.value.reason is Reason.OWNER_DISABLED


def test_a_token_cannot_be_exchanged(services: Services, key: str) -> None:
    """No token, of a key or of a login, renews itself by the exchange."""
    login = services.logins.log_in_api("bim", "bob", PASSWORD, HERE).token
    for token in (exchange(services, body=key).token, login):
        for given in ({"header": [token]}, {"header": [f"Bearer {token}"]}, {"body": token}):
            with pytest.raises(CredentialRefused):
                exchange(services, **given)  # type: ignore[arg-type]


def test_a_token_beside_a_key_is_not_looked_at(services: Services, key: str, clock: Clock) -> None:
    """A client that exchanges again may still send the token that ended: the key alone counts."""
    token = exchange(services, body=key).token
    clock.advance(HOUR)

    assert caller(services, exchange(services, header=[f"Bearer {token}"], body=key).token).userid == "bob"
    with pytest.raises(CredentialRefused):
        exchange(services, header=["Basic eDp5"], body=key)


def test_one_key_in_one_place(services: Services, key: str) -> None:
    """A key in both places, or in two header lines, is ambiguous, whether equal or not, good or bad (H3)."""
    for given in (
        {"header": [key], "body": key},
        {"header": [f"Bearer {key}"], "body": "x"},
        {"header": [key], "body": ""},
        {"header": [key, key]},
        {"header": ["", key]},
    ):
        with pytest.raises(AmbiguousCredential) as refused:
            exchange(services, **given)  # type: ignore[arg-type]
        assert key not in str(refused.value)


def test_what_is_no_key_gives_no_token(services: Services, key: str) -> None:
    """Anything but a living key is refused, and the refusal does not repeat it."""
    for given in (
        "",
        " ",
        "x",
        "\x00",
        "\ud800",
        "é" * 40,
        "x" * 100_000,
        "kt_" + "a" * 51,
        "null",
    ):
        for body in (given, key + given, given + key) if given else (given,):
            with pytest.raises(CredentialRefused) as refused:
                exchange(services, body=body)
            assert not refused.value.secret_matched
        with pytest.raises(CredentialRefused) as missing:
            exchange(services)
        assert missing.value.reason is Reason.MISSING


def test_a_body_holds_a_key_and_nothing_around_it(services: Services, key: str) -> None:
    """In a body there is no scheme: only the key itself is one."""
    with pytest.raises(CredentialRefused):
        exchange(services, body=f"Bearer {key}")


def test_an_exchange_is_a_use_of_the_key(services: Services, bob: Principal, key: str) -> None:
    """Whoever looks at the list sees that the key was exchanged."""
    exchange(services, body=key)

    (listed,) = services.keys.list_own(bob)
    assert listed.last_use is not None
    assert listed.last_use.address == HERE.address


def test_tokens_of_another_installation_are_nobody_s(services: Services, key: str, reopen: Opener) -> None:
    """A token says where it is good for, exactly: under another public address it is refused."""
    token = exchange(services, body=key).token

    with pytest.raises(CredentialRefused) as refused:
        caller(reopen(public_url="http://127.0.0.1:8401"), token)

    assert refused.value.reason is Reason.CLAIMS


def test_another_algorithm_keeps_old_tokens(services: Services, key: str, reopen: Opener) -> None:
    """After a change of algorithm new tokens are signed with it, and those of before go on (T1)."""
    old = exchange(services, body=key).token
    changed = reopen(token_algorithm="EdDSA")
    changed.signing_keys.follow_algorithm(lead=timedelta(0))
    new = exchange(changed, body=key).token

    assert old.split(".")[0] != new.split(".")[0]
    for token in (old, new):
        assert caller(changed, token).userid == "bob"
    assert caller(reopen(), new).userid == "bob"


def test_a_key_whose_scopes_fit_into_no_token(services: Services, bob: Principal) -> None:
    """An older key with very many scopes works as it is, and exchanging it says why it cannot be."""
    made = services.keys.create(bob, HERE, NewKey())
    many = msgspec.json.encode([f"scope:{number:0>100}" for number in range(40)]).decode()
    change_behind(
        services, "UPDATE api_key SET scopes = :scopes WHERE id = :id", scopes=many, id=made.record.key_id
    )
    assert len(caller(services, made.secret).scopes or ()) == 40
    with pytest.raises(InvalidState, match="do not fit"):
        exchange(services, header=[made.secret])


@pytest.mark.parametrize(
    "beyond",
    [
        {"kt_key": 2**63},
        {"kt_key": 2**64 - 1},
        {"kt_key": 0},
        {"kt_key": None, "kt_session": 2**63},
        {"jti": ""},
        {"jti": "x" * 1500},
        {"sub": "9" * 19},
        {"sub": "9" * 20},
        {"iat": 2**62, "exp": 2**62 + 60},
        {"iat": 0, "exp": 1},
    ],
    ids=str,
)
def test_fault_d2_a_signed_token_out_of_bounds_is_refused_everywhere(
    services: Services, key: str, beyond: dict[str, object]
) -> None:
    """A token under our own signature whose claims no database holds is refused, and no defect."""
    ring, token = services.signing_keys.ring, exchange(services, body=key).token
    told = msgspec.json.decode(base64url_decode(token.split(".")[1].encode())) | {"jti": "forged"} | beyond
    payload = msgspec.json.encode({name: value for name, value in told.items() if value is not None})
    signing_input = ring.signing.header_segment + b"." + base64url_encode(payload)
    forged = (signing_input + b"." + base64url_encode(ring.signing.sign(signing_input))).decode()

    with pytest.raises(CredentialRefused):
        caller(services, forged)
    assert services.oauth.introspect({"token": forged}, [key.encode()], HERE) is None
    services.oauth.revoke({"token": forged}, [key.encode()], HERE)
    assert caller(services, token).userid == "bob"
