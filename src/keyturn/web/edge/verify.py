"""`/verify`, answered where the request comes in: nothing else is asked as often.

A plain request, which holds nothing but a credential and what a gateway says beside it, is answered from the
cache of verdicts without a task, a scope or a message. Every other request takes the common way through
`web.edge.gate`, and gets the same answer. `forward_auth.read_required` reads the scopes that the gateway asks
for. `Authenticator.recognise` compares them with those of the caller here, and `core.scopes.check_scopes` in
the gate.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf
from time import perf_counter

from keyturn.core.scopes import NO_SCOPES
from keyturn.counting.counts import TIMED_OF, Counts
from keyturn.counting.table import Mark
from keyturn.errors import TooManyFailures
from keyturn.system import request_id
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.callers import UseContext
from keyturn.verifying.verdict_cache import CachedVerdict
from keyturn.web import forward_auth
from keyturn.web.edge.refusals import Refusals
from keyturn.web.edge.request_checks import MISPLACED_HEADERS, HostRule, is_of_other_scheme
from keyturn.web.edge.request_log import RequestLog
from keyturn.web.edge.tracing import given_request_id
from keyturn.web.edge.traffic import LOOKED_UP, VERIFY_SECONDS, refused_at_once

PLAIN_HEADERS = 24
MAX_PLAIN_FIELD_BYTES = 600
"""A request with more header fields than this, or longer ones, takes the longer way. Together with the
credential they are less than a header may be long, and what is remembered of them is bounded."""

_LONGER_WAY = frozenset(
    {
        *MISPLACED_HEADERS,
        b"cookie",
        b"transfer-encoding",
        forward_auth.SCOPE_HEADER,
    }
)
"""With one of these a request is looked at in full before it is answered."""


class PlainVerify:
    """Answers plain requests for `/verify`; see the module.

    `client_address` is asked for the client behind a proxy, None where no proxy is trusted. With
    `asks_database`, a credential that is not remembered is looked up at once.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        hosts: HostRule,
        client_address: Callable[[str | None, tuple[bytes, ...]], str | None] | None,
        refusals: Refusals,
        log: RequestLog,
        asks_database: bool,
        counts: Counts,
    ) -> None:
        self._counts = counts
        self._left: float = TIMED_OF if counts.is_shown else inf
        """How many good answers out of the cache are left until they count, and the next one is timed."""
        self._told = 0
        """How many of those before them are counted already."""
        counts.settle_with(self._count_plain)
        self._authenticator = authenticator
        self._allows_host = lru_cache(1024)(lambda host: hosts.allows(host.decode("latin-1")))
        self._required = lru_cache(1024)(forward_auth.read_plain_query)
        self._client_address = client_address
        self._refusals = refusals
        self._log = log
        self._asks_database = asks_database

    def recognise(
        self,
        method: str,
        query: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None,
    ) -> CachedVerdict | None:
        """Return the verdict that is remembered of a plain request; None if there is none."""
        plain = self._plain(method, query, headers, client)
        known = None if plain is None else plain[0].recognise(*plain[1:])
        if known is not None:
            self._counts.grow(Mark.PLAIN_GOOD, 1)
        return known

    def _count_plain(self) -> None:
        """Count the good answers out of the cache that are not counted yet. To be called in the loop."""
        if self._counts.is_shown:
            answered = TIMED_OF - int(self._left)
            self._counts.grow(Mark.PLAIN_GOOD, answered - self._told)
            self._told = answered

    def _answer_timed(
        self,
        method: str,
        query: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None,
    ) -> bytes | tuple[int, bytes] | None:
        """Answer one request, whose time stands for the `TIMED_OF` before it."""
        self._count_plain()
        self._left, self._told = TIMED_OF, 0
        started = perf_counter()
        answer = self.answer_at_once(method, query, headers, client)
        if answer is not None:
            self._counts.observe(VERIFY_SECONDS, perf_counter() - started, TIMED_OF)
        return answer

    def answer_at_once(
        self,
        method: str,
        query: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None,
    ) -> bytes | tuple[int, bytes] | None:
        """Return the answer to a plain request from behind its status line; None if it takes longer.

        A refusal comes with its status. Bytes alone mean 200: a tuple for each would cost the good ones.
        `BoundedHttpProtocol` writes the answer without a task, a scope or a message for the request.
        """
        if not self._left:
            return self._answer_timed(method, query, headers, client)
        plain = self._plain(method, query, headers, client)
        if plain is None:
            return None
        authenticator, value, trace, scopes = plain
        known = authenticator.recognise(value, trace, scopes)
        if known is None:
            refused = self._refuse_at_once(authenticator, value, trace, headers)
            if refused is not None or not self._asks_database:
                return refused
            known = authenticator.recognise(value, trace, scopes)
            if known is None:
                return None
            self._counts.add(*LOOKED_UP)
        else:
            self._left -= 1
        if known.answer is None:
            known.answer = forward_auth.header_block(known.principal)
        return known.answer

    def _refuse_at_once(
        self,
        authenticator: Authenticator,
        value: bytes,
        trace: UseContext,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> tuple[int, bytes] | None:
        """Return the refusal of a credential that is known to be wrong without asking anybody; else None.

        A key that may be good is looked up, in a database that answers in microseconds.
        """
        address, method, path, _ = trace
        if method == "HEAD" or is_of_other_scheme(value):
            return None
        refusal = authenticator.find_refusal(value, address, may_ask=self._asks_database)
        if refusal is None:
            return None
        reason, wait = refusal
        request = given_request_id(headers) or request_id()
        status, answer = self._refusals.written(wait, request)
        self._counts.add(*refused_at_once(reason, is_limited=bool(wait)))
        self._log.write(
            {
                "request_id": request,
                "via": f"{method} {path}",
                "status": status,
                "address": address,
                "user_id": None,
                "key_id": None,
                "failure": TooManyFailures.__name__ if wait else reason.value,
                "milliseconds": 0.0,
            }
        )
        return status, answer

    def _plain(  # noqa: C901, PLR0911, PLR0912 - flat, since each call costs
        self,
        method: str,
        query: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None,
    ) -> tuple[Authenticator, bytes, UseContext, frozenset[str]] | None:
        """Return the judge of a plain request, its credential, the context of this use, and the asked scopes.

        Return None for every other request, which is then looked at in full. The steps of the gate that are
        missing here cannot change the answer to a plain request.
        """
        if len(headers) > PLAIN_HEADERS:
            return None
        authorization = host = agent = forwarded = None
        for name, value in headers:
            if len(name) + len(value) > MAX_PLAIN_FIELD_BYTES and name != b"authorization":
                return None
            if name == b"authorization":
                if authorization is not None:
                    return None
                authorization = value
            elif name == b"host":
                if host is not None:
                    return None
                host = value
            elif name == b"user-agent":
                agent = value
            elif name == b"x-forwarded-for":
                if forwarded is not None:
                    return None
                forwarded = value
            elif name in _LONGER_WAY or (name == b"content-length" and value != b"0"):
                return None
        if authorization is None or host is None or not self._allows_host(host):
            return None
        address = client[0] if client else None
        if forwarded is not None and self._client_address is not None:
            address = self._client_address(address, (forwarded,))
        authenticator, scopes = self._authenticator, NO_SCOPES
        if query:
            required = self._required(query) if len(query) <= MAX_PLAIN_FIELD_BYTES else None
            if required is None:
                return None
            scopes = required.scopes
            if required.audience is not None:
                authenticator = authenticator.at(required.audience)
        return authenticator, authorization, (address, method, forward_auth.PATH, agent), scopes
