"""Answers and pages of the documentation as Markdown and as JSON."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from keyturn.documentation.answers import NO_ANSWER, DocumentationAnswer, Quotation
from keyturn.documentation.library import Page, SectionEntry
from keyturn.web.pages.documentation.site import Site

_MARKS = re.compile(r"[\\`*_\[\]<>|]")
_ESCAPED = r"\\\g<0>"
"""A question is a stranger's text: no mark in it makes a link, or anything else."""


def page_as_json(found: Page, site: Site, host: str) -> Mapping[str, Any]:
    """Return a page with its Markdown and its sections."""
    return {
        "title": found.entry.title,
        "summary": found.entry.summary,
        "page": f"{host}{found.entry.address}",
        "markdown": site.markdown(found.markdown, host),
        "sections": [
            {"title": section.title, "level": section.level, "anchor": section.anchor}
            for section in found.sections
        ],
    }


def ask_address(section: SectionEntry, address: str, goal: str | None, suffix: str) -> str:
    """Return where the heading of a section is asked as a question, on the page at `address`."""
    asked = {"ask": section.title} | ({} if goal is None else {"goal": goal})
    return f"{address}{suffix}?{urlencode(asked, quote_via=quote)}"


def answer_as_markdown(
    answer: DocumentationAnswer, address: str, goal: str | None, site: Site, host: str
) -> str:
    """Return an answer in the parts that agents know: question, answer, follow-up questions, sources."""
    parts = [f"# {_MARKS.sub(_ESCAPED, answer.question)}"]
    if answer.quotation is None:
        parts.append(NO_ANSWER)
    else:
        parts += [
            site.markdown(answer.quotation.passage.markdown, host),
            f"From {_citation(answer.quotation.section, host)}.",
        ]
        for excerpt in answer.excerpts:
            parts += [
                f"From {_citation(excerpt.section, host)}:",
                site.markdown(excerpt.passage.markdown, host),
            ]
    if answer.related:
        parts.append(
            "Related pages:\n\n"
            + "\n".join(
                f"- [{one.title}]({host}{one.markdown_address}): {one.summary}" for one in answer.related
            )
        )
    parts.append("# Suggested Follow-up Questions:")
    if answer.follow_ups:
        parts.append(
            "\n".join(
                f"- [{one.title}]({host}{ask_address(one, address, goal, '.md')})"
                for one in answer.follow_ups
            )
        )
    parts.append("# Sources:")
    if answer.sources:
        parts.append("\n".join(f"- {_citation(section, host)}" for section in answer.sources))
    return "\n\n".join(parts) + "\n"


def _citation(section: SectionEntry, host: str) -> str:
    path, mark, anchor = section.address.partition("#")
    return f"[{section.cited}]({host}{path}.md{mark}{anchor})"


def answer_as_json(
    answer: DocumentationAnswer, address: str, goal: str | None, site: Site, host: str
) -> Mapping[str, Any]:
    """Return an answer with its quotations and sources."""

    def quoted(one: Quotation) -> Mapping[str, Any]:
        return {
            "text": site.markdown(one.passage.markdown, host),
            "page": f"{host}{one.section.page.address}",
            "anchor": one.section.anchor,
            "title": one.section.cited,
        }

    return {
        "question": answer.question,
        "answered": answer.quotation is not None,
        "answer": None if answer.quotation is None else quoted(answer.quotation),
        "excerpts": [quoted(one) for one in answer.excerpts],
        "sources": [{"title": one.cited, "page": f"{host}{one.address}"} for one in answer.sources],
        "related": [{"title": one.title, "page": f"{host}{one.address}"} for one in answer.related],
        "followups": [
            {"question": one.title, "page": f"{host}{ask_address(one, address, goal, '.md')}"}
            for one in answer.follow_ups
        ],
    }
