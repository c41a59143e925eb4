r"""Bounds of a body besides the bytes that the gate counts: its framing, and the part that nobody reads.

    5;name=value\r\n     the size of a chunk, with extensions     framing
    hello\r\n            the chunk                                5 bytes of body, 2 of framing
    0\r\n                the last chunk                           framing
    Name: value\r\n      a trailer field                          framing, and held to the bounds of a header
    \r\n

Trailers are read for their size alone: nothing here knows one that may be merged into the header, so all of
them are discarded (RFC 9110, section 6.5.1; RFC 9112, section 7.1.2).
"""

from collections.abc import Sequence

from keyturn.errors import Limit, LimitExceeded
from keyturn.web.edge.request_checks import (
    BODY_TOO_LARGE,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADER_FIELDS,
)

MAX_FRAMING_BYTES = MAX_HEADER_BYTES
"""The most framing between two bytes of a body, and behind the last: as much as a header may be long."""
FRAMING_FOR_A_BYTE = 8
"""So much is not counted for each byte of a body: a chunk of a single one takes 5 bytes more."""
MAX_UNREAD_BYTES = 4 * MAX_BODY_BYTES
UNREAD_TIMEOUT_SECONDS = 5.0
"""The rest of a body whose request is answered already is thrown away, up to these bounds: a client that does
not look for an answer while it sends can finish, and then read why its request was refused."""


class BodyBounds:
    """Counts what arrives behind one header, until its request ends."""

    __slots__ = ("_framing", "_unread")

    def __init__(self) -> None:
        self._framing = 0
        self._unread = 0

    def take(self, arrived: int, body: int, *, is_answered: bool) -> None:
        """Count bytes that arrived, so many of them of the body itself; raise `LimitExceeded`.

        The body itself is bounded by whoever reads it, until the request is answered.
        """
        self._framing = max(0, self._framing + arrived - body - FRAMING_FOR_A_BYTE * body)
        if self._framing > MAX_FRAMING_BYTES:
            raise LimitExceeded(Limit.BODY, "The sizes of the chunks, or the trailers, are too long.")
        if is_answered:
            self._unread += arrived
            if self._unread > MAX_UNREAD_BYTES:
                raise LimitExceeded(Limit.BODY, BODY_TOO_LARGE)


def check_trailers(fields: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise `LimitExceeded` for more than a header may hold (H5)."""
    size = sum(len(name) + len(value) for name, value in fields)
    if len(fields) > MAX_HEADER_FIELDS or size > MAX_HEADER_BYTES:
        raise LimitExceeded(Limit.HEADER, "The trailers are too large.")
