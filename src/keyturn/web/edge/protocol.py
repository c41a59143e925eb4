"""One connection: uvicorn's protocol, with bounds, one answer to each request, and no upgrade."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from keyturn.core.networks import UNIX_PEER
from keyturn.errors import KeyturnError, Limit, LimitExceeded, MalformedRequest, TooBusy
from keyturn.web import forward_auth
from keyturn.web.edge.body_bounds import UNREAD_TIMEOUT_SECONDS, BodyBounds, check_trailers
from keyturn.web.edge.feed_streams import TRANSPORT
from keyturn.web.edge.request_target import check_request_line, check_target, check_transfer_coding
from keyturn.web.edge.written_answers import InOneWrite, WrittenRefusal, begin_of_answer

HEADER_TIMEOUT_SECONDS = 5.0
IDLE_TIMEOUT_SECONDS = 30
MAX_UNPARSED_HEADER_BYTES = 32 * 1024
"""The most bytes that may arrive before a header ends. The gate holds whole headers to a smaller bound, with
an answer."""

VERIFY_TARGET = forward_auth.PATH.encode("ascii")
"""The one path that is answered here, spelled plainly."""

_HEADER_END = b"\r\n\r\n"
_TOO_MANY = "There are too many connections, from this address or in all: use fewer, and keep them open."
_NOT_UNDERSTOOD = "This is not a well-formed HTTP request (RFC 9112)."


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever for a header, and collects one of any size."""

    server_state: Any
    """A `keyturn.web.edge.server.State`."""
    _source: str | None = None
    """The address that this connection is counted under."""
    _deadline: float | None = None
    """When the connection ends, in the time of the loop, unless what is awaited comes before: a header, a
    request, or the rest of a body that nobody reads. None while we work."""
    _timer: asyncio.TimerHandle | None = None
    _is_in_header = True
    """Whether a header is awaited or has begun, and not ended."""
    _header_bytes = 0
    _begun_in_this_read = False
    _head = b""
    """The bytes that arrived since the header that is being read began."""
    _is_head_past = False
    """Whether that header has ended, and something else may follow it."""
    _body_bytes = 0
    """How much of what was fed to the parser last is of a body: it stands before the header in `_head`."""
    _is_in_body = False
    """Whether a request that the application answers has begun to be read, and has not ended."""
    _bounds: BodyBounds | None = None
    """The counted bytes of that request behind its header; None before any."""
    _waiting: tuple[bytes, int] | None = None
    """The bytes behind a request that waits for its turn, and the offset of the first unread one."""
    _is_answered = False
    """Whether the request that is being read was answered at its header already."""
    _is_upgrade = False
    """Whether the request that is being read asks for an upgrade: it is then read again without."""
    _is_refused = False
    """Whether nothing more is read from this connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin to wait for the first header."""
        super().connection_made(transport)
        if transport.get_extra_info("socket").family == socket.AF_UNIX:
            self.client = (UNIX_PEER, 0)  # Not by a missing address: a TCP peer that is gone has none either.
        self._begin_header()
        self._source = self.server_state.admission.admit(self.client[0] if self.client else None)
        if self._source is None:
            self._is_refused = True
            self._end_with(TooBusy(_TOO_MANY, retry_after=1))
        elif self.server_state.is_closing:
            self.shutdown()

    def shutdown(self) -> None:
        """End the connection after the request that is under way, or that may be on its way."""
        if (end_streams := getattr(self.app, "end_streams", None)) is not None:
            end_streams()
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
        elif not self._is_in_header or not self._head:
            self._wait_until(self.loop.time() + self.server_state.last_request_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()
        if self._source is not None:
            self.server_state.admission.leave(self._source)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; answer and close when it cannot go on, or when a header does not end."""
        if self._is_refused:
            return
        self._begun_in_this_read = False
        try:
            if self._is_in_header or self.pipeline or data.find(_HEADER_END) + len(_HEADER_END) != len(data):
                self._feed(data)
            else:  # One whole header, which is most of what arrives.
                self._head, self._is_head_past, self._body_bytes = data, False, 0
                try:  # noqa: SIM105 - which takes longer
                    self.parser.feed_data(data)
                except httptools.HttpParserUpgrade:
                    pass
                if self._is_upgrade:  # Not above: an error would lose why it was raised.
                    self._go_on_without_upgrade()
                if self._is_in_body:
                    self._count_body(len(data))
        except httptools.HttpParserError as error:
            self._refuse_to_read(error)
        except LimitExceeded as error:
            self._refuse(error)
        # What arrived together with the start of a header may be whole requests before it: not counted.
        if self._is_in_header and not self._begun_in_this_read:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_UNPARSED_HEADER_BYTES and not self._is_refused:
                self._refuse(LimitExceeded(Limit.HEADER, "The header is too large."))

    def _feed(self, data: bytes) -> None:
        """Let the parser read up to the end of a header at a time: then it is known where the next begins.

        Nothing is read behind a request that waits for its turn: thousands of them come in one read, and each
        takes a hundred times the memory of its bytes.
        """
        begin = 0
        if self._waiting is not None:
            before, begin = self._waiting
            data, self._waiting = before + data, None
        while begin < len(data):
            if self.pipeline:
                self._waiting = data, begin
                return
            end = data.find(_HEADER_END, begin) + len(_HEADER_END)
            part = data[begin : end if end >= len(_HEADER_END) else len(data)]
            begin += len(part)
            self._head = self._head + part if self._is_in_header else part
            self._is_head_past, self._body_bytes = False, 0
            with suppress(httptools.HttpParserUpgrade):
                self.parser.feed_data(part)
            if self._is_upgrade:
                self._go_on_without_upgrade()
            if self._is_in_body:
                self._count_body(len(part))

    def _count_body(self, arrived: int) -> None:
        """Count what arrived behind a header; raise `LimitExceeded`."""
        if self._is_head_past:
            return  # It was the header.
        if self._bounds is None:
            self._bounds = BodyBounds()
        self._bounds.take(arrived, self._body_bytes, is_answered=self.cycle.response_complete)

    def _go_on_without_upgrade(self) -> None:
        """Read a request that asks for an upgrade as if it did not (RFC 9110, section 7.8).

        llhttp takes all that stands behind its header for another protocol, and reads no body.
        """
        version = self.parser.get_http_version().encode("ascii")
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self._is_upgrade = False
        self.parser = _new_parser(self)
        self.parser.feed_data(b"\r\n".join(lines) + _HEADER_END)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a header."""
        # What uvicorn does here, but for the scope of a request that may need none.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        if self._is_head_past or self._body_bytes:
            # What ended with the first bytes of this read, a header or a body, is of the request before.
            end = self._head.find(_HEADER_END) + len(_HEADER_END) if self._is_head_past else 0
            self._head = self._head[end + self._body_bytes :]
            self._is_head_past, self._body_bytes = False, 0
        if not self._is_in_header:
            self._begin_header()

    def on_headers_complete(self) -> None:
        """Stop waiting; answer, or let the gate take over.

        Raises `MalformedRequest` for an odd target or framing, `UnknownTransferCoding`.
        """
        method, url = self.parser.get_method(), self.url
        is_plain = self._head.startswith(method + b" " + url + b" HTTP/1.1\r\n")
        if not is_plain:
            check_request_line(self._head.lstrip(b"\r\n"), method, url)
        if self.parser.should_upgrade():
            if method == b"CONNECT":
                raise MalformedRequest("This is not a proxy: the request target must be a path.")
            self._is_upgrade = True
            return
        path, _, query = url.partition(b"?")
        self._is_answered = path == VERIFY_TARGET and is_plain and self._answer_at_once(method, query)
        if not self._is_answered:
            check_target(url, [value for name, value in self.headers if name == b"host"])
            check_transfer_coding(self.headers, self.parser.get_http_version())
            self._deadline = None
            self._pass_on()
        self._is_in_header, self._is_head_past = False, True

    def _pass_on(self) -> None:
        """Go on as uvicorn does, with the scope that it would have made at the beginning."""
        url, headers, is_expecting = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, is_expecting
        self.scope["headers"] = headers
        super().on_headers_complete()
        # uvicorn writes down trailers where it wrote the header: they must not be in that of the scope.
        self.headers = []
        self._is_in_body, self._bounds = True, None
        if self.server_state.is_closing:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Let the application answer in one write."""

        async def run(scope: Any, receive: Any, _send: Any) -> None:
            scope["extensions"] = {TRANSPORT: cycle.transport}
            await app(scope, receive, InOneWrite(cycle).send)

        super()._start_asgi_task(cycle, run)

    def on_body(self, body: bytes) -> None:
        """Take part of a body."""
        self._body_bytes += len(body)
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request; raise `LimitExceeded` for its trailers."""
        if not self._is_answered and not self._is_upgrade:
            self._is_in_body = False
            if self.headers:
                check_trailers(self.headers)
            super().on_message_complete()
            if self.cycle.response_complete and not self.server_state.is_closing:
                self._end_in(IDLE_TIMEOUT_SECONDS)

    def on_response_complete(self) -> None:
        """Go on with the request that waits, or wait for one; bound what still comes of the one answered.

        In place of uvicorn's, whose timer for idle connections any byte unsets.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif not self._is_in_header:  # That has a deadline.
            self._end_in(UNREAD_TIMEOUT_SECONDS if self._is_in_body else IDLE_TIMEOUT_SECONDS)
        if self._waiting is not None:
            self.data_received(b"")  # Up to the next request that has to wait.
        if not self.pipeline:
            self.flow.resume_reading()

    def _answer_at_once(self, method: bytes, query: bytes) -> bool:
        """Answer a plain `/verify` here, if nothing about it is special, and say whether that was done.

        uvicorn makes a scope, an event, a task and a timer for each request, and searches each header of the
        answer for characters that may not be in it: for this answer, that is most of the work.
        """
        cycle: Any = self.cycle  # None before the first request that was not answered here.
        if (
            (cycle is not None and not cycle.response_complete)
            or self.expect_100_continue
            or self.flow.write_paused
            or self.server_state.is_closing
            or not self.parser.should_keep_alive()
        ):
            return False
        answer_at_once = getattr(self.app, "answer_at_once", None)
        if answer_at_once is None:
            return False
        answer = answer_at_once(method.decode("ascii"), query, self.headers, self.client)
        if answer is None:
            return False
        headers = tuple(self.server_state.default_headers)
        if type(answer) is tuple:
            status, refusal = answer
            self.transport.write(begin_of_answer(headers, status) + refusal)
        else:
            self.transport.write(begin_of_answer(headers) + answer)
        self.server_state.total_requests += 1
        self._deadline = self.loop.time() + IDLE_TIMEOUT_SECONDS
        return True

    def _refuse_to_read(self, error: httptools.HttpParserError) -> None:
        """Refuse what the parser, or a check of what it read, does not take."""
        cause = error.__context__
        if isinstance(cause, KeyturnError):
            self._refuse(cause)
            return
        if cause is not None and not isinstance(cause, httptools.HttpParserError):
            self.logger.error("A request could not be read.", exc_info=cause)
        self._refuse(MalformedRequest(_NOT_UNDERSTOOD))

    def _refuse(self, error: KeyturnError) -> None:
        """Answer an error in the place of the request that is being read, and read nothing more.

        Answers that are due to requests before it come first (RFC 9112, section 9.3.2).
        """
        self._is_refused, self._deadline = True, None
        cycle: Any = self.cycle  # That of the request before it while a header is read.
        is_body_at_fault = not self._is_in_header
        if cycle is None or cycle.response_complete:
            self._end_with(None if is_body_at_fault else error)
        elif not is_body_at_fault:
            self._answer_in_turn(error)
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._end_with(None if cycle.response_started else error)

    def _end_with(self, error: KeyturnError | None) -> None:
        """Close the connection, with this answer as the last."""
        if error is not None:
            self.transport.write(WrittenRefusal(error).as_bytes(self.server_state.default_headers))
        self.transport.close()

    def _answer_in_turn(self, error: KeyturnError) -> None:
        """Answer an error when the requests before it are answered."""
        self.cycle = RequestResponseCycle(
            scope={"type": "http", "method": "GET", "path": "/", "headers": []},  # type: ignore[typeddict-item]
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        self.flow.pause_reading()
        self.pipeline.appendleft((self.cycle, WrittenRefusal(error)))

    def _begin_header(self) -> None:
        self._is_in_header = True
        self._header_bytes = 0
        self._begun_in_this_read = True
        self._deadline = self.loop.time() + HEADER_TIMEOUT_SECONDS
        # One timer for a connection, which looks when it rings: one for each request costs more.
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_TIMEOUT_SECONDS, self._end_if_overdue)

    def _end_in(self, seconds: float) -> None:
        """Close the connection so many seconds from now, unless it has another deadline by then."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_later(min(seconds, HEADER_TIMEOUT_SECONDS), self._end_if_overdue)

    def _wait_until(self, deadline: float) -> None:
        """Close the connection at this time of the loop unless a request comes before."""
        if self._timer is not None:
            self._timer.cancel()
        self._deadline = deadline
        self._timer = self.loop.call_at(deadline, self._end_if_overdue)

    def _end_if_overdue(self) -> None:
        """Close the connection if its deadline is over, else look again, as long as there is one."""
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self._timer = self.loop.call_later(min(left, HEADER_TIMEOUT_SECONDS), self._end_if_overdue)


def _new_parser(protocol: BoundedHttpProtocol) -> httptools.HttpRequestParser:
    """Return a parser as uvicorn makes it."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
