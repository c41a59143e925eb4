"""The documentation as it is served: pages in their order, files, and the sections that a search finds."""

import difflib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import groupby
from lzma import LZMAError
from pathlib import Path
from typing import Any

from keyturn.documentation.file import FORMAT, StoredPage, StoredPassage, unpacked
from keyturn.documentation.sqlite import sqlite3

FILE_NAME = "documentation.db"
NEAREST_PAGES = 3
MAX_COMPARED_CHARACTERS = 100
"""Of a path: comparing takes time by its square, and strangers choose it."""
BETWEEN_HEADINGS = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"


class DocumentationMissing(Exception):
    """The file of the documentation is not there, or is not of this program."""


@dataclass(frozen=True, slots=True)
class PageEntry:
    """A page in the list of contents."""

    path: str
    """As served below `/docs/`; nothing for the first page."""
    part: str
    """The group it is in; nothing for the first page."""
    title: str
    summary: str
    file: str
    """Its source in the folder of the documentation."""

    @property
    def address(self) -> str:
        """The path of the page on the server."""
        return f"/docs/{self.path}" if self.path else "/docs"

    @property
    def markdown_address(self) -> str:
        """The path of the same page as Markdown."""
        return f"{self.address}.md"


@dataclass(frozen=True, slots=True)
class SectionEntry:
    """A section in the list of contents of its page, and as it is cited."""

    section_id: int
    page: PageEntry
    level: int
    title: str
    anchor: str
    headings: tuple[str, ...]
    """The titles above it on the page and its own; none for the beginning of the page."""

    @property
    def address(self) -> str:
        """Where the section begins."""
        return f"{self.page.address}#{self.anchor}" if self.level > 1 else self.page.address

    @property
    def cited(self) -> str:
        """The title of the page and the headings that lead to the section."""
        return f" {BETWEEN_HEADINGS} ".join((self.page.title, *self.headings))


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page."""

    entry: PageEntry
    markdown: str = field(repr=False)
    html: str = field(repr=False)
    sections: tuple[SectionEntry, ...]
    before: PageEntry | None
    after: PageEntry | None


class Library:
    """Reads the file that `documentation.build` wrote. May be used from several threads."""

    def __init__(self, file: Path) -> None:
        """Open the file; raise `DocumentationMissing` if it cannot be read."""
        if not file.is_file():
            raise DocumentationMissing(f"{file} is not there: run `make setup`.")
        self._database = sqlite3.connect(
            f"{file.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        self._lock = threading.Lock()
        try:
            if self.rows("PRAGMA user_version") != [(FORMAT,)]:
                raise DocumentationMissing(f"{file} is of another version: run `make setup`.")
            self.contents = tuple(
                PageEntry(*row)
                for row in self.rows("SELECT path, part, title, summary, file FROM page ORDER BY id")
            )
            pages = dict(
                zip(
                    (row[0] for row in self.rows("SELECT id FROM page ORDER BY id")),
                    self.contents,
                    strict=True,
                )
            )
            self.sections = {
                section_id: SectionEntry(
                    section_id, pages[page_id], level, title, anchor, tuple(json.loads(headings))
                )
                for section_id, page_id, level, title, anchor, headings in self.rows(
                    "SELECT id, page_id, level, title, anchor, headings FROM section ORDER BY id"
                )
            }
            # All of them, some 3 MB, in 50 ms: to unpack the pages that an answer quotes would take longer
            # than to find them.
            self._stored = {
                path: StoredPage(*json.loads(unpacked(content)))
                for path, content in self.rows("SELECT path, content FROM page")
            }
            (self.source_digest,) = self.rows("SELECT value FROM meta WHERE name = 'source'")[0]
        except (sqlite3.DatabaseError, LZMAError, ValueError) as error:
            raise DocumentationMissing(f"{file} cannot be read ({error}): run `make setup`.") from error
        self._entries = {entry.path: entry for entry in self.contents}

    @property
    def parts(self) -> Sequence[tuple[str, Sequence[PageEntry]]]:
        """The pages by their parts, in order."""
        return [(part, list(pages)) for part, pages in groupby(self.contents, key=lambda one: one.part)]

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a question to the file gives."""
        with self._lock:
            found: list[tuple[Any, ...]] = self._database.execute(statement, values).fetchall()
        return found

    def entry(self, path: str) -> PageEntry:
        """Return the page at this path in the list of contents; raise `KeyError` if there is none."""
        return self._entries[path]

    def page(self, path: str) -> Page | None:
        """Return the page at this path below `/docs/`, None if there is none."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        stored = self._stored[path]
        at = self.contents.index(entry)
        return Page(
            entry,
            stored.markdown,
            stored.html,
            tuple(section for section in self.sections.values() if section.page is entry),
            self.contents[at - 1] if at > 0 else None,
            self.contents[at + 1] if at + 1 < len(self.contents) else None,
        )

    def file(self, path: str) -> bytes | None:
        """Return a file that is no page, such as a configuration to copy; None if there is none."""
        found = self.rows("SELECT content FROM file WHERE path = ?", path)
        return bytes(found[0][0]) if found else None

    def nearest(self, path: str) -> Sequence[PageEntry]:
        """Return the pages whose paths are most like this one, which is no page."""
        path = path[:MAX_COMPARED_CHARACTERS]
        name = path.rpartition("/")[2]

        def likeness(entry: PageEntry) -> float:
            whole = difflib.SequenceMatcher(None, path, entry.path).ratio()
            last = difflib.SequenceMatcher(None, name, entry.path.rpartition("/")[2]).ratio()
            return max(whole, last)

        return sorted(self.contents[1:], key=likeness, reverse=True)[:NEAREST_PAGES]

    def passages(self, section_id: int) -> Sequence[StoredPassage]:
        """Return the passages of a section."""
        page = self.sections[section_id].page
        first = next(number for number, section in self.sections.items() if section.page is page)
        return [StoredPassage(*one) for one in self._stored[page.path].passages[section_id - first]]


def built_file() -> Path:
    """Return where the file is that came with the package."""
    return Path(str(files("keyturn.documentation") / FILE_NAME))
