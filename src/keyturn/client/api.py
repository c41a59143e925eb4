"""A client for Keyturn's own API, typed.

with ApiClient("https://keys.example.com", key) as keyturn:
made = keyturn.create_key("nightly export")
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from keyturn.client.httpx import KeyturnAuth
from keyturn.client.tokens import NOT_KEYTURN, check_address
from keyturn.errors import KeyturnError

TIMEOUT_SECONDS = 10.0
PAGE = 200

T = TypeVar("T")


class ServerRefused(KeyturnError):
    """The server did not do what was asked; the message is the server's own."""

    def __init__(self, status: int, message: str, *, request_id: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        """By which the server's log knows the request."""


class User(msgspec.Struct, frozen=True, rename="camel"):
    """A user."""

    id: int
    userid: str
    iamid: str
    permissions: list[str]
    authorizations: dict[str, list[str]]
    disabled: bool


class ApiKey(msgspec.Struct, frozen=True, rename="camel"):
    """A key without its secret."""

    id: int
    name: str | None
    masked: str
    state: str
    project: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewApiKey(ApiKey, frozen=True, rename="camel"):
    """A new key. Its secret is never shown again."""

    apikey: str

    def __repr__(self) -> str:
        """Show what can be shown (conventions, rule 8)."""
        return f"NewApiKey(id={self.id}, masked={self.masked!r})"


class Connection(msgspec.Struct, frozen=True, rename="camel"):
    """A registered connection, without its secrets."""

    connection_key: str
    connection: dict[str, Any]


class _Keys(msgspec.Struct):
    count: int
    hits: list[ApiKey]


class ApiClient:
    """Calls a Keyturn server with a key, or with bearer tokens that it gets for the key.

    Raises `ServerRefused` for an answer that is no success, httpx's errors when there is no answer, and
    `ValueError` for an address without https that is not loopback.
    """

    def __init__(
        self, url: str, key: str, *, exchanges: bool = False, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        check_address(url)
        self._http = httpx.Client(
            base_url=url, auth=KeyturnAuth(key, url if exchanges else None), timeout=timeout_seconds
        )

    def current_user(self) -> User:
        """Return whose key this is."""
        return self._ask(User, "GET", "/bim/rpc/user/current")

    def create_key(self, name: str | None = None, *, project_id: int | None = None) -> NewApiKey:
        """Make a key for the same user; its `apikey` is the secret."""
        return self._ask(NewApiKey, "POST", "/bim/apikey", json={"name": name, "projectId": project_id})

    def list_keys(self) -> Iterator[ApiKey]:
        """Yield the user's keys, the newest first."""
        user = self.current_user()
        path = f"/bim/iam/{quote(user.iamid, safe='')}/user/{user.id}/apikeys"
        offset = 0
        while True:
            page = self._ask(_Keys, "GET", path, params={"size": PAGE, "offset": offset})
            yield from page.hits
            offset += len(page.hits)
            if not page.hits or offset >= page.count:
                return

    def revoke_key(self, key_id: int) -> None:
        """End one of the user's keys, and every token made from it."""
        self.request("DELETE", f"/bim/apikey/{key_id}")

    def connection(self, connection_key: str) -> Connection:
        """Return a connection."""
        return self._ask(Connection, "GET", f"/data/connection/{quote(connection_key, safe='')}")

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Ask anything of the API; return the body of the answer.

        `path` begins with a slash: a whole address could lead the key elsewhere. Raises `ValueError`.
        """
        if not path.startswith("/") or path.startswith("//"):
            raise ValueError("give a path that begins with one slash")
        answer = self._http.request(method, path, json=json, params=params)
        if answer.is_success:
            return answer.content
        raise ServerRefused(
            answer.status_code, _message_of(answer), request_id=answer.headers.get("x-request-id")
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _ask(self, shape: type[T], method: str, path: str, **options: Any) -> T:
        body = self.request(method, path, **options)
        try:
            return msgspec.json.decode(body, type=shape)
        except (msgspec.ValidationError, msgspec.DecodeError):
            raise ServerRefused(200, NOT_KEYTURN, request_id=None) from None


def _message_of(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code} {answer.reason_phrase}."
