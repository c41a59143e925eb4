"""The public signing keys as a server publishes them, fetched seldom (RFC 7517, RFC 9111)."""

import re
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import httpx
import msgspec

from keyturn.core.access_token import VerifyingKey, VerifyingRing
from keyturn.core.oauth import JWKS_PATH
from keyturn.errors import StoreUnavailable
from keyturn.replica.bounded_http import ANSWER_SECONDS, ask, start_in_thread
from keyturn.system import System

FETCH_SECONDS = 30.0
"""Never more than one fetch in this time, whatever is presented: strangers choose the key ids."""
DEFAULT_AGE_SECONDS = 300.0
MAX_AGE_SECONDS = 3600.0
STALE_SECONDS = 3600.0
"""For how long keys are used on while they cannot be fetched."""

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:$|[\s,])", re.IGNORECASE)


class _KeySet(msgspec.Struct):
    keys: list[dict[str, str]]


class PublishedKeys:
    """Remembers the key set. A failed fetch never takes good keys away."""

    def __init__(self, http: httpx.Client, system: System) -> None:
        self._http = http
        self._system = system
        self._lock = threading.Lock()
        self._ring: VerifyingRing | None = None
        self._fetching: Future[None] | None = None
        self._asked_at = float("-inf")
        self._fresh_until = float("-inf")

    def ring_for(self, token: bytes) -> VerifyingRing:
        """Return the keys, fetched anew if that may help this token; raise `StoreUnavailable` without any."""
        header = token.partition(b".")[0]
        ring, now = self._ring, self._system.monotonic()
        is_known = ring is not None and header in ring.by_header
        if not is_known or now >= self._fresh_until:
            self._fetch(waits=not is_known or now >= self._fresh_until + STALE_SECONDS)
            ring, now = self._ring, self._system.monotonic()
        if ring is None or now >= self._fresh_until + STALE_SECONDS:
            raise StoreUnavailable("the signing keys of the Keyturn server cannot be fetched")
        return ring

    def _fetch(self, *, waits: bool) -> None:
        """Fetch the key set, unless somebody did just now; if they still do, wait for that if `waits`."""
        with self._lock:
            now = self._system.monotonic()
            if now - self._asked_at >= FETCH_SECONDS:
                self._asked_at, waits = now, True
                self._fetching = start_in_thread(partial(self._take, now), "keyturn-keys")
            fetching = self._fetching
        if waits and fetching is not None:
            with suppress(TimeoutError):
                fetching.result(ANSWER_SECONDS)

    def _take(self, asked_at: float) -> None:
        """Take in the key set, if one comes before another is asked for."""
        try:
            answer, content = ask(self._http, "GET", JWKS_PATH, system=self._system)
            if answer.status_code != httpx.codes.OK:
                return
            found = msgspec.json.decode(content, type=_KeySet).keys
            ring = VerifyingRing.of_keys([VerifyingKey.from_jwk(dict(jwk)) for jwk in found])
        except (httpx.HTTPError, msgspec.MsgspecError, ValueError, KeyError):
            return
        with self._lock:
            if ring.by_header and asked_at == self._asked_at:
                self._ring = ring
                self._fresh_until = asked_at + _age(answer.headers.get("cache-control", ""))


def _age(cache_control: str) -> float:
    found = _MAX_AGE.search(cache_control)
    return DEFAULT_AGE_SECONDS if found is None else min(float(found[1]), MAX_AGE_SECONDS)
