"""Pages of Markdown in their parts: sections with anchors, and passages that can be shown alone.

A page is CommonMark with the tables and alerts of GitHub. Anchors are those that GitHub makes. A comment
after a heading, which no reader sees, holds questions that the section answers in words of their own:

    <!-- ask: ip allowlist | whitelist cidr -->

Fences that follow each other directly and have a label behind their language (```sh curl) are one example in
several languages.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.gfm import gfm_plugin

INDEX = "README.md"
MAX_PASSAGE_CHARACTERS = 1200

_ASK = re.compile(r"<!--\s*ask:(.*?)-->", re.DOTALL)
_ASK_LINES = re.compile(r"^<!--\s*ask:.*?-->\n?", re.DOTALL | re.MULTILINE)
_CODE_SPAN = re.compile(r"`[^`]+`")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+")


class DocumentationError(Exception):
    """A page is not as it must be; says which and what to mend."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a section that answers a question by itself, verbatim."""

    kind: str
    """`paragraph`, `steps`, `item`, `row`, `code` or `alert`."""
    markdown: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what follows it, up to the next heading of any level."""

    level: int
    title: str
    anchor: str
    headings: tuple[str, ...]
    """The titles of the headings above it and its own, without that of the page."""
    questions: tuple[str, ...]
    markdown: str
    """Without the comments, with the heading."""
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class SourcePage:
    """A page as it was read."""

    file: str
    """Its path in the folder of the documentation, as `howto/rotate-a-key.md`."""
    path: str
    """The same as it is served: `howto/rotate-a-key`, `howto/gateways`, or nothing for the first page."""
    title: str
    summary: str
    """Its first paragraph, as text."""
    markdown: str
    """Without the comments."""
    tokens: list[Token] = field(repr=False)
    sections: tuple[Section, ...] = field(repr=False)

    @property
    def anchors(self) -> frozenset[str]:
        """The anchors of all headings."""
        return frozenset(section.anchor for section in self.sections)


def new_parser() -> MarkdownIt:
    """Return the parser of every page."""
    return MarkdownIt("commonmark").use(gfm_plugin).use(anchors_plugin, min_level=1, max_level=6)


def read_pages(folder: Path) -> list[SourcePage]:
    """Read all pages of a folder, but for its decisions, which are for those who change the code."""
    files = sorted(folder.rglob("*.md"))
    return [
        read_page(file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8"))
        for file in files
        if "decisions" not in file.relative_to(folder).parts
    ]


def read_page(file: str, text: str) -> SourcePage:
    """Read one page; raise `DocumentationError` if it does not begin with its title and a paragraph."""
    tokens = new_parser().parse(text)
    sections = tuple(_sections(file, text, tokens))
    if not sections or sections[0].level != 1 or [one.level for one in sections].count(1) != 1:
        raise DocumentationError(f"{file}: a page has one heading of the first level, at its beginning.")
    first = next((passage for passage in sections[0].passages if passage.kind == "paragraph"), None)
    if first is None:
        raise DocumentationError(f"{file}: say in a paragraph under the title what the page is for.")
    return SourcePage(
        file=file,
        path=served_path(file),
        title=sections[0].title,
        summary=plain_text(first.markdown),
        markdown=without_comments(text),
        tokens=tokens,
        sections=sections,
    )


def served_path(file: str) -> str:
    """Return the path at which a file of Markdown is served: a folder's `README.md` is the folder."""
    path = file.removesuffix(".md")
    return "" if path == "README" else path.removesuffix("/README")


def without_comments(text: str) -> str:
    """Return the Markdown without the comments that stand on lines of their own."""
    return _ASK_LINES.sub("", text)


def plain_text(markdown: str) -> str:
    """Return the text of a piece of Markdown, in one line."""
    words = []
    for token in new_parser().parse(markdown):
        if token.type == "inline":
            words += [one.content if one.type != "softbreak" else " " for one in token.children or ()]
            words.append(" ")
        elif token.type == "fence":
            words.append(token.content + " ")
    return " ".join("".join(words).split())


def label_of(fence: Token) -> str | None:
    """Return the label of a fence, which stands behind its language."""
    _, _, label = fence.info.strip().partition(" ")
    return label.strip() or None


def language_of(fence: Token) -> str:
    """Return the language of a fence, `text` if it names none."""
    return fence.info.strip().partition(" ")[0] or "text"


def is_one_example(first: Token, second: Token) -> bool:
    """Return whether two fences that follow each other are the same example in two languages."""
    labels = label_of(first), label_of(second)
    return None not in labels and "Answer" not in labels


def _sections(file: str, text: str, tokens: Sequence[Token]) -> Iterator[Section]:
    lines = text.splitlines(keepends=True)
    starts = [at for at, token in enumerate(tokens) if token.type == "heading_open" and token.level == 0]
    above: list[tuple[int, str]] = []
    for at, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        heading, content = tokens[at], tokens[at + 1 : end]
        level, title = int(heading.tag[1]), _text_of(tokens[at + 1])
        above = [one for one in above if one[0] < level] + [(level, title)]
        questions = [_ASK.fullmatch(one.content.strip()) for one in content if one.type == "html_block"]
        found = [match for match in questions if match is not None]
        if len(found) > 1:
            raise DocumentationError(f"{file}: {title} has two lists of questions.")
        first = _first_line(heading)
        last = _first_line(tokens[end]) if end < len(tokens) else len(lines)
        yield Section(
            level=level,
            title=title,
            anchor=str(heading.attrs["id"]),
            headings=tuple(name for depth, name in above if depth > 1),
            questions=tuple(part.strip() for one in found for part in one[1].split("|") if part.strip()),
            markdown=without_comments("".join(lines[first:last])).strip(),
            passages=tuple(_passages(content, lines)),
        )


def _passages(tokens: Sequence[Token], lines: Sequence[str]) -> Iterator[Passage]:
    blocks = list(_blocks(tokens))
    for at, (first, inside) in enumerate(blocks):
        text = _lines_of(first, lines)
        match first.type:
            case "paragraph_open":
                yield Passage("paragraph", text)
            case "alert_open" | "blockquote_open":
                yield Passage("alert", text)
            case "table_open":
                head, _, rows = text.partition("\n")
                rule, _, rows = rows.partition("\n")
                for row in rows.splitlines():
                    yield Passage("row", f"{head}\n{rule}\n{row}")
            case "ordered_list_open" if len(text) <= MAX_PASSAGE_CHARACTERS:
                yield Passage("steps", _after(_sentence_before(blocks, at, lines), text))
            case "bullet_list_open" | "ordered_list_open":
                items = (
                    one for one in inside if (one.type, one.level) == ("list_item_open", first.level + 1)
                )
                yield from (Passage("item", _lines_of(one, lines)) for one in items)
            case "fence":
                yield Passage("code", _after(_sentence_before(blocks, at, lines), text))


def _blocks(tokens: Sequence[Token]) -> Iterator[tuple[Token, Sequence[Token]]]:
    """Yield each block that lies in no other one, with the tokens inside of it."""
    at = 0
    while at < len(tokens):
        end = at + 1
        if tokens[at].nesting == 1:
            end = next(
                later + 1
                for later in range(at + 1, len(tokens))
                if tokens[later].level == tokens[at].level and tokens[later].nesting == -1
            )
        if tokens[at].type not in {"inline", "heading_close", "html_block"}:
            yield tokens[at], tokens[at + 1 : end]
        at = end


def _sentence_before(
    blocks: Sequence[tuple[Token, Sequence[Token]]], at: int, lines: Sequence[str]
) -> str | None:
    """Return the sentence that leads to a fence or to steps, over the other languages of the same example."""
    while at > 0 and blocks[at - 1][0].type == "fence":
        at -= 1
    if at == 0 or blocks[at - 1][0].type != "paragraph_open":
        return None
    text = _lines_of(blocks[at - 1][0], lines)
    hidden = _CODE_SPAN.sub(lambda span: "x" * len(span[0]), text)
    ends = [match.end() for match in _SENTENCE_END.finditer(hidden)]
    return text[ends[-1] if ends else 0 :]


def _after(sentence: str | None, text: str) -> str:
    return text if sentence is None else f"{sentence}\n\n{text}"


def _first_line(token: Token) -> int:
    return token.map[0] if token.map else 0


def _lines_of(token: Token, lines: Sequence[str]) -> str:
    first, last = token.map or (0, 0)
    return "".join(lines[first:last]).strip()


def _text_of(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ())
