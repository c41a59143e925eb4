"""The gate: raw ASGI in front of the framework, where every request is bounded, named and authenticated.

Deny by default: a path that no declaration (`web.routes`) opens needs a credential, whether it exists or not.
`/verify` (`web.edge.verify`) and the exchange are answered before the framework, which would cost several
times as much as they do.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, ParamSpec, TypeVar

import structlog
from anyio import to_thread
from litestar.connection import ASGIConnection

from keyturn.composition import Services
from keyturn.core import feed
from keyturn.core.dpop import PresentedProof
from keyturn.core.networks import Network, client_address
from keyturn.core.paths import RequestTarget
from keyturn.core.principal import Principal
from keyturn.core.scopes import NO_SCOPES, check_scopes
from keyturn.counting.table import Mark, State
from keyturn.errors import (
    CredentialRefused,
    KeyturnError,
    NotFound,
    Reason,
    StoreUnavailable,
)
from keyturn.logs import flush_logs
from keyturn.system import request_id
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.origin import Origin
from keyturn.verifying.redaction import Redactor
from keyturn.verifying.uses import use_context_of
from keyturn.web import forward_auth
from keyturn.web.bodies import FORM, media_type
from keyturn.web.edge.dpop_target import proof_for_asked, proof_for_this, target_asked, target_of_this
from keyturn.web.edge.exchange import EXCHANGE_PATHS, answer_exchange
from keyturn.web.edge.feed_streams import FeedStreams
from keyturn.web.edge.headers import SecurityHeaders
from keyturn.web.edge.messages import (
    Answer,
    BoundedBody,
    ClientGone,
    Receive,
    Send,
    WholeBody,
)
from keyturn.web.edge.refusals import Refusals
from keyturn.web.edge.request_checks import (
    HostRule,
    Scope,
    check_one_place,
    check_request,
    declared_length,
    has_body,
    is_read,
    misplaced_credential,
    tolerant_path,
)
from keyturn.web.edge.request_log import RequestLog
from keyturn.web.edge.tracing import Traces, given_request_id, given_trace_id
from keyturn.web.edge.traffic import Traffic
from keyturn.web.edge.verify import MAX_PLAIN_FIELD_BYTES, PlainVerify
from keyturn.web.navigation import ENDED_AT, NO_PAGE, SESSION_END_PATH, login_path, wants_page
from keyturn.web.pages.frame.visitors import LoginNeeded, Visitor, find_visitor
from keyturn.web.pages.oauth.device import wanted_page
from keyturn.web.requests import note_failure
from keyturn.web.responses import internal_error, response_of
from keyturn.web.route_table import RouteTable

P = ParamSpec("P")
T = TypeVar("T")

LOOKUP_SECONDS = 4.0
"""How long a request waits for the database before it is answered without it (F8)."""
LOOKUP_THREADS = 16


class Gate:
    """Wraps the application; see the module."""

    def __init__(
        self,
        app: Any,
        services: Services,
        *,
        routes: RouteTable,
        hosts: HostRule,
        headers: SecurityHeaders,
        trusted_proxies: Sequence[Network],
        without_secrets: Redactor,
        traces: Traces | None = None,
    ) -> None:
        self._traces = traces
        self._app = app
        self._services = services
        self._authenticator = services.authenticator
        self._exchange = services.exchange
        self._freshness = services.verification.freshness
        self._feed = FeedStreams(services.feed)
        self._routes = routes
        self._hosts = hosts
        self._headers = headers
        self._client_address = lru_cache(4096)(partial(client_address, trusted=tuple(trusted_proxies)))
        self._public_url = services.settings.public_url
        self._trusted_proxies = tuple(trusted_proxies)
        self._trusts_proxies = bool(trusted_proxies) or services.settings.unix_socket is not None
        self._without_secrets = without_secrets
        self._lookups = (
            None if services.store.blocks_briefly else ThreadPoolExecutor(LOOKUP_THREADS, "keyturn-lookup")
        )
        self._log = structlog.get_logger()
        self._requests = RequestLog()
        self._traffic = Traffic(services.counts, routes)
        self._plain_verify = PlainVerify(
            services.authenticator,
            hosts=hosts,
            client_address=self._client_address if self._trusts_proxies else None,
            refusals=Refusals(headers.for_path(forward_auth.PATH)),
            log=self._requests,
            asks_database=self._lookups is None,
            counts=services.counts,
        )
        self.answer_at_once = self._plain_verify.answer_at_once
        """For the protocol, which asks it before anything else."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on with its `Principal`."""
        if scope["type"] == "http":
            if scope["path"] == forward_auth.PATH:
                known = self._plain_verify.recognise(
                    scope["method"], scope["query_string"], scope["headers"], scope["client"]
                )
                if known is not None:
                    await send(forward_auth.answer_to(known.principal))
                    await send(forward_auth.EMPTY_BODY)
                    return
            if self._traces is None:
                await self._handle(scope, receive, send)
            else:
                await self._traces.trace(scope, partial(self._handle, scope, receive, send))
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, partial(self._send_of_lifespan, send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    def begin_draining(self) -> None:
        """Be not ready any more, and go on: the server is about to stop."""
        self._app.state.is_draining = True
        self._services.counts.note(Mark.STATE, State.STOPPING)

    async def _send_of_lifespan(self, send: Send, message: Any) -> None:
        if message["type"].startswith("lifespan.shutdown"):
            self._requests.flush()
            if self._traces is not None:
                self._traces.close()
            flush_logs()  # A worker ends by a signal, without the ending of a program.
        await send(message)

    def end_streams(self) -> None:
        """End what would go on for ever, when the server shuts down."""
        self._feed.stop()

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        scope["path"] = tolerant_path(scope["path"])
        scope["path"], scope["query_string"] = forward_auth.question(scope["path"], scope["query_string"])
        origin = self._origin(scope)
        answer = Answer(send, origin.request_id or "", self._headers.for_path(scope["path"]))
        scope["state"] = {
            "trace_id": given_trace_id(scope["headers"]),
            **scope.get("state", {}),
            "origin": origin,
            "failure": None,
            "limit": None,
        }
        try:
            check_request(scope, self._hosts)
            if scope["path"] == forward_auth.PATH:
                scope["state"]["route"] = forward_auth.PATH
                await self._verify(scope, origin, answer)
                return
            scope["user"] = await self._authenticate(scope, origin)
            body = await self._whole_body(scope, receive, origin)
            if scope["path"] == feed.PATH and scope["method"] == "GET":
                scope["state"]["route"] = feed.PATH
                await self._feed.answer(
                    scope, receive, answer, partial(self._principal, self._authenticator, scope, origin)
                )
            elif scope["path"] in EXCHANGE_PATHS and scope["method"] == "POST":
                scope["state"]["route"] = scope["path"]
                proof = proof_for_this(scope, self._public_url)
                await answer.json(
                    await self._look_up(
                        answer_exchange, self._exchange, scope["headers"], body, origin, proof
                    )
                )
            else:
                inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await self._app(inner, WholeBody(body, receive), answer)
        except LoginNeeded as needed:
            await answer.see_other(login_path(needed.path))
        except KeyturnError as error:
            note_failure(scope, error)
            hint = misplaced_credential(scope) if isinstance(error, CredentialRefused) else None
            await answer.error(response_of(error, hint))
        except ClientGone:
            scope["state"]["failure"] = "client_gone"
        except Exception:  # noqa: BLE001 - whatever a defect raises, the caller gets an answer without it
            self._log.exception("request_failed", request_id=origin.request_id)
            scope["state"]["failure"] = "defect"
            await answer.error(internal_error())
        finally:
            user, seconds = scope.get("user"), time.perf_counter() - started
            state = scope["state"]
            state["status"], failure, limit = answer.status, state["failure"], state["limit"]
            trace_id = state["trace_id"]
            self._traffic.note(scope["path"], answer.status, seconds, failure=failure, limit=limit)
            self._requests.write(
                {
                    "request_id": origin.request_id,
                    "via": origin.via,
                    "status": answer.status,
                    "address": origin.address,
                    "user_id": getattr(user, "user_id", None),
                    "key_id": getattr(user, "acts_by_key_id", None),
                    "failure": failure,
                    "milliseconds": round(seconds * 1000, 2),
                    **({} if trace_id is None else {"trace_id": trace_id}),
                }
            )

    def _origin(self, scope: Scope) -> Origin:
        """Say where the request comes from. Nothing that could be a secret is kept of path and agent."""
        agent = None
        forwarded: tuple[bytes, ...] = ()
        for name, value in scope["headers"]:
            if name == b"user-agent" and agent is None:
                agent = value
            elif name == b"x-forwarded-for":
                forwarded += (value,)
        client = scope.get("client")
        peer = client[0] if client else None
        return Origin(
            address=self._address(peer, forwarded) if self._trusts_proxies else peer,
            user_agent=None if agent is None else self._without_secrets(agent.decode("latin-1")),
            request_id=given_request_id(scope["headers"]) or request_id(),
            via=self._without_secrets(f"{scope['method']} {scope['path']}"),
            target=self._target(scope),
        )

    def _target(self, scope: Scope) -> RequestTarget | None:
        """Return the request that a credential is judged for."""
        if scope["path"] == forward_auth.PATH:
            return target_asked(scope, self._trusted_proxies)
        return target_of_this(scope)

    def _address(self, peer: str | None, forwarded: tuple[bytes, ...]) -> str | None:
        """Return the client's address, remembering those that are said in few words."""
        if sum(map(len, forwarded)) <= MAX_PLAIN_FIELD_BYTES:
            return self._client_address(peer, forwarded)
        return self._client_address.__wrapped__(peer, forwarded)

    async def _authenticate(self, scope: Scope, origin: Origin) -> Principal | None:
        """Return who calls; None only where no credential is needed."""
        path = scope["path"]
        if self._routes.is_open(scope["method"], path):
            names = {name for name, _ in scope["headers"]}
            if path in self._routes.proving_paths and (b"authorization" in names or has_body(scope)):
                check_one_place(scope)
            return None
        is_page = self._routes.is_page(path)
        has_credential = any(name == b"authorization" for name, _ in scope["headers"])
        if is_page or (wants_page(scope) and not has_credential):
            # Whether there is such a page, and what it takes, is found out by nobody who is not signed in.
            try:
                visitor = await to_thread.run_sync(self._find_visitor, scope)
            except KeyturnError as error:
                if not (is_page and wants_page(scope)):
                    raise
                scope["state"]["refused"] = error  # A person is told on a page, which the application makes.
                return None
            if visitor is not None:
                scope["path"] = path if is_page else NO_PAGE
                return None
            if wants_page(scope):
                if is_page and scope["method"] == "POST" and _is_form(scope):
                    scope["state"][ENDED_AT], scope["path"] = path, SESSION_END_PATH
                    return None
                raise LoginNeeded(wanted_page(path, scope["query_string"]))
        principal = await self._principal(self._authenticator, scope, origin)
        if is_page:
            raise NotFound  # Pages are for people: to a program there are none.
        return principal

    def _find_visitor(self, scope: Scope) -> Visitor | None:
        return find_visitor(ASGIConnection(scope), self._services)  # type: ignore[arg-type]  # as the server made it

    async def _whole_body(self, scope: Scope, receive: Receive, origin: Origin) -> bytes:
        """Return the body of a request, which is good now that it is whole.

        A caller that was revoked while the body came must change nothing and learn nothing. Pages, and routes
        that prove by themselves who asks, go to the database from here on, which must be no older than what
        was read from it (D7). The application reports a bad request for a page, on a page.
        """
        is_page = self._routes.is_page(scope["path"])
        try:
            body = await BoundedBody(receive, declared_length(scope)).whole()
            if scope["user"] is None:
                if is_page or not is_read(scope):
                    await self._look_up(self._freshness.ensure)
            elif not is_read(scope) or has_body(scope):
                scope["user"] = await self._principal_again(scope, origin)
        except KeyturnError as error:
            if not is_page:
                raise
            scope["state"]["refused"], body = error, b""
        return body

    async def _principal_again(self, scope: Scope, origin: Origin) -> Principal:
        """Return who calls, whose request was found good before its body came."""
        authorization = [value for name, value in scope["headers"] if name == b"authorization"]
        return await self._look_up(
            self._authenticator.authenticate_again, authorization, origin, scope["user"]
        )

    async def _verify(self, scope: Scope, origin: Origin, answer: Answer) -> None:
        """Answer `/verify` to a caller who is known, if they have the scopes that are asked for."""
        required = forward_auth.read_required(scope["query_string"], scope["headers"])
        authenticator = self._authenticator
        if required.audience is not None:
            authenticator = authenticator.at(required.audience)
        scope["user"] = principal = await self._principal(authenticator, scope, origin, required.scopes)
        check_scopes(principal, required.scopes)
        await answer(forward_auth.answer_to(principal))
        await answer(forward_auth.EMPTY_BODY)

    async def _principal(
        self,
        authenticator: Authenticator,
        scope: Scope,
        origin: Origin,
        scopes: frozenset[str] = NO_SCOPES,
    ) -> Principal:
        """Return who calls, if possible without asking the database; `scopes` are checked next."""
        authorization = [value for name, value in scope["headers"] if name == b"authorization"]
        if authorization:
            check_one_place(scope)
        if len(authorization) == 1:
            known = authenticator.recognise(authorization[0], use_context_of(origin), scopes)
            if known is not None:
                authenticator.count_remembered()
                return known.principal
        proof = self._proof(scope)
        principal = await self._look_up(authenticator.authenticate, authorization, origin, proof, scopes)
        if principal is None:
            raise CredentialRefused(Reason.MISSING)
        return principal

    def _proof(self, scope: Scope) -> PresentedProof | None:
        """Return the proof of possession that came with the request, and for which it is to be."""
        if scope["path"] == forward_auth.PATH:
            return proof_for_asked(scope, self._trusted_proxies)
        return proof_for_this(scope, self._public_url)

    async def _look_up(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask at once where the database answers in microseconds, else in a thread and not for ever."""
        if self._lookups is None:
            return ask(*args, **kwargs)
        asking = asyncio.get_running_loop().run_in_executor(self._lookups, partial(ask, *args, **kwargs))
        try:
            return await asyncio.wait_for(asking, LOOKUP_SECONDS)
        except TimeoutError:
            raise StoreUnavailable("the database does not answer") from None


def _is_form(scope: Scope) -> bool:
    """Return whether the body is what a page's form sends."""
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    return len(types) == 1 and media_type(types[0].decode("latin-1")) == FORM
