"""Small pictures of pages, kept in the repository: each cell of 8 by 8 pixels is one pixel, of few colors.

So small a picture forgives how the edge of a letter is drawn, and shows where anything moved or changed
color.
"""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

CELL = 8
"""In pixels."""
STEP = 4
"""How many levels of a color, of 256, are one: so a picture packs well."""
TOLERANCE = STEP
"""By how many levels a cell may differ, which rounding alone can do."""
MAX_SHARE = 0.0001
"""Of the levels that may differ by more."""

_SHRUNK = """async ([picture, cell]) => {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
  const width = Math.floor(image.width / cell), height = Math.floor(image.height / cell);
  const small = new OffscreenCanvas(width, height).getContext("2d");
  small.imageSmoothingQuality = "high";
  small.drawImage(image, 0, 0, width * cell, height * cell, 0, 0, width, height);
  const bytes = small.getImageData(0, 0, width, height).data.filter((_, at) => at % 4 < 3);
  return [width, height, btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))];
}"""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: three bytes for each cell, row by row."""

    width: int
    height: int
    cells: bytes

    @classmethod
    def of(cls, picture: bytes, blank: Page, *, cell: int = CELL) -> Thumbnail:
        """Shrink a picture, which a browser reads on a blank page: that has no policy against it."""
        width, height, cells = blank.evaluate(_SHRUNK, [base64.b64encode(picture).decode(), cell])
        stepped = bytes(min(255, round(level / STEP) * STEP) for level in base64.b64decode(cells))
        return cls(width, height, stepped)

    def first_difference(self, other: Thumbnail) -> int | None:
        """Return how many pixels below the top they begin to differ; None if they are alike."""
        size = 3 * self.width
        if self.width != other.width:
            return 0
        different = [
            at // size * CELL
            for at, (one, two) in enumerate(zip(self.cells, other.cells, strict=False))
            if abs(one - two) > TOLERANCE
        ]
        if len(different) > MAX_SHARE * len(self.cells):
            return different[0]
        return None if self.height == other.height else min(self.height, other.height) * CELL

    def png(self) -> bytes:
        """Return the picture as a file (PNG, RFC 2083)."""
        size = 3 * self.width
        rows = b"".join(b"\0" + self.cells[at : at + size] for at in range(0, len(self.cells), size))
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
            for name, content in chunks
        )
