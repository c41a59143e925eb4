"""Litestar: a plugin, and `guards=[require("orders:read")]` on a handler, a controller or the application."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from litestar import Request, Response
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.exceptions import WebSocketException
from litestar.handlers.base import BaseRouteHandler
from litestar.plugins import InitPlugin

from keyturn.errors import CannotStart
from keyturn.integrations.asgi import CALLER, POLICY_VIOLATION, presented_in
from keyturn.integrations.protection import Protection, VerifierSource, checked_scopes
from keyturn.integrations.refusals import REFUSALS, Body, refusal_of
from keyturn.verifier import Verifier

AnyConnection = ASGIConnection[Any, Any, Any, Any]


class KeyturnPlugin(InitPlugin):
    """Makes `require` work in an application.

    Without a `verifier` the one in `app.state.verifier` is asked, which a lifespan opens.
    `trusted_proxies` are networks whose `X-Forwarded-For` counts. `public_url`, like
    `https://api.example.com`, is what clients put before a path: with it, credentials that are bound to a key
    pair are good here (RFC 9449).
    """

    def __init__(
        self,
        verifier: VerifierSource | None = None,
        *,
        trusted_proxies: Iterable[str] = (),
        public_url: str | None = None,
    ) -> None:
        self._verifier = verifier
        self._trusted_proxies = tuple(trusted_proxies)
        self._public_url = public_url

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add what `require` needs to the application."""
        state = app_config.state

        def opened() -> Verifier:
            verifier = state.get("verifier")
            if not isinstance(verifier, Verifier):
                raise CannotStart("Open a Verifier as app.state.verifier, or give it to KeyturnPlugin().")
            return verifier

        state["keyturn"] = Protection(
            self._verifier or opened, trusted_proxies=self._trusted_proxies, public_url=self._public_url
        )
        app_config.exception_handlers = {
            **dict.fromkeys(REFUSALS, _answer),
            **app_config.exception_handlers,
        }
        return app_config


def require(*scopes: str) -> Callable[[AnyConnection, BaseRouteHandler], Coroutine[Any, Any, None]]:
    """Return a guard that passes only those whose credential is good and covers these scopes.

    The `Principal` is `request.user`.
    """
    needed = checked_scopes(scopes)

    async def guard(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
        protection = connection.app.state.get("keyturn")
        if not isinstance(protection, Protection):
            raise CannotStart("Give the application plugins=[KeyturnPlugin()].")
        scope: Any = connection.scope
        try:
            scope[CALLER] = await protection.check_async(presented_in(scope), needed)
        except REFUSALS as error:
            if scope["type"] == "http":
                raise
            raise WebSocketException(detail=refusal_of(error).message, code=POLICY_VIOLATION) from None

    return guard


def _answer(_request: Request[Any, Any, Any], error: Exception) -> Response[Body]:
    refusal = refusal_of(error)
    return Response(
        refusal.body(), status_code=refusal.status, headers=refusal.headers(), media_type="application/json"
    )
