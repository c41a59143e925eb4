"""Finds the sections and passages that answer a question, with SQLite's full-text search alone.

Sections and passages are ranked by BM25 each, and the ranks are added as reciprocals (reciprocal rank fusion,
Cormack and others 2009). The words of a section are its heading, the headings above it, the questions that
its writer noted (`<!-- ask: … -->`), and its text. Whether the documentation answers at all follows from how
much of the question's weight the best section covers, a word weighing its inverse document frequency.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from keyturn.documentation.file import place_of
from keyturn.documentation.library import Library, PageEntry, SectionEntry

MAX_QUESTION_CHARACTERS = 512
CANDIDATES = 40
"""How many sections and passages of each ranking count."""
RANK_OFFSET = 20
"""The constant of the fusion: the larger, the less the first ranks stand out."""
SECTION_WEIGHTS = (6.0, 2.0, 6.0, 1.0)
"""Of heading, headings above, questions, text."""
PASSAGE_WEIGHTS = (1.0, 1.5)
"""Of text, and of the headings and questions around it."""
COVERED = 0.5
"""The part of the question's weight that the best section must cover."""

_WORD = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
_STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "after",
        "all",
        "also",
        "an",
        "and",
        "any",
        "anything",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "before",
        "being",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "for",
        "from",
        "get",
        "gets",
        "getting",
        "go",
        "had",
        "has",
        "have",
        "having",
        "here",
        "how",
        "i",
        "if",
        "im",
        "in",
        "into",
        "is",
        "isn",
        "it",
        "its",
        "just",
        "let",
        "like",
        "ll",
        "make",
        "me",
        "mine",
        "more",
        "my",
        "need",
        "no",
        "not",
        "now",
        "of",
        "off",
        "on",
        "one",
        "or",
        "our",
        "out",
        "over",
        "please",
        "see",
        "should",
        "show",
        "so",
        "some",
        "something",
        "such",
        "t",
        "tell",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "to",
        "too",
        "up",
        "us",
        "use",
        "used",
        "using",
        "via",
        "want",
        "was",
        "way",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "without",
        "would",
        "you",
        "your",
    ]
)


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
    """The part of the question's weight that the best section covers, from 0 to 1."""
    words: Sequence[str]
    """The words of the question that were looked for."""

    @property
    def answers(self) -> bool:
        """Whether the documentation answers the question."""
        return bool(self.hits) and self.coverage >= COVERED


class Search:
    """Searches a library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._synonyms = [
            (re.compile(rf"\b{re.escape(str(phrase))}\b"), words_of(str(words)))
            for phrase, words in library.rows("SELECT phrase, words FROM synonym")
        ]
        self._sections = len(library.sections)

    def find(self, question: str, *, page: PageEntry | None = None) -> Findings:
        """Return the sections that may answer the question; with `page` those of that page alone."""
        asked = question.lower()[:MAX_QUESTION_CHARACTERS]
        words = words_of(asked)
        wide = [*words, *self._also_meant(asked, words)]
        if not wide:
            return Findings((), 0.0, ())
        sections = self._ranked("section_words", SECTION_WEIGHTS, wide)
        passages = self._ranked("passage_words", PASSAGE_WEIGHTS, wide)
        scores: dict[int, float] = {}
        for rank, number in enumerate(sections):
            scores[number] = scores.get(number, 0.0) + 1 / (RANK_OFFSET + rank)
        best: dict[int, int] = {}
        for rank, number in enumerate(passages):
            section_id, position = place_of(number)
            if section_id not in best:
                best[section_id] = position
                scores[section_id] = scores.get(section_id, 0.0) + 1 / (RANK_OFFSET + rank)
        hits = [
            Hit(self._library.sections[number], best.get(number), score)
            for number, score in sorted(scores.items(), key=lambda one: -one[1])
            if page is None or self._library.sections[number].page is page
        ]
        coverage = self._coverage(words, hits[0].section.section_id) if hits else 0.0
        return Findings(hits, coverage, words)

    def _also_meant(self, asked: str, words: Iterable[str]) -> list[str]:
        known = set(words)
        return [
            word
            for phrase, meant in self._synonyms
            if phrase.search(asked)
            for word in meant
            if word not in known
        ]

    def _ranked(self, table: str, weights: Sequence[float], words: Sequence[str]) -> list[int]:
        """Return the numbers of the rows that hold any of the words, the best first."""
        of_columns = ", ".join(map(str, weights))
        rows = self._library.rows(
            f"SELECT rowid FROM {table} WHERE {table} MATCH ? "  # noqa: S608 - our own names
            f"ORDER BY bm25({table}, {of_columns}) LIMIT {CANDIDATES}",
            _any_of(words),
        )
        return [int(str(number)) for (number,) in rows]

    def _coverage(self, words: Sequence[str], section_id: int) -> float:
        """Return which part of the weight of the words a section covers."""
        covered = total = 0.0
        for word in words:
            variants = [word, *self._also_meant_by(word)]
            rows = self._library.rows(
                "SELECT rowid FROM section_words WHERE section_words MATCH ?", _any_of(variants)
            )
            weight = log(1 + (self._sections - len(rows) + 0.5) / (len(rows) + 0.5))
            total += weight
            if any(number == section_id for (number,) in rows):
                covered += weight
        return covered / total if total else 0.0

    def _also_meant_by(self, word: str) -> list[str]:
        return [one for phrase, meant in self._synonyms if phrase.fullmatch(word) for one in meant]


def words_of(text: str) -> list[str]:
    """Return the words of a text that say what it is about, each once."""
    return list(dict.fromkeys(word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS))


def _any_of(words: Iterable[str]) -> str:
    return " OR ".join(f'"{word}"' for word in words)
