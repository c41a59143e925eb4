"""Answers that stay the same: their bytes are made once, and whoever has them is told so (RFC 9110, 13)."""

from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Self

from litestar import Response

from keyturn.web.requests import AnyRequest


@dataclass(frozen=True, slots=True)
class Representation:
    """Bytes with the tag that is theirs alone."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Self:
        """Return these bytes with their tag."""
        return cls(content, media_type, f'"{sha256(content).hexdigest()[:32]}"')

    def answer(self, request: AnyRequest, caching: str) -> Response[bytes]:
        """Return the bytes, or 304 if the client has them; `caching` is for `Cache-Control`."""
        headers = {"ETag": self.etag, "Cache-Control": caching}
        if self._is_held(request.headers.get("if-none-match", "")):
            return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)

    def _is_held(self, tags: str) -> bool:
        """Return whether `If-None-Match` names the tag, compared weakly (RFC 9110, section 13.1.2)."""
        held = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return self.etag in held or "*" in held
