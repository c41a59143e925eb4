"""Chromium for the journeys: how it starts, what is watched while it shows a page, what people do in it."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.conftest import PASSWORD
from tests.people import restricted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Locator,
        Page,
        Playwright,
        Request,
        Response,
        ViewportSize,
    )

    from keyturn.core.lifetimes import Lifetime
    from keyturn.core.people import UserRecord
    from keyturn.services.keys.keys import CreatedKey
    from tests.fakes import Clock
    from tests.servers import RunningServer

CONNECTION = "123456789"
WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 360, "height": 740}
ZOOMED: ViewportSize = {"width": 320, "height": 256}
"""What a window of 1280 by 1024 is at 400 % (WCAG 2.2, 1.4.10)."""
TIMEOUT_MILLISECONDS = 10_000
MAX_PICTURE_BYTES = 200_000
"""A page that is full of text has some 150 kB."""
PICTURES = Path(__file__).parents[2] / "docs" / "images"

AXE_TAGS = ("wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice")
AXE_COLOUR_RULES = ("color-contrast", "link-in-text-block")
"""What a change from light to dark, which leaves the markup as it is, can break."""
AXE_RUN = """async (runOnly) => {
  for (const moving of document.getAnimations())
    if (Number.isFinite(moving.effect.getComputedTiming().endTime)) moving.finish();
  const found = await axe.run({ resultTypes: ["violations"], runOnly });
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.target.join(" ")}: ${node.failureSummary}`));
}"""
"""What axe-core finds once every change of colour has come to its end."""

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", (violation) =>
  console.error(`CSP: ${violation.violatedDirective} refused ${violation.blockedURI}`));"""

FOCUS = """() => {
  const focused = document.activeElement;
  const shows = (element) => {
    const style = getComputedStyle(element);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  };
  const box = focused.getBoundingClientRect();
  const isInView = box.width > 0 && box.height > 0 && box.top >= 0 && box.left >= 0
    && box.bottom <= innerHeight && box.right <= innerWidth;
  const isVisible = shows(focused) || (focused.matches("input[type=radio]") && shows(focused.parentElement));
  return isInView && isVisible ? null : focused.outerHTML;
}"""

_numbers = itertools.count(1)


def launch(playwright: Playwright, *, without_default_arguments: Sequence[str] = ()) -> Browser:
    """Start Chromium, or skip where there is none."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no browser: install chromium to run these tests")
    return playwright.chromium.launch(
        executable_path=executable,
        args=list(ARGUMENTS),
        ignore_default_args=list(without_default_arguments) or None,
    )


@dataclass
class Site:
    """A server, and the clock that it reads."""

    server: RunningServer
    clock: Clock

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.services.settings.port}"

    def add_person(
        self,
        userid: str | None = None,
        *,
        name: str | None = "Ada Marsh",
        permissions: frozenset[str] = frozenset(),
    ) -> Person:
        """Add somebody whom no other test knows."""
        user = self.server.services.users.add(
            COMMAND_LINE,
            userid=userid or f"ada{next(_numbers)}",
            name=name,
            email="ada@example.com",
            password=PASSWORD,
            permissions=permissions,
        )
        return Person(self, user)

    def add_connection(self) -> None:
        """Register the connection of the documentation's example."""
        owner = self.add_person("owner", permissions=frozenset(Permission))
        details = {"technology": "Snowflake", "hostname": "warehouse.example.com", "port": 443}
        self.server.services.connections.register(COMMAND_LINE, owner.user.user_id, CONNECTION, details)


@dataclass(frozen=True)
class Person:
    """Somebody with an account."""

    site: Site
    user: UserRecord

    def add_key(
        self, name: str | None, lifetime: Lifetime | None = None, *networks: str, dpop_jkt: str | None = None
    ) -> CreatedKey:
        return self.site.server.services.keys.create_for(
            self.user.user_id,
            COMMAND_LINE,
            NewKey(
                name,
                lifetime,
                restrictions=restricted(allowFrom=networks or None, dpopJkt=dpop_jkt),
            ),
        )

    def revoke(self, key: CreatedKey) -> None:
        self.site.server.services.keys.revoke_any(key.record.key_id, COMMAND_LINE)

    def session(self, address: str = "127.0.0.1", user_agent: str | None = "Firefox/140.0") -> Any:
        """Start a browser session without a browser; return its cookie."""
        origin = Origin(address=address, user_agent=user_agent)
        started = self.site.server.services.logins.log_in_browser(self.user.userid, PASSWORD, origin)
        return {"name": "keyturn", "value": started.cookie, "url": self.site.url, "httpOnly": True}


@dataclass
class Watch:
    """What a browser complains of, and what it loads, over the life of a context."""

    origin: str
    messages: list[tuple[str, str]] = field(default_factory=list)
    """Text, and the address that it is about."""
    refused: set[str] = field(default_factory=set)
    """Addresses of documents that were answered with an error status, as error pages are."""
    requests: list[Request] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> None:
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.messages.append((f"exception: {error.error}", "")))
        context.on("request", self._on_request)
        context.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.messages.append((message.text, message.location["url"].partition("#")[0]))

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)
        if not request.url.startswith(f"{self.origin}/"):
            self.messages.append(("a request that leaves the origin", request.url))

    def _on_response(self, response: Response) -> None:
        if response.request.is_navigation_request() and response.status >= 400:
            self.refused.add(response.url.partition("#")[0])

    def complaints(self) -> list[str]:
        """Return all that went wrong; not that an error page has an error status, which Chromium logs."""
        return [
            f"{text} ({address})"
            for text, address in self.messages
            if not (
                text.startswith("Failed to load resource: the server responded") and address in self.refused
            )
        ]

    def weight(self, page: Page) -> int:
        """Return how many bytes were transferred for the page that is shown, as if it were the first."""
        documents = [r for r in self.requests if r.is_navigation_request() and r.url == page.url]
        parts = {r.url: r for r in reversed(self.requests) if not r.is_navigation_request()}
        return sum(_transferred(request) for request in (documents[-1], *parts.values()))


def _transferred(request: Request) -> int:
    sizes = request.sizes()
    return sizes["responseBodySize"] + sizes["responseHeadersSize"]


@dataclass
class Window:
    """One page of a browser with its own cookies, watched."""

    page: Page
    watch: Watch

    def faults_at_every_size(self) -> list[str]:
        """Return faults of accessibility, wide and narrow, light and dark, and of width down to 320 px."""
        found = []
        for size in (WIDE, NARROW):
            self.page.set_viewport_size(size)
            where = f"{size['width']} px"
            self.page.emulate_media(color_scheme="light")
            found += [f"{where}, light: {fault}" for fault in axe_violations(self.page)]
            self.page.emulate_media(color_scheme="dark")
            found += [f"{where}, dark: {fault}" for fault in axe_violations(self.page, colours_only=True)]
            found += self._width_faults(where)
        self.page.set_viewport_size(ZOOMED)
        return found + self._width_faults(f"{ZOOMED['width']} px")

    def _width_faults(self, where: str) -> list[str]:
        excess = overflow(self.page)
        return [f"{where}: {excess} px too wide"] if excess > 0 else []


@contextmanager
def window(browser: Browser, site: Site, **options: Any) -> Iterator[Window]:
    """Open a page until the block ends; then no complaint of the browser may be left."""
    context = browser.new_context(**{"base_url": site.url, "viewport": WIDE, **options})
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    watch = Watch(site.url)
    watch.follow(context)
    try:
        yield Window(context.new_page(), watch)
        complaints = watch.complaints()
        assert not complaints, complaints
    finally:
        context.close()


def axe_violations(page: Page, *, colours_only: bool = False) -> list[str]:
    """Return what axe-core finds in the page."""
    if not page.evaluate("() => 'axe' in window"):
        axe = pytest.importorskip(
            "axe_playwright_python.base", reason="no accessibility checker: install axe-playwright-python"
        )
        page.evaluate(axe.AXE_SCRIPT)
    rules = {"type": "rule", "values": list(AXE_COLOUR_RULES)}
    tags = {"type": "tag", "values": list(AXE_TAGS)}
    found: list[str] = page.evaluate(AXE_RUN, rules if colours_only else tags)
    return found


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    excess: int = page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return excess


def sign_in(page: Page, person: Person, password: str = PASSWORD) -> None:
    """Fill and send the login form that is shown."""
    page.get_by_label("User name").fill(person.user.userid)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def row_of(page: Page, name: str) -> Locator:
    """Return the row of a table that holds this text."""
    return page.get_by_role("row").filter(has_text=name)


def tab_to(page: Page, target: Locator, *, limit: int = 40) -> None:
    """Press Tab until the element has the focus; what has it on the way must show it."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        hidden = page.evaluate(FOCUS)
        assert hidden is None, f"this has the focus and does not show it: {hidden}"
        if target.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {target}")


def pictures(otherwise: Path) -> Path:
    """Return where pictures are written: KEYTURN_SCREENSHOTS=1 takes anew those in docs/images."""
    return PICTURES if os.environ.get("KEYTURN_SCREENSHOTS") == "1" else otherwise


def take(page: Page, path: Path) -> None:
    taken = page.screenshot(path=path, animations="disabled")
    assert len(taken) < MAX_PICTURE_BYTES, f"{path.name} has {len(taken)} bytes"
