"""Finds the sections and passages that answer a question, with SQLite's full-text search alone.

Three indexes are asked: sections; the questions that their writers noted (`<!-- ask: … -->`), each by itself;
and passages. Each gives BM25 scores, for each word by itself: their sum is the score of all words, and to
keep them takes less time than to ask again for words that are common. The sums are divided by the best one
of their index and added with a weight, so that a section that stands out in one index stands out in the sum.
The sum counts more the more of the question's weight the section covers, a word weighing its inverse
document frequency, and more if its heading has all words: the first words that somebody types are a heading.
Whether the documentation answers at all follows from how much of the weight one of the best sections covers.
"""

import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from math import log
from operator import itemgetter

from keyturn.documentation.file import place_of
from keyturn.documentation.library import Library, SectionEntry
from keyturn.documentation.words import all_words_of, digest_of_question, plain, words_of

MAX_QUESTION_CHARACTERS = 512
COVERED = 0.6
"""The part of the question's weight that one of the best sections must cover."""
MANY_WORDS, COVERED_OF_MANY = 6, 0.5
"""A long question tells a story beside its subject, and so less of it must be covered."""
NEARLY = 0.7
"""Of two passages of a section, the earlier one is quoted if it has this part of the other's score, since it
explains what comes after it."""
FEW_WORDS = 20
"""In a short question "my" and "get" tell it from others, where a questioner noted the same words."""
AS_NOTED = 2.0
"""A section whose writer noted this very question gets this in the sum: more than the best of an index."""
ROUTES = "reference/http-api"
"""The beginning of the paths of pages that describe routes."""
OF_ROUTES = frozenset(
    all_words_of("api call curl delete endpoint field fields http json parameter post put request route")
)
"""Words of people who look for a route."""
BESIDE_GUIDES = 0.8
"""The factor of a route in the sum for somebody else: "invite a user" is asked by a person in a browser."""
REMEMBERED_WORDS = 1024
"""Some 5 MB at most: strangers choose the words."""
LOOKED_AT = 3
"""How many of the best sections may cover it."""

_Scores = tuple["array[int]", "array[float]"]
"""The rows that hold a word, and what it adds to the score of each. Arrays take a tenth of a dictionary."""


@dataclass(frozen=True, slots=True)
class _Index:
    """One of the full-text indexes."""

    table: str
    columns: tuple[float, ...]
    """The factor of each column."""
    weight: float
    """The factor of the index in the sum."""
    candidates: int
    """How many of its rows count."""


_SECTIONS = _Index("section_words", (8.0, 6.0, 6.0, 1.0), 1.0, 40)
"""Heading, headings above, questions, text."""
_QUESTIONS = _Index("question_words", (1.0,), 2.0, 120)
_PASSAGES = _Index("passage_words", (1.0,), 0.6, 120)
_INDEXES = (_SECTIONS, _QUESTIONS, _PASSAGES)


@dataclass(frozen=True, slots=True)
class Hit:
    """A section that may answer, with the passage in it that does best."""

    section: SectionEntry
    passage: int | None
    """The position of the passage, None if the section has none that can be quoted."""
    score: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What a search found."""

    hits: Sequence[Hit]
    """The best first; a section is there once."""
    coverage: float
    """The part of the question's weight that one of the best sections covers, from 0 to 1."""
    words: Sequence[str]
    """The words of the question that were looked for."""

    @property
    def answers(self) -> bool:
        """Whether the documentation answers the question."""
        return bool(self.hits) and self.coverage >= (
            COVERED_OF_MANY if len(self.words) >= MANY_WORDS else COVERED
        )


class Search:
    """Searches a library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._synonyms = [
            (re.compile(rf"\b{re.escape(phrase)}\b"), words_of(words))
            for phrase, words in library.rows("SELECT phrase, words FROM synonym")
        ]
        self._sections_with = lru_cache(REMEMBERED_WORDS)(self._find_sections_with)
        self._scores = lru_cache(len(_INDEXES) * REMEMBERED_WORDS)(self._find_scores)
        ((self._sections,),) = library.rows("SELECT count(*) FROM section_words_docsize")

    def find(self, question: str) -> Findings:
        """Return the sections that may answer the question."""
        asked = plain(question[:MAX_QUESTION_CHARACTERS])
        words, every_word = words_of(asked), all_words_of(asked)
        meant = [*words, *self._also_meant(asked, words)]
        if not meant:
            return Findings((), 0.0, ())
        scores: dict[int, float] = {}
        best: dict[int, int] = {}
        for index in _INDEXES:
            looked_for = meant
            if index is _QUESTIONS and len(every_word) <= FEW_WORDS:
                looked_for = list(dict.fromkeys((*every_word, *meant)))
            for section_id, (share, position) in self._shares(index, looked_for).items():
                scores[section_id] = scores.get(section_id, 0.0) + share * index.weight
                if index is _PASSAGES:
                    best[section_id] = position
        for (section_id,) in self._library.rows(
            "SELECT section_id FROM asked WHERE digest = ?", digest_of_question(asked)
        ):
            scores[section_id] = scores.get(section_id, 0.0) + AS_NOTED
        covered, named = self._coverage(words), self._named(words)
        wants_route = not OF_ROUTES.isdisjoint(every_word)
        for number in scores:
            scores[number] *= 1 + covered.get(number, 0.0) + named.get(number, 0.0)
            if not wants_route and self._library.sections[number].page.path.startswith(ROUTES):
                scores[number] *= BESIDE_GUIDES
        hits = [
            Hit(self._library.sections[number], best.get(number), score)
            for number, score in sorted(scores.items(), key=lambda one: -one[1])
        ]
        coverage = max((covered.get(hit.section.section_id, 0.0) for hit in hits[:LOOKED_AT]), default=0.0)
        return Findings(hits, coverage, words)

    def _also_meant(self, asked: str, words: Iterable[str]) -> list[str]:
        """Return the words of the documentation for phrases of the question."""
        known = set(words)
        found = (word for phrase, meant in self._synonyms if phrase.search(asked) for word in meant)
        return list(dict.fromkeys(word for word in found if word not in known))

    def _shares(self, index: _Index, words: Sequence[str]) -> dict[int, tuple[float, int]]:
        """Return for each section its share of the index's best score, and which part of it to quote."""
        sums: dict[int, float] = {}
        for numbers, scores in sorted((self._scores(index, word) for word in words), key=_rows_with):
            # Rows that have common words alone are no candidates where enough have rarer ones.
            enough = len(sums) >= index.candidates and len(numbers) > len(sums)
            for number, score in zip(numbers, scores, strict=True):
                if number in sums:
                    sums[number] += score
                elif not enough:
                    sums[number] = score
        rows = nlargest(index.candidates, sums.items(), key=itemgetter(1))
        highest = max((score for _, score in rows), default=0.0)
        shares: dict[int, tuple[float, int]] = {}
        for number, score in rows:
            section_id, position = (number, 0) if index is _SECTIONS else place_of(number)
            if highest <= 0:
                continue
            share, first = shares.setdefault(section_id, (score / highest, position))
            if position < first and score / highest >= NEARLY * share:
                shares[section_id] = (share, position)
        return shares

    def _find_scores(self, index: _Index, word: str) -> _Scores:
        """Return the rows of an index that hold a word, and the BM25 score of each."""
        rows = self._library.rows(
            f"SELECT rowid, -bm25({index.table}, {', '.join(map(str, index.columns))}) "  # noqa: S608 - ours
            f"FROM {index.table} WHERE {index.table} MATCH ?",
            _quoted(word),
        )
        return array("I", (number for number, _ in rows)), array("f", (score for _, score in rows))

    def _coverage(self, words: Sequence[str]) -> dict[int, float]:
        """Return of each section which part of the weight of the words it covers."""
        covered: dict[int, float] = {}
        total = 0.0
        for word in words:
            numbers = self._sections_with(word)
            if not numbers and any(sign.isdigit() for sign in word):
                continue  # A time or a number in a message that somebody pastes.
            weight = weight_of(len(numbers), self._sections)
            total += weight
            for number in numbers:
                covered[number] = covered.get(number, 0.0) + weight
        return {number: weight / total for number, weight in covered.items() if total}

    def _named(self, words: Sequence[str]) -> dict[int, float]:
        """Return of each section whose heading has all words which part of the heading they are."""
        if not words:
            return {}
        rows = self._library.rows(
            "SELECT rowid FROM section_words WHERE section_words MATCH ?",
            f"title : ({' AND '.join(map(_quoted, words))})",
        )
        return {
            number: len(words) / max(len(words), len(words_of(self._library.sections[number].title)))
            for (number,) in rows
        }

    def _find_sections_with(self, word: str) -> "array[int]":
        """Return the numbers of the sections that hold a word, or one that may be meant by it."""
        variants = [word, *self._also_meant(word, [word])]
        rows = self._library.rows(
            "SELECT rowid FROM section_words WHERE section_words MATCH ?", _any_of(variants)
        )
        return array("I", (number for (number,) in rows))


def weight_of(found: int, sections: int) -> float:
    """Return the weight of a word in `found` of all sections: its inverse document frequency, as in BM25."""
    return log(1 + (sections - found + 0.5) / (found + 0.5))


def _rows_with(scores: _Scores) -> int:
    return len(scores[0])


def _any_of(words: Iterable[str]) -> str:
    return " OR ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    return f'"{word}"'
