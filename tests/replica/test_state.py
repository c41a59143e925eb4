"""The copy by itself: what a full copy did not tell of is gone, also after some that were cut off."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from keyturn.core.access_token import generate_signing_key
from keyturn.replica import state as copy_module
from keyturn.replica.signing_keys import FollowedKeys
from keyturn.replica.state import Replica
from keyturn.verifying.verdict_cache import DependencyKind
from tests.replica.edges import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes import Clock

USER = [1, "bob", "bim", None, ["AUDIT"], False, 0, []]


def digest(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def key(number: int, *, former: int | None = None, user_id: int = 1, place: int | None = None) -> list[Any]:
    ends_at = None if former is None else 2_000_000_000_000
    former_digest = None if former is None else digest(former)
    found = digest(number if place is None else place)
    secrets = (1, None) if former is None else (3, 1)
    return [number, user_id, found, None, None, 0, None, None, former_digest, ends_at, *secrets]


def tell(told: Callable[[bytes], Any], *rows: Any) -> Any:
    return told(msgspec.json.encode(list(rows)))


@pytest.fixture
def copy(clock: Clock) -> Replica:
    """A copy that was told of bob and of keys 1 and 2."""
    found = Replica(clock.system())
    found.begin_full()
    tell(found.apply_users, USER)
    tell(found.apply_keys, key(1), key(2))
    tell(found.apply_tokens, ["a", 5])
    tell(found.apply_sessions, [9, 1, 0, 2_000_000_000_000, None])
    found.end_full()
    return found


def known(copy: Replica) -> list[int]:
    found = [copy.find_key(digest(number)) for number in range(1, 9)]
    return [record.key_id for record in found if record is not None]


def test_what_a_full_copy_leaves_out_is_gone_at_its_end(copy: Replica) -> None:
    """Until a full copy is whole all is known as before; then only what it told."""
    copy.begin_full()
    tell(copy.apply_users, USER)
    tell(copy.apply_keys, key(2), key(3))
    assert known(copy) == [1, 2, 3]
    assert copy.is_revoked("a")
    copy.end_full()
    assert known(copy) == [2, 3]
    assert not copy.is_revoked("a")
    assert copy.find_session(9) is None


def test_what_a_copy_that_was_cut_off_told_does_not_outlive_its_key(copy: Replica) -> None:
    """A key that was told of in a copy that did not end, and is gone since, is gone after the next one."""
    for _ in range(3):
        copy.begin_full()
        tell(copy.apply_keys, key(4))
        copy.abandon_full()
    copy.begin_full()
    tell(copy.apply_users, USER)
    tell(copy.apply_keys, key(1))
    copy.end_full()
    assert known(copy) == [1]


def test_an_end_without_a_beginning_is_none(copy: Replica) -> None:
    """The end of a full copy that was not begun takes nothing away."""
    with pytest.raises(ValueError, match="not begun"):
        copy.end_full()
    assert known(copy) == [1, 2]


def test_a_key_of_nobody_is_none(copy: Replica) -> None:
    """With a user all their keys are gone, and the same secret can come to be another's key."""
    copy.apply_gone(msgspec.json.encode({"users": [1]}))
    assert known(copy) == []
    tell(copy.apply_users, [2, *USER[1:]])
    tell(copy.apply_keys, key(7, user_id=2, place=1))
    found = copy.find_key(digest(1))
    assert found is not None
    assert (found.key_id, found.owner.user_id) == (7, 2)


def test_a_former_secret_is_known_until_another_takes_its_place(copy: Replica) -> None:
    """Of the secrets of a key that was rotated two are known: the one it has, and the one before."""
    tell(copy.apply_keys, key(1, place=5, former=1))
    present, former = copy.find_key(digest(5)), copy.find_key(digest(1))
    assert present is not None
    assert former is not None
    by_token = copy.find_key_by_id(1)
    assert by_token == present
    assert (present.key_id, present.secret_number, present.former_number) == (1, 3, 1)
    assert present.former_ends_at is not None
    assert not present.is_by_former_secret
    assert former == msgspec.structs.replace(present, is_by_former_secret=True)
    tell(copy.apply_keys, key(1, place=6, former=5))
    assert copy.find_key(digest(1)) is None
    tell(copy.apply_keys, key(1, place=6))
    assert copy.find_key(digest(5)) is None


def test_what_changed_is_named(copy: Replica) -> None:
    """Each telling returns what may be remembered otherwise, for the index to forget."""
    assert tell(copy.apply_keys, key(1)) == [(DependencyKind.KEY, 1)]
    assert tell(copy.apply_users, USER) == [(DependencyKind.USER, 1)]
    assert tell(copy.apply_sessions, [9, 1, 0, 1, 1]) == [(DependencyKind.SESSION, 9)]
    assert tell(copy.apply_tokens, ["b", 5]) == [(DependencyKind.TOKEN, "b")]
    gone = copy.apply_gone(msgspec.json.encode({"users": [1], "keys": [2], "sessions": [9]}))
    assert set(gone) == {(DependencyKind.USER, 1), (DependencyKind.KEY, 2), (DependencyKind.SESSION, 9)}


def test_a_signing_key_verifies_until_its_end(copy: Replica, clock: Clock) -> None:
    """At exactly its end a key is no longer in the ring, without a word of the server."""
    lasting, ending = (public_jwk(kid) for kid in ("lasting", "ending"))
    end = clock.now.timestamp() + 60
    tell(copy.apply_signing_keys, [lasting, None], [ending, int(end * 1000)])
    assert {one.kid for one in copy.ring.by_header.values()} == {"lasting", "ending"}
    clock.advance(clock.now.fromtimestamp(end, clock.now.tzinfo) - clock.now)
    assert {one.kid for one in copy.ring.by_header.values()} == {"lasting"}


class OvertakenKeys(FollowedKeys):
    """Is told of other signing keys at the worst moment: right before a ring of those of before is kept."""

    overtakes: Callable[[], None] | None = None

    def __setattr__(self, name: str, value: object) -> None:
        overtakes = self.overtakes
        if overtakes is not None and name != "overtakes":
            self.overtakes = None
            thread = threading.Thread(target=overtakes)
            thread.start()
            thread.join(0.5)  # Longer only if it has to wait for who keeps the ring.
        super().__setattr__(name, value)


def test_a_ring_of_retired_keys_is_not_kept(clock: Clock) -> None:
    """Keys that are told while a ring is composed take the place of those that it was composed of (R4)."""
    keys = OvertakenKeys(clock.system())
    old, new = (public_jwk(kid) for kid in ("old", "new"))
    tell(keys.apply, [old, None])
    keys.overtakes = lambda: tell(keys.apply, [new, None])
    _ = keys.ring
    assert keys.overtakes is None
    wait_until(lambda: {one.kid for one in keys.ring.by_header.values()} == {"new"}, seconds=2)


def public_jwk(kid: str) -> dict[str, Any]:
    return {name: value for name, value in generate_signing_key("ES256", kid).items() if name != "d"}


def test_words_go_with_the_last_user_who_has_them(copy: Replica) -> None:
    """Users with the same permissions share them, and what nobody has any more takes no memory."""
    tell(copy.apply_users, *([number, *USER[1:]] for number in range(1, 9)))
    tell(copy.apply_keys, key(2, user_id=2))
    one, two = copy.find_key(digest(1)), copy.find_key(digest(2))
    assert one is not None
    assert two is not None
    assert one.owner.permissions is two.owner.permissions
    del one, two
    for change in range(100):
        tell(copy.apply_users, *([number, *USER[1:7], [f"scope-{change}"]] for number in range(1, 9)))
    assert sorted(copy._words) == [("AUDIT",), ("scope-99",)]


def narrow(number: int, *scopes: str) -> list[Any]:
    return [*key(number)[:7], {"scopes": list(scopes)}, *key(number)[8:]]


def scopes_of(copy: Replica, number: int) -> list[str]:
    found = copy.find_key(digest(number))
    assert found is not None
    return sorted(found.restrictions.scopes or ())


def test_what_keys_share_is_made_anew_by_full_copies(copy: Replica) -> None:
    """Scopes that no key has any more go with a full copy; those of each key are right throughout."""
    for change in range(100):
        tell(copy.apply_keys, narrow(1, f"scope-{change}"), narrow(2, "two"))
    for is_whole in (False, False, True, True):
        copy.begin_full()
        tell(copy.apply_users, USER)
        tell(copy.apply_keys, narrow(3, "three"), narrow(2, "two", "more"))
        assert [scopes_of(copy, number) for number in (1, 2, 3)] == [["scope-99"], ["more", "two"], ["three"]]
        tell(copy.apply_keys, narrow(1, "scope-99"))
        if is_whole:
            copy.end_full()
        else:
            copy.abandon_full()
        assert [scopes_of(copy, number) for number in (1, 2, 3)] == [["scope-99"], ["more", "two"], ["three"]]
    assert len(copy._restrictions) == 3


def test_fault_a12_no_clock_revives_a_token_in_a_copy(
    copy: Replica, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revoked token is known until a full copy leaves it out, whatever the time seems to be."""
    monkeypatch.setattr(copy_module, "MAX_PRUNED_AT", 1)
    copy._prune_at = 1
    ends_at = int(clock.now.timestamp() * 1000) + 3_600_000
    tell(copy.apply_tokens, ["long", ends_at])
    clock.now += timedelta(days=400)
    tell(copy.apply_tokens, ["other", ends_at])
    assert copy.is_revoked("long")
    clock.advance(timedelta(days=3))
    copy._prune_at = 1
    tell(copy.apply_tokens, ["another", ends_at])
    assert copy.is_revoked("long")
    copy.begin_full()
    tell(copy.apply_tokens, ["other", ends_at])
    copy.end_full()
    assert not copy.is_revoked("long")
