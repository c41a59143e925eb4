"""The two ends of an ASGI conversation: `receive` with bounds, and `send` with what every answer has."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from keyturn.errors import Limit, LimitExceeded, MalformedRequest
from keyturn.web.edge.request_checks import BODY_TOO_LARGE, MAX_BODY_BYTES
from keyturn.web.responses import ErrorResponse

BODY_TIMEOUT_SECONDS = 10.0
"""For the whole body, so that one which drips in ends too."""

Receive = Callable[[], Any]
Send = Callable[[Any], Any]


class ClientGone(Exception):
    """The client left before its request was whole: there is nobody to answer."""


class BoundedBody:
    """`receive`, with an end to waiting and to size. A body that does not come whole is an error."""

    def __init__(self, receive: Receive, declared: int | None = None) -> None:
        self._receive = receive
        self._remaining = MAX_BODY_BYTES
        self._missing = declared
        """How many bytes of the declared length are still to come; None where no length was declared."""
        self._is_complete = False
        self._deadline: float | None = None

    async def whole(self) -> bytes:
        """Receive all of the body; raise `MalformedRequest` if its length is not the declared one."""
        body = b""
        while not self._is_complete:
            body += (await self()).get("body", b"")
        return body

    async def __call__(self) -> Any:
        """Receive the next message.

        Raise `LimitExceeded` for too much or too late, `ClientGone` and `MalformedRequest` for too little.
        """
        if self._is_complete:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT_SECONDS
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise LimitExceeded(Limit.BODY_TIME, "The body did not arrive in time.") from None
        if message["type"] != "http.request":
            raise ClientGone
        size = len(message.get("body", b""))
        self._remaining -= size
        if self._remaining < 0:
            raise LimitExceeded(Limit.BODY, BODY_TOO_LARGE)
        self._is_complete = not message.get("more_body", False)
        if self._missing is not None:
            self._missing -= size
            if self._missing < 0 or (self._is_complete and self._missing):
                raise MalformedRequest("The body is not as long as Content-Length says.")
        return message


class WholeBody:
    """`receive` of a request whose body has come."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._first: dict[str, Any] | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Any:
        """Hand the body on, then whatever comes after it."""
        if self._first is None:
            return await self._receive()
        first, self._first = self._first, None
        return first


class Answer:
    """`send`, with the headers that every answer has."""

    def __init__(self, send: Send, request_id: str, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self._send = send
        self._headers = (*headers, (b"x-request-id", request_id.encode("ascii")))
        self.status: int | None = None

    async def __call__(self, message: Any) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            present = {name.lower() for name, _ in message["headers"]}
            added = self._headers
            if b"cache-control" not in present:
                added = (*added, (b"cache-control", b"no-store"))
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

    async def json(self, content: Any) -> None:
        """Send a value, with 200."""
        await self._whole(HTTPStatus.OK, msgspec.json.encode(content))

    async def see_other(self, path: str) -> None:
        """Lead a browser to another page with GET (RFC 9110, section 15.4.4)."""
        headers = [(b"location", path.encode("ascii")), (b"content-length", b"0")]
        await self({"type": "http.response.start", "status": HTTPStatus.SEE_OTHER, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def error(self, response: ErrorResponse) -> None:
        """Send an error, unless an answer has begun: then the connection is cut by the server."""
        if self.status is not None:
            raise ConnectionError("the answer had begun")
        headers = [
            (name.encode("ascii"), value.encode("latin-1", "replace")) for name, value in response.headers
        ]
        await self._whole(response.status, response.encoded(), *headers)

    async def _whole(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        described = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *headers,
        ]
        await self({"type": "http.response.start", "status": status, "headers": described})
        await self._send({"type": "http.response.body", "body": body})
