"""How the file of the documentation keeps pages and passages: what `build` writes and the rest reads."""

import lzma
from collections.abc import Sequence
from typing import NamedTuple

FORMAT = 2
"""Of the file; another one is not read."""

_PARTS = 1024
"""More passages, or questions, than any section has."""


class StoredPassage(NamedTuple):
    """A part of a section that answers a question by itself."""

    kind: str
    """`paragraph`, `steps`, `item`, `row`, `code` or `alert`."""
    markdown: str
    html: str


class StoredPage(NamedTuple):
    """A page in its forms. They repeat each other, and so are packed together."""

    markdown: str
    html: str
    passages: Sequence[Sequence[StoredPassage]]
    """Of each section."""


def packed(text: str) -> bytes:
    """Return a text as it is stored."""
    return lzma.compress(text.encode(), lzma.FORMAT_ALONE, preset=9)


def unpacked(stored: bytes) -> str:
    """Return the text that was stored."""
    return lzma.decompress(stored, lzma.FORMAT_ALONE).decode()


def part_id(section_id: int, position: int) -> int:
    """Return the number that a passage or question of a section has in the index."""
    return section_id * _PARTS + position


def place_of(number: int) -> tuple[int, int]:
    """Return the section of a passage or question, and its position there."""
    return divmod(number, _PARTS)
