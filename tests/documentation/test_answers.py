"""Questions that people ask find the right section, and questions about something else find no answer.

`questions.json` has the questions with the sections that answer them (FILE#ANCHOR). Apart from them, under
`held_back`, are questions of somebody who had seen neither the search nor the lists of words that tune it.
Nothing is changed because of a question that is held back.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.documentation.answers import answer
from keyturn.documentation.build.index import read_synonyms
from keyturn.documentation.library import Library, built_file
from keyturn.documentation.search import Search
from keyturn.web.pages import documentation
from tests.documentation.examples import PAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.documentation.library import SectionEntry

QUESTIONS: dict[str, Any] = json.loads((Path(__file__).parent / "questions.json").read_text())
HELD_BACK: dict[str, Any] = QUESTIONS["held_back"]
LIBRARY = Library(built_file())
SEARCH = Search(LIBRARY)
FIRST, AMONG_THREE, FALSE_ANSWERS = 100, 114, 2
"""Of 121 questions that are answered, and of 40 that are not."""
WORDS_IN_A_ROW = 5
PAGES_OF_THE_SITE = Path(documentation.__file__).parent


def sections_found(question: str) -> Sequence[SectionEntry]:
    """Return the sections that an answer quotes, the first one before all; none without an answer."""
    return answer(LIBRARY, SEARCH, question).sources


def is_meant(section: SectionEntry, meant: Sequence[str]) -> bool:
    return any(
        section.page.file == file and anchor in ("*", section.anchor)
        for file, _, anchor in (one.partition("#") for one in meant)
    )


def ranks(questions: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the questions whose first section is wrong, and those without a right one among three."""
    not_first, not_among = [], []
    for one in questions:
        right = [is_meant(section, one["answered_by"]) for section in sections_found(one["question"])[:3]]
        if right[:1] != [True]:
            not_first.append(one["question"])
        if not any(right):
            not_among.append(one["question"])
    return not_first, not_among


def test_the_right_section_is_found() -> None:
    """Of 120 questions at least 100 find it first, and 114 among three."""
    asked = QUESTIONS["answerable"]
    assert len(asked) >= 120
    not_first, not_among = ranks(asked)
    assert len(asked) - len(not_first) >= FIRST, not_first
    assert len(asked) - len(not_among) >= AMONG_THREE, not_among


def test_what_newcomers_asked_is_found() -> None:
    """Short and everyday questions, pasted messages among them, find their section among the first three."""
    asked = QUESTIONS["asked_by_newcomers"]
    not_first, not_among = ranks(asked)
    assert len(not_first) <= len(asked) // 3, not_first
    assert len(not_among) <= len(asked) // 8, not_among


def test_what_is_not_there_is_not_answered() -> None:
    """Of 40 questions about something else at most two are answered."""
    asked = QUESTIONS["unanswerable"]
    assert len(asked) >= 40
    wrong = [question for question in asked if sections_found(question)]
    assert len(wrong) <= FALSE_ANSWERS, wrong


def test_questions_that_nothing_was_tuned_for(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures for questions that are held back are printed; they may be lower, and not by much."""
    asked = HELD_BACK["answerable"]
    not_first, not_among = ranks(asked)
    wrong = [question for question in HELD_BACK["unanswerable"] if sections_found(question)]
    with capsys.disabled():
        print(
            f"\nheld back: {len(asked) - len(not_first)} of {len(asked)} first, "
            f"{len(asked) - len(not_among)} among three, {len(wrong)} false answers"
        )
    assert len(not_first) <= len(asked) // 3
    assert len(not_among) <= len(asked) // 5
    assert len(wrong) <= 1


def test_the_question_in_the_search_box_finds_its_answer() -> None:
    """The frame of the pages suggests a question; somebody who types it gets the section about it."""
    frame = (PAGES_OF_THE_SITE / "frame.html").read_text()
    suggested = re.search(r'placeholder="[^"]*“([^”]+)”"', frame)
    assert suggested is not None
    first = sections_found(suggested[1])[0]
    assert (first.page.file, first.anchor) == (
        "howto/restrict-a-key.md",
        "allow-a-key-from-some-networks-only",
    )


def test_every_section_that_is_meant_is_there() -> None:
    """The sections keep in step with the pages."""
    for one in (*QUESTIONS["answerable"], *QUESTIONS["asked_by_newcomers"], *HELD_BACK["answerable"]):
        assert one["answered_by"], one["question"]
        for meant in one["answered_by"]:
            file, _, anchor = meant.partition("#")
            assert anchor == "*" or anchor in PAGES[file].anchors, (one["question"], meant)


def test_the_lists_of_words_do_not_repeat_the_questions() -> None:
    """No comment and no synonym has five words of a question in a row: it would be learned by heart."""
    noted = [one for page in PAGES.values() for section in page.sections for one in section.questions]
    noted += [f"{phrase} {words}" for phrase, words in read_synonyms()]
    texts = [" ".join(re.findall(r"\w+", text.lower())) for text in noted]
    asked = [one["question"] for one in (*QUESTIONS["answerable"], *HELD_BACK["answerable"])]
    asked += [*QUESTIONS["unanswerable"], *HELD_BACK["unanswerable"]]
    for question in asked:
        words = re.findall(r"\w+", question.lower())
        for at in range(len(words) - WORDS_IN_A_ROW + 1):
            run = " ".join(words[at : at + WORDS_IN_A_ROW])
            assert not [text for text in texts if f" {run} " in f" {text} "], (question, run)


@pytest.mark.parametrize(
    "question", ["a", "the of and", "?" * 512, "key " * 128, "\N{GRINNING FACE}", "\0", "NEAR("]
)
def test_any_text_is_a_question(question: str) -> None:
    """Nothing that is asked makes the search fail."""
    assert answer(LIBRARY, SEARCH, question).question == question
