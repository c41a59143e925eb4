"""What is remembered of credentials: bounded, shared, ended in one step, and never put back (R4, R6)."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.core.records import KeyForVerification, OwnerRecord
from keyturn.core.restrictions import Restrictions
from keyturn.verifying import verdict_cache as module
from keyturn.verifying.verdict_cache import (
    MAX_ENTRIES,
    MAX_NEGATIVES,
    MAX_SPARED,
    NEGATIVE_SECONDS,
    NEVER_ENDS,
    CachedVerdict,
    Dependency,
    DependencyKind,
    VerdictCache,
)
from tests.threads import switching_every

INTERLEAVINGS = int(os.environ.get("KEYTURN_INTERLEAVINGS", "10000"))
THREADED_CHANGES = 2_000
SWITCH_SECONDS = 1e-6
PRINCIPAL = Principal(
    1,
    "bob",
    "bim",
    None,
    frozenset(),
    None,
    AuthMethod.API_KEY,
    1,
    None,
    frozenset(),
    None,
    PresentedCredential(None),
    None,
    None,
)


def digest_of(number: int) -> bytes:
    return number.to_bytes(32)


def key_record(key_id: int, user_id: int = 1, version: int = 0) -> KeyForVerification:
    """A key as it was read at one version of the facts, which its scopes tell."""
    owner = OwnerRecord(user_id, "bob", "bim", None, frozenset(), is_disabled=False)
    return KeyForVerification(key_id, owner, None, None, Restrictions(scopes=frozenset({str(version)})))


def credential(record: KeyForVerification | None = None, principal: Principal = PRINCIPAL) -> CachedVerdict:
    return CachedVerdict(principal, NEVER_ENDS, Dependency(record), Dependency(), is_conditional=False)


def remember(
    index: VerdictCache,
    number: int,
    *,
    user_id: int = 1,
    kind: DependencyKind = DependencyKind.KEY,
    number_of_kind: int | None = None,
) -> CachedVerdict:
    """Add an entry that nothing came between, by default of a key of its own."""
    chosen = number if number_of_kind is None else number_of_kind
    return index.add(
        digest_of(number),
        credential(key_record(chosen, user_id) if kind is DependencyKind.KEY else None),
        user_id=user_id,
        kind=kind,
        number=chosen,
        since=index.generation,
    )


def has(index: VerdictCache, number: int) -> bool:
    return index.find(digest_of(number)) is not None


# Bounds


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["key", "session", "negative", "find", "user ends", "key ends", "all end"]),
        st.integers(0, 40),
        st.integers(1, 5),
    ),
    max_size=120,
)


@given(steps=STEPS, bound=st.integers(1, 12))
def test_memory_is_bounded_whatever_happens(steps: list[tuple[str, int, int]], bound: int) -> None:
    """Neither entries nor negatives ever exceed their bound, and the newest of each is always kept."""
    index = VerdictCache(bound)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_NEGATIVES", bound)
        for what, number, other in steps:
            match what:
                case "key":
                    remember(index, number, user_id=other)
                    assert has(index, number)
                case "session":
                    remember(index, number, user_id=other, kind=DependencyKind.SESSION)
                    assert has(index, number)
                case "negative":
                    index.add_negative(digest_of(number), now=0.0, since=index.generation)
                    assert index.find_negative(digest_of(number)) > 0.0
                case "find":
                    index.find(digest_of(number))
                case "user ends":
                    index.forget([(DependencyKind.USER, other)], negatives=number % 2 == 0)
                case "key ends":
                    index.forget([(DependencyKind.KEY, number)], negatives=number % 2 == 0)
                case "all end":
                    index.forget_everything()
            assert len(index.entries) <= bound
            assert len(index._negatives) <= bound
            for dependencies in index._dependencies.values():
                assert len(dependencies) <= bound


def test_the_bounds_are_stated() -> None:
    """What a process remembers of credentials is limited to numbers that fit in its memory (R6)."""
    assert VerdictCache()._max_entries == MAX_ENTRIES <= 100_000
    assert MAX_NEGATIVES <= 20_000
    assert NEGATIVE_SECONDS <= 5.0


def test_unknown_credentials_drop_no_entry() -> None:
    """However many unknown credentials are noted, all that is known to be good stays (R6)."""
    index = VerdictCache(100)
    for number in range(100):
        remember(index, number)

    for number in range(1000, 1000 + MAX_NEGATIVES + 100):
        index.add_negative(digest_of(number), now=0.0, since=index.generation)

    assert len(index._negatives) == MAX_NEGATIVES
    assert index.find_negative(digest_of(1000 + 100)) > 0.0, "the newest are kept"
    assert index.find_negative(digest_of(1000 + 99)) <= 0.0
    assert all(has(index, number) for number in range(100))


def test_an_unknown_credential_is_unknown_for_seconds() -> None:
    """A negative is over at exactly its time, and at once when the credential turns up (R6)."""
    index = VerdictCache()
    index.add_negative(digest_of(1), now=10.0, since=index.generation)

    assert index.find_negative(digest_of(1)) > 10.0 + NEGATIVE_SECONDS - 0.001
    assert index.find_negative(digest_of(1)) <= 10.0 + NEGATIVE_SECONDS

    remember(index, 1)
    assert index.find_negative(digest_of(1)) <= 10.0


def test_what_is_used_stays() -> None:
    """Of entries that were all passed by once, those go that were not used since, and the used ones stay."""
    index = VerdictCache(MAX_SPARED)
    for number in range(MAX_SPARED + 1):
        remember(index, number)  # The last one passes by all others.
    old = range(1, MAX_SPARED)
    used = [number for number in old if number % 2 and has(index, number)]

    for number in range(1000, 1000 + len(old) - len(used)):
        remember(index, number)

    assert [number for number in old if has(index, number)] == used


def test_a_used_entry_survives_many_unused_ones() -> None:
    """A flood of new credentials seldom costs the place of one that is used all the time."""
    index = VerdictCache(1000)
    remember(index, 0)
    lost = 0
    for number in range(1, 20_000):
        remember(index, number)
        if not has(index, 0):
            lost += 1
            remember(index, 0)

    assert lost <= 20, "at most once in a thousand additions"


def test_what_ended_goes_before_what_is_used() -> None:
    """Room is made from dead entries first, though they were used last."""
    index = VerdictCache(10)
    for number in range(10):
        remember(index, number, user_id=1 + number % 2)
    assert all(has(index, number) for number in range(10)), "each is used"
    index.forget([(DependencyKind.USER, 2)], negatives=False)

    for number in range(10, 15):
        remember(index, number, user_id=3)

    assert [number for number in range(15) if has(index, number)] == [0, 2, 4, 6, 8, 10, 11, 12, 13, 14]


def test_making_room_is_quick() -> None:
    """When every entry is in use, no more than a fixed number of them is looked at to make room."""

    class Counted(OrderedDict[bytes, CachedVerdict]):
        looked_at = 0

        def popitem(self, last: bool = True) -> tuple[bytes, CachedVerdict]:
            self.looked_at += 1
            return super().popitem(last)

    index = VerdictCache(10 * MAX_SPARED)
    for number in range(10 * MAX_SPARED):
        remember(index, number)
    index.entries = counted = Counted(index.entries)

    remember(index, 10 * MAX_SPARED)

    assert counted.looked_at <= MAX_SPARED + 1
    assert len(index.entries) == 10 * MAX_SPARED


# Grounds


def test_a_change_to_a_user_ends_all_of_theirs() -> None:
    """Keys, tokens of keys and tokens of logins of one user end together; nobody else's does (R3)."""
    index = VerdictCache()
    remember(index, 1, user_id=1)
    remember(index, 2, user_id=1, number_of_kind=1)
    remember(index, 3, user_id=1, kind=DependencyKind.SESSION)
    remember(index, 4, user_id=2)
    remember(index, 5, user_id=2, kind=DependencyKind.SESSION)

    index.forget([(DependencyKind.USER, 1)], negatives=False)

    assert [number for number in range(1, 6) if has(index, number)] == [4, 5]


def test_a_change_to_a_key_ends_it_and_its_tokens() -> None:
    """What ends with a key are the key and its tokens, not another key nor a session of the same number."""
    index = VerdictCache()
    remember(index, 1, number_of_kind=7)
    remember(index, 2, number_of_kind=7)
    remember(index, 3, number_of_kind=8)
    remember(index, 4, kind=DependencyKind.SESSION, number_of_kind=7)

    index.forget([(DependencyKind.KEY, 7)], negatives=False)

    assert [number for number in range(1, 5) if has(index, number)] == [3, 4]


def test_entries_share_their_dependencies() -> None:
    """Entries of one key stand on one dependency, so that ending them all is one step."""
    index = VerdictCache()
    first = remember(index, 1, number_of_kind=7)
    second = remember(index, 2, number_of_kind=7)
    other = remember(index, 3, number_of_kind=8)

    assert first.dependency is second.dependency is index.find_dependency(DependencyKind.KEY, 7)
    assert first.dependency is not other.dependency
    assert first.owner is second.owner is other.owner is first.dependency.owner


def test_what_is_remembered_anew_stands() -> None:
    """After a change the same credential can be remembered again, and a later change ends it again."""
    index = VerdictCache()
    for _ in range(3):
        remember(index, 1, user_id=1)
        assert has(index, 1)
        index.forget([(DependencyKind.KEY, 1)], negatives=False)
        assert not has(index, 1)
        remember(index, 1, user_id=1)
        assert has(index, 1)
        index.forget([(DependencyKind.USER, 1)], negatives=False)
        assert not has(index, 1)


@pytest.mark.parametrize("was_disabled", [True, False])
def test_a_key_is_not_believed_once_its_owner_changed(was_disabled: bool) -> None:
    """A key that was read with an owner who has changed since is read again, enabled or disabled (R3)."""
    index = VerdictCache()
    old, new = (
        KeyForVerification(
            7,
            OwnerRecord(1, "bob", "bim", None, frozenset(), is_disabled=is_disabled),
            None,
            None,
        )
        for is_disabled in (was_disabled, not was_disabled)
    )

    def add(number: int, record: KeyForVerification) -> CachedVerdict:
        return index.add(
            digest_of(number),
            credential(record),
            user_id=1,
            kind=DependencyKind.KEY,
            number=7,
            since=index.generation,
        )

    add(1, old)
    index.forget([(DependencyKind.USER, 1)], negatives=False)
    assert index.find_dependency(DependencyKind.KEY, 7) is None

    # A token of the same key comes first: it must not revive what the key was read with.
    assert add(2, new).dependency.key is new
    found = index.find_dependency(DependencyKind.KEY, 7)
    assert found is not None
    assert found.key is new
    assert not has(index, 1)

    index.forget([(DependencyKind.KEY, 7)], negatives=False)
    assert not has(index, 2)


def test_everything_can_be_forgotten() -> None:
    """Forgetting everything leaves no entry, no negative and no dependency that holds."""
    index = VerdictCache()
    known = [remember(index, number, user_id=number % 3) for number in range(10)]
    index.add_negative(digest_of(99), now=0.0, since=index.generation)

    index.forget_everything()

    assert not index.entries
    assert index.find_negative(digest_of(99)) <= 0.0
    assert not any(entry.dependency.is_valid or entry.owner.is_valid for entry in known)
    assert index.find_dependency(DependencyKind.KEY, 1) is None


def test_negatives_end_only_when_asked() -> None:
    """A change that makes no unknown credential good leaves the negatives as they are."""
    index = VerdictCache()
    index.add_negative(digest_of(1), now=0.0, since=index.generation)

    index.forget([(DependencyKind.USER, 1)], negatives=False)
    assert index.find_negative(digest_of(1)) > 0.0

    index.forget([], negatives=True)
    assert index.find_negative(digest_of(1)) <= 0.0


class Answer:
    """Something of an entry whose end can be watched."""


def test_what_is_dropped_is_freed() -> None:
    """When the last entry of a key or user is dropped, nothing is left of it, its answer included."""
    index = VerdictCache(4)
    traces: list[weakref.ref[object]] = []
    for number in range(4):
        known = remember(index, number, user_id=number)
        known.answer = Answer()
        traces += [weakref.ref(known.answer), weakref.ref(known.dependency), weakref.ref(known.owner)]
    del known

    for number in range(10, 14):
        remember(index, number, user_id=9)
    gc.collect()

    assert [trace() for trace in traces] == [None] * len(traces)
    assert {kind: len(dependencies) for kind, dependencies in index._dependencies.items()} == {
        DependencyKind.USER: 1,
        DependencyKind.KEY: 4,
        DependencyKind.SESSION: 0,
    }


def test_what_is_replaced_or_forgotten_is_freed() -> None:
    """A credential that is remembered anew after a change takes no more room than before it."""
    index = VerdictCache()
    traces: list[weakref.ref[object]] = []
    for _ in range(10):
        known = remember(index, 1)
        traces += [weakref.ref(known.dependency), weakref.ref(known.owner)]
        index.forget([(DependencyKind.USER, 1)], negatives=False)
    index.forget_everything()
    del known
    gc.collect()

    assert [trace() for trace in traces] == [None] * len(traces)


@given(steps=STEPS)
def test_it_remembers_exactly_what_is_true(steps: list[tuple[str, int, int]]) -> None:
    """With room enough, found is what was added and not ended since, after any sequence of steps."""
    index = VerdictCache(1000)
    model: dict[int, tuple[int, DependencyKind, int]] = {}
    unknown: set[int] = set()
    for what, number, other in steps:
        match what:
            case "key" | "session":
                # Of each user two keys or sessions, so that some share a dependency.
                kind = DependencyKind.KEY if what == "key" else DependencyKind.SESSION
                number_of_kind = 10 * other + number % 2
                remember(index, number, user_id=other, kind=kind, number_of_kind=number_of_kind)
                model[number] = (other, kind, number_of_kind)
                unknown.discard(number)
            case "negative":
                index.add_negative(digest_of(number), now=0.0, since=index.generation)
                unknown.add(number)
            case "user ends":
                index.forget([(DependencyKind.USER, other)], negatives=False)
                model = {entry: stands for entry, stands in model.items() if stands[0] != other}
            case "key ends":
                ended = (DependencyKind.KEY, 10 * other + number % 2)
                index.forget([ended], negatives=True)
                model = {entry: stands for entry, stands in model.items() if stands[1:] != ended}
                unknown.clear()
            case "all end":
                index.forget_everything()
                model.clear()
                unknown.clear()
        assert {entry for entry in range(41) if has(index, entry)} == set(model)
        assert {entry for entry in range(41) if index.find_negative(digest_of(entry)) > 0.0} == unknown


# A fill that began before a change (R4)

KEY_DIGEST, TOKEN_DIGEST, LOGIN_DIGEST, FOREIGN_DIGEST = map(digest_of, range(4))
USER_ID, KEY_ID, SESSION_ID = 1, 2, 3
Steps = Generator[None, None, None]


@dataclass
class World:
    """One user with a key, its token, a login's token and a text that is no key yet.

    A fact is the number of its changes so far; what is remembered carries the facts that it was read from.
    """

    index: VerdictCache = field(default_factory=VerdictCache)
    user: int = 0
    key: int = 0
    session: int = 0
    is_imported: bool = False
    unforgotten: int = 0

    def fill_key(self) -> Steps:
        yield from self._fill(KEY_DIGEST, "key")

    def fill_token(self) -> Steps:
        yield from self._fill(TOKEN_DIGEST, "key", may_share=True)

    def fill_login(self) -> Steps:
        yield from self._fill(LOGIN_DIGEST, "session")

    def _fill(self, digest: bytes, fact: str, *, may_share: bool = False) -> Steps:
        """Look up in steps: generation, dependency or store, add. Each may be the last for a while."""
        since = self.index.generation
        yield
        record = None
        if may_share:
            dependency = self.index.find_dependency(DependencyKind.KEY, KEY_ID)
            record = None if dependency is None else dependency.key
        if record is None:
            record = self._read(fact)
        yield
        self.index.add(
            digest,
            credential(record if fact == "key" else None, _principal_of(record)),
            user_id=USER_ID,
            kind=DependencyKind.KEY if fact == "key" else DependencyKind.SESSION,
            number=KEY_ID if fact == "key" else SESSION_ID,
            since=since,
        )

    def fill_foreign(self) -> Steps:
        since = self.index.generation
        yield
        is_imported = self.is_imported
        yield
        if not is_imported:
            self.index.add_negative(FOREIGN_DIGEST, now=0.0, since=since)

    def change_user(self) -> Steps:
        self.user += 1
        yield from self._forget((DependencyKind.USER, USER_ID))

    def change_key(self) -> Steps:
        self.key += 1
        yield from self._forget((DependencyKind.KEY, KEY_ID))

    def change_session(self) -> Steps:
        self.session += 1
        yield from self._forget((DependencyKind.SESSION, SESSION_ID))

    def change_anything(self) -> Steps:
        self.user += 1
        self.session += 1
        self.unforgotten += 1
        yield
        self.index.forget_everything()
        self.unforgotten -= 1

    def import_foreign(self) -> Steps:
        self.is_imported = True
        yield from self._forget((DependencyKind.KEY, 99), negatives=True)

    def _forget(self, ended: tuple[DependencyKind, int], *, negatives: bool = False) -> Steps:
        self.unforgotten += 1
        yield
        self.index.forget([ended], negatives=negatives)
        self.unforgotten -= 1

    def _read(self, fact: str) -> KeyForVerification:
        return key_record(KEY_ID, USER_ID, version=1000 * self.user + getattr(self, fact))

    def wins(self) -> list[str]:
        """What is remembered and wrong, once all that changed was forgotten."""
        if self.unforgotten:
            return []
        wrong = []
        for digest, fact in ((KEY_DIGEST, "key"), (TOKEN_DIGEST, "key"), (LOGIN_DIGEST, "session")):
            known = self.index.find(digest)
            if known is not None and known.principal != _principal_of(self._read(fact)):
                wrong.append(fact)
        if self.is_imported and self.index.find_negative(FOREIGN_DIGEST) > 0.0:
            wrong.append("negative")
        dependency = self.index.find_dependency(DependencyKind.KEY, KEY_ID)
        if dependency is not None and dependency.key != self._read("key"):
            wrong.append("dependency")
        return wrong


def _principal_of(record: KeyForVerification) -> Principal:
    return Principal(
        USER_ID,
        "bob",
        "bim",
        None,
        frozenset(),
        record.restrictions.scopes,
        AuthMethod.API_KEY,
        KEY_ID,
        None,
        frozenset(),
        None,
        PresentedCredential(None),
        None,
        None,
    )


FILLS = (World.fill_key, World.fill_token, World.fill_login, World.fill_foreign)
CHANGES = (
    World.change_user,
    World.change_key,
    World.change_session,
    World.change_anything,
    World.import_foreign,
)


def test_no_fill_brings_back_what_changed() -> None:
    """Of 10,000 interleavings of look-ups with changes, none leaves anything wrong remembered (R4)."""
    kept = refused = 0
    for seed in range(INTERLEAVINGS):
        chance = random.Random(seed)
        world = World()
        running = [chance.choice(FILLS)(world) for _ in range(chance.randint(2, 5))]
        running += [chance.choice(CHANGES)(world) for _ in range(chance.randint(1, 3))]
        while running:
            actor = chance.choice(running)
            try:
                next(actor)
            except StopIteration:
                running.remove(actor)
            assert world.wins() == [], f"seed {seed}"
        kept += len(world.index.entries)
        refused += not world.index.entries

    assert kept > 0, "some fills came after the changes, and are kept"
    assert refused > 0, "some fills came before the changes, and are not"


def test_no_thread_brings_back_what_changed() -> None:
    """With look-ups in real threads, nothing is found that was read before a change was forgotten (R4)."""
    index = VerdictCache()
    read = forgotten = 0
    is_over = threading.Event()
    fills, wins = [0] * 3, [0] * 3

    def fill(thread: int) -> None:
        while not is_over.is_set():
            since = index.generation
            version = read
            record = key_record(KEY_ID, USER_ID, version)
            time.sleep(0)  # The database is asked: another thread may go on.
            index.add(
                digest_of(thread),
                credential(record, _principal_of(record)),
                user_id=USER_ID,
                kind=DependencyKind.KEY,
                number=KEY_ID,
                since=since,
            )
            true_since = forgotten
            known = index.find(digest_of(thread))
            wins[thread] += known is not None and int(*known.principal.scopes or ()) < true_since
            fills[thread] += 1

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(len(fills))]
    with switching_every(SWITCH_SECONDS):
        for thread in threads:
            thread.start()
        try:
            for version in range(1, THREADED_CHANGES + 1):
                read = version
                ended = (DependencyKind.KEY, KEY_ID) if version % 2 else (DependencyKind.USER, USER_ID)
                index.forget([ended], negatives=True)
                forgotten = version
                time.sleep(0)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()

    assert wins == [0] * len(fills)
    assert all(fills)
