"""Passwords: what they must be, and how they are hashed, at most two at a time.

Rules after NIST SP 800-63B-4 and OWASP ASVS 6.2: at least 15 characters unless the operator chose fewer, of
which 8 are the fewest; at least 64 allowed, any Unicode, no
composition rules, no truncation, no periodic change; refused when it is among the commonly used ones, a
repetition, or little more than the user's or product's name.
"""

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from argon2 import Parameters, PasswordHasher, Type, extract_parameters, low_level, profiles
from argon2.exceptions import HashingError, InvalidHashError, VerificationError
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from keyturn.errors import InvalidInput, TooBusy
from keyturn.services.people.identity.turns import Asker, QueueFull, Turns
from keyturn.services.text import is_storable

DEFAULT_MIN_CHARACTERS = 15
MAX_CHARACTERS = 256
MAX_AT_ONCE = 2
MAX_WAITING = 20
MIN_DISTINCT_CHARACTERS = 5

ARGON2ID = Parameters(
    type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=2, memory_cost=19 * 1024, parallelism=1
)
"""OWASP's second choice: 19 MiB, two passes. A hash keeps its parameters; a login raises old ones."""


T = TypeVar("T")

_OUT_OF_MEMORY = low_level.error_to_str(-22)  # ARGON2_MEMORY_ALLOCATION_ERROR of argon2.h


class Passwords:
    """Checks and hashes passwords. Blocks for about 20 ms: never call it on an event loop.

    As many threads hash as hash at once. The C library keeps the memory of a hash for the thread that made
    it (an arena of malloc), and would do so for every thread that ever hashed.
    """

    def __init__(
        self, parameters: Parameters = ARGON2ID, *, min_characters: int = DEFAULT_MIN_CHARACTERS
    ) -> None:
        self.min_characters = min_characters
        self._hasher = PasswordHasher.from_parameters(parameters)
        self._turns = Turns("keyturn-argon2", at_once=MAX_AT_ONCE, waiting=MAX_WAITING)
        self._hash_of_nobody = self._hasher.hash("nobody has this password")

    def check_acceptable(self, password: str, *, field: str, personal: tuple[str | None, ...] = ()) -> None:
        """Raise `InvalidInput` naming `field` and the rule that the password breaks.

        `personal` are the user's own names, which are the first guesses.
        """
        if not is_storable(password):
            raise InvalidInput(field, "This holds something that is not text: type it again.")
        folded = _normalised(password).casefold()
        if len(password) < self.min_characters:
            raise InvalidInput(
                field, f"Use at least {self.min_characters} characters: a few unrelated words will do."
            )
        if len(password) > MAX_CHARACTERS:
            raise InvalidInput(field, f"Use at most {MAX_CHARACTERS} characters.")
        if len(set(folded)) < MIN_DISTINCT_CHARACTERS or _is_repetition(folded):
            raise InvalidInput(
                field, "This repeats itself and is easy to guess: choose something more varied."
            )
        rest = folded
        for word in (*(_normalised(name) for name in personal if name), "keyturn"):
            for part in (word.casefold(), *word.casefold().replace("@", " ").replace(".", " ").split()):
                if len(part) >= 3:
                    rest = rest.replace(part, "")
        if len(rest) < self.min_characters // 2:
            raise InvalidInput(
                field, "This is little more than a name: choose something that is not about you."
            )
        if folded in _common_passwords() or rest.strip(" 0123456789!") in _common_passwords():
            raise InvalidInput(field, "That password is on lists of common passwords. Choose another.")

    def hash(self, password: str, asker: Asker) -> str:
        """Return the argon2id hash with its parameters and salt; raise `TooBusy` when too many wait."""
        return self._in_turn(asker, lambda: self._hasher.hash(_normalised(password)))

    def is_right(self, password: str, password_hash: str | None, asker: Asker) -> bool:
        """Compare; without a hash, take the same time and say no (L3). Raise `TooBusy` when too many wait."""
        is_equal = self._in_turn(asker, lambda: self._verify(password_hash or self._hash_of_nobody, password))
        return is_equal and bool(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _normalised(password))
        except (VerificationError, InvalidHashError) as error:
            if _OUT_OF_MEMORY in error.args:
                raise
            return False

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made with weaker parameters than today's."""
        old, new = extract_parameters(password_hash), extract_parameters(self._hash_of_nobody)
        return old.memory_cost * old.time_cost < new.memory_cost * new.time_cost

    def _in_turn(self, asker: Asker, work: Callable[[], T]) -> T:
        """Work in one of few threads, so that a storm of logins does not take all memory and cores (Q4)."""
        try:
            return self._turns.take(asker, work)
        except QueueFull:
            raise TooBusy(
                "Too many people are signing in at once: try again in a moment.", retry_after=2
            ) from None
        except (
            HashingError,
            VerificationError,
        ) as error:  # No password was compared: nobody guessed wrong.
            raise TooBusy("The server is short of memory: try again in a moment.", retry_after=2) from error


CHEAPEST = profiles.CHEAPEST
"""For tests: the same code with the least work."""


def _normalised(password: str) -> str:
    # NIST SP 800-63B: the same text typed on two keyboards must give the same bytes.
    return unicodedata.normalize("NFKC", password.encode("utf-8", "replace").decode())


def _is_repetition(text: str) -> bool:
    """Return whether the text is its beginning over again, for at least half of it."""
    longest_period = len(text) * 2 // 3
    return any(text == (text[:period] * len(text))[: len(text)] for period in range(1, longest_period + 1))


@cache
def _common_passwords() -> frozenset[str]:
    return frozenset(FREQUENCY_LISTS["passwords"])
