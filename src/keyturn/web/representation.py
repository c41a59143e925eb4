"""Answers that stay the same: their bytes are made once, and whoever has them is told so (RFC 9110, 13)."""

import gzip
import re
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Self

from litestar import Response

from keyturn.web.requests import AnyRequest

QUOTE = '"'
_NOTHING = re.compile(r"q\s*=\s*0(\.0*)?")


@dataclass(frozen=True, slots=True)
class Representation:
    """Bytes with the tag that is theirs alone."""

    content: bytes
    media_type: str
    etag: str
    packed: bytes | None = None
    """The same in gzip, for who takes it (RFC 9110, section 8.4.1.3)."""

    @classmethod
    def of(cls, content: bytes, media_type: str, *, packs: bool = False) -> Self:
        """Return these bytes with their tag; with `packs` in gzip too, which is worth it for what is kept.

        Not for what holds a secret: the length of packed bytes tells of it (BREACH).
        """
        packed = gzip.compress(content, mtime=0) if packs else None
        return cls(content, media_type, f'"{sha256(content).hexdigest()[:32]}"', packed)

    def answer(self, request: AnyRequest, caching: str) -> Response[bytes]:
        """Return the bytes, or 304 if the client has them; `caching` is for `Cache-Control`."""
        headers, content, tag = {"Cache-Control": caching}, self.content, self.etag
        if self.packed is not None:
            headers["Vary"] = "Accept-Encoding"
            if _takes_gzip(request.headers.get("accept-encoding", "")):
                # Other bytes, and so another tag (RFC 9110, section 8.8.3).
                content, tag = self.packed, f'{self.etag.removesuffix(QUOTE)}-gzip"'
                headers["Content-Encoding"] = "gzip"
        headers["ETag"] = tag
        if _is_held(tag, request.headers.get("if-none-match", "")):
            return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, media_type=self.media_type, headers=headers)


def _is_held(tag: str, tags: str) -> bool:
    """Return whether `If-None-Match` names the tag, compared weakly (RFC 9110, section 13.1.2)."""
    held = {one.strip().removeprefix("W/") for one in tags.split(",")}
    return tag in held or "*" in held


def _takes_gzip(encodings: str) -> bool:
    """Return whether `Accept-Encoding` names gzip, and not with the weight 0."""
    for one in encodings.lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() == "gzip":
            return _NOTHING.fullmatch(weight.strip()) is None
    return False
