"""The line of each request, and one line a second for what a stranger repeats.

A caller who is known has a line for each request, but for a good plain `/verify` (`web.edge.verify`). A
stranger's refused requests, and those that they GET without a credential, have one line for each address and
second: anybody could fill the disk otherwise. The first is written at once, with all that is known of it.
Those that follow within the second are counted, and written at its end.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import structlog

from keyturn.logs import write_event
from keyturn.verifying.rate_limit import network_of

SECOND = 1.0
MAX_ADDRESSES = 10_000
"""In one second. The requests of further addresses are counted together, without an address."""

_READS = ("GET ", "HEAD ")


@dataclass(slots=True)
class _Repeated:
    """The repeated requests of one address since its last line."""

    count: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    last: dict[str, Any] = field(default_factory=dict)
    is_new: bool = True
    """Whether the address had a line of its own in this second."""


class RequestLog:
    """Logs requests."""

    def __init__(self) -> None:
        self._is_wanted = structlog.get_logger().is_enabled_for(logging.INFO)
        self._repeated: dict[tuple[str | None, bool], _Repeated] = {}

    def write(self, fields: dict[str, Any]) -> None:
        """Log one request, whose fields are those of its line."""
        if not self._is_wanted:
            return
        if fields["user_id"] is None:
            is_refused = fields["failure"] is not None
            if (is_refused or fields["via"].startswith(_READS)) and self._is_repeated(is_refused, fields):
                return
        write_event("request", fields)

    def _is_repeated(self, is_refused: bool, fields: dict[str, Any]) -> bool:
        repeated = self.repeated(fields["address"], is_refused=is_refused)
        if repeated is None:
            return False
        repeated.count += 1
        repeated.failures[str(fields["failure"])] += 1
        repeated.last = fields
        return True

    def repeated(self, address: str | None, *, is_refused: bool) -> _Repeated | None:
        """Return where one more request of this address is counted; None if it has a line of its own."""
        key = (None if address is None else network_of(address), is_refused)
        repeated = self._repeated.get(key)
        if repeated is not None:
            return repeated
        if len(self._repeated) >= MAX_ADDRESSES:
            return self._repeated.setdefault((None, is_refused), _Repeated())
        if not self._repeated:
            asyncio.get_running_loop().call_later(SECOND, self._end_second)
        self._repeated[key] = _Repeated()
        return None

    def flush(self) -> None:
        """Write what was counted: the server ends."""
        for (network, is_refused), repeated in self._repeated.items():
            self._write_repeated(network, repeated, is_refused=is_refused)
        self._repeated.clear()

    def _end_second(self) -> None:
        """Write what was counted. An address that had a line in this second has none at once in the next."""
        goes_on = [key for key, repeated in self._repeated.items() if repeated.is_new or repeated.count]
        self.flush()
        self._repeated = {key: _Repeated(is_new=False) for key in goes_on}
        if goes_on:
            asyncio.get_running_loop().call_later(SECOND, self._end_second)

    def _write_repeated(self, network: str | None, repeated: _Repeated, *, is_refused: bool) -> None:
        if not repeated.count:
            return
        fields = dict(repeated.last)
        if network is None:
            fields["address"] = None
        fields["count"] = repeated.count
        if is_refused:
            fields["failures"] = dict(repeated.failures)
        write_event("requests_refused" if is_refused else "requests_answered", fields)
