"""Refusals of `/verify` as HTTP/1.1 writes them, made once: a guess must cost the guesser more than us."""

from collections.abc import Callable
from functools import lru_cache

from keyturn.errors import CredentialRefused, Reason, TooManyFailures
from keyturn.web.edge.headers import Headers
from keyturn.web.responses import ErrorResponse, response_of

MAX_WAITS = 256
"""For how many different times to wait a refusal is kept at hand."""

Parts = tuple[int, bytes, bytes]
"""A status, what stands before the request id, and what stands after it."""


class Refusals:
    """Writes what `Answer.error` would send, byte for byte. `headers` are those of every answer."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        # All strangers are told one and the same thing.
        self._to_stranger = self._parts(response_of(CredentialRefused(Reason.UNKNOWN)))
        self._to_wait: Callable[[int], Parts] = lru_cache(MAX_WAITS)(
            lambda seconds: self._parts(response_of(TooManyFailures(retry_after=seconds)))
        )

    def written(self, wait: int, request_id: str) -> tuple[int, bytes]:
        """Return the status of a refusal, and its header after the status line, with its body.

        `wait` is for how many seconds the address must wait. With 0 the credential is refused.
        """
        status, before, after = self._to_wait(wait) if wait else self._to_stranger
        return status, b"".join((before, request_id.encode("ascii"), after))

    def _parts(self, response: ErrorResponse) -> Parts:
        body = response.encoded()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *(
                (name.lower().encode("ascii"), value.encode("latin-1", "replace"))
                for name, value in response.headers
            ),
            *self._headers,
        ]
        block = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        return response.status, block + b"x-request-id: ", b"\r\ncache-control: no-store\r\n\r\n" + body
