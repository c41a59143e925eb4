"""No spelling of a path reaches, without what it asks for, what the API could read in it (trap 4)."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import re
import unicodedata
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest

from tests.gateways.conftest import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateways.conftest import Scene

PLAIN = "/!$&'()*+,:=@~"
"""What stands in a path as it is (RFC 3986, section 3.3); ";" does not, here."""
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
    "\xc0\xae\xc0\xae",
    "\xef\xbc\x8e\xef\xbc\x8e",
    "%ef%bc%8e%EF%BC%8E",
    "%e2%80%a5",
    "%ef%b9%92%ef%b9%92",
    "%ef%b8%b0",
    "%c2%a0..",
    "%e3%80%80..",
    "..%e2%80%a8",
    "...",
    ". .",
    "%20.%20.",
    "%ae%ae",
    "%2%65%2e",
)
SLASHES = (
    "/",
    "//",
    "%2f",
    "%2F",
    "\\",
    "%5c",
    "/./",
    "/%2e/",
    "/;/",
    "%252f",
    "%ef%bc%8f",
    "\xc0\xaf",
    "%e2%88%95",
)
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
    ".",
    "..",
    "...",
    "%2e",
    "%20",
    "%20.",
    ".%20",
    "%c2%a0",
    "%e3%80%80",
    "%ef%bc%8e",
    "\xc0\xae",
    "\xa0",
    "\xff",
    "%",
    "%2",
    "%zz",
    "::$DATA",
    "~1",
)


def other_cases(path: str) -> set[str]:
    """Return other spellings of a path's letters."""
    return (
        {
            path.upper(),
            path.title(),
            path[:-1] + path[-1].upper(),
            "/" + "".join(f"%{ord(letter):02x}" for letter in path[1:]),
            path[:-1] + f"%{ord(path[-1]):02X}",
            path.replace("s", "%C5%BF"),  # Which folds to an s.
            path.replace("s", "\xc5\xbf"),
            path.replace("t", "%EF%BD%94"),
            "/" + "".join(f"%EF%BD%{ord(letter) + 0x20:02X}" for letter in path[1:]),
        }
        - {path}
    )


def targets() -> Iterator[str]:
    """Return targets that some program or other takes for `/orders/1`."""
    for prefix in ("/health", "/reports", "/reports/a", ""):
        for up, slash in itertools.product(UP, SLASHES):
            for before, after in {(slash, "/"), ("/", slash), (slash, slash)}:
                yield f"{prefix}{before}{up}{after}orders/1"
    for path in ("/health", "/orders", "/reports"):
        for spelling, end in itertools.product(other_cases(path), ("", "/1", "?", "/")):
            yield spelling + end
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


def is_canonical(path: str) -> bool:
    """Return whether every program reads this path in one way, and none would spell it otherwise."""
    if not path.isascii() or not path.startswith("/") or re.search(r"[^!-~]", path):
        return False
    if re.search(r"%(?![0-9A-Fa-f]{2})", path) or re.search(r"[\"#;<>?\\^`{|}\[\]]", path):
        return False
    for encoded in re.findall(r"%([0-7][0-9A-Fa-f])", path):
        if re.fullmatch(r"[A-Za-z0-9._~/;\\%?#\x00-\x1f\x7f-]", chr(int(encoded, 16))):
            return False
    try:
        decoded = unquote(path, "utf-8", "strict")
    except UnicodeDecodeError:
        return False
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        read = unicodedata.normalize(form, decoded)
        if any(read.count(special) != decoded.count(special) for special in "./\\;%?#"):
            return False
    return all(segment.strip().strip(". ") for segment in decoded.split("/")[1:-1]) and not (
        decoded[1:] and re.fullmatch(r"[.\s]+", decoded.rpartition("/")[2])
    )


def readings(target: str) -> set[str]:
    """Return the paths that programs, careless ones too, read in this target."""
    target = re.sub(r"^[a-zA-Z]+://[^/?#]*", "", target)
    found = {target, target.partition("#")[0]}
    found |= {each.partition("?")[0] for each in found}
    for _ in range(2):
        found |= {unquote(each, "latin-1") for each in found}
    found |= {re.sub("\xc0\xae|\xe0\x80\xae|\xf0\x80\x80\xae|%u002e", ".", each) for each in found}
    found |= {each.encode("latin-1", "ignore").decode("utf-8", "ignore") for each in found}
    found |= {unicodedata.normalize("NFKC", each) for each in found}
    found |= {each.replace("\u2215", "/").replace("\xc0\xaf", "/") for each in found}
    found |= {each.replace("\\", "/") for each in found}
    for cut in "?#\x00\n\r":
        found |= {each.partition(cut)[0] for each in found}
    found |= {re.sub(r";[^/]*", "", each) for each in found}
    found |= {re.sub(r"[\x00-\x20\x7f]", "", each) for each in found}
    found |= {re.sub("/+", "/", each) for each in found}
    found |= {posixpath.normpath("/" + each.lstrip("/")) for each in found}
    found |= {"/".join(part.strip(". \xa0\u3000") for part in each.split("/")) for each in found}
    return {each.casefold().rstrip("/. ") for each in found}


def is_in(area: str, target: str) -> bool:
    """Return whether a program could take this target for one in this area."""
    return any(reading == area or reading.startswith(f"{area}/") for reading in readings(target))


@dataclass(frozen=True)
class Reached:
    """What was asked for, and what the API got of it."""

    asked: str
    got: str


def ask_for_all(scene: Scene, credential: str | None) -> list[Reached]:
    """Ask for every target, and return those that reached the API."""
    reached = []
    for target in targets():
        before = len(scene.api.got)
        with contextlib.suppress(OSError, HTTPException):  # Cut off: fine.
            scene.get(target, credential)
        reached += [Reached(target, got.target) for got in scene.api.got[before:]]
    return reached


@pytest.fixture(scope="module")
def open_to_all(scene: Scene) -> list[Reached]:
    """What reaches the API without a credential."""
    return ask_for_all(scene, None)


@pytest.fixture(scope="module")
def open_to_readers_of_reports(scene: Scene) -> list[Reached]:
    """What reaches the API with a credential that covers no order."""
    return ask_for_all(scene, scene.narrow)


def test_the_targets_are_worth_asking_for() -> None:
    """What is asked for below could, read one way or the other, mean what is protected."""
    asked = set(targets())
    assert len(asked) >= 5000
    assert sum(is_in("/orders", target) for target in asked) > 0.65 * len(asked)


def test_no_spelling_gets_around_the_credential(open_to_all: list[Reached]) -> None:
    """Without a credential nothing reaches the API but the one open path, spelled plainly."""
    assert {reached.got.partition("?")[0] for reached in open_to_all} <= {"/health"}


def test_no_spelling_gets_around_the_scope(open_to_readers_of_reports: list[Reached]) -> None:
    """With a credential for something else, nothing reaches the API that it could take for `/orders`."""
    reached = [each.got for each in open_to_readers_of_reports]
    assert [target for target in reached if is_in("/orders", target.partition("?")[0])] == []
    assert "/reports/1" in reached


def test_fault_c8_the_path_that_was_checked_arrives(
    scene: Scene, open_to_all: list[Reached], open_to_readers_of_reports: list[Reached]
) -> None:
    """Whatever reaches the API is canonical, and is the very path that was asked for and checked."""
    for reached in (*open_to_all, *open_to_readers_of_reports):
        path = reached.got.partition("?")[0]
        assert is_canonical(path), reached
        asked = re.sub(r"^[a-zA-Z]+://[^/?#]*", "", reached.asked).partition("?")[0]
        if scene.gateway.name == "Traefik":  # It encodes and decodes before it checks, and passes that on.
            asked = quote(unquote_to_bytes(asked.encode("latin-1")), safe=PLAIN)
        assert path == asked, reached


@pytest.mark.parametrize(
    "target",
    ["/HEALTH", "/Health", "/health.", "/health%20", "/health%2e", "/heal%74h", "/health/", "/health%20?a"],
)
def test_fault_c8_an_open_path_is_exact(scene: Scene, target: str) -> None:
    """No other spelling of an open path is open, which the API may take for another path."""
    if scene.gateway.name == "Traefik" and target == "/heal%74h":  # It passes on what that says, plainly.
        assert scene.passed(target).target == "/health"
        return
    scene.refused(target)


@pytest.mark.parametrize(
    "target",
    [
        "/reports/2026%20Q1",
        "/reports/caf%C3%A9/~bob/a,b",
        "/reports/%D0%BE%D1%82%D1%87%D1%91%D1%82/%E5%A0%B1%E5%91%8A/%E1%BA%BF/%ED%95%9C",
        "/reports/.hidden/Inc.",
        "/reports/bob%40example.com",
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
