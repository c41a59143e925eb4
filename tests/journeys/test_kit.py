"""The page of all components against pictures of it: a change of style that nobody meant is seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.journeys.browsers import NARROW, WIDE, window
from tests.journeys.thumbnails import Thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, ViewportSize

    from tests.journeys.browsers import Site

KEPT = Path(__file__).with_name("pictures")
NEW = KEPT / "new"
"""Where a picture that differs is left in full size: the folder of a run ends with it."""
ACCEPT = "KEYTURN_SCREENSHOTS=1 .venv/bin/pytest tests/journeys/test_kit.py"
MAX_PICTURE_BYTES = 36_000
"""Of each of the four."""
MAX_PAGE_BYTES = 60_000
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
CHANGES = (
    ":root { --accent-soft: #e0e9f1 }",
    ".notice { padding-block: .75rem }",
    ".badge { border-radius: 0 }",
)
FONTS = """() => {
  const { style } = document.documentElement;
  style.setProperty("--sans", "'DejaVu Sans'");
  style.setProperty("--mono", "'DejaVu Sans Mono'");
}"""
"""Those of every machine on which the tests run, whatever its system font is."""
ADOPT = """(text) => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  document.adoptedStyleSheets = [sheet];
}"""
SECTION_AT = """(y) => [...document.querySelectorAll("main section[aria-labelledby]")]
  .filter((section) => section.getBoundingClientRect().top + scrollY <= y)
  .map((section) => section.querySelector("h2, h3")?.textContent).findLast((text) => text) ?? "the head"
"""


@pytest.fixture
def blank(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_components_look_as_they_did(
    site: Site, chromium: Browser, blank: Page, size: ViewportSize
) -> None:
    """Each component looks as in the pictures that are kept, wide and narrow, light and dark."""
    different = []
    with window(chromium, site, viewport=size, timezone_id="UTC") as opened:
        page = opened.page
        for scheme in SCHEMES:
            name = f"kit-{size['width']}-{scheme}.png"
            taken = _taken(page, scheme)
            shown = Thumbnail.of(taken, blank)
            if os.environ.get("KEYTURN_SCREENSHOTS") == "1":
                _keep(shown, KEPT / name)
                continue
            differs_at = shown.first_difference(Thumbnail.of((KEPT / name).read_bytes(), blank, cell=1))
            if differs_at is not None:
                different.append(_told(page, taken, NEW / name, differs_at))
        assert opened.watch.weight(page) < MAX_PAGE_BYTES
    assert not different, "\n".join(different)


def test_a_small_change_is_seen(site: Site, chromium: Browser, blank: Page) -> None:
    """One token, one padding or one corner that changes makes the pictures differ."""
    with window(chromium, site, timezone_id="UTC") as opened:
        before = Thumbnail.of(_taken(opened.page), blank)
        for change in CHANGES:
            opened.page.evaluate(ADOPT, change)
            after = Thumbnail.of(opened.page.screenshot(full_page=True, animations="disabled"), blank)
            assert after.first_difference(before) is not None, change


def _taken(page: Page, scheme: Literal["light", "dark"] = "light") -> bytes:
    page.emulate_media(color_scheme=scheme)
    page.goto("/docs/design")
    page.evaluate(FONTS)
    return page.screenshot(full_page=True, animations="disabled")


def _keep(shown: Thumbnail, path: Path) -> None:
    content = shown.png()
    assert len(content) < MAX_PICTURE_BYTES
    path.write_bytes(content)


def _told(page: Page, taken: bytes, path: Path, differs_at: int) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(taken)
    section = page.evaluate(SECTION_AT, differs_at)
    return (
        f"The components differ from tests/journeys/pictures/{path.name}, first in “{section}”, "
        f"{differs_at} px below the top. They look like {path} now. If that is meant, keep it with: {ACCEPT}"
    )
