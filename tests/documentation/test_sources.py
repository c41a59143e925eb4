"""Pages of Markdown: their sections, anchors, questions and passages, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.documentation.build.html import PageRenderer
from keyturn.documentation.build.index import build, digest_of
from keyturn.documentation.build.sources import DocumentationError, plain_text, read_page
from keyturn.documentation.library import Library, built_file
from tests.documentation.examples import DOCS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = """# Keys

A key opens an API. It is secret.

## Rotate a key (`overlap`)
<!-- ask: new secret | replace a key -->

Do it like this:

```sh curl
curl http://127.0.0.1:8400/verify
```

```python Python
print("http://127.0.0.1:8400")
```

```json Answer
{"id": 17}
```

| Field | Meaning |
|---|---|
| `id` | its number |
| `name` | its name |

> [!WARNING]
> The old secret ends.

## Rotate a key (`overlap`)

- One thing.
- Another, see [below](#keys).
"""


def rendered(text: str, **others: str) -> str:
    pages = {f"{name}.md": read_page(f"{name}.md", other) for name, other in ({"a": text} | others).items()}
    return PageRenderer(pages["a.md"], pages, frozenset({"nginx.conf"})).page()


def test_a_page_has_sections_with_the_anchors_of_github() -> None:
    """Anchors are those of the repository's page, also where a heading stands twice."""
    page = read_page("a.md", PAGE)
    assert [section.anchor for section in page.sections] == [
        "keys",
        "rotate-a-key-overlap",
        "rotate-a-key-overlap-1",
    ]
    assert page.title == "Keys"
    assert page.summary == "A key opens an API. It is secret."
    assert page.sections[1].questions == ("new secret", "replace a key")
    assert page.sections[1].headings == ("Rotate a key (overlap)",)


def test_what_writers_note_for_the_search_is_shown_to_nobody() -> None:
    """The questions of a section are neither in its text nor on its page."""
    page = read_page("a.md", PAGE)
    assert "new secret" not in page.markdown + page.sections[1].markdown + rendered(PAGE)


def test_passages_can_be_shown_alone() -> None:
    """Each is verbatim: a row keeps its head, and code the sentence that leads to it."""
    first, second, third = read_page("a.md", PAGE).sections
    assert [one.kind for one in second.passages] == [
        "paragraph",
        "code",
        "code",
        "code",
        "row",
        "row",
        "alert",
    ]
    assert second.passages[1].markdown.startswith("Do it like this:\n\n```sh curl\n")
    assert second.passages[2].markdown.startswith("Do it like this:\n\n```python Python\n")
    assert second.passages[5].markdown == "| Field | Meaning |\n|---|---|\n| `name` | its name |"
    assert [one.markdown for one in third.passages] == ["- One thing.", "- Another, see [below](#keys)."]
    assert first.passages[0].kind == "paragraph"


def test_one_example_in_several_languages_is_a_set_of_tabs() -> None:
    """The languages are chosen among; the answer, and code without a label, stand for themselves."""
    html = rendered(PAGE)
    assert html.count("<fieldset") == 1
    assert html.count('data-remember="language"') == 2
    assert "<figcaption" in html
    assert html.index("</fieldset>") < html.index("Answer</figcaption>")


def test_text_is_escaped() -> None:
    """Signs of HTML in code, in text and in a heading are shown as they are."""
    html = rendered(
        "# A <b>\n\nText & `<i>`.\n\n## B & C\n\n```text\n<script>\n```\n".replace("<b>", "&lt;b&gt;")
    )
    assert "<script>" not in html
    assert "<i>" not in html
    assert "B &amp; C" in html


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("## No title\n\nText.\n", "one heading of the first level"),
        ("# A\n\nText.\n\n# B\n\nText.\n", "one heading of the first level"),
        ("# A\n\n## B\n\nText.\n", "what the page is for"),
        ("# A\n\nText <b>bold</b>.\n", "holds HTML"),
        ("# A\n\nText.\n\n<div>\n</div>\n", "holds HTML"),
        ("# A\n\n![b](b.png)\n", "not a file that is served"),
        ("# A\n\nSee [b](b.md#nowhere).\n", "leads to no heading"),
        ("# A\n\nSee [b](#nowhere).\n", "leads to no heading"),
    ],
)
def test_a_page_that_is_wrong_is_told(text: str, fault: str) -> None:
    """The one who builds learns which page to mend, and how."""
    with pytest.raises(DocumentationError, match=fault):
        rendered(text, b="# B\n\nText.\n")


def test_each_page_is_listed_once(tmp_path: Path) -> None:
    """A page that the first one does not list, or lists twice, is told: nobody would find it."""
    (tmp_path / "README.md").write_text("# Docs\n\nAll.\n\n## Start\n\n- [A](a.md): one\n")
    (tmp_path / "a.md").write_text("# A\n\nText.\n")
    build(tmp_path, tmp_path / "file.db")
    assert [(one.path, one.part) for one in Library(tmp_path / "file.db").contents] == [
        ("", ""),
        ("a", "Start"),
    ]
    (tmp_path / "b.md").write_text("# B\n\nText.\n")
    with pytest.raises(DocumentationError, match=r"b\.md"):
        build(tmp_path, tmp_path / "file.db")


def test_text_without_markup() -> None:
    """The index holds words, and no marks, targets or fences."""
    assert plain_text("A **b** [c](d.md) `e`.\n\n```sh\nf g\n```\n") == "A b c e. f g"


def test_what_is_served_is_what_is_written() -> None:
    """The built file is of the pages of this checkout: `make` builds it anew when one changes."""
    assert Library(built_file()).source_digest == digest_of(DOCS), "run `make setup`"
