"""The decision: each rule at exactly its instant, and no way for the dead to pass."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from keyturn.core.access_token import AccessTokenClaims, Confirmation
from keyturn.core.networks import read_network
from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.core.records import (
    KeyForVerification,
    OwnerRecord,
    SessionForVerification,
    SessionKind,
    SessionLimits,
)
from keyturn.core.restrictions import Restrictions
from keyturn.core.verification import (
    check_api_key,
    check_sender,
    check_session,
    principal_of_key,
    principal_of_key_token,
    principal_of_session,
    principal_of_session_token,
)
from keyturn.errors import CredentialRefused, Reason

NOW = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
AROUND = [(-MILLISECOND, False), (timedelta(), True), (MILLISECOND, True)]
"""How late it is, and whether the thing is dead by then."""

OWNER = OwnerRecord(
    user_id=7,
    userid="ada@example.org",
    iamid="bim",
    name="Ada",
    permissions=frozenset({"GOVERNANCE", "CREATE_PROJECT"}),
    is_disabled=False,
)
KEY = KeyForVerification(key_id=42, owner=OWNER, expires_at=None, revoked_at=None)
LIMITS = SessionLimits(idle=timedelta(hours=1), absolute=timedelta(hours=24))
SESSION = SessionForVerification(
    session_id=5,
    kind=SessionKind.BROWSER,
    owner=OWNER,
    created_at=NOW - timedelta(minutes=30),
    last_seen_at=NOW - timedelta(minutes=1),
    expires_at=NOW + timedelta(hours=12),
    ended_at=None,
)
CLAIMS = AccessTokenClaims(
    iss="https://keys.example",
    sub="7",
    aud="https://api.example",
    client_id="keyturn",
    exp=int(NOW.timestamp()) + 600,
    iat=int(NOW.timestamp()),
    jti="j",
    scope="",
    kt_key=42,
)
SESSION_CLAIMS = AccessTokenClaims(
    iss="https://keys.example",
    sub="7",
    aud="https://api.example",
    client_id="keyturn",
    exp=int(NOW.timestamp()) + 600,
    iat=int(NOW.timestamp()),
    jti="j",
    scope="",
    kt_session=5,
)

TIMES = st.integers(1_577_836_800, 2_051_222_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
"""2020 to 2034."""
OWNERS = st.builds(replace, st.just(OWNER), is_disabled=st.booleans())
SCOPE_SETS = st.frozensets(st.sampled_from(["read", "write", "delete", "admin"]))
KEYS = st.builds(
    KeyForVerification,
    key_id=st.integers(1, 2**31),
    owner=OWNERS,
    expires_at=st.none() | TIMES,
    revoked_at=st.none() | TIMES,
    restrictions=st.builds(Restrictions, scopes=st.none() | SCOPE_SETS),
)
SESSIONS = st.builds(
    SessionForVerification,
    session_id=st.integers(1, 2**31),
    kind=st.sampled_from(SessionKind),
    owner=OWNERS,
    created_at=TIMES,
    last_seen_at=TIMES,
    expires_at=TIMES,
    ended_at=st.none() | TIMES,
)


def refusal_of_key(record: KeyForVerification | None, now: datetime = NOW) -> CredentialRefused:
    with pytest.raises(CredentialRefused) as refusal:
        check_api_key(record, now=now, source=None)
    return refusal.value


def refusal_of_session(
    record: SessionForVerification | None, now: datetime = NOW, limits: SessionLimits = LIMITS
) -> CredentialRefused:
    with pytest.raises(CredentialRefused) as refusal:
        check_session(record, limits, now=now)
    return refusal.value


def passes_key(record: KeyForVerification, now: datetime) -> bool:
    try:
        return check_api_key(record, now=now, source=None) is record
    except CredentialRefused:
        return False


def passes_session(record: SessionForVerification, now: datetime, limits: SessionLimits = LIMITS) -> bool:
    try:
        return check_session(record, limits, now=now) is record
    except CredentialRefused:
        return False


def test_a_good_key_passes() -> None:
    """A key that is neither revoked nor expired, of an enabled owner, is handed back as it came."""
    assert check_api_key(KEY, now=NOW, source=None) is KEY


def test_an_unknown_key_is_refused_without_a_word() -> None:
    """For a key that matched nothing the caller may be told no reason."""
    refusal = refusal_of_key(None)
    assert (refusal.reason, refusal.key_id, refusal.secret_matched) == (Reason.UNKNOWN, None, False)


@pytest.mark.parametrize(("late_by", "dead"), AROUND)
def test_a_key_dies_at_exactly_its_expiry(late_by: timedelta, dead: bool) -> None:
    """K8: a key passes one millisecond before `expires_at`, and not at it or after it."""
    record = replace(KEY, expires_at=NOW)
    if dead:
        refusal = refusal_of_key(record, NOW + late_by)
        assert (refusal.reason, refusal.key_id, refusal.secret_matched) == (Reason.EXPIRED, 42, True)
    else:
        assert passes_key(record, NOW + late_by)


@pytest.mark.parametrize("ago", [timedelta(days=-1), timedelta(), MILLISECOND, timedelta(days=400)])
def test_a_revoked_key_is_dead_whatever_the_clock_says(ago: timedelta) -> None:
    """A key with a time of revocation is refused, even if another node's clock wrote a later time."""
    refusal = refusal_of_key(replace(KEY, revoked_at=NOW - ago))
    assert (refusal.reason, refusal.key_id, refusal.secret_matched) == (Reason.REVOKED, 42, True)


def test_a_disabled_owners_key_is_dead() -> None:
    """While its owner is disabled, no key of theirs passes."""
    refusal = refusal_of_key(replace(KEY, owner=replace(OWNER, is_disabled=True)))
    assert (refusal.reason, refusal.key_id, refusal.secret_matched) == (Reason.OWNER_DISABLED, 42, True)


@given(KEYS, TIMES)
def test_a_key_passes_exactly_if_nothing_speaks_against_it(record: KeyForVerification, now: datetime) -> None:
    """Nothing revoked, expired or disabled passes, and everything else does."""
    dead = (
        record.revoked_at is not None
        or (record.expires_at is not None and now >= record.expires_at)
        or record.owner.is_disabled
    )
    assert passes_key(record, now) is not dead


@given(KEYS, TIMES, st.timedeltas(timedelta(), timedelta(days=2000)))
def test_a_key_once_refused_stays_refused(
    record: KeyForVerification, now: datetime, later: timedelta
) -> None:
    """Time alone never brings a key back."""
    if not passes_key(record, now):
        assert not passes_key(record, now + later)


@given(KEYS, TIMES, TIMES)
def test_a_further_fact_against_a_key_never_helps_it(
    record: KeyForVerification, now: datetime, when: datetime
) -> None:
    """Revoking, disabling or an earlier expiry makes no refused key pass; the first two refuse every key."""
    earlier = when if record.expires_at is None else min(record.expires_at, when)
    assert passes_key(record, now) or not passes_key(replace(record, expires_at=earlier), now)
    assert not passes_key(replace(record, revoked_at=when), now)
    assert not passes_key(replace(record, owner=replace(record.owner, is_disabled=True)), now)


def test_a_good_session_passes() -> None:
    """A living session of an enabled owner is handed back as it came, of either kind."""
    assert check_session(SESSION, LIMITS, now=NOW) is SESSION
    token = replace(SESSION, kind=SessionKind.TOKEN)
    assert check_session(token, LIMITS, now=NOW) is token


def test_an_unknown_session_is_refused_without_a_word() -> None:
    """For a session that matched nothing the caller may be told no reason."""
    refusal = refusal_of_session(None)
    assert (refusal.reason, refusal.secret_matched) == (Reason.UNKNOWN, False)


@pytest.mark.parametrize("kind", SessionKind)
@pytest.mark.parametrize(("late_by", "dead"), AROUND)
def test_a_session_dies_at_exactly_its_expiry(kind: SessionKind, late_by: timedelta, dead: bool) -> None:
    """A session of either kind passes one millisecond before `expires_at`, not at it or after it."""
    record = replace(SESSION, kind=kind, expires_at=NOW)
    if dead:
        refusal = refusal_of_session(record, NOW + late_by)
        assert (refusal.reason, refusal.secret_matched) == (Reason.EXPIRED, True)
    else:
        assert passes_session(record, NOW + late_by)


@pytest.mark.parametrize(("late_by", "dead"), AROUND)
def test_a_browser_session_dies_at_exactly_its_absolute_limit(late_by: timedelta, dead: bool) -> None:
    """However busy, a browser's session ends when it is as old as the absolute limit."""
    record = replace(SESSION, kind=SessionKind.BROWSER, created_at=NOW - LIMITS.absolute)
    at = NOW + late_by
    if dead:
        refusal = refusal_of_session(replace(record, last_seen_at=at), at)
        assert (refusal.reason, refusal.secret_matched) == (Reason.EXPIRED, True)
    else:
        assert passes_session(replace(record, last_seen_at=at), at)


@pytest.mark.parametrize(("late_by", "dead"), AROUND)
def test_a_browser_session_dies_at_exactly_its_idle_limit(late_by: timedelta, dead: bool) -> None:
    """A browser that was away for the idle limit has to sign in again."""
    record = replace(SESSION, created_at=NOW - timedelta(hours=2), last_seen_at=NOW - LIMITS.idle)
    if dead:
        refusal = refusal_of_session(record, NOW + late_by)
        assert (refusal.reason, refusal.secret_matched) == (Reason.EXPIRED, True)
    else:
        assert passes_session(record, NOW + late_by)


def test_a_token_session_has_no_idle_limit() -> None:
    """A token is not renewed by use, so that not using it does not end it."""
    away = NOW - 3 * LIMITS.idle
    record = replace(SESSION, kind=SessionKind.TOKEN, created_at=away, last_seen_at=away)
    assert passes_session(record, NOW)


def test_a_token_lives_as_long_as_it_was_told_to() -> None:
    """The limits of browsers do not cut short a token: it ends at `expires_at`, which its answer named."""
    old = NOW - LIMITS.absolute - timedelta(hours=1)
    record = replace(
        SESSION, kind=SessionKind.TOKEN, created_at=old, last_seen_at=old, expires_at=NOW + timedelta(hours=1)
    )
    assert passes_session(record, NOW)
    assert refusal_of_session(record, record.expires_at).reason is Reason.EXPIRED


def test_an_ended_session_is_dead() -> None:
    """A session that was signed out is refused, whatever the clock says of when."""
    for ended_at in (NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)):
        refusal = refusal_of_session(replace(SESSION, ended_at=ended_at))
        assert (refusal.reason, refusal.secret_matched) == (Reason.REVOKED, True)


def test_a_disabled_owners_session_is_dead() -> None:
    """While its owner is disabled, no session of theirs passes."""
    refusal = refusal_of_session(replace(SESSION, owner=replace(OWNER, is_disabled=True)))
    assert (refusal.reason, refusal.secret_matched) == (Reason.OWNER_DISABLED, True)


@given(SESSIONS, TIMES)
def test_a_session_passes_exactly_if_nothing_speaks_against_it(
    record: SessionForVerification, now: datetime
) -> None:
    """Nothing ended, expired, too old, idle or disabled passes, and everything else does."""
    dead = (
        record.ended_at is not None
        or now >= record.expires_at
        or (record.kind is SessionKind.BROWSER and now - record.created_at >= LIMITS.absolute)
        or (record.kind is SessionKind.BROWSER and now - record.last_seen_at >= LIMITS.idle)
        or record.owner.is_disabled
    )
    assert passes_session(record, now) is not dead


@given(SESSIONS, TIMES, st.timedeltas(timedelta(), timedelta(days=2000)))
def test_a_session_once_refused_stays_refused(
    record: SessionForVerification, now: datetime, later: timedelta
) -> None:
    """Time alone never brings a session back."""
    if not passes_session(record, now):
        assert not passes_session(record, now + later)


def test_a_time_without_a_zone_decides_nothing() -> None:
    """A local time, which would shift every expiry by hours, is an error and never a yes."""
    local = NOW.replace(tzinfo=None)
    with pytest.raises(TypeError):
        check_api_key(replace(KEY, expires_at=NOW), now=local, source=None)
    with pytest.raises(TypeError):
        check_session(SESSION, LIMITS, now=local)


@pytest.mark.parametrize(
    ("principal", "method", "key_id", "project_id"),
    [
        (principal_of_key(KEY), AuthMethod.API_KEY, 42, None),
        (principal_of_key(replace(KEY, project_id=3)), AuthMethod.API_KEY, 42, 3),
        (principal_of_key_token(CLAIMS, KEY), AuthMethod.ACCESS_TOKEN, 42, None),
        (principal_of_key_token(CLAIMS, replace(KEY, project_id=3)), AuthMethod.ACCESS_TOKEN, 42, 3),
        (principal_of_session_token(SESSION_CLAIMS, SESSION), AuthMethod.ACCESS_TOKEN, None, None),
        (principal_of_session(SESSION), AuthMethod.SESSION, None, None),
    ],
    ids=["key", "key of a project", "key token", "token of a key of a project", "session token", "session"],
)
def test_a_principal_is_the_owner_whole(
    principal: Principal, method: AuthMethod, key_id: int | None, project_id: int | None
) -> None:
    """Every way in gives the whole owner, how they came in, the key they came by, and its project."""
    assert principal == Principal(
        user_id=7,
        userid="ada@example.org",
        iamid="bim",
        name="Ada",
        permissions=frozenset({"GOVERNANCE", "CREATE_PROJECT"}),
        scopes=None,
        method=method,
        key_id=key_id,
        project_id=project_id,
        withheld=frozenset(),
        jkt=None,
        requests=None,
        impersonator=None,
        credential=principal.credential,
    )


TOKEN_END = NOW + timedelta(seconds=600)
ROTATED = replace(
    KEY,
    secret_number=3,
    former_number=1,
    former_ends_at=NOW + timedelta(seconds=5),
)
"""Secret 2 was in an answer that was lost."""


def of_secret(number: int) -> AccessTokenClaims:
    return msgspec.structs.replace(CLAIMS, kt_secret=number)


@pytest.mark.parametrize(
    ("principal", "credential"),
    [
        (principal_of_key(replace(KEY, secret_number=3)), PresentedCredential(None, secret_number=3)),
        (
            principal_of_key(replace(KEY, expires_at=TOKEN_END)),
            PresentedCredential(TOKEN_END, secret_number=0),
        ),
        (
            principal_of_key(replace(ROTATED, expires_at=TOKEN_END, is_by_former_secret=True)),
            PresentedCredential(NOW + timedelta(seconds=5), is_former_secret=True, secret_number=1),
        ),
        (
            principal_of_key(replace(ROTATED, expires_at=NOW, is_by_former_secret=True)),
            PresentedCredential(NOW, is_former_secret=True, secret_number=1),
        ),
        (principal_of_key(ROTATED), PresentedCredential(None, secret_number=3)),
        (
            principal_of_key_token(CLAIMS, KEY),
            PresentedCredential(TOKEN_END, jti="j", issued_at=NOW, epoch=0, secret_number=0),
        ),
        (
            principal_of_key_token(CLAIMS, replace(KEY, expires_at=NOW + timedelta(seconds=9))),
            PresentedCredential(NOW + timedelta(seconds=9), jti="j", issued_at=NOW, epoch=0, secret_number=0),
        ),
        (
            principal_of_key_token(of_secret(3), ROTATED),
            PresentedCredential(TOKEN_END, jti="j", issued_at=NOW, epoch=0, secret_number=3),
        ),
        (
            principal_of_key_token(of_secret(1), ROTATED),
            PresentedCredential(
                NOW + timedelta(seconds=5),
                is_former_secret=True,
                jti="j",
                issued_at=NOW,
                epoch=0,
                secret_number=1,
            ),
        ),
        (
            principal_of_session_token(SESSION_CLAIMS, SESSION),
            PresentedCredential(TOKEN_END, session_id=5, jti="j", issued_at=NOW),
        ),
        (
            principal_of_session_token(
                SESSION_CLAIMS, replace(SESSION, expires_at=NOW + timedelta(seconds=9))
            ),
            PresentedCredential(NOW + timedelta(seconds=9), session_id=5, jti="j", issued_at=NOW),
        ),
        (
            principal_of_session(SESSION),
            PresentedCredential(NOW + timedelta(hours=12), session_id=5, secret_number=0),
        ),
    ],
)
def test_a_principal_says_which_credential_was_presented(
    principal: Principal, credential: PresentedCredential
) -> None:
    """What a caller came in with is known with them: its end is the earliest of all that end it."""
    assert principal.credential == credential
    assert principal.credential.secret_number == credential.secret_number
    assert principal.credential.epoch == credential.epoch


def test_a_principal_says_what_its_credential_is_bound_to() -> None:
    """A bound key, a bound token of any key, and nothing else, carry the thumbprint (RFC 9449)."""
    bound_key, bound_token = replace(KEY, restrictions=Restrictions(jkt="jkt")), bound_to("jkt")
    assert principal_of_key(bound_key).jkt == "jkt"
    assert principal_of_key_token(bound_token, bound_key).jkt == "jkt"
    assert principal_of_key_token(bound_token, KEY).jkt == "jkt"
    assert principal_of_key(KEY).jkt is principal_of_key_token(CLAIMS, KEY).jkt is None


@pytest.mark.parametrize("jkt", [None, "other", ""])
def test_a_token_of_a_bound_key_is_bound_alike(jkt: str | None) -> None:
    """A token that is bound to nothing, or to another key pair than its key, was never given."""
    with pytest.raises(CredentialRefused) as refused:
        principal_of_key_token(bound_to(jkt), replace(KEY, restrictions=Restrictions(jkt="jkt")))
    assert (refused.value.reason, refused.value.secret_matched) == (Reason.CLAIMS, False)


@pytest.mark.parametrize(
    ("bound_to", "proved", "is_good"),
    [
        (None, None, True),
        (None, "jkt", True),
        ("jkt", "jkt", True),
        ("jkt", None, False),
        ("jkt", "other", False),
        ("jkt", "", False),
    ],
)
def test_what_is_bound_needs_a_proof_of_its_key_pair(
    bound_to: str | None, proved: str | None, is_good: bool
) -> None:
    """What is bound passes with its own key pair alone; the holder of the whole secret is told."""
    principal = principal_of_key(replace(KEY, restrictions=Restrictions(jkt=bound_to)))
    if is_good:
        check_sender(principal, proved)
        return
    with pytest.raises(CredentialRefused) as refused:
        check_sender(principal, proved)
    assert (refused.value.reason, refused.value.secret_matched) == (Reason.SENDER, True)


def bound_to(jkt: str | None) -> AccessTokenClaims:
    cnf = None if jkt is None else Confirmation(jkt)
    return AccessTokenClaims(**fields(CLAIMS) | {"cnf": cnf})


@pytest.mark.parametrize("sub", ["8", "07", " 7", "7 ", "", "ada@example.org", "7.0", "\u0667", "-7", "+7"])
def test_a_token_of_another_owner_is_refused(sub: str) -> None:
    """A token names its owner by the exact decimal id, and the record must be that owner's."""
    with pytest.raises(CredentialRefused) as by_key:
        principal_of_key_token(AccessTokenClaims(**fields(CLAIMS) | {"sub": sub}), KEY)
    with pytest.raises(CredentialRefused) as by_session:
        principal_of_session_token(AccessTokenClaims(**fields(SESSION_CLAIMS) | {"sub": sub}), SESSION)
    for refusal in (by_key.value, by_session.value):
        assert (refusal.reason, refusal.secret_matched) == (Reason.CLAIMS, False)


def fields(claims: AccessTokenClaims) -> dict[str, Any]:
    return {name: getattr(claims, name) for name in claims.__struct_fields__}


def with_scope(claims: AccessTokenClaims, scope: str) -> AccessTokenClaims:
    return AccessTokenClaims(**fields(claims) | {"scope": scope})


@given(st.none() | SCOPE_SETS, SCOPE_SETS)
def test_a_token_is_never_wider_than_its_key(of_key: frozenset[str] | None, of_token: frozenset[str]) -> None:
    """T15: a token opens what both it and its key name, where one is not narrowed what the other names.

    Where that is nothing at all, it opens nothing.
    """
    claims = with_scope(CLAIMS, " ".join(sorted(of_token)))
    narrowed = [named for named in (of_key, of_token or None) if named is not None]
    expected = frozenset.intersection(*narrowed) if narrowed else None
    try:
        scopes = principal_of_key_token(claims, replace(KEY, restrictions=Restrictions(scopes=of_key))).scopes
    except CredentialRefused:
        scopes = frozenset()
    assert scopes == expected


def test_a_token_that_shares_no_scope_with_its_key_opens_nothing() -> None:
    """T15: no common scope is an empty set, which opens nothing, and not None, which would open all."""
    record = replace(KEY, restrictions=Restrictions(scopes=frozenset({"write"})))
    with pytest.raises(CredentialRefused):
        principal_of_key_token(with_scope(CLAIMS, "read"), record)


def test_a_key_without_any_scope_gives_tokens_without_any() -> None:
    """T15: a key narrowed to nothing opens nothing, and no token of it does."""
    nothing = replace(KEY, restrictions=Restrictions(scopes=frozenset()))
    for principal in (lambda: principal_of_key_token(CLAIMS, nothing), lambda: principal_of_key(nothing)):
        with pytest.raises(CredentialRefused):
            principal()


@pytest.mark.parametrize("scope", [" ", "\t", "\u00a0"])
def test_a_scope_of_white_space_does_not_open_everything(scope: str) -> None:
    """Only the empty scope means "not narrowed": another text that names no scope never does."""
    try:
        principal = principal_of_key_token(with_scope(CLAIMS, scope), KEY)
    except CredentialRefused:
        return
    assert principal.scopes is not None


@pytest.mark.parametrize("space", ["\u00a0", "\x1f", "\n"])
def test_only_a_space_parts_two_scopes(space: str) -> None:
    """RFC 6749, section 3.3: scopes are parted by U+0020 alone, so nothing else makes one scope of two."""
    try:
        principal = principal_of_key_token(with_scope(CLAIMS, f"read{space}admin"), KEY)
    except CredentialRefused:
        return
    assert principal.scopes is not None
    assert "admin" not in principal.scopes


def test_a_session_token_is_never_wider_than_it_says() -> None:
    """T15: a token for a password that names scopes opens those, not all that its owner may."""
    principal = principal_of_session_token(with_scope(SESSION_CLAIMS, "read"), SESSION)
    assert principal.scopes == frozenset({"read"})


def passes_from(sources: list[str] | None, source: str | None) -> bool:
    """Return whether a key that is bound to these networks passes from there; a refusal says no other why."""
    networks = None if sources is None else tuple(map(read_network, sources))
    bound = replace(KEY, restrictions=Restrictions(networks=networks))
    try:
        return check_api_key(bound, now=NOW, source=source) is bound
    except CredentialRefused as refused:
        told = (refused.reason, refused.key_id, refused.secret_matched)
        return told != (Reason.SOURCE, 42, True)


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("192.0.2.0/24", ["192.0.2.0", "192.0.2.255"], ["192.0.1.255", "192.0.3.0"]),
        ("192.0.2.64/26", ["192.0.2.64", "192.0.2.127"], ["192.0.2.63", "192.0.2.128"]),
        ("192.0.2.6/31", ["192.0.2.6", "192.0.2.7"], ["192.0.2.5", "192.0.2.8"]),
        ("192.0.2.7/32", ["192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
        ("0.0.0.0/1", ["0.0.0.0", "127.255.255.255"], ["128.0.0.0", "255.255.255.255"]),
        ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "::1"]),
        (
            "2001:db8::/32",
            ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"],
        ),
        ("2001:db8::7/128", ["2001:db8::7"], ["2001:db8::6", "2001:db8::8"]),
        ("::/0", ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["0.0.0.0", "::ffff:192.0.2.1"]),
    ],
)
def test_a_bound_key_passes_exactly_from_its_network(
    network: str, inside: list[str], outside: list[str]
) -> None:
    """The first and the last address of a network may use the key; the ones before and after may not."""
    assert [source for source in inside if not passes_from([network], source)] == []
    assert [source for source in outside if passes_from([network], source)] == []


def test_an_address_is_the_same_in_other_clothes() -> None:
    """An IPv4 address that a dual socket shows as IPv6 is inside the network of IPv4."""
    assert passes_from(["192.0.2.0/24"], "::ffff:192.0.2.255")
    assert passes_from(["192.0.2.0/24"], "::ffff:c000:2ff")
    assert not passes_from(["192.0.2.0/24"], "::ffff:192.0.3.0")
    assert not passes_from(["192.0.2.0/24"], "::192.0.2.1")


def test_one_of_several_networks_is_enough() -> None:
    """A key that is bound to several networks passes from each of them, and from nowhere between."""
    networks = ["192.0.2.0/25", "198.51.100.0/24", "2001:db8::/32"]
    assert all(passes_from(networks, at) for at in ("192.0.2.127", "198.51.100.0", "2001:db8::1"))
    assert not any(passes_from(networks, at) for at in ("192.0.2.128", "198.51.99.255", "2001:db9::1"))


@pytest.mark.parametrize(
    "source", [None, "", "unknown", "localhost", "a socket", "192.0.2", "192.0.2.1%eth0"]
)
def test_an_unknown_source_is_in_no_network(source: str | None) -> None:
    """A bound key is refused from where nobody knows, even if bound to everywhere; an unbound one is not."""
    assert not passes_from(["0.0.0.0/0", "::/0"], source)
    assert passes_from(None, source)


def test_a_key_bound_to_no_network_passes_from_nowhere() -> None:
    """An empty list of networks is not the same as none."""
    assert not passes_from([], "192.0.2.1")


def test_a_source_excuses_nothing() -> None:
    """From inside its networks a revoked, expired or disabled key is refused for what it is."""
    bound = replace(KEY, restrictions=Restrictions(networks=(read_network("192.0.2.0/24"),)))
    for record, reason in (
        (replace(bound, revoked_at=NOW), Reason.REVOKED),
        (replace(bound, expires_at=NOW), Reason.EXPIRED),
        (replace(bound, owner=replace(OWNER, is_disabled=True)), Reason.OWNER_DISABLED),
    ):
        for source in ("192.0.2.1", "198.51.100.1", None):
            with pytest.raises(CredentialRefused) as refused:
                check_api_key(record, now=NOW, source=source)
            assert refused.value.reason is reason


# Tokens by when they were issued


@pytest.mark.parametrize("of_key", [0, 3])
@pytest.mark.parametrize("of_owner", [0, 4])
@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_fault_a6_a_token_of_an_earlier_epoch_is_dead(of_key: int, of_owner: int, difference: int) -> None:
    """A token lives in the epoch that it was made in, and in one that the reader has not heard of yet."""
    record = replace(KEY, epoch=of_key, owner=replace(OWNER, epoch=of_owner))
    claims = msgspec.structs.replace(CLAIMS, kt_epoch=of_key + of_owner + difference)
    if difference >= 0:
        assert principal_of_key_token(claims, record).key_id == KEY.key_id
        return
    with pytest.raises(CredentialRefused) as refused:
        principal_of_key_token(claims, record)
    assert (refused.value.reason, refused.value.secret_matched) == (Reason.REVOKED, True)


@pytest.mark.parametrize("number", [0, 2, 4])
@pytest.mark.parametrize("record", [ROTATED, replace(KEY, secret_number=3)], ids=["rotated", "replaced"])
def test_a_token_of_any_other_secret_is_dead(record: KeyForVerification, number: int) -> None:
    """A token lives by the secret that the key has, or by the one that it had last (fault B10)."""
    with pytest.raises(CredentialRefused) as refused:
        principal_of_key_token(of_secret(number), record)
    assert (refused.value.reason, refused.value.secret_matched) == (Reason.REVOKED, True)


@given(st.lists(st.booleans(), max_size=30), st.data())
def test_fault_a6_no_change_of_key_or_owner_hides_another(is_of_key: list[bool], data: st.DataObject) -> None:
    """However changes of the key and of its owner follow each other, a token survives none of them (R8)."""
    made_after = data.draw(st.integers(0, len(is_of_key)))

    def after(changes: list[bool]) -> KeyForVerification:
        owner = replace(OWNER, epoch=changes.count(False))
        return replace(KEY, epoch=changes.count(True), owner=owner)

    claims = msgspec.structs.replace(CLAIMS, kt_epoch=after(is_of_key[:made_after]).token_epoch)
    if made_after == len(is_of_key):
        principal_of_key_token(claims, after(is_of_key))
        return
    with pytest.raises(CredentialRefused):
        principal_of_key_token(claims, after(is_of_key))
