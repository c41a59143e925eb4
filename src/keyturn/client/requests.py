"""Authentication for requests.

requests.get(url, auth=KeyturnAuth(key))
requests.get(url, auth=KeyturnAuth(key, "https://keys.example.com"))
"""

import threading
from collections.abc import Sequence
from typing import Any

import requests
from requests.auth import AuthBase

from keyturn.client.dpop import DpopKeyPair, presenting
from keyturn.client.tokens import TokenKeeper, keeper_of
from keyturn.core.loopback import requests_proxies
from keyturn.core.own_credential import read_own_credential

UNAUTHORIZED = 401
EXCHANGE_TIMEOUT_SECONDS = 10


class KeyturnAuth(AuthBase):
    """Does for requests what `keyturn.client.KeyturnAuth` does for httpx."""

    def __init__(
        self,
        key: str,
        url: str | None = None,
        *,
        dpop: DpopKeyPair | bool = False,
        resource: str | None = None,
        scopes: Sequence[str] = (),
    ) -> None:
        self._key = read_own_credential(key)
        self._key_pair = DpopKeyPair.chosen(dpop)
        self._tokens = keeper_of(url, self._key, self._key_pair, resource, scopes)
        self._lock = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Authenticate a request."""
        if self._tokens is None:
            return self._with(request, self._key)
        token = self._token(self._tokens, None)
        self._with(request, token)
        tokens = self._tokens

        def send_once_more(response: requests.Response, **options: Any) -> requests.Response:
            return self._once_more(tokens, token, response, options)

        request.register_hook("response", send_once_more)
        return request

    def _once_more(
        self, tokens: TokenKeeper, refused: str, response: requests.Response, options: dict[str, Any]
    ) -> requests.Response:
        """Send a request whose token was refused again with another one, if its body is there as a whole."""
        sent = response.request
        was_sent_so = sent.headers.get("Authorization") in {f"Bearer {refused}", f"DPoP {refused}"}
        has_whole_body = sent.body is None or isinstance(sent.body, (str, bytes))
        if response.status_code != UNAUTHORIZED or not was_sent_so or not has_whole_body:
            return response
        response.content  # noqa: B018 - read, so that the connection can be used again
        response.close()
        again = self._with(sent.copy(), self._token(tokens, refused))
        answer: requests.Response = response.connection.send(again, **options)
        answer.history.append(response)
        answer.request = again
        return answer

    def _with(self, request: requests.PreparedRequest, credential: str) -> requests.PreparedRequest:
        request.headers.update(
            presenting(credential, self._key_pair, request.method or "", request.url or "")
        )
        return request

    def _token(self, tokens: TokenKeeper, refused: str | None) -> str:
        """Return a token, asking for it if there is none but the one that was refused."""
        token = tokens.find(not_this=refused)
        if token is not None:
            return token
        with self._lock:
            token = tokens.find(not_this=refused)
            if token is None:
                answer = requests.post(
                    tokens.exchange_url,
                    data=tokens.body(),
                    headers=tokens.headers(),
                    timeout=EXCHANGE_TIMEOUT_SECONDS,
                    allow_redirects=False,
                    proxies=requests_proxies(tokens.exchange_url),
                )
                token = tokens.keep(answer.status_code, answer.content)
            return token
