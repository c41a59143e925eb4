"""Any WSGI application behind a verifier, closed but for the paths that are opened."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from keyturn.integrations.open_paths import OpenPaths
from keyturn.integrations.protection import Presented, Protection, VerifierSource, checked_scopes
from keyturn.integrations.refusals import REFUSALS, Refusal, refusal_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

CALLER = "keyturn.principal"
"""Where the `Principal` is in the environment. No header can be there: those begin with `HTTP_`."""


class KeyturnMiddleware:
    """Lets through who may pass, with `environ["keyturn.principal"]`, and answers everybody else.

    `verifier` is one, or a function that returns one, to be called for each request.
    `open_paths` and `open_prefixes` (like `/static/`) ask for no credential; there is no caller there.
    `scopes` are needed for every other path. `trusted_proxies` are networks whose `X-Forwarded-For` counts.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        verifier: VerifierSource,
        *,
        open_paths: Iterable[str] = (),
        open_prefixes: Iterable[str] = (),
        scopes: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._protection = Protection(verifier, trusted_proxies=trusted_proxies)
        self._open = OpenPaths(open_paths, open_prefixes)
        self._scopes = checked_scopes(scopes)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, or hand it on."""
        if _path(environ) not in self._open:
            try:
                environ[CALLER] = self._protection.check(
                    presented_in(environ, environ.get(CALLER)), self._scopes
                )
            except REFUSALS as error:
                return _refuse(environ, start_response, refusal_of(error))
        return self._app(environ, start_response)


def presented_in(environ: Mapping[str, Any], caller: object) -> Presented:
    """Read what the request says of its caller.

    WSGI has one place for a header: servers join the lines of a repeated one with commas (RFC 9110, section
    5.3). No credential of ours holds a comma, so each of them stands between two.
    """
    authorization = environ.get("HTTP_AUTHORIZATION")
    forwarded_for = environ.get("HTTP_X_FORWARDED_FOR")
    return Presented(
        authorization=[] if authorization is None else authorization.encode("latin-1", "replace").split(b","),
        peer=environ.get("REMOTE_ADDR") or None,
        forwarded_for=[] if forwarded_for is None else [forwarded_for.encode("latin-1", "replace")],
        caller=caller,
    )


def _path(environ: "WSGIEnvironment") -> str:
    """Return the whole path, decoded once (PEP 3333 shows its bytes as Latin-1)."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path.encode("latin-1").decode("utf-8", "replace")


def _refuse(environ: "WSGIEnvironment", start_response: "StartResponse", refusal: Refusal) -> Iterable[bytes]:
    body = refusal.encoded()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers()}
    start_response(f"{int(refusal.status)} {refusal.status.phrase}", list(headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
