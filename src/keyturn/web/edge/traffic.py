"""Counting requests, where they are answered."""

from functools import cache

from keyturn.core import feed
from keyturn.counting.counts import Counts
from keyturn.counting.table import (
    EXCHANGES,
    LIMITED,
    OTHER,
    REFUSALS,
    REFUSED,
    REQUEST_SECONDS,
    REQUESTS,
    VERIFICATIONS,
    Answered,
    Kind,
    Result,
    Way,
)
from keyturn.errors import RateLimit, Reason, TooManyFailures
from keyturn.web import forward_auth
from keyturn.web.edge.exchange import EXCHANGE_PATHS
from keyturn.web.route_table import RouteTable

HEALTH = "/health/"
_CLASSES = {2: Answered.SUCCESS, 3: Answered.REDIRECTION, 4: Answered.CLIENT_ERROR, 5: Answered.SERVER_ERROR}
_RESULTS = {Answered.SUCCESS: Result.GOOD, Answered.CLIENT_ERROR: Result.REFUSED}
_KNOWN_REFUSALS = frozenset(map(str, REFUSALS))


class Traffic:
    """Counts the requests of one process."""

    def __init__(self, counts: Counts, routes: RouteTable) -> None:
        self._counts = counts
        self._routes = routes

    def note(
        self,
        path: str,
        status: int | None,
        seconds: float,
        *,
        failure: str | None,
        limit: RateLimit | None,
    ) -> None:
        """Count a request that was answered, or that ended without an answer.

        `failure` is what the log calls its refusal.
        """
        kind, answered = self._kind_of(path), _CLASSES.get((status or 0) // 100, Answered.NOTHING)
        cells = [REQUESTS.cell(kind, answered)]
        if failure is not None:
            cells.append(REFUSED.cell(failure if failure in _KNOWN_REFUSALS else OTHER))
        if limit is not None:
            cells.append(LIMITED.cell(limit))
        if kind is Kind.EXCHANGE:
            cells.append(EXCHANGES.cell(_RESULTS.get(answered, Result.FAILED)))
        self._counts.add(*cells)
        if kind is not Kind.FEED:  # A stream lasts as long as it is followed.
            self._counts.observe(REQUEST_SECONDS.cell(kind), seconds)

    def _kind_of(self, path: str) -> Kind:
        if path == forward_auth.PATH:
            return Kind.VERIFY
        if path in EXCHANGE_PATHS:
            return Kind.EXCHANGE
        if path == feed.PATH:
            return Kind.FEED
        if path.startswith(HEALTH):
            return Kind.HEALTH
        return Kind.PAGE if self._routes.is_page(path) else Kind.API


REMEMBERED = (VERIFICATIONS.cell(Way.CACHE, Result.GOOD), REQUESTS.cell(Kind.VERIFY, Answered.SUCCESS))
"""A plain verification that was good and remembered, which `Mark.PLAIN_GOOD` counts."""
LOOKED_UP = (VERIFICATIONS.cell(Way.STORE, Result.GOOD), REMEMBERED[1])
VERIFY_SECONDS = REQUEST_SECONDS.cell(Kind.VERIFY)


@cache  # Of few reasons, and a guess must cost next to nothing.
def refused_at_once(reason: Reason, *, is_limited: bool) -> tuple[int, ...]:
    """Return what a plain verification counts that was refused without asking anybody."""
    failure = TooManyFailures.__name__ if is_limited else reason
    cells = (
        VERIFICATIONS.cell(Way.CACHE, Result.REFUSED),
        REQUESTS.cell(Kind.VERIFY, Answered.CLIENT_ERROR),
        REFUSED.cell(failure),
    )
    return (*cells, LIMITED.cell(RateLimit.CREDENTIALS)) if is_limited else cells
