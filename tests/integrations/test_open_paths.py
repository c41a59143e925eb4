"""What the middlewares open, and what they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.integrations.open_paths import OpenPaths

if TYPE_CHECKING:
    from tests.integrations.sites import Site

OPEN = OpenPaths(["/health", "/"], ["/static/"])
MIDDLEWARES = {"asgi", "wsgi", "django-middleware", "django-middleware-async"}


@pytest.mark.parametrize("path", ["/health", "/", "/static/", "/static/a.css", "/static/a/b..c/ü"])
def test_what_is_written_down_is_open(path: str) -> None:
    """A name opens itself, a prefix everything below it."""
    assert path in OPEN


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/orders",
        "/health/",
        "/healthcare",
        "/HEALTH",
        "/health/../orders",
        "//health",
        "/static",
        "/statics/a",
        "/static/../orders",
        "/static/./a",
        "/static/a/..",
        "/static//orders",
        "/static/..\\orders",
        "/static/%2e%2e/orders",
        "/static/a\0",
    ],
)
def test_nothing_else_is(path: str) -> None:
    """Neighbours, other spellings, and paths that another reader may take for another are closed."""
    assert path not in OPEN


@pytest.mark.parametrize("prefix", ["", "/", "//", "static/", "/static"])
def test_a_prefix_that_opens_too_much_stops_the_start(prefix: str) -> None:
    """A prefix is whole segments, and never everything."""
    with pytest.raises(ValueError, match="not a prefix"):
        OpenPaths((), [prefix])


def test_a_name_is_a_path() -> None:
    """A name that no path can be, and a text in place of a list, are mistakes that say so."""
    with pytest.raises(ValueError, match="begins with a slash"):
        OpenPaths(["health"])
    with pytest.raises(TypeError, match="lists"):
        OpenPaths("/health")
    with pytest.raises(TypeError, match="lists"):
        OpenPaths((), "/static/")


def test_a_middleware_opens_what_it_was_told(site: Site) -> None:
    """Open paths ask nobody, whatever is presented; every other path refuses, whether it exists or not."""
    if site.name not in MIDDLEWARES:
        for path in ("/orders", "/whoami"):
            assert site.get(path=path).status_code == 401
        return
    for path in ("/health", "/static/a.css"):
        for headers in ([], [("Authorization", "wrong")], [("Authorization", "a"), ("Authorization", "b")]):
            answer = site.get(*headers, path=path)
            assert (answer.status_code, answer.json()) == (200, {"for": None})
    for path in ("/", "/orders", "/nowhere", "/health/", "/static", "/static/%2e%2e/orders", "/static//x"):
        assert site.get(path=path).status_code == 401, path
