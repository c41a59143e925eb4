"""Flask: `@require("orders:read")` on a view, and the caller in `g.principal`."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import Flask, Response, current_app, g, request

from keyturn.errors import CannotStart
from keyturn.integrations.protection import Protection, VerifierSource, checked_scopes
from keyturn.integrations.refusals import REFUSALS, refusal_of
from keyturn.integrations.wsgi import presented_in

P = ParamSpec("P")
T = TypeVar("T")

EXTENSION = "keyturn"


def protect(
    app: Flask,
    verifier: VerifierSource,
    *,
    trusted_proxies: Iterable[str] = (),
    public_url: str | None = None,
) -> None:
    """Make `require` work in this application.

    `verifier` is one, or a function that returns one, to be called for each request. `trusted_proxies` are
    networks whose `X-Forwarded-For` counts. `public_url`, like `https://api.example.com`, is what clients put
    before a path: with it, credentials that are bound to a key pair are good here (RFC 9449).
    """
    app.extensions[EXTENSION] = Protection(verifier, trusted_proxies=trusted_proxies, public_url=public_url)
    for kind in REFUSALS:
        app.register_error_handler(kind, _answer)


def require(*scopes: str) -> Callable[[Callable[P, T]], Callable[P, T | Response]]:
    """Let only those call a view whose credential is good and covers these scopes.

    For views, sync or async; write it below the route. The `Principal` is `g.principal`.
    """
    needed = checked_scopes(scopes)

    def decorate(view: Callable[P, T]) -> Callable[P, T | Response]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T | Response:
            protection = current_app.extensions.get(EXTENSION)
            if not isinstance(protection, Protection):
                raise CannotStart("Call keyturn's protect(app, verifier) where this application is made.")
            try:
                g.principal = protection.check(presented_in(request.environ), needed)
                result: T = current_app.ensure_sync(view)(*args, **kwargs)
            except REFUSALS as error:
                if _is_answered_elsewhere(type(error)):
                    raise
                return _answer(error)
            return result

        return guarded

    return decorate


def _is_answered_elsewhere(kind: type[Exception]) -> bool:
    """Return whether the application has a handler of its own for this very error.

    Otherwise it is answered where it arises: Flask-RESTful, Flask-RESTX and a handler for `Exception` in a
    blueprint would get it before ours, and make 500 of it.
    """
    handlers = current_app.error_handler_spec
    return any(handlers[name][None].get(kind, _answer) is not _answer for name in (*request.blueprints, None))


def _answer(error: Exception) -> Response:
    refusal = refusal_of(error)
    return Response(refusal.encoded(), refusal.status, refusal.headers(), content_type="application/json")
