"""Paths that every program reads in one way, and prefixes that end at a segment."""

from __future__ import annotations

import posixpath
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.paths import is_under, read_path

CANONICAL = {
    "/": "/",
    "/data": "/data",
    "/data/": "/data/",
    "/data/connection/a.b~c_d-e": "/data/connection/a.b~c_d-e",
    "/users/bob@example.com:1!$&'()*+,=": "/users/bob@example.com:1!$&'()*+,=",
    "/users/bob%40example.com": "/users/bob@example.com",
    "/a%20b": "/a b",
    "/d%C3%A9p%C3%B4t": "/dépôt",
    "/d%c3%a9p%c3%b4t": "/dépôt",
    "/%E6%97%A5%E6%9C%AC": "/日本",
    "/.hidden/a..b": "/.hidden/a..b",
}
AMBIGUOUS = [
    "", "data", "*", "http://api.example.com/data", "//", "//data", "/data//x", "/data/.", "/data/..",
    "/./data", "/data/../admin", "/data/...", "/data/%20", "/data/.%20./x", "/data/%2e%2e/admin",
    "/data/%2E", "/%64ata", "/data%2Fx", "/data%2fx", "/data%5Cx", "/data\\x", "/data%", "/data%2",
    "/data%zz", "/data%2525", "/data%00", "/data%0a", "/data%7f", "/data%7E", "/data;x", "/data/..;/admin",
    "/data%3Bx", "/data?x", "/data%3Fx", "/data#x", "/data x", "/data\n", "/data\x00", "/dépôt",
    "/d\xc3\xa9", "/%E9", "/%C0%AE%C0%AE/", "/%EF%BC%8E%EF%BC%8E/admin", "/%EF%BC%8Fadmin", "/e%CC%81",
    "/%E2%80%8Bdata", "/%EF%BF%BD", "/[x]", "/{x}", "/<x>", '/"', "/^", "/`", "/|",
]  # fmt: skip


@pytest.mark.parametrize(("sent", "read"), CANONICAL.items())
def test_a_canonical_path_is_read(sent: str, read: str) -> None:
    """Plain characters, and what may stand encoded, are read as themselves."""
    assert read_path(sent) == read


@pytest.mark.parametrize("sent", AMBIGUOUS, ids=ascii)
def test_what_is_read_in_two_ways_is_no_path(sent: str) -> None:
    """Dots, empty segments, encoded separators and a second encoding are refused, and never mended."""
    assert read_path(sent) is None


@given(st.text(max_size=30).map("/".__add__) | st.text("/.%2eEfF5cC;\\ a", max_size=20).map("/".__add__))
def test_a_path_that_is_read_means_itself(sent: str) -> None:
    """Whatever was sent: what is read stays the same when it is decoded again, or its segments resolved."""
    for spelled in (sent, quote(sent)):
        path = read_path(spelled)
        if path is None:
            continue
        assert unquote(path) == path
        assert posixpath.normpath(path) == (path.rstrip("/") or "/")
        assert "\\" not in path


@pytest.mark.parametrize(
    ("prefix", "under", "beside"),
    [
        (
            "/data",
            ["/data", "/data/", "/data/x", "/data/x/y"],
            ["/", "/database", "/dat", "/Data", "/x/data"],
        ),
        ("/data/x", ["/data/x", "/data/x/y"], ["/data", "/data/xy", "/data/y"]),
        ("/", ["/", "/data", "/data/x"], []),
    ],
)
def test_a_prefix_ends_at_a_segment(prefix: str, under: list[str], beside: list[str]) -> None:
    """A prefix allows itself and all below it, and nothing that only begins alike."""
    assert [path for path in under + beside if is_under(path, prefix)] == under
