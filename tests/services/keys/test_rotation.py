"""Rotation: the same key, a new secret, and the former one for as long as was chosen (K10)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import structs
from sqlalchemy import select

from keyturn.composition import Services
from keyturn.core.audit import Target
from keyturn.core.lifetimes import Lifetime
from keyturn.core.principal import Principal
from keyturn.errors import Conflict, CredentialRefused, InvalidInput, NotFound, Reason
from keyturn.services.keys.keys import CreatedKey
from keyturn.services.keys.rotation import MAX_OVERLAP
from keyturn.store.database.schema import past_rotation
from tests.apis import leave, new_group, register
from tests.conftest import Opener
from tests.fakes import Clock
from tests.people import HERE, add_person, caller, is_accepted, last_rows, new_key, person
from tests.store.crowds import all_at_once

HOUR = timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)
NONE = timedelta(0)


def rotate(services: Services, who: Principal, made: CreatedKey, **given: object) -> CreatedKey:
    values: dict[str, object] = {"overlap": NONE}
    return services.key_rotation.rotate_own(who, made.record.key_id, HERE, **(values | given))  # type: ignore[arg-type]


def exchanged(services: Services, secret: str) -> str:
    return services.exchange.exchange(in_header=[secret.encode()], in_body=None, origin=HERE).token


def refusal(services: Services, secret: str) -> Reason:
    with pytest.raises(CredentialRefused) as refused:
        caller(services, secret)
    return refused.value.reason


def test_a_rotated_key_is_the_same_key(services: Services, bob: Principal, clock: Clock) -> None:
    """Id, name, expiry, scopes and time of making stay; the secret, and how it is shown, are new."""
    made = new_key(services, bob, name="laptop", lifetime=Lifetime(clock.now + timedelta(days=3)))
    clock.advance(HOUR)

    rotated = rotate(services, bob, made)

    changed = {"masked": rotated.record.masked, "former_secret_ends_at": clock.now}
    assert rotated.record == structs.replace(made.record, **changed)
    assert rotated.record.masked != made.record.masked
    assert rotated.record == services.keys.get_own(bob, made.record.key_id)
    assert caller(services, rotated.secret).key_id == made.record.key_id


def test_without_overlap_secret_and_tokens_end_at_once(services: Services, bob: Principal) -> None:
    """A secret that leaked is dead when the rotation is done, with every token made from the key."""
    made = new_key(services, bob)
    token = exchanged(services, made.secret)
    assert is_accepted(services, made.secret)

    rotated = rotate(services, bob, made)

    assert refusal(services, made.secret) is Reason.EXPIRED
    assert refusal(services, token) is Reason.REVOKED
    assert is_accepted(services, rotated.secret)
    assert is_accepted(services, exchanged(services, rotated.secret))


@pytest.mark.parametrize("overlap", [MILLISECOND, HOUR, MAX_OVERLAP])
@pytest.mark.parametrize("used_first", ["former", "new"])
def test_a_former_secret_ends_at_its_instant(
    services: Services, bob: Principal, clock: Clock, overlap: timedelta, used_first: str
) -> None:
    """Both secrets work during the overlap, in whatever order they are used; then the new one alone does."""
    made = new_key(services, bob)
    rotated = rotate(services, bob, made, overlap=overlap)

    secrets = [made.secret, rotated.secret] if used_first == "former" else [rotated.secret, made.secret]
    clock.advance(overlap - MILLISECOND)
    assert all(is_accepted(services, secret) for secret in secrets)
    clock.advance(MILLISECOND)

    assert refusal(services, made.secret) is Reason.EXPIRED
    assert is_accepted(services, rotated.secret)


def test_other_processes_refuse_a_former_secret_too(
    services: Services, bob: Principal, clock: Clock, reopen: Opener
) -> None:
    """A process that remembers both secrets refuses the former one at its end, without being told."""
    other = reopen()
    made = new_key(services, bob)
    rotated = rotate(services, bob, made, overlap=HOUR)
    assert is_accepted(other, made.secret)
    assert is_accepted(other, rotated.secret)

    clock.advance(HOUR)

    assert not is_accepted(other, made.secret)
    assert is_accepted(other, rotated.secret)


def test_other_processes_hear_of_a_rotation(services: Services, bob: Principal, reopen: Opener) -> None:
    """A process that remembers the old secret refuses it at the next call after a rotation."""
    other = reopen()
    made = new_key(services, bob)
    assert is_accepted(other, made.secret)

    rotated = rotate(services, bob, made)

    assert not is_accepted(other, made.secret)
    assert is_accepted(other, rotated.secret)


def test_tokens_live_on_with_an_overlap(services: Services, bob: Principal) -> None:
    """What was made from the key before a rotation with overlap goes on: the key lives."""
    made = new_key(services, bob)
    token = exchanged(services, made.secret)

    rotate(services, bob, made, overlap=HOUR)

    assert is_accepted(services, token)


def test_a_token_for_a_former_secret_ends_with_it(services: Services, bob: Principal, clock: Clock) -> None:
    """Nobody carries a former secret beyond its end by exchanging it shortly before."""
    made = new_key(services, bob)
    rotated = rotate(services, bob, made, overlap=timedelta(minutes=10))
    former, new = exchanged(services, made.secret), exchanged(services, rotated.secret)
    assert is_accepted(services, former)

    clock.advance(timedelta(minutes=10))

    assert not is_accepted(services, former)
    assert is_accepted(services, new)


def test_a_key_never_outlives_its_expiry_by_rotation(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """Neither secret works beyond the expiry of the key, however long the overlap is."""
    made = new_key(services, bob, lifetime=Lifetime(clock.now + HOUR))
    rotated = rotate(services, bob, made, overlap=MAX_OVERLAP)

    clock.advance(HOUR)

    assert not is_accepted(services, made.secret)
    assert not is_accepted(services, rotated.secret)


def test_a_second_rotation_ends_the_secret_before(services: Services, bob: Principal) -> None:
    """Of three secrets the first ends at once when the third comes, whatever it was promised."""
    first = new_key(services, bob)
    second = rotate(services, bob, first, overlap=MAX_OVERLAP)
    third = rotate(services, bob, first, overlap=HOUR)

    accepted = [is_accepted(services, one.secret) for one in (first, second, third)]

    assert accepted == [False, True, True]
    assert refusal(services, first.secret) is Reason.UNKNOWN


def test_a_revoke_ends_both_secrets(services: Services, bob: Principal) -> None:
    """A key that is revoked during an overlap is dead under either secret, and gets no third."""
    made = new_key(services, bob)
    rotated = rotate(services, bob, made, overlap=HOUR)
    assert is_accepted(services, made.secret)

    services.keys.revoke_own(bob, made.record.key_id, HERE)

    assert {refusal(services, made.secret), refusal(services, rotated.secret)} == {Reason.REVOKED}
    listed = services.keys.get_own(bob, made.record.key_id)
    assert listed.former_secret_ends_at == listed.revoked_at, "nothing says that the old secret works on"
    with pytest.raises(Conflict):
        rotate(services, bob, made)


def test_a_key_that_expires_takes_its_old_secret_along(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """An overlap beyond the expiry is told to end with the key."""
    made = new_key(services, bob, lifetime=Lifetime(clock.now + HOUR))
    rotate(services, bob, made, overlap=2 * HOUR)
    listed = services.keys.get_own(bob, made.record.key_id)
    assert listed.former_secret_ends_at == listed.expires_at == clock.now + HOUR


def test_a_former_secret_revokes_its_key(services: Services, bob: Principal) -> None:
    """Whoever finds a former secret can end the key with it, as with the new one (RFC 7009)."""
    made = new_key(services, bob)
    rotated = rotate(services, bob, made, overlap=HOUR)
    form = {"token": made.secret, "client_id": f"key-{made.record.key_id}", "client_secret": rotated.secret}

    services.oauth.revoke(form, [], HERE)

    assert not is_accepted(services, rotated.secret)


def test_a_retry_replaces_the_lost_secret(services: Services, bob: Principal) -> None:
    """With the same Idempotency-Key the lost secret is void, and the former one keeps its overlap (D5)."""
    made = new_key(services, bob)
    lost = rotate(services, bob, made, overlap=HOUR, idempotency_key="one")
    before = len(last_rows(services, 0))

    # The answer was lost: the former secret is the only one that its holder knows.
    again = rotate(services, caller(services, made.secret), made, overlap=HOUR, idempotency_key="one")

    accepted = [is_accepted(services, one.secret) for one in (made, lost, again)]
    assert accepted == [True, False, True]
    assert again.record.former_secret_ends_at == lost.record.former_secret_ends_at
    assert [row.action for row in last_rows(services, before)] == ["ApiKeyReplaced"]


def test_a_late_retry_changes_nothing(services: Services, bob: Principal, clock: Clock) -> None:
    """A retry that comes after the next rotation is a conflict: it ends no secret that others use by now."""
    made = new_key(services, bob)
    rotate(services, bob, made, overlap=HOUR, idempotency_key="one")
    clock.advance(HOUR)
    rotate(services, bob, made, overlap=HOUR, idempotency_key="two")
    with pytest.raises(Conflict):
        rotate(services, bob, made, overlap=HOUR, idempotency_key="one")
    again = rotate(services, bob, made, overlap=HOUR, idempotency_key="two")
    assert is_accepted(services, again.secret)

    last = rotate(services, bob, made, overlap=HOUR)

    for late in ("one", "two"):
        with pytest.raises(Conflict):
            rotate(services, bob, made, overlap=HOUR, idempotency_key=late)
    assert is_accepted(services, again.secret)
    assert is_accepted(services, last.secret)


def test_a_late_retry_is_known_for_a_day(services: Services, bob: Principal, clock: Clock) -> None:
    """Until the last instant of its day a rotation is not done again, and of another key it says nothing."""
    made, other = new_key(services, bob), new_key(services, bob)
    rotate(services, bob, made, idempotency_key="one")
    rotate(services, bob, made)
    assert is_accepted(services, rotate(services, bob, other, idempotency_key="one").secret)
    clock.advance(timedelta(hours=24) - MILLISECOND)
    bob = person(services)
    with pytest.raises(Conflict):
        rotate(services, bob, made, idempotency_key="one")
    clock.advance(MILLISECOND)
    assert is_accepted(services, rotate(services, bob, made, idempotency_key="one").secret)
    with services.store._database.reading() as connection:
        kept = connection.execute(
            select(past_rotation).where(past_rotation.c.key_id == made.record.key_id)
        ).all()
    assert [row.at for row in kept] == [clock.now]


def test_a_form_that_is_sent_twice_rotates_once(services: Services, bob: Principal) -> None:
    """Where the first answer was seen, the second one is a conflict and changes nothing."""
    made = new_key(services, bob)
    once = {"overlap": HOUR, "idempotency_key": "form", "replaces_on_retry": False}
    rotated = rotate(services, bob, made, **once)
    with pytest.raises(Conflict):
        rotate(services, bob, made, **once)
    assert is_accepted(services, rotated.secret)
    assert is_accepted(services, made.secret)


def test_an_idempotency_key_means_a_retry_for_a_day(services: Services, bob: Principal, clock: Clock) -> None:
    """The same Idempotency-Key a day later is a rotation of its own, with an overlap of its own."""
    made = new_key(services, bob)
    second = rotate(services, bob, made, overlap=HOUR, idempotency_key="monthly")
    clock.advance(timedelta(hours=24))

    third = rotate(services, person(services), made, overlap=HOUR, idempotency_key="monthly")

    assert is_accepted(services, second.secret)
    assert is_accepted(services, third.secret)


def test_a_rotation_is_written_down(services: Services, bob: Principal) -> None:
    """The audit log says who rotated which key with which overlap, and holds no secret."""
    made = new_key(services, bob, name="laptop")
    before = len(last_rows(services, 0))

    rotated = rotate(services, bob, made, overlap=HOUR)

    (row,) = last_rows(services, before)
    assert (row.action, row.target_type, row.target_id) == (
        "ApiKeyRotated",
        Target.API_KEY,
        str(made.record.key_id),
    )
    assert row.details == {"name": "laptop", "userId": bob.user_id, "overlapSeconds": 3600}
    assert rotated.secret not in repr(row) + repr(rotated)


@pytest.mark.parametrize("overlap", [-MILLISECOND, MAX_OVERLAP + MILLISECOND])
def test_an_overlap_has_its_bounds(services: Services, bob: Principal, overlap: timedelta) -> None:
    """No more than a day, and nothing negative: the key stays as it was."""
    made = new_key(services, bob)
    with pytest.raises(InvalidInput) as refused:
        rotate(services, bob, made, overlap=overlap)
    assert refused.value.field == "overlapSeconds"
    assert is_accepted(services, made.secret)


def test_nobody_rotates_what_is_another_s(services: Services, bob: Principal, admin: Principal) -> None:
    """A key of somebody else is not found, not even by an administrator: they would hold its secret (A2)."""
    add_person(services, "eve")
    made = new_key(services, bob)
    for who in (person(services, "eve"), admin):
        with pytest.raises(NotFound):
            rotate(services, who, made)
    for absent in (made.record.key_id + 1, 0, -1, 2**63):
        with pytest.raises(NotFound):
            services.key_rotation.rotate_own(bob, absent, HERE, overlap=NONE)
    assert is_accepted(services, made.secret)


def test_a_key_rotates_itself(services: Services, bob: Principal) -> None:
    """Automation needs no person: a key gives itself a new secret."""
    made = new_key(services, bob)
    rotated = rotate(services, caller(services, made.secret), made)
    assert is_accepted(services, rotated.secret)


def test_a_narrowed_key_rotates_itself_alone(services: Services, bob: Principal) -> None:
    """A key with scopes gets a new secret for the same scopes, and finds no other key (A3)."""
    other = new_key(services, bob)
    narrow = narrowed_key(services, bob, "orders:read")
    who = caller(services, narrow.secret)

    rotated = rotate(services, who, narrow)

    assert caller(services, rotated.secret).scopes == frozenset({"orders:read"})
    with pytest.raises(NotFound):
        rotate(services, caller(services, rotated.secret), other)


def test_a_key_rotates_itself_whatever_is_withheld(
    services: Services, bob: Principal, admin: Principal
) -> None:
    """Automation goes on when its owner leaves a group: the key keeps its scopes, those withheld too."""
    group = new_group(services, admin, "writers", "bob")
    register(services, "orders", [group])
    made = new_key(services, bob, scopes=["orders:read", "orders:write"])
    token = exchanged(services, made.secret)
    leave(services, admin, group, bob.user_id)
    who = caller(services, made.secret)
    assert who.scopes == {"orders:read"}

    rotated = rotate(services, who, made, overlap=HOUR)

    assert rotated.record.restrictions.scopes == {"orders:read", "orders:write"}
    assert caller(services, rotated.secret).scopes == {"orders:read"}
    with pytest.raises(Conflict):  # A token that covers less looks the same.
        rotate(services, caller(services, token), made)


def narrowed_key(services: Services, who: Principal, *scopes: str) -> CreatedKey:
    """Make a key for these scopes alone, as a token for them does."""
    wide = new_key(services, who)
    narrow = structs.replace(caller(services, wide.secret), scopes=frozenset(scopes))
    return new_key(services, narrow)


def test_a_narrowed_token_does_not_rotate_its_key(services: Services, bob: Principal) -> None:
    """A token for some scopes, of a key for all, wins no secret for all (A3)."""
    made = new_key(services, bob)
    form = {
        "grant_type": "client_credentials",
        "client_id": f"key-{made.record.key_id}",
        "client_secret": made.secret,
        "scope": "orders:read",
    }
    token = services.oauth.grant(form, [], HERE).issued.token

    with pytest.raises(Conflict):
        rotate(services, caller(services, token), made)

    assert is_accepted(services, made.secret)


def test_an_ended_key_gets_no_new_secret(services: Services, bob: Principal, clock: Clock) -> None:
    """A key that has expired does not come back to life."""
    made = new_key(services, bob, lifetime=Lifetime(clock.now + HOUR))
    clock.advance(HOUR)
    with pytest.raises(Conflict):
        rotate(services, bob, made)


def test_a_key_that_is_revoked_meanwhile_rotates_nothing(services: Services, bob: Principal) -> None:
    """A caller whose key was revoked after it was looked at wins no secret (R2)."""
    made = new_key(services, bob)
    who = caller(services, made.secret)
    services.keys.revoke_own(bob, made.record.key_id, HERE)
    with pytest.raises(Conflict):
        rotate(services, who, made)
    assert not is_accepted(services, made.secret)


@pytest.mark.parametrize("by_itself", [False, True])
def test_of_many_rotations_at_once_one_secret_is_left(
    services: Services, bob: Principal, by_itself: bool
) -> None:
    """However many rotate a key at once without overlap, exactly one of all its secrets works after that."""
    made = new_key(services, bob)
    who = caller(services, made.secret) if by_itself else bob

    outcomes = all_at_once(50, lambda _: rotate(services, who, made))

    rotated = [one for one in outcomes if isinstance(one, CreatedKey)]
    refused = [one for one in outcomes if not isinstance(one, CreatedKey)]
    # Whoever is slower than a rotation without overlap has no secret any more.
    assert all(isinstance(one, (Conflict, CredentialRefused)) for one in refused), refused
    assert rotated
    assert sum(is_accepted(services, one.secret) for one in (made, *rotated)) == 1


def test_a_retried_creation_ends_former_secrets_too(services: Services, bob: Principal) -> None:
    """A key whose creation is retried after a rotation has one secret: the newest."""
    made = new_key(services, bob, idempotency_key="make")
    rotated = rotate(services, bob, made, overlap=HOUR)

    newest = new_key(services, bob, idempotency_key="make")

    accepted = [is_accepted(services, one.secret) for one in (made, rotated, newest)]
    assert accepted == [False, False, True]
