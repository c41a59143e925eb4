"""A client for Keyturn's own API, typed.

with ApiClient("https://keys.example.com", key) as keyturn:
made = keyturn.create_key("nightly export")
"""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, unquote

import httpx
import msgspec

from keyturn.client.httpx import KeyturnAuth
from keyturn.client.tokens import NOT_KEYTURN
from keyturn.core.loopback import check_address, httpx_options
from keyturn.core.times import wire_time
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
    scopes: list[str] | None
    allow_from: list[str] | None
    """The networks that it may be used from; None for anywhere."""
    dpop_jkt: str | None
    """The thumbprint of the key pair that alone may present it; None for anybody."""
    allow_methods: list[str] | None
    """The methods of the requests that it may be used for; None for any."""
    allow_paths: list[str] | None
    """The prefixes of their paths; None for any."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewApiKey(ApiKey, frozen=True, rename="camel"):
    """A new key. Its secret is never shown again."""

    apikey: str

    def __repr__(self) -> str:
        """Show what can be shown (conventions, rule 8)."""
        return f"NewApiKey(id={self.id}, masked={self.masked!r})"


class CurrentCredential(msgspec.Struct, frozen=True, rename="camel"):
    """The rights of a credential: often fewer than those of its owner."""

    key_id: int | None
    """None if it is no key, or the server does not say."""
    scopes: list[str]
    """The scopes that it is narrowed to; empty for a credential that is not narrowed."""
    permissions: list[str]
    """The permissions of its owner that it carries."""


class Connection(msgspec.Struct, frozen=True, rename="camel"):
    """A registered connection, without its secrets."""

    connection_key: str
    connection: dict[str, Any]


class ServiceScope(msgspec.Struct, frozen=True):
    """The scopes that a key can be narrowed to."""

    name: str
    description: str | None


class Service(msgspec.Struct, frozen=True):
    """An API that is registered on the server."""

    id: int
    name: str
    identifier: str
    description: str | None
    scopes: list[ServiceScope]


class _Services(msgspec.Struct):
    count: int
    hits: list[Service]


class _Project(msgspec.Struct):
    id: int


class _ListedKey(ApiKey, frozen=True, rename="camel"):
    project: _Project | None  # type: ignore[assignment]  # an object in this list alone


class ApiClient:
    """Calls a Keyturn server with a key, or with bearer tokens that it gets for the key.

    Raises `ServerRefused` for an answer that is no success, httpx's errors when there is no answer, and
    `ValueError` for an address without https that is not loopback, and for what is no key. With `tls` the
    server's certificate is verified by that; without, by the authorities of the system.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        exchanges: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        check_address(url)
        self._http = httpx.Client(
            base_url=url,
            auth=KeyturnAuth(key, url if exchanges else None, verify=True if tls is None else tls),
            timeout=timeout_seconds,
            **httpx_options(url, tls),
        )

    def current_user(self) -> User:
        """Return whose key this is."""
        return self._ask(User, "GET", "/bim/rpc/user/current")

    def create_key(
        self,
        name: str | None = None,
        *,
        project_id: int | None = None,
        scopes: Sequence[str] | None = None,
        allow_from: Sequence[str] | None = None,
        dpop_jkt: str | None = None,
        allow_methods: Sequence[str] | None = None,
        allow_paths: Sequence[str] | None = None,
        expires_at: datetime | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> NewApiKey:
        """Make a key for the same user; its `apikey` is the secret.

        With `scopes` it covers these alone; with `allow_from`, addresses and networks, it is refused from
        anywhere else; with `dpop_jkt`, the `jkt` of a `DpopKeyPair`, it needs proofs of that one;
        with `allow_methods` and `allow_paths`, prefixes like `/data/connection`, it opens such requests
        alone.
        Without `expires_at`, a time with a zone, it lives as long as the server is set to; with None it never
        ends, where that is allowed.
        """
        body: dict[str, Any] = {
            "name": name,
            "projectId": project_id,
            "scopes": None if scopes is None else list(scopes),
            "allowFrom": None if allow_from is None else list(allow_from),
            "dpopJkt": dpop_jkt,
            "allowMethods": None if allow_methods is None else list(allow_methods),
            "allowPaths": None if allow_paths is None else list(allow_paths),
        }
        if expires_at is not msgspec.UNSET:
            body["expiresAt"] = None if expires_at is None else _wire_end(expires_at)
        return self._ask(NewApiKey, "POST", "/bim/apikey", json=body)

    def list_keys(self) -> Iterator[ApiKey]:
        """Yield the user's keys, the newest first."""
        user = self.current_user()
        path = f"/bim/iam/{quote(user.iamid, safe='')}/user/{user.id}/apikeys"
        offset = 0
        while True:
            page = self._ask(list[_ListedKey], "GET", path, params={"size": PAGE, "offset": offset})
            yield from map(_api_key, page)
            offset += len(page)
            if len(page) < PAGE:
                return

    def rotate_key(
        self, key_id: int, *, overlap_seconds: int = 0, idempotency_key: str | None = None
    ) -> NewApiKey:
        """Give one of the user's keys a new secret, `apikey`; the former one works for the overlap more.

        With the `idempotency_key` of a call whose answer was lost, the secret in that answer is void.
        """
        return self._ask(
            NewApiKey,
            "POST",
            f"/bim/apikey/{key_id}/rotate",
            json={"overlapSeconds": overlap_seconds},
            headers={} if idempotency_key is None else {"Idempotency-Key": idempotency_key},
        )

    def current_credential(self) -> CurrentCredential:
        """Return what the credential that this client calls with may do."""
        told = self._send("GET", "/verify").headers
        number = told.get("keyturn-key-id", "")
        return CurrentCredential(
            key_id=int(number) if number.isdecimal() else None,
            scopes=unquote(told.get("keyturn-scopes", "")).split(),
            permissions=told.get("keyturn-permissions", "").split(),
        )

    def revoke_key(self, key_id: int) -> None:
        """End one of the user's keys, and every token made from it."""
        self.request("DELETE", f"/bim/apikey/{key_id}")

    def list_services(self) -> list[Service]:
        """Return the services of which the user may hold scopes, with these; to an administrator all."""
        found: list[Service] = []
        while True:
            page = self._ask(_Services, "GET", "/services", params={"size": PAGE, "offset": len(found)})
            found += page.hits
            if not page.hits or len(found) >= page.count:
                return found

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
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Ask anything of the API; return the body of the answer.

        `path` begins with a slash: a whole address could lead the key elsewhere. Raises `ValueError`.
        """
        if not path.startswith("/") or path.startswith("//"):
            raise ValueError("give a path that begins with one slash")
        return self._send(method, path, json=json, params=params, headers=headers).content

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

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._http.request(method, path, **options)
        if answer.is_success:
            return answer
        raise ServerRefused(
            answer.status_code, _message_of(answer), request_id=answer.headers.get("x-request-id")
        )

    def _ask(self, shape: type[T], method: str, path: str, **options: Any) -> T:
        body = self.request(method, path, **options)
        try:
            return msgspec.json.decode(body, type=shape)
        except (msgspec.ValidationError, msgspec.DecodeError):
            raise ServerRefused(200, NOT_KEYTURN, request_id=None) from None


def _api_key(listed: _ListedKey) -> ApiKey:
    project = None if listed.project is None else listed.project.id
    return ApiKey(**{**msgspec.structs.asdict(listed), "project": project})


def _wire_end(expires_at: datetime) -> str:
    if expires_at.tzinfo is None:
        raise ValueError("give a time with a zone: by that alone it is one instant")
    return wire_time(expires_at)


def _message_of(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code} {answer.reason_phrase}."
