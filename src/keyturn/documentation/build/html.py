"""Pages as HTML, in the components of the product's stylesheet.

The text is ours, so nothing is sanitized. HTML in a page is an error all the same: it reads badly elsewhere.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from pygments import lex
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, String, _TokenType
from pygments.util import ClassNotFound

from keyturn.documentation.build.sources import (
    DocumentationError,
    SourcePage,
    is_one_example,
    label_of,
    language_of,
    new_parser,
)
from keyturn.documentation.places import HOST, HOST_PLACE, REPOSITORY_PLACE

_FENCES = re.compile(r"(^ *```.*?^ *```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CLASSES: Sequence[tuple[_TokenType, str]] = (
    (Comment, "c"),
    (String, "s"),
    (Keyword, "k"),
    (Name.Tag, "k"),
)
_ALERTS = {
    "NOTE": ("is-plain", "i-info"),
    "TIP": ("", "i-ok"),
    "IMPORTANT": ("is-caution", "i-info"),
    "WARNING": ("is-caution", "i-warn"),
    "CAUTION": ("is-bad", "i-warn"),
}
"""The tone and the icon of each of GitHub's alerts."""


class PageRenderer(RendererHTML):
    """Renders one page. Its links lead to `pages`, by their file, and to other `files` that are served."""

    def __init__(self, page: SourcePage, pages: Mapping[str, SourcePage], files: frozenset[str]) -> None:
        super().__init__()
        self._page = page
        self._pages = pages
        self._files = files
        self._codes = 0
        self._tables: Counter[str] = Counter()
        self._title = page.title
        self._is_elsewhere = False

    def page(self) -> str:
        """Return the page without its title; raise `DocumentationError` for a link that leads nowhere."""
        tokens = self._page.tokens
        end = next(at for at, token in enumerate(tokens) if token.type == "heading_close")
        return self.render(_with_tabs(tokens[end + 1 :]), new_parser().options, {})

    def piece(self, markdown: str) -> str:
        """Return a piece of the page's Markdown as HTML, to be shown elsewhere."""
        parser = new_parser()
        self._is_elsewhere = True
        try:
            return self.render(_with_tabs(parser.parse(markdown)), parser.options, {})
        finally:
            self._is_elsewhere = False

    def heading_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Begin a heading with its anchor."""
        self._title = "".join(child.content for child in tokens[idx + 1].children or ())
        return f'<{tokens[idx].tag} id="{escape(str(tokens[idx].attrs["id"]))}">'

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """End a heading with the link to it."""
        opened = next(tokens[at] for at in range(idx, -1, -1) if tokens[at].type == "heading_open")
        anchor = escape(str(opened.attrs["id"]))
        label = escape(f"Link to “{self._title}”")
        link = f'<a class="anchor" href="#{anchor}" aria-label="{label}" data-markdown-ignore>#</a>'
        return f" {link}</{opened.tag}>\n"

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Begin a table that scrolls by itself where it is too wide."""
        name = f"Table: {self._title}"
        self._tables[name] += 1
        label = escape(name if self._tables[name] == 1 else f"{name} ({self._tables[name]})")
        return (
            f'<div class="scroll card" tabindex="0" role="region" aria-label="{label}">'
            '<table class="rows keep">\n'
        )

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """End a table."""
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Begin the head of a column; the corner of a table whose rows have heads is none."""
        return '<th scope="col">' if tokens[idx + 1].content else "<td>"

    def th_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """End it."""
        return "</th>\n" if tokens[idx - 1].content else "</td>\n"

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Begin a cell; the stylesheet says how it is aligned."""
        return "<td>"

    def alert_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Begin a notice."""
        tone, icon = _ALERTS[tokens[idx].info]
        return f'<div class="notice {tone}">{_icon(icon)}<div>'

    def alert_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """End a notice."""
        return "</div></div>\n"

    def alert_title_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Begin the word that says what kind of notice it is, for those who do not see its icon."""
        return '<p class="hide">'

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Begin a link, to where it leads as served."""
        return f'<a href="{escape(self.served_link(str(tokens[idx].attrs["href"])))}">'

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Render a picture; raise `DocumentationError` for one that is not served."""
        address = self.served_link(str(tokens[idx].attrs["src"]))
        if address.removeprefix("/docs/") not in self._files:
            raise DocumentationError(
                f"{self._page.file}: {tokens[idx].attrs['src']} is not a file that is served."
            )
        return f'<img src="{escape(address)}" alt="{escape(tokens[idx].content)}">'

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Leave a comment out; raise `DocumentationError` for anything else."""
        if tokens[idx].content.lstrip().startswith("<!--"):
            return ""
        raise DocumentationError(f"{self._page.file} holds HTML: {tokens[idx].content.strip()}")

    def html_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Raise `DocumentationError`: HTML reads badly elsewhere."""
        raise DocumentationError(f"{self._page.file} holds HTML: {tokens[idx].content}")

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Render code with its button to copy it."""
        fence, self._codes = tokens[idx], self._codes + 1
        name = f"code-{self._codes}"
        label = label_of(fence)
        caption = "" if label is None else f'<figcaption class="small muted">{escape(label)}</figcaption>'
        code = (
            f'<div class="code"><pre tabindex="0"><code id="{name}">{_highlighted(fence)}</code></pre>'
            f'<button type="button" data-copy="{name}" hidden>{_icon("i-copy")}Copy'
            '<span class="hide"> the code</span></button></div>'
        )
        if caption and not env.get("in tabs"):
            return f"<figure>{caption}{code}</figure>\n"
        return code + "\n"

    def tabs(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        """Render one example in several languages, of which the reader sees the one they chose."""
        name, parts = f"tabs-{self._codes + 1}", []
        for at, fence in enumerate(tokens[idx].children or ()):
            label = label_of(fence) or ""
            checked = " checked" if at == 0 else ""
            value = escape(label.lower().replace(" ", "-"))
            code = self.fence([fence], 0, options, {"in tabs": True})
            parts.append(
                f'<label><input type="radio" name="{name}" value="{value}"{checked} '
                f'data-remember="language">{escape(label)}</label>\n<div class="panel">{code}</div>'
            )
        return (
            '<fieldset class="tabset is-code"><legend class="hide">Language</legend>\n'
            + "\n".join(parts)
            + "\n</fieldset>\n"
        )

    def markdown(self, text: str) -> str:
        """Return Markdown of the page with links to Markdown on the server, wherever it is read."""
        parts = _FENCES.split(text)
        parts[::2] = [_LINK.sub(self._absolute, part) for part in parts[::2]]
        return "".join(parts)

    def _absolute(self, link: re.Match[str]) -> str:
        target = self.served_link(link[1])
        if target.startswith("#"):
            target = f"{'/docs' + '/' * bool(self._page.path)}{self._page.path}{target}"
        if target.startswith("/"):
            path, mark, anchor = target.partition("#")
            file = path.removeprefix("/docs").removeprefix("/")
            target = f"{HOST_PLACE}{path}{'' if file in self._files else '.md'}{mark}{anchor}"
        return f"]({target})"

    def served_link(self, target: str) -> str:
        """Return where a link of this page leads as served; raise `DocumentationError` if nowhere."""
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            return target
        file, anchor = self._page.file, parts.fragment
        if parts.path:
            file = posixpath.normpath(posixpath.join(posixpath.dirname(self._page.file), parts.path))
        page = self._pages.get(file)
        if page is not None:
            if anchor and anchor not in page.anchors:
                raise DocumentationError(f"{self._page.file}: {target} leads to no heading of {file}.")
            address = "/docs" if not page.path else f"/docs/{page.path}"
            shown = address if parts.path or self._is_elsewhere else ""
            return shown + (f"#{anchor}" if anchor else "")
        if file in self._files:
            return f"/docs/{file}"
        return f"{REPOSITORY_PLACE}/{posixpath.normpath(posixpath.join('docs', file))}"


def _icon(name: str) -> str:
    return f'<svg class="icon" aria-hidden="true"><use href="/static/icons.svg#{name}"/></svg>'


def _with_tabs(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens with each example in several languages as one token."""
    done: list[Token] = []
    for token in tokens:
        before = done[-1] if done else None
        if token.type == "fence" and before is not None and before.type in {"fence", "tabs"}:
            example = before if before.type == "fence" else (before.children or [])[-1]
            if is_one_example(example, token):
                if before.type == "fence":
                    done[-1] = Token("tabs", "", 0, children=[before], level=before.level, map=before.map)
                (done[-1].children or []).append(token)
                continue
        done.append(token)
    return done


def _highlighted(fence: Token) -> str:
    """Return code as HTML, with the few kinds of words that the stylesheet tells apart."""
    try:
        lexer = get_lexer_by_name(language_of(fence), stripnl=False)
    except ClassNotFound:
        return escape(fence.content.rstrip("\n")).replace(HOST, HOST_PLACE)
    # Before the words are told apart: they would part the address.
    code = fence.content.rstrip("\n").replace(HOST, HOST_PLACE)
    parts: list[tuple[str, str]] = []
    for kind, text in lex(code, lexer):
        name = next((name for of, name in _CLASSES if kind in of), "")
        if parts and parts[-1][0] == name:
            parts[-1] = (name, parts[-1][1] + text)
        else:
            parts.append((name, text))
    html = "".join(
        f'<span class="{name}">{escape(text)}</span>' if name else escape(text) for name, text in parts
    ).rstrip("\n")
    if html.count(HOST_PLACE) != code.count(HOST_PLACE):
        raise DocumentationError(f"The address of an example is torn apart: {code}")
    return html
