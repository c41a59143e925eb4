"""Requests, and paths that every program reads in one way: what both sides of a request must agree on.

A path is judged by one program and routed by another. One that they may read differently, since it has a
segment of dots, an empty one, an encoded slash or a second encoding, is refused wherever it decides, and
never mended: the other program gets it as it was sent (decision 0049).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

READ_DIFFERENTLY = ("//", "\\", "%", "\0")
"""Characters that another reader of a decoded path may fold, decode or cut."""
DOTS = frozenset({".", ".."})

_CANONICAL = re.compile(
    r"/(?:[A-Za-z0-9._~!$&'()*+,:=@/-]|%(?:2[0-46-9A-Ca-c]|3[ACDEacde]|40|5[BDEbde]|60|7[B-Db-d]|[89A-Fa-f][0-9A-Fa-f]))*"
)
"""Plain characters, and encoded what may stand encoded: no unreserved one (RFC 3986, section 2.3), no slash,
backslash, percent sign, question mark or semicolon, and no control character. The bytes of other scripts are
looked at once they are decoded."""
_NOTHING_BUT_DOTS = re.compile(r"[. ]+")


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """Which request a credential came with, as the door knows it where it is judged."""

    method: str
    paths: tuple[str, ...]
    """As the client sent it, without the query. Several where it is read in more than one way, as below a
    mount: then each of them must be allowed."""
    is_exchange: bool = False
    """Whether it asks for a token of the credential, which is restricted alike: always allowed."""


EXCHANGE: Final = RequestTarget("POST", (), is_exchange=True)
"""The target for which a credential is judged that is exchanged for a token."""


class RequestRule(msgspec.Struct, frozen=True, gc=False):
    """The requests that a credential may be used for; None for any method, or any path."""

    methods: tuple[str, ...] | None
    paths: tuple[str, ...] | None
    """Prefixes, each of whole segments."""

    def allows(self, target: RequestTarget | None) -> bool:
        """Return whether a request may be made; None for one that is not known, which never may (K11).

        HEAD is allowed where GET is (RFC 9110, section 9.3.2). A path that is not canonical is under no
        prefix.
        """
        if target is None:
            return False
        return target.is_exchange or (
            (self.methods is None or has_method(self.methods, target.method))
            and (self.paths is None or (bool(target.paths) and all(map(self._has_path, target.paths))))
        )

    def _has_path(self, sent: str) -> bool:
        path = read_path(sent)
        return path is not None and any(is_under(path, read_prefix(prefix)) for prefix in self.paths or ())


def is_unambiguous(path: str) -> bool:
    """Return whether a path that was decoded once means itself to another reader."""
    return DOTS.isdisjoint(path.split("/")) and not any(part in path for part in READ_DIFFERENTLY)


def read_path(sent: str) -> str | None:
    """Return a path, as a client sends it, decoded; None if it is not canonical, or is no path.

    Letters, marks and digits of other scripts are UTF-8, in the one form that stays as it is (NFKC).
    """
    if _CANONICAL.fullmatch(sent) is None:
        return None
    try:
        path = unquote_to_bytes(sent).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not path.isascii() and not _is_plain_text(path):
        return None
    if not is_unambiguous(path) or any(_NOTHING_BUT_DOTS.fullmatch(part) for part in path.split("/")):
        return None
    return path


def is_under(path: str, prefix: str) -> bool:
    """Return whether a decoded path is `prefix`, or goes on below it: a prefix ends at a segment.

    `/data` has `/data`, `/data/` and `/data/x` under it, and not `/database`; `/` has everything.
    """
    return prefix in {"/", path} or path.startswith(f"{prefix}/")


def has_method(methods: Sequence[str], method: str) -> bool:
    """Return whether a method is among these; GET stands for HEAD too."""
    return method in methods or (method == "HEAD" and "GET" in methods)


@lru_cache(1024)
def read_prefix(prefix: str) -> str:
    """Return a prefix decoded; raise `ValueError` for what is not a canonical path."""
    path = read_path(prefix)
    if path is None:
        raise ValueError("a path that is not canonical")
    return path


def _is_plain_text(path: str) -> bool:
    return unicodedata.is_normalized("NFKC", path) and all(
        character.isascii() or unicodedata.category(character)[0] in "LMN" for character in path
    )
