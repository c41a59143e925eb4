"""Authentication for httpx, for its clients of both kinds.

httpx.Client(auth=KeyturnAuth(key))                                  sends the key with each request
httpx.AsyncClient(auth=KeyturnAuth(key, "https://keys.example.com"))  exchanges it, and sends the token
"""

import ssl
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

import anyio
import httpx

from keyturn.client.dpop import DpopKeyPair, presenting
from keyturn.client.tokens import TokenKeeper, keeper_of
from keyturn.core.loopback import httpx_options
from keyturn.core.own_credential import read_own_credential

UNAUTHORIZED = 401
EXCHANGE_TIMEOUT_SECONDS = 10.0
LOOKED_AFTER_SECONDS = 0.01
"""How often a task looks whether the exchange of another one is done."""


class KeyturnAuth(httpx.Auth):
    """Sends a key, or, given the address of its Keyturn, a token that it gets for the key.

    The exchange goes to that address alone, by a connection of its own: it follows no redirect, whatever the
    client is set to, since the key goes with it. `verify` is httpx's, for a server with a private authority.
    It goes by the proxies of the environment, not by the client's, and by none to an address of loopback. The
    client's own requests, and a key or token in them, go where that client is set to send them.

    With `dpop=True` the token is bound to a new key pair, and goes with a proof in each request (RFC 9449):
    to anybody else it is of no use. A key that is bound to a key pair itself needs that one: `dpop=key_pair`.

    With `resource`, the identifier of an API that is registered there, the token is for that API
    alone, and with `scopes` it covers these alone: either needs the address. Without `resource` the token is
    for Keyturn itself, and a registered API refuses it: name the API, also for a key that covers
    nothing else.

    The token is renewed before it ends, and once more when it is refused; however many threads or tasks ask
    at once, one exchange is made. Tasks may be of several event loops, of asyncio and of trio. Raises
    `ExchangeFailed` from the request when the key is not exchanged, and `ValueError` for an address without
    https that is not loopback, and for what is no key. The line end of a file that the key was read from is
    cut.
    """

    requires_response_body = False

    def __init__(
        self,
        key: str,
        url: str | None = None,
        *,
        verify: ssl.SSLContext | bool = True,
        dpop: DpopKeyPair | bool = False,
        resource: str | None = None,
        scopes: Sequence[str] = (),
    ) -> None:
        self._key = read_own_credential(key)
        self._verify = verify
        self._key_pair = DpopKeyPair.chosen(dpop)
        self._tokens = keeper_of(url, self._key, self._key_pair, resource, scopes)
        self._lock = threading.Lock()
        self._exchanging = threading.Lock()
        """Held by the one task that exchanges: of no event loop, since several may share this."""

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authenticate a request of `httpx.Client`."""
        if self._tokens is None:
            yield self._with(request, self._key)
            return
        token = self._token(self._tokens, None)
        response = yield self._with(request, token)
        if response.status_code == UNAUTHORIZED and _can_be_sent_again(request):
            response.read()
            yield self._with(request, self._token(self._tokens, token))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authenticate a request of `httpx.AsyncClient`."""
        if self._tokens is None:
            yield self._with(request, self._key)
            return
        token = None
        for _ in range(2):
            refused, token = token, self._tokens.find(not_this=token)
            if token is None:
                token = await self._token_async(self._tokens, refused)
            response = yield self._with(request, token)
            if response.status_code != UNAUTHORIZED or not _can_be_sent_again(request):
                return
            await response.aread()

    def _token(self, tokens: TokenKeeper, refused: str | None) -> str:
        """Return a token, asking for it if there is none but the one that was refused."""
        token = tokens.find(not_this=refused)
        if token is not None:
            return token
        with self._lock:
            token = tokens.find(not_this=refused)
            if token is None:
                with httpx.Client(**self._exchange_options(tokens)) as client:
                    answer = client.post(tokens.exchange_url, content=tokens.body(), headers=tokens.headers())
                token = tokens.keep(answer.status_code, answer.content)
            return token

    async def _token_async(self, tokens: TokenKeeper, refused: str | None) -> str:
        """Do what `_token` does, in a task of any event loop, of asyncio or trio."""
        while not self._exchanging.acquire(blocking=False):  # noqa: ASYNC110 - as said below
            await anyio.sleep(LOOKED_AFTER_SECONDS)  # An event would belong to one loop.
        try:
            return tokens.find(not_this=refused) or await self._exchange_async(tokens)
        finally:
            self._exchanging.release()

    async def _exchange_async(self, tokens: TokenKeeper) -> str:
        async with httpx.AsyncClient(**self._exchange_options(tokens)) as client:
            answer = await client.post(tokens.exchange_url, content=tokens.body(), headers=tokens.headers())
        return tokens.keep(answer.status_code, answer.content)

    def _exchange_options(self, tokens: TokenKeeper) -> dict[str, Any]:
        options = {"verify": self._verify, "timeout": EXCHANGE_TIMEOUT_SECONDS}
        return options | httpx_options(tokens.exchange_url)

    def _with(self, request: httpx.Request, credential: str) -> httpx.Request:
        request.headers.update(presenting(credential, self._key_pair, request.method, str(request.url)))
        return request


def _can_be_sent_again(request: httpx.Request) -> bool:
    """Return whether the body is there as a whole: a stream is gone once it was sent."""
    try:
        request.content  # noqa: B018 - the attribute raises
    except httpx.RequestNotRead:
        return False
    return True
