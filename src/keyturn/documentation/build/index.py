"""Writes the pages and the full-text index into one SQLite file."""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from keyturn.documentation.build.html import PageRenderer
from keyturn.documentation.build.sources import (
    INDEX,
    MAX_PASSAGE_CHARACTERS,
    DocumentationError,
    SourcePage,
    plain_text,
    read_pages,
)
from keyturn.documentation.file import FORMAT, StoredPage, StoredPassage, packed, part_id
from keyturn.documentation.places import HOST, HOST_PLACE
from keyturn.documentation.sqlite import sqlite3
from keyturn.documentation.words import digest_of_question, plain

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE page (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, part TEXT NOT NULL, title TEXT NOT NULL,
    summary TEXT NOT NULL, file TEXT NOT NULL, content BLOB NOT NULL
);
CREATE TABLE file (path TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE section (
    id INTEGER PRIMARY KEY, page_id INTEGER NOT NULL REFERENCES page, level INTEGER NOT NULL,
    anchor TEXT NOT NULL, title TEXT NOT NULL, headings TEXT NOT NULL
);
CREATE VIRTUAL TABLE section_words USING fts5(
    title, headings, questions, body, content='', tokenize='porter unicode61'
);
CREATE VIRTUAL TABLE question_words USING fts5(text, content='', tokenize='porter unicode61');
CREATE VIRTUAL TABLE passage_words USING fts5(text, content='', tokenize='porter unicode61');
CREATE TABLE asked (digest INTEGER PRIMARY KEY, section_id INTEGER NOT NULL);
CREATE TABLE synonym (phrase TEXT NOT NULL, words TEXT NOT NULL);
"""

_LIST_LINK = re.compile(r"^[-*] \[(?P<title>[^\]]+)\]\((?P<file>[^)#]+)\)", re.MULTILINE)
_PART = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """A group of pages, in reading order, as the first page lists them."""

    title: str
    files: tuple[str, ...]


def build(source: Path, target: Path) -> None:
    """Write the file `target` from the folder `source`; raise `DocumentationError` if a page is wrong."""
    pages = {page.file: page for page in read_pages(source)}
    others = _other_files(source)
    parts = _parts(pages)
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(partial)) as database:
        database.executescript(SCHEMA)
        database.execute(f"PRAGMA user_version = {FORMAT}")
        _write_page(database, pages[INDEX], "", PageRenderer(pages[INDEX], pages, frozenset(others)))
        for part in parts:
            for file in part.files:
                renderer = PageRenderer(pages[file], pages, frozenset(others))
                _write_page(database, pages[file], part.title, renderer)
        database.executemany("INSERT INTO file VALUES (?, ?)", sorted(others.items()))
        database.executemany("INSERT INTO synonym VALUES (?, ?)", read_synonyms())
        database.execute("INSERT INTO meta VALUES ('source', ?)", (digest_of(source),))
        for table in ("section_words", "question_words", "passage_words"):
            database.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")  # noqa: S608 - our names
        database.commit()
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("VACUUM")
    partial.replace(target)


def digest_of(source: Path) -> str:
    """Return a digest of all that a folder of documentation holds, and of the synonyms."""
    digest = sha256()
    for file in sorted(_files_of(source)):
        digest.update(f"{file.relative_to(source).as_posix()}\0".encode())
        digest.update(sha256(file.read_bytes()).digest())
    digest.update(_synonyms_text().encode())
    return digest.hexdigest()


def read_synonyms() -> list[tuple[str, str]]:
    """Return each phrase with the words that it may also stand for, from `synonyms.txt`."""
    pairs = []
    for line in _synonyms_text().splitlines():
        if line.strip() and not line.startswith("#"):
            phrases, _, words = line.partition("=")
            if not words.strip():
                raise DocumentationError(f"synonyms.txt: {line}: write `phrase, phrase = words`.")
            pairs += [(phrase.strip(), words.strip()) for phrase in phrases.split(",")]
    return pairs


def _synonyms_text() -> str:
    return (files("keyturn.documentation") / "build" / "synonyms.txt").read_text(encoding="utf-8")


def _files_of(source: Path) -> Iterable[Path]:
    return (
        file
        for file in source.rglob("*")
        if file.is_file() and not {"decisions", "images"} & set(file.relative_to(source).parts)
    )


def _other_files(source: Path) -> dict[str, bytes]:
    """Return the files that are no pages, such as configurations to copy."""
    return {
        file.relative_to(source).as_posix(): file.read_bytes()
        for file in _files_of(source)
        if file.suffix != ".md"
    }


def _parts(pages: dict[str, SourcePage]) -> Sequence[Part]:
    """Return the parts with their pages, as the first page lists them: each page once."""
    if INDEX not in pages:
        raise DocumentationError(f"There is no {INDEX}.")
    text = pages[INDEX].markdown
    starts = list(_PART.finditer(text))
    parts = []
    for at, start in enumerate(starts):
        end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        found = tuple(match["file"] for match in _LIST_LINK.finditer(text, start.end(), end))
        if found:
            parts.append(Part(start["title"], found))
    listed = [file for part in parts for file in part.files]
    if wrong := set(listed) ^ (set(pages) - {INDEX}):
        raise DocumentationError(
            f"{INDEX} lists each page once; this is not so of {', '.join(sorted(wrong))}."
        )
    if len(set(listed)) != len(listed):
        raise DocumentationError(f"{INDEX} lists a page twice.")
    return parts


def _write_page(database: sqlite3.Connection, page: SourcePage, part: str, renderer: PageRenderer) -> None:
    # A passage that is too long to be quoted is left out; its section is found all the same.
    passages = [
        [one for one in section.passages if len(one.markdown) <= MAX_PASSAGE_CHARACTERS]
        for section in page.sections
    ]
    stored = [
        [
            StoredPassage(one.kind, renderer.markdown(one.markdown), renderer.piece(one.markdown))
            for one in several
        ]
        for several in passages
    ]
    page_id = database.execute(
        "INSERT INTO page (path, part, title, summary, file, content) VALUES (?, ?, ?, ?, ?, ?)",
        (
            page.path,
            part,
            page.title,
            page.summary,
            page.file,
            _packed(StoredPage(renderer.markdown(page.markdown), renderer.page(), stored)),
        ),
    ).lastrowid
    for section, quoted in zip(page.sections, passages, strict=True):
        headings, questions = " ".join((page.title, *section.headings)), " | ".join(section.questions)
        section_id = database.execute(
            "INSERT INTO section (page_id, level, anchor, title, headings) VALUES (?, ?, ?, ?, ?)",
            (page_id, section.level, section.anchor, section.title, json.dumps(section.headings)),
        ).lastrowid
        if page.file == INDEX and section.level > 1:
            continue  # The lists of pages would be found by every question.
        database.execute(
            "INSERT INTO section_words (rowid, title, headings, questions, body) VALUES (?, ?, ?, ?, ?)",
            (section_id, section.title, headings, questions, plain_text(section.markdown)),
        )
        database.executemany(
            "INSERT INTO question_words (rowid, text) VALUES (?, ?)",
            (
                (part_id(section_id, at), plain(question))
                for at, question in enumerate((section.title, *section.questions))
            ),
        )
        database.executemany(
            "INSERT OR IGNORE INTO asked (digest, section_id) VALUES (?, ?)",
            ((digest_of_question(plain(question)), section_id) for question in section.questions),
        )
        database.executemany(
            "INSERT INTO passage_words (rowid, text) VALUES (?, ?)",
            ((part_id(section_id, at), plain_text(one.markdown)) for at, one in enumerate(quoted)),
        )


def _packed(page: StoredPage) -> bytes:
    """Return a page as it is stored, with the place for the address of the server."""
    return packed(json.dumps(page, ensure_ascii=False).replace(HOST, HOST_PLACE))
