"""The stylesheet and the script of the pages: how large they may be, and that each rule has a use."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "src" / "keyturn" / "web"
STATIC = WEB / "static"
WRITERS = (
    *WEB.glob("pages/**/*.html"),
    *WEB.glob("pages/**/*.py"),
    *STATIC.glob("*.js"),
    *(WEB.parent / "documentation").glob("**/*.py"),
)
"""Files that write HTML."""
WITHOUT_RULE = {"answer", "further", "is-unnamed"}
"""Classes by which tests and script find things."""

_DECLARED = re.compile(r":\s[^;{}]*(?=[;}])")
_CLASS = re.compile(r"\.([a-z][\w-]*)")
_ATTRIBUTE = re.compile(r"""class(?:Name = |=)(?:"([^"]*)"|'([^']*)')""")
_EXPRESSION = re.compile(r"\{[{%].*?[%}]\}")


@cache
def styled() -> frozenset[str]:
    """Return the classes that the stylesheet names."""
    text = re.sub(r"/\*.*?\*/", "", (STATIC / "face.css").read_text(), flags=re.DOTALL)
    return frozenset(_CLASS.findall(_DECLARED.sub("", text)))


@pytest.mark.parametrize(("name", "limit"), [("face.css", 27_000), ("face.js", 6_000), ("icons.svg", 6_000)])
def test_a_page_loads_little(name: str, limit: int) -> None:
    """What every page loads stays small, unpacked."""
    assert (STATIC / name).stat().st_size < limit


def test_every_rule_has_a_page() -> None:
    """No class of the stylesheet is one that nothing writes."""
    written = "\n".join(path.read_text() for path in WRITERS if path.stem != "kit")
    words = frozenset(re.findall(r"[\w-]+", written))
    assert styled() - words == set()


def test_every_class_has_a_rule() -> None:
    """No page names a class that the stylesheet does not know."""
    named = {
        word
        for path in WRITERS
        for found in _ATTRIBUTE.findall(path.read_text())
        for word in _EXPRESSION.sub(" ", "".join(found)).split()
        if re.fullmatch(r"[a-z][\w-]*", word)
    }
    assert named - styled() == WITHOUT_RULE
