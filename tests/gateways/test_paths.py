"""No spelling of a path reaches, without what it asks for, what the API could read in it (trap 4)."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from tests.gateways.conftest import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateways.conftest import Scene

UP = (
    "..",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "%252e%252e",
    "..;",
    "..;a=b",
    "..%3b",
    "..%00",
    "..%20",
    "%c0%ae%c0%ae",
    "..%ef%bc%8f..",
    "..\\..",
    "..%5c..",
    "..%5C",
    "..%09",
    "%20..",
    "%e0%80%ae%e0%80%ae",
    "%f0%80%80%ae%f0%80%80%ae",
    "%u002e%u002e",
)
SLASHES = ("/", "//", "%2f", "%2F", "\\", "%5c", "/./", "/%2e/", "/;/", "%252f")
ENDS = (
    "",
    "?",
    "#",
    "#/../../health",
    "%23",
    "%3f",
    "%00",
    ";",
    ";/health",
    "/.",
    "/..;/",
    "%0a",
    "%0d%0aX:%20y",
    "\x7f",
    "%7f",
)


def targets() -> Iterator[str]:
    """Return targets that some program or other takes for `/orders/1`."""
    for prefix in ("/health", "/reports", "/reports/a", ""):
        for up, before, after in itertools.product(UP, SLASHES, SLASHES):
            yield f"{prefix}{before}{up}{after}orders/1"
    for end, path in itertools.product(ENDS, ("/orders/1", "/health", "/health/orders/1", "/reports/1")):
        yield path + end
    for start in (
        "//",
        "///",
        "/./",
        "/.//",
        "\\",
        "/\\",
        "/%2f",
        "/%2e/",
        "/;/",
        "/%00/",
        "/%20/",
        "/ %2e/",
        "*",
        "",
    ):
        yield f"{start}orders/1"
    yield from (
        "/Orders/1",
        "/ORDERS/1",
        "/%6frders/1",
        "/%4frders/1",
        "/orders%2f1",
        "/orders%2F1",
        "/orders;/1",
        "/orders;a=b/1",
        "/orders\\1",
        "/orders//1",
        "/order%73/1",
        "/orders./1",
        "/orders%20/1",
        "/orders%00/1",
        "/orders/",
        "/orders/.",
    )
    yield from (
        "/health?/../orders/1",
        "/health#/../orders/1",
        "/health%23/../orders/1",
        "/health%3f/../orders/1",
        "/health;/../orders/1",
    )
    for authority in (
        HOST,
        "evil.example",
        "127.0.0.1:8400",
        "",
        "user@evil.example",
        "evil.example#",
        "evil.example?",
    ):
        for scheme in ("http", "https", "HTTP", "ftp"):
            yield f"{scheme}://{authority}/orders/1"
    yield from (
        f"{HOST}/orders/1",
        f"{HOST}:80",
        f"//{HOST}/orders/1",
        "//evil.example/orders/1",
        "/health://x/../orders/1",
    )


def readings(target: str) -> set[str]:
    """Return the paths that programs, careless ones too, read in this target."""
    target = re.sub(r"^[a-zA-Z]+://[^/?#]*", "", target)
    found = {target, target.partition("#")[0]}
    found |= {each.partition("?")[0] for each in found}
    for _ in range(2):
        found |= {unquote(each, "latin-1") for each in found}
    found |= {re.sub("\xc0\xae|\xe0\x80\xae|\xf0\x80\x80\xae|%u002e", ".", each) for each in found}
    found |= {each.replace("\xef\xbc\x8f", "/") for each in found}
    found |= {each.replace("\\", "/") for each in found}
    for cut in "?#\x00\n\r":
        found |= {each.partition(cut)[0] for each in found}
    found |= {re.sub(r";[^/]*", "", each) for each in found}
    found |= {re.sub(r"[\x00-\x20\x7f]", "", each) for each in found}
    found |= {re.sub("/+", "/", each) for each in found}
    found |= {posixpath.normpath("/" + each.lstrip("/")) for each in found}
    return {each.lower().rstrip("/.") for each in found}


def is_in(area: str, target: str) -> bool:
    """Return whether a program could take this target for one in this area."""
    return any(reading == area or reading.startswith(f"{area}/") for reading in readings(target))


def ask_for_all(scene: Scene, credential: str | None) -> list[str]:
    """Ask for every target, and return those that reached the API, as it got them."""
    before = len(scene.api.got)
    for target in targets():
        with contextlib.suppress(OSError):  # Cut off: fine.
            scene.get(target, credential)
    return [got.target for got in scene.api.got[before:]]


def test_the_targets_are_worth_asking_for() -> None:
    """What is asked for below could, read one way or the other, mean what is protected."""
    asked = set(targets())
    assert len(asked) > 5000
    assert sum(is_in("/orders", target) for target in asked) > 0.75 * len(asked)


def test_no_spelling_gets_around_the_credential(scene: Scene) -> None:
    """Without a credential nothing reaches the API but the one open path, spelled plainly."""
    reached = ask_for_all(scene, None)
    assert {target.partition("?")[0] for target in reached} <= {"/health"}


def test_no_spelling_gets_around_the_scope(scene: Scene) -> None:
    """With a credential for something else, nothing reaches the API that it could take for `/orders`."""
    reached = ask_for_all(scene, scene.narrow)
    assert [target for target in reached if is_in("/orders", target.partition("?")[0])] == []
    assert "/reports/1" in reached


@pytest.mark.parametrize(
    "target",
    [
        "/reports/2026%20Q1",
        "/reports/caf%C3%A9/~bob/a,b",
        "/reports/.hidden/...",
        "/reports/a+b=c&d:e@f!$'()*",
        "/reports/1?next=//a/../b;c%2f%00#"[:-1],
        "/reports/1?q=%23%3F%5C",
        "/reports/",
    ],
)
def test_plain_paths_and_any_query_arrive_as_they_were_written(scene: Scene, target: str) -> None:
    """The rule against ambiguous paths leaves ordinary ones alone, and does not look into the query."""
    got = scene.passed(target, scene.narrow).target
    path, _, query = got.partition("?")
    assert f"{path}?{query.replace('%3B', ';')}".rstrip("?") == target, "Traefik encodes semicolons there"
