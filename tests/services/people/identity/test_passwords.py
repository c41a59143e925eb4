"""Passwords: the rules, the hashing, and how much of it at once."""

from __future__ import annotations

import threading
from typing import Literal

import pytest
from argon2 import PasswordHasher
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from keyturn.errors import InvalidInput, TooBusy
from keyturn.services.people.identity.passwords import (
    ARGON2ID,
    CHEAPEST,
    DEFAULT_MIN_CHARACTERS,
    MAX_AT_ONCE,
    MAX_CHARACTERS,
    MAX_WAITING,
    Passwords,
)
from keyturn.services.people.identity.turns import Asker
from tests.conftest import PASSWORD

SOMEBODY = Asker("192.0.2.1", "user 1")
LONG_WORDS = sorted(word for word in FREQUENCY_LISTS["passwords"] if len(word) >= DEFAULT_MIN_CHARACTERS)


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords(CHEAPEST)


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        "a b c d e f g h",
        "abcdefghijklmno"[::-2] + "pqrstuvw",
        "fifteen letters"[:DEFAULT_MIN_CHARACTERS],
        "тихие гавани на рассвете",
        "静かな港、夜明け前の十一の灯台です",
        "🌊🏔🌋🗻🏕🏖🏜🏝🏞🏟🏛🏗🧱🏘🏚",
        " leading and trailing ",
        "tab\tand\nnewline are fine",
        "x9" * 7 + "seven green lanterns drift" * 2,
        "seven green lanterns drift " * 2 + "and then some more words until 64",
        "correct horse battery staple " + "w" * (MAX_CHARACTERS - 29),
    ],
)
def test_a_good_password_is_accepted(passwords: Passwords, password: str) -> None:
    """Fifteen to 256 characters of any script are enough: nothing is said about which (L1)."""
    passwords.check_acceptable(password, field="password", personal=("bob", "Robert Tables"))


def test_the_operator_says_how_short_a_password_may_be() -> None:
    """The last length that is refused is one below it, and the other rules stay."""
    short = Passwords(CHEAPEST, min_characters=8)
    short.check_acceptable("x9!Kq#vB", field="password", personal=("bob",))
    for refused, why in (
        ("x9!Kq#v", "Use at least 8 characters"),
        ("abababab", "repeats"),
        ("bob bob1", "repeats|little more than a name"),
        ("password", "common"),
    ):
        with pytest.raises(InvalidInput, match=why):
            short.check_acceptable(refused, field="password", personal=("bob",))


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "x9!Kq#vB2$mN7&",
        "seven green lanterns drift" * 10,
        "a" * 15,
        "a" * 256,
        "abababababababab",
        "abc" * 5,
        "lanternslanterns",
        "pass phrase pass phrase ",
        "123456789012345",
        "password1234567",
        "Password1234567!",
        "PASSWORD 2026 2026"[:16],
    ],
)
def test_a_weak_password_is_refused(passwords: Passwords, password: str) -> None:
    """Short, over-long, repeated and commonly used passwords are refused, naming the field (L1)."""
    with pytest.raises(InvalidInput) as refused:
        passwords.check_acceptable(password, field="the_field")

    assert refused.value.field == "the_field"
    assert password == "" or password not in str(refused.value)


def test_every_long_common_password_is_refused(passwords: Passwords) -> None:
    """No password of the list of common ones is accepted, in any case."""
    assert LONG_WORDS

    for word in (*LONG_WORDS, *(word.upper() for word in LONG_WORDS)):
        with pytest.raises(InvalidInput):
            passwords.check_acceptable(word, field="password")


@pytest.mark.parametrize(
    ("password", "personal"),
    [
        ("alicewonder2024", ("alicewonder",)),
        ("AliceWonder2024", ("alicewonder",)),
        ("alice.wonder.24", ("alice.wonder@example.com",)),
        ("wonder alice 12", (None, "Alice Wonder")),
        ("keyturnkeyturn1", ()),
        ("keyturn-keyturn", ()),
        ("ａｌｉｃｅｗｏｎｄｅｒ２０２４", ("alicewonder",)),
        ("alicewonder2024", ("ａｌｉｃｅｗｏｎｄｅｒ",)),
        ("élodie-dupré-12", ("e\u0301lodie", "Dupre\u0301")),
    ],
)
def test_little_more_than_a_name_is_refused(
    passwords: Passwords, password: str, personal: tuple[str | None, ...]
) -> None:
    """The user's or the product's name with a few characters is refused, however either was typed (L1)."""
    with pytest.raises(InvalidInput):
        passwords.check_acceptable(password, field="password", personal=personal)


def test_text_that_is_no_text_is_refused(passwords: Passwords) -> None:
    """A lone surrogate, which no encoding can write, is refused like any other unfit password."""
    with pytest.raises(InvalidInput):
        passwords.check_acceptable("seven green \ud800 lanterns", field="password")


def test_text_that_is_no_text_is_not_right(passwords: Passwords) -> None:
    """A lone surrogate in what was typed is a wrong password and no failure."""
    assert not passwords.is_right("seven green \ud800 lanterns", passwords.hash(PASSWORD, SOMEBODY), SOMEBODY)


def test_a_password_is_right_only_whole(passwords: Passwords) -> None:
    """Two long passwords that differ in the last character alone are different: nothing is cut (L1, K5)."""
    long = ("seven green lanterns drift over " * 7)[:199]
    hashed = passwords.hash(long + "a", SOMEBODY)

    assert passwords.is_right(long + "a", hashed, SOMEBODY)
    assert not passwords.is_right(long + "b", hashed, SOMEBODY)
    assert not passwords.is_right(long, hashed, SOMEBODY)
    assert not passwords.is_right(long + "aa", hashed, SOMEBODY)


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("caf\u00e9 au lait ...", "cafe\u0301 au lait ..."),
        ("ﬁve lanterns", "five lanterns"),
        ("Ａ lantern", "A lantern"),
    ],
)
def test_one_text_from_two_keyboards_is_the_same(passwords: Passwords, typed: str, same: str) -> None:
    """The same text in another composition is the same password; another case is not."""
    hashed = passwords.hash(typed, SOMEBODY)

    assert passwords.is_right(same, hashed, SOMEBODY)
    assert not passwords.is_right(same.swapcase(), hashed, SOMEBODY)


@pytest.mark.parametrize("hashed", [None, "", "not a hash", "$argon2id$v=19$broken"])
def test_without_a_readable_hash_nothing_is_right(passwords: Passwords, hashed: str | None) -> None:
    """No password is right where there is none, not even the one that stands in for nobody's."""
    assert not passwords.is_right("nobody has this password", hashed, SOMEBODY)


def test_two_hashes_of_one_password_differ(passwords: Passwords) -> None:
    """Each hash has a salt of its own and says how it was made (L2)."""
    first, second = (Passwords(ARGON2ID).hash(PASSWORD, SOMEBODY) for _ in "ab")

    assert first != second
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert len(first) <= 255


def test_only_a_weaker_hash_is_outdated() -> None:
    """A hash with weaker parameters than today's is outdated; the same or a stronger one is not (L2)."""
    weak, strong = Passwords(CHEAPEST), Passwords(ARGON2ID)

    assert strong.is_outdated(weak.hash(PASSWORD, SOMEBODY))
    assert not strong.is_outdated(strong.hash(PASSWORD, SOMEBODY))
    assert not weak.is_outdated(strong.hash(PASSWORD, SOMEBODY))


class SlowHasher(PasswordHasher):
    """A hasher that works until it is let go, and counts how many work at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.let_go = threading.Event()
        self.at_work = threading.Semaphore(0)
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002 - the base class's name
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self.at_work.release()
        assert self.let_go.wait(10)
        with self._lock:
            self._now -= 1
        return super().verify(hash, password)


def test_few_hash_at_once_and_few_wait() -> None:
    """Two hash at once, twenty wait, and the next is told to come back (Q4); after that all goes on."""
    passwords = Passwords(CHEAPEST)
    hashed = passwords.hash(PASSWORD, SOMEBODY)
    slow = SlowHasher()
    passwords._hasher = slow
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.append(passwords.is_right(PASSWORD, hashed, SOMEBODY)))
        for _ in range(MAX_AT_ONCE + MAX_WAITING)
    ]
    for thread in threads:
        thread.start()
    for _ in range(MAX_AT_ONCE):
        assert slow.at_work.acquire(timeout=10)
    # A waiting thread holds a place already; when the last is taken, one more is one too many.
    while passwords._turns.waiting < MAX_WAITING:
        assert slow.most <= MAX_AT_ONCE

    for refused in (
        lambda: passwords.is_right(PASSWORD, hashed, SOMEBODY),
        lambda: passwords.hash(PASSWORD, SOMEBODY),
    ):
        with pytest.raises(TooBusy) as busy:
            refused()
        assert busy.value.retry_after >= 1

    slow.let_go.set()
    for thread in threads:
        thread.join()
    assert answers == [True] * (MAX_AT_ONCE + MAX_WAITING)
    assert slow.most == MAX_AT_ONCE
    assert passwords.is_right(PASSWORD, hashed, SOMEBODY)


def test_fault_f2_as_many_threads_hash_as_hash_at_once() -> None:
    """However many threads ask, the same two hash for all: each other one would keep the memory of a hash."""
    passwords = Passwords(CHEAPEST)
    hashed = passwords.hash(PASSWORD, SOMEBODY)
    hashing: set[int] = set()

    class Watched(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the base's
            hashing.add(threading.get_ident())
            return super().verify(hash, password)

    passwords._hasher = Watched.from_parameters(CHEAPEST)
    all_done = threading.Barrier(MAX_WAITING)

    def ask() -> None:
        passwords.is_right(PASSWORD, hashed, SOMEBODY)
        all_done.wait(10)  # Nobody ends before: the system would give their number to the next thread.

    asking = [threading.Thread(target=ask) for _ in range(MAX_WAITING)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert 1 <= len(hashing) <= MAX_AT_ONCE


def test_a_want_of_memory_is_nobodys_wrong_guess(passwords: Passwords) -> None:
    """Where argon2 gets no memory the caller is told to come back, and not that the password is wrong."""
    greedy = passwords.hash(PASSWORD, SOMEBODY).replace("m=8,", f"m={2**32 - 1},")  # Four TiB.
    with pytest.raises(TooBusy):
        passwords.is_right(PASSWORD, greedy, SOMEBODY)
