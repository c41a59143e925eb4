"""How the file of the documentation keeps pages and passages: what `build` writes and the rest reads."""

import zlib
from typing import NamedTuple

_PASSAGES = 1024
"""More than any section has."""


class StoredPassage(NamedTuple):
    """A part of a section that answers a question by itself."""

    kind: str
    """`paragraph`, `item`, `row`, `code` or `alert`."""
    markdown: str
    html: str


def packed(text: str) -> bytes:
    """Return a text as it is stored."""
    return zlib.compress(text.encode(), 9)


def unpacked(stored: bytes) -> str:
    """Return the text that was stored."""
    return zlib.decompress(stored).decode()


def passage_id(section_id: int, position: int) -> int:
    """Return the number of a passage in the index."""
    return section_id * _PASSAGES + position


def place_of(number: int) -> tuple[int, int]:
    """Return the section of a passage, and the passage's position in it."""
    return divmod(number, _PASSAGES)
