"""Whether a person can have made up a key that is to be imported (rule K1).

Random characters cannot be compressed; a text that a person made up can. This module finds the shortest
description of a key, as a compressor does, from random characters, words, names and common passwords by rank,
letters as a language has them, numbers, runs such as `abcdef` or `qwerty`, and repetitions. Each part has a
price in bits, and the prices form a code (the Kraft inequality holds): at most one random text in 2^n has a
description that is n bits shorter than its characters. A description that is `EVIDENCE_BITS` shorter proves
that the key was not drawn at random; its length then says how many bits a guesser needs who knows words.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import groupby, pairwise
from typing import NamedTuple

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from keyturn.core.api_key import FOREIGN_KEY_MIN_BITS, character_bits
from keyturn.errors import InvalidInput

EVIDENCE_BITS = 18
"""Of random keys one in 2^18, 262,144, is told in so much less by chance."""
MADE_UP = (
    "This key can be guessed, since it is made of words, names, dates or patterns: import keys that were "
    "drawn at random, or make one here with `keyturn admin key add`."
)

_SWITCH = 4.0
"""Bits to say that something other than a random character comes: one in sixteen."""
_STAY = math.log2(16 / 15)
_KIND = 2.6
"""Bits to say which of six kinds comes."""
_LENGTH = 5.0
"""Bits for a length, of up to 32."""
_LONGEST = 32
_SHORTEST_LETTERS = 5
_LETTERS = re.compile(rf"[a-z]{{{_SHORTEST_LETTERS},}}")
_LANGUAGE_BITS = 2.0
"""Bits that a guesser needs for a letter of an unknown word; written language holds less (Shannon, 1951)."""
_WORD_BITS = 12.0
_BETWEEN_WORDS = r"[-_. ]"
_WORD = r"(?:[A-Za-z][a-z]{0,11}|[A-Z]{1,12})"
_PHRASE = re.compile(rf"{_WORD}(?:{_BETWEEN_WORDS}{_WORD}){{2,}}")
"""Words with something between them. A short word costs no less to tell than its characters do."""
_FILLER = 8
_FILLER_BITS = 2.0
_LEET = str.maketrans("013457", "oleast")
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "0123456789abcdef", "1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_PAIRED = "".join(2 * character for character in "0123456789abcdefghijklmnopqrstuvwxyz")
_RUNS = tuple(run for row in (*_ROWS, _PAIRED) for run in (row, row[::-1]))
_RUN_BITS = math.log2(sum(map(len, _RUNS))) + _LENGTH


class _Part(NamedTuple):
    """A step of a description."""

    length: int
    told: float
    """The cost of saying it, in bits."""
    guessed: float
    """The cost of guessing it, in bits."""


def check_not_made_up(text: str) -> None:
    """Raise `InvalidInput` for a key that a person can guess.

    A prefix of words, such as `sk_live_`, takes nothing from a random part that is long enough by itself.
    """
    if _PHRASE.fullmatch(text) and len(re.split(_BETWEEN_WORDS, text)) * _WORD_BITS < FOREIGN_KEY_MIN_BITS:
        raise InvalidInput("apikey", MADE_UP)
    longest = max(re.split("[_-]", text), key=len)
    if character_bits(longest) >= FOREIGN_KEY_MIN_BITS and not _is_made_up(longest, _shortest(longest)):
        return
    parts = _shortest(text)
    if _is_made_up(text, parts) and _guessed(parts) < FOREIGN_KEY_MIN_BITS:
        raise InvalidInput("apikey", MADE_UP)


def _is_made_up(text: str, parts: Sequence[_Part]) -> bool:
    return character_bits(text) - sum(part.told for part in parts) >= EVIDENCE_BITS


def _guessed(parts: Sequence[_Part]) -> float:
    """Return the bits that a guesser needs who knows how people make keys.

    A few characters between words are as good as words: separators, an abbreviation, a year.
    """
    bits = 0.0
    for is_character, several in groupby(parts, key=lambda part: part.length == 1):
        run = list(several)
        is_filler = is_character and len(run) <= _FILLER
        bits += sum(min(part.guessed, _FILLER_BITS) if is_filler else part.guessed for part in run)
    return bits


def _shortest(text: str) -> list[_Part]:
    """Return the shortest description of a text."""
    lower, size = text.lower(), len(text)
    character = character_bits(text) / size
    single = _Part(1, character + _STAY, character)
    told: list[float] = [0.0] + [math.inf] * size
    last = [single] * (size + 1)
    for start in range(size):
        for part in (single, *_parts(text, lower, start)):
            end, bits = start + part.length, told[start] + part.told
            if bits < told[end]:
                told[end], last[end] = bits, part
    parts, end = [], size
    while end:
        parts.append(last[end])
        end -= last[end].length
    return parts


def _parts(text: str, lower: str, start: int) -> list[_Part]:
    """Return what can come at `start` besides a random character."""
    found = _words(text, lower, start)
    found += _digits(lower, start) if lower[start].isdigit() else _letters(lower, start)
    found += _runs(lower, start)
    found += _repetitions(lower, start)
    return [part._replace(told=part.told + _SWITCH + _KIND) for part in found]


def _words(text: str, lower: str, start: int) -> list[_Part]:
    vocabulary, beginnings = _vocabulary()
    plain = lower[start : start + _LONGEST].translate(_LEET)
    if plain[:4] not in beginnings:
        return []
    found = []
    for length in range(3, len(plain) + 1):
        bits = vocabulary.get(plain[:length])
        if bits is not None:
            bits += _spelling(text[start : start + length])
            found.append(_Part(length, bits, min(bits, _WORD_BITS)))
    return found


def _spelling(given: str) -> float:
    """Return the bits to say how a word is written: small, capitalised, large, or otherwise."""
    letters = sum(map(str.isalpha, given))
    swapped = len(given) - letters
    bits = 1.0 if given.islower() else 2.0 if given.istitle() or given.isupper() else 2.0 + letters
    return bits + (2.0 * swapped + 1.0 if swapped else 0.0)


def _digits(lower: str, start: int) -> list[_Part]:
    digits = len(lower[start : start + _LONGEST]) - len(lower[start : start + _LONGEST].lstrip("0123456789"))
    each = math.log2(10)
    return [_Part(length, _LENGTH + length * each, length * each) for length in range(4, digits + 1)]


def _letters(lower: str, start: int) -> list[_Part]:
    """Return letters in the manner of a language."""
    letters = _LETTERS.match(lower, start, start + _LONGEST)
    if letters is None:
        return []
    pairs, bits, found = _pairs(), _LENGTH, []
    for length, pair in enumerate(pairwise(f" {letters[0]}"), 1):
        bits += pairs[pair]
        if length >= _SHORTEST_LETTERS:
            found.append(_Part(length, bits, length * _LANGUAGE_BITS))
    return found


def _runs(lower: str, start: int) -> list[_Part]:
    """Return neighbours in the alphabet, among the digits, and on the keyboard."""
    beginning, found = lower[start : start + 3], []
    for run in _RUNS:
        at = run.find(beginning)
        if at >= 0 and len(beginning) == 3:
            length = _common(run[at:], lower[start:])
            found.append(_Part(length, _RUN_BITS, _RUN_BITS - _LENGTH))
    return found


def _repetitions(lower: str, start: int) -> list[_Part]:
    """Return what stood there before, such as the same character again."""
    at, found = lower.find(lower[start : start + 3], 0, start + 2), []
    while 0 <= at < start and start + 3 <= len(lower):
        length = min(_common(lower[at:], lower[start:]), _LONGEST)
        found.append(_Part(length, math.log2(start) + _LENGTH, 1.0))
        at = lower.find(lower[start : start + 3], at + 1, start + 2)
    return found


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


@cache
def _vocabulary() -> tuple[dict[str, float], frozenset[str]]:
    """Return words with the bits that name each, and the beginnings of them, of four letters at most."""
    bits: dict[str, float] = {}
    for words in FREQUENCY_LISTS.values():
        all_ranks = math.log2(len(FREQUENCY_LISTS) * sum(1 / rank for rank in range(1, len(words) + 1)))
        for rank, word in enumerate(words, 1):
            plain = word.translate(_LEET)
            if len(plain) >= 3:
                bits[plain] = min(bits.get(plain, math.inf), math.log2(rank) + all_ranks)
    beginnings = {word[:4] for word in bits}
    return bits, frozenset(beginnings)


@cache
def _pairs() -> dict[tuple[str, ...], float]:
    """Return the bits for a letter after another, or at the beginning of a word, as in words and names."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    seen: Counter[tuple[str, ...]] = Counter()
    for words in FREQUENCY_LISTS.values():
        for word in words:
            seen.update(pairwise(f" {word}"))
    bits: dict[tuple[str, ...], float] = {}
    for before in f" {letters}":
        total = sum(seen[before, letter] + 1 for letter in letters)
        bits |= {(before, letter): math.log2(total / (seen[before, letter] + 1)) for letter in letters}
    return bits
