"""Answers to questions: passages of the documentation, quoted, with where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyturn.documentation.file import StoredPassage
from keyturn.documentation.library import Library, PageEntry, SectionEntry
from keyturn.documentation.search import Findings, Search

EXCERPTS = 3
RELATED = 3
FOLLOW_UPS = 3
NO_ANSWER = "The documentation does not answer this."


@dataclass(frozen=True, slots=True)
class Quotation:
    """A passage with its section."""

    section: SectionEntry
    passage: StoredPassage


@dataclass(frozen=True, slots=True)
class DocumentationAnswer:
    """The answer to one question."""

    question: str
    quotation: Quotation | None
    """The best passage; None if the documentation does not answer."""
    excerpts: Sequence[Quotation]
    related: Sequence[PageEntry]
    """Further pages; the nearest ones where there is no answer."""
    follow_ups: Sequence[SectionEntry]
    """Sections whose headings ask what comes next."""
    words: Sequence[str]
    """The words that were looked for."""

    @property
    def sources(self) -> Sequence[SectionEntry]:
        """The sections that are quoted."""
        quoted = [] if self.quotation is None else [self.quotation]
        return [one.section for one in (*quoted, *self.excerpts)]


def answer(library: Library, search: Search, question: str) -> DocumentationAnswer:
    """Return the answer to a question."""
    found = search.find(question)
    quotations = list(_quotations(library, found))
    if not found.answers or not quotations:
        near = list(dict.fromkeys(hit.section.page for hit in found.hits)) or library.contents[1:]
        return DocumentationAnswer(question, None, (), near[:RELATED], (), found.words)
    quoted = quotations[: 1 + EXCERPTS]
    shown = {one.section.page for one in quoted}
    pages = dict.fromkeys(hit.section.page for hit in found.hits if hit.section.page not in shown)
    cited = {one.section.section_id for one in quoted}
    follow_ups = [
        hit.section for hit in found.hits if hit.section.section_id not in cited and hit.section.level > 1
    ]
    return DocumentationAnswer(
        question, quoted[0], quoted[1:], list(pages)[:RELATED], follow_ups[:FOLLOW_UPS], found.words
    )


def _quotations(library: Library, found: Findings) -> Sequence[Quotation]:
    """Return the passage of each hit, for the few best ones that have one."""
    quotations: list[Quotation] = []
    for hit in found.hits:
        passages = library.passages(hit.section.section_id)
        if passages:
            quotations.append(Quotation(hit.section, _whole(passages, hit.passage or 0)))
        if len(quotations) > EXCERPTS:
            break
    return quotations


def _whole(passages: Sequence[StoredPassage], at: int) -> StoredPassage:
    """Return the passage at this place with what it needs to be understood.

    A sentence that only announces what follows is quoted with it, and of an example in several languages the
    first one, as it is shown.
    """
    if passages[at].markdown.rstrip().endswith(":") and at + 1 < len(passages):
        at += 1
    while at > 0 and _lead(passages[at]) is not None and _lead(passages[at - 1]) == _lead(passages[at]):
        at -= 1
    return passages[at]


def _lead(passage: StoredPassage) -> str | None:
    """Return the sentence before a piece of code."""
    return passage.markdown.partition("\n\n")[0] if passage.kind == "code" else None
