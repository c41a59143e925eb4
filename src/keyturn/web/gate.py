"""The gate: raw ASGI in front of the framework, where every request is bounded, named and authenticated.

Deny by default: a path that no rule below opens needs a credential, whether it exists or not, so that a
route added later is closed until somebody writes it down here.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog

from keyturn.core.api_key import FOREIGN_KEY_MIN_LENGTH
from keyturn.core.principal import Principal
from keyturn.errors import (
    AmbiguousCredential,
    CredentialRefused,
    KeyturnError,
    Limit,
    LimitExceeded,
    MalformedRequest,
    Reason,
)
from keyturn.services.audit import Origin
from keyturn.services.authentication import Authenticator
from keyturn.services.sessions import SESSION_COOKIES
from keyturn.web.headers import SecurityHeaders
from keyturn.web.requests import failure_name
from keyturn.web.responses import ErrorResponse, internal_error, response_of

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADER_FIELDS = 100
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_SECONDS = 10.0
"""For the whole body, so that one which drips in ends too."""
MAX_TEXT_KEPT = 512
"""How many characters of a path or user agent are logged and stored."""

EXCHANGE_PATHS = frozenset({"/bim/apikey/authenticate", "/apikey/authenticate"})
OPEN_PATHS = frozenset(
    {
        ("GET", "/"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/openapi.json"),
        *(("POST", path) for path in EXCHANGE_PATHS),
    }
)
"""What anybody may ask without a credential."""

OPEN_PATTERNS = (
    ("POST", re.compile(r"/bim/iam/[^/]+/user/authenticate")),
    ("GET", re.compile(r"/static/[^/]+")),
    ("GET", re.compile(r"/docs/api(/assets/[^/]+)?")),
)

PAGE_PATTERN = re.compile(r"/(login|logout|setup|profile(/.*)?)")
"""Pages ask for a session, by cookie, and send a stranger to the login: they take no `Authorization`."""

CREDENTIAL_PARAMETERS = re.compile(
    rb"(?:^|[&;])(?:access_token|api_?key|authorization|token)=", re.IGNORECASE
)
CREDENTIAL_HEADERS = frozenset({b"x-api-key", b"api-key", b"proxy-authorization"})

_BODY_TOO_LARGE = f"The body is larger than {MAX_BODY_BYTES} bytes."
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")

Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class HostRule:
    """Which `Host` is answered."""

    names: frozenset[str]
    """Host names with their port as clients write it, lower case."""
    allows_loopback: bool
    """Whether loopback names are answered with any port: on a loopback bind nobody else can reach us."""

    def allows(self, host: str) -> bool:
        """Return whether this `Host` value is ours."""
        if _HOST.fullmatch(host) is None:
            return False
        host = host.lower()
        if host in self.names:
            return True
        return self.allows_loopback and re.sub(r":[0-9]+$", "", host) in {"localhost", "127.0.0.1", "[::1]"}


class SecretsOut:
    """Takes out of a path or user agent what could be a credential, where none belongs.

    That is whatever begins like one of our keys, and any long word with a digit in it: foreign keys and the
    parts of tokens look like that. One pass over a bounded text: strangers choose it.
    """

    def __init__(self, key_prefix: str) -> None:
        self._words = re.compile(rf"{key_prefix}_\w+|[\w-]{{{FOREIGN_KEY_MIN_LENGTH},}}", re.ASCII)
        self._prefix = f"{key_prefix}_"

    def __call__(self, text: str) -> str:
        """Return the text, cut and without what could be a credential."""
        return self._words.sub(self._replacement, text[:MAX_TEXT_KEPT])

    def _replacement(self, word: re.Match[str]) -> str:
        is_suspect = word[0].startswith(self._prefix) or any(map(str.isdigit, word[0]))
        return "[REDACTED]" if is_suspect else word[0]


class Gate:
    """Wraps the application; see the module."""

    def __init__(
        self,
        app: Any,
        *,
        authenticator: Authenticator,
        hosts: HostRule,
        headers: SecurityHeaders,
        key_prefix: str,
        store_blocks_briefly: bool,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._hosts = hosts
        self._headers = headers
        self._without_secrets = SecretsOut(key_prefix)
        self._store_blocks_briefly = store_blocks_briefly
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on with its `Principal`."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = time.perf_counter()
        origin = self._origin(scope)
        answer = _Answer(send, origin.request_id or "", self._headers.for_path(scope["path"]))
        scope["state"] = {**scope.get("state", {}), "origin": origin, "failure": None}
        try:
            self._check_shape(scope)
            scope["user"] = await self._authenticate(scope, origin)
            inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await self._app(inner, _Body(receive), answer)
        except KeyturnError as error:
            scope["state"]["failure"] = failure_name(error)
            await answer.error(response_of(error))
        except Exception:  # noqa: BLE001 - whatever a defect raises, the caller gets an answer without it
            self._log.exception("request_failed", request_id=origin.request_id)
            await answer.error(internal_error())
        finally:
            self._log.info(
                "request",
                request_id=origin.request_id,
                via=origin.via,
                status=answer.status,
                address=origin.address,
                user_id=getattr(scope.get("user"), "user_id", None),
                key_id=getattr(scope.get("user"), "key_id", None),
                failure=scope["state"]["failure"],
                milliseconds=round((time.perf_counter() - started) * 1000, 2),
            )

    def _origin(self, scope: Scope) -> Origin:
        """Say where the request comes from. Nothing that could be a secret is kept of path and agent."""
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), None)
        client = scope.get("client")
        return Origin(
            address=client[0] if client else None,
            user_agent=None if agent is None else self._without_secrets(agent.decode("latin-1")),
            request_id=str(uuid.uuid4()),
            via=self._without_secrets(f"{scope['method']} {scope['path']}"),
        )

    def _check_shape(self, scope: Scope) -> None:
        """Refuse what no well-meant client sends: H2, H3, H5, H6, H7."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > MAX_HEADER_FIELDS or size > MAX_HEADER_BYTES:
            raise LimitExceeded(Limit.HEADER, "The header is too large.")
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._hosts.allows(hosts[0].decode("latin-1")):
            raise MalformedRequest(
                "This Host is not answered here: add it to KEYTURN_ALLOWED_HOSTS, or set KEYTURN_PUBLIC_URL."
            )
        if not scope["path"].startswith("/"):
            raise MalformedRequest("The request target must be a path.")
        for name, value in headers:
            if name == b"content-length" and (not value.isdigit() or int(value[:12]) > MAX_BODY_BYTES):
                raise LimitExceeded(Limit.BODY, _BODY_TOO_LARGE)

    async def _authenticate(self, scope: Scope, origin: Origin) -> Principal | None:
        """Return who calls; None only where no credential is needed."""
        authorization = [value for name, value in scope["headers"] if name == b"authorization"]
        if is_open(scope["method"], scope["path"]) or PAGE_PATTERN.fullmatch(scope["path"]):
            if scope["path"] in EXCHANGE_PATHS and (authorization or _has_body(scope)):
                _check_one_place(scope)
            return None
        if authorization:
            _check_one_place(scope)
        if self._store_blocks_briefly:
            principal = self._authenticator.authenticate(authorization, origin)
        else:
            principal = await asyncio.get_running_loop().run_in_executor(
                None, partial(self._authenticator.authenticate, authorization, origin)
            )
        if principal is None:
            raise CredentialRefused(Reason.MISSING)
        return principal


def is_open(method: str, path: str) -> bool:
    """Return whether anybody may make this request. HEAD is what GET is."""
    method = "GET" if method == "HEAD" else method
    return (method, path) in OPEN_PATHS or any(
        method == open_method and pattern.fullmatch(path) for open_method, pattern in OPEN_PATTERNS
    )


def _has_body(scope: Scope) -> bool:
    """Return whether the request says that a body follows (RFC 9112, section 6)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _check_one_place(scope: Scope) -> None:
    """Raise `AmbiguousCredential` if a request that has a credential has one elsewhere too (RFC 6750)."""
    if CREDENTIAL_PARAMETERS.search(unquote_to_bytes(scope["query_string"])):
        raise AmbiguousCredential("A credential must not be in the URL: send it in Authorization alone.")
    for name, value in scope["headers"]:
        if name in CREDENTIAL_HEADERS:
            raise AmbiguousCredential(
                "Send the credential in Authorization alone, not in another header too."
            )
        if name == b"cookie" and any(
            cookie.strip().startswith(SESSION_COOKIES) for cookie in value.split(b";")
        ):
            raise AmbiguousCredential("Send the credential in Authorization alone, not a session cookie too.")


class _Body:
    """`receive`, with an end to waiting and to size."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._remaining = MAX_BODY_BYTES
        self._is_complete = False
        self._deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT_SECONDS

    async def __call__(self) -> Any:
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise LimitExceeded(Limit.BODY_TIME, "The body did not arrive in time.") from None
        self._remaining -= len(message.get("body", b""))
        if self._remaining < 0:
            raise LimitExceeded(Limit.BODY, _BODY_TOO_LARGE)
        self._is_complete = not message.get("more_body", False)
        return message


class _Answer:
    """`send`, with the headers that every answer has."""

    def __init__(self, send: Send, request_id: str, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self._send = send
        self._headers = (*headers, (b"x-request-id", request_id.encode("ascii")))
        self.status: int | None = None

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            present = {name.lower() for name, _ in message["headers"]}
            added = self._headers
            if b"cache-control" not in present:
                added = (*added, (b"cache-control", b"no-store"))
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

    async def error(self, response: ErrorResponse) -> None:
        """Send an error, unless an answer has begun: then the connection is cut by the server."""
        if self.status is not None:
            raise ConnectionError("the answer had begun")
        body = response.encoded()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode("ascii")),
            *((name.encode("ascii"), value.encode("latin-1", "replace")) for name, value in response.headers),
        ]
        await self({"type": "http.response.start", "status": response.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
